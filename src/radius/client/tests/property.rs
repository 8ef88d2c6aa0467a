//! Whatever the network does, each record ends once and no identifier is outstanding twice.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

/// One step of a fate.
#[derive(Clone, Copy, Debug)]
enum Step {
    Submit(u8),
    Pass(u16),
    /// Answers a datagram; the number chooses which and how.
    Answer(u16),
    Refuse(u8),
    FailLane(u8),
    Noise(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_u8..20).prop_map(Step::Submit),
        3 => (0_u16..5_000).prop_map(Step::Pass),
        1 => (5_000_u16..60_000).prop_map(Step::Pass),
        8 => any::<u16>().prop_map(Step::Answer),
        1 => (0_u8..3).prop_map(Step::Refuse),
        1 => (0_u8..3).prop_map(Step::FailLane),
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
        Step::Answer(which) => {
            let all: Vec<Sent> = world.sent.iter().chain(&world.probes).cloned().collect();
            let Some(sent) = all.get(usize::from(which) % all.len().max(1)) else { return };
            let answer = match which / 4096 {
                0..10 => sent.stored(),
                10 => sent.answer(52, &[]),
                11 => sent.answer(5, &[(101, &404_u32.to_be_bytes())]),
                12 => sent.answer(3, &[]),
                13 => sent.answer(5, &[(101, &406_u32.to_be_bytes())]),
                _ => sent.stored()[..19].to_vec(),
            };
            world.receive(sent, &answer);
        }
        Step::Refuse(lane) => world.handle(Input::Refused { server: ServerIndex(0), lane: LaneId(lane.into()) }),
        Step::FailLane(lane) => world.handle(Input::LaneFailed { server: ServerIndex(1), lane: LaneId(lane.into()) }),
        Step::Noise(noise) => {
            let datagram = noise.to_be_bytes().repeat(4);
            for lane in 0..3 {
                world.handle(Input::Received { server: ServerIndex(0), lane: LaneId(lane), datagram: &datagram });
            }
        }
    }
}

fn check(world: &World) {
    let mut outstanding = HashSet::new();
    for slot in 0..u32::MAX {
        if slot as usize > 100_000 || world.client.delivery.visits.is_past(slot) {
            break;
        }
        let Some(visit) = world.client.delivery.visits.get(slot) else { continue };
        for pair in visit.identifiers() {
            assert!(outstanding.insert((visit.server(), *pair)), "{pair:?} is outstanding twice");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_record_ends_exactly_once(steps in prop::collection::vec(step(), 1..120), always: bool) {
        let mut world = World::with(2, |settings| {
            settings.transmissions = 2;
            settings.lanes_max = 2;
            settings.delay_time = if always { DelayTime::Always } else { DelayTime::Cycle };
        });
        let mut next = 0;
        for step in steps {
            walk(&mut world, step, &mut next);
            check(&world);
        }
        world.pass_secs(3600);
        prop_assert_eq!(world.client.in_flight(), 0);
        let ends = ends(&mut world);
        prop_assert_eq!(ends.len() as u64, next);
        prop_assert!(ends.values().all(|how| is_one_end(how)), "{:?}", ends);
        let outstanding: usize = world.client.status().map(|server| server.outstanding).sum();
        prop_assert_eq!(outstanding, 0);
    }
}
