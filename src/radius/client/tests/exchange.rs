//! Transmission, retransmission, identifiers, Acct-Delay-Time.

use super::*;

#[test]
fn an_answer_delivers_the_record() {
    let mut world = World::with(1, |_| {});
    world.submit(7);
    let sent = world.sent.remove(0);
    assert!(authenticator::is_request_authentic(&Packet::parse(&sent.datagram).unwrap(), &Secret::new(SECRET)));
    world.pass(Duration::from_millis(3));
    world.receive(&sent, &sent.stored());
    let delivered =
        Output::Delivered { key: Seq(7), part: 0, server: ServerIndex(0), round_trip: Some(Duration::from_millis(3)) };
    assert_eq!(world.told, [delivered]);
    assert_eq!(world.client.in_flight(), 0);
    world.pass_secs(100);
    assert!(world.sent.is_empty(), "nothing is sent again");
}

#[test]
fn silence_is_met_by_the_schedule_of_rfc_5080() {
    for round in 0..20 {
        let mut world = World::with(1, |settings| {
            settings.transmissions = 7;
            settings.zombie_period = Duration::from_secs(1000);
            settings.response_window = Duration::from_secs(1000);
        });
        // Another number sequence in every round.
        world.client.random = Random::new([round, 7]);
        world.submit(1);
        world.pass_secs(200);
        let gaps: Vec<f64> = world.sent.windows(2).map(|pair| pair[1].at.since(pair[0].at).as_secs_f64()).collect();
        assert_eq!(gaps.len(), 6);
        assert!((1.8..=2.2).contains(&gaps[0]), "{gaps:?}");
        for pair in gaps.windows(2) {
            let doubled = (1.9 * pair[0] - 0.01..=2.1 * pair[0] + 0.01).contains(&pair[1]);
            let capped = (14.4..=17.6).contains(&pair[1]);
            assert!(doubled && pair[1] <= 16.0 || capped, "{gaps:?}");
        }
        assert!(world.sent.iter().all(|sent| sent.datagram == world.sent[0].datagram), "identical octets");
        assert_eq!(world.ended(), [(1, "retry")]);
    }
}

#[test]
fn the_window_opens_by_one_for_each_answer_up_to_its_limit() {
    let mut world = World::with(1, |settings| settings.window = 300);
    assert_eq!(world.capacity(), WINDOW_MIN);
    let mut key = 0;
    while world.capacity() < 300 {
        let room = world.capacity() as u64;
        (0..room).for_each(|more| world.submit(key + more));
        key += room;
        assert_eq!(world.capacity(), 0);
        world.answer_all();
        assert!(world.capacity() as u64 >= (2 * room).min(300), "doubled in a round");
    }
    (0..300).for_each(|more| world.submit(key + more));
    let lanes: std::collections::HashSet<_> = world.sent.iter().map(|sent| sent.lane).collect();
    assert_eq!(lanes.len(), 2, "300 outstanding need two lanes");
    let mut pairs: Vec<_> = world.sent.iter().map(|sent| (sent.lane, sent.identifier())).collect();
    pairs.sort_unstable();
    pairs.dedup();
    assert_eq!(pairs.len(), 300, "no identifier is outstanding twice on a lane");
    world.submit(9999);
    assert_eq!(world.ended().last(), Some(&(9999, "retry")), "one above the capacity comes back");
}

#[test]
fn losses_halve_the_window_once_in_a_round() {
    let mut world = World::with(1, |_| {});
    for key in (0..200).step_by(8) {
        (0..8).for_each(|more| world.submit(key + more));
        world.answer_all();
    }
    let before = world.capacity();
    (1000..1040).for_each(|key| world.submit(key));
    world.pass(Duration::from_millis(2300));
    assert_eq!(world.server(0).window, before / 2);
}

#[test]
fn an_abandoned_identifier_is_not_used_for_thirty_seconds() {
    let mut world = World::with(1, |settings| {
        settings.lanes_max = 1;
        settings.transmissions = 1;
        settings.zombie_period = Duration::from_secs(1000);
    });
    world.submit(1);
    let first = world.sent.remove(0);
    world.pass_secs(3);
    let abandoned = world.now.mono;
    assert_eq!(world.ended(), [(1, "retry")]);
    let mut used_again = None;
    for key in 2..2000 {
        world.submit(key);
        let sent = world.sent.remove(0);
        if sent.identifier() == first.identifier() {
            used_again = Some(sent.at);
            break;
        }
        world.receive(&sent, &sent.stored());
        world.pass(Duration::from_millis(50));
        assert!(world.capacity() > 0);
    }
    let after = used_again.unwrap().since(abandoned).as_secs();
    assert!((30..45).contains(&after), "used again after {after} s");
}

#[test]
fn acct_delay_time_is_sent_in_its_mode() {
    let delay = |sent: &Sent| {
        let packet = Packet::parse(&sent.datagram).unwrap();
        packet.value(number::ACCT_DELAY_TIME).map(|value| u32::from_be_bytes(value.try_into().unwrap()))
    };
    for (mode, want) in [
        (DelayTime::Never, [None, None]),
        (DelayTime::Cycle, [Some(5), Some(5)]),
        (DelayTime::Always, [Some(5), Some(7)]),
    ] {
        let mut world = World::with(1, |settings| settings.delay_time = mode);
        let since = Timestamp(world.now.wall.0 - 5_500_000);
        world.submit_since(1, since);
        world.pass(Duration::from_millis(2250));
        assert_eq!([delay(&world.sent[0]), delay(&world.sent[1])], want, "{mode:?}");
        let same = world.sent[0].datagram == world.sent[1].datagram;
        assert_eq!(same, mode != DelayTime::Always, "other octets need another identifier");
        assert_eq!(world.sent[0].identifier() == world.sent[1].identifier(), same);
        // The answer to the first is as good as one to the second.
        let first = world.sent[0].clone();
        world.receive(&first, &first.stored());
        assert_eq!(world.ended(), [(1, "delivered")], "{mode:?}");
        world.pass_secs(60);
        assert_eq!(world.client.in_flight(), 0);
    }
}

#[test]
fn a_message_authenticator_is_sent_where_wanted() {
    let mut world = World::with(1, |settings| {
        settings.servers[0].message_authenticator = MessageAuthenticator::Send;
    });
    world.submit(1);
    let packet = Packet::parse(&world.sent[0].datagram).unwrap();
    let secret = Secret::new(SECRET);
    let check = authenticator::check_request_message(&packet, &[0; 16], &secret);
    assert_eq!(check, authenticator::MessageCheck::Good);
    assert!(authenticator::is_request_authentic(&packet, &secret));
}

#[test]
fn a_record_that_fits_no_packet_is_parked() {
    let mut world = World::with(1, |_| {});
    let attributes = vec![255; 4080];
    let submission = Submission {
        key: Seq(1),
        part: 0,
        attributes: &attributes,
        since: world.now.wall,
        attempts: 0,
        call: CallHash(1),
    };
    world.handle(Input::Submit(submission));
    assert_eq!((world.ended(), world.client.in_flight()), (vec![(1, "parked")], 0));
}
