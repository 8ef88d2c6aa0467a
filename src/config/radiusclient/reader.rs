//! The keywords of one file, turned into typed values, with everything that is wrong on the way.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::keys::{Kind, NUMBER_MAX};
use super::lines::{self, Entry};
use super::servers::{self, Host, Listed, Server};
use super::{
    ACCT_PORT, NameCheck, RadiusClient, Readers, SourceChoice, Surroundings, TLS_PORT, Tls, Transport, Unknown,
};
use crate::config::error::{Findings, Mistake, Mistakes, Place, Weight};
use crate::config::keywords::Keywords;
use crate::radius::Secret;

/// Seconds to wait for one answer, as in the sample files of the libraries.
const TIMEOUT_DEFAULT_S: u32 = 10;

/// Retransmissions, as in the sample files of the libraries.
const RETRIES_DEFAULT: u32 = 3;

/// Shared secret inside TLS (RFC 6614 §2.3).
const TLS_SECRET: &str = "radsec";

/// Octets of a NAS-Identifier (RFC 2865 §5).
const NAS_IDENTIFIER_OCTETS_MAX: usize = 253;

pub(super) fn read(
    path: &Path,
    text: &[u8],
    readers: Readers,
    unknown: Unknown,
    surroundings: &mut dyn Surroundings,
) -> Result<RadiusClient, Mistakes> {
    let mut found = Findings::default();
    let entries = lines::entries(path, text, unknown, &mut found);
    let mut reader = Reader { path, entries, found, surroundings };
    let client = reader.client(readers);
    let has_error = reader.found.has_error();
    let mut keywords = Keywords::new(path.to_owned());
    for entry in &reader.entries {
        // Without its value, which may hold a secret.
        keywords.note(entry.key.name, "", reader.place(entry));
    }
    let findings = reader.found.sorted();
    match client {
        client if !has_error => Ok(RadiusClient { warnings: findings, keywords, ..client }),
        _ => Err(Mistakes(findings)),
    }
}

/// One file being read.
struct Reader<'a> {
    path: &'a Path,
    entries: Vec<Entry<'a>>,
    found: Findings,
    surroundings: &'a mut dyn Surroundings,
}

impl Reader<'_> {
    /// What the file says; of use only when no error was found on the way.
    fn client(&mut self, readers: Readers) -> RadiusClient {
        self.duplicates();
        let transport = self.transport();
        let timeout =
            self.number("radius_timeout").unwrap_or_else(|| self.missing("radius_timeout", TIMEOUT_DEFAULT_S));
        let retries = self.number("radius_retries").unwrap_or_else(|| self.missing("radius_retries", RETRIES_DEFAULT));
        let acct_servers = self.servers(transport, readers);
        let client = RadiusClient {
            path: self.path.to_owned(),
            acct_servers,
            transport,
            timeout: Duration::from_secs(timeout.into()),
            retries,
            deadtime: Duration::from_secs(self.number("radius_deadtime").unwrap_or(0).into()),
            bindaddr: self.bindaddr(),
            nas_identifier: self.nas_identifier(),
            nas_ip: self.nas_ip(),
            dictionary: self.file("dictionary"),
            default_realm: self.text("default_realm").map(|realm| realm.trim_start_matches('@').to_owned()),
            tls: Tls {
                ca_file: self.file("tls-ca-file"),
                cert_file: self.file("tls-cert-file"),
                key_file: self.file("tls-key-file"),
                name_check: match self.switch("tls-verify-hostname") {
                    Some(false) => NameCheck::Off,
                    _ => NameCheck::On,
                },
            },
            namespace: self.namespace(),
            source: match self.switch("use-public-addr") {
                Some(true) => SourceChoice::Public,
                _ => SourceChoice::Kernel,
            },
            debug: self.number("clientdebug").unwrap_or(0),
            ignored: self.ignored(),
            keywords: Keywords::default(),
            warnings: Vec::new(),
        };
        self.check_tls(&client);
        client
    }

    fn place(&self, entry: &Entry<'_>) -> Place {
        Place::File { path: self.path.to_owned(), line: entry.line, column: entry.column }
    }

    /// The last entry of a keyword.
    fn last(&self, name: &str) -> Option<Entry<'_>> {
        self.entries.iter().rev().find(|entry| entry.key.name == name).cloned()
    }

    /// The value of a keyword; `None` when it is missing or empty.
    fn text(&self, name: &str) -> Option<&str> {
        self.entries
            .iter()
            .rev()
            .find(|entry| entry.key.name == name)
            .map(|entry| entry.value)
            .filter(|text| !text.is_empty())
    }

    fn file(&self, name: &str) -> Option<PathBuf> {
        self.text(name).map(|text| self.path.parent().unwrap_or(Path::new("")).join(text))
    }

    fn duplicates(&mut self) {
        let mut mistakes = Vec::new();
        for (at, entry) in self.entries.iter().enumerate() {
            if matches!(entry.key.kind, Kind::Servers | Kind::Ignored) {
                continue;
            }
            let Some(first) = self.entries[..at].iter().find(|first| first.key == entry.key) else { continue };
            let name = entry.key.name;
            let mistake = if first.value == entry.value {
                Mistake::warning(format!("`{name}` stands twice with the same value"), self.place(entry))
            } else {
                Mistake::error(format!("`{name}` stands twice with different values"), self.place(entry))
                    .hint("the libraries take the last one without a word")
            };
            mistakes.push(mistake.also_at(self.place(first)));
        }
        self.found.extend(mistakes);
    }

    fn missing(&mut self, name: &str, default: u32) -> u32 {
        if self.last(name).is_none() {
            let what = format!("`{name}` is missing, {default} is taken; the libraries refuse the file");
            self.found.push(Mistake::warning(what, Place::Whole(self.path.to_owned())));
        }
        default
    }

    fn number(&mut self, name: &str) -> Option<u32> {
        let entry = self.last(name)?;
        let Kind::Number { min, usual_max } = entry.key.kind else { return None };
        let (value, place) = (entry.value.to_owned(), self.place(&entry));
        let is_digits = !value.is_empty() && value.bytes().all(|octet| octet.is_ascii_digit());
        let number = if is_digits { value.parse().ok() } else { None };
        let Some(number) = number.filter(|number| (min..=NUMBER_MAX).contains(number)) else {
            let shown: String = value.chars().take(40).collect();
            let what =
                format!("`{name}` takes a whole number from {min} to {NUMBER_MAX}, not `{}`", shown.escape_debug());
            let hint = value.starts_with('=').then(|| "this format has no `=`".to_owned());
            self.found.push(Mistake::error(what, place).maybe_hint(hint));
            return None;
        };
        if number > usual_max {
            self.found.push(Mistake::warning(format!("`{name}` is {number}: more than {usual_max} is unusual"), place));
        }
        Some(number)
    }

    fn switch(&mut self, name: &str) -> Option<bool> {
        let entry = self.last(name)?;
        let switch = match entry.value.to_ascii_lowercase().as_str() {
            "yes" | "true" | "on" | "1" => Some(true),
            "no" | "false" | "off" | "0" => Some(false),
            _ => None,
        };
        if switch.is_none() {
            let place = self.place(&entry);
            let what = format!("`{name}` is neither on (`yes`, `true`, `on`, `1`) nor off (`no`, `false`, `off`, `0`)");
            self.found.push(Mistake::error(what, place));
        }
        switch
    }

    fn transport(&mut self) -> Transport {
        let Some(entry) = self.last("serv-type").or_else(|| self.last("serv-auth-type")) else {
            return Transport::Udp;
        };
        let (place, value) = (self.place(&entry), entry.value.to_ascii_lowercase());
        let name = entry.key.name;
        let mistake = match value.as_str() {
            "udp" => return Transport::Udp,
            "tcp" => return Transport::Tcp,
            "tls" => return Transport::Tls,
            "dtls" => Mistake::error(format!("`{name} dtls`: DTLS is not supported"), place).hint("use `tls`"),
            _ => Mistake::error(format!("`{name}` is one of `udp`, `tcp`, `tls`"), place),
        };
        self.found.push(mistake);
        Transport::Udp
    }

    fn bindaddr(&mut self) -> Option<IpAddr> {
        let entry = self.last("bindaddr")?;
        let (place, value) = (self.place(&entry), entry.value.to_owned());
        if value.is_empty() || value.starts_with('*') {
            return None;
        }
        let address = servers::literal(&value).or_else(|| self.surroundings.resolve(&value).first().copied());
        if address.is_none() {
            let what = "`bindaddr` is neither an address nor a name that has one";
            let hint = "the libraries would take any address without a word; write `*` for that";
            self.found.push(Mistake::error(what, place).hint(hint));
        }
        address
    }

    fn namespace(&mut self) -> Option<String> {
        let name = self.text("namespace")?.to_owned();
        if name.contains('/') || name == "." || name == ".." {
            let place = self.last("namespace").map_or(Place::Nowhere, |entry| self.place(&entry));
            let mistake = Mistake::error("`namespace` takes the name of a network namespace, not a path", place);
            self.found.push(mistake.hint("`ip netns list` shows the names"));
        }
        Some(name)
    }

    fn nas_ip(&mut self) -> Option<IpAddr> {
        let entry = self.last("nas-ip")?;
        let place = self.place(&entry);
        let address = servers::literal(entry.value);
        if address.is_none() {
            self.found.push(Mistake::error("`nas-ip` takes an IPv4 or IPv6 address", place));
        }
        address
    }

    fn nas_identifier(&mut self) -> Option<String> {
        let entry = self.last("nas-identifier")?;
        let (place, value) = (self.place(&entry), entry.value.to_owned());
        if value.len() > NAS_IDENTIFIER_OCTETS_MAX {
            let what = format!("`nas-identifier` is longer than {NAS_IDENTIFIER_OCTETS_MAX} octets");
            self.found.push(Mistake::error(what, place));
        }
        Some(value).filter(|value| !value.is_empty())
    }

    fn ignored(&self) -> Vec<&'static str> {
        let mut ignored = Vec::new();
        for entry in self.entries.iter().filter(|entry| entry.key.kind == Kind::Ignored) {
            if !ignored.contains(&entry.key.name) {
                ignored.push(entry.key.name);
            }
        }
        ignored
    }

    /// The accounting servers with their secrets.
    fn servers(&mut self, transport: Transport, readers: Readers) -> Vec<Server> {
        let (acct, findings) = self.listed("acctserver");
        self.found.extend(findings);
        let (auth, findings) = self.listed("authserver");
        let is_in_use = transport == Transport::Tls && self.last("acctserver").is_none();
        let listed = if is_in_use {
            self.found.extend(findings);
            if let Some(first) = auth.first() {
                let what = "`authserver` is used for accounting: with TLS and without `acctserver`, as in radcli";
                self.found.push(Mistake::warning(what, first.place.clone()));
            }
            auth
        } else {
            // Nothing is sent there: its mistakes keep nobody from starting.
            let errors = findings.into_iter().filter(|mistake| mistake.weight == Weight::Error);
            self.found.extend(errors.map(|mistake| Mistake { weight: Weight::Warning, ..mistake }));
            acct
        };
        if listed.is_empty() && self.last(if is_in_use { "authserver" } else { "acctserver" }).is_none() {
            let mistake = Mistake::error("`acctserver` is missing", Place::Whole(self.path.to_owned()));
            self.found.push(mistake.hint("`acctserver HOST[:PORT[:SECRET]]`"));
        }
        if listed.iter().any(|server| server.secret.is_some()) && readers == Readers::All {
            let what = "this file holds secrets and every user may read it";
            self.found.push(Mistake::warning(what, Place::Whole(self.path.to_owned())));
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
                self.found.push(mistake.also_at(earlier.place.clone()));
            }
            servers.push(server);
        }
        servers
    }

    /// The servers of all lines of a keyword, and what is to be said about them.
    fn listed(&self, name: &str) -> (Vec<Listed>, Vec<Mistake>) {
        let (mut listed, mut findings) = (Vec::new(), Vec::new());
        for entry in self.entries.iter().filter(|entry| entry.key.name == name) {
            let mut found = Findings::default();
            listed.extend(servers::list(self.path, entry, &mut found));
            findings.extend(found.sorted());
        }
        (listed, findings)
    }

    /// The lines of the servers file; `None` when it cannot be read, which is already told.
    fn secrets_file(&mut self) -> Option<Vec<servers::Pair>> {
        let Some(path) = self.file("servers") else { return Some(Vec::new()) };
        let (text, readers) = match self.surroundings.read(&path) {
            Ok(read) => read,
            Err(error) => {
                let place = self.last("servers").map_or(Place::Nowhere, |entry| self.place(&entry));
                self.found.push(Mistake::error(format!("cannot read `{}`: {error}", path.display()), place));
                return None;
            }
        };
        if readers == Readers::All {
            let what = "this file holds secrets and every user may read it";
            self.found.push(Mistake::warning(what, Place::Whole(path.clone())));
        }
        let mut found = Findings::default();
        let pairs = servers::secrets(&path, &text, &mut found);
        self.found.extend(found.sorted());
        Some(pairs)
    }

    /// The lines of the servers file with keys for TLS. Its secrets mean nothing to TLS, nor does its absence.
    fn pre_shared_keys(&mut self) -> Vec<servers::Pair> {
        let Some(path) = self.file("servers") else { return Vec::new() };
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
                        self.found.push(Mistake::warning(what, place).hint(hint));
                        return None;
                    }
                }
            }
        };
        Some(Server { host, port, secret, place })
    }

    fn refuse_psk(&mut self, host: &Host, place: Place) -> Option<Server> {
        let what = format!("`{host}` has a TLS pre-shared key, which is not supported");
        self.found
            .push(Mistake::error(what, place).hint("use certificates: `tls-ca-file`, `tls-cert-file`, `tls-key-file`"));
        None
    }

    fn check_tls(&mut self, client: &RadiusClient) {
        let tls = &client.tls;
        for (has, lacks, name) in
            [(&tls.cert_file, &tls.key_file, "tls-cert-file"), (&tls.key_file, &tls.cert_file, "tls-key-file")]
        {
            if let (true, None, Some(entry)) = (has.is_some(), lacks, self.last(name)) {
                let place = self.place(&entry);
                let what = format!("`{name}` is not used: certificate and key go together");
                self.found.push(Mistake::warning(what, place));
            }
        }
        if (client.transport, tls.name_check) == (Transport::Tls, NameCheck::Off) {
            let place = self.last("tls-verify-hostname").map_or(Place::Nowhere, |entry| self.place(&entry));
            self.found.push(Mistake::warning("the name in the server's certificate is not checked", place));
        }
    }
}
