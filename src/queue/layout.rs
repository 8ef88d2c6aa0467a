//! Keys of a spool: one tree with one-octet prefixes, so that every change is one batch. Numbers are big-endian.
//!
//! ```text
//! M name              schema version, sinks, first place, `low`, and values kept for others
//! R seq:u64 part:u8   record, or a part of it
//! A sink:u16 chunk:u32  bitmap of 1,024 settled records
//! C number:u64 part:u8  call in progress; calls are numbered as they come, so that those of one time lie together
//! D number:u64 part:u8  Class value of a session, numbered likewise; earlier releases kept it among the calls
//! E number:u64        notes of the calls that ended with one commit
//! J                   from which frame on the journal counts; not framed
//! ```

use std::ops::{Range, RangeInclusive};

use crate::ids::{RecordId, SinkNumber};

/// Records of one chunk: one bitmap for each sink.
pub const CHUNK_RECORDS: u64 = 1024;

/// Number of the chunk that holds the record at `seq`.
///
/// Chunks are counted over all spools, not from the first record of each: so a bitmap found in a damaged file says by
/// itself which records it means.
pub fn chunk_of(seq: u64) -> u32 {
    u32::try_from(seq / CHUNK_RECORDS).unwrap_or(u32::MAX)
}

/// Key of a record's part.
pub fn record_key(seq: u64, part: u8) -> [u8; 10] {
    let mut key = [b'R'; 10];
    key[1..9].copy_from_slice(&seq.to_be_bytes());
    key[9] = part;
    key
}

/// Place and part of a record's key; `None` for another key.
pub fn seq_of(key: &[u8]) -> Option<(u64, u8)> {
    let (&[b'R'], rest) = key.split_first_chunk::<1>()? else { return None };
    let (seq, &[part]) = rest.split_first_chunk::<8>()? else { return None };
    Some((u64::from_be_bytes(*seq), part))
}

/// Key of a bitmap.
pub fn bitmap_key(sink: SinkNumber, chunk: u32) -> [u8; 7] {
    let mut key = [b'A', 0, sink.0, 0, 0, 0, 0];
    key[3..].copy_from_slice(&chunk.to_be_bytes());
    key
}

/// All keys of bitmaps.
pub const BITMAPS: RangeInclusive<[u8; 7]> = [b'A', 0, 0, 0, 0, 0, 0]..=[b'A', 255, 255, 255, 255, 255, 255];

/// What is kept beside the records by name, each kind in a tree of its own.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Tree {
    /// Calls in progress.
    Calls = b'C',
    /// Class values of their sessions.
    Classes = b'D',
}

/// Key of a part of a call or Class value.
pub fn kept_key(tree: Tree, number: u64, part: u8) -> [u8; 10] {
    let mut key = [tree as u8; 10];
    key[1..9].copy_from_slice(&number.to_be_bytes());
    key[9] = part;
    key
}

/// Tree and number of such a key; `None` for another key.
pub fn kept_of(key: &[u8]) -> Option<(Tree, u64)> {
    let (prefix, rest) = key.split_first_chunk::<1>()?;
    let tree = match prefix {
        b"C" => Tree::Calls,
        b"D" => Tree::Classes,
        _ => return None,
    };
    let (number, &[_part]) = rest.split_first_chunk::<8>()? else { return None };
    Some((tree, u64::from_be_bytes(*number)))
}

/// Key of the notes of ended calls.
pub fn notes_key(number: u64) -> [u8; 9] {
    let mut key = [b'E'; 9];
    key[1..].copy_from_slice(&number.to_be_bytes());
    key
}

/// Number in the key of notes; `None` for another key.
pub fn notes_of(key: &[u8]) -> Option<u64> {
    let (&[b'E'], number) = key.split_first_chunk::<1>()? else { return None };
    number.try_into().ok().map(u64::from_be_bytes)
}

/// All keys of calls and Class values.
pub const KEPT: Range<&[u8]> = b"C".as_slice()..b"E".as_slice();

/// All keys of notes; they follow those of calls and Class values.
pub const NOTES: Range<&[u8]> = b"E".as_slice()..b"F".as_slice();

/// Key of what the journal beside the database goes by.
pub const JOURNAL_KEY: &[u8] = b"J";

/// Key of a meta value.
pub fn meta_key(name: &[u8]) -> Vec<u8> {
    [b"M", name].concat()
}

/// Key of a part of a parked record, in the database of its own.
pub fn parked_key(sink: SinkNumber, id: RecordId, part: u8) -> [u8; 19] {
    let mut key = [0; 19];
    key[1] = sink.0;
    key[2..18].copy_from_slice(&id.to_bytes());
    key[18] = part;
    key
}

/// Sink, record and part of such a key.
pub fn parked_of(key: &[u8]) -> Option<(SinkNumber, RecordId, u8)> {
    let (&[_, sink], rest) = key.split_first_chunk::<2>()?;
    let (id, &[part]) = rest.split_first_chunk::<16>()? else { return None };
    Some((SinkNumber(sink), RecordId::from_bytes(*id), part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_by_place_and_read_back() {
        let keys =
            [record_key(1, 0), record_key(1, 15), record_key(255, 0), record_key(256, 0), record_key(1 << 40, 3)];
        assert!(keys.is_sorted());
        assert_eq!(seq_of(&keys[4]), Some((1 << 40, 3)));
        assert_eq!(seq_of(b"Mlow"), None);
        assert_eq!(seq_of(b"R"), None);
        let parked = parked_key(SinkNumber(7), RecordId(9), 2);
        assert_eq!(parked_of(&parked), Some((SinkNumber(7), RecordId(9), 2)));
        assert!(BITMAPS.contains(&bitmap_key(SinkNumber(63), u32::MAX)));
    }
}
