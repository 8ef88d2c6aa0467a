//! Makes rows of what the queue tells, and puts each into the file of its record's day.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::ids::{RecordId, SINKS_MAX, SinkMask, SinkNumber};
use crate::queue::witness::{Event, How, Source, Turn};
use crate::queue::{Acknowledger, Worth};
use crate::record::glance;

use super::close::Closing;
use super::complete::Complete;
use super::day::Day;
use super::file::{A_FATE, A_RECORD, DayFile, MODE, Missing, Visit};
use super::row::{Ended, Fate, Made, Row};
use super::stats::Stats;
use super::{LOST_PREFIX, Settings};

/// The ledger cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// A file operation failed.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another process writes it.
    #[error("another process writes the ledger in {path}: `ledger.path` must be another one for each gateway")]
    Locked {
        /// Its folder.
        path: PathBuf,
    },
}

/// What somebody should hear of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Notice {
    /// Rows cannot be written.
    Failing {
        /// Why.
        why: String,
    },
    /// They can again.
    Recovered {
        /// What is missing, if anything is.
        missing: Option<Missing>,
    },
    /// A file was not as it was left.
    Found {
        /// The day.
        day: Day,
        /// Octets of a block that was being written, cut off.
        torn: u64,
        /// Octets that cannot be read.
        damaged: u64,
    },
    /// A day was closed, and its file packed.
    Closed {
        /// The day.
        day: Day,
        /// Octets before and after.
        octets: (u64, u64),
    },
    /// The file of an old day was removed.
    Removed {
        /// The day.
        day: Day,
    },
    /// A file could not be packed or removed.
    Failed {
        /// What.
        action: &'static str,
        /// Of which day.
        day: Day,
        /// Why.
        why: String,
    },
}

/// Octets of all rows that may wait in memory for the disk; what comes then has no row, and the ledger says so.
pub const UNWRITTEN_OCTETS_MAX: usize = 16 << 20;

/// A day is closed so long after its end: names of records may be ahead of the clock by an hour when it was set back.
const CLOSE_AFTER: Duration = Duration::from_secs(90 * 60);

/// Files that are open at most: each day that still has something to come has one.
const FILES_MAX: usize = 16;

/// Pause before a write that failed is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The ledger, as the one thread that writes it uses it.
#[derive(Debug)]
pub struct Keeper {
    settings: Settings,
    era: u64,
    names: Vec<Option<Arc<str>>>,
    files: BTreeMap<Day, DayFile>,
    /// The places of each day, from the first to the last one, of this era.
    places: BTreeMap<Day, (u64, u64)>,
    /// The last place that was taken in.
    last: Option<u64>,
    closing: Option<Closing>,
    /// Days whose files are known to be packed, or could not be.
    closed: BTreeSet<Day>,
    complete: Complete,
    missing: Option<Missing>,
    failing: Option<(Timestamp, String)>,
    /// What was written and missed so far.
    stats: Stats,
    notices: Vec<Notice>,
    looked: Option<Day>,
    _lock: File,
}

impl Keeper {
    /// Opens the ledger, making its folder if there is none.
    ///
    /// # Errors
    /// The folder cannot be made or read, or another process writes there.
    pub fn open(settings: Settings) -> Result<Self, LedgerError> {
        let io = |action, path: &Path| {
            let path = path.to_owned();
            move |source| LedgerError::Io { action, path, source }
        };
        let path = settings.path.clone();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(io("create", &path))?;
        let lock_path = path.join("LOCK");
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(MODE).open(&lock_path);
        let lock = lock.map_err(io("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(LedgerError::Locked { path }),
            Err(fs::TryLockError::Error(source)) => return Err(io("lock", &lock_path)(source)),
        }
        // What was being packed when a process ended is packed anew.
        for entry in fs::read_dir(&path).map_err(io("read", &path))?.flatten() {
            if entry.path().extension().is_some_and(|extension| extension == "new") {
                drop(fs::remove_file(entry.path()));
            }
        }
        Ok(Self {
            settings,
            era: 0,
            names: vec![None; SINKS_MAX],
            files: BTreeMap::new(),
            places: BTreeMap::new(),
            last: None,
            closing: None,
            closed: BTreeSet::new(),
            complete: Complete::load(&path),
            missing: None,
            failing: None,
            stats: Stats::default(),
            notices: Vec::new(),
            looked: None,
            _lock: lock,
        })
    }

    /// Its settings.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How many days are kept from now on.
    pub fn keep_days(&mut self, days: u32) {
        self.settings.days = days;
        self.looked = None;
    }

    /// The places from now on are those of this queue, whose sinks have these numbers.
    pub fn begin<'n>(&mut self, era: u64, sinks: impl Iterator<Item = (&'n Arc<str>, SinkNumber)>) {
        self.era = era;
        self.last = self.complete.last(era);
        for (name, number) in sinks {
            self.names[usize::from(number.0 & 63)] = Some(Arc::clone(name));
        }
    }

    /// The queue that the places are of.
    #[must_use]
    pub const fn era(&self) -> u64 {
        self.era
    }

    /// The places of a day that the ledger knows, as found in its file.
    pub fn found(&mut self, day: Day, seq: u64) {
        let (first, last) = self.places.entry(day).or_insert((seq, seq));
        (*first, *last) = ((*first).min(seq), (*last).max(seq));
        self.last = self.last.max(Some(seq));
    }

    /// Whether nothing of a day waits any more.
    #[must_use]
    pub fn is_complete(&self, day: Day) -> bool {
        self.complete.has(day)
    }

    /// Opens the file of a day, and hands its rows to `visit` if it was not open.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open_day(&mut self, day: Day, visit: Visit<'_>) -> io::Result<&mut DayFile> {
        match self.files.entry(day) {
            Entry::Occupied(file) => Ok(file.into_mut()),
            Entry::Vacant(place) => {
                let (file, found) = DayFile::open(&day.path_in(&self.settings.path), visit)?;
                if found.torn + found.damaged > 0 {
                    self.notices.push(Notice::Found { day, torn: found.torn, damaged: found.damaged });
                }
                Ok(place.insert(file))
            }
        }
    }

    /// Takes in what happened in a turn of the queue.
    pub fn take(&mut self, turn: &Turn) {
        if turn.missed != (0, 0) {
            let (records, fates) = turn.missed;
            self.miss(Missing { from: turn.at, to: turn.at, records, fates });
        }
        for event in &turn.events {
            self.event(turn.at, event);
        }
    }

    fn event(&mut self, at: Timestamp, event: &Event) {
        match event {
            // Its row is there under the old place; if it is not, the day's file has this one.
            Event::Committed { seq, id, sinks, source: Source::Again(was), .. } => {
                self.again(at, (*seq, *was), *id, *sinks);
            }
            Event::Committed { seq, id, sinks, body, source } => {
                self.committed(at, (*seq, *id), *sinks, body, *source == Source::Back);
            }
            Event::Ended { sink, seq, id, attempts, how } => {
                let Some(name) = self.names[usize::from(sink.0 & 63)].clone() else { return };
                let day = id.map_or_else(|| self.day_of(*seq), |id| Some(Day::of_record(id)));
                let day = day.unwrap_or(Day::of(at));
                self.put(day, at, (std::slice::from_ref(&name), A_FATE), |file| {
                    let (fate, who, reason, code) = told(how);
                    let sink = file.sink(&name);
                    file.put(
                        at,
                        &Row::Ended(Ended { seq: *seq, sink, fate, at, attempts: *attempts, who, reason, code }),
                    );
                });
            }
            Event::Discarded { why, records } => {
                let what = format!("{LOST_PREFIX}{}", why.text());
                self.note(at, &Row::Counted { at, what: what.as_bytes(), count: *records });
            }
            Event::Lost { from, to } => {
                let meets = |(_, (first, last)): &(&Day, &(u64, u64))| first <= to && from <= last;
                let days: Vec<Day> = self.places.iter().filter(meets).map(|(day, _)| *day).collect();
                for day in days {
                    self.put(day, at, (&[], A_FATE), |file| file.put(at, &Row::Gone { from: *from, to: *to, at }));
                }
            }
        }
    }

    fn committed(&mut self, at: Timestamp, (seq, id): (u64, RecordId), sinks: SinkMask, body: &[u8], is_back: bool) {
        let day = Day::of_record(id);
        self.found(day, seq);
        if self.complete.has(day) {
            let _listed = self.complete.remove(day);
        }
        let names = self.names_of(sinks);
        let glance = glance(body).unwrap_or_default();
        self.put(day, at, (&names, A_RECORD), |file| {
            let sinks = file.sinks(names.iter());
            file.put(
                at,
                &Row::Made(Made {
                    seq,
                    id,
                    event: glance.event,
                    kind: glance.kind,
                    code: glance.code,
                    end: glance.end,
                    duration_ms: glance.duration.map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX)),
                    legs: glance.legs,
                    sinks,
                    is_back,
                    call_id: glance.call_id,
                    session: glance.session,
                    caller: cut(glance.caller),
                    callee: cut(glance.callee),
                }),
            );
        });
    }

    fn again(&mut self, at: Timestamp, (seq, was): (u64, u64), id: RecordId, sinks: SinkMask) {
        let names = self.names_of(sinks);
        // The place is not one of that day: what is between belongs to others.
        self.last = self.last.max(Some(seq));
        if self.complete.has(Day::of_record(id)) {
            let _listed = self.complete.remove(Day::of_record(id));
        }
        self.put(Day::of_record(id), at, (&names, A_FATE), |file| {
            let sinks = file.sinks(names.iter());
            file.put(at, &Row::Again { seq, was, sinks, at });
        });
    }

    /// States what became of a record though nobody told of it when it happened.
    pub fn state(&mut self, day: Day, at: Timestamp, name: &Arc<str>, ended: &Ended<'_>) {
        self.put(day, at, (std::slice::from_ref(name), A_FATE), |file| {
            let sink = file.sink(name);
            file.put(at, &Row::Ended(Ended { sink, ..ended.clone() }));
        });
    }

    /// Puts a row about the gateway itself into today's file.
    pub fn note(&mut self, at: Timestamp, row: &Row<'_>) {
        self.put(Day::of(at), at, (&[], (0, 0)), |file| file.put(at, row));
    }

    /// Something has no row: the ledger says so as soon as it can.
    pub fn miss(&mut self, missing: Missing) {
        self.stats.missed += missing.records + missing.fates;
        self.missing = Some(self.missing.map_or(missing, |known| known.and(missing)));
    }

    /// Puts a row into the file of a day, in a block that has numbers for these sinks; it is of so many records and fates.
    fn put(
        &mut self,
        day: Day,
        at: Timestamp,
        (names, (records, fates)): (&[Arc<str>], (u64, u64)),
        put: impl FnOnce(&mut DayFile),
    ) {
        let era = self.era;
        let unwritten: usize = self.files.values().map(DayFile::unwritten).sum();
        match self.open_day(day, &mut |_, _, _| ()) {
            Ok(file) => {
                let given_up = if file.has_numbers_for(names.len()) { None } else { file.seal(era, usize::MAX) };
                put(file);
                let max = UNWRITTEN_OCTETS_MAX.saturating_sub(unwritten);
                let given_up = if file.is_full() { file.seal(era, max) } else { given_up };
                given_up.into_iter().for_each(|missing| self.miss(missing));
            }
            Err(error) => {
                self.fail(at, &error);
                self.miss(Missing { records, fates, ..Missing::at(at) });
            }
        }
    }

    /// Names of these sinks.
    #[must_use]
    pub fn names_of(&self, sinks: SinkMask) -> Vec<Arc<str>> {
        sinks.iter().filter_map(|sink| self.names[usize::from(sink.0 & 63)].clone()).collect()
    }

    /// The day of a place, as far as the places of days tell.
    fn day_of(&self, seq: u64) -> Option<Day> {
        self.places.iter().find(|(_, (first, last))| (*first..=*last).contains(&seq)).map(|(day, _)| *day)
    }

    /// Writes what was gathered, and what could not be written before. Whether nothing waits any more.
    pub fn write(&mut self, at: Timestamp) -> bool {
        if self.failing.as_ref().is_some_and(|(since, _)| at.since(*since) < AGAIN_AFTER && *since <= at) {
            return false;
        }
        let failed = self.write_files(at);
        if let Some(error) = failed {
            self.fail(at, &error);
            return false;
        }
        let missing = self.missing;
        if let Some(Missing { from, to, records, fates }) = missing {
            // What is missing may be all of a file that could not be made.
            if let Err(error) = self.open_day(Day::of(at), &mut |_, _, _| ()) {
                self.fail(at, &error);
                return false;
            }
            self.missing = None;
            let reason = b"it could not be written";
            self.note(at, &Row::Gap { from, to, records, fates, reason });
            if let Some(error) = self.write_files(at) {
                // The row of the gap waits like others.
                self.fail(at, &error);
                return false;
            }
        }
        let was_failing = self.failing.take().is_some();
        if was_failing || missing.is_some() {
            self.notices.push(Notice::Recovered { missing });
        }
        true
    }

    fn write_files(&mut self, at: Timestamp) -> Option<io::Error> {
        let mut failed = None;
        let mut unwritten: usize = self.files.values().map(DayFile::unwritten).sum();
        let mut given_up = Vec::new();
        for file in self.files.values_mut() {
            given_up.extend(file.seal(self.era, UNWRITTEN_OCTETS_MAX.saturating_sub(unwritten)));
            failed = file.write().err().or(failed);
            let (rows, octets) = file.take_written();
            (self.stats.rows, self.stats.octets) = (self.stats.rows + rows, self.stats.octets + octets);
            unwritten = unwritten.max(file.unwritten());
        }
        given_up.into_iter().for_each(|missing| self.miss(missing));
        self.forget_files(at);
        failed
    }

    /// Closes files of old days that nothing comes to any more.
    fn forget_files(&mut self, at: Timestamp) {
        let closing = self.closing.as_ref().map(Closing::day);
        while self.files.len() > FILES_MAX {
            let idle = |(day, file): &(&Day, &DayFile)| {
                **day != Day::of(at) && Some(**day) != closing && file.missing().is_none()
            };
            let Some(day) = self.files.iter().find(idle).map(|(day, _)| *day) else { return };
            if let Some(mut file) = self.files.remove(&day) {
                // It is read again when something comes, and what a power cut took is found then.
                let _lost = file.sync();
            }
        }
    }

    /// Has all that was written reach the disk; gives the last place of which the queue need not keep the body any more.
    pub fn sync(&mut self, at: Timestamp) -> u64 {
        let mut failed = None;
        for file in self.files.values_mut() {
            failed = file.sync().err().or(failed);
        }
        if let Some(error) = failed {
            self.fail(at, &error);
        }
        self.last()
    }

    /// Does what is due besides writing: closes a day, removes old ones. Whether there is more to do at once.
    pub fn tend(&mut self, now: Timestamp) -> bool {
        if let Some(closing) = &mut self.closing {
            let day = closing.day();
            match closing.step(self.files.get_mut(&day).map(|file| (file, self.era))) {
                Ok(None) => return true,
                Ok(Some(octets)) => {
                    self.files.remove(&day);
                    if let Some(last) = closing.complete() {
                        // Without it the next start reads the file once more.
                        let _unlisted = self.complete.add(day, self.era, last);
                    }
                    self.notices.push(Notice::Closed { day, octets });
                }
                Err(error) => {
                    self.notices.push(Notice::Failed { action: "pack the file", day, why: error.to_string() });
                }
            }
            self.closing = None;
            return true;
        }
        if self.looked == Some(Day::of(now - CLOSE_AFTER)) {
            return false;
        }
        let days = self.remove_old(Day::all_in(&self.settings.path).unwrap_or_default(), now);
        for day in days.into_iter().filter(|day| day.end() <= now - CLOSE_AFTER) {
            if !self.closed.insert(day) {
                continue;
            }
            match Closing::begin(&self.settings.path, day, self.era) {
                Ok(Some(closing)) => {
                    self.closing = Some(closing);
                    return true;
                }
                Ok(None) => {}
                Err(error) => {
                    self.notices.push(Notice::Failed { action: "pack the file", day, why: error.to_string() });
                }
            }
        }
        self.looked = Some(Day::of(now - CLOSE_AFTER));
        false
    }

    /// Removes the files of days that are older than is wanted; gives the others.
    fn remove_old(&mut self, days: Vec<Day>, now: Timestamp) -> Vec<Day> {
        let oldest = Day::of(now).0.saturating_sub(i32::try_from(self.settings.days).unwrap_or(i32::MAX));
        let (old, kept) = days.into_iter().partition::<Vec<Day>, _>(|day| day.0 < oldest);
        for day in old {
            self.files.remove(&day);
            self.places.remove(&day);
            let _listed = self.complete.remove(day);
            self.notices.push(match fs::remove_file(day.path_in(&self.settings.path)) {
                Ok(()) => Notice::Removed { day },
                Err(error) => Notice::Failed { action: "remove the file", day, why: error.to_string() },
            });
        }
        kept
    }

    fn fail(&mut self, at: Timestamp, error: &io::Error) {
        if self.failing.is_none() {
            self.notices.push(Notice::Failing { why: error.to_string() });
        }
        self.failing = Some((at, error.to_string()));
    }

    /// Whether rows cannot be written.
    #[must_use]
    pub const fn is_failing(&self) -> bool {
        self.failing.is_some()
    }

    /// Whether something waits to be written.
    #[must_use]
    pub fn has_unwritten(&self) -> bool {
        self.missing.is_some() || self.files.values().any(|file| file.missing().is_some())
    }

    /// Whether whole blocks wait to be written.
    #[must_use]
    pub fn has_sealed(&self) -> bool {
        self.files.values().any(|file| file.unwritten() > 0)
    }

    /// Whether a day is being closed.
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        self.closing.is_some()
    }

    /// The last place that was taken in.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last.unwrap_or(0)
    }

    /// When the oldest row came that waits to be written.
    #[must_use]
    pub fn gathered_since(&self) -> Option<Timestamp> {
        self.files.values().filter_map(DayFile::gathered_since).min()
    }

    /// How it fares.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let oldest = self.files.values().filter_map(DayFile::missing).map(|missing| missing.from).min();
        Stats { failing: self.failing.as_ref().map(|(_, why)| why.clone()), oldest, ..self.stats.clone() }
    }

    /// What somebody should hear since the last call.
    pub fn notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }
}

/// A fate, who told of it, why, and the code.
fn told(how: &How) -> (Fate, &[u8], &[u8], u32) {
    match how {
        How::Delivered(None) => (Fate::Delivered, b"", b"", 0),
        How::Delivered(Some(by)) => {
            let Acknowledger { server, worth } = &**by;
            let fate = match worth {
                Worth::Stored => Fate::Delivered,
                Worth::Taken => Fate::HandedOver,
            };
            (fate, server.as_bytes(), b"", 0)
        }
        How::Parked { reason, code } => (Fate::Parked, b"", reason.as_bytes(), *code),
        How::Dropped { by, under_way: false } => (Fate::Dropped, by.as_bytes(), b"", 0),
        How::Dropped { by, under_way: true } => (Fate::DroppedUnderWay, by.as_bytes(), b"", 0),
        How::Superseded => (Fate::Superseded, b"", b"", 0),
        How::Retried { reason } => (Fate::Retried, b"", reason.as_bytes(), 0),
    }
}

/// Most octets of a caller or callee in a row.
const PARTY_OCTETS_MAX: usize = 64;

fn cut(party: &[u8]) -> &[u8] {
    &party[..party.len().min(PARTY_OCTETS_MAX)]
}

#[cfg(test)]
#[path = "keeper_tests.rs"]
pub(in crate::ledger) mod tests;
