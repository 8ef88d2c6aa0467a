//! Calls that go from one gateway to another: taken up from what the other has kept, and given up without a record.

use super::Outcome;
use super::calls::ENDED_KEPT;
use super::engine::{Engine, Storage};
use super::session::{Key, RestoreError, Session};
use super::stored::{self, Stored};
use crate::clock::Now;
use crate::ids::SinkNumber;
use crate::record::{CallChange, Fields, Kind, Record};
use crate::sip::message::Message;

/// Whether what the queue keeps of a call says that it has ended, whether that is recorded yet or not.
#[must_use]
pub fn has_ended(value: &[u8]) -> bool {
    stored::is_ended(value)
}

/// Whether it says that the end is recorded, too: one that waits to be does not.
#[must_use]
pub fn has_recorded_end(value: &[u8]) -> bool {
    stored::is_recorded_end(value)
}

impl Engine {
    /// Takes up a call that another gateway has kept in the octets `value`, and keeps it with the next commit; gives its
    /// fields. `sinks` says for each sink that the other numbers which one that is here; marks of others go. A call that
    /// has ended here meanwhile stays so, one whose [end has waited](super::stray) ends now, and one that is here already is
    /// kept as it is.
    ///
    /// # Errors
    /// The octets were not written by this release or an older one.
    pub fn adopt(
        &mut self,
        now: Now,
        key: Key,
        value: &[u8],
        sinks: &[(SinkNumber, SinkNumber)],
        out: &mut Outcome,
    ) -> Result<Option<Fields>, RestoreError> {
        // An end that waits is told to no other gateway.
        let Stored::Live(mut session) = stored::decode(value)? else {
            out.calls.push(CallChange::Remove { key: key.to_bytes() });
            return Ok(None);
        };
        if self.calls.get(key).is_some() || self.calls.has_ended_in_records(key) {
            self.keep_again(now, key, out);
            return Ok(None);
        }
        session.marks = session.marks.translated(sinks);
        self.take_up(now, key, session);
        if self.end_adopted(now, key, out) {
            return Ok(None);
        }
        self.keep_again(now, key, out);
        Ok(self.calls.get(key).map(Session::fields))
    }

    /// Gives up a call without a record: another gateway has it. Gives its Stop as it would be now, for who counts calls.
    pub fn forget(&mut self, now: Now, key: Key, out: &mut Outcome) -> Option<Record> {
        let session = self.calls.remove(key);
        out.calls.push(CallChange::Remove { key: key.to_bytes() });
        session.map(|session| self.maker.of_session(now, Kind::Stop, &session))
    }

    /// Has the queue keep a call once more as it is, or keep it no more.
    pub fn keep_again(&self, now: Now, key: Key, out: &mut Outcome) {
        let key_bytes = key.to_bytes();
        out.calls.push(match (self.calls.get(key), self.calls.stored_as_ended(key)) {
            (Some(session), _) => CallChange::Put { key: key_bytes, value: stored::encode(session) },
            (None, Some(until)) => {
                let until = now.after(until.since(now.mono)).wall;
                CallChange::Put { key: key_bytes, value: stored::encode_ended(until) }
            }
            (None, None) => match self.strays.get(key) {
                Some(stray) => CallChange::Put { key: key_bytes, value: stored::encode_stray(stray) },
                None => CallChange::Remove { key: key_bytes },
            },
        });
    }

    /// Has the queue keep all calls once more, some with each commit.
    pub fn keep_all_again(&mut self, now: Now) {
        self.calls.store_all_later(now.mono);
    }

    /// A call has ended at another gateway: no BYE of it makes a Stop here.
    pub(super) fn ended_elsewhere(&mut self, now: Now, key: Key) {
        if self.calls.get(key).is_none() && !self.calls.has_ended_in_records(key) {
            self.remember(key, now.mono + ENDED_KEPT, Storage::Memory, None);
        }
    }

    /// Whether a message belongs to a call that is in progress here, or was.
    #[must_use]
    pub fn knows(&self, message: &Message) -> bool {
        self.calls.find(message).or_else(|| self.calls.find_ended(message)).is_some()
    }
}
