//! Checks of `[sinks.amqp.NAME]`: the broker, exchange and routing key, who we are.

pub mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use lapin::uri::{AMQPScheme, AMQPUri};

use self::table::AmqpTable;
use super::event::{BodyOptions, delivery, template};
use super::secret::{TlsOptions, secret};
use super::{Needs, Site, Table};
use crate::accounting::SinkMode;
use crate::causes::chain_text;
use crate::config::check::Check;
use crate::config::check::sections::set;
use crate::config::decode::At;
use crate::net::tls::server_name;
use crate::sinks::amqp::{NAMES, Settings, TIMEOUT, WINDOW};
use crate::sinks::kind::Kind;
use crate::sinks::secret::Secret;
use crate::units::{Count, Millis};

impl Table for AmqpTable {
    fn records(&self) -> SinkMode {
        self.records.unwrap_or_default()
    }

    fn check(&self, site: &Site<'_>, check: &mut Check<'_>) -> Option<(Arc<dyn Kind>, Needs)> {
        let uri = url(self.url.as_ref(), site, check);
        let exchange = template(self.exchange.as_ref(), "", NAMES, site, check);
        let routing_key = template(self.routing_key.as_ref(), ROUTING_KEY, NAMES, site, check);
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
        let (uri, exchange, routing_key) = (uri?, exchange?, routing_key?);
        let ((user, password), body) = (login?, body?);
        let AMQPUri { scheme, authority, vhost, .. } = uri;
        let tls = match scheme {
            AMQPScheme::AMQP => None,
            AMQPScheme::AMQPS => {
                let Self { ca, certificate, key, verify_host, .. } = self;
                let tls = TlsOptions { ca, certificate, key, verify_host: *verify_host }.load("amqp", site, check)?;
                let place = self.url.as_ref().map_or(site.place, |url| url.place);
                let name = server_name(&authority.host).map_err(|error| check.error(place, chain_text(&error)));
                Some((tls, name.ok()?))
            }
        };
        let mut timeout = TIMEOUT;
        set(&mut timeout, self.timeout_ms, Millis::duration);
        let mut delivery = delivery(self.window.map_or(WINDOW, Count::len), self.retry_first_ms, self.retry_max_s);
        // To connect, and the confirms; their own ends come first.
        delivery.timeout = timeout.saturating_mul(3);
        let (host, port) = (authority.host, authority.port);
        let settings =
            Settings { host, port, tls, vhost, user, password, exchange, routing_key, body, timeout, delivery };
        Some((Arc::new(settings), Needs { log: LOG, ..Needs::default() }))
    }
}

/// The client tells of what the sink tells itself.
const LOG: &str = ",lapin=off";

/// Where messages go by default.
const ROUTING_KEY: &str = "tollgate.{kind}";

/// Who everybody is at a broker as it comes, from its own machine only.
const GUEST: &str = "guest";

fn url(given: Option<&At<String>>, site: &Site<'_>, check: &mut Check<'_>) -> Option<AMQPUri> {
    let Some(url) = given else {
        let hint = Some("add `url = \"amqp://HOST/VHOST\"`".to_owned());
        check.error_hint(site.place, format_args!("`sinks.amqp.{}` lacks the field `url`", site.name), hint);
        return None;
    };
    if url.contains('@') {
        let hint = Some("write it into a file, and name that by `password_file`".to_owned());
        check.error_hint(url.place, "a password may stand in this URL", hint);
        return None;
    }
    let parsed = url.parse::<AMQPUri>().ok();
    let parsed = parsed.filter(|own| !own.authority.host.is_empty() && own.authority.port > 0 && !url.contains('?'));
    if parsed.is_none() {
        let hint = "\"amqp://HOST\", \"amqp://HOST:5672/VHOST\", or \"amqps://...\" with TLS".to_owned();
        check.error_hint(url.place, format_args!("`{}` is no AMQP broker", url.value), Some(hint));
    }
    parsed
}

fn login(table: &AmqpTable, site: &Site<'_>, check: &mut Check<'_>) -> Option<(String, Secret)> {
    match (&table.user, &table.password_file) {
        (Some(user), Some(file)) => Some((user.value.clone(), secret("password", file, site.base, check)?)),
        (None, None) => Some((GUEST.to_owned(), Secret::new(GUEST.to_owned()))),
        (Some(given), None) => {
            check.error(given.place, "`user` needs a `password_file`");
            None
        }
        (None, Some(given)) => {
            check.error(given.place, "`password_file` needs a `user`");
            None
        }
    }
}
