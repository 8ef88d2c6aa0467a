//! Opening the queue: guards, damage, the last commit, sinks, calls.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::Now;
use crate::ids::SinkNumber;

use super::batch::Batch;
use super::building::{Fresh, Origin};
use super::calls::{Class, Stored as StoredCalls};
use super::chain::Chain;
use super::database::Database;
use super::disk::Place;
use super::error::{OpenError, StoreError};
use super::frame::Frame;
use super::notice::Notice;
use super::parked::{PARKED_AT_ONCE, ParkedStore, Rejoined};
use super::registry::{self, write_sinks};
use super::repair::{COPY, Inventory};
use super::settings::Settings;
use super::sinks::Sinks;
use super::spool::{SCHEMA, Spool, StoredRecord, read_bitmaps, read_number, read_records};
use super::store::{BATCH_RECORDS_MAX, Queue};
use super::sync;
use super::totals;
use crate::causes::chain_text;

/// An open queue and what was in it.
#[derive(Debug)]
pub struct Opened {
    /// The queue.
    pub queue: Queue,
    /// Calls in progress when it was closed or died, name and value, behind the notes of ended ones.
    pub calls: Vec<(Vec<u8>, Vec<u8>)>,
    /// Class values that sinks kept with their sessions: sink, session, octets.
    pub classes: Vec<Class>,
    /// The configured sinks and their numbers, in the order given.
    pub sinks: Vec<(String, SinkNumber)>,
    /// What opening found.
    pub report: OpenReport,
}

/// What opening found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct OpenReport {
    /// Whether the queue was closed in order before.
    pub clean: bool,
    /// Records that wait, summed over all sinks.
    pub waiting: u64,
    /// Acknowledged records that sled had dropped and a look at the file brought back.
    pub recovered: u64,
    /// Acknowledged records that are gone.
    pub lost: u64,
    /// Whether calls in progress are not known any more.
    pub calls_lost: bool,
    /// Databases set aside by this start.
    pub damaged: Vec<PathBuf>,
    /// Sinks that are not configured any more and still have records waiting.
    pub orphans: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

/// State while opening.
struct Opening {
    chain: Chain,
    sinks: Sinks,
    total: u64,
    /// Directories set aside, for the salvage.
    aside: Vec<Aside>,
    /// Highest place found in a newest spool that was set aside.
    highest: u64,
    head: u64,
    marks_forgotten: bool,
    /// Whether commits are missing in a journal: what they held may be in the copies made before opening.
    keep_copies: bool,
    /// Whether the newest spool opened and takes the appends.
    active_opened: bool,
    now: Now,
    report: OpenReport,
}

/// A database set aside, for the salvage.
struct Aside {
    path: PathBuf,
    /// First place of the spool behind it, where that is known.
    end: Option<u64>,
}

impl Queue {
    /// Opens the queue in `settings.path` for `sinks`, creating it if need be.
    ///
    /// `step` is called between long steps, so that a supervisor can be told that opening goes on.
    ///
    /// # Errors
    /// When another process has it, when its files are of a newer release, when the file system fails, or when a flush
    /// would not survive a power cut. Damage is no error: what is damaged is set aside and salvaged.
    pub fn open(
        settings: Settings,
        sinks: &[String],
        clock: fn() -> Now,
        step: &mut dyn FnMut(),
    ) -> Result<Opened, OpenError> {
        let now = clock();
        let place = Place::lock(&settings.path)?;
        let io = |action| {
            let path = settings.path.clone();
            move |source| OpenError::Io { action, path, source }
        };
        let clean = place.take_clean()?;
        let mended = place.mended;
        place.sweep().map_err(io("sweep"))?;
        let numbers = place.spools().map_err(io("read"))?;
        let head = place.head().read();
        let mut opening = Opening {
            chain: Chain::new(place, settings),
            sinks: Sinks::new(),
            total: 0,
            aside: Vec::new(),
            highest: 0,
            head,
            marks_forgotten: false,
            keep_copies: false,
            active_opened: false,
            now,
            report: OpenReport { clean, ..OpenReport::default() },
        };
        if let Some(mode) = mended {
            opening.chain.tell(Notice::Mended { mode });
        }
        opening.open_spools(&numbers, step)?;
        let parked = opening.open_parked()?;
        step();
        let next = opening.next();
        let Opening { sinks: own, chain, .. } = &mut opening;
        let numbers = registry::register(own, chain, &parked, (sinks, next))?;
        opening.ensure_active()?;
        opening.prove_flush()?;
        opening.into_opened(parked, numbers, clock)
    }
}

impl Opening {
    fn open_spools(&mut self, numbers: &[u32], step: &mut dyn FnMut()) -> Result<(), OpenError> {
        let Some((active, sealed)) = numbers.split_last() else { return Ok(()) };
        // The newest knows the sinks, which the others need.
        let newest = self.open_spool(*active, true)?;
        let mut behind = newest.as_ref().map(|spool| (*active, spool.bits.first()));
        for number in sealed.iter().rev() {
            step();
            let metas = self.chain.metas().is_empty();
            match self.open_spool(*number, metas)? {
                Some(spool) if behind.is_some_and(|(next, first)| next == number + 1 && spool.bits.next() < first) => {
                    let why = format!("it ends before record {}", spool.bits.next());
                    let path = spool.path.clone();
                    drop(spool);
                    let path = self.set_aside(&path, &why)?;
                    self.aside.push(Aside { path, end: behind.map(|(_, first)| first) });
                }
                Some(spool) => {
                    if !self.keep_copies {
                        drop_copy(&spool.path);
                    }
                    behind = Some((*number, spool.bits.first()));
                    self.chain.push_oldest(spool);
                }
                None => {
                    if let Some((aside, (_, first))) = self.aside.last_mut().zip(behind) {
                        aside.end = Some(first);
                    }
                }
            }
            self.chain.close_idle(self.chain.settings().spools_open_max.saturating_sub(1).max(1));
        }
        self.active_opened = newest.is_some();
        // What an older spool says about calls is out of date.
        self.marks_forgotten &= self.active_opened;
        if let Some(newest) = newest {
            self.chain.push_active(newest);
        }
        self.chain.cap_ends(&self.sinks.since());
        Ok(())
    }

    /// Copies a file before sled opens it: sled takes damage for a torn end of its log, and frees or cuts off what comes
    /// after it. A copy that is there already comes from an opening that did not end; it is the better one.
    ///
    /// Sealed spools are only copied when they are small: nothing is written to them but settlements.
    fn copy(&mut self, path: &Path, is_active: bool) {
        let (file, copy, part) = (path.join("db"), path.join(COPY), path.join("before.part"));
        let size = fs::metadata(&file).map_or(0, |data| data.len());
        let worth = size <= COPY_ALWAYS_BYTES || is_active && !self.report.clean;
        if copy.exists() || size == 0 || !worth || self.chain.place().free_bytes() < 2 * size {
            return;
        }
        if let Err(error) = fs::copy(&file, &part).and_then(|_| fs::rename(&part, &copy)) {
            // Without room for a copy the queue opens all the same.
            drop(fs::remove_file(&part));
            self.chain.failed("copy a spool before opening", &error);
        }
    }

    /// Opens one spool; `None` when it was damaged and set aside.
    fn open_spool(&mut self, number: u32, take_metas: bool) -> Result<Option<Spool>, OpenError> {
        let path = self.chain.place().spool(number);
        self.copy(&path, take_metas);
        let first_try = self.load(number, &path, take_metas);
        let result = match first_try {
            Err(Load::Store(StoreError::NoSpace(_))) if self.chain.place().give_reserve() => {
                self.load(number, &path, take_metas)
            }
            other => other,
        };
        match result {
            Ok(spool) => Ok(Some(spool)),
            Err(Load::Newer(found)) => Err(OpenError::Newer { path, found, known: SCHEMA }),
            Err(Load::Store(StoreError::Locked)) => {
                let pid = Place::owner(self.chain.place().path());
                Err(OpenError::Locked { path: self.chain.place().path().to_owned(), pid })
            }
            Err(Load::Store(source)) if !source.is_damage() => Err(OpenError::Database { path, source }),
            Err(Load::Store(error)) => {
                let aside = self.set_aside(&path, &chain_text(&error))?;
                if take_metas {
                    self.chain.tell(Notice::CallsLost);
                    self.report.calls_lost = true;
                    self.take_metas_raw(&aside);
                }
                let end = take_metas.then(|| self.head.max(self.highest) + 1);
                self.aside.push(Aside { path: aside, end });
                Ok(None)
            }
        }
    }

    fn set_aside(&mut self, path: &Path, why: &str) -> Result<PathBuf, OpenError> {
        let moved = self.chain.place().set_aside(path, self.now.wall);
        let aside = moved.map_err(|source| OpenError::Io { action: "set aside", path: path.to_owned(), source })?;
        self.chain.tell(Notice::Damaged { path: aside.clone(), why: why.to_owned() });
        self.report.damaged.push(aside.clone());
        Ok(aside)
    }

    /// The newest spool does not open: its file tells the sinks and the highest place all the same.
    fn take_metas_raw(&mut self, aside: &Path) {
        let inventory = match Inventory::read(aside) {
            Ok(inventory) => inventory,
            Err(error) => {
                let why = error.to_string();
                return self.chain.tell(Notice::SalvageFailed { path: aside.to_owned(), why });
            }
        };
        self.highest = self.highest.max(inventory.highest().unwrap_or(0).min(HIGHEST_MAX));
        for (name, (revision, value)) in inventory.into_metas() {
            self.chain.metas_mut().take(&name, revision, &value);
        }
        self.sinks = registry::known(&self.chain);
    }

    fn load(&mut self, number: u32, path: &Path, take_metas: bool) -> Result<Spool, Load> {
        let (mut database, found) = Database::open(path, self.chain.settings().cache_bytes)?;
        database.flush_journal_at(self.chain.settings().journal_bytes);
        self.keep_copies |= found.commits_missing > 0;
        self.chain.tell_findings(path, found);
        let schema = read_number(&database, b"schema")?;
        if let Some(found) = schema.filter(|found| *found > u64::from(SCHEMA)) {
            return Err(Load::Newer(u32::try_from(found).unwrap_or(u32::MAX)));
        }
        let first = read_number(&database, b"first")?;
        let (Some(_), Some(first)) = (schema, first) else {
            return Err(StoreError::Damaged("its first place is not known".into()).into());
        };
        if take_metas {
            self.take_metas(&database)?;
        }
        let (bits, total) = read_bitmaps(&database, number, first, &self.sinks.since())?;
        if take_metas {
            // Calls that cannot be read are damage too.
            StoredCalls::read(&database)?;
            self.marks_forgotten = read_number(&database, b"calls_from")?.is_some();
        }
        let total = total.unwrap_or(0);
        for sink in self.sinks.iter_mut() {
            let first = bits.next_open(sink.since(), 0);
            let first = first.and_then(|seq| read_records(&database, seq, seq + 1, 1).records.pop());
            sink.found_in(&bits, total, first.map(|record| record.id));
        }
        self.total = self.total.max(total);
        Ok(Spool { number, path: path.to_owned(), database: Some(database), bits, used: 0, damaged: false })
    }

    /// Reads the named values all spools share.
    fn take_metas(&mut self, database: &Database) -> Result<(), StoreError> {
        let mut pairs = Vec::new();
        database.range(&b"M"[..]..&b"N"[..], usize::MAX, &mut pairs)?;
        for (_, value) in &pairs {
            let Ok(Frame::Meta(meta)) = super::frame::read(value) else { continue };
            self.chain.metas_mut().take(meta.name, meta.revision, meta.value);
        }
        self.chain.metas_mut().leap();
        self.sinks = registry::known(&self.chain);
        Ok(())
    }

    fn open_parked(&mut self) -> Result<ParkedStore, OpenError> {
        let cache = self.chain.settings().cache_bytes;
        let path = ParkedStore::path_in(self.chain.place());
        let error = match ParkedStore::open(self.chain.place(), cache) {
            Ok(opened) => {
                if opened.snapshot_moved {
                    self.chain.tell(Notice::SnapshotMoved { path });
                }
                if opened.recovered > 0 {
                    self.chain.tell(Notice::Recovered { records: opened.recovered });
                }
                return Ok(opened.store);
            }
            Err(error) if error.is_damage() => error,
            Err(source) => return Err(OpenError::Database { path, source }),
        };
        let aside = self.set_aside(&path, &chain_text(&error))?;
        let scanned = Rejoined::scan(&aside);
        let mut store = ParkedStore::empty(self.chain.place(), cache);
        let (records, scanned) = match scanned {
            Ok(found) => (found.records(), Ok(())),
            Err(error) => (Vec::new(), Err(error)),
        };
        for some in records.chunks(PARKED_AT_ONCE) {
            store.put(some).map_err(|source| OpenError::Database { path: path.clone(), source })?;
        }
        match scanned.and_then(|()| File::create(aside.join("salvaged"))) {
            Ok(_) => {
                let records = records.len() as u64;
                self.chain.tell(Notice::Salvaged { path: aside, records, doubtful: records });
            }
            Err(error) => self.chain.tell(Notice::SalvageFailed { path: aside, why: error.to_string() }),
        }
        Ok(store)
    }

    /// The place the next record takes.
    fn next(&self) -> u64 {
        let last = self.chain.spools().back().map_or(1, |spool| spool.bits.next());
        // Behind what a spool set aside holds; in one that opened, records never acknowledged give their places back.
        last.max(self.head + 1).max(self.highest + 1)
    }

    /// Makes an active spool if there is none that takes appends, and stores the sinks' numbers.
    fn ensure_active(&mut self) -> Result<(), OpenError> {
        let database = |path: PathBuf| move |source| OpenError::Database { path, source };
        if self.active_opened {
            let path = self.chain.active().path.clone();
            let table = write_sinks(&self.sinks);
            return self.chain.keep_meta(b"sinks", table).map_err(database(path));
        }
        let path = self.chain.place().path().to_owned();
        let next = self.next();
        let first_try = self.chain.prepare(next, &[]);
        let spool = match first_try {
            Err(StoreError::NoSpace(_)) if self.chain.place().give_reserve() => self.chain.prepare(next, &[]),
            other => other,
        };
        let spool = spool.map_err(database(path.clone()))?;
        self.chain.finish_preparing(&spool).map_err(database(path))?;
        self.chain.push_active(spool);
        Ok(())
    }

    /// Guard G1: a flush with something to write must come to our `fdatasync`. The spool has the newest schema from here on.
    fn prove_flush(&mut self) -> Result<(), OpenError> {
        let path = self.chain.active().path.clone();
        let mut batch = Batch::default();
        self.chain.metas_mut().add(&mut batch, b"probe", &self.now.wall.0.to_be_bytes());
        self.chain.metas_mut().add(&mut batch, b"schema", &u64::from(SCHEMA).to_be_bytes());
        let active = self.chain.active().database.as_mut().ok_or(StoreError::Closed);
        let proven = active.and_then(|active| {
            active.apply(&batch)?;
            sync::proven(|| active.flush())
        });
        match proven {
            Ok(true) => Ok(()),
            Ok(false) => Err(OpenError::FlushUnproven),
            Err(source) => Err(OpenError::Database { path, source }),
        }
    }

    fn into_opened(
        mut self,
        parked: ParkedStore,
        numbers: Vec<(String, SinkNumber)>,
        clock: fn() -> Now,
    ) -> Result<Opened, OpenError> {
        let path = self.chain.active().path.clone();
        let failed = |source| OpenError::Database { path: path.clone(), source };
        self.chain.begin(self.total);
        for sink in self.sinks.iter_mut() {
            let since = sink.since();
            let waiting = self.chain.waiting(since);
            let totals = totals::read(self.chain.metas().get(totals::NAME).unwrap_or_default(), since);
            let first = self.chain.next_open(since, 0).unwrap_or(self.chain.next());
            if sink.begin((waiting, parked.parked(since.sink)), &totals, first) {
                self.report.orphans.push(sink.name().to_owned());
            }
            self.report.waiting += waiting;
        }
        let mut queue = Queue::new(self.chain, self.sinks, parked);
        queue.take_balance(&self.report, self.now).map_err(failed)?;
        queue.calls.mark_forgotten(self.marks_forgotten);
        if self.marks_forgotten {
            queue.copy_old_calls(self.now.wall);
        }
        let stored = match &queue.chain.active().database {
            Some(database) => StoredCalls::read(database).map_err(failed)?,
            None => StoredCalls::default(),
        };
        queue.calls.restore(self.now.mono, &stored, queue.chain.metas_mut().revision(), queue.building.calls());
        queue.health.calls(queue.calls.len());
        let (calls, classes) = stored.split();
        queue.recover(self.head, &mut self.report, clock).map_err(failed)?;
        // Places taken for records that are settled or gone must be on disk before another spool begins behind them:
        // else this one seems to end too early at the next opening.
        if !queue.building.is_empty() || queue.chain.active().bits.is_dirty() {
            queue.finish(clock).map_err(failed)?;
        }
        if !self.keep_copies {
            queue.chain.spools().iter().for_each(|spool| drop_copy(&spool.path));
        }
        for aside in self.aside {
            queue.salvage.directory(aside.path, aside.end);
        }
        let old = queue.chain.place().damaged();
        queue.health.set_damaged(old.len());
        for (path, salvaged) in old {
            let parked = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("parked"));
            if !salvaged && !parked && !self.report.damaged.contains(&path) {
                queue.salvage.directory(path, None);
            }
        }
        queue.look(clock());
        self.report.calls_lost |= self.report.lost > 0;
        self.report.took = clock().mono.since(self.now.mono);
        Ok(Opened { queue, calls, classes, sinks: numbers, report: self.report })
    }
}

impl Queue {
    /// Brings the totals kept on disk and what is there together.
    fn take_balance(&mut self, report: &OpenReport, now: Now) -> Result<(), StoreError> {
        if !report.clean {
            self.settle_parked(now)?;
        }
        self.sinks.iter_mut().for_each(|sink| sink.reconcile(!report.damaged.is_empty()));
        Ok(())
    }

    /// A process that died between the parking of a record and the settling of its place left it in both: it is parked.
    fn settle_parked(&mut self, now: Now) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let page = self.parking.store().page(after, PARKED_AT_ONCE)?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some((last.sink, last.id));
            for parked in page {
                let waits = self.sinks.by_number(parked.sink).is_some_and(|sink| parked.seq >= sink.since().seq);
                if waits && self.chain.settle(parked.sink, parked.seq, now.mono) {
                    self.sinks.count(parked.sink, |balance| balance.waiting -= 1);
                }
            }
        }
    }

    /// The file `head` says that more was acknowledged than sled gives: what is still in the file or in its copy is
    /// appended again, the rest is lost. Places are never taken twice.
    fn recover(&mut self, head: u64, report: &mut OpenReport, clock: fn() -> Now) -> Result<(), StoreError> {
        let first = self.chain.next();
        // A new active spool begins behind `head`; what was before is the salvage's.
        if head < first {
            return Ok(());
        }
        self.chain.skip_to(head, self.sinks.known());
        for sink in self.sinks.iter_mut() {
            if sink.window().cursor() >= first {
                sink.window_mut().advance(head + 1);
            }
        }
        let inventory = Inventory::read(&self.chain.active().path).map_err(StoreError::Io)?;
        for (from, to) in inventory.gaps(Some(first), head + 1) {
            self.health.report_lost(&mut self.chain, from, to);
            report.lost += to - from + 1;
        }
        for find in inventory.wanted().iter().filter(|find| (first..=head).contains(&find.seq)) {
            let Some(record) = inventory.fetch(find) else {
                self.health.report_lost(&mut self.chain, find.seq, find.seq);
                report.lost += 1;
                continue;
            };
            let sinks = record.sinks.and(self.sinks.known());
            if !sinks.is_empty() {
                report.recovered += 1;
                let StoredRecord { id, call, body, .. } = record;
                self.building.push(Fresh { id, call, sinks, body, origin: Origin::Back });
            }
            if self.gathered() >= BATCH_RECORDS_MAX {
                self.finish(clock)?;
            }
        }
        if report.recovered > 0 {
            self.chain.tell(Notice::Recovered { records: report.recovered });
        }
        Ok(())
    }
}

/// Takes the copy made before opening away, which has served its purpose, if there is one.
fn drop_copy(spool: &Path) {
    drop(fs::remove_file(spool.join(COPY)));
}

/// Why a spool was not loaded.
enum Load {
    Newer(u32),
    Store(StoreError),
}

impl From<StoreError> for Load {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// A file up to this size is copied also after a closing in order: it takes 0.1 s.
const COPY_ALWAYS_BYTES: u64 = 64 << 20;

/// Guards the arithmetic of places against a value no queue reaches.
const HIGHEST_MAX: u64 = u64::MAX / 2;
