//! The calls of one engine: in progress, ended, and what is due about them.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::ends::Ends;
use super::engine::Storage;
use super::session::{self, Key, Session, Text};
use super::stored;
use crate::clock::{Instant, Now, Timestamp};
use crate::record::{CallChange, Fields, NOTES_KEPT, Party};
use crate::sip::message::Message;

/// One call in progress, for `tollgate calls`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CallView {
    /// Name of the session.
    pub session: String,
    /// Call-ID of its INVITE.
    pub call_id: Vec<u8>,
    /// Tag of the caller, from the From of the INVITE.
    pub from_tag: Vec<u8>,
    /// Tag of the callee, from the To of the response; empty before one has come.
    pub to_tag: Vec<u8>,
    /// URIs of From and To of the INVITE, and the Contact of the callee; empty before the 2xx, and where they were too long
    /// to keep.
    pub parties: Parties,
    /// When the INVITE arrived.
    pub created: Timestamp,
    /// When it was answered; `None` with early media alone.
    pub answered: Option<Timestamp>,
    /// Whether a BYE is on its way.
    pub is_ending: bool,
}

/// Who is in a call.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Parties {
    /// URI of the INVITE's From, without display name and parameters behind the brackets.
    pub from: Vec<u8>,
    /// URI of the INVITE's To, likewise.
    pub to: Vec<u8>,
    /// Where requests to the callee go: its remote target (RFC 3261 §12).
    pub target: Vec<u8>,
}

/// A call whose BYE makes no Stop.
#[derive(Debug)]
struct Ended {
    until: Instant,
    /// Who knows that.
    storage: Storage,
    /// Whether the operator knows that it goes on.
    is_told: bool,
    /// The call as it was when it ended, should it go on.
    remains: Option<Box<Session>>,
}

/// How long an ended call is remembered: longer than any retransmission of its BYE.
pub(super) const ENDED_KEPT: Duration = NOTES_KEPT;
/// Longest time until changes that can wait are stored.
const LATER_MAX: Duration = Duration::from_secs(5);
/// Most changes that can wait in one commit.
const LATER_BATCH_MAX: usize = 256;

/// Most ended calls of which more is remembered than that they have ended.
const REMAINS_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Calls {
    sessions: HashMap<Key, Box<Session>, foldhash::fast::RandomState>,
    ended: HashMap<Key, Ended, foldhash::fast::RandomState>,
    /// One entry for each session with an alarm and for each ended call.
    timers: BTreeSet<(Instant, Key)>,
    /// Calls whose stored state differs in what can wait.
    later: Vec<Key>,
    later_due: Option<Instant>,
    session_bytes: usize,
    /// Ended calls with remains.
    remains: usize,
    remains_bytes: usize,
}

impl Calls {
    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    pub(super) fn ended_len(&self) -> usize {
        self.ended.len()
    }

    /// Octets held: sessions and their texts as allocated, table slots and timers.
    pub(super) fn memory(&self) -> usize {
        // Entries of a B-tree fill their nodes to two thirds or more.
        let timers = self.timers.len() * size_of::<(Instant, Key)>() * 3 / 2;
        let slots = self.sessions.capacity() * (size_of::<(Key, Box<Session>)>() + 1)
            + self.ended.capacity() * (size_of::<(Key, Ended)>() + 1);
        self.session_bytes + self.remains_bytes + slots * 8 / 7 + timers
    }

    /// The session a message belongs to, and who sent the message.
    pub(super) fn find(&self, message: &Message) -> Option<(Key, Party)> {
        if self.sessions.is_empty() {
            return None;
        }
        Key::candidates(message).find(|(key, _)| self.sessions.contains_key(key))
    }

    /// The ended call a message belongs to, and who sent the message.
    pub(super) fn find_ended(&self, message: &Message) -> Option<(Key, Party)> {
        if self.ended.is_empty() {
            return None;
        }
        Key::candidates(message).find(|(key, _)| self.ended.contains_key(key))
    }

    /// An ended call as it was, as far as that is still known.
    pub(super) fn remains(&self, key: Key) -> Option<&Session> {
        self.ended.get(&key)?.remains.as_deref()
    }

    /// An ended call as it was that turns out to go on, and whether that has been told before.
    pub(super) fn tell_remains(&mut self, key: Key) -> Option<(&Session, bool)> {
        let ended = self.ended.get_mut(&key)?;
        let session = ended.remains.as_deref()?;
        Some((session, std::mem::replace(&mut ended.is_told, true)))
    }

    /// An ended call is to go on: takes what is left of it.
    pub(super) fn take_remains(&mut self, key: Key) -> Option<Box<Session>> {
        let remains = self.ended.get_mut(&key)?.remains.take()?;
        self.remains -= 1;
        self.remains_bytes -= remains.memory();
        Some(remains)
    }

    pub(super) fn get(&self, key: Key) -> Option<&Session> {
        self.sessions.get(&key).map(|session| &**session)
    }

    /// Changes a session, then sets its timer.
    pub(super) fn change<T>(&mut self, key: Key, change: impl FnOnce(&mut Session) -> T) -> Option<T> {
        let session = self.sessions.get_mut(&key)?;
        let result = change(session);
        let next = session.alarms.next();
        if next != session.due {
            if let Some(due) = session.due {
                self.timers.remove(&(due, key));
            }
            if let Some(next) = next {
                self.timers.insert((next, key));
            }
            session.due = next;
        }
        Some(result)
    }

    /// Changes of a session what no timer depends on.
    pub(super) fn touch<T>(&mut self, key: Key, change: impl FnOnce(&mut Session) -> T) -> Option<T> {
        let session = self.sessions.get_mut(&key)?;
        let before = session.memory();
        let result = change(session);
        self.session_bytes = self.session_bytes + session.memory() - before;
        Some(result)
    }

    /// Takes a session in; one of the same name is replaced.
    pub(super) fn insert(&mut self, key: Key, session: Box<Session>) {
        self.remove(key);
        self.forget_ended(key);
        self.session_bytes += session.memory();
        self.sessions.insert(key, session);
        self.change(key, |_| ());
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<Box<Session>> {
        let session = self.sessions.remove(&key)?;
        self.session_bytes -= session.memory();
        if let Some(due) = session.due {
            self.timers.remove(&(due, key));
        }
        Some(session)
    }

    /// Remembers for a while that a call that is not in progress makes no Stop any more.
    pub(super) fn remember_ended(&mut self, key: Key, until: Instant, storage: Storage, remains: Option<Box<Session>>) {
        debug_assert!(!self.sessions.contains_key(&key), "the call has ended");
        self.forget_ended(key);
        let remains = remains.filter(|_| self.remains < REMAINS_MAX);
        if let Some(remains) = &remains {
            self.remains += 1;
            self.remains_bytes += remains.memory();
        }
        self.ended.insert(key, Ended { until, storage, is_told: false, remains });
        self.timers.insert((until, key));
    }

    /// Until when the queue is to know that it has ended; `None` where that need not be known.
    pub(super) fn stored_as_ended(&self, key: Key) -> Option<Instant> {
        self.ended.get(&key).filter(|ended| ended.storage == Storage::Queue).map(|ended| ended.until)
    }

    /// Whether it has ended with a record here.
    pub(super) fn has_ended_in_records(&self, key: Key) -> bool {
        self.ended.get(&key).is_some_and(|ended| ended.storage != Storage::Memory)
    }

    fn forget_ended(&mut self, key: Key) -> Option<Ended> {
        self.take_remains(key);
        let ended = self.ended.remove(&key)?;
        self.timers.remove(&(ended.until, key));
        Some(ended)
    }

    /// Remembers an ended call no longer than until `until`.
    pub(super) fn shorten_ended(&mut self, key: Key, until: Instant) {
        if let Some(ended) = self.ended.get_mut(&key).filter(|own| until < own.until) {
            self.timers.remove(&(std::mem::replace(&mut ended.until, until), key));
            self.timers.insert((until, key));
        }
    }

    /// Forgets the ended calls that are due, and gives a session that is.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Key> {
        while let Some(&(due, key)) = self.timers.first() {
            if due > now {
                return None;
            }
            if self.sessions.get(&key).is_some_and(|session| session.due == Some(due)) {
                return Some(key);
            }
            self.timers.pop_first();
            self.take_remains(key);
            if self.ended.remove(&key).is_some_and(|ended| ended.storage == Storage::Queue) {
                self.store_later(key, now);
            }
        }
        None
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let timer = self.timers.first().map(|(due, _)| *due);
        [timer, self.later_due].into_iter().flatten().min()
    }

    /// Brings the stored state of a call up to date with the next commit, or soon.
    pub(super) fn store_later(&mut self, key: Key, now: Instant) {
        self.later.push(key);
        self.later_due.get_or_insert(now + LATER_MAX);
    }

    /// Brings the stored state of all calls up to date soon.
    pub(super) fn store_all_later(&mut self, now: Instant) {
        self.later.extend(self.sessions.keys());
        self.later_due = (!self.later.is_empty()).then_some(now);
    }

    /// Whether changes have waited long enough for a commit of their own.
    pub(super) fn is_later_due(&self, now: Instant) -> bool {
        self.later_due.is_some_and(|due| due <= now)
    }

    /// Moves changes that could wait into a commit.
    pub(super) fn drain_later(&mut self, now: Instant, out: &mut Vec<CallChange>) {
        let keep = self.later.len().saturating_sub(LATER_BATCH_MAX);
        for key in self.later.split_off(keep) {
            match self.sessions.get(&key) {
                Some(session) => out.push(CallChange::Put { key: key.to_bytes(), value: stored::encode(session) }),
                // Whoever ended it has stored that.
                None if self.ended.get(&key).is_some_and(|ended| ended.storage == Storage::Queue) => {}
                None => out.push(CallChange::Remove { key: key.to_bytes() }),
            }
        }
        self.later_due = if self.later.is_empty() { None } else { Some(now) };
    }

    /// The answered calls with this Call-ID, or the one whose session has this name.
    pub(super) fn answered(&self, name: &str) -> Vec<(Key, CallView)> {
        let number = (name.len() == 32).then(|| u128::from_str_radix(name, 16).ok()).flatten();
        let is_meant = |session: &Session| {
            !session.is_early() && (number == Some(session.name) || session.text(Text::CallId) == name.as_bytes())
        };
        self.sessions.iter().filter(|(_, own)| is_meant(own)).map(|(key, own)| (*key, view(own))).collect()
    }

    pub(super) fn fields(&self) -> impl Iterator<Item = Fields> {
        self.sessions.values().map(|session| session.fields())
    }

    pub(super) fn views(&self) -> impl Iterator<Item = CallView> {
        self.sessions.values().map(|session| view(session))
    }
}

fn view(session: &Session) -> CallView {
    CallView {
        session: session::hex(session.name),
        call_id: session.text(Text::CallId).to_vec(),
        from_tag: session.text(Text::FromTag).to_vec(),
        to_tag: session.text(Text::ToTag).to_vec(),
        parties: session.ends.as_ref().map(Ends::parties).unwrap_or_default(),
        created: session.created.wall,
        answered: session.answered.map(|answered: Now| answered.wall),
        is_ending: session.ending.is_some(),
    }
}
