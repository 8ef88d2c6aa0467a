//! Where a redirect leads: DiameterURIs (RFC 6733 §4.3.1) and the hosts that are allowed.

use super::settings::PeerSettings;
use crate::diameter::peer::Security;
use crate::names::{HOST_OCTETS_MAX, is_of_host};

/// Redirect-Host-Usage values that make a route (RFC 6733 §6.13): realm, realm and application, application, host.
const USAGES_CACHED: std::ops::RangeInclusive<u32> = 2..=5;

/// The peer that a URI names: `aaa://name[:port][;transport=tcp][;protocol=diameter]`, `aaas://` with TLS.
///
/// `None` for anything else, other transports included.
#[must_use]
pub fn peer_of(uri: &str) -> Option<PeerSettings> {
    let (scheme, rest) = uri.split_once("://")?;
    let security = match scheme.to_ascii_lowercase().as_str() {
        "aaa" => Security::Plain,
        "aaas" => Security::Tls,
        _ => return None,
    };
    let mut parts = rest.split(';');
    let (host, port) = match parts.next()?.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok().filter(|port| *port != 0)?),
        None => (rest.split(';').next()?, security.port()),
    };
    if host.is_empty() || host.len() > HOST_OCTETS_MAX || !is_of_host(host.as_bytes()) {
        return None;
    }
    for part in parts {
        let (name, value) = part.split_once('=')?;
        let fits = match name.to_ascii_lowercase().as_str() {
            // The RFC's default is SCTP before RFC 6733 and TCP since.
            "transport" => value.eq_ignore_ascii_case("tcp"),
            "protocol" => value.eq_ignore_ascii_case("diameter"),
            _ => true,
        };
        if !fits {
            return None;
        }
    }
    Some(PeerSettings { security, ..PeerSettings::new(host, host, port) })
}

/// Whether a list of names and `*.domain` patterns has the host.
#[must_use]
pub fn allows(patterns: &[String], host: &str) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_prefix("*.") {
        None => pattern.eq_ignore_ascii_case(host),
        Some(domain) => host
            .len()
            .checked_sub(domain.len())
            .filter(|at| *at > 1)
            .and_then(|at| Some((host.as_bytes().get(at - 1)?, host.get(at..)?)))
            .is_some_and(|(dot, end)| *dot == b'.' && end.eq_ignore_ascii_case(domain)),
    })
}

/// Seconds for which all records go where the redirect leads; 0: only this one.
#[must_use]
pub fn cache_seconds(usage: u32, seconds: u32) -> u32 {
    // Usage 1 and 6 speak of one session or user: not worth a table.
    if USAGES_CACHED.contains(&usage) { seconds } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_names_a_peer() {
        for (uri, want) in [
            ("aaa://b.example", Some(("b.example", 3868, Security::Plain))),
            ("aaas://b.example", Some(("b.example", 5658, Security::Tls))),
            ("AAA://b.example:3869;transport=TCP;protocol=diameter", Some(("b.example", 3869, Security::Plain))),
            ("aaas://b.example:1;transport=tcp", Some(("b.example", 1, Security::Tls))),
            ("aaa://b.example;transport=sctp", None),
            ("aaa://b.example;protocol=radius", None),
            ("aaa://b.example:0", None),
            ("aaa://b.example:65536", None),
            ("aaa://", None),
            ("aaa://b c", None),
            ("aaa://[::1]:3868", None),
            ("http://b.example", None),
            ("b.example", None),
            ("", None),
        ] {
            let found = peer_of(uri);
            let found = found.as_ref().map(|peer| (peer.host.as_str(), peer.port, peer.security));
            assert_eq!(found, want, "{uri}");
        }
    }

    #[test]
    fn patterns_allow_whole_labels_only() {
        let patterns = ["one.example".to_owned(), "*.charging.example".to_owned()];
        for (host, want) in [
            ("one.example", true),
            ("ONE.example", true),
            ("two.example", false),
            ("a.charging.example", true),
            ("a.b.Charging.example", true),
            ("charging.example", false),
            (".charging.example", false),
            ("evilcharging.example", false),
            ("", false),
        ] {
            assert_eq!(allows(&patterns, host), want, "{host}");
        }
    }

    #[test]
    fn only_usages_of_realm_application_and_host_make_a_route() {
        for (usage, want) in [(0, 0), (1, 0), (2, 60), (3, 60), (4, 60), (5, 60), (6, 0), (7, 0)] {
            assert_eq!(cache_seconds(usage, 60), want, "usage {usage}");
        }
    }
}
