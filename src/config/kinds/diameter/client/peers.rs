//! Lists of peers.
//!
//! ```text
//! list = entry *( ("," / SP / TAB) entry )
//! entry = [ identity "=" ] host [ ":" [port] [ ":" [priority] [ ":" weight ] ] ]
//! host  = name / IPv4 / "[" IPv6 "]"
//! ```

use std::net::{IpAddr, Ipv6Addr};

use crate::diameter::peer::Security;
use crate::names::is_host;
use crate::sinks::diameter::settings::PeerSettings;

/// Peers of one file at most.
pub(super) const PEERS_MAX: usize = 64;

/// Largest priority of a peer; lower ones are preferred, as in SRV records (RFC 2782).
const PRIORITY_MAX: u32 = 65_535;

/// Largest weight of a peer among those of its priority.
const WEIGHT_MAX: u32 = 1_000;

/// Why an entry is no peer.
pub(super) type Wrong = (String, Option<&'static str>);

/// One peer; `place` from 0 is its priority unless it has one.
pub(super) fn peer(word: &str, transport: Security, place: usize) -> Result<PeerSettings, Wrong> {
    let (identity, rest) = match word.split_once('=') {
        Some((identity, _)) if !is_host(identity) => {
            return Err((format!("`{identity}` is no DiameterIdentity"), Some("letters, digits, `-` and `.`")));
        }
        Some((identity, rest)) => (Some(identity.to_owned()), rest),
        None => (None, word),
    };
    let (host, rest) = match rest.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((host, rest))) => {
            let address: Ipv6Addr = host.parse().map_err(|_| (format!("`{host}` is no IPv6 address"), None))?;
            (address.to_string(), rest)
        }
        Some(None) => return Err((format!("`{word}` has no closing bracket"), None)),
        None if rest.parse::<Ipv6Addr>().is_ok() => {
            return Err((format!("`{rest}` needs brackets"), Some("`[2001:db8::1]:3868`")));
        }
        None => {
            let end = rest.find(':').unwrap_or(rest.len());
            (rest[..end].to_owned(), &rest[end..])
        }
    };
    let address: Option<IpAddr> = host.parse().ok();
    if address.is_none() && !is_host(&host) {
        return Err((format!("`{host}` is neither a name nor an address"), None));
    }
    let mut numbers = match rest.strip_prefix(':') {
        Some(rest) => rest.split(':').collect::<Vec<_>>(),
        None if rest.is_empty() => Vec::new(),
        None => return Err((format!("`{rest}` behind the host of `{word}`"), Some("`HOST:PORT:PRIORITY:WEIGHT`"))),
    };
    if numbers.len() > 3 {
        return Err((format!("`{word}` has too many parts"), Some("`HOST:PORT:PRIORITY:WEIGHT`")));
    }
    numbers.resize(3, "");
    let number = |text: &str, name: &str, min: u32, max: u32| match text {
        "" => Ok(None),
        text if text.bytes().all(|octet| octet.is_ascii_digit()) => match text.parse() {
            Ok(number) if (min..=max).contains(&number) => Ok(Some(number)),
            _ => Err((format!("{name} `{text}` of `{host}` is outside {min} to {max}"), None)),
        },
        text => Err((format!("{name} `{text}` of `{host}` is no number"), None)),
    };
    let small = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
    let port = number(numbers[0], "port", 1, 65_535)?.map_or(transport.port(), small);
    let priority =
        number(numbers[1], "priority", 0, PRIORITY_MAX)?.map_or(u16::try_from(place).unwrap_or(u16::MAX), small);
    let weight = number(numbers[2], "weight", 1, WEIGHT_MAX)?.map_or(1, small);
    let identity = identity.or_else(|| address.is_none().then(|| host.clone()));
    Ok(PeerSettings { host, port, identity, priority, weight, realms: Vec::new() })
}
