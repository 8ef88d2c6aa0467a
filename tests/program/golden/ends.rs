//! The ends of a flow: caller, two callees, and what each sends when, read from an exchange as `plays.toml` has it.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Agent, Side, Wire, try_wait_for};

/// Ports of the golden files.
const PROXY: u16 = 24_060;
const PARTIES: [(&str, u16); 3] = [("alice", 24_101), ("bob", 24_201), ("carol", 24_202)];

/// Header lines by what carries them: a method, or a code.
pub type Headers = BTreeMap<String, Vec<String>>;

/// The ends at an address of their own.
pub struct Stage {
    host: Ipv4Addr,
    parties: BTreeMap<&'static str, Party>,
    headers: Headers,
    /// Number of the flow, as in `ft-01`.
    number: String,
    call: Call,
    /// To tags that the gateway itself has given.
    pub proxy_tags: Vec<String>,
}

struct Party {
    agent: Agent,
    inbox: Vec<Wire>,
    /// What it sent last, and to where.
    last: Option<Vec<u8>>,
    /// Requests it has got, the newest last.
    requests: Vec<Wire>,
}

/// A call as its caller sees it.
#[derive(Default)]
struct Call {
    suffix: String,
    user: String,
    /// Requests that the caller has sent.
    sent: u32,
    /// The request that began it.
    first: Option<Wire>,
    /// Both sides of each dialog, by the callee, with the number of the next request of each.
    dialogs: BTreeMap<String, [(Side, u32); 2]>,
}

/// What stands in a response of each code, unless the exchange says something else.
const REASONS: &[(u16, &str)] = &[
    (180, "Ringing"),
    (183, "Session Progress"),
    (200, "OK"),
    (202, "Accepted"),
    (302, "Moved Temporarily"),
    (404, "Not Found"),
    (407, "Proxy Authentication Required"),
    (481, "Call/Transaction Does Not Exist"),
    (486, "Busy Here"),
    (487, "Request Terminated"),
    (603, "Decline"),
];

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";

impl Stage {
    /// Takes an address of loopback on which the ports of the golden files are free.
    pub fn set(number: &str, headers: Headers) -> Self {
        let host = address();
        let party = |(name, port)| {
            let agent = Agent::bind(SocketAddr::from((host, port)));
            (name, Party { agent, inbox: Vec::new(), last: None, requests: Vec::new() })
        };
        Self {
            host,
            parties: PARTIES.map(party).into(),
            headers,
            number: number.to_owned(),
            call: Call::default(),
            proxy_tags: Vec::new(),
        }
    }

    /// Its address.
    pub fn host(&self) -> String {
        self.host.to_string()
    }

    /// Plays an exchange.
    ///
    /// # Errors
    /// The line at which it came otherwise.
    pub fn play(&mut self, exchange: &str) -> Result<(), String> {
        self.call = Call { user: "bob".to_owned(), ..Call::default() };
        for line in exchange.lines().map(str::trim).filter(|line| !line.is_empty()) {
            self.step(line).map_err(|error| format!("`{line}`: {error}"))?;
        }
        Ok(())
    }

    fn step(&mut self, line: &str) -> Result<(), String> {
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["pause", ms] => {
                // A part of the flow: how long somebody rings or talks.
                let end = Instant::now() + Duration::from_millis(ms.parse().map_err(|_| "a number")?);
                while let Some(rest) = end.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero()) {
                    thread::park_timeout(rest);
                }
                Ok(())
            }
            ["call", suffix] => self.begin(suffix, "bob"),
            ["call", suffix, user] => self.begin(suffix, user),
            ["again", name] => {
                let party = &self.parties[name];
                let octets = party.last.as_ref().ok_or("it has sent nothing")?;
                party.agent.send(octets, self.gateway());
                Ok(())
            }
            _ => {
                let (ends, message) = line.split_once(": ").ok_or("no colon")?;
                let (from, to) = ends.split_once(" -> ").ok_or("no arrow")?;
                if from != "gw" {
                    self.send(from, to, message)?;
                }
                for to in to.split(',').filter(|to| *to != "gw") {
                    self.receive(to, message)?;
                }
                Ok(())
            }
        }
    }

    fn begin(&mut self, suffix: &str, user: &str) -> Result<(), String> {
        self.call = Call { suffix: format!("-{suffix}"), user: user.to_owned(), ..Call::default() };
        Ok(())
    }

    fn gateway(&self) -> SocketAddr {
        SocketAddr::from((self.host, PROXY))
    }

    fn send(&mut self, from: &str, to: &str, message: &str) -> Result<(), String> {
        let word = message.split(' ').next().unwrap_or_default();
        let wire = match word.parse::<u16>() {
            Ok(code) => self.response(from, to, code, message)?,
            Err(_) if from == "alice" => match message.split_once(" in ") {
                Some((_, callee)) => self.inside(from, callee, word, 0)?,
                None => self.of_caller(to, word)?,
            },
            Err(_) => self.inside(from, from, word, 1)?,
        };
        let octets = wire.octets();
        let gateway = self.gateway();
        let party = self.parties.get_mut(from).ok_or("nobody of that name")?;
        party.agent.send(&octets, gateway);
        party.last = Some(octets);
        Ok(())
    }

    /// A request of the caller: one that begins a call, a CANCEL, or one inside the call.
    fn of_caller(&mut self, to: &str, method: &str) -> Result<Wire, String> {
        if method == "CANCEL" {
            return self.hop("CANCEL", None);
        }
        if self.call.dialogs.contains_key(to) {
            return self.inside("alice", to, method, 0);
        }
        let (host, call) = (self.host, &self.call);
        let (number, suffix, user) = (&self.number, &call.suffix, &call.user);
        let mut lines = vec![
            format!("Via: {}", self.via("alice", 1)),
            "Max-Forwards: 70".to_owned(),
            format!("From: \"Alice\" <sip:alice@atlanta.example>;tag=ft-{number}{suffix}"),
            "To: <sip:bob@biloxi.example>".to_owned(),
            format!("Call-ID: acc-{number}{suffix}@atlanta.example"),
            format!("CSeq: 1 {method}"),
            format!("Contact: <sip:alice@{host}:24101>"),
        ];
        lines.extend(self.headers.get(method).into_iter().flatten().cloned());
        lines.push("Content-Length: 0".to_owned());
        let wire = Wire {
            start: format!("{method} sip:{user}@biloxi.example SIP/2.0").into_bytes(),
            lines: lines.into_iter().map(String::into_bytes).collect(),
            body: Vec::new(),
        };
        self.call.sent = 1;
        self.call.first = Some(wire.clone());
        Ok(wire)
    }

    fn via(&self, name: &str, number: u32) -> String {
        let port = self.parties[name].agent.address.port();
        let branch = format!("z9hG4bK-{name}-{}{}-{number}", self.number, self.call.suffix);
        format!("SIP/2.0/UDP {}:{port};branch={branch}", self.host)
    }

    /// A request inside the dialog with a callee, by one of its sides.
    fn inside(&mut self, name: &str, callee: &str, method: &str, side: usize) -> Result<Wire, String> {
        self.call.sent += 1;
        let via = self.via(name, self.call.sent);
        let dialogs = self.call.dialogs.get_mut(callee).ok_or("there is no such dialog")?;
        let (side, cseq) = &mut dialogs[side];
        // An ACK has the number of its INVITE.
        let number = if method == "ACK" { 1 } else { *cseq };
        *cseq += u32::from(method != "ACK");
        let mut wire = side.request(method, number, &via);
        let more = self.headers.get(method).into_iter().flatten().map(|line| line.clone().into_bytes());
        wire.lines.splice(1..1, more);
        Ok(wire)
    }

    /// CANCEL or the ACK to a refusal: as the INVITE, with the To of the response (RFC 3261 §9.1, §17.1.1.3).
    fn hop(&self, method: &str, response: Option<&Wire>) -> Result<Wire, String> {
        let first = self.call.first.as_ref().ok_or("nothing has begun")?;
        let uri = first.start.split(|octet| *octet == b' ').nth(1).unwrap_or_default();
        let value = |name: &str| String::from_utf8_lossy(first.value(name)).into_owned();
        let to =
            response.map_or_else(|| value("to"), |response| String::from_utf8_lossy(response.value("to")).into_owned());
        let lines = [
            format!("Via: {}", value("via")),
            "Max-Forwards: 70".to_owned(),
            format!("From: {}", value("from")),
            format!("To: {to}"),
            format!("Call-ID: {}", value("call-id")),
            format!("CSeq: 1 {method}"),
            "Content-Length: 0".to_owned(),
        ];
        let start = [method.as_bytes(), b" ", uri, b" SIP/2.0"].concat();
        Ok(Wire { start, lines: lines.map(String::into_bytes).to_vec(), body: Vec::new() })
    }

    /// The response of a party to the newest request it has got that is no CANCEL and no ACK.
    fn response(&mut self, from: &str, to: &str, code: u16, message: &str) -> Result<Wire, String> {
        let (message, body) = message.strip_suffix(" + sdp").map_or((message, ""), |message| (message, SDP));
        let status = match message.split_once(' ') {
            Some(_) => message.to_owned(),
            None => {
                let reason = REASONS.iter().find(|(own, _)| *own == code).map(|(_, reason)| *reason);
                format!("{code} {}", reason.ok_or("a code without a reason phrase")?)
            }
        };
        let mut more: Vec<String> = self.headers.get(&code.to_string()).cloned().unwrap_or_default();
        let party = &self.parties[from];
        let asked = party.requests.last().ok_or("it has got no request")?;
        if asked.method() == "INVITE" {
            more.push(format!("Contact: <sip:{from}@{}:{}>", self.host, party.agent.address.port()));
        }
        if !body.is_empty() {
            more.push("Content-Type: application/sdp".to_owned());
        }
        more.push(format!("Content-Length: {}", body.len()));
        let more: Vec<_> = more.into_iter().map(|line| line.replace("HOST", &self.host()).into_bytes()).collect();
        let wire = asked.answer(status.as_bytes(), &format!("tt-{from}"), &more, body.as_bytes());
        if asked.method() == "INVITE" && (200..300).contains(&code) && to == "alice" && from != "alice" {
            let callee = Side::callee(asked, &wire);
            let first = self.call.first.as_ref().ok_or("nothing has begun")?;
            // Its Record-Route is known when the response has come: see `receive`.
            let caller = Side::caller(first, &wire);
            self.call.dialogs.entry(from.to_owned()).or_insert([(caller, 2), (callee, 100)]);
        }
        Ok(wire)
    }

    /// Waits until a party has got such a message.
    fn receive(&mut self, name: &str, message: &str) -> Result<(), String> {
        let word = message.split(' ').next().unwrap_or_default().to_owned();
        let code = word.parse::<u16>().unwrap_or(0);
        let call_id = format!("acc-{}{}@atlanta.example", self.number, self.call.suffix);
        let fits = |wire: &Wire| {
            let is_it = if code > 0 {
                wire.code() == code && !wire.start.is_empty() && wire.method() == "SIP/2.0"
            } else {
                wire.method() == word
            };
            is_it
                && wire.value("call-id") == call_id.as_bytes()
                && !(code > 0 && wire.value("cseq").ends_with(b"CANCEL"))
        };
        let party = self.parties.get_mut(name).ok_or("nobody of that name")?;
        let found = try_wait_for(|| {
            while let Some(wire) = party.agent.take() {
                party.inbox.push(wire);
            }
            let place = party.inbox.iter().position(fits)?;
            Some(party.inbox.remove(place))
        });
        let Some(wire) = found else {
            let got: Vec<_> =
                party.inbox.iter().map(|wire| String::from_utf8_lossy(&wire.start).into_owned()).collect();
            return Err(format!("it never came; {name} has got {got:?}"));
        };
        if code == 0 {
            self.has_request(name, wire);
            return Ok(());
        }
        let to = String::from_utf8_lossy(wire.value("to")).into_owned();
        let tag = to.split_once(";tag=").map_or("", |(_, tag)| tag).to_owned();
        if name == "alice" && wire.value("cseq").ends_with(b"INVITE") {
            match (code, self.call.first.clone(), tag.strip_prefix("tt-").map(str::to_owned)) {
                (200..300, Some(first), Some(callee)) => {
                    if let Some([caller, _]) = self.call.dialogs.get_mut(&callee) {
                        caller.0 = Side::caller(&first, &wire);
                    }
                }
                (300.., ..) => {
                    let ack = self.hop("ACK", Some(&wire))?;
                    self.parties["alice"].agent.send(&ack.octets(), self.gateway());
                }
                _ => {}
            }
        }
        if name == "alice" && code >= 200 && !tag.starts_with("tt-") && !tag.is_empty() {
            self.proxy_tags.push(tag);
        }
        Ok(())
    }

    fn has_request(&mut self, name: &str, wire: Wire) {
        let gateway = self.gateway();
        let Some(party) = self.parties.get_mut(name) else { return };
        match wire.method() {
            "ACK" => {}
            "CANCEL" => {
                let answer = wire.answer(b"200 OK", &format!("tt-{name}"), &[b"Content-Length: 0".to_vec()], b"");
                party.agent.send(&answer.octets(), gateway);
            }
            _ => party.requests.push(wire),
        }
    }
}

/// An address of loopback that no other play has: what comes out shows ports, which have to be those of the golden files.
fn address() -> Ipv4Addr {
    let free = |host: &Ipv4Addr| {
        let ports = PARTIES.map(|(_, port)| port).into_iter().chain([PROXY]);
        ports.map(|port| std::net::UdpSocket::bind((*host, port))).collect::<Result<Vec<_>, _>>().is_ok()
    };
    let next = || {
        // Each state is seeded at random.
        let [a, b, c, ..] = RandomState::new().build_hasher().finish().to_be_bytes();
        Ipv4Addr::new(127, a.max(2), b, c.clamp(1, 254))
    };
    std::iter::repeat_with(next).find(free).expect("loopback has sixteen million addresses")
}
