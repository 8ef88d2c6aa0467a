//! The branch parameter of our Via: it finds the client transaction of an answer without a table, a forged one fails,
//! and it shows a loop (RFC 3261 §16.6 step 8, RFC 5393 §4.2).
//!
//! Text form: the magic cookie, then 32 hexadecimal digits: slot, generation, loop hash, check, 32 bits each.

use std::hash::Hasher;

use siphasher::sip::SipHasher24;
use siphasher::sip128::{self, Hasher128};

use crate::sip::message::{Message, Name};

/// The start of every branch of RFC 3261 (§8.1.1.7).
pub const COOKIE: &[u8] = b"z9hG4bK";

/// Octets of our branch as text.
pub const BRANCH_BYTES: usize = COOKIE.len() + 32;

/// Slot of a branch that belongs to no client transaction: an ACK for a 2xx.
pub(super) const NO_SLOT: u32 = u32::MAX;

/// What our branch parameter says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Branch {
    /// Slot of the client transaction, or [`NO_SLOT`].
    pub slot: u32,
    /// Its generation.
    pub generation: u32,
    /// Hash over what decides where the request goes; the same again means a loop.
    pub loop_hash: u32,
}

/// Keyed hashes of one stack. Those of all shards are alike, and stay so over a restart with the same key.
#[derive(Clone, Copy)]
pub(super) struct Keys {
    key: [u8; 16],
}

/// Keeps the key out of every log.
impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys")
    }
}

impl Keys {
    pub(super) const fn new(key: [u8; 16]) -> Self {
        Self { key }
    }

    /// A hasher for one purpose; `purpose` keeps hashes of different uses apart.
    fn hasher(&self, purpose: u8) -> SipHasher24 {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write_u8(purpose);
        hasher
    }

    /// Appends the branch as text.
    pub(super) fn print(&self, branch: Branch, out: &mut Vec<u8>) {
        out.extend_from_slice(COOKIE);
        for word in [branch.slot, branch.generation, branch.loop_hash, self.check(branch)] {
            push_hex(u64::from(word), 8, out);
        }
    }

    /// Reads a branch of ours; `None` for anybody else's.
    pub(super) fn read(&self, text: &[u8]) -> Option<Branch> {
        let digits = text.strip_prefix(COOKIE)?;
        if digits.len() != 32 {
            return None;
        }
        let word = |at: usize| -> Option<u32> {
            digits[at..at + 8].iter().try_fold(0_u32, |value, digit| Some(value << 4 | hex_value(*digit)?))
        };
        let branch = Branch { slot: word(0)?, generation: word(8)?, loop_hash: word(16)? };
        (word(24)? == self.check(branch)).then_some(branch)
    }

    fn check(&self, branch: Branch) -> u32 {
        let mut hasher = self.hasher(b'b');
        hasher.write_u32(branch.slot);
        hasher.write_u32(branch.generation);
        hasher.write_u32(branch.loop_hash);
        (hasher.finish() >> 32) as u32
    }

    /// Hash of what a loop would bring back unchanged (RFC 5393 §4.2.3): Request-URI and Route as received, Call-ID,
    /// tags, CSeq number and what proxies are asked for. A spiral comes back with another Request-URI or Route.
    pub(super) fn loop_hash(&self, request: &Message) -> u32 {
        let mut hasher = self.hasher(b'l');
        write_field(&mut hasher, request.request_uri());
        for name in [Name::Route, Name::ProxyRequire, Name::ProxyAuthorization] {
            for value in request.headers(name) {
                write_field(&mut hasher, value);
            }
            hasher.write_u8(0xff);
        }
        write_field(&mut hasher, request.call_id());
        write_field(&mut hasher, request.from_tag());
        write_field(&mut hasher, request.to_tag());
        hasher.write_u32(request.cseq().0);
        hasher.finish() as u32
    }

    /// The To tag of the answers the gateway makes itself. The same for a repeated request, and recognised in the ACK.
    pub(super) fn local_tag(&self, request: &Message) -> String {
        let mut hasher = self.hasher(b't');
        write_field(&mut hasher, request.call_id());
        write_field(&mut hasher, request.from_tag());
        format!("{:016x}", hasher.finish())
    }

    /// Key of a server transaction (RFC 3261 §17.2.3): branch, sent-by and method, or without the magic cookie what RFC
    /// 2543 compares. `method` is the request's own, with INVITE for its ACK and for the request a CANCEL means.
    pub(super) fn server_key(&self, request: &Message, method: &[u8]) -> u128 {
        let mut hasher = sip128::SipHasher24::new_with_key(&self.key);
        match request.top_via() {
            Some(via) if via.branch().is_some_and(|branch| branch.starts_with(COOKIE)) => {
                write_field(&mut hasher, via.branch().unwrap_or_default());
                write_lower(&mut hasher, via.host());
                hasher.write_u32(via.port().map_or(0, u32::from));
            }
            _ => {
                // RFC 2543: the top Via whole, Request-URI, From tag, Call-ID and CSeq number. The To tag is left out,
                // because the ACK carries one that the INVITE had not.
                write_field(&mut hasher, request.values(Name::Via).next().unwrap_or_default());
                write_field(&mut hasher, request.request_uri());
                write_field(&mut hasher, request.from_tag());
                write_field(&mut hasher, request.call_id());
                hasher.write_u32(request.cseq().0);
            }
        }
        write_field(&mut hasher, method);
        hasher.finish128().as_u128()
    }

    /// Hash of a To tag, to tell the 2xx of one branch apart.
    pub(super) fn tag_hash(&self, tag: &[u8]) -> u64 {
        let mut hasher = self.hasher(b'g');
        write_field(&mut hasher, tag);
        hasher.finish()
    }
}

/// Writes a field and its length, so that two fields cannot borrow from each other.
fn write_field(hasher: &mut impl Hasher, field: &[u8]) {
    hasher.write(field);
    hasher.write_usize(field.len());
}

fn write_lower(hasher: &mut impl Hasher, field: &[u8]) {
    for octet in field {
        hasher.write_u8(octet.to_ascii_lowercase());
    }
    hasher.write_usize(field.len());
}

/// Appends the lowest `digits` hexadecimal digits of `value`.
pub(crate) fn push_hex(value: u64, digits: u32, out: &mut Vec<u8>) {
    out.extend((0..digits).rev().map(|digit| b"0123456789abcdef"[(value >> (4 * digit) & 15) as usize]));
}

fn hex_value(digit: u8) -> Option<u32> {
    match digit {
        b'0'..=b'9' => Some(u32::from(digit - b'0')),
        b'a'..=b'f' => Some(u32::from(digit - b'a') + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_survives_its_text_and_a_forged_one_fails() {
        let keys = Keys::new([7; 16]);
        let branch = Branch { slot: 12, generation: u32::MAX, loop_hash: 0xdead_beef };
        let mut text = Vec::new();
        keys.print(branch, &mut text);
        assert_eq!(text.len(), BRANCH_BYTES);
        assert_eq!(keys.read(&text), Some(branch));
        assert_eq!(Keys::new([8; 16]).read(&text), None, "another key");
        for at in 0..text.len() {
            let mut forged = text.clone();
            forged[at] = if forged[at] == b'1' { b'2' } else { b'1' };
            assert_eq!(keys.read(&forged), None, "octet {at} changed");
        }
        assert_eq!(keys.read(b"z9hG4bK"), None);
    }
}
