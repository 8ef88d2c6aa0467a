//! What comes back: good, negative, forged, late, malformed.

use super::*;

#[test]
fn every_answer_has_its_consequence() {
    let cause = |number: u32| number.to_be_bytes();
    let (poison, overload, refuses) = (cause(404), cause(505), cause(406));
    for (name, code, attributes, want) in [
        ("a plain response", 5, vec![], Some("delivered")),
        ("Error-Cause 404 in a response", 5, vec![(101, &poison[..])], Some("parked")),
        ("Protocol-Error 404", 52, vec![(101, &poison[..])], Some("parked")),
        ("Protocol-Error 505", 52, vec![(101, &overload[..])], Some("retry")),
        ("Protocol-Error without cause", 52, vec![], Some("retry")),
        ("Error-Cause 406", 5, vec![(101, &refuses[..])], Some("retry")),
        ("Access-Reject", 3, vec![], Some("retry")),
        ("Access-Accept", 2, vec![], Some("retry")),
        ("an unknown code", 99, vec![], Some("retry")),
        ("a bad Message-Authenticator", 5, vec![(80, &[0; 16][..])], None),
    ] {
        let mut world = World::with(1, |_| {});
        world.submit(1);
        let sent = world.sent.remove(0);
        world.receive(&sent, &sent.answer(code, &attributes));
        let ended = world.ended();
        assert_eq!(ended.first().map(|(_, how)| *how), want, "{name}");
        assert!(ended.len() <= 1, "{name}");
    }
}

#[test]
fn what_is_not_the_answer_is_counted_and_waited_out() {
    let mut world = World::with(1, |_| {});
    world.submit(1);
    let sent = world.sent.remove(0);
    let good = sent.stored();
    let changed = |at: usize| {
        let mut datagram = good.clone();
        datagram[at] ^= 0x40;
        datagram
    };
    let (short, forged, other_identifier) = (&good[..19], changed(10), changed(1));
    let broken = {
        let mut datagram = good.clone();
        datagram.extend([1, 9]);
        datagram[3] = 22;
        datagram
    };
    for datagram in [short, &forged, &other_identifier, &broken, &[]] {
        world.receive(&sent, datagram);
        assert!(world.told.is_empty(), "{datagram:?}");
    }
    let counters = world.server(0).counters;
    assert_eq!((counters.malformed, counters.bad_authenticator, counters.unknown), (3, 1, 1));
    // Padding is legal (RFC 2865 §3).
    let mut padded = good.clone();
    padded.extend([0; 7]);
    world.receive(&sent, &padded);
    assert_eq!(world.ended(), [(1, "delivered")]);
    world.receive(&sent, &good);
    assert_eq!((world.ended(), world.server(0).counters.late), (vec![], 1), "the second answer is late");
    // A lane or a server nobody asked for.
    world.handle(Input::Received { server: ServerIndex(9), lane: LaneId(1), datagram: &good });
    world.handle(Input::Received { server: ServerIndex(0), lane: LaneId(9), datagram: &good });
    world.handle(Input::Refused { server: ServerIndex(9), lane: LaneId(1) });
    world.handle(Input::LaneFailed { server: ServerIndex(9), lane: LaneId(1) });
}

#[test]
fn many_bad_authenticators_and_no_good_one_mean_different_secrets() {
    let mut world = World::with(1, |_| {});
    world.submit(1);
    let sent = world.sent.remove(0);
    let mut forged = sent.stored();
    forged[10] ^= 1;
    (0..25).for_each(|_| world.receive(&sent, &forged));
    let mismatch = Output::Alarm { server: ServerIndex(0), alarm: Alarm::SecretMismatch };
    assert_eq!(world.told, [mismatch], "told once");
}

#[test]
fn an_authentication_port_is_told_once_and_never_acknowledges() {
    let mut world = World::with(1, |_| {});
    for key in 1..4 {
        world.submit(key);
        let sent = world.sent.remove(0);
        world.receive(&sent, &sent.answer(3, &[]));
    }
    let alarms = world.told.iter().filter(|output| matches!(output, Output::Alarm { .. })).count();
    assert_eq!(alarms, 1);
    assert_eq!(world.ended(), [(1, "retry"), (2, "retry"), (3, "retry")]);
}

#[test]
fn a_server_that_does_no_accounting_is_left_alone() {
    let refuses = 406_u32.to_be_bytes();
    let mut world = World::with(2, |_| {});
    world.submit(1);
    let sent = world.sent.remove(0);
    world.receive(&sent, &sent.answer(5, &[(101, &refuses)]));
    assert_eq!(world.health(), [(0, Health::Refusing)]);
    assert_eq!(world.sent.len(), 1, "the record goes on to the second server");
    assert_eq!(world.sent[0].server, ServerIndex(1));
    world.answer_all();
    world.pass_secs(1000);
    world.submit(2);
    assert_eq!(world.sent[0].server, ServerIndex(1), "the first stays unused");
    world.answer_all();
    assert_eq!(world.ended(), [(1, "delivered"), (2, "delivered")]);
}

#[test]
fn a_refusal_of_a_server_that_took_records_is_the_fault_of_the_record() {
    let refuses = 406_u32.to_be_bytes();
    let mut world = World::with(1, |_| {});
    world.submit(1);
    world.answer_all();
    world.submit(2);
    let sent = world.sent.remove(0);
    world.receive(&sent, &sent.answer(5, &[(101, &refuses)]));
    assert_eq!((world.ended(), world.health()), (vec![(1, "delivered"), (2, "retry")], vec![]));
    assert!(world.capacity() > 0);
}

#[test]
fn a_record_a_healthy_server_ignores_backs_off_and_is_parked_in_the_end() {
    let mut world = World::with(1, |settings| settings.transmissions = 2);
    let since = world.now.wall;
    let (mut waits, mut key) = (Vec::new(), 100);
    for visit in 1..=40 {
        world.submit_since(1, since);
        world.sent.clear();
        // Others are answered meanwhile; it is parked when its answer cannot come any more.
        for _ in 0..if visit >= 10 { 38 } else { 8 } {
            world.pass_secs(1);
            world.submit(key);
            let other = world.sent.pop().unwrap();
            world.receive(&other, &other.stored());
            key += 1;
        }
        let about_it = world.told.iter().find(|output| match output {
            Output::Retry { key, .. } | Output::Park { key, .. } => *key == Seq(1),
            _ => false,
        });
        match about_it.cloned() {
            Some(Output::Retry { after, reason: Reason::Ignored { charges, .. }, .. }) => {
                assert_eq!(charges, visit);
                waits.push(after.as_secs());
                world.told.clear();
                world.pass(after);
            }
            Some(Output::Park { reason: Reason::Ignored { charges, .. }, .. }) => {
                assert!(charges >= 10, "{charges}");
                assert!(world.now.wall.since(since) >= Duration::from_secs(3600));
                assert!(waits[0] <= 5 && waits[1] >= 9 && waits[9] >= 810, "{waits:?}");
                assert_eq!(world.health(), [], "the server stays alive");
                return;
            }
            other => panic!("{other:?} after visit {visit}"),
        }
    }
    panic!("never parked: {waits:?}");
}
