//! RADIUS accounting sink: renders records, drives the client machine over UDP, TCP or TLS.

mod apart;
pub mod collector;
mod kind;
mod links;
mod meters;
mod names;
mod net;
mod offload;
mod outgoing;
mod profile;
pub mod render;
mod settings;
pub mod status;
mod stream;
pub mod trial;

use std::future::{Future as _, poll_fn};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;

use self::apart::{Apart, Next};
use self::kind::{Identity, identity};
use self::links::{Links, Opening};
use self::meters::Meters;
use self::names::Names;
use self::offload::Offload;
use super::acknowledged::Acknowledged;
use super::meters::counts;
use super::view::ServerView;
use super::{Outcome, Sink};
use crate::clock::{self, Instant, Now};
use crate::ids::Seq;
use crate::net::socket::Local;
use crate::queue::{Acknowledger, Lease, Settlement};
use crate::radius::client::{self, Client, Input, Output, ServerStatus, Submission};
use crate::record::Record;
use crate::timers::random::seed;

pub use collector::{Collected, Collector};
pub use meters::{
    METRICS, RADIUS_ANSWERS_TOTAL, RADIUS_BAD_ANSWERS_TOTAL, RADIUS_LANES, RADIUS_LONG_REQUESTS_TOTAL,
    RADIUS_OUTSTANDING_REQUESTS, RADIUS_PROBES_TOTAL, RADIUS_REQUESTS_TOTAL, RADIUS_RETRANSMISSIONS_TOTAL,
    RADIUS_ROUND_TRIP_SECONDS, RADIUS_SERVER_ALIVE, RADIUS_SHORTENED_VALUES_TOTAL, RADIUS_TIMEOUTS_TOTAL,
};
pub use profile::SetupError;
pub use render::{Losses, Renderer, SetupErrors};
pub use settings::{
    Carrier, Columns, FREERADIUS_SQL, FieldMapping, Legs, NamedServer, SessionId, Settings, StatusMapping, TlsSettings,
};
pub use stream::CONNECT_TIME_MAX;

pub use super::mapping::{Round, Style, Unmapped};
pub use crate::record::LegOrder;

/// Longest wait without a look at the machine: its counters reach the metrics that often.
const BEAT: Duration = Duration::from_secs(1);
/// Longest wait for the farewells of connections.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(1);
/// Shortest wait for a timer: one wake serves the timers of that time.
const TIMER_STEP: Duration = Duration::from_millis(10);
/// An address no host has (RFC 5737): which way would it go?
const ANYWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 1813);
/// Server states a reader of [`Board::servers`] sees are at most this old.
pub const STATUS_AGE_MAX: Duration = BEAT;

/// States of a sink's servers, readable from other threads.
#[derive(Clone, Debug, Default)]
pub struct Board {
    servers: Arc<std::sync::Mutex<Vec<ServerStatus>>>,
    /// Names of the servers that were given by one.
    names: Arc<[Option<String>]>,
}

impl Board {
    /// The servers in order, at most [`STATUS_AGE_MAX`] old.
    #[must_use]
    pub fn servers(&self) -> Vec<ServerStatus> {
        self.servers.lock().map(|servers| servers.clone()).unwrap_or_default()
    }

    fn post(&self, servers: impl Iterator<Item = ServerStatus>) {
        if let Ok(mut board) = self.servers.lock() {
            board.clear();
            board.extend(servers);
        }
    }
}

fn view(status: &ServerStatus, name: Option<&str>, now: Instant) -> ServerView {
    ServerView {
        server: match name.filter(|_| status.address.ip().is_unspecified()) {
            Some(name) => format!("{name} (not resolved)"),
            None => status.address.to_string(),
        },
        state: status.health.name(),
        since: now.since(status.since),
        in_flight: status.outstanding,
        window: status.window,
        connections: status.lanes,
        round_trip: status.round_trip,
        note: None,
        counts: counts(&meters::COUNTS, status),
    }
}

/// A sink that sends Accounting-Requests.
///
/// It has to be made and used on a tokio runtime.
pub struct RadiusSink {
    name: Arc<str>,
    /// The NAS address of the first sink of this name in this process.
    first_address: IpAddr,
    identity: Identity,
    renderer: Renderer,
    apart: Apart,
    client: Client,
    links: Links,
    names: Names,
    /// What the machine wants done; swapped with `doing` while it is done.
    wanted: Vec<Output>,
    doing: Vec<Output>,
    ended: Vec<Outcome>,
    acknowledged: Acknowledged,
    timer: Pin<Box<Sleep>>,
    timer_at: Instant,
    reported_at: Instant,
    /// What the worker was told last: it comes back by itself unless that was nothing.
    told_capacity: usize,
    meters: Meters,
    board: Board,
    /// Looks at every datagram, for a test record.
    tap: Option<trial::Tap>,
}

impl RadiusSink {
    /// Whether a sink can be made of these settings; makes none.
    ///
    /// # Errors
    /// What is wrong with the settings: too many servers, unknown or unfit attributes.
    pub fn check(settings: &Settings) -> Result<(), SetupErrors> {
        renderer(settings, IpAddr::from([127, 0, 0, 1])).map(drop)
    }

    /// The NAS address of the records: the configured one, else the one this host sends from to the first server that
    /// has an address, or to nowhere in particular.
    #[must_use]
    pub fn nas_address(settings: &Settings) -> IpAddr {
        let chosen = || {
            let mut addresses = settings.client.servers.iter().map(|server| server.address);
            let known = addresses.find(|address| !address.ip().is_unspecified());
            local(settings).address_towards(known.unwrap_or(ANYWHERE))
        };
        settings.nas_address.unwrap_or_else(chosen)
    }

    /// A sink called `name`.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn new(name: &str, settings: &Settings) -> Result<Self, SetupErrors> {
        let servers = &settings.client.servers;
        let nas_address = Self::nas_address(settings);
        let renderer = renderer(settings, nas_address)?;
        let local = local(settings);
        let now = clock::now();
        let name: Arc<str> = name.into();
        announce(&name, settings);
        let addresses = servers.iter().map(|server| server.address).collect::<Vec<_>>();
        let transport = match settings.carrier {
            Carrier::Udp => client::Transport::Datagram,
            Carrier::Tcp | Carrier::Tls(_) => client::Transport::Stream,
        };
        let client_settings = client::Settings { transport, ..settings.client.clone() };
        tracing::info!(
            sink = %name, servers = ?addresses, first_wait_ms = client_settings.initial_timeout.as_millis(),
            longest_wait_ms = client_settings.max_timeout.as_millis(), transmissions = client_settings.transmissions,
            "RADIUS schedule of one visit"
        );
        let look_up = Names::new(Arc::clone(&name), now.mono, settings, names::system());
        let names: Vec<_> = (0..addresses.len()).map(|server| look_up.label(server)).collect();
        let mut sink = Self {
            meters: Meters::new(&name, labels(&addresses, &names)),
            first_address: nas_address,
            identity: identity(settings, nas_address),
            renderer,
            apart: Apart::default(),
            client: Client::new(now.mono, client_settings, seed()),
            links: Links::new(addresses, local, settings.carrier.clone(), Offload::of(settings)),
            names: look_up,
            wanted: Vec::new(),
            doing: Vec::new(),
            ended: Vec::new(),
            acknowledged: Acknowledged::default(),
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            timer_at: now.mono,
            reported_at: Instant(0),
            told_capacity: 1,
            board: Board { servers: Arc::default(), names: names.into() },
            tap: None,
            name,
        };
        sink.client.tick(now, &mut sink.wanted);
        sink.perform(now);
        Ok(sink)
    }

    /// Where the states of the servers can be read.
    #[must_use]
    pub fn board(&self) -> Board {
        self.board.clone()
    }

    /// Does what the machine wants, until it wants nothing more.
    fn perform(&mut self, now: Now) {
        while !self.wanted.is_empty() {
            std::mem::swap(&mut self.wanted, &mut self.doing);
            let mut doing = std::mem::take(&mut self.doing);
            for output in doing.drain(..) {
                self.perform_one(now, output);
            }
            self.doing = doing;
        }
    }

    /// The same, and sends what that gives: all datagrams of a turn together.
    fn send(&mut self, now: Now) {
        loop {
            self.perform(now);
            let (client, wanted) = (&mut self.client, &mut self.wanted);
            self.links.send(|input| client.handle(now, input, wanted));
            if let Some(error) = self.links.take_offload_refusal() {
                tracing::warn!(
                    sink = %self.name, %error,
                    "the kernel refuses segmentation offload: datagrams leave one by one, without padding"
                );
            }
            if self.wanted.is_empty() {
                return;
            }
        }
    }

    fn perform_one(&mut self, now: Now, output: Output) {
        match output {
            Output::Transmit { server, lane, datagram } => {
                if let Some(tap) = &mut self.tap {
                    tap.sent(server, lane, &datagram);
                }
                self.links.push(server, lane, datagram);
            }
            Output::OpenLane { server, lane } => {
                let input = match self.links.open(server, lane) {
                    Ok(Opening::Done) => Input::LaneOpened { server, lane },
                    Ok(Opening::UnderWay) => return,
                    Err(error) => {
                        let address = self.links.address(server);
                        tracing::warn!(sink = %self.name, server = %address, %error, "cannot open a socket");
                        Input::LaneFailed { server, lane }
                    }
                };
                self.client.handle(now, input, &mut self.wanted);
            }
            Output::CloseLane { server, lane } => self.links.close(server, lane),
            Output::Lost { server, why } => {
                let address = self.links.address(server);
                tracing::warn!(sink = %self.name, server = %address, %why, "connection failed or lost");
            }
            Output::Delivered { key, part, server, round_trip } => {
                if let Some(round_trip) = round_trip {
                    self.meters.round_trip(round_trip);
                }
                match self.apart.acknowledged(key, part) {
                    Next::Leg => self.send_leg(now, key),
                    Next::End => {
                        let links = &self.links;
                        self.acknowledged.note(key, usize::from(server.0), || links.address(server).to_string());
                        self.ended.push(Outcome { seq: key, settlement: Settlement::Delivered });
                    }
                    Next::Wait => {}
                }
            }
            Output::Retry { key, after, reason } => {
                let settlement = self.waits(key, after, &reason);
                self.ended.push(Outcome { seq: key, settlement });
            }
            Output::Park { key, reason } => {
                let code = reason.code();
                let settlement = Settlement::Park { reason: self.apart.parked(key, reason.to_string()), code };
                self.ended.push(Outcome { seq: key, settlement });
            }
            Output::Health { server, health } => {
                let (sink, address) = (&self.name, self.links.address(server));
                match health {
                    client::Health::Alive => tracing::info!(%sink, server = %address, "server answers"),
                    client::Health::ProbesOnly => {
                        tracing::warn!(%sink, server = %address, "server answers Status-Server, but no record: what is behind it may be down");
                    }
                    health => tracing::warn!(%sink, server = %address, health = health.name(), "server is not used"),
                }
                if health != client::Health::Alive {
                    self.names.hurry();
                }
                self.reported_at = Instant(0);
            }
            Output::Alarm { server, alarm } => {
                let address = self.links.address(server);
                tracing::error!(sink = %self.name, server = %address, %alarm, "server needs attention");
            }
        }
    }

    /// A record goes back to the queue; what says nothing about it is no try of it.
    fn waits(&mut self, key: Seq, after: Duration, why: &client::Reason) -> Settlement {
        let reason = self.apart.failed(key, why.to_string());
        match why.is_about_record() {
            true => Settlement::Retry { after, reason },
            false => Settlement::Defer { after, reason },
        }
    }

    /// Sends the next leg of a record whose legs travel apart.
    fn send_leg(&mut self, now: Now, key: Seq) {
        let Some(trip) = self.apart.trip(key) else { return };
        let (attributes, losses) = self.renderer.render_leg(&trip.record, trip.step);
        self.meters.rendered(&self.name, attributes, losses);
        let part = apart::part(trip.step);
        hand_over(now, &trip.lease, part, attributes, &mut self.client, &mut self.wanted);
    }

    /// Takes what came on all lanes, does what is due. Returns whether there is news for the worker.
    fn poll_work(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut now = clock::now();
        loop {
            let (client, wanted, tap) = (&mut self.client, &mut self.wanted, &mut self.tap);
            self.links.receive(cx, |input| {
                if let Some(tap) = tap {
                    tap.came(&input);
                }
                client.handle(now, input, wanted);
            });
            for (server, address) in self.names.poll(now.mono, cx) {
                self.links.move_to(server, address);
                self.client.handle(now, Input::Moved { server, address }, &mut self.wanted);
            }
            if self.client.deadline().is_some_and(|deadline| deadline <= now.mono) {
                self.client.tick(now, &mut self.wanted);
            }
            self.send(now);
            self.links.flush(cx);
            if now.mono.since(self.reported_at) >= BEAT {
                self.reported_at = now.mono;
                self.meters.report(self.client.status());
                self.board.post(self.client.status());
            }
            if !self.ended.is_empty() || self.has_room_again(now.mono) {
                return Poll::Ready(());
            }
            if self.poll_timer(now.mono, cx).is_pending() {
                return Poll::Pending;
            }
            now = clock::now();
        }
    }

    /// Whether there is room although the worker was told that there was none; says so once.
    fn has_room_again(&mut self, now: Instant) -> bool {
        if self.told_capacity > 0 {
            return false;
        }
        self.told_capacity = self.client.capacity(now);
        self.told_capacity > 0
    }

    /// Waits for the machine's deadline, at most a beat.
    fn poll_timer(&mut self, now: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let beat = self.reported_at + BEAT;
        let latest = if self.links.is_short() { now + TIMER_STEP } else { beat };
        let deadline = self.client.deadline().map_or(latest, |deadline| deadline.min(latest));
        let is_over = self.timer.is_elapsed();
        if is_over || deadline < self.timer_at {
            let wait = deadline.since(now).max(TIMER_STEP);
            self.timer_at = now + wait;
            self.timer.set(tokio::time::sleep(wait));
        }
        self.timer.as_mut().poll(cx)
    }
}

impl Sink for RadiusSink {
    const KIND: &'static str = "radius";

    fn capacity(&mut self) -> usize {
        self.told_capacity = self.client.capacity(clock::mono());
        self.told_capacity
    }

    fn submit(&mut self, lease: &Lease, record: &Record) {
        let now = clock::now();
        if let Some((attributes, losses)) = self.renderer.render_whole(record) {
            self.meters.rendered(&self.name, attributes, losses);
            hand_over(now, lease, apart::WHOLE, attributes, &mut self.client, &mut self.wanted);
        } else {
            self.apart.begin(lease, record);
            self.send_leg(now, lease.seq);
        }
        self.perform(now);
        if self.links.has_batch() {
            self.send(now);
        }
    }

    fn submitted(&mut self) {
        self.send(clock::now());
    }

    fn acknowledger(&mut self, seq: Seq) -> Option<Arc<Acknowledger>> {
        self.acknowledged.take(seq)
    }

    async fn progress(&mut self, out: &mut Vec<Outcome>) {
        poll_fn(|cx| self.poll_work(cx)).await;
        out.append(&mut self.ended);
    }

    async fn close(&mut self, out: &mut Vec<Outcome>) {
        let farewell = poll_fn(|cx| self.links.poll_close(cx));
        let _in_time = tokio::time::timeout(CLOSE_TIME_MAX, farewell).await;
        out.append(&mut self.ended);
    }
}

/// Gives the machine a record, or a leg of it.
fn hand_over(now: Now, lease: &Lease, part: u16, attributes: &[u8], client: &mut Client, out: &mut Vec<Output>) {
    let submission = Submission {
        key: lease.seq,
        part,
        attributes,
        since: lease.appended,
        attempts: lease.attempts,
        call: lease.call,
    };
    client.handle(now, Input::Submit(submission), out);
}

/// The near end of a sink's sockets.
fn local(settings: &Settings) -> Local {
    Local { bind: settings.bind, namespace: settings.namespace.clone(), source: settings.source }
}

/// By what metrics tell servers apart: the address, or the name of one that has none yet.
fn labels<'a>(addresses: &'a [SocketAddr], names: &'a [Option<String>]) -> impl Iterator<Item = String> + 'a {
    addresses.iter().zip(names).map(|(address, name)| match name {
        Some(name) if address.ip().is_unspecified() => name.clone(),
        _ => address.to_string(),
    })
}

fn renderer(settings: &Settings, nas_address: IpAddr) -> Result<Renderer, SetupErrors> {
    let renderer = Renderer::new(settings, nas_address);
    let count = settings.client.servers.len();
    if count <= client::SERVERS_MAX {
        return renderer;
    }
    let mut errors = renderer.err().unwrap_or(super::mapping::SetupErrors(Vec::new()));
    errors.0.insert(0, SetupError::TooManyServers { count });
    Err(errors)
}

/// Says in the log what the settings mean where the client file leaves it open.
fn announce(name: &str, settings: &Settings) {
    if settings.client.servers.is_empty() {
        tracing::error!(sink = %name, "no accounting server can be used, for none has a secret: records wait in the queue");
    }
    if let Some(realm) = settings.default_realm.as_deref().filter(|realm| !realm.is_empty()) {
        tracing::info!(sink = %name, realm, "appended to each User-Name without `@`");
    }
    if !settings.ignored_keywords.is_empty() {
        tracing::debug!(sink = %name, keywords = ?settings.ignored_keywords, "keywords without effect in the client file");
    }
}

#[cfg(test)]
mod tests;
