//! `listen`, `socket`, `port`, `alias` and `advertised_address` as options of `[sip]`.

use std::net::IpAddr;

use super::lexer::Spot;
use super::params::{Params, Value};
use super::report::{About, Report};

/// Options of `[sip]`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Listeners {
    /// `listen`, with places.
    pub listen: Vec<(String, Spot)>,
    /// `advertise`.
    pub advertise: Vec<(String, Spot)>,
    /// `names`.
    pub names: Vec<(String, Spot)>,
}

/// Listeners there may be at most.
const LISTENERS_MAX: usize = 64;

/// The port where nothing is said: RFC 3261 §19.1.2.
const PORT: u16 = 5060;

/// Reads them.
pub fn of(params: &Params<'_>, report: &mut Report) -> Listeners {
    let mut own = Listeners::default();
    let port = params.settings("port").last().and_then(|value| value.text.parse().ok()).unwrap_or(PORT);
    let is_tcp_off = params.settings("disable_tcp").last().is_some_and(Value::is_on);
    drop(params.settings("enable_tls"));
    for value in params.settings("listen").into_iter().chain(params.settings("socket")) {
        own.listener(&value, port, is_tcp_off, report);
    }
    let advertised = params.settings("advertised_port").pop().map_or(String::new(), |port| format!(":{}", port.text));
    for value in params.settings("advertised_address") {
        own.advertise(&format!("{}{advertised}", value.text), value.at, report);
    }
    for value in params.settings("alias").into_iter().chain(params.settings("domain")) {
        for word in value.text.split_whitespace() {
            own.name(word, value.at);
        }
    }
    own.settle(report);
    own
}

impl Listeners {
    fn listener(&mut self, value: &Value, port: u16, is_tcp_off: bool, report: &mut Report) {
        let text = if value.text.starts_with('{') { bound(&value.text) } else { value.text.clone() };
        let mut words = text.split_whitespace();
        let Some(first) = words.next() else { return };
        let what = format!("listen={}", value.text);
        let (transports, place) = match first.split_once(':') {
            Some((word, place))
                if word.parse::<u16>().is_err()
                    && word.chars().all(|next| next.is_ascii_alphabetic() || next == '_') =>
            {
                (vec![word.to_lowercase()], place)
            }
            _ if is_tcp_off => (vec!["udp".to_owned()], first),
            _ => (vec!["udp".to_owned(), "tcp".to_owned()], first),
        };
        let Some((host, port)) = split_port(place, port) else {
            report.add(About::Settings, value.at, what, "its port cannot be read");
            return;
        };
        let host = if host == "*" { "0.0.0.0" } else { host };
        let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() else {
            let why = "a listener needs an address here, not the name of a host or an interface; add it to sip.listen";
            report.add(About::Settings, value.at, what, why);
            return;
        };
        let shown = if address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
        for transport in transports {
            match transport.as_str() {
                "udp" | "tcp" => self.listen.push((format!("{transport}:{shown}:{port}"), value.at)),
                "tls" => {
                    let why = "a TLS listener needs its certificates: add it to sip.listen with a [[sip.tls]]";
                    report.add(About::Settings, value.at, what.clone(), why);
                }
                other => {
                    report.add(About::Settings, value.at, what.clone(), format!("the transport {other} is not served"));
                }
            }
        }
        while let Some(word) = words.next() {
            if ["advertise", "as"].contains(&word.to_lowercase().as_str())
                && let Some(shown) = words.next()
            {
                self.advertise(shown, value.at, report);
            }
        }
    }

    fn advertise(&mut self, text: &str, at: Spot, report: &mut Report) {
        let (host, port) = split_port(text, 0).unwrap_or((text, 0));
        let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() else {
            report.add(About::Settings, at, format!("advertise {text}"), "an address is needed here, not a name");
            return;
        };
        let shown = match (address, port) {
            (address, 0) => address.to_string(),
            (IpAddr::V6(address), port) => format!("[{address}]:{port}"),
            (IpAddr::V4(address), port) => format!("{address}:{port}"),
        };
        let of_family = |other: &str| other.starts_with('[') == address.is_ipv6() || other.contains("::");
        match self.advertise.iter().find(|(other, _)| of_family(other)) {
            None => self.advertise.push((shown, at)),
            Some((other, _)) if *other == shown => {}
            Some((other, _)) => {
                let why = format!("one address of a family is advertised for all listeners: {other}");
                report.add(About::Settings, at, format!("advertise {text}"), why);
            }
        }
    }

    /// The host of `udp:host:port`.
    fn name(&mut self, text: &str, at: Spot) {
        let text = ["udp:", "tcp:", "tls:"].iter().find_map(|start| text.strip_prefix(start)).unwrap_or(text);
        let host = split_port(text, 0).map_or(text, |(host, _)| host);
        let fits = |octet: u8| octet.is_ascii_alphanumeric() || b"-.".contains(&octet);
        if !host.is_empty() && host.bytes().all(fits) && self.names.iter().all(|(own, _)| own != host) {
            self.names.push((host.to_owned(), at));
        }
    }

    /// Takes off what the check would refuse, and says what there is to do.
    fn settle(&mut self, report: &mut Report) {
        let mut seen = Vec::new();
        self.listen.retain(|(own, _)| {
            let is_new = !seen.contains(own);
            seen.push(own.clone());
            is_new
        });
        for (own, at) in self.listen.split_off(self.listen.len().min(LISTENERS_MAX)) {
            report.add(About::Settings, at, format!("listen={own}"), format!("more than {LISTENERS_MAX} listeners"));
        }
        let has_v4 = self.advertise.iter().any(|(own, _)| !own.contains("::") && !own.starts_with('['));
        let has_v6 = self.advertise.iter().any(|(own, _)| own.contains("::") || own.starts_with('['));
        self.listen.retain(|(own, at)| {
            let is_open = (own.contains(":0.0.0.0:") && !has_v4) || (own.contains(":[::]:") && !has_v6);
            if is_open {
                let why = "nothing says by which address others reach it; name it in sip.listen, or set sip.advertise";
                report.add(About::Settings, *at, format!("listen={own}"), why);
            }
            !is_open
        });
        if self.listen.is_empty() {
            report.to_do("set `sip.listen` to the addresses that the proxy listened on: now it is 127.0.0.1:5060");
        }
        report.to_do(
            "set `sip.allow` to the addresses of phones, gateways and trunks: now only this host may send requests",
        );
    }
}

/// `bind=... advertise=...` of `{ bind = ...; advertise = ...; }` as `... advertise ...`.
fn bound(text: &str) -> String {
    let inner = text.trim_matches(['{', '}', ' ']);
    let mut parts = (String::new(), String::new());
    for part in inner.split(';') {
        let Some((name, value)) = part.split_once('=') else { continue };
        let value: String = value.split_whitespace().collect();
        match name.trim() {
            "bind" => parts.0 = value,
            "advertise" => parts.1 = format!(" advertise {value}"),
            _ => {}
        }
    }
    format!("{}{}", parts.0, parts.1)
}

/// Host and port of `host:port`, `[v6]:port` or `host`.
fn split_port(text: &str, otherwise: u16) -> Option<(&str, u16)> {
    if text.ends_with(']') {
        return Some((text, otherwise));
    }
    match text.rsplit_once(':') {
        None => Some((text, otherwise)),
        Some((host, port)) => port.parse().ok().map(|port| (host, port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::syntax::{Script, Setting};

    fn read(lines: &[(&str, &str)]) -> (Listeners, Report) {
        let at = Spot { file: 0, line: 1, column: 1 };
        let setting = |(name, value): &(&str, &str)| Setting { at, name: (*name).into(), value: (*value).into() };
        let script = Script { settings: lines.iter().map(setting).collect(), ..Script::default() };
        let mut report = Report::default();
        (of(&Params::new(&script), &mut report), report)
    }

    #[test]
    fn listeners_are_written_as_ours_are() {
        for (name, lines, want) in [
            ("with all parts", vec![("listen", "udp:10.0.0.1:5080")], vec!["udp:10.0.0.1:5080"]),
            ("without a port", vec![("listen", "tcp:10.0.0.1")], vec!["tcp:10.0.0.1:5060"]),
            ("with the port of all", vec![("listen", "udp:10.0.0.1"), ("port", "5070")], vec!["udp:10.0.0.1:5070"]),
            ("without a transport", vec![("listen", "10.0.0.1")], vec!["udp:10.0.0.1:5060", "tcp:10.0.0.1:5060"]),
            ("where TCP is off", vec![("listen", "10.0.0.1"), ("disable_tcp", "yes")], vec!["udp:10.0.0.1:5060"]),
            ("of OpenSIPS", vec![("socket", "udp:10.0.0.1:5060 use_workers 4")], vec!["udp:10.0.0.1:5060"]),
            ("an IPv6 address", vec![("listen", "udp:[2001:db8::1]:5060")], vec!["udp:[2001:db8::1]:5060"]),
            ("one that is advertised", vec![("listen", "udp:0.0.0.0:5060 advertise 192.0.2.1:5060")], {
                vec!["udp:0.0.0.0:5060", "advertise 192.0.2.1:5060"]
            }),
            ("a structure", vec![("socket", "{ bind = udp:10.0.0.1:5060; advertise = 192.0.2.1; }")], {
                vec!["udp:10.0.0.1:5060", "advertise 192.0.2.1"]
            }),
            (
                "names",
                vec![("alias", "udp:a.example:5060"), ("alias", "b.example")],
                vec!["name a.example", "name b.example"],
            ),
            (
                "twice the same",
                vec![("listen", "udp:10.0.0.1"), ("listen", "udp:10.0.0.1:5060")],
                vec!["udp:10.0.0.1:5060"],
            ),
        ] {
            let (own, _) = read(&lines);
            let mut found: Vec<_> = own.listen.iter().map(|(text, _)| text.clone()).collect();
            found.extend(own.advertise.iter().map(|(text, _)| format!("advertise {text}")));
            found.extend(own.names.iter().map(|(text, _)| format!("name {text}")));
            assert_eq!(found, want, "{name}");
        }
    }

    #[test]
    fn what_cannot_listen_is_told() {
        for (name, line, want) in [
            ("an interface", "udp:eth0:5060", "not the name of a host or an interface"),
            ("all addresses", "udp:0.0.0.0:5060", "by which address others reach it"),
            ("TLS", "tls:10.0.0.1:5061", "needs its certificates"),
            ("another transport", "sctp:10.0.0.1:5060", "the transport sctp is not served"),
            ("a port that is none", "udp:10.0.0.1:x", "its port cannot be read"),
        ] {
            let (own, report) = read(&[("listen", line)]);
            assert!(own.listen.is_empty(), "{name}: {own:?}");
            assert!(report.items().iter().any(|item| item.why.contains(want)), "{name}: {report:?}");
        }
    }
}
