//! Checks of `[sinks.redis.NAME]`: the server, the stream, who we are. A build without the feature `redis` refuses it.

pub mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use reqwest::Url;

use self::table::RedisTable;
use super::built::is_built;
use super::event::{BodyOptions, delivery, template};
use super::secret::{TlsOptions, secret};
use super::{Needs, Site, Table};
use crate::accounting::SinkMode;
use crate::causes::chain_text;
use crate::config::check::Check;
use crate::config::check::sections::set;
use crate::config::decode::At;
use crate::config::schema::Switch;
use crate::net::tls::server_name;
use crate::sinks::kind::Kind;
use crate::sinks::redis::{KEYS, Settings, TIMEOUT, WINDOW};
use crate::sinks::secret::Secret;
use crate::units::{Count, Millis};

impl Table for RedisTable {
    fn records(&self) -> SinkMode {
        self.records.unwrap_or_default()
    }

    fn check(&self, site: &Site<'_>, check: &mut Check<'_>) -> Option<(Arc<dyn Kind>, Needs)> {
        let settings = self.settings(site, check);
        if !is_built("redis", site, check) {
            return None;
        }
        kind(settings?)
    }
}

#[cfg(feature = "redis")]
fn kind(settings: Settings) -> Option<(Arc<dyn Kind>, Needs)> {
    Some((Arc::new(settings), Needs::default()))
}

#[cfg(not(feature = "redis"))]
fn kind(_: Settings) -> Option<(Arc<dyn Kind>, Needs)> {
    None
}

/// Port of a server by custom.
const PORT: u16 = 6379;

/// Where entries go by default.
const STREAM: &str = "tollgate:{kind}";

/// Where a server is: its URL, host, port and the number of the database.
type Server = (Url, String, u16, u16);

impl RedisTable {
    fn settings(&self, site: &Site<'_>, check: &mut Check<'_>) -> Option<Settings> {
        let server = server(self.url.as_ref(), site, check);
        let key = template(self.stream.as_ref(), STREAM, KEYS, site, check);
        let login = self.login(site, check);
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
        let ((url, host, port, database), key, login, body) = (server?, key?, login?, body?);
        let tls = if url.scheme() == "rediss" {
            let Self { ca, certificate, key, verify_host, .. } = self;
            let tls = TlsOptions { ca, certificate, key, verify_host: *verify_host }.load("redis", site, check)?;
            let place = self.url.as_ref().map_or(site.place, |url| url.place);
            let name = server_name(&host).map_err(|error| check.error(place, chain_text(&error)));
            Some((tls, name.ok()?))
        } else {
            None
        };
        let mut timeout = TIMEOUT;
        set(&mut timeout, self.timeout_ms, Millis::duration);
        let mut delivery = delivery(self.window.map_or(WINDOW, Count::len), self.retry_first_ms, self.retry_max_s);
        // To connect, to be let in, and the acknowledgements; their own ends come first.
        delivery.timeout = timeout.saturating_mul(3);
        let makes_streams = self.make_streams.is_some_and(Switch::is_on);
        let length_max = self.length_max.map(Count::get).filter(|most| *most > 0);
        Some(Settings { host, port, tls, database, login, key, makes_streams, length_max, body, timeout, delivery })
    }

    /// Who we are; `None` inside: nobody.
    fn login(&self, site: &Site<'_>, check: &mut Check<'_>) -> Option<Option<(Option<String>, Secret)>> {
        match (&self.user, &self.password_file) {
            (user, Some(file)) => {
                let password = secret("password", file, site.base, check)?;
                Some(Some((user.as_ref().map(|user| user.value.clone()), password)))
            }
            (None, None) => Some(None),
            (Some(given), None) => {
                check.error(given.place, "`user` needs a `password_file`");
                None
            }
        }
    }
}

fn server(given: Option<&At<String>>, site: &Site<'_>, check: &mut Check<'_>) -> Option<Server> {
    let Some(given) = given else {
        let hint = Some("add `url = \"redis://HOST\"`".to_owned());
        check.error_hint(site.place, format_args!("`sinks.redis.{}` lacks the field `url`", site.name), hint);
        return None;
    };
    if given.contains('@') {
        let hint = Some("write it into a file, and name that by `password_file`".to_owned());
        check.error_hint(given.place, "a password may stand in this URL", hint);
        return None;
    }
    let read = |url: Url| {
        let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']').to_owned();
        let is_known = matches!(url.scheme(), "redis" | "rediss") && url.query().is_none() && !host.is_empty();
        let database = match url.path().trim_start_matches('/') {
            "" => 0,
            number => number.parse().ok()?,
        };
        let port = url.port().unwrap_or(PORT);
        is_known.then_some((url, host, port, database))
    };
    let server = Url::parse(given).ok().and_then(read);
    if server.is_none() {
        let hint = "\"redis://HOST\", \"redis://HOST:6379/DATABASE\", or \"rediss://...\" with TLS".to_owned();
        check.error_hint(given.place, format_args!("`{}` is no Redis server", given.value), Some(hint));
    }
    server
}
