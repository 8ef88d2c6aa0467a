//! Power cuts, without cutting power: a preloaded library records what the queue does to its files, and from the record
//! come states a cut may leave. Each is opened and compared. The same record with its `fdatasync` taken out, as it would
//! be without guard G1, must fail: that proves the test.
//!
//! `TOLLGATE_CUTS` sets the number of states of each record; default 40. Without a C compiler the test says that it is
//! skipped; with `TOLLGATE_PEERS=required` it fails.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::disk::{Disk, Step, Syncs, read_trace, recorder};
use crate::support::queue::{self, Known, Random, check, child, try_open};
use crate::support::start::Start as _;

/// Not a test of its own: the child of the others.
#[test]
fn child_process() {
    queue::run_if_child();
}

/// What the child does to the queue in `path` until it has made `commits`.
fn record(library: &Path, path: &Path, trace: &Path, seed: u64, commits: u64) -> Vec<Step> {
    record_of(child("powercut::child_process", path, seed, Some(commits)), library, path, trace)
}

/// What this child does.
pub fn record_of(mut command: Command, library: &Path, path: &Path, trace: &Path) -> Vec<Step> {
    command.env("LD_PRELOAD", library).env("RECORD_ROOT", path).env("RECORD_TRACE", trace);
    let output = command.finish().unwrap();
    let printed = [&output.stdout[..], &output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&printed));
    read_trace(trace)
}

fn cuts() -> u64 {
    std::env::var("TOLLGATE_CUTS").ok().and_then(|text| text.parse().ok()).unwrap_or(40)
}

/// The disk after the first `count` steps, and what is known from the lines printed until then.
pub fn after(base: &Path, steps: &[Step], count: usize, syncs: Syncs, known: &Known) -> (Disk, Known) {
    let mut disk = Disk::load(base, syncs);
    steps[..count].iter().for_each(|step| disk.step(step));
    let mut known = known.clone();
    disk.lines().lines().filter(|line| line.starts_with('@')).for_each(|line| known.line(line));
    (disk, known)
}

/// Opens a state and says what is wrong with it.
pub fn verdict(state: &Path, known: &mut Known) -> Result<(), String> {
    let mut opened = try_open(state).map_err(|error| format!("does not open: {error:?}"))?;
    if !opened.report.damaged.is_empty() || opened.report.lost > 0 {
        return Err(format!("{:?}, {:?}", opened.report, opened.queue.notices()));
    }
    check(opened, known).map(drop)
}

/// Builds and opens `count` states, and one for each name that is made, moved or taken away; gives what is wrong.
fn try_states(base: &Path, steps: &[Step], count: u64, syncs: Syncs, known: &Known) -> Vec<String> {
    let mut random = Random::new(count);
    let mut wrong = Vec::new();
    let names = |step: &Step| !matches!(step, Step::Write { .. } | Step::SyncData { .. } | Step::Line(_));
    let mut moments: Vec<usize> = (1..).zip(steps).filter(|(_, step)| names(step)).map(|(moment, _)| moment).collect();
    moments.extend((0..count).map(|_| random.below(steps.len() as u64) as usize));
    for (number, moment) in moments.into_iter().enumerate() {
        let (disk, mut known) = after(base, steps, moment, syncs, known);
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("queue");
        disk.cut(&mut random, &state);
        if let Err(why) = verdict(&state, &mut known) {
            wrong.push(format!("state {number}, cut after {moment} of {} steps: {why}", steps.len()));
        }
    }
    wrong
}

#[test]
fn no_power_cut_loses_what_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let Some(library) = recorder(directory.path()) else { return };
    let path = directory.path().join("queue");
    let base = directory.path().join("nothing");
    let steps = record(&library, &path, &directory.path().join("trace"), 5, 60);
    let large = steps.iter().any(|step| matches!(step, Step::Write { data, .. } if data.len() > 400 << 10));
    assert!(large, "a batch over 512 KiB crosses sled's segments");
    // Nothing was on the disk before: the record names everything below `path`.
    assert!(!base.exists());

    let wrong = try_states(&path_of_nothing(&path), &steps, cuts(), Syncs::Honest, &Known::default());
    assert!(wrong.is_empty(), "{} of {} states: {:#?}", wrong.len(), cuts(), &wrong[..wrong.len().min(5)]);

    for (name, syncs) in [("G1", Syncs::NoFdatasync), ("G5", Syncs::NoFsync)] {
        let wrong = try_states(&path_of_nothing(&path), &steps, cuts(), syncs, &Known::default());
        println!("without {name}: {} of {} states are wrong", wrong.len(), cuts());
        assert!(!wrong.is_empty(), "the test does not notice that {name} is missing");
    }
}

/// The queue was made from nothing: moves what the child left away, so that the disk begins empty under the same name.
pub fn path_of_nothing(path: &Path) -> PathBuf {
    if path.exists() {
        std::fs::rename(path, path.with_extension("after")).unwrap();
    }
    path.to_owned()
}

/// Steps of a record by which commits come to the journal, by which they come from there to sled, and by which names come,
/// change and go.
fn steps_of_interest(steps: &[Step]) -> [Vec<usize>; 3] {
    let mut found = [const { Vec::new() }; 3];
    for (moment, step) in (1..).zip(steps) {
        let is_content = matches!(step, Step::Write { .. } | Step::SyncData { .. } | Step::Truncate { .. });
        match step {
            Step::Line(_) => {}
            _ if !is_content => found[2].push(moment),
            _ if step.path().ends_with("/journal") => found[0].push(moment),
            _ if step.path().ends_with("/db") => found[1].push(moment),
            _ => {}
        }
    }
    found
}

#[test]
fn no_kill_and_no_power_cut_between_journal_and_sled_or_at_a_switch_loses_anything() {
    let directory = tempfile::tempdir().unwrap();
    let Some(library) = recorder(directory.path()) else { return };
    let path = directory.path().join("queue");
    let work = queue::emptying_child("powercut::child_process", &path, 3, 60);
    let steps = record_of(work, &library, &path, &directory.path().join("trace"));
    let nothing = path_of_nothing(&path);
    let gone = |step: &Step| matches!(step, Step::Unlink { path } if path.ends_with("/journal"));
    assert!(steps.iter().any(gone), "a spool went, and its journal with it");
    let all = steps_of_interest(&steps);
    let of_each = usize::try_from(cuts()).unwrap();
    let few = |moments: &Vec<usize>| moments.iter().copied().step_by(moments.len().div_ceil(of_each).max(1)).collect();
    let moments: Vec<usize> = all.iter().flat_map(|moments: &Vec<usize>| -> Vec<usize> { few(moments) }).collect();
    let mut random = Random::new(11);
    let (mut states, mut wrong, mut unsynced, mut wrong_without_g1) = (0, Vec::new(), [0; 2], 0);
    for moment in moments.iter().copied() {
        let (disk, known) = after(&nothing, &steps, moment, Syncs::Honest, &Known::default());
        for (count, name) in unsynced.iter_mut().zip(["journal", "db"]) {
            *count += u32::from(disk.is_open(name));
        }
        let directory = tempfile::tempdir().unwrap();
        let [killed, cut] = ["killed", "cut"].map(|name| directory.path().join(name));
        disk.kill(&killed);
        disk.cut(&mut random, &cut);
        for state in [killed, cut] {
            states += 1;
            if let Err(why) = verdict(&state, &mut known.clone()) {
                wrong.push(format!("{} after {moment} of {} steps: {why}", state.display(), steps.len()));
            }
        }
        if wrong_without_g1 == 0 {
            let (disk, mut known) = after(&nothing, &steps, moment, Syncs::NoFdatasyncOfSled, &Known::default());
            let state = directory.path().join("without");
            disk.cut(&mut random, &state);
            wrong_without_g1 += u32::from(verdict(&state, &mut known).is_err());
        }
    }
    println!(
        "{states} states at {} of {} steps of the journal, of sled and of names {:?}; at {unsynced:?} of them the journal \
         and sled had writes that were not synced",
        moments.len(),
        all.iter().map(Vec::len).sum::<usize>(),
        all.each_ref().map(Vec::len),
    );
    assert!(wrong.is_empty(), "{} of {states} states: {:#?}", wrong.len(), &wrong[..wrong.len().min(5)]);
    assert!(unsynced.iter().all(|count| *count > 0), "{unsynced:?}: both were at work");
    assert!(wrong_without_g1 > 0, "the journal makes G1 needless for sled");
}

#[test]
fn a_power_cut_on_top_of_another_loses_nothing_either() {
    let directory = tempfile::tempdir().unwrap();
    let Some(library) = recorder(directory.path()) else { return };
    let first = directory.path().join("first");
    let steps = record(&library, &first, &directory.path().join("trace"), 9, 25);
    let nothing = path_of_nothing(&first);
    let mut random = Random::new(77);
    for round in 0..cuts().div_ceil(10) {
        let moment = steps.len() / 3 + random.below(steps.len() as u64 * 2 / 3) as usize;
        let (disk, mut known) = after(&nothing, &steps, moment, Syncs::Honest, &Known::default());
        let seed = random.below(1 << 40);
        let [looked, went_on] = ["looked", "went"].map(|name| directory.path().join(format!("{name}{round}")));
        for state in [&looked, &went_on] {
            disk.cut(&mut Random::new(seed), state);
        }
        verdict(&looked, &mut known).unwrap_or_else(|wrong| panic!("round {round}, first cut: {wrong}"));

        // The same state goes on working, from its opening on, and is cut again.
        let base = directory.path().join(format!("base{round}"));
        disk.cut(&mut Random::new(seed), &base);
        let trace = directory.path().join(format!("trace{round}"));
        let more = record(&library, &went_on, &trace, round + 100, 10);
        std::fs::remove_dir_all(&went_on).unwrap();
        std::fs::rename(&base, &went_on).unwrap();
        let wrong = try_states(&went_on, &more, 5, Syncs::Honest, &known);
        assert!(wrong.is_empty(), "round {round}, second cut: {wrong:#?}");
    }
}
