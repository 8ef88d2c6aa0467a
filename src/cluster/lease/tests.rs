//! Each rule of a lease by itself, and no two holders whatever the network does.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const LEASE: Duration = Duration::from_secs(4);
const TIMING: Timing = Timing { lease: LEASE };

/// A key of a bucket.
#[derive(Clone, Debug, Default)]
struct Store {
    revision: u64,
    value: Option<Vec<u8>>,
}

impl Store {
    fn update(&mut self, expected: u64, value: Vec<u8>) -> Answer {
        if expected != self.revision {
            return Answer::Conflict;
        }
        self.revision += 1;
        self.value = Some(value);
        Answer::Stored(self.revision)
    }
}

/// A lease and the time on its own clock.
struct Bench {
    lease: Lease,
    now: Instant,
    out: Vec<Output>,
}

fn owner(name: &str, nonce: u128) -> Owner {
    Owner { name: name.to_owned(), nonce }
}

impl Bench {
    fn new(name: &str, nonce: u128) -> Self {
        let lease = Lease::new(Arc::new(owner(name, nonce)), TIMING);
        Self { lease, now: Instant(1_000_000), out: Vec::new() }
    }

    fn input(&mut self, input: Input<'_>) -> Vec<Output> {
        self.lease.handle(self.now, input, &mut self.out);
        std::mem::take(&mut self.out)
    }

    fn see(&mut self, store: &Store) -> Vec<Output> {
        self.input(Input::Seen { revision: store.revision, value: store.value.as_deref() })
    }

    fn pass(&mut self, millis: u64) -> Vec<Output> {
        self.now = self.now + Duration::from_millis(millis);
        self.lease.tick(self.now, &mut self.out);
        std::mem::take(&mut self.out)
    }

    /// So long with a scan each half second; what came out.
    fn scan(&mut self, millis: u64, store: &Store) -> Vec<Output> {
        let mut all = Vec::new();
        for _ in 0..millis / 500 {
            all.extend(self.pass(500));
            all.extend(self.see(store));
        }
        all
    }

    /// Wants the lease, has the update stored and its answer come.
    fn acquire(&mut self, store: &mut Store) -> Vec<Output> {
        let mut out = self.input(Input::Want);
        out.extend(self.see(store));
        let (turn, answer) = write(store, &out);
        self.input(Input::Answered { turn, answer })
    }
}

/// The one update among what came out.
fn update(out: &[Output]) -> Option<(u64, u64, Vec<u8>)> {
    let mut updates = out.iter().filter_map(|output| match output {
        Output::Update { turn, expected, value } => Some((*turn, *expected, value.clone())),
        _ => None,
    });
    let first = updates.next();
    assert!(updates.next().is_none(), "one at a time: {out:?}");
    first
}

fn write(store: &mut Store, out: &[Output]) -> (u64, Answer) {
    let (turn, expected, value) = update(out).unwrap_or_else(|| panic!("no update in {out:?}"));
    (turn, store.update(expected, value))
}

fn is_told(out: &[Output], what: &Output) -> bool {
    out.contains(what)
}

#[test]
fn a_free_lease_is_taken_held_and_renewed() {
    let (mut store, mut a) = (Store::default(), Bench::new("a", 1));
    assert_eq!(a.input(Input::Want), [Output::Read], "what was never read is read");
    let out = a.see(&store);
    let (turn, answer) = write(&mut store, &out);
    a.pass(200);
    assert_eq!(a.lease.held(a.now), None, "not before the answer");
    assert_eq!(a.input(Input::Answered { turn, answer }), [Output::Acquired { epoch: 1 }]);
    assert_eq!(a.lease.held_until(), Some(Instant(1_000_000) + LEASE), "counted from the sending");
    assert_eq!(a.pass(799), []);
    assert_eq!(a.lease.deadline(), Some(Instant(2_000_000)));
    let out = a.pass(1);
    let (turn, answer) = write(&mut store, &out);
    assert_eq!(a.input(Input::Answered { turn, answer }), [], "a renewal tells nothing");
    assert_eq!(a.lease.held_until(), Some(Instant(2_000_000) + LEASE));
    assert_eq!(a.lease.holder(a.now), Holder::By { owner: &owner("a", 1), epoch: 1, lives: true });
}

#[test]
fn without_acknowledged_renewals_it_ends_whatever_is_read() {
    let (mut store, mut a) = (Store::default(), Bench::new("a", 1));
    a.acquire(&mut store);
    let mut told = Vec::new();
    for _ in 0..39 {
        told.extend(a.pass(100));
        told.extend(a.see(&store));
    }
    assert!(!is_told(&told, &Output::Ended(End::RunOut)));
    assert!(a.lease.held(a.now).is_some());
    assert!(is_told(&a.pass(100), &Output::Ended(End::RunOut)));
    assert_eq!(a.lease.held(a.now), None);
    a.see(&store);
    assert_eq!(a.lease.held(a.now), None, "its own value that is still there makes it no holder");
}

#[test]
fn one_that_ran_out_is_taken_again_under_a_new_number_unless_another_was_faster() {
    let (mut store, mut a) = (Store::default(), Bench::new("a", 1));
    a.acquire(&mut store);
    a.pass(1_000);
    a.pass(1_000);
    a.input(Input::Unread);
    a.pass(3_000);
    assert_eq!(a.lease.held(a.now), None);
    let mut out = a.see(&store);
    out.extend(a.pass(200));
    let (turn, answer) = write(&mut store, &out);
    assert_eq!(a.input(Input::Answered { turn, answer }), [Output::Acquired { epoch: 2 }]);
}

#[test]
fn another_waits_for_the_lease_and_the_margin_and_counts_from_its_own_first_sight() {
    let (mut store, mut a, mut b) = (Store::default(), Bench::new("a", 1), Bench::new("b", 2));
    a.acquire(&mut store);
    b.input(Input::Want);
    assert_eq!(b.see(&store), []);
    let out = b.scan(4_000, &store);
    assert_eq!(update(&out), None);
    assert_eq!(b.lease.holder(b.now), Holder::By { owner: &owner("a", 1), epoch: 1, lives: true });
    assert_eq!(b.pass(249), []);
    let out = b.pass(1);
    let (turn, answer) = write(&mut store, &out);
    assert_eq!(b.input(Input::Answered { turn, answer }), [Output::Acquired { epoch: 2 }]);
}

#[test]
fn each_renewal_that_is_seen_starts_the_wait_anew() {
    let (mut store, mut a, mut b) = (Store::default(), Bench::new("a", 1), Bench::new("b", 2));
    a.acquire(&mut store);
    b.input(Input::Want);
    b.see(&store);
    for _ in 0..10 {
        let out = a.pass(1_000);
        let (turn, answer) = write(&mut store, &out);
        a.input(Input::Answered { turn, answer });
        assert_eq!(update(&b.scan(1_000, &store)), None);
    }
}

#[test]
fn a_take_over_from_an_old_read_fails() {
    let (mut store, mut a, mut b) = (Store::default(), Bench::new("a", 1), Bench::new("b", 2));
    a.acquire(&mut store);
    let old = store.clone();
    for _ in 0..6 {
        let out = a.pass(1_000);
        let (turn, answer) = write(&mut store, &out);
        a.input(Input::Answered { turn, answer });
    }
    b.input(Input::Want);
    b.see(&old);
    let mut out = b.scan(4_000, &old);
    out.extend(b.pass(250));
    let (turn, answer) = write(&mut store, &out);
    assert_eq!(answer, Answer::Conflict);
    assert_eq!(b.input(Input::Answered { turn, answer }), [Output::Read]);
    assert_eq!(b.see(&store), []);
    assert_eq!(b.lease.held(b.now), None);
    assert!(a.lease.held(a.now).is_some());
}

#[test]
fn a_lost_answer_is_read_back_and_the_turn_says_what_was_stored() {
    for (name, is_stored, answer, until) in [
        ("stored, the answer lost", true, Answer::Lost, 2_000_000),
        ("stored, a repeat refused", true, Answer::Conflict, 2_000_000),
        ("not stored", false, Answer::Lost, 1_000_000),
    ] {
        let (mut store, mut a) = (Store::default(), Bench::new("a", 1));
        a.acquire(&mut store);
        let out = a.pass(1_000);
        let (turn, expected, value) = update(&out).expect(name);
        if is_stored {
            store.update(expected, value);
        }
        a.pass(300);
        assert_eq!(a.input(Input::Answered { turn, answer }), [Output::Read], "{name}");
        a.see(&store);
        assert_eq!(a.lease.held_until(), Some(Instant(until) + LEASE), "{name}");
    }
}

#[test]
fn an_answer_that_comes_late_counts_from_the_sending() {
    let (mut store, mut a) = (Store::default(), Bench::new("a", 1));
    a.acquire(&mut store);
    let out = a.pass(1_000);
    let (turn, answer) = write(&mut store, &out);
    assert_eq!(a.pass(1_000), [Output::Read], "without an answer for a quarter of the lease the key is read");
    a.pass(900);
    a.input(Input::Answered { turn, answer });
    assert_eq!(a.lease.held_until(), Some(Instant(2_000_000) + LEASE));
}

#[test]
fn what_is_stored_for_another_ends_the_lease_at_once() {
    let (mut store, mut a) = (Store::default(), Bench::new("a", 1));
    a.acquire(&mut store);
    let thief = Value { owner: owner("b", 2), epoch: 2, turn: 1, released: false };
    store.update(store.revision, thief.encode());
    assert_eq!(a.see(&store), [Output::Ended(End::Taken)]);
    assert_eq!(a.lease.held(a.now), None);
}

#[test]
fn a_lease_given_back_is_free_at_once() {
    let (mut store, mut a, mut b) = (Store::default(), Bench::new("a", 1), Bench::new("b", 2));
    a.acquire(&mut store);
    b.input(Input::Want);
    b.see(&store);
    let out = a.input(Input::Yield);
    assert_eq!(a.lease.held(a.now), None, "not ours from the moment in which we say so");
    assert!(!a.lease.is_clear());
    let (turn, answer) = write(&mut store, &out);
    assert_eq!(a.input(Input::Answered { turn, answer }), [Output::Released]);
    assert!(a.lease.is_clear());
    let out = b.see(&store);
    let (turn, answer) = write(&mut store, &out);
    assert_eq!(b.input(Input::Answered { turn, answer }), [Output::Acquired { epoch: 2 }]);
    assert_eq!(a.see(&store), [], "it is not taken again");
}

#[test]
fn what_is_given_back_while_it_is_taken_is_given_back_all_the_same() {
    let (mut store, mut a) = (Store::default(), Bench::new("a", 1));
    a.input(Input::Want);
    let out = a.see(&store);
    let (turn, answer) = write(&mut store, &out);
    assert_eq!(a.input(Input::Yield), []);
    let out = a.input(Input::Answered { turn, answer });
    assert_eq!(a.lease.held(a.now), None);
    let (turn, answer) = write(&mut store, &out);
    assert_eq!(a.input(Input::Answered { turn, answer }), [Output::Released]);
}

#[test]
fn what_was_refused_is_tried_again_after_a_pause() {
    let (mut store, mut a) = (Store::default(), Bench::new("a", 1));
    a.acquire(&mut store);
    let out = a.pass(1_000);
    let (turn, ..) = update(&out).expect("a renewal");
    assert_eq!(a.input(Input::Answered { turn, answer: Answer::Refused }), []);
    assert_eq!(a.pass(124), []);
    let out = a.pass(1);
    let (turn, answer) = write(&mut store, &out);
    a.input(Input::Answered { turn, answer });
    assert_eq!(a.lease.held_until(), Some(Instant(2_125_000) + LEASE));
}

#[test]
fn after_an_outage_those_that_live_renew_first() {
    let (mut store, mut a, mut b) = (Store::default(), Bench::new("a", 1), Bench::new("b", 2));
    a.acquire(&mut store);
    b.input(Input::Want);
    b.see(&store);
    assert_eq!(update(&b.pass(8_000)), None, "nothing is taken while nothing is read");
    assert_eq!(b.lease.deadline(), None);
    assert_eq!(b.lease.holder(b.now), Holder::By { owner: &owner("a", 1), epoch: 1, lives: true });
    assert_eq!(update(&b.see(&store)), None);
    assert_eq!(update(&b.scan(1_500, &store)), None);
    assert!(update(&b.scan(500, &store)).is_some(), "who does not renew then is dead");
}

#[test]
fn a_former_life_is_waited_for_and_a_twin_is_told() {
    let (mut store, mut former, mut a) = (Store::default(), Bench::new("a", 1), Bench::new("a", 2));
    former.acquire(&mut store);
    let late = former.pass(1_000);
    a.input(Input::Want);
    assert_eq!(a.see(&store), []);
    let (turn, answer) = write(&mut store, &late);
    assert_eq!(a.see(&store), [], "what it had under way is stored after its end");
    let out = a.scan(4_000, &store);
    assert_eq!(update(&out), None);
    assert!(update(&a.pass(250)).is_some(), "then it is dead");

    former.input(Input::Answered { turn, answer });
    let out = former.pass(1_000);
    write(&mut store, &out);
    assert!(is_told(&a.see(&store), &Output::Twin), "a second change is that of a living process");
}

#[test]
fn a_value_of_a_later_version_is_left_alone() {
    let (mut store, mut a) = (Store::default(), Bench::new("a", 1));
    store.update(0, br#"{"v":2,"holder":"x"}"#.to_vec());
    a.input(Input::Want);
    a.see(&store);
    assert_eq!(a.lease.holder(a.now), Holder::Foreign);
    assert_eq!(a.scan(60_000, &store), []);
    assert_eq!(a.lease.deadline(), None);
}

#[test]
fn a_bucket_that_was_made_anew_is_believed_after_a_while_and_old_reads_are_not() {
    let (mut store, mut a) = (Store::default(), Bench::new("a", 1));
    a.acquire(&mut store);
    let old = store.clone();
    let out = a.pass(1_000);
    let (turn, answer) = write(&mut store, &out);
    a.input(Input::Answered { turn, answer });
    assert_eq!(a.see(&old), []);
    assert!(a.lease.held(a.now).is_some(), "an old read ends nothing");
    let mut anew = Store::default();
    let mut acquired = false;
    for _ in 0..120 {
        let mut out = a.pass(125);
        out.extend(a.see(&anew));
        if let Some((turn, expected, value)) = update(&out) {
            let answer = anew.update(expected, value);
            acquired |= is_told(&a.input(Input::Answered { turn, answer }), &Output::Acquired { epoch: 1 });
        }
    }
    assert!(acquired && a.lease.held(a.now).is_some());
}

/// What the network does to a request, by chance: the ways there and back in milliseconds, or never.
#[derive(Clone, Copy, Debug)]
struct Way {
    there: Option<u64>,
    back: Option<u64>,
}

fn way() -> impl Strategy<Value = Way> {
    let leg = || prop_oneof![10 => (0..40_u64).prop_map(Some), 3 => (0..3_000_u64).prop_map(Some), 1 => Just(None)];
    (leg(), leg()).prop_map(|(there, back)| Way { there, back })
}

/// Acts on one of the processes.
#[derive(Clone, Copy, Debug)]
enum Act {
    Run(u64),
    Pause { who: usize, millis: u64 },
    Want { who: usize, wants: bool },
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (1..2_000_u64).prop_map(Act::Run),
        1 => (0..3_usize, 1..12_000_u64).prop_map(|(who, millis)| Act::Pause { who, millis }),
        2 => (0..3_usize, any::<bool>()).prop_map(|(who, wants)| Act::Want { who, wants }),
    ]
}

enum Letter {
    There { who: usize, back: Option<u64>, output: Output },
    Back { who: usize, input: Result<(u64, Answer), Store> },
}

struct World {
    now: u64,
    store: Store,
    benches: Vec<Bench>,
    paused: Vec<u64>,
    letters: Vec<(u64, Letter)>,
    ways: Vec<Way>,
    sent: usize,
    tenures: u64,
}

impl World {
    fn new(ways: Vec<Way>) -> Self {
        let benches: Vec<Bench> = (0..3).map(|who| Bench::new(["a", "b", "c"][who], who as u128)).collect();
        Self {
            now: 0,
            store: Store::default(),
            benches,
            paused: vec![0; 3],
            letters: Vec::new(),
            ways,
            sent: 0,
            tenures: 0,
        }
    }

    fn take(&mut self, who: usize, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Update { .. } | Output::Read => {
                    let Way { there, back } = self.ways[self.sent % self.ways.len()];
                    self.sent += 1;
                    if let Some(there) = there {
                        self.letters.push((self.now + there, Letter::There { who, back, output }));
                    }
                }
                Output::Acquired { .. } => self.tenures += 1,
                _ => {}
            }
        }
    }

    fn deliver(&mut self, letter: Letter) {
        match letter {
            Letter::There { who, back, output } => {
                let input = match output {
                    Output::Update { turn, expected, value } => Ok((turn, self.store.update(expected, value))),
                    _ => Err(self.store.clone()),
                };
                if let Some(back) = back {
                    self.letters.push((self.now + back, Letter::Back { who, input }));
                }
            }
            Letter::Back { who, input } if self.paused[who] > self.now => {
                self.letters.push((self.paused[who], Letter::Back { who, input }));
            }
            Letter::Back { who, input } => {
                self.benches[who].now = Instant(self.now * 1_000);
                let out = match input {
                    Ok((turn, answer)) => self.benches[who].input(Input::Answered { turn, answer }),
                    Err(store) => self.benches[who].see(&store),
                };
                self.take(who, out);
            }
        }
    }

    fn step(&mut self) {
        self.now += 1;
        while let Some(at) = self.letters.iter().position(|(due, _)| *due <= self.now) {
            let (_, letter) = self.letters.swap_remove(at);
            self.deliver(letter);
        }
        for who in 0..3 {
            if self.paused[who] > self.now {
                continue;
            }
            self.benches[who].now = Instant(self.now * 1_000);
            let is_due = self.benches[who].lease.deadline().is_some_and(|due| due <= self.benches[who].now);
            let mut out = if is_due { self.benches[who].pass(0) } else { Vec::new() };
            if (self.now + who as u64 * 100).is_multiple_of(500) {
                out.push(Output::Read);
            }
            self.take(who, out);
        }
        let holders = self.benches.iter().filter(|bench| bench.lease.held(Instant(self.now * 1_000)).is_some()).count();
        assert!(holders <= 1, "{holders} hold the lease at {} ms", self.now);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn no_two_hold_it_and_it_is_held_in_the_end(
        ways in prop::collection::vec(way(), 1..200),
        acts in prop::collection::vec(act(), 1..60),
    ) {
        let mut world = World::new(ways);
        for act in acts {
            match act {
                Act::Run(millis) => (0..millis).for_each(|_| world.step()),
                Act::Pause { who, millis } => world.paused[who] = world.now + millis,
                Act::Want { who, wants } => {
                    let out = world.benches[who].input(if wants { Input::Want } else { Input::Yield });
                    world.take(who, out);
                }
            }
        }
        world.ways = vec![Way { there: Some(3), back: Some(3) }];
        world.paused = vec![0; 3];
        let out = world.benches[0].input(Input::Want);
        world.take(0, out);
        (0..20_000).for_each(|_| world.step());
        prop_assert!(world.benches.iter().any(|bench| bench.lease.held(Instant(world.now * 1_000)).is_some()));
        prop_assert!(world.tenures > 0);
    }
}
