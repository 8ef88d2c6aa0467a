//! Checks of `[sinks.webhook.NAME]`: the URL, who we are, what an acknowledgement is.

pub mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use reqwest::Url;

use self::table::WebhookTable;
use super::event::{BodyOptions, delivery};
use super::secret::{TlsOptions, secret};
use super::{Needs, Site, Table, is_near};
use crate::accounting::SinkMode;
use crate::config::check::Check;
use crate::config::check::sections::set;
use crate::config::decode::At;
use crate::net::tls::ClientTls;
use crate::sinks::kind::Kind;
use crate::sinks::webhook::{BATCH, Batch, Expect, Login, RETRY_AFTER_MAX, Settings, TIMEOUT, WINDOW};
use crate::units::{Count, Millis, Secs};

impl Table for WebhookTable {
    fn records(&self) -> SinkMode {
        self.records.unwrap_or_default()
    }

    fn check(&self, site: &Site<'_>, check: &mut Check<'_>) -> Option<(Arc<dyn Kind>, Needs)> {
        let url = url(self.url.as_ref(), site, check);
        let login = login(self, site, check);
        let signing_key = match &self.signing_key_file {
            Some(file) => secret("key", file, site.base, check).map(Some),
            None => Some(None),
        };
        let expect = expect(self, check);
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
        let batch = self.batch.unwrap_or_default();
        let together = together(self, batch, check);
        let (url, login, signing_key, expect, body) = (url?, login?, signing_key?, expect?, body?);
        let tls = tls(self, &url, site, check)?;
        let mut timeout = TIMEOUT;
        set(&mut timeout, self.timeout_ms, Millis::duration);
        let mut retry_after_max = RETRY_AFTER_MAX;
        set(&mut retry_after_max, self.retry_after_max_s, Secs::duration);
        let mut delivery = delivery(together, self.retry_first_ms, self.retry_max_s);
        // The requests have ended by then.
        delivery.timeout = timeout.saturating_mul(2);
        let settings =
            Settings { url, login, signing_key, tls, batch, expect, body, timeout, retry_after_max, delivery };
        Some((Arc::new(settings), Needs::default()))
    }
}

fn url(given: Option<&At<String>>, site: &Site<'_>, check: &mut Check<'_>) -> Option<Url> {
    let Some(given) = given else {
        let hint = Some("add `url = \"https://HOST/PATH\"`".to_owned());
        check.error_hint(site.place, format_args!("`sinks.webhook.{}` lacks the field `url`", site.name), hint);
        return None;
    };
    let parsed = Url::parse(given).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let Some(url) = parsed else {
        // It is not shown: a password may stand in it.
        let hint = Some("\"https://HOST/PATH\"".to_owned());
        check.error_hint(given.place, "this is no URL of a webhook", hint);
        return None;
    };
    if !url.username().is_empty() || url.password().is_some() {
        let hint = Some("name the user by `user`, and write the password into a file for `password_file`".to_owned());
        check.error_hint(given.place, "a password stands in this URL", hint);
        return None;
    }
    if url.scheme() == "http" && !is_near(&url) {
        let hint = Some("use https, or a proxy for it on this machine".to_owned());
        check.warning(given.place, "records go to another machine in clear text", hint);
    }
    Some(url)
}

fn login(table: &WebhookTable, site: &Site<'_>, check: &mut Check<'_>) -> Option<Login> {
    match (&table.user, &table.password_file, &table.token_file) {
        (None, None, None) => Some(Login::None),
        (Some(user), Some(file), None) => {
            if user.contains(':') {
                check.error(user.place, format_args!("the user `{}` has a colon, which no user has", user.value));
                return None;
            }
            secret("password", file, site.base, check).map(|password| Login::Basic(user.value.clone(), password))
        }
        (None, None, Some(file)) => secret("token", file, site.base, check).and_then(|token| {
            let fits = token.is_printable();
            if !fits {
                let path = site.base.join(&file.value);
                let what = format_args!("the token in {} has blanks or other than ASCII", path.display());
                check.error(file.place, what);
            }
            fits.then_some(Login::Bearer(token))
        }),
        (_, _, Some(file)) => {
            let hint = Some("of `user` with `password_file`, and `token_file`, one is enough".to_owned());
            check.error_hint(file.place, "a receiver knows us in one way", hint);
            None
        }
        (Some(given), None, None) => {
            check.error(given.place, "`user` needs a `password_file`");
            None
        }
        (None, Some(given), None) => {
            check.error(given.place, "`password_file` needs a `user`");
            None
        }
    }
}

fn expect(table: &WebhookTable, check: &mut Check<'_>) -> Option<Expect> {
    if let Some(given) = &table.expect_type {
        let is_name = |part: &str| !part.is_empty() && part.bytes().all(|octet| octet.is_ascii_graphic());
        let is_type = given.split_once('/').is_some_and(|(kind, rest)| is_name(kind) && is_name(rest));
        if !is_type || given.contains([';', ',', '*']) {
            let hint = Some("one type without parameters, such as \"application/json\"".to_owned());
            check.error_hint(given.place, format_args!("`{}` is no media type", given.value), hint);
            return None;
        }
    }
    if let Some(given) = table.expect_text.as_ref().filter(|given| given.is_empty()) {
        check.error(given.place, "this text stands in every body");
        return None;
    }
    let text = |given: &Option<At<String>>| given.as_ref().map(|given| given.value.clone());
    Some(Expect { media_type: text(&table.expect_type), text: text(&table.expect_text) })
}

/// Records of an attempt at most.
fn together(table: &WebhookTable, batch: Batch, check: &mut Check<'_>) -> usize {
    let mut useless = |place, what: &str, other: &str| {
        check.warning(place, format_args!("`{what}` counts only with `batch = \"{other}\"`"), None);
    };
    match (batch, &table.batch_max, &table.window) {
        (Batch::Each, Some(given), _) => useless(given.place, "batch_max", "array"),
        (Batch::Array, _, Some(given)) => useless(given.place, "window", "each"),
        _ => {}
    }
    match batch {
        Batch::Each => table.window.as_ref().map_or(WINDOW, |window| Count::len(window.value)),
        Batch::Array => table.batch_max.as_ref().map_or(BATCH, |most| Count::len(most.value)),
    }
}

/// The files of TLS for `https`; `None` inside: none.
fn tls(table: &WebhookTable, url: &Url, site: &Site<'_>, check: &mut Check<'_>) -> Option<Option<ClientTls>> {
    let WebhookTable { ca, certificate, key, verify_host, .. } = table;
    if url.scheme() == "https" {
        return TlsOptions { ca, certificate, key, verify_host: *verify_host }.load("webhook", site, check).map(Some);
    }
    if let Some(given) = [ca, certificate, key].into_iter().flatten().next() {
        check.error(given.place, "a file of TLS, but the URL begins with http:");
        return None;
    }
    Some(None)
}
