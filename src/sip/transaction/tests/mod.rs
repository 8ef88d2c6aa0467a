//! Tests of the four machines in virtual time: what they share. A machine under test is a [`Rig`]; inputs and outputs
//! are words.

mod random;
mod table;
mod timeline;

use std::time::Duration;

use bytes::Bytes;

use super::*;

/// One of the four machines, with its clock.
struct Rig {
    machine: Machine,
    now: Instant,
    settings: Settings,
    /// What `start` made it say.
    first: Vec<Output>,
}

enum Machine {
    Client(Client),
    Server(Server),
}

const START: Instant = Instant(1_000_000);

impl Rig {
    fn new(kind: &str, reliability: Reliability, settings: Settings) -> Self {
        let request = Bytes::from_static(b"request");
        let mut first = Vec::new();
        let machine = match kind {
            "INVITE client" => {
                Machine::Client(Client::Invite(InviteClient::start(START, request, reliability, &settings, &mut first)))
            }
            "non-INVITE client" => Machine::Client(Client::NonInvite(NonInviteClient::start(
                START,
                request,
                reliability,
                &settings,
                &mut first,
            ))),
            "INVITE server" => Machine::Server(Server::Invite(InviteServer::start(START, reliability, &settings))),
            _ => Machine::Server(Server::NonInvite(NonInviteServer::start(reliability))),
        };
        Self { machine, now: START, settings, first }
    }

    fn udp(kind: &str) -> Self {
        Self::new(kind, Reliability::Unreliable, Settings::default())
    }

    fn tcp(kind: &str) -> Self {
        Self::new(kind, Reliability::Reliable, Settings::default())
    }

    /// Feeds the input a word stands for, and returns the outputs as words.
    fn feed(&mut self, word: &str) -> String {
        let mut out = Vec::new();
        match &mut self.machine {
            Machine::Client(client) => client.handle(self.now, client_input(word), &self.settings, &mut out),
            Machine::Server(server) => server.handle(self.now, server_input(word), &self.settings, &mut out),
        }
        words(&out)
    }

    fn tick(&mut self) -> String {
        let mut out = Vec::new();
        match &mut self.machine {
            Machine::Client(client) => client.tick(self.now, &self.settings, &mut out),
            Machine::Server(server) => server.tick(self.now, &self.settings, &mut out),
        }
        words(&out)
    }

    fn deadline(&self) -> Option<Instant> {
        match &self.machine {
            Machine::Client(client) => client.deadline(),
            Machine::Server(server) => server.deadline(),
        }
    }

    fn state(&self) -> State {
        match &self.machine {
            Machine::Client(client) => client.state(),
            Machine::Server(server) => server.state(),
        }
    }

    fn kept_bytes(&self) -> usize {
        match &self.machine {
            Machine::Client(client) => client.kept_bytes(),
            Machine::Server(server) => server.kept_bytes(),
        }
    }
}

const CLIENT_WORDS: [&str; 5] = ["1xx", "2xx", "3xx", "ack", "unreachable"];
const SERVER_WORDS: [&str; 5] = ["again", "ack", "1xx", "2xx", "3xx"];

/// `1xx` to `3xx`: a response of that class came (3xx stands for all refusals).
fn client_input(word: &str) -> ClientInput {
    match word {
        "1xx" => ClientInput::Response(Class::Provisional),
        "2xx" => ClientInput::Response(Class::Success),
        "3xx" => ClientInput::Response(Class::Refusal),
        "ack" => ClientInput::Ack(Bytes::from_static(b"ack")),
        "unreachable" => ClientInput::Unreachable,
        _ => panic!("no client input {word}"),
    }
}

/// `1xx` to `3xx`: the transaction user gives a response of that class.
fn server_input(word: &str) -> ServerInput {
    match word {
        "again" => ServerInput::Repeated,
        "ack" => ServerInput::Ack,
        "1xx" => ServerInput::Respond(Class::Provisional, Bytes::from_static(b"1xx")),
        "2xx" => ServerInput::Respond(Class::Success, Bytes::from_static(b"2xx")),
        "3xx" => ServerInput::Respond(Class::Refusal, Bytes::from_static(b"3xx")),
        _ => panic!("no server input {word}"),
    }
}

fn words(out: &[Output]) -> String {
    let word = |output: &Output| match output {
        Output::Send(bytes) => format!("send {}", String::from_utf8_lossy(bytes)),
        Output::Deliver => "deliver".to_owned(),
        Output::Acknowledge => "acknowledge".to_owned(),
        Output::Trying => "trying".to_owned(),
        Output::TimedOut(timer) => format!("timeout {timer:?}"),
        Output::Failed => "failed".to_owned(),
        Output::Absorbed { .. } => "nothing".to_owned(),
        Output::Terminated => "terminated".to_owned(),
    };
    out.iter().map(word).collect::<Vec<_>>().join(", ")
}

#[test]
fn a_transaction_is_small() {
    assert!(size_of::<Client>() <= 72, "{}", size_of::<Client>());
    assert!(size_of::<Server>() <= 72, "{}", size_of::<Server>());
}

#[test]
fn a_code_has_the_class_of_its_hundred() {
    for (code, want) in [
        (0, None),
        (99, None),
        (100, Some(Class::Provisional)),
        (199, Some(Class::Provisional)),
        (200, Some(Class::Success)),
        (299, Some(Class::Success)),
        (300, Some(Class::Refusal)),
        (699, Some(Class::Refusal)),
        (700, None),
    ] {
        assert_eq!(Class::of(code), want, "{code}");
    }
}

#[test]
fn defaults_are_those_of_the_rfc() {
    let settings = Settings::default();
    assert_eq!(settings.timeout(), Duration::from_secs(32), "64 × T1, RFC 3261 table 4");
    assert!(settings.timer_d >= Duration::from_secs(32), "RFC 3261 §17.1.1.2");
}
