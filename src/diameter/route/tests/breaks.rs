//! One record that makes its server close the connection: who is sent when, and what becomes of it.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// A server that closes the connection at the records of `poison`, and the queue in front of it.
struct Scene {
    bench: Bench,
    poison: BTreeSet<u64>,
    /// Records in the queue, with the instant from which on they may be lent, and their tries.
    queue: BTreeMap<u64, (Instant, u32)>,
    delivered: Vec<u64>,
    parked: BTreeMap<u64, Reason>,
    tries: BTreeMap<u64, u32>,
    /// Requests that the server saw, in order.
    seen: Vec<u64>,
}

impl Scene {
    fn new(bench: Bench, records: std::ops::RangeInclusive<u64>, poison: &[u64]) -> Self {
        let queue = records.map(|key| (key, (Instant(0), 0))).collect();
        let poison = poison.iter().copied().collect();
        let (delivered, seen) = (Vec::new(), Vec::new());
        Self { bench, poison, queue, delivered, parked: BTreeMap::new(), tries: BTreeMap::new(), seen }
    }

    /// The queue lends what it may, the server answers what came in order and closes at a poisoned record.
    fn step(&mut self) {
        let now = self.bench.now.mono;
        let due: Vec<u64> = self.queue.iter().filter(|(_, (at, _))| *at <= now).map(|(key, _)| *key).collect();
        for key in due {
            if self.bench.capacity() == 0 {
                break;
            }
            let (_, attempts) = self.queue.remove(&key).expect("due");
            self.bench.submit_with(key, |record| record.attempts = attempts);
        }
        self.serve();
        for end in std::mem::take(&mut self.bench.ends) {
            match end {
                Output::Delivered { key, .. } => self.delivered.push(key.0),
                Output::Park { key, reason } => drop(self.parked.insert(key.0, reason)),
                Output::Retry { key, after, reason } => {
                    *self.tries.entry(key.0).or_default() += u32::from(reason.is_try());
                    self.queue.insert(key.0, (self.bench.now.mono + after, 1));
                }
                other => panic!("no end: {other:?}"),
            }
        }
    }

    fn serve(&mut self) {
        while !self.bench.wire.is_empty() {
            let sent = self.bench.wire.remove(0);
            let key = u64::from(sent.header.end_to_end) - 1000;
            self.seen.push(key);
            if self.poison.contains(&key) {
                self.bench.lose(sent.peer);
            } else {
                self.bench.answer_to(&sent, 2001);
            }
        }
    }

    fn run(&mut self, secs: u64) {
        for _ in 0..secs * 100 {
            self.step();
            self.bench.pass(Duration::from_millis(10));
        }
        self.step();
    }
}

const A: (&str, u16) = ("a.test", 0);
const B: (&str, u16) = ("b.test", 1);

#[test]
fn one_record_at_which_the_server_closes_stops_nothing_and_is_parked() {
    for (name, peers) in [("one peer", &[A][..]), ("two peers", &[A, B])] {
        let mut scene = Scene::new(Bench::new(peers), 1..=12, &[3]);
        scene.run(20);
        let mut delivered = scene.delivered.clone();
        delivered.sort_unstable();
        assert_eq!(delivered, [1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12], "{name}");
        assert_eq!(scene.parked, BTreeMap::from([(3, Reason::Breaks { times: 3 })]), "{name}");
        assert_eq!(
            scene.tries.values().sum::<u32>(),
            0,
            "{name}: a break is no try of the innocent: {:?}",
            scene.tries
        );
        assert!(scene.parked[&3].to_string().starts_with("the connection breaks whenever it is sent"), "{name}");
    }
}

#[test]
fn every_other_record_of_many_may_be_one() {
    let poison: Vec<u64> = (2..=12).step_by(2).collect();
    let mut scene = Scene::new(Bench::new(&[A]), 1..=12, &poison);
    scene.run(60);
    let mut delivered = scene.delivered.clone();
    delivered.sort_unstable();
    assert_eq!(delivered, [1, 3, 5, 7, 9, 11]);
    assert_eq!(scene.parked.keys().copied().collect::<Vec<_>>(), poison);
}

#[test]
fn new_records_go_before_a_suspect_and_nothing_goes_beside_it() {
    let mut scene = Scene::new(Bench::new(&[A]), 1..=4, &[1]);
    while scene.delivered.len() < 3 {
        scene.run(1);
    }
    assert_eq!(scene.parked.len(), 0, "the innocent of the first breaks go first");
    for key in 5..=300 {
        scene.queue.insert(key, (Instant(0), 0));
        scene.step();
        scene.bench.pass(Duration::from_millis(20));
    }
    scene.run(10);
    assert_eq!(scene.delivered.len(), 299, "{:?}", scene.queue);
    assert_eq!(scene.parked.len(), 1);
    let breaks = scene.bench.client.status(scene.bench.now.mono).peers[0].counters.losses;
    assert!(breaks <= 5, "{breaks} breaks for one record under steady traffic");
}

#[test]
fn a_server_that_is_killed_now_and_then_makes_nobody_a_culprit() {
    let mut scene = Scene::new(Bench::new(&[A]), 1..=1, &[]);
    for key in 2..=400 {
        scene.bench.submit(key);
        if key % 40 == 0 {
            // Four are under way.
            for more in 0..3 {
                scene.bench.submit(1000 + key * 10 + more);
            }
            scene.bench.lose(0);
            scene.bench.wire.clear();
        }
        scene.run(3);
    }
    assert_eq!((scene.parked.len(), scene.delivered.len()), (0, 430));
}

#[test]
fn a_server_that_closes_at_every_record_pauses_the_route_instead() {
    let mut scene =
        Scene::new(Bench::with(&[A], |settings| settings.pause_after = 5), 1..=30, &(1..=30).collect::<Vec<_>>());
    scene.run(200);
    assert_eq!(scene.parked.len(), 4, "the fifth in a row speaks of the server");
    assert!(scene.bench.alarms.contains(&Alarm::Flood { by: Complaint::Break }), "{:?}", scene.bench.alarms);
    let paused = scene.bench.client.status(scene.bench.now.mono).paused;
    assert_eq!(paused, Some(Complaint::Break));
    scene.poison.clear();
    scene.run(1000);
    assert_eq!(scene.delivered.len(), 26, "it takes them again");
    assert!(scene.bench.alarms.contains(&Alarm::FloodOver));
}

#[test]
fn a_record_at_which_the_server_falls_silent_is_one_too() {
    // It hangs for good at the record: the watchdog closes the connection, and the next one works until then.
    let mut bench = Bench::with(&[A], |settings| {
        settings.request_timeout = Duration::from_secs(3600);
        settings.timing.watchdog = Duration::from_secs(6);
    });
    let mut ends = Vec::new();
    for attempt in 0..3 {
        while bench.capacity() == 0 {
            bench.pass_secs(1);
        }
        bench.submit_with(1, |record| record.attempts = attempt);
        bench.pass_secs(1);
        bench.alive[0] = false;
        bench.pass_secs(30);
        bench.alive[0] = true;
        ends.append(&mut bench.ends);
    }
    assert_eq!(parked(&ends[2]), Reason::Breaks { times: 3 });
}

#[test]
fn a_goodbye_of_the_server_accuses_nobody() {
    let mut bench = Bench::new(&[A]);
    let header = Header { flags: flag::REQUEST, command: command::DISCONNECT_PEER, ..Header::default() };
    let goodbye = build(&header, |avps| avps.u32(code::DISCONNECT_CAUSE, 0, M, 0));
    for attempt in 0..10 {
        while bench.capacity() == 0 {
            bench.pass_secs(1);
        }
        assert!(bench.submit_with(1, |record| record.attempts = attempt).is_some());
        bench.put(Input::Received { peer: number(0), message: &goodbye });
        bench.pass_secs(2);
        assert_eq!(retry(&bench.end()).1, Reason::Broke { transmissions: 1 }, "attempt {attempt}");
        bench.lose(0);
    }
}

#[test]
fn a_stop_gives_suspects_back_at_once_and_waits_for_the_one_that_is_out() {
    let mut scene = Scene::new(Bench::new(&[A]), 1..=3, &[1, 2, 3]);
    while scene.bench.client.in_flight() == 0 || scene.seen.len() < 6 {
        scene.step();
        scene.bench.pass(Duration::from_millis(10));
    }
    // Two breaks have made suspects of them; one is out, or about to go.
    scene.bench.pass(Duration::from_millis(100));
    let out = scene.bench.wire.len();
    assert_eq!((out, scene.bench.client.in_flight()), (1, 3));
    scene.bench.put(Input::Stop);
    assert_eq!(scene.bench.client.in_flight(), 1, "{:?}", scene.bench.ends);
    scene.bench.pass_secs(6);
    assert_eq!(scene.bench.client.in_flight(), 0);
    assert!(scene.bench.client.is_gone());
}
