//! Whose configuration a file is, by what only that program has.

use std::path::Path;

use super::lexer::Spot;
use super::params::is_for;
use super::preprocess::Input;
use super::syntax::{Call, Script};
use super::walk::calls;

/// A program of the SER family, as far as its records differ.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Dialect {
    /// Kamailio, and SIP-Router before it.
    Kamailio,
    /// OpenSIPS from 2.3 on.
    Opensips,
    /// OpenSIPS 2.2, and 1.6.3 to 2.1 with whole calls.
    Opensips22,
    /// OpenSER 1.2 and 1.3, OpenSIPS up to 2.1.
    Openser,
    /// OpenSER up to 1.1.
    Openser11,
    /// SER.
    Ser,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Kamailio, Self::Opensips, Self::Opensips22, Self::Openser, Self::Openser11, Self::Ser];

    /// The profile of sinks with its records.
    #[must_use]
    pub const fn profile(self) -> &'static str {
        match self {
            Self::Kamailio => "kamailio",
            Self::Opensips => "opensips",
            Self::Opensips22 => "opensips-2.2",
            Self::Openser => "openser",
            Self::Openser11 => "openser-1.1",
            Self::Ser => "ser",
        }
    }

    /// Whether variables in texts that are assigned have their values.
    #[must_use]
    pub const fn fills_texts(self) -> bool {
        !matches!(self, Self::Kamailio | Self::Ser)
    }
}

/// Whose file it is, and what says so.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verdict {
    /// The program.
    pub dialect: Dialect,
    /// What says so.
    pub because: String,
    /// Where that stands; `None`: the name of the file, or nothing at all.
    pub at: Option<Spot>,
}

/// Judges a file.
#[must_use]
pub fn of(path: &Path, input: &Input, script: &Script) -> Verdict {
    let found = by_first_line(input).or_else(|| by_accounting(script)).or_else(|| by_kamailio(input, script));
    found.or_else(|| by_old_words(script)).or_else(|| by_modules(script)).unwrap_or_else(|| by_name(path, script))
}

fn verdict(dialect: Dialect, because: impl Into<String>, at: Spot) -> Verdict {
    Verdict { dialect, because: because.into(), at: Some(at) }
}

fn by_first_line(input: &Input) -> Option<Verdict> {
    let (head, at) = input.head.as_ref()?;
    let dialect = match head.as_str() {
        "KAMAILIO" | "MAXCOMPAT" | "ALL" | "OPENSER" => Dialect::Kamailio,
        "OPENSIPS" => Dialect::Opensips,
        "SER" => Dialect::Ser,
        _ => return None,
    };
    Some(verdict(dialect, format!("`#!{head}`"), *at))
}

/// What stands in parameters of the acc module, and how records are asked for.
fn by_accounting(script: &Script) -> Option<Verdict> {
    let param = |names: &[&str]| {
        let own = |param: &&super::syntax::Param| is_for(&param.modules, "acc") && names.contains(&param.name.as_str());
        script.params.iter().find(own).map(|param| (format!("the parameter `{}` of acc", param.name), param.at))
    };
    if let Some((because, at)) = param(&["extra_fields", "leg_fields"]) {
        return Some(verdict(Dialect::Opensips, because, at));
    }
    let marks = first_call(script, |call| ["do_accounting", "drop_accounting"].contains(&call.name.as_str()));
    let extras = ["log_extra", "db_extra", "aaa_extra", "evi_extra", "multi_leg_info", "multi_leg_bye_info"];
    match (marks, param(&extras)) {
        (Some((name, at)), None) => Some(verdict(Dialect::Opensips, format!("`{name}`"), at)),
        (Some((name, at)), Some((extra, _))) => {
            Some(verdict(Dialect::Opensips22, format!("`{name}` beside {extra}"), at))
        }
        (None, _) => {
            let whole = param(&["cdr_flag", "log_extra_bye", "db_extra_bye", "aaa_extra_bye", "evi_flag", "evi_extra"]);
            let whole = whole.map(|(because, at)| verdict(Dialect::Opensips22, because, at));
            let flags = || param(&["aaa_url", "aaa_flag", "aaa_extra"]);
            whole.or_else(|| flags().map(|(because, at)| verdict(Dialect::Openser, because, at)))
        }
    }
}

/// Modules that Kamailio has alone.
const KAMAILIO_MODULES: &[&str] = &[
    "kex",
    "corex",
    "tmx",
    "pv",
    "siputils",
    "sdpops",
    "ctl",
    "cfg_rpc",
    "jsonrpcs",
    "acc_json",
    "acc_diameter",
    "htable",
    "app_lua",
    "xhttp",
    "tm_async",
    "dmq",
    "debugger",
    "evapi",
    "ims_charging",
];

fn by_kamailio(input: &Input, script: &Script) -> Option<Verdict> {
    if let Some(at) = input.directive {
        return Some(verdict(Dialect::Kamailio, "a line of its preprocessor", at));
    }
    if let Some(route) =
        script.routes.iter().find(|route| route.head.starts_with("re") && route.head.contains("_route"))
    {
        return Some(verdict(Dialect::Kamailio, format!("`{}`", route.head), route.at));
    }
    if let Some((name, at)) = script.modules.iter().find(|(name, _)| KAMAILIO_MODULES.contains(&name.as_str())) {
        return Some(verdict(Dialect::Kamailio, format!("the module {name}"), *at));
    }
    let names = ["cdr_enable", "cdrs_table", "cdr_extra", "time_mode", "failed_filter", "reason_from_hf"];
    let more = ["acc_prepare_always", "acc_prepare_flag", "acc_extra_nullable", "cdr_start_on_confirmed"];
    let param = script
        .params
        .iter()
        .find(|param| is_for(&param.modules, "acc") && names.iter().chain(&more).any(|name| param.name == *name));
    param.map(|param| verdict(Dialect::Kamailio, format!("the parameter `{}` of acc", param.name), param.at))
}

/// What OpenSER dropped, and SER had.
fn by_old_words(script: &Script) -> Option<Verdict> {
    let param = |name: &str| script.params.iter().find(|param| is_for(&param.modules, "acc") && param.name == name);
    if let Some(param) = param("src_leg_avp_id").or_else(|| param("multi_leg_enabled")) {
        return Some(verdict(Dialect::Openser11, format!("the parameter `{}` of acc", param.name), param.at));
    }
    if let Some(format) = param("log_fmt") {
        let is_later = script.params.iter().any(|param| param.name.ends_with("_extra"));
        let dialect = if is_later { Dialect::Openser11 } else { Dialect::Ser };
        return Some(verdict(dialect, "the parameter `log_fmt` of acc", format.at));
    }
    let own = script.modules.iter().find(|(name, _)| ["acc_syslog", "acc_db"].contains(&name.as_str()));
    own.map(|(name, at)| verdict(Dialect::Ser, format!("the module {name}"), *at))
}

/// Modules that OpenSIPS has alone, from the release with the transports as modules on.
fn by_modules(script: &Script) -> Option<Verdict> {
    let of = |start: &str| script.modules.iter().find(|(name, _)| name.starts_with(start));
    if let Some((name, at)) = of("acc_radius") {
        return Some(verdict(Dialect::Kamailio, format!("the module {name}"), *at));
    }
    if let Some((name, at)) = of("proto_") {
        return Some(verdict(Dialect::Opensips, format!("the module {name}"), *at));
    }
    of("signaling").map(|(name, at)| verdict(Dialect::Openser, format!("the module {name}, and flags"), *at))
}

fn by_name(path: &Path, script: &Script) -> Verdict {
    let file = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let folders = script.settings.iter().filter(|own| ["mpath", "loadpath"].contains(&own.name.as_str()));
    let hints = folders.map(|own| own.value.to_lowercase()).chain([file.clone()]);
    for hint in hints {
        let named = [
            ("kamailio", Dialect::Kamailio),
            ("opensips", Dialect::Opensips),
            ("openser", Dialect::Openser),
            ("/ser", Dialect::Ser),
        ];
        if let Some((_, dialect)) = named.iter().find(|(word, _)| hint.contains(word)) {
            return Verdict { dialect: *dialect, because: format!("the name `{hint}`"), at: None };
        }
    }
    if file == "ser.cfg" {
        return Verdict { dialect: Dialect::Ser, because: "the name `ser.cfg`".to_owned(), at: None };
    }
    let because = "nothing in it tells; `--profile` says otherwise".to_owned();
    Verdict { dialect: Dialect::Openser, because, at: None }
}

/// The first call of a function that fits, with its place.
fn first_call(script: &Script, fits: impl Fn(&Call) -> bool) -> Option<(String, Spot)> {
    let mut found = None;
    for route in &script.routes {
        calls(&route.body, &mut |call, at| {
            if found.is_none() && fits(call) {
                found = Some((call.name.clone(), at));
            }
        });
    }
    found
}
