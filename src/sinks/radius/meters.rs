//! Metrics of a RADIUS sink. Labels: `sink` and `server` from the configuration.

use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};

use super::render::Losses;
use crate::radius::client::{Health, ServerStatus};
use crate::sinks::Tally;

/// Requests sent for the first time in a visit, by `sink`, `server`.
pub const RADIUS_REQUESTS_TOTAL: &str = "tollgate_radius_requests_total";
/// Requests sent again, by `sink`, `server`.
pub const RADIUS_RETRANSMISSIONS_TOTAL: &str = "tollgate_radius_retransmissions_total";
/// Transmissions that ran out of time, by `sink`, `server`.
pub const RADIUS_TIMEOUTS_TOTAL: &str = "tollgate_radius_timeouts_total";
/// Authentic answers, by `sink`, `server`, `answer` (`stored`, `refused`, `wrong-code`).
pub const RADIUS_ANSWERS_TOTAL: &str = "tollgate_radius_answers_total";
/// Other datagrams, by `sink`, `server`, `fault` (`malformed`, `bad-authenticator`, `late`, `unknown`, `unreachable`).
pub const RADIUS_BAD_ANSWERS_TOTAL: &str = "tollgate_radius_bad_answers_total";
/// Status-Server, by `sink`, `server`, `probe` (`sent`, `answered`).
pub const RADIUS_PROBES_TOTAL: &str = "tollgate_radius_probes_total";
/// Requests waiting for an answer, by `sink`, `server`.
pub const RADIUS_OUTSTANDING_REQUESTS: &str = "tollgate_radius_outstanding_requests";
/// Open sockets, by `sink`, `server`.
pub const RADIUS_LANES: &str = "tollgate_radius_lanes";
/// 1 while the server is used, else 0, by `sink`, `server`.
pub const RADIUS_SERVER_ALIVE: &str = "tollgate_radius_server_alive";
/// Time to the answer of requests that were sent once, by `sink`.
pub const RADIUS_ROUND_TRIP_SECONDS: &str = "tollgate_radius_round_trip_seconds";
/// Values shortened, and attributes dropped from full packets, by `sink`.
pub const RADIUS_SHORTENED_VALUES_TOTAL: &str = "tollgate_radius_shortened_values_total";

/// Octets of attributes beyond which the datagram of a record may be cut into fragments, which get lost easily.
const UNFRAGMENTED_OCTETS_MAX: usize = 1_374;

/// Requests longer than 1400 octets, by `sink`: networks cut such datagrams into fragments.
pub const RADIUS_LONG_REQUESTS_TOTAL: &str = "tollgate_radius_long_requests_total";

pub(super) struct Meters {
    servers: Vec<Server>,
    round_trip: Histogram,
    shortened: Counter,
    long: Counter,
    has_warned: bool,
}

struct Server {
    requests: Tally,
    retransmissions: Tally,
    timeouts: Tally,
    answers: [Tally; 3],
    faults: [Tally; 5],
    probes: [Tally; 2],
    outstanding: Gauge,
    lanes: Gauge,
    alive: Gauge,
}

impl Server {
    fn new(sink: &Arc<str>, label: String) -> Self {
        let server: Arc<str> = label.into();
        let labels = || [("sink", Arc::clone(sink)), ("server", Arc::clone(&server))];
        let counter = |name: &'static str| Tally::new(metrics::counter!(name, &labels()));
        let gauge = |name: &'static str| metrics::gauge!(name, &labels());
        let kinds = |name: &'static str, label: &'static str, kind: &'static str| {
            Tally::new(
                metrics::counter!(name, "sink" => Arc::clone(sink), "server" => Arc::clone(&server), label => kind),
            )
        };
        Self {
            requests: counter(RADIUS_REQUESTS_TOTAL),
            retransmissions: counter(RADIUS_RETRANSMISSIONS_TOTAL),
            timeouts: counter(RADIUS_TIMEOUTS_TOTAL),
            answers: ["stored", "refused", "wrong-code"].map(|answer| kinds(RADIUS_ANSWERS_TOTAL, "answer", answer)),
            faults: ["malformed", "bad-authenticator", "late", "unknown", "unreachable"]
                .map(|fault| kinds(RADIUS_BAD_ANSWERS_TOTAL, "fault", fault)),
            probes: ["sent", "answered"].map(|probe| kinds(RADIUS_PROBES_TOTAL, "probe", probe)),
            outstanding: gauge(RADIUS_OUTSTANDING_REQUESTS),
            lanes: gauge(RADIUS_LANES),
            alive: gauge(RADIUS_SERVER_ALIVE),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "gauges of at most some thousands")]
    fn report(&self, status: &ServerStatus) {
        let counters = &status.counters;
        self.requests.follow(counters.requests);
        self.retransmissions.follow(counters.retransmissions);
        self.timeouts.follow(counters.timeouts);
        let answers = [counters.stored, counters.refused, counters.wrong_code];
        let faults =
            [counters.malformed, counters.bad_authenticator, counters.late, counters.unknown, counters.unreachable];
        let probes = [counters.probes, counters.probe_answers];
        let all = self.answers.iter().chain(&self.faults).chain(&self.probes);
        for (counter, count) in all.zip(answers.into_iter().chain(faults).chain(probes)) {
            counter.follow(count);
        }
        self.outstanding.set(status.outstanding as f64);
        self.lanes.set(status.lanes as f64);
        self.alive.set(if status.health == Health::Alive { 1.0 } else { 0.0 });
    }
}

/// A server that is used no more has no requests and is not alive; if it goes on under other settings, these say so soon.
impl Drop for Server {
    fn drop(&mut self) {
        self.outstanding.set(0.0);
        self.lanes.set(0.0);
        self.alive.set(0.0);
    }
}

impl Meters {
    pub(super) fn new(sink: &Arc<str>, servers: impl Iterator<Item = String>) -> Self {
        Self {
            servers: servers.map(|label| Server::new(sink, label)).collect(),
            round_trip: metrics::histogram!(RADIUS_ROUND_TRIP_SECONDS, "sink" => Arc::clone(sink)),
            shortened: metrics::counter!(RADIUS_SHORTENED_VALUES_TOTAL, "sink" => Arc::clone(sink)),
            long: metrics::counter!(RADIUS_LONG_REQUESTS_TOTAL, "sink" => Arc::clone(sink)),
            has_warned: false,
        }
    }

    pub(super) fn report(&self, status: impl Iterator<Item = ServerStatus>) {
        for (server, status) in self.servers.iter().zip(status) {
            server.report(&status);
        }
    }

    pub(super) fn round_trip(&self, time: Duration) {
        self.round_trip.record(time);
    }

    /// What was lost of the values of a request is counted, and whether it is longer than a datagram should be.
    pub(super) fn rendered(&mut self, sink: &str, attributes: &[u8], losses: Losses) {
        self.lost(losses);
        if attributes.len() > UNFRAGMENTED_OCTETS_MAX {
            self.long(sink);
        }
    }

    /// Counted, and told once.
    fn long(&mut self, sink: &str) {
        self.long.increment(1);
        if !std::mem::replace(&mut self.has_warned, true) {
            tracing::warn!(%sink, "a record takes more than 1400 octets: fragments get lost, better use TCP or TLS, or fewer fields");
        }
    }

    fn lost(&self, losses: Losses) {
        let count = losses.shortened + losses.dropped;
        if count > 0 {
            self.shortened.increment(u64::try_from(count).unwrap_or(u64::MAX));
        }
    }
}
