//! `tollgate decode`: octets of a RADIUS packet or a Diameter message as text.
//!
//! The octets come as a hex dump: plain, with `0x`, commas, colons, or with the offsets and the characters that `xxd`,
//! `hexdump -C`, tcpdump and Wireshark put beside them. Several Diameter messages may follow each other.

use std::io::Read as _;
use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::Failure;
use super::output::{self, Format};
use crate::diameter::avp::Avps;
use crate::diameter::{header, print};
use crate::dictionary::{Dictionary, diameter, entry, unquoted};
use crate::radius::packet::{self, Packet};

/// Octets of a dump at most.
const DUMP_OCTETS_MAX: u64 = 64 << 20;

/// Arguments of `tollgate decode`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Hex dump; standard input without one
    file: Option<PathBuf>,
    /// Protocol; told from the octets without it
    #[arg(long, value_enum)]
    protocol: Option<Protocol>,
    /// Dictionary file to add to the built-in ones
    #[arg(long, value_name = "FILE")]
    dictionary: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Protocol {
    /// RADIUS
    Radius,
    /// Diameter
    Diameter,
}

/// Reads the dump and prints what it holds.
///
/// # Errors
/// The dump cannot be read, holds no octets, or no packet of the protocol.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut text = Vec::new();
    let mut input: Box<dyn std::io::Read> = match &arguments.file {
        Some(path) => Box::new(std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?),
        None => Box::new(std::io::stdin().lock()),
    };
    input.by_ref().take(DUMP_OCTETS_MAX).read_to_end(&mut text).context("cannot read the dump")?;
    let octets = octets_of(&String::from_utf8_lossy(&text)).map_err(|error| anyhow!(error))?;
    if octets.is_empty() {
        return Err(Failure::Failed(anyhow!("the dump holds no octets")));
    }
    match arguments.protocol.unwrap_or_else(|| protocol_of(&octets)) {
        Protocol::Diameter => diameter(&octets, arguments),
        Protocol::Radius => radius(&octets, arguments),
    }
}

/// Diameter begins with its version and a length that is a multiple of 4; as RADIUS that would be an Access-Request of
/// identifier 0 with a length that only a Diameter message has. A message that is not whole is known by its command.
fn protocol_of(octets: &[u8]) -> Protocol {
    let is_diameter = header::Header::read(octets).is_ok_and(|header| {
        let is_whole = header.length as usize <= octets.len();
        is_whole && header.command >= 256 || header::command::name(header.command, header.is_request()).is_some()
    });
    if is_diameter { Protocol::Diameter } else { Protocol::Radius }
}

fn diameter(octets: &[u8], arguments: &Arguments) -> Result<(), Failure> {
    let dictionary: diameter::Dictionary = dictionary(arguments)?;
    let mut rest = octets;
    let (mut text, mut all) = (String::new(), Vec::new());
    while !rest.is_empty() {
        let at = octets.len() - rest.len();
        let (head, avps) = match header::split(rest) {
            Ok(message) => message,
            Err(error) => {
                // What came before it is worth reading.
                if !all.is_empty() {
                    show(&text, all, arguments)?;
                }
                return Err(Failure::Failed(anyhow!(error).context(format!("no Diameter message at octet {at}"))));
            }
        };
        text.push_str(&print::text(&dictionary, &head, Avps::new(avps)));
        all.push(print::json(&dictionary, &head, Avps::new(avps)));
        rest = &rest[head.length as usize..];
    }
    show(&text, all, arguments)
}

fn radius(octets: &[u8], arguments: &Arguments) -> Result<(), Failure> {
    let dictionary: Dictionary = dictionary(arguments)?;
    let packet = Packet::parse(octets).context("no RADIUS packet")?;
    let attributes = octets.get(packet::HEADER_OCTETS..packet.octets().len()).unwrap_or_default();
    let decoded = dictionary.decode(attributes);
    let mut text = format!(
        "{} id {} length {} authenticator 0x{}\n",
        packet.code(),
        octets[1],
        packet.octets().len(),
        hex(&octets[4..packet::HEADER_OCTETS])
    );
    for attribute in &decoded {
        text.push_str(&format!("  {attribute}\n"));
    }
    let list: Vec<Value> = decoded.iter().map(json_attribute).collect();
    let json = json!({
        "code": packet.code().to_string(),
        "id": octets[1],
        "length": packet.octets().len(),
        "authenticator": hex(&octets[4..packet::HEADER_OCTETS]),
        "attributes": list,
    });
    show(&text, vec![json], arguments)
}

fn dictionary<P: entry::Protocol>(arguments: &Arguments) -> Result<entry::Dictionary<P>, Failure> {
    Ok(entry::Dictionary::read(None, arguments.dictionary.as_slice()).context("the dictionary does not load")?)
}

fn json_attribute(attribute: &crate::dictionary::Decoded) -> Value {
    let mut json = json!({
        "name": attribute.name(),
        "number": attribute.oid.to_string(),
        "value": unquoted(&attribute.text),
    });
    if let (Some(tag), Some(map)) = (attribute.tag, json.as_object_mut()) {
        map.insert("tag".to_owned(), tag.into());
    }
    json
}

fn show(text: &str, mut all: Vec<Value>, arguments: &Arguments) -> Result<(), Failure> {
    let json = if all.len() == 1 { all.remove(0) } else { Value::Array(all) };
    Ok(arguments.format.print(&json, || text.lines().map(|line| output::shown(line) + "\n").collect())?)
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// The octets of a hex dump.
///
/// On a line with an offset in front (`0010`, `0x0010:`, `00000010:`) the words behind it count up to the characters
/// that stand beside them: behind two blanks or a `|`. Other lines are read as hex as a whole; `#` begins a comment.
fn octets_of(text: &str) -> Result<Vec<u8>, String> {
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

    #[test]
    fn the_protocol_is_told_from_the_octets() {
        let dwr = [1, 0, 0, 20, 0x80, 0, 1, 24, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2];
        assert_eq!(protocol_of(&dwr), Protocol::Diameter);
        // One that is cut.
        let mut cut = dwr;
        cut[3] = 64;
        assert_eq!(protocol_of(&cut), Protocol::Diameter);
        let mut request = [0; 20];
        (request[0], request[1], request[3]) = (4, 7, 20);
        assert_eq!(protocol_of(&request), Protocol::Radius);
        // An Access-Request of identifier 0 looks like Diameter up to its length.
        (request[0], request[1]) = (1, 0);
        assert_eq!(protocol_of(&request), Protocol::Radius);
    }
}
