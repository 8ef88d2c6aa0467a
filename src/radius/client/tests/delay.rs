//! The window against servers that have a queue, in virtual time.

use std::collections::VecDeque;

use super::*;

/// A server that works on one record after another, and the way there and back.
#[derive(Clone, Copy, Debug)]
struct Model {
    per_second: u64,
    way: Duration,
    /// Requests beyond which its socket loses what comes.
    room: usize,
}

/// What was seen in the last seconds of a run.
#[derive(Debug)]
struct Seen {
    per_second: u64,
    /// The longest and the mean time to the answer.
    longest: Duration,
    mean: Duration,
    /// Requests the server's socket had no room for.
    lost: u32,
}

/// An endless backlog against a server, for a time; measured over its last `measured`.
fn drain(world: &mut World, model: Model, span: Duration, measured: Duration) -> Seen {
    let work = Duration::from_secs(1) / u32::try_from(model.per_second).unwrap();
    let (end, from) = (world.now.mono + span, world.now.mono + (span - measured));
    // When the answer is here, and to what.
    let mut queue: VecDeque<(Instant, Sent)> = VecDeque::new();
    let (mut free_at, mut key, mut round_trips, mut lost) = (world.now.mono, world.now.mono.0, Vec::new(), 0);
    while world.now.mono < end {
        for _ in 0..world.capacity() {
            key += 1;
            world.submit(key);
        }
        for sent in std::mem::take(&mut world.sent) {
            let waiting = free_at.since(sent.at).as_nanos() / work.as_nanos();
            if waiting < model.room as u128 {
                free_at = free_at.max(sent.at) + work;
                queue.push_back((free_at + model.way, sent));
            } else if sent.at >= from {
                lost += 1;
            }
        }
        let due = world.client.deadline().into_iter().chain(queue.front().map(|(at, _)| *at)).min();
        let next = due.unwrap_or(end).min(end);
        world.pass(next.since(world.now.mono));
        while let Some((_, sent)) = queue.pop_front_if(|(at, _)| *at <= world.now.mono) {
            if sent.at >= from {
                round_trips.push(world.now.mono.since(sent.at));
            }
            world.receive(&sent, &sent.stored());
        }
        world.told.clear();
    }
    for (at, sent) in queue {
        world.pass(at.since(world.now.mono));
        world.receive(&sent, &sent.stored());
    }
    world.sent.clear();
    let count = u32::try_from(round_trips.len()).unwrap().max(1);
    Seen {
        per_second: (f64::from(count) / measured.as_secs_f64()) as u64,
        longest: round_trips.iter().copied().max().unwrap_or_default(),
        mean: round_trips.iter().sum::<Duration>() / count,
        lost,
    }
}

const MILLIS: fn(u64) -> Duration = Duration::from_millis;

#[test]
fn a_backlog_makes_no_long_queue_at_a_server_and_leaves_it_busy() {
    for (name, per_second, way, longest, secs) in [
        ("a database: the window of 512 would be a second", 500, MILLIS(1), MILLIS(300), 40),
        ("a slow database: five seconds", 100, MILLIS(1), MILLIS(300), 100),
        ("far away", 500, MILLIS(200), MILLIS(500), 40),
        ("files on the same host: the window is no limit", 20_000, MILLIS(0), MILLIS(60), 2),
    ] {
        let mut world = World::with(1, |_| {});
        let model = Model { per_second, way, room: usize::MAX };
        let seen = drain(&mut world, model, Duration::from_secs(secs), Duration::from_secs(secs / 2));
        assert!(seen.longest <= longest, "{name}: {seen:?}");
        assert!(seen.per_second * 10 >= per_second * 9, "{name}: {seen:?}");
    }
}

#[test]
fn a_server_that_has_become_slower_for_each_record_is_not_taken_for_a_queue_for_ever() {
    let mut world = World::with(1, |_| {});
    let quick = Model { per_second: 1000, way: MILLIS(1), room: usize::MAX };
    drain(&mut world, quick, Duration::from_secs(10), Duration::from_secs(1));
    let far = Model { way: MILLIS(250), ..quick };
    let seen = drain(&mut world, far, Duration::from_secs(60), Duration::from_secs(20));
    assert!(seen.per_second >= 850, "{seen:?}");
    assert!(seen.mean <= MILLIS(400), "{seen:?}");
}

#[test]
fn one_slow_record_among_quick_ones_is_no_queue() {
    let mut world = World::with(1, |_| {});
    for round in 0..50 {
        (0..world.capacity() as u64).for_each(|more| world.submit(round * 1000 + more));
        world.pass(MILLIS(1));
        world.answer_all();
    }
    let window = world.server(0).window;
    assert_eq!(window, 512);
    for key in 0..40 {
        (0..20).for_each(|more| world.submit(1_000_000_000_000 + key * 20 + more));
        let slow = world.sent.remove(0);
        world.pass(MILLIS(1));
        world.answer_all();
        world.pass(MILLIS(700));
        world.receive(&slow, &slow.stored());
    }
    assert!(world.server(0).window >= window, "{} was {window}", world.server(0).window);
}

#[test]
fn a_window_that_overflowed_a_socket_comes_near_it_slowly() {
    // As an untuned FreeRADIUS: its socket is full long before its queue takes the target.
    let model = Model { per_second: 1000, way: MILLIS(0), room: 60 };
    let mut world = World::with(1, |_| {});
    let seen = drain(&mut world, model, Duration::from_secs(60), Duration::from_secs(40));
    assert!(seen.per_second >= 900, "{seen:?}");
    assert!(seen.lost <= 200, "half a per cent: {seen:?}");
}

#[test]
fn single_records_a_server_cannot_store_leave_the_window_free_to_grow() {
    let mut world = World::with(1, |settings| settings.transmissions = 1);
    for round in 0..200 {
        (0..world.capacity() as u64).for_each(|more| world.submit(round * 1000 + more));
        if round % 40 == 0 {
            world.sent.remove(0);
        }
        world.pass(MILLIS(100));
        world.answer_all();
    }
    // One a round since the first was lost, less five halves; near a ceiling it would be one a second.
    assert!(world.server(0).window > 60, "{}", world.server(0).window);
}
