//! `kill -9` at random moments: no acknowledged record is lost, no batch is there in part, no settlement is invented.
//!
//! `TOLLGATE_KILLS` sets the number of kills; default 50.

use std::io::{BufRead, BufReader};
use std::process::Child;
use std::time::{Duration, Instant};

use tollgate::ids::SinkNumber;

use crate::support::queue::{self, Known, Random, check, child, drain, open};
use crate::support::start::Start as _;

const CHILD_TEST: &str = "kill::child_process";

/// Not a test of its own: the child of the others.
#[test]
fn child_process() {
    queue::run_if_child();
}

#[test]
fn a_killed_process_loses_nothing_it_acknowledged() {
    let kills: u64 = std::env::var("TOLLGATE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(50);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("queue");
    let mut known = Known::default();
    let mut random = Random::new(kills);
    let (mut while_opening, mut acked) = (0, 0);
    let mut opening = Duration::from_millis(50);
    for kill in 0..kills {
        known.opened = false;
        let mut process = child(CHILD_TEST, &path, kill + 1, None).start().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let begin = Instant::now();
        // One in three dies within the time opening takes, the others in the commit after a random number of them.
        let mut commits = if random.below(3) == 0 { u64::MAX } else { 1 + random.below(30) };
        let (order, orders) = std::sync::mpsc::channel();
        if commits == u64::MAX {
            let wait = Duration::from_micros(random.below(opening.as_micros() as u64));
            order.send(begin + wait).unwrap();
        }
        let killer = std::thread::spawn(move || kill_at(&mut process, orders.recv().unwrap()));
        for line in lines {
            let line = line.unwrap();
            known.line(&line);
            if line.starts_with("@OPEN") {
                opening = begin.elapsed();
            }
            if line.starts_with("@ACK") && commits != u64::MAX {
                commits -= 1;
                if commits == 0 {
                    order.send(Instant::now() + Duration::from_micros(random.below(4000))).unwrap();
                    commits = u64::MAX;
                }
            }
        }
        killer.join().unwrap();
        while_opening += u64::from(!known.opened);
        let opened = open(&path);
        assert!(opened.report.damaged.is_empty() && opened.report.lost == 0, "kill {kill}: {:?}", opened.report);
        let queue = check(opened, &mut known).unwrap_or_else(|wrong| panic!("after kill {kill}: {wrong}"));
        acked = acked.max(known.acked.keys().next_back().copied().unwrap_or(0));
        if kill % 10 == 9 {
            drain(queue);
            known.acked.retain(|commit, _| *commit == acked);
            known.acked.values_mut().for_each(|count| *count = 0);
            known.settled.clear();
        }
    }
    println!("{kills} kills, {while_opening} of them while opening, {acked} commits");
    assert!(
        while_opening > 0 && acked > kills,
        "{while_opening} while opening, {acked} commits: the kills were no test"
    );
}

fn kill_at(process: &mut Child, moment: Instant) {
    while let Some(left) = moment.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(left);
    }
    process.kill().unwrap();
    process.wait().unwrap();
}

#[test]
fn a_second_instance_names_the_first_and_touches_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("queue");
    let mut process = child(CHILD_TEST, &path, 1, None).start().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let opened = lines.find(|line| line.as_ref().unwrap().starts_with("@ACK"));
    assert!(opened.is_some());
    let sinks = ["a".to_owned()];
    let second = tollgate::queue::Queue::open(queue::settings(&path), &sinks, tollgate::clock::now, &mut || {});
    let message = second.map(|_| ()).unwrap_err().to_string();
    assert!(message.contains(&format!("(process {})", process.id())), "{message}");
    process.kill().unwrap();
    process.wait().unwrap();
    let sinks: Vec<SinkNumber> = open(&path).sinks.into_iter().map(|(_, sink)| sink).collect();
    assert_eq!(sinks, [queue::A, queue::B]);
}

#[test]
fn a_second_instance_is_refused_by_the_databases_when_the_lock_was_removed_by_hand() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("queue");
    let mut process = child(CHILD_TEST, &path, 1, None).start().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut known = Known::default();
    let mut until = |acks: u32, known: &mut Known| {
        let mut left = acks;
        lines.by_ref().inspect(|line| known.line(line)).find(|line| {
            left -= u32::from(line.starts_with("@ACK"));
            left == 0
        })
    };
    assert!(until(3, &mut known).is_some());
    std::fs::remove_file(path.join("LOCK")).unwrap();
    let sinks = ["a".to_owned(), "b".to_owned()];
    let second = tollgate::queue::Queue::open(queue::settings(&path), &sinks, tollgate::clock::now, &mut || {});
    let message = second.map(|_| ()).unwrap_err().to_string();
    assert!(message.contains("another") && !message.contains(&std::process::id().to_string()), "{message}");
    assert!(until(20, &mut known).is_some(), "the first one goes on");
    process.kill().unwrap();
    process.wait().unwrap();
    while until(1, &mut known).is_some() {}
    let opened = open(&path);
    assert!(opened.report.damaged.is_empty() && opened.report.lost == 0, "{:?}", opened.report);
    check(opened, &mut known).unwrap_or_else(|wrong| panic!("{wrong}"));
}
