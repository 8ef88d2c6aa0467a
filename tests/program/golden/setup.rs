//! From the settings of a flow to a configuration of the gateway that plays it for several systems at once.

use std::collections::BTreeMap;
use std::path::Path;

use tollgate::sinks::sql::Dialect;
use toml::{Table, Value};

use super::flow::{Backend, Rounds, Script, Settings, World};
use super::{Exchange, script};

/// What the gateway is to be for one system.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The system.
    pub system: String,
    /// What decides for all sinks of a gateway: systems with the same can be played together.
    pub behaviour: Behaviour,
    /// Its sinks.
    pub sinks: Vec<Sink>,
    /// Its database.
    pub database: Dialect,
    /// Whose tables that has.
    schema: String,
    /// The sinks of each route of the behaviour, by mark.
    pub(super) marks: Vec<Marks>,
}

/// Sinks by what they get: what is accounted, missed calls, failed ones.
pub(super) type Marks = [Vec<String>; 3];

/// What decides for all sinks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Behaviour {
    /// Options of `[accounting]`.
    pub(super) accounting: Table,
    /// Options of each route but its sinks.
    pub(super) routes: Vec<Table>,
    /// The script that decides in the place of routes.
    pub(super) script: Option<Scripted>,
}

/// A script with what belongs to it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scripted {
    /// The file.
    pub(super) lua: String,
    /// `[accounting.flags]`
    pub(super) flags: Table,
    /// How long a target may take for a final response.
    pub(super) ring_timeout_s: Option<i64>,
}

/// By what a flow is played.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum By {
    /// By routes, where they can do it, and by its script elsewhere.
    Routes,
    /// By its script.
    Script,
}

/// A sink of a system.
#[derive(Clone, Debug)]
pub struct Sink {
    /// Its name, which is its own in the whole configuration.
    pub name: String,
    /// Its kind.
    pub backend: Backend,
    /// The attribute of the first field of its legs.
    leg_attribute: i64,
    /// Its options but the receiver and the fields.
    pub(super) options: Table,
    /// Templates with their labels, columns or attributes.
    pub(super) fields: Vec<(String, String)>,
    /// The same of legs, by the name of the variable.
    pub(super) legs: Vec<(String, String)>,
}

/// Where the sinks of a system deliver to.
pub struct Places<'p> {
    /// A socket of syslog.
    pub syslog: &'p Path,
    /// URL of a database.
    pub sql: &'p str,
    /// Client file of RADIUS.
    pub radius: &'p Path,
    /// URL of NATS, and a stream.
    pub events: Option<(String, String)>,
}

pub(super) fn text(value: impl Into<String>) -> Value {
    Value::String(value.into())
}

pub(super) fn texts<S: Into<String>>(values: impl IntoIterator<Item = S>) -> Value {
    Value::Array(values.into_iter().map(text).collect())
}

/// The systems with their sinks, from `systems.toml`.
pub struct Systems(Table);

impl Systems {
    /// Reads them.
    pub fn read(file: &str) -> Self {
        Self(file.parse().expect("systems.toml is TOML"))
    }

    /// The same without events.
    pub fn without_events(mut self) -> Self {
        for (_, system) in self.0.iter_mut() {
            system.as_table_mut().expect("a table for each system").remove(section(Backend::Evi));
        }
        self
    }

    /// Their names.
    pub fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    /// The profile with which the gateway stands in the place of a system: the same at each of its sinks.
    pub fn profile(&self, system: &str) -> &str {
        let sinks = self.of(system).values().filter_map(|table| table.get("profile")?.as_str());
        let profiles: std::collections::BTreeSet<_> = sinks.collect();
        let [profile] = profiles.into_iter().collect::<Vec<_>>()[..] else { panic!("{system} has several profiles") };
        profile
    }

    /// Whether its packets, if it has any, have its own order of attributes.
    pub fn is_exact(&self, system: &str) -> bool {
        let radius = self.of(system).get("radius");
        radius.is_none_or(|radius| radius.get("exact").and_then(Value::as_bool) == Some(true))
    }

    /// The database that a system had.
    fn database(&self, system: &str) -> Dialect {
        let name = self.0[system].get("database").and_then(Value::as_str).expect("a database for each system");
        let found = Dialect::ALL.into_iter().find(|dialect| dialect.name() == name);
        found.unwrap_or_else(|| panic!("{system} had a database `{name}`"))
    }

    fn of(&self, system: &str) -> &Table {
        let table = self.0[system].as_table().expect("a table for each system");
        table.get("like").and_then(Value::as_str).map_or(table, |other| self.of(other))
    }

    /// The plan of a system for a flow.
    ///
    /// # Errors
    /// Why the gateway cannot play it.
    pub fn plan(&self, system: &str, flow: &str, exchange: &Exchange, by: By) -> Result<Plan, String> {
        let own = self.of(system);
        let world = own["world"].as_str().expect("a world");
        let whose = match world {
            "opensips" => World::Opensips,
            "opensips-2.2" => World::Opensips22,
            _ => World::Kamailio,
        };
        let mut settings = Settings::read(flow, whose).ok_or("no settings for it")?;
        if let Some(code) = exchange.inside.get(if whose == World::Kamailio { "kamailio" } else { "opensips" }) {
            settings.inside = Some(code.clone());
        }
        if let Some(code) = &exchange.outside {
            settings.initial.clone_from(code);
        }
        let settings = if world == "old" { settings.old(flow) } else { settings };
        let mut plan = Plan {
            system: system.to_owned(),
            behaviour: Behaviour::default(),
            sinks: Vec::new(),
            database: self.database(system),
            schema: own["tables"].as_str().expect("whose tables").to_owned(),
            marks: Vec::new(),
        };
        plan.behaviour.accounting = accounting(own, &settings);
        if by == By::Script || settings.is_by_hand() {
            plan.by_script(own, &settings, whose, exchange)?;
            return Ok(plan);
        }
        let rounds = settings.rounds();
        for user in settings.users().into_iter().map(Some).chain([None]) {
            let script = settings.script(user.as_deref().unwrap_or_default());
            let mut route = route(&rounds, &script, &exchange.exchange, own, &settings);
            if let Some(user) = &user {
                route.insert("match".to_owned(), Table::from_iter([("user".to_owned(), text(user))]).into());
            }
            plan.lifetime(&settings, &script)?;
            plan.behaviour.routes.push(route);
            let marks = plan.marks(own, &settings, &script);
            plan.marks.push(marks);
        }
        Ok(plan)
    }
}

impl Plan {
    fn lifetime(&mut self, settings: &Settings, script: &Script) -> Result<(), String> {
        if let Some(lifetime) = script.lifetime.as_deref().or(settings.param("dialog.default_timeout")) {
            let lifetime = lifetime.parse().map_err(|_| format!("a lifetime of {lifetime}"))?;
            self.behaviour.accounting.insert("lifetime_s".to_owned(), Value::Integer(lifetime));
        }
        Ok(())
    }

    /// Has the flow's script decide: all its sinks are there, and it names the table of a request itself.
    fn by_script(&mut self, own: &Table, settings: &Settings, world: World, exchange: &Exchange) -> Result<(), String> {
        for user in settings.users().into_iter().map(Some).chain([None]) {
            let mut script = settings.script(user.as_deref().unwrap_or_default());
            script.table = None;
            self.lifetime(settings, &script)?;
            let is_cdr = !script.marked("cdr").is_empty();
            for backend in Backend::ALL.iter().filter(|backend| own.contains_key(section(**backend))) {
                self.sink(own, settings, &script, *backend, is_cdr, By::Script);
            }
            if settings.param("acc.cdr_enable") == Some("1") {
                for backend in [Backend::Log, Backend::Db] {
                    self.sink(own, settings, &script, backend, true, By::Script);
                }
            }
        }
        let ring_timeout_s = exchange.exchange.contains("gw -> alice: 408").then_some(1);
        let mut lua = script::lua(settings, world);
        if own.contains_key("missed") {
            // A missed call is the one that the caller got: what was missed before counts only in what came later.
            lua = lua.replace("relay()", "relay{ targets = \"alternatives\" }");
        }
        self.behaviour.script = Some(Scripted { lua, flags: script::flags(world), ring_timeout_s });
        Ok(())
    }

    /// The sinks of a request, which are made.
    fn marks(&mut self, own: &Table, settings: &Settings, script: &Script) -> Marks {
        let has = |backend: &Backend| own.contains_key(section(*backend));
        let is_cdr = !script.marked("cdr").is_empty();
        let mut all = |mark| {
            let backends = script.marked(mark).into_iter().filter(has);
            backends.map(|backend| self.sink(own, settings, script, backend, is_cdr, By::Routes)).collect::<Vec<_>>()
        };
        let (mut plain, missed, failed) = (all("plain"), all("missed"), all("failed"));
        // Marked for one backend it is for all that account.
        let failed = if failed.is_empty() { failed } else { plain.clone() };
        if settings.param("acc.cdr_enable") == Some("1") {
            for backend in [Backend::Log, Backend::Db].iter().filter(|backend| has(backend)) {
                plain.push(self.sink(own, settings, script, *backend, true, By::Routes));
            }
        }
        [plain, missed, failed]
    }

    /// The sink of a backend for such records; made when it is the first time.
    fn sink(
        &mut self,
        own: &Table,
        settings: &Settings,
        script: &Script,
        backend: Backend,
        is_cdr: bool,
        by: By,
    ) -> String {
        let table = script.table.clone().filter(|_| backend == Backend::Db);
        let mut name = format!("{}-{}", section(backend), self.system.replace('.', "-"));
        for part in [is_cdr.then_some("cdr"), table.as_deref()].into_iter().flatten() {
            name.push('-');
            name.push_str(&part.replace('_', "-"));
        }
        if self.sinks.iter().any(|sink| sink.name == name) {
            return name;
        }
        let mut options = own[section(backend)].as_table().expect("options of a sink").clone();
        options.insert("records".to_owned(), text(if is_cdr { "cdr" } else { "transactions" }));
        if let Some(mode) = settings.param("acc.time_mode").and_then(|mode| mode.parse().ok())
            && matches!(backend, Backend::Log | Backend::Db)
        {
            options.insert("time_mode".to_owned(), Value::Integer(mode));
        }
        if backend == Backend::Aaa {
            for none in ["record_id_attribute", "shortened_attribute"] {
                options.entry(none).or_insert_with(|| text(""));
            }
            options.insert("accounting_on".to_owned(), text("never"));
        }
        if let Some(table) = &table {
            options.insert("table".to_owned(), text(table));
            options.insert("cdr_table".to_owned(), text(table));
        }
        let fields = extras(settings, script, backend, is_cdr, by);
        if backend == Backend::Db && fields.iter().any(|(_, label)| label == "callid") {
            // A whole call of Kamailio has the Call-ID only as an extra.
            options.insert("columns".to_owned(), Table::from_iter([("callid".to_owned(), text(""))]).into());
            // The unique index of the other tables may be of legs, which it has not.
            options.insert("guard".to_owned(), text("none"));
        }
        // Whole calls of Kamailio have no legs.
        let legs =
            if is_cdr && settings.param("acc.cdr_enable").is_some() { Vec::new() } else { legs(settings, backend) };
        let (mut legs, own) = (legs, own.get("legs"));
        if let Some(labels) = own.and_then(|own| own["labels"].as_array())
            && backend == Backend::Log
        {
            for ((_, own), label) in legs.iter_mut().zip(labels) {
                label.as_str().expect("a label").clone_into(own);
            }
        }
        let leg_attribute = own.and_then(|own| own["first"].as_integer()).unwrap_or(250);
        self.sinks.push(Sink { name: name.clone(), backend, leg_attribute, options, fields, legs });
        name
    }
}

/// The section of a backend in `systems.toml`, and the kind of its sink.
pub fn section(backend: Backend) -> &'static str {
    match backend {
        Backend::Log => "syslog",
        Backend::Db => "sql",
        Backend::Aaa => "radius",
        Backend::Evi => "nats",
    }
}

/// Options of `[accounting]`, as the modules have them by default unless the flow says otherwise.
fn accounting(own: &Table, settings: &Settings) -> Table {
    let mut table = Table::new();
    for option in ["detect_direction", "report_ack", "report_cancels", "early_media"] {
        let is_on = settings.param(&format!("acc.{option}")) == Some("1");
        table.insert(option.to_owned(), is_on.into());
    }
    let filter = settings.param("acc.failed_filter").unwrap_or_default().split(',');
    let filter = filter.filter_map(|code| code.parse().ok().map(Value::Integer)).collect();
    table.insert("failed_filter".to_owned(), Value::Array(filter));
    table.insert("methods".to_owned(), texts(["*"]));
    table.insert("at_lifetime".to_owned(), text("record"));
    let is_on = settings.param("acc.cdr_enable") == Some("1") && settings.param("acc.cdr_on_failed") != Some("0");
    table.insert("cdr_on_failed".to_owned(), is_on.into());
    if let Some(more) = own.get("accounting").and_then(Value::as_table) {
        table.extend(more.clone());
    }
    table
}

/// Address of the parties in the golden files.
pub const GOLDEN_HOST: &str = "127.0.0.1";
/// What stands for that of the play in a configuration until it is known.
pub(super) const HOST: &str = "HOST";

fn route(rounds: &Rounds, script: &Script, exchange: &str, own: &Table, settings: &Settings) -> Table {
    let mut route = Table::new();
    if let Some((code, reason)) = &script.answer {
        let answer = [("code".to_owned(), Value::Integer((*code).into())), ("reason".to_owned(), text(reason))];
        route.insert("answer".to_owned(), Table::from_iter(answer).into());
        return route;
    }
    let host = |uri: &str| uri.replace(GOLDEN_HOST, HOST);
    let mut to = vec![format!("sip:bob@{HOST}:24201")];
    if !rounds.parallel.is_empty() {
        to = rounds.parallel.iter().map(|uri| host(uri)).collect();
        route.insert("fork".to_owned(), text("parallel"));
    }
    if let Some((next, code)) = &rounds.next {
        to.push(host(next));
        route.insert("next_on".to_owned(), texts([code]));
        // Who sends the call on has missed it: marked before, and again.
        let is_forward = rounds.is_marked_again && !rounds.marks_late && own.get("missed").is_none();
        route.insert("targets".to_owned(), text(if is_forward { "forward" } else { "alternatives" }));
    }
    route.insert("to".to_owned(), texts(to));
    if exchange.contains("gw -> alice: 408") {
        route.insert("ring_timeout_s".to_owned(), Value::Integer(1));
    }
    let mut avps = BTreeMap::<&str, Vec<&str>>::new();
    for (name, value) in script.values.iter().filter(|(_, value)| !value.starts_with('$')) {
        avps.entry(name).or_default().push(value);
    }
    let has_legs = Backend::ALL.iter().any(|backend| !legs(settings, *backend).is_empty());
    avps.retain(|name, _| has_legs || !["src", "dst"].contains(name));
    if !avps.is_empty() {
        let one = |values: Vec<&str>| if let [value] = values[..] { text(value) } else { texts(values) };
        let avps = avps.into_iter().map(|(name, values)| (name.to_owned(), one(values)));
        route.insert("avps".to_owned(), avps.collect::<Table>().into());
    }
    route
}

/// The value of a field that a script sets by name.
pub(super) const EXTRA: &str = "$avp(acc_extra_";

impl By {
    /// What a variable of the dialog begins with.
    const fn dialog_variable(self) -> &'static str {
        match self {
            Self::Routes => "$avp(",
            Self::Script => "$avp(dlg_",
        }
    }
}

/// Templates and their labels at a backend.
fn extras(settings: &Settings, script: &Script, backend: Backend, is_cdr: bool, by: By) -> Vec<(String, String)> {
    let names: &[&str] = match backend {
        _ if is_cdr && settings.param("acc.cdr_extra").is_some() => &["acc.cdr_extra"],
        Backend::Log => &["acc.log_extra"],
        Backend::Db => &["acc.db_extra"],
        Backend::Aaa => &["acc_radius.radius_extra", "acc.aaa_extra"],
        Backend::Evi => &["acc.evi_extra"],
    };
    let pairs = names.iter().filter_map(|name| settings.param(name)).flat_map(|text| text.split(';'));
    let mut found: Vec<_> = pairs
        .filter_map(|pair| pair.split_once('='))
        .map(|(label, template)| (template.replace("$dlg_var(", by.dialog_variable()), label.to_owned()))
        .collect();
    for (field, label) in assigned(settings, "acc.extra_fields", backend) {
        if by == By::Script {
            found.push((format!("{EXTRA}{field})"), label));
            continue;
        }
        // The last assignment counts; without any there is no value.
        let value = script.values.iter().rev().find(|(name, _)| *name == field);
        found.push((value.map_or_else(|| "$avp(unset)".to_owned(), |(_, value)| value.clone()), label));
    }
    found
}

/// Variables of legs and their labels at a backend.
fn legs(settings: &Settings, backend: Backend) -> Vec<(String, String)> {
    let shared = settings.param("acc.multi_leg_info").into_iter().flat_map(|text| text.split(';'));
    let shared = shared.filter_map(|pair| pair.split_once('='));
    let name = |template: &str| template.trim_start_matches("$avp(").trim_end_matches(')').to_owned();
    let own = assigned(settings, "acc.leg_fields", backend);
    shared.map(|(label, template)| (name(template), label.to_owned())).chain(own).collect()
}

/// `backend:field->label;field`
fn assigned(settings: &Settings, param: &str, backend: Backend) -> Vec<(String, String)> {
    let prefix = match backend {
        Backend::Log => "log:",
        Backend::Db => "db:",
        Backend::Aaa => "aaa:",
        Backend::Evi => "evi:",
    };
    let own = settings.all(param).filter_map(|text| text.strip_prefix(prefix)).flat_map(|text| text.split(';'));
    own.map(|one| one.split_once("->").unwrap_or((one, one)))
        .map(|(field, label)| (field.to_owned(), label.to_owned()))
        .collect()
}

/// Numbers of the attributes that the flows add: `X-Extra-1` is 241, fields of legs follow from 250 on.
pub fn dictionary(sink: &Sink) -> String {
    let extras =
        sink.fields.iter().filter_map(|(_, label)| Some((label, 240 + label.rsplit('-').next()?.parse::<i64>().ok()?)));
    let legs = sink.legs.iter().map(|(_, label)| label).zip(sink.leg_attribute..);
    extras.chain(legs).map(|(label, number)| format!("ATTRIBUTE {label} {number} string\n")).collect()
}

impl Plan {
    /// The statements that make the tables of its database: those of the system, with the columns that the flows had more.
    pub fn tables(&self) -> String {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/tables/{}.sql", self.schema));
        let tables = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let has_legs = self.sinks.iter().any(|sink| !sink.legs.is_empty());
        if has_legs { tables } else { tables.replace("UNIQUE (record_id, leg)", "UNIQUE (record_id)") }
    }
}

impl Plan {
    /// Whether it has a sink that writes this part of a golden file.
    pub fn writes(&self, part: &str) -> bool {
        let kind = part.split(' ').next().map(|kind| if kind == "events" { section(Backend::Evi) } else { kind });
        self.sinks.iter().any(|sink| kind == Some(section(sink.backend)))
    }
}
