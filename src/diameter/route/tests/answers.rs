//! What answers do to records: the tables of RFC 6733 §7.1 and of T and End-to-End ids.

use super::*;

const A: (&str, u16) = ("a.test", 0);
const B: (&str, u16) = ("b.test", 0);

#[test]
fn a_success_ends_the_record_with_its_round_trip() {
    for code in [2001, 2002, 2099] {
        let mut bench = Bench::new(&[A]);
        let sent = bench.submit(5).expect("sent");
        assert!(!sent.has_t());
        assert_eq!(sent.header.end_to_end, 1005, "the salt and the place in the queue");
        bench.pass(Duration::from_millis(3));
        bench.answer(code);
        let want = Output::Delivered { key: Seq(5), peer: number(0), round_trip: Some(Duration::from_millis(3)) };
        assert_eq!(bench.end(), want, "{code}");
        assert_eq!(bench.client.in_flight(), 0);
    }
}

/// Result codes with one peer: what becomes of the record.
#[test]
fn one_peer_row_by_row() {
    for (code, fate) in [
        (1001, "park"),
        (3001, "park"),
        (3002, "retry same"),
        (3003, "retry same"),
        (3004, "retry same"),
        (3005, "retry same"),
        (3006, "retry same"),
        (3007, "retry same"),
        (3008, "park"),
        (3009, "park"),
        (3010, "retry same"),
        (3999, "retry same"),
        (4001, "retry new"),
        (4002, "retry new"),
        (4003, "retry new"),
        (4999, "retry new"),
        (5001, "park"),
        (5002, "park"),
        (5003, "park"),
        (5004, "park"),
        (5012, "retry new"),
        (5999, "park"),
        (7000, "park"),
    ] {
        let mut bench = Bench::new(&[A]);
        let first = bench.submit(1).expect("sent");
        bench.answer(code);
        let end = bench.end();
        if fate == "park" {
            assert_eq!(parked(&end).code(), code);
            continue;
        }
        let (after, reason) = retry(&end);
        assert_eq!(reason.code(), code);
        assert!((800..=1000).contains(&after.as_millis()), "{code}: {after:?}");
        bench.pass_secs(61);
        let second = bench.submit_with(1, |record| record.attempts = 1).expect("sent again");
        assert!(!second.has_t(), "{code}: an answer came, so T is clear");
        assert_eq!(second.header.end_to_end == first.header.end_to_end, fate == "retry same", "{code}");
        assert_ne!(second.header.hop_by_hop, first.header.hop_by_hop, "{code}");
        bench.answer(2001);
        assert!(is_delivered(&bench.end()), "{code}");
    }
}

/// Result codes with two peers: which of them are asked.
#[test]
fn protocol_errors_try_the_other_peer_at_once_with_the_same_id() {
    for code in [3001, 3002, 3003, 3004, 3005, 3007, 3010, 3500] {
        let mut bench = Bench::new(&[A, B]);
        let first = bench.submit(1).expect("sent");
        bench.answer(code);
        let second = bench.wire[0];
        assert_ne!(second.peer, first.peer, "{code}");
        assert_eq!(second.header.end_to_end, first.header.end_to_end, "{code}");
        assert!(!second.has_t(), "{code}");
        bench.answer(2001);
        assert!(is_delivered(&bench.end()), "{code}");
    }
    for code in [4001, 4002, 5001, 5012] {
        let mut bench = Bench::new(&[A, B]);
        bench.submit(1);
        bench.answer(code);
        assert!(bench.wire.is_empty(), "{code} concerns the record, not the way");
    }
}

#[test]
fn a_configuration_error_parks_after_an_hour() {
    for code in [3003, 3007] {
        let mut bench = Bench::new(&[A]);
        let since = bench.now.wall;
        bench.submit(1);
        bench.answer(code);
        retry(&bench.end());
        assert_eq!(bench.alarms.len(), 1, "{code}");
        bench.pass_secs(3601);
        bench.submit_with(1, |record| (record.attempts, record.since) = (1, since));
        bench.answer(code);
        assert_eq!(parked(&bench.end()).code(), code);
        assert_eq!(bench.alarms.len(), 1, "{code}: the same alarm is told once");
    }
}

#[test]
fn the_waits_of_a_record_double_to_a_minute() {
    let mut bench = Bench::new(&[A]);
    for secs in [1, 2, 4, 8, 16, 32, 60, 60] {
        bench.pass_secs(61);
        bench.submit(1);
        bench.answer(4001);
        let (after, _) = retry(&bench.end());
        assert!((secs * 800..=secs * 1000).contains(&after.as_millis()), "{secs}: {after:?}");
    }
}

#[test]
fn unable_to_comply_is_tried_five_times() {
    let mut bench = Bench::new(&[A]);
    let mut ids = std::collections::HashSet::new();
    for _ in 1..5 {
        let sent = bench.submit(1).expect("sent");
        assert!(ids.insert(sent.header.end_to_end), "a new id each time");
        bench.answer(5012);
        assert_eq!(retry(&bench.end()).1.code(), 5012);
    }
    bench.submit(1);
    let sent = bench.wire.pop().expect("sent");
    bench.answer_with(&sent, |_| {});
    assert_eq!(parked(&bench.end()).to_string(), "an answer without a result");
}

#[test]
fn a_busy_peer_rests_and_gets_half_the_window() {
    let mut bench = Bench::with(&[A, B], |settings| settings.window = 8);
    bench.submit(1);
    let first = bench.wire[0].peer;
    bench.answer(3004);
    bench.answer(2001);
    bench.end();
    assert_eq!(bench.capacity(), 8, "the other one alone");
    for key in 2..6 {
        assert_ne!(bench.submit(key).expect("sent").peer, first);
    }
    bench.pass(Duration::from_millis(1001));
    assert_eq!(bench.capacity(), 4 + 4, "half of one, half of the other taken");
    let window = |bench: &Bench| bench.client.status(bench.now.mono).peers[first].window;
    assert_eq!(window(&bench), 4);
    // One more for each window of successes.
    for key in 100..400 {
        while let Some(sent) = bench.wire.pop() {
            bench.answer_to(&sent, 2001);
        }
        bench.submit(key);
    }
    assert_eq!(window(&bench), 8, "up to where it was, and no further");
}

#[test]
fn a_full_server_rests_the_route() {
    let mut bench = Bench::new(&[A]);
    bench.submit(1);
    bench.submit(2);
    bench.answer(4002);
    bench.answer(4002);
    assert_eq!(bench.ends.len(), 2);
    assert_eq!(bench.capacity(), 0);
    bench.pass(Duration::from_millis(1001));
    assert_eq!(bench.capacity(), 256);
    bench.submit(1);
    bench.answer(4002);
    bench.pass(Duration::from_millis(1500));
    assert_eq!(bench.capacity(), 0, "two seconds now");
    bench.pass(Duration::from_millis(600));
    bench.submit(2);
    bench.answer(2001);
    assert_eq!(bench.capacity(), 256);
}

#[test]
fn a_route_that_refuses_everything_pauses_and_keeps_the_records() {
    let mut bench = Bench::new(&[A]);
    for key in 1..=40 {
        bench.submit(key);
    }
    for sent in std::mem::take(&mut bench.wire) {
        bench.answer_with(&sent, |avps| {
            avps.u32(code::RESULT_CODE, 0, M, 5001);
            avps.avp(code::ORIGIN_HOST, 0, M, b"cdf.test");
            avps.group(code::FAILED_AVP, 0, M, |avps| avps.u32(204, 0, M, 1));
        });
    }
    let parked_ones = bench.ends.iter().filter(|end| matches!(end, Output::Park { .. })).count();
    assert_eq!(parked_ones, 19, "the twentieth in a row stays in the queue");
    let Reason::Refused(refusal) = parked(&bench.ends[0]) else { panic!("refused") };
    assert_eq!(refusal.to_string(), "5001 AVP_UNSUPPORTED from cdf.test");
    assert!(crate::diameter::avp::Avps::new(&refusal.failed).find(204, 0).is_some());
    assert_eq!(retry(&bench.ends[20]).1, Reason::Paused { by: Complaint::Result(5001) });
    assert!(bench.alarms.contains(&Alarm::Flood { by: Complaint::Result(5001) }));
    assert_eq!(bench.capacity(), 0);
    bench.ends.clear();
    bench.pass(PAUSE_FIRST);
    assert_eq!(bench.capacity(), 1, "one record tries");
    bench.submit(30);
    assert_eq!(bench.capacity(), 0);
    bench.answer(5001);
    assert_eq!(retry(&bench.end()).0, PAUSE_FIRST * 2);
    bench.pass(PAUSE_FIRST * 2);
    bench.submit(30);
    bench.answer(2001);
    assert!(is_delivered(&bench.end()));
    assert_eq!(bench.capacity(), 256);
    assert_eq!(bench.alarms.last(), Some(&Alarm::FloodOver));
}

#[test]
fn a_poison_record_does_not_hold_the_others() {
    let mut bench = Bench::new(&[A]);
    for key in 1..=50 {
        bench.submit(key);
        bench.answer(if key % 10 == 0 { 5004 } else { 2001 });
    }
    let parked_ones = bench.ends.iter().filter(|end| matches!(end, Output::Park { .. })).count();
    assert_eq!((parked_ones, bench.ends.len()), (5, 50));
}

#[test]
fn class_comes_back_in_the_later_records_of_the_session() {
    let mut bench = Bench::new(&[A]);
    bench.submit_with(1, |record| record.session = 99);
    let plain = bench.last_message.len();
    let sent = bench.wire.pop().expect("sent");
    bench.answer_with(&sent, |avps| {
        avps.u32(code::RESULT_CODE, 0, M, 2001);
        avps.avp(code::CLASS, 0, M, b"gold");
        avps.u32(code::ACCT_INTERIM_INTERVAL, 0, M, 300);
    });
    assert_eq!(bench.interims, [300]);
    let octets: Box<[u8]> = b"\0\0\0\x19\0\0\0\x0cgold"[..].into();
    assert_eq!(bench.classes, [(99, Some(octets.clone()))], "to be kept over a restart");
    bench.submit_with(2, |record| (record.session, record.ends_session) = (99, true));
    let (header, avps) = header::split(&bench.last_message).expect("whole");
    assert_eq!(header.length as usize, plain + 12);
    let class = crate::diameter::avp::Avps::new(avps).find(code::CLASS, 0).expect("repeated");
    assert_eq!((class.value, class.is_mandatory()), (&b"gold"[..], false), "no grammar of an ACR names it");
    bench.answer(2001);
    assert_eq!(bench.classes[1..], [(99, None)], "to be kept no more");
    bench.submit_with(3, |record| record.session = 99);
    assert_eq!(bench.last_message.len(), plain, "the session is over");
    bench.submit_with(4, |record| record.session = 98);
    assert_eq!(bench.last_message.len(), plain, "another session");
    let mut next = Bench::new(&[A]);
    next.client.restore_class(99, &octets, &mut Vec::new());
    next.submit_with(5, |record| record.session = 99);
    assert_eq!(next.last_message.len(), plain + 12, "another process has it again");
}

#[test]
fn a_demand_to_refuse_calls_is_told_once_or_obeyed() {
    let demand = |bench: &mut Bench, key: u64, value: u32| {
        let sent = bench.submit(key).expect("sent");
        bench.wire.clear();
        bench.answer_with(&sent, |avps| {
            avps.u32(code::RESULT_CODE, 0, M, 2001);
            avps.u32(code::ACCOUNTING_REALTIME_REQUIRED, 0, M, value);
        });
    };
    let mut bench = Bench::new(&[A]);
    demand(&mut bench, 1, 1);
    demand(&mut bench, 2, 1);
    assert_eq!(bench.alarms, [Alarm::RealtimeIgnored]);
    bench.alive[0] = false;
    bench.lose(0);
    assert!(!bench.client.refuses_calls(), "records are stored instead");
    let mut bench = Bench::with(&[A], |settings| settings.honour_realtime = true);
    demand(&mut bench, 1, 1);
    assert!(!bench.client.refuses_calls(), "a peer is up");
    bench.alive[0] = false;
    bench.lose(0);
    assert!(bench.client.refuses_calls());
    bench.alive[0] = true;
    bench.pass_secs(60);
    assert!(!bench.client.refuses_calls());
    demand(&mut bench, 2, 2);
    bench.lose(0);
    assert!(!bench.client.refuses_calls(), "taken back");
}

/// Answers the request that was sent last with a redirect.
fn redirect(bench: &mut Bench, host: &str, usage: u32, seconds: u32) {
    let sent = bench.wire.pop().expect("a request is out");
    bench.answer_with(&sent, |avps| {
        avps.u32(code::RESULT_CODE, 0, M, 3006);
        avps.avp(code::REDIRECT_HOST, 0, M, host.as_bytes());
        avps.u32(code::REDIRECT_HOST_USAGE, 0, M, usage);
        avps.u32(code::REDIRECT_MAX_CACHE_TIME, 0, M, seconds);
    });
}

#[test]
fn a_redirect_is_followed_to_peers_and_allowed_hosts_only() {
    let second = ("b.test", 1);
    // To a peer of lower priority.
    let mut bench = Bench::new(&[A, second]);
    let first = bench.submit(1).expect("sent");
    redirect(&mut bench, "aaa://B.test", 0, 0);
    let sent = bench.wire[0];
    assert_eq!((sent.peer, sent.header.end_to_end, sent.has_t()), (1, first.header.end_to_end, false));
    bench.answer(2001);
    assert!(is_delivered(&bench.end()));
    assert_eq!(bench.submit(2).expect("sent").peer, 0, "for this message only");
    // For all messages, for a time.
    redirect(&mut bench, "aaa://b.test", 3, 60);
    bench.answer(2001);
    assert_eq!(bench.submit(3).expect("sent").peer, 1);
    bench.answer(2001);
    bench.pass_secs(61);
    assert_eq!(bench.submit(4).expect("sent").peer, 0);
    // To a stranger.
    bench.ends.clear();
    redirect(&mut bench, "aaa://evil.test", 0, 0);
    assert_eq!(bench.wire[0].peer, 1, "as 3002: the other peer");
    assert_eq!(bench.alarms, [Alarm::Redirect { hosts: "aaa://evil.test".into(), fault: Fault::NotAllowed }]);
    // Back and forth.
    redirect(&mut bench, "aaa://a.test", 0, 0);
    assert_eq!(retry(&bench.end()).1.code(), 3006, "a circle ends in the queue");
    // To a host that a pattern allows: it is connected first.
    let mut bench = Bench::with(&[A], |settings| settings.redirect_hosts.push("*.far.test".into()));
    bench.submit(1);
    redirect(&mut bench, "aaa://x.far.test:4000", 3, 3600);
    assert_eq!(retry(&bench.end()).1, Reason::Redirected { host: "x.far.test".into() });
    bench.tick();
    bench.pass(peer::SETTLE);
    assert_eq!(bench.usable(), [true, true]);
    assert_eq!(bench.submit(1).expect("sent").peer, 1);
    bench.answer(2001);
    bench.pass_secs(3700);
    assert_eq!(bench.usable(), [true, false], "it leaves when the time is over");
    assert_eq!(bench.submit(2).expect("sent").peer, 0);
    redirect(&mut bench, "aaa://y.far.test", 0, 0);
    assert_eq!(bench.client.status(bench.now.mono).peers.len(), 2, "its place is used again");
}

#[test]
fn answers_that_fit_nothing_acknowledge_nothing() {
    let mut bench = Bench::new(&[A]);
    let sent = bench.submit(1).expect("sent");
    for (name, change) in [
        ("another hop-by-hop id", (|header: &mut Header| header.hop_by_hop ^= 1) as fn(&mut Header)),
        ("another End-to-End id", |header| header.end_to_end ^= 1),
        ("another command", |header| header.command = command::RE_AUTH),
        ("a request of the peer with our id", |header| header.flags |= flag::REQUEST),
    ] {
        let mut wrong = sent;
        change(&mut wrong.header);
        let message =
            build(&if name.starts_with("a request") { wrong.header } else { wrong.header.answer() }, |avps| {
                avps.u32(code::RESULT_CODE, 0, M, 2001);
            });
        bench.put(Input::Received { peer: number(0), message: &message });
        assert!(bench.ends.is_empty(), "{name}");
    }
    bench.answer_to(&sent, 2001);
    assert!(is_delivered(&bench.end()));
    for _ in 0..1000 {
        bench.answer_to(&sent, 2001);
    }
    assert!(bench.ends.is_empty(), "a duplicate answer is counted and dropped");
    assert_eq!(bench.client.status(bench.now.mono).peers[0].counters.unknown, 1002);
}

#[test]
fn too_long_and_empty_records_are_parked_and_the_connection_stays() {
    let mut bench = Bench::with(&[A], |settings| settings.message_octets_max = 48);
    bench.submit(1);
    assert_eq!(parked(&bench.end()), Reason::TooLong { octets: 52, max: 48 });
    for rubbish in [&b""[..], b"\x01\0\0\x14", b"GET / HTTP/1.1\r\n\r\n"] {
        bench.submit_messages(2, rubbish, |_| {});
        assert_eq!(parked(&bench.end()), Reason::Empty);
    }
    assert_eq!(bench.usable(), [true]);
}

#[test]
fn a_record_of_several_messages_sends_them_one_after_the_other() {
    let mut bench = Bench::new(&[A]);
    let messages = [acr(1), acr(2), acr(3)].concat();
    let mut ids = Vec::new();
    bench.submit_messages(7, &messages, |_| {});
    for part in 0..3 {
        assert_eq!(bench.wire.len(), 1, "part {part}");
        ids.push(bench.wire[0].header.end_to_end);
        if part == 1 {
            // Refused for now in the middle: what was accepted is not sent again.
            bench.answer(4001);
            retry(&bench.end());
            bench.submit_messages(7, &messages, |_| {});
            assert_ne!(bench.wire[0].header.end_to_end, ids[1]);
        }
        bench.answer(2001);
    }
    assert!(is_delivered(&bench.end()));
    ids.dedup();
    assert_eq!(ids.len(), 3);
}

#[test]
fn an_answer_about_another_session_acknowledges_nothing() {
    let mut bench = Bench::new(&[A]);
    let sent = bench.submit(1).expect("sent");
    bench.answer_with(&sent, |avps| {
        avps.avp(code::SESSION_ID, 0, M, b"other.test;0;1");
        avps.u32(code::RESULT_CODE, 0, M, 2001);
    });
    assert!(bench.ends.is_empty(), "{:?}", bench.ends);
    assert_eq!(bench.client.status(bench.now.mono).peers[0].counters.foreign, 1);
    bench.answer_with(&sent, |avps| {
        avps.avp(code::SESSION_ID, 0, M, b"gw.test;0;1");
        avps.u32(code::RESULT_CODE, 0, M, 2001);
    });
    assert!(is_delivered(&bench.end()), "the right one still counts");
    // Nor does a late one.
    let mut bench = Bench::with(&[A], |settings| settings.transmissions = 1);
    let sent = bench.submit(1).expect("sent");
    bench.pass_secs(11);
    retry(&bench.end());
    bench.answer_with(&sent, |avps| {
        avps.avp(code::SESSION_ID, 0, M, b"other.test;0;1");
        avps.u32(code::RESULT_CODE, 0, M, 2001);
    });
    assert!(bench.submit_with(1, |record| record.attempts = 1).is_some(), "sent again");
}

#[test]
fn a_kind_of_records_that_is_always_parked_raises_the_alarm_while_others_are_taken() {
    let mut bench = Bench::new(&[A]);
    let by = Complaint::Result(5001);
    for call in 1..=30 {
        bench.submit_with(call * 2, |record| record.kind = Kind("start"));
        bench.answer(2001);
        bench.submit_with(call * 2 + 1, |record| record.kind = Kind("stop"));
        bench.answer(5001);
        let told = bench.alarms.contains(&Alarm::Kind { kind: Kind("stop"), by });
        assert_eq!(told, call >= 20, "call {call}");
    }
    assert_eq!(bench.alarms.len(), 1, "told once: {:?}", bench.alarms);
    assert_eq!(bench.ends.iter().filter(|end| is_delivered(end)).count(), 30, "others are taken");
    assert_eq!(bench.client.status(bench.now.mono).refused_kinds, [(Kind("stop"), by)]);
    bench.submit_with(1000, |record| record.kind = Kind("stop"));
    bench.answer(2001);
    assert_eq!(bench.alarms[1..], [Alarm::KindOver { kind: Kind("stop") }]);
    assert!(bench.client.status(bench.now.mono).refused_kinds.is_empty());
}

#[test]
fn a_redirect_to_an_allowed_host_that_cannot_be_reached_says_so() {
    let mut bench = Bench::with(&[A], |settings| settings.redirect_hosts.push("*.far.test".into()));
    bench.alive.push(false);
    let mut reasons = Vec::new();
    for attempt in 0..4 {
        bench.submit_with(1, |record| record.attempts = attempt);
        redirect(&mut bench, "aaa://x.far.test", 0, 0);
        reasons.push(retry(&bench.end()).1);
        bench.pass_secs(2);
    }
    let why = "x.far.test: cannot connect: refused";
    let fault = Fault::Unreachable(why.to_owned());
    assert_eq!(reasons[0], Reason::Redirected { host: "x.far.test".into() });
    assert!(reasons[1..].contains(&Reason::BadRedirect { hosts: "aaa://x.far.test".into(), fault }), "{reasons:?}");
    assert!(bench.alarms.iter().all(|alarm| alarm.to_string().contains(why)), "{:?}", bench.alarms);
    assert!(!bench.alarms.is_empty());
}
