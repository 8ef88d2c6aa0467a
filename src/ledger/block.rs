//! Blocks of a day file: rows that are written at once, with a checksum, found again behind a damaged place.
//!
//! `magic 4, crc32c u32, stored u32, raw u32, number u32, rows u32, era u64, begun i64, last u64, form u8, closed u8, 6 zeros, rows`, numbers
//! little-endian; the checksum is of all behind it. `number` rises by one in a file, so that a missing block shows.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use crate::clock::Timestamp;

/// First octets of a block, with the version of its layout.
pub const MAGIC: &[u8; 4] = b"TGd1";

/// Octets before the rows.
pub const HEAD_OCTETS: usize = 56;

/// Most octets of the rows of one block, as they are and as they are stored: more is damage.
pub const BLOCK_OCTETS_MAX: usize = 4 << 20;

/// Rows shorter than this are stored as they are: packing them gains less than it costs.
const PACKED_MIN: usize = 512;

/// Octets read at once in search for the next block.
const SEARCH_OCTETS: usize = 64 * 1024;

/// Rows are stored as they are.
const PLAIN: u8 = 0;
/// They are packed by Zstandard (RFC 8878).
const ZSTD: u8 = 1;

/// What a block is, beside its rows.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct About {
    /// Its number in its file, from 0.
    pub number: u32,
    /// How many rows it has.
    pub rows: u32,
    /// Names the queue whose places the rows mean: another one counts anew.
    pub era: u64,
    /// When its first row was put in, to the millisecond.
    pub begun: Timestamp,
    /// The highest place of a record that it has a row of; 0 for none.
    pub last: u64,
}

/// What the head of a block says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Head {
    /// The block.
    pub about: About,
    /// Whether it was packed when its day was closed.
    pub is_closed: bool,
    form: u8,
    stored: usize,
    raw: usize,
}

impl Head {
    /// Octets of the whole block.
    #[must_use]
    pub const fn octets(&self) -> u64 {
        (HEAD_OCTETS + self.stored) as u64
    }
}

/// How hard rows are packed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Packing {
    /// Quickly, while records come.
    Quick,
    /// Well, when a day is closed.
    Well,
}

impl Packing {
    const fn level(self) -> i32 {
        match self {
            Self::Quick => 1,
            Self::Well => 6,
        }
    }
}

/// A block with these rows, as it is written.
#[must_use]
pub fn block(about: &About, octets: &[u8], packing: Packing) -> Vec<u8> {
    let packed = (octets.len() >= PACKED_MIN).then(|| zstd::bulk::compress(octets, packing.level()).ok()).flatten();
    let packed = packed.filter(|packed| packed.len() < octets.len());
    let form = if packed.is_some() { ZSTD } else { PLAIN };
    let stored = packed.as_deref().unwrap_or(octets);
    let mut out = Vec::with_capacity(HEAD_OCTETS + stored.len());
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&[0; 4]);
    for length in [stored.len(), octets.len()] {
        out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    }
    out.extend_from_slice(&about.number.to_le_bytes());
    out.extend_from_slice(&about.rows.to_le_bytes());
    out.extend_from_slice(&about.era.to_le_bytes());
    out.extend_from_slice(&about.begun.0.div_euclid(1000).to_le_bytes());
    out.extend_from_slice(&about.last.to_le_bytes());
    out.extend_from_slice(&[form, u8::from(packing == Packing::Well), 0, 0, 0, 0, 0, 0]);
    out.extend_from_slice(stored);
    let check = crc32c::crc32c(&out[8..]);
    out[4..8].copy_from_slice(&check.to_le_bytes());
    out
}

/// What stands at a place of a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Piece {
    /// A block, whole and with the right checksum.
    Block(Head),
    /// Octets that are no block, with blocks behind them.
    Damage {
        /// How many.
        octets: u64,
    },
    /// Octets that are no block up to the end of the file: a block that was being written when the process ended.
    Torn {
        /// How many.
        octets: u64,
    },
    /// The end of the file.
    End,
}

/// The heads of a file's blocks and where these begin, without reading the rows, up to the first one that is none.
///
/// # Errors
/// The file cannot be read.
pub fn heads(file: &File) -> io::Result<Vec<(u64, Head)>> {
    let (mut at, end, mut found) = (0, file.metadata()?.len(), Vec::new());
    let mut octets = [0; HEAD_OCTETS];
    while end.saturating_sub(at) >= HEAD_OCTETS as u64 {
        file.read_exact_at(&mut octets, at)?;
        let Some((_, head)) = head_of(&octets) else { break };
        found.push((at, head));
        at += head.octets();
    }
    Ok(found)
}

/// Reads the blocks of a file one after the other, with memory for one.
#[derive(Debug)]
pub struct Blocks<'f> {
    file: &'f File,
    at: u64,
    end: u64,
    stored: Vec<u8>,
    raw: Vec<u8>,
}

impl<'f> Blocks<'f> {
    /// Those of a file as long as it is now.
    ///
    /// # Errors
    /// The file does not tell its length.
    pub fn of(file: &'f File) -> io::Result<Self> {
        Ok(Self { file, at: 0, end: file.metadata()?.len(), stored: Vec::new(), raw: Vec::new() })
    }

    /// Goes on from this place; a place where no block begins is damage.
    #[must_use]
    pub fn from(self, at: u64) -> Self {
        Self { at, ..self }
    }

    /// Where the next piece begins.
    #[must_use]
    pub const fn at(&self) -> u64 {
        self.at
    }

    /// The next piece. The rows of a block are [`Blocks::rows`] until the next call.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn next_piece(&mut self) -> io::Result<Piece> {
        if self.at >= self.end {
            return Ok(Piece::End);
        }
        if let Some(head) = self.block_at(self.at)? {
            self.at += head.octets();
            return Ok(Piece::Block(head));
        }
        let from = self.at;
        let mut place = from + 1;
        while let Some(found) = self.magic_from(place)? {
            if self.block_at(found)?.is_some() {
                self.at = found;
                return Ok(Piece::Damage { octets: found - from });
            }
            place = found + 1;
        }
        self.at = self.end;
        Ok(Piece::Torn { octets: self.end - from })
    }

    /// The rows of the block that was read last.
    #[must_use]
    pub fn rows(&self) -> &[u8] {
        &self.raw
    }

    /// The block at a place, if there is a whole one.
    fn block_at(&mut self, at: u64) -> io::Result<Option<Head>> {
        let mut octets = [0; HEAD_OCTETS];
        if self.end - at < HEAD_OCTETS as u64 {
            return Ok(None);
        }
        self.file.read_exact_at(&mut octets, at)?;
        let Some((check, head)) = head_of(&octets) else { return Ok(None) };
        if head.octets() > self.end - at {
            return Ok(None);
        }
        self.stored.resize(head.stored, 0);
        self.file.read_exact_at(&mut self.stored, at + HEAD_OCTETS as u64)?;
        if crc32c::crc32c_append(crc32c::crc32c(&octets[8..]), &self.stored) != check {
            return Ok(None);
        }
        if head.form == PLAIN {
            std::mem::swap(&mut self.raw, &mut self.stored);
            return Ok(Some(head));
        }
        self.raw.resize(head.raw, 0);
        let length = zstd::bulk::decompress_to_buffer(&self.stored, &mut self.raw);
        Ok(length.is_ok_and(|length| length == head.raw).then_some(head))
    }

    /// Where the next magic stands, from this place on.
    fn magic_from(&mut self, mut at: u64) -> io::Result<Option<u64>> {
        let mut window = vec![0; SEARCH_OCTETS];
        while self.end.saturating_sub(at) >= HEAD_OCTETS as u64 {
            let length = usize::try_from(self.end - at).map_or(SEARCH_OCTETS, |left| left.min(SEARCH_OCTETS));
            let window = &mut window[..length];
            self.file.read_exact_at(window, at)?;
            if let Some(found) = memchr::memmem::find(window, MAGIC) {
                return Ok(Some(at + found as u64));
            }
            // It may stand across the end of the window.
            at += (length - (MAGIC.len() - 1)) as u64;
        }
        Ok(None)
    }
}

/// Checksum and head, if the octets can be one.
fn head_of(octets: &[u8; HEAD_OCTETS]) -> Option<(u32, Head)> {
    let number = |at: usize| u32::from_le_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]]);
    let long = |at: usize| u64::from(number(at)) | u64::from(number(at + 4)) << 32;
    let (stored, raw) = (number(8) as usize, number(12) as usize);
    let form = octets[48];
    let is_possible = octets[..4] == *MAGIC && stored <= BLOCK_OCTETS_MAX && raw <= BLOCK_OCTETS_MAX && form <= ZSTD;
    let begun = Timestamp(long(32).cast_signed().saturating_mul(1000));
    let about = About { number: number(16), rows: number(20), era: long(24), begun, last: long(40) };
    let head = Head { about, is_closed: octets[49] != 0, form, stored, raw };
    is_possible.then_some((number(4), head))
}

#[cfg(test)]
#[path = "block_tests.rs"]
mod tests;
