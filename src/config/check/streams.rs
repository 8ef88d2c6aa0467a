//! Checks of `[sip.streams]`, `[[sip.tls]]`, `[sip.tls_client]` and `[admin.tls]`: limits, certificates, keys.

use std::path::{Path, PathBuf};

use super::Check;
use super::certificates::{Pair, Shown, warn_of_authorities};
use super::sections::set;
use crate::admin::HttpTls;
use crate::causes::chain_text;
use crate::config::decode::At;
use crate::config::error::suggestion;
use crate::config::schema::{AdminTable, ClientCertificate, SipTable, StreamsTable, TlsTable};
use crate::config::tree::PlaceId;
use crate::front::stream::{Credentials, Settings};
use crate::net::tls::{ClientFiles, ClientTls, Clients, Identity, NameCheck, Part, Roots, ServerTls, TlsError};
use crate::sip::message::MESSAGE_BYTES_MAX;
use crate::sip::stack::{Listener, ListenerId, Transport};
use crate::units::{Count, Millis, Secs};

/// `[sip.streams]`: how many connections there may be, and how long each may be silent or slow.
pub(super) fn settings(table: &StreamsTable, check: &mut Check<'_>) -> Settings {
    let mut settings = Settings::default();
    set(&mut settings.connections_max, table.connections_max, Count::len);
    settings.connections_per_source_max = settings.connections_per_source_max.min(settings.connections_max);
    if let Some(most) = &table.connections_per_source_max {
        settings.connections_per_source_max = most.len();
        if most.len() > settings.connections_max {
            let what = "`sip.streams.connections_per_source_max` is more than `sip.streams.connections_max`";
            check.error(most.place, what);
        }
    }
    set(&mut settings.idle, table.idle_s, Secs::duration);
    set(&mut settings.message_time, table.message_ms, Millis::duration);
    set(&mut settings.handshake, table.handshake_ms, Millis::duration);
    set(&mut settings.connect, table.connect_ms, Millis::duration);
    set(&mut settings.message.head_bytes_max, table.head_bytes_max, Count::len);
    set(&mut settings.message.header_lines_max, table.header_lines_max, Count::len);
    let body_most = MESSAGE_BYTES_MAX - settings.message.head_bytes_max;
    settings.message.body_bytes_max = settings.message.body_bytes_max.min(body_most);
    set(&mut settings.message.body_bytes_max, table.body_bytes_max, Count::len);
    set(&mut settings.backlog_bytes_max, table.backlog_bytes_max, Count::len);
    settings
}

/// TLS of the listeners, and of connections the gateway opens.
pub(super) fn credentials(table: &SipTable, listeners: &[Listener], base: &Path, check: &mut Check<'_>) -> Credentials {
    let listen: Vec<&At<String>> = table.listen.iter().flatten().collect();
    let is_tls = |own: &&At<String>| own.starts_with("tls:");
    if !listen.iter().any(is_tls) {
        if let Some(unused) = table.tls.first() {
            let hint = Some("add \"tls:192.0.2.1:5061\" to `sip.listen`".to_owned());
            check.error_hint(unused.place, "there is no TLS listener that this `[[sip.tls]]` could be for", hint);
        }
        return Credentials::default();
    }
    let mut owners: Vec<Option<usize>> = vec![None; listen.len()];
    for (number, tls) in table.tls.iter().enumerate() {
        claim(tls, number, &listen, &mut owners, check);
    }
    let loaded: Vec<Option<ServerTls>> = table.tls.iter().map(|tls| server(tls, base, check)).collect();
    let rest = table.tls.iter().position(|tls| tls.listen.is_none());
    let mut servers = Vec::new();
    for (place, own) in listen.iter().enumerate().filter(|(_, own)| is_tls(own)) {
        let Some(owner) = owners[place].or(rest) else {
            let hint = "add a `[[sip.tls]]` with `certificates = [{ certificate = \"gw.pem\", key = \"gw.key\" }]`";
            check.error_hint(own.place, format_args!("no `[[sip.tls]]` is for `{}`", own.value), Some(hint.to_owned()));
            continue;
        };
        // When a listener was wrong the places are not those of the plan; it is not used then.
        let is_there = listeners.get(place).is_some_and(|own| own.transport == Transport::Tls);
        if let (Some(tls), Ok(id), true) = (&loaded[owner], u16::try_from(place), is_there) {
            servers.push((ListenerId(id), tls.clone()));
        }
    }
    Credentials { servers, client: client(table, base, check) }
}

/// Notes which listeners a table is for.
fn claim(
    tls: &At<TlsTable>,
    number: usize,
    listen: &[&At<String>],
    owners: &mut [Option<usize>],
    check: &mut Check<'_>,
) {
    for name in tls.listen.iter().flat_map(|list| &list.0) {
        let Some(place) = listen.iter().position(|own| own.value == name.value) else {
            let hint = suggestion(&name.value, listen.iter().map(|own| own.value.as_str()));
            check.error_hint(name.place, format_args!("`{}` is not in `sip.listen`", name.value), hint);
            continue;
        };
        if !name.starts_with("tls:") {
            check.error(name.place, format_args!("`{}` is no TLS listener", name.value));
        } else if owners[place].is_some() {
            check.error(name.place, format_args!("`{}` has a `[[sip.tls]]` already", name.value));
        } else {
            owners[place] = Some(number);
        }
    }
}

fn server(tls: &At<TlsTable>, base: &Path, check: &mut Check<'_>) -> Option<ServerTls> {
    if tls.certificates.is_empty() {
        let hint = Some("add `certificates = [{ certificate = \"gw.pem\", key = \"gw.key\" }]`".to_owned());
        check.error_hint(tls.place, "this `[[sip.tls]]` has no certificate", hint);
        return None;
    }
    let clients = clients((&tls.client_certificate, &tls.client_ca), tls.place, base, check)?;
    let pairs = tls.certificates.iter().map(|own| {
        // A table without one of the two is named as a whole.
        let named = |file: &At<PathBuf>| match file.place == PlaceId::default() {
            true => At { place: own.place, value: file.value.clone() },
            false => file.clone(),
        };
        Pair::of((&named(&own.certificate), &named(&own.key)), Shown::ToClients, base, check)
    });
    let pairs: Vec<_> = pairs.collect();
    // Each by itself first, so that the mistake is shown where the file is named.
    let mut is_sound = true;
    let mut identities = Vec::new();
    for own in pairs {
        let loaded = own.ok().filter(|own| load(own, &Clients::Anybody, check).is_some());
        is_sound &= loaded.is_some();
        identities.extend(loaded.map(|own| own.identity));
    }
    let place = tls.client_ca.as_ref().map_or(tls.place, |ca| ca.place);
    if is_sound { told(place, ServerTls::load(&identities, &clients), check) } else { None }
}

/// TLS with this certificate alone; a failure is noted where its file is named.
fn load(own: &Pair, clients: &Clients, check: &mut Check<'_>) -> Option<ServerTls> {
    let loaded = ServerTls::load(std::slice::from_ref(&own.identity), clients);
    loaded.map_err(|error| check.error(own.place(&error), worded(&error))).ok()
}

/// Whether clients show a certificate, and who signs it; the table is at `place`.
fn clients(
    (wanted, ca): (&Option<At<ClientCertificate>>, &Option<At<PathBuf>>),
    place: PlaceId,
    base: &Path,
    check: &mut Check<'_>,
) -> Option<Clients> {
    let wanted = wanted.as_ref().map_or(ClientCertificate::None, |wanted| wanted.value);
    let clients = match (wanted, ca) {
        (ClientCertificate::None, None) => Clients::Anybody,
        (ClientCertificate::None, Some(ca)) => {
            let hint = Some("set `client_certificate = \"required\"` or \"optional\"".to_owned());
            check.error_hint(ca.place, "`client_ca` without `client_certificate` has no effect", hint);
            return None;
        }
        (_, None) => {
            let hint = Some("set `client_ca` to a file of the authorities that sign them".to_owned());
            check.error_hint(place, "client certificates are asked for, but nobody is trusted to sign them", hint);
            return None;
        }
        (ClientCertificate::Optional, Some(ca)) => Clients::Optional(base.join(&ca.value)),
        (ClientCertificate::Required, Some(ca)) => Clients::Required(base.join(&ca.value)),
    };
    if let (Clients::Optional(path) | Clients::Required(path), Some(ca)) = (&clients, ca) {
        check.certificates.insert(path.clone());
        warn_of_authorities(path, ca.place, check);
    }
    Some(clients)
}

/// A certificate and a key that are both given; one alone is a mistake.
fn pair(
    table: &str,
    (certificate, key): (&Option<At<PathBuf>>, &Option<At<PathBuf>>),
    shown: Shown,
    base: &Path,
    check: &mut Check<'_>,
) -> Result<Option<Pair>, Wrong> {
    let given = |path: &Option<At<PathBuf>>| path.clone().filter(|path| !path.as_os_str().is_empty());
    match (given(certificate), given(key)) {
        (Some(certificate), Some(key)) => {
            Pair::of((&certificate, &key), shown, base, check).map(Some).map_err(|_| Wrong)
        }
        (None, None) => Ok(None),
        (Some(lone), None) | (None, Some(lone)) => {
            check.error(lone.place, format_args!("`{table}` needs both `certificate` and `key`"));
            Err(Wrong)
        }
    }
}

/// Something about a pair, which was noted.
struct Wrong;

/// `[admin.tls]`: TLS of HTTP, whose address stands at `listen`.
pub(super) fn admin(
    table: &AdminTable,
    listen: Option<PlaceId>,
    base: &Path,
    check: &mut Check<'_>,
) -> Option<HttpTls> {
    let hosts = table.hosts.as_deref().unwrap_or_default();
    let table = &table.tls;
    let own = pair("admin.tls", (&table.certificate, &table.key), Shown::ToClients, base, check).ok()?;
    let ca = table.client_ca.clone().filter(|path| !path.as_os_str().is_empty());
    let asked = table.client_certificate.as_ref().filter(|asked| asked.value != ClientCertificate::None);
    let others = asked.map(|own| own.place).or(ca.as_ref().map(|own| own.place));
    let Some(own) = own else {
        if let Some(place) = others {
            let hint = Some("set `certificate` and `key` too".to_owned());
            check.error_hint(place, "client certificates need TLS, and `admin.tls` has no certificate", hint);
        }
        return None;
    };
    if listen.is_none() {
        let hint = Some("set `admin.listen` to an address, such as \"127.0.0.1:8443\"".to_owned());
        check.error_hint(own.certificate, "there is no HTTP that `admin.tls` could be for", hint);
    }
    own.warn_of_names(("admin.hosts", hosts), check);
    let clients = clients((&table.client_certificate, &ca), others.unwrap_or(own.certificate), base, check)?;
    let asks_clients = clients != Clients::Anybody;
    load(&own, &Clients::Anybody, check)?;
    let place = ca.map_or(own.certificate, |ca| ca.place);
    told(place, ServerTls::load(&[own.identity], &clients), check).map(|server| HttpTls { server, asks_clients })
}

fn client(table: &SipTable, base: &Path, check: &mut Check<'_>) -> Option<ClientTls> {
    let table = &table.tls_client;
    let pair = pair("sip.tls_client", (&table.certificate, &table.key), Shown::ToServers, base, check).ok()?;
    let (roots, place) = match &table.ca {
        Some(ca) if ca.value != "system" => (Roots::File(base.join(&ca.value)), ca.place),
        Some(ca) => (Roots::System, ca.place),
        None => (Roots::System, PlaceId::default()),
    };
    let files = ClientFiles { roots, own: None, name_check: NameCheck::On };
    check.certificates.extend(files.certificates().cloned());
    let trusting = match ClientTls::load(&files) {
        Err(error @ TlsError::NoSystemRoots) => {
            let hint = "set `sip.tls_client.ca`; until then no connection to a TLS target succeeds";
            check.warning(place, error, Some(hint.to_owned()));
            return None;
        }
        trusting => told(place, trusting, check)?,
    };
    let Some(pair) = pair else { return Some(trusting) };
    let loaded = ClientTls::load(&ClientFiles { own: Some(pair.identity.clone()), ..files });
    loaded.map_err(|error| check.error(pair.place(&error), worded(&error))).ok()
}

/// What was loaded; a failure is noted.
pub(super) fn told<T>(place: PlaceId, result: Result<T, TlsError>, check: &mut Check<'_>) -> Option<T> {
    result.map_err(|error| check.error(place, worded(&error))).ok()
}

/// What is wrong with the files, as `[sip]` says it.
fn worded(error: &TlsError) -> String {
    use TlsError as E;
    match error {
        E::Read { part, path, source } => format!("cannot read {part} from {}: I/O error: {source}", path.display()),
        E::Pem { part, path, what } => format!("cannot read {part} from {}: {what}", path.display()),
        E::NoKey { path } => format!("cannot read {} from {}: no items found", Part::Key, path.display()),
        E::NoCertificate { path } => format!("no certificate in {}", path.display()),
        E::Pair { own: Identity { certificate, key }, source: rustls::Error::InconsistentKeys(_) } => {
            format!("the key in {} is not that of the certificate in {}", key.display(), certificate.display())
        }
        E::Unfit { path, source } | E::Pair { own: Identity { certificate: path, .. }, source } => {
            format!("cannot use {}: {source}", path.display())
        }
        E::TooMany { .. } | E::Name { .. } | E::NoSystemRoots | E::Verifier(_) | E::Setup(_) => chain_text(error),
    }
}
