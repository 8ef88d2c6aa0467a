//! Metrics of a Diameter sink. Labels: `sink` and `peer` from the configuration; what redirects lead to is `redirected`.

use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};

use crate::diameter::peer::State;
use crate::diameter::route::{PeerSettings, PeerStatus, Status};
use crate::sinks::Tally;

/// Accounting-Requests sent for the first time, by `sink`, `peer`.
pub const DIAMETER_REQUESTS_TOTAL: &str = "tollgate_diameter_requests_total";
/// Accounting-Requests sent with the flag T, by `sink`, `peer`.
pub const DIAMETER_REPEATS_TOTAL: &str = "tollgate_diameter_repeats_total";
/// Requests that ran out of time, by `sink`, `peer`.
pub const DIAMETER_TIMEOUTS_TOTAL: &str = "tollgate_diameter_timeouts_total";
/// Requests that went elsewhere because a connection failed, by `sink`, `peer`.
pub const DIAMETER_FAILED_OVER_TOTAL: &str = "tollgate_diameter_failed_over_total";
/// Answers, by `sink`, `peer`, `answer` (`accepted`, `protocol-error`, `transient-failure`, `permanent-failure`).
pub const DIAMETER_ANSWERS_TOTAL: &str = "tollgate_diameter_answers_total";
/// Other messages, by `sink`, `peer`, `fault` (`late`, `unknown`, `broken`, `foreign`).
pub const DIAMETER_BAD_ANSWERS_TOTAL: &str = "tollgate_diameter_bad_answers_total";
/// Connections, by `sink`, `peer`, `event` (`usable`, `lost`).
pub const DIAMETER_CONNECTIONS_TOTAL: &str = "tollgate_diameter_connections_total";
/// Requests waiting for an answer, by `sink`, `peer`.
pub const DIAMETER_OUTSTANDING_REQUESTS: &str = "tollgate_diameter_outstanding_requests";
/// Requests that may wait for an answer, by `sink`, `peer`.
pub const DIAMETER_WINDOW_REQUESTS: &str = "tollgate_diameter_window_requests";
/// 1 while the peer is used, else 0, by `sink`, `peer`.
pub const DIAMETER_PEER_USABLE: &str = "tollgate_diameter_peer_usable";
/// 1 while the route pauses because everything is refused, else 0, by `sink`.
pub const DIAMETER_ROUTE_PAUSED: &str = "tollgate_diameter_route_paused";
/// Time to the answer of requests that were sent once, by `sink`.
pub const DIAMETER_ROUND_TRIP_SECONDS: &str = "tollgate_diameter_round_trip_seconds";
/// Parked records by the AVP a server complained about, by `sink`, `avp`; the 33rd AVP and further ones are `other`.
pub const DIAMETER_FAILED_AVPS_TOTAL: &str = "tollgate_diameter_failed_avps_total";

/// Values left out because they do not fit their AVP, by `sink`.
pub const DIAMETER_VALUES_LEFT_OUT_TOTAL: &str = "tollgate_diameter_values_left_out_total";

/// AVPs with a count of their own: a server must not be able to make labels without end.
const AVP_LABELS_MAX: usize = 32;
/// The label of all others.
const OTHER: &str = "other";

pub(super) struct Meters {
    sink: Arc<str>,
    peers: Vec<Peer>,
    redirected: Peer,
    paused: Gauge,
    round_trip: Histogram,
    avps: Vec<(String, Counter)>,
}

struct Peer {
    requests: Tally,
    repeats: Tally,
    timeouts: Tally,
    failed_over: Tally,
    answers: [Tally; 4],
    faults: [Tally; 4],
    connections: [Tally; 2],
    outstanding: Gauge,
    window: Gauge,
    usable: Gauge,
}

impl Peer {
    fn new(sink: &Arc<str>, name: &str) -> Self {
        let peer: Arc<str> = name.into();
        let labels = || [("sink", Arc::clone(sink)), ("peer", Arc::clone(&peer))];
        let counter = |name: &'static str| Tally::new(metrics::counter!(name, &labels()));
        let gauge = |name: &'static str| metrics::gauge!(name, &labels());
        let kinds = |name: &'static str, label: &'static str, kind: &'static str| {
            Tally::new(metrics::counter!(name, "sink" => Arc::clone(sink), "peer" => Arc::clone(&peer), label => kind))
        };
        Self {
            requests: counter(DIAMETER_REQUESTS_TOTAL),
            repeats: counter(DIAMETER_REPEATS_TOTAL),
            timeouts: counter(DIAMETER_TIMEOUTS_TOTAL),
            failed_over: counter(DIAMETER_FAILED_OVER_TOTAL),
            answers: ["accepted", "protocol-error", "transient-failure", "permanent-failure"]
                .map(|answer| kinds(DIAMETER_ANSWERS_TOTAL, "answer", answer)),
            faults: ["late", "unknown", "broken", "foreign"]
                .map(|fault| kinds(DIAMETER_BAD_ANSWERS_TOTAL, "fault", fault)),
            connections: ["usable", "lost"].map(|event| kinds(DIAMETER_CONNECTIONS_TOTAL, "event", event)),
            outstanding: gauge(DIAMETER_OUTSTANDING_REQUESTS),
            window: gauge(DIAMETER_WINDOW_REQUESTS),
            usable: gauge(DIAMETER_PEER_USABLE),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "gauges of at most some thousands")]
    fn report(&self, status: &PeerStatus) {
        let counters = &status.counters;
        let answers =
            [counters.accepted, counters.protocol_errors, counters.transient_failures, counters.permanent_failures];
        let plain = [&self.requests, &self.repeats, &self.timeouts, &self.failed_over];
        let counts = [counters.requests, counters.repeats, counters.timeouts, counters.failed_over];
        let faults = [counters.late, counters.unknown, counters.broken, counters.foreign];
        let connections = [counters.connections, counters.losses];
        let all = plain.into_iter().chain(&self.answers).chain(&self.faults).chain(&self.connections);
        for (counter, count) in all.zip(counts.into_iter().chain(answers).chain(faults).chain(connections)) {
            counter.follow(count);
        }
        self.outstanding.set(status.outstanding as f64);
        self.window.set(status.window as f64);
        self.usable.set(if status.state == State::Open { 1.0 } else { 0.0 });
    }
}

impl Meters {
    pub fn new(sink: &Arc<str>, peers: &[PeerSettings]) -> Self {
        Self {
            sink: Arc::clone(sink),
            peers: peers.iter().map(|peer| Peer::new(sink, &super::dial::certificate_name(peer))).collect(),
            redirected: Peer::new(sink, "redirected"),
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
