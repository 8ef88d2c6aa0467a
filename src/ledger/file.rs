//! The file of one day, as it is written: blocks are only ever added. Opening cuts off a block that was being written when
//! the process ended.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::clock::Timestamp;

use super::block::{About, Blocks, Head, Packing, Piece, block};
use super::coding::{self, Rows};
use super::row::Row;
use super::running::{BlockSink, Running};

/// Only the owner reads the ledger: it holds who called whom.
pub const MODE: u32 = 0o600;

/// Octets of rows at which a block ends.
pub const ROWS_OCTETS: usize = 256 * 1024;

/// Reads rows on opening: head and sinks of their block, and the row.
pub type Visit<'v> = &'v mut dyn FnMut(&Head, &[BlockSink<'_>], &Row<'_>);

/// A block that is to be written.
#[derive(Debug)]
struct Sealed {
    octets: Vec<u8>,
    rows: u64,
    missing: Missing,
}

/// What is missing where a block was given up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Missing {
    /// Since when.
    pub from: Timestamp,
    /// Until when.
    pub to: Timestamp,
    /// Records without a row.
    pub records: u64,
    /// Fates without a row.
    pub fates: u64,
}

/// What is missing without the row of a record: records and fates.
pub const A_RECORD: (u64, u64) = (1, 0);

/// The same without the row of a fate.
pub const A_FATE: (u64, u64) = (0, 1);

impl Missing {
    /// Nothing, at this moment.
    #[must_use]
    pub const fn at(at: Timestamp) -> Self {
        Self { from: at, to: at, records: 0, fates: 0 }
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            from: self.from.min(other.from),
            to: self.to.max(other.to),
            records: self.records + other.records,
            fates: self.fates + other.fates,
        }
    }
}

/// A file that is being written.
#[derive(Debug)]
pub struct DayFile {
    path: PathBuf,
    file: File,
    end: u64,
    number: u32,
    running: Running,
    rows: Rows,
    gathered: Option<Missing>,
    /// The highest place of a record that is being gathered.
    last: u64,
    sealed: VecDeque<Sealed>,
    is_dirty: bool,
    /// Rows and octets that were written since somebody asked.
    written: (u64, u64),
}

/// What opening found wrong.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Found {
    /// Octets cut off at the end.
    pub torn: u64,
    /// Octets between blocks that cannot be read.
    pub damaged: u64,
}

impl DayFile {
    /// Opens a file, making it if there is none, and hands each of its rows to `visit`.
    ///
    /// # Errors
    /// The file cannot be made, read or cut.
    pub fn open(path: &Path, visit: Visit<'_>) -> io::Result<(Self, Found)> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(MODE).open(path)?;
        let mut found = Found::default();
        let (mut end, mut number, mut running) = (0, 0, Running::default());
        let mut blocks = Blocks::of(&file)?;
        loop {
            match blocks.next_piece()? {
                Piece::End => break,
                Piece::Torn { octets } => found.torn = octets,
                Piece::Damage { octets } => found.damaged += octets,
                Piece::Block(head) => {
                    (end, number) = (blocks.at(), head.about.number + 1);
                    // A block with the right checksum whose rows mean nothing is counted as damage by whoever reads it.
                    let Ok((sinks, mut rows)) = coding::read(blocks.rows()) else { continue };
                    running.meet(&sinks);
                    while let Ok(Some(row)) = rows.next_row() {
                        if let Row::Made(made) = &row {
                            running.count(made, |number| sinks.get(number).map(|sink| sink.name));
                        }
                        visit(&head, &sinks, &row);
                    }
                }
            }
        }
        if found.torn > 0 {
            file.set_len(end)?;
        }
        let path = path.to_owned();
        let (rows, sealed) = (Rows::default(), VecDeque::new());
        Ok((
            Self {
                path,
                file,
                end,
                number,
                running,
                rows,
                gathered: None,
                last: 0,
                sealed,
                is_dirty: false,
                written: (0, 0),
            },
            found,
        ))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file, to be read.
    #[must_use]
    pub const fn file(&self) -> &File {
        &self.file
    }

    /// The numbers of these sinks in the block that is being gathered, as bits.
    pub fn sinks<'n>(&mut self, names: impl Iterator<Item = &'n Arc<str>>) -> u64 {
        names.fold(0, |mask, name| mask | 1 << self.sink(name))
    }

    /// The number of a sink in it.
    pub fn sink(&mut self, name: &Arc<str>) -> u8 {
        self.rows.sink(name, &self.running)
    }

    /// Whether the block has numbers for so many further sinks.
    #[must_use]
    pub fn has_numbers_for(&self, sinks: usize) -> bool {
        self.rows.has_numbers_for(sinks)
    }

    /// Adds a row that came at this moment.
    pub fn put(&mut self, at: Timestamp, row: &Row<'_>) {
        let gathered = self.gathered.get_or_insert(Missing::at(at));
        gathered.to = at;
        match row {
            Row::Made(made) => {
                gathered.records += 1;
                self.last = self.last.max(made.seq);
                self.running.count(made, |sink| self.rows.name(sink).map(|name| &**name));
            }
            Row::Ended(_) | Row::Again { .. } | Row::Gone { .. } => gathered.fates += 1,
            Row::Gap { .. } | Row::Began { .. } | Row::Counted { .. } => {}
        }
        self.rows.put(row);
    }

    /// When the first row came that is in no block yet.
    #[must_use]
    pub fn gathered_since(&self) -> Option<Timestamp> {
        self.gathered.map(|gathered| gathered.from)
    }

    /// Whether the rows are enough for a block.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.rows.octets() >= ROWS_OCTETS
    }

    /// Ends the block that is being gathered. If more than `max` octets wait to be written already, it is given up, and
    /// what is missing then is given back.
    pub fn seal(&mut self, era: u64, max: usize) -> Option<Missing> {
        let missing = self.gathered.take()?;
        let count = self.rows.count();
        let octets = self.rows.take();
        let last = std::mem::take(&mut self.last);
        let about = About { number: self.number, rows: count, era, begun: missing.from, last };
        // The number of a block that is given up is missing for ever: so it shows.
        self.number += 1;
        if self.unwritten() + octets.len() > max {
            return Some(missing);
        }
        let octets = block(&about, &octets, Packing::Quick);
        self.sealed.push_back(Sealed { octets, rows: u64::from(count), missing });
        None
    }

    /// Octets that wait to be written.
    #[must_use]
    pub fn unwritten(&self) -> usize {
        self.sealed.iter().map(|sealed| sealed.octets.len()).sum()
    }

    /// Writes the blocks that wait.
    ///
    /// # Errors
    /// The file takes no more; nothing of a block is left in it then, and it waits for the next time.
    pub fn write(&mut self) -> io::Result<()> {
        while let Some(sealed) = self.sealed.front() {
            if let Err(error) = self.file.write_all_at(&sealed.octets, self.end) {
                // What could be written of it would be taken for damage later. If that fails too, the next try writes over it.
                let _same_disk = self.file.set_len(self.end);
                return Err(error);
            }
            self.end += sealed.octets.len() as u64;
            self.is_dirty = true;
            self.written = (self.written.0 + sealed.rows, self.written.1 + sealed.octets.len() as u64);
            self.sealed.pop_front();
        }
        Ok(())
    }

    /// Rows and octets that were written since the last call.
    pub fn take_written(&mut self) -> (u64, u64) {
        std::mem::take(&mut self.written)
    }

    /// What would be missing if the blocks that wait were never written.
    #[must_use]
    pub fn missing(&self) -> Option<Missing> {
        let sealed = self.sealed.iter().map(|sealed| sealed.missing);
        sealed.chain(self.gathered).reduce(Missing::and)
    }

    /// Has what was written reach the disk.
    ///
    /// # Errors
    /// The disk does not take it.
    pub fn sync(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.is_dirty) {
            self.file.sync_data()?;
        }
        Ok(())
    }
}
