//! The end of a session: BYE, session timer, lifetime, operator; and the interim timer before it.

use std::num::NonZeroU32;
use std::time::Duration;

use super::Outcome;
use super::calls::ENDED_KEPT;
use super::engine::{Engine, Storage};
use super::flags::is_success;
use super::session::{Key, Session, encode_ended};
use super::transaction::{Answer, Transaction};
use crate::clock::Now;
use crate::ids::CallHash;
use crate::queue::CallChange;
use crate::record::{Cause, End, Kind, Party, Record, Value};

impl Engine {
    /// A BYE got its final answer, of any code: the call has ended when the BYE arrived (RFC 3261 §15).
    pub(super) fn bye_answered(&mut self, now: Now, transaction: &Transaction, answer: &Answer<'_>, out: &mut Outcome) {
        let cause = if is_success(answer.code) { Cause::Bye } else { Cause::FailedBye };
        // A call may also have begun while its BYE was on the way.
        let begun = || self.calls.find(transaction.request()).map(|(key, _)| key);
        let Some(key) = transaction.session.or_else(begun) else {
            self.stray_bye_answered(now, transaction, answer, cause, out);
            return;
        };
        // Another BYE, or a timer, may have been faster: one Stop is enough.
        let Some(session) = self.calls.remove(key) else { return };
        let (at, by) =
            session.ending.map_or((transaction.view.arrived, transaction.sender), |ending| (ending.at, ending.by));
        let record = self.maker.of_transaction(now, Kind::Stop, transaction, answer, Some(&session));
        self.stop(now, Stop { key, session: &session, at, end: End { by, cause } }, record, out);
    }

    fn stray_bye_answered(
        &mut self,
        now: Now,
        transaction: &Transaction,
        answer: &Answer<'_>,
        cause: Cause,
        out: &mut Outcome,
    ) {
        let request = transaction.request();
        // A BYE may also end an early dialog (RFC 3261 §15), which is no call yet: its INVITE tells.
        if transaction.is_early || self.calls.find_ended(request).is_some() {
            return;
        }
        let call = CallHash::of(request.call_id());
        let live = self.maker.modes.stray_stop(transaction.marks, answer.code);
        let cdr = self.maker.modes.cdr(transaction.marks.accounting);
        for (kind, sinks) in [(Kind::Stop, live), (Kind::Cdr, cdr)] {
            // Without a call behind it a failed BYE tells nothing that could be billed.
            if sinks.is_empty() || (kind == Kind::Cdr && !is_success(answer.code)) {
                continue;
            }
            let mut record = self.maker.of_transaction(now, kind, transaction, answer, None);
            record.times.event = transaction.view.arrived.wall;
            record.times.ended = Some(transaction.view.arrived.wall);
            record.end = Some(End { by: transaction.sender, cause });
            // As if its Start had been the record before it.
            record.number = (kind == Kind::Stop).then_some(1);
            out.push(record, call, sinks);
        }
        if !live.is_empty() || !cdr.is_empty() {
            let [(key, _), _] = Key::candidates(request);
            self.store_end(now, key, End { by: transaction.sender, cause }, out);
        }
    }

    /// Completes the Stop, adds the Cdr, and stores that the call has ended.
    fn stop(&mut self, now: Now, stop: Stop<'_>, mut record: Record, out: &mut Outcome) {
        let Stop { key, session, at, end } = stop;
        let accounting = session.marks.accounting;
        let cdr = self.maker.modes.cdr(accounting);
        let duration = session.lasted(at, self.maker.boot);
        let complete = |record: &mut Record| {
            record.times.event = at.wall;
            record.times.ended = Some(at.wall);
            record.times.duration = duration;
            record.end = Some(end);
        };
        complete(&mut record);
        // Early media opens no call for who takes one record at its end.
        let whole = (!cdr.is_empty() && !session.is_early()).then(|| {
            let mut whole = self.maker.of_session(now, Kind::Cdr, session);
            whole.fields = super::fields::merge(std::mem::take(&mut whole.fields), record.fields.clone());
            complete(&mut whole);
            whole
        });
        record.number = session.next_number.map(NonZeroU32::get);
        out.push(record, key.call(), self.maker.modes.live(accounting));
        if let Some(whole) = whole {
            out.push(whole, key.call(), cdr);
        }
        self.store_end(now, key, end, out);
    }

    /// Stores that a call has ended, for as long as a BYE may still come.
    pub(super) fn store_end(&mut self, now: Now, key: Key, end: End, out: &mut Outcome) {
        let key_bytes = key.to_bytes();
        out.calls.push(match end.by {
            Party::Caller | Party::Callee => {
                let note = encode_ended(now.after(ENDED_KEPT).wall);
                match self.remember(key, now.mono + ENDED_KEPT, Storage::Memory) {
                    true => CallChange::End { key: key_bytes, note },
                    false => CallChange::Remove { key: key_bytes },
                }
            }
            Party::Gateway => {
                let kept = self.maker.long_kept();
                match self.remember(key, now.mono + kept, Storage::Queue) {
                    true => CallChange::Put { key: key_bytes, value: encode_ended(now.after(kept).wall) },
                    false => CallChange::Remove { key: key_bytes },
                }
            }
        });
    }

    /// Something is due about a session.
    pub(super) fn due(&mut self, now: Now, key: Key, out: &mut Outcome) {
        let Some(session) = self.calls.get(key) else { return };
        let is_past = |alarm: Option<crate::clock::Instant>| alarm.is_some_and(|at| at <= now.mono);
        let alarms = session.alarms;
        if session.is_early() && is_past(alarms.lifetime) {
            // Its transaction is gone: only a restart leaves it behind.
            self.end(now, key, Cause::Restart, out);
        } else if is_past(alarms.lifetime) {
            self.end(now, key, Cause::Lifetime, out);
        } else if is_past(alarms.expiry) {
            self.end(now, key, Cause::SessionTimer, out);
        } else {
            if is_past(alarms.save) {
                self.calls.change(key, |session| session.alarms.save = None);
                self.calls.store_later(key, now.mono);
            }
            if is_past(alarms.interim) {
                self.interim(now, key, out);
            }
            if is_past(alarms.ping) {
                self.ping(now, key);
            }
        }
    }

    fn interim(&mut self, now: Now, key: Key, out: &mut Outcome) {
        let Some(session) = self.calls.get(key) else { return };
        let step = self.maker.interim_interval(session);
        // From the last one on, so that a wall clock that is set changes nothing; what was slept through is left out.
        let next = step.and_then(|step| {
            let due = session.alarms.interim?;
            let steps = now.mono.since(due).as_micros() / step.as_micros().max(1) + 1;
            Some(due + Duration::from_micros(u64::try_from(steps * step.as_micros()).unwrap_or(u64::MAX)))
        });
        let sinks = self.maker.modes.timed(session.marks.accounting);
        if !sinks.is_empty() {
            let mut record = self.maker.of_session(now, Kind::Interim, session);
            record.times.duration = session.lasted(now, self.maker.boot);
            self.push_numbered(key, record, sinks, out);
        }
        self.calls.change(key, |session| session.alarms.interim = next);
    }

    /// The operator ends a session.
    pub(super) fn close(&mut self, now: Now, name: &str, out: &mut Outcome) {
        if let Some(key) = self.calls.named(name) {
            self.end(now, key, Cause::Administrator, out);
        }
    }

    /// Ends a session without a BYE.
    pub(super) fn end(&mut self, now: Now, key: Key, cause: Cause, out: &mut Outcome) {
        let Some(session) = self.calls.remove(key) else { return };
        let mut record = self.maker.of_session(now, Kind::Stop, &session);
        record.method = b"BYE".to_vec();
        record.in_dialog = true;
        record.code = 0;
        record.reason = phrase(cause).to_vec();
        if !record.fields.iter().any(|(name, _)| name == LAST_ALIVE) {
            let alive = session.alive.to_string().into_bytes();
            record.fields.push((LAST_ALIVE.to_owned(), Value::Text(alive)));
        }
        let end = End { by: Party::Gateway, cause };
        self.stop(now, Stop { key, session: &session, at: now, end }, record, out);
    }
}

/// The field of a Stop without a BYE that says when the call was last known to go on.
const LAST_ALIVE: &str = "last_alive";

/// A session that ends.
struct Stop<'a> {
    key: Key,
    session: &'a Session,
    at: Now,
    end: End,
}

/// What stands for a reason phrase where no answer is.
const fn phrase(cause: Cause) -> &'static [u8] {
    match cause {
        Cause::SessionTimer => b"Session timer expired",
        Cause::Lifetime => b"Longest call time reached",
        Cause::Administrator => b"Ended by the operator",
        Cause::Restart => b"Lost in a restart",
        Cause::Unreachable => b"An end of the call is gone",
        Cause::NoAck => b"Never acknowledged",
        Cause::Bye | Cause::FailedBye | Cause::Cancelled | Cause::Timeout | Cause::Refused | Cause::Elsewhere => b"",
    }
}
