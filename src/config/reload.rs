//! Which options a reload takes over, and which wait for the next start; and what differs between two configurations.
//!
//! Every option of the [`schema`](super::schema) stands in [`SECTIONS`]: as *live* when a reload applies it, as *restart*
//! when it is named with its line instead. A test walks the schema and fails for an option that stands in neither list.
//!
//! A new option: add its name to the list of its section; those of sinks stand with the table of their kind. `live` is right when it lies in a part of the plan that
//! `service::reload` hands to the running threads, which a second test proves by changing it. Then TOLLGATE_WRITE=1
//! has the tests of `cli::schema` write `etc/tollgate.schema.json` anew.

use std::sync::LazyLock;

use super::error::Place;
use super::kinds;
use super::tree::{Kind, Node, Places};
use crate::admin::OptionView;

/// When a changed option takes effect.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Effect {
    /// With the reload, without touching calls.
    Live,
    /// At the next start.
    Restart,
}

/// The options of one table of the schema.
#[derive(Debug)]
pub struct Section {
    /// Its path, without names of sinks and numbers of list elements.
    pub path: &'static str,
    /// What a reload applies.
    pub live: &'static [&'static str],
    /// What waits for the next start.
    pub restart: &'static [&'static str],
}

impl Section {
    /// The line it begins with.
    fn head(&self) -> String {
        match self.path {
            "route" | "mirror" | "sip.tls" => format!("[[{}]]", self.path),
            path if path.starts_with(SINKS) => format!("[{path}.NAME]"),
            path => format!("[{path}]"),
        }
    }
}

/// Every option of the schema.
pub static SECTIONS: LazyLock<Vec<&'static Section>> =
    LazyLock::new(|| OF_THE_GATEWAY.iter().chain(kinds::SECTIONS).collect());

/// Those outside of `[sinks]`.
const OF_THE_GATEWAY: &[Section] = &[
    Section {
        path: "sip",
        live: &[
            "names",
            "allow",
            "allow_on",
            "strangers",
            "trusted_proxies",
            "preloaded_route",
            "lenient_request_uri",
            "route_key_days",
            "t1_ms",
            "t2_ms",
            "t4_ms",
            "timer_c_s",
            "trying_after_ms",
            "ring_timeout_s",
            "transactions_max",
            "transactions_in_dialog_max",
            "calls_max",
            "transactions_per_source_max",
            "transactions_per_call_max",
            "transactions_in_dialog_per_source_max",
            "source_per_second_max",
            "memory_max_mib",
            "retry_after_s",
            "branches_max",
            "failures_max",
            "stateless_per_second_max",
            "stateless_allowed_per_second_max",
            "supported",
            "datagram_bytes_max",
        ],
        // Sockets and threads are made at the start, and Via and Record-Route of calls in progress name the addresses.
        restart: &["listen", "advertise", "shards"],
    },
    Section {
        path: "sip.dns",
        live: &["servers", "timeout_ms", "ttl_min_s", "ttl_max_s", "negative_ttl_max_s", "naptr"],
        restart: &[],
    },
    Section {
        path: "sip.streams",
        live: &[
            "connections_max",
            "connections_per_source_max",
            "idle_s",
            "message_ms",
            "handshake_ms",
            "connect_ms",
            "head_bytes_max",
            "header_lines_max",
            "body_bytes_max",
            "backlog_bytes_max",
        ],
        restart: &[],
    },
    Section { path: "sip.tls", live: &["listen", "client_certificate", "client_ca"], restart: &[] },
    Section { path: "sip.tls.certificates", live: &["certificate", "key"], restart: &[] },
    Section { path: "sip.tls_client", live: &["ca", "certificate", "key"], restart: &[] },
    Section { path: "sip.watch", live: &["ping_s", "lost_max"], restart: &[] },
    Section {
        path: "route",
        live: &["name", "script", "to", "fork", "targets", "next_on", "ring_timeout_s", "redirects", "fields", "avps"],
        restart: &[],
    },
    Section { path: "route.match", live: &["prefix", "user", "domain", "method", "source"], restart: &[] },
    Section { path: "route.match.header", live: &["name", "value"], restart: &[] },
    Section { path: "route.answer", live: &["code", "reason", "retry_after_s", "contacts"], restart: &[] },
    Section { path: "route.account", live: &["on", "flags", "forwarding_legs"], restart: &[] },
    Section {
        path: "script",
        live: &["file", "on_error", "time_max_ms", "instructions_max", "memory_max_kib", "trace_turns", "tables"],
        restart: &[],
    },
    Section {
        path: "accounting",
        live: &[
            "on",
            "flags",
            "fields",
            "leg_fields",
            "bye_fields",
            "bye_leg_fields",
            "cdr_on_failed",
            "early_media",
            "report_ack",
            "report_cancels",
            "failed_filter",
            "methods",
            "detect_direction",
            "missed_branches",
            "missed_elsewhere",
            "forwarding_legs",
            "leg_order",
            "in_dialog_fields",
            "session_timers",
            "interim_s",
            "lifetime_s",
            "at_lifetime",
            "at_session_timer",
            "at_no_ack",
            "at_unreachable",
            "billed_to",
            "revive",
        ],
        restart: &[],
    },
    Section { path: "accounting.identity", live: &["anchors", "certificates", "max_age_s"], restart: &[] },
    Section {
        path: "queue",
        live: &[],
        restart: &[
            "on_trouble",
            "path",
            "gather",
            "gather_max_ms",
            "commit_wait_max_ms",
            "refuse_after_ms",
            "records_max",
            "waiting_max_mib",
            "age_max_s",
            "free_min_mib",
            "attempts_max",
            "retry_age_max_s",
            "spool_mib",
            "spools_open_max",
            "cache_mib",
            "reserve_mib",
            "window_records_max",
            "window_mib",
            "commits_waiting_max",
        ],
    },
    Section { path: "ledger", live: &["days", "on_trouble"], restart: &["enabled", "path"] },
    Section {
        path: "cluster",
        // Those of TLS are for the next connections.
        live: &["ca", "certificate", "key", "verify_host"],
        restart: &[
            "nats",
            "name",
            "user",
            "password_file",
            "token_file",
            "nkey_file",
            "credentials_file",
            "stream",
            "prefix",
            "replicas",
            "partitions",
            "duplicate_window_s",
            "max_age_days",
            "lease_ms",
            "commands",
        ],
    },
    Section {
        path: "admin",
        live: &["token_file"],
        restart: &["listen", "hosts", "api", "socket", "status_socket", "socket_group"],
    },
    Section { path: "admin.tls", live: &["certificate", "key", "client_certificate", "client_ca"], restart: &[] },
    Section { path: "trace", live: &["calls", "user", "from", "to", "source", "call_id"], restart: &[] },
    Section { path: "telemetry", live: &[], restart: &["endpoint", "one_in", "instance"] },
    Section { path: "log", live: &["level"], restart: &["target"] },
    Section { path: "service", live: &["stop_timeout_s", "watchdog", "huge_pages"], restart: &[] },
    Section {
        path: "mirror",
        live: &["on", "flags"],
        // A thread and a socket of its own, and what is in progress there.
        restart: &["name", "listen", "allow", "key_file", "proxy", "reorder_ms", "requests_max"],
    },
    Section { path: "deliver", live: &[], restart: &["directory", "socket", "listen"] },
];

/// The names of all options and of their tables.
pub fn names() -> impl Iterator<Item = &'static str> {
    let of = |own: &'static Section| own.path.split('.').chain(own.live.iter().chain(own.restart).copied());
    SECTIONS.iter().copied().flat_map(of)
}

/// When the option of this path takes effect; the path is that of [`Options`], or of something below an option.
#[must_use]
pub fn effect(path: &str) -> Option<Effect> {
    let mut option = path;
    loop {
        let (section, name) = option.rsplit_once('.')?;
        if let Some(section) = SECTIONS.iter().find(|own| own.path == section) {
            if section.live.contains(&name) {
                return Some(Effect::Live);
            }
            if section.restart.contains(&name) {
                return Some(Effect::Restart);
            }
        }
        option = section;
    }
}

/// What to say of a name that is unknown in the table `here`, but an option of another one: the line `[section]` above it
/// is probably lost.
#[must_use]
pub fn lost_head(name: &str, here: &str) -> Option<String> {
    // Options of a route's inner tables, such as `user` and `reason`, are good names of fields as well.
    let is_inner = |path: &str| path.starts_with("route.") || path == "sip.tls.certificates";
    let owns = |section: &&&Section| {
        section.path != here
            && !is_inner(section.path)
            && (section.live.contains(&name) || section.restart.contains(&name))
    };
    let heads: Vec<String> = SECTIONS.iter().filter(owns).map(|section| section.head()).collect();
    let (first, rest) = heads.split_first()?;
    let others: String = rest.iter().take(HEADS_MAX - 1).map(|head| format!(" or `{head}`")).collect();
    Some(format!("`{name}` is an option of `{first}`{others}: is that line missing above it?"))
}

/// What to say of an unknown section that there is below another one, such as `identity`.
#[must_use]
pub fn section_below(name: &str) -> Option<String> {
    let is_it = |section: &&&Section| section.path.rsplit_once('.').is_some_and(|(_, last)| last == name);
    let heads: Vec<_> = SECTIONS.iter().filter(is_it).take(HEADS_MAX).map(|own| format!("`{}`", own.head())).collect();
    (!heads.is_empty()).then(|| format!("did you mean {}?", heads.join(" or ")))
}

/// Most sections that a hint names.
const HEADS_MAX: usize = 3;

/// The options that a configuration gives, with their places; defaults are not among them.
#[derive(Clone, Debug, Default)]
pub struct Options(Vec<Given>);

#[derive(Clone, Debug)]
struct Given {
    /// The path with names of sinks and numbers of list elements: unique.
    full: String,
    /// The option as the operator knows it: `sinks.radius.billing.records`.
    shown: String,
    /// Its path in [`SECTIONS`].
    path: String,
    value: String,
    /// The value as it is shown.
    text: String,
    place: Place,
}

/// An option whose value differs between two configurations.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Difference {
    /// The option: `sinks.radius.billing.records`, or a sink as a whole: `sinks.radius.billing`.
    pub option: String,
    /// Where it stands now; where it stood if it is gone.
    pub place: Place,
    /// When it takes effect.
    pub effect: Effect,
}

impl Options {
    /// What a tree gives.
    #[must_use]
    pub fn of(root: &Node, places: &Places) -> Self {
        let mut options = Self::default();
        options.walk(&mut Path::default(), root, places);
        options
    }

    fn walk(&mut self, path: &mut Path, node: &Node, places: &Places) {
        if path.is_sink() {
            let nothing = (String::new(), String::new());
            self.0.push(path.given(nothing, places.get(node.key)));
        }
        match &node.kind {
            Kind::Table(members) => {
                for (key, member) in members {
                    path.with_key(key, |path| self.walk(path, member, places));
                }
            }
            Kind::List(elements) if elements.iter().any(|element| matches!(element.kind, Kind::Table(_))) => {
                for (number, element) in elements.iter().enumerate() {
                    path.with_number(number, |path| self.walk(path, element, places));
                }
            }
            other => {
                let values = plain(other);
                let value = format!("{values:?}");
                let text = match other {
                    Kind::List(_) => {
                        format!("[{}]", values.iter().map(|own| hidden(own)).collect::<Vec<_>>().join(", "))
                    }
                    _ => hidden(&values.concat()),
                };
                self.0.push(path.given((value, text), places.get(node.value)));
            }
        }
    }

    /// What an operator is shown of them.
    #[must_use]
    pub fn views(&self) -> Vec<OptionView> {
        let given = self.0.iter().filter(|own| !own.value.is_empty());
        let view = |own: &Given| OptionView {
            option: own.full.clone(),
            value: own.text.clone(),
            place: own.place.to_string(),
            effect: match effect(&own.path) {
                Some(Effect::Live) => "reload",
                Some(Effect::Restart) | None => "restart",
            },
        };
        given.map(view).collect()
    }

    /// What is different in `new`, in its order; what is gone last. A sink that came or went is one difference.
    #[must_use]
    pub fn differences(&self, new: &Self) -> Vec<Difference> {
        let changed = new.0.iter().filter(|own| self.0.iter().all(|old| !old.is_same(own)));
        let gone = self.0.iter().filter(|old| new.0.iter().all(|own| own.full != old.full));
        let mut found: Vec<Difference> = Vec::new();
        for given in changed.chain(gone) {
            let is_sink = given.path.split('.').count() == SINK_STEPS - 1 && given.path.starts_with(SINKS);
            let effect = if is_sink { Effect::Restart } else { effect(&given.path).unwrap_or(Effect::Restart) };
            let is_told = |told: &Difference| {
                told.option == given.shown || given.shown.strip_prefix(&told.option).is_some_and(|s| s.starts_with('.'))
            };
            if !found.iter().any(is_told) {
                found.push(Difference { option: given.shown.clone(), place: given.place.clone(), effect });
            }
        }
        found
    }
}

impl Given {
    fn is_same(&self, other: &Self) -> bool {
        self.full == other.full && self.value == other.value
    }
}

/// First step of the path of a sink.
const SINKS: &str = "sinks";
/// Steps to a sink: `sinks`, its kind, its name.
const SINK_STEPS: usize = 3;

/// Where the walk is.
#[derive(Default)]
struct Path {
    /// Keys, and whether a number stands behind them.
    steps: Vec<(String, Option<usize>)>,
}

impl Path {
    fn with_key(&mut self, key: &str, walk: impl FnOnce(&mut Self)) {
        self.steps.push((key.to_owned(), None));
        walk(self);
        self.steps.pop();
    }

    fn with_number(&mut self, number: usize, walk: impl FnOnce(&mut Self)) {
        let before = self.steps.last_mut().map(|(_, own)| own.replace(number));
        walk(self);
        if let (Some((_, own)), Some(before)) = (self.steps.last_mut(), before) {
            *own = before;
        }
    }

    fn is_below_sinks(&self) -> bool {
        self.steps.first().is_some_and(|(key, _)| key == SINKS)
    }

    fn is_sink(&self) -> bool {
        self.is_below_sinks() && self.steps.len() == SINK_STEPS
    }

    fn given(&self, (value, text): (String, String), place: Place) -> Given {
        let keys = || self.steps.iter().map(|(key, _)| key.as_str());
        let numbered = self.steps.iter().map(|(key, number)| match number {
            Some(number) => format!("{key}[{number}]"),
            None => key.clone(),
        });
        let is_name = |at: usize| self.is_below_sinks() && at == SINK_STEPS - 1;
        let path = keys().enumerate().filter(|(at, _)| !is_name(*at)).map(|(_, key)| key).collect::<Vec<_>>();
        Given {
            full: numbered.collect::<Vec<_>>().join("."),
            shown: keys().collect::<Vec<_>>().join("."),
            path: path.join("."),
            value,
            text,
            place,
        }
    }
}

/// A value without what may be secret in it: password and query of an address. Other secrets stand in files of their own.
fn hidden(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let (rest, query) = rest.split_once('?').map_or((rest, ""), |(rest, _)| (rest, "?..."));
    let end = rest.find('/').unwrap_or(rest.len());
    let rest = match rest[..end].rsplit_once('@').and_then(|(user, host)| Some((user.split_once(':')?.0, host))) {
        Some((user, host)) => format!("{user}:...@{host}{}", &rest[end..]),
        None => rest.to_owned(),
    };
    format!("{scheme}://{rest}{query}")
}

/// A value without its places.
fn plain(kind: &Kind) -> Vec<String> {
    match kind {
        Kind::Bool(flag) => vec![flag.to_string()],
        Kind::Int(number) => vec![number.to_string()],
        Kind::Float(number) => vec![number.to_string()],
        Kind::Text(text) => vec![text.clone()],
        Kind::List(elements) => elements.iter().flat_map(|element| plain(&element.kind)).collect(),
        Kind::Table(_) => Vec::new(),
    }
}
