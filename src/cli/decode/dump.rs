//! Octets of a hex dump: plain, with `0x`, commas, colons, or with the offsets and the characters that `xxd`, `hexdump -C`,
//! tcpdump and Wireshark put beside them.

/// The octets of a hex dump.
///
/// On a line with an offset in front (`0010`, `0x0010:`, `00000010:`) the words behind it count up to the characters
/// that stand beside them: behind two blanks or a `|`. Other lines are read as hex as a whole; `#` begins a comment.
pub(super) fn octets_of(text: &str) -> Result<Vec<u8>, String> {
    let mut octets = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default();
        let words = match offset(line, octets.len()) {
            Some(rest) => beside(rest),
            None => line,
        };
        for word in words.split(|char: char| char.is_whitespace() || char == ',' || char == ':') {
            let digits = word.strip_prefix("0x").or_else(|| word.strip_prefix("\\x")).unwrap_or(word);
            if digits.is_empty() {
                continue;
            }
            let is_hex = digits.len() % 2 == 0 && digits.bytes().all(|octet| octet.is_ascii_hexdigit());
            if !is_hex {
                let shown: String = word.chars().take(40).collect();
                return Err(format!("line {number}: `{}` is no hex", shown.escape_debug()));
            }
            octets.extend(digits.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])));
        }
    }
    Ok(octets)
}

/// What stands behind the offset of a line; `None` when it begins with none. An offset counts the octets so far.
fn offset(line: &str, octets: usize) -> Option<&str> {
    let line = line.trim_start();
    let (word, rest) = line.split_at(line.find([' ', '\t', ':']).unwrap_or(line.len()));
    let has_mark = rest.starts_with(':') || rest.starts_with("  ");
    // The last line of `hexdump` is the offset of the end.
    let is_end = rest.is_empty() && octets > 0 && word.len() >= 7;
    let digits = word.strip_prefix("0x").unwrap_or(word);
    let value = usize::from_str_radix(digits, 16).ok()?;
    let is_offset = (4..=8).contains(&digits.len()) && value == octets && (has_mark || is_end);
    is_offset.then(|| rest.trim_start_matches(':'))
}

/// The words before the characters beside them.
fn beside(rest: &str) -> &str {
    let rest = rest.split('|').next().unwrap_or_default().trim_start();
    // `hexdump -C` and Wireshark leave two blanks in the middle too: the first word that is no pair of digits ends it.
    let mut end = rest.len();
    let mut from = 0;
    while let Some(gap) = rest[from..].find("  ") {
        let behind = rest[from + gap..].trim_start();
        let word = behind.split(' ').next().unwrap_or_default();
        let is_hex =
            word.len().is_multiple_of(2) && !word.is_empty() && word.bytes().all(|octet| octet.is_ascii_hexdigit());
        let is_last = !behind.contains(' ') && word.len() > 4;
        if !is_hex || is_last {
            end = from + gap;
            break;
        }
        from = rest.len() - behind.len();
    }
    &rest[..end]
}

fn digit(digit: u8) -> u8 {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dumps_of_all_kinds_are_read() {
        let want: Vec<u8> = (0..20).collect();
        for (name, text) in [
            ("plain", "000102030405060708090a0b0c0d0e0f10111213"),
            ("in lines", "0001020304050607\n08090A0B0C0D0E0F\n10111213\n"),
            ("with blanks", "00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f 10 11 12 13"),
            ("with colons", "00:01:02:03:04:05:06:07:08:09:0a:0b:0c:0d:0e:0f:10:11:12:13"),
            (
                "as source",
                "0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09,\n0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x10, 0x11, 0x12, 0x13",
            ),
            ("with a comment", "# an octet each\n00010203 04050607 08090a0b # half\n0c0d0e0f 10111213"),
            (
                "xxd",
                "00000000: 0001 0203 0405 0607 0809 0a0b 0c0d 0e0f  ................\n00000010: 1011 1213                                ....",
            ),
            (
                "hexdump -C",
                "00000000  00 01 02 03 04 05 06 07  08 09 0a 0b 0c 0d 0e 0f  |................|\n00000010  10 11 12 13                                       |....|\n00000014",
            ),
            ("tcpdump -x", "\t0x0000:  0001 0203 0405 0607 0809 0a0b 0c0d 0e0f\n\t0x0010:  1011 1213"),
            (
                "Wireshark",
                "0000   00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f   ................\n0010   10 11 12 13                                       ....",
            ),
        ] {
            assert_eq!(octets_of(text).as_deref(), Ok(want.as_slice()), "{name}");
        }
        assert_eq!(octets_of("00 0g"), Err("line 1: `0g` is no hex".to_owned()));
        assert_eq!(octets_of("123"), Err("line 1: `123` is no hex".to_owned()));
    }
}
