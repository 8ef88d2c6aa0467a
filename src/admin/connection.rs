//! One connection of HTTP/1.1, whatever it came by. All share one type, so that the protocol is in the program once.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;

use super::doors::Caller;
use super::heads::{HEAD_OCTETS_MAX, Stream, Worded};
use super::http::Face;
use super::page;
use super::places::Place;
use super::tls::Client;

/// Who is at the other end.
pub(super) enum Guest {
    /// Somebody by TCP, whom the face lets in or not.
    Stranger(Arc<Face>, Client),
    /// Somebody whom the permissions of a Unix socket have let in.
    Known(Caller),
}

impl Guest {
    /// Why a request is not served at all; one that is carries who asks.
    fn refusal(&self, request: &mut Request<Incoming>) -> Option<Response> {
        let admitted = match self {
            Self::Stranger(face, client) => face.admitted(request, client),
            Self::Known(caller) => Ok(caller.clone()),
        };
        admitted.map(|caller| drop(request.extensions_mut().insert(caller))).err().map(|refusal| *refusal)
    }
}

/// Answers the requests of a connection, each of which, and the wait for it, has so much time for its head.
pub(super) fn connection(
    stream: Box<dyn Stream>,
    place: Arc<Place>,
    (guest, router): (Guest, Router),
    head_max: Duration,
) -> http1::Connection<
    TokioIo<Worded>,
    impl Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send> + Send,
> {
    let guest = Arc::new(guest);
    let answer = service_fn(move |mut request: Request<Incoming>| {
        let (place, guest, router) = (place.clone(), guest.clone(), TowerToHyperService::new(router.clone()));
        async move {
            place.served();
            let answer = match guest.refusal(&mut request) {
                Some(refusal) => Ok(refusal),
                None => router.call(request).await,
            };
            place.waiting();
            answer.map(|mut answer| {
                page::protect(answer.headers_mut());
                answer
            })
        }
    });
    let mut protocol = http1::Builder::new();
    protocol.timer(TokioTimer::new()).header_read_timeout(head_max).max_buf_size(HEAD_OCTETS_MAX);
    protocol.serve_connection(TokioIo::new(Worded::new(stream)), answer)
}
