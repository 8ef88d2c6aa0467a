//! What a script knows of the gateway around it: sinks by kind and name, flags, listeners, names, tables.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::counting::Counters;
use super::table::KeyTable;
use super::trace::Traces;
use super::turn::FlagMeaning;
use crate::clock::Timestamp;
use crate::ids::{SinkMask, SinkNumber};
use crate::policy::Routes;
use crate::sip::message::Uri;
use crate::sip::stack::Listener;

/// What becomes of a request whose handler has failed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum OnError {
    /// The `[[route]]` tables decide.
    #[default]
    Routes,
    /// It gets 500.
    Refuse,
}

/// How severe a line of the log is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Severity {
    /// `log.debug`
    Debug,
    /// `log.info`
    Info,
    /// `log.warn`
    Warn,
    /// `log.error`
    Error,
}

impl Severity {
    /// Its name, as `log.NAME` has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// Who is told what a script does: the log and the metrics, which a policy does not know.
pub trait Witness: fmt::Debug + Send + Sync {
    /// The script writes a line, about this call.
    fn said(&self, severity: Severity, text: &str, call_id: Option<&[u8]>);
    /// A handler has ended, after this long.
    fn ran(&self, handler: &'static str, span: Duration);
    /// A handler has failed; the text has file and line.
    fn failed(&self, handler: &'static str, text: &str, is_limit: bool);
}

/// The kinds of handlers, as a [`Witness`] is told of them.
pub const HANDLERS: [&str; 7] =
    ["request_route", "route", "branch_route", "reply_route", "failure_route", "local_route", "event_route"];

/// Nobody listens.
#[derive(Debug)]
pub struct Unheard;

impl Witness for Unheard {
    fn said(&self, _severity: Severity, _text: &str, _call_id: Option<&[u8]>) {}
    fn ran(&self, _handler: &'static str, _span: Duration) {}
    fn failed(&self, _handler: &'static str, _text: &str, _is_limit: bool) {}
}

/// One sink as scripts name it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NamedSink {
    /// Its name.
    pub name: String,
    /// The words that mean it and others of its kind, such as `log` or `aaa`.
    pub words: &'static [&'static str],
    /// Whether it gets one record a call.
    pub is_cdr: bool,
}

/// The sinks that words mean.
#[derive(Clone, Debug, Default)]
pub(super) struct Sinks {
    by_word: HashMap<String, SinkMask>,
    cdr: SinkMask,
}

impl Sinks {
    /// Sinks with their numbers.
    pub(super) fn new(sinks: &[NamedSink], numbers: &[SinkNumber]) -> Self {
        let mut known = Self::default();
        for word in WORDS {
            known.by_word.insert((*word).to_owned(), SinkMask::NONE);
        }
        for (sink, number) in sinks.iter().zip(numbers) {
            for word in sink.words {
                let mask = known.by_word.entry((*word).to_owned()).or_insert(SinkMask::NONE);
                *mask = mask.with(*number);
            }
            // A sink may have the name of a kind; then it is meant alone.
            known.by_word.insert(sink.name.to_ascii_lowercase(), SinkMask::NONE.with(*number));
            if sink.is_cdr {
                known.cdr = known.cdr.with(*number);
            }
        }
        known
    }

    /// The sinks of one word, in any case; `None`: there is no such word.
    pub(super) fn of(&self, word: &str) -> Option<SinkMask> {
        self.by_word.get(&word.to_ascii_lowercase()).copied()
    }

    /// Those that get one record a call.
    pub(super) const fn cdr(&self) -> SinkMask {
        self.cdr
    }

    /// Of these sinks those that get one record a call, or those that get all others; all when there is none of these.
    pub(super) fn of_mode(&self, sinks: SinkMask, is_cdr: bool) -> SinkMask {
        let of_cdr = sinks.and(self.cdr);
        let wanted = if is_cdr { of_cdr } else { SinkMask(sinks.0 & !of_cdr.0) };
        if wanted.is_empty() { sinks } else { wanted }
    }

    /// All words, in order.
    pub(super) fn words(&self) -> String {
        let mut words: Vec<&str> = self.by_word.keys().map(String::as_str).collect();
        words.sort_unstable();
        words.join(", ")
    }
}

/// Words for kinds of sinks, known whether there is such a sink or not.
pub const WORDS: &[&str] = &["log", "db", "aaa", "rad", "diam", "evi", "file"];

/// The words by which scripts mean sinks of a kind, `name` being that of its section.
#[must_use]
pub fn words_of(name: &str) -> &'static [&'static str] {
    match name {
        "syslog" => &["log"],
        "sql" => &["db"],
        "radius" => &["aaa", "rad"],
        "diameter" => &["diam"],
        "file" => &["file"],
        // Brokers and webhooks: what OpenSIPS raises as events.
        _ => &["evi"],
    }
}

/// What outlives a script: who is told what it does, and what is kept over reloads.
#[derive(Clone, Debug)]
pub struct Outside {
    /// The log and the metrics.
    pub witness: Arc<dyn Witness>,
    /// Calls in progress.
    pub counters: Arc<Counters>,
    /// What handlers have decided lately.
    pub traces: Arc<Traces>,
}

/// Nobody listens, and nothing was before.
impl Default for Outside {
    fn default() -> Self {
        Self { witness: Arc::new(Unheard), counters: Arc::default(), traces: Arc::default() }
    }
}

/// What all virtual machines of one script share.
#[derive(Debug)]
pub(super) struct World {
    pub(super) sinks: Sinks,
    /// Flags that mean something, by name or number as the script writes it.
    pub(super) flags: Vec<(String, FlagMeaning)>,
    pub(super) listeners: Vec<(String, Listener)>,
    pub(super) names: Vec<String>,
    pub(super) tables: HashMap<String, Arc<KeyTable>>,
    pub(super) routes: Arc<Routes>,
    pub(super) on_error: OnError,
    pub(super) outside: Outside,
    /// Turns that each shard keeps.
    pub(super) trace_turns: usize,
    /// When the script was loaded.
    pub(super) loaded: Timestamp,
}

impl World {
    /// Whether a URI names the gateway: one of its addresses or names.
    pub(super) fn is_own(&self, uri: &Uri<'_>) -> bool {
        let fits = |address: SocketAddr, port: Option<u16>| port.is_none_or(|port| address.port() == port);
        let mut addresses = self.listeners.iter().map(|(_, own)| own.local);
        match uri.ip() {
            Some(ip) => {
                let port = uri.port.or(Some(5060));
                addresses.any(|own| own.ip() == ip && fits(own, port))
            }
            None => {
                self.names.iter().any(|name| name.as_bytes().eq_ignore_ascii_case(uri.host))
                    && addresses.any(|own| fits(own, uri.port))
            }
        }
    }
}
