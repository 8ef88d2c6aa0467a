//! What each system writes, as tables of data that every kind of sink reads: the texts and labels of its lines, its columns,
//! its attributes, its events, the order of legs, what joins several values and what stands for none, and how its scripts
//! mark what is recorded. A further system is a file here and a row of [`Profile::ALL`].
//!
//! The tables are the proxies' own, octet for octet, but for what is a fault of them: [`System::differs`] says where.

pub mod event;
mod kamailio;
mod openser;
mod opensips;
mod own;
mod ser;
#[cfg(test)]
mod tests;
pub mod value;

use crate::record::{Kind, LegOrder, Record};
use crate::sinks::radius::StatusMapping;

pub use value::{Clock, Form, From, Val};

/// Whose records they look like.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Profile {
    /// Tollgate's own: everything that a record says.
    #[default]
    Own,
    /// Kamailio 3 to 6.
    Kamailio,
    /// OpenSIPS from 2.3 on.
    Opensips,
    /// OpenSIPS 2.2, the first one with `do_accounting`.
    Opensips22,
    /// OpenSER 1.2 and 1.3, and OpenSIPS 1.4.
    Openser,
    /// OpenSER up to 1.1, with the format string of SER.
    Openser11,
    /// SER 0.8 and 0.9.
    Ser,
}

impl Profile {
    /// All of them, the default first.
    pub const ALL: &'static [Self] =
        &[Self::Own, Self::Kamailio, Self::Opensips, Self::Opensips22, Self::Openser, Self::Openser11, Self::Ser];

    /// Its name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.system().name
    }

    /// Its tables.
    #[must_use]
    pub const fn system(self) -> &'static System {
        match self {
            Self::Own => &own::SYSTEM,
            Self::Kamailio => &kamailio::SYSTEM,
            Self::Opensips => &opensips::SYSTEM,
            Self::Opensips22 => &opensips::SYSTEM_2_2,
            Self::Openser => &openser::SYSTEM,
            Self::Openser11 => &ser::OPENSER_1_1,
            Self::Ser => &ser::SYSTEM,
        }
    }

    /// Whether it imitates a proxy's accounting module.
    #[must_use]
    pub const fn is_classic(self) -> bool {
        !matches!(self, Self::Own)
    }
}

/// A value under a name, in a form: the label of a line, a column, an attribute.
pub type Row = (&'static str, Val, Form);

/// All that one system writes.
#[derive(Debug)]
pub struct System {
    /// Its name in the configuration.
    pub name: &'static str,
    /// Its lines.
    pub lines: Lines,
    /// Its rows in a database.
    pub columns: Columns,
    /// Its attributes; `None`: it has no RADIUS backend.
    pub attributes: Option<Attributes>,
    /// Its events; `None`: it has none, or none that a sink writes.
    pub events: Option<event::Events>,
    /// How its scripts mark what is recorded.
    pub marks: Marks,
    /// Order of the legs.
    pub leg_order: LegOrder,
    /// What stands between values of a list.
    pub join: &'static [u8],
    /// What stands for a text that is not there.
    pub absent: Absent,
    /// Where what is written here is not what it wrote: names of entries of `tests/golden/differences.toml`, which say why.
    pub differs: &'static [&'static str],
}

/// How scripts of a system mark what is recorded, for who brings one over. What they mark is `on` and `flags` of a route here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Marks {
    /// Numbers of the flags of a request that is recorded, and of one whose failed attempts are, where `log_flag` and the like
    /// set no other; `None`: nothing is recorded then.
    pub flags: Option<[u8; 2]>,
    /// What has final failures recorded, which is off everywhere without it.
    pub failed: Failed,
}

/// What has final failures recorded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Failed {
    /// A parameter, for all requests alike.
    Always(&'static str),
    /// A parameter with the number of a flag.
    Flag(&'static str),
    /// An option of the call that marks.
    Option(&'static str),
}

impl Failed {
    /// What it is called there.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Always(name) | Self::Flag(name) | Self::Option(name) => name,
        }
    }
}

/// What stands for a text that is not there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Absent {
    /// Nothing: its label, or the attribute, is left out, and a column gets NULL.
    Omitted,
    /// This text.
    Written(&'static str),
}

/// Lines of a log.
#[derive(Debug)]
pub struct Lines {
    /// Who the lines say that they are of.
    pub identity: &'static str,
    /// What stands before the text of a line; `{level}` is the level's word.
    pub before: &'static str,
    /// The same for a whole call.
    pub before_call: &'static str,
    /// The texts.
    pub texts: Texts,
    /// Values of a line.
    pub line: &'static [Row],
    /// Values of a whole call.
    pub call: &'static [Row],
    /// What stands between two values, and in a line of a whole call.
    pub between: [&'static str; 2],
    /// Lines with the time in other forms than the usual one, which is the first: Kamailio's `time_mode`.
    pub times: &'static [TimeLine],
    /// Values by letters of a format string: `log_fmt` of SER.
    pub letters: &'static [(char, Row)],
}

/// A line that has its time in a further form.
#[derive(Debug)]
pub struct TimeLine {
    /// What stands before its text.
    pub before: &'static str,
    /// What stands behind its first value.
    pub rows: &'static [Row],
}

/// Texts of a line by what the record states.
#[derive(Clone, Copy, Debug)]
pub struct Texts {
    /// A transaction that was answered, or failed.
    pub answered: &'static str,
    /// An attempt that failed.
    pub missed: &'static str,
    /// An ACK.
    pub acknowledged: &'static str,
    /// A manual entry.
    pub accounted: &'static str,
    /// A whole call.
    pub ended: &'static str,
}

impl Lines {
    /// What stands before the values of a record.
    #[must_use]
    pub fn text(&self, record: &Record, time: usize) -> [&'static str; 2] {
        let text = match record.kind {
            Kind::Cdr => return [self.before_call, self.texts.ended],
            Kind::Missed => self.texts.missed,
            Kind::Event if record.is_manual() => self.texts.accounted,
            Kind::Event if record.method == b"ACK" => self.texts.acknowledged,
            _ => self.texts.answered,
        };
        [self.times.get(time).map_or(self.before, |more| more.before), text]
    }

    /// The values of a line that has the time in a mode.
    #[must_use]
    pub fn rows(&self, time: usize) -> Vec<Row> {
        let more = self.times.get(time).map_or(&[][..], |mode| mode.rows);
        let (first, rest) = self.line.split_at(self.line.len().min(1));
        [first, more, rest].concat()
    }

    /// The values of a line by the letters of a format string.
    ///
    /// # Errors
    /// The first letter that there is none for.
    pub fn by_letters(&self, letters: &str) -> Result<Vec<Row>, char> {
        let row = |letter| self.letters.iter().find(|(own, _)| *own == letter).map(|(_, row)| *row).ok_or(letter);
        letters.chars().map(row).collect()
    }
}

/// The columns of the tables.
#[derive(Debug)]
pub struct Columns {
    /// Of all records but the next two.
    pub acc: &'static [&'static [Row]],
    /// Of missed calls.
    pub missed: &'static [&'static [Row]],
    /// Of whole calls.
    pub cdr: &'static [&'static [Row]],
    /// How many parts of these a table must have: the columns of the others are filled where they are there, for tables that
    /// were made before they came.
    pub parts_needed: usize,
    /// The table of whole calls; `None`: that of all records.
    pub cdr_table: Option<&'static str>,
    /// Digits behind the second that an instant has.
    pub digits: u8,
    /// Further columns of the time, by mode: Kamailio's `time_mode`.
    pub times: &'static [&'static [Row]],
}

/// The attributes of a RADIUS server, and AVPs of a Diameter server.
#[derive(Debug)]
pub struct Attributes {
    /// The built-in dictionary that has their numbers; empty: the standard one.
    pub dictionary: &'static str,
    /// Those that have to be there.
    pub needed: &'static [Row],
    /// Those that are used if the dictionary has them.
    pub known: &'static [Row],
    /// The order in which the system sends them, Tollgate's own behind. RFC 2865 §5 gives it no meaning.
    pub order: &'static [Step],
    /// Whether they are sent so unless `exact` says otherwise. The profiles of the first releases have an order of their own,
    /// oldest legs first, the newest statuses, the spans of a call in each record of it, and Sip-CSeq with `openser`, and keep
    /// all that: others compare their octets. `exact = true` gives what the system has, and all systems are compared so.
    pub is_exact: bool,
    /// How records become statuses there.
    pub status: StatusMapping,
}

/// What is sent next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Acct-Status-Type.
    Status,
    /// Service-Type.
    Service,
    /// Acct-Session-Id.
    Session,
    /// Event-Timestamp.
    Event,
    /// The attribute of that name of the table.
    Value(&'static str),
    /// Fields.
    Fields,
    /// Legs.
    Legs,
}

/// Every backend has its own flag from OpenSER 1.1 on, none of which is set.
const FLAGS: Marks = Marks { flags: None, failed: Failed::Flag("failed_transaction_flag") };

/// `do_accounting` names backends and options.
const OPTIONS: Marks = Marks { flags: None, failed: Failed::Option("failed") };

/// The texts that all of the proxies have.
const TEXTS: Texts = Texts {
    answered: "ACC: transaction answered: ",
    missed: "ACC: call missed: ",
    acknowledged: "ACC: request acknowledged: ",
    accounted: "ACC: request accounted: ",
    ended: "ACC: call ended: ",
};

/// The columns that all have from OpenSER 1.2 on.
const CLASSIC_COLUMNS: &[Row] = &[
    ("method", Val::METHOD, Form::Plain),
    ("from_tag", Val::FROM_TAG, Form::Plain),
    ("to_tag", Val::TO_TAG, Form::Plain),
    ("callid", Val::CALL_ID, Form::Plain),
    ("sip_code", Val::CODE, Form::Plain),
    ("sip_reason", Val::REASON, Form::Plain),
    ("time", Val::Time, Form::Plain),
];

/// The values of their lines, but for when it was.
const CLASSIC_LINE: &[Row] = &[
    ("timestamp", Val::EVENT, Form::Epoch),
    ("method", Val::METHOD, Form::Plain),
    ("from_tag", Val::FROM_TAG, Form::Plain),
    ("to_tag", Val::TO_TAG, Form::Plain),
    ("call_id", Val::CALL_ID, Form::Plain),
    ("code", Val::CODE, Form::Plain),
    ("reason", Val::REASON, Form::Plain),
];

/// What all begin with from OpenSER 1.2 on, with what each has behind it.
macro_rules! classic_order {
    ($($more:expr),*) => {
        &[
            Step::Status,
            Step::Service,
            Step::Value("Sip-Response-Code"),
            Step::Value("Sip-Method"),
            Step::Event,
            Step::Value("Sip-From-Tag"),
            Step::Value("Sip-To-Tag"),
            Step::Session,
            $($more),*
        ]
    };
}
use classic_order;

/// Their attributes.
const CLASSIC_ATTRIBUTES: &[Row] = &[
    ("Sip-Response-Code", Val::CODE, Form::Plain),
    ("Sip-Method", Val::METHOD, Form::Plain),
    ("Sip-From-Tag", Val::FROM_TAG, Form::Plain),
    ("Sip-To-Tag", Val::TO_TAG, Form::Plain),
];
