//! The chain of spools: because sled never gives space back, reads its whole log after a crash, and a damaged file
//! should cost little. The last spool is the active one; it takes all appends and holds the calls in progress.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io::Write;

use super::bitmap::Bitmaps;
use super::database::Database;
use super::disk::{Place, sync_directory};
use super::error::StoreError;
use super::frame::{self, Bitmap, Meta};
use super::layout;
use super::notice::{Notice, chain_text};
use super::repair::FIRST;
use super::settings::Settings;
use super::spool::{SCHEMA, Spool};

/// All spools, and what they share.
#[derive(Debug)]
pub struct Chain {
    /// The queue's settings.
    pub settings: Settings,
    /// Oldest first; the last one is active.
    pub spools: VecDeque<Spool>,
    /// Named values every new spool gets.
    pub metas: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Rises with every named value and call written.
    pub revision: u64,
    /// What the operator should hear.
    pub notices: Vec<Notice>,
    uses: u64,
    /// The directory; its lock is the last thing given up.
    pub place: Place,
}

impl Chain {
    /// A chain without spools.
    pub fn new(place: Place, settings: Settings) -> Self {
        Self {
            place,
            settings,
            spools: VecDeque::new(),
            metas: BTreeMap::new(),
            revision: 0,
            notices: Vec::new(),
            uses: 0,
        }
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
            let (database, moved) = Database::open(&self.spools[index].path, self.settings.cache_bytes)?;
            if moved {
                self.notices.push(Notice::SnapshotMoved { path: self.spools[index].path.clone() });
            }
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
        let mut batch = sled::Batch::default();
        let mut values: Vec<(&[u8], Vec<u8>)> =
            vec![(b"schema", u64::from(SCHEMA).to_be_bytes().to_vec()), (b"first", first.to_be_bytes().to_vec())];
        values.extend(self.metas.iter().map(|(name, value)| (name.as_slice(), value.clone())));
        values.extend(extra.iter().cloned());
        for (name, value) in values {
            self.revision += 1;
            put_meta(&mut batch, self.revision, name, &value);
        }
        database.apply(batch)?;
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
    pub fn store_settled(&mut self, index: usize) {
        if !self.spools[index].bits.is_dirty() || self.spools[index].database.is_none() {
            return;
        }
        let mut batch = sled::Batch::default();
        let spool = &mut self.spools[index];
        add_dirty(&mut batch, spool);
        let Some(database) = &mut spool.database else { return };
        if let Err(error) = database.apply(batch).and_then(|()| database.flush()) {
            spool.bits.all_dirty();
            spool.database = None;
            self.notices.push(Notice::Failed { action: "store settlements", why: chain_text(&error) });
        }
    }

    /// Removes sealed spools in which nothing waits.
    pub fn remove_finished(&mut self) {
        let mut index = 0;
        while index + 1 < self.spools.len() {
            if self.spools[index].bits.open() > 0 {
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
            let remove = || -> std::io::Result<()> {
                fs::rename(&spool.path, &done)?;
                sync_directory(self.place.path())?;
                fs::remove_dir_all(&done)
            };
            self.notices.push(match remove() {
                Ok(()) => Notice::Removed { spool: spool.number },
                Err(error) => Notice::Failed { action: "remove an empty spool", why: error.to_string() },
            });
        }
    }

    /// Octets of all spools' files.
    pub fn disk_bytes(&self) -> u64 {
        let size = |spool: &Spool| fs::metadata(spool.path.join("db")).map_or(0, |data| data.len());
        self.spools.iter().map(size).sum()
    }

    /// Keeps a named value, in this spool and all later ones.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub fn keep_meta(&mut self, name: &[u8], value: Vec<u8>) -> Result<(), StoreError> {
        self.revision += 1;
        let mut batch = sled::Batch::default();
        put_meta(&mut batch, self.revision, name, &value);
        let active = self.spools.len().checked_sub(1).ok_or(StoreError::Closed)?;
        let database = self.database(active)?;
        database.apply(batch)?;
        database.flush()?;
        self.metas.insert(name.to_vec(), value);
        Ok(())
    }
}

/// Adds a named value to a batch.
pub fn put_meta(batch: &mut sled::Batch, revision: u64, name: &[u8], value: &[u8]) {
    let mut out = Vec::new();
    frame::put_meta(&mut out, &Meta { revision, name, value });
    batch.insert(layout::meta_key(name), out);
}

/// Adds a spool's unwritten bitmaps to a batch; gives how many.
pub fn add_dirty(batch: &mut sled::Batch, spool: &mut Spool) -> usize {
    let number = spool.number;
    let mut out = Vec::with_capacity(160);
    let mut count = 0;
    spool.bits.store_dirty(|sink, chunk, bits| {
        frame::put_bitmap(&mut out, &Bitmap { spool: number, sink, chunk, bits: *bits });
        batch.insert(&layout::bitmap_key(sink, chunk), out.as_slice());
        count += 1;
    });
    count
}

/// An error of the file system as one of the store.
pub fn io_error(error: std::io::Error) -> StoreError {
    match error.kind() {
        std::io::ErrorKind::StorageFull => StoreError::NoSpace(error),
        _ => StoreError::Io(error),
    }
}
