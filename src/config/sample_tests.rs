//! `etc/tollgate.toml` is the manual: it loads, it names every option, and every default it shows is the code's.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

use super::kinds;
use super::kinds::radius::table::PolicyTable;
use super::parse;
use super::plan::Plan;
use super::schema::{
    AccountingTable, AdminTable, AdminTlsTable, AnswerTable, CertificateTable, ClusterTable, DeliverTable, DnsTable,
    FileTable, HeaderTable, IdentityTable, LedgerTable, LogTable, MatchTable, MirrorTable, QueueTable,
    RouteAccountTable, RouteTable, ScriptTable, ServiceTable, SinksTable, SipTable, StreamsTable, TelemetryTable,
    TlsClientTable, TlsTable, TraceTable, WatchTable,
};
use crate::sinks::radius::Settings;

/// The sample as it is shipped.
const SHIPPED: &str = include_str!("../../etc/tollgate.toml");

/// The sample with the sinks that it shows but does not have: their heads, and the options whose comments end in
/// `Required.` Kinds that this build has not are left out.
pub(crate) fn sample() -> String {
    sample_without(kinds::is_not_built)
}

fn sample_without(is_unwanted: fn(&str) -> bool) -> String {
    let (mut text, mut is_shown, mut is_left_out, mut is_required) = (String::new(), false, false, false);
    for line in SHIPPED.lines() {
        let bare = line.strip_prefix('#').unwrap_or(line);
        if bare.starts_with('[') {
            is_shown = ["#[sinks.", "#[cluster]", "#[[mirror]]"].iter().any(|head| line.starts_with(head));
            let section = bare.trim_start_matches('[').rsplit_once('.').map_or("", |(section, _)| section);
            is_left_out = is_unwanted(section);
        }
        let is_wanted = is_shown && (bare.starts_with('[') || is_required);
        if !is_left_out {
            text += if is_wanted { bare } else { line };
            text.push('\n');
        }
        is_required = line.ends_with(" Required.");
    }
    text
}

/// The sinks of a text with their kinds, in its order.
pub(crate) fn sinks(text: &str) -> Vec<(&str, &str)> {
    let heads = text.lines().filter_map(|line| line.strip_prefix("[sinks.")?.strip_suffix(']'));
    heads.filter_map(|head| head.split_once('.')).collect()
}

/// The sample in its own folder, where its relative paths lead to the other samples.
fn plan(text: &str) -> Plan {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/tollgate.toml");
    let plan = parse(&path, text, Default::default()).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    // What is compared is what the options come to.
    Plan { options: Default::default(), ..plan }
}

/// All that a plan holds, in an order that does not depend on hash tables.
fn lines(plan: &Plan) -> Vec<String> {
    let mut lines: Vec<_> = format!("{plan:#?}").lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

/// The option a line shows at its default, such as `#shards = 0`.
fn default_shown(line: &str) -> Option<&str> {
    line.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()))
}

#[test]
fn the_sample_loads_as_it_is() {
    let sample = sample();
    let names: Vec<_> = sinks(&sample).into_iter().map(|(_, name)| name).collect();
    assert_eq!(plan(&sample).sink_names(), names);
    let plan = plan(SHIPPED);
    assert_eq!(plan.sink_names(), ["billing"]);
    assert_eq!(plan.route.len(), 1);
}

#[test]
fn the_sink_it_has_names_the_user_and_both_parties() {
    let plan = plan(SHIPPED);
    let settings = plan.sinks[0].kind.of::<Settings>().expect("a RADIUS sink");
    let mapped: Vec<_> =
        settings.fields.iter().map(|mapping| (mapping.field.as_str(), mapping.attribute.as_str())).collect();
    let want = [("account", "User-Name"), ("caller", "Calling-Station-Id"), ("callee", "Called-Station-Id")];
    assert_eq!(mapped, want);
    assert_eq!(plan.accounting.frozen_fields, want.map(|(field, _)| field), "the same in all records of a call");
}

#[test]
fn every_default_it_shows_is_the_code_s() {
    let sample = sample();
    let shown: String = sample.lines().map(|line| default_shown(line).unwrap_or(line).to_owned() + "\n").collect();
    let (as_it_is, with_defaults) = (lines(&plan(&sample)), lines(&plan(&shown)));
    let different: Vec<_> = as_it_is.iter().zip(&with_defaults).filter(|(one, other)| one != other).take(5).collect();
    assert!(as_it_is == with_defaults, "{different:#?}");
}

#[test]
fn every_line_it_shows_would_change_something() {
    // A default that is shown but read nowhere would pass the test above; a wrong value there must not.
    let sample = sample();
    for line in sample.lines().filter_map(default_shown) {
        let name = line.split(' ').next().expect("a line has a first word");
        let text: String = sample
            .lines()
            .map(|own| if default_shown(own) == Some(line) { format!("{name} = 5.5\n") } else { format!("{own}\n") })
            .collect();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/tollgate.toml");
        assert!(parse(&path, &text, Default::default()).is_err(), "{line}");
    }
}

#[test]
fn every_option_is_in_it() {
    let mut sections: BTreeMap<&str, String> = BTreeMap::new();
    let mut section = "";
    let sample = sample_without(|_| false);
    for line in sample.lines() {
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_matches(['[', ']']);
        }
        let text = sections.entry(section).or_default();
        text.push_str(line);
        text.push('\n');
    }
    let has = |section: &str, field: &str| {
        let text = &sections[section];
        let here = text.lines().any(|line| {
            let line = line.trim_start_matches('#').trim_start();
            line.strip_prefix(field).is_some_and(|rest| rest.starts_with(" =") || rest.starts_with(' '))
        });
        here || text.contains(&format!("{field} ")) || sections.contains_key(format!("{section}.{field}").as_str())
    };
    for (section, fields) in [
        ("sip", fields::<SipTable>()),
        ("sip.watch", fields::<WatchTable>()),
        ("sip", fields::<TlsTable>()),
        ("sip", fields::<CertificateTable>()),
        ("sip.dns", fields::<DnsTable>()),
        ("sip.streams", fields::<StreamsTable>()),
        ("sip.tls_client", fields::<TlsClientTable>()),
        ("route", fields::<RouteTable>()),
        ("route", fields::<MatchTable>()),
        ("route", fields::<HeaderTable>()),
        ("route", fields::<AnswerTable>()),
        ("mirror", fields::<MirrorTable>()),
        ("script", fields::<ScriptTable>()),
        ("accounting", fields::<RouteAccountTable>()),
        ("accounting", fields::<AccountingTable>()),
        ("accounting.identity", fields::<IdentityTable>()),
        ("queue", fields::<QueueTable>()),
        ("ledger", fields::<LedgerTable>()),
        ("sinks.radius.billing", fields::<PolicyTable>()),
        ("cluster", fields::<ClusterTable>()),
        ("deliver", fields::<DeliverTable>()),
        ("admin", fields::<AdminTable>()),
        ("admin.tls", fields::<AdminTlsTable>()),
        ("trace", fields::<TraceTable>()),
        ("telemetry", fields::<TelemetryTable>()),
        ("log", fields::<LogTable>()),
        ("service", fields::<ServiceTable>()),
    ] {
        for field in fields {
            assert!(has(section, field), "[{section}] does not mention `{field}`");
        }
    }
    for section in fields::<FileTable>().iter().filter(|section| **section != "sinks") {
        assert!(sections.contains_key(section), "no [{section}]");
    }
    let shown = sinks(&sample);
    for kind in kinds::SECTIONS {
        let of_kind = |(own, _): &&(&str, &str)| kind.path == format!("sinks.{own}");
        let (own, name) = shown.iter().find(of_kind).unwrap_or_else(|| panic!("no sink of {}", kind.path));
        for option in kind.live.iter().chain(kind.restart) {
            assert!(has(&format!("sinks.{own}.{name}"), option), "[{}.{name}] does not mention `{option}`", kind.path);
        }
    }
    assert_eq!(fields::<SinksTable>().len(), kinds::SECTIONS.len());
}

/// The fields a table knows: what its reader asks a deserializer for.
fn fields<T: for<'de> Deserialize<'de>>() -> &'static [&'static str] {
    match T::deserialize(Probe) {
        Err(Asked(fields)) => fields,
        Ok(_) => panic!("a probe holds no value"),
    }
}

struct Probe;

/// The fields that were asked for.
#[derive(Debug)]
struct Asked(&'static [&'static str]);

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl std::error::Error for Asked {}

impl de::Error for Asked {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(&[])
    }
}

impl<'de> Deserializer<'de> for Probe {
    type Error = Asked;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Asked> {
        Err(Asked(&[]))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Asked> {
        Err(Asked(fields))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
