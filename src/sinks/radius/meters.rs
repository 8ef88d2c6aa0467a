//! Metrics of a RADIUS sink. Labels: `sink` and `server` from the configuration.

use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Histogram};

use super::render::Losses;
use crate::metric::{TRUTH, metrics_of};
use crate::radius::client::{Health, ServerStatus};
use crate::sinks::meters::{Count, ServerMeters, Shown};

metrics_of! { METRICS:
    /// Requests sent for the first time in a visit, by `sink`, `server`.
    counter RADIUS_REQUESTS_TOTAL = "tollgate_radius_requests_total", "requests";
    /// Requests sent again, by `sink`, `server`.
    counter RADIUS_RETRANSMISSIONS_TOTAL = "tollgate_radius_retransmissions_total", "retransmissions";
    /// Transmissions that ran out of time, by `sink`, `server`.
    counter RADIUS_TIMEOUTS_TOTAL = "tollgate_radius_timeouts_total", "timeouts";
    /// Authentic answers, by `sink`, `server`, `answer` (`stored`, `refused`, `wrong-code`).
    counter RADIUS_ANSWERS_TOTAL = "tollgate_radius_answers_total", "answers";
    /// Other datagrams, by `sink`, `server`, `fault` (`malformed`, `bad-authenticator`, `late`, `unknown`, `unreachable`).
    counter RADIUS_BAD_ANSWERS_TOTAL = "tollgate_radius_bad_answers_total", "answers";
    /// Status-Server, by `sink`, `server`, `probe` (`sent`, `answered`).
    counter RADIUS_PROBES_TOTAL = "tollgate_radius_probes_total", "probes";
    /// Requests waiting for an answer, by `sink`, `server`.
    gauge RADIUS_OUTSTANDING_REQUESTS = "tollgate_radius_outstanding_requests", "requests";
    /// Open sockets, by `sink`, `server`.
    gauge RADIUS_LANES = "tollgate_radius_lanes", "lanes";
    /// 1 while the server is used, else 0, by `sink`, `server`.
    gauge RADIUS_SERVER_ALIVE = "tollgate_radius_server_alive", TRUTH;
    /// Time to the answer of requests that were sent once, by `sink`.
    histogram RADIUS_ROUND_TRIP_SECONDS = "tollgate_radius_round_trip_seconds", "seconds";
    /// Values shortened, and attributes dropped from full packets, by `sink`.
    counter RADIUS_SHORTENED_VALUES_TOTAL = "tollgate_radius_shortened_values_total", "values";
    /// Requests longer than 1400 octets, by `sink`: networks cut such datagrams into fragments.
    counter RADIUS_LONG_REQUESTS_TOTAL = "tollgate_radius_long_requests_total", "requests";
}

/// Octets of attributes beyond which the datagram of a record may be cut into fragments, which get lost easily.
const UNFRAGMENTED_OCTETS_MAX: usize = 1_374;

/// What is counted of a server.
pub(super) const COUNTS: [Count<ServerStatus>; 14] = [
    ("requests", RADIUS_REQUESTS_TOTAL, None, |s| s.counters.requests),
    ("retransmissions", RADIUS_RETRANSMISSIONS_TOTAL, None, |s| s.counters.retransmissions),
    ("timeouts", RADIUS_TIMEOUTS_TOTAL, None, |s| s.counters.timeouts),
    ("stored", RADIUS_ANSWERS_TOTAL, Some(("answer", "stored")), |s| s.counters.stored),
    ("refused", RADIUS_ANSWERS_TOTAL, Some(("answer", "refused")), |s| s.counters.refused),
    ("unreachable", RADIUS_BAD_ANSWERS_TOTAL, Some(("fault", "unreachable")), |s| s.counters.unreachable),
    ("wrong_code", RADIUS_ANSWERS_TOTAL, Some(("answer", "wrong-code")), |s| s.counters.wrong_code),
    ("bad_authenticator", RADIUS_BAD_ANSWERS_TOTAL, FORGED, |s| s.counters.bad_authenticator),
    ("malformed", RADIUS_BAD_ANSWERS_TOTAL, Some(("fault", "malformed")), |s| s.counters.malformed),
    ("stored_late", "", None, |s| s.counters.stored_late),
    ("late", RADIUS_BAD_ANSWERS_TOTAL, Some(("fault", "late")), |s| s.counters.late),
    ("unknown", RADIUS_BAD_ANSWERS_TOTAL, Some(("fault", "unknown")), |s| s.counters.unknown),
    ("probes", RADIUS_PROBES_TOTAL, Some(("probe", "sent")), |s| s.counters.probes),
    ("probe_answers", RADIUS_PROBES_TOTAL, Some(("probe", "answered")), |s| s.counters.probe_answers),
];
const FORGED: Option<(&str, &str)> = Some(("fault", "bad-authenticator"));

/// What is shown of a server.
#[expect(clippy::cast_precision_loss, reason = "gauges of at most some thousands")]
const SHOWN: [Shown<ServerStatus>; 3] = [
    (RADIUS_OUTSTANDING_REQUESTS, |s| s.outstanding as f64),
    (RADIUS_LANES, |s| s.lanes as f64),
    (RADIUS_SERVER_ALIVE, |s| f64::from(u8::from(s.health == Health::Alive))),
];

pub(super) struct Meters {
    servers: Vec<ServerMeters<ServerStatus>>,
    round_trip: Histogram,
    shortened: Counter,
    long: Counter,
    has_warned: bool,
}

impl Meters {
    pub(super) fn new(sink: &Arc<str>, servers: impl Iterator<Item = String>) -> Self {
        Self {
            servers: servers.map(|name| ServerMeters::new(sink, ("server", &name), &COUNTS, &SHOWN)).collect(),
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
            tracing::warn!(%sink, "a record takes more than 1400 octets: its IP fragments may get lost; use TCP or TLS, or fewer fields");
        }
    }

    fn lost(&self, losses: Losses) {
        let count = losses.shortened + losses.dropped;
        if count > 0 {
            self.shortened.increment(u64::try_from(count).unwrap_or(u64::MAX));
        }
    }
}
