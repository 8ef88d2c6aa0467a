//! `tollgate.toml` from settings and parameters.

use super::dialect::{Dialect, Verdict};
use super::extras::{Backend, Fields};
use super::lexer::Spot;
use super::listen;
use super::params::{Params, Value};
use super::report::{About, Report};
use super::sinks::{AllFields, MODULES, Maker, Secret, Sink};
use super::syntax::Script;
use super::toml::{Line, Writer, list};
use super::usage::Usage;

/// What was written.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Config {
    /// The text of `tollgate.toml`.
    pub text: String,
    /// Its sinks.
    pub sinks: Vec<Sink>,
    /// Files with passwords.
    pub secrets: Vec<Secret>,
    /// The flag that Kamailio's dialogs are tracked by.
    pub dialog_flag: Option<String>,
}

/// Longest life of a call that the configuration takes, seconds.
const LIFETIME_S_MAX: i64 = 31_536_000;

/// Longest ringing that it takes, seconds.
const RING_S_MAX: i64 = 3_600;

/// Writes it; `title` names the file it is made from, `origin` shows a place.
pub fn write(
    verdict: &Verdict,
    script: &Script,
    usage: &Usage,
    report: &mut Report,
    (title, origin): (&str, &dyn Fn(Spot) -> String),
) -> Config {
    let params = Params::new(script);
    let dialect = verdict.dialect;
    let listeners = listen::of(&params, report);
    let ring = ring_timeout(&params, dialect);
    let mut maker =
        Maker { dialect, params: &params, usage, fields: AllFields::default(), report, secrets: Vec::new() };
    let sinks = maker.all();
    let has_script = !script.routes.is_empty();
    let flags = flags(&maker, &sinks);
    let accounting = accounting(&maker, &sinks, has_script, &flags);
    let (fields, secrets) = (std::mem::take(&mut maker.fields), std::mem::take(&mut maker.secrets));
    let mut writer = Writer::new(origin);
    writer.comment(&format!(
        "Made from {title} by `tollgate import`; behind each line stands where it comes from.\n\
         What was not taken, and what there is to do before the first start, stands in import.txt.\n\
         etc/tollgate.toml of the release explains every option."
    ));
    let mut sip = Vec::new();
    for (key, values) in
        [("listen", &listeners.listen), ("advertise", &listeners.advertise), ("names", &listeners.names)]
    {
        if let Some((_, at)) = values.first() {
            sip.push(Line::raw(key, list(values.iter().map(|(text, _)| text.as_str())), Some(*at)));
        }
    }
    sip.extend(ring);
    writer.section("sip", &sip);
    if has_script {
        writer.section("script", &[Line::text("file", "route.lua", None)]);
    }
    writer.section("accounting", &accounting);
    if has_script && !flags.is_empty() {
        writer.section("accounting.flags", &flags);
    }
    for (head, fields) in [
        ("accounting.fields", &fields.record),
        ("accounting.leg_fields", &fields.leg),
        ("accounting.bye_fields", &fields.bye),
        ("accounting.bye_leg_fields", &fields.bye_leg),
    ] {
        fields_section(&mut writer, head, fields);
    }
    for sink in &sinks {
        writer.section(&format!("sinks.{}.{}", sink.kind, sink.name), &sink.lines);
    }
    let dialog_flag = params.get("dialog", "dlg_flag").map(|value| value.text);
    leftovers(&params, usage, report);
    Config { text: writer.finish(), sinks, secrets, dialog_flag }
}

fn fields_section(writer: &mut Writer<'_>, head: &str, fields: &Fields) {
    let lines: Vec<_> = fields.list().iter().map(|(name, template)| Line::text(name, template, None)).collect();
    if !lines.is_empty() {
        writer.section(head, &lines);
    }
}

/// How long a target may ring: milliseconds in Kamailio, seconds in the others.
fn ring_timeout(params: &Params<'_>, dialect: Dialect) -> Option<Line> {
    let value = params.get("tm", "fr_inv_timer").or_else(|| params.get("tm", "fr_inv_timeout"))?;
    let number = value.number()?;
    let seconds = if dialect == Dialect::Kamailio { number.saturating_add(999) / 1_000 } else { number };
    (1..=RING_S_MAX).contains(&seconds).then(|| Line::raw("ring_timeout_s", seconds.to_string(), Some(value.at)))
}

/// Parameters that name flags, and how they are called in `[accounting.flags]`, with the backend they are for.
const FLAGS: &[(&str, &str, Option<Backend>)] = &[
    ("log_flag", "log_flag", Some(Backend::Log)),
    ("log_missed_flag", "log_missed_flag", Some(Backend::Log)),
    ("db_flag", "db_flag", Some(Backend::Db)),
    ("db_missed_flag", "db_missed_flag", Some(Backend::Db)),
    ("radius_flag", "radius_flag", Some(Backend::Aaa)),
    ("radius_missed_flag", "radius_missed_flag", Some(Backend::Aaa)),
    ("aaa_flag", "radius_flag", Some(Backend::Aaa)),
    ("aaa_missed_flag", "radius_missed_flag", Some(Backend::Aaa)),
    ("failed_transaction_flag", "failed_transaction_flag", None),
    ("cdr_flag", "cdr_flag", None),
];

/// Flags of sinks that there are.
fn flags(maker: &Maker<'_>, sinks: &[Sink]) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for (param, key, backend) in FLAGS {
        let Some(value) = maker.flag(param) else { continue };
        let has_sink = backend.is_none_or(|backend| sinks.iter().any(|sink| sink.backend == backend));
        if has_sink && !sinks.is_empty() && lines.iter().all(|line| line.key != *key) {
            lines.push(match value.number() {
                Some(number) => Line::raw(key, number.to_string(), Some(value.at)),
                None => Line::text(key, &value.text, Some(value.at)),
            });
        }
    }
    lines
}

/// Options of `[accounting]`.
fn accounting(maker: &Maker<'_>, sinks: &[Sink], has_script: bool, flags: &[Line]) -> Vec<Line> {
    let mut lines = Vec::new();
    // With a script each request is marked there.
    let on = if has_script { Vec::new() } else { sinks.iter().map(|sink| sink.name.as_str()).collect() };
    lines.push(Line::raw("on", list(on), None));
    if !has_script {
        let has = |end: &str| flags.iter().any(|line| line.key.ends_with(end));
        let words = [("missed", has("missed_flag")), ("failed", has("transaction_flag"))];
        let words = words.into_iter().filter(|(_, is_set)| *is_set).map(|(word, _)| word);
        lines.push(Line::raw("flags", list(words), None));
    }
    let is_old = matches!(maker.dialect, Dialect::Ser | Dialect::Openser11);
    for (option, is_default) in
        [("early_media", false), ("report_ack", is_old), ("report_cancels", false), ("detect_direction", false)]
    {
        let value = maker.param(option);
        let is_on = value.as_ref().map_or(is_default, Value::is_on);
        lines.push(Line::raw(option, is_on.to_string(), value.map(|value| value.at)));
    }
    let filter = maker.param("failed_filter");
    let codes = filter.as_ref().map_or("", |filter| filter.text.as_str()).split(',');
    let codes: Vec<_> = codes.map(str::trim).filter(|code| is_failure(code)).collect();
    lines.push(Line::raw("failed_filter", format!("[{}]", codes.join(", ")), filter.map(|filter| filter.at)));
    lines.push(Line::raw("methods", list(["*"]), None));
    if maker.has_cdr() {
        let value = maker.param("cdr_on_failed");
        let is_on = value.as_ref().is_none_or(Value::is_on);
        lines.push(Line::raw("cdr_on_failed", is_on.to_string(), value.map(|value| value.at)));
    }
    lines.extend(endings(maker));
    lines
}

fn is_failure(code: &str) -> bool {
    code.parse::<u16>().is_ok_and(|code| (300..=699).contains(&code))
}

/// The proxies let calls go on that they have lost sight of, unless dialogs were told to end with a BYE.
fn endings(maker: &Maker<'_>) -> Vec<Line> {
    let mut lines = Vec::new();
    let value = maker.params.get("dialog", "default_timeout");
    let seconds = value.as_ref().and_then(Value::number).filter(|seconds| (1..=LIFETIME_S_MAX).contains(seconds));
    if let (Some(value), Some(seconds)) = (value, seconds) {
        lines.push(Line::raw("lifetime_s", seconds.to_string(), Some(value.at)));
    }
    let at = maker.usage.ends_dialogs;
    lines.push(Line::text("at_lifetime", if at.is_some() { "bye" } else { "record" }, at));
    for option in ["at_no_ack", "at_unreachable"] {
        lines.push(Line::text(option, "record", None));
    }
    lines
}

/// Parameters of acc that need nothing here: what they are for is always so.
const NEEDLESS: &[&str] = &[
    "db_insert_mode",
    "db_version_check",
    "acc_prepare_flag",
    "acc_prepare_always",
    "clone_msg",
    "acc_extra_size",
    "cdr_extra_size",
    "multi_leg_enabled",
    "acc_created_avp_name",
    "db_localtime",
    "log_missed_flag",
    "time_attr",
    "time_exten",
    "time_format",
];

/// Tells of everything that nobody has asked for.
fn leftovers(params: &Params<'_>, usage: &Usage, report: &mut Report) {
    for name in NEEDLESS {
        drop(params.of(MODULES, name));
    }
    if let Some(at) = usage.diameter {
        let why = "the family's own Diameter is not spoken; add a sink of the kind diameter (RFC 6733)";
        report.add(About::Records, at, "accounting to Diameter", why);
    }
    if let Some(at) = usage.registrar {
        let why = "Tollgate keeps no registrations: put a registrar beside it, and name it as target";
        report.add(About::Routing, at, "the registrar", why);
    }
    let mut others: Vec<(&str, Spot, Vec<String>)> = Vec::new();
    for param in params.left() {
        let is_off = matches!(param.value.written().as_str(), "-1" | "0" | "\"\"");
        let is_accounting = param.modules.split('|').any(|module| module.trim().starts_with("acc"));
        if is_accounting && is_off {
            continue;
        }
        if is_accounting {
            let what =
                format!("modparam {} {} = {}", param.modules, param.name, told(&param.name, &param.value.written()));
            report.add(About::Records, param.at, what, why_not(&param.modules, &param.name));
            continue;
        }
        let entry = format!("{} ({})", param.name, param.at.line);
        match others.iter_mut().find(|(modules, at, _)| *modules == param.modules && at.file == param.at.file) {
            Some((_, _, names)) => names.push(entry),
            None => others.push((&param.modules, param.at, vec![entry])),
        }
    }
    for (modules, at, names) in others {
        for some in names.chunks(6) {
            let what = format!("modparam {modules}: {}", some.join(", "));
            report.add(About::Settings, at, what, "not about accounting, listeners or timers: nothing takes its place");
        }
    }
    // Some on each line, or they would be cut.
    for some in params.settings_left().chunks(6) {
        let names: Vec<_> = some.iter().map(|own| format!("{} ({})", own.name, own.at.line)).collect();
        let why = "the service has settings of its own, see etc/tollgate.toml";
        report.add(About::Settings, some[0].at, format!("settings of the core: {}", names.join(", ")), why);
    }
}

/// A value as reports show it: no password of a URL.
fn told(name: &str, value: &str) -> String {
    if name.ends_with("url") { "...".to_owned() } else { value.to_owned() }
}

fn why_not(modules: &str, name: &str) -> &'static str {
    if modules.contains("acc_json") {
        return "lines of JSON have other sinks here: file with `format = \"json\"`, or events";
    }
    if modules.contains("acc_diameter") || name.starts_with("diameter") {
        return "the family's own Diameter is not spoken; add a sink of the kind diameter (RFC 6733)";
    }
    match name {
        "reason_from_hf" => "the phrase of the response stays; the values `reasons` and `q850` have what Reason says",
        "cdr_expired_dlg_enable" => "a call that reaches `lifetime_s` always has its record",
        "cdr_skip" => "the script leaves a call out by not marking it",
        "acc_extra_nullable" | "cdr_extra_nullable" => {
            "see `empty` of the sink: what stands for a text that is not there"
        }
        "db_table_avp" => "a script names the table in `do_accounting(types, flags, table)`",
        "rad_time_mode" => "Event-Timestamp is a number, as RFC 2869 has it",
        "aaa_url" | "radius_config" | "db_url" | "radius_extra" | "aaa_extra" | "db_extra" | "log_extra"
        | "extra_fields" | "leg_fields" | "multi_leg_info" => "no flag and no route accounts to this backend",
        _ => "it has no counterpart",
    }
}
