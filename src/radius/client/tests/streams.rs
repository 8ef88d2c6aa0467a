//! Lanes on connections: sent once, resent once, watchdog, probation, idleness, back-off.

use proptest::prelude::*;

use super::*;

const FIRST: ServerIndex = ServerIndex(0);
const LANE: LaneId = LaneId(1);

pub(super) fn streams(servers: u16, change: impl FnOnce(&mut Settings)) -> World {
    let settings = settings(servers, |settings| {
        settings.transport = Transport::Stream;
        change(settings);
    });
    World::begin(settings, false)
}

/// A client with one connection to each server, each with an answered record.
pub(super) fn connected(servers: u16, change: impl FnOnce(&mut Settings)) -> World {
    let mut world = streams(servers, change);
    world.open_all();
    for (key, server) in (9000..).zip(0..servers) {
        let others: Vec<u16> = (0..server).collect();
        world.submit(key);
        assert!(others.is_empty() || servers == 1 || world.sent[0].server == FIRST);
        world.answer_all();
    }
    world.ended();
    world
}

impl World {
    /// Makes every connection that is asked for; returns how many.
    pub(super) fn open_all(&mut self) -> usize {
        let asked = std::mem::take(&mut self.asked);
        for (_, server, lane) in &asked {
            self.handle(Input::LaneOpened { server: *server, lane: *lane });
        }
        asked.len()
    }

    /// Fails every connection that is asked for.
    fn fail_all(&mut self) {
        for (_, server, lane) in std::mem::take(&mut self.asked) {
            self.close(server, lane, Closing::Failed { why: "refused" });
        }
    }

    pub(super) fn close(&mut self, server: ServerIndex, lane: LaneId, how: Closing<'_>) {
        self.handle(Input::LaneClosed { server, lane, how });
    }

    /// The client closes the connection as soon as it is asked to.
    fn wait_asked(&mut self) {
        for _ in 0..1000 {
            if !self.asked.is_empty() {
                return;
            }
            self.pass(Duration::from_millis(100));
        }
        panic!("no connection is asked for");
    }

    /// Answers the probes that were sent and those that follow.
    pub(super) fn answer_probes(&mut self) -> usize {
        let mut answered = 0;
        while let Some(probe) = self.probes.pop() {
            self.receive(&probe, &probe.answer(5, &[]));
            answered += 1;
        }
        answered
    }
}

#[test]
fn a_request_is_sent_once_however_long_the_answer_takes() {
    let mut world = connected(1, |_| {});
    world.submit(1);
    world.pass_secs(25);
    assert_eq!(world.sent.len(), 1, "a connection loses nothing");
    assert_ne!(world.sent[0].identifier(), 0, "0 is the watchdog's");
    world.answer_all();
    assert_eq!(world.ended(), [(1, "delivered")]);
    let counters = world.server(0).counters;
    assert_eq!((counters.requests, counters.retransmissions), (2, 0));
}

#[test]
fn a_request_that_is_never_answered_is_given_up_after_the_time_of_a_visit() {
    let mut world = connected(1, |_| {});
    world.submit(1);
    world.submit(2);
    world.pass_secs(20);
    let other = world.sent.pop().unwrap();
    world.receive(&other, &other.stored());
    world.pass_secs(15);
    let reasons: Vec<_> = world.told.iter().filter(|output| matches!(output, Output::Retry { .. })).collect();
    assert!(
        matches!(reasons[..], [Output::Retry { key: Seq(1), reason: Reason::Ignored { .. }, .. }]),
        "the server answered others: {reasons:?}"
    );
    assert_eq!(world.server(0).counters.timeouts, 1);
}

#[test]
fn there_is_room_for_255_on_each_connection_and_connections_are_few() {
    let mut world = connected(1, |settings| {
        settings.window = 100_000;
        settings.lanes_max = 256;
    });
    let mut key = 0;
    for _ in 0..20 {
        let room = world.capacity() as u64;
        (0..room).for_each(|more| world.submit(key + more));
        key += room;
        world.open_all();
        world.answer_all();
    }
    while world.capacity() > 0 {
        world.submit(key);
        key += 1;
        world.open_all();
    }
    assert_eq!(world.server(0).lanes, usize::from(STREAM_LANES_MAX));
    assert_eq!(world.sent.len(), 255 * usize::from(STREAM_LANES_MAX));
    assert!(world.sent.iter().all(|sent| sent.identifier() != 0));
}

#[test]
fn a_connection_killed_with_requests_under_way_resends_them_once_after_three_probes() {
    let mut world = connected(1, |_| {});
    (1..=5).for_each(|key| world.submit(key));
    let first: Vec<_> = std::mem::take(&mut world.sent);
    world.close(FIRST, LANE, Closing::Broken { why: "reset" });
    assert_eq!((world.health(), world.capacity()), (vec![(0, Health::Suspect)], 0));
    assert_eq!(world.lost, ["reset"]);
    world.pass(Duration::from_millis(300));
    assert_eq!(world.open_all(), 1, "a connection that had worked is opened again soon");
    assert_eq!((world.sent.len(), world.probes.len()), (0, 1), "it has to prove itself first");
    assert_eq!(world.probes[0].identifier(), 0);
    assert_eq!(world.answer_probes(), 3);
    assert_eq!(world.sent.len(), 5, "each goes out again");
    assert_eq!(world.health(), [(0, Health::Alive)]);
    let attributes = |sent: &Sent| sent.datagram[20..].to_vec();
    assert_eq!(first.iter().map(attributes).collect::<Vec<_>>(), world.sent.iter().map(attributes).collect::<Vec<_>>());
    let (one, rest) = (world.sent.remove(0), std::mem::take(&mut world.sent));
    world.receive(&one, &one.stored());
    world.close(FIRST, LANE, Closing::Ended);
    let ended = world.ended();
    assert_eq!(ended[0], (1, "delivered"));
    assert_eq!(ended.len(), 5, "a second loss gives them back: {ended:?}");
    assert!(ended[1..].iter().all(|(_, how)| *how == "retry"));
    assert_eq!((rest.len(), world.client.in_flight()), (4, 0));
}

#[test]
fn requests_of_a_lost_connection_go_to_another_server_that_lives() {
    let mut world = connected(2, |_| {});
    (1..=5).for_each(|key| world.submit(key));
    world.sent.clear();
    world.close(FIRST, LANE, Closing::Ended);
    assert_eq!(world.sent.len(), 5);
    assert!(world.sent.iter().all(|sent| sent.server == ServerIndex(1)));
    world.answer_all();
    assert_eq!(world.ended().len(), 5);
    // Failback.
    world.pass_secs(1);
    world.open_all();
    world.answer_probes();
    world.submit(6);
    assert_eq!(world.sent[0].server, FIRST);
}

#[test]
fn requests_of_one_of_two_connections_go_out_on_the_other() {
    let mut world = connected(1, |settings| settings.window = 400);
    let mut key = 0;
    while world.server(0).lanes < 2 {
        let room = world.capacity() as u64;
        (0..room).for_each(|more| world.submit(key + more));
        key += room;
        world.open_all();
        world.answer_all();
    }
    world.ended();
    (1000..1010).for_each(|key| world.submit(key));
    let lane = world.sent[0].lane;
    let count = world.sent.iter().filter(|sent| sent.lane == lane).count();
    world.sent.clear();
    world.close(FIRST, lane, Closing::Broken { why: "reset" });
    assert_eq!((world.sent.len(), world.health()), (count, vec![]), "at once, and nothing is suspected");
    assert!(world.sent.iter().all(|sent| sent.lane != lane));
}

#[test]
fn an_idle_close_is_no_alarm_and_the_next_record_opens_a_connection() {
    for (name, how) in [("closed", Closing::Ended), ("reset", Closing::Broken { why: "reset" })] {
        let mut world = connected(1, |_| {});
        world.pass_secs(30);
        world.close(FIRST, LANE, how);
        world.pass_secs(1000);
        assert_eq!((world.health(), world.lost.len(), world.asked.len()), (vec![], 0, 0), "{name}");
        assert!(world.capacity() > 0, "{name}: records are welcome");
        world.submit(1);
        world.submit(2);
        assert_eq!((world.sent.len(), world.open_all()), (0, 1), "{name}: one connection is asked for");
        assert_eq!((world.sent.len(), world.probes.len()), (2, 0), "{name}: and used at once");
        world.answer_all();
        assert_eq!(world.ended(), [(1, "delivered"), (2, "delivered")], "{name}");
        assert_eq!(world.told, [], "{name}");
    }
}

#[test]
fn a_connection_nobody_ever_used_may_be_closed_as_idle_later_on() {
    let mut world = streams(1, |_| {});
    world.open_all();
    world.pass_secs(30);
    world.close(FIRST, LANE, Closing::Ended);
    assert_eq!((world.health(), world.lost.len()), (vec![], 0));
    assert!(world.capacity() > 0);
}

#[test]
fn a_connection_that_dies_before_the_first_answer_is_a_failed_handshake_with_back_off() {
    for uses in [false, true] {
        let mut world = streams(1, |_| {});
        let mut gaps = Vec::new();
        for round in 0..6 {
            world.wait_asked();
            let asked = world.asked[0].0;
            world.open_all();
            if uses && round == 0 {
                world.submit(1);
            }
            // Its end comes later than it is taken for open.
            world.pass(Duration::from_millis(50));
            assert_eq!(world.asked.len(), 0, "on probation it is the only one");
            world.close(FIRST, LANE, Closing::Ended);
            let closed = world.now.mono;
            world.wait_asked();
            gaps.push(world.asked[0].0.since(closed.max(asked)).as_secs_f64());
        }
        for (gap, want) in gaps.iter().zip([1.0, 2.0, 4.0, 8.0, 16.0, 32.0]) {
            assert!((0.9 * want..=1.1 * want + 0.1).contains(gap), "{gaps:?}");
        }
        assert_eq!(world.health()[0], (0, Health::Suspect), "used: {uses}");
        assert!(world.lost.iter().all(|why| why.contains("client certificate")), "{:?}", world.lost);
        assert_eq!(world.capacity(), 0);
        if uses {
            let last = world.told.last();
            assert!(
                matches!(last, Some(Output::Retry { reason: Reason::NoConnection { why, .. }, .. }) if why.contains("before any")),
                "{last:?}"
            );
        }
    }
}

#[test]
fn a_stalled_connection_is_asked_after_one_period_and_closed_after_two() {
    let mut world = connected(1, |settings| {
        settings.response_window = Duration::from_secs(1000);
        settings.zombie_period = Duration::from_secs(1000);
    });
    let begin = world.now.mono;
    world.submit(1);
    world.pass_secs(27);
    assert_eq!(world.probes.len(), 0, "too early");
    world.pass_secs(6);
    assert_eq!((world.probes.len(), world.closed.len()), (1, 0));
    world.pass_secs(22);
    assert_eq!((world.probes.len(), world.closed.len()), (1, 0), "one Status-Server, and its own period");
    world.pass_secs(10);
    let closed: Vec<_> = world.closed.iter().map(|(at, ..)| at.since(begin).as_secs()).collect();
    assert!(closed.len() == 1 && (56..=64).contains(&closed[0]), "{closed:?}");
    assert_eq!(world.asked.len(), 1, "another connection is made");
    assert!(world.lost[0].contains("two periods"), "{:?}", world.lost);
}

#[test]
fn any_answer_winds_the_watchdog_and_an_idle_connection_is_not_asked() {
    let mut world = connected(1, |settings| settings.response_window = Duration::from_secs(1000));
    world.submit(1);
    let slow = world.sent.pop().unwrap();
    for key in 2..20 {
        world.pass_secs(20);
        world.submit(key);
        world.answer_all();
    }
    assert_eq!((world.probes.len(), world.closed.len()), (0, 0));
    world.receive(&slow, &slow.stored());
    world.pass_secs(10_000);
    assert_eq!((world.probes.len(), world.closed.len(), world.asked.len()), (0, 0, 0), "nothing is awaited");
}

#[test]
fn a_connection_that_is_to_be_kept_is_asked_in_each_period() {
    let mut world = streams(1, |settings| settings.idle = Idle::KeptAlive);
    world.open_all();
    for _ in 0..10 {
        world.pass_secs(33);
        assert_eq!(world.answer_probes(), 1);
    }
    assert_eq!((world.closed.len(), world.health()), (0, vec![]));
    world.pass_secs(66);
    assert_eq!(world.closed.len(), 1, "unless the answer fails");
}

#[test]
fn a_silent_connection_is_suspected_like_a_silent_server() {
    let mut world = connected(1, |_| {});
    (1..=4).for_each(|key| world.submit(key));
    world.pass_secs(9);
    assert_eq!(world.health(), [(0, Health::Suspect)]);
    assert_eq!((world.sent.len(), world.probes.len()), (4, 1), "one Status-Server on the connection, not one a second");
    assert_eq!(world.capacity(), 1, "one record finds out");
    world.answer_probes();
    assert_eq!(world.health(), [(0, Health::Alive)]);
    assert_eq!(world.sent.len(), 4, "nothing is sent again");
    world.answer_all();
    assert_eq!(world.ended().len(), 4);
}

#[test]
fn what_is_no_radius_or_not_authentic_ends_the_connection() {
    for (name, change, want) in [
        ("a bad authenticator", (|octets: &mut Vec<u8>| octets[9] ^= 1) as fn(&mut Vec<u8>), "verified"),
        ("an attribute that does not fit", |octets| (octets[3], _) = (22, octets.extend([1, 9])), "does not fit"),
    ] {
        let mut world = connected(1, |_| {});
        world.submit(1);
        let sent = world.sent.pop().unwrap();
        world.submit(2);
        world.sent.clear();
        let mut answer = sent.stored();
        change(&mut answer);
        world.receive(&sent, &answer);
        assert_eq!((world.closed.len(), world.client.in_flight()), (1, 1), "{name}");
        let back = world.told.iter().find_map(|output| match output {
            Output::Retry { key: Seq(1), after, reason: Reason::Unusable { .. } } => Some(after.as_secs()),
            _ => None,
        });
        assert!(back.is_some_and(|secs| secs >= 4), "{name}: the record backs off, {back:?}");
        world.ended();
        assert!(world.lost[0].contains(want), "{name}: {:?}", world.lost);
        world.receive(&sent, &sent.stored());
        assert_eq!(world.ended(), [], "{name}: what comes after that does not count");
        world.pass_secs(1);
        world.open_all();
        world.answer_probes();
        world.answer_all();
        assert_eq!(world.ended(), [(2, "delivered")], "{name}: the other goes out again");
    }
    let mut world = connected(1, |_| {});
    world.submit(1);
    let sent = world.sent.pop().unwrap();
    let mut forged = sent.stored();
    forged[9] ^= 1;
    world.receive(&sent, &forged);
    let alarm = Output::Alarm { server: FIRST, alarm: Alarm::SecretMismatch };
    assert!(world.told.contains(&alarm), "at once: {:?}", world.told);
}

#[test]
fn freeradius_signs_a_protocol_error_over_tls_twice() {
    let cause = 404_u32.to_be_bytes();
    for (code, want) in [(52, "parked"), (5, "retry")] {
        let mut world = connected(1, |_| {});
        world.submit(1);
        let sent = world.sent.pop().unwrap();
        let mut answer = sent.answer(code, &[(101, &cause)]);
        let first = Packet::parse(&answer).unwrap().authenticator();
        authenticator::sign_response(&mut answer, &first, &Secret::new(SECRET));
        world.receive(&sent, &answer);
        assert_eq!(world.ended(), [(1, want)], "code {code}");
        assert_eq!(world.closed.len(), usize::from(want == "retry"), "code {code}");
    }
}

#[test]
fn late_and_unknown_answers_end_nothing() {
    let mut world = connected(1, |_| {});
    world.submit(1);
    let sent = world.sent.pop().unwrap();
    world.receive(&sent, &sent.stored());
    world.receive(&sent, &sent.stored());
    let mut unknown = sent.stored();
    unknown[1] = 200;
    world.receive(&sent, &unknown);
    let mut to_no_probe = sent.stored();
    to_no_probe[1] = 0;
    world.receive(&sent, &to_no_probe);
    let counters = world.server(0).counters;
    assert_eq!((counters.late, counters.unknown, world.closed.len()), (2, 1, 0));
}

#[test]
fn a_server_that_never_answers_is_told_as_such() {
    let mut world = streams(1, |settings| settings.zombie_period = Duration::from_secs(1000));
    world.open_all();
    world.submit(1);
    world.pass_secs(70);
    let alarm = Output::Alarm { server: FIRST, alarm: Alarm::Mute };
    assert_eq!(world.told.iter().filter(|output| **output == alarm).count(), 1);
    let retry = world.told.iter().find(|output| matches!(output, Output::Retry { .. }));
    assert!(matches!(retry, Some(Output::Retry { reason: Reason::Mute { .. }, .. })), "{retry:?}");
}

#[test]
fn a_dead_server_is_used_again_after_a_connection_and_three_answers() {
    let mut world = streams(1, |_| {});
    world.fail_all();
    world.pass_secs(200);
    while !world.health().contains(&(0, Health::Dead)) {
        world.fail_all();
        world.pass_secs(10);
    }
    for answers in 0..3 {
        world.asked.clear();
        world.close(FIRST, LANE, Closing::Failed { why: "refused" });
        world.wait_asked();
        world.open_all();
        for _ in 0..answers {
            let probe = world.probes.pop().unwrap();
            world.receive(&probe, &probe.answer(5, &[]));
        }
        assert_eq!((world.health(), world.capacity()), (vec![], 0), "{answers} answers are too few");
        world.probes.clear();
    }
    world.close(FIRST, LANE, Closing::Ended);
    world.wait_asked();
    world.open_all();
    assert_eq!(world.answer_probes(), 3);
    assert_eq!((world.health(), world.capacity()), (vec![(0, Health::Alive)], WINDOW_MIN));
}

#[test]
fn without_status_server_one_record_finds_out() {
    for (name, change) in [
        ("probes are off", (|settings: &mut Settings| settings.probing = Probing::Never) as fn(&mut Settings)),
        ("probes are not answered", |_| {}),
    ] {
        let mut world = streams(1, change);
        world.fail_all();
        world.pass_secs(50);
        assert_eq!(world.health().last(), Some(&(0, Health::Dead)), "{name}");
        world.open_all();
        world.pass_secs(6);
        assert_eq!((world.health(), world.capacity()), (vec![(0, Health::Alive)], 1), "{name}");
        world.submit(1);
        world.answer_all();
        assert_eq!((world.ended(), world.capacity()), (vec![(1, "delivered")], WINDOW_MIN), "{name}");
        world.pass_secs(200);
        assert_eq!(world.closed.len(), 0, "{name}: an unanswered Status-Server is no silence then");
    }
}

#[test]
fn a_server_without_connection_does_not_keep_records_from_the_next() {
    let mut world = connected(2, |_| {});
    world.close(FIRST, LANE, Closing::Malformed { why: "x" });
    world.pass_secs(1);
    world.open_all();
    // One answer brings the server back, its connection needs two more.
    let probe = world.probes.pop().unwrap();
    world.receive(&probe, &probe.answer(5, &[]));
    assert_eq!(world.server(0).health, Health::Alive);
    assert!(world.capacity() > 0);
    world.submit(1);
    assert_eq!(world.sent[0].server, ServerIndex(1));
}

/// One step of a fate.
#[derive(Clone, Copy, Debug)]
enum Step {
    Submit(u8),
    Pass(u16),
    Open,
    Answer(u16),
    Close(u8, u8),
    Noise(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_u8..20).prop_map(Step::Submit),
        3 => (0_u16..5_000).prop_map(Step::Pass),
        1 => (5_000_u16..60_000).prop_map(Step::Pass),
        5 => Just(Step::Open),
        8 => any::<u16>().prop_map(Step::Answer),
        2 => (0_u8..5, 0_u8..12).prop_map(|(lane, how)| Step::Close(lane, how)),
        1 => any::<u64>().prop_map(Step::Noise),
    ]
}

fn walk(world: &mut World, step: Step, next: &mut u64) {
    match step {
        Step::Submit(count) => {
            for _ in 0..u64::from(count).min(world.capacity() as u64 + 1) {
                world.submit(*next);
                *next += 1;
            }
        }
        Step::Pass(millis) => world.pass(Duration::from_millis(millis.into())),
        Step::Open => {
            world.open_all();
        }
        Step::Answer(which) => {
            let all: Vec<Sent> = world.sent.iter().chain(&world.probes).cloned().collect();
            let Some(sent) = all.get(all.len().saturating_sub(1 + usize::from(which % 16))) else { return };
            let answer = match which / 4096 {
                0..11 => sent.stored(),
                11 => sent.answer(52, &[]),
                12 => sent.answer(5, &[(101, &404_u32.to_be_bytes())]),
                13 => sent.answer(3, &[]),
                _ => sent.stored()[..19].to_vec(),
            };
            world.receive(sent, &answer);
        }
        Step::Close(lane, how) => {
            let how = match how % 4 {
                0 => Closing::Ended,
                1 => Closing::Broken { why: "reset" },
                2 => Closing::Failed { why: "refused" },
                _ => Closing::Malformed { why: "noise" },
            };
            world.close(ServerIndex(u16::from(lane % 2)), LaneId(u16::from(lane)), how);
        }
        Step::Noise(noise) => {
            let datagram = noise.to_be_bytes().repeat(4);
            world.handle(Input::Received { server: FIRST, lane: LANE, datagram: &datagram });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_record_ends_exactly_once(steps in prop::collection::vec(step(), 1..120), never: bool, kept: bool) {
        let mut world = streams(2, |settings| {
            settings.lanes_max = 2;
            settings.probing = if never { Probing::Never } else { Probing::Auto };
            settings.idle = if kept { Idle::KeptAlive } else { Idle::MayClose };
        });
        let mut next = 0;
        for step in steps {
            walk(&mut world, step, &mut next);
            let mut under_way: Vec<_> = world.client.delivery.visits.at(0).into_iter().chain(world.client.delivery.visits.at(1))
                .filter_map(|slot| world.client.delivery.visits.get(slot))
                .flat_map(|visit| visit.identifiers().iter().map(|pair| (visit.server(), *pair)))
                .collect();
            let count = under_way.len();
            under_way.sort_unstable();
            under_way.dedup();
            prop_assert_eq!(under_way.len(), count, "an identifier is outstanding twice");
        }
        world.pass_secs(3600);
        prop_assert_eq!(world.client.in_flight(), 0);
        let ends = ends(&mut world);
        prop_assert_eq!(ends.len() as u64, next);
        prop_assert!(ends.values().all(|how| is_one_end(how)), "{:?}", ends);
        // However badly it went, servers that answer are used again.
        world.probes.clear();
        for _ in 0..200 {
            world.open_all();
            world.answer_probes();
            world.pass_secs(1);
        }
        prop_assert!(world.capacity() > 0, "{:?}", world.client.status().collect::<Vec<_>>());
    }
}
