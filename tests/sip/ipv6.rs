//! IPv6 through the real binary: calls over `[::1]`, and calls between the two address families, which the gateway
//! record-routes twice (RFC 5658), ended by either side.

use std::net::SocketAddr;

use crate::support::{Agent, Gateway, Side, Wire, value_of, wait_for};

/// The address family of an agent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Family {
    V4,
    V6,
}

use Family::{V4, V6};

/// Who sends the BYE.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Ends {
    Caller,
    Callee,
}

fn agent(family: Family) -> Agent {
    let any = if family == V4 { "127.0.0.1:0" } else { "[::1]:0" };
    Agent::bind(any.parse().expect("an address"))
}

/// A gateway with a listener of each family; no one is at its RADIUS port.
struct Proxy {
    gateway: Gateway,
    listeners: Vec<SocketAddr>,
    _dir: tempfile::TempDir,
}

impl Proxy {
    fn start(families: &[Family], callee: SocketAddr) -> Self {
        let dir = tempfile::tempdir().expect("a folder can be made");
        let listeners: Vec<_> = families.iter().map(|family| agent(*family).address).collect();
        let listen: Vec<_> = listeners.iter().map(|address| format!("\"udp:{address}\"")).collect();
        let sip = format!("listen = [{}]\nallow = [\"127.0.0.0/8\", \"::1/128\"]", listen.join(", "));
        let port = listeners[0].port();
        let gateway = Gateway::start_with(dir.path(), (port, &sip), &[format!("sip:{callee}")], 9, "");
        Self { gateway, listeners, _dir: dir }
    }

    /// Its address as an agent of this family sees it.
    fn at(&self, agent: &Agent) -> SocketAddr {
        let fits = |own: &&SocketAddr| own.is_ipv4() == agent.address.is_ipv4();
        *self.listeners.iter().find(fits).expect("a listener of the family")
    }

    fn waits(&self, records: usize) {
        wait_for(&format!("{records} records"), || {
            let status = self.gateway.command(&["queue", "status", "--json"]).replace(' ', "");
            status.contains(&format!("\"waiting\":{records},")).then_some(())
        });
    }
}

/// A request arrives by the listener of the agent's family, without a Route, and its answer goes back.
fn passes(proxy: &Proxy, from: &mut Agent, to: &mut Agent, request: &Wire) {
    let what = request.method();
    from.send(&request.octets(), proxy.at(from));
    let arrived = to.wait(&format!("the {what}"));
    assert_eq!(arrived.start, request.start);
    assert!(arrived.places("route").is_empty(), "{}", arrived.text());
    comes_by(proxy, to, &arrived);
    if what != "ACK" {
        to.send(&arrived.answer(b"200 OK", "", &[], b"").octets(), proxy.at(to));
        let answer = from.wait(&format!("the answer to {what}"));
        assert_eq!((answer.code(), answer.all("via")), (200, request.all("via")), "{}", answer.text());
    }
}

/// The top Via of a request names the listener of the agent's family.
fn comes_by(proxy: &Proxy, agent: &Agent, request: &Wire) {
    let via = String::from_utf8_lossy(request.value("via")).into_owned();
    let place = proxy.at(agent);
    assert!(via.starts_with(&format!("SIP/2.0/UDP {place};branch=z9hG4bK")), "{via}");
}

fn call(proxy: &Proxy, caller: &mut Agent, callee: &mut Agent, ends: Ends) {
    let (here, there) = (caller.address, callee.address);
    let via = |number: u32, agent: SocketAddr| format!("SIP/2.0/UDP {agent};branch=z9hG4bK{}x{number}", here.port());
    let invite = format!(
        "INVITE sip:bob@{} SIP/2.0\r\nVia: {}\r\nMax-Forwards: 70\r\nFrom: <sip:alice@{here}>;tag=1\r\n\
         To: <sip:bob@example.org>\r\nCall-ID: {}@{here}\r\nCSeq: 1 INVITE\r\nContact: <sip:alice@{here}>\r\n\
         Content-Length: 0\r\n\r\n",
        proxy.at(caller),
        via(1, here),
        here.port(),
    );
    caller.send(invite.as_bytes(), proxy.at(caller));
    let arrived = callee.wait("the INVITE");
    assert_eq!(arrived.start, format!("INVITE sip:bob@{there} SIP/2.0").as_bytes());
    comes_by(proxy, callee, &arrived);
    // The source is what the Via says: nothing is added to it, whatever its family.
    assert_eq!(arrived.all("via")[1], format!("Via: {}", via(1, here)).as_bytes());
    let record_routes: Vec<_> =
        arrived.all("record-route").iter().map(|line| String::from_utf8_lossy(value_of(line)).into_owned()).collect();
    let (near, far) = (proxy.at(callee), proxy.at(caller));
    if near == far {
        assert_eq!(record_routes.len(), 1, "{record_routes:?}");
        assert!(record_routes[0].starts_with(&format!("<sip:{near};lr;ftag=1;tg=")), "{record_routes:?}");
    } else {
        assert_eq!(record_routes.len(), 2, "{record_routes:?}");
        for (route, place) in record_routes.iter().zip([near, far]) {
            assert!(route.starts_with(&format!("<sip:{place};lr;r2=on;ftag=1;tg=")), "{record_routes:?}");
        }
    }
    let answer = arrived.answer(b"200 OK", "2", &[format!("Contact: <sip:bob@{there}>").into_bytes()], b"");
    callee.send(&answer.octets(), near);
    let back = caller.wait("the 200");
    assert_eq!(back.all("record-route"), answer.all("record-route"));
    let (calling, called) = (Side::caller(&Wire::read(invite.as_bytes()), &back), Side::callee(&arrived, &answer));
    passes(proxy, caller, callee, &calling.request("ACK", 1, &via(2, here)));
    match ends {
        Ends::Caller => passes(proxy, caller, callee, &calling.request("BYE", 2, &via(3, here))),
        Ends::Callee => passes(proxy, callee, caller, &called.request("BYE", 1, &via(3, there))),
    }
}

#[test]
fn calls_between_ipv6_agents_go_through_a_gateway_on_ipv6_alone() {
    let mut callee = agent(V6);
    let proxy = Proxy::start(&[V6], callee.address);
    for (number, ends) in [(1, Ends::Caller), (2, Ends::Callee)] {
        call(&proxy, &mut agent(V6), &mut callee, ends);
        proxy.waits(2 * number);
    }
}

#[test]
fn calls_cross_from_each_family_to_each() {
    for of_callee in [V4, V6] {
        let mut callee = agent(of_callee);
        let proxy = Proxy::start(&[V4, V6], callee.address);
        let rows = [(V4, Ends::Caller), (V4, Ends::Callee), (V6, Ends::Caller), (V6, Ends::Callee)];
        for (number, (of_caller, ends)) in (1..).zip(rows) {
            println!("{of_caller:?} calls {of_callee:?}, {ends:?} ends");
            call(&proxy, &mut agent(of_caller), &mut callee, ends);
            proxy.waits(2 * number);
        }
    }
}
