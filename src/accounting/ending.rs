//! The end of a session: BYE, session timer, lifetime, operator; and the interim timer before it.

use std::num::NonZeroU32;
use std::time::Duration;

use super::calls::ENDED_KEPT;
use super::engine::{Engine, Storage};
use super::notice::{Notice, Noticed};
use super::revival;
use super::session::{Key, Session};
use super::settings::BilledTo;
use super::stored::encode_ended;
use super::{CallView, Closing, Outcome, facts};
use crate::clock::Now;
use crate::record::{CallChange, Cause, End, Kind, Party, Record, Value};

impl Engine {
    /// Completes the Stop, adds the Cdr, and stores that the call has ended.
    pub(super) fn stop(&mut self, now: Now, stop: Stop, mut record: Record, out: &mut Outcome) {
        let Stop { key, session, at, end } = stop.corrected();
        let accounting = session.marks.accounting;
        let cdr = self.maker.modes().cdr(accounting);
        let duration = session.lasted(at, self.maker.boot());
        let complete = |record: &mut Record| {
            record.times.event = at.wall;
            record.times.ended = Some(at.wall);
            record.times.duration = duration;
            record.end = Some(end);
            record.shortened |= facts::settled(&mut record.facts, end, record.code);
        };
        complete(&mut record);
        // Early media opens no call for who takes one record at its end.
        let whole = (!cdr.is_empty() && !session.is_early()).then(|| {
            let mut whole = self.maker.of_session(now, Kind::Cdr, &session);
            whole.fields = super::fields::merge(std::mem::take(&mut whole.fields), record.fields.clone());
            // With the one that its BYE has added.
            whole.legs.clone_from(&record.legs);
            whole.facts = record.facts.clone();
            complete(&mut whole);
            whole
        });
        record.number = session.next_number.map(NonZeroU32::get);
        out.push(record, key.call(), self.maker.modes().live(accounting));
        if let Some(whole) = whole {
            out.push(whole, key.call(), cdr);
        }
        if end.cause == Cause::NoAck {
            self.outbox.tell(Notice::of(Noticed::Unacknowledged, &session));
        }
        if self.maker.settings().hang_up.contains(&end.cause) && !session.is_early() {
            self.hang_up(key, &session);
        }
        self.store_end(now, key, end, Some((at, session)), out);
    }

    /// Stores that a call has ended, for as long as a BYE may still come.
    pub(super) fn store_end(
        &mut self,
        now: Now,
        key: Key,
        end: End,
        ended: Option<(Now, Box<Session>)>,
        out: &mut Outcome,
    ) {
        let key_bytes = key.to_bytes();
        let remains = ended.and_then(|(at, session)| revival::remains(at, session));
        out.calls.push(match end.by {
            Party::Caller | Party::Callee => {
                let note = encode_ended(now.after(ENDED_KEPT).wall);
                match self.remember(key, now.mono + ENDED_KEPT, Storage::Note, remains) {
                    true => CallChange::End { key: key_bytes, note },
                    false => CallChange::Remove { key: key_bytes },
                }
            }
            Party::Gateway => {
                let kept = self.maker.long_kept();
                match self.remember(key, now.mono + kept, Storage::Queue, remains) {
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
            if is_past(alarms.settle) {
                self.settlement(now, key, out);
            }
            if is_past(alarms.ping) {
                self.ping(now, key);
            }
        }
    }

    /// A doubt is to be settled, or an ACK has not come in time.
    fn settlement(&mut self, now: Now, key: Key, out: &mut Outcome) {
        let Some(session) = self.calls.get(key) else { return };
        if session.doubt.is_some() {
            self.ask(now, key, out);
        } else if session.is_unreached() && session.ending.is_none() {
            self.end(now, key, Cause::NoAck, out);
        } else {
            // The callee ends it itself, which tells more.
            let again = session.is_unreached().then(|| now.mono + self.maker.settings().ack_wait);
            self.calls.change(key, |session| session.alarms.settle = again);
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
        let sinks = self.maker.modes().timed(session.marks.accounting);
        // Of a call that may have ended already none says that it is longer.
        if !sinks.is_empty() && session.doubt.is_none() {
            let mut record = self.maker.of_session(now, Kind::Interim, session);
            record.times.duration = session.lasted(now, self.maker.boot());
            self.push_numbered(key, record, sinks, out);
        }
        self.calls.change(key, |session| session.alarms.interim = next);
    }

    /// The operator ends calls: in the records, and at both ends if he wants that. Gives those that it ended; one that
    /// is not answered yet is none of them.
    pub fn close(&mut self, now: Now, closing: &Closing, out: &mut Outcome) -> Vec<CallView> {
        let views = self.calls.answered(&closing.name);
        for (key, _) in &views {
            let Some(session) = self.calls.remove(*key) else { continue };
            let mut record = self.without_response(now, &session, Cause::Administrator);
            if let Some(reason) = &closing.reason {
                record.reason = reason.clone().into_bytes();
            }
            if closing.hangs_up {
                self.hang_up(*key, &session);
            }
            let end = End { by: Party::Gateway, cause: Cause::Administrator };
            self.stop(now, Stop { key: *key, session, at: now, end }, record, out);
        }
        views.into_iter().map(|(_, view)| view).collect()
    }

    /// Both ends of a call are to get a BYE, as far as they are known.
    fn hang_up(&mut self, key: Key, session: &Session) {
        let Some(ends) = session.ends.as_ref() else { return };
        for to in [Party::Caller, Party::Callee] {
            self.outbox.send(ends.byes(key, to, session));
        }
    }

    /// Ends a session without a BYE.
    pub(super) fn end(&mut self, now: Now, key: Key, cause: Cause, out: &mut Outcome) {
        self.end_at(now, key, now, cause, out);
    }

    /// Ends a session without a BYE, at an instant that may be past.
    pub(super) fn end_at(&mut self, now: Now, key: Key, at: Now, cause: Cause, out: &mut Outcome) {
        let Some(session) = self.calls.remove(key) else { return };
        let is_silent = matches!(cause, Cause::SessionTimer | Cause::Unreachable);
        let at = if is_silent && self.maker.settings().billed_to == BilledTo::LastAlive { session.alive } else { at };
        let record = self.without_response(now, &session, cause);
        let end = End { by: Party::Gateway, cause };
        self.stop(now, Stop { key, session, at, end }, record, out);
    }

    /// The Stop of a session that no response has made.
    pub(super) fn without_response(&mut self, now: Now, session: &Session, cause: Cause) -> Record {
        let mut record = self.maker.of_session(now, Kind::Stop, session);
        record.method = b"BYE".to_vec();
        record.in_dialog = true;
        record.code = 0;
        record.reason = phrase(cause).to_vec();
        if !record.fields.iter().any(|(name, _)| name == LAST_ALIVE) {
            let alive = session.alive.wall.to_string().into_bytes();
            record.fields.push((LAST_ALIVE.to_owned(), Value::Text(alive)));
        }
        record
    }
}

/// The field of a Stop without a BYE that says when the call was last known to go on.
const LAST_ALIVE: &str = "last_alive";

/// A session that ends.
pub(super) struct Stop {
    pub(super) key: Key,
    pub(super) session: Box<Session>,
    pub(super) at: Now,
    pub(super) end: End,
}

impl Stop {
    /// A 2xx that nobody has acknowledged has reached nobody, as far as the other end does not say otherwise: then the
    /// call was over when it began.
    fn corrected(self) -> Self {
        let is_failure = matches!(self.end.cause, Cause::NoAck | Cause::FailedBye | Cause::Unreachable);
        match self.session.answered.filter(|_| is_failure && self.session.is_unreached()) {
            Some(at) => Self { at, end: End { by: Party::Gateway, cause: Cause::NoAck }, ..self },
            None => self,
        }
    }
}

/// What stands for a reason phrase where no response is.
const fn phrase(cause: Cause) -> &'static [u8] {
    match cause {
        Cause::SessionTimer => b"Session timer expired",
        Cause::Lifetime => b"Longest call time reached",
        Cause::Administrator => b"Ended by the operator",
        Cause::Restart => b"Lost in a restart",
        Cause::Unreachable => b"An end of the call is gone",
        Cause::NoAck => b"Never acknowledged",
        // A response, or an attempt.
        Cause::Bye | Cause::FailedBye | Cause::Cancelled | Cause::Timeout | Cause::Refused | Cause::Elsewhere => b"",
        Cause::Busy | Cause::NoAnswer | Cause::Redirected | Cause::Forbidden | Cause::Offline => b"",
    }
}
