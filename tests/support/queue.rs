//! A child process that works on a queue until it is killed, and the check of what it leaves behind.
//!
//! The child is the test binary itself, started again with an environment variable. It prints a line before and after
//! each commit, so that the parent knows what was tried and what was acknowledged.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tollgate::clock::{self, Now};
use tollgate::ids::{CallHash, RecordId, SinkMask, SinkNumber};
use tollgate::queue::{
    Command as QueueCommand, LIST_MAX, Offline, OpenError, Opened, Outcome, Queue, Select, Settings, Settlement, State,
    ask,
};
use tollgate::record::{CallChange, Commit, Entry};

use super::start::closed_is_closed;

/// Settles about half of what it leases.
pub const A: SinkNumber = SinkNumber(0);
/// Settles nothing: what was acknowledged must be there for it.
pub const B: SinkNumber = SinkNumber(1);

const CHILD: &str = "TOLLGATE_TEST_QUEUE";
const SEED: &str = "TOLLGATE_TEST_SEED";
const COMMITS: &str = "TOLLGATE_TEST_COMMITS";
const SPOOL: &str = "TOLLGATE_TEST_SPOOL";
const DRAIN: &str = "TOLLGATE_TEST_DRAIN";

/// How often the child opens or commits again on a disk that fails, each time some seconds later by its clock.
const TRIES: usize = 200;

thread_local! {
    /// Seconds its clock is ahead.
    static AHEAD: Cell<u64> = const { Cell::new(0) };
}

fn now() -> Now {
    clock::now().after(Duration::from_secs(AHEAD.get()))
}

/// Does something until it succeeds; what failed is told, each time a little later.
fn again<T, E: std::fmt::Debug>(what: &str, mut act: impl FnMut() -> Result<T, E>) -> Option<T> {
    (0..TRIES).find_map(|_| {
        act().inspect_err(|error| say(&format!("FAILED {what}: {error:?}"))).ok().or_else(|| {
            AHEAD.set(AHEAD.get() + 2);
            None
        })
    })
}

/// Small limits, so that a test sees many files.
pub fn settings(path: &Path) -> Settings {
    Settings {
        path: path.to_owned(),
        cache_bytes: 4 << 20,
        reserve_bytes: 0,
        free_min: 0,
        // The records of these tests say that they are years old.
        age_max: Duration::ZERO,
        spool_bytes: 3 << 20,
        journal_bytes: 128 << 10,
        ..Settings::default()
    }
}

pub fn open(path: &Path) -> Opened {
    try_open(path).unwrap_or_else(|error| panic!("{}: {error:?}", path.display()))
}

pub fn try_open(path: &Path) -> Result<Opened, OpenError> {
    closed_is_closed();
    Queue::open(settings(path), &["a".to_owned(), "b".to_owned()], clock::now, &mut || {})
}

/// Writes the files of a folder in `tests/vectors/queue`.
pub fn unpack(fixture: &str, folder: &Path) {
    let mut file = None;
    for line in fixture.lines().filter(|line| !line.starts_with('#')) {
        let (name, rest) = line.trim_start().split_once(' ').unwrap();
        if line.starts_with(' ') {
            let at = u64::from_str_radix(name, 16).unwrap();
            let octets: Vec<u8> =
                (0..rest.len()).step_by(2).map(|at| u8::from_str_radix(&rest[at..at + 2], 16).unwrap()).collect();
            std::os::unix::fs::FileExt::write_all_at(file.as_ref().unwrap(), &octets, at).unwrap();
        } else {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let made = fs::File::create(path).unwrap();
            made.set_len(rest.parse().unwrap()).unwrap();
            file = Some(made);
        }
    }
}

/// A small generator of numbers that look random: the same for the same seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit.max(1)
    }
}

/// The body of record `number`: its length and octets follow from the number.
pub fn body(number: u64) -> Vec<u8> {
    let mut random = Random::new(number + 1);
    let length = match random.below(20) {
        0 => 4096 + random.below(9000),
        1 => random.below(10),
        _ => 200 + random.below(600),
    };
    number.to_be_bytes().into_iter().cycle().take(8 + length as usize).collect()
}

fn number_of(id: RecordId) -> u64 {
    u64::try_from(id.0 & u128::from(u64::MAX)).expect("masked to 64 bits")
}

/// Calls after commit `commit`: the last 20 commits have one each.
fn calls_after(commit: u64) -> BTreeMap<u64, u64> {
    (commit.saturating_sub(19).max(1)..=commit).map(|call| (call, call * 7)).collect()
}

fn call_change(commit: u64) -> Vec<CallChange> {
    let put = CallChange::Put { key: commit.to_be_bytes().to_vec(), value: body(commit * 7) };
    let old = commit.checked_sub(20).filter(|old| *old > 0);
    let removed = old.map(|old| CallChange::Remove { key: old.to_be_bytes().to_vec() });
    [put].into_iter().chain(removed).collect()
}

/// Runs the child's work if this process is the child; it ends by being killed, or after the commits asked for.
pub fn run_if_child() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let mut random = Random::new(number(SEED).unwrap_or(1));
    let mut settings = settings(Path::new(&path));
    settings.spool_bytes = number(SPOOL).unwrap_or(settings.spool_bytes);
    let opened = again("open", || Queue::open(settings.clone(), &["a".to_owned(), "b".to_owned()], now, &mut || {}));
    let opened = opened.expect("the disk lets the queue open");
    let last = opened.calls.iter().map(|(key, _)| u64::from_be_bytes(key[..].try_into().expect("8 octets"))).max();
    let mut queue = opened.queue;
    let mut commit = last.unwrap_or(0);
    let drain_every = number(DRAIN);
    let until = number(COMMITS).map_or(u64::MAX, |count| commit + count);
    let mut next = commit << 20;
    say(&format!("OPEN {commit}"));
    while commit < until {
        commit += 1;
        next = next.max(commit << 20);
        // Some batches are over 512 KiB: they cross sled's segments.
        let count = if random.below(25) == 0 { 1200 } else { 1 + random.below(40) };
        let numbers = next..next + count;
        let entries = numbers.map(|n| Entry {
            id: RecordId(1_700_000_000_000 << 80 | u128::from(n)),
            call: CallHash(n / 3),
            sinks: SinkMask(3),
            body: body(n),
        });
        let work = Commit { entries: entries.collect(), calls: call_change(commit) };
        say(&format!("TRY {commit} {count}"));
        queue.add(work).expect("the test stays under the limits");
        again("commit", || queue.finish(now)).expect("the disk takes the commit");
        queue.notices().iter().for_each(|notice| say(&format!("NOTE {notice}")));
        say(&format!("ACK {commit} {count}"));
        let mut leases = Vec::new();
        queue.lease(A, 60, now(), &mut leases);
        for lease in leases {
            // All where the queue is emptied: one that stays out holds up those behind it.
            if random.below(2) == 0 || drain_every.is_some() {
                say(&format!("SETTLE {}", number_of(lease.id)));
                queue.settle(A, lease.seq, Settlement::Delivered, now());
            }
        }
        if drain_every.is_some_and(|every| commit.is_multiple_of(every)) {
            say(&format!("DRAIN {commit}"));
            deliver_all(&mut queue, now);
            AHEAD.set(AHEAD.get() + 1);
        }
        queue.tick(now());
    }
    let closed = queue.close(now);
    say(&format!("END {closed:?}"));
    std::process::exit(0);
}

fn say(line: &str) {
    // One write for each line: the recorder takes it as one mark, and a kill cuts between lines.
    std::io::stdout()
        .write_all(format!("\n@{line}\n").as_bytes())
        .and_then(|()| std::io::stdout().flush())
        .expect("the parent reads until this process ends");
}

/// The command that starts the child through its test.
pub fn child(test: &str, path: &Path, seed: u64, commits: Option<u64>) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this test has a file"));
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command.env(CHILD, path).env(SEED, seed.to_string());
    if let Some(commits) = commits {
        command.env(COMMITS, commits.to_string());
    }
    command.stdout(Stdio::piped()).stdin(Stdio::null());
    command
}

/// As [`child`], with small spools that are emptied after each ten commits, so that they go.
pub fn emptying_child(test: &str, path: &Path, seed: u64, commits: u64) -> Command {
    let mut command = child(test, path, seed, Some(commits));
    command.env(SPOOL, (1 << 20).to_string()).env(DRAIN, "10");
    command
}

/// What is known of the child's work from its lines.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Acknowledged commits and their records.
    pub acked: BTreeMap<u64, u64>,
    /// The commit under way when it died.
    pub tried: Option<(u64, u64)>,
    /// Whether it came so far as to have opened the queue.
    pub opened: bool,
    /// Records given to be settled for sink A.
    pub settled: std::collections::BTreeSet<u64>,
    /// The last commit whose records, and those of all before it, both sinks may have.
    pub drained: u64,
}

impl Known {
    /// Takes in a line of the child.
    pub fn line(&mut self, line: &str) {
        let mut words = line.trim_start_matches('@').split(' ');
        let word = words.next();
        let mut number = || words.next().and_then(|text| text.parse::<u64>().ok());
        match word {
            Some("OPEN") => self.opened = true,
            Some("TRY") => self.tried = number().zip(number()),
            Some("ACK") => {
                self.tried = None;
                self.acked.extend(number().zip(number()));
            }
            Some("DRAIN") => self.drained = number().unwrap_or(0),
            Some("SETTLE") => self.settled.extend(number()),
            _ => {}
        }
    }

    /// After a crash: takes the commit under way as acknowledged if the queue holds it.
    pub fn settle_tried(&mut self, held: bool) {
        if let Some((commit, count)) = self.tried.take()
            && held
        {
            self.acked.insert(commit, count);
        }
    }
}

/// Holds what an opened queue has against what is known; says what is wrong.
///
/// # Errors
/// The first difference found, as a text.
pub fn check(opened: Opened, known: &mut Known) -> Result<Queue, String> {
    let calls = opened.calls;
    let mut desk = Offline { queue: opened.queue, clock: clock::now };
    let of_b = records(&mut desk, B);
    let of_a = records(&mut desk, A);
    for (commit, count) in known.acked.iter().filter(|(commit, _)| **commit > known.drained) {
        for number in (commit << 20)..(commit << 20) + count {
            match of_b.get(&number) {
                Some(found) if *found == body(number) => {}
                Some(_) => return Err(format!("record {number} of commit {commit} is altered")),
                None => return Err(format!("record {number} of acknowledged commit {commit} is missing")),
            }
            if !of_a.contains_key(&number) && !known.settled.contains(&number) {
                return Err(format!("record {number} of commit {commit} is settled though nobody settled it"));
            }
        }
    }
    let extra: Vec<u64> = of_b.keys().copied().filter(|number| !known.acked.contains_key(&(number >> 20))).collect();
    let held = !extra.is_empty();
    if held {
        let (commit, count) = known
            .tried
            .ok_or_else(|| format!("{} records nobody appended, from {:?} on", extra.len(), extra.first()))?;
        if extra != ((commit << 20)..(commit << 20) + count).collect::<Vec<_>>() {
            return Err(format!("{} of the {count} records of commit {commit} under way", extra.len()));
        }
    }
    known.settle_tried(held);
    check_calls(&calls, known)?;
    if !desk.queue.stats().balanced() {
        return Err(format!("the balance does not hold: {:?}", desk.queue.stats()));
    }
    Ok(desk.queue)
}

fn check_calls(calls: &[(Vec<u8>, Vec<u8>)], known: &Known) -> Result<(), String> {
    let last = known.acked.keys().next_back().copied().unwrap_or(0);
    let got: BTreeMap<u64, Vec<u8>> = calls
        .iter()
        .map(|(key, value)| (u64::from_be_bytes(key[..].try_into().expect("8 octets")), value.clone()))
        .collect();
    let want: BTreeMap<u64, Vec<u8>> = calls_after(last).into_iter().map(|(call, value)| (call, body(value))).collect();
    if got == want {
        return Ok(());
    }
    Err(format!("calls after commit {last}: {:?}, not {:?}", got.keys(), want.keys()))
}

/// All records that wait for a sink, by number.
pub fn records(desk: &mut Offline, sink: SinkNumber) -> BTreeMap<u64, Vec<u8>> {
    let select = Select { sink: Some(sink), state: Some(State::Waiting), ..Select::default() };
    let (mut found, mut from) = (BTreeMap::new(), None);
    loop {
        match ask(desk, QueueCommand::List { select, from, max: LIST_MAX }) {
            Ok(Outcome::Page(page)) => {
                found.extend(page.items.into_iter().map(|item| (number_of(item.id), item.body.to_vec())));
                from = page.next;
                if from.is_none() {
                    return found;
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Delivers everything to both sinks, so that spools empty and their space is used again; closes the queue in order.
pub fn drain(mut queue: Queue) {
    deliver_all(&mut queue, clock::now);
    queue.close(clock::now).expect("the disk takes the settlements");
}

fn deliver_all(queue: &mut Queue, now: fn() -> Now) {
    for sink in [A, B] {
        loop {
            let mut leases = Vec::new();
            if queue.lease(sink, 4096, now(), &mut leases) == 0 {
                break;
            }
            leases.iter().for_each(|lease| queue.settle(sink, lease.seq, Settlement::Delivered, now()));
        }
    }
}
