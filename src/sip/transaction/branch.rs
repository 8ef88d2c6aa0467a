//! The branch parameter of our Via values (RFC 3261 §8.1.1.7, §16.6 step 8; RFC 5393 §4.2).
//!
//! It names the client transaction by slot and generation, so that a response finds it without a table (§17.1.3), and
//! carries a hash by which a looped request is known. A check keyed by a secret, over all that and the Call-ID, makes a
//! forged branch, one of another call, and one of another shard or process fail.
//!
//! Text form: the magic cookie and 32 digits of base 32 (0–9, a–v), read in either case since a parameter's value may
//! change case on the way (§7.3.1): slot, generation and loop hash of 32 bits each, check of 64 bits. An ACK for a 2xx
//! and whatever else has no client transaction carries no key.

use std::hash::Hasher;

use siphasher::sip::SipHasher24;

use super::slab::Key;
use crate::ids::CallHash;

/// How each branch of RFC 3261 begins (§8.1.1.7).
pub const COOKIE: &[u8; 7] = b"z9hG4bK";

/// Octets of our branch as text.
pub const BRANCH_BYTES: usize = COOKIE.len() + DIGITS;

const DIGITS: usize = 32;
/// Slot of no client transaction; with generation 0.
const NO_SLOT: u32 = u32::MAX;

/// What our branch says.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Branch {
    /// The client transaction; `None` for a request that has none.
    pub client: Option<Key>,
    /// Hash of what a looped request brings back unchanged (RFC 5393 §4.2.3); the caller's business.
    pub loop_hash: u32,
}

/// Makes and checks branches of one stack.
#[derive(Clone, Copy)]
pub struct BranchCodec {
    key: [u8; 16],
}

/// Keeps the secret out of every log.
impl std::fmt::Debug for BranchCodec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BranchCodec")
    }
}

impl BranchCodec {
    /// A codec with a secret: random at each start, or kept over a restart so that loops are seen across it.
    #[must_use]
    pub const fn new(secret: [u8; 16]) -> Self {
        Self { key: secret }
    }

    /// The branch as text, for a request with the Call-ID of `call`.
    #[must_use]
    pub fn encode(&self, branch: Branch, call: CallHash) -> [u8; BRANCH_BYTES] {
        let (slot, generation) = branch.client.map_or((NO_SLOT, 0), |key| (key.slot(), key.generation()));
        let check = self.check(slot, generation, branch.loop_hash, call);
        let mut text = [0; BRANCH_BYTES];
        text[..COOKIE.len()].copy_from_slice(COOKIE);
        let high = u128::from(slot) << 48 | u128::from(generation) << 16 | u128::from(branch.loop_hash >> 16);
        let low = u128::from(branch.loop_hash & 0xffff) << 64 | u128::from(check);
        let (first, second) = text[COOKIE.len()..].split_at_mut(DIGITS / 2);
        print_base32(high, first);
        print_base32(low, second);
        text
    }

    /// Reads a branch of ours for a message with the Call-ID of `call`; `None` for anybody else's, and for a forged one.
    #[must_use]
    pub fn decode(&self, text: &[u8], call: CallHash) -> Option<Branch> {
        if text.len() != BRANCH_BYTES || !is_rfc3261(text) {
            return None;
        }
        let (first, second) = text[COOKIE.len()..].split_at(DIGITS / 2);
        let (high, low) = (read_base32(first)?, read_base32(second)?);
        let (slot, generation) = ((high >> 48) as u32, (high >> 16) as u32);
        let loop_hash = (high as u32) << 16 | (low >> 64) as u32;
        if self.check(slot, generation, loop_hash, call) != low as u64 {
            return None;
        }
        Some(Branch { client: Key::new(slot, generation), loop_hash })
    }

    fn check(&self, slot: u32, generation: u32, loop_hash: u32, call: CallHash) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write_u8(b'b'); // apart from other uses of the same secret
        hasher.write_u32(slot);
        hasher.write_u32(generation);
        hasher.write_u32(loop_hash);
        hasher.write_u64(call.0);
        hasher.finish()
    }
}

/// Whether a branch was made by the rules of RFC 3261, so that it is unique: it begins with the cookie, in any case
/// (§7.3.1), and goes on.
#[must_use]
pub fn is_rfc3261(branch: &[u8]) -> bool {
    branch.len() > COOKIE.len() && branch[..COOKIE.len()].eq_ignore_ascii_case(COOKIE)
}

/// Sixteen digits of five bits each, most significant first.
fn print_base32(bits: u128, out: &mut [u8]) {
    for (place, digit) in out.iter_mut().rev().enumerate() {
        *digit = b"0123456789abcdefghijklmnopqrstuv"[(bits >> (5 * place)) as usize & 31];
    }
}

fn read_base32(text: &[u8]) -> Option<u128> {
    text.iter().try_fold(0, |bits: u128, digit| {
        let value = match digit.to_ascii_lowercase() {
            digit @ b'0'..=b'9' => digit - b'0',
            digit @ b'a'..=b'v' => digit - b'a' + 10,
            _ => return None,
        };
        Some(bits << 5 | u128::from(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CALL: CallHash = CallHash(0x0123_4567_89ab_cdef);

    fn codec() -> BranchCodec {
        BranchCodec::new([7; 16])
    }

    #[test]
    fn each_changed_octet_makes_a_branch_fail() {
        let branch = Branch { client: Key::new(12, u32::MAX), loop_hash: 0xdead_beef };
        let text = codec().encode(branch, CALL);
        for at in 0..text.len() {
            for octet in 0..=255_u8 {
                let mut forged = text;
                forged[at] = octet;
                let same = octet.eq_ignore_ascii_case(&text[at]);
                let want = same.then_some(branch);
                assert_eq!(codec().decode(&forged, CALL), want, "octet {at} = {octet}");
            }
        }
    }

    #[test]
    fn only_the_maker_reads_a_branch_and_only_for_its_call() {
        let branch = Branch { client: Key::new(0, 1), loop_hash: 0 };
        let text = codec().encode(branch, CALL);
        let read = |codec: BranchCodec, text: &[u8], call| codec.decode(text, call);
        for (name, got, want) in [
            ("the answer of its request finds the transaction", read(codec(), &text, CALL), Some(branch)),
            ("another secret refuses it", read(BranchCodec::new([8; 16]), &text, CALL), None),
            ("another Call-ID refuses it", read(codec(), &text, CallHash(1)), None),
            ("one octet less is not ours", read(codec(), &text[..BRANCH_BYTES - 1], CALL), None),
            ("the bare cookie is not ours", read(codec(), COOKIE, CALL), None),
            ("nothing is not ours", read(codec(), b"", CALL), None),
            ("upper case is the same (§7.3.1)", read(codec(), &text.to_ascii_uppercase(), CALL), Some(branch)),
        ] {
            assert_eq!(got, want, "{name}");
        }
    }

    #[test]
    fn a_branch_of_no_transaction_says_so() {
        let branch = Branch { client: None, loop_hash: 9 };
        assert_eq!(codec().decode(&codec().encode(branch, CALL), CALL), Some(branch));
    }

    #[test]
    fn the_cookie_decides_which_rfc_made_a_branch() {
        for (branch, want) in
            [("z9hG4bK1", true), ("Z9HG4BK1", true), ("z9hG4bK", false), ("z9hG4b", false), ("1", false), ("", false)]
        {
            assert_eq!(is_rfc3261(branch.as_bytes()), want, "{branch}");
        }
    }

    proptest! {
        #[test]
        fn a_branch_survives_its_text(slot: u32, generation in 1_u32.., loop_hash: u32, call: u64, secret: [u8; 16]) {
            let branch = Branch { client: Key::new(slot, generation), loop_hash };
            let codec = BranchCodec::new(secret);
            let text = codec.encode(branch, CallHash(call));
            prop_assert_eq!(codec.decode(&text, CallHash(call)), Some(branch));
            // RFC 3261 §25.1 `token`.
            prop_assert!(text.iter().all(u8::is_ascii_alphanumeric));
        }

        #[test]
        fn no_text_is_read_by_chance(text in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(codec().decode(&text, CALL), None);
        }
    }
}
