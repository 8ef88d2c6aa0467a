//! Servers that close the connection on a record.

use super::doubt::{Line, user};
use super::streams::connected;
use super::*;

/// Lets `secs` pass at a server that closes the connection on what `breaks` says, without an answer to what came with it,
/// and acknowledges everything else if `answers`.
fn run(world: &mut World, line: &mut Line, secs: u64, answers: bool, breaks: impl Fn(&Sent) -> bool) {
    let end = world.now.mono + Duration::from_secs(secs);
    while world.now.mono < end {
        let sent = std::mem::take(&mut world.sent);
        for lane in sent.iter().filter(|sent| breaks(sent)).map(|sent| (sent.server, sent.lane)).collect::<Vec<_>>() {
            world.close(lane.0, lane.1, Closing::Ended);
        }
        let is_lost =
            |one: &Sent| sent.iter().any(|other| other.lane == one.lane && other.server == one.server && breaks(other));
        for one in sent.iter().filter(|one| answers && !is_lost(one)) {
            world.receive(one, &one.stored());
        }
        world.open_all();
        world.answer_probes();
        line.turn(world);
        if world.sent.is_empty() {
            world.pass(Duration::from_millis(50));
        }
    }
}

fn is_of(number: u64) -> impl Fn(&Sent) -> bool {
    move |sent| user(sent) == Some(format!("user{number}"))
}

fn impatient(settings: &mut Settings) {
    settings.attempts_max = 3;
    settings.park_age_min = Duration::from_secs(20);
}

#[test]
fn a_record_that_breaks_its_connection_is_found_and_parked_and_no_other_waits_long() {
    for servers in [1, 2] {
        let mut world = connected(servers, impatient);
        let mut line = Line::of(&world, 1..=6);
        run(&mut world, &mut line, 20, true, is_of(3));
        line.delivered.sort_unstable();
        assert_eq!((&line.delivered[..], &line.parked[..]), (&[1, 2, 4, 5, 6][..], &[][..]), "{servers}: within 20 s");
        for key in 100..400 {
            line.waiting.push((world.now.mono, key, 0));
            run(&mut world, &mut line, 1, true, is_of(3));
        }
        assert_eq!(line.delivered.len(), 305, "{servers}: traffic goes on");
        let [(3, reason)] = &line.parked[..] else {
            panic!("{servers}: {:?} {:?} {:?}", line.parked, line.tried, line.reasons)
        };
        let words =
            ["breaks whenever it is sent, 3 times so far with nothing else under way", "the last one ", "closed"];
        assert!(words.iter().all(|word| reason.contains(word)), "{reason}");
        assert!(line.tried.iter().all(|key| *key == 3), "no try of the innocent: {:?}", line.tried);
        assert_eq!(line.tried.len(), 2, "{servers}");
    }
}

#[test]
fn a_server_that_breaks_on_everything_parks_nothing() {
    let mut world = connected(1, impatient);
    let mut line = Line::of(&world, 1..=6);
    run(&mut world, &mut line, 3600, true, |_| true);
    assert_eq!((&line.delivered[..], &line.parked[..], &line.tried[..]), (&[][..], &[][..], &[][..]));
    run(&mut world, &mut line, 1000, true, |_| false);
    assert_eq!(line.delivered.len(), 6, "delivered when it works");
}

#[test]
fn a_server_that_restarts_often_parks_nothing() {
    let mut world = connected(1, impatient);
    let mut line = Line::of(&world, 1..=1);
    for key in 100..160 {
        line.waiting.extend((0..5).map(|more| (world.now.mono, key * 10 + more, 0)));
        line.turn(&mut world);
        let lanes: Vec<_> = world.sent.drain(..).map(|sent| (sent.server, sent.lane)).collect();
        lanes.into_iter().for_each(|(server, lane)| world.close(server, lane, Closing::Broken { why: "reset" }));
        run(&mut world, &mut line, 20, true, |_| false);
    }
    assert_eq!((line.delivered.len(), &line.parked[..]), (301, &[][..]));
}

#[test]
fn a_suspect_without_an_answer_does_not_keep_the_others() {
    let mut world = connected(1, impatient);
    let mut line = Line::of(&world, 1..=3);
    // Two breaks with all of them under way, then it is silent to one of them.
    for _ in 0..2 {
        run(&mut world, &mut line, 1, false, |_| false);
        let lanes: Vec<_> = (1..=3).map(LaneId).collect();
        lanes.into_iter().for_each(|lane| world.close(ServerIndex(0), lane, Closing::Broken { why: "reset" }));
    }
    line.waiting.extend((100..200).map(|key| (world.now.mono, key, 0)));
    let end = world.now.mono + Duration::from_secs(40);
    while world.now.mono < end {
        for sent in std::mem::take(&mut world.sent) {
            if !is_of(1)(&sent) {
                world.receive(&sent, &sent.stored());
            }
        }
        run(&mut world, &mut line, 0, true, |_| false);
        world.open_all();
        world.answer_probes();
        line.turn(&mut world);
        if world.sent.is_empty() {
            world.pass(Duration::from_millis(50));
        }
    }
    let others = line.delivered.iter().filter(|key| **key >= 100).count();
    assert_eq!(others, 100, "{:?}", line.delivered);
}
