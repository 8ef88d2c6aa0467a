//! The partitions of one deliverer: its own membership, what it sees of the others, and the leases of all partitions.
//!
//! | a partition is | and becomes |
//! |---|---|
//! | wanted, when the plan ([`super::share`]) says so and this process is a member | ours, told by [`Output::Take`], when its lease is |
//! | ours | being given back, told by [`Output::Give`], when the plan gives it to another; what is under way is brought to an end, and [`Input::Settled`] releases the lease |
//! | ours or being given back | another's, told by [`Output::Drop`], when its lease ends: nothing of it may be used any more |
//!
//! A process becomes a member by its own lease, and stays one until [`Input::Leave`]: who cannot renew loses the
//! partitions' leases as well, one by one. At [`Input::Leave`] it gives its membership back, so that the others
//! plan without it, and then its partitions.

mod key;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::lease::{self, Answer, Holder, Lease, Owner, Timing};
use super::share::{self, Part, Place};
use crate::clock::Instant;

pub use self::key::{Key, MEMBERS, PREFIXES};

/// The most deliverers that are looked at; more are taken for dead.
pub const MEMBERS_MAX: usize = 256;

/// What a scan or a read said of a key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// Its revision.
    pub revision: u64,
    /// Its value; `None` when it was removed or never written.
    pub value: Option<Vec<u8>>,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// All keys were read: what is not among them was never written.
    Scanned(&'a [Entry]),
    /// One key was read.
    Seen(&'a Entry),
    /// The read that was asked for gave nothing.
    Unread(&'a Key),
    /// An update was answered, or its answer will not come.
    Answered {
        /// Of the update.
        key: &'a Key,
        /// Of the update.
        turn: u64,
        /// What became of it.
        answer: Answer,
    },
    /// Nothing of a partition that is being given back is under way any more, and its progress is written.
    Settled(usize),
    /// The process is to end: all is given back.
    Leave,
}

/// What to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Output {
    /// Write a key if its revision is still the expected one.
    Update {
        /// The key.
        key: Key,
        /// For the answer.
        turn: u64,
        /// The revision; 0: if it was never written.
        expected: u64,
        /// The octets.
        value: Vec<u8>,
    },
    /// Read a key at the stream's leader.
    Read(Key),
    /// The partition is ours: read its progress, make it ours by writing it, and go on from there.
    Take {
        /// Which.
        partition: usize,
        /// Number of the tenure.
        epoch: u64,
    },
    /// Begin nothing more of the partition; [`Input::Settled`] when what is under way has ended.
    Give(usize),
    /// The partition is no longer ours: nothing more is written or settled for it.
    Drop(usize),
    /// Another process lives under our name; told once.
    Twin,
    /// All is given back, after [`Input::Leave`].
    Left,
}

/// One deliverer's view of the partitions.
#[derive(Clone, Debug)]
pub struct Roster {
    me: Arc<Owner>,
    timing: Timing,
    membership: Membership,
    members: BTreeMap<String, Lease>,
    partitions: Vec<Partition>,
    /// Deadline of each lease that has one.
    due: BTreeSet<(Instant, Key)>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Membership {
    /// Our own lease was not ours yet.
    Joining,
    Member,
    Leaving,
    Left,
}

#[derive(Clone, Debug)]
struct Partition {
    lease: Lease,
    /// [`Output::Take`] was told and nothing that ends it.
    is_ours: bool,
    is_given: bool,
}

impl Roster {
    /// A deliverer that looks on until its own lease is its own.
    #[must_use]
    pub fn new(me: Owner, timing: Timing, partitions: usize) -> Self {
        let me = Arc::new(me);
        let lease = || Lease::new(Arc::clone(&me), timing);
        let partition = |_| Partition { lease: lease(), is_ours: false, is_given: false };
        let partitions = (0..partitions.min(share::PARTITIONS_MAX)).map(partition).collect();
        let members = BTreeMap::from([(me.name.clone(), lease())]);
        Self { me, timing, membership: Membership::Joining, members, partitions, due: BTreeSet::new() }
    }

    /// Whether the partition may be used at `now`: to be asked before each use.
    #[must_use]
    pub fn holds(&self, partition: usize, now: Instant) -> bool {
        self.partitions.get(partition).is_some_and(|own| own.is_ours && own.lease.held(now).is_some())
    }

    /// Until when it may, unless renewed.
    #[must_use]
    pub fn held_until(&self, partition: usize) -> Option<Instant> {
        self.partitions.get(partition).filter(|own| own.is_ours).and_then(|own| own.lease.held_until())
    }

    /// Names of the deliverers that live, this one among them when it is a member.
    pub fn members(&self, now: Instant) -> impl Iterator<Item = &str> {
        let is_member = self.membership == Membership::Member;
        let lives = move |name: &str, lease: &Lease| match name == self.me.name {
            true => is_member,
            false => matches!(lease.holder(now), Holder::By { lives: true, .. }),
        };
        self.members.iter().filter(move |(name, lease)| lives(name, lease)).map(|(name, _)| name.as_str())
    }

    /// Whether this process is one of them.
    #[must_use]
    pub fn is_member(&self) -> bool {
        self.membership == Membership::Member
    }

    /// Who has a partition, as far as is known here.
    #[must_use]
    pub fn holder(&self, partition: usize, now: Instant) -> Option<&str> {
        match self.partitions.get(partition)?.lease.holder(now) {
            Holder::By { owner, lives: true, .. } => Some(&owner.name),
            _ => None,
        }
    }

    /// When [`Roster::tick`] has something to do; a scan is to come each [`Timing::scan`] besides.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Takes what happened.
    pub fn handle(&mut self, now: Instant, input: Input<'_>, out: &mut Vec<Output>) {
        match input {
            Input::Scanned(entries) => self.scanned(now, entries, out),
            Input::Seen(entry) => self.seen(now, entry, out),
            Input::Unread(key) => self.drive(now, key, Some(lease::Input::Unread), out),
            Input::Answered { key, turn, answer } => {
                self.drive(now, key, Some(lease::Input::Answered { turn, answer }), out);
            }
            Input::Settled(partition) => {
                let own = self.partitions.get_mut(partition).filter(|own| own.is_ours && own.is_given);
                if let Some(own) = own {
                    (own.is_ours, own.is_given) = (false, false);
                    self.drive(now, &Key::Partition(partition), Some(lease::Input::Yield), out);
                }
            }
            Input::Leave if self.membership != Membership::Left => self.membership = Membership::Leaving,
            Input::Leave => {}
        }
        self.share(now, out);
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        let due: Vec<Key> = self.due.iter().take_while(|(due, _)| *due <= now).map(|(_, key)| key.clone()).collect();
        due.iter().for_each(|key| self.drive(now, key, None, out));
        self.share(now, out);
    }

    fn scanned(&mut self, now: Instant, entries: &[Entry], out: &mut Vec<Output>) {
        let is_told: BTreeSet<&Key> = entries.iter().map(|entry| &entry.key).collect();
        let members = self.members.keys().cloned().map(Key::Member);
        let keys: Vec<Key> = members.chain((0..self.partitions.len()).map(Key::Partition)).collect();
        entries.iter().for_each(|entry| self.seen(now, entry, out));
        for key in keys.into_iter().filter(|key| !is_told.contains(key)) {
            self.seen(now, &Entry { key, revision: 0, value: None }, out);
        }
    }

    fn seen(&mut self, now: Instant, entry: &Entry, out: &mut Vec<Output>) {
        if let Key::Member(name) = &entry.key
            && !self.members.contains_key(name)
            && self.members.len() < MEMBERS_MAX
        {
            self.members.insert(name.clone(), Lease::new(Arc::clone(&self.me), self.timing));
        }
        let Entry { key, revision, value } = entry;
        self.drive(now, key, Some(lease::Input::Seen { revision: *revision, value: value.as_deref() }), out);
    }

    fn lease(&mut self, key: &Key) -> Option<&mut Lease> {
        match key {
            Key::Member(name) => self.members.get_mut(name),
            Key::Partition(number) => self.partitions.get_mut(*number).map(|own| &mut own.lease),
        }
    }

    /// Has one lease take an input, or the time alone, and does what comes out.
    fn drive(&mut self, now: Instant, key: &Key, input: Option<lease::Input<'_>>, out: &mut Vec<Output>) {
        let Some(lease) = self.lease(key) else { return };
        let mut told = Vec::new();
        let before = lease.deadline();
        match input {
            Some(input) => lease.handle(now, input, &mut told),
            None => lease.tick(now, &mut told),
        }
        let after = lease.deadline();
        if let Some(due) = before {
            self.due.remove(&(due, key.clone()));
        }
        self.due.extend(after.map(|due| (due, key.clone())));
        for output in told {
            match (output, key) {
                (lease::Output::Update { turn, expected, value }, _) => {
                    out.push(Output::Update { key: key.clone(), turn, expected, value });
                }
                (lease::Output::Read, _) => out.push(Output::Read(key.clone())),
                (lease::Output::Acquired { .. }, Key::Member(_)) if self.membership == Membership::Joining => {
                    self.membership = Membership::Member;
                }
                (lease::Output::Acquired { epoch }, Key::Partition(partition)) => {
                    let own = &mut self.partitions[*partition];
                    (own.is_ours, own.is_given) = (true, false);
                    out.push(Output::Take { partition: *partition, epoch });
                }
                (lease::Output::Ended(_), Key::Partition(partition)) => {
                    let own = &mut self.partitions[*partition];
                    if std::mem::take(&mut own.is_ours) {
                        out.push(Output::Drop(*partition));
                    }
                    own.is_given = false;
                }
                (lease::Output::Twin, Key::Member(_)) => out.push(Output::Twin),
                (lease::Output::Acquired { .. } | lease::Output::Ended(_) | lease::Output::Twin, _)
                | (lease::Output::Released, _) => {}
            }
        }
    }

    /// Does this member's part of the plan.
    fn share(&mut self, now: Instant, out: &mut Vec<Output>) {
        let own = Key::Member(self.me.name.clone());
        match self.membership {
            Membership::Joining => self.wish(now, &own, lease::Input::Want, out),
            Membership::Member => {}
            // First of all, so that others plan without us.
            Membership::Leaving => self.wish(now, &own, lease::Input::Yield, out),
            Membership::Left => return,
        }
        let Part { take, give } = self.part(now);
        for partition in 0..self.partitions.len() {
            let Partition { lease, is_ours, is_given } = &mut self.partitions[partition];
            let is_mine = matches!(lease.holder(now), Holder::By { owner, .. } if *owner == *self.me);
            let (takes, gives) = (take.binary_search(&partition).is_ok(), give.binary_search(&partition).is_ok());
            let key = Key::Partition(partition);
            if *is_ours {
                if gives && !*is_given {
                    *is_given = true;
                    out.push(Output::Give(partition));
                }
            } else if takes {
                self.wish(now, &key, lease::Input::Want, out);
            } else if gives || !is_mine {
                self.wish(now, &key, lease::Input::Yield, out);
            }
        }
        let is_clear = || self.members.get(&self.me.name).is_none_or(Lease::is_clear);
        if self.membership == Membership::Leaving
            && is_clear()
            && self.partitions.iter().all(|own| own.lease.is_clear())
        {
            self.membership = Membership::Left;
            out.push(Output::Left);
        }
    }

    fn wish(&mut self, now: Instant, key: &Key, wish: lease::Input<'_>, out: &mut Vec<Output>) {
        let is_wanted = self.lease(key).is_some_and(|lease| lease.is_wanted());
        if is_wanted != (wish == lease::Input::Want) {
            self.drive(now, key, Some(wish), out);
        }
    }

    fn part(&self, now: Instant) -> Part {
        let members: Vec<&str> = self.members(now).collect();
        let places: Vec<Place<'_>> = self.partitions.iter().map(|own| self.place(own, now)).collect();
        share::part(&self.me.name, &members, &places)
    }

    fn place<'r>(&'r self, own: &'r Partition, now: Instant) -> Place<'r> {
        match own.lease.holder(now) {
            Holder::Unknown | Holder::Foreign => Place::Unknown,
            Holder::Free => Place::Free,
            // One of ours that ran out is ours to take again.
            Holder::By { owner, lives, .. } if lives || *owner == *self.me => Place::By(&owner.name),
            Holder::By { .. } => Place::Free,
        }
    }
}
