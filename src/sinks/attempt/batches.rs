//! Which records are tried together and when, and what follows from an answer.
//!
//! A *suspect* is a batch of which the outcome is unknown, or a half of one in which a record is refused; it stays here until
//! each of its records has ended. Whether a record of it is to blame for a broken connection shows only when others are
//! delivered between two breaks.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use super::{Answer, Entry, Fate, Settings};
use crate::clock::Timestamp;
use crate::ids::CallHash;
use crate::queue::Settlement;
use crate::sinks::Outcome;
use crate::timers::random::{Random, doubled};

/// Records that are tried together.
#[derive(Debug)]
pub(super) struct Batch<I> {
    pub entries: Vec<Entry<I>>,
    origin: Origin,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Origin {
    /// It was made of what waited.
    Fresh,
    /// It is a half of a batch that was refused.
    Refused,
    /// Its outcome is unknown; records delivered in all when its connection broke the last time.
    Broken(u64),
}

/// How the backend is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Health {
    /// Nothing was tried yet.
    New,
    /// It has taken what it was last given: whole batches go.
    Up,
    /// It gets one record at a time, after waits that grow.
    Down {
        /// Failures in a row.
        failures: u32,
    },
}

/// What is to be delivered, and what was learned of the backend.
#[derive(Debug)]
pub(super) struct Batches<I> {
    settings: Settings,
    random: Random,
    waiting: VecDeque<Entry<I>>,
    suspects: VecDeque<Batch<I>>,
    /// Sessions that have a record in the batch which is made, or in a suspect.
    busy: HashSet<CallHash>,
    health: Health,
    /// Records delivered in all.
    delivered: u64,
    /// The code of the last refusal, and how many had it in a row without a delivery between.
    refusals: (u32, u32),
}

impl<I> Batches<I> {
    pub fn new(settings: Settings, seed: [u64; 2]) -> Self {
        Self {
            settings,
            random: Random::new(seed),
            waiting: VecDeque::new(),
            suspects: VecDeque::new(),
            busy: HashSet::new(),
            health: Health::New,
            delivered: 0,
            refusals: (0, 0),
        }
    }

    pub const fn health(&self) -> Health {
        self.health
    }

    /// Records that were taken from the queue and are not settled yet.
    pub fn len(&self) -> usize {
        self.waiting.len() + self.suspects.iter().map(|suspect| suspect.entries.len()).sum::<usize>()
    }

    /// How many records more are of use, with `under_way` in an attempt: a batch that waits while another is under way, or
    /// one record that shows whether the backend is back.
    pub fn room(&self, under_way: usize) -> usize {
        match self.health {
            Health::Down { .. } => 1_usize.saturating_sub(self.waiting.len()),
            Health::New | Health::Up => (2 * self.settings.batch_max).saturating_sub(self.len() + under_way),
        }
    }

    pub fn add(&mut self, entry: Entry<I>) {
        self.waiting.push_back(entry);
    }

    /// What is to be tried next.
    pub fn next(&mut self) -> Option<Batch<I>> {
        // A repeat of what broke the connection teaches something only when another record was delivered since.
        let is_idle = |suspect: &Batch<I>| suspect.origin == Origin::Broken(self.delivered);
        if self.suspects.front().is_none_or(is_idle) {
            let entries = self.gather();
            if !entries.is_empty() {
                return Some(Batch { entries, origin: Origin::Fresh });
            }
        }
        self.suspects.pop_front()
    }

    /// As many as may go together of what waits, in order, without a record whose session has an earlier one.
    fn gather(&mut self) -> Vec<Entry<I>> {
        let most = match self.health {
            Health::Down { .. } => 1,
            Health::New | Health::Up => self.settings.batch_max.max(1),
        };
        self.busy.clear();
        self.busy.extend(self.suspects.iter().flat_map(|suspect| &suspect.entries).filter_map(|entry| entry.session));
        let mut entries = Vec::with_capacity(most.min(self.waiting.len()));
        let mut passed = Vec::new();
        let mut octets = 0_usize;
        while entries.len() < most
            && let Some(entry) = self.waiting.pop_front()
        {
            let fits = entries.is_empty() || octets + entry.octets <= self.settings.batch_octets_max;
            if !fits {
                self.waiting.push_front(entry);
                break;
            }
            if entry.session.is_some_and(|session| !self.busy.insert(session)) {
                passed.push(entry);
                continue;
            }
            octets += entry.octets;
            entries.push(entry);
        }
        passed.into_iter().rev().for_each(|entry| self.waiting.push_front(entry));
        entries
    }

    /// Takes what became of a batch; appends what ended. Gives the wait before the backend is tried again, if there is one.
    pub fn answered(
        &mut self,
        now: Timestamp,
        batch: Batch<I>,
        answer: Answer,
        out: &mut Vec<Outcome>,
    ) -> Option<Duration> {
        match answer {
            Answer::Delivered => {
                self.health = Health::Up;
                batch.entries.into_iter().for_each(|entry| self.deliver(entry, out));
                None
            }
            Answer::Each(fates) => {
                self.health = Health::Up;
                self.each(now, batch, fates, out)
            }
            Answer::Refused { reason, code } => {
                self.health = Health::Up;
                match halved(batch, Origin::Refused) {
                    Ok([first, second]) => {
                        self.suspects.push_front(second);
                        self.suspects.push_front(first);
                        None
                    }
                    Err(entry) => self.refuse(entry, reason, code, out),
                }
            }
            Answer::Down { reason, after } => {
                let wait = self.failed();
                Some(self.put_off(batch, after.unwrap_or(wait), &reason, out))
            }
            Answer::Misfit { reason } => {
                self.failed();
                Some(self.put_off(batch, self.settings.retry_max, &reason, out))
            }
            Answer::Unknown { reason } => {
                let wait = self.failed();
                self.doubt(batch, reason, out);
                Some(wait)
            }
        }
    }

    /// One more failure of the backend; how long it is left alone.
    fn failed(&mut self) -> Duration {
        let failures = match self.health {
            Health::Down { failures } => failures,
            Health::New | Health::Up => 0,
        };
        self.health = Health::Down { failures: failures.saturating_add(1) };
        self.back_off(failures)
    }

    fn back_off(&mut self, times: u32) -> Duration {
        let Settings { retry_first, retry_max, .. } = self.settings;
        self.random.jitter(doubled(retry_first, times, retry_max))
    }

    fn deliver(&mut self, entry: Entry<I>, out: &mut Vec<Outcome>) {
        self.delivered += 1;
        self.refusals = (0, 0);
        out.push(Outcome { seq: entry.seq, settlement: Settlement::Delivered });
    }

    fn each(&mut self, now: Timestamp, batch: Batch<I>, fates: Vec<Fate>, out: &mut Vec<Outcome>) -> Option<Duration> {
        let untold = || Fate::Unknown { reason: "the backend did not tell of it".to_owned() };
        let fates = fates.into_iter().chain(std::iter::repeat_with(untold));
        let (mut wait, mut doubtful, mut why) = (None, Vec::new(), String::new());
        let (mut unsent, mut why_not) = (Vec::new(), String::new());
        for (entry, fate) in batch.entries.into_iter().zip(fates) {
            match fate {
                Fate::Delivered => self.deliver(entry, out),
                Fate::Retry { reason } => self.retry(now, entry, reason, out),
                Fate::Refused { reason, code } => wait = wait.max(self.refuse(entry, reason, code, out)),
                Fate::Unknown { reason } => {
                    doubtful.push(entry);
                    why = reason;
                }
                Fate::Unsent { reason } => {
                    unsent.push(entry);
                    why_not = reason;
                }
            }
        }
        if !unsent.is_empty() {
            let after = self.failed();
            let unsent = Batch { entries: unsent, origin: batch.origin };
            wait = wait.max(Some(self.put_off(unsent, after, &why_not, out)));
        }
        if !doubtful.is_empty() {
            wait = wait.max(Some(self.failed()));
            self.doubt(Batch { entries: doubtful, origin: batch.origin }, why, out);
        }
        wait
    }

    /// A record fails that the backend could have taken: it comes again later, or parks when that was of no use for long.
    fn retry(&mut self, now: Timestamp, entry: Entry<I>, reason: String, out: &mut Vec<Outcome>) {
        let attempts = entry.attempts.saturating_add(1);
        let is_old = now.since(entry.since) >= self.settings.park_age_min;
        if attempts >= self.settings.attempts_max && is_old {
            return park(&entry, format!("{reason}, at attempt {attempts}"), 0, out);
        }
        let after = self.back_off(entry.attempts);
        out.push(Outcome { seq: entry.seq, settlement: Settlement::Retry { after, reason } });
        // Later ones of its session would overtake it.
        self.waiting.retain(|later| {
            let follows = later.session.is_some() && later.session == entry.session;
            if follows {
                let reason = "an earlier record of its session waits".to_owned();
                out.push(Outcome { seq: later.seq, settlement: Settlement::Defer { after, reason } });
            }
            !follows
        });
    }

    /// A record is refused for ever. When all are, one after the other, it is not the records: the backend is left alone.
    fn refuse(&mut self, entry: Entry<I>, reason: String, code: u32, out: &mut Vec<Outcome>) -> Option<Duration> {
        let in_a_row = if self.refusals.0 == code { self.refusals.1 } else { 0 };
        self.refusals = (code, in_a_row.saturating_add(1));
        if in_a_row < self.settings.pause_after {
            park(&entry, reason, code, out);
            return None;
        }
        self.failed();
        let reason = format!("{reason}; {in_a_row} records before it were refused alike, so that it is not parked");
        let batch = Batch { entries: vec![entry], origin: Origin::Fresh };
        Some(self.put_off(batch, self.settings.retry_max, &reason, out))
    }

    /// Back to the queue with all that waits, but for suspects.
    fn put_off(&mut self, batch: Batch<I>, after: Duration, reason: &str, out: &mut Vec<Outcome>) -> Duration {
        let fresh = match batch.origin {
            Origin::Fresh => batch.entries,
            Origin::Refused | Origin::Broken(_) => {
                self.suspects.push_front(batch);
                Vec::new()
            }
        };
        for entry in fresh.into_iter().chain(self.waiting.drain(..)) {
            let settlement = Settlement::Defer { after, reason: reason.to_owned() };
            out.push(Outcome { seq: entry.seq, settlement });
        }
        after
    }

    /// The connection broke behind a batch. With records delivered since it broke there before, it is the batch's fault.
    fn doubt(&mut self, mut batch: Batch<I>, reason: String, out: &mut Vec<Outcome>) {
        batch.entries.iter_mut().for_each(|entry| entry.may_be_there = true);
        let is_guilty = matches!(batch.origin, Origin::Broken(delivered) if delivered < self.delivered);
        let now = Origin::Broken(self.delivered);
        if !is_guilty {
            batch.origin = now;
            return self.suspects.push_back(batch);
        }
        match halved(batch, now) {
            Ok(halves) => self.suspects.extend(halves),
            Err(mut entry) => {
                entry.breaks += 1;
                if entry.breaks >= self.settings.breaks_max {
                    let breaks = entry.breaks;
                    park(&entry, format!("{reason}, {breaks} times behind this record alone"), 0, out);
                } else {
                    self.suspects.push_back(Batch { entries: vec![entry], origin: now });
                }
            }
        }
    }
}

/// The halves of a batch, in order; or the record that is alone in it.
fn halved<I>(batch: Batch<I>, origin: Origin) -> Result<[Batch<I>; 2], Entry<I>> {
    let mut entries = batch.entries;
    if entries.len() > 1 {
        let second = entries.split_off(entries.len().div_ceil(2));
        return Ok([entries, second].map(|entries| Batch { entries, origin }));
    }
    // No batch is made without a record.
    Err(entries.swap_remove(0))
}

fn park<I>(entry: &Entry<I>, reason: String, code: u32, out: &mut Vec<Outcome>) {
    out.push(Outcome { seq: entry.seq, settlement: Settlement::Park { reason, code } });
}
