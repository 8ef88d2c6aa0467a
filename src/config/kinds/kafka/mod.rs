//! Checks of `[sinks.kafka.NAME]`: brokers, topic and key, who we are. A build without the feature `kafka` refuses it.

pub mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use self::table::KafkaTable;
use super::built::is_built;
use super::event::{BodyOptions, delivery, template};
use super::secret::{TlsOptions, secret};
use super::{Needs, Site, Table};
use crate::accounting::SinkMode;
use crate::config::check::Check;
use crate::config::check::sections::set;
use crate::config::decode::At;
use crate::config::schema::Switch;
use crate::net::tls::{ClientFiles, ClientTls};
use crate::sinks::kafka::{KEYS, Key, Login, Mechanism, Settings, TIMEOUT, TOPICS, WINDOW, attempt_time_max};
use crate::sinks::kind::Kind;
use crate::units::{Count, Millis};

impl Table for KafkaTable {
    fn records(&self) -> SinkMode {
        self.records.unwrap_or_default()
    }

    fn check(&self, site: &Site<'_>, check: &mut Check<'_>) -> Option<(Arc<dyn Kind>, Needs)> {
        let settings = self.settings(site, check);
        if !is_built("kafka", site, check) {
            return None;
        }
        kind(settings?)
    }
}

#[cfg(feature = "kafka")]
fn kind(settings: Settings) -> Option<(Arc<dyn Kind>, Needs)> {
    Some((Arc::new(settings), Needs::default()))
}

#[cfg(not(feature = "kafka"))]
fn kind(_: Settings) -> Option<(Arc<dyn Kind>, Needs)> {
    None
}

/// Brokers of one sink at most.
const BROKERS_MAX: usize = 32;

/// Port of a broker by custom.
const PORT: u16 = 9092;

/// Where messages go by default: all to one topic, in whose partitions the records of a session keep their order.
const TOPIC: &str = "tollgate";

impl KafkaTable {
    fn settings(&self, site: &Site<'_>, check: &mut Check<'_>) -> Option<Settings> {
        let brokers = brokers(self.brokers.as_deref(), site, check);
        let topic = template(self.topic.as_ref(), TOPIC, TOPICS, site, check);
        let key = match &self.message_key {
            None => Some(Key::Session),
            Some(given) if given.is_empty() => Some(Key::None),
            Some(given) => template(Some(given), "", KEYS, site, check).map(Key::Of),
        };
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
        let (brokers, topic, key, login, body) = (brokers?, topic?, key?, login?, body?);
        let tls = self.tls(site, check)?;
        if let (Some(Login { mechanism: Mechanism::Plain, .. }), None, Some(user)) = (&login, &tls, &self.user) {
            let hint = Some("set `tls = true`, or another `mechanism`".to_owned());
            check.warning(user.place, "without TLS the password goes over the network as it is", hint);
        }
        let mut timeout = TIMEOUT;
        set(&mut timeout, self.timeout_ms, Millis::duration);
        let mut delivery = delivery(self.window.map_or(WINDOW, Count::len), self.retry_first_ms, self.retry_max_s);
        delivery.timeout = attempt_time_max(timeout);
        let makes_topics = self.make_topics.is_some_and(Switch::is_on);
        Some(Settings { brokers, tls, login, topic, makes_topics, key, body, timeout, delivery })
    }

    /// Who we are; `None` inside: nobody.
    fn login(&self, site: &Site<'_>, check: &mut Check<'_>) -> Option<Option<Login>> {
        match (&self.user, &self.password_file) {
            (Some(user), Some(file)) => {
                let password = secret("password", file, site.base, check)?;
                let mechanism = self.mechanism.unwrap_or_default();
                Some(Some(Login { mechanism, user: user.value.clone(), password }))
            }
            (None, None) => Some(None),
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

    /// The files of TLS; `None` inside: there is none.
    fn tls(&self, site: &Site<'_>, check: &mut Check<'_>) -> Option<Option<(ClientFiles, ClientTls)>> {
        if !self.tls.is_some_and(Switch::is_on) {
            return Some(None);
        }
        let Self { ca, certificate, key, verify_host, .. } = self;
        let options = TlsOptions { ca, certificate, key, verify_host: *verify_host };
        options.load_files("kafka", site, check).map(Some)
    }
}

fn brokers(given: Option<&[At<String>]>, site: &Site<'_>, check: &mut Check<'_>) -> Option<Vec<String>> {
    let Some(given) = given.filter(|given| !given.is_empty()) else {
        let hint = Some("add `brokers = [\"HOST:9092\"]`".to_owned());
        check.error_hint(site.place, format_args!("`sinks.kafka.{}` lacks the field `brokers`", site.name), hint);
        return None;
    };
    if given.len() > BROKERS_MAX {
        check.error(site.place, format_args!("`sinks.kafka.{}` has more than {BROKERS_MAX} brokers", site.name));
        return None;
    }
    let brokers: Vec<_> = given.iter().filter_map(|own| broker(own, check)).collect();
    (brokers.len() == given.len()).then_some(brokers)
}

/// HOST:PORT, with the port that brokers have by custom where none is given.
fn broker(given: &At<String>, check: &mut Check<'_>) -> Option<String> {
    let text = given.as_str();
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port.parse().ok()),
        _ => (text, Some(PORT)),
    };
    let bare = host.strip_prefix('[').and_then(|own| own.strip_suffix(']'));
    let is_host = match bare {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|octet| octet.is_ascii_alphanumeric() || b".-_".contains(&octet)),
    };
    match port.filter(|port| is_host && *port > 0) {
        Some(port) => Some(format!("{host}:{port}")),
        None => {
            let hint = Some("\"HOST:9092\" or \"[ADDRESS]:9092\"".to_owned());
            check.error_hint(given.place, format_args!("`{text}` is no Kafka broker"), hint);
            None
        }
    }
}
