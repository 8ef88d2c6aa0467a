//! Keys and values to be written together, in the octets in which the journal keeps them.

use super::frame::{BadFrame, Reader};

/// Changes of one database: all or none of them is on disk after a crash.
///
/// Each is the key's length (u16) and the value's (u32, [`REMOVED`] for a removal), then both. Of several changes of one
/// key the last counts.
#[derive(Debug, Default)]
pub struct Batch {
    octets: Vec<u8>,
}

/// A key, and its new value; `None` removes it.
pub type Change<'a> = (&'a [u8], Option<&'a [u8]>);

impl Batch {
    /// Sets a value.
    pub fn insert(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let value = value.as_ref();
        self.push(key.as_ref(), u32::try_from(value.len()).expect("values are a frame or two"), value);
    }

    /// Removes a key, whether it is there or not.
    pub fn remove(&mut self, key: impl AsRef<[u8]>) {
        self.push(key.as_ref(), REMOVED, &[]);
    }

    fn push(&mut self, key: &[u8], length: u32, value: &[u8]) {
        if self.octets.capacity() == 0 {
            self.octets.reserve(CAPACITY);
        }
        let key_length = u16::try_from(key.len()).expect("keys are short");
        self.octets.extend_from_slice(&key_length.to_be_bytes());
        self.octets.extend_from_slice(&length.to_be_bytes());
        self.octets.extend_from_slice(key);
        self.octets.extend_from_slice(value);
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    /// Its octets, for [`changes`] to read.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }
}

/// Reads the octets of a batch; an error ends them.
pub fn changes(octets: &[u8]) -> impl Iterator<Item = Result<Change<'_>, BadFrame>> {
    let mut rest = Reader(octets);
    std::iter::from_fn(move || {
        if rest.0.is_empty() {
            return None;
        }
        let change = change(&mut rest);
        if change.is_err() {
            rest = Reader(&[]);
        }
        Some(change)
    })
}

fn change<'a>(from: &mut Reader<'a>) -> Result<Change<'a>, BadFrame> {
    let key_length = usize::from(u16::from_be_bytes(from.array()?));
    let length = from.u32()?;
    let key = from.slice(key_length)?;
    let value = if length == REMOVED { None } else { Some(from.slice(length as usize)?) };
    Ok((key, value))
}

/// Stands for the length of a value that is removed.
const REMOVED: u32 = u32::MAX;

/// Octets taken at once: most commits fit.
const CAPACITY: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_read_back_in_their_order_and_end_at_what_is_cut_off() {
        let mut batch = Batch::default();
        assert!(batch.is_empty());
        batch.insert(b"a", b"1");
        batch.remove(b"b");
        batch.insert(b"", b"");
        let all: Vec<_> = changes(batch.octets()).map(Result::unwrap).collect();
        assert_eq!(all, [(&b"a"[..], Some(&b"1"[..])), (b"b", None), (b"", Some(b""))]);
        let cut = &batch.octets()[..batch.octets().len() - 1];
        assert_eq!(changes(cut).map(|change| change.is_ok()).collect::<Vec<_>>(), [true, true, false]);
    }
}
