//! Sinks from the parameters of the acc modules.

use std::collections::BTreeSet;

use super::dialect::Dialect;
use super::extras::{Backend, Extra, Fields, list, tags};
use super::lexer::Spot;
use super::params::{Params, Value};
use super::report::{About, Report};
use super::toml::{Line, table};
use super::usage::Usage;
use super::variables::template;
use super::{database, extras};

/// A sink.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sink {
    /// Its backend.
    pub backend: Backend,
    /// Its kind.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Whether it gets one record a call.
    pub is_whole: bool,
    /// Its options.
    pub lines: Vec<Line>,
}

/// A file with a secret in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Secret {
    /// The name of the file.
    pub file: String,
    /// Its only line.
    pub text: String,
}

/// Fields, each list for its section.
#[derive(Clone, Debug, Default)]
pub struct AllFields {
    /// `[accounting.fields]`
    pub record: Fields,
    /// `[accounting.leg_fields]`
    pub leg: Fields,
    /// `[accounting.bye_fields]`
    pub bye: Fields,
    /// `[accounting.bye_leg_fields]`
    pub bye_leg: Fields,
}

/// What sinks are made from.
pub struct Maker<'m> {
    /// Whose file it is.
    pub dialect: Dialect,
    /// Its parameters.
    pub params: &'m Params<'m>,
    /// What its routes use.
    pub usage: &'m Usage,
    /// Fields so far.
    pub fields: AllFields,
    /// What was not taken.
    pub report: &'m mut Report,
    /// Passwords.
    pub secrets: Vec<Secret>,
}

/// Modules whose parameters are those of acc, by releases.
pub const MODULES: &[&str] = &["acc", "acc_radius", "acc_db", "acc_syslog"];

/// The name of the file with the password of the database.
const PASSWORD_FILE: &str = "sql-password";

impl Maker<'_> {
    /// A parameter of acc.
    pub fn param(&self, name: &str) -> Option<Value> {
        self.params.of(MODULES, name)
    }

    fn is_on(&self, name: &str) -> bool {
        self.param(name).is_some_and(|value| value.is_on())
    }

    /// The number or name of a flag that is set.
    pub fn flag(&self, name: &str) -> Option<Value> {
        self.param(name).filter(|value| value.number().is_none_or(|number| number > 0))
    }

    /// Whether Kamailio makes records of whole calls.
    pub fn has_cdr(&self) -> bool {
        self.dialect == Dialect::Kamailio && self.is_on("cdr_enable")
    }

    /// All sinks, first those of transactions.
    pub fn all(&mut self) -> Vec<Sink> {
        let mut sinks = Vec::new();
        for backend in Backend::ALL {
            let names: &[&str] = match backend {
                Backend::Log => &["log_flag", "log_missed_flag"],
                Backend::Db => &["db_flag", "db_missed_flag"],
                Backend::Aaa => &["radius_flag", "radius_missed_flag", "aaa_flag", "aaa_missed_flag"],
                Backend::Evi => &["evi_flag", "evi_missed_flag"],
            };
            let has_flag = names.iter().any(|name| self.flag(name).is_some());
            let cdr_flag = self.flag("cdr_flag").is_some() && has_flag;
            let is_whole = self.usage.whole.contains(&backend) || cdr_flag || self.has_own_cdr(backend);
            let is_plain = has_flag && !cdr_flag
                || self.usage.plain.contains(&backend)
                || self.usage.by_hand.contains(&backend) && !is_whole;
            for is_whole in [is_plain.then_some(false), is_whole.then_some(true)].into_iter().flatten() {
                sinks.extend(self.sink(backend, is_whole));
            }
        }
        sinks
    }

    /// Whether Kamailio's records of whole calls go to this backend.
    fn has_own_cdr(&self, backend: Backend) -> bool {
        match backend {
            _ if !self.has_cdr() => false,
            Backend::Log => self.param("cdr_log_enable").is_none_or(|value| value.is_on()),
            Backend::Db => self.param("cdrs_table").is_some_and(|value| !value.text.is_empty()),
            Backend::Aaa | Backend::Evi => false,
        }
    }

    fn sink(&mut self, backend: Backend, is_whole: bool) -> Option<Sink> {
        let (kind, mut lines) = match backend {
            Backend::Log => ("syslog", self.syslog(is_whole)),
            Backend::Db => ("sql", self.sql(is_whole)?),
            Backend::Aaa => ("radius", self.radius()?),
            Backend::Evi => {
                let at = self.param("evi_flag").map_or_else(Spot::default, |value| value.at);
                let why =
                    "subscribers of events are not in this file; add a sink of the kind nats, amqp, webhook or redis";
                self.report.add(About::Records, at, "events of acc (evi)", why);
                return None;
            }
        };
        let records = if is_whole { "cdr" } else { "transactions" };
        lines.push(Line::text("records", records, None));
        let labels = self.fields(backend, is_whole);
        lines.extend(self.fields_lines(&labels, backend, is_whole));
        if backend == Backend::Db && !labels[1].is_empty() {
            let task =
                "add the column `leg` to the tables of acc: it tells the rows of one record apart, one for each leg";
            self.report.to_do(task);
        }
        if backend == Backend::Log {
            lines.push(Line::text("unmapped", "omit", None));
        }
        let prefix = if is_whole { "cdr" } else { "acc" };
        let name = format!("{prefix}-{}", backend.word());
        Some(Sink { backend, kind, name, is_whole, lines })
    }

    fn syslog(&self, is_whole: bool) -> Vec<Line> {
        let mut lines = vec![Line::text("to", "/dev/log", None), Line::text("profile", self.dialect.profile(), None)];
        let of_cdr = self.param("cdr_facility").filter(|_| is_whole);
        if let Some(facility) = of_cdr.or_else(|| self.param("log_facility")) {
            lines.push(Line::text("facility", &facility.text, Some(facility.at)));
        }
        if let Some(level) = self.param("log_level") {
            lines.push(Line::text("level", level_name(&level.text, self.dialect), Some(level.at)));
        }
        if let Some(format) =
            self.param("log_fmt").filter(|_| matches!(self.dialect, Dialect::Ser | Dialect::Openser11))
        {
            lines.push(Line::text("log_fmt", &format.text, Some(format.at)));
        }
        lines.extend(self.times(is_whole));
        lines.extend(self.spans());
        lines
    }

    /// Options of the time that both kinds have with Kamailio's profile.
    fn times(&self, is_whole: bool) -> Vec<Line> {
        let mut lines = Vec::new();
        if self.dialect != Dialect::Kamailio {
            return lines;
        }
        if let Some(mode) = self.param("time_mode").filter(|mode| (1..=4).contains(&mode.number().unwrap_or(0))) {
            lines.push(Line::raw("time_mode", mode.text.trim(), Some(mode.at)));
        }
        if let Some(format) = self.param("time_format") {
            lines.push(Line::text("time_format", &format.text, Some(format.at)));
        }
        if is_whole {
            let confirmed = self.param("cdr_start_on_confirmed");
            let start = if confirmed.as_ref().is_some_and(Value::is_on) { "acknowledged" } else { "created" };
            lines.push(Line::text("cdr_start", start, confirmed.map(|value| value.at)));
        }
        lines
    }

    /// How the systems make whole seconds.
    fn spans(&self) -> Option<Line> {
        match self.dialect {
            Dialect::Opensips => Some(Line::text("round", "up", None)),
            Dialect::Opensips22 => Some(Line::text("round", "truncate", None)),
            _ => None,
        }
    }

    fn sql(&mut self, is_whole: bool) -> Option<Vec<Line>> {
        let Some(url) = self.param("db_url") else {
            let at = self.param("db_flag").map_or_else(Spot::default, |value| value.at);
            let why = "acc has no `db_url` here: nothing is written to a database";
            self.report.add(About::Records, at, "accounting to a database", why);
            return None;
        };
        let database = match database::parse(&url.text) {
            Ok(database) => database,
            Err(why) => {
                self.report.add(About::Records, url.at, "db_url of acc", why);
                return None;
            }
        };
        let mut lines = vec![Line::text("url", &database.url, Some(url.at))];
        if let Some(text) = database.password {
            lines.push(Line::text("password_file", PASSWORD_FILE, Some(url.at)));
            let secret = Secret { file: PASSWORD_FILE.to_owned(), text };
            if !self.secrets.contains(&secret) {
                self.secrets.push(secret);
            }
        }
        lines.push(Line::text("profile", self.dialect.profile(), None));
        for (param, key) in [("db_table_acc", "table"), ("db_table_missed_calls", "missed_table")] {
            if let Some(name) = self.param(param) {
                lines.push(Line::text(key, &name.text, Some(name.at)));
            }
        }
        if let Some(name) = self.param("cdrs_table").filter(|name| is_whole && !name.text.is_empty()) {
            lines.push(Line::text("cdr_table", &name.text, Some(name.at)));
        }
        lines.extend(self.columns(is_whole));
        lines.push(Line::text("guard", "side-table", None));
        lines.extend(self.times(is_whole));
        lines.extend(self.spans());
        self.report.to_do(
            "make the table in which delivered records are noted, beside those of acc: `tollgate sql` prints it",
        );
        if self.dialect != Dialect::Ser {
            self.report.to_do(
                "set `time_zone` of the SQL sinks: the proxy wrote the local time of its host, Tollgate writes UTC",
            );
        }
        Some(lines)
    }

    /// `columns`: those that are called otherwise.
    fn columns(&mut self, is_whole: bool) -> Option<Line> {
        let mut pairs = Vec::new();
        let mut at = None;
        let is_old = matches!(self.dialect, Dialect::Ser | Dialect::Openser11);
        for (param, column) in COLUMNS.iter().chain(if is_old { OLD_COLUMNS } else { NEW_COLUMNS }) {
            if let Some(name) = self.param(param)
                && name.text != *column
            {
                at = at.or(Some(name.at));
                pairs.push(((*column).to_owned(), name.text));
            }
        }
        if is_whole && self.dialect == Dialect::Kamailio {
            // Its records of whole calls have the Call-ID and the like only as values of `cdr_extra`.
            let labels = self.param("cdr_extra").map(|value| list(&value.text).0).unwrap_or_default();
            let taken = labels.into_iter().map(|extra| extra.label).filter(|label| CORE.contains(&label.as_str()));
            pairs.extend(taken.map(|label| (label, String::new())));
        }
        let mut names = BTreeSet::new();
        pairs.retain(|(name, _)| names.insert(name.clone()));
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        (!pairs.is_empty()).then(|| Line::raw("columns", table(pairs), at))
    }

    fn radius(&mut self) -> Option<Vec<Line>> {
        let url = self.param("aaa_url");
        let config = self.param("radius_config").or_else(|| {
            let file = url.as_ref()?.text.strip_prefix("radius:")?.to_owned();
            Some(Value { text: file, at: url.as_ref()?.at })
        });
        let Some(config) = config.filter(|config| !config.text.is_empty()) else {
            let at = url.as_ref().map_or_else(Spot::default, |url| url.at);
            let (what, why) = match &url {
                Some(url) => (
                    format!("aaa_url {}", url.text),
                    "only `radius:FILE` is taken; for Diameter add a sink of that kind",
                ),
                None => {
                    ("accounting to RADIUS".to_owned(), "there is no `radius_config` or `aaa_url`: nothing is sent")
                }
            };
            self.report.add(About::Records, at, what, why);
            return None;
        };
        let mut lines = vec![
            Line::text("config", &config.text, Some(config.at)),
            Line::text("profile", self.dialect.profile(), None),
        ];
        if let Some(service) = self.param("service_type").filter(|value| value.number().is_some()) {
            lines.push(Line::text("service_type", &service.text, Some(service.at)));
        }
        lines.extend(self.spans());
        let task = format!("see that {} and the dictionary it names are on this machine", config.text);
        self.report.to_do(task);
        Some(lines)
    }

    /// Values of a backend by field: of records, of legs, of the BYE.
    fn fields(&mut self, backend: Backend, is_whole: bool) -> [Vec<(String, String)>; 3] {
        let own = match backend {
            Backend::Log => ["log_extra", "log_extra_bye"],
            Backend::Db => ["db_extra", "db_extra_bye"],
            Backend::Aaa => ["aaa_extra", "aaa_extra_bye"],
            Backend::Evi => ["evi_extra", "evi_extra_bye"],
        };
        let is_kamailio_cdr = is_whole && self.dialect == Dialect::Kamailio;
        let mut record =
            if is_kamailio_cdr { self.extras("cdr_extra", List::Record) } else { self.extras(own[0], List::Record) };
        if backend == Backend::Aaa {
            record.extend(self.extras("radius_extra", List::Record));
        }
        record.extend(self.tagged("extra_fields", backend));
        let mut leg = Vec::new();
        if !is_kamailio_cdr {
            leg = self.extras("multi_leg_info", List::Leg);
            leg.extend(self.old_legs());
            leg.extend(self.tagged("leg_fields", backend));
        }
        let bye = if is_whole { self.extras(own[1], List::Bye) } else { Vec::new() };
        if is_whole {
            self.extras("multi_leg_bye_info", List::ByeLeg);
        }
        [record, leg, bye]
    }

    /// Field and label of each value of a parameter.
    fn extras(&mut self, param: &str, of: List) -> Vec<(String, String)> {
        let Some(value) = self.param(param) else { return Vec::new() };
        let (extras, odd) = list(&value.text);
        for part in odd {
            self.report.add(About::Records, value.at, format!("{param}: {part}"), "`name=value` was expected");
        }
        let mut last = None;
        let mut labels = Vec::new();
        for Extra { label, value: text } in extras {
            let template = match template(&text) {
                Ok(template) => template,
                Err(why) => {
                    self.report.add(About::Records, value.at, format!("{param}: {label}={text}"), why);
                    continue;
                }
            };
            let fields = self.list_of(of);
            let label_of_field = if matches!(of, List::Bye) { format!("{label}_bye") } else { label.clone() };
            let (name, number) = fields.name(&label_of_field, &template, last);
            last = Some(number);
            labels.push((name, label));
        }
        let count = self.list_of(of).list().len();
        if count > extras::FIELDS_MAX {
            let why =
                format!("there are {count} different values, and {} are permitted: take some off", extras::FIELDS_MAX);
            self.report.add(About::Records, value.at, param, why);
        }
        labels
    }

    fn list_of(&mut self, of: List) -> &mut Fields {
        match of {
            List::Record => &mut self.fields.record,
            List::Leg => &mut self.fields.leg,
            List::Bye => &mut self.fields.bye,
            List::ByeLeg => &mut self.fields.bye_leg,
        }
    }

    /// Tags of OpenSIPS from 2.3 on: the script gives them their values.
    fn tagged(&mut self, param: &str, backend: Backend) -> Vec<(String, String)> {
        let mut labels = Vec::new();
        for value in self.params.all("acc", param) {
            match tags(&value.text) {
                Some((own, extras)) if own == backend => {
                    for Extra { label, value: tag } in extras {
                        if !extras::is_field_name(&tag) {
                            let why = "a field's name has letters, digits, `_` and `-`: call it otherwise";
                            self.report.add(About::Records, value.at, format!("{param}: {tag}"), why);
                            continue;
                        }
                        let is_leg = param == "leg_fields";
                        let prefix = if is_leg { "acc_leg_" } else { "acc_extra_" };
                        let fields = if is_leg { &mut self.fields.leg } else { &mut self.fields.record };
                        fields.of_tag(&tag, &format!("$avp({prefix}{tag})"));
                        labels.push((tag, label));
                    }
                }
                Some(_) => {}
                None => {
                    let why = "`backend: tag->name; tag` was expected, with log, db, aaa or evi";
                    self.report.add(About::Records, value.at, format!("{param} {:?}", value.text), why);
                }
            }
        }
        labels
    }

    /// The two fields of a leg of OpenSER up to 1.1.
    fn old_legs(&mut self) -> Vec<(String, String)> {
        let mut labels = Vec::new();
        for (param, label) in [("src_leg_avp_id", "src_leg"), ("dst_leg_avp_id", "dst_leg")] {
            if let Some(id) = self.param(param) {
                let (name, _) = self.fields.leg.name(label, &format!("$avp({})", id.text.trim()), None);
                labels.push((name, label.to_owned()));
            }
        }
        labels
    }

    fn fields_lines(&self, labels: &[Vec<(String, String)>; 3], backend: Backend, is_whole: bool) -> Vec<Line> {
        let [record, leg, bye] = labels;
        let param = match (backend, is_whole && self.dialect == Dialect::Kamailio) {
            (_, true) => "cdr_extra",
            (Backend::Log, _) => "log_extra",
            (Backend::Db, _) => "db_extra",
            (Backend::Aaa, _) => "radius_extra",
            (Backend::Evi, _) => "evi_extra",
        };
        let at = |param: &str| self.param(param).map(|value| value.at);
        let pairs = |list: &[(String, String)]| {
            let mut names = BTreeSet::new();
            let new = list.iter().filter(|(name, _)| names.insert(name.as_str()));
            table(new.map(|(name, label)| (name.as_str(), label.as_str())))
        };
        let mut lines = Vec::new();
        let all: Vec<_> = record.iter().chain(bye).cloned().collect();
        if !all.is_empty() {
            lines.push(Line::raw("fields", pairs(&all), at(param)));
        }
        if !leg.is_empty() {
            lines.push(Line::raw("leg_fields", pairs(leg), at("multi_leg_info")));
        }
        lines
    }
}

/// Whose values a list has.
#[derive(Clone, Copy, Debug)]
enum List {
    Record,
    Leg,
    Bye,
    ByeLeg,
}

/// Columns of the core, as every profile from OpenSER 1.2 on has them.
const CORE: &[&str] = &["method", "from_tag", "to_tag", "callid", "sip_code", "sip_reason", "time"];

/// Parameters that name columns, and the columns they are about: in all systems, from OpenSER 1.2 on, and before it.
const COLUMNS: &[(&str, &str)] = &[("acc_time_column", "time")];

const NEW_COLUMNS: &[(&str, &str)] = &[
    ("acc_method_column", "method"),
    ("acc_from_tag_column", "from_tag"),
    ("acc_to_tag_column", "to_tag"),
    ("acc_callid_column", "callid"),
    ("acc_sip_code_column", "sip_code"),
    ("acc_sip_reason_column", "sip_reason"),
    ("time_attr", "time_attr"),
    ("time_exten", "time_exten"),
    ("cdr_start_id", "start_time"),
    ("cdr_end_id", "end_time"),
    ("cdr_duration_id", "duration"),
];

const OLD_COLUMNS: &[(&str, &str)] = &[
    ("acc_sip_from_column", "sip_from"),
    ("acc_sip_to_column", "sip_to"),
    ("acc_sip_status_column", "sip_status"),
    ("acc_sip_method_column", "sip_method"),
    ("acc_i_uri_column", "i_uri"),
    ("acc_o_uri_column", "o_uri"),
    ("acc_sip_callid_column", "sip_callid"),
    ("acc_user_column", "username"),
    ("acc_from_uri_column", "from_uri"),
    ("acc_to_uri_column", "to_uri"),
    ("acc_totag_column", "totag"),
    ("acc_fromtag_column", "fromtag"),
    ("acc_domain_column", "domain"),
];

/// A level by its name; the numbers of Kamailio are others than those of the older systems.
fn level_name(text: &str, dialect: Dialect) -> &str {
    let names = if dialect == Dialect::Kamailio { KAMAILIO_LEVELS } else { LEVELS };
    let number = text.trim().parse::<i8>().ok();
    names.iter().find(|(own, _)| Some(*own) == number).map_or(text.trim(), |(_, name)| name)
}

const KAMAILIO_LEVELS: &[(i8, &str)] = &[
    (-5, "L_ALERT"),
    (-4, "L_BUG"),
    (-2, "L_CRIT"),
    (-1, "L_ERR"),
    (0, "L_WARN"),
    (1, "L_NOTICE"),
    (2, "L_INFO"),
    (3, "L_DBG"),
];

const LEVELS: &[(i8, &str)] =
    &[(-3, "L_ALERT"), (-2, "L_CRIT"), (-1, "L_ERR"), (1, "L_WARN"), (2, "L_NOTICE"), (3, "L_INFO"), (4, "L_DBG")];
