//! The script of a flow in Lua: `tollgate import` translates the lines of its `flow.md`, put into the frame that the README
//! of the flows describes.

use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;
use tollgate::import::{Options, import};
use toml::Table;

use super::flow::{Settings, World};

/// The parameters that say whose file it is, and the flags: 1 accounts, 2 records missed calls, 3 failed ones.
const KAMAILIO: &str = r#"#!KAMAILIO
modparam("acc", "log_flag", 1)
modparam("acc", "log_missed_flag", 2)
modparam("acc", "failed_transaction_flag", 3)
modparam("acc", "db_flag", 1)
modparam("acc", "db_missed_flag", 2)
modparam("acc", "db_url", "mysql://a@localhost/a")
modparam("acc_radius", "radius_flag", 1)
modparam("acc_radius", "radius_missed_flag", 2)
modparam("acc_radius", "radius_config", "radiusclient.conf")
"#;
const OPENSIPS: &str = r#"modparam("acc", "db_url", "mysql://a@localhost/a")
modparam("acc", "aaa_url", "radius:radiusclient.conf")
"#;

/// `[accounting.flags]` of these.
pub fn flags(world: World) -> Table {
    let flags = r"log_flag = 1
        log_missed_flag = 2
        db_flag = 1
        db_missed_flag = 2
        radius_flag = 1
        radius_missed_flag = 2
        failed_transaction_flag = 3";
    if world == World::Kamailio { flags.parse().expect("it is TOML") } else { Table::new() }
}

/// The file of the system that played the flow.
fn source(settings: &Settings, world: World) -> String {
    let is_kamailio = world == World::Kamailio;
    let params = settings.params().map(|(name, value)| {
        let (module, name) = name.split_once('.').expect("a module and its parameter");
        format!("modparam(\"{module}\", \"{name}\", \"{value}\")\n")
    });
    let params: String = params.collect();
    // A BYE has the plain mark unless the flow says otherwise.
    let usual = if is_kamailio { "if (is_method(\"BYE\")) setflag(1);" } else { "" };
    let inside = settings.inside.as_deref().unwrap_or(usual);
    let code = |piece: &str| if piece.starts_with("(no marks)") { String::new() } else { piece.to_owned() };
    let target = "$ru=\"sip:bob@127.0.0.1:24201\";";
    let targets = if settings.targets.is_empty() { target } else { &settings.targets };
    let armed = if settings.failure.is_empty() { "" } else { "t_on_failure(\"F\");" };
    format!(
        "{}{params}route {{\n record_route();\n if (has_totag()) {{\n {inside}\n t_relay(); exit;\n }}\n \
         if (is_method(\"CANCEL\")) {{\n {}\n t_relay(); exit;\n }}\n {}\n {targets}\n {armed}\n t_relay();\n}}\n\
         failure_route[F] {{\n {}\n}}\n",
        if is_kamailio { KAMAILIO } else { OPENSIPS },
        settings.cancel,
        code(&settings.initial),
        settings.failure,
    )
}

/// The same in Lua.
pub fn lua(settings: &Settings, world: World) -> String {
    // Sinks are called otherwise here; the words of their kinds mean the same.
    static SINK: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\b(?:acc|cdr)-(log|db|aaa|evi)\b").expect("a pattern"));
    let text = source(settings, world);
    let open = |_: &Path| Ok(text.clone().into_bytes());
    let made = import(Path::new("flow.cfg"), &Options::default(), &open);
    let made = made.unwrap_or_else(|mistake| panic!("{mistake}\n{text}"));
    let lua = made.lua.expect("it has routes");
    assert!(!lua.lines().any(|line| line.trim_start().starts_with("-- NOT TRANSLATED")), "{lua}");
    SINK.replace_all(&lua, "$1").into_owned()
}
