//! The sink against the embedded collector, over loopback.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::clock::Timestamp;
use crate::dictionary::Dictionary;
use crate::ids::{CallHash, RecordId, Seq};
use crate::radius::client::{MessageAuthenticator, ServerSettings};
use crate::radius::{Secret, authenticator, packet};
use crate::record::Kind;
use crate::sinks::tests::record;
use crate::sinks::view::Board as _;

/// How long a test waits before it fails.
const PATIENCE: Duration = Duration::from_secs(20);

pub fn lease(seq: u64) -> Lease {
    Lease {
        seq: Seq(seq),
        id: RecordId(u128::from(seq)),
        call: CallHash(seq),
        attempts: 0,
        first_tried: None,
        appended: clock::wall(),
        body: bytes::Bytes::new(),
    }
}

fn settings(servers: &[SocketAddr]) -> Settings {
    let server = |address: &SocketAddr| ServerSettings {
        address: *address,
        secret: Secret::new("testing123"),
        message_authenticator: MessageAuthenticator::Send,
    };
    let client = client::Settings { servers: servers.iter().map(server).collect(), ..client::Settings::default() };
    Settings { client, ..Settings::default() }
}

async fn collector() -> (Collector, SocketAddr) {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let dictionary = Arc::new(Dictionary::builtin());
    let collector = Collector::bind(any, Secret::new("testing123"), dictionary).await.unwrap();
    let address = collector.address().unwrap();
    (collector, address)
}

/// Lets sink and collector work until `count` records ended; returns the outcomes.
async fn deliver(sink: &mut RadiusSink, collector: &mut Collector, count: usize) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let work = async {
        while outcomes.len() < count {
            tokio::select! {
                () = sink.progress(&mut outcomes) => {}
                collected = collector.next() => assert!(!collected.unwrap().attributes.is_empty()),
            }
        }
    };
    tokio::time::timeout(PATIENCE, work).await.expect("the records end in time");
    outcomes
}

#[tokio::test]
async fn records_reach_the_collector_and_are_settled() {
    let (mut collector, address) = collector().await;
    let mut sink = RadiusSink::new("test", &settings(&[address])).unwrap();
    let mut delivered = 0;
    for round in 0..40 {
        let room = sink.capacity().min(100);
        assert!(room > 0, "round {round}");
        for seq in 0..room as u64 {
            sink.submit(&lease(delivered + seq), &record(Kind::Stop));
        }
        let outcomes = deliver(&mut sink, &mut collector, room).await;
        assert!(outcomes.iter().all(|outcome| outcome.settlement == Settlement::Delivered), "{outcomes:?}");
        delivered += room as u64;
    }
    // How far it opens depends on how long requests wait, and so on the machine.
    assert!(delivered > 40 * client::WINDOW_MIN as u64, "the window opened: {delivered}");
    sink.reported_at = Instant(0);
    let mut none = Vec::new();
    let _nothing = tokio::time::timeout(Duration::from_millis(20), sink.progress(&mut none)).await;
    let status = sink.board().servers();
    assert_eq!((status[0].address, status[0].counters.stored, status[0].outstanding), (address, delivered, 0));
}

#[tokio::test]
async fn a_stopped_server_is_noticed_at_once_and_the_other_takes_over() {
    let (gone, first) = collector().await;
    let (mut second, address) = collector().await;
    drop(gone);
    let mut sink = RadiusSink::new("test", &settings(&[first, address])).unwrap();
    (0..5).for_each(|seq| sink.submit(&lease(seq), &record(Kind::Start)));
    let outcomes = deliver(&mut sink, &mut second, 5).await;
    assert!(outcomes.iter().all(|outcome| outcome.settlement == Settlement::Delivered), "{outcomes:?}");
}

#[tokio::test]
async fn the_collector_decodes_what_was_sent_and_knows_a_repeat() {
    let (mut collector, address) = collector().await;
    let mut sink = RadiusSink::new("test", &settings(&[address])).unwrap();
    let old = Lease { appended: Timestamp(clock::wall().0 - 30_000_000), ..lease(1) };
    sink.submit(&old, &record(Kind::Start));
    let mut none = Vec::new();
    let collected = tokio::select! {
        () = sink.progress(&mut none) => panic!("nothing ends before it is answered"),
        collected = tokio::time::timeout(PATIENCE, collector.next()) => collected.unwrap().unwrap(),
    };
    let lines: Vec<String> = collected.attributes.iter().map(ToString::to_string).collect();
    for want in ["Acct-Status-Type = Start", "NAS-IP-Address = 127.0.0.1", "Acct-Delay-Time = 30"] {
        assert!(lines.iter().any(|line| line == want), "{want} in {lines:#?}");
    }
    assert!(!collected.is_repeat && lines.iter().any(|line| line.starts_with("Message-Authenticator")));
    // The same octets twice from one socket.
    let mut datagram = Vec::new();
    packet::begin(&mut datagram, packet::Code::ACCOUNTING_REQUEST, 1);
    packet::push(&mut datagram, 40, &[0, 0, 0, 1]);
    packet::finish(&mut datagram).unwrap();
    authenticator::sign_request(&mut datagram, &Secret::new("testing123"));
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for want in [false, true] {
        socket.send_to(&datagram, address).unwrap();
        let collected = tokio::time::timeout(PATIENCE, collector.next()).await.unwrap().unwrap();
        assert_eq!(collected.is_repeat, want);
    }
}

/// The answer to a request, signed with a secret.
fn answer(request: &[u8], secret: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    packet::begin(&mut octets, packet::Code::ACCOUNTING_RESPONSE, request[1]);
    packet::finish(&mut octets).unwrap();
    authenticator::sign_response(&mut octets, request[4..20].try_into().unwrap(), &Secret::new(secret));
    octets
}

#[tokio::test]
async fn a_forged_answer_acknowledges_nothing_and_does_not_keep_the_right_one_out() {
    let server = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let stranger = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut settings = settings(&[server.local_addr().unwrap()]);
    // Nothing is sent again meanwhile.
    settings.client.initial_timeout = PATIENCE;
    settings.client.max_timeout = PATIENCE;
    let mut sink = RadiusSink::new("test", &settings).unwrap();
    sink.submit(&lease(1), &record(Kind::Stop));
    let mut outcomes = Vec::new();
    let mut buffer = [0; 4096];
    let (octets, from) = tokio::select! {
        () = sink.progress(&mut outcomes) => panic!("nothing ends before it is answered"),
        received = tokio::time::timeout(PATIENCE, server.recv_from(&mut buffer)) => received.unwrap().unwrap(),
    };
    let request = &buffer[..octets];
    // Of somebody else, though rightly signed; of the server's address, but with another secret, changed, cut, for another.
    stranger.send_to(&answer(request, "testing123"), from).await.unwrap();
    let right = answer(request, "testing123");
    let (mut changed, mut other) = (right.clone(), right.clone());
    changed[19] ^= 1;
    other[1] ^= 1;
    for forged in [answer(request, "guessed"), changed, right[..19].to_vec(), other] {
        server.send_to(&forged, from).await.unwrap();
    }
    let counters = |sink: &mut RadiusSink| {
        sink.reported_at = Instant(0);
        sink.board().servers()[0].counters
    };
    let forged_come = async {
        while counters(&mut sink).bad_authenticator < 2 || counters(&mut sink).unknown < 1 {
            let _looked = tokio::time::timeout(Duration::from_millis(5), sink.progress(&mut outcomes)).await;
        }
    };
    tokio::time::timeout(PATIENCE, forged_come).await.expect("the forged answers come");
    let counted = counters(&mut sink);
    assert_eq!((counted.bad_authenticator, counted.malformed, counted.unknown, counted.stored), (2, 1, 1, 0));
    assert_eq!(outcomes, [], "none of them is an acknowledgement");
    server.send_to(&right, from).await.unwrap();
    let ended = async {
        while outcomes.is_empty() {
            sink.progress(&mut outcomes).await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("the right answer is taken");
    assert_eq!(outcomes, [Outcome { seq: Seq(1), settlement: Settlement::Delivered }]);
}

#[tokio::test]
async fn without_a_server_records_wait_and_too_many_are_refused() {
    let mut sink = RadiusSink::new("test", &settings(&[])).unwrap();
    assert_eq!(sink.capacity(), 0, "the queue keeps them");
    let many = vec![SocketAddr::from(([127, 0, 0, 1], 1)); 65];
    let errors = RadiusSink::new("test", &settings(&many)).err().unwrap();
    assert_eq!(errors.to_string(), "65 accounting servers, at most 64");
}

#[tokio::test]
async fn a_sink_without_room_says_when_it_has_some_again() {
    let (gone, address) = collector().await;
    drop(gone);
    let mut settings = settings(&[address]);
    settings.client.probe_interval = Duration::from_millis(50);
    let mut sink = RadiusSink::new("test", &settings).unwrap();
    sink.submit(&lease(1), &record(Kind::Start));
    let mut outcomes = Vec::new();
    let refused = async {
        while sink.capacity() > 0 {
            let _looked = tokio::time::timeout(Duration::from_millis(5), sink.progress(&mut outcomes)).await;
        }
    };
    tokio::time::timeout(PATIENCE, refused).await.expect("nobody listens");
    let dictionary = Arc::new(Dictionary::builtin());
    let mut back = Collector::bind(address, Secret::new("testing123"), dictionary).await.unwrap();
    let serve = async { while back.next().await.is_ok() {} };
    let room = async {
        while sink.capacity() == 0 {
            sink.progress(&mut outcomes).await;
        }
    };
    tokio::select! {
        () = serve => panic!("the collector ended"),
        room = tokio::time::timeout(PATIENCE, room) => room.expect("there is room again"),
    }
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_takes_the_records_along() {
    let (mut first, old) = collector().await;
    let (mut second, new) = collector().await;
    let mut settings = settings(&[old]);
    settings.names = vec![NamedServer { place: 0, host: "radius.example".to_owned() }];
    let mut sink = RadiusSink::new("test", &settings).unwrap();
    sink.submit(&lease(1), &record(Kind::Start));
    assert_eq!(deliver(&mut sink, &mut first, 1).await[0].settlement, Settlement::Delivered);

    // A resolver that takes its time: deliveries go on meanwhile.
    let (answer, asked) = tokio::sync::watch::channel(None);
    let resolver: names::Resolver = Arc::new(move |host, _port| {
        let mut asked = asked.clone();
        Box::pin(async move {
            assert_eq!(host, "radius.example");
            let answer = asked.wait_for(Option::is_some).await.map(|found| found.clone());
            Ok(answer.ok().flatten().unwrap_or_default())
        })
    });
    let long_ago = Instant(0);
    sink.names = Names::new("test".into(), long_ago, &settings, resolver);
    sink.submit(&lease(2), &record(Kind::Start));
    assert_eq!(deliver(&mut sink, &mut first, 1).await[0].settlement, Settlement::Delivered, "while DNS is silent");

    answer.send(Some(vec![new])).unwrap();
    let moved = async {
        while sink.board().servers().first().is_none_or(|server| server.address != new) {
            sink.reported_at = Instant(0);
            let _looked = tokio::time::timeout(Duration::from_millis(5), sink.progress(&mut Vec::new())).await;
        }
    };
    tokio::time::timeout(PATIENCE, moved).await.expect("the server moves");
    sink.submit(&lease(3), &record(Kind::Start));
    assert_eq!(deliver(&mut sink, &mut second, 1).await[0].settlement, Settlement::Delivered);
}

#[tokio::test]
async fn a_name_that_resolves_late_brings_its_server_into_use() {
    let (mut collector, address) = collector().await;
    let mut settings = settings(&[SocketAddr::from(([0, 0, 0, 0], address.port()))]);
    settings.names = vec![NamedServer { place: 0, host: "radius.example".to_owned() }];
    let mut sink = RadiusSink::new("test", &settings).unwrap();
    sink.reported_at = Instant(0);
    let _looked = tokio::time::timeout(Duration::from_millis(5), sink.progress(&mut Vec::new())).await;
    let view = &sink.board().views()[0];
    assert_eq!(view.server, format!("radius.example:{} (not resolved)", address.port()));
    assert_eq!((view.state, sink.capacity()), ("dead", 0), "records wait in the queue");

    let asked = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let count = Arc::clone(&asked);
    let resolver: names::Resolver = Arc::new(move |_host, _port| {
        let found = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 0;
        Box::pin(async move { if found { Ok(vec![address]) } else { Err(std::io::ErrorKind::NotFound.into()) } })
    });
    for round in 0..2 {
        assert_eq!((round, sink.capacity()), (round, 0));
        // Long ago: the next look-up is due.
        sink.names = Names::new("test".into(), Instant(0), &settings, Arc::clone(&resolver));
        let answered = async {
            while asked.load(std::sync::atomic::Ordering::Relaxed) <= round || (round > 0 && sink.capacity() == 0) {
                let _looked = tokio::time::timeout(Duration::from_millis(5), sink.progress(&mut Vec::new())).await;
            }
        };
        tokio::time::timeout(PATIENCE, answered).await.expect("the resolver is asked");
    }
    sink.submit(&lease(1), &record(Kind::Start));
    assert_eq!(deliver(&mut sink, &mut collector, 1).await[0].settlement, Settlement::Delivered);
}
