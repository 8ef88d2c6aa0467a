//! Failover, failback, timeouts, and the flag T (RFC 6733 §5.5.4, RFC 3539 §3.4).

use super::*;

const A: (&str, u16) = ("a.test", 0);
const B: (&str, u16) = ("b.test", 1);

#[test]
fn a_broken_connection_sends_what_is_outstanding_to_the_other_peer() {
    let mut bench = Bench::new(&[A, B]);
    let sent: Vec<Sent> = (1..=3).map(|key| bench.submit(key).expect("sent")).collect();
    assert!(sent.iter().all(|sent| sent.peer == 0 && !sent.has_t()));
    bench.alive[0] = false;
    bench.lose(0);
    assert_eq!(bench.wire.len(), 3);
    for (old, new) in sent.iter().zip(bench.wire.clone()) {
        assert_eq!((new.peer, new.has_t()), (1, true));
        assert_eq!(new.header.end_to_end, old.header.end_to_end, "in the order of the queue");
    }
    assert_eq!(bench.submit(4).map(|sent| (sent.peer, sent.has_t())), Some((1, false)));
}

#[test]
fn without_another_peer_the_records_wait_in_the_queue_and_come_back_with_t() {
    let mut bench = Bench::new(&[A]);
    let first = bench.submit(1).expect("sent");
    bench.alive[0] = false;
    bench.lose(0);
    assert_eq!(retry(&bench.end()).1, Reason::Broke { transmissions: 1 });
    assert_eq!(bench.capacity(), 0);
    assert_eq!(bench.submit_with(1, |record| record.attempts = 1), None);
    assert_eq!(retry(&bench.end()).1, Reason::NoPeer);
    assert_eq!(bench.submit(2), None, "never sent");
    bench.end();
    bench.alive[0] = true;
    bench.pass_secs(40);
    assert_eq!(bench.capacity(), 256);
    let again = bench.submit_with(1, |record| record.attempts = 2).expect("sent");
    assert_eq!((again.has_t(), again.header.end_to_end), (true, first.header.end_to_end));
    let other = bench.submit_with(2, |record| record.attempts = 1).expect("sent");
    assert!(!other.has_t(), "what was never sent is no repeat, however often it was tried");
}

#[test]
fn what_lay_in_the_queue_at_the_start_carries_t_and_the_same_id() {
    let mut before = Bench::new(&[A]);
    let old = before.submit(5).expect("sent");
    let mut after = Bench::new(&[A]);
    let new = after.submit_with(5, |record| record.has_waited = true).expect("sent");
    assert_eq!(new.header.end_to_end, old.header.end_to_end);
    assert!(new.has_t());
    // An answer that asks for another try makes a new id, of which nothing is in doubt.
    after.answer(4001);
    after.end();
    let third = after.submit_with(5, |record| (record.has_waited, record.attempts) = (true, 1)).expect("sent");
    assert!(!third.has_t());
    assert_ne!(third.header.end_to_end, old.header.end_to_end);
}

#[test]
fn a_timeout_sends_a_copy_to_the_other_peer_and_the_late_answer_still_counts() {
    let mut bench = Bench::new(&[A, B]);
    let first = bench.submit(1).expect("sent");
    bench.pass(Duration::from_millis(9_900));
    assert_eq!(bench.wire.len(), 1);
    bench.pass(Duration::from_millis(200));
    let second = bench.wire[1];
    assert_eq!((second.peer, second.has_t(), second.header.end_to_end), (1, true, first.header.end_to_end));
    bench.answer_to(&first, 2001);
    assert!(is_delivered(&bench.end()));
    bench.answer_to(&second, 2001);
    assert!(bench.ends.is_empty(), "the copy's answer is ignored");
    let peers = bench.client.status(bench.now.mono).peers;
    assert_eq!((peers[0].counters.timeouts, peers[0].counters.late, peers[1].counters.unknown), (1, 1, 1));
    assert_eq!((peers[0].outstanding, peers[1].outstanding), (0, 0));
}

#[test]
fn one_peer_gets_copies_with_twice_the_time_and_then_the_record_goes_back() {
    let mut bench = Bench::with(&[A], |settings| settings.timing.watchdog = Duration::from_secs(100_000));
    let first = bench.submit(1).expect("sent");
    for (wait, copies) in [(10, 2), (20, 3), (40, 4)] {
        another_is_answered(&mut bench);
        bench.pass(Duration::from_secs(wait) + Duration::from_millis(20));
        assert_eq!(bench.wire.len(), copies, "after {wait} s more");
        let (copy, earlier) = (bench.wire[copies - 1], bench.wire[copies - 2]);
        assert!(copy.has_t() && copy.header.end_to_end == first.header.end_to_end);
        assert_ne!(copy.header.hop_by_hop, earlier.header.hop_by_hop);
        assert_eq!(bench.client.status(bench.now.mono).peers[0].outstanding, 1, "one place in the window");
    }
    another_is_answered(&mut bench);
    bench.pass_secs(81);
    assert_eq!(retry(&bench.end()).1, Reason::NoAnswer { transmissions: 4 });
    assert_eq!(bench.client.status(bench.now.mono).peers[0].outstanding, 0, "silence holds no place");
    // The answer to any copy counts, even now.
    let old = bench.wire[2];
    bench.answer_to(&old, 2001);
    assert!(bench.ends.is_empty());
    assert_eq!(bench.submit_with(1, |record| record.attempts = 1).map(|sent| sent.peer), None, "not sent again");
    assert!(is_delivered(&bench.end()));
}

/// The peer answers, though not every record.
fn another_is_answered(bench: &mut Bench) {
    bench.submit(1_000_000);
    bench.answer(2001);
    assert!(is_delivered(&bench.end()));
}

#[test]
fn a_peer_that_answers_no_request_gets_single_records_and_no_other_ones() {
    let mut bench = Bench::with(&[A], |settings| settings.timing.watchdog = Duration::from_secs(100_000));
    for key in 1..=5 {
        bench.submit(key);
    }
    assert_eq!(bench.capacity(), 251);
    bench.pass(Duration::from_millis(10_100));
    assert_eq!(bench.alarms, [Alarm::Silent], "told once");
    assert!(bench.client.status(bench.now.mono).peers[0].silent_since.is_some());
    assert_eq!(bench.wire.len(), 6, "one is sent again");
    assert_eq!(bench.ends.len(), 4, "the others wait in the queue");
    for end in std::mem::take(&mut bench.ends) {
        let (after, reason) = retry(&end);
        assert_eq!((after, &reason), (Duration::from_secs(1), &Reason::Silence { transmissions: 1 }));
        assert!(!reason.is_try(), "which says nothing about them");
    }
    assert_eq!(bench.capacity(), 0, "one at a time");
    bench.pass_secs(20);
    assert_eq!(bench.wire.len(), 8, "again every ten seconds");
    bench.answer(2001);
    assert!(is_delivered(&bench.end()));
    assert_eq!(bench.alarms, [Alarm::Silent, Alarm::SilentOver]);
    assert_eq!(bench.capacity(), 256);
}

#[test]
fn another_peer_is_preferred_to_one_that_answers_no_request() {
    let mut bench = Bench::new(&[A, B]);
    bench.alive[0] = true;
    assert_eq!(bench.submit(1).map(|sent| sent.peer), Some(0));
    bench.pass(Duration::from_millis(10_020));
    bench.answer(2001);
    assert!(is_delivered(&bench.end()), "by the second one");
    bench.wire.clear();
    let mut at_first = 0;
    // A record each 100 ms for two minutes, all answered by the second one at once.
    for key in 2..1202 {
        let before = bench.wire.len();
        bench.submit(key);
        for sent in bench.wire.split_off(before) {
            if sent.peer == 0 {
                at_first += 1;
            } else {
                bench.answer_to(&sent, 2001);
            }
        }
        bench.pass(Duration::from_millis(100));
        for sent in std::mem::take(&mut bench.wire) {
            assert_eq!((sent.peer, sent.has_t()), (1, true), "a probe goes on to the second one");
            bench.answer_to(&sent, 2001);
        }
    }
    assert_eq!(bench.ends.iter().filter(|end| is_delivered(end)).count(), 1200);
    bench.ends.clear();
    assert!((3..=6).contains(&at_first), "{at_first} single records found out whether it answers again");
    let timeouts = bench.client.status(bench.now.mono).peers[1].counters.timeouts;
    assert_eq!(timeouts, 0);
    // One answer is enough.
    bench.pass_secs(60);
    let probe = bench.submit(2000).expect("sent");
    assert_eq!(probe.peer, 0);
    bench.answer(2001);
    for key in 2001..2010 {
        assert_eq!(bench.submit(key).map(|sent| sent.peer), Some(0));
        bench.answer(2001);
    }
    assert_eq!(bench.alarms, [Alarm::Silent, Alarm::SilentOver]);
}

#[test]
fn the_late_answer_to_a_probe_ends_the_silence() {
    let mut bench = Bench::new(&[A, B]);
    let first = bench.submit(1).expect("sent");
    bench.pass(Duration::from_millis(10_020));
    let status = |bench: &Bench| bench.client.status(bench.now.mono).peers[0].silent_since;
    assert!(status(&bench).is_some());
    bench.answer_to(&first, 2001);
    assert!(is_delivered(&bench.end()));
    assert_eq!(status(&bench), None);
}

#[test]
fn an_error_to_one_copy_waits_for_the_other() {
    let mut bench = Bench::new(&[A, B]);
    let first = bench.submit(1).expect("sent");
    bench.pass(Duration::from_millis(10_020));
    let second = bench.wire[1];
    bench.answer_to(&first, 3002);
    assert!(bench.ends.is_empty());
    bench.answer_to(&second, 2001);
    assert!(is_delivered(&bench.end()));
}

#[test]
fn a_silent_peer_is_left_and_taken_back_when_it_speaks() {
    let mut bench = Bench::with(&[A, B], |settings| settings.request_timeout = Duration::from_secs(3600));
    bench.alive[0] = false;
    let first = bench.submit(1).expect("sent");
    bench.pass_secs(65);
    let second = bench.wire[1];
    assert_eq!((second.peer, second.has_t()), (1, true));
    assert_eq!(bench.submit(2).expect("sent").peer, 1);
    // It wakes up and answers what it got.
    bench.answer_to(&first, 2001);
    assert!(is_delivered(&bench.end()), "the answer of the suspect peer counts");
    assert_eq!(bench.usable(), [true, true]);
    assert_eq!(bench.submit(3).expect("sent").peer, 1, "it has to hold for ten seconds");
    bench.alive[0] = true;
    bench.pass_secs(11);
    assert_eq!(bench.submit(4).expect("sent").peer, 0);
    assert!(bench.wire.iter().any(|sent| sent.peer == 1), "what is outstanding stays where it is");
}

#[test]
fn a_peer_that_comes_first_at_the_start_needs_no_hold_down() {
    let mut bench = Bench::new(&[A, B]);
    assert_eq!(bench.submit(1).expect("sent").peer, 0);
    assert_eq!(bench.usable(), [true, true], "the second one is connected and validated too");
}

#[test]
fn equals_share_by_weight_and_realms_choose_their_peers() {
    let mut bench = Bench::with(&[A, ("c.test", 0)], |settings| {
        settings.window = 4096;
        settings.peers[1].weight = 3;
    });
    for key in 0..2000 {
        bench.submit(key);
    }
    let share = bench.wire.iter().filter(|sent| sent.peer == 1).count();
    assert!((1400..1600).contains(&share), "{share} of 2000");
    let mut bench = Bench::with(&[A, B], |settings| {
        settings.peers[0].realms.push("one.test".into());
        settings.peers[1].realms.push("Two.test".into());
    });
    for (key, realm, peer) in [(1, "one.test", Some(0)), (2, "two.test", Some(1)), (3, "three.test", None)] {
        let sent = bench.submit_with(key, |record| record.realm = Some(realm));
        assert_eq!(sent.map(|sent| sent.peer), peer, "{realm}");
    }
}

#[test]
fn the_window_is_the_limit() {
    let mut bench = Bench::with(&[A, B], |settings| settings.window = 10);
    for key in 1..=10 {
        assert_eq!(bench.capacity(), 11 - usize::try_from(key).expect("small"));
        assert!(bench.submit(key).is_some());
    }
    assert_eq!(bench.capacity(), 0);
    assert_eq!(bench.submit(11).map(|sent| sent.peer), Some(1), "one above it goes where there is room");
    bench.answer(2001);
    bench.answer(2001);
    assert_eq!(bench.capacity(), 1);
}

#[test]
fn a_peer_that_sent_us_away_is_tried_when_records_wait_and_nobody_else_is_there() {
    let mut bench = Bench::new(&[A]);
    let header = Header { flags: flag::REQUEST, command: command::DISCONNECT_PEER, ..Header::default() };
    let dpr = build(&header, |avps| avps.u32(code::DISCONNECT_CAUSE, 0, M, 2));
    bench.submit(1);
    bench.put(Input::Received { peer: number(0), message: &dpr });
    assert!(bench.ends.is_empty(), "the answer may still come");
    bench.pass_secs(2);
    retry(&bench.end());
    bench.lose(0);
    bench.pass_secs(3600);
    assert_eq!(bench.usable(), [false], "not unasked");
    assert_eq!(bench.capacity(), 1, "a record may say that it waits");
    assert_eq!(bench.submit_with(1, |record| record.attempts = 1), None);
    assert_eq!(bench.capacity(), 0);
    bench.tick();
    bench.pass(peer::SETTLE);
    assert_eq!(bench.usable(), [true], "five minutes are over long ago");
    assert!(bench.submit_with(1, |record| record.attempts = 2).expect("sent").has_t());
}

#[test]
fn a_broken_answer_is_none_and_closes_the_connection() {
    let mut bench = Bench::new(&[A, B]);
    let sent = bench.submit(1).expect("sent");
    let mut message = build(&sent.header.answer(), |avps| avps.u32(code::RESULT_CODE, 0, M, 2001));
    message[header::HEADER_OCTETS + 7] = 200;
    bench.put(Input::Received { peer: number(0), message: &message });
    let again = bench.wire[0];
    assert_eq!((again.peer, again.has_t()), (1, true));
    assert_eq!(bench.usable(), [false, true]);
    let mut bench = Bench::new(&[A]);
    bench.submit(1);
    bench.put(Input::Garbage { peer: number(0) });
    retry(&bench.end());
    assert_eq!(bench.usable(), [false]);
}
