//! Salvage: records of a damaged file come back at the head of the queue, under their old ids, while the service runs.
//!
//! The file is read on a thread of its own; what it finds is appended between commits. Two cases: a directory that was
//! set aside because it does not open, and single records of an open spool that its tree does not give any more.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::path::PathBuf;
use std::thread;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};

use super::chain::Chain;
use super::disk::sync_directory;
use super::notice::Notice;
use super::repair::Inventory;
use super::spool::{Spool, StoredRecord};

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

/// What a step of a salvage gave.
#[derive(Debug)]
pub enum Step {
    /// Nothing so far.
    Nothing,
    /// Records, and whether each is doubtful. With `moves` they have a place in the chain still.
    Found { records: Vec<(StoredRecord, bool)>, moves: bool },
    /// All that was in the file is on disk again.
    Ended(Ended),
}

/// A file that was read to its end.
#[derive(Debug)]
pub struct Ended {
    job: Job,
    gaps: Vec<(u64, u64)>,
    records: u64,
    doubtful: u64,
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

    /// Has a spool of the chain read that was set aside.
    pub fn spool(&mut self, spool: &Spool) {
        self.jobs.push_back(Job::of(spool, None));
    }

    /// Whether something is being read or to be read.
    pub fn is_busy(&self) -> bool {
        self.running.is_some() || !self.jobs.is_empty() || !self.missing.is_empty()
    }

    /// What was found since. Only while nothing waits for a commit, so that the step before is on disk.
    pub fn step(&mut self, chain: &mut Chain) -> Step {
        if self.running.is_none() {
            self.start(chain);
        }
        let Some(running) = &mut self.running else { return Step::Nothing };
        if let Some(gaps) = running.ended.take() {
            let ended = Ended { job: running.job.clone(), gaps, records: running.records, doubtful: running.doubtful };
            self.running = None;
            return Step::Ended(ended);
        }
        let failed = match running.found.try_recv() {
            Ok(Message::Records(records)) => return Step::Found { records, moves: running.job.spool.is_some() },
            Ok(Message::Ended { gaps }) => {
                running.ended = Some(gaps);
                return Step::Nothing;
            }
            Err(TryRecvError::Empty) => return Step::Nothing,
            Ok(Message::Failed(error)) => error.to_string(),
            Err(TryRecvError::Disconnected) => "the reading thread ended".to_owned(),
        };
        chain.tell(Notice::SalvageFailed { path: running.job.path.clone(), why: failed });
        self.running = None;
        Step::Nothing
    }

    fn start(&mut self, chain: &mut Chain) {
        if let Some((number, only)) = self.missing.pop_first() {
            let spool = chain.spools().iter().find(|spool| spool.number == number && !spool.damaged);
            if let Some(spool) = spool {
                self.jobs.push_front(Job::of(spool, Some(only)));
            }
        }
        let Some(job) = self.jobs.pop_front() else { return };
        let (sender, found) = bounded(BATCHES_AHEAD_MAX);
        let read = job.clone();
        match thread::Builder::new().name("salvage".into()).spawn(move || read_file(&read, &sender)) {
            Ok(_) => self.running = Some(Running { job, found, records: 0, doubtful: 0, ended: None }),
            Err(error) => chain.tell(Notice::SalvageFailed { path: job.path, why: error.to_string() }),
        }
    }

    /// A record that was found is in the queue again.
    pub fn brought_back(&mut self, doubtful: bool) {
        if let Some(running) = &mut self.running {
            running.records += 1;
            running.doubtful += u64::from(doubtful && running.job.spool.is_none());
        }
    }
}

impl Job {
    fn of(spool: &Spool, only: Option<BTreeSet<u64>>) -> Self {
        let span = (Some(spool.bits.first()), Some(spool.bits.next()));
        Self { path: spool.path.clone(), spool: Some(spool.number), only, span }
    }
}

impl Ended {
    /// The spool it still is in the chain, and of that only these places.
    pub fn spool(&self) -> Option<(u32, Option<&BTreeSet<u64>>)> {
        Some((self.job.spool?, self.job.only.as_ref()))
    }

    /// Places of which nothing was found.
    pub fn gaps(&self) -> &[(u64, u64)] {
        &self.gaps
    }

    /// What is in it need not be read again.
    pub fn finish(self, chain: &mut Chain) {
        let path = self.job.path;
        if self.job.only.is_none() {
            let marked = File::create(path.join("salvaged")).and_then(|file| file.sync_all());
            if let Err(error) = marked.and_then(|()| sync_directory(&path)) {
                chain.failed("mark a salvage as done", &error);
            }
        }
        chain.tell(Notice::Salvaged { path, records: self.records, doubtful: self.doubtful });
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
