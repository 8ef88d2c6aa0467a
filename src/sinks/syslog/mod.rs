//! Records as lines of syslog: to the local log, to journald with fields, or over the network (RFC 5424 to 5426, RFC 6587, RELP).
//!
//! [`profile`](super::profile) says what a line of each system says, [`mod@line`] makes it of a record, [`frame`] puts a header before it, and
//! [`link`] sends it. Only RELP ([`relp`]) has lines acknowledged: see [`link`] for what *handed over* and *written* are worth.

pub mod frame;
mod kind;
pub mod line;
#[cfg(test)]
mod line_tests;
pub mod link;
pub mod relp;
#[cfg(test)]
mod tests;
pub mod words;

use jiff::tz::TimeZone;

use self::frame::{Format, Header};
use self::line::Layout;
use self::link::{Lines, Receiver};
use super::attempt::Render;
use crate::record::Record;

/// Checked settings of a syslog sink.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where lines go.
    pub receiver: Receiver,
    /// Their header.
    pub format: Format,
    /// What it says.
    pub header: Header,
    /// What lines say.
    pub layout: Layout,
    /// Octets of a line at most, its header included. Default [`OCTETS_MAX`].
    pub octets_max: usize,
}

/// Octets of a line that any receiver takes: rsyslog cuts at 8 096.
pub const OCTETS_MAX: usize = 8_000;

impl Settings {
    /// Makes datagrams or frames of records.
    #[must_use]
    pub fn render(&self) -> Render<Lines> {
        let (settings, zone) = (self.clone(), TimeZone::system());
        Box::new(move |record| {
            let lines = settings.lines(record, &zone);
            Ok((!lines.is_empty()).then_some(lines))
        })
    }

    /// The datagrams or frames of a record.
    #[must_use]
    pub fn lines(&self, record: &Record, zone: &TimeZone) -> Lines {
        if matches!(self.receiver, Receiver::Journal(_)) {
            let lines = self.layout.lines(record, self.octets_max);
            return lines.iter().map(|line| self.header.journal(record, line)).collect();
        }
        let header = self.header.of(record, self.format, zone);
        let lines = self.layout.lines(record, self.octets_max.saturating_sub(header.len()));
        let frame = |line: Vec<u8>| {
            let length = header.len() + line.len();
            let count = if self.receiver.is_stream() { format!("{length} ") } else { String::new() };
            [count.as_bytes(), &header, &line].concat()
        };
        lines.into_iter().map(frame).collect()
    }
}
