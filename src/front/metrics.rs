//! What the shards count, as metrics with documented names.

use metrics::{Counter, Gauge, counter, gauge};

use crate::accounting::Noticed;
use crate::shard::{Count, Health, Shard};
use crate::sip::stack::Ignored;

/// Datagrams received, by `shard`.
pub const SIP_DATAGRAMS_RECEIVED_TOTAL: &str = "tollgate_sip_datagrams_received_total";
/// Datagrams sent, by `shard`.
pub const SIP_DATAGRAMS_SENT_TOTAL: &str = "tollgate_sip_datagrams_sent_total";
/// Datagrams dropped, by `shard` and `reason` (`send_buffer`, `handover`).
pub const SIP_DATAGRAMS_DROPPED_TOTAL: &str = "tollgate_sip_datagrams_dropped_total";
/// Errors a receive call brought, by `shard`.
pub const SIP_RECEIVE_ERRORS_TOTAL: &str = "tollgate_sip_receive_errors_total";
/// Messages that led to nothing, by `reason`.
pub const SIP_MESSAGES_IGNORED_TOTAL: &str = "tollgate_sip_messages_ignored_total";
/// New calls answered 503: trouble with the queue, draining, or too many calls.
pub const SIP_CALLS_REFUSED_TOTAL: &str = "tollgate_sip_calls_refused_total";
/// INVITEs of answered calls that came again after a restart and were absorbed.
pub const SIP_INVITES_RESENT_TOTAL: &str = "tollgate_sip_invites_resent_total";
/// Requests no route matched.
pub const SIP_REQUESTS_UNROUTED_TOTAL: &str = "tollgate_sip_requests_unrouted_total";
/// Responses that left before their record was on disk, because the commit took longer than `queue.commit_wait_max_ms`.
pub const SIP_ANSWERS_UNSAFE_TOTAL: &str = "tollgate_sip_answers_unsafe_total";
/// Commits of which the queue did not take all; the queue counts their records by reason.
pub const SIP_COMMITS_LOST_TOTAL: &str = "tollgate_sip_commits_lost_total";
/// Calls whose 2xx was never acknowledged.
pub const CALLS_UNACKNOWLEDGED_TOTAL: &str = "tollgate_calls_unacknowledged_total";
/// Calls that went on after their end in the records.
pub const CALLS_REVIVED_TOTAL: &str = "tollgate_calls_revived_total";
/// Calls in progress, by `shard`.
pub const SIP_CALLS: &str = "tollgate_sip_calls";
/// Transactions in progress or absorbing, by `shard` and `side` (`server`, `client`).
pub const SIP_TRANSACTIONS: &str = "tollgate_sip_transactions";
/// Destinations that are down, by `shard`.
pub const SIP_DESTINATIONS_DOWN: &str = "tollgate_sip_destinations_down";
/// Whether records cannot be committed in time (1) or can (0), by `shard`.
pub const SIP_ALARM: &str = "tollgate_sip_alarm";

/// The handles of one shard, looked up once.
pub(super) struct Meters {
    pub received: Counter,
    pub sent: Counter,
    pub send_dropped: Counter,
    pub handover_dropped: Counter,
    pub receive_errors: Counter,
    pub commits_lost: Counter,
    pub strangers: Counter,
    refused: Counter,
    unrouted: Counter,
    unsafe_answers: Counter,
    calls: Gauge,
    servers: Gauge,
    clients: Gauge,
    down: Gauge,
    alarm: Gauge,
}

impl Meters {
    pub fn of_shard(number: usize) -> Self {
        let shard = number.to_string();
        Self {
            received: counter!(SIP_DATAGRAMS_RECEIVED_TOTAL, "shard" => shard.clone()),
            sent: counter!(SIP_DATAGRAMS_SENT_TOTAL, "shard" => shard.clone()),
            send_dropped: counter!(SIP_DATAGRAMS_DROPPED_TOTAL, "shard" => shard.clone(), "reason" => "send_buffer"),
            handover_dropped: counter!(SIP_DATAGRAMS_DROPPED_TOTAL, "shard" => shard.clone(), "reason" => "handover"),
            receive_errors: counter!(SIP_RECEIVE_ERRORS_TOTAL, "shard" => shard.clone()),
            commits_lost: counter!(SIP_COMMITS_LOST_TOTAL, "shard" => shard.clone()),
            strangers: counter!(SIP_MESSAGES_IGNORED_TOTAL, "reason" => reason(Ignored::Forbidden)),
            refused: counter!(SIP_CALLS_REFUSED_TOTAL),
            unrouted: counter!(SIP_REQUESTS_UNROUTED_TOTAL),
            unsafe_answers: counter!(SIP_ANSWERS_UNSAFE_TOTAL),
            calls: gauge!(SIP_CALLS, "shard" => shard.clone()),
            servers: gauge!(SIP_TRANSACTIONS, "shard" => shard.clone(), "side" => "server"),
            clients: gauge!(SIP_TRANSACTIONS, "shard" => shard.clone(), "side" => "client"),
            down: gauge!(SIP_DESTINATIONS_DOWN, "shard" => shard.clone()),
            alarm: gauge!(SIP_ALARM, "shard" => shard),
        }
    }

    /// Counts what the shard reports. Rare things only: the registry is asked by name.
    pub fn count(&self, count: Count) {
        match count {
            Count::CallRefused => self.refused.increment(1),
            Count::InviteResent => counter!(SIP_INVITES_RESENT_TOTAL).increment(1),
            Count::NoRoute => self.unrouted.increment(1),
            Count::AnswerUnsafe => self.unsafe_answers.increment(1),
            Count::Ignored(why) => counter!(SIP_MESSAGES_IGNORED_TOTAL, "reason" => reason(why)).increment(1),
        }
    }

    /// Counts what was noticed about a call. Rare, too.
    pub fn notice(&self, what: Noticed) {
        let name = match what {
            Noticed::Unacknowledged => CALLS_UNACKNOWLEDGED_TOTAL,
            Noticed::Revived => CALLS_REVIVED_TOTAL,
        };
        counter!(name).increment(1);
    }

    /// Shows the state after a turn.
    #[allow(clippy::cast_precision_loss, reason = "exact up to 2^53")]
    pub fn state(&self, shard: &Shard) {
        let sizes = shard.sizes();
        self.calls.set(shard.calls() as f64);
        self.servers.set(sizes.server as f64);
        self.clients.set(sizes.client as f64);
        self.down.set(sizes.down as f64);
        self.alarm.set(if shard.alarm() == Health::Well { 0.0 } else { 1.0 });
    }
}

fn reason(why: Ignored) -> &'static str {
    match why {
        Ignored::RequestRepeated => "request_repeated",
        Ignored::AnswerRepeated => "answer_repeated",
        Ignored::AnswerStray => "answer_stray",
        Ignored::AnswerMalformed => "answer_malformed",
        Ignored::ProvisionalLate => "provisional_late",
        Ignored::AnswersTooMany => "answers_too_many",
        Ignored::AckStray => "ack_stray",
        Ignored::Malformed => "malformed",
        Ignored::Forbidden => "forbidden",
        Ignored::AnsweredStateless(_) => "answered_stateless",
        Ignored::RateLimited => "rate_limited",
        Ignored::Outdated => "outdated",
        Ignored::NoListener => "no_listener",
        Ignored::SourceLimited => "source_limited",
        Ignored::Steered => "steered",
        Ignored::RouteMissing(_) => "route_missing",
        Ignored::DialogUnknown => "dialog_unknown",
        Ignored::CallLimited => "call_limited",
    }
}
