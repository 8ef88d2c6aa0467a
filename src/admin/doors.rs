//! Where a request came in, who asks, and what may be asked there.
//!
//! One interface stands behind four doors. The permissions of a Unix socket are its only lock; who comes by TCP was looked at
//! before, see `http`; who comes by the cluster was let in by its servers, see [`remote`](super::remote).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;

use super::Gateway;
use super::api::{answered, beside, refused};
use super::perform::perform;
use super::remote::Rights;
use super::request::{Asker, Request};

/// Where a request came in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Door {
    /// `admin.listen`: what the page may do.
    Http,
    /// `admin.socket`: everything.
    Commands,
    /// `admin.status_socket`: nothing changes.
    Questions,
    /// A message of the cluster.
    Cluster(Rights),
}

/// Who asks; goes with every request as an extension.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// Where.
    pub door: Door,
    /// The name for the log: the user, or by what it was let in and from where.
    pub by: Arc<str>,
}

impl Default for Caller {
    fn default() -> Self {
        Self { door: Door::Http, by: Arc::from("somebody") }
    }
}

/// A request that is let in at every door.
pub(super) struct Asking {
    pub gateway: Arc<dyn Gateway>,
    caller: Caller,
}

impl Asking {
    /// Does it.
    pub async fn done(self, request: Request) -> Response {
        let Self { gateway, caller } = self;
        let stays = Stays::default();
        let own = Arc::clone(&stays.0);
        let work = move || {
            let asker = Asker { by: &caller.by, is_there: &|| own.load(Ordering::Relaxed) };
            answered(perform(&request, &*gateway, &asker))
        };
        let answer = beside(work).await;
        drop(stays);
        answer
    }
}

/// True until it is dropped: with the connection, when whoever asks goes away.
struct Stays(Arc<AtomicBool>);

impl Default for Stays {
    fn default() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }
}

impl Drop for Stays {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl FromRequestParts<Arc<dyn Gateway>> for Asking {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, gateway: &Arc<dyn Gateway>) -> Result<Self, Response> {
        let caller = parts.extensions.get::<Caller>().cloned().unwrap_or_default();
        Ok(Self { gateway: Arc::clone(gateway), caller })
    }
}

/// A request that changes something: not at the socket of questions.
pub(super) struct Changing(pub Asking);

impl FromRequestParts<Arc<dyn Gateway>> for Changing {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, gateway: &Arc<dyn Gateway>) -> Result<Self, Response> {
        let asking = Asking::from_request_parts(parts, gateway).await?;
        match asking.caller.door {
            Door::Questions => {
                let text = "this socket answers questions only; commands go to the one of `admin.socket`";
                Err(refused(StatusCode::FORBIDDEN, text.to_owned()))
            }
            Door::Cluster(rights) => match rights.refusal() {
                Some(text) => Err(refused(StatusCode::FORBIDDEN, text.to_owned())),
                None => Ok(Self(asking)),
            },
            Door::Http | Door::Commands => Ok(Self(asking)),
        }
    }
}

/// A request for the socket of commands alone.
pub(super) struct Commanding(pub Asking);

impl FromRequestParts<Arc<dyn Gateway>> for Commanding {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, gateway: &Arc<dyn Gateway>) -> Result<Self, Response> {
        let Changing(asking) = Changing::from_request_parts(parts, gateway).await?;
        match asking.caller.door {
            Door::Http => {
                let text = "this is not done over TCP, whatever the token: ask by the Unix socket of `admin.socket`";
                Err(refused(StatusCode::FORBIDDEN, text.to_owned()))
            }
            Door::Cluster(_) => {
                let text = "this is not done over the cluster: ask this process by its own Unix socket, `--socket`";
                Err(refused(StatusCode::FORBIDDEN, text.to_owned()))
            }
            Door::Commands | Door::Questions => Ok(Self(asking)),
        }
    }
}
