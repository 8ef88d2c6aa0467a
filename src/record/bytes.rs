//! Numbers and texts in octets: what the codecs of records and of calls in progress are made of.
//!
//! Numbers are LEB128 or fixed little-endian, texts a length and their octets. Reading never panics and never takes more
//! memory than the input has octets, times the size of an element.

/// Appends a number in as few octets as it needs.
pub fn put_number(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Appends a length and the octets.
pub fn put_text(text: &[u8], out: &mut Vec<u8>) {
    put_number(text.len() as u64, out);
    out.extend_from_slice(text);
}

/// Octets that mean nothing, and where.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{what} at octet {at} cannot be read")]
pub struct Unreadable {
    /// The part of the value that was to stand there.
    pub what: &'static str,
    /// From the start of the value.
    pub at: usize,
}

/// Reads what the functions above wrote.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads from the first octet.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Octets not yet read.
    #[must_use]
    pub const fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The error that says that `what` is wrong here.
    #[must_use]
    pub const fn unreadable(&self, what: &'static str) -> Unreadable {
        Unreadable { what, at: self.at }
    }

    /// The next `length` octets.
    ///
    /// # Errors
    /// There are fewer.
    pub fn take(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], Unreadable> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len());
        let taken = &self.bytes[self.at..end.ok_or(self.unreadable(what))?];
        self.at += length;
        Ok(taken)
    }

    /// The next octets as an array.
    ///
    /// # Errors
    /// There are fewer.
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Unreadable> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, what)?);
        Ok(array)
    }

    /// One octet.
    ///
    /// # Errors
    /// There is none.
    pub fn octet(&mut self, what: &'static str) -> Result<u8, Unreadable> {
        self.array::<1>(what).map(|[octet]| octet)
    }

    /// A number as [`put_number`] wrote it.
    ///
    /// # Errors
    /// It is cut off, has more than 64 bits or more octets than it needs, or is too large for `T`.
    pub fn number<T: TryFrom<u64>>(&mut self, what: &'static str) -> Result<T, Unreadable> {
        let start = self.unreadable(what);
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let octet = self.octet(what)?;
            let bits = u64::from(octet & 0x7f);
            if (bits << shift) >> shift != bits || (octet == 0 && shift > 0) {
                return Err(start);
            }
            number |= bits << shift;
            if octet & 0x80 == 0 {
                return T::try_from(number).map_err(|_| start);
            }
        }
        Err(start)
    }

    /// A text as [`put_text`] wrote it.
    ///
    /// # Errors
    /// It is cut off.
    pub fn text(&mut self, what: &'static str) -> Result<&'a [u8], Unreadable> {
        let length = self.number(what)?;
        self.take(length, what)
    }

    /// A text that must be UTF-8.
    ///
    /// # Errors
    /// It is cut off or is not UTF-8.
    pub fn string(&mut self, what: &'static str) -> Result<&'a str, Unreadable> {
        let start = self.unreadable(what);
        std::str::from_utf8(self.text(what)?).map_err(|_| start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_odd_ones_are_refused() {
        for number in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            put_number(number, &mut out);
            assert_eq!(Reader::new(&out).number("n"), Ok(number), "{out:x?}");
        }
        for (name, bytes) in [
            ("nothing", &[][..]),
            ("cut off", &[0x80]),
            ("more octets than needed", &[0x80, 0x00]),
            ("65 bits", &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]),
            ("no end", &[0xff; 12]),
        ] {
            assert_eq!(Reader::new(bytes).number::<u64>("n").map_err(|error| error.what), Err("n"), "{name}");
        }
        assert!(Reader::new(&[0x80, 0x02]).number::<u8>("n").is_err(), "256 is no u8");
    }

    #[test]
    fn a_text_longer_than_the_input_is_refused() {
        assert_eq!(Reader::new(b"\x03ab").text("t"), Err(Unreadable { what: "t", at: 1 }));
        assert_eq!(Reader::new(b"\x01\xff").string("s"), Err(Unreadable { what: "s", at: 0 }));
    }
}
