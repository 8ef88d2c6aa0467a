//! Which records lead a name to addresses, and in what order these are tried (RFC 3263 §4, RFC 2782, RFC 3403): what is
//! to be asked next, and the list that follows from the answers. Who asks is `front::resolver`.

use std::net::{IpAddr, SocketAddr};

use super::route::{default_port, is_place};
use crate::sip::stack::{Destination, Transport, Ways};

/// Services of one name that are looked at.
pub const SERVICES_MAX: usize = 8;
/// SRV records of one service that are looked at.
pub const HOSTS_MAX: usize = 16;
/// Addresses of one host that are looked at.
pub const ADDRESSES_MAX: usize = 16;
/// Places one name leads to at most.
pub const DESTINATIONS_MAX: usize = 32;

/// A NAPTR record (RFC 3403 §4.1), as far as RFC 3263 uses it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Naptr {
    /// Lower ones first; others only when none of these is of use.
    pub order: u16,
    /// Lower ones first within an order.
    pub preference: u16,
    /// `s`: the replacement has SRV records.
    pub flags: Box<[u8]>,
    /// `SIP+D2U` and the like.
    pub services: Box<[u8]>,
    /// The name to go on with.
    pub replacement: String,
}

/// A name to be asked for SRV records.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Service {
    /// `_sip._udp.example.com`
    pub name: String,
    /// How its hosts are spoken to.
    pub transport: Transport,
}

/// A host of a service, by its SRV record (RFC 2782), with its addresses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Host {
    /// Lower ones first.
    pub priority: u16,
    /// Its share among those of its priority.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// How it is spoken to; `None` leaves the choice, as in [`Destination`].
    pub transport: Option<Transport>,
    /// Its addresses, best first.
    pub addresses: Vec<IpAddr>,
}

/// Everything found out about a name: the hosts of each service, the services in the order in which they are tried.
pub type Found = Vec<Vec<Host>>;

/// Whether NAPTR is asked: neither transport nor port are given (RFC 3263 §4.1).
#[must_use]
pub fn asks_naptr(port: Option<u16>, ways: Ways) -> bool {
    port.is_none() && !matches!(ways, Ways::Only(_))
}

/// The services of NAPTR records that can be used: those of the lowest order that has any, by preference (RFC 3403 §4.1).
#[must_use]
pub fn services_of(mut records: Vec<Naptr>, ways: Ways, served: &[Transport]) -> Vec<Service> {
    records.sort_by_key(|record| (record.order, record.preference));
    let transport_of = |record: &Naptr| {
        let is_srv = record.flags.eq_ignore_ascii_case(b"s") && !matches!(record.replacement.as_str(), "" | ".");
        let transport = transport_of_service(&record.services, ways).filter(|_| is_srv)?;
        served.contains(&transport).then_some(transport)
    };
    let usable = records.iter().filter_map(|record| Some((record, transport_of(record)?)));
    let mut order = None;
    usable
        .take_while(|(record, _)| *order.get_or_insert(record.order) == record.order)
        .map(|(record, transport)| Service { name: record.replacement.clone(), transport })
        .take(SERVICES_MAX)
        .collect()
}

/// The transport of a service field; a SIPS URI takes no other than SIPS.
fn transport_of_service(service: &[u8], ways: Ways) -> Option<Transport> {
    let is = |name: &str| service.eq_ignore_ascii_case(name.as_bytes());
    match ways {
        _ if is("SIPS+D2T") => Some(Transport::Tls),
        Ways::Any if is("SIP+D2U") => Some(Transport::Udp),
        Ways::Any if is("SIP+D2T") => Some(Transport::Tcp),
        _ => None,
    }
}

/// The services that are asked for without NAPTR; none with a port (RFC 3263 §4.1, §4.2).
#[must_use]
pub fn usual_services(host: &str, port: Option<u16>, ways: Ways, served: &[Transport]) -> Vec<Service> {
    let wanted: &[Transport] = match (port, ways) {
        (Some(_), _) => &[],
        (None, Ways::Any) => &[Transport::Udp, Transport::Tcp],
        (None, Ways::Only(Transport::Udp)) => &[Transport::Udp],
        (None, Ways::Only(Transport::Tcp)) => &[Transport::Tcp],
        (None, Ways::Only(Transport::Tls) | Ways::Secure) => &[Transport::Tls],
    };
    let service = |transport: &Transport| {
        let label = match transport {
            Transport::Udp => "_sip._udp",
            Transport::Tcp => "_sip._tcp",
            Transport::Tls => "_sips._tcp",
        };
        Service { name: format!("{label}.{host}"), transport: *transport }
    };
    wanted.iter().filter(|transport| served.contains(transport)).map(service).collect()
}

/// The host itself, when it has no services.
#[must_use]
pub fn itself(port: Option<u16>, ways: Ways, addresses: Vec<IpAddr>) -> Host {
    let transport = ways.transport();
    let port = port.unwrap_or_else(|| default_port(transport.unwrap_or_default()));
    Host { priority: 0, weight: 0, port, transport, addresses }
}

/// How a host of a service is spoken to: a URI that names no transport may be served by TCP where UDP is usual, when the
/// request is long (RFC 3261 §18.1.1).
#[must_use]
pub fn spoken(transport: Transport, ways: Ways) -> Option<Transport> {
    Some(transport).filter(|transport| *transport != Transport::Udp || ways != Ways::Any)
}

/// The places to be tried, best first. `random(n)` gives a number from 0 to n, both included.
#[must_use]
pub fn destinations(found: &Found, random: &mut dyn FnMut(u32) -> u32) -> Vec<Destination> {
    let mut places: Vec<Destination> = Vec::new();
    for hosts in found {
        for host in by_weight(hosts, random) {
            for ip in host.addresses.iter().filter(|ip| is_place(**ip) && host.port != 0) {
                let place = Destination { addr: SocketAddr::new(*ip, host.port), transport: host.transport };
                if !places.contains(&place) && places.len() < DESTINATIONS_MAX {
                    places.push(place);
                }
            }
        }
    }
    places
}

/// Hosts by priority, those of one priority drawn by weight (RFC 2782): the ones of weight 0 stand first in the urn.
fn by_weight<'a>(hosts: &'a [Host], random: &mut dyn FnMut(u32) -> u32) -> Vec<&'a Host> {
    let mut urn: Vec<&Host> = hosts.iter().collect();
    urn.sort_by_key(|host| (host.priority, host.weight != 0));
    let mut drawn = Vec::with_capacity(urn.len());
    while let Some(first) = urn.first() {
        let same = urn.iter().take_while(|host| host.priority == first.priority);
        let sum = same.map(|host| u32::from(host.weight)).sum();
        let (number, mut running) = (random(sum), 0);
        let is_met = |host: &&Host| {
            running += u32::from(host.weight);
            running >= number
        };
        // The sums of one priority reach the number before those of the next begin.
        let place = urn.iter().position(is_met).unwrap_or(0);
        drawn.push(urn.remove(place));
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &[Transport] = &[Transport::Udp, Transport::Tcp, Transport::Tls];

    fn naptr(order: u16, preference: u16, flags: &str, services: &str, to: &str) -> Naptr {
        let octets = |text: &str| Box::from(text.as_bytes());
        Naptr { order, preference, flags: octets(flags), services: octets(services), replacement: to.to_owned() }
    }

    fn names(services: &[Service]) -> String {
        let names: Vec<String> = services.iter().map(|own| format!("{} {:?}", own.name, own.transport)).collect();
        names.join(", ")
    }

    #[test]
    fn naptr_records_are_chosen_by_order_service_and_preference() {
        let udp = || naptr(10, 20, "s", "SIP+D2U", "u");
        let tcp = || naptr(10, 10, "S", "sip+d2t", "t");
        let tls = || naptr(20, 10, "s", "SIPS+D2T", "s");
        let without_tls = &ALL[..2];
        for (what, records, ways, served, want) in [
            ("the lower preference goes first", vec![udp(), tcp()], Ways::Any, ALL, "t Tcp, u Udp"),
            ("a higher order waits for nothing", vec![tls(), udp()], Ways::Any, ALL, "u Udp"),
            ("a sip URI may be led to TLS", vec![tls()], Ways::Any, ALL, "s Tls"),
            ("sips takes TLS only, of whatever order", vec![udp(), tcp(), tls()], Ways::Secure, ALL, "s Tls"),
            ("what is not served is no match", vec![tls()], Ways::Any, without_tls, ""),
            ("an unserved order lets the next one in", vec![tcp(), tls()], Ways::Any, &ALL[2..], "s Tls"),
            ("a terminal address rule is not for SIP", vec![naptr(1, 1, "a", "SIP+D2U", "x")], Ways::Any, ALL, ""),
            ("nor is a rule without a flag", vec![naptr(1, 1, "", "SIP+D2U", "x")], Ways::Any, ALL, ""),
            ("nor a regular expression", vec![naptr(1, 1, "s", "SIP+D2U", ".")], Ways::Any, ALL, ""),
            ("other services stand aside", vec![naptr(1, 1, "s", "SIP+D2S", "x"), udp()], Ways::Any, ALL, "u Udp"),
            ("no records", vec![], Ways::Any, ALL, ""),
        ] {
            assert_eq!(names(&services_of(records, ways, served)), want, "{what}");
        }
    }

    #[test]
    fn port_and_transport_say_what_is_asked() {
        let only = Ways::Only;
        for (what, port, ways, served, naptr, want) in [
            ("nothing given", None, Ways::Any, ALL, true, "_sip._udp.h Udp, _sip._tcp.h Tcp"),
            ("only what is served", None, Ways::Any, &ALL[1..], true, "_sip._tcp.h Tcp"),
            ("a transport rules NAPTR out", None, only(Transport::Tcp), ALL, false, "_sip._tcp.h Tcp"),
            ("UDP named", None, only(Transport::Udp), ALL, false, "_sip._udp.h Udp"),
            ("TLS named", None, only(Transport::Tls), ALL, false, "_sips._tcp.h Tls"),
            ("sips asks for SIPS", None, Ways::Secure, ALL, true, "_sips._tcp.h Tls"),
            ("a port rules all out", Some(5080), Ways::Any, ALL, false, ""),
            ("for sips too", Some(5080), Ways::Secure, ALL, false, ""),
        ] {
            assert_eq!(asks_naptr(port, ways), naptr, "{what}");
            assert_eq!(names(&usual_services("h", port, ways, served)), want, "{what}");
        }
    }

    fn host(priority: u16, weight: u16, ip: &str) -> Host {
        let addresses = ip.split(' ').map(|ip| ip.parse().expect("an address")).collect();
        Host { priority, weight, port: 5060, transport: None, addresses }
    }

    fn order(hosts: Vec<Host>, numbers: &[u32]) -> String {
        let mut numbers = numbers.iter().copied();
        let mut random = |most: u32| numbers.next().unwrap_or(0).min(most);
        let places: Vec<String> =
            destinations(&vec![hosts], &mut random).iter().map(|p| p.addr.ip().to_string()).collect();
        places.join(" ")
    }

    #[test]
    fn hosts_are_tried_by_priority_and_drawn_by_weight() {
        let three = || vec![host(1, 10, "10.0.0.1"), host(1, 0, "10.0.0.2"), host(1, 30, "10.0.0.3")];
        for (what, hosts, numbers, want) in [
            ("priority decides", vec![host(2, 9, "10.0.0.2"), host(1, 0, "10.0.0.1")], &[][..], "10.0.0.1 10.0.0.2"),
            ("a weight of 0 wins with 0", three(), &[0, 0], "10.0.0.2 10.0.0.1 10.0.0.3"),
            ("and else comes last", three(), &[1, 11, 0], "10.0.0.1 10.0.0.3 10.0.0.2"),
            ("the largest number draws the last", three(), &[40, 10], "10.0.0.3 10.0.0.1 10.0.0.2"),
            (
                "all addresses of a host follow one another",
                vec![host(1, 1, "10.0.0.1 10.0.0.2")],
                &[1],
                "10.0.0.1 10.0.0.2",
            ),
            ("an address comes once", vec![host(1, 1, "10.0.0.1"), host(2, 1, "10.0.0.1")], &[], "10.0.0.1"),
            (
                "never to everybody, a group or nobody",
                vec![host(1, 1, "255.255.255.255 224.0.0.1 0.0.0.0 10.0.0.1")],
                &[],
                "10.0.0.1",
            ),
            ("without an address there is nothing", vec![], &[], ""),
        ] {
            assert_eq!(order(hosts, numbers), want, "{what}");
        }
    }

    #[test]
    fn weights_are_shares() {
        let mut state = 1_u32;
        let mut random = |most: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) % (most + 1)
        };
        let hosts = vec![vec![host(1, 30, "10.0.0.1"), host(1, 10, "10.0.0.2")]];
        let first =
            (0..4000).filter(|_| destinations(&hosts, &mut random)[0].addr.ip().to_string() == "10.0.0.1").count();
        assert!(
            (2850..3200).contains(&first),
            "three of four, and the one case of 41 more that RFC 2782 gives: {first}"
        );
    }
}
