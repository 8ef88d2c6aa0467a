//! Checks of `[sinks.syslog.NAME]`: the receiver, names of facility and level, labels.

pub mod table;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use jiff::tz::TimeZone;

use self::table::SyslogTable;
use super::carriers::labels;
use super::client_file::{profile, time_format, time_mode};
use super::secret::TlsOptions;
use super::{Needs, Site, Table, host_name};
use crate::accounting::SinkMode;
use crate::causes::chain_text;
use crate::config::check::Check;
use crate::config::check::sections::{choose, set};
use crate::config::decode::At;
use crate::config::error::suggestion;
use crate::net::tls::server_name;
use crate::sinks::kind::Kind;
use crate::sinks::mapping::Round;
use crate::sinks::profile::{Clock, From, Profile, Row};
use crate::sinks::syslog::frame::{Format, Header};
use crate::sinks::syslog::line::{Escape, Layout};
use crate::sinks::syslog::link::Receiver;
use crate::sinks::syslog::words::{FACILITIES, LEVELS, facility, level};
use crate::sinks::syslog::{OCTETS_MAX, Settings};
use crate::units::Count;

impl Table for SyslogTable {
    fn records(&self) -> SinkMode {
        self.records.unwrap_or_default()
    }

    fn check(&self, site: &Site<'_>, check: &mut Check<'_>) -> Option<(Arc<dyn Kind>, Needs)> {
        let receiver = receiver(self, site, check);
        let profile = profile(self.profile.as_ref(), Profile::ALL.iter().copied(), Profile::name, check);
        let level =
            self.level.as_ref().map_or(Some(NOTICE), |word| word_of("level", word, level(word), &levels(), check));
        let names: Vec<_> = FACILITIES.iter().map(|(_, name)| *name).collect();
        let number = |word: &At<String>| facility(word);
        let facility =
            self.facility.as_ref().map_or(Some(DAEMON), |word| word_of("facility", word, number(word), &names, check));
        let (receiver, profile, level, facility) = (receiver?, profile?, level?, facility?);
        let identity = name(self.identity.as_ref(), profile.system().lines.identity, "identity", check);
        let is_local = matches!(receiver, Receiver::Local(_) | Receiver::Journal(_));
        let host = if is_local { String::new() } else { name(self.host.as_ref(), &host_name(), "host", check) };
        let times = profile.system().lines.times.len();
        let time = time_mode(self.time_mode.as_ref(), times, profile, check);
        let mut layout = Layout {
            profile,
            escape: Escape::default(),
            level,
            fields: labels(&self.fields, self.unmapped, &site.fields.record, "accounting.fields", check),
            leg_fields: labels(&self.leg_fields, self.unmapped, &site.fields.leg, "accounting.leg_fields", check),
            leg_order: profile.system().leg_order,
            round: Round::default(),
            id_label: self.record_id_label.as_ref().map(|label| label.value.clone()).filter(|label| !label.is_empty()),
            rows: profile.system().lines.rows(time),
            time,
            clock: Clock::new(TimeZone::system()),
            cdr_start: From::default(),
        };
        time_format(self.time_format.as_ref(), &mut layout.clock.format, check);
        if let Some(letters) = &self.log_fmt {
            log_fmt(letters, profile, &mut layout.rows, check);
        }
        let own = layout.rows.iter().chain(profile.system().lines.call).flat_map(|(_, value, _)| value.fields());
        let own: Vec<_> = own.collect();
        choose(&mut layout.cdr_start, self.cdr_start);
        choose(&mut layout.escape, self.escape);
        choose(&mut layout.leg_order, self.leg_order);
        choose(&mut layout.round, self.round);
        let header = Header { priority: facility << 3 | level, identity, host };
        let default = if is_local { Format::Rfc3164 } else { Format::Rfc5424 };
        let format = self.format.unwrap_or(default);
        if let (Some(given), true) = (&self.to, is_local && format == Format::Rfc5424) {
            let hint = Some("journald and rsyslog do not read it there: leave `format` out".to_owned());
            check.warning(given.place, "a local log gets lines with the header of RFC 5424 as their text", hint);
        }
        let mut settings = Settings { receiver, format, header, layout, octets_max: OCTETS_MAX };
        set(&mut settings.octets_max, self.octets_max, Count::len);
        Some((Arc::new(settings), Needs { request_fields: own, ..Needs::default() }))
    }
}

/// The values of a line by the letters that are given.
fn log_fmt(letters: &At<String>, profile: Profile, rows: &mut Vec<Row>, check: &mut Check<'_>) {
    let lines = &profile.system().lines;
    if lines.letters.is_empty() {
        let what = format_args!("the profile `{}` has no `log_fmt`", profile.name());
        check.error_hint(letters.place, what, Some("`ser` and `openser-1.1` have".to_owned()));
        return;
    }
    match lines.by_letters(letters) {
        Ok(own) if !own.is_empty() && own.len() <= LETTERS_MAX => *rows = own,
        Ok(_) => check.error(letters.place, format_args!("`log_fmt` has from 1 to {LETTERS_MAX} letters")),
        Err(letter) => {
            let known: String = lines.letters.iter().map(|(own, _)| *own).collect();
            let what = format_args!("`log_fmt` has no letter `{letter}`");
            check.error_hint(letters.place, what, Some(format!("there are {known}")));
        }
    }
}

/// Values of a line at most.
const LETTERS_MAX: usize = 64;

/// The proxies' own: LOG_DAEMON, and L_NOTICE.
const DAEMON: u8 = 3;
const NOTICE: u8 = 5;

/// Where lines go by default, and how journald's own socket is called.
const LOCAL: &str = "/dev/log";
const JOURNALD: &str = "journald";
const JOURNAL_SOCKET: &str = "/run/systemd/journal/socket";

fn levels() -> Vec<&'static str> {
    LEVELS.iter().flat_map(|(_, words, _)| *words).copied().collect()
}

/// The number of a word, which has to be one of these.
fn word_of(option: &str, given: &At<String>, number: Option<u8>, known: &[&str], check: &mut Check<'_>) -> Option<u8> {
    if number.is_none() {
        let hint = suggestion(given, known.iter().copied());
        check.error_hint(given.place, format_args!("unknown {option} `{}`", given.value), hint);
    }
    number
}

/// A name that a header has room for: printable, without what ends it.
fn name(given: Option<&At<String>>, default: &str, option: &str, check: &mut Check<'_>) -> String {
    let Some(given) = given else { return default.to_owned() };
    let fits = |octet: u8| octet.is_ascii_graphic() && !b"[]:".contains(&octet);
    if given.is_empty() || given.len() > NAME_OCTETS_MAX || !given.bytes().all(fits) {
        let hint = Some(format!("printable ASCII without blanks, brackets and colons, {NAME_OCTETS_MAX} at most"));
        check.error_hint(given.place, format_args!("`{}` cannot be the {option} of a line", given.value), hint);
    }
    given.value.clone()
}

/// Longest APP-NAME (RFC 5424 §6).
const NAME_OCTETS_MAX: usize = 48;

fn receiver(table: &SyslogTable, site: &Site<'_>, check: &mut Check<'_>) -> Option<Receiver> {
    let Some(given) = &table.to else { return Some(Receiver::Local(LOCAL.into())) };
    if let Some(rest) = given.strip_prefix(JOURNALD)
        && (rest.is_empty() || rest.starts_with(":/"))
    {
        let path = rest.strip_prefix(':').unwrap_or(JOURNAL_SOCKET);
        return Some(Receiver::Journal(path.into()));
    }
    if given.starts_with('/') {
        return Some(Receiver::Local(PathBuf::from(&given.value)));
    }
    let (scheme, place) = given.split_once(':').unwrap_or(("", given));
    let parsed = place.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    let host = parsed.map(|(host, port)| (host.trim_matches(['[', ']']).to_owned(), port));
    let host = host
        .filter(|(host, port)| *port > 0 && (host.parse::<std::net::IpAddr>().is_ok() || crate::names::is_host(host)));
    match (scheme, host) {
        ("udp", Some((host, port))) => Some(Receiver::Udp(host, port)),
        ("tcp", Some((host, port))) => Some(Receiver::Tcp(host, port)),
        ("tls", Some((host, port))) => {
            let SyslogTable { ca, certificate, key, verify_host, .. } = table;
            let tls = TlsOptions { ca, certificate, key, verify_host: *verify_host }.load("syslog", site, check)?;
            let name = server_name(&host).map_err(|error| check.error(given.place, chain_text(&error))).ok()?;
            Some(Receiver::Tls(host, port, tls, name))
        }
        ("relp", Some((host, port))) => Some(Receiver::Relp(host, port)),
        _ => {
            let hint = "\"/dev/log\", \"journald\", \"udp:HOST:PORT\", \"tcp:HOST:PORT\", \"tls:HOST:PORT\" or \"relp:HOST:PORT\"";
            let what = format_args!("`{}` is no receiver of lines", given.value);
            check.error_hint(given.place, what, Some(hint.to_owned()));
            None
        }
    }
}
