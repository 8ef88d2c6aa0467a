//! The chain of spools: because sled never gives space back, reads its whole log after a crash, and a damaged file
//! should cost little. The last spool is the active one; it takes all appends and holds the calls in progress.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use super::batch::Batch;
use super::bitmap::{Bitmaps, Since};
use super::building::Fresh;
use super::database::{Database, Findings};
use super::disk::{Place, sync_directory};
use super::error::{StoreError, io_error};
use super::frame::{self, Bitmap};
use super::journal;
use super::layout::{self, CHUNK_RECORDS};
use super::metas::Metas;
use super::notice::Notice;
use super::repair::FIRST;
use super::settings::Settings;
use super::sinks::Sink;
use super::spool::{SCHEMA, Spool, read_records};
use super::witness::Witness;
use crate::causes::chain_text;
use crate::clock::{Instant, Timestamp};
use crate::ids::{RecordId, SinkMask, SinkNumber};

/// All spools, and what they share.
#[derive(Debug)]
pub struct Chain {
    settings: Settings,
    /// Oldest first; the last one is active.
    spools: VecDeque<Spool>,
    /// The next place, and the sum of body octets before it.
    next: u64,
    total: u64,
    metas: Metas,
    /// What the operator should hear.
    notices: Vec<Notice>,
    uses: u64,
    /// Settlements since those of sealed spools were stored.
    settled: u32,
    /// Since when settlements wait to be stored, in sealed spools and in the active one.
    sealed_dirty: Option<Instant>,
    active_dirty: Option<Instant>,
    removal: Option<Removal>,
    /// The last place of which the witness needs no body, and whether a spool in which nothing waits stays for it.
    kept: (u64, bool),
    /// The directory; its lock is the last thing given up.
    place: Place,
}

/// Bodies of a finished chunk on their way out.
#[derive(Debug)]
struct Removal {
    spool: u32,
    chunk: u32,
    keys: Vec<[u8; 10]>,
}

impl Chain {
    /// A chain without spools.
    pub fn new(place: Place, settings: Settings) -> Self {
        Self {
            place,
            settings,
            spools: VecDeque::new(),
            next: 1,
            total: 0,
            metas: Metas::default(),
            notices: Vec::new(),
            uses: 0,
            settled: 0,
            sealed_dirty: None,
            active_dirty: None,
            removal: None,
            kept: (u64::MAX, false),
        }
    }

    /// The queue's settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The directory.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Tells the operator.
    pub fn tell(&mut self, notice: Notice) {
        self.notices.push(notice);
    }

    /// Tells the operator that something could not be done.
    pub fn failed(&mut self, action: &'static str, error: &dyn std::error::Error) {
        self.notices.push(Notice::Failed { action, why: chain_text(error) });
    }

    /// Tells the operator what opening a database found.
    pub fn tell_findings(&mut self, path: &Path, found: Findings) {
        if found.snapshot_moved {
            self.tell(Notice::SnapshotMoved { path: path.to_owned() });
        }
        if let Some((path, octet)) = found.damaged {
            self.tell(Notice::JournalDamaged { path, octet, commits: found.commits_missing });
        }
        if let Some(path) = found.strange {
            self.tell(Notice::JournalStrange { path });
        }
    }

    /// What the operator should hear since the last call.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// All spools, oldest first.
    pub fn spools(&self) -> &VecDeque<Spool> {
        &self.spools
    }

    /// One of them.
    pub fn spool(&self, index: usize) -> &Spool {
        &self.spools[index]
    }

    /// Adds a spool before all others.
    pub fn push_oldest(&mut self, spool: Spool) {
        self.spools.push_front(spool);
    }

    /// Adds the spool that takes appends from now on.
    pub fn push_active(&mut self, spool: Spool) {
        self.removal = None;
        if self.active_dirty.take().is_some() {
            self.sealed_dirty.get_or_insert(Instant(0));
        }
        if let Some(sealed) = self.spools.back_mut()
            && let Some(Err(error)) = sealed.database.as_mut().map(Database::end_journal)
        {
            // It stays, and is read when the spool is opened again: sled reads nothing any more after a failed write.
            sealed.database = None;
            self.failed("flush a spool", &error);
        }
        self.spools.push_back(spool);
    }

    /// A spool ends where the next one begins: what a failed commit left behind it does not count.
    pub fn cap_ends(&mut self, since: &[Since]) {
        let firsts: Vec<u64> = self.spools.iter().map(|spool| spool.bits.first()).collect();
        for (spool, end) in self.spools.iter_mut().zip(firsts.into_iter().skip(1)) {
            spool.bits.cap(end, since);
        }
    }

    /// The next place, and the sum of body octets before it.
    pub fn end(&self) -> (u64, u64) {
        (self.next, self.total)
    }

    /// The next place.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Goes on where the active spool ends, with this sum of body octets before.
    pub fn begin(&mut self, total: u64) {
        (self.next, self.total) = (self.active().bits.next(), total);
    }

    /// Takes all places up to `last` for nobody.
    pub fn skip_to(&mut self, last: u64, known: SinkMask) {
        let total = self.total;
        for _ in self.next..=last {
            self.active().bits.append(total, SinkMask::NONE, known);
        }
        self.next = last + 1;
    }

    /// Takes places in the active spool's bitmaps for records about to be written.
    pub fn stage(&mut self, records: &[Fresh], known: SinkMask) {
        let mut total = self.total;
        let bits = &mut self.active().bits;
        for record in records {
            bits.append(total, record.sinks, known);
            total += record.body.len() as u64;
        }
    }

    /// Gives the places back: the write failed.
    pub fn unstage(&mut self, records: &[Fresh], known: SinkMask) {
        let bits = &mut self.active().bits;
        for record in records.iter().rev() {
            bits.retract(record.sinks, known);
        }
        bits.all_dirty();
    }

    /// The records are on disk, and with them all settlements of the active spool.
    pub fn committed(&mut self, records: &[Fresh]) {
        self.next += records.len() as u64;
        self.total += records.iter().map(|record| record.body.len() as u64).sum::<u64>();
        self.active_dirty = None;
        if !records.is_empty()
            && let Err(error) = self.place.head().write(self.next - 1)
        {
            self.failed("write `head`", &error);
        }
    }

    /// Writes a batch to the active spool, durably.
    pub fn write(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let database = self.active().database.as_mut().ok_or(StoreError::Closed)?;
        let result = database.commit(batch);
        if let Some(error) = database.take_journal_failure() {
            self.failed("write the journal", &error);
        }
        result
    }

    /// The first place from `seq` on that a sink waits for.
    pub fn next_open(&self, since: Since, seq: u64) -> Option<u64> {
        self.spools.iter().find_map(|spool| spool.bits.next_open(since, seq))
    }

    /// How many records wait for a sink.
    pub fn waiting(&self, since: Since) -> u64 {
        self.spools.iter().map(|spool| spool.bits.waiting(since)).sum()
    }

    /// Whether a sink waits for the record at `seq`, if it wanted that.
    pub fn waits(&self, since: Since, seq: u64) -> bool {
        self.index_of(seq).is_some_and(|index| self.spools[index].bits.waits(since, seq))
    }

    /// Sets a record's bit, to be stored with the next commit; whether it was clear.
    pub fn settle(&mut self, sink: SinkNumber, seq: u64, now: Instant) -> bool {
        let Some(index) = self.index_of(seq) else { return false };
        if !self.spools[index].bits.settle(sink, seq) {
            return false;
        }
        self.settled += 1;
        let is_active = index + 1 == self.spools.len();
        let dirty = if is_active { &mut self.active_dirty } else { &mut self.sealed_dirty };
        dirty.get_or_insert(now);
        true
    }

    /// Stores the settlements of sealed spools when they have waited long enough.
    pub fn tend(&mut self, now: Instant) {
        let is_due = self.sealed_dirty.is_some_and(|since| now >= since + SETTLED_WAIT);
        if is_due || self.settled >= SETTLED_MAX {
            (self.sealed_dirty, self.settled) = (None, 0);
            self.store_all_settled();
        }
    }

    /// Bodies stay as long as the witness needs them.
    pub fn keep_bodies(&mut self, witness: &Witness) {
        let before = std::mem::replace(&mut self.kept.0, witness.kept());
        if before != self.kept.0 && self.kept.1 {
            self.remove_finished();
        }
    }

    /// Stores the settlements of all sealed spools, and removes those in which nothing waits.
    pub fn store_all_settled(&mut self) {
        for index in 0..self.spools.len() - 1 {
            self.store_settled(index);
        }
        self.remove_finished();
    }

    /// When settlements have waited long enough.
    pub fn deadline(&self) -> Option<Instant> {
        [self.sealed_dirty, self.active_dirty].into_iter().flatten().map(|since| since + SETTLED_WAIT).min()
    }

    /// Whether those of the active spool have.
    pub fn commit_due(&self, now: Instant) -> bool {
        self.active_dirty.is_some_and(|since| now >= since + SETTLED_WAIT)
    }

    /// First place that is waited for, at the most a chunk too low, and the sum of body octets before it.
    pub fn low(&self) -> (u64, u64) {
        let Some(spool) = self.spools.iter().find(|spool| spool.bits.open() > 0) else { return self.end() };
        let low = (u64::from(spool.bits.low()) * CHUNK_RECORDS).max(spool.bits.first());
        (low, spool.bits.total_before().unwrap_or(self.total))
    }

    /// Whether a record waits for a sink, and the name of the oldest one, if it can be told. A closed spool is not opened for
    /// this.
    pub fn oldest(&self, sink: &Sink) -> Option<Option<RecordId>> {
        let open = |spool: &'_ Spool| spool.bits.next_open(sink.since(), 0);
        let (spool, seq) = self.spools.iter().find_map(|spool| Some((spool, open(spool)?)))?;
        let from_disk = || {
            let database = spool.database.as_ref()?;
            read_records(database, seq, seq + 1, 1).records.pop().map(|record| record.id)
        };
        Some(sink.window().slot(seq).map(|slot| slot.id).or_else(from_disk))
    }

    /// Adds the settlements of the active spool to a batch.
    pub fn add_settled(&mut self, batch: &mut Batch) {
        add_dirty(batch, self.active());
    }

    /// A removal that a batch has ended is on disk.
    pub fn removed(&mut self) {
        self.removal = None;
    }

    /// The named values.
    pub fn metas(&self) -> &Metas {
        &self.metas
    }

    pub fn metas_mut(&mut self) -> &mut Metas {
        &mut self.metas
    }

    /// Moves a sealed spool's files away; it stays in the chain until everything in it is salvaged or counted lost.
    pub fn set_aside(&mut self, index: usize, why: &str, when: Timestamp) -> &Spool {
        let spool = &mut self.spools[index];
        spool.database = None;
        spool.damaged = true;
        match self.place.set_aside(&spool.path, when) {
            Ok(path) => spool.path = path,
            Err(error) => self.failed("set a spool aside", &error),
        }
        let path = self.spools[index].path.clone();
        self.tell(Notice::Damaged { path, why: why.to_owned() });
        &self.spools[index]
    }

    /// Closes all spools. Whether none has ever failed.
    pub fn close(&mut self) -> bool {
        let databases = self.spools.iter_mut().filter_map(|spool| spool.database.as_mut());
        let is_whole = databases.fold(true, |whole, database| {
            let is_flushed = database.end_journal().is_ok();
            whole && is_flushed && !database.has_failed()
        });
        self.spools.clear();
        is_whole
    }

    /// Adds the removal of some bodies of finished chunks; whether that ends a chunk.
    pub fn encode_removal(&mut self, known: SinkMask, batch: &mut Batch) -> bool {
        let number = self.active().number;
        if self.removal.as_ref().is_some_and(|removal| removal.spool != number) {
            self.removal = None;
        }
        if self.removal.is_none() {
            self.removal = self.next_removal(number);
        }
        let Some(removal) = &mut self.removal else { return false };
        let keep = removal.keys.len().saturating_sub(REMOVALS_PER_COMMIT_MAX);
        for key in removal.keys.drain(keep..) {
            batch.remove(key);
        }
        if keep > 0 {
            return false;
        }
        let chunk = removal.chunk;
        let active = self.active();
        let gone = active.bits.emptied(chunk);
        if !gone.is_empty() {
            for chunk in gone.clone() {
                for sink in known.iter() {
                    batch.remove(layout::bitmap_key(sink, chunk));
                }
            }
            self.metas.add(batch, b"low", &u64::from(gone.end).to_be_bytes());
        }
        true
    }

    fn next_removal(&mut self, spool: u32) -> Option<Removal> {
        let kept = self.kept.0;
        let chunk = self.active().bits.take_finished(kept)?;
        let begin = (u64::from(chunk) * CHUNK_RECORDS).max(self.active().bits.first());
        let end = (u64::from(chunk) + 1) * CHUNK_RECORDS;
        let mut pairs = Vec::new();
        let range = layout::record_key(begin, 0)..layout::record_key(end, 0);
        let database = self.active().database.as_ref()?;
        if let Err(error) = database.range(range, usize::MAX, &mut pairs) {
            self.failed("remove bodies", &error);
        }
        let keys = pairs.iter().filter_map(|(key, _)| <[u8; 10]>::try_from(key.as_ref()).ok()).collect();
        Some(Removal { spool, chunk, keys })
    }

    /// The spool that takes appends.
    ///
    /// # Panics
    /// Before opening is complete; afterwards there always is one.
    pub fn active(&mut self) -> &mut Spool {
        self.spools.back_mut().expect("opening ends with an active spool")
    }

    /// Index of the spool that holds a place.
    pub fn index_of(&self, seq: u64) -> Option<usize> {
        let holds = |spool: &Spool| spool.bits.first() <= seq && seq < spool.bits.next();
        self.spools.iter().rposition(holds)
    }

    /// Index of the first spool that holds `seq` or a later place.
    pub fn index_from(&self, seq: u64) -> Option<usize> {
        self.spools.iter().position(|spool| seq < spool.bits.next())
    }

    /// A spool's database, opened if it was closed; the one unused for longest is closed instead.
    ///
    /// # Errors
    /// When it does not open.
    pub fn database(&mut self, index: usize) -> Result<&mut Database, StoreError> {
        self.uses += 1;
        self.spools[index].used = self.uses;
        if self.spools[index].database.is_none() {
            self.close_idle(self.settings.spools_open_max.saturating_sub(1).max(1));
            let (mut database, found) = Database::open(&self.spools[index].path, self.settings.cache_bytes)?;
            database.flush_journal_at(self.settings.journal_bytes);
            self.tell_findings(&self.spools[index].path.clone(), found);
            self.spools[index].database = Some(database);
        }
        self.spools[index].database.as_mut().ok_or(StoreError::Closed)
    }

    /// Closes sealed spools until at most `keep` are open, their settlements stored.
    pub fn close_idle(&mut self, keep: usize) {
        loop {
            let last = self.spools.len().saturating_sub(1);
            let open = self.spools.iter().enumerate().filter(|(_, spool)| spool.database.is_some());
            if open.clone().count() <= keep {
                return;
            }
            let idle = open.filter(|(index, _)| *index != last).min_by_key(|(_, spool)| spool.used);
            let Some((index, _)) = idle else { return };
            self.store_settled(index);
            self.spools[index].database = None;
        }
    }

    /// Makes the database of a new spool. It counts as half made until [`Chain::finish_preparing`].
    ///
    /// # Errors
    /// When its files cannot be made; nothing is left of it then.
    pub fn prepare(&mut self, first: u64, extra: &[(&[u8], Vec<u8>)]) -> Result<Spool, StoreError> {
        let above = self.spools.back().map_or(0, |spool| spool.number);
        let set_aside = self
            .place
            .damaged()
            .into_iter()
            .filter_map(|(path, _)| path.file_name()?.to_str()?.split('.').next()?.parse::<u32>().ok());
        let number = set_aside.fold(above, u32::max) + 1;
        let path = self.place.spool(number);
        let result = self.prepare_in(number, first, extra);
        if result.is_err() {
            drop(fs::remove_dir_all(&path));
        }
        result
    }

    fn prepare_in(&mut self, number: u32, first: u64, extra: &[(&[u8], Vec<u8>)]) -> Result<Spool, StoreError> {
        let path = self.place.spool(number);
        let marker = path.join("preparing");
        let mark = || -> std::io::Result<()> {
            fs::create_dir(&path)?;
            File::create(&marker)?.sync_all()?;
            sync_directory(&path)?;
            sync_directory(self.place.path())
        };
        mark().map_err(io_error)?;
        let (mut database, _) = Database::open(&path, self.settings.cache_bytes)?;
        database.flush_journal_at(self.settings.journal_bytes);
        let mut batch = Batch::default();
        let mut values: Vec<(&[u8], Vec<u8>)> =
            vec![(b"schema", u64::from(SCHEMA).to_be_bytes().to_vec()), (b"first", first.to_be_bytes().to_vec())];
        values.extend(extra.iter().cloned());
        self.metas.add_all(&mut batch);
        for (name, value) in values {
            self.metas.add(&mut batch, name, &value);
        }
        database.apply(&batch)?;
        database.flush()?;
        self.uses += 1;
        Ok(Spool { number, path, database: Some(database), bits: Bitmaps::new(first), used: self.uses, damaged: false })
    }

    /// Makes a prepared spool whole: syncs its files (guard G5) and takes its mark away.
    ///
    /// # Errors
    /// When that fails; the spool must not take appends then.
    pub fn finish_preparing(&self, spool: &Spool) -> Result<(), StoreError> {
        let database = spool.database.as_ref().ok_or(StoreError::Closed)?;
        // A second copy, which a salvage of a badly damaged database asks for: no reason not to take appends.
        let first = File::create(spool.path.join(FIRST));
        drop(first.and_then(|mut file| writeln!(file, "{}", spool.bits.first()).and_then(|()| file.sync_all())));
        let finish = || -> std::io::Result<()> {
            database.sync_files()?;
            fs::remove_file(spool.path.join("preparing"))?;
            sync_directory(&spool.path)
        };
        finish().map_err(io_error)
    }

    /// Removes a prepared spool that is not wanted any more.
    pub fn discard(&self, mut spool: Spool) {
        spool.database = None;
        drop(fs::remove_dir_all(&spool.path));
    }

    /// Writes the settled bits of a sealed spool, with a flush of its own. A failure means repeats, never a loss.
    fn store_settled(&mut self, index: usize) {
        if !self.spools[index].bits.is_dirty() || self.spools[index].database.is_none() {
            return;
        }
        let mut batch = Batch::default();
        let spool = &mut self.spools[index];
        add_dirty(&mut batch, spool);
        let Some(database) = &mut spool.database else { return };
        if let Err(error) = database.apply(&batch).and_then(|()| database.flush()) {
            spool.bits.all_dirty();
            spool.database = None;
            self.failed("store settlements", &error);
        }
    }

    /// Removes sealed spools in which nothing waits.
    fn remove_finished(&mut self) {
        self.kept.1 = false;
        let mut index = 0;
        while index + 1 < self.spools.len() {
            let bits = &self.spools[index].bits;
            if bits.open() > 0 || bits.next() > self.kept.0.saturating_add(1) {
                self.kept.1 |= bits.open() == 0;
                index += 1;
                continue;
            }
            let Some(mut spool) = self.spools.remove(index) else { return };
            spool.database = None;
            if spool.is_set_aside() {
                // Its files stay where they are until the operator removes them.
                continue;
            }
            let done = spool.path.with_extension("done");
            let renamed = fs::rename(&spool.path, &done).and_then(|()| sync_directory(self.place.path()));
            self.notices.push(match renamed.and_then(|()| fs::remove_dir_all(&done)) {
                Ok(()) => Notice::Removed { spool: spool.number },
                Err(error) => Notice::Failed { action: "remove an empty spool", why: error.to_string() },
            });
        }
    }

    /// Octets of all spools' files.
    pub fn disk_bytes(&self) -> u64 {
        let files = self.spools.iter().flat_map(|spool| [spool.path.join("db"), journal::path(&spool.path)]);
        files.map(|file| fs::metadata(file).map_or(0, |data| data.len())).sum()
    }

    /// Keeps a named value, in this spool and all later ones.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub fn keep_meta(&mut self, name: &[u8], value: Vec<u8>) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        self.metas.add(&mut batch, name, &value);
        let active = self.spools.len().checked_sub(1).ok_or(StoreError::Closed)?;
        let database = self.database(active)?;
        database.apply(&batch)?;
        database.flush()?;
        self.metas.share(name, value);
        Ok(())
    }
}

/// Adds a spool's unwritten bitmaps to a batch.
fn add_dirty(batch: &mut Batch, spool: &mut Spool) {
    let number = spool.number;
    let mut out = Vec::with_capacity(160);
    spool.bits.store_dirty(|sink, chunk, bits| {
        frame::put_bitmap(&mut out, &Bitmap { spool: number, sink, chunk, bits: *bits });
        batch.insert(layout::bitmap_key(sink, chunk), out.as_slice());
    });
}

/// The longest wait of a settlement for a commit; losing one means a repeat, never a loss.
const SETTLED_WAIT: Duration = Duration::from_millis(200);

/// Settlements of sealed spools stored at the latest.
const SETTLED_MAX: u32 = 1000;

/// Bodies of finished chunks removed by one commit: a chunk is spread over several.
const REMOVALS_PER_COMMIT_MAX: usize = 256;
