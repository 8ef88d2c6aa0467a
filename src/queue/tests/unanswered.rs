//! Records that are never answered, more of them than a window has room for: what comes behind them is reached.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::collapse::of;
use super::*;
use crate::clock::Timestamp;
use crate::record::Kind;

/// Virtual time of one turn.
const TURN: Duration = Duration::from_millis(100);
/// Records the sink takes at once.
const PACE: usize = 8;
/// Place of the first record.
const FIRST: u64 = 1;
/// Records of the backlog that a window has room for.
const WINDOW: usize = 64;
/// The longest wait of a record for its next try.
const LONGEST: Duration = Duration::from_secs(20);

thread_local! {
    static TIME: Cell<Now> = const { Cell::new(Now { mono: clock::Instant(0), wall: Timestamp(0) }) };
}

fn time() -> Now {
    TIME.get()
}

/// A sink that never answers the Start of some sessions, and what it got.
struct Run {
    queue: Queue,
    _directory: tempfile::TempDir,
    /// Sessions from here on are answered.
    silent: std::ops::Range<u64>,
    tries: BTreeMap<u64, u32>,
    delivered: BTreeSet<u64>,
    /// Starts that ended otherwise.
    ended: Vec<u64>,
    turn: u64,
}

impl Run {
    fn new(silent: std::ops::Range<u64>) -> Self {
        TIME.set(clock::now());
        let directory = tempfile::tempdir().unwrap();
        let queue = open(Settings { window_records: WINDOW, ..settings(directory.path()) }).queue;
        let (tries, delivered, ended) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
        Self { queue, _directory: directory, silent, tries, delivered, ended, turn: 0 }
    }

    /// Start and Stop of sessions: records 2n and 2n + 1.
    fn append(&mut self, sessions: std::ops::Range<u64>) {
        let both = |n| [of(Kind::Start, 2 * n, n, SinkMask(1)), of(Kind::Stop, 2 * n + 1, n, SinkMask(1))];
        self.queue.add(Commit { entries: sessions.flat_map(both).collect(), calls: Vec::new() }).unwrap();
        self.queue.finish(time).unwrap();
    }

    fn turn(&mut self) {
        self.turn += 1;
        TIME.set(time().after(TURN));
        self.queue.tick(time());
        let mut leases = Vec::new();
        self.queue.lease(A, PACE, time(), &mut leases);
        for lease in leases {
            let number = numbers(std::slice::from_ref(&lease))[0];
            let settlement = if self.silent.contains(&(number / 2)) && !self.ended.contains(&(number.saturating_sub(1)))
            {
                assert!(number.is_multiple_of(2), "{number} before its Start");
                let tries = self.tries.entry(number).or_default();
                *tries += 1;
                Settlement::Retry { after: (TURN * 2_u32.pow(*tries)).min(LONGEST), reason: "no answer".into() }
            } else {
                let is_after = self.delivered.contains(&(number.saturating_sub(1)))
                    || self.ended.contains(&(number.saturating_sub(1)));
                assert!(number.is_multiple_of(2) || is_after, "{number} before its Start");
                assert!(self.delivered.insert(number), "{number} twice");
                Settlement::Delivered
            };
            self.queue.settle(A, lease.seq, settlement, time());
        }
    }

    fn waiting(&self) -> u64 {
        let stats = self.queue.stats();
        assert!(stats.balanced(), "{stats:?}");
        stats.sinks[0].balance.waiting
    }

    /// Until so many were delivered; how many turns that took.
    fn turns_until(&mut self, delivered: usize, most: u64) -> Result<u64, TestCaseError> {
        let begin = self.turn;
        while self.delivered.len() < delivered {
            self.turn();
            let got = self.delivered.len();
            prop_assert!(self.turn - begin <= most, "{got} of {delivered} delivered after {most} turns");
        }
        Ok(self.turn - begin)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sessions_that_are_never_answered_hold_no_others_however_many_they_are(
        silent in 1..(WINDOW as u64 * 5),
        others in 1..200_u64,
        fresh in any::<bool>(),
        with_restart in any::<bool>(),
    ) {
        let mut run = Run::new(0..silent);
        if fresh {
            // The sink is there as they come, and knows them as fresh ones.
            run.turn();
            for n in 0..silent {
                run.append(n..n + 1);
                run.turn();
            }
            run.append(silent..silent + others);
        } else {
            run.append(0..silent + others);
        }
        // Each session behind them twice, and at worst each of them before and as often as its back-off lets it.
        let most = 2 * (4 * silent + 4 * others) / PACE as u64 + 100;
        run.turns_until(2 * others as usize, most)?;
        prop_assert_eq!(run.waiting(), 2 * silent);
        if with_restart {
            // A sink that comes anew knows of no tries.
            run.queue.detach(A);
        }
        // Those that come now do not wait for them either.
        let new = 10_000;
        run.append(new..new + 20);
        run.turns_until(2 * (others as usize + 20), most)?;
        // All of them are tried again and again, and leave in order when they are answered.
        let before = run.tries.clone();
        for _ in 0..(LONGEST.as_millis() / TURN.as_millis()) as u64 * 2 + silent {
            run.turn();
        }
        let forgotten: Vec<_> = (0..silent).filter(|n| run.tries.get(&(2 * n)) <= before.get(&(2 * n))).collect();
        prop_assert!(forgotten.is_empty(), "not tried any more: {forgotten:?}");
        run.silent = 0..0;
        run.turns_until(2 * (others + 20 + silent) as usize, 2 * silent + 400)?;
        prop_assert_eq!(run.waiting(), 0);
    }
}

#[test]
fn a_record_that_was_put_away_can_be_found_delivered_parked_dropped_and_hurried() {
    let silent = WINDOW as u64 * 3;
    let mut run = Run::new(0..silent);
    run.append(0..silent + 1);
    run.turns_until(2, 2000).unwrap();
    let away = |run: &Run| {
        let slots = (FIRST..2 * silent).map(|seq| (seq, run.queue.sinks[0].window().slot(seq)));
        let away = slots.filter(|(_, slot)| slot.is_some_and(|slot| slot.body.is_none() && slot.due.is_some()));
        away.map(|(seq, _)| seq).collect::<Vec<_>>()
    };
    let [first, second, third, fourth, ..] = away(&run)[..] else { panic!("some are put away") };
    let act = |run: &mut Run, seq, action| {
        let select = Select { pick: Some(Pick::Seq(Seq(seq))), ..Select::default() };
        let query = Query { select, from: Position::Waiting(Seq(0)), max: 1, action: Some(action) };
        let page = run.queue.slice(&query, time()).unwrap();
        run.queue.finish(time).unwrap();
        page.acted
    };
    run.queue.settle(A, Seq(first), Settlement::Delivered, time());
    assert_eq!(act(&mut run, second, Action::Park { reason: "by hand".into() }), 1);
    assert_eq!(act(&mut run, third, Action::Drop { by: "somebody".into() }), 1);
    assert_eq!(act(&mut run, fourth, Action::Retry), 1);
    run.waiting();
    let balance = run.queue.stats().sinks[0].balance;
    assert_eq!((balance.delivered, balance.parked, balance.dropped), (3, 1, 1));
    let number = |seq: u64| 2 * ((seq - FIRST) / 2);
    run.ended.extend([first, second, third].map(number));
    let before = run.tries[&number(fourth)];
    (0..20).for_each(|_| run.turn());
    assert!(run.tries[&number(fourth)] > before, "it was hurried");
    let stops = [first, second, third].map(|seq| number(seq) + 1);
    assert!(stops.iter().all(|stop| run.delivered.contains(stop)), "{stops:?} went on: {:?}", run.delivered);
}

#[test]
fn records_that_are_due_while_nobody_leases_do_not_keep_the_thread_awake() {
    let mut run = Run::new(0..1);
    run.append(0..1);
    run.turn();
    TIME.set(time().after(Duration::from_secs(3600)));
    run.queue.tick(time());
    assert!(run.queue.deadline(time()).since(time().mono) > Duration::ZERO);
}
