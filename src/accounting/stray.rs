//! Ends of calls that another gateway of a cluster may have.
//!
//! A BYE that leads to no call here, and that the other end has agreed to, may end one that another gateway has: it came here
//! while the cluster did not say so. A Stop written now would be one too many, for that gateway writes its own when it
//! finds out, and would say less. So the end waits, on disk like a record, until it is known whose the call is:
//!
//! | the cluster says | what follows |
//! |---|---|
//! | it is ours now | it is taken up and ends as of its BYE, as if it had been here |
//! | it has ended | nothing: whoever ended it has recorded that |
//! | nobody has it, for [`UNKNOWN_FOR`] | the Stop of a call that nobody knows; a call that has just begun is in the bucket by then |
//! | nothing, for [`KEPT_FOR`] | the same |
//!
//! Such a Stop names the session that the signed Route tells, so that it and one that its gateway may have written are the
//! same for the stream of the cluster.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use foldhash::fast::RandomState;

use super::Outcome;
use super::ending::Stop;
use super::engine::{Engine, Storage};
use super::fields;
use super::session::{Key, hex};
use super::stored;
use crate::clock::{Instant, Now, Timestamp};
use crate::ids::{CallHash, SinkMask};
use crate::record::{CallChange, End, Facts, Kind, Record};

/// How long nobody may have a call before its end is recorded as that of an unknown one.
const UNKNOWN_FOR: Duration = Duration::from_secs(60);
/// How long an end waits at most for what the cluster says of it.
pub(super) const KEPT_FOR: Duration = Duration::from_secs(86_400);
/// Between two questions about one.
const ASKED_EVERY: Duration = Duration::from_secs(5);
/// Ends that wait at most in one shard; further ones are recorded at once.
const STRAYS_MAX: usize = 1_024;

/// What the cluster says of a call that does not become ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Absence {
    /// No gateway has it.
    Unknown,
    /// It has ended at another gateway.
    Ended,
    /// Nobody can tell now.
    Unsaid,
}

/// An end that waits.
#[derive(Debug)]
pub(super) struct Stray {
    /// Its Stop, as that of a call that nobody knows.
    pub(super) record: Record,
    pub(super) end: End,
    /// When its BYE came.
    pub(super) at: Timestamp,
    /// The sinks of its marks.
    pub(super) accounting: SinkMask,
}

/// One of them, and how it stands.
#[derive(Debug)]
struct Waiting {
    stray: Stray,
    until: Instant,
    asked: Instant,
    /// Since when nobody has the call.
    unknown: Option<Instant>,
}

/// The ends that wait.
#[derive(Debug, Default)]
pub(super) struct Strays {
    /// Whether there is a cluster to ask.
    is_on: bool,
    waiting: HashMap<Key, Waiting, RandomState>,
    /// When each is asked about.
    due: BTreeSet<(Instant, Key)>,
    asks: Vec<Key>,
    /// Calls whose ends were put here, and what waits for a record of them waits for that.
    kept: Vec<CallHash>,
}

impl Strays {
    fn has_room(&self) -> bool {
        self.is_on && self.waiting.len() < STRAYS_MAX
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    fn put(&mut self, now: Now, key: Key, stray: Stray) {
        self.take(key);
        let left = KEPT_FOR.saturating_sub(now.wall.since(stray.at));
        self.waiting.insert(key, Waiting { stray, until: now.mono + left, asked: now.mono, unknown: None });
        self.due.insert((now.mono, key));
    }

    pub(super) fn get(&self, key: Key) -> Option<&Stray> {
        self.waiting.get(&key).map(|waiting| &waiting.stray)
    }

    fn take(&mut self, key: Key) -> Option<Stray> {
        let waiting = self.waiting.remove(&key)?;
        self.due.remove(&(waiting.asked, key));
        Some(waiting.stray)
    }

    /// Asks about one that is due; gives one that has waited long enough.
    fn pop_late(&mut self, now: Instant) -> Option<Key> {
        while let Some((at, key)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            let Some(waiting) = self.waiting.get_mut(&key) else {
                self.due.pop_first();
                continue;
            };
            if !self.is_on || waiting.until <= now {
                return Some(key);
            }
            self.due.remove(&(at, key));
            waiting.asked = now + ASKED_EVERY;
            self.due.insert((waiting.asked, key));
            self.asks.push(key);
        }
        None
    }
}

impl Engine {
    /// From now on there is a cluster to ask.
    pub fn join_cluster(&mut self) {
        self.strays.is_on = true;
    }

    /// The calls that the cluster is to be asked for.
    pub fn take_asks(&mut self) -> Vec<Key> {
        std::mem::take(&mut self.strays.asks)
    }

    /// The calls whose ends are kept with the next commit: a response waits for that as for a record.
    pub fn take_kept(&mut self) -> Vec<CallHash> {
        std::mem::take(&mut self.strays.kept)
    }

    /// Whether the end of a call that is not here is to wait for what the cluster says.
    pub(super) fn may_be_elsewhere(&self) -> bool {
        self.strays.has_room() && self.calls.ended_len() < self.maker.settings().ended_max
    }

    /// Keeps an end until the cluster has said whose it is.
    pub(super) fn keep_stray(&mut self, now: Now, key: Key, stray: Stray, out: &mut Outcome) {
        out.calls.push(CallChange::Put { key: key.to_bytes(), value: stored::encode_stray(&stray) });
        self.strays.kept.push(key.call());
        self.restore_stray(now, key, stray);
    }

    /// Goes on with one that was kept.
    pub(super) fn restore_stray(&mut self, now: Now, key: Key, stray: Stray) {
        self.remember(key, now.mono + KEPT_FOR, Storage::Memory, None);
        self.strays.put(now, key, stray);
    }

    /// Asks about ends that are due, and records those that have waited long enough.
    pub(super) fn tick_strays(&mut self, now: Now, out: &mut Outcome) {
        while let Some(key) = self.strays.pop_late(now.mono) {
            self.record_stray(now, key, out);
        }
    }

    /// The cluster says why a call does not become ours.
    pub fn not_adopted(&mut self, now: Now, key: Key, why: Absence, out: &mut Outcome) {
        match why {
            Absence::Ended => {
                if self.strays.take(key).is_some() {
                    out.calls.push(CallChange::Remove { key: key.to_bytes() });
                }
                self.ended_elsewhere(now, key);
            }
            Absence::Unknown => {
                let Some(waiting) = self.strays.waiting.get_mut(&key) else { return };
                let since = *waiting.unknown.get_or_insert(now.mono);
                if now.mono.since(since) >= UNKNOWN_FOR {
                    self.record_stray(now, key, out);
                }
            }
            Absence::Unsaid => {}
        }
    }

    /// Records the end of a call that nobody knows.
    fn record_stray(&mut self, now: Now, key: Key, out: &mut Outcome) {
        let Some(Stray { record, end, accounting, .. }) = self.strays.take(key) else { return };
        self.push_stray(now, key, record, accounting, out);
        self.store_end(now, key, end, None, out);
    }

    /// Adds the Stop of a call that nobody knows, and its Cdr.
    pub(super) fn push_stray(&mut self, now: Now, key: Key, stop: Record, accounting: SinkMask, out: &mut Outcome) {
        let (live, cdr) = (self.maker.modes().live(accounting), self.maker.modes().cdr(accounting));
        if !cdr.is_empty() {
            let cdr_record = Record { id: self.maker.id(now), kind: Kind::Cdr, number: None, ..stop.clone() };
            out.push(stop, key.call(), live);
            out.push(cdr_record, key.call(), cdr);
        } else {
            out.push(stop, key.call(), live);
        }
    }

    /// A call has become ours whose end has waited for that; whether there was one.
    pub(super) fn end_adopted(&mut self, now: Now, key: Key, out: &mut Outcome) -> bool {
        let Some(Stray { record, end, at, .. }) = self.strays.take(key) else { return false };
        // One that was not answered ends with its INVITE, which is lost.
        let Some(session) = self.calls.get(key).filter(|session| !session.is_early()) else { return false };
        let of_session = self.maker.of_session(now, Kind::Stop, session);
        let settings = self.maker.settings();
        let own = fields::by_source(&settings.in_dialog_fields, record.fields, session.fields());
        let own = fields::frozen(own, &settings.frozen_fields, Some(session));
        let (mut legs, mut is_cut) = (session.legs(), record.shortened || of_session.shortened);
        for leg in fields::ordered(settings, record.legs) {
            is_cut |= fields::push_leg(&mut legs, leg);
        }
        let facts = Facts::from_bytes(&[of_session.facts.bytes(), record.facts.bytes()].concat());
        is_cut |= facts.is_err();
        let stop = Record {
            session: hex(session.name),
            multi_session: of_session.multi_session,
            times: of_session.times,
            fields: own,
            legs: fields::ordered(settings, legs),
            table: of_session.table.or(record.table),
            shortened: is_cut,
            // Where they are too many together those of the call are worth more.
            facts: facts.unwrap_or(of_session.facts),
            ..record
        };
        let Some(session) = self.calls.remove(key) else { return false };
        let at = Now { mono: now.mono.before(now.wall.since(at)), wall: at };
        self.stop(now, Stop { key, session, at, end }, stop, out);
        true
    }
}
