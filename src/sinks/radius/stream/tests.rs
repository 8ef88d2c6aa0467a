//! The sink over real connections, against a server that does what each test tells it.

mod peer;

use self::peer::{Act, Certificates, Event, Peer};
use super::*;
use crate::clock;
use crate::ids::Seq;
use crate::net::tls::{NameCheck, server_name};
use crate::queue::Settlement;
use crate::radius::Secret;
use crate::radius::client::{Health, MessageAuthenticator, ServerSettings, ServerStatus};
use crate::radius::packet::Code;
use crate::record::Kind;
use crate::sinks::radius::tests::lease;
use crate::sinks::radius::{Carrier, RadiusSink, Settings, TlsSettings};
use crate::sinks::tests::record;
use crate::sinks::{Outcome, Sink as _};

/// How long a test waits before it fails.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it looks at what the sink does not tell.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A sink with quick timers, its server and what both have told.
struct Bench {
    sink: RadiusSink,
    peer: Peer,
    outcomes: Vec<Outcome>,
    events: Vec<Event>,
}

fn settings(peers: &[SocketAddr], carrier: Carrier) -> Settings {
    let server = |address: &SocketAddr| ServerSettings {
        address: *address,
        secret: Secret::new("radsec"),
        message_authenticator: MessageAuthenticator::Omit,
    };
    let mut settings = Settings { carrier, ..Settings::default() };
    settings.client.servers = peers.iter().map(server).collect();
    settings
}

impl Bench {
    fn new(peer: Peer, carrier: Carrier, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = settings(&[peer.address], carrier);
        change(&mut settings);
        let sink = RadiusSink::new("test", &settings).unwrap();
        Self { sink, peer, outcomes: Vec::new(), events: Vec::new() }
    }

    /// Lets the sink work until `done`.
    async fn work_until(&mut self, what: &str, mut done: impl FnMut(&[Outcome], &[Event], ServerStatus) -> bool) {
        let work = async {
            loop {
                self.events.extend(self.peer.events());
                let status = self.sink.client.status().next().unwrap();
                if done(&self.outcomes, &self.events, status) {
                    return;
                }
                let _looked = tokio::time::timeout(LOOK_AGAIN, self.sink.progress(&mut self.outcomes)).await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, work).await;
        assert!(in_time.is_ok(), "waited in vain: {what}; {:?} {:?}", self.outcomes, self.events);
    }

    /// Submits a record as soon as there is room.
    async fn submit(&mut self, seq: u64) {
        let room = async {
            while self.sink.capacity() == 0 {
                let _looked = tokio::time::timeout(LOOK_AGAIN, self.sink.progress(&mut self.outcomes)).await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, room).await.is_ok(), "no room: {:?}", self.peer.events());
        self.sink.submit(&lease(seq), &record(Kind::Start));
    }

    async fn delivered(&mut self, count: usize) {
        self.work_until("records are delivered", |outcomes, _, _| outcomes.len() >= count).await;
        let all = self.outcomes.iter().all(|outcome| outcome.settlement == Settlement::Delivered);
        assert!(all && self.outcomes.len() == count, "{:?}", self.outcomes);
    }

    fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|event| wanted(event)).count()
    }

    fn requests(&self, on: usize) -> Vec<&[u8]> {
        let attributes = |event| match event {
            &Event::Request { connection, ref attributes } if connection == on => Some(attributes.as_slice()),
            _ => None,
        };
        self.events.iter().filter_map(attributes).collect()
    }

    fn status(&self) -> ServerStatus {
        self.sink.client.status().next().unwrap()
    }
}

fn connections(event: &Event) -> bool {
    matches!(event, Event::Connected { .. })
}

fn tls(certificates: &Certificates, has_certificate: bool, name: &str, name_check: NameCheck) -> Carrier {
    let config = certificates.client(has_certificate, name_check);
    Carrier::Tls(TlsSettings { config, names: vec![server_name(name).unwrap()] })
}

/// A server over TLS and what speaks to it properly.
fn over_tls(script: impl Fn(usize, usize, Code) -> Act + Send + Sync + 'static) -> (Peer, Carrier) {
    let certificates = Certificates::new();
    let peer = Peer::start(Some(certificates.server()), "radsec", script);
    (peer, tls(&certificates, true, "127.0.0.1", NameCheck::On))
}

/// Both kinds of streams.
fn over_both(script: impl Fn(usize, usize, Code) -> Act + Clone + Send + Sync + 'static) -> [(Peer, Carrier); 2] {
    [(Peer::start(None, "radsec", script.clone()), Carrier::Tcp), over_tls(script)]
}

#[tokio::test]
async fn a_packet_is_a_record_and_answers_may_come_in_pieces() {
    for (peer, carrier) in over_both(|_, _, _| Act::Answer) {
        let mut bench = Bench::new(peer, carrier, |_| {});
        let mut most = 0;
        for seq in 0..1500 {
            bench.submit(seq).await;
            most = most.max(bench.status().outstanding);
        }
        bench.delivered(1500).await;
        assert_eq!(bench.count(|event| matches!(event, Event::WrongRecord { .. })), 0);
        let requests = bench.count(|event| matches!(event, Event::Request { .. }));
        assert_eq!((requests, bench.status().counters.unreachable), (1500, 0), "each once");
        // How many it is depends on how busy the machine is; more than connections they are on any.
        assert!(bench.count(connections) <= 8 && most > 16, "{most} at once");
    }
}

#[tokio::test]
async fn a_server_of_another_name_gets_nothing_unless_names_do_not_matter() {
    for (name, name_check, works) in [
        ("other.example", NameCheck::On, false),
        ("127.0.0.2", NameCheck::On, false),
        ("127.0.0.1", NameCheck::On, true),
        ("other.example", NameCheck::Off, true),
    ] {
        let certificates = Certificates::new();
        let peer = Peer::start(Some(certificates.server()), "radsec", |_, _, _| Act::Answer);
        let mut bench = Bench::new(peer, tls(&certificates, true, name, name_check), |_| {});
        if works {
            bench.submit(1).await;
            bench.delivered(1).await;
        } else {
            bench.work_until("it is suspected", |_, _, status| status.health == Health::Suspect).await;
            assert_eq!(bench.sink.capacity(), 0, "{name}");
            assert_eq!(bench.count(|event| !matches!(event, Event::Connected { .. } | Event::Ended { .. })), 0);
        }
    }
}

#[tokio::test]
async fn without_a_client_certificate_it_backs_off() {
    let certificates = Certificates::new();
    let peer = Peer::start(Some(certificates.server()), "radsec", |_, _, _| Act::Answer);
    let mut bench = Bench::new(peer, tls(&certificates, false, "127.0.0.1", NameCheck::On), |_| {});
    let three = |_: &[Outcome], events: &[Event], _| events.iter().filter(|event| connections(event)).count() >= 3;
    bench.work_until("three connections", three).await;
    let at = |event: &Event| match event {
        Event::Connected { at, .. } => Some(*at),
        _ => None,
    };
    let times: Vec<_> = bench.events.iter().filter_map(at).collect();
    // 1 s and 2 s; the first may be seen late. Virtual time, beside the client, shows each wait.
    let both = times[2].since(times[0]).as_millis();
    assert!(both >= 1800, "{both}: {:?}", bench.events);
    assert_eq!(bench.status().health, Health::Suspect);
    assert_eq!(bench.count(|event| matches!(event, Event::Request { .. } | Event::Status { .. })), 0);
}

#[tokio::test]
async fn an_idle_close_is_no_alarm_and_the_next_record_reconnects() {
    for (peer, carrier) in over_both(|_, _, _| Act::AnswerAndClose) {
        let mut bench = Bench::new(peer, carrier, |_| {});
        for seq in 0..5 {
            bench.submit(seq).await;
            bench.delivered(1 + usize::try_from(seq).unwrap()).await;
            let ended = |event: &&Event| matches!(event, Event::Ended { .. });
            let closed = |_: &[Outcome], events: &[Event], status: ServerStatus| {
                events.iter().filter(ended).count() > usize::try_from(seq).unwrap() && status.lanes == 0
            };
            bench.work_until("the server closes", closed).await;
        }
        let status = bench.status();
        assert_eq!((status.health, status.counters.unreachable), (Health::Alive, 0));
        assert_eq!((bench.count(connections), bench.count(|event| matches!(event, Event::Status { .. }))), (5, 0));
    }
}

#[tokio::test]
async fn a_connection_killed_with_requests_under_way_has_them_sent_once_more() {
    // The first connection answers one record and dies with the fourth after that unanswered.
    let script = |connection, number, _| match (connection, number) {
        (0, 0) | (1.., _) => Act::Answer,
        (_, 4) => Act::Close,
        _ => Act::Ignore,
    };
    for (peer, carrier) in over_both(script) {
        let mut bench = Bench::new(peer, carrier, |_| {});
        bench.submit(0).await;
        bench.delivered(1).await;
        for seq in 1..=4 {
            bench.submit(seq).await;
        }
        bench.delivered(5).await;
        let mut first: Vec<_> = bench.requests(0)[1..].to_vec();
        let mut second = bench.requests(1);
        first.sort_unstable();
        second.sort_unstable();
        assert_eq!((first.len(), first), (4, second), "the same records, each once more");
        let after: Vec<_> = bench.events.iter().skip_while(|event| !matches!(event, Event::Status { .. })).collect();
        assert!(after[..3].iter().all(|event| matches!(event, Event::Status { connection: 1 })), "{after:?}");
        assert_eq!((bench.count(connections), bench.status().health), (2, Health::Alive));
        assert_eq!(bench.status().counters.retransmissions, 4);
    }
}

#[tokio::test]
async fn a_stalled_server_is_asked_once_and_left_after_two_periods() {
    let script = |connection, _, _| if connection == 0 { Act::Ignore } else { Act::Answer };
    for (peer, carrier) in over_both(script) {
        let mut bench = Bench::new(peer, carrier, |settings| {
            settings.client.watchdog = Duration::from_millis(600);
        });
        let begin = clock::mono();
        bench.submit(1).await;
        let left = |_: &[Outcome], events: &[Event], _| {
            events.iter().any(|event| matches!(event, Event::Ended { connection: 0, .. }))
        };
        bench.work_until("the first connection ends", left).await;
        let after = clock::mono().since(begin).as_millis();
        assert!(after >= 1100, "two periods of 600 ms, less their jitter: {after}");
        assert_eq!(bench.count(|event| matches!(event, Event::Status { connection: 0 })), 1);
        bench.delivered(1).await;
        // On the next connection, or on a later one if the machine was slower than the watchdog.
        let again = |event: &Event| matches!(event, Event::Request { connection: 1.., .. });
        assert!(bench.count(again) >= 1, "the record goes out again: {:?}", bench.events);
    }
}

#[tokio::test]
async fn a_wrong_secret_is_diagnosed() {
    let certificates = Certificates::new();
    let peer = Peer::start(Some(certificates.server()), "other", |_, _, _| Act::Answer);
    let carrier = tls(&certificates, true, "127.0.0.1", NameCheck::On);
    let mut bench = Bench::new(peer, carrier, |settings| {
        settings.client.initial_timeout = Duration::from_millis(50);
        settings.client.transmissions = 2;
    });
    bench.submit(1).await;
    bench.work_until("the record comes back", |outcomes, _, _| !outcomes.is_empty()).await;
    let Outcome { seq: Seq(1), settlement: Settlement::Retry { reason, .. } } = &bench.outcomes[0] else {
        panic!("{:?}", bench.outcomes)
    };
    assert!(reason.contains("takes connections but has never answered") && reason.contains("secrets"), "{reason}");
    assert_eq!((bench.count(connections), bench.requests(0).len()), (1, 0), "the connection stays");
    assert_eq!(bench.count(|event| matches!(event, Event::NotAuthentic { .. })), 1, "sent once");
}

#[tokio::test]
async fn nobody_listens_and_the_other_server_takes_over() {
    let gone = Peer::start(None, "radsec", |_, _, _| Act::Answer);
    let address = gone.address;
    drop(gone);
    let peer = Peer::start(None, "radsec", |_, _, _| Act::Answer);
    let mut bench = Bench::new(peer, Carrier::Tcp, |settings| {
        settings.client.servers.insert(0, ServerSettings { address, ..settings.client.servers[0].clone() });
    });
    for seq in 0..5 {
        bench.submit(seq).await;
    }
    bench.delivered(5).await;
    assert_eq!(bench.requests(0).len(), 5);
}

#[tokio::test]
async fn connections_start_at_the_configured_address() {
    let peer = Peer::start(None, "radsec", |_, _, _| Act::Answer);
    let mut bench = Bench::new(peer, Carrier::Tcp, |settings| settings.bind = Some([127, 0, 0, 9].into()));
    bench.submit(1).await;
    bench.delivered(1).await;
    let from = bench.events.iter().find_map(|event| match event {
        Event::Connected { from, .. } => Some(from.ip()),
        _ => None,
    });
    assert_eq!(from, Some([127, 0, 0, 9].into()));
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_fails() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let certificates = Certificates::new();
    let tls = (certificates.client(true, NameCheck::On), server_name("127.0.0.1").unwrap());
    let address = listener.local_addr().unwrap();
    let made = connect(Local::default(), address, Some(tls), Duration::from_millis(50)).await;
    assert_eq!(made.err().map(|error| error.to_string()).as_deref(), Some("no connection within 0.05 s"));
}

#[tokio::test]
async fn tls_ends_with_a_farewell() {
    let (peer, carrier) = over_tls(|_, _, _| Act::Answer);
    let mut bench = Bench::new(peer, carrier, |_| {});
    bench.submit(1).await;
    bench.delivered(1).await;
    let mut out = Vec::new();
    bench.sink.close(&mut out).await;
    let is_farewell = |event: &Event| matches!(event, Event::Farewell { .. });
    bench.work_until("close_notify comes", |_, events, _| events.iter().any(is_farewell)).await;
}
