//! Checks of what carries RADIUS packets: TLS with its files and names, the near end of the sockets.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};

use super::client::{Host, RadiusClient, Readers, Surroundings as _, System, Transport};
use crate::config::check::Check;
use crate::config::decode::At;
use crate::config::error::{Mistake, Place};
use crate::config::kinds::client_file::client_tls;
use crate::config::schema::Switch;
use crate::net::tls::{self, TlsError};
use crate::sinks::radius::{Carrier, Settings, TlsSettings};

/// Where the system keeps named network namespaces, as ip-netns(8) does.
const NAMESPACES: &str = "/run/netns";

/// Fills in what carries packets; `false` when it is known that nothing can.
pub(super) fn check(client: &RadiusClient, settings: &mut Settings, check: &mut Check<'_>) -> bool {
    settings.bind = client.bindaddr;
    settings.source = client.source;
    settings.namespace = client.namespace.as_deref().map(|name| namespace(name, client, check));
    if settings.namespace.is_none() {
        local_address(client, check);
    }
    settings.carrier = match client.transport {
        Transport::Udp => Carrier::Udp,
        Transport::Tcp => Carrier::Tcp,
        Transport::Tls => match tls(client, check) {
            Some(tls) => Carrier::Tls(tls),
            None => return false,
        },
    };
    true
}

/// Segmentation offload cuts datagrams; a connection has none.
pub(super) fn offload(
    wanted: Option<&At<Switch>>,
    client: &RadiusClient,
    settings: &mut Settings,
    check: &mut Check<'_>,
) {
    let Some(wanted) = wanted.filter(|wanted| wanted.is_on()) else { return };
    if client.transport == Transport::Udp {
        settings.segmentation_offload = true;
    } else {
        let hint = "leave it out, or `serv-type` in the client file".to_owned();
        let what = "`segmentation_offload` is for RADIUS over UDP alone: over TCP and TLS nothing is padded";
        check.error_hint(wanted.place, what, Some(hint));
    }
}

fn namespace(name: &str, client: &RadiusClient, check: &mut Check<'_>) -> PathBuf {
    let file = Path::new(NAMESPACES).join(name);
    if !file.exists() {
        let what = format!("there is no network namespace `{name}` now: `{}` is missing", file.display());
        let hint = format!("`ip netns add {name}`, before the service starts");
        check.findings.push(Mistake::warning(what, client.keywords.place("namespace")).hint(hint));
    }
    let what = "`namespace` cannot work under the shipped unit: only root may enter a network namespace";
    let hint = "run the gateway in it with `NetworkNamespacePath=` in a drop-in of the unit, and leave the keyword out";
    check.findings.push(Mistake::warning(what, client.keywords.place("namespace")).hint(hint));
    file
}

/// The address of `bindaddr` has to be one of this host.
fn local_address(client: &RadiusClient, check: &mut Check<'_>) {
    let Some(address) = client.bindaddr else { return };
    let bound = UdpSocket::bind((address, 0));
    if bound.is_err_and(|error| error.kind() == ErrorKind::AddrNotAvailable) {
        let what = format!("`bindaddr` is `{address}`, which is no address of this host");
        check
            .findings
            .push(Mistake::error(what, client.keywords.place("bindaddr")).hint("`*` leaves it to the kernel"));
    }
}

fn tls(client: &RadiusClient, check: &mut Check<'_>) -> Option<TlsSettings> {
    let at = |keyword| client.keywords.place(keyword);
    match (&client.tls.cert_file, &client.tls.key_file) {
        (Some(_), Some(key)) => readers(key, check),
        _ => {
            let what = "no certificate of our own: a RADIUS server over TLS usually asks for one";
            let hint = "set `tls-cert-file` and `tls-key-file`";
            check.findings.push(Mistake::warning(what, at("serv-type")).hint(hint));
        }
    }
    let Some(files) = client.tls.files() else {
        let what = "`serv-type tls` needs `tls-ca-file`: no server could be trusted without it";
        check.findings.push(Mistake::error(what, at("serv-type")));
        return None;
    };
    let config = client_tls(&files, &client.keywords, check);
    let mut names = Vec::new();
    for server in &client.acct_servers {
        match name(&server.host) {
            Ok(name) => names.push(name),
            Err(error) => check.findings.push(Mistake::error(error.to_string(), server.place.clone())),
        }
    }
    let is_complete = names.len() == client.acct_servers.len();
    config.filter(|_| is_complete).map(|config| TlsSettings { config, names })
}

/// What a server has to prove: the host as it is written.
fn name(host: &Host) -> Result<rustls::pki_types::ServerName<'static>, TlsError> {
    match host {
        Host::Address(address) => Ok(tls::server_address(*address)),
        Host::Name(name) => tls::server_name(name),
    }
}

fn readers(key: &Path, check: &mut Check<'_>) {
    if let Ok((_, Readers::All)) = System.read(key) {
        let what = "this file holds a private key and every user may read it";
        check.findings.push(Mistake::warning(what, Place::Whole(key.to_owned())));
    }
}
