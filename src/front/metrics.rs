//! What the shards count, as metrics with documented names.

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use super::tally;
use crate::accounting::Noticed;
use crate::metric::{TRUTH, metrics_of};
use crate::shard::adopting::Held;
use crate::shard::{Count, Health, Limit, Shard};
use crate::sip::stack::Ignored;

metrics_of! { METRICS:
    /// Datagrams received, by `shard`.
    counter SIP_DATAGRAMS_RECEIVED_TOTAL = "tollgate_sip_datagrams_received_total", "datagrams";
    /// Datagrams sent, by `shard`.
    counter SIP_DATAGRAMS_SENT_TOTAL = "tollgate_sip_datagrams_sent_total", "datagrams";
    /// Datagrams dropped, by `shard` and `reason` (`send_buffer`, `handover`).
    counter SIP_DATAGRAMS_DROPPED_TOTAL = "tollgate_sip_datagrams_dropped_total", "datagrams";
    /// Errors a receive call brought, by `shard`.
    counter SIP_RECEIVE_ERRORS_TOTAL = "tollgate_sip_receive_errors_total", "errors";
    /// Messages that led to nothing, by `reason`.
    counter SIP_MESSAGES_IGNORED_TOTAL = "tollgate_sip_messages_ignored_total", "messages";
    /// New calls answered 503 by the gateway itself, by `reason` (`queue`, `calls`, `memory`, `draining`).
    counter CALLS_REFUSED_TOTAL = "tollgate_calls_refused_total", "calls";
    /// The same for all reasons.
    counter SIP_CALLS_REFUSED_TOTAL = "tollgate_sip_calls_refused_total", "calls";
    /// INVITEs of answered calls that came again after a restart and were absorbed.
    counter SIP_INVITES_RESENT_TOTAL = "tollgate_sip_invites_resent_total", "invites";
    /// Final responses to INVITEs outside of dialogs, by `class` (`2xx` to `6xx`); each 2xx of a fork counts.
    counter CALLS_ANSWERS_TOTAL = "tollgate_calls_answers_total", "answers";
    /// Time from the INVITE of a call to its 2xx.
    histogram CALLS_SETUP_SECONDS = "tollgate_calls_setup_seconds", "seconds", RINGING;
    /// Time from the INVITE of a call to the first 180 to 189 of the target that ended it or answered.
    histogram CALLS_POST_DIAL_SECONDS = "tollgate_calls_post_dial_seconds", "seconds", RINGING;
    /// Time that a response waited for its record to be on disk.
    histogram SIP_COMMIT_WAIT_SECONDS = "tollgate_sip_commit_wait_seconds", "seconds", ROUND_TRIP;
    /// Requests of calls that nobody here knew, held until it was known whether another gateway of the cluster has them, by
    /// `outcome` (`adopted`, `unknown`, `late`; `full`: not held).
    counter SIP_REQUESTS_HELD_TOTAL = "tollgate_sip_requests_held_total", "requests";
    /// Requests no route matched.
    counter SIP_REQUESTS_UNROUTED_TOTAL = "tollgate_sip_requests_unrouted_total", "requests";
    /// Responses that left before their record was on disk, because the commit took longer than `queue.commit_wait_max_ms`.
    counter SIP_ANSWERS_UNSAFE_TOTAL = "tollgate_sip_answers_unsafe_total", "answers";
    /// Commits of which the queue did not take all; the queue counts their records by reason.
    counter SIP_COMMITS_LOST_TOTAL = "tollgate_sip_commits_lost_total", "commits";
    /// Calls whose 2xx was never acknowledged.
    counter CALLS_UNACKNOWLEDGED_TOTAL = "tollgate_calls_unacknowledged_total", "calls";
    /// Calls that went on after their end in the records.
    counter CALLS_REVIVED_TOTAL = "tollgate_calls_revived_total", "calls";
    /// Calls in progress, by `shard`.
    gauge SIP_CALLS = "tollgate_sip_calls", "calls";
    /// Transactions in progress or absorbing, by `shard` and `side` (`server`, `client`).
    gauge SIP_TRANSACTIONS = "tollgate_sip_transactions", "transactions";
    /// Destinations that are down, by `shard`.
    gauge SIP_DESTINATIONS_DOWN = "tollgate_sip_destinations_down", "destinations";
    /// Whether records cannot be committed in time (1) or can (0), by `shard`.
    gauge SIP_ALARM = "tollgate_sip_alarm", TRUTH;
}

/// Classes of final responses.
const CLASSES: [&str; 5] = ["2xx", "3xx", "4xx", "5xx", "6xx"];

/// Why new calls are refused.
const LIMITS: [Limit; 4] = [Limit::Alarm, Limit::Calls, Limit::Memory, Limit::Draining];

/// The handles of one shard, looked up once.
pub(super) struct Meters {
    pub received: Counter,
    pub sent: Counter,
    pub send_dropped: Counter,
    pub handover_dropped: Counter,
    pub receive_errors: Counter,
    pub commits_lost: Counter,
    pub strangers: Counter,
    /// By the first digit of the code, from 2.
    answers: [Counter; CLASSES.len()],
    setup: Histogram,
    post_dial: Histogram,
    commit_wait: Histogram,
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
        // There from the start: a rate over what has just come up for the first time is none.
        for limit in LIMITS {
            counter!(CALLS_REFUSED_TOTAL, "reason" => refusal(limit)).increment(0);
        }
        for name in [CALLS_REVIVED_TOTAL, CALLS_UNACKNOWLEDGED_TOTAL] {
            counter!(name).increment(0);
        }
        Self {
            received: counter!(SIP_DATAGRAMS_RECEIVED_TOTAL, "shard" => shard.clone()),
            sent: counter!(SIP_DATAGRAMS_SENT_TOTAL, "shard" => shard.clone()),
            send_dropped: counter!(SIP_DATAGRAMS_DROPPED_TOTAL, "shard" => shard.clone(), "reason" => "send_buffer"),
            handover_dropped: counter!(SIP_DATAGRAMS_DROPPED_TOTAL, "shard" => shard.clone(), "reason" => "handover"),
            receive_errors: counter!(SIP_RECEIVE_ERRORS_TOTAL, "shard" => shard.clone()),
            commits_lost: counter!(SIP_COMMITS_LOST_TOTAL, "shard" => shard.clone()),
            strangers: counter!(SIP_MESSAGES_IGNORED_TOTAL, "reason" => reason(Ignored::Forbidden)),
            answers: CLASSES.map(|class| counter!(CALLS_ANSWERS_TOTAL, "class" => class)),
            setup: histogram!(CALLS_SETUP_SECONDS),
            post_dial: histogram!(CALLS_POST_DIAL_SECONDS),
            commit_wait: histogram!(SIP_COMMIT_WAIT_SECONDS),
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

    /// Counts what the shard reports. Of rare things the registry is asked by name.
    pub fn count(&self, count: Count) {
        tally::note(&count);
        match count {
            Count::CallAnswered { code, after, rang } => {
                if let Some(class) = usize::from(code / 100).checked_sub(2).and_then(|place| self.answers.get(place)) {
                    class.increment(1);
                }
                if (200..300).contains(&code) {
                    self.setup.record(after);
                }
                rang.iter().for_each(|rang| self.post_dial.record(*rang));
            }
            Count::AnswerWaited(span) => self.commit_wait.record(span),
            Count::CallRefused(limit) => {
                self.refused.increment(1);
                counter!(CALLS_REFUSED_TOTAL, "reason" => refusal(limit)).increment(1);
            }
            Count::InviteResent => counter!(SIP_INVITES_RESENT_TOTAL).increment(1),
            Count::RequestHeld(how) => counter!(SIP_REQUESTS_HELD_TOTAL, "outcome" => held(how)).increment(1),
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

const fn refusal(limit: Limit) -> &'static str {
    match limit {
        Limit::Alarm => "queue",
        Limit::Calls => "calls",
        Limit::Memory => "memory",
        Limit::Draining => "draining",
    }
}

const fn held(how: Held) -> &'static str {
    match how {
        Held::Adopted => "adopted",
        Held::Unknown => "unknown",
        Held::Late => "late",
        Held::Full => "full",
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
