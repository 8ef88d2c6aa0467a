//! Checks of `[sip.dns]`, and of the names of targets: whether they lead anywhere.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::Check;
use super::sections::set;
use crate::config::schema::DnsTable;
use crate::front::dns::{Answer, Asked, Asker, NaptrUse, Outcome, Settings};
use crate::sip::stack::Listener;
use crate::units::{Millis, Secs};

/// Most servers: more are a mistake.
const SERVERS_MAX: usize = 8;
/// The port of DNS.
const PORT: u16 = 53;

/// How names are asked for.
pub(super) fn settings(table: &DnsTable, listeners: &[Listener], check: &mut Check<'_>) -> Settings {
    let mut settings = Settings::default().with_listeners(listeners);
    if let Some(servers) = &table.servers {
        settings.servers = check.each(servers, server);
        if let Some(further) = servers.get(SERVERS_MAX) {
            let what = format_args!("`sip.dns.servers` has {} servers, allowed is {SERVERS_MAX}", servers.len());
            check.error(further.place, what);
        }
    }
    set(&mut settings.timeout, table.timeout_ms, Millis::duration);
    set(&mut settings.ttl_max, table.ttl_max_s, Secs::duration);
    set(&mut settings.negative_ttl_max, table.negative_ttl_max_s, Secs::duration);
    if let Some(least) = &table.ttl_min_s {
        settings.ttl_min = least.duration();
        if settings.ttl_min > settings.ttl_max {
            check.error(least.place, "`sip.dns.ttl_min_s` is more than `sip.dns.ttl_max_s`");
        }
    }
    if table.naptr == Some(false) {
        settings.naptr = NaptrUse::Skipped;
    }
    settings
}

/// Reads the address of a server.
fn server(text: &str) -> Result<SocketAddr, String> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let server = match bare.parse::<IpAddr>() {
        Ok(ip) => Some(SocketAddr::new(ip, PORT)),
        Err(_) => text.parse().ok(),
    };
    let is_server = |server: &SocketAddr| server.port() != 0 && !server.ip().is_unspecified();
    server.filter(is_server).ok_or_else(|| {
        format!("`{text}` is no address of a DNS server; write `192.0.2.53`, `192.0.2.53:5353` or `[2001:db8::53]:53`")
    })
}

/// Looks up all names at once, as the running gateway would; `None` where that failed altogether.
pub(super) fn look_up(settings: &Settings, names: Vec<Asked>) -> Vec<Option<Answer>> {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        Some(runtime.block_on(async {
            let asker = Arc::new(Asker::new(settings.clone()));
            let running: Vec<_> = names.iter().map(|name| tokio::spawn(asker.clone().find(name.clone()))).collect();
            let mut answers = Vec::new();
            for look_up in running {
                answers.push(look_up.await.ok());
            }
            answers
        }))
    };
    // On a thread of its own: whoever loads the configuration may be in a runtime.
    let answers = std::thread::scope(|scope| scope.spawn(run).join().ok().flatten());
    answers.unwrap_or_else(|| vec![None; names.len()])
}

/// What is wrong with a name that leads nowhere; the second says that it may be right all the same.
pub(super) fn complaint(host: &str, answer: Option<&Answer>) -> Option<(String, Outcome)> {
    match answer {
        Some(answer) if !answer.is_empty() => None,
        Some(answer) if answer.outcome == Outcome::Answered => Some((
            format!("the host `{host}` does not resolve: it has no NAPTR, SRV, A or AAAA record"),
            Outcome::Answered,
        )),
        Some(_) | None => Some((format!("the host `{host}` does not resolve: no DNS server answers"), Outcome::Failed)),
    }
}
