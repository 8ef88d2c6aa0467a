//! The keywords of one file, turned into typed values, with everything that is wrong on the way.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use super::lines::Lines;
use super::servers::{self, Host, Listed, Server};
use super::{ACCT_PORT, RadiusClient, Readers, Surroundings, TLS_PORT, Transport, Unknown};
use crate::config::error::{Findings, Mistake, Mistakes, Place, Weight};
use crate::config::keyword_file::{KeywordFile, Kind};
use crate::config::keywords::Keywords;
use crate::net::socket::SourceAddress;
use crate::net::tls::NameCheck;
use crate::radius::Secret;

/// Seconds to wait for one answer, as in the sample files of the libraries.
const TIMEOUT_DEFAULT_S: u32 = 10;

/// Retransmissions, as in the sample files of the libraries.
const RETRIES_DEFAULT: u32 = 3;

/// Shared secret inside TLS (RFC 6614 §2.3).
const TLS_SECRET: &str = "radsec";

/// What a switch that says nothing is neither of.
const NEITHER: &str = "on (`yes`, `true`, `on`, `1`) nor off (`no`, `false`, `off`, `0`)";

/// Octets of a NAS-Identifier (RFC 2865 §5).
const NAS_IDENTIFIER_OCTETS_MAX: usize = 253;

pub(super) fn read(
    path: &Path,
    text: &[u8],
    readers: Readers,
    unknown: Unknown,
    surroundings: &mut dyn Surroundings,
) -> Result<RadiusClient, Mistakes> {
    let mut reader = Reader { file: KeywordFile::read(&Lines { unknown }, path, text), surroundings };
    let client = reader.client(readers);
    let file = reader.file;
    let has_error = file.found.has_error();
    // Without the values, which may hold a secret.
    let keywords = file.keywords(|_| "");
    let findings = file.found.sorted();
    match client {
        client if !has_error => Ok(RadiusClient { warnings: findings, keywords, ..client }),
        _ => Err(Mistakes(findings)),
    }
}

/// One file being read.
struct Reader<'a> {
    file: KeywordFile<'a>,
    surroundings: &'a mut dyn Surroundings,
}

impl Reader<'_> {
    /// What the file says; of use only when no error was found on the way.
    fn client(&mut self, readers: Readers) -> RadiusClient {
        self.duplicates();
        let transport = self.transport();
        let timeout =
            self.file.number("radius_timeout").unwrap_or_else(|| self.missing("radius_timeout", TIMEOUT_DEFAULT_S));
        let retries =
            self.file.number("radius_retries").unwrap_or_else(|| self.missing("radius_retries", RETRIES_DEFAULT));
        let acct_servers = self.servers(transport, readers);
        let client = RadiusClient {
            path: self.file.path.to_owned(),
            acct_servers,
            transport,
            timeout: Duration::from_secs(timeout.into()),
            retries,
            deadtime: Duration::from_secs(self.file.number("radius_deadtime").unwrap_or(0).into()),
            bindaddr: self.bindaddr(),
            nas_identifier: self.nas_identifier(),
            nas_ip: self.nas_ip(),
            dictionary: self.file.file("dictionary"),
            default_realm: self.file.text("default_realm").map(|realm| realm.trim_start_matches('@').to_owned()),
            tls: self.file.tls(NEITHER),
            namespace: self.namespace(),
            source: match self.switch("use-public-addr") {
                Some(true) => SourceAddress::Public,
                _ => SourceAddress::Kernel,
            },
            debug: self.file.number("clientdebug").unwrap_or(0),
            ignored: self.ignored(),
            keywords: Keywords::default(),
            warnings: Vec::new(),
        };
        self.check_tls(&client);
        client
    }

    fn duplicates(&mut self) {
        self.file.twice(|name, is_same, place| match is_same {
            true => Mistake::warning(format!("`{name}` stands twice with the same value"), place),
            false => Mistake::error(format!("`{name}` stands twice with different values"), place)
                .hint("the libraries take the last one without a word"),
        });
    }

    fn missing(&mut self, name: &str, default: u32) -> u32 {
        if self.file.last(name).is_none() {
            let what = format!("`{name}` is missing, {default} is taken; the libraries refuse the file");
            self.file.found.push(Mistake::warning(what, self.file.whole()));
        }
        default
    }

    fn switch(&mut self, name: &str) -> Option<bool> {
        self.file.switch(name, NEITHER)
    }

    fn transport(&mut self) -> Transport {
        let Some(entry) = self.file.last("serv-type").or_else(|| self.file.last("serv-auth-type")) else {
            return Transport::Udp;
        };
        let (place, value) = (self.file.place(&entry), entry.value.to_ascii_lowercase());
        let name = entry.key.name;
        let mistake = match value.as_str() {
            "udp" => return Transport::Udp,
            "tcp" => return Transport::Tcp,
            "tls" => return Transport::Tls,
            "dtls" => Mistake::error(format!("`{name} dtls`: DTLS is not supported"), place).hint("use `tls`"),
            _ => Mistake::error(format!("`{name}` is one of `udp`, `tcp`, `tls`"), place),
        };
        self.file.found.push(mistake);
        Transport::Udp
    }

    fn bindaddr(&mut self) -> Option<IpAddr> {
        let entry = self.file.last("bindaddr")?;
        let value = entry.value;
        if value.is_empty() || value.starts_with('*') {
            return None;
        }
        let address = servers::literal(value).or_else(|| self.surroundings.resolve(value).first().copied());
        if address.is_none() {
            let what = "`bindaddr` is neither an address nor a name that has one";
            let hint = "the libraries would take any address without a word; write `*` for that";
            self.file.found.push(Mistake::error(what, self.file.place(&entry)).hint(hint));
        }
        address
    }

    fn namespace(&mut self) -> Option<String> {
        let entry = self.file.last("namespace").filter(|entry| !entry.value.is_empty())?;
        let name = entry.value;
        if name.contains('/') || name == "." || name == ".." {
            let what = "`namespace` takes the name of a network namespace, not a path";
            let mistake = Mistake::error(what, self.file.place(&entry));
            self.file.found.push(mistake.hint("`ip netns list` shows the names"));
        }
        Some(name.to_owned())
    }

    fn nas_ip(&mut self) -> Option<IpAddr> {
        let entry = self.file.last("nas-ip")?;
        let address = servers::literal(entry.value);
        if address.is_none() {
            self.file.error(&entry, "`nas-ip` takes an IPv4 or IPv6 address");
        }
        address
    }

    fn nas_identifier(&mut self) -> Option<String> {
        let entry = self.file.last("nas-identifier")?;
        if entry.value.len() > NAS_IDENTIFIER_OCTETS_MAX {
            self.file.error(&entry, format!("`nas-identifier` is longer than {NAS_IDENTIFIER_OCTETS_MAX} octets"));
        }
        Some(entry.value.to_owned()).filter(|value| !value.is_empty())
    }

    fn ignored(&self) -> Vec<&'static str> {
        let mut ignored = Vec::new();
        for entry in self.file.entries.iter().filter(|entry| entry.key.kind == Kind::Ignored) {
            if !ignored.contains(&entry.key.name) {
                ignored.push(entry.key.name);
            }
        }
        ignored
    }

    /// The accounting servers with their secrets.
    fn servers(&mut self, transport: Transport, readers: Readers) -> Vec<Server> {
        let (acct, findings) = self.listed("acctserver");
        self.file.found.extend(findings);
        let (auth, findings) = self.listed("authserver");
        let is_in_use = transport == Transport::Tls && self.file.last("acctserver").is_none();
        let listed = if is_in_use {
            self.file.found.extend(findings);
            if let Some(first) = auth.first() {
                let what = "`authserver` is used for accounting: with TLS and without `acctserver`, as in radcli";
                self.file.found.push(Mistake::warning(what, first.place.clone()));
            }
            auth
        } else {
            // Nothing is sent there: its mistakes keep nobody from starting.
            let errors = findings.into_iter().filter(|mistake| mistake.weight == Weight::Error);
            self.file.found.extend(errors.map(|mistake| Mistake { weight: Weight::Warning, ..mistake }));
            acct
        };
        if listed.is_empty() && self.file.last(if is_in_use { "authserver" } else { "acctserver" }).is_none() {
            let mistake = Mistake::error("`acctserver` is missing", self.file.whole());
            self.file.found.push(mistake.hint("`acctserver HOST[:PORT[:SECRET]]`"));
        }
        if listed.iter().any(|server| server.secret.is_some()) && readers == Readers::All {
            let what = "this file holds secrets and every user may read it";
            self.file.found.push(Mistake::warning(what, self.file.whole()));
        }
        let needs_file = listed.iter().any(|server| server.secret.is_none());
        let pairs = match (needs_file, transport) {
            (false, _) => Some(Vec::new()),
            (true, Transport::Tls) => Some(self.pre_shared_keys()),
            (true, Transport::Udp | Transport::Tcp) => self.secrets_file(),
        };
        let mut servers: Vec<Server> = Vec::new();
        for listed in listed {
            let Some(server) = self.server(listed, transport, pairs.as_deref()) else { continue };
            if let Some(earlier) =
                servers.iter().find(|earlier| (&earlier.host, earlier.port) == (&server.host, server.port))
            {
                let mistake = Mistake::warning(format!("`{server}` is listed twice"), server.place.clone());
                self.file.found.push(mistake.also_at(earlier.place.clone()));
            }
            servers.push(server);
        }
        servers
    }

    /// The servers of all lines of a keyword, and what is to be said about them.
    fn listed(&self, name: &str) -> (Vec<Listed>, Vec<Mistake>) {
        let (mut listed, mut findings) = (Vec::new(), Vec::new());
        for entry in self.file.entries.iter().filter(|entry| entry.key.name == name) {
            let mut found = Findings::default();
            listed.extend(servers::list(self.file.path, entry, &mut found));
            findings.extend(found.sorted());
        }
        (listed, findings)
    }

    /// The lines of the servers file; `None` when it cannot be read, which is already told.
    fn secrets_file(&mut self) -> Option<Vec<servers::Pair>> {
        let Some(path) = self.file.file("servers") else { return Some(Vec::new()) };
        let (text, readers) = match self.surroundings.read(&path) {
            Ok(read) => read,
            Err(error) => {
                let place = self.file.last("servers").map_or(Place::Nowhere, |entry| self.file.place(&entry));
                self.file.found.push(Mistake::error(format!("cannot read `{}`: {error}", path.display()), place));
                return None;
            }
        };
        if readers == Readers::All {
            let what = "this file holds secrets and every user may read it";
            self.file.found.push(Mistake::warning(what, Place::Whole(path.clone())));
        }
        let mut found = Findings::default();
        let pairs = servers::secrets(&path, &text, &mut found);
        self.file.found.extend(found.sorted());
        Some(pairs)
    }

    /// The lines of the servers file with keys for TLS. Its secrets mean nothing to TLS, nor does its absence.
    fn pre_shared_keys(&mut self) -> Vec<servers::Pair> {
        let Some(path) = self.file.file("servers") else { return Vec::new() };
        let Ok((text, _)) = self.surroundings.read(&path) else { return Vec::new() };
        let mut pairs = servers::secrets(&path, &text, &mut Findings::default());
        pairs.retain(|pair| pair.is_psk);
        pairs
    }

    fn server(&mut self, listed: Listed, transport: Transport, pairs: Option<&[servers::Pair]>) -> Option<Server> {
        let Listed { host, port, secret, is_psk, place } = listed;
        if is_psk {
            return self.refuse_psk(&host, place);
        }
        let port = port.unwrap_or(if transport == Transport::Tls { TLS_PORT } else { ACCT_PORT });
        let secret = match (secret, transport) {
            (Some(secret), _) => secret,
            (None, Transport::Tls) => {
                let resolve = &mut |name: &str| self.surroundings.resolve(name);
                if let Some((_, pair)) = servers::secret_for(&host, pairs?, resolve) {
                    return self.refuse_psk(&host, pair.place.clone());
                }
                Secret::new(TLS_SECRET.as_bytes())
            }
            (None, Transport::Udp | Transport::Tcp) => {
                let resolve = &mut |name: &str| self.surroundings.resolve(name);
                match servers::secret_for(&host, pairs?, resolve) {
                    Some((_, pair)) if pair.is_psk => return self.refuse_psk(&host, pair.place.clone()),
                    Some((secret, _)) => secret.clone(),
                    None => {
                        // The samples of the libraries are like that, and the libraries load them: they notice at
                        // the first request. Nothing is lost, for the records wait.
                        let what = format!("no secret for `{host}`: nothing is sent there until it has one");
                        let hint =
                            format!("add `{host} SECRET` to the `servers` file, or write `{host}:{port}:SECRET`");
                        self.file.found.push(Mistake::warning(what, place).hint(hint));
                        return None;
                    }
                }
            }
        };
        Some(Server { host, port, secret, place })
    }

    fn refuse_psk(&mut self, host: &Host, place: Place) -> Option<Server> {
        let what = format!("`{host}` has a TLS pre-shared key, which is not supported");
        self.file
            .found
            .push(Mistake::error(what, place).hint("use certificates: `tls-ca-file`, `tls-cert-file`, `tls-key-file`"));
        None
    }

    fn check_tls(&mut self, client: &RadiusClient) {
        let tls = &client.tls;
        for (has, lacks, name) in
            [(&tls.cert_file, &tls.key_file, "tls-cert-file"), (&tls.key_file, &tls.cert_file, "tls-key-file")]
        {
            if let (true, None, Some(entry)) = (has.is_some(), lacks, self.file.last(name)) {
                let place = self.file.place(&entry);
                let what = format!("`{name}` is not used: certificate and key go together");
                self.file.found.push(Mistake::warning(what, place));
            }
        }
        if (client.transport, tls.name_check) == (Transport::Tls, NameCheck::Off) {
            let place = self.file.last("tls-verify-hostname").map_or(Place::Nowhere, |entry| self.file.place(&entry));
            self.file.found.push(Mistake::warning("the name in the server's certificate is not checked", place));
        }
    }
}
