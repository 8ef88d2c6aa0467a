//! `tollgate decode`: octets of a RADIUS packet or a Diameter message as text.
//!
//! The octets come as a hex dump, see [`dump`], in which several Diameter messages may follow each other; or as a capture,
//! see [`capture`].

pub(super) mod capture;
mod dump;
mod listing;
#[cfg(test)]
mod listing_tests;

use std::io::Read as _;
use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use self::listing::{Listing, Protocols};
use super::Failure;
use super::output::{self, Format};
use crate::causes::chain_text;
use crate::diameter::avp::Avps;
use crate::diameter::{header, print};
use crate::dictionary::{Dictionary, diameter, entry, unquoted};
use crate::radius::packet::{self, Packet};

/// Octets of a dump at most.
const DUMP_OCTETS_MAX: u64 = 64 << 20;

/// Arguments of `tollgate decode`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Hex dump, or capture (pcap or pcapng); standard input without one
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
    input.by_ref().take(DUMP_OCTETS_MAX + 1).read_to_end(&mut text).context("cannot read the dump")?;
    if text.len() as u64 > DUMP_OCTETS_MAX {
        return Err(Failure::Failed(anyhow!("more than {} MiB; `editcap -c` cuts a capture", DUMP_OCTETS_MAX >> 20)));
    }
    if capture::is_capture(&text) {
        return captured(&text, arguments);
    }
    let octets = dump::octets_of(&String::from_utf8_lossy(&text)).map_err(|error| anyhow!(error))?;
    if octets.is_empty() {
        return Err(Failure::Failed(anyhow!("the dump holds no octets")));
    }
    match arguments.protocol.unwrap_or_else(|| protocol_of(&octets)) {
        Protocol::Diameter => diameter(&octets, arguments),
        Protocol::Radius => radius(&octets, arguments),
    }
}

/// Prints the messages of a capture; what is to be said of it goes to standard error.
fn captured(octets: &[u8], arguments: &Arguments) -> Result<(), Failure> {
    let protocols =
        Both { wanted: arguments.protocol, radius: dictionary(arguments)?, diameter: dictionary(arguments)? };
    let mut listing = Listing::new(protocols);
    let held = capture::read(octets, &mut listing);
    let Listing { text, all, notes, .. } = listing;
    arguments.format.print(&Value::Array(all), || text.lines().map(|line| output::shown(line) + "\n").collect())?;
    if !arguments.format.is_json() {
        notes.iter().for_each(|note| eprintln!("{note}"));
        if held.others > 0 {
            eprintln!("{} of {} frames hold something else", held.others, held.frames);
        }
    }
    match held.damage {
        Some(why) => Err(Failure::Failed(anyhow!(why))),
        None if held.messages == 0 => {
            let wanted = match arguments.protocol {
                Some(Protocol::Radius) => "RADIUS",
                Some(Protocol::Diameter) => "Diameter",
                None => "RADIUS or Diameter",
            };
            Err(Failure::Failed(anyhow!("no message of {wanted} in {} frames", held.frames)))
        }
        None => Ok(()),
    }
}

/// The protocols that a capture may have, or the one that is wanted.
struct Both {
    wanted: Option<Protocol>,
    radius: Dictionary,
    diameter: diameter::Dictionary,
}

impl Both {
    /// The protocol that the octets are of, if they are of one.
    fn of(&self, octets: &[u8]) -> Option<Protocol> {
        let is_diameter = octets[0] == 1
            && header::Header::read(octets).is_ok_and(|head| {
                let is_known = head.command >= 256 || header::command::name(head.command, head.is_request()).is_some();
                is_known && head.length as usize >= HEADER_OCTETS && head.length % 4 == 0
            });
        let length = usize::from(u16::from_be_bytes([octets[2], octets[3]]));
        let is_radius =
            RADIUS_CODES.contains(&octets[0]) && (HEADER_OCTETS..=packet::PACKET_OCTETS_MAX).contains(&length);
        let own = match protocol_of(octets) {
            Protocol::Diameter if is_diameter => Protocol::Diameter,
            _ if is_radius => Protocol::Radius,
            _ if is_diameter => Protocol::Diameter,
            _ => return None,
        };
        self.wanted.is_none_or(|wanted| wanted == own).then_some(own)
    }
}

impl Protocols for Both {
    fn begins(&self, octets: &[u8]) -> capture::Begins {
        if octets.len() < HEADER_OCTETS {
            return capture::Begins::Unknown;
        }
        match self.of(octets) {
            // Its first octet is the version.
            Some(Protocol::Diameter) => {
                let length = u32::from_be_bytes([0, octets[1], octets[2], octets[3]]);
                capture::Begins::Message(usize::try_from(length).unwrap_or(usize::MAX))
            }
            Some(Protocol::Radius) => capture::Begins::Message(usize::from(u16::from_be_bytes([octets[2], octets[3]]))),
            None => capture::Begins::Nothing,
        }
    }

    fn show(&self, octets: &[u8]) -> Result<(String, Value), String> {
        match self.of(octets) {
            Some(Protocol::Diameter) => {
                let (head, avps) = header::split(octets).map_err(|error| chain_text(&error))?;
                let text = print::text(&self.diameter, &head, Avps::new(avps));
                Ok((text, print::json(&self.diameter, &head, Avps::new(avps))))
            }
            _ => radius_shown(&self.radius, octets).map_err(|error| chain_text(&error)),
        }
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
    let (text, json) = radius_shown(&dictionary(arguments)?, octets).context("no RADIUS packet")?;
    show(&text, vec![json], arguments)
}

/// A packet as text and as JSON.
fn radius_shown(dictionary: &Dictionary, octets: &[u8]) -> Result<(String, Value), packet::Malformed> {
    let packet = Packet::parse(octets)?;
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
    Ok((text, json))
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

/// Octets of a header, of RADIUS (RFC 2865 §3) and of Diameter (RFC 6733 §3).
const HEADER_OCTETS: usize = packet::HEADER_OCTETS;
/// Codes of RADIUS: authentication, accounting, status, and those of RFC 5176.
const RADIUS_CODES: [u8; 14] = [1, 2, 3, 4, 5, 11, 12, 13, 40, 41, 42, 43, 44, 45];

#[cfg(test)]
mod tests {
    use super::*;

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
