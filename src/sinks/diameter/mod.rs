//! Diameter accounting sink: renders records as Accounting-Requests, drives the route's machine over TCP and TLS.

pub mod acr;
mod board;
pub mod collector;
mod dial;
mod engine;
mod kind;
mod link;
mod meters;
mod node;
mod render;
pub mod settings;
#[cfg(test)]
mod tests;
mod text;
pub mod trial;

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use self::acr::SetupErrors;
use self::engine::{Engine, Transports};
use self::settings::Settings;
use super::kind::Keeper;
use super::{Outcome, Sink};
use crate::accounting::Key;
use crate::diameter::avp::Avps;
use crate::diameter::code;
use crate::diameter::header;
use crate::diameter::peer::Security;
use crate::diameter::route::{self, Settings as RouteSettings, Submission};
use crate::ids::Seq;
use crate::net::tls::{ClientTls, TlsError};
use crate::queue::{Acknowledger, Lease, Settlement};
use crate::record::{Kind, Record};

pub use board::{Board, STATUS_AGE_MAX};
pub use collector::{Collected, Collector};
pub use meters::{
    DIAMETER_ANSWERS_TOTAL, DIAMETER_BAD_ANSWERS_TOTAL, DIAMETER_CONNECTIONS_TOTAL, DIAMETER_FAILED_AVPS_TOTAL,
    DIAMETER_FAILED_OVER_TOTAL, DIAMETER_OUTSTANDING_REQUESTS, DIAMETER_PEER_USABLE, DIAMETER_REPEATS_TOTAL,
    DIAMETER_REQUESTS_TOTAL, DIAMETER_ROUND_TRIP_SECONDS, DIAMETER_ROUTE_PAUSED, DIAMETER_TIMEOUTS_TOTAL,
    DIAMETER_VALUES_LEFT_OUT_TOTAL, DIAMETER_WINDOW_REQUESTS, METRICS,
};
pub use node::route_settings;

/// What names the AVPs that a server objects to, from the members of its Failed-AVP.
pub(crate) type Names = Box<dyn Fn(&[u8]) -> Vec<String> + Send>;

/// Told how often a server wants the interim records of a session; zero: none.
pub type Interims = Box<dyn Fn(Key, Duration) + Send>;

/// Why a record makes no messages.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unrendered(pub String);

/// Appends the Accounting-Requests of a record; none when its kind is switched off.
pub(crate) type Render = Box<dyn FnMut(&Record, &mut Vec<u8>) -> Result<(), Unrendered> + Send>;

/// Why a sink cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The settings name no peer to connect to.
    #[error("no Diameter peer is configured")]
    NoPeer,
    /// TLS without trust anchors.
    #[error("TLS needs `tls-ca-file`, the authorities that sign the peers' certificates")]
    NoTrust,
    /// The files of TLS cannot be used.
    #[error("TLS cannot be set up")]
    Tls(#[from] TlsError),
    /// The rendering cannot be set up.
    #[error("records cannot be rendered")]
    Render(#[from] SetupErrors),
}

/// A sink that sends Accounting-Requests.
///
/// It has to be made and used on a tokio runtime; dropped, it ends its connections at once.
pub struct DiameterSink {
    render: Render,
    messages: Vec<u8>,
    /// The last place in the queue that was taken when this process started.
    waited_until: Seq,
    engine: Arc<Mutex<Engine>>,
    task: JoinHandle<()>,
    board: Board,
    /// Ended without a peer.
    ended: Vec<Outcome>,
    patience: Duration,
}

impl DiameterSink {
    /// Whether a sink can be made of these settings; makes none and connects to nobody.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub fn check(settings: &Settings) -> Result<(), SetupError> {
        if settings.peers.is_empty() {
            return Err(SetupError::NoPeer);
        }
        if settings.transport != Security::Plain {
            ClientTls::load(settings.tls.files().as_ref().ok_or(SetupError::NoTrust)?)?;
        }
        drop(render::renderers(&"".into(), &settings.accounting)?);
        Ok(())
    }

    /// A sink called `name`. `salt` is the installation's own random number, for End-to-End ids; records up to
    /// `waited_until` lay in the queue when this process started, and are sent as possible repeats.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub fn new(name: &str, settings: &Settings, salt: u32, waited_until: Seq) -> Result<Self, SetupError> {
        let files = settings.tls.files();
        if settings.transport != Security::Plain {
            // Read now, so that a mistake stops the start; each connection reads them again.
            ClientTls::load(files.as_ref().ok_or(SetupError::NoTrust)?)?;
        }
        let route = route_settings(settings, salt);
        let transports = Transports { bind: settings.bind, tls: files, user_timeout: settings.timers.watchdog * 2 };
        let (render, names) = render::renderers(&name.into(), &settings.accounting)?;
        Self::with(name, route, transports, waited_until, names, render)
    }

    fn with(
        name: &str,
        route: RouteSettings,
        transports: Transports,
        waited_until: Seq,
        names: Names,
        render: Render,
    ) -> Result<Self, SetupError> {
        if route.peers.is_empty() {
            return Err(SetupError::NoPeer);
        }
        let name: Arc<str> = name.into();
        let peers: Vec<_> = route.peers.iter().map(|peer| format!("{}:{}", peer.host, peer.port)).collect();
        tracing::info!(sink = %name, ?peers, identity = route.identity.host, "Diameter peers");
        let patience = route.timing.drain + route.timing.disconnect + Duration::from_millis(500);
        let board = Board::default();
        let engine = Engine::new(&name, route, transports, names, board.clone());
        let engine = Arc::new(Mutex::new(engine));
        let shared = Arc::clone(&engine);
        let task = tokio::spawn(poll_fn(move |cx| lock(&shared).poll(cx)));
        Ok(Self { render, messages: Vec::new(), waited_until, engine, task, board, ended: Vec::new(), patience })
    }

    /// Tells `interims` what servers ask for (Acct-Interim-Interval, RFC 6733 §9.8.2).
    #[must_use]
    pub fn with_interims(self, interims: Interims) -> Self {
        lock(&self.engine).tell(interims);
        self
    }

    /// Takes up what an earlier process kept by `keeper`, and keeps by it from here on.
    #[must_use]
    pub fn with_classes(self, kept: Vec<(u64, Vec<u8>)>, keeper: Keeper) -> Self {
        lock(&self.engine).restore_classes(kept, keeper);
        self
    }

    /// The Class values it has for sessions, for a sink that takes its place.
    #[must_use]
    pub fn classes(&self) -> Vec<(u64, Vec<u8>)> {
        lock(&self.engine).classes()
    }

    /// Where the states of the peers can be read.
    #[must_use]
    pub fn board(&self) -> Board {
        self.board.clone()
    }
}

/// A poisoned lock means that the task panicked; the worker's own panic then ends the service.
fn lock(engine: &Mutex<Engine>) -> MutexGuard<'_, Engine> {
    engine.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sink for DiameterSink {
    const KIND: &'static str = "diameter";

    fn capacity(&mut self) -> usize {
        lock(&self.engine).capacity()
    }

    fn submit(&mut self, lease: &Lease, record: &Record) {
        self.messages.clear();
        if let Err(error) = (self.render)(record, &mut self.messages) {
            let settlement = Settlement::Park { reason: error.to_string(), code: 0 };
            return self.ended.push(Outcome { seq: lease.seq, settlement });
        }
        let Some(facts) = facts(&self.messages) else {
            // Its kind is switched off for this sink: there is nothing to deliver.
            return self.ended.push(Outcome { seq: lease.seq, settlement: Settlement::Delivered });
        };
        let mut engine = lock(&self.engine);
        if matches!(record.kind, Kind::Start | Kind::Interim) {
            engine.remember(lease.seq, Key::of(&record.call_id, &record.from_tag, &record.to_tag));
        }
        engine.submit(Submission {
            key: lease.seq,
            messages: &self.messages,
            has_waited: lease.seq <= self.waited_until,
            // What was lent before may have been sent, even if that counted as no try.
            attempts: lease.attempts.max(u32::from(lease.first_tried.is_some())),
            since: lease.appended,
            kind: route::Kind(record.kind.name()),
            session: facts.session,
            ends_session: facts.ends_session,
            realm: facts.realm,
        });
    }

    fn acknowledger(&mut self, seq: Seq) -> Option<Arc<Acknowledger>> {
        lock(&self.engine).acknowledger(seq)
    }

    async fn progress(&mut self, out: &mut Vec<Outcome>) {
        if self.ended.is_empty() {
            poll_fn(|cx| lock(&self.engine).poll_news(cx)).await;
        }
        out.append(&mut self.ended);
        lock(&self.engine).drain(out);
    }

    async fn close(&mut self, out: &mut Vec<Outcome>) {
        lock(&self.engine).stop();
        let gone = async {
            let mut every = tokio::time::interval(Duration::from_millis(10));
            while !lock(&self.engine).is_gone() {
                every.tick().await;
            }
        };
        let _left = tokio::time::timeout(self.patience, gone).await;
        out.append(&mut self.ended);
        lock(&self.engine).drain(out);
    }
}

impl Drop for DiameterSink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the route has to know of a record's messages.
struct Facts<'a> {
    session: u64,
    ends_session: bool,
    realm: Option<&'a str>,
}

/// `None` without a message. Session and realm are those of the first, which are those of all; the last one tells
/// whether the session ends.
fn facts(messages: &[u8]) -> Option<Facts<'_>> {
    let (mut header, avps) = header::split(messages).ok()?;
    let first = Avps::new(avps);
    let session = first.clone().find(code::SESSION_ID, 0).map_or(&[][..], |avp| avp.value);
    let realm = first.clone().find(code::DESTINATION_REALM, 0).and_then(|avp| avp.utf8());
    let (mut last, mut rest) = (first, messages);
    while let Some(behind) = rest.get(header.length as usize..)
        && let Ok((next, avps)) = header::split(behind)
    {
        (header, last, rest) = (next, Avps::new(avps), behind);
    }
    let kind = last.find(code::ACCOUNTING_RECORD_TYPE, 0).and_then(|avp| avp.u32());
    let ends_session = matches!(kind, Some(code::record_type::STOP | code::record_type::EVENT));
    Some(Facts { session: siphasher::sip::SipHasher13::new().hash(session), ends_session, realm })
}
