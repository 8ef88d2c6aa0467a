//! Reads what a `flow.md` says of settings and scripts, and what the scripts ask to be recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;

/// Whose settings and scripts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum World {
    /// Kamailio, and those before it, which had its marks.
    Kamailio,
    /// OpenSIPS 4.
    Opensips,
    /// OpenSIPS 2.2: as 4 but for what is said to differ.
    Opensips22,
}

/// Settings of modules, and pieces of the script.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    params: Vec<(String, String)>,
    pub(super) initial: String,
    pub(super) failure: String,
    pub(super) targets: String,
    /// What it does about requests inside a call; `None`: what the README of the flows says.
    pub(super) inside: Option<String>,
    pub(super) cancel: String,
}

fn regex(text: &str) -> Regex {
    Regex::new(text).expect("a pattern of ours")
}

impl Settings {
    /// Those of a world; `None` where the flow has none for it.
    pub fn read(flow: &str, world: World) -> Option<Self> {
        let start = if world == World::Kamailio { "Kamailio settings:" } else { "OpenSIPS 4 settings:" };
        static PIECE: LazyLock<Regex> = LazyLock::new(|| {
            regex(r"(settings|initial request|CANCEL|targets|in-dialog|failure route): (?:`([^`]*)`)?")
        });
        let text = flow.lines().find(|line| line.starts_with(start))?;
        let mut settings = Self::default();
        for found in PIECE.captures_iter(text) {
            let code = found.get(2).map_or("", |code| code.as_str());
            match &found[1] {
                "settings" => settings.params = params(code),
                "initial request" => code.clone_into(&mut settings.initial),
                "failure route" => code.clone_into(&mut settings.failure),
                "targets" => code.clone_into(&mut settings.targets),
                "in-dialog" => settings.inside = Some(code.to_owned()),
                _ => code.clone_into(&mut settings.cancel),
            }
        }
        if world == World::Opensips22 {
            settings.differ(flow);
        }
        Some(settings)
    }

    /// What OpenSIPS 2.2 has instead: settings, and the script of the initial request.
    fn differ(&mut self, flow: &str) {
        let Some(line) = flow.lines().find(|line| line.starts_with("OpenSIPS 2.2 differs:")) else { return };
        self.params.retain(|(name, _)| !name.starts_with("acc.extra") && !name.starts_with("acc.leg"));
        let pieces: Vec<_> = line.split('`').skip(1).step_by(2).filter(|code| !code.is_empty()).collect();
        let scripts = pieces.iter().filter(|code| code.contains('(') && !code.contains(" = "));
        if let Some(initial) = scripts.clone().find(|code| !code.contains("is_method")) {
            (*initial).clone_into(&mut self.initial);
        }
        if let Some(inside) = scripts.clone().find(|code| code.contains("is_method")) {
            self.inside = Some((*inside).to_owned());
        }
        for code in pieces.iter().filter(|code| code.contains(" = ")) {
            for (name, value) in params(code) {
                self.params.retain(|(own, _)| *own != name);
                self.params.push((name, value));
            }
        }
    }

    /// A setting of a module, `acc.early_media`.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// All settings.
    pub fn params(&self) -> impl Iterator<Item = (&str, &str)> {
        self.params.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The values of one that may be there several times.
    pub fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s str> {
        self.params.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// Without what the older systems did not have, extras and whole calls, and what the flow says that they did not do.
    pub fn old(mut self, flow: &str) -> Self {
        static BY_HAND: LazyLock<Regex> = LazyLock::new(|| regex(r#"acc_(db|rad)_request\([^)]*\); "#));
        if flow.contains("SER, OpenSER and OpenSIPS 1.4: only `acc_log_request(") {
            self.initial = BY_HAND.replace_all(&self.initial, "").into_owned();
        }
        let kept = ["report_ack", "report_cancels", "early_media", "detect_direction", "multi_leg_info"];
        self.params.retain(|(name, _)| kept.iter().any(|kept| name.strip_prefix("acc.") == Some(*kept)));
        self
    }

    /// Which users of the Request-URI the script tells apart.
    pub fn users(&self) -> BTreeSet<String> {
        static USER: LazyLock<Regex> = LazyLock::new(|| regex(r#"\$rU=="(\w+)""#));
        USER.captures_iter(&self.initial).map(|found| found[1].to_owned()).collect()
    }

    /// The targets of a request, each round in its order, and the response that leads from one round to the next.
    pub fn rounds(&self) -> Rounds {
        static URI: LazyLock<Regex> = LazyLock::new(|| regex(r#""(sip:[^"]+)""#));
        static STATUS: LazyLock<Regex> = LazyLock::new(|| regex(r#"t_check_status\("(\d+)"\)"#));
        let uris = |code: &str| URI.captures_iter(code).map(|found| found[1].to_owned()).collect::<Vec<_>>();
        let next = STATUS.captures(&self.failure).map(|found| found[1].to_owned());
        Rounds {
            parallel: uris(&self.targets),
            next: uris(&self.failure).into_iter().next().zip(next),
            is_marked_again: self.failure.contains("setflag(2)") || self.failure.contains("missed"),
            marks_late: self.failure.contains("setflag(1)"),
        }
    }

    /// What the script does about a request to this user.
    pub fn script(&self, user: &str) -> Script {
        let mut script = Script::default();
        script.run(&self.initial, user);
        if self.rounds().marks_late {
            script.run(&self.failure.replace("t_on_failure(\"F\"); t_relay(); exit;", ""), user);
        }
        script
    }

    /// Whether the script makes records by hand, which routes do not.
    pub fn is_by_hand(&self) -> bool {
        static BY_HAND: LazyLock<Regex> = LazyLock::new(|| regex(r"\bacc_\w+_request\("));
        [Some(&self.initial), self.inside.as_ref()].into_iter().flatten().any(|code| BY_HAND.is_match(code))
    }
}

/// Where a request goes.
#[derive(Clone, Debug, Default)]
pub struct Rounds {
    /// Targets at once, if there are several.
    pub parallel: Vec<String>,
    /// The target after the first one, and the response that leads to it.
    pub next: Option<(String, String)>,
    /// Whether the failure route marks missed calls again.
    pub is_marked_again: bool,
    /// Whether it is the failure route that marks at all.
    pub marks_late: bool,
}

fn params(code: &str) -> Vec<(String, String)> {
    static PARAM: LazyLock<Regex> = LazyLock::new(|| regex(r#"(\w+\.\w+) = (?:"([^"]*)"|(\d+))"#));
    let value =
        |found: &regex::Captures<'_>| found.get(2).or(found.get(3)).map_or("", |value| value.as_str()).to_owned();
    PARAM.captures_iter(code).map(|found| (found[1].to_owned(), value(&found))).collect()
}

/// A backend of the acc modules.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Backend {
    /// Syslog.
    Log,
    /// SQL.
    Db,
    /// RADIUS.
    Aaa,
    /// Events.
    Evi,
}

impl Backend {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Log, Self::Db, Self::Aaa, Self::Evi];

    const fn word(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Db => "db",
            Self::Aaa => "aaa",
            Self::Evi => "evi",
        }
    }
}

/// What a script has marked, and the values it has set.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// Marks by backend: `plain`, `missed`, `failed`, `cdr`.
    pub marks: BTreeMap<Backend, BTreeSet<String>>,
    /// Another table.
    pub table: Option<String>,
    /// Values of variables in the order of their assignment.
    pub values: Vec<(String, String)>,
    /// A response of the script's own.
    pub answer: Option<(u16, String)>,
    /// Longest call, seconds.
    pub lifetime: Option<String>,
    has_ended: bool,
}

impl Script {
    /// The backends with a mark.
    pub fn marked(&self, mark: &str) -> BTreeSet<Backend> {
        self.marks.iter().filter(|(_, marks)| marks.contains(mark)).map(|(backend, _)| *backend).collect()
    }

    fn run(&mut self, mut code: &str, user: &str) {
        static USER: LazyLock<Regex> = LazyLock::new(|| regex(r#"^if \(\$rU=="(\w+)"\) *"#));
        while !code.trim_start().is_empty() && !self.has_ended {
            code = code.trim_start();
            if let Some(found) = USER.captures(code) {
                let is_it = &found[1] == user;
                let (then, rest) = statement(&code[found[0].len()..]);
                let (otherwise, rest) = match rest.trim_start().strip_prefix("else ") {
                    Some(rest) => statement(rest),
                    None => ("", rest),
                };
                self.run(if is_it { then } else { otherwise }, user);
                code = rest;
            } else if let Some(rest) = code.strip_prefix("if (") {
                let (_, rest) = closing(rest);
                let (then, rest) = statement(rest.trim_start());
                // Conditions of failure routes hold when they run.
                if then.contains("setflag") {
                    self.run(then, user);
                }
                code = rest;
            } else {
                let (one, rest) = statement(code);
                self.one(one.trim().trim_end_matches(';'));
                code = rest;
            }
        }
    }

    fn one(&mut self, code: &str) {
        static SET: LazyLock<Regex> =
            LazyLock::new(|| regex(r#"^\$(avp|acc_extra|acc_leg|dlg_var)\((\w+)\) ?= ?"?([^"]*)"?$"#));
        static CALL: LazyLock<Regex> = LazyLock::new(|| regex(r"^(\w+)\((.*)\)$"));
        if let Some(found) = SET.captures(code) {
            let (name, value) = (found[2].to_owned(), found[3].to_owned());
            if name == "dt" {
                self.lifetime = Some(value);
            } else {
                self.values.push((name, value));
            }
        } else if let Some(found) = CALL.captures(code) {
            let words: Vec<_> = found[2].split(',').map(|word| word.trim().trim_matches('"')).collect();
            self.call(&found[1], &words);
        } else if code == "exit" {
            self.has_ended = true;
        }
    }

    fn call(&mut self, name: &str, words: &[&str]) {
        let first = words.first().copied().unwrap_or_default();
        let chosen = |text: &str| {
            Backend::ALL
                .into_iter()
                .filter(move |own| text.split('|').any(|word| word == own.word()))
                .collect::<Vec<_>>()
        };
        match name {
            "setflag" => {
                let mark = match first {
                    "1" => "plain",
                    "2" => "missed",
                    "3" => "failed",
                    _ => return,
                };
                for backend in Backend::ALL {
                    self.marks.entry(backend).or_default().insert(mark.to_owned());
                }
            }
            "do_accounting" => {
                let flags = words.get(1).into_iter().flat_map(|flags| flags.split('|')).filter(|flag| !flag.is_empty());
                for backend in chosen(first) {
                    let marks = self.marks.entry(backend).or_default();
                    marks.insert("plain".to_owned());
                    marks.extend(flags.clone().map(str::to_owned));
                }
                self.table = words.get(2).map(|table| (*table).to_owned()).or_else(|| self.table.take());
            }
            "drop_accounting" => {
                self.drop_marks(if first.is_empty() { Backend::ALL.to_vec() } else { chosen(first) }, words.get(1));
            }
            "t_reply" => {
                self.answer = first.parse().ok().zip(words.get(1).map(|reason| (*reason).to_owned()));
            }
            _ => {}
        }
    }

    /// As documented: without flags all of a backend, with them these alone.
    fn drop_marks(&mut self, backends: Vec<Backend>, flags: Option<&&str>) {
        for backend in backends {
            match flags {
                None => drop(self.marks.remove(&backend)),
                Some(flags) => {
                    let marks = self.marks.entry(backend).or_default();
                    marks.retain(|mark| !flags.split('|').any(|flag| flag == mark));
                }
            }
        }
    }
}

/// The first statement, or what is in its braces, and the rest.
fn statement(code: &str) -> (&str, &str) {
    if let Some(inner) = code.strip_prefix('{') {
        let mut depth = 1;
        for (at, sign) in inner.char_indices() {
            depth += i32::from(sign == '{') - i32::from(sign == '}');
            if depth == 0 {
                return (&inner[..at], &inner[at + 1..]);
            }
        }
        return (inner, "");
    }
    let mut is_quoted = false;
    for (at, sign) in code.char_indices() {
        is_quoted ^= sign == '"';
        if sign == ';' && !is_quoted {
            return (&code[..=at], &code[at + 1..]);
        }
    }
    (code, "")
}

/// What is before the closing parenthesis, and behind it.
fn closing(code: &str) -> (&str, &str) {
    let mut depth = 1;
    for (at, sign) in code.char_indices() {
        depth += i32::from(sign == '(') - i32::from(sign == ')');
        if depth == 0 {
            return (&code[..at], &code[at + 1..]);
        }
    }
    (code, "")
}

#[test]
fn scripts_mark_as_their_manuals_say() {
    for (name, code, want) in [
        ("flags are for all backends", "setflag(1); setflag(2);", "log+missed db+missed aaa+missed evi+missed"),
        ("calls add up", r#"do_accounting("log"); do_accounting("db","missed|failed");"#, "log db+failed+missed"),
        (
            "without flags a backend is dropped",
            r#"do_accounting("log|db","missed"); drop_accounting("log");"#,
            "db+missed",
        ),
        (
            "with flags these alone",
            r#"do_accounting("log|db","missed"); drop_accounting("db","missed");"#,
            "log+missed db",
        ),
        ("without anything all", r#"do_accounting("log|db","missed"); drop_accounting();"#, ""),
        ("another user", r#"if ($rU=="r2") { setflag(1); setflag(3); } do_accounting("aaa");"#, "aaa"),
        ("this user", r#"if ($rU=="r1") do_accounting("db"); else do_accounting("log");"#, "db"),
        ("behind exit", r#"do_accounting("log"); exit; do_accounting("db");"#, "log"),
    ] {
        let mut script = Script::default();
        script.run(code, "r1");
        let marked = script.marked("plain").into_iter().map(|backend| {
            let more = script.marks[&backend].iter().filter(|mark| *mark != "plain").map(|mark| format!("+{mark}"));
            format!("{}{}", backend.word(), more.collect::<String>())
        });
        assert_eq!(marked.collect::<Vec<_>>().join(" "), want, "{name}");
    }
}
