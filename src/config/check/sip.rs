//! Checks of `[sip]`: addresses, blocks of addresses, names.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use super::sections::choose;
use super::{Check, dns, streams};
use crate::accounting::Pings;
use crate::config::decode::At;
use crate::config::error::suggestion;
use crate::config::plan::SipPlan;
use crate::config::schema::{PreloadedRoute, QueueTable, SipTable, StrangersOption, Switch, WatchTable};
use crate::names::is_of_host;
use crate::queue;
use crate::shard;
use crate::sip::stack::{self, Listener, ListenerId, Network, Preloaded, Strangers, TokenBucket, Transport};
use crate::units::Mib;

/// Shortest time between two OPTIONS: an end has 64 T1 to answer one.
const PING_LEAST: Duration = Duration::from_secs(40);
/// OPTIONS in a row that may stay without an answer.
const PINGS_LOST_MAX: u8 = 3;
const DAY: Duration = Duration::from_secs(86_400);
/// Days until the key is replaced that signs Record-Route values.
const ROUTE_KEY_DAYS: u32 = 30;
/// New requests of one source that always come through at once.
const SOURCE_BURST_LEAST: u32 = 10;
/// What `listen` is when it is left out.
pub(super) const LISTEN_USUAL: &str = "udp:127.0.0.1:5060";
/// Most listeners: more are a mistake.
const LISTENERS_MAX: usize = 64;

/// Settings of the proxy and of a shard.
pub(super) fn check(
    table: &SipTable,
    queue: (&QueueTable, &queue::Settings),
    base: &Path,
    check: &mut Check<'_>,
) -> (SipPlan, shard::Settings) {
    let mut settings = stack::Settings::default();
    let binds = listeners(table, &mut settings, check);
    if let Some(allow) = &table.allow {
        settings.allow = check.each(allow, network);
    }
    allow_on(table, &mut settings, check);
    nobody_calls(table, &binds, &settings, check);
    if let Some(proxies) = &table.trusted_proxies {
        settings.trusted_proxies = check.each(proxies, network);
    }
    settings.strangers = match table.strangers {
        Some(StrangersOption::Answer) => Strangers::Answer,
        Some(StrangersOption::Drop) | None => Strangers::Drop,
    };
    settings.preloaded = match table.preloaded_route {
        Some(PreloadedRoute::Remove) => Preloaded::Remove,
        Some(PreloadedRoute::Follow) | None => Preloaded::Follow,
    };
    settings.lenient_request_uri = table.lenient_request_uri.is_none_or(Switch::is_on);
    if let Some(names) = &table.names {
        settings.names = check.each(names, host_name);
    }
    if let Some(supported) = &table.supported {
        settings.supported.clone_from(supported);
    }
    timers(table, &mut settings, check);
    limits(table, &mut settings, check);
    let cores = || std::thread::available_parallelism().map_or(1, |cores| (cores.get() - 1).max(1));
    let shards = table.shards.map_or(0, crate::units::Count::len);
    let shards = if shards == 0 { cores() } else { shards };
    let dns = dns::settings(&table.dns, &settings.listeners, check);
    let streams = streams::settings(&table.streams, check);
    let credentials = streams::credentials(table, &settings.listeners, base, check);
    let memory_max = table.memory_max_mib.map_or(0, Mib::octets);
    let plan = SipPlan {
        binds,
        shards,
        dns,
        streams,
        credentials,
        stack: settings,
        memory_max,
        route_key_age: DAY * ROUTE_KEY_DAYS,
    };
    let shard = shard_settings(table, queue, shards, plan.stack.retry_after_s);
    (plan, shard)
}

/// How long Record-Route values are good, which a call may last, and the keys that sign them.
pub(super) fn route_keys(table: &SipTable, lifetime_max: Option<Duration>, plan: &mut SipPlan, check: &mut Check<'_>) {
    let days = table.route_key_days.as_ref();
    let days_given = days.map_or(ROUTE_KEY_DAYS, |days| u32::try_from(days.value.get()).unwrap_or(ROUTE_KEY_DAYS));
    plan.route_key_age = DAY * days_given;
    plan.stack.dialog_good_for = plan.route_key_age;
    // A call's value outlives the call; where calls have no end, it is good as long as its key.
    plan.stack.call_good_for = lifetime_max.map_or(plan.route_key_age, |lifetime| lifetime + DAY);
    if plan.stack.call_good_for > plan.route_key_age {
        let needed = plan.stack.call_good_for.as_secs().div_ceil(DAY.as_secs());
        let what = format_args!(
            "`sip.route_key_days` is {days_given}, but calls of `accounting.lifetime_s` need {needed}: a day more than they last"
        );
        check.error_hint(
            days.map_or_else(Default::default, |days| days.place),
            what,
            Some(format!("set it to {needed}")),
        );
    }
}

/// Warns of a listener that others reach while only this host may call.
fn nobody_calls(table: &SipTable, binds: &[SocketAddr], settings: &stack::Settings, check: &mut Check<'_>) {
    for (place, bind) in binds.iter().enumerate().filter(|(_, bind)| !bind.ip().is_loopback()) {
        let id = ListenerId(u16::try_from(place).unwrap_or(u16::MAX));
        let own = settings.allow_on.iter().find(|(own, _)| *own == id).map_or(&settings.allow, |(_, own)| own);
        if !own.is_empty() && own.iter().all(Network::is_loopback) {
            let at = table
                .listen
                .as_ref()
                .and_then(|listen| listen.get(place))
                .map_or_else(Default::default, |own| own.place);
            let hint = Some("set `sip.allow` to the addresses of your gateways, trunks and phones".to_owned());
            check.warning(
                at,
                format_args!("others reach {bind}, but `sip.allow` lets only this host send requests"),
                hint,
            );
            return;
        }
    }
}

/// The blocks of single listeners, by their text in `listen`.
fn allow_on(table: &SipTable, settings: &mut stack::Settings, check: &mut Check<'_>) {
    let usual = [At::from(LISTEN_USUAL.to_owned())];
    let listen = || table.listen.as_deref().unwrap_or(&usual).iter().map(|text| text.value.as_str());
    for (name, blocks) in &table.allow_on.0 {
        let Some(place) = listen().position(|text| text == name.value) else {
            let hint = suggestion(&name.value, listen());
            check.error_hint(name.place, format_args!("`{}` is not in `sip.listen`", name.value), hint);
            continue;
        };
        if let Ok(place) = u16::try_from(place) {
            settings.allow_on.push((ListenerId(place), check.each(&blocks.0, network)));
        }
    }
}

/// What `[sip.watch]` says about the ends of calls.
pub(super) fn pings(table: &WatchTable, check: &mut Check<'_>) -> Option<Pings> {
    let ping = table.ping_s.as_ref()?;
    let interval = ping.value.duration_unless_zero()?;
    if interval < PING_LEAST {
        let (found, least) = (interval.as_secs(), PING_LEAST.as_secs());
        let what = format_args!("`sip.watch.ping_s` is {found}, allowed is 0, or {least} to 86400");
        check.error_hint(ping.place, what, Some("an end has 32 s to answer".to_owned()));
    }
    let lost_max = table.lost_max.map_or(PINGS_LOST_MAX, |most| u8::try_from(most.get()).unwrap_or(u8::MAX));
    Some(Pings { interval, lost_max })
}

fn shard_settings(
    table: &SipTable,
    (given, queue): (&QueueTable, &queue::Settings),
    shards: usize,
    retry_after_s: u32,
) -> shard::Settings {
    let mut settings = shard::Settings { retry_after_s, ..shard::Settings::default() };
    (settings.commit_wait_max, settings.refuse_after) = (queue.commit_wait_max, queue.refuse_after);
    choose(&mut settings.on_trouble, given.on_trouble);
    // The limit is of the whole gateway; calls spread evenly over the shards by their hash.
    let calls_max = table.calls_max.map_or(settings.calls_max, crate::units::Count::len);
    settings.calls_max = calls_max.div_ceil(shards);
    settings
}

fn timers(table: &SipTable, settings: &mut stack::Settings, check: &mut Check<'_>) {
    let transaction = &mut settings.transaction;
    if let Some(t1) = table.t1_ms {
        transaction.t1 = t1.duration();
    }
    if let Some(t2) = &table.t2_ms {
        transaction.t2 = t2.duration();
    }
    if let Some(t4) = table.t4_ms {
        transaction.t4 = t4.duration();
    }
    if transaction.t2 < transaction.t1 {
        let place = table.t2_ms.as_ref().map_or_else(Default::default, |t2| t2.place);
        check.error(place, "`sip.t2_ms` is less than `sip.t1_ms`");
    }
    if let Some(timer_c) = table.timer_c_s {
        settings.timer_c = timer_c.duration();
    }
    if let Some(trying_after) = table.trying_after_ms {
        settings.transaction.trying_after = trying_after.duration();
    }
}

fn limits(table: &SipTable, settings: &mut stack::Settings, check: &mut Check<'_>) {
    if let Some(most) = table.transactions_max {
        settings.transactions_max = most.len();
        // In-dialog requests still pass when new calls do not.
        settings.transactions_in_dialog_max = most.len() + most.len() / 4;
    }
    if let Some(most) = &table.transactions_in_dialog_max {
        settings.transactions_in_dialog_max = most.value.len();
        if settings.transactions_in_dialog_max < settings.transactions_max {
            check.error(most.place, "`sip.transactions_in_dialog_max` is less than `sip.transactions_max`");
        }
    }
    if let Some(most) = table.transactions_per_source_max {
        settings.transactions_per_source_max = most.len();
    } else if table.transactions_max.is_some() {
        settings.transactions_per_source_max = settings.transactions_max / 4 * 3;
    }
    if let Some(most) = table.transactions_per_call_max {
        settings.transactions_per_call_max = most.len();
    }
    settings.transactions_in_dialog_per_source_max = match table.transactions_in_dialog_per_source_max {
        Some(most) => most.len(),
        None => (settings.transactions_in_dialog_max / 4).max(1),
    };
    if let Some(rate) = table.source_per_second_max {
        let per_second = u32::try_from(rate.get()).unwrap_or(u32::MAX);
        settings.source_rate =
            (per_second > 0).then_some(TokenBucket { per_second, burst: per_second.max(SOURCE_BURST_LEAST) });
    }
    if let Some(rate) = table.stateless_allowed_per_second_max {
        let per_second = u32::try_from(rate.get()).unwrap_or(u32::MAX);
        settings.stateless_responses_allowed = TokenBucket { per_second, burst: per_second.saturating_mul(2) };
    }
    if let Some(most) = table.datagram_bytes_max {
        settings.datagram_bytes_max = if most.is_empty() { usize::MAX } else { most.len() };
    }
    if let Some(after) = table.retry_after_s {
        settings.retry_after_s = u32::try_from(after.duration().as_secs()).unwrap_or(u32::MAX);
    }
    if let Some(most) = table.branches_max {
        settings.branches_max = most.len();
    }
    if let Some(most) = table.failures_max {
        settings.failures_max = u32::try_from(most.len()).unwrap_or(u32::MAX);
    }
    if let Some(rate) = table.stateless_per_second_max {
        let per_second = u32::try_from(rate.get()).unwrap_or(u32::MAX);
        settings.stateless_responses = TokenBucket { per_second, burst: per_second.saturating_mul(2) };
    }
}

/// Fills the listeners; returns what is bound.
fn listeners(table: &SipTable, settings: &mut stack::Settings, check: &mut Check<'_>) -> Vec<SocketAddr> {
    let advertised = check.each(&table.advertise.as_ref().map_or(Vec::new(), |list| list.0.clone()), advertised);
    let Some(listen) = &table.listen else {
        let binds: Vec<_> = settings.listeners.iter().map(|listener| listener.local).collect();
        for listener in &mut settings.listeners {
            listener.local = advertise(listener.transport, listener.local, &advertised);
        }
        return binds;
    };
    settings.listeners.clear();
    let mut binds: Vec<SocketAddr> = Vec::new();
    if listen.is_empty() || listen.len() > LISTENERS_MAX {
        let place = listen.first().map_or_else(Default::default, |first| first.place);
        check
            .error(place, format_args!("`sip.listen` has {} addresses, allowed is 1 to {LISTENERS_MAX}", listen.len()));
    }
    for text in listen {
        let (transport, bind) = match listener(text) {
            Ok(bind) => bind,
            Err((what, hint)) => {
                check.error_hint(text.place, what, hint);
                continue;
            }
        };
        let is_taken = |(own, other): (&SocketAddr, &Listener)| {
            *own == bind && other.transport.is_reliable() == transport.is_reliable()
        };
        if binds.iter().zip(&settings.listeners).any(is_taken) {
            check.error(text.place, format_args!("`{}` is listed twice in `sip.listen`", text.value));
            continue;
        }
        let local = advertise(transport, bind, &advertised);
        if local.ip().is_unspecified() {
            let family = if bind.is_ipv4() { "IPv4" } else { "IPv6" };
            check.error_hint(
                text.place,
                format_args!(
                    "`{}` listens on all addresses, but nothing says which one others reach it by",
                    text.value
                ),
                Some(format!("set `advertise` to an {family} address, or listen on one address")),
            );
            continue;
        }
        binds.push(bind);
        settings.listeners.push(Listener { transport, local });
    }
    binds
}

/// What others are told of a listener. A port given is that of UDP and TCP; TLS has one of its own.
fn advertise(transport: Transport, bind: SocketAddr, advertised: &[(IpAddr, Option<u16>)]) -> SocketAddr {
    match advertised.iter().find(|(ip, _)| ip.is_ipv4() == bind.is_ipv4()) {
        Some((ip, port)) => {
            let port = port.filter(|_| transport != Transport::Tls);
            SocketAddr::new(*ip, port.unwrap_or(bind.port()))
        }
        None => bind,
    }
}

/// Reads `udp:ADDRESS:PORT`, `tcp:` or `tls:`.
pub(super) fn listener(text: &At<String>) -> Result<(Transport, SocketAddr), (String, Option<String>)> {
    let form = || Some("write `udp:ADDRESS:PORT`, such as `udp:192.0.2.1:5060` or `tcp:[2001:db8::1]:5060`".to_owned());
    let Some((transport, address)) = text.split_once(':') else {
        return Err((format!("`{}` is no listener", text.value), form()));
    };
    let transport = match transport {
        "udp" => Transport::Udp,
        "tcp" => Transport::Tcp,
        "tls" => Transport::Tls,
        "ws" | "wss" | "sctp" => {
            return Err((format!("transport `{transport}` is not served; `udp`, `tcp` and `tls` are"), None));
        }
        other => return Err((format!("unknown transport `{other}`"), suggestion(other, ["udp", "tcp", "tls"]))),
    };
    match address.parse::<SocketAddr>() {
        Ok(address) if address.port() == 0 => Err((format!("`{}` has no port", text.value), form())),
        Ok(address) => Ok((transport, address)),
        Err(_) => Err((format!("`{address}` is no address with a port"), form())),
    }
}

/// Reads an address with or without a port.
fn advertised(text: &str) -> Result<(IpAddr, Option<u16>), String> {
    if let Ok(ip) = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        return Ok((ip, None));
    }
    let address: SocketAddr = text.parse().map_err(|_| format!("`{text}` is no IP address, with or without a port"))?;
    Ok((address.ip(), Some(address.port())))
}

/// Reads a block of addresses: `10.0.0.0/8`, `2001:db8::/32`, or one address.
pub(super) fn network(text: &str) -> Result<Network, String> {
    let wrong = |_| format!("`{text}` is no block of addresses, such as `10.0.0.0/8` or `2001:db8::/32`");
    let network: Network = text.parse().map_err(wrong)?;
    // Such bits are nearly always a slip.
    if network.is_exact() {
        Ok(network)
    } else {
        Err(format!("`{text}` has bits beyond its length of {}", network.prefix()))
    }
}

pub(super) fn host_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > 253 || !is_of_host(text.as_bytes()) {
        return Err(format!("`{text}` is no host name"));
    }
    Ok(text.to_ascii_lowercase())
}
