//! Packs the file of a day that is over: the same rows in larger blocks, packed well, in a file that takes the place of
//! the other one. Block by block, so that rows go on being taken in meanwhile.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::block::{About, Blocks, Head, Packing, Piece, block};
use super::coding::{self, Rows};
use super::day::Day;
use super::file::{DayFile, MODE};
use super::open::Open;
use super::row::{Ended, Made, Row};
use super::running::{BlockSink, Running};

/// Octets of rows of a block of a closed day.
const ROWS_OCTETS: usize = 1 << 20;

/// A day that is being packed.
#[derive(Debug)]
pub struct Closing {
    day: Day,
    folder: PathBuf,
    source: File,
    at: u64,
    out: File,
    end: u64,
    number: u32,
    rows: Rows,
    running: Running,
    /// The block that is being gathered.
    gathered: Option<About>,
    /// What of the queue that is in use waits still.
    open: Open,
    era: u64,
    last: u64,
}

impl Closing {
    /// Begins to pack a day; `None` if it is packed already, or has no rows.
    ///
    /// # Errors
    /// A file cannot be opened or made.
    pub fn begin(folder: &Path, day: Day, era: u64) -> io::Result<Option<Self>> {
        let source = File::open(day.path_in(folder))?;
        let mut blocks = Blocks::of(&source)?;
        loop {
            match blocks.next_piece()? {
                Piece::Block(head) if head.is_closed => return Ok(None),
                Piece::Block(_) => break,
                Piece::Damage { .. } => {}
                Piece::Torn { .. } | Piece::End => return Ok(None),
            }
        }
        let path = new_path(folder, day);
        let out = OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(path)?;
        let (rows, running) = (Rows::default(), Running::default());
        let folder = folder.to_owned();
        Ok(Some(Self {
            day,
            folder,
            source,
            at: 0,
            out,
            end: 0,
            number: 0,
            rows,
            running,
            gathered: None,
            open: Open::default(),
            era,
            last: 0,
        }))
    }

    /// Whether nothing of the queue in use waits in it, and the last of its places.
    #[must_use]
    pub fn complete(&self) -> Option<u64> {
        self.open.is_empty().then_some(self.last)
    }

    /// Which day.
    #[must_use]
    pub const fn day(&self) -> Day {
        self.day
    }

    /// Packs a little more; `live` is the file as it is being written, if it is. When it is done: octets before and after.
    ///
    /// # Errors
    /// A file cannot be read or written. The old one stays then.
    pub fn step(&mut self, live: Option<(&mut DayFile, u64)>) -> io::Result<Option<(u64, u64)>> {
        let source = self.source.try_clone()?;
        let mut blocks = Blocks::of(&source)?.from(self.at);
        let piece = blocks.next_piece()?;
        let from = self.at;
        self.at = blocks.at();
        match piece {
            Piece::Block(head) => self.take(&head, blocks.rows())?,
            Piece::Damage { octets } => self.gap(octets)?,
            // Octets of a block that nobody was told of.
            Piece::Torn { .. } => self.at = source.metadata()?.len(),
            Piece::End => {
                if let Some((file, era)) = live {
                    file.seal(era, usize::MAX);
                    file.write()?;
                }
                if source.metadata()?.len() == from {
                    return self.finish().map(Some);
                }
            }
        }
        Ok(None)
    }

    fn take(&mut self, head: &Head, octets: &[u8]) -> io::Result<()> {
        if self.gathered.is_some_and(|about| about.era != head.about.era) {
            self.seal()?;
        }
        let Ok((sinks, mut rows)) = coding::read(octets) else { return self.gap(octets.len() as u64) };
        if !self.rows.has_numbers_for(sinks.len()) {
            self.seal()?;
        }
        // Rows that are missing show by the numbers at the begin of a block.
        if !self.running.clone().meet(&sinks).is_empty() {
            self.seal()?;
            self.running.meet(&sinks);
        }
        let about = self.gathered.get_or_insert(About { last: 0, ..head.about });
        about.last = about.last.max(head.about.last);
        let is_own = head.about.era == self.era;
        self.last = if is_own { self.last.max(head.about.last) } else { self.last };
        while let Ok(Some(row)) = rows.next_row() {
            self.put(&sinks, &row);
            if is_own {
                self.open.see(self.day, &sinks, &row);
            }
        }
        if self.rows.octets() >= ROWS_OCTETS { self.seal() } else { Ok(()) }
    }

    fn put(&mut self, sinks: &[BlockSink<'_>], row: &Row<'_>) {
        let (rows, running) = (&mut self.rows, &self.running);
        let mut number = |sink: usize| {
            let name: Arc<str> = Arc::from(sinks.get(sink)?.name);
            Some(rows.sink(&name, running))
        };
        let mut mask = |from: u64| {
            let bits = (0..64).filter(|bit| from & 1 << bit != 0);
            bits.filter_map(&mut number).fold(0_u64, |mask, number| mask | 1 << number)
        };
        match row {
            Row::Made(made) => {
                let own = Made { sinks: mask(made.sinks), ..made.clone() };
                self.running.count(made, |sink| sinks.get(sink).map(|sink| sink.name));
                self.rows.put(&Row::Made(own));
            }
            Row::Ended(ended) => {
                if let Some(sink) = number(usize::from(ended.sink)) {
                    self.rows.put(&Row::Ended(Ended { sink, ..ended.clone() }));
                }
            }
            Row::Again { seq, was, sinks, at } => {
                let sinks = mask(*sinks);
                self.rows.put(&Row::Again { seq: *seq, was: *was, sinks, at: *at });
            }
            other => self.rows.put(other),
        }
    }

    /// Says in the new file that something was missing in the old one.
    fn gap(&mut self, octets: u64) -> io::Result<()> {
        let about = self.gathered.unwrap_or(About { begun: self.day.begin(), ..About::default() });
        self.seal()?;
        self.gathered = Some(About { last: 0, ..about });
        let at = about.begun;
        let reason = format!("{octets} octets of the day's file could not be read when it was packed");
        self.rows.put(&Row::Gap { from: at, to: at, records: 0, fates: 0, reason: reason.as_bytes() });
        self.seal()
    }

    fn seal(&mut self) -> io::Result<()> {
        let Some(about) = self.gathered.take() else { return Ok(()) };
        let about = About { number: self.number, rows: self.rows.count(), ..about };
        let octets = block(&about, &self.rows.take(), Packing::Well);
        self.out.write_all_at(&octets, self.end)?;
        self.end += octets.len() as u64;
        self.number += 1;
        Ok(())
    }

    fn finish(&mut self) -> io::Result<(u64, u64)> {
        self.seal()?;
        self.out.sync_data()?;
        fs::rename(new_path(&self.folder, self.day), self.day.path_in(&self.folder))?;
        File::open(&self.folder)?.sync_all()?;
        Ok((self.at, self.end))
    }
}

fn new_path(folder: &Path, day: Day) -> PathBuf {
    folder.join(format!("{day}.new"))
}
