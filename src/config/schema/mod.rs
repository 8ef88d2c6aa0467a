//! The tables of the TOML file as types. Every table refuses fields it does not know.
//!
//! An option that is left out is `None` here: the defaults stand in the `Settings` of the modules that use them, and
//! `etc/tollgate.toml` shows each one. Ranges stand in the types.

mod accounting;
mod cluster;
mod deliver;
mod dns;
mod mirror;
mod route;
mod script;
mod sections;
mod sip;
mod streams;

use std::collections::BTreeMap;

use serde::Deserialize;

pub use accounting::{AccountingTable, AtEnd, FieldSources, Flag, Flags, IdentityTable, Switch};
pub use cluster::ClusterTable;
pub use deliver::DeliverTable;
pub use dns::DnsTable;
pub use mirror::MirrorTable;
#[cfg(test)]
pub use route::HeaderTable;
pub use route::{AnswerTable, Fork, MatchTable, RedirectsOption, RouteAccountTable, RouteTable, TargetsOption};
pub use script::ScriptTable;
pub use sections::{
    AdminTable, LedgerTable, LogTable, LogTarget, QueueTable, ServiceTable, TelemetryTable, TraceTable,
};
pub use sip::{PreloadedRoute, SipTable, StrangersOption, WatchTable};
pub use streams::{ClientCertificate, StreamsTable, TlsClientTable, TlsTable};
#[cfg(test)]
pub use {sections::AdminTlsTable, streams::CertificateTable};

use super::decode::At;
pub use super::kinds::SinksTable;

/// The whole file as its text has it: every option is optional here, defaults and ranges are the checks'.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FileTable {
    /// `[sip]`
    pub sip: SipTable,
    /// `[[route]]`
    pub route: Vec<At<RouteTable>>,
    /// `[[mirror]]`
    pub mirror: Vec<At<MirrorTable>>,
    /// `[script]`
    pub script: ScriptTable,
    /// `[accounting]`
    pub accounting: AccountingTable,
    /// `[queue]`
    pub queue: QueueTable,
    /// `[ledger]`
    pub ledger: LedgerTable,
    /// `[sinks.KIND.NAME]`
    pub sinks: SinksTable,
    /// `[cluster]`
    pub cluster: Option<At<ClusterTable>>,
    /// `[deliver]`
    pub deliver: DeliverTable,
    /// `[admin]`
    pub admin: AdminTable,
    /// `[trace]`
    pub trace: TraceTable,
    /// `[telemetry]`
    pub telemetry: TelemetryTable,
    /// `[log]`
    pub log: LogTable,
    /// `[service]`
    pub service: ServiceTable,
}

/// Sinks of one kind by name.
pub type Named<T> = BTreeMap<String, At<T>>;
