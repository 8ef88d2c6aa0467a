//! A lease in a key of the cluster's state: one holder at a time, taken over by time alone.
//!
//! | rule | why |
//! |---|---|
//! | held only until the instant at which the last acknowledged renewal was *sent*, and [`Timing::lease`] | a read may be old, and an acknowledgement late; time counts from before both |
//! | taken from another only when its revision has not changed for [`Timing::lease`] and [`Timing::margin`] of our own monotonic time, by an update that expects that revision | no two clocks are compared. When the revision was read, its writer had sent it before; whatever it wrote since makes our update fail |
//! | an update whose answer was lost, or that was refused as a conflict, is read back; owner and nonce decide, and the turn says which update it was | a server may refuse the repeat of what it has stored |
//! | after reads were not answered for a while, nothing is taken for [`Timing::patience`] | after an outage those that live renew first |
//! | a value that cannot be read is left alone | a later release wrote it |
//!
//! Both safety rules hold however old a read is: it is the update that decides, and the stream orders updates. The machine
//! is told of the key by [`Input::Seen`], from a scan each [`Timing::scan`] or from the reads that it asks for, and has one
//! update under way at a time. It has no state but what follows from what it knows: who wrote the last value it knows of,
//! whether we want the lease, and what is under way.

mod hearing;
#[cfg(test)]
mod tests;
mod timing;
mod twin;
mod value;

use std::collections::VecDeque;
use std::sync::Arc;

use crate::clock::Instant;

use self::hearing::Hearing;
use self::twin::Twin;

pub use self::timing::Timing;
pub use self::value::{Owner, Unreadable, VALUE_BYTES_MAX, Value};

/// The most updates without an answer that are remembered; an older one that turns out to be stored is read back as ours
/// and renewed, but gives no time.
const DOUBTS_MAX: usize = 16;

/// What became of an update.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    /// Stored under this revision.
    Stored(u64),
    /// The key has another revision than was expected (10071).
    Conflict,
    /// Certainly not stored: no server for it, or not sent.
    Refused,
    /// Not known: it may be stored, or be stored yet.
    Lost,
}

/// What happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Input<'a> {
    /// A read said what the key holds; `revision` 0 and no value: it was never written.
    Seen {
        /// Its revision; that of the mark when it was removed.
        revision: u64,
        /// Its value; `None` when it was removed.
        value: Option<&'a [u8]>,
    },
    /// The read that was asked for gave nothing.
    Unread,
    /// An update was answered, or its answer will not come. An answer may also follow after that.
    Answered {
        /// Of [`Output::Update`].
        turn: u64,
        /// What became of it.
        answer: Answer,
    },
    /// Take the lease as soon as it is free, and hold it.
    Want,
    /// Give it back, and take it no more.
    Yield,
}

/// What to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Output {
    /// Write the key if its revision is still `expected`; 0: if it was never written.
    Update {
        /// Number of the update, for its answer.
        turn: u64,
        /// The revision.
        expected: u64,
        /// The octets.
        value: Vec<u8>,
    },
    /// Read the key at the stream's leader.
    Read,
    /// The lease is ours until [`Lease::held_until`], which moves on by itself as long as renewals are acknowledged.
    Acquired {
        /// Number of the tenure.
        epoch: u64,
    },
    /// The lease is no longer ours, or may not be; not told after [`Input::Yield`].
    Ended(End),
    /// What we gave back is free for others. Not told when there was nothing to give back: see [`Lease::is_clear`].
    Released,
    /// Another process lives under our name; told once.
    Twin,
}

/// Why a lease has ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum End {
    /// No renewal was acknowledged in time. It is taken again as soon as possible.
    RunOut,
    /// Another has written the key.
    Taken,
}

/// Who has the lease, as far as is known here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Holder<'l> {
    /// Nothing was read yet.
    Unknown,
    /// Never taken, or given back.
    Free,
    /// Somebody's, who may be ourselves; `lives` until it has run out for us.
    By {
        /// Who.
        owner: &'l Owner,
        /// Number of the tenure.
        epoch: u64,
        /// Whether it cannot be taken from it yet.
        lives: bool,
    },
    /// A value that cannot be read.
    Foreign,
}

/// What the key is known to hold.
#[derive(Clone, Debug)]
enum Standing {
    Free,
    By(Value),
    Foreign,
}

/// The last state of the key that is known.
#[derive(Clone, Debug)]
struct Known {
    revision: u64,
    standing: Standing,
    /// Since when this revision is known.
    since: Instant,
}

/// An update whose storing is not known.
#[derive(Clone, Copy, Debug)]
struct Sent {
    turn: u64,
    at: Instant,
    epoch: u64,
    released: bool,
}

#[derive(Clone, Copy, Debug)]
struct Tenure {
    epoch: u64,
    /// When the last acknowledged renewal was sent.
    renewed: Instant,
}

#[derive(Clone, Copy, Debug)]
enum Busy {
    /// Nothing is asked before this instant.
    Idle {
        until: Instant,
    },
    Updating {
        turn: u64,
        since: Instant,
    },
    Reading {
        since: Instant,
    },
}

/// What is to be done next.
#[derive(Clone, Copy, Debug)]
enum Step {
    Read,
    Update {
        epoch: u64,
        released: bool,
    },
    /// As an update; only while reads are answered.
    TakeOver {
        epoch: u64,
    },
}

/// One lease, wanted or only looked at.
#[derive(Clone, Debug)]
pub struct Lease {
    me: Arc<Owner>,
    timing: Timing,
    is_wanted: bool,
    known: Option<Known>,
    tenure: Option<Tenure>,
    busy: Busy,
    /// Updates that may have been stored, or may be yet; oldest first.
    doubts: VecDeque<Sent>,
    must_read: bool,
    /// Of the last update.
    turn: u64,
    hearing: Hearing,
    twin: Twin,
}

impl Lease {
    /// A lease that is only looked at until [`Input::Want`]. A process has one for a key as long as its nonce lives.
    #[must_use]
    pub fn new(me: Arc<Owner>, timing: Timing) -> Self {
        Self {
            me,
            timing,
            is_wanted: false,
            known: None,
            tenure: None,
            busy: Busy::Idle { until: Instant(0) },
            doubts: VecDeque::new(),
            must_read: false,
            turn: 0,
            hearing: Hearing::default(),
            twin: Twin::default(),
        }
    }

    /// As [`Lease::new`], for an owner that may have had earlier lives of the same nonce: `turn` is above the numbers of all
    /// updates that they have sent.
    #[must_use]
    pub fn since(me: Arc<Owner>, timing: Timing, turn: u64) -> Self {
        Self { turn, ..Self::new(me, timing) }
    }

    /// Until when the lease is ours; `None`: it is not.
    #[must_use]
    pub fn held_until(&self) -> Option<Instant> {
        self.tenure.map(|tenure| tenure.renewed + self.timing.lease)
    }

    /// Number of our tenure, if the lease is ours at `now`: to be asked before each use.
    #[must_use]
    pub fn held(&self, now: Instant) -> Option<u64> {
        self.tenure.filter(|tenure| now < tenure.renewed + self.timing.lease).map(|tenure| tenure.epoch)
    }

    /// Whether we want it.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.is_wanted
    }

    /// Whether nothing of ours stands in the key, or may come to stand in it and last: what a process waits for at its end.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        let is_ours = |known: &Known| matches!(&known.standing, Standing::By(value) if value.owner == *self.me && !value.released);
        self.doubts.is_empty() && !self.known.as_ref().is_some_and(is_ours)
    }

    /// Who has it, as far as is known here.
    #[must_use]
    pub fn holder(&self, now: Instant) -> Holder<'_> {
        match self.known.as_ref().map(|known| &known.standing) {
            None => Holder::Unknown,
            Some(Standing::Free) => Holder::Free,
            Some(Standing::Foreign) => Holder::Foreign,
            Some(Standing::By(value)) if value.released => Holder::Free,
            Some(Standing::By(Value { owner, epoch, .. })) => {
                let lives = if *owner == *self.me { self.held(now).is_some() } else { !self.has_run_out(now) };
                Holder::By { owner, epoch: *epoch, lives }
            }
        }
    }

    /// When [`Lease::tick`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let next = match self.busy {
            Busy::Updating { since, .. } | Busy::Reading { since } => Some(since + self.timing.answer()),
            Busy::Idle { until } => self.next().map(|(due, _)| due.max(until)),
        };
        [next, self.held_until()].into_iter().flatten().min()
    }

    /// Takes what happened.
    pub fn handle(&mut self, now: Instant, input: Input<'_>, out: &mut Vec<Output>) {
        self.run_out(now, out);
        match input {
            Input::Seen { revision, value } => self.seen(now, revision, value, out),
            Input::Unread if matches!(self.busy, Busy::Reading { .. }) => self.rest(now),
            Input::Unread => {}
            Input::Answered { turn, answer } => self.answered(now, turn, answer, out),
            Input::Want => self.is_wanted = true,
            Input::Yield => {
                self.is_wanted = false;
                self.tenure = None;
            }
        }
        self.act(now, out);
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.run_out(now, out);
        let late = |since: Instant| now >= since + self.timing.answer();
        match self.busy {
            Busy::Updating { since, .. } if late(since) => self.doubt(),
            Busy::Reading { since } if late(since) => self.rest(now),
            _ => {}
        }
        self.act(now, out);
    }

    fn run_out(&mut self, now: Instant, out: &mut Vec<Output>) {
        if self.tenure.is_some() && self.held(now).is_none() {
            self.tenure = None;
            out.push(Output::Ended(End::RunOut));
        }
        // Stored now, they would give no time any more.
        self.doubts.retain(|sent| now < sent.at + self.timing.lease);
    }

    fn rest(&mut self, now: Instant) {
        self.busy = Busy::Idle { until: now + self.timing.pause() };
    }

    fn proceed(&mut self) {
        self.busy = Busy::Idle { until: Instant(0) };
    }

    /// The update under way may be stored, or another: the key is read.
    fn doubt(&mut self) {
        self.must_read = true;
        self.proceed();
    }

    fn answered(&mut self, now: Instant, turn: u64, answer: Answer, out: &mut Vec<Output>) {
        let is_current = matches!(self.busy, Busy::Updating { turn: current, .. } if current == turn);
        match answer {
            Answer::Stored(revision) => {
                if is_current {
                    self.proceed();
                }
                let is_news = self.known.as_ref().is_none_or(|known| revision > known.revision);
                let sent = self.doubts.iter().find(|sent| sent.turn == turn && is_news);
                if let Some(Sent { epoch, released, .. }) = sent.copied() {
                    let value = Value { owner: (*self.me).clone(), epoch, turn, released };
                    self.learn(now, revision, Standing::By(value), out);
                }
            }
            // A conflict decides nothing: the server may have stored the update, lost the answer, and refused its repeat.
            Answer::Conflict | Answer::Lost if is_current => self.doubt(),
            Answer::Conflict | Answer::Lost => {}
            Answer::Refused => {
                self.doubts.retain(|sent| sent.turn != turn);
                if is_current {
                    self.rest(now);
                }
            }
        }
    }

    fn seen(&mut self, now: Instant, revision: u64, value: Option<&[u8]>, out: &mut Vec<Output>) {
        let known = self.known.as_ref().map(|known| known.revision);
        let is_news = known.is_none_or(|known| revision > known);
        let behind = self.hearing.heard(now, self.timing.patience(), known.is_some_and(|known| revision < known));
        // Old reads end; a bucket that was made anew goes on. Nothing is risked: the next update expects what was read.
        let is_anew = self.tenure.is_none() && behind >= self.timing.lease + self.timing.margin();
        if matches!(self.busy, Busy::Reading { .. }) {
            self.must_read = false;
            if is_news { self.proceed() } else { self.rest(now) }
        }
        if is_news || is_anew {
            let standing = match value.map(Value::decode) {
                None => Standing::Free,
                Some(Ok(value)) => Standing::By(value),
                Some(Err(Unreadable)) => Standing::Foreign,
            };
            self.learn(now, revision, standing, out);
        }
    }

    /// The key holds this.
    fn learn(&mut self, now: Instant, revision: u64, standing: Standing, out: &mut Vec<Output>) {
        self.hearing.caught_up();
        match &standing {
            Standing::By(value) if value.owner == *self.me => {
                let sent = self.doubts.iter().find(|sent| sent.turn == value.turn).copied();
                self.doubts.retain(|sent| sent.turn > value.turn);
                self.turn = self.turn.max(value.turn);
                self.twin.reset();
                match sent {
                    _ if value.released && !self.is_wanted => out.push(Output::Released),
                    Some(sent) if !value.released => self.hold(now, sent, out),
                    _ => {}
                }
            }
            other => {
                self.doubts.clear();
                if self.tenure.take().is_some() {
                    out.push(Output::Ended(End::Taken));
                }
                if let Standing::By(value) = other
                    && self.twin.looks_alive(&self.me, value)
                {
                    out.push(Output::Twin);
                }
            }
        }
        self.known = Some(Known { revision, standing, since: now });
    }

    /// An update of ours is stored that was sent then.
    fn hold(&mut self, now: Instant, sent: Sent, out: &mut Vec<Output>) {
        if !self.is_wanted || now >= sent.at + self.timing.lease {
            return;
        }
        let Sent { at: renewed, epoch, .. } = sent;
        if self.tenure.replace(Tenure { epoch, renewed }).is_none() {
            out.push(Output::Acquired { epoch });
        }
    }

    /// When others may take what another holds.
    fn free_from(&self) -> Instant {
        let since = self.known.as_ref().map_or(Instant(u64::MAX), |known| known.since);
        let Timing { lease } = self.timing;
        (since + lease + self.timing.margin()).max(self.hearing.calm() + self.timing.patience())
    }

    fn hears(&self, now: Instant) -> bool {
        self.hearing.is_recent(now, self.timing.patience())
    }

    fn has_run_out(&self, now: Instant) -> bool {
        now >= self.free_from() && self.hears(now)
    }

    /// What is to be done next, and when.
    fn next(&self) -> Option<(Instant, Step)> {
        let at_once = Instant(0);
        if self.must_read {
            return Some((at_once, Step::Read));
        }
        match (self.known.as_ref().map(|known| &known.standing), self.is_wanted) {
            (None, true) => Some((at_once, Step::Read)),
            (None | Some(Standing::Foreign), _) => None,
            (Some(Standing::Free), wanted) => wanted.then_some((at_once, Step::Update { epoch: 1, released: false })),
            (Some(Standing::By(value)), true) => {
                let epoch = value.epoch.saturating_add(1);
                let is_mine = value.owner == *self.me;
                match self.tenure {
                    Some(Tenure { epoch, renewed }) if is_mine => {
                        Some((renewed + self.timing.renewal(), Step::Update { epoch, released: false }))
                    }
                    _ if is_mine || value.released => Some((at_once, Step::Update { epoch, released: false })),
                    _ if self.hearing.is_deaf() => None,
                    _ => Some((self.free_from(), Step::TakeOver { epoch })),
                }
            }
            (Some(Standing::By(value)), false) => {
                let is_left = value.owner == *self.me && !value.released;
                is_left.then_some((at_once, Step::Update { epoch: value.epoch, released: true }))
            }
        }
    }

    fn act(&mut self, now: Instant, out: &mut Vec<Output>) {
        let Busy::Idle { until } = self.busy else { return };
        match self.next() {
            Some((due, step)) if now >= due.max(until) => match step {
                Step::Read => {
                    self.busy = Busy::Reading { since: now };
                    out.push(Output::Read);
                }
                Step::TakeOver { .. } if !self.hears(now) => self.hearing.wait(),
                Step::TakeOver { epoch } => self.update(now, epoch, false, out),
                Step::Update { epoch, released } => self.update(now, epoch, released, out),
            },
            _ => {}
        }
    }

    fn update(&mut self, now: Instant, epoch: u64, released: bool, out: &mut Vec<Output>) {
        self.turn += 1;
        let turn = self.turn;
        if self.doubts.len() == DOUBTS_MAX {
            self.doubts.pop_front();
        }
        self.doubts.push_back(Sent { turn, at: now, epoch, released });
        self.busy = Busy::Updating { turn, since: now };
        let value = Value { owner: (*self.me).clone(), epoch, turn, released }.encode();
        let expected = self.known.as_ref().map_or(0, |known| known.revision);
        out.push(Output::Update { turn, expected, value });
    }
}
