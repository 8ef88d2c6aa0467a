//! What goes around a line: the headers of RFC 3164 and RFC 5424, and the fields of journald.

use jiff::tz::TimeZone;

use crate::clock::Timestamp;
use crate::names::{PRODUCT, VENDOR_NUMBER};
use crate::record::{Record, is_internal};

/// The header of a line.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// `<29>Nov 14 22:13:20 tag[7]: `, in local time; the host only over a network, as libc and relays have it.
    #[default]
    Rfc3164,
    /// `<29>1 2023-11-14T22:13:20.000000Z host tag 7 start [tollgate@32473 id="…"] `
    Rfc5424,
}

/// What headers say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Header {
    /// Facility times 8 and level.
    pub priority: u8,
    /// Who the lines are of.
    pub identity: String,
    /// The host; empty in the local form.
    pub host: String,
}

impl Header {
    /// The header of a line of the record.
    #[must_use]
    pub fn of(&self, record: &Record, format: Format, zone: &TimeZone) -> Vec<u8> {
        let (at, process) = (record.times.event, std::process::id());
        let Self { priority, identity, host } = self;
        let text = match format {
            Format::Rfc3164 => {
                let time = month_day_time(at, zone);
                let host = if host.is_empty() { String::new() } else { format!("{host} ") };
                format!("<{priority}>{time} {host}{identity}[{process}]: ")
            }
            Format::Rfc5424 => {
                let host = if host.is_empty() { "-" } else { host };
                let (id, kind) = (record.id, record.kind.name());
                format!(
                    "<{priority}>1 {at} {host} {identity} {process} {kind} [{PRODUCT}@{VENDOR_NUMBER} id=\"{id}\"] "
                )
            }
        };
        text.into_bytes()
    }

    /// A datagram of journald's own protocol: the line, and the values of the record as fields.
    #[must_use]
    pub fn journal(&self, record: &Record, line: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(line.len() + 512);
        let text = |text: String| text.into_bytes();
        for (name, value) in [
            ("MESSAGE", line.to_vec()),
            ("PRIORITY", text((self.priority & 7).to_string())),
            ("SYSLOG_FACILITY", text((self.priority >> 3).to_string())),
            ("SYSLOG_IDENTIFIER", text(self.identity.clone())),
            ("TOLLGATE_RECORD_ID", text(record.id.to_string())),
            ("TOLLGATE_RECORD_KIND", text(record.kind.name().to_owned())),
            ("SIP_METHOD", record.method.clone()),
            ("SIP_CODE", text(record.code.to_string())),
            ("SIP_CALL_ID", record.call_id.clone()),
            ("SIP_FROM_TAG", record.from_tag.clone()),
            ("SIP_TO_TAG", record.to_tag.clone()),
        ] {
            field(name, &value, &mut out);
        }
        for (name, value) in record.fields.iter().filter(|(name, _)| !is_internal(name)) {
            let Some(value) = value.text() else { continue };
            let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
            field(&format!("F_{}", name.to_ascii_uppercase()), &value, &mut out);
        }
        out
    }
}

/// `NAME=value`, or with a length where the value has line ends; an empty one is left out.
fn field(name: &str, value: &[u8], out: &mut Vec<u8>) {
    let value = &value[..value.len().min(FIELD_OCTETS_MAX)];
    if value.is_empty() {
        return;
    }
    out.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// Octets of a field at most; the line is shorter anyway. With 64 fields a datagram stays below what the kernel takes.
const FIELD_OCTETS_MAX: usize = 2048;

/// `Nov  4 22:13:20`
fn month_day_time(at: Timestamp, zone: &TimeZone) -> String {
    match jiff::Timestamp::from_microsecond(at.0) {
        Ok(time) => time.to_zoned(zone.clone()).strftime("%b %e %H:%M:%S").to_string(),
        Err(_) => "Jan  1 00:00:00".to_owned(),
    }
}
