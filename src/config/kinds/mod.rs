//! Kinds of sinks as the configuration knows them: [`SinksTable`] lists them all, and a folder for each holds its table, its
//! checks and the reader of its client file. What the running program knows of a kind is
//! [`sinks::kind::Kind`](crate::sinks::kind::Kind), which the settings implement that a check makes.
//!
//! A further kind costs one line in the list below beside its `mod`, and its part of `etc/tollgate.toml`; all else lies in
//! its own folders, here and in `sinks`. The list is a macro because the reader of the file wants the names of its tables as
//! fields of a struct: by them it finds and explains a mistake in a name.

pub mod amqp;
mod built;
pub(super) mod carriers;
mod client_file;
pub mod diameter;
mod dictionary;
mod event;
pub mod file;
pub(super) mod jetstream;
pub mod kafka;
pub mod nats;
pub mod radius;
pub mod redis;
pub(super) mod secret;
pub mod sql;
pub mod syslog;
pub mod webhook;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use reqwest::Url;
use serde::Deserialize;

use self::carriers::Fields;
use super::check::Check;
use super::check::sections::choose;
use super::decode::At;
use super::reload::Section;
use super::schema::{AccountingTable, Flag, Named};
use super::tree::PlaceId;
use crate::accounting::SinkMode;
use crate::record::LegOrder;
use crate::sinks::kind::Kind;
use crate::sinks::mapping::{Round, Style, Unmapped};

/// Makes of the list of kinds and their tables what needs to know them all.
macro_rules! kinds {
    ($($kind:ident: $table:ty,)*) => {
        /// `[sinks]`
        #[derive(Debug, Default, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct SinksTable {
            $(
                #[doc = concat!("`[sinks.", stringify!($kind), ".NAME]`")]
                pub $kind: Named<$table>,
            )*
        }

        /// The names of the kinds, in the order of their numbers.
        pub(super) const NAMES: &[&str] = &[$(stringify!($kind)),*];

        /// What a reload applies of their tables.
        pub(super) const SECTIONS: &[Section] = &[$(<$table>::SECTION),*];

        /// For tests: lines that give their options other values, where that is no number, switch or word of a list.
        #[cfg(test)]
        pub(crate) const OTHERS: &[(&str, &[&str])] = &[$((<$table>::SECTION.path, <$table>::OTHERS)),*];

        impl SinksTable {
            /// All sinks with their places, in the order of kind and name.
            pub(super) fn all(&self) -> impl Iterator<Item = (&str, PlaceId, &dyn Table)> {
                let all = std::iter::empty();
                $(let all = all.chain(self.$kind.iter().map(|(name, at)| (name.as_str(), at.place, &at.value as &dyn Table)));)*
                all
            }
        }
    };
}

kinds! {
    radius: radius::table::RadiusTable,
    diameter: diameter::table::DiameterTable,
    file: file::table::FileSinkTable,
    sql: sql::table::SqlTable,
    syslog: syslog::table::SyslogTable,
    nats: nats::table::NatsTable,
    amqp: amqp::table::AmqpTable,
    webhook: webhook::table::WebhookTable,
    redis: redis::table::RedisTable,
    kafka: kafka::table::KafkaTable,
}

/// For tests: whether a section is that of a kind which is a feature of the build, and not of this one.
#[cfg(test)]
pub(crate) fn is_not_built(section: &str) -> bool {
    let kind = section.strip_prefix("sinks.");
    built::FEATURES.iter().any(|(own, is_there)| kind == Some(*own) && !is_there)
}

/// The table of a sink, `[sinks.KIND.NAME]`.
pub(super) trait Table {
    /// Which records the sink takes.
    fn records(&self) -> SinkMode;

    /// Checks it, and the files that it names; gives settings, and what they ask of the rest of the gateway. `None` when
    /// too much is missing for a sink.
    fn check(&self, site: &Site<'_>, check: &mut Check<'_>) -> Option<(Arc<dyn Kind>, Needs)>;
}

/// What a table is checked against.
pub(super) struct Site<'s> {
    /// The sink's name, unique over all kinds.
    pub name: &'s str,
    /// Where its table stands.
    pub place: PlaceId,
    /// Where relative paths begin.
    pub base: &'s Path,
    /// `[accounting]`: the fields that the sink may map, and which sinks record.
    pub accounting: &'s AccountingTable,
    /// The fields there are.
    pub fields: &'s Fields<'s>,
}

impl<'s> Site<'s> {
    /// Where the table of a sink of that kind stands.
    fn spot(&self, kind: &str) -> Spot<'s> {
        Spot { title: format!("sinks.{kind}.{}", self.name), place: self.place, base: self.base }
    }
}

/// Where a table stands, of a sink or of the gateway.
pub(super) struct Spot<'s> {
    /// Its name in messages.
    pub title: String,
    /// Its line.
    pub place: PlaceId,
    /// Where relative paths begin.
    pub base: &'s Path,
}

/// What a sink asks of the rest of the gateway.
#[derive(Default)]
pub(super) struct Needs {
    /// Fields by which a server joins the records of a session: they must not change within it.
    pub frozen: Vec<String>,
    /// Fields of its own with their templates, which are recorded in any case and frozen too.
    pub fields: &'static [(&'static str, &'static str)],
    /// The same of those that each record takes from its own request.
    pub request_fields: Vec<(&'static str, &'static str)>,
    /// Whether a newer Interim takes the place of one that still waits.
    pub is_collapsing: bool,
    /// Whether its servers are told when calls were lost.
    pub is_announced: bool,
    /// What its servers say in their answers that a gateway acts on; of a sink that is forwarded it hears none. Default:
    /// nothing.
    pub answers: &'static str,
    /// What it adds to the levels of the log.
    pub log: &'static str,
    /// Warns of flags that are without effect on it.
    pub flags: Option<FlagsCheck>,
}

/// Takes what a table says of the places of values.
fn style(style: &mut Style, unmapped: Option<Unmapped>, round: Option<Round>, leg_order: Option<LegOrder>) {
    choose(&mut style.unmapped, unmapped);
    choose(&mut style.round, round);
    choose(&mut style.leg_order, leg_order);
}

/// Whether what is sent there stays on this machine.
pub(in crate::config) fn is_near(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse();
    host == "localhost" || address.is_ok_and(|address: IpAddr| address.is_loopback())
}

/// The name of this machine.
pub(crate) fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = name.trim().chars().filter(char::is_ascii_graphic).take(255).collect();
    if name.is_empty() { "-".to_owned() } else { name }
}

/// Checks the flags of a list that names the sink.
pub(super) type FlagsCheck = Box<dyn Fn(&[At<Flag>], &mut Check<'_>)>;
