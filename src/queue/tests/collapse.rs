//! Interim records that wait and are made needless, and records that wait for all before them.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::record::{Kind, Record, Times, codec};

/// A record of a session as an entry; its number tells it from others.
pub(super) fn of(kind: Kind, number: u64, session: u64, sinks: SinkMask) -> Entry {
    let record = Record {
        id: id(number),
        kind,
        method: b"INVITE".to_vec(),
        from_tag: b"a".to_vec(),
        to_tag: b"b".to_vec(),
        call_id: b"call".to_vec(),
        cseq: 1,
        code: 200,
        reason: b"OK".to_vec(),
        in_dialog: false,
        session: format!("{session:032x}"),
        multi_session: String::new(),
        times: Times { answered: Some(Timestamp(1)), setup: Some(Duration::from_secs(3)), ..Times::default() },
        end: None,
        fields: Vec::new(),
        legs: Vec::new(),
        table: None,
        number: None,
        shortened: false,
        facts: crate::record::Facts::new(),
    };
    Entry { id: record.id, call: CallHash(session), sinks, body: codec::encode(&record) }
}

/// A queue that collapses for the sink `a` only.
fn collapsing(path: &Path, window: usize) -> Queue {
    open(Settings { collapsing: vec!["a".into()], window_records: window, ..settings(path) }).queue
}

/// `S1 I1 I2 E1`: Start, Interim, Interim, Stop of the sessions 1 and 2; numbered from 1 on.
fn entries(script: &str, first: u64) -> Vec<Entry> {
    let one = |(word, number): (&str, u64)| {
        let (kind, session) = word.split_at(1);
        let kind = match kind {
            "S" => Kind::Start,
            "I" => Kind::Interim,
            "E" => Kind::Stop,
            _ => Kind::Event,
        };
        of(kind, number, session.parse().unwrap(), BOTH)
    };
    script.split(' ').zip(first..).map(one).collect()
}

fn superseded(queue: &Queue) -> [u64; 2] {
    let stats = queue.stats();
    assert!(stats.balanced(), "{:?}", stats.sinks);
    [stats.sinks[0].balance.superseded, stats.sinks[1].balance.superseded]
}

#[test]
fn of_the_interims_of_a_session_the_newest_waits() {
    for (name, script, want) in [
        ("a newer takes the place of an older", "S1 I1 I1 I1", &[1, 4][..]),
        ("a Stop takes that of the newest", "S1 I1 I1 E1", &[1, 4]),
        ("Start and Stop stay", "S1 E1 S1 E1", &[1, 2, 3, 4]),
        ("sessions stay apart", "S1 S2 I1 I2 I1 E2", &[1, 2, 5, 6]),
        ("other records stay", "S1 X1 I1 X1 I1 X1", &[1, 2, 4, 5, 6]),
    ] {
        // One commit for each, or one for all; held in memory, or read from disk.
        for (at_once, window) in [(true, 100), (false, 100), (true, 2), (false, 2)] {
            let directory = tempfile::tempdir().unwrap();
            let mut queue = collapsing(directory.path(), window);
            let all = entries(script, 1);
            let count = all.len() as u64;
            if at_once {
                append(&mut queue, all);
            } else {
                all.into_iter().for_each(|entry| append(&mut queue, vec![entry]));
            }
            let mut got = deliver_all(&mut queue, A);
            got.sort_unstable();
            assert_eq!(got, want, "{name}, {at_once}, {window}");
            assert_eq!(deliver_all(&mut queue, B).len() as u64, count, "{name}: the other sink takes them all");
            assert_eq!(superseded(&queue), [count - want.len() as u64, 0], "{name}");
        }
    }
}

#[test]
fn what_is_superseded_stays_so_after_a_restart_and_what_waits_is_found_again() {
    for clean in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let mut queue = collapsing(directory.path(), 100);
        append(&mut queue, entries("S1 I1 I1", 1));
        assert_eq!(superseded(&queue), [1, 0]);
        if clean {
            queue.close(clock::now).unwrap();
        } else {
            drop(queue);
        }
        let mut queue = collapsing(directory.path(), 100);
        append(&mut queue, entries("I1 E1", 4));
        assert_eq!(deliver_all(&mut queue, A), [1, 5], "closed in order: {clean}");
        assert_eq!(superseded(&queue)[1], 0);
    }
}

#[test]
fn an_interim_that_is_lent_is_not_taken_away() {
    let directory = tempfile::tempdir().unwrap();
    let mut queue = collapsing(directory.path(), 100);
    append(&mut queue, entries("I1", 1));
    let lent = lease(&mut queue, A, clock::now());
    append(&mut queue, entries("I1", 2));
    assert_eq!(superseded(&queue), [0, 0], "it may be delivered at this moment");
    let failed = Settlement::Retry { after: Duration::ZERO, reason: "silence".into() };
    queue.settle(A, lent[0].seq, failed, clock::now());
    assert_eq!(superseded(&queue), [1, 0], "it failed, and a newer one is there: it is not tried again");
    assert_eq!(deliver_all(&mut queue, A), [2]);

    append(&mut queue, entries("I1", 3));
    let lent = lease(&mut queue, A, clock::now());
    append(&mut queue, entries("E1", 4));
    queue.settle(A, lent[0].seq, Settlement::Delivered, clock::now());
    assert_eq!(deliver_all(&mut queue, A), [4]);
    assert_eq!(superseded(&queue), [1, 0]);
}

#[test]
fn a_record_that_waits_for_all_before_it_does_so_over_failures_and_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let mut queue = collapsing(directory.path(), 100);
    append(&mut queue, entries("S1 S2", 1));
    append(&mut queue, vec![Entry { call: AFTER_ALL, ..of(Kind::On, 3, 0, SinkMask(1)) }]);
    append(&mut queue, entries("S3", 4));
    let mut now = clock::now();
    let lent = lease(&mut queue, A, now);
    assert_eq!(numbers(&lent), [1, 2, 4], "later ones need not wait for it");
    queue.settle(A, lent[0].seq, Settlement::Delivered, now);
    queue.settle(A, lent[1].seq, Settlement::Retry { after: Duration::from_secs(60), reason: "down".into() }, now);
    for _ in 0..5 {
        now = now.after(Duration::from_secs(5));
        assert_eq!(numbers(&lease(&mut queue, A, now)), [0_u64; 0], "an older one is still to come");
    }
    queue.close(clock::now).unwrap();
    let mut queue = collapsing(directory.path(), 100);
    let now = clock::now();
    let lent = lease(&mut queue, A, now);
    assert_eq!(numbers(&lent), [2, 4]);
    queue.settle(A, lent[0].seq, Settlement::Park { reason: "refused".into(), code: 0 }, now);
    queue.tick(now);
    let later = now.after(Duration::from_secs(1));
    let lent = lease(&mut queue, A, later);
    assert_eq!(numbers(&lent), [3], "parked counts as settled");
    assert_eq!((lent[0].attempts, lent[0].first_tried), (0, None), "what was taken back was not tried");
}

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<(u8, u64)>),
    Deliver(usize, Vec<bool>),
    Restart(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec((0..4_u8, 0..3_u64), 1..6).prop_map(Step::Append),
        3 => (1..8_usize, prop::collection::vec(any::<bool>(), 8)).prop_map(|(max, good)| Step::Deliver(max, good)),
        1 => any::<bool>().prop_map(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Nothing but an Interim is ever superseded, and only when a newer record of its session is there.
    #[test]
    fn nothing_else_is_lost_and_the_newest_is_kept(steps in prop::collection::vec(step(), 1..20), window in 1..6_usize) {
        let directory = tempfile::tempdir().unwrap();
        let mut queue = collapsing(directory.path(), window);
        let mut made: BTreeMap<u64, (Kind, u64)> = BTreeMap::new();
        let mut delivered = Vec::new();
        for step in &steps {
            match step {
                Step::Append(records) => {
                    let mut entries = Vec::new();
                    for (kind, session) in records {
                        let kind = [Kind::Start, Kind::Interim, Kind::Interim, Kind::Stop][usize::from(*kind)];
                        let number = made.len() as u64 + 1;
                        made.insert(number, (kind, *session));
                        entries.push(of(kind, number, *session, SinkMask(1)));
                    }
                    append(&mut queue, entries);
                }
                Step::Deliver(max, good) => {
                    let now = clock::now();
                    let mut lent = Vec::new();
                    queue.lease(A, *max, now, &mut lent);
                    for (lease, good) in lent.iter().zip(good.iter().chain(std::iter::repeat(&true))) {
                        let again = Settlement::Retry { after: Duration::ZERO, reason: String::new() };
                        if *good {
                            delivered.extend(numbers(std::slice::from_ref(lease)));
                        }
                        queue.settle(A, lease.seq, if *good { Settlement::Delivered } else { again }, now);
                    }
                }
                Step::Restart(clean) => {
                    if *clean {
                        queue.close(clock::now).unwrap();
                    } else {
                        drop(queue);
                    }
                    queue = collapsing(directory.path(), window);
                }
            }
            prop_assert!(queue.stats().balanced(), "{:?}", queue.stats().sinks[0].balance);
        }
        delivered.extend(deliver_all(&mut queue, A));
        for (number, (kind, session)) in &made {
            let is_newest = !made.range(number + 1..).any(|(_, (kind, other))| {
                other == session && matches!(kind, Kind::Interim | Kind::Stop)
            });
            if *kind != Kind::Interim || is_newest {
                prop_assert!(delivered.contains(number), "{number} {kind:?} of {session}: {delivered:?}");
            }
        }
    }
}
