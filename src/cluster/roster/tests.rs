//! Several deliverers on one bucket: they come, share, go and die.

use std::collections::HashMap;
use std::time::Duration;

use super::*;
use crate::cluster::lease::Value;

const TIMING: Timing = Timing { lease: Duration::from_secs(4) };
const PARTITIONS: usize = 7;
/// From a request to its effect, and from there to its answer.
const WAY: Duration = Duration::from_millis(5);

/// What is under way.
enum Letter {
    Update { who: usize, key: Key, turn: u64, expected: u64, value: Vec<u8> },
    Read { who: usize, key: Key },
    Answer { who: usize, key: Key, turn: u64, answer: Answer },
    Seen { who: usize, entry: Entry },
}

/// A process; `None` when it is dead.
struct Process {
    roster: Option<Roster>,
    takes: Vec<usize>,
    told: Vec<Output>,
    /// How long what is under way takes to settle.
    settles: Duration,
}

struct World {
    now: Instant,
    bucket: HashMap<Key, (u64, Vec<u8>)>,
    revision: u64,
    processes: Vec<Process>,
    letters: Vec<(Instant, Letter)>,
    settling: Vec<(Instant, usize, usize)>,
    /// Times each partition was taken.
    moves: [usize; PARTITIONS],
}

impl World {
    fn new() -> Self {
        Self {
            now: Instant(1_000_000),
            bucket: HashMap::new(),
            revision: 0,
            processes: Vec::new(),
            letters: Vec::new(),
            settling: Vec::new(),
            moves: [0; PARTITIONS],
        }
    }

    /// Processes that were started one after the other, and have shared.
    fn with(names: &[&str]) -> Self {
        let mut new = Self::new();
        for name in names {
            new.start(name);
            new.run(5);
        }
        new
    }

    fn start(&mut self, name: &str) -> usize {
        let who = self.processes.len();
        let me = Owner { name: name.to_owned(), nonce: who as u128 };
        let roster = Some(Roster::new(me, TIMING, PARTITIONS));
        self.processes.push(Process { roster, takes: Vec::new(), told: Vec::new(), settles: Duration::ZERO });
        who
    }

    fn kill(&mut self, who: usize) {
        self.processes[who].roster = None;
        self.processes[who].takes.clear();
    }

    fn input(&mut self, who: usize, input: Input<'_>) {
        let mut out = Vec::new();
        if let Some(roster) = &mut self.processes[who].roster {
            roster.handle(self.now, input, &mut out);
        }
        self.take(who, out);
    }

    fn take(&mut self, who: usize, out: Vec<Output>) {
        for output in out {
            let process = &mut self.processes[who];
            process.told.push(output.clone());
            let at = self.now + WAY;
            match output {
                Output::Update { key, turn, expected, value } => {
                    self.letters.push((at, Letter::Update { who, key, turn, expected, value }));
                }
                Output::Read(key) => self.letters.push((at, Letter::Read { who, key })),
                Output::Take { partition, .. } => {
                    process.takes.push(partition);
                    self.moves[partition] += 1;
                }
                Output::Give(partition) => self.settling.push((self.now + process.settles, who, partition)),
                Output::Drop(partition) => process.takes.retain(|own| *own != partition),
                Output::Twin | Output::Left => {}
            }
        }
    }

    fn entry(&self, key: &Key) -> Entry {
        let found = self.bucket.get(key).cloned();
        Entry {
            key: key.clone(),
            revision: found.as_ref().map_or(0, |found| found.0),
            value: found.map(|found| found.1),
        }
    }

    fn deliver(&mut self, letter: Letter) {
        let at = self.now + WAY;
        match letter {
            Letter::Update { who, key, turn, expected, value } => {
                let answer = if self.entry(&key).revision == expected {
                    self.revision += 1;
                    self.bucket.insert(key.clone(), (self.revision, value));
                    Answer::Stored(self.revision)
                } else {
                    Answer::Conflict
                };
                self.letters.push((at, Letter::Answer { who, key, turn, answer }));
            }
            Letter::Read { who, key } => self.letters.push((at, Letter::Seen { who, entry: self.entry(&key) })),
            Letter::Answer { who, key, turn, answer } => self.input(who, Input::Answered { key: &key, turn, answer }),
            Letter::Seen { who, entry } => self.input(who, Input::Seen(&entry)),
        }
    }

    fn step(&mut self) {
        self.now = self.now + Duration::from_millis(5);
        while let Some(at) = self.letters.iter().position(|(due, _)| *due <= self.now) {
            let letter = self.letters.remove(at).1;
            self.deliver(letter);
        }
        while let Some(at) = self.settling.iter().position(|(due, ..)| *due <= self.now) {
            let (_, who, partition) = self.settling.remove(at);
            self.processes[who].takes.retain(|own| *own != partition);
            self.input(who, Input::Settled(partition));
        }
        for who in 0..self.processes.len() {
            if (self.now.0 / 5_000 + 20 * who as u64).is_multiple_of(100) {
                let entries: Vec<Entry> = self.bucket.keys().map(|key| self.entry(key)).collect();
                self.input(who, Input::Scanned(&entries));
            }
            let mut out = Vec::new();
            if let Some(roster) = self.processes[who].roster.as_mut() {
                if roster.deadline().is_some_and(|due| due <= self.now) {
                    roster.tick(self.now, &mut out);
                }
                assert!(roster.deadline().is_none_or(|due| due > self.now), "a tick does all that is due");
            }
            self.take(who, out);
        }
        for partition in 0..PARTITIONS {
            let holds = |process: &Process| process.roster.as_ref().is_some_and(|own| own.holds(partition, self.now));
            assert!(self.processes.iter().filter(|process| holds(process)).count() <= 1, "{partition} has two owners");
        }
    }

    fn run(&mut self, secs: u64) {
        (0..secs * 200).for_each(|_| self.step());
    }

    /// How many partitions each process has, in its own opinion and in that of its leases.
    fn shares(&self) -> Vec<usize> {
        let count = |process: &Process| {
            let holds = |partition: &usize| process.roster.as_ref().is_some_and(|own| own.holds(*partition, self.now));
            let held = (0..PARTITIONS).filter(holds).count();
            assert_eq!(held, process.takes.len());
            held
        };
        self.processes.iter().map(count).collect()
    }
}

#[test]
fn they_share_what_there_is_and_move_no_more_than_that() {
    let mut world = World::new();
    world.start("a");
    world.run(2);
    assert_eq!(world.shares(), [7]);
    world.start("b");
    world.run(3);
    assert_eq!(world.shares(), [4, 3]);
    assert_eq!(world.moves.iter().sum::<usize>(), 7 + 3);
    world.start("c");
    world.run(3);
    assert_eq!(world.shares(), [3, 2, 2]);
    assert_eq!(world.moves.iter().sum::<usize>(), 7 + 3 + 2);
    world.run(60);
    assert_eq!(world.moves.iter().sum::<usize>(), 7 + 3 + 2, "then nothing moves");
}

#[test]
fn what_a_dead_one_had_is_taken_within_five_seconds() {
    let mut world = World::with(&["a", "b", "c"]);
    assert_eq!(world.shares().iter().sum::<usize>(), 7);
    world.kill(1);
    world.run(5);
    assert_eq!(world.shares().iter().sum::<usize>(), 7);
    assert_eq!(world.shares()[1], 0);
    let before = world.moves;
    world.run(30);
    assert_eq!(world.moves, before);
}

#[test]
fn who_leaves_settles_what_is_under_way_and_the_others_wait_for_no_lease_to_run_out() {
    let mut world = World::with(&["a", "b"]);
    assert_eq!(world.shares(), [4, 3]);
    world.processes[0].settles = Duration::from_millis(700);
    world.input(0, Input::Leave);
    world.run(2);
    assert_eq!(world.shares(), [0, 7]);
    assert!(world.processes[0].told.contains(&Output::Left));
    assert_eq!(world.processes[0].roster.as_ref().and_then(Roster::deadline), None);
    let name = Key::Member("a".to_owned());
    let value = Value::decode(&world.bucket[&name].1).expect("a value of ours");
    assert!(value.released);
}

#[test]
fn a_second_process_of_a_name_takes_nothing_and_is_told() {
    let world = World::with(&["a", "a"]);
    assert_eq!(world.shares(), [7, 0]);
    assert!(world.processes[1].told.contains(&Output::Twin));
    assert!(!world.processes[0].told.contains(&Output::Twin));
}

#[test]
fn a_process_that_is_started_again_at_once_waits_for_its_former_life() {
    let mut world = World::new();
    world.start("a");
    world.run(2);
    world.kill(0);
    world.start("a");
    world.run(4);
    assert_eq!(world.shares(), [0, 0]);
    world.run(2);
    assert_eq!(world.shares(), [0, 7]);
    assert!(!world.processes[1].told.contains(&Output::Twin));
}

#[test]
fn without_a_bucket_all_is_dropped_and_with_it_again_each_takes_its_own() {
    let mut world = World::with(&["a", "b"]);
    let before = world.moves.iter().sum::<usize>();
    let bucket = std::mem::take(&mut world.bucket);
    for _ in 0..8 * 200 {
        world.letters.clear();
        world.now = world.now + Duration::from_millis(5);
        for who in 0..2 {
            let mut out = Vec::new();
            world.processes[who].roster.as_mut().expect("alive").tick(world.now, &mut out);
            world.take(who, out);
        }
    }
    assert_eq!(world.shares(), [0, 0]);
    world.bucket = bucket;
    world.run(4);
    assert_eq!(world.shares(), [4, 3]);
    assert_eq!(world.moves.iter().sum::<usize>(), before + 7, "each its own");
}
