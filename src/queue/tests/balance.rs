//! Whatever happens: appended = delivered + parked + dropped + waiting, and records of a call leave in order.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Append { call: u64, sinks: u64, count: usize },
    Deliver { sink: u8, max: usize, verdicts: Vec<u8> },
    Tick { millis: u64 },
    Drop { seq: u64 },
    ParkedRetry,
    Restart { clean: bool },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..6_u64, 0..4_u64, 1..20_usize).prop_map(|(call, sinks, count)| Step::Append { call, sinks, count }),
        4 => (0..2_u8, 1..30_usize, prop::collection::vec(0..8_u8, 30))
            .prop_map(|(sink, max, verdicts)| Step::Deliver { sink, max, verdicts }),
        2 => (0..500_u64).prop_map(|millis| Step::Tick { millis }),
        1 => (1..50_u64).prop_map(|seq| Step::Drop { seq }),
        1 => Just(Step::ParkedRetry),
        1 => any::<bool>().prop_map(|clean| Step::Restart { clean }),
    ]
}

/// What the test knows: order of records by call, and what each sink has delivered.
#[derive(Default)]
struct World {
    number: u64,
    wanted: [BTreeMap<u64, u64>; 2],
    delivered: [Vec<u64>; 2],
    ended: [Vec<u64>; 2],
    /// Parked or dropped at some time: out of the order of their calls, even if a crash brings them back.
    apart: [BTreeSet<u64>; 2],
    now: Now,
}

impl World {
    fn run(&mut self, queue: Queue, step: &Step, path: &Path) -> Queue {
        let mut queue = queue;
        match step {
            Step::Append { call, sinks, count } => {
                let mut entries = Vec::new();
                for _ in 0..*count {
                    self.number += 1;
                    entries.push(entry(self.number, *call, SinkMask(*sinks)));
                    for sink in SinkMask(*sinks).iter() {
                        self.wanted[usize::from(sink.0)].insert(self.number, *call);
                    }
                }
                append(&mut queue, entries);
            }
            Step::Deliver { sink, max, verdicts } => self.deliver(&mut queue, *sink, *max, verdicts),
            Step::Tick { millis } => self.now = self.now.after(Duration::from_millis(*millis)),
            Step::Drop { seq } => {
                let select =
                    Select { pick: Some(Pick::Seq(Seq(*seq))), state: Some(State::Waiting), ..Select::default() };
                let query = |action| Query { select, from: Position::Waiting(Seq(0)), max: 10, action };
                let found = queue.slice(&query(None), self.now).unwrap().items;
                queue.slice(&query(Some(Action::Drop { by: "somebody".into() })), self.now).unwrap();
                for item in found {
                    for waiting in item.waiting {
                        let number = u64::try_from(item.id.0 & 0xffff).unwrap();
                        self.ended[usize::from(waiting.sink.0)].push(number);
                        self.apart[usize::from(waiting.sink.0)].insert(number);
                    }
                }
            }
            Step::ParkedRetry => {
                let select = Select { state: Some(State::Parked), ..Select::default() };
                let query = Query { select, from: Position::Parked(None), max: 256, action: Some(Action::Retry) };
                queue.slice(&query, self.now).unwrap();
                queue.finish(clock::now).unwrap();
            }
            Step::Restart { clean } => {
                if *clean {
                    queue.close(clock::now).unwrap();
                } else {
                    drop(queue);
                }
                queue = open(settings(path)).queue;
                self.now = self.now.after(Duration::from_secs(1));
            }
        }
        queue.tick(self.now);
        queue
    }

    fn deliver(&mut self, queue: &mut Queue, sink: u8, max: usize, verdicts: &[u8]) {
        let mut leases = Vec::new();
        queue.lease(SinkNumber(sink), max, self.now, &mut leases);
        let mut calls: Vec<u64> = leases.iter().map(|lease| lease.call.0).collect();
        calls.sort_unstable();
        assert!(calls.windows(2).all(|pair| pair[0] != pair[1]), "two records of a call are out");
        for (lease, verdict) in leases.iter().zip(verdicts) {
            let number = u64::try_from(lease.id.0 & 0xffff).unwrap();
            let settlement = match verdict {
                0..3 => Settlement::Delivered,
                3 => Settlement::Park { reason: "refused".into(), code: 1 },
                4 => Settlement::Retry { after: Duration::from_millis(100), reason: "busy".into() },
                5 => Settlement::Defer { after: Duration::from_millis(100), reason: "a break".into() },
                6 => Settlement::Withdrawn,
                _ => continue,
            };
            match settlement {
                Settlement::Delivered | Settlement::DeliveredBy(_) => self.delivered[usize::from(sink)].push(number),
                Settlement::Park { .. } => drop(self.apart[usize::from(sink)].insert(number)),
                Settlement::Withdrawn => {
                    self.ended[usize::from(sink)].push(number);
                    self.apart[usize::from(sink)].insert(number);
                }
                Settlement::Retry { .. } | Settlement::Defer { .. } => {}
            }
            queue.settle(SinkNumber(sink), lease.seq, settlement, self.now);
        }
    }
}

/// First deliveries of a call's records, without those set apart, are in order of appending.
fn in_order(delivered: &[u64], apart: &BTreeSet<u64>, wanted: &BTreeMap<u64, u64>) -> bool {
    let mut last: BTreeMap<u64, u64> = BTreeMap::new();
    let mut seen = apart.clone();
    delivered.iter().filter(|number| seen.insert(**number)).all(|number| {
        let call = wanted[number];
        last.insert(call, *number).is_none_or(|before| before < *number)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_balance_holds_and_every_record_ends_once(steps in prop::collection::vec(step(), 1..40)) {
        let directory = tempfile::tempdir().unwrap();
        let mut world = World { now: clock::now(), ..World::default() };
        let mut queue = open(settings(directory.path())).queue;
        for step in &steps {
            queue = world.run(queue, step, directory.path());
            prop_assert!(queue.stats().balanced(), "{:?} after {step:?}", queue.stats());
        }
        // Whatever still waits is delivered at last.
        queue.close(clock::now).unwrap();
        let mut queue = open(settings(directory.path())).queue;
        for sink in [A, B] {
            let index = usize::from(sink.0);
            let rest = deliver_all(&mut queue, sink);
            world.delivered[index].extend(rest);
            let parked = queue.stats().sinks[index].parked_now;
            let mut ended = world.delivered[index].clone();
            ended.extend(&world.ended[index]);
            ended.sort_unstable();
            ended.dedup();
            let missing = world.wanted[index].keys().filter(|number| !ended.contains(number)).count() as u64;
            prop_assert!(missing <= parked, "{missing} missing, {parked} parked");
            prop_assert!(in_order(&world.delivered[index], &world.apart[index], &world.wanted[index]));
        }
        prop_assert!(queue.stats().balanced());
    }
}
