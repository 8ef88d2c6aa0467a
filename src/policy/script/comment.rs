//! The comment of a record by hand: `"403 Destination not allowed"` is a code and a phrase.

use crate::sip::proxy::usual_reason;

/// Longest comment, in octets; what is longer is cut.
pub(super) const COMMENT_BYTES_MAX: usize = 1024;

/// Code and reason phrase of a comment, by the rule of OpenSER and what came of it: three digits at its beginning are the
/// code, white space is skipped, the rest is the phrase; without them the code is 0 and all of it the phrase. A code
/// alone gets its usual phrase. Line ends become blanks, for there is none in a phrase.
pub(super) fn read(comment: &[u8]) -> (u16, Vec<u8>) {
    let comment = &comment[..comment.len().min(COMMENT_BYTES_MAX)];
    let (code, rest) = match comment {
        [a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', rest @ ..] => {
            let digit = |octet: &u8| u16::from(octet - b'0');
            (digit(a) * 100 + digit(b) * 10 + digit(c), rest.trim_ascii_start())
        }
        all => (0, all),
    };
    let phrase = if rest.is_empty() && code > 0 { usual_reason(code).as_bytes() } else { rest };
    (code, phrase.iter().map(|octet| if matches!(octet, b'\r' | b'\n') { b' ' } else { *octet }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_at_the_beginning_are_the_code() {
        for (comment, code, reason) in [
            ("403 Destination not allowed", 403, "Destination not allowed"),
            ("404", 404, "Not Found"),
            ("200   fine", 200, "fine"),
            ("4040 strange", 404, "0 strange"),
            ("99 problems", 0, "99 problems"),
            ("Destination not allowed", 0, "Destination not allowed"),
            ("", 0, ""),
            ("480 two\r\nlines", 480, "two  lines"),
        ] {
            assert_eq!(read(comment.as_bytes()), (code, reason.as_bytes().to_vec()), "{comment:?}");
        }
        assert_eq!(read(&[b'x'; 10_240]).1.len(), COMMENT_BYTES_MAX, "a long one is cut");
    }
}
