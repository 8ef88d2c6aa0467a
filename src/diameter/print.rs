//! Messages as text and JSON, for people: `tollgate decode`, logs, tests.
//!
//! Nothing fails here: a broken list is shown up to where it breaks, and says so.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::avp;
use super::avp::{Avp, Avps};
use super::header::{Header, command, flag};
use crate::dictionary::diameter::{Dictionary, Type};
use crate::dictionary::unquoted;

/// AVPs shown of one message at most.
pub const AVPS_MAX: usize = 10_000;

/// One AVP as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// Its name, or `AVP-` and the number.
    pub name: String,
    /// AVP code.
    pub code: u32,
    /// Vendor number; 0 for none.
    pub vendor: u32,
    /// Its flags.
    pub flags: u8,
    /// What it holds.
    pub content: Content,
}

/// What an AVP holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// A value as text, as its type wants it; in `0x` hex when it does not have the type's form.
    Text(String),
    /// Members of a group.
    Group(Vec<Shown>),
    /// Nothing: the list breaks here.
    Broken(String),
}

/// The AVPs of a list.
#[must_use]
pub fn shown(dictionary: &Dictionary, avps: Avps<'_>) -> Vec<Shown> {
    let mut left = AVPS_MAX;
    list(dictionary, avps, &mut left)
}

fn list(dictionary: &Dictionary, avps: Avps<'_>, left: &mut usize) -> Vec<Shown> {
    let mut out = Vec::new();
    for found in avps {
        if *left == 0 {
            out.push(broken(format!("more than {AVPS_MAX} AVPs")));
            return out;
        }
        *left -= 1;
        match found {
            Ok(avp) => out.push(one(dictionary, &avp, left)),
            Err(error) => out.push(broken(error.to_string())),
        }
    }
    out
}

fn broken(why: String) -> Shown {
    Shown { name: String::new(), code: 0, vendor: 0, flags: 0, content: Content::Broken(why) }
}

fn one(dictionary: &Dictionary, avp: &Avp<'_>, left: &mut usize) -> Shown {
    let definition = dictionary.coded(avp.vendor, avp.code);
    let content = match (definition.kind(), avp.grouped()) {
        (Type::Grouped, Ok(members)) => Content::Group(list(dictionary, members, left)),
        (Type::Grouped, Err(error)) => Content::Group(vec![broken(error.to_string())]),
        _ => Content::Text(definition.print(avp.value).unwrap_or_else(|| hex(avp.value))),
    };
    Shown { name: definition.name().to_owned(), code: avp.code, vendor: avp.vendor, flags: avp.flags, content }
}

/// A message as lines: its header, then each AVP, members of groups indented.
#[must_use]
pub fn text(dictionary: &Dictionary, header: &Header, avps: Avps<'_>) -> String {
    let mut out = String::new();
    let name = name(header);
    let _infallible = writeln!(
        out,
        "{name} flags {} application {} hop-by-hop 0x{:08x} end-to-end 0x{:08x} length {}",
        header_flags(header.flags),
        header.application,
        header.hop_by_hop,
        header.end_to_end,
        header.length
    );
    lines(&shown(dictionary, avps), 1, &mut out);
    out
}

fn lines(avps: &[Shown], depth: usize, out: &mut String) {
    for avp in avps {
        let indent = "  ".repeat(depth);
        let head = format!("{indent}{} ({}) {}", avp.name, number(avp), avp_flags(avp.flags));
        let _infallible = match &avp.content {
            Content::Text(text) => writeln!(out, "{head} = {text}"),
            Content::Broken(why) => writeln!(out, "{indent}! {why}"),
            Content::Group(members) => {
                let _infallible = writeln!(out, "{head}");
                lines(members, depth + 1, out);
                Ok(())
            }
        };
    }
}

/// A message as JSON.
#[must_use]
pub fn json(dictionary: &Dictionary, header: &Header, avps: Avps<'_>) -> Value {
    json!({
        "command": name(header),
        "code": header.command,
        "flags": header_flags(header.flags),
        "application": header.application,
        "hop_by_hop": header.hop_by_hop,
        "end_to_end": header.end_to_end,
        "length": header.length,
        "avps": shown(dictionary, avps).iter().map(json_avp).collect::<Vec<_>>(),
    })
}

fn json_avp(avp: &Shown) -> Value {
    let mut map = Map::new();
    if let Content::Broken(why) = &avp.content {
        map.insert("broken".to_owned(), why.as_str().into());
        return map.into();
    }
    map.insert("name".to_owned(), avp.name.as_str().into());
    map.insert("code".to_owned(), avp.code.into());
    if avp.vendor != 0 {
        map.insert("vendor".to_owned(), avp.vendor.into());
    }
    map.insert("flags".to_owned(), avp_flags(avp.flags).into());
    match &avp.content {
        Content::Text(text) => map.insert("value".to_owned(), unquoted(text).into()),
        Content::Group(members) => map.insert("members".to_owned(), members.iter().map(json_avp).collect()),
        Content::Broken(_) => None,
    };
    map.into()
}

/// The usual abbreviation of a command, `ACR`, or its number.
#[must_use]
pub fn name(header: &Header) -> String {
    command::name(header.command, header.is_request()).map_or_else(|| header.command.to_string(), str::to_owned)
}

fn number(avp: &Shown) -> String {
    if avp.vendor == 0 { avp.code.to_string() } else { format!("{}:{}", avp.vendor, avp.code) }
}

/// `RPET`, with `-` for what is not set.
fn header_flags(flags: u8) -> String {
    let names = [(flag::REQUEST, 'R'), (flag::PROXIABLE, 'P'), (flag::ERROR, 'E'), (flag::REPEAT, 'T')];
    names.map(|(bit, name)| if flags & bit == 0 { '-' } else { name }).iter().collect()
}

/// `VMP`, with `-` for what is not set.
fn avp_flags(flags: u8) -> String {
    let names = [(avp::flag::VENDOR, 'V'), (avp::flag::MANDATORY, 'M'), (avp::flag::PROTECTED, 'P')];
    names.map(|(bit, name)| if flags & bit == 0 { '-' } else { name }).iter().collect()
}

fn hex(octets: &[u8]) -> String {
    let mut text = "0x".to_owned();
    for octet in octets {
        let _infallible = write!(text, "{octet:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diameter::avp::Writer;
    use crate::diameter::header;

    fn printed(fill: impl FnOnce(&mut Writer<'_>)) -> (String, Value) {
        let header = Header { flags: 0xD0, command: 271, application: 3, hop_by_hop: 1, end_to_end: 2, length: 0 };
        let mut out = Vec::new();
        header::message(&mut out, &header, fill).expect("short");
        let (header, avps) = header::split(&out).expect("whole");
        let dictionary = Dictionary::builtin();
        (text(&dictionary, &header, Avps::new(avps)), json(&dictionary, &header, Avps::new(avps)))
    }

    #[test]
    fn a_message_is_shown_with_names_and_groups() {
        let (text, json) = printed(|out| {
            out.avp(263, 0, 0x40, b"gw.example;1;2");
            out.u32(480, 0, 0x40, 2);
            out.group(873, 10_415, 0x40, |out| out.i32(861, 10_415, 0x40, -1));
            out.avp(999, 9999, 0, b"x");
            out.avp(485, 0, 0x40, b"abc");
        });
        assert_eq!(
            text,
            "ACR flags RP-T application 3 hop-by-hop 0x00000001 end-to-end 0x00000002 length 112\n\
             \x20 Session-Id (263) -M- = \"gw.example;1;2\"\n\
             \x20 Accounting-Record-Type (480) -M- = START_RECORD (2)\n\
             \x20 Service-Information (10415:873) VM-\n\
             \x20   Cause-Code (10415:861) VM- = -1\n\
             \x20 AVP-9999:999 (9999:999) V-- = \"x\"\n\
             \x20 Accounting-Record-Number (485) -M- = 0x616263\n"
        );
        assert_eq!(json["avps"][2]["members"][0]["value"], "-1");
        assert_eq!(json["avps"][3]["vendor"], 9999);
        assert_eq!((&json["command"], &json["flags"]), (&"ACR".into(), &"RP-T".into()));
    }

    #[test]
    fn what_is_broken_is_shown_up_to_there() {
        let (text, json) = printed(|out| {
            out.u32(268, 0, 0x40, 2001);
            out.ready(&[0, 0, 1, 12, 0, 0, 0, 7]);
        });
        assert!(text.contains("Result-Code (268) -M- = DIAMETER_SUCCESS (2001)\n"), "{text}");
        assert!(text.ends_with("! at AVP octet 12: AVP 268 has the length 7, below its header\n"), "{text}");
        assert!(json["avps"][1]["broken"].is_string());
    }

    #[test]
    fn a_thousand_groups_are_shown_to_the_limit() {
        let mut inner = Vec::new();
        for _ in 0..1000 {
            let mut outer = Vec::new();
            Writer::new(&mut outer).avp(279, 0, 0x40, &inner);
            inner = outer;
        }
        let (text, _) = printed(|out| out.ready(&inner));
        assert_eq!(text.lines().count(), 1 + 9 + 1);
        assert!(text.contains("nested more than 8 deep"), "{text}");
    }
}
