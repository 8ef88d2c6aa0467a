//! Salvage: records of a damaged file come back at the head of the queue, under their old ids, while the service runs.
//!
//! The file is read on a thread of its own; what it finds is appended between commits. Two cases: a directory that was
//! set aside because it does not open, and single records of an open spool that its tree does not give any more.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::path::PathBuf;
use std::thread;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};

use crate::clock::{Now, Timestamp};
use crate::ids::{SinkMask, SinkNumber};

use super::balance::Loss;
use super::disk::sync_directory;
use super::error::StoreError;
use super::notice::{Notice, chain_text};
use super::repair::Inventory;
use super::spool::StoredRecord;
use super::store::{After, Fresh, Origin, Queue};

/// What is to be read, is read, and was found.
#[derive(Debug, Default)]
pub struct Salvage {
    jobs: VecDeque<Job>,
    running: Option<Running>,
    missing: BTreeMap<u32, BTreeSet<u64>>,
}

#[derive(Clone, Debug)]
struct Job {
    /// Directory of the database.
    path: PathBuf,
    /// The spool it still is in the chain.
    spool: Option<u32>,
    /// Only these places; all for `None`.
    only: Option<BTreeSet<u64>>,
    /// First place, and the one after the last, where they are known.
    span: (Option<u64>, Option<u64>),
}

#[derive(Debug)]
struct Running {
    job: Job,
    found: Receiver<Message>,
    records: u64,
    doubtful: u64,
    ended: Option<Vec<(u64, u64)>>,
}

#[derive(Debug)]
enum Message {
    Records(Vec<(StoredRecord, bool)>),
    Ended { gaps: Vec<(u64, u64)> },
    Failed(std::io::Error),
}

impl Salvage {
    /// Notes records of an open spool that should be there and were not read.
    pub fn missing(&mut self, spool: u32, seqs: &[u64]) {
        if !seqs.is_empty() {
            self.missing.entry(spool).or_default().extend(seqs);
        }
    }

    /// Has a directory that was set aside read.
    ///
    /// It ends before place `end`, where that is known.
    pub fn directory(&mut self, path: PathBuf, end: Option<u64>) {
        self.jobs.push_back(Job { path, spool: None, only: None, span: (None, end) });
    }

    /// Whether something is being read or to be read.
    pub fn is_busy(&self) -> bool {
        self.running.is_some() || !self.jobs.is_empty() || !self.missing.is_empty()
    }
}

impl Queue {
    /// A sealed spool does not open. Whether reading may go on at once.
    pub(super) fn cannot_open(&mut self, index: usize, error: &StoreError, now: Now) -> bool {
        if error.is_damage() && index + 1 < self.chain.spools.len() {
            self.set_spool_aside(index, &chain_text(error), now.wall);
            return true;
        }
        let path = self.chain.spools[index].path.clone();
        let pause = self.timing.looked != Some(now.mono);
        if pause {
            self.timing.looked = Some(now.mono);
            let why = format!("{}: {}", path.display(), chain_text(error));
            self.chain.notices.push(Notice::Failed { action: "open a spool", why });
        }
        false
    }

    /// Moves a sealed spool's files away; it stays in the chain until everything in it is salvaged or counted lost.
    pub(super) fn set_spool_aside(&mut self, index: usize, why: &str, when: Timestamp) {
        let spool = &mut self.chain.spools[index];
        spool.database = None;
        spool.damaged = true;
        match self.chain.place.set_aside(&spool.path, when) {
            Ok(path) => spool.path = path,
            Err(error) => {
                self.chain.notices.push(Notice::Failed { action: "set a spool aside", why: error.to_string() });
            }
        }
        let spool = &self.chain.spools[index];
        self.chain.notices.push(Notice::Damaged { path: spool.path.clone(), why: why.to_owned() });
        self.stats.damaged += 1;
        self.salvage.jobs.push_back(Job {
            path: spool.path.clone(),
            spool: Some(spool.number),
            only: None,
            span: (Some(spool.bits.first()), Some(spool.bits.next())),
        });
    }

    /// One step of a salvage: appends what was found since. Only while nothing waits for a commit, so that the step
    /// before is on disk. Whether there is more to do soon.
    pub(super) fn step_salvage(&mut self, now: Now) -> bool {
        self.start_salvage();
        let Some(mut running) = self.salvage.running.take() else { return false };
        if let Some(gaps) = running.ended.take() {
            self.end_salvage(&running, &gaps, now);
            return self.salvage.is_busy();
        }
        match running.found.try_recv() {
            Ok(Message::Records(records)) => {
                for (record, doubtful) in records {
                    self.bring_back(&mut running, record, doubtful);
                }
            }
            Ok(Message::Ended { gaps }) => running.ended = Some(gaps),
            Ok(Message::Failed(error)) => {
                self.fail_salvage(&running, &error.to_string());
                return true;
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => {
                self.fail_salvage(&running, "the reading thread ended");
                return true;
            }
        }
        self.salvage.running = Some(running);
        true
    }

    fn start_salvage(&mut self) {
        if self.salvage.running.is_some() {
            return;
        }
        if let Some((number, only)) = self.salvage.missing.pop_first() {
            let spool = self.chain.spools.iter().find(|spool| spool.number == number && !spool.damaged);
            if let Some(spool) = spool {
                let (path, span) = (spool.path.clone(), (Some(spool.bits.first()), Some(spool.bits.next())));
                self.salvage.jobs.push_front(Job { path, spool: Some(number), only: Some(only), span });
            }
        }
        let Some(job) = self.salvage.jobs.pop_front() else { return };
        let (sender, found) = bounded(BATCHES_AHEAD_MAX);
        let read = job.clone();
        let running = Running { job, found, records: 0, doubtful: 0, ended: None };
        match thread::Builder::new().name("salvage".into()).spawn(move || read_file(&read, &sender)) {
            Ok(_) => self.salvage.running = Some(running),
            Err(error) => self.fail_salvage(&running, &error.to_string()),
        }
    }

    fn fail_salvage(&mut self, running: &Running, why: &str) {
        let path = running.job.path.clone();
        self.chain.notices.push(Notice::SalvageFailed { path, why: why.to_owned() });
    }

    fn bring_back(&mut self, running: &mut Running, record: StoredRecord, doubtful: bool) {
        let mut sinks = record.sinks.and(self.known);
        if running.job.spool.is_some() {
            // The memory knows better than the file, and what is in a window, not put away, needs no salvage.
            let open = sinks.iter().filter(|sink| self.waits_unread(*sink, record.seq));
            sinks = open.fold(SinkMask::NONE, SinkMask::with);
        }
        if sinks.is_empty() {
            return;
        }
        running.records += 1;
        running.doubtful += u64::from(doubtful && running.job.spool.is_none());
        self.stats.salvaged += 1;
        let moves = running.job.spool.is_some();
        let origin = if moves { Origin::Again } else { Origin::New };
        self.building.records.push(Fresh { id: record.id, call: record.call, sinks, body: record.body, origin });
        if moves {
            self.building.after.push(After::Moved { seq: record.seq, sinks });
        }
    }

    fn waits_unread(&self, sink: SinkNumber, seq: u64) -> bool {
        let Some(index) = self.index(sink) else { return false };
        let Some(spool) = self.chain.index_of(seq) else { return false };
        let since = self.sinks[index].since;
        seq >= since.seq
            && !self.chain.spools[spool].bits.is_done(sink, seq)
            && self.sinks[index].window.slot(seq).is_none_or(|slot| slot.body.is_none())
    }

    fn end_salvage(&mut self, running: &Running, gaps: &[(u64, u64)], now: Now) {
        let job = &running.job;
        let lost = match job.spool {
            Some(number) => self.give_up_rest(number, job.only.as_ref(), now),
            None => gaps.to_vec(),
        };
        for (from, to) in &lost {
            self.report_lost(*from, *to);
        }
        if job.only.is_none() {
            let mark = job.path.join("salvaged");
            let marked = File::create(&mark).and_then(|file| file.sync_all()).and_then(|()| sync_directory(&job.path));
            if let Err(error) = marked {
                self.chain.notices.push(Notice::Failed { action: "mark a salvage as done", why: error.to_string() });
            }
        }
        let (records, doubtful) = (running.records, running.doubtful);
        self.chain.notices.push(Notice::Salvaged { path: job.path.clone(), records, doubtful });
    }

    /// Counts what still waits unread in a damaged spool as lost; gives the ranges.
    fn give_up_rest(&mut self, number: u32, only: Option<&BTreeSet<u64>>, now: Now) -> Vec<(u64, u64)> {
        let Some(index) = self.chain.spools.iter().position(|spool| spool.number == number) else { return Vec::new() };
        let bits = &self.chain.spools[index].bits;
        let seqs: Vec<u64> = match only {
            Some(only) => only.iter().copied().collect(),
            None => (bits.first()..bits.next()).collect(),
        };
        let mut lost: Vec<(u64, u64)> = Vec::new();
        for seq in seqs {
            let sinks: Vec<SinkNumber> = self.known.iter().filter(|sink| self.waits_unread(*sink, seq)).collect();
            for sink in &sinks {
                if self.mark_done(*sink, seq, now.mono) {
                    self.with_sink(*sink, |sink| {
                        sink.window.remove(seq);
                        sink.balance.waiting -= 1;
                        sink.balance.lost += 1;
                    });
                }
            }
            match lost.last_mut() {
                _ if sinks.is_empty() => {}
                Some((_, last)) if *last + 1 == seq => *last = seq,
                _ => lost.push((seq, seq)),
            }
        }
        lost
    }

    /// States that acknowledged records are gone.
    pub(super) fn report_lost(&mut self, from: u64, to: u64) {
        self.chain.notices.push(Notice::Lost { from, to });
        self.lose(Loss::Missing, to - from + 1);
    }
}

fn read_file(job: &Job, found: &Sender<Message>) {
    let inventory = match Inventory::read(&job.path) {
        Ok(inventory) => inventory,
        // The queue may be gone meanwhile; then nobody listens, and the next start reads again.
        Err(error) => return drop(found.send(Message::Failed(error))),
    };
    let end = job.span.1.or(inventory.highest().map(|highest| highest + 1)).unwrap_or(0);
    let mut records = Vec::new();
    let mut changed = Vec::new();
    for find in inventory.wanted() {
        if find.seq >= end || job.only.as_ref().is_some_and(|only| !only.contains(&find.seq)) {
            continue;
        }
        match inventory.fetch(&find) {
            Some(record) => records.push((record, find.doubtful)),
            None => changed.push((find.seq, find.seq)),
        }
        if records.len() >= BATCH_RECORDS && found.send(Message::Records(std::mem::take(&mut records))).is_err() {
            return;
        }
    }
    let mut gaps = if job.spool.is_none() { inventory.gaps(job.span.0, end) } else { Vec::new() };
    gaps.extend(changed);
    if found.send(Message::Records(records)).is_ok() {
        drop(found.send(Message::Ended { gaps }));
    }
}

/// Records handed over at once.
const BATCH_RECORDS: usize = 256;

/// Batches read ahead of the commits.
const BATCHES_AHEAD_MAX: usize = 4;
