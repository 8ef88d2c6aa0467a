//! Each rule of the calls' mirror by itself; all of them together are run by `tests/queue/cluster`.

use std::collections::HashMap;

use super::*;

/// The bucket, a gateway, and a clock.
pub(super) struct Bench {
    pub(super) calls: Calls,
    now: Now,
    pub(super) bucket: HashMap<CallKey, (u64, Vec<u8>)>,
    pub(super) revision: u64,
    /// What came out and is no request to the bucket.
    told: Vec<Output>,
    /// Requests that were not answered.
    pub(super) open: Vec<Output>,
}

pub(super) fn key(number: u8) -> CallKey {
    CallKey([number; 24])
}

fn home(name: &str) -> Home {
    Home { name: name.to_owned(), disk: u128::from(name.as_bytes()[0]) }
}

fn sinks() -> Vec<(u8, String)> {
    vec![(3, "billing".to_owned())]
}

pub(super) fn value(state: State, owner: &str, former: &[&str], body: &[u8]) -> Vec<u8> {
    let former = former.iter().map(|name| (*name).to_owned()).collect();
    let header = Header { state, owner: home(owner), epoch: 1, written: Timestamp(0), former, sinks: sinks() };
    header.encode(body)
}

impl Bench {
    /// A gateway `a` that has not compared yet, and what the bucket holds.
    fn starting(bucket: &[(CallKey, Vec<u8>)]) -> Self {
        let now = Now { mono: Instant(1_000_000), wall: Timestamp(1_000_000) };
        let mut told = Vec::new();
        let calls = Calls::new(now, Settings { home: home("a"), epoch: 5, sinks: sinks() }, &mut told);
        assert_eq!(std::mem::take(&mut told), [Output::Scan { scan: 1 }]);
        let mut new = Self { calls, now, bucket: HashMap::new(), revision: 0, told, open: Vec::new() };
        bucket.iter().for_each(|(key, value)| new.set(*key, value.clone()));
        new
    }

    /// One that serves.
    pub(super) fn new() -> Self {
        let mut new = Self::starting(&[]);
        new.scan(1);
        assert_eq!(
            new.take(),
            [Output::Inherited { from: "a".to_owned(), calls: 0 }, Output::Compared { complete: true }]
        );
        new
    }

    fn set(&mut self, key: CallKey, value: Vec<u8>) {
        self.revision += 1;
        self.bucket.insert(key, (self.revision, value));
    }

    pub(super) fn header(&self, key: CallKey) -> Option<Header> {
        self.bucket.get(&key).map(|(_, value)| Header::decode(value).expect("it can be read").0)
    }

    pub(super) fn input(&mut self, input: Input<'_>) {
        let mut out = Vec::new();
        self.calls.handle(self.now, input, &mut out);
        self.sort(out);
    }

    pub(super) fn pass(&mut self, millis: u64) {
        self.now = self.now.after(Duration::from_millis(millis));
        let mut out = Vec::new();
        self.calls.tick(self.now, &mut out);
        self.sort(out);
    }

    fn sort(&mut self, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Update { .. } | Output::Remove { .. } | Output::Read { .. } => self.open.push(output),
                other => self.told.push(other),
            }
        }
    }

    pub(super) fn take(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.told)
    }

    fn scan(&mut self, scan: u64) {
        let mut all: Vec<_> = self.bucket.clone().into_iter().collect();
        all.sort();
        for (key, (revision, value)) in all {
            self.input(Input::Found { key, found: Found { revision, value: &value } });
        }
        self.input(Input::Scanned { scan });
    }

    /// Has the bucket do what was asked first.
    pub(super) fn perform(&mut self) -> (CallKey, u64, Answer) {
        let last = |bench: &Self, key: &CallKey| bench.bucket.get(key).map_or(0, |(revision, _)| *revision);
        match self.open.remove(0) {
            Output::Update { key, turn, expected, value } if last(self, &key) == expected => {
                self.set(key, value);
                (key, turn, Answer::Stored(self.revision))
            }
            Output::Remove { key, turn, revision } if last(self, &key) == revision => {
                self.bucket.remove(&key);
                self.revision += 1;
                (key, turn, Answer::Stored(self.revision))
            }
            Output::Update { key, turn, .. } | Output::Remove { key, turn, .. } => (key, turn, Answer::Conflict),
            output => panic!("{output:?} changes nothing"),
        }
    }

    /// Answers what was asked until nothing is.
    pub(super) fn serve(&mut self) {
        while let Some(first) = self.open.first().cloned() {
            if let Output::Read { key, turn } = first {
                self.open.remove(0);
                let found = self.bucket.get(&key).cloned();
                let found = found.as_ref().map(|(revision, value)| Found { revision: *revision, value });
                self.input(Input::Seen { key, turn, found });
            } else {
                let (key, turn, answer) = self.perform();
                self.input(Input::Answered { key, turn, answer });
            }
        }
    }

    pub(super) fn put(&mut self, number: u8, body: &[u8], mark: u64) {
        self.input(Input::Put { key: key(number), value: body.to_vec(), mark });
    }

    /// A call that the bucket holds as ours.
    pub(super) fn mirrored(&mut self, number: u8) {
        self.put(number, b"call", 0);
        self.serve();
        assert!(self.calls.is_in_step());
    }
}

#[test]
fn a_call_is_written_when_its_records_are_in_the_stream_and_removed_when_the_last_ones_are() {
    let mut bench = Bench::new();
    bench.put(1, b"first", 7);
    assert_eq!((bench.open.len(), bench.calls.unmirrored()), (0, 1));
    bench.input(Input::Safe(7));
    assert_eq!(bench.open.len(), 1);
    bench.put(1, b"second", 8);
    bench.put(1, b"third", 8);
    bench.input(Input::Safe(8));
    assert_eq!(bench.open.len(), 1, "one at a time");
    bench.serve();
    assert_eq!(bench.bucket[&key(1)], (2, value_of_a(&bench, b"third")), "the second was replaced while it waited");
    assert_eq!(bench.calls.unmirrored(), 0);
    bench.input(Input::End { key: key(1), mark: 9 });
    assert!(bench.open.is_empty() && !bench.calls.is_in_step());
    bench.input(Input::Safe(9));
    bench.serve();
    assert!(bench.bucket.is_empty() && bench.calls.is_in_step());
    assert_eq!(bench.take(), []);
}

/// What a gateway of the bench writes of a call of its own.
fn value_of_a(bench: &Bench, body: &[u8]) -> Vec<u8> {
    let settings = Settings { home: home("a"), epoch: 5, sinks: sinks() };
    settings.header(State::Live, &[], bench.now.wall).encode(body)
}

#[test]
fn a_call_that_ends_before_it_was_written_is_not_written() {
    let mut bench = Bench::new();
    bench.put(1, b"call", 7);
    bench.input(Input::End { key: key(1), mark: 8 });
    bench.input(Input::Safe(8));
    assert!(bench.open.is_empty() && bench.calls.is_in_step());
}

#[test]
fn who_finds_anothers_value_forgets_the_call_and_mere_absence_means_nothing() {
    for (name, found, forgets, after) in [
        ("adopted and kept by another", Some(value(State::Live, "b", &["a"], b"call")), true, "b"),
        ("ended by another", Some(value(State::Ended, "b", &["a"], b"")), true, "b"),
        ("what a later release wrote", Some(vec![9, 9, 9]), true, ""),
        ("gone: it is written anew", None, false, "a"),
    ] {
        let mut bench = Bench::new();
        bench.mirrored(1);
        match found {
            Some(found) => bench.set(key(1), found),
            None => drop(bench.bucket.remove(&key(1))),
        }
        bench.put(1, b"more", 0);
        bench.serve();
        bench.pass(200);
        bench.serve();
        let forget = Output::Forget { key: key(1), confirm: false };
        assert_eq!(bench.take(), if forgets { vec![forget] } else { Vec::new() }, "{name}");
        let owner = Header::decode(&bench.bucket[&key(1)].1).map(|(header, _)| header.owner.name).unwrap_or_default();
        assert_eq!(owner, after, "{name}");
        assert!(bench.calls.is_in_step(), "{name}");
    }
}

#[test]
fn an_old_value_of_anothers_means_nothing_either() {
    let mut bench = Bench::starting(&[(key(1), value(State::Live, "b", &[], b"call"))]);
    let old = bench.bucket.clone();
    bench.input(Input::Adopt { key: key(1) });
    bench.serve();
    bench.scan(1);
    bench.take();
    bench.put(1, b"more", 0);
    let Output::Update { turn, .. } = bench.open.remove(0) else { panic!("it is written") };
    bench.input(Input::Answered { key: key(1), turn, answer: Answer::Lost });
    let Output::Read { turn, .. } = bench.open.remove(0) else { panic!("it is read back") };
    let (revision, value) = &old[&key(1)];
    bench.input(Input::Seen { key: key(1), turn, found: Some(Found { revision: *revision, value }) });
    assert_eq!(bench.take(), []);
    bench.pass(200);
    bench.serve();
    assert!(bench.calls.is_in_step());
    assert_eq!(bench.header(key(1)).map(|header| header.owner), Some(home("a")));
}

#[test]
fn what_was_refused_waits_and_what_was_lost_is_read_back() {
    let mut bench = Bench::new();
    bench.put(1, b"call", 0);
    let Output::Update { turn, .. } = bench.open.remove(0) else { panic!("it is written") };
    bench.input(Input::Answered { key: key(1), turn, answer: Answer::Refused });
    assert!(bench.open.is_empty());
    bench.pass(200);
    let (_, turn, _) = bench.perform();
    bench.pass(2_000);
    assert!(matches!(bench.open[..], [Output::Read { .. }]), "{:?}", bench.open);
    bench.serve();
    assert!(bench.calls.is_in_step());
    bench.input(Input::Answered { key: key(1), turn, answer: Answer::Stored(1) });
    assert_eq!((bench.revision, bench.take()), (1, Vec::new()), "an answer that comes too late changes nothing");
}

#[test]
fn what_is_held_back_by_the_network_finds_a_mark_when_the_call_has_ended() {
    let mut bench = Bench::new();
    bench.put(1, b"call", 0);
    let held_back = bench.open.remove(0);
    bench.pass(2_000);
    bench.input(Input::End { key: key(1), mark: 0 });
    bench.serve();
    bench.pass(200);
    bench.serve();
    assert_eq!(bench.header(key(1)).map(|header| header.state), Some(State::Ended));
    bench.open.push(held_back);
    assert_eq!(bench.perform().2, Answer::Conflict);
}

#[test]
fn nobody_is_told_that_a_call_is_forgotten_while_a_value_of_it_may_be_on_its_way() {
    for finds_out in [false, true] {
        let mut bench = Bench::new();
        bench.put(1, b"call", 0);
        bench.open.clear();
        bench.pass(2_000);
        bench.serve();
        bench.pass(200);
        bench.serve();
        assert!(bench.calls.is_in_step());
        bench.set(key(1), value(State::Live, "b", &["a"], b"call"));
        if finds_out {
            bench.put(1, b"more", 0);
            bench.serve();
        }
        bench.input(Input::Told { key: key(1), revision: 2 });
        assert_eq!(bench.take(), [Output::Forget { key: key(1), confirm: false }], "{finds_out}");
        bench.pass(60_000);
        bench.input(Input::Told { key: key(1), revision: 2 });
        assert_eq!(bench.take(), [Output::Confirm(key(1))]);
    }
}

#[test]
fn a_call_is_adopted_on_demand_and_its_owner_told() {
    let mut bench = Bench::new();
    bench.set(key(1), value(State::Live, "b", &["c"], b"call"));
    bench.input(Input::Adopt { key: key(1) });
    bench.serve();
    assert_eq!(
        bench.take(),
        [
            Output::Tell { key: key(1), revision: 2, to: "b".to_owned() },
            Output::Restore { key: key(1), from: home("b"), sinks: sinks(), value: b"call".to_vec() },
        ]
    );
    let header = bench.header(key(1)).expect("it is there");
    assert_eq!((header.state, header.owner), (State::Adopted, home("a")));
    assert_eq!(header.former, ["c", "b"]);
    bench.put(1, b"translated", 3);
    bench.input(Input::Safe(3));
    bench.serve();
    assert_eq!(bench.header(key(1)).map(|header| header.state), Some(State::Live));
}

#[test]
fn what_is_not_adopted_says_why() {
    for (name, found, why) in [
        ("nothing there", None, Why::Unknown),
        ("it has ended", Some(value(State::Ended, "b", &[], b"")), Why::Ended),
        ("written by a later release", Some(vec![2, 1]), Why::Unreadable),
    ] {
        let mut bench = Bench::new();
        found.into_iter().for_each(|found| bench.set(key(1), found));
        bench.input(Input::Adopt { key: key(1) });
        bench.serve();
        assert_eq!(bench.take(), [Output::NotAdopted { key: key(1), why }], "{name}");
    }
    let mut bench = Bench::new();
    bench.input(Input::Adopt { key: key(1) });
    bench.pass(1_999);
    assert_eq!(bench.take(), []);
    bench.pass(1);
    assert_eq!(bench.take(), [Output::NotAdopted { key: key(1), why: Why::Unreachable }]);
}

#[test]
fn an_adoption_that_is_stored_when_nobody_waits_any_more_is_taken_up() {
    let mut bench = Bench::new();
    bench.set(key(1), value(State::Live, "b", &[], b"call"));
    bench.input(Input::Adopt { key: key(1) });
    let Output::Read { turn, .. } = bench.open.remove(0) else { panic!("it is read") };
    let (revision, octets) = bench.bucket[&key(1)].clone();
    bench.input(Input::Seen { key: key(1), turn, found: Some(Found { revision, value: &octets }) });
    let held_back = bench.open.remove(0);
    bench.pass(2_000);
    assert_eq!(bench.take(), [Output::NotAdopted { key: key(1), why: Why::Unreachable }]);
    bench.serve();
    bench.open.push(held_back);
    bench.perform();
    bench.pass(2_000);
    bench.serve();
    assert!(bench.take().iter().any(|output| matches!(output, Output::Restore { .. })));
}

#[test]
fn a_former_owner_forgets_and_says_so_and_then_no_mark_is_needed() {
    for confirms in [true, false] {
        let mut bench = Bench::new();
        bench.set(key(1), value(State::Live, "b", &[], b"call"));
        bench.input(Input::Adopt { key: key(1) });
        bench.serve();
        bench.put(1, b"call", 0);
        bench.serve();
        if confirms {
            bench.input(Input::Confirmed { key: key(1), by: "b" });
        }
        bench.input(Input::End { key: key(1), mark: 0 });
        bench.serve();
        let state = bench.header(key(1)).map(|header| header.state);
        assert_eq!(state, (!confirms).then_some(State::Ended));
    }
    let mut bench = Bench::new();
    bench.mirrored(1);
    bench.input(Input::Told { key: key(1), revision: 1 });
    assert_eq!(bench.take(), [], "of what we wrote ourselves later");
    bench.input(Input::Told { key: key(1), revision: 2 });
    bench.input(Input::Told { key: key(2), revision: 3 });
    assert_eq!(bench.take(), [Output::Forget { key: key(1), confirm: true }, Output::Confirm(key(2))]);
}

#[test]
fn a_call_that_ended_here_while_another_adopted_it_ends_there() {
    let mut bench = Bench::new();
    bench.mirrored(1);
    bench.set(key(1), value(State::Adopted, "b", &["a"], b"call"));
    bench.input(Input::End { key: key(1), mark: 0 });
    bench.input(Input::Told { key: key(1), revision: 2 });
    bench.serve();
    bench.pass(200);
    bench.serve();
    assert_eq!(bench.take(), [Output::Tell { key: key(1), revision: 3, to: "b".to_owned() }]);
    assert_eq!(bench.header(key(1)).map(|header| header.state), Some(State::Ended));
}

#[test]
fn a_dead_gateways_calls_are_inherited_by_two_scans() {
    let mut bench = Bench::new();
    for (number, owner) in [(1, "b"), (2, "c"), (3, "b")] {
        bench.set(key(number), value(State::Live, owner, &[], b"call"));
    }
    bench.input(Input::Inherit { from: "b" });
    assert_eq!(bench.take(), [Output::Scan { scan: 2 }]);
    bench.scan(2);
    // One lives after all: it has changed its call.
    bench.set(key(3), value(State::Live, "b", &[], b"more"));
    bench.serve();
    let owners = |bench: &Bench| [1, 2, 3].map(|number| bench.header(key(number)).expect("it is there").owner.name);
    assert_eq!(owners(&bench), ["a", "c", "b"]);
    assert_eq!(bench.take().len(), 2);
    bench.set(key(4), value(State::Live, "b", &[], b"late"));
    bench.pass(14_999);
    assert_eq!(bench.take(), []);
    bench.pass(1);
    assert_eq!(bench.take(), [Output::Scan { scan: 3 }]);
    bench.scan(3);
    bench.serve();
    assert_eq!(bench.take().last(), Some(&Output::Inherited { from: "b".to_owned(), calls: 3 }));
}

#[test]
fn a_start_compares_what_the_queue_keeps_with_what_the_bucket_holds() {
    let other_disk = |state| {
        let header = Header {
            state,
            owner: Home { name: "a".to_owned(), disk: 99 },
            epoch: 1,
            written: Timestamp(0),
            former: Vec::new(),
            sinks: sinks(),
        };
        header.encode(b"call")
    };
    let restore = Output::Restore { key: key(1), from: home("a"), sinks: sinks(), value: b"call".to_vec() };
    let lost = Home { name: "a".to_owned(), disk: 99 };
    let from_lost = Output::Restore { key: key(1), from: lost, sinks: sinks(), value: b"call".to_vec() };
    let forget = Output::Forget { key: key(1), confirm: false };
    for (name, kept, held, told, left) in [
        ("in both", true, Some(value(State::Live, "a", &[], b"call")), None, Some("a")),
        ("never mirrored", true, None, None, Some("a")),
        ("adopted by another", true, Some(value(State::Live, "b", &["a"], b"call")), Some(forget.clone()), Some("b")),
        ("ended by another", true, Some(value(State::Ended, "b", &["a"], b"")), Some(forget), Some("b")),
        ("ended here and not removed", false, Some(value(State::Live, "a", &[], b"call")), None, None),
        ("adopted and not kept", false, Some(value(State::Adopted, "a", &["b"], b"call")), Some(restore), Some("a")),
        ("kept on a disk that is lost", false, Some(other_disk(State::Live)), Some(from_lost), Some("a")),
        ("anothers", false, Some(value(State::Live, "b", &[], b"call")), None, Some("b")),
        ("of a later release", false, Some(vec![2, 2]), None, Some("")),
    ] {
        let mut bench = Bench::starting(&held.map(|held| (key(1), held)).into_iter().collect::<Vec<_>>());
        if kept {
            bench.put(1, b"call", 0);
        }
        assert!(bench.open.is_empty(), "{name}: nothing is written before the comparison");
        bench.scan(1);
        bench.serve();
        let out = bench.take();
        assert!(out.contains(&Output::Compared { complete: true }), "{name}");
        let is_answer = |output: &&Output| !matches!(output, Output::Compared { .. } | Output::Inherited { .. });
        assert_eq!(out.iter().find(is_answer).cloned(), told, "{name}");
        let owner = bench.bucket.get(&key(1)).map(|(_, value)| Header::decode(value).map(|found| found.0.owner.name));
        assert_eq!(owner.map(Result::unwrap_or_default).as_deref(), left, "{name}");
    }
}

#[test]
fn a_call_that_had_ended_before_the_start_is_over_for_whoever_has_adopted_it_since() {
    for (name, state, owner) in [
        ("nobody has it", State::Live, "a"),
        ("adopted here and not kept", State::Adopted, "a"),
        ("adopted by another", State::Adopted, "b"),
        ("adopted by another, which has changed it", State::Live, "b"),
        ("marked already", State::Ended, "b"),
    ] {
        let mut bench = Bench::starting(&[(key(1), value(state, owner, &[], b"call"))]);
        bench.input(Input::Ended { key: key(1), mark: 7 });
        bench.input(Input::Ended { key: key(2), mark: 7 });
        bench.scan(1);
        bench.serve();
        bench.take();
        assert_eq!(bench.header(key(1)).map(|found| found.state), Some(state), "{name}: its Stop is not in the stream");
        bench.input(Input::Safe(7));
        bench.serve();
        let left = bench.bucket.get(&key(1)).map(|(revision, _)| *revision);
        let tell = left.map(|revision| Output::Tell { key: key(1), revision, to: "b".to_owned() });
        let want = match (owner, state) {
            ("a", _) => (None, None),
            (_, State::Ended) => (Some(State::Ended), None),
            _ => (Some(State::Ended), tell),
        };
        let found = bench.header(key(1)).map(|found| found.state);
        assert_eq!((found, bench.take()), (want.0, Vec::from_iter(want.1)), "{name}");
        assert!(bench.calls.is_in_step(), "{name}");
    }
}

#[test]
fn a_call_that_had_ended_before_the_start_and_is_adopted_after_its_scan_is_over_all_the_same() {
    let mut bench = Bench::starting(&[(key(1), value(State::Live, "a", &[], b"call"))]);
    bench.input(Input::Ended { key: key(1), mark: 7 });
    bench.scan(1);
    bench.set(key(1), value(State::Adopted, "b", &["a"], b"call"));
    bench.input(Input::Safe(7));
    bench.serve();
    bench.pass(200);
    bench.serve();
    let revision = bench.bucket[&key(1)].0;
    assert!(bench.take().contains(&Output::Tell { key: key(1), revision, to: "b".to_owned() }));
    assert_eq!(bench.header(key(1)).map(|found| found.state), Some(State::Ended));
}

#[test]
fn what_another_has_adopted_since_the_scan_stays_with_it() {
    let mut bench = Bench::starting(&[(key(1), value(State::Live, "a", &[], b"call"))]);
    let (revision, old) = bench.bucket[&key(1)].clone();
    bench.put(1, b"call", 0);
    bench.set(key(1), value(State::Adopted, "b", &["a"], b"call"));
    bench.input(Input::Told { key: key(1), revision: 2 });
    bench.input(Input::Found { key: key(1), found: Found { revision, value: &old } });
    bench.input(Input::Scanned { scan: 1 });
    bench.serve();
    bench.pass(200);
    bench.serve();
    let header = bench.header(key(1)).expect("it is there");
    assert_eq!((header.state, header.owner), (State::Adopted, home("b")));
}

#[test]
fn a_call_looked_for_in_vain_is_inherited_all_the_same() {
    let mut bench = Bench::new();
    bench.set(key(1), value(State::Live, "b", &[], b"call"));
    bench.input(Input::Adopt { key: key(1) });
    let Output::Read { turn, .. } = bench.open.remove(0) else { panic!("it is read") };
    let (revision, octets) = bench.bucket[&key(1)].clone();
    bench.input(Input::Seen { key: key(1), turn, found: Some(Found { revision, value: &octets }) });
    bench.open.clear();
    bench.pass(2_000);
    bench.serve();
    bench.input(Input::Inherit { from: "b" });
    bench.scan(2);
    bench.pass(2_000);
    bench.serve();
    assert!(bench.take().iter().any(|output| matches!(output, Output::Restore { .. })));
    assert_eq!(bench.header(key(1)).map(|header| header.owner), Some(home("a")));
}

#[test]
fn a_start_waits_ten_seconds_and_compares_later() {
    let mut bench = Bench::starting(&[(key(1), value(State::Live, "b", &["a"], b"call"))]);
    bench.put(1, b"call", 0);
    bench.pass(10_000);
    assert_eq!(bench.take(), [Output::Compared { complete: false }]);
    bench.serve();
    assert_eq!(bench.take(), [Output::Forget { key: key(1), confirm: false }], "what it writes finds it out");
}

#[test]
fn what_has_no_room_is_counted_and_fetched_again() {
    let mut bench = Bench::new();
    let large = vec![0; 1 << 20];
    for number in 0..66 {
        bench.put(number, &large, 1);
    }
    assert_eq!((bench.calls.unmirrored(), bench.calls.missed()), (66, 2));
    assert_eq!(bench.take(), []);
    bench.input(Input::Safe(1));
    bench.serve();
    assert_eq!(bench.take(), [Output::Fetch(key(64)), Output::Fetch(key(65))]);
    bench.put(64, b"call", 1);
    bench.input(Input::End { key: key(65), mark: 1 });
    bench.serve();
    assert!(bench.calls.is_in_step() && bench.bucket.len() == 65);
    bench.input(Input::Overflowed);
    assert_eq!((bench.calls.unmirrored(), bench.take().len()), (65, 64), "some at a time");
}

#[test]
fn a_mark_is_removed_when_nobody_can_need_it_any_more() {
    let mut bench = Bench::new();
    bench.set(key(1), value(State::Ended, "b", &["c"], b""));
    for (wall, left) in [(30 * 86_400_000_000 - 1, 1), (30 * 86_400_000_000, 0)] {
        bench.now.wall = Timestamp(wall);
        bench.input(Input::Inherit { from: "c" });
        bench.scan(9);
        bench.serve();
        assert_eq!(bench.bucket.len(), left);
    }
}

#[test]
fn whatever_the_bucket_holds_is_borne() {
    let good = value(State::Live, "b", &["c"], b"call");
    for at in 0..good.len() {
        for octet in [0, 1, 2, 3, 0x7f, 0xff] {
            let mut octets = good.clone();
            octets[at] = octet;
            let mut bench = Bench::starting(&[(key(1), octets.clone()), (key(2), octets)]);
            bench.put(2, b"call", 0);
            bench.scan(1);
            bench.input(Input::Adopt { key: key(1) });
            bench.serve();
        }
    }
}
