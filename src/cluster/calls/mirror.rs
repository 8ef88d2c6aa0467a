//! The calls that are ours: what the bucket is to hold of each, and what is under way for it.

use std::collections::{BTreeSet, HashMap, VecDeque};

use foldhash::fast::RandomState;

use super::value::{Header, State};
use super::{
    ANSWER_WAIT, Answer, CallKey, DOUBT_KEPT, FLIGHT_MAX, Found, MARK_KEPT, Now, Output, PAUSE, Settings, Turns,
};
use super::{WAITING_BYTES_MAX, WAITING_MAX};
use crate::clock::Instant;

/// Calls that are fetched again at once.
const FETCH_MAX: usize = 64;

/// What all parts need to ask for something.
pub(super) struct Bus<'b> {
    pub now: Now,
    pub settings: &'b Settings,
    pub turns: &'b mut Turns,
    pub out: &'b mut Vec<Output>,
}

/// What the bucket is to hold.
#[derive(Clone, Debug, Default)]
enum Want {
    /// What it holds.
    #[default]
    InStep,
    /// This, once records up to this mark are in the stream.
    Put { value: Vec<u8>, mark: u64 },
    /// A value that had no room, and is fetched again.
    Missed,
    /// Nothing any more, once records up to this mark are in the stream.
    End { mark: u64 },
}

impl Want {
    /// Up to which records are to be in the stream before.
    fn mark(&self) -> Option<u64> {
        match self {
            Self::InStep | Self::Missed => None,
            Self::Put { mark, .. } | Self::End { mark } => Some(*mark),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Busy {
    #[default]
    Idle,
    Putting {
        turn: u64,
        change: u64,
    },
    Removing {
        turn: u64,
    },
    Marking {
        turn: u64,
    },
    Reading {
        turn: u64,
    },
}

impl Busy {
    fn turn(self) -> Option<u64> {
        match self {
            Self::Idle => None,
            Self::Putting { turn, .. } | Self::Removing { turn } | Self::Marking { turn } | Self::Reading { turn } => {
                Some(turn)
            }
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Entry {
    /// Of what we know the bucket to hold; 0: nothing.
    revision: u64,
    /// Gateways that may still keep the call.
    former: Vec<String>,
    want: Want,
    /// Number of the last change.
    change: u64,
    busy: Busy,
    is_queued: bool,
    /// The bucket may hold something else than is known: it is read first.
    is_doubtful: bool,
    /// It was found in the bucket and is nothing that our queue keeps: whoever has it since keeps it.
    is_remnant: bool,
    /// Who is told when the mark of its end is written.
    usurper: Option<String>,
}

impl Entry {
    /// Another gateway has adopted the call, which has ended here: it is told when the mark of that is written.
    fn usurped_by(&mut self, name: String) {
        self.former = vec![name.clone()];
        self.usurper = Some(name);
    }
}

/// The calls that are ours.
#[derive(Clone, Debug, Default)]
pub(super) struct Mirror {
    entries: HashMap<CallKey, Entry, RandomState>,
    ready: VecDeque<CallKey>,
    /// Calls to be fetched again.
    missed: BTreeSet<CallKey>,
    /// Calls that wait for records to be in the stream.
    held: BTreeSet<(u64, CallKey)>,
    timeouts: VecDeque<(Instant, CallKey, u64)>,
    /// Calls whose first value was not stored when it was looked for, and may be until then: a mark, not nothing, has to
    /// take its place when the call has ended, here or elsewhere.
    haunted: HashMap<CallKey, Instant, RandomState>,
    haunts: VecDeque<(Instant, CallKey)>,
    flights: usize,
    paused: Instant,
    safe: u64,
    waiting: usize,
    waiting_bytes: usize,
    unmirrored: usize,
    missed_ever: u64,
}

impl Mirror {
    pub fn has(&self, key: CallKey) -> bool {
        self.entries.contains_key(&key)
    }

    /// Whether the call has ended here.
    pub fn has_ended(&self, key: CallKey) -> bool {
        self.entries.get(&key).is_some_and(|entry| matches!(entry.want, Want::End { .. }))
    }

    pub fn unmirrored(&self) -> usize {
        self.unmirrored
    }

    pub fn missed_ever(&self) -> u64 {
        self.missed_ever
    }

    /// Whether everything that the queue keeps is in the bucket and nothing else of ours.
    pub fn is_in_step(&self) -> bool {
        self.unmirrored == 0 && !self.entries.values().any(|entry| matches!(entry.want, Want::End { .. }))
    }

    pub fn deadline(&self) -> Option<Instant> {
        let is_stuck = self.flights >= FLIGHT_MAX;
        let next = (!self.ready.is_empty() && !is_stuck).then_some(self.paused);
        let late = self.timeouts.front().map(|(at, ..)| *at);
        next.into_iter().chain(late).min()
    }

    pub fn put(&mut self, key: CallKey, value: Vec<u8>, mark: u64) {
        let entry = self.entries.entry(key).or_default();
        entry.change += 1;
        let (count, octets) = match &entry.want {
            Want::Put { value: old, .. } => (self.waiting, self.waiting_bytes - old.len() + value.len()),
            _ => (self.waiting + 1, self.waiting_bytes + value.len()),
        };
        if count > WAITING_MAX || octets > WAITING_BYTES_MAX {
            self.missed_ever += 1;
            self.want(key, Want::Missed);
        } else {
            self.want(key, Want::Put { value, mark });
            self.queue(key);
        }
    }

    pub fn end(&mut self, key: CallKey, mark: u64) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        entry.change += 1;
        if entry.revision == 0 && entry.busy == Busy::Idle && !entry.is_doubtful && !self.haunted.contains_key(&key) {
            self.forget(key);
            return;
        }
        self.want(key, Want::End { mark });
        self.queue(key);
    }

    pub fn safe(&mut self, mark: u64) {
        self.safe = self.safe.max(mark);
        while let Some((_, key)) = self.held.first().copied().filter(|(mark, _)| *mark <= self.safe) {
            self.held.pop_first();
            self.queue(key);
        }
    }

    /// Fetches all again.
    pub fn overflowed(&mut self) {
        let keys: Vec<CallKey> = self.entries.keys().copied().filter(|key| !self.has_ended(*key)).collect();
        keys.into_iter().for_each(|key| self.want(key, Want::Missed));
    }

    /// A call that we have adopted.
    pub fn adopted(&mut self, key: CallKey, revision: u64, former: Vec<String>) {
        self.forget(key);
        self.entries.insert(key, Entry { revision, former, ..Entry::default() });
    }

    /// A value of ours that our queue does not keep any more.
    pub fn remnant(&mut self, key: CallKey, revision: u64, former: Vec<String>) {
        self.adopted(key, revision, former);
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.is_remnant = true;
        }
        self.want(key, Want::End { mark: 0 });
        self.queue(key);
    }

    /// A call that ended here before this process began, and that the bucket still has, as ours or as that of whoever has
    /// adopted it since.
    pub fn ended_before(&mut self, key: CallKey, revision: u64, header: Header, mark: u64, bus: &Bus<'_>) {
        let is_ours = header.owner == bus.settings.home;
        self.adopted(key, revision, header.former);
        if let Some(entry) = self.entries.get_mut(&key).filter(|_| !is_ours) {
            entry.usurped_by(header.owner.name);
        }
        self.want(key, Want::End { mark });
        self.queue(key);
    }

    /// Another gateway says that it has the call.
    pub fn told(&mut self, key: CallKey, revision: u64, bus: &mut Bus<'_>) {
        match self.entries.get(&key) {
            None if self.haunted.contains_key(&key) => {}
            None => bus.out.push(Output::Confirm(key)),
            Some(entry) if matches!(entry.want, Want::End { .. }) || revision <= entry.revision => {}
            Some(_) => {
                self.forget(key);
                let confirm = !self.haunted.contains_key(&key);
                bus.out.push(Output::Forget { key, confirm });
            }
        }
    }

    pub fn confirmed(&mut self, key: CallKey, by: &str) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.former.retain(|name| name != by);
        }
    }

    /// Forgets what there is of a call.
    fn forget(&mut self, key: CallKey) {
        if self.entries.contains_key(&key) {
            self.want(key, Want::InStep);
            let busy = self.entries.remove(&key).map(|entry| entry.busy);
            self.flights -= usize::from(busy.is_some_and(|busy| busy != Busy::Idle));
        }
    }

    /// Changes what the bucket is to hold, and the sums with it.
    fn want(&mut self, key: CallKey, want: Want) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let weight = |want: &Want| match want {
            Want::InStep | Want::End { .. } => (0, 0, 0),
            Want::Missed => (0, 0, 1),
            Want::Put { value, .. } => (1, value.len(), 1),
        };
        let (old, new) = (weight(&entry.want), weight(&want));
        self.waiting = self.waiting - old.0 + new.0;
        self.waiting_bytes = self.waiting_bytes - old.1 + new.1;
        self.unmirrored = self.unmirrored - old.2 + new.2;
        match want {
            Want::Missed => self.missed.insert(key),
            _ => self.missed.remove(&key),
        };
        if let Some(mark) = entry.want.mark() {
            self.held.remove(&(mark, key));
        }
        entry.want = want;
    }

    fn queue(&mut self, key: CallKey) {
        if let Some(entry) = self.entries.get_mut(&key).filter(|entry| !entry.is_queued && entry.busy == Busy::Idle) {
            entry.is_queued = true;
            self.ready.push_back(key);
        }
    }

    /// Asks for what can be asked for now.
    pub fn pump(&mut self, bus: &mut Bus<'_>) {
        while self.flights < FLIGHT_MAX && bus.now.mono >= self.paused {
            let Some(key) = self.ready.pop_front() else { break };
            self.start(key, bus);
        }
        let has_room = self.waiting < WAITING_MAX / 2 && self.waiting_bytes < WAITING_BYTES_MAX / 2;
        if has_room && self.ready.is_empty() && bus.now.mono >= self.paused {
            for _ in 0..FETCH_MAX {
                let Some(key) = self.missed.pop_first() else { break };
                bus.out.push(Output::Fetch(key));
            }
        }
    }

    fn start(&mut self, key: CallKey, bus: &mut Bus<'_>) {
        let is_haunted = self.haunted.contains_key(&key);
        let Some(entry) = self.entries.get_mut(&key) else { return };
        entry.is_queued = false;
        if entry.busy != Busy::Idle {
            return;
        }
        let expected = entry.revision;
        let written = bus.now.wall;
        let (busy, output) = match &entry.want {
            Want::InStep | Want::Missed if !entry.is_doubtful => return,
            want if want.mark().is_some_and(|mark| mark > self.safe) => {
                self.held.extend(want.mark().map(|mark| (mark, key)));
                return;
            }
            _ if entry.is_doubtful => {
                let turn = bus.turns.next();
                (Busy::Reading { turn }, Output::Read { key, turn })
            }
            Want::InStep | Want::Missed => return,
            Want::Put { value, .. } => {
                let turn = bus.turns.next();
                let value = bus.settings.header(State::Live, &entry.former, written).encode(value);
                (Busy::Putting { turn, change: entry.change }, Output::Update { key, turn, expected, value })
            }
            Want::End { .. } if entry.revision == 0 && !is_haunted => return self.forget(key),
            Want::End { .. } if entry.former.is_empty() && !is_haunted => {
                let turn = bus.turns.next();
                (Busy::Removing { turn }, Output::Remove { key, turn, revision: expected })
            }
            Want::End { .. } => {
                let turn = bus.turns.next();
                let value = bus.settings.header(State::Ended, &entry.former, written).encode(&[]);
                (Busy::Marking { turn }, Output::Update { key, turn, expected, value })
            }
        };
        entry.busy = busy;
        self.flights += 1;
        self.timeouts.extend(busy.turn().map(|turn| (bus.now.mono + ANSWER_WAIT, key, turn)));
        bus.out.push(output);
    }

    /// The request of a call has ended, if it is still under way.
    fn ended(&mut self, key: CallKey, turn: u64) -> Option<(Busy, &mut Entry)> {
        let entry = self.entries.get_mut(&key).filter(|entry| entry.busy.turn() == Some(turn))?;
        self.flights -= 1;
        Some((std::mem::take(&mut entry.busy), entry))
    }

    /// Takes an answer; whether it was for one of these calls.
    pub fn answered(&mut self, key: CallKey, turn: u64, answer: Answer, bus: &mut Bus<'_>) -> bool {
        let Some((busy, entry)) = self.ended(key, turn) else { return false };
        match (answer, busy) {
            (Answer::Stored(revision), Busy::Putting { change, .. }) => {
                entry.revision = revision;
                if entry.change == change && matches!(entry.want, Want::Put { .. }) {
                    self.want(key, Want::InStep);
                }
            }
            (Answer::Stored(revision), Busy::Marking { .. }) => {
                let usurper = entry.usurper.take();
                bus.out.extend(usurper.map(|to| Output::Tell { key, revision, to }));
                self.forget(key);
            }
            (Answer::Stored(_), _) => self.forget(key),
            (Answer::Conflict | Answer::Lost, _) => entry.is_doubtful = true,
            (Answer::Refused, _) => self.paused = bus.now.mono + PAUSE,
        }
        self.queue(key);
        true
    }

    /// A read gave nothing.
    pub fn unread(&mut self, key: CallKey, turn: u64, now: Instant) -> bool {
        let is_ours = self.ended(key, turn).is_some();
        if is_ours {
            self.paused = now + PAUSE;
            self.queue(key);
        }
        is_ours
    }

    /// What a read of a doubtful call gave; whether it was for one of these calls.
    pub fn seen(&mut self, key: CallKey, turn: u64, found: Option<Found<'_>>, bus: &mut Bus<'_>) -> bool {
        let Some((_, entry)) = self.ended(key, turn) else { return false };
        entry.is_doubtful = false;
        match found {
            None => self.absent(key, bus.now.mono),
            Some(found) => self.compare(key, found, bus),
        }
        // A server that refuses what another shows to be right, or the other way round, is given time.
        if self.entries.contains_key(&key) {
            self.paused = self.paused.max(bus.now.mono + PAUSE);
        }
        self.queue(key);
        true
    }

    /// A read found nothing, by which nobody shows to have the call.
    fn absent(&mut self, key: CallKey, now: Instant) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        if std::mem::take(&mut entry.revision) == 0 {
            let until = now + DOUBT_KEPT;
            self.haunted.insert(key, until);
            self.haunts.push_back((until, key));
        }
        match entry.want {
            Want::End { .. } if !self.haunted.contains_key(&key) => self.forget(key),
            Want::InStep => self.want(key, Want::Missed),
            _ => {}
        }
    }

    /// What the bucket holds of a call that is ours and has nothing under way.
    fn compare(&mut self, key: CallKey, found: Found<'_>, bus: &mut Bus<'_>) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        match Header::decode(found.value) {
            Ok((header, body)) if header.owner == bus.settings.home => {
                if found.revision < entry.revision {
                    return;
                }
                entry.revision = found.revision;
                // Those that have confirmed meanwhile are named once more: that costs a mark.
                entry.former = header.former;
                let is_same =
                    matches!(&entry.want, Want::Put { value, .. } if value == body) && header.state == State::Live;
                if header.state == State::Ended && matches!(entry.want, Want::End { .. }) {
                    self.forget(key);
                } else if is_same {
                    self.want(key, Want::InStep);
                }
            }
            _ if found.revision <= entry.revision => {}
            // We have ended the call: whoever has it is to forget it.
            Ok((header, _))
                if matches!(entry.want, Want::End { .. }) && header.state != State::Ended && !entry.is_remnant =>
            {
                entry.revision = found.revision;
                entry.usurped_by(header.owner.name);
            }
            _ if matches!(entry.want, Want::End { .. }) => self.forget(key),
            // A later release that has it is another owner, too.
            other => {
                self.forget(key);
                bus.out.push(Output::Forget { key, confirm: false });
                if let Ok((header, _)) = other
                    && header.state == State::Adopted
                {
                    bus.out.push(Output::Yours { key, to: header.owner.name });
                }
            }
        }
    }

    /// A scan has found a call that is ours.
    pub fn found(&mut self, key: CallKey, found: Found<'_>, bus: &mut Bus<'_>) {
        let is_idle = self.entries.get(&key).is_some_and(|entry| entry.busy == Busy::Idle);
        if is_idle {
            self.compare(key, found, bus);
            self.queue(key);
        }
    }

    /// Removes the mark of an ended call when it is old enough; nobody waits for the answer.
    pub fn sweep(key: CallKey, revision: u64, header: &Header, bus: &mut Bus<'_>) {
        if bus.now.wall.since(header.written) >= MARK_KEPT {
            let turn = bus.turns.next();
            bus.out.push(Output::Remove { key, turn, revision });
        }
    }

    pub fn tick(&mut self, now: Instant) {
        while let Some((until, key)) = self.haunts.front().copied().filter(|(until, _)| *until <= now) {
            self.haunts.pop_front();
            if self.haunted.get(&key) == Some(&until) {
                self.haunted.remove(&key);
            }
        }
        while let Some((_, key, turn)) = self.timeouts.front().copied().filter(|(at, ..)| *at <= now) {
            self.timeouts.pop_front();
            if let Some((busy, entry)) = self.ended(key, turn) {
                if !matches!(busy, Busy::Reading { .. }) {
                    entry.is_doubtful = true;
                }
                self.queue(key);
            }
        }
    }
}
