//! Transformations: what is done to the value of a variable, `$(hdr(P-Charging-Vector){param.value,icid-value})`.
//!
//! Names and arguments are those of the SER family; [`transformations`] lists them. They chain from left to right. A
//! value that a transformation cannot read gives none, and so does an empty result; of several values, as `[*]` gives,
//! each is transformed on its own. Lengths and places are in octets; places count from 0, negative ones from the end.

mod apply;
mod code;
mod parse;
mod sip;
#[cfg(test)]
mod tests;

use super::gives::Gives;
use crate::record::codec::VALUE_BYTES_MAX;

pub(super) use apply::{Made, apply};
pub(super) use parse::parse;

/// Transformations of one variable at most.
pub const TRANSFORMATIONS_MAX: usize = 16;

/// Octets of a result at most: more than a record holds of a value, so that a longer one counts as cut.
pub(super) const RESULT_BYTES_MAX: usize = VALUE_BYTES_MAX + 1;

/// One transformation as it is listed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Transformation {
    /// How it is written, without braces, such as `s.substr,OFFSET,LENGTH`.
    pub usage: &'static str,
    /// What it gives.
    pub meaning: &'static str,
}

impl Transformation {
    /// Its name, such as `s.substr`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.usage.split(',').next().unwrap_or(self.usage)
    }
}

/// All transformations.
#[must_use]
pub fn transformations() -> &'static [Transformation] {
    TRANSFORMATIONS
}

const fn t(usage: &'static str, meaning: &'static str) -> Transformation {
    Transformation { usage, meaning }
}

const TRANSFORMATIONS: &[Transformation] = &[
    t("s.len", "number of octets"),
    t("s.int", "the text as a number"),
    t("s.substr,OFFSET,LENGTH", "part of the text; a negative offset counts from the end, length 0 is all of the rest"),
    t("s.select,INDEX,SEPARATOR", "the part of that place between separators"),
    t("s.index,TEXT", "place of the first occurrence of the text, -1 when there is none"),
    t("s.tolower", "A to Z in lower case"),
    t("s.toupper", "a to z in upper case"),
    t("s.trim", "without white space at both ends"),
    t("s.width,LENGTH", "cut, or filled with blanks on the right, to that length"),
    t("s.fill.left,TEXT,LENGTH", "filled with the text on the left up to that length"),
    t("s.fill.right,TEXT,LENGTH", "filled with the text on the right up to that length"),
    t("s.escape.common", "a backslash before quotes, backslashes and NUL"),
    t("s.unescape.common", "without those backslashes"),
    t("s.escape.user", "%HH for what the user part of a SIP URI must not have"),
    t("s.unescape.user", "%HH as its octet"),
    t("s.escape.param", "%HH for what a parameter of a SIP URI must not have"),
    t("s.unescape.param", "%HH as its octet"),
    t("s.encode.hexa", "hexadecimal digits of the octets"),
    t("s.decode.hexa", "octets of hexadecimal digits"),
    t("s.b64encode", "Base64 of the octets"),
    t("s.b64decode", "octets of Base64"),
    t("s.md5", "MD5 in hexadecimal digits"),
    t("s.sha1", "SHA-1 in hexadecimal digits"),
    t("s.sha224", "SHA-224 in hexadecimal digits"),
    t("s.sha256", "SHA-256 in hexadecimal digits"),
    t("s.sha384", "SHA-384 in hexadecimal digits"),
    t("s.sha512", "SHA-512 in hexadecimal digits"),
    t("s.date2unix", "seconds since 1970 of a SIP date such as `Sat, 13 Nov 2010 23:29:00 GMT`"),
    t("uri.user", "user of a URI; number of a tel: URI"),
    t("uri.host", "its host"),
    t("uri.port", "its port, when written"),
    t("uri.passwd", "its password"),
    t("uri.params", "its parameters, all in one"),
    t("uri.param,NAME", "value of one of its parameters"),
    t("uri.headers", "its headers, behind the question mark"),
    t("uri.schema", "its scheme: sip, sips, tel"),
    t("uri.transport", "value of its parameter transport"),
    t("uri.uri", "the URI itself, if it is one"),
    t("param.value,NAME", "value of a parameter in a list with semicolons, without quotes"),
    t("param.valueat,INDEX", "value of the parameter of that place"),
    t("param.name,INDEX", "name of the parameter of that place"),
    t("param.count", "number of parameters"),
    t("param.exist,NAME", "1 if there is that parameter, else 0"),
    t("nameaddr.name", "display name of a value such as From has, without quotes"),
    t("nameaddr.uri", "its URI"),
    t("nameaddr.len", "octets of display name and URI with brackets"),
    t("nameaddr.param,NAME", "value of a parameter behind the brackets, without quotes"),
    t("nameaddr.params", "these parameters, all in one"),
    t("via.name", "protocol of a Via value: SIP"),
    t("via.version", "its version: 2.0"),
    t("via.transport", "its transport, as written"),
    t("via.host", "its host"),
    t("via.port", "its port, when written"),
    t("via.branch", "its branch"),
    t("via.received", "its received"),
    t("via.rport", "its rport, when filled in"),
    t("via.params", "its parameters, all in one"),
    t("via.param,NAME", "value of one of its parameters"),
    t("csv.count", "number of values between commas"),
    t("csv.value,INDEX", "the value of that place, without quotes"),
    t("ip.pton", "octets of an IP address"),
    t("ip.ntop", "IP address of 4 or 16 octets"),
    t("ip.family", "INET or INET6, of an address as text or octets"),
    t("re.subst,/REGEX/TEXT/FLAGS", "with the match replaced, \\1 for its first group; flags g (all) and i (any case)"),
];

/// A transformation read from a template.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Step {
    Len,
    Int,
    Substr { offset: i64, length: usize },
    Select { index: i64, separator: Vec<u8> },
    Index { text: Vec<u8> },
    Lower,
    Upper,
    Trim,
    Width(usize),
    Fill { side: End, with: Vec<u8>, length: usize },
    Code(code::Code),
    Date,
    Uri(sip::UriPart),
    Param(sip::ParamPart),
    NameAddr(sip::NameAddrPart),
    Via(sip::ViaPart),
    CsvCount,
    CsvValue(i64),
    Pton,
    Ntop,
    Family,
    Subst(Subst),
}

impl Step {
    /// The kind of what it gives, whatever it is applied to.
    pub(super) fn gives(&self) -> Gives {
        match self {
            Self::Len | Self::Int | Self::Index { .. } | Self::Date | Self::CsvCount => Gives::Number,
            Self::Param(sip::ParamPart::Count | sip::ParamPart::Exists(_)) => Gives::Number,
            Self::NameAddr(sip::NameAddrPart::Len) => Gives::Number,
            Self::Uri(sip::UriPart::Port) | Self::Via(sip::ViaPart::Port) => Gives::Number,
            Self::Uri(sip::UriPart::User) => Gives::User,
            Self::Uri(sip::UriPart::Host) | Self::Via(sip::ViaPart::Host) | Self::Ntop => Gives::Host,
            Self::Uri(sip::UriPart::Whole | sip::UriPart::Scheme) | Self::NameAddr(sip::NameAddrPart::Uri) => {
                Gives::Text
            }
            Self::Family => Gives::Text,
            _ => Gives::Any,
        }
    }

    /// Whether its result is of the kind of what it is applied to.
    pub(super) const fn keeps_kind(&self) -> bool {
        matches!(self, Self::Lower | Self::Upper | Self::Trim)
    }
}

/// An end of a text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    Left,
    Right,
}

/// A regular expression with what takes the place of its match.
#[derive(Clone, Debug)]
pub(super) struct Subst {
    regex: regex::bytes::Regex,
    /// Text between references to groups.
    pieces: Vec<Piece>,
    reach: Reach,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Piece {
    Text(Vec<u8>),
    Group(usize),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Reach {
    First,
    All,
}

impl PartialEq for Subst {
    fn eq(&self, other: &Self) -> bool {
        self.regex.as_str() == other.regex.as_str() && self.pieces == other.pieces && self.reach == other.reach
    }
}

impl Eq for Subst {}

/// The place that an index means among `count`.
fn place(index: i64, count: usize) -> Option<usize> {
    let count = i64::try_from(count).ok()?;
    let at = if index < 0 { count + index } else { index };
    usize::try_from(at).ok().filter(|_| at < count)
}
