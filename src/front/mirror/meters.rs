//! What a mirror counts, and what the operator is told of it.

use std::net::SocketAddr;
use std::time::Duration;

use metrics::{Counter, Gauge, counter, gauge};

use crate::clock::Instant;
use crate::hep::BadPacket;
use crate::metric::metrics_of;
use crate::mirror::{Count, Mirror};

metrics_of! { METRICS:
    /// Packets of HEP, by `mirror` and `outcome` (`taken`, `ahead`, taken with the time of now; `stranger`, from outside
    /// `allow`; `key`, `bad`, `other`, not SIP).
    counter MIRROR_PACKETS_TOTAL = "tollgate_mirror_packets_total", "packets";
    /// What became of the messages in them, by `mirror` and `what` (`received` and `sent` by the proxy, `elsewhere`, `inside`,
    /// `malformed`, `repeated`, `late`, `stray`, `unwanted`, `full`, `one_sided`, `inferred`, `unanswered`, `unknown`).
    counter MIRROR_MESSAGES_TOTAL = "tollgate_mirror_messages_total", "messages";
    /// Connections that ended within a packet or with what is none, by `mirror`.
    counter MIRROR_STREAMS_LOST_TOTAL = "tollgate_mirror_streams_lost_total", "streams";
    /// Records that were given up because the queue has taken nothing for too long, by `mirror`.
    counter MIRROR_RECORDS_LOST_TOTAL = "tollgate_mirror_records_lost_total", "records";
    /// Calls in progress, by `mirror`.
    gauge MIRROR_CALLS = "tollgate_mirror_calls", "calls";
    /// Requests that are followed, by `mirror`.
    gauge MIRROR_REQUESTS = "tollgate_mirror_requests", "requests";
}

/// How often the same is told.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Outcomes of a packet.
const OUTCOMES: [&str; 6] = ["taken", "ahead", "stranger", "key", "bad", "other"];

pub(super) struct Counters {
    name: String,
    /// In the order of [`OUTCOMES`].
    packets: [Counter; OUTCOMES.len()],
    messages: Vec<Counter>,
    streams_lost: Counter,
    records_lost: Counter,
    calls: Gauge,
    requests: Gauge,
    /// When a packet that cannot be used was told of last, one of a wrong clock, and messages that came late.
    told: Told,
    told_ahead: Told,
    told_late: Told,
    /// Messages that came late, as far as they were told.
    late: u64,
    told_silent: bool,
}

impl Counters {
    pub(super) fn new(name: &str) -> Self {
        let of = |metric: &'static str| counter!(metric, "mirror" => name.to_owned());
        Self {
            packets: OUTCOMES.map(|out| counter!(MIRROR_PACKETS_TOTAL, "mirror" => name.to_owned(), "outcome" => out)),
            messages: Count::ALL
                .iter()
                .map(|what| counter!(MIRROR_MESSAGES_TOTAL, "mirror" => name.to_owned(), "what" => what.name()))
                .collect(),
            streams_lost: of(MIRROR_STREAMS_LOST_TOTAL),
            records_lost: of(MIRROR_RECORDS_LOST_TOTAL),
            calls: gauge!(MIRROR_CALLS, "mirror" => name.to_owned()),
            requests: gauge!(MIRROR_REQUESTS, "mirror" => name.to_owned()),
            name: name.to_owned(),
            told: Told::default(),
            told_ahead: Told::default(),
            told_late: Told::default(),
            late: 0,
            told_silent: false,
        }
    }

    pub(super) fn strangers(&self) -> Counter {
        self.packets[2].clone()
    }

    pub(super) fn lost_streams(&self) -> Counter {
        self.streams_lost.clone()
    }

    /// A packet is taken; `ahead`: its time is so much after that of the machine's clock, and is not used.
    pub(super) fn taken(&mut self, now: Instant, source: SocketAddr, ahead: Option<Duration>) {
        self.packets[usize::from(ahead.is_some())].increment(1);
        if let Some(ahead) = ahead.filter(|_| self.told_ahead.is_due(now)) {
            tracing::warn!(
                mirror = self.name,
                %source,
                ahead_secs = ahead.as_secs(),
                "packets are of a time to come, and count as of now: a clock is wrong, there or here"
            );
        }
    }

    pub(super) fn other(&self) {
        self.packets[5].increment(1);
    }

    pub(super) fn refused(&mut self, now: Instant, source: SocketAddr) {
        self.packets[3].increment(1);
        if self.told.is_due(now) {
            tracing::warn!(mirror = self.name, %source, "packets of HEP without the key are passed over");
        }
    }

    pub(super) fn bad(&mut self, now: Instant, source: SocketAddr, error: &BadPacket) {
        self.packets[4].increment(1);
        if self.told.is_due(now) {
            tracing::warn!(mirror = self.name, %source, %error, "packets that cannot be used are passed over");
        }
    }

    pub(super) fn lost(&self, records: usize) {
        self.records_lost.increment(records as u64);
        tracing::error!(mirror = self.name, records, "records of a mirror are lost: the queue takes nothing");
    }

    pub(super) fn state(&mut self, now: Instant, mirror: &Mirror) {
        for (counter, (count, number)) in self.messages.iter().zip(mirror.counts()) {
            counter.absolute(number);
            if count == Count::Late && number > self.late && self.told_late.is_due(now) {
                tracing::warn!(
                    mirror = self.name,
                    messages = number - self.late,
                    "messages came after later ones were taken, and their calls may not be recorded: do the clocks of all that \
                     send here agree, and is `reorder_ms` long enough?"
                );
                self.late = number;
            }
        }
        self.calls.set(mirror.calls() as f64);
        self.requests.set(mirror.sizes().0 as f64);
        if let Some(side) = mirror.silent_side().filter(|_| !self.told_silent) {
            self.told_silent = true;
            tracing::warn!(
                mirror = self.name,
                "no message {side} the proxy was heard: does `proxy` name all its addresses?"
            );
        }
    }
}

/// When something was told of last.
#[derive(Default)]
struct Told(Option<Instant>);

impl Told {
    /// Whether it may be told again; then it is.
    fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.0.is_none_or(|told| now.since(told) >= TOLD_EVERY);
        if is_due {
            self.0 = Some(now);
        }
        is_due
    }
}
