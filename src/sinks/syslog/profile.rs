//! What each system writes into a line, as tables of data: a further system is one more row of [`Profile::ALL`].
//!
//! The lines of the proxies are theirs octet for octet, but for what is a fault of them: OpenSIPS 4 writes `created=0` and an
//! epoch as `setuptime` where it knows neither; here stand the values.

use crate::record::core::Core;
use crate::record::{Kind, LegOrder};

/// How a value is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// As it is; a span in seconds with milliseconds, an instant by RFC 3339.
    Plain,
    /// An instant in seconds since 1970.
    Epoch,
    /// The same with milliseconds.
    EpochMillis,
    /// A span in whole seconds, rounded as configured.
    Secs,
    /// A span in milliseconds.
    Millis,
}

/// A label, its value, and its form.
pub type Pair = (&'static str, Core, Form);

/// Texts of a line by what the record states.
#[derive(Clone, Copy, Debug)]
pub struct Texts {
    /// A transaction that was answered, or failed.
    pub answered: &'static str,
    /// An attempt that failed.
    pub missed: &'static str,
    /// An ACK.
    pub acknowledged: &'static str,
    /// A manual entry, which has no code.
    pub accounted: &'static str,
    /// A whole call.
    pub ended: &'static str,
}

/// The lines of one system.
#[derive(Debug)]
pub struct Profile {
    /// Its name in the configuration.
    pub name: &'static str,
    /// Who the lines say that they are of.
    pub identity: &'static str,
    /// What stands before the text of a line; `{level}` is the level's word.
    pub before: &'static str,
    /// The same for a whole call.
    pub before_call: &'static str,
    /// The texts.
    pub texts: Texts,
    /// Values of a line.
    pub line: &'static [Pair],
    /// Values of a whole call.
    pub call: &'static [Pair],
    /// What stands between two values, and in a line of a whole call.
    pub between: [&'static str; 2],
    /// What stands between values of a list.
    pub join: &'static [u8],
    /// Order of the legs.
    pub leg_order: LegOrder,
    /// Whether labels without a value are written.
    pub empty: Empty,
}

/// What becomes of a label without a value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Empty {
    /// It stands there with nothing behind it.
    Written,
    /// It is left out.
    Omitted,
}

const CLASSIC_TEXTS: Texts = Texts {
    answered: "ACC: transaction answered: ",
    missed: "ACC: call missed: ",
    acknowledged: "ACC: request acknowledged: ",
    accounted: "ACC: request accounted: ",
    ended: "ACC: call ended: ",
};

const NO_TEXTS: Texts = Texts { answered: "", missed: "", acknowledged: "", accounted: "", ended: "" };

const CLASSIC: &[Pair] = &[
    ("timestamp", Core::Event, Form::Epoch),
    ("method", Core::Method, Form::Plain),
    ("from_tag", Core::FromTag, Form::Plain),
    ("to_tag", Core::ToTag, Form::Plain),
    ("call_id", Core::CallId, Form::Plain),
    ("code", Core::Code, Form::Plain),
    ("reason", Core::Reason, Form::Plain),
];

const OPENSIPS_LINE: &[Pair] = &[
    ("timestamp", Core::Event, Form::Epoch),
    ("created", Core::Created, Form::Epoch),
    ("setuptime", Core::Setup, Form::Secs),
    ("method", Core::Method, Form::Plain),
    ("from_tag", Core::FromTag, Form::Plain),
    ("to_tag", Core::ToTag, Form::Plain),
    ("call_id", Core::CallId, Form::Plain),
    ("code", Core::Code, Form::Plain),
    ("reason", Core::Reason, Form::Plain),
];

const OPENSIPS_CALL: &[Pair] = &[
    ("created", Core::Created, Form::Epoch),
    ("call_start_time", Core::Answered, Form::Epoch),
    ("duration", Core::Duration, Form::Secs),
    ("ms_duration", Core::Duration, Form::Millis),
    ("setuptime", Core::Setup, Form::Secs),
    ("method", Core::Method, Form::Plain),
    ("from_tag", Core::FromTag, Form::Plain),
    ("to_tag", Core::ToTag, Form::Plain),
    ("call_id", Core::CallId, Form::Plain),
    ("code", Core::Code, Form::Plain),
    ("reason", Core::Reason, Form::Plain),
];

const KAMAILIO_CALL: &[Pair] = &[
    ("start_time", Core::Answered, Form::EpochMillis),
    ("end_time", Core::Ended, Form::EpochMillis),
    ("duration", Core::Duration, Form::Plain),
];

const OWN: &[Pair] = &[
    ("record_id", Core::Id, Form::Plain),
    ("kind", Core::Kind, Form::Plain),
    ("event", Core::Event, Form::Plain),
    ("method", Core::Method, Form::Plain),
    ("code", Core::Code, Form::Plain),
    ("reason", Core::Reason, Form::Plain),
    ("call_id", Core::CallId, Form::Plain),
    ("from_tag", Core::FromTag, Form::Plain),
    ("to_tag", Core::ToTag, Form::Plain),
    ("session", Core::Session, Form::Plain),
    ("created", Core::Created, Form::Plain),
    ("answered", Core::Answered, Form::Plain),
    ("ended", Core::Ended, Form::Plain),
    ("setup_s", Core::Setup, Form::Plain),
    ("duration_s", Core::Duration, Form::Plain),
    ("ended_by", Core::EndedBy, Form::Plain),
    ("cause", Core::Cause, Form::Plain),
];

impl Profile {
    /// All of them, the default first.
    pub const ALL: &'static [Self] = &[
        Self {
            name: "own",
            identity: crate::names::PRODUCT,
            before: "",
            before_call: "",
            texts: NO_TEXTS,
            line: OWN,
            call: OWN,
            between: [";", ";"],
            join: b", ",
            leg_order: LegOrder::OldestFirst,
            empty: Empty::Omitted,
        },
        Self {
            name: "kamailio",
            identity: "kamailio",
            before: "{level}: acc [acc.c:287]: acc_log_request(): ",
            before_call: "{level}: acc [acc_cdr.c:395]: log_write_cdr(): ",
            texts: Texts { ended: "", ..CLASSIC_TEXTS },
            line: CLASSIC,
            call: KAMAILIO_CALL,
            between: [";", "; "],
            join: b",",
            leg_order: LegOrder::NewestFirst,
            empty: Empty::Written,
        },
        Self {
            name: "opensips",
            identity: "opensips",
            before: "{level}:",
            before_call: "{level}:",
            texts: CLASSIC_TEXTS,
            line: OPENSIPS_LINE,
            call: OPENSIPS_CALL,
            between: [";", ";"],
            join: b", ",
            leg_order: LegOrder::OldestFirst,
            empty: Empty::Written,
        },
        Self {
            name: "opensips-2.2",
            identity: "opensips",
            before: "",
            before_call: "",
            texts: CLASSIC_TEXTS,
            line: CLASSIC,
            call: OPENSIPS_CALL,
            between: [";", ";"],
            join: b", ",
            leg_order: LegOrder::NewestFirst,
            empty: Empty::Written,
        },
        // Also OpenSIPS 1.4, which calls itself `opensips`.
        Self {
            name: "openser",
            identity: "openser",
            before: "",
            before_call: "",
            texts: CLASSIC_TEXTS,
            line: CLASSIC,
            call: OPENSIPS_CALL,
            between: [";", ";"],
            join: b", ",
            leg_order: LegOrder::NewestFirst,
            empty: Empty::Written,
        },
    ];

    /// What stands before the values of a record.
    #[must_use]
    pub fn text(&self, kind: Kind, method: &[u8], code: u16) -> [&'static str; 2] {
        let text = match kind {
            Kind::Cdr => return [self.before_call, self.texts.ended],
            Kind::Missed => self.texts.missed,
            Kind::Event if method == b"ACK" => self.texts.acknowledged,
            Kind::Event if code == 0 => self.texts.accounted,
            _ => self.texts.answered,
        };
        [self.before, text]
    }
}

/// A level: its number (RFC 5424 §6.2.1), its words here and on the scales of the proxies, and how their lines call it.
pub const LEVELS: &[(u8, &[&str], &str)] = &[
    (0, &["emerg", "emergency"], "EMERG"),
    (1, &["alert", "L_ALERT"], "ALERT"),
    (2, &["crit", "critical", "L_CRIT", "L_BUG"], "CRITICAL"),
    (3, &["err", "error", "L_ERR"], "ERROR"),
    (4, &["warning", "warn", "L_WARN"], "WARNING"),
    (5, &["notice", "L_NOTICE"], "NOTICE"),
    (6, &["info", "L_INFO"], "INFO"),
    (7, &["debug", "dbg", "L_DBG"], "DEBUG"),
];

/// Facilities with their numbers (RFC 5424 §6.2.1).
pub const FACILITIES: &[(u8, &str)] = &[
    (0, "kern"),
    (1, "user"),
    (2, "mail"),
    (3, "daemon"),
    (4, "auth"),
    (5, "syslog"),
    (6, "lpr"),
    (7, "news"),
    (8, "uucp"),
    (9, "cron"),
    (10, "authpriv"),
    (11, "ftp"),
    (16, "local0"),
    (17, "local1"),
    (18, "local2"),
    (19, "local3"),
    (20, "local4"),
    (21, "local5"),
    (22, "local6"),
    (23, "local7"),
];

/// The number of a level, by any of its words in any case, with or without `LOG_`.
#[must_use]
pub fn level(word: &str) -> Option<u8> {
    let word = bare(word);
    let is_it = |words: &[&str]| words.iter().any(|own| own.eq_ignore_ascii_case(word));
    LEVELS.iter().find(|(_, words, _)| is_it(words)).map(|(number, ..)| *number)
}

/// The same of a facility.
#[must_use]
pub fn facility(word: &str) -> Option<u8> {
    let word = bare(word);
    FACILITIES.iter().find(|(_, own)| own.eq_ignore_ascii_case(word)).map(|(number, _)| *number)
}

fn bare(word: &str) -> &str {
    match word.split_at_checked(4) {
        Some((head, rest)) if head.eq_ignore_ascii_case("LOG_") => rest,
        _ => word,
    }
}
