//! Fitting values into attributes and attributes into a packet, so that no value, however long or odd, loses a record.
//!
//! * [`clean`] takes out what must not travel; [`fit`] brings a value to a length by a policy;
//! * [`AttributeList`] collects encoded attributes and drops the least important when they exceed a [`Budget`].

use std::borrow::Cow;

use md5::{Digest, Md5};

use super::packet::{self, Attributes, HEADER_OCTETS, PACKET_OCTETS_MAX};

/// Attributes of one record at most; FreeRADIUS drops a request with more than 200 without a word.
pub const ATTRIBUTES_MAX: usize = 180;
/// Octets of one record's attributes at most: a packet without its header, room left for Acct-Delay-Time and
/// Message-Authenticator.
pub const ATTRIBUTE_OCTETS_MAX: usize = PACKET_OCTETS_MAX - HEADER_OCTETS - 6 - 18;
/// Octets of a value that [`Oversize::Hash`] keeps before the digest, where the limit allows.
pub const HASH_KEEPS_OCTETS: usize = 200;
/// `#` and 32 hexadecimal digits.
const DIGEST_OCTETS: usize = 33;
/// The same in an SQL string, where `#` is escaped.
const DIGEST_COLUMNS: usize = 35;
/// Longest value that is split; what lies behind is cut.
const SPLIT_OCTETS_MAX: usize = 2048;

/// What happens to a value longer than its attribute takes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Oversize {
    /// Cut at a UTF-8 boundary; a SIP URI first loses its headers and parameters.
    #[default]
    Truncate,
    /// Several instances in order.
    Split,
    /// The first 200 octets, `#` and the MD5 digest of the whole, so that equal values stay equal.
    Hash,
    /// Left out.
    Omit,
}

/// A value without CR, LF and NUL, which no value may carry into a server's line-based stores.
#[must_use]
pub fn clean(value: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr3(b'\r', b'\n', 0, value).is_none() {
        return Cow::Borrowed(value);
    }
    Cow::Owned(value.iter().copied().filter(|octet| !matches!(octet, b'\r' | b'\n' | 0)).collect())
}

/// What became of a value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fitted {
    /// All of it is there.
    Whole,
    /// Part of it is missing, or all.
    Shortened,
}

/// What an attribute and its receiver take of one value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limit {
    /// Octets of one value on the wire.
    pub octets: usize,
    /// Width of the column that the server's database keeps it in, counted as FreeRADIUS escapes values for SQL:
    /// letters, digits, blanks and `@ . - _ : /` count one, other ASCII octets three.
    pub column: Option<usize>,
}

impl From<usize> for Limit {
    fn from(octets: usize) -> Self {
        Self { octets, column: None }
    }
}

impl Limit {
    /// How many of the first octets of `value` it takes, UTF-8 aside.
    fn room(self, value: &[u8]) -> usize {
        let octets = value.len().min(self.octets);
        let Some(column) = self.column else { return octets };
        let is_text = std::str::from_utf8(value).is_ok();
        let mut width = 0_usize;
        let too_wide = value[..octets].iter().position(|octet| {
            width += escaped_width(*octet, is_text);
            width > column
        });
        too_wide.unwrap_or(octets)
    }

    /// What is left of it beside `octets` octets that take `column` columns.
    fn less(self, octets: usize, column: usize) -> Option<Self> {
        let column = match self.column {
            Some(all) => Some(all.checked_sub(column)?),
            None => None,
        };
        Some(Self { octets: self.octets.checked_sub(octets)?, column })
    }
}

/// Characters of an octet in an SQL string of FreeRADIUS with its packaged `safe_characters`.
const fn escaped_width(octet: u8, is_text: bool) -> usize {
    match octet {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'@' | b'.' | b'-' | b'_' | b':' | b'/' | b' ' => 1,
        // A sequence is one character of the column; its octets count more than that, never less.
        0x80.. if is_text => 1,
        _ => 3,
    }
}

/// Gives `each` the value in pieces of at least one octet within the limit, by the policy. An empty value gives no piece.
///
/// A limit of 0 leaves every value out.
pub fn fit(value: &[u8], limit: impl Into<Limit>, policy: Oversize, mut each: impl FnMut(&[u8])) -> Fitted {
    if value.is_empty() {
        return Fitted::Whole;
    }
    let limit = limit.into();
    let max = limit.room(value);
    if max == value.len() {
        each(value);
        return Fitted::Whole;
    }
    if max == 0 {
        return Fitted::Shortened;
    }
    match policy {
        Oversize::Omit => {}
        Oversize::Truncate => each(truncated(value, max)),
        Oversize::Hash => {
            let room = limit.less(DIGEST_OCTETS, DIGEST_COLUMNS).map_or(0, |limit| limit.room(value));
            if room < 4 {
                each(truncated(value, max));
                return Fitted::Shortened;
            }
            let mut text = cut(value, room.min(HASH_KEEPS_OCTETS)).to_vec();
            text.push(b'#');
            for octet in Md5::digest(value) {
                text.extend_from_slice(&[hex(octet >> 4), hex(octet & 15)]);
            }
            each(&text);
        }
        Oversize::Split => {
            let mut rest = cut(value, SPLIT_OCTETS_MAX);
            let fitted = if rest.len() == value.len() { Fitted::Whole } else { Fitted::Shortened };
            while !rest.is_empty() {
                let room = limit.room(rest);
                if room == 0 {
                    return Fitted::Shortened;
                }
                let piece = cut(rest, room);
                each(piece);
                rest = &rest[piece.len()..];
            }
            return fitted;
        }
    }
    Fitted::Shortened
}

/// Headers and parameters of a SIP URI go first, then the tail.
fn truncated(value: &[u8], max: usize) -> &[u8] {
    cut(without_uri_parameters(value), max)
}

/// At most `max` octets, `max` at least 1, not ending inside a UTF-8 sequence; never empty unless `value` is.
fn cut(value: &[u8], max: usize) -> &[u8] {
    if value.len() <= max {
        return value;
    }
    // A sequence has at most three octets after its first.
    let boundary = (max.saturating_sub(3)..=max).rev().find(|at| value[*at] & 0b1100_0000 != 0b1000_0000);
    match boundary {
        Some(at) if at > 0 => &value[..at],
        _ => &value[..max],
    }
}

/// A `sip:`, `sips:` or `tel:` URI up to its first parameter or header; other values as they are.
fn without_uri_parameters(value: &[u8]) -> &[u8] {
    let is_uri = [&b"sip:"[..], b"sips:", b"tel:"]
        .iter()
        .any(|scheme| value.len() > scheme.len() && value[..scheme.len()].eq_ignore_ascii_case(scheme));
    if !is_uri {
        return value;
    }
    // A user part may hold `;` and `?` itself.
    let host = memchr::memchr(b'@', value).map_or(0, |at| at + 1);
    match memchr::memchr2(b';', b'?', &value[host..]) {
        Some(at) if host + at > 0 => &value[..host + at],
        _ => value,
    }
}

const fn hex(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}

/// How important an attribute is: a higher one is dropped later.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Priority(pub u8);

impl Priority {
    /// What a record is nothing without.
    pub const ESSENTIAL: Self = Self(255);
    /// Core values of the record.
    pub const CORE: Self = Self(192);
    /// A configured field, unless configured otherwise.
    pub const FIELD: Self = Self(128);
    /// A value of a leg.
    pub const LEG: Self = Self(64);
}

/// What a packet and its receiver take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Budget {
    /// Octets of all attributes. Default 4052.
    pub octets: usize,
    /// Number of attributes. Default 180.
    pub attributes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { octets: ATTRIBUTE_OCTETS_MAX, attributes: ATTRIBUTES_MAX }
    }
}

/// Encoded attributes of one record, each group with its priority. Reused from record to record.
#[derive(Debug, Default)]
pub struct AttributeList {
    octets: Vec<u8>,
    groups: Vec<Group>,
    attributes: usize,
}

/// Attributes that stay or go together: one value, perhaps in several attributes.
#[derive(Clone, Copy, Debug)]
struct Group {
    end: usize,
    attributes: usize,
    priority: Priority,
}

impl AttributeList {
    /// Empties the list and keeps its memory.
    pub fn clear(&mut self) {
        self.octets.clear();
        self.groups.clear();
        self.attributes = 0;
    }

    /// Lets `encode` append whole attributes that stay or go together.
    pub fn push_with(&mut self, priority: Priority, encode: impl FnOnce(&mut Vec<u8>)) {
        let start = self.octets.len();
        encode(&mut self.octets);
        let end = self.octets.len();
        if end > start {
            let attributes = Attributes::of(&self.octets[start..]).count();
            self.groups.push(Group { end, attributes, priority });
            self.attributes += attributes;
        }
    }

    /// Appends one attribute of the standard space; an empty value is left out.
    pub fn push(&mut self, priority: Priority, number: u8, value: &[u8]) {
        self.push_with(priority, |out| packet::push(out, number, value));
    }

    /// Appends a 32-bit value.
    pub fn push_integer(&mut self, priority: Priority, number: u8, value: u32) {
        self.push(priority, number, &value.to_be_bytes());
    }

    /// The encoded attributes.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// How many attributes there are.
    #[must_use]
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.attributes
    }

    /// Whether there are none.
    #[must_use]
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.attributes == 0
    }

    /// Whether the list keeps a budget.
    #[must_use]
    pub fn fits(&self, budget: Budget) -> bool {
        self.octets.len() <= budget.octets && self.attributes <= budget.attributes
    }

    /// Drops groups until the list keeps the budget: the lowest priority first, among equals the last first.
    ///
    /// Returns how many attributes went.
    pub fn drop_to(&mut self, budget: Budget) -> usize {
        if self.fits(budget) {
            return 0;
        }
        let before = self.attributes;
        let mut order: Vec<usize> = (0..self.groups.len()).collect();
        order.sort_by_key(|&index| (self.groups[index].priority, std::cmp::Reverse(index)));
        let mut gone = vec![false; self.groups.len()];
        let (mut octets, mut attributes) = (self.octets.len(), self.attributes);
        for index in order {
            if octets <= budget.octets && attributes <= budget.attributes {
                break;
            }
            octets -= self.groups[index].end - self.start(index);
            attributes -= self.groups[index].attributes;
            gone[index] = true;
        }
        self.keep(&gone);
        before - self.attributes
    }

    fn start(&self, index: usize) -> usize {
        index.checked_sub(1).map_or(0, |before| self.groups[before].end)
    }

    fn keep(&mut self, gone: &[bool]) {
        let (mut octets, mut groups, mut attributes) = (Vec::new(), Vec::new(), 0);
        for (index, group) in self.groups.iter().enumerate().filter(|(index, _)| !gone[*index]) {
            octets.extend_from_slice(&self.octets[self.start(index)..group.end]);
            attributes += group.attributes;
            groups.push(Group { end: octets.len(), ..*group });
        }
        (self.octets, self.groups, self.attributes) = (octets, groups, attributes);
    }
}

#[cfg(test)]
mod tests;
