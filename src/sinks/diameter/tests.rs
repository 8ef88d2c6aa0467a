//! The sink over real sockets: the embedded collector, and peers that misbehave.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::collector::Collector;
use super::*;
use crate::clock;
use crate::diameter::avp::Writer;
use crate::diameter::header::{Header, command, flag};
use crate::diameter::peer::{Identity, State};
use crate::diameter::route::{PeerSettings, PeerStatus};
use crate::dictionary::diameter::Dictionary;
use crate::ids::{CallHash, RecordId};

const M: u8 = 0x40;
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn acr(number: u64, out: &mut Vec<u8>) {
    let header = Header {
        flags: flag::REQUEST | flag::PROXIABLE,
        command: command::ACCOUNTING,
        application: 3,
        ..Header::default()
    };
    header::message(out, &header, |avps| {
        avps.avp(code::SESSION_ID, 0, M, format!("gw.test;0;{number}").as_bytes());
        avps.avp(code::ORIGIN_HOST, 0, M, b"gw.test");
        avps.u32(code::ACCOUNTING_RECORD_TYPE, 0, M, 1);
        avps.u32(code::ACCOUNTING_RECORD_NUMBER, 0, M, 0);
    })
    .expect("short");
}

/// A sink that makes one message of each record, towards peers on these ports.
fn sink(ports: &[u16], change: impl FnOnce(&mut RouteSettings)) -> DiameterSink {
    let mut route = RouteSettings::new(Identity::new("gw.test", "test"));
    for (place, port) in (0..).zip(ports) {
        route.peers.push(PeerSettings { priority: place, ..PeerSettings::new("", "127.0.0.1", *port) });
    }
    route.timing.reconnect_max = Duration::from_millis(200);
    route.timing.capabilities = Duration::from_millis(500);
    change(&mut route);
    let transports = Transports { bind: None, tls: None, user_timeout: Duration::from_secs(60) };
    let mut number = 0;
    let render: Render = Box::new(move |_, out| {
        number += 1;
        acr(number, out);
        Ok(())
    });
    let names: Names = Box::new(|failed| if failed.is_empty() { Vec::new() } else { vec!["an AVP".to_owned()] });
    DiameterSink::with("test", route, transports, Seq(0), names, render).expect("a peer")
}

fn lease(seq: u64) -> Lease {
    Lease {
        seq: Seq(seq),
        id: RecordId(u128::from(seq)),
        call: CallHash(seq),
        attempts: 0,
        first_tried: None,
        appended: clock::wall(),
        body: Bytes::new(),
    }
}

fn record() -> Record {
    crate::sinks::tests::record(Kind::Start)
}

/// Delivers records until `count` are delivered; gives how many came back to be retried.
async fn deliver(sink: &mut DiameterSink, count: u64) -> u64 {
    let record = record();
    let (mut due, mut out, mut delivered, mut retried) = ((1..=count).rev().collect::<Vec<_>>(), Vec::new(), 0, 0);
    while delivered < count {
        while sink.capacity() > 0
            && let Some(seq) = due.pop()
        {
            sink.submit(&lease(seq), &record);
        }
        sink.progress(&mut out).await;
        for outcome in out.drain(..) {
            match outcome.settlement {
                Settlement::Delivered | Settlement::DeliveredBy(_) => delivered += 1,
                Settlement::Retry { .. } | Settlement::Defer { .. } => {
                    retried += 1;
                    due.push(outcome.seq.0);
                }
                Settlement::Park { reason, .. } => panic!("parked: {reason}"),
                Settlement::Withdrawn => panic!("a sink withdraws nothing"),
            }
        }
    }
    retried
}

/// Hands one record over once the peer is used; what becomes of it.
async fn settled(sink: &mut DiameterSink) -> Settlement {
    reach(sink, "the peer is used", |peer| peer.state == State::Open).await;
    sink.submit(&lease(1), &record());
    let mut out = Vec::new();
    while out.is_empty() {
        sink.progress(&mut out).await;
    }
    out.remove(0).settlement
}

async fn collector() -> Collector {
    let dictionary = Arc::new(Dictionary::builtin());
    Collector::bind(SocketAddr::new(LOCAL, 0), "acct.test", "test", dictionary).await.expect("loopback")
}

/// Waits for a state of the first peer.
async fn reach(sink: &mut DiameterSink, what: &str, is_it: impl Fn(&PeerStatus) -> bool) {
    let wait = async {
        let mut every = tokio::time::interval(Duration::from_millis(5));
        loop {
            every.tick().await;
            let status = lock(&sink.engine).status();
            if is_it(&status.peers[0]) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap_or_else(|_| panic!("waited in vain: {what}"));
}

#[tokio::test]
async fn records_reach_the_collector_and_the_goodbye_is_said() {
    let mut collector = collector().await;
    let mut sink = sink(&[collector.address().port()], |_| {});
    assert_eq!(deliver(&mut sink, 300).await, 0);
    let mut ids = std::collections::HashSet::new();
    for _ in 0..300 {
        let collected = collector.next().await.expect("collected");
        assert!(!collected.is_repeat && ids.insert(collected.header.end_to_end));
        assert!(collected.lines[0].starts_with("Session-Id = \"gw.test;0;"), "{:?}", collected.lines);
        assert!(collected.lines.iter().any(|line| line.starts_with("Accounting-Record-Type = EVENT")), "by name");
    }
    let mut out = Vec::new();
    sink.close(&mut out).await;
    assert!(lock(&sink.engine).is_gone() && out.is_empty());
    assert_eq!(lock(&sink.engine).status().peers[0].state, State::Closed);
}

#[tokio::test]
async fn a_dead_peer_leaves_its_work_to_the_other() {
    let second = collector().await;
    let closed = TcpListener::bind((LOCAL, 0)).await.expect("loopback");
    let port = closed.local_addr().expect("bound").port();
    drop(closed);
    let mut sink = sink(&[port, second.address().port()], |_| {});
    deliver(&mut sink, 10).await;
    let status = sink.board().status();
    assert_ne!(status.peers[0].state, State::Open);
}

/// Writes the AVPs of an answer.
type Fill = fn(&mut Writer<'_>);

/// What a peer does to Accounting-Requests once a connection is used.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// Accepts the transport and never says a word.
    Mute,
    /// Answers rubbish instead of its capabilities.
    Rubbish,
    /// States a length no message may have.
    Huge,
    /// Sends the first so many octets of an answer, then ends.
    Cut(usize),
    /// Answers with another hop-by-hop id, and never with the right one.
    WrongIds,
    /// Answers each request three times.
    Thrice,
    /// Sends a thousand watchdogs before each answer.
    Flood,
    /// Floods us with watchdogs and reads nothing any more.
    FloodUnread,
    /// Asks for interim records every five minutes.
    Interims,
    /// Answers with these AVPs.
    Says(Fill),
    /// Answers with success and an AVP that states this length.
    Length(u8),
}

async fn peer(manner: Manner) -> u16 {
    let listener = TcpListener::bind((LOCAL, 0)).await.expect("loopback");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move { drop(misbehave(stream, manner).await) });
        }
    });
    port
}

async fn misbehave(mut stream: TcpStream, manner: Manner) -> std::io::Result<()> {
    let mut input = Vec::new();
    loop {
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
        while let Ok(Some(octets)) = header::frame(&input, 65_536) {
            let message: Vec<u8> = input.drain(..octets).collect();
            let asked = Header::read(&message).expect("sound");
            match manner {
                Manner::Mute => continue,
                Manner::Rubbish => stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await?,
                Manner::Huge => stream.write_all(&[1, 0xff, 0xff, 0xfc]).await?,
                _ if asked.command != command::ACCOUNTING && asked.is_request() => {
                    stream.write_all(&plain_answer(&asked)).await?;
                }
                _ if asked.command == command::ACCOUNTING => act(&mut stream, manner, &asked).await?,
                _ => {}
            }
        }
    }
}

async fn act(stream: &mut TcpStream, manner: Manner, asked: &Header) -> std::io::Result<()> {
    let answer = plain_answer(asked);
    let watchdog = Header { flags: flag::REQUEST, command: command::DEVICE_WATCHDOG, ..*asked };
    let watchdog = build(&watchdog, |avps| avps.avp(code::ORIGIN_HOST, 0, M, b"acct.test"));
    match manner {
        Manner::Cut(octets) => {
            stream.write_all(&answer[..octets.min(answer.len())]).await?;
            stream.shutdown().await?;
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        Manner::WrongIds => stream.write_all(&plain_answer(&Header { hop_by_hop: !asked.hop_by_hop, ..*asked })).await,
        Manner::Thrice => stream.write_all(&answer.repeat(3)).await,
        Manner::Flood => {
            stream.write_all(&watchdog.repeat(1000)).await?;
            stream.write_all(&answer).await
        }
        Manner::Interims => {
            let answer = build(&asked.answer(), |avps| {
                avps.u32(code::RESULT_CODE, 0, M, 2001);
                avps.u32(code::ACCT_INTERIM_INTERVAL, 0, M, 300);
            });
            stream.write_all(&answer).await
        }
        Manner::Says(fill) => stream.write_all(&build(&asked.answer(), fill)).await,
        Manner::Length(octets) => {
            let answer = build(&asked.answer(), |avps| {
                avps.u32(code::RESULT_CODE, 0, M, 2001);
                avps.ready(&[0, 0, 1, 25, M, 0, 0, octets]);
            });
            stream.write_all(&answer).await
        }
        Manner::FloodUnread => loop {
            stream.write_all(&watchdog.repeat(1000)).await?;
        },
        Manner::Mute | Manner::Rubbish | Manner::Huge => Ok(()),
    }
}

fn build(header: &Header, fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut octets = Vec::new();
    header::message(&mut octets, header, fill).expect("short");
    octets
}

fn plain_answer(asked: &Header) -> Vec<u8> {
    build(&asked.answer(), |avps| {
        avps.u32(code::RESULT_CODE, 0, M, 2001);
        avps.avp(code::ORIGIN_HOST, 0, M, b"acct.test");
        avps.avp(code::ORIGIN_REALM, 0, M, b"test");
        avps.u32(code::ACCT_APPLICATION_ID, 0, M, 3);
    })
}

#[tokio::test]
async fn a_peer_that_never_speaks_or_speaks_no_diameter_is_left_and_tried_again() {
    for (manner, cause) in
        [(Manner::Mute, "capabilities-timeout"), (Manner::Rubbish, "garbage"), (Manner::Huge, "garbage")]
    {
        let port = peer(manner).await;
        let mut sink = sink(&[port], |_| {});
        let said = |status: &PeerStatus| {
            status.last_cause.as_ref().is_some_and(|found| found.name() == cause) && status.counters.losses > 1
        };
        reach(&mut sink, cause, said).await;
        assert_eq!(sink.capacity(), 0, "records stay in the queue");
    }
}

#[tokio::test]
async fn an_interval_that_a_server_asks_for_is_told_with_the_session() {
    let (told, heard) = std::sync::mpsc::channel();
    let tell: Interims = Box::new(move |key, every| {
        let _gone = told.send((key, every));
    });
    let mut sink = sink(&[peer(Manner::Interims).await], |_| {}).with_interims(tell);
    deliver(&mut sink, 1).await;
    let record = record();
    let key = Key::of(&record.call_id, &record.from_tag, &record.to_tag);
    assert_eq!(heard.try_recv(), Ok((key, Duration::from_secs(300))));
}

#[tokio::test]
async fn answers_cut_at_every_octet_acknowledge_nothing() {
    let whole = plain_answer(&Header::default()).len();
    for octets in 0..whole {
        let port = peer(Manner::Cut(octets)).await;
        let mut sink = sink(&[port], |_| {});
        reach(&mut sink, "the peer is used", |peer| peer.state == State::Open).await;
        sink.submit(&lease(1), &record());
        let mut out = Vec::new();
        sink.progress(&mut out).await;
        assert!(matches!(&out[..], [Outcome { settlement: Settlement::Defer { .. }, .. }]), "{octets} octets: {out:?}");
    }
    let port = peer(Manner::Cut(whole)).await;
    assert_eq!(deliver(&mut sink(&[port], |_| {}), 1).await, 0, "the whole answer counts");
}

/// A group in a group, a thousand deep.
fn nested() -> Vec<u8> {
    let mut octets = Vec::new();
    for _ in 0..1000 {
        let mut outer = Vec::new();
        Writer::new(&mut outer).avp(code::FAILED_AVP, 0, M, &octets);
        octets = outer;
    }
    octets
}

#[tokio::test]
async fn an_answer_counts_by_its_result_whatever_else_is_in_it() {
    let rows: [(&str, Fill); 4] = [
        ("unknown AVPs with M", |avps| {
            avps.avp(77_777, 0, M, b"x");
            avps.avp(1, 99_999, M, b"x");
            avps.u32(code::RESULT_CODE, 0, M, 2001);
        }),
        ("groups a thousand deep", |avps| {
            avps.u32(code::RESULT_CODE, 0, M, 2001);
            avps.ready(&nested());
        }),
        ("values of another size", |avps| {
            avps.u32(code::RESULT_CODE, 0, M, 2001);
            avps.avp(code::ACCT_INTERIM_INTERVAL, 0, M, b"soon");
            avps.avp(code::ACCOUNTING_REALTIME_REQUIRED, 0, M, b"");
        }),
        ("nothing but the result", |avps| avps.u32(code::RESULT_CODE, 0, M, 2001)),
    ];
    for (name, fill) in rows {
        let mut sink = sink(&[peer(Manner::Says(fill)).await], |_| {});
        assert_eq!(deliver(&mut sink, 1).await, 0, "{name}");
    }
    // A refusal that names an AVP a thousand groups down is a refusal.
    let refuses = Manner::Says(|avps| {
        avps.u32(code::RESULT_CODE, 0, M, 5004);
        avps.ready(&nested());
    });
    let mut sink = sink(&[peer(refuses).await], |_| {});
    assert!(matches!(settled(&mut sink).await, Settlement::Park { code: 5004, .. }));
}

#[tokio::test]
async fn an_answer_with_a_broken_length_is_none_and_the_peer_is_left() {
    for length in 0..8 {
        let mut sink = sink(&[peer(Manner::Length(length)).await], |_| {});
        assert!(matches!(settled(&mut sink).await, Settlement::Defer { .. }), "length {length}");
        reach(&mut sink, "the broken answer is counted", |peer| peer.counters.broken > 0 && peer.counters.losses > 0)
            .await;
    }
}

#[tokio::test]
async fn wrong_ids_acknowledge_nothing_and_duplicates_count_once() {
    let port = peer(Manner::WrongIds).await;
    let mut wrong = sink(&[port], |route| {
        route.request_timeout = Duration::from_millis(100);
        route.transmissions = 2;
    });
    reach(&mut wrong, "the peer is used", |peer| peer.state == State::Open).await;
    wrong.submit(&lease(1), &record());
    let mut out = Vec::new();
    wrong.progress(&mut out).await;
    assert!(matches!(&out[..], [Outcome { settlement: Settlement::Defer { .. }, .. }]), "{out:?}");
    let port = peer(Manner::Thrice).await;
    let mut thrice = sink(&[port], |_| {});
    assert_eq!(deliver(&mut thrice, 100).await, 0);
    reach(&mut thrice, "the copies are counted", |peer| peer.counters.unknown >= 190).await;
}

#[tokio::test]
async fn a_flood_of_watchdogs_is_answered_in_bounded_memory() {
    let port = peer(Manner::Flood).await;
    let mut sink_flooded = sink(&[port], |_| {});
    assert_eq!(deliver(&mut sink_flooded, 20).await, 0);
    reach(&mut sink_flooded, "each is answered", |peer| peer.counters.requests_in >= 20_000).await;
    let port = peer(Manner::FloodUnread).await;
    let mut unread = sink(&[port], |_| {});
    reach(&mut unread, "the peer is used", |peer| peer.state == State::Open).await;
    unread.submit(&lease(1), &record());
    // It stops taking our answers; once a megabyte of them waits, nothing more is read.
    let mut last = 0;
    let mut still = 0;
    let mut every = tokio::time::interval(Duration::from_millis(20));
    while still < 10 {
        every.tick().await;
        let seen = lock(&unread.engine).status().peers[0].counters.requests_in;
        still = if seen == last && seen > 0 { still + 1 } else { 0 };
        last = seen;
    }
    assert!(lock(&unread.engine).unwritten() <= 4 << 20, "{} octets wait", lock(&unread.engine).unwritten());
}
