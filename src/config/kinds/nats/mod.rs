//! Checks of `[sinks.nats.NAME]`: servers, stream and subject, who we are.

pub mod table;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use async_nats::ServerAddr;

use self::table::NatsTable;
use super::event::{BodyOptions, delivery, template};
use super::secret::{TlsOptions, secret, secret_text};
use super::{Needs, Site, Table};
use crate::accounting::SinkMode;
use crate::config::check::Check;
use crate::config::check::sections::set;
use crate::config::decode::At;
use crate::net::tls::ClientTls;
use crate::sinks::event::name::Template;
use crate::sinks::kind::Kind;
use crate::sinks::nats::{Login, SUBJECTS, Settings, TIMEOUT, WINDOW};
use crate::sinks::secret::Secret;
use crate::units::{Count, Millis};

impl Table for NatsTable {
    fn records(&self) -> SinkMode {
        self.records.unwrap_or_default()
    }

    fn check(&self, site: &Site<'_>, check: &mut Check<'_>) -> Option<(Arc<dyn Kind>, Needs)> {
        let servers = servers(self, site, check);
        let stream = stream(self.stream.as_ref(), site, check);
        let subject = subject(self.subject.as_ref(), site, check);
        let login = login(self, site, check);
        let Self { envelope, profile, fields, leg_fields, unmapped, legs, leg_order, round, source, .. } = self;
        let body = BodyOptions {
            envelope: *envelope,
            profile,
            fields,
            leg_fields,
            unmapped: *unmapped,
            legs: *legs,
            leg_order: *leg_order,
            round: *round,
            source,
        }
        .body(site, check);
        let (servers, stream, subject, login, body) = (servers?, stream?, subject?, login?, body?);
        let tls = tls(self, &servers, site, check)?;
        let mut timeout = TIMEOUT;
        set(&mut timeout, self.timeout_ms, Millis::duration);
        let mut delivery = delivery(self.window.map_or(WINDOW, Count::len), self.retry_first_ms, self.retry_max_s);
        // Each server is tried once, then come the acknowledgements and a question about the stream.
        let steps = u32::try_from(servers.len() + 2).unwrap_or(u32::MAX);
        delivery.timeout = timeout.saturating_mul(steps);
        let settings = Settings { servers, login, tls, stream, subject, body, timeout, delivery };
        Some((Arc::new(settings), Needs { log: LOG, ..Needs::default() }))
    }
}

/// The client tells of what the sink tells itself.
const LOG: &str = ",async_nats=off";

/// Servers of one sink at most.
const SERVERS_MAX: usize = 16;

/// Where messages go by default.
const SUBJECT: &str = "tollgate.{kind}";

fn servers(table: &NatsTable, site: &Site<'_>, check: &mut Check<'_>) -> Option<Vec<String>> {
    let Some(given) = table.servers.as_ref().filter(|given| !given.is_empty()) else {
        let hint = Some("add `servers = [\"nats://HOST:4222\"]`".to_owned());
        check.error_hint(site.place, format_args!("`sinks.nats.{}` lacks the field `servers`", site.name), hint);
        return None;
    };
    if given.len() > SERVERS_MAX {
        check.error(site.place, format_args!("`sinks.nats.{}` has more than {SERVERS_MAX} servers", site.name));
        return None;
    }
    let hint = || Some("\"nats://HOST:4222\", or \"tls://HOST:4222\" for one that must have TLS".to_owned());
    let mut servers = Vec::new();
    for url in given {
        if url.contains('@') {
            let hint = Some("write it into a file, and name that by `password_file` or `token_file`".to_owned());
            check.error_hint(url.place, "a password may stand in this URL", hint);
            continue;
        }
        let parsed = url.parse::<ServerAddr>();
        let is_known = |own: &ServerAddr| matches!(own.scheme(), "nats" | "tls") && !own.host().is_empty();
        match parsed {
            Ok(own) if is_known(&own) => servers.push(url.value.clone()),
            _ => check.error_hint(url.place, format_args!("`{}` is no NATS server", url.value), hint()),
        }
    }
    (servers.len() == given.len()).then_some(servers)
}

fn stream(given: Option<&At<String>>, site: &Site<'_>, check: &mut Check<'_>) -> Option<String> {
    let Some(stream) = given else {
        let hint = Some("add `stream = \"ACC\"`, the name of the stream that has the subjects".to_owned());
        check.error_hint(site.place, format_args!("`sinks.nats.{}` lacks the field `stream`", site.name), hint);
        return None;
    };
    let fits = |octet: u8| octet.is_ascii_graphic() && !b".*>/\\".contains(&octet);
    if stream.is_empty() || !stream.bytes().all(fits) {
        let hint = Some("printable ASCII without blanks, dots, slashes, * and >".to_owned());
        check.error_hint(stream.place, format_args!("`{}` is no name of a stream", stream.value), hint);
        return None;
    }
    Some(stream.value.clone())
}

fn subject(given: Option<&At<String>>, site: &Site<'_>, check: &mut Check<'_>) -> Option<Template> {
    let template = template(given, SUBJECT, SUBJECTS, site, check)?;
    let example = template.with_values("x");
    if example.split('.').any(str::is_empty) {
        let place = given.map_or(site.place, |given| given.place);
        check.error(place, "a subject has no empty part: no dot at an end, no two beside each other");
        return None;
    }
    Some(template)
}

fn login(table: &NatsTable, site: &Site<'_>, check: &mut Check<'_>) -> Option<Login> {
    let ways = [&table.password_file, &table.token_file, &table.nkey_file, &table.credentials_file];
    if let Some(second) = ways.into_iter().flatten().nth(1) {
        let hint =
            Some("of `password_file`, `token_file`, `nkey_file` and `credentials_file` one is enough".to_owned());
        check.error_hint(second.place, "a server knows a client in one way", hint);
        return None;
    }
    match (&table.user, &table.password_file) {
        (Some(user), Some(file)) => {
            let password = secret("password", file, site.base, check)?;
            return Some(Login::User(user.value.clone(), password));
        }
        (None, None) => {}
        (Some(given), None) => {
            check.error(given.place, "`user` needs a `password_file`");
            return None;
        }
        (None, Some(given)) => {
            check.error(given.place, "`password_file` needs a `user`");
            return None;
        }
    }
    let of = |what: &str, file: &At<PathBuf>, check: &mut Check<'_>| secret(what, file, site.base, check);
    if let Some(file) = &table.token_file {
        return of("token", file, check).map(Login::Token);
    }
    if let Some(file) = &table.nkey_file {
        return of("seed", file, check).map(Login::Nkey);
    }
    if let Some(file) = &table.credentials_file {
        let text = secret_text("key", file, site.base, check)?;
        if async_nats::ConnectOptions::with_credentials(&text).is_err() {
            let path = site.base.join(&file.value);
            check.error(file.place, format_args!("{} has no JWT with the seed of an nkey", path.display()));
            return None;
        }
        return Some(Login::Credentials(Secret::new(text)));
    }
    Some(Login::None)
}

/// The files of TLS, where a server must have it or they are named; `None` inside: only without.
fn tls(table: &NatsTable, servers: &[String], site: &Site<'_>, check: &mut Check<'_>) -> Option<Option<ClientTls>> {
    let NatsTable { ca, certificate, key, verify_host, .. } = table;
    let is_named =
        ca.is_some() || certificate.is_some() || key.is_some() || verify_host.is_some_and(|own| !own.is_on());
    if !is_named && !servers.iter().any(|url| url.starts_with("tls:")) {
        return Some(None);
    }
    let options = TlsOptions { ca, certificate, key, verify_host: *verify_host };
    options.load("nats", site, check).map(Some)
}
