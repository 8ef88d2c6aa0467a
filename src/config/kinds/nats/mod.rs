//! Checks of `[sinks.nats.NAME]`: servers, stream and subject, who we are.

pub mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use self::table::NatsTable;
use super::event::{BodyOptions, delivery, template};
use super::jetstream::AccessOptions;
use super::{Needs, Site, Table};
use crate::accounting::SinkMode;
use crate::config::check::Check;
use crate::config::check::sections::set;
use crate::config::decode::At;
use crate::sinks::event::name::Template;
use crate::sinks::jetstream::TIMEOUT;
use crate::sinks::kind::Kind;
use crate::sinks::nats::{SUBJECTS, Settings, WINDOW};
use crate::units::{Count, Millis};

impl Table for NatsTable {
    fn records(&self) -> SinkMode {
        self.records.unwrap_or_default()
    }

    fn check(&self, site: &Site<'_>, check: &mut Check<'_>) -> Option<(Arc<dyn Kind>, Needs)> {
        let mut timeout = TIMEOUT;
        set(&mut timeout, self.timeout_ms, Millis::duration);
        let access = self.access().access(timeout, &site.spot("nats"), check);
        let stream = stream(self.stream.as_ref(), site, check);
        let subject = subject(self.subject.as_ref(), site, check);
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
        let (access, stream, subject, body) = (access?, stream?, subject?, body?);
        let mut delivery = delivery(self.window.map_or(WINDOW, Count::len), self.retry_first_ms, self.retry_max_s);
        // Each server is tried once, then come the acknowledgements and a question about the stream.
        let steps = u32::try_from(access.servers.len() + 2).unwrap_or(u32::MAX);
        delivery.timeout = timeout.saturating_mul(steps);
        let settings = Settings { access, stream, subject, body, delivery };
        Some((Arc::new(settings), Needs { log: LOG, ..Needs::default() }))
    }
}

impl NatsTable {
    const fn access(&self) -> AccessOptions<'_> {
        AccessOptions {
            servers: ("servers", &self.servers),
            user: &self.user,
            password_file: &self.password_file,
            token_file: &self.token_file,
            nkey_file: &self.nkey_file,
            credentials_file: &self.credentials_file,
            ca: &self.ca,
            certificate: &self.certificate,
            key: &self.key,
            verify_host: self.verify_host,
        }
    }
}

/// The client tells of what the sink tells itself.
const LOG: &str = ",async_nats=off";

/// Where messages go by default.
const SUBJECT: &str = "tollgate.{kind}";

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
