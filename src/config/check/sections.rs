//! Checks of `[queue]`, `[ledger]`, `[admin]`, `[trace]`, `[telemetry]`, `[log]` and `[service]`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Url;

use super::Check;
use super::routes::{list, pattern};
use crate::admin::{self, HttpTls};
use crate::config::MADE_AT_START;
use crate::config::decode::At;
use crate::config::error::suggestion;
use crate::config::kinds::secret::secret;
use crate::config::kinds::{host_name, is_near};
use crate::config::plan::{HugePages, LogPlan, ServicePlan, Watchdog};
use crate::config::schema::{
    AdminTable, LedgerTable, LogTable, QueueTable, ServiceTable, Switch, TelemetryTable, TraceTable,
};
use crate::config::tree::PlaceId;
use crate::ledger;
use crate::policy::pattern::Case;
use crate::queue::{self, Gather};
use crate::shard::OnTrouble;
use crate::shard::trace::{Filter, Tracing};
use crate::sinks::secret::Secret;
use crate::telemetry;
use crate::units::{Count, Mib, Millis, Secs};

/// Settings of the queue.
pub(super) fn queue(table: &QueueTable, check: &mut Check<'_>) -> queue::Settings {
    let mut settings = queue::Settings::default();
    if let Some(path) = &table.path {
        if path.as_os_str().is_empty() {
            check.error(path.place, "`queue.path` is empty");
        }
        settings.path.clone_from(path);
        let mode = std::fs::metadata(&**path).map_or(0, |data| std::os::unix::fs::MetadataExt::mode(&data));
        if mode & queue::OTHERS != 0 {
            let text = format!("others may enter {}: it holds who called whom, and a key", path.display());
            let hint = format!("`chmod 0700 {}`; the service does so when it starts", path.display());
            check.warning(path.place, text, Some(hint));
        }
    }
    set(&mut settings.gather_max, table.gather, Gather::longest);
    set(&mut settings.gather_max, table.gather_max_ms, Millis::duration);
    set(&mut settings.commit_wait_max, table.commit_wait_max_ms, Millis::duration);
    settings.refuse_after = refuse_after(table, settings.commit_wait_max, check);
    set(&mut settings.records_max, table.records_max, Count::get);
    set(&mut settings.bytes_max, table.waiting_max_mib, Mib::octets);
    set(&mut settings.age_max, table.age_max_s, Secs::duration);
    set(&mut settings.free_min, table.free_min_mib, Mib::octets);
    set(&mut settings.attempts_max, table.attempts_max, |count| u32::try_from(count.get()).unwrap_or(u32::MAX));
    set(&mut settings.retry_age_max, table.retry_age_max_s, Secs::duration);
    set(&mut settings.spool_bytes, table.spool_mib, Mib::octets);
    set(&mut settings.spools_open_max, table.spools_open_max, Count::len);
    set(&mut settings.cache_bytes, table.cache_mib, Mib::octets);
    set(&mut settings.reserve_bytes, table.reserve_mib, Mib::octets);
    set(&mut settings.window_records, table.window_records_max, Count::len);
    set(&mut settings.window_bytes, table.window_mib, |size| usize::try_from(size.octets()).unwrap_or(usize::MAX));
    set(&mut settings.commits_waiting_max, table.commits_waiting_max, Count::len);
    settings.alarm_effect = match table.on_trouble {
        None | Some(OnTrouble::Refuse) => "new calls get 503",
        Some(OnTrouble::Serve) => "new calls are served at the risk of their records",
    }
    .to_owned();
    settings
}

/// Settings of the ledger; the queue's folder is `queue`.
pub(super) fn ledger(table: &LedgerTable, queue: &Path, base: &Path, check: &mut Check<'_>) -> ledger::Settings {
    let mut beside = queue.as_os_str().to_owned();
    beside.push("-ledger");
    let is_kept = table.enabled.is_none_or(Switch::is_on);
    let mut settings =
        ledger::Settings { is_kept, path: beside.into(), days: ledger::DAYS, on_trouble: ledger::OnTrouble::default() };
    if let Some(path) = &table.path {
        if path.as_os_str().is_empty() {
            check.error_hint(path.place, "`ledger.path` is empty", Some("`enabled = false` keeps none".to_owned()));
        }
        settings.path = base.join(&path.value);
        if settings.path == queue {
            check.error(path.place, "`ledger.path` and `queue.path` are the same folder");
        }
    }
    set(&mut settings.days, table.days, |days| u32::try_from(days.get()).unwrap_or(u32::MAX));
    choose(&mut settings.on_trouble, table.on_trouble);
    settings
}

/// How long a commit may take before new calls are refused: never before its response leaves.
fn refuse_after(table: &QueueTable, wait: Duration, check: &mut Check<'_>) -> Duration {
    let Some(given) = &table.refuse_after_ms else {
        return queue::Settings::default().refuse_after.max(wait);
    };
    let after = given.duration();
    if after < wait {
        let (found, least) = (after.as_millis(), wait.as_millis());
        let what = format!("`queue.refuse_after_ms` is {found}, `queue.commit_wait_max_ms` is {least}");
        check.error_hint(
            given.place,
            what,
            Some("responses wait that long anyway: set it to as much or more".to_owned()),
        );
    }
    after
}

/// Puts a given value in the place of the default.
pub(in crate::config) fn set<G, V>(place: &mut V, given: Option<G>, value: impl FnOnce(G) -> V) {
    if let Some(given) = given {
        *place = value(given);
    }
}

/// The same for a choice whose words are those of the settings.
pub(in crate::config) fn choose<V>(place: &mut V, given: Option<V>) {
    set(place, given, |choice| choice);
}

/// Calls of each shard whose messages are kept. The number is that of the whole gateway.
pub(super) fn trace(table: &TraceTable, shards: usize, check: &mut Check<'_>) -> Tracing {
    let TraceTable { calls, user, from, to, source, call_id } = table;
    let calls = calls.map_or(0, Count::len);
    let lists = [user, from, to, source, call_id].map(|given| list(given.as_ref()));
    if let Some(first) = lists.iter().find_map(|list| list.first()).filter(|_| calls == 0) {
        let hint = Some("set `trace.calls`".to_owned());
        check.warning(first.place, "`[trace]` says which calls are kept, and keeps none", hint);
    }
    let [users, from, to, sources, call_ids] = lists;
    let mut patterns = |list| check.each(list, pattern(Case::Matters));
    let (users, from, to, call_ids) = (patterns(users), patterns(from), patterns(to), patterns(call_ids));
    let sources = check.each(sources, super::sip::network);
    Tracing { calls: calls.div_ceil(shards), filter: Filter { users, from, to, sources, call_ids } }
}

/// Where spans go; `None`: there are none. They are made of what the ledger is told.
pub(super) fn telemetry(
    table: &TelemetryTable,
    has_ledger: bool,
    check: &mut Check<'_>,
) -> Option<telemetry::Settings> {
    let given = table.endpoint.as_ref().filter(|given| !given.is_empty())?;
    let parsed = Url::parse(given).ok().filter(|url| url.scheme() == "http" && url.has_host());
    let plain = parsed.filter(|url| url.username().is_empty() && url.password().is_none());
    let Some(endpoint) = plain else {
        // It is not shown: a password may stand in it.
        let hint =
            "\"http://HOST:4318/v1/traces\", without a password: a collector on this machine speaks TLS to others";
        check.error_hint(given.place, "this is no URL of a collector", Some(hint.to_owned()));
        return None;
    };
    if !has_ledger {
        let hint = Some("spans are made of what the ledger is told: set `ledger.enabled = true`".to_owned());
        check.error_hint(given.place, "`telemetry.endpoint` needs the ledger", hint);
    }
    if !is_near(&endpoint) {
        let hint = Some("use a collector on this machine that passes them on".to_owned());
        check.warning(given.place, "Call-IDs and names of servers go to another machine in clear text", hint);
    }
    let instance = table.instance.clone().unwrap_or_else(host_name);
    Some(telemetry::Settings { endpoint, one_in: table.one_in.map_or(1, Count::get), instance })
}

/// Settings of administration, and TLS of its HTTP.
pub(super) fn admin(table: &AdminTable, base: &Path, check: &mut Check<'_>) -> (admin::Settings, Option<HttpTls>) {
    let mut plan = admin::Settings::default();
    let listen = table.listen.as_ref().filter(|listen| !listen.is_empty());
    let tls = super::streams::admin(table, listen.map(|listen| listen.place), base, check);
    plan.listen = listen.and_then(|listen| http_address(listen, check));
    if let Some(hosts) = &table.hosts {
        plan.hosts = check.each(hosts, super::sip::host_name);
    }
    plan.api = table.api.is_some_and(Switch::is_on);
    if let Some(file) = &table.token_file {
        plan.token = token(file, base, check);
    }
    if let Some(socket) = &table.socket {
        plan.socket = socket_path("admin.socket", socket, base, check);
    }
    if let Some(socket) = &table.status_socket {
        plan.status_socket = socket_path("admin.status_socket", socket, base, check);
        if plan.status_socket.is_some() && plan.status_socket == plan.socket {
            check.error(socket.place, "`admin.status_socket` and `admin.socket` are the same file");
        }
    }
    if table.socket_group.is_some_and(Switch::is_on) {
        plan.socket_mode = 0o660;
    }
    if let Some((listen, address)) = listen.zip(plan.listen) {
        warn_of_strangers((listen.place, address), &plan, tls.as_ref(), check);
    }
    (plan, tls)
}

/// What others can do where HTTP is not on loopback. That they see metrics may be wanted; calls and the token are secret.
fn warn_of_strangers(
    (place, address): (PlaceId, SocketAddr),
    plan: &admin::Settings,
    tls: Option<&HttpTls>,
    check: &mut Check<'_>,
) {
    let is_shut = plan.token.is_some() || tls.is_some_and(|tls| tls.asks_clients);
    let hint = match tls {
        _ if address.ip().is_loopback() => return,
        None if plan.token.is_some() => {
            "the token and what it opens go over the network in clear text: set `admin.tls.certificate` and `key`"
        }
        Some(_) if is_shut || !plan.api => return,
        _ => "anybody who reaches it can read metrics and records in progress",
    };
    check.warning(place, format_args!("`admin.listen` is open to other hosts: {address}"), Some(hint.to_owned()));
}

/// Least length of a token, in characters: it is not to be guessed.
const TOKEN_CHARS_MIN: usize = 16;

fn token(file: &At<PathBuf>, base: &Path, check: &mut Check<'_>) -> Option<Secret> {
    if file.as_os_str().is_empty() {
        return None;
    }
    let token = secret("token", file, base, check)?;
    let path = base.join(&file.value);
    if !token.is_printable() || token.text().len() < TOKEN_CHARS_MIN {
        let what = format_args!(
            "the token in {} is not made of {TOKEN_CHARS_MIN} or more characters of ASCII without blanks",
            path.display()
        );
        check.error_hint(file.place, what, Some(format!("`openssl rand -hex 16 > {}` makes one", path.display())));
        return None;
    }
    Some(token)
}

pub(super) fn http_address(listen: &At<String>, check: &mut Check<'_>) -> Option<SocketAddr> {
    let Ok(address) = listen.parse::<SocketAddr>() else {
        check.error_hint(
            listen.place,
            format_args!("`{}` is no address with a port", listen.value),
            Some("write `127.0.0.1:8080`, or \"\" for none".to_owned()),
        );
        return None;
    };
    Some(address)
}

pub(super) fn socket_path(name: &str, socket: &At<PathBuf>, base: &Path, check: &mut Check<'_>) -> Option<PathBuf> {
    if socket.as_os_str().is_empty() {
        return None;
    }
    let path = base.join(&socket.value);
    let octets = path.as_os_str().len();
    if octets > SOCKET_PATH_OCTETS_MAX {
        let text = format_args!("`{name}` has {octets} octets, the system takes {SOCKET_PATH_OCTETS_MAX}");
        check.error(socket.place, text);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() && folder != Path::new(MADE_AT_START) {
        let what = format!("the folder of `{name}` is not there: {}", folder.display());
        let hint = format!(
            "the service does not start without it: make it, or use {MADE_AT_START}, which systemd-tmpfiles makes"
        );
        check.warning(socket.place, what, Some(hint));
    }
    Some(path)
}

/// Longest path of a Unix socket on Linux: `sun_path` without its final zero.
const SOCKET_PATH_OCTETS_MAX: usize = 107;

/// Settings of the log.
pub(super) fn log(table: &LogTable, check: &mut Check<'_>) -> LogPlan {
    let mut plan = LogPlan::default();
    set(&mut plan.target, table.target, |target| target);
    if let Some(level) = &table.level {
        for item in level.split(',').map(str::trim) {
            let (module, word) = item.split_once('=').map_or(("", item), |(module, word)| (module, word));
            if !LEVELS.contains(&word) {
                check.error_hint(level.place, format_args!("unknown log level `{word}`"), suggestion(word, LEVELS));
            }
            if item.contains('=') && !module.bytes().all(|o| o.is_ascii_alphanumeric() || matches!(o, b'_' | b':')) {
                check.error(level.place, format_args!("`{module}` is no module"));
            }
        }
        // Asked for more than the usual, it is Tollgate's own that is meant: the store alone logs each write.
        plan.level = match level.trim() {
            "debug" | "trace" => format!("info,tollgate={}", level.trim()),
            other => other.to_owned(),
        };
    }
    plan
}

/// Levels of the log, from nothing to everything.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Settings of the service.
pub(super) fn service(table: &ServiceTable) -> ServicePlan {
    let mut plan = ServicePlan::default();
    set(&mut plan.stop_timeout, table.stop_timeout_s, Secs::duration);
    if table.watchdog.is_some_and(|watchdog| !watchdog.is_on()) {
        plan.watchdog = Watchdog::Off;
    }
    if table.huge_pages.is_some_and(Switch::is_on) {
        plan.huge_pages = HugePages::On;
    }
    plan
}
