//! Messages as text: for the collector and `tollgate send`.

use crate::diameter::avp::Avps;
use crate::diameter::code;
use crate::diameter::header::{self, Header, command};
use crate::diameter::print::{self, Content, Shown};
use crate::dictionary::diameter::Dictionary;

/// One AVP with its place.
pub(super) struct Line {
    /// Groups around it.
    pub depth: usize,
    pub name: String,
    /// `None` for a group.
    pub value: Option<String>,
}

/// One line for each AVP, those of groups behind them.
pub(super) fn lines(avps: Avps<'_>, dictionary: &Dictionary) -> Vec<Line> {
    let mut lines = Vec::new();
    add(print::shown(dictionary, avps), 0, &mut lines);
    lines
}

fn add(shown: Vec<Shown>, depth: usize, lines: &mut Vec<Line>) {
    for Shown { name, content, .. } in shown {
        match content {
            Content::Text(value) => lines.push(Line { depth, name, value: Some(value) }),
            Content::Group(members) => {
                lines.push(Line { depth, name, value: None });
                add(members, depth + 1, lines);
            }
            Content::Broken(why) => lines.push(Line { depth, name: "(broken)".to_owned(), value: Some(why) }),
        }
    }
}

/// What a message is: its command, the kind of record, flags and identifiers.
pub(super) fn title(header: &Header, message: &[u8]) -> String {
    let name = match (header.command, header.is_request()) {
        (command::ACCOUNTING, true) => "Accounting-Request".to_owned(),
        (command::ACCOUNTING, false) => "Accounting-Answer".to_owned(),
        (other, is_request) => command::name(other, is_request).map_or_else(|| other.to_string(), str::to_owned),
    };
    let avps = header::split(message).map_or(&[][..], |(_, avps)| avps);
    let kind = Avps::new(avps).find(code::ACCOUNTING_RECORD_TYPE, 0).and_then(|avp| avp.u32());
    let kind = match kind {
        Some(code::record_type::EVENT) => " EVENT",
        Some(code::record_type::START) => " START",
        Some(code::record_type::INTERIM) => " INTERIM",
        Some(code::record_type::STOP) => " STOP",
        _ => "",
    };
    let repeat = if header.flags & header::flag::REPEAT == 0 { "" } else { ", perhaps a repeat" };
    let error = if header.flags & header::flag::ERROR == 0 { "" } else { ", error" };
    format!("{name}{kind}, end-to-end 0x{:08x}{repeat}{error}", header.end_to_end)
}
