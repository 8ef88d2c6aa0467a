//! Metrics of a Diameter sink. Labels: `sink` and `peer` from the configuration; what redirects lead to is `redirected`.

use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};

use crate::diameter::peer::State;
use crate::diameter::route::{PeerSettings, PeerStatus, Status};
use crate::metric::{TRUTH, metrics_of};
use crate::sinks::meters::{Count, ServerMeters, Shown};

metrics_of! { METRICS:
    /// Accounting-Requests sent for the first time, by `sink`, `peer`.
    counter DIAMETER_REQUESTS_TOTAL = "tollgate_diameter_requests_total", "requests";
    /// Accounting-Requests sent with the flag T, by `sink`, `peer`.
    counter DIAMETER_REPEATS_TOTAL = "tollgate_diameter_repeats_total", "repeats";
    /// Requests that ran out of time, by `sink`, `peer`.
    counter DIAMETER_TIMEOUTS_TOTAL = "tollgate_diameter_timeouts_total", "timeouts";
    /// Requests that went elsewhere because a connection failed, by `sink`, `peer`.
    counter DIAMETER_FAILED_OVER_TOTAL = "tollgate_diameter_failed_over_total", "requests";
    /// Answers, by `sink`, `peer`, `answer` (`accepted`, `protocol-error`, `transient-failure`, `permanent-failure`).
    counter DIAMETER_ANSWERS_TOTAL = "tollgate_diameter_answers_total", "answers";
    /// Other messages, by `sink`, `peer`, `fault` (`late`, `unknown`, `broken`, `foreign`).
    counter DIAMETER_BAD_ANSWERS_TOTAL = "tollgate_diameter_bad_answers_total", "answers";
    /// Connections, by `sink`, `peer`, `event` (`usable`, `lost`).
    counter DIAMETER_CONNECTIONS_TOTAL = "tollgate_diameter_connections_total", "connections";
    /// Requests waiting for an answer, by `sink`, `peer`.
    gauge DIAMETER_OUTSTANDING_REQUESTS = "tollgate_diameter_outstanding_requests", "requests";
    /// Requests that may wait for an answer, by `sink`, `peer`.
    gauge DIAMETER_WINDOW_REQUESTS = "tollgate_diameter_window_requests", "requests";
    /// 1 while the peer is used, else 0, by `sink`, `peer`.
    gauge DIAMETER_PEER_USABLE = "tollgate_diameter_peer_usable", TRUTH;
    /// 1 while the route pauses because everything is refused, else 0, by `sink`.
    gauge DIAMETER_ROUTE_PAUSED = "tollgate_diameter_route_paused", TRUTH;
    /// Time to the answer of requests that were sent once, by `sink`.
    histogram DIAMETER_ROUND_TRIP_SECONDS = "tollgate_diameter_round_trip_seconds", "seconds";
    /// Parked records by the AVP a server complained about, by `sink`, `avp`; the 33rd AVP and further ones are `other`.
    counter DIAMETER_FAILED_AVPS_TOTAL = "tollgate_diameter_failed_avps_total", "avps";
    /// Values left out because they do not fit their AVP, by `sink`.
    counter DIAMETER_VALUES_LEFT_OUT_TOTAL = "tollgate_diameter_values_left_out_total", "values";
}

/// AVPs with a count of their own: a server must not be able to make labels without end.
const AVP_LABELS_MAX: usize = 32;
/// The label of all others.
const OTHER: &str = "other";

pub(super) struct Meters {
    sink: Arc<str>,
    peers: Vec<ServerMeters<PeerStatus>>,
    redirected: ServerMeters<PeerStatus>,
    paused: Gauge,
    round_trip: Histogram,
    avps: Vec<(String, Counter)>,
}

/// What is counted of a peer.
pub(super) const COUNTS: [Count<PeerStatus>; 15] = [
    ("requests", DIAMETER_REQUESTS_TOTAL, None, |p| p.counters.requests),
    ("repeats", DIAMETER_REPEATS_TOTAL, None, |p| p.counters.repeats),
    ("timeouts", DIAMETER_TIMEOUTS_TOTAL, None, |p| p.counters.timeouts),
    ("failed_over", DIAMETER_FAILED_OVER_TOTAL, None, |p| p.counters.failed_over),
    ("accepted", DIAMETER_ANSWERS_TOTAL, Some(("answer", "accepted")), |p| p.counters.accepted),
    ("protocol_errors", DIAMETER_ANSWERS_TOTAL, Some(("answer", "protocol-error")), |p| p.counters.protocol_errors),
    ("transient_failures", DIAMETER_ANSWERS_TOTAL, TRANSIENT, |p| p.counters.transient_failures),
    ("permanent_failures", DIAMETER_ANSWERS_TOTAL, PERMANENT, |p| p.counters.permanent_failures),
    ("late", DIAMETER_BAD_ANSWERS_TOTAL, Some(("fault", "late")), |p| p.counters.late),
    ("unknown", DIAMETER_BAD_ANSWERS_TOTAL, Some(("fault", "unknown")), |p| p.counters.unknown),
    ("foreign", DIAMETER_BAD_ANSWERS_TOTAL, Some(("fault", "foreign")), |p| p.counters.foreign),
    ("broken", DIAMETER_BAD_ANSWERS_TOTAL, Some(("fault", "broken")), |p| p.counters.broken),
    ("connections", DIAMETER_CONNECTIONS_TOTAL, Some(("event", "usable")), |p| p.counters.connections),
    ("losses", DIAMETER_CONNECTIONS_TOTAL, Some(("event", "lost")), |p| p.counters.losses),
    ("requests_in", "", None, |p| p.counters.requests_in),
];
const TRANSIENT: Option<(&str, &str)> = Some(("answer", "transient-failure"));
const PERMANENT: Option<(&str, &str)> = Some(("answer", "permanent-failure"));

/// What is shown of a peer.
#[expect(clippy::cast_precision_loss, reason = "gauges of at most some thousands")]
const SHOWN: [Shown<PeerStatus>; 3] = [
    (DIAMETER_OUTSTANDING_REQUESTS, |p| p.outstanding as f64),
    (DIAMETER_WINDOW_REQUESTS, |p| p.window as f64),
    (DIAMETER_PEER_USABLE, |p| f64::from(u8::from(p.state == State::Open))),
];

impl Meters {
    pub fn new(sink: &Arc<str>, peers: &[PeerSettings]) -> Self {
        let meters = |name: &str| ServerMeters::new(sink, ("peer", name), &COUNTS, &SHOWN);
        Self {
            sink: Arc::clone(sink),
            peers: peers.iter().map(|peer| meters(&super::dial::certificate_name(peer))).collect(),
            redirected: meters("redirected"),
            paused: metrics::gauge!(DIAMETER_ROUTE_PAUSED, "sink" => Arc::clone(sink)),
            round_trip: metrics::histogram!(DIAMETER_ROUND_TRIP_SECONDS, "sink" => Arc::clone(sink)),
            avps: Vec::new(),
        }
    }

    pub fn report(&self, status: &Status) {
        for (index, peer) in status.peers.iter().enumerate() {
            self.peers.get(index).unwrap_or(&self.redirected).report(peer);
        }
        self.paused.set(if status.paused.is_some() { 1.0 } else { 0.0 });
    }

    pub fn round_trip(&self, time: Duration) {
        self.round_trip.record(time);
    }

    /// A server complained about an AVP.
    pub fn failed_avp(&mut self, name: String) {
        let known = |name: &str| self.avps.iter().position(|(known, _)| known == name);
        let other = || known(OTHER).filter(|_| self.avps.len() >= AVP_LABELS_MAX);
        if let Some(place) = known(&name).or_else(other) {
            return self.avps[place].1.increment(1);
        }
        let name = if self.avps.len() < AVP_LABELS_MAX { name } else { OTHER.to_owned() };
        let label: Arc<str> = name.as_str().into();
        let counter = metrics::counter!(DIAMETER_FAILED_AVPS_TOTAL, "sink" => Arc::clone(&self.sink), "avp" => label);
        counter.increment(1);
        self.avps.push((name, counter));
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn the_first_32_avps_keep_counts_of_their_own() {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            let mut meters = Meters::new(&"s".into(), &[]);
            for number in (0..40).chain([3, 31, 32]) {
                meters.failed_avp(format!("Avp-{number}"));
            }
        });
        let text = recorder.handle().render();
        for (avp, count) in [("Avp-3", 2), ("Avp-31", 2), ("Avp-0", 1), ("other", 9)] {
            let line = format!("{DIAMETER_FAILED_AVPS_TOTAL}{{sink=\"s\",avp=\"{avp}\"}} {count}");
            assert!(text.contains(&line), "{line} in {text}");
        }
    }
}
