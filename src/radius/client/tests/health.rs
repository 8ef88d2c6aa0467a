//! Health, probes, failover, revival.

use super::*;

/// Answers the newest probe.
fn answer_probe(world: &mut World, code: u8) {
    let probe = world.probes.last().unwrap().clone();
    world.probes.clear();
    world.receive(&probe, &probe.answer(code, &[]));
}

#[test]
fn a_silent_server_is_suspected_probed_buried_and_revived() {
    let mut world = World::with(1, |_| {});
    world.submit(0);
    world.answer_all();
    world.ended();
    (1..=4).for_each(|key| world.submit(key));
    world.pass(Duration::from_millis(5_900));
    assert_eq!((world.health(), world.probes.len()), (vec![], 0), "too early");
    world.pass(Duration::from_millis(9_000));
    assert_eq!(world.health(), [(0, Health::Suspect)]);
    assert!(world.probes.len() >= 3, "a probe a second: {}", world.probes.len());
    assert_eq!(world.capacity(), 1, "new records wait, but for one that finds out");
    assert_eq!(world.client.in_flight(), 4, "those under way go on");
    world.pass_secs(40);
    assert_eq!(world.health(), [(0, Health::Dead)]);
    let ended = world.ended();
    assert_eq!((ended.len(), world.client.in_flight()), (4, 0));
    assert!(ended.iter().all(|(_, how)| *how == "retry"), "{ended:?}");
    for round in 1..=3 {
        assert_eq!(world.capacity(), 0, "{round}");
        world.probes.clear();
        while world.probes.is_empty() {
            world.pass(Duration::from_millis(10));
        }
        answer_probe(&mut world, 5);
    }
    assert_eq!(world.health(), [(0, Health::Alive)]);
    assert_eq!(world.capacity(), WINDOW_MIN, "slow start");
    world.pass_secs(60);
    assert!(world.probes.is_empty(), "an alive server is not probed");
}

#[test]
fn every_probe_is_a_new_signed_packet() {
    let mut world = World::with(1, |_| {});
    world.submit(1);
    world.handle(Input::Refused { server: ServerIndex(0), lane: LaneId(1) });
    world.pass_secs(10);
    assert!(world.probes.len() > 8);
    let secret = Secret::new(SECRET);
    let mut authenticators = Vec::new();
    for probe in &world.probes {
        let packet = Packet::parse(&probe.datagram).unwrap();
        assert_eq!(packet.code(), Code::STATUS_SERVER);
        let own = packet.authenticator();
        let check = authenticator::check_request_message(&packet, &own, &secret);
        assert_eq!(check, authenticator::MessageCheck::Good);
        assert_eq!(packet.attributes().count(), 1);
        authenticators.push(own);
    }
    let identifiers: Vec<u8> = world.probes.iter().map(Sent::identifier).collect();
    assert!(identifiers.windows(2).all(|pair| pair[0] != pair[1]));
    authenticators.sort_unstable();
    authenticators.dedup();
    assert_eq!(authenticators.len(), world.probes.len());
}

#[test]
fn any_authentic_answer_brings_a_suspect_back() {
    for (name, how) in [("a probe answer of code 5", 5), ("a probe answer of code 2", 2), ("a late answer", 0)] {
        let mut world = World::with(1, |_| {});
        (1..=3).for_each(|key| world.submit(key));
        world.pass_secs(9);
        assert_eq!(world.health(), [(0, Health::Suspect)], "{name}");
        let sent_before = world.sent.len();
        if how > 0 {
            answer_probe(&mut world, how);
        } else {
            let first = world.sent[0].clone();
            world.receive(&first, &first.stored());
        }
        assert_eq!(world.health(), [(0, Health::Alive)], "{name}");
        world.pass(Duration::from_millis(2_300));
        assert!(world.sent.len() > sent_before, "{name}: long waits are cut short");
    }
}

#[test]
fn forged_answers_prove_no_life() {
    let mut world = World::with(1, |_| {});
    (1..=3).for_each(|key| world.submit(key));
    world.pass_secs(9);
    let mut probe_answer = world.probes.last().unwrap().answer(5, &[]);
    probe_answer[9] ^= 1;
    let (probe, first) = (world.probes.last().unwrap().clone(), world.sent[0].clone());
    world.receive(&probe, &probe_answer);
    let mut forged = first.stored();
    forged[9] ^= 1;
    world.receive(&first, &forged);
    assert_eq!(world.health(), [(0, Health::Suspect)]);
}

#[test]
fn a_refused_server_hands_its_records_to_the_next_at_once() {
    let mut world = World::with(2, |_| {});
    (1..=5).for_each(|key| world.submit(key));
    assert!(world.sent.iter().all(|sent| sent.server == ServerIndex(0)), "the first is preferred");
    world.sent.clear();
    world.handle(Input::Refused { server: ServerIndex(0), lane: LaneId(1) });
    assert_eq!(world.health(), [(0, Health::Suspect)]);
    assert_eq!(world.sent.len(), 5, "all move without waiting");
    world.submit(6);
    assert!(world.sent.iter().all(|sent| sent.server == ServerIndex(1)));
    world.answer_all();
    assert_eq!(world.ended().len(), 6);
    // Failback is automatic.
    world.pass_secs(2);
    answer_probe(&mut world, 5);
    world.submit(7);
    assert_eq!(world.sent[0].server, ServerIndex(0));
}

#[test]
fn a_refused_server_without_another_keeps_its_records() {
    let mut world = World::with(1, |_| {});
    (1..=5).for_each(|key| world.submit(key));
    world.sent.clear();
    world.handle(Input::Refused { server: ServerIndex(0), lane: LaneId(1) });
    assert_eq!((world.ended(), world.client.in_flight(), world.capacity()), (vec![], 5, 0));
    world.pass_secs(3);
    answer_probe(&mut world, 5);
    world.pass_secs(3);
    assert!(world.sent.len() >= 5, "sent again");
    world.answer_all();
    assert_eq!(world.ended().len(), 5);
}

#[test]
fn a_silent_server_loses_its_records_to_the_next_after_one_visit() {
    let mut world = World::with(2, |settings| settings.transmissions = 2);
    world.submit(1);
    world.pass_secs(8);
    let servers: Vec<u16> = world.sent.iter().map(|sent| sent.server.0).collect();
    assert_eq!(servers[..3], [0, 0, 1], "two transmissions, then the other server");
    world.pass_secs(8);
    assert_eq!(world.ended(), [(1, "retry")], "both were silent");
}

#[test]
fn a_server_that_answers_no_probes_is_revived_by_time() {
    for (name, change) in [
        ("probes are off", (|settings: &mut Settings| settings.probing = Probing::Never) as fn(&mut Settings)),
        ("probes are not answered", |_| {}),
    ] {
        let mut world = World::with(1, change);
        (1..=3).for_each(|key| world.submit(key));
        world.pass_secs(50);
        assert_eq!(world.health(), [(0, Health::Suspect), (0, Health::Dead)], "{name}");
        world.pass_secs(50);
        assert_eq!(world.health(), [], "{name}");
        world.pass_secs(30);
        assert_eq!(world.health(), [(0, Health::Alive)], "{name}");
        assert_eq!(world.capacity(), 1, "{name}: one record finds out");
        world.ended();
        world.sent.clear();
        world.submit(9);
        world.answer_all();
        assert_eq!((world.ended(), world.capacity()), (vec![(9, "delivered")], WINDOW_MIN), "{name}");
    }
}

#[test]
fn a_server_that_answers_records_but_no_probe_is_not_probed_again() {
    let mut world = World::with(1, |_| {});
    (1..=3).for_each(|key| world.submit(key));
    world.pass_secs(9);
    let first = world.sent[0].clone();
    world.receive(&first, &first.stored());
    world.answer_all();
    world.pass_secs(10);
    let probes = world.probes.len();
    (11..=13).for_each(|key| world.submit(key));
    world.pass_secs(12);
    assert_eq!(world.health().last(), Some(&(0, Health::Suspect)));
    assert_eq!(world.probes.len(), probes);
}

#[test]
fn a_server_that_moves_begins_anew_while_its_old_lanes_drain() {
    let mut world = World::with(1, |settings| settings.transmissions = 3);
    world.submit(1);
    world.answer_all();
    world.submit(2);
    let old = world.sent.remove(0);
    let address = SocketAddr::from(([192, 0, 2, 9], 1813));
    world.handle(Input::Moved { server: ServerIndex(0), address });
    assert_eq!((world.server(0).address, world.server(0).lanes, world.capacity()), (address, 1, 7));
    world.submit(3);
    assert_ne!(world.sent[0].lane, old.lane, "a new record goes to the new address");
    world.pass_secs(3);
    assert!(
        world.sent.iter().any(|sent| sent.datagram == old.datagram && sent.lane == old.lane),
        "the old one goes on"
    );
    world.receive(&old, &old.stored());
    world.answer_all();
    let mut ended = world.ended();
    ended.sort_unstable();
    assert_eq!(ended, [(1, "delivered"), (2, "delivered"), (3, "delivered")]);

    // Moved back and forth: places of drained lanes are used again.
    for number in 0..500_u16 {
        let address = SocketAddr::from(([192, 0, 2, 1], 2000 + number));
        world.handle(Input::Moved { server: ServerIndex(0), address });
        world.submit(100 + u64::from(number));
        assert!(world.sent[0].lane.0 <= 3, "{:?}", world.sent[0].lane);
        world.answer_all();
    }
    world.handle(Input::Moved { server: ServerIndex(9), address });
}

#[test]
fn a_dead_server_that_moves_is_used_at_once() {
    let mut world = World::with(1, |settings| settings.probing = Probing::Never);
    world.submit(1);
    world.pass_secs(70);
    assert_eq!(world.server(0).health, Health::Dead);
    world.ended();
    world.health();
    world.handle(Input::Moved { server: ServerIndex(0), address: SocketAddr::from(([192, 0, 2, 9], 1813)) });
    assert_eq!(world.health(), [(0, Health::Alive)]);
    world.submit(2);
    world.answer_all();
    assert_eq!(world.ended(), [(2, "delivered")]);
}

#[test]
fn a_server_whose_name_has_no_address_yet_is_dead_until_it_has_one() {
    for transport in [Transport::Datagram, Transport::Stream] {
        let unknown = SocketAddr::from(([0, 0, 0, 0], 1813));
        let mut world = World::with(2, |settings| {
            settings.transport = transport;
            settings.revival = Duration::from_secs(1);
            settings.servers[0].address = unknown;
        });
        world.pass_secs(600);
        let first = world.server(0);
        assert_eq!(
            (first.health, first.lanes, first.counters),
            (Health::Dead, 0, Counters::default()),
            "{transport:?}"
        );
        assert!(world.probes.iter().all(|probe| probe.server.0 == 1), "{transport:?}: nobody is asked");
        world.submit(1);
        assert_eq!(world.sent[0].server.0, 1, "{transport:?}: records go elsewhere");
        world.answer_all();
        let address = SocketAddr::from(([192, 0, 2, 9], 1813));
        world.handle(Input::Moved { server: ServerIndex(0), address });
        assert_eq!(world.health(), [(0, Health::Alive)], "{transport:?}");
        world.submit(2);
        assert_eq!((world.sent[0].server.0, world.server(0).address), (0, address), "{transport:?}");
        world.answer_all();
        assert_eq!(world.ended(), [(1, "delivered"), (2, "delivered")], "{transport:?}");
    }
    let mut alone = World::with(1, |settings| settings.servers[0].address = SocketAddr::from(([0, 0, 0, 0], 1)));
    assert_eq!((alone.capacity(), alone.client.deadline()), (0, None), "records wait in the queue");
    alone.submit(1);
    assert_eq!(alone.ended(), [(1, "retry")]);
}

#[test]
fn records_of_a_call_go_to_the_same_server() {
    let mut world = World::with(3, |settings| settings.selection = Selection::ByCall);
    for round in 0..2 {
        (0..6).for_each(|key| world.submit(key));
        let servers: Vec<u16> = world.sent.iter().map(|sent| sent.server.0).collect();
        assert_eq!(servers, [0, 1, 2, 0, 1, 2], "{round}");
        world.answer_all();
    }
    world.handle(Input::Refused { server: ServerIndex(1), lane: LaneId(1) });
    world.submit(1);
    assert_eq!(world.sent[0].server, ServerIndex(2), "the next that lives");
}

#[test]
fn a_lane_that_cannot_be_opened_is_tried_again() {
    let mut world = World::with(1, |_| {});
    world.handle(Input::LaneFailed { server: ServerIndex(0), lane: LaneId(1) });
    assert_eq!(world.health(), [(0, Health::Suspect)]);
    world.pass_secs(2);
    assert_eq!(world.server(0).lanes, 1);
    answer_probe(&mut world, 5);
    assert_eq!((world.health(), world.capacity()), (vec![(0, Health::Alive)], WINDOW_MIN));
}

#[test]
fn without_servers_everything_comes_back() {
    let mut world = World::with(0, |_| {});
    assert_eq!((world.capacity(), world.client.deadline()), (0, None));
    world.submit(1);
    assert_eq!(world.ended(), [(1, "retry")]);
}
