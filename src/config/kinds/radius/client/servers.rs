//! Lists of servers, and the file with their secrets.
//!
//! ```text
//! list   = entry *( ("," / SP / TAB) entry )
//! entry  = host [ ":" [port] [ ":" secret ] ]
//! host   = name / IPv4 / "[" IPv6 "]"
//! ```

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;

use crate::config::error::{Findings, Form, Mistake, Place};
use crate::config::keyword_file::{Entry, lines};
use crate::names::{HOST_OCTETS_MAX, is_host};
use crate::radius::{SECRET_OCTETS_MAX, Secret};

/// Secrets shorter than this are warned of, in octets.
pub const SECRET_OCTETS_MIN: usize = 12;

/// Secrets that stand in sample files and manuals.
const SAMPLE_SECRETS: &[&str] = &["testing123", "hardlyasecret", "donttellanyone", "secret", "radius", "password"];

/// The host of a server as the file names it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Host {
    /// An address: it needs no look-up.
    Address(IpAddr),
    /// A name, still to be looked up.
    Name(String),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Address(address) => write!(f, "{address}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// One server with the secret that is its own.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Server {
    /// Where it is; a name is looked up again while the service runs.
    pub host: Host,
    /// Port; 1813 unless given, 2083 with TLS.
    pub port: u16,
    /// Secret, from the entry or from the servers file; `radsec` with TLS unless given.
    pub secret: Secret,
    /// Where it was listed.
    pub place: Place,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// One entry of a list, before ports and secrets are filled in.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) host: Host,
    pub(super) port: Option<u16>,
    pub(super) secret: Option<Secret>,
    /// Whether the secret has the form of a TLS pre-shared key.
    pub(super) is_psk: bool,
    pub(super) place: Place,
}

/// Reads the list of one line.
pub(super) fn list(path: &Path, entry: &Entry<'_>, found: &mut Findings) -> Vec<Listed> {
    let mut listed = Vec::new();
    for (at, word) in entry.words() {
        match server(word, entry.place_in(path, at), found) {
            Ok(server) => listed.push(server),
            Err(mistake) => found.push(mistake),
        }
    }
    if listed.is_empty() && !found.has_error() {
        found.push(Mistake::error(format!("`{}` without a server", entry.key.name), entry.place_in(path, 0)));
    }
    listed
}

fn server(word: &str, place: Place, found: &mut Findings) -> Result<Listed, Mistake> {
    if word == "=" {
        return Err(Mistake::error("`=` is no server", place).hint("this format has no `=`"));
    }
    if let (true, Ok(address)) = (word.matches(':').count() >= 2, word.parse::<Ipv6Addr>()) {
        let what = format!("`{address}` is taken for an IPv6 address; the libraries misread it without brackets");
        found.push(Mistake::warning(what, place.clone()).hint(format!("write `[{address}]`")));
        let host = Host::Address(IpAddr::V6(address));
        return Ok(Listed { host, port: None, secret: None, is_psk: false, place });
    }
    let (host, rest) = match word.strip_prefix('[') {
        Some(inside) => {
            let Some((literal, rest)) = inside.split_once(']') else {
                return Err(Mistake::error("`[` without `]`", place));
            };
            let literal = literal.split_once('%').map_or(literal, |(literal, _)| literal);
            let address = literal.parse::<Ipv6Addr>();
            let Ok(address) = address else {
                return Err(Mistake::error("no IPv6 address inside `[` and `]`", place));
            };
            (Host::Address(IpAddr::V6(address)), rest)
        }
        None => {
            let (name, _) = word.split_once(':').unwrap_or((word, ""));
            (host(name, &place)?, &word[name.len()..])
        }
    };
    let (port, secret) = match rest.strip_prefix(':') {
        None if rest.is_empty() => (None, None),
        None => return Err(Mistake::error(format!("only `:PORT` may follow `{host}`"), place)),
        Some(rest) => {
            let (port, secret) = rest.split_once(':').map_or((rest, None), |(port, secret)| (port, Some(secret)));
            (port_number(port, &host, &place)?, secret)
        }
    };
    let is_psk = secret.is_some_and(is_pre_shared_key);
    let secret = match secret {
        None | Some("") => None,
        Some(text) => Some(secret_of(text, &host.to_string(), &place, found)?),
    };
    Ok(Listed { host, port, secret, is_psk, place })
}

/// An IPv4 address or a name.
fn host(name: &str, place: &Place) -> Result<Host, Mistake> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(Host::Address(address));
    }
    let labels_fit = is_host(name.strip_suffix('.').unwrap_or(name));
    let last = name.rsplit('.').find(|label| !label.is_empty()).unwrap_or_default();
    let is_numeric = !last.is_empty() && last.bytes().all(|octet| octet.is_ascii_digit());
    if !labels_fit || is_numeric || name.len() > HOST_OCTETS_MAX {
        let shown: String = name.chars().take(40).collect();
        let mistake =
            Mistake::error(format!("`{}` is neither an address nor a host name", shown.escape_debug()), place.clone());
        return Err(if name.is_empty() { mistake.hint("an IPv6 address stands in `[` and `]`") } else { mistake });
    }
    Ok(Host::Name(name.to_owned()))
}

/// A port; empty text is the default one.
fn port_number(text: &str, host: &Host, place: &Place) -> Result<Option<u16>, Mistake> {
    if text.is_empty() {
        return Ok(None);
    }
    // What stands here may be a misplaced secret: it is not shown.
    let wrong = || {
        Mistake::error(format!("what follows `{host}:` is no port from 1 to 65535"), place.clone())
            .hint("`HOST:PORT:SECRET`, `HOST::SECRET` for the default port, an IPv6 address in `[` and `]`")
    };
    if !text.bytes().all(|octet| octet.is_ascii_digit()) {
        return Err(wrong());
    }
    text.parse().ok().filter(|port| *port > 0).map(Some).ok_or_else(wrong)
}

/// Whether a secret is radcli's form of a TLS pre-shared key: `psk@IDENTITY@HEX` in a list, `psk:IDENTITY:HEX` in its sample
/// of a servers file.
fn is_pre_shared_key(text: &str) -> bool {
    ['@', ':'].iter().any(|sign| {
        let Some(rest) = text.strip_prefix("psk").and_then(|rest| rest.strip_prefix(*sign)) else { return false };
        let key = rest.rsplit_once(*sign).map_or("", |(_, key)| key);
        !key.is_empty() && key.bytes().all(|octet| octet.is_ascii_hexdigit())
    })
}

fn secret_of(text: &str, owner: &str, place: &Place, found: &mut Findings) -> Result<Secret, Mistake> {
    if text.len() > SECRET_OCTETS_MAX {
        let what = format!("the secret of `{owner}` is longer than {SECRET_OCTETS_MAX} octets");
        return Err(Mistake::error(what, place.clone()));
    }
    let is_psk = is_pre_shared_key(text);
    if SAMPLE_SECRETS.iter().any(|sample| sample.eq_ignore_ascii_case(text)) {
        found.push(Mistake::warning(format!("the secret of `{owner}` is a well-known sample"), place.clone()));
    } else if text.len() < SECRET_OCTETS_MIN && !is_psk {
        let what = format!("the secret of `{owner}` is shorter than {SECRET_OCTETS_MIN} octets");
        found.push(Mistake::warning(what, place.clone()));
    }
    Ok(Secret::new(text.as_bytes()))
}

/// One line of a servers file: a server, or a client and server pair, and the secret.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    names: Vec<String>,
    secret: Secret,
    pub(super) is_psk: bool,
    pub(super) place: Place,
}

/// Reads a servers file: lines of a server's name and its secret. A name may be a pair `ONE/OTHER`.
pub(super) fn secrets(path: &Path, text: &[u8], found: &mut Findings) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for (line, octets) in lines(text) {
        let octets = octets.trim_ascii();
        if octets.is_empty() || octets[0] == b'#' {
            continue;
        }
        let place = Place::File { path: path.to_owned(), line, column: 1, form: Form::Secrets };
        let Ok(code) = std::str::from_utf8(octets) else {
            found.push(Mistake::error("line is not UTF-8", place));
            continue;
        };
        let mut words = code.split_ascii_whitespace();
        let name = words.next().unwrap_or_default();
        let Some(text) = words.next() else {
            found.push(Mistake::warning(format!("no secret after `{name}`, line skipped"), place));
            continue;
        };
        if words.next().is_some() {
            let what = format!("what follows the secret of `{name}` is not used");
            found.push(Mistake::warning(what, place.clone()).hint("a secret has no blanks"));
        }
        match secret_of(text, name, &place, found) {
            Ok(secret) => pairs.push(Pair {
                names: name.split('/').map(str::to_owned).collect(),
                secret,
                is_psk: is_pre_shared_key(text),
                place,
            }),
            Err(mistake) => found.push(mistake),
        }
    }
    pairs
}

/// The first line meant for `host`: by name or address as written, then by what the names resolve to.
pub(super) fn secret_for<'a>(
    host: &Host,
    pairs: &'a [Pair],
    resolve: &mut dyn FnMut(&str) -> Vec<IpAddr>,
) -> Option<(&'a Secret, &'a Pair)> {
    let as_written = |name: &String| match host {
        Host::Name(host) => host.eq_ignore_ascii_case(name),
        Host::Address(address) => literal(name) == Some(*address),
    };
    let mut found = pairs.iter().find(|pair| pair.names.iter().any(as_written));
    if found.is_none() && !pairs.is_empty() {
        let ours = match host {
            Host::Name(name) => resolve(name),
            Host::Address(address) => vec![*address],
        };
        let mut is_ours = |name: &String| {
            let theirs = literal(name).map_or_else(|| resolve(name), |address| vec![address]);
            theirs.iter().any(|address| ours.contains(address))
        };
        found = pairs.iter().find(|pair| pair.names.iter().any(&mut is_ours));
    }
    found.map(|pair| (&pair.secret, pair))
}

/// An address with or without brackets.
pub(super) fn literal(text: &str) -> Option<IpAddr> {
    text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text).parse().ok()
}
