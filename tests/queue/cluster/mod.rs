//! Many gateways and deliverers in virtual time: the machines of `tollgate::cluster` against a model of JetStream.
//!
//! Each seed is a cluster of 2 to 5 gateways and 1 to 4 deliverers, 10 to 40 calls, and up to 8 faults: no leader for 4 to 8
//! s, a process cut off (with its requests lost, refused or held back until the end of the cut, and its reads old or
//! without answer), stopped, killed with or without its disk, or its wall clock set. What must hold is in `checks` and at
//! the end of `world`. A seed that fails is run alone with `TOLLGATE_CLUSTER_SEED=n`; with `TOLLGATE_CLUSTER_TRACE=1` it
//! shows each event. `TOLLGATE_CLUSTER_SEEDS=n` runs so many in each test.

mod chance;
mod checks;
mod deliverer;
mod gateway;
mod jetstream;
mod network;
mod records;
mod world;

use world::{Run, run};

/// Seeds of one test; eight of them run side by side.
const SEEDS: u64 = 256;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn seeds(part: u64) {
    let (only, seeds) = (number("TOLLGATE_CLUSTER_SEED"), number("TOLLGATE_CLUSTER_SEEDS").unwrap_or(SEEDS));
    let mut sum = Run::default();
    let mut failed = Vec::new();
    for seed in part * seeds..(part + 1) * seeds {
        if only.is_none_or(|only| only == seed) {
            match std::panic::catch_unwind(|| run(seed, false)) {
                Ok(one) => sum.add(one),
                Err(_) => failed.push(seed),
            }
        }
    }
    println!("{sum:?}");
    assert!(failed.is_empty(), "{} seeds fail: {failed:?}", failed.len());
    assert!(only.is_some() || (sum.adopted > seeds && sum.inherited > seeds / 2), "hardly anything happened: {sum:?}");
}

#[test]
fn whatever_goes_wrong_each_call_ends_once_first_eighth() {
    seeds(0);
}

#[test]
fn whatever_goes_wrong_each_call_ends_once_second_eighth() {
    seeds(1);
}

#[test]
fn whatever_goes_wrong_each_call_ends_once_third_eighth() {
    seeds(2);
}

#[test]
fn whatever_goes_wrong_each_call_ends_once_fourth_eighth() {
    seeds(3);
}

#[test]
fn whatever_goes_wrong_each_call_ends_once_fifth_eighth() {
    seeds(4);
}

#[test]
fn whatever_goes_wrong_each_call_ends_once_sixth_eighth() {
    seeds(5);
}

#[test]
fn whatever_goes_wrong_each_call_ends_once_seventh_eighth() {
    seeds(6);
}

#[test]
fn whatever_goes_wrong_each_call_ends_once_eighth_eighth() {
    seeds(7);
}

#[test]
fn without_faults_nothing_is_made_twice() {
    for seed in 10_000..10_050 {
        let run = run(seed, true);
        assert_eq!((run.unmirrored, run.duplicates, run.repeats), (0, 0, 0), "{seed}");
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    assert_eq!(run(7, false), run(7, false));
}
