//! What an operator does.

use std::cell::Cell;

use super::collapse::of;
use super::*;
use crate::queue::ask_while;
use crate::record::{Kind, codec};

fn offline(path: &Path) -> Offline {
    Offline { queue: open(settings(path)).queue, clock: clock::now }
}

fn list(desk: &mut Offline, select: Select) -> Vec<Item> {
    match ask(desk, Command::List { select, from: None, max: LIST_MAX }).unwrap() {
        Outcome::Page(page) => page.items,
        other => panic!("{other:?}"),
    }
}

fn act(desk: &mut Offline, action: Action, select: Select) -> u64 {
    match ask(desk, Command::Act { action, select }).unwrap() {
        Outcome::Done { records, .. } => records,
        other => panic!("{other:?}"),
    }
}

const ALL: Select = Select { sink: None, pick: None, state: None, until: None };

#[test]
fn records_are_listed_by_sink_state_and_name() {
    let directory = tempfile::tempdir().unwrap();
    let mut desk = offline(directory.path());
    append(&mut desk.queue, (1..=2000).map(|n| entry(n, n, if n % 2 == 0 { BOTH } else { SinkMask(1) })).collect());
    let park = |reason: &str| Action::Park { reason: reason.into() };
    let one = |n| Select { pick: Some(Pick::Id(id(n))), ..ALL };
    assert_eq!(act(&mut desk, park("by hand"), one(10)), 2);
    for (name, select, want) in [
        ("everything", ALL, 1999 + 2),
        ("of one sink", Select { sink: Some(B), ..ALL }, 1000),
        ("waiting ones", Select { state: Some(State::Waiting), ..ALL }, 1999),
        ("parked ones", Select { state: Some(State::Parked), ..ALL }, 2),
        ("parked ones of one sink", Select { state: Some(State::Parked), sink: Some(A), ..ALL }, 1),
        ("one by name", one(1999), 1),
        ("one by place", Select { pick: Some(Pick::Seq(Seq(77))), ..ALL }, 1),
        ("one that is parked, by place", Select { pick: Some(Pick::Seq(Seq(10))), ..ALL }, 2),
        ("one that is not there", one(3000), 0),
    ] {
        let items = list(&mut desk, select);
        assert_eq!(items.len(), want, "{name}");
        assert!(items.iter().all(|item| item.body == body(u64::try_from(item.id.0 & 0xffff).unwrap(), 40)), "{name}");
    }
    let items = list(&mut desk, Select { state: Some(State::Parked), ..ALL });
    assert_eq!(items[0].parked.as_ref().unwrap().reason, "by hand");
    let page = match ask(&mut desk, Command::List { select: ALL, from: None, max: 100 }).unwrap() {
        Outcome::Page(page) => page,
        other => panic!("{other:?}"),
    };
    assert_eq!((page.items.len(), page.next), (100, Some(Position::Waiting(Seq(102)))));
}

#[test]
fn parked_records_are_retried_or_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let mut desk = offline(directory.path());
    append(&mut desk.queue, (1..=1000).map(|n| entry(n, n, BOTH)).collect());
    let of = |sink| Select { sink: Some(sink), ..ALL };
    assert_eq!(act(&mut desk, Action::Park { reason: "x".into() }, of(A)), 1000);
    assert_eq!(act(&mut desk, Action::Drop { by: "somebody".into() }, of(B)), 1000);
    let stats = desk.queue.stats();
    assert!(stats.balanced());
    assert_eq!(
        (stats.sinks[0].parked_now, stats.sinks[0].balance.waiting, stats.sinks[1].balance.dropped),
        (1000, 0, 1000)
    );
    let parked = Select { state: Some(State::Parked), ..of(A) };
    assert_eq!(
        act(&mut desk, Action::Drop { by: "somebody".into() }, Select { pick: Some(Pick::Id(id(500))), ..parked }),
        1
    );
    assert_eq!(act(&mut desk, Action::Retry, parked), 999);
    let stats = desk.queue.stats();
    assert_eq!((stats.sinks[0].parked_now, stats.sinks[0].balance.waiting), (0, 999));
    assert!(stats.balanced());
    drop(desk);
    let mut queue = open(settings(directory.path())).queue;
    let mut want: Vec<u64> = (1..=1000).collect();
    want.retain(|n| *n != 500);
    assert_eq!(deliver_all(&mut queue, A), want, "what was retried is durable, under its old name");
    assert_eq!(deliver_all(&mut queue, B), [0_u64; 0]);
}

#[test]
fn a_record_that_backs_off_is_tried_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut desk = offline(directory.path());
    append(&mut desk.queue, vec![entry(1, 1, BOTH)]);
    let now = clock::now();
    assert_eq!(lease(&mut desk.queue, A, now).len(), 1);
    let after = Duration::from_secs(3600);
    desk.queue.settle(A, Seq(1), Settlement::Retry { after, reason: "no answer".into() }, now);
    let items = list(&mut desk, ALL);
    let waiting = &items[0].waiting[0];
    assert_eq!((waiting.attempts, waiting.reason.as_str(), waiting.leased), (1, "no answer", false));
    assert!(waiting.due_in.is_some_and(|due| due > Duration::from_secs(3500)));
    assert_eq!(act(&mut desk, Action::Retry, ALL), 1);
    assert_eq!(numbers(&lease(&mut desk.queue, A, now)), [1]);
}

#[test]
fn of_dropped_records_those_under_way_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let mut desk = offline(directory.path());
    append(&mut desk.queue, (1..=5).map(|n| entry(n, n, SinkMask(1))).collect());
    let mut out = Vec::new();
    desk.queue.lease(A, 2, clock::now(), &mut out);
    let done = ask(&mut desk, Command::Act { action: Action::Drop { by: "somebody".into() }, select: ALL }).unwrap();
    let named = (1..=5).map(id).collect();
    assert_eq!(done, Outcome::Done { records: 5, skipped: Skipped::default(), under_way: 2, named, is_cut: false });
}

#[test]
fn an_action_that_nobody_wants_any_more_leaves_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let mut desk = offline(directory.path());
    append(&mut desk.queue, (1..=600).map(|n| entry(n, n, SinkMask(1))).collect());
    for (what, slices, want, is_cut) in
        [("nobody from the beginning", 0, 0, true), ("two slices long", 2, 512, true), ("to the end", 9, 88, false)]
    {
        let left = Cell::new(slices);
        let is_wanted = || left.replace(left.get() - 1) > 0;
        let action = Action::Drop { by: "somebody".into() };
        match ask_while(&is_wanted, &mut desk, Command::Act { action, select: ALL }).unwrap() {
            Outcome::Done { records, is_cut: cut, .. } => assert_eq!((records, cut), (want, is_cut), "{what}"),
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[test]
fn dropped_records_come_back_once_and_are_delivered_under_their_ids() {
    let directory = tempfile::tempdir().unwrap();
    let mut desk = offline(directory.path());
    append(&mut desk.queue, vec![entry(1, 1, BOTH), entry(2, 2, BOTH), entry(3, 3, SinkMask(1))]);
    let until = Some((Seq(2), clock::now().wall));
    assert_eq!(
        act(&mut desk, Action::Drop { by: "somebody".into() }, Select { until, ..ALL }),
        4,
        "what came later stays"
    );
    let mut put_back = |entries: Vec<Entry>| match ask(&mut desk, Command::Import(entries)).unwrap() {
        Outcome::Done { records, skipped, .. } => (records, skipped.records),
        other => panic!("{other:?}"),
    };
    assert_eq!(put_back(vec![entry(1, 1, SinkMask(1)), entry(3, 3, SinkMask(1))]), (1, 1), "one waits");
    assert_eq!(put_back(vec![entry(1, 1, BOTH), entry(2, 2, BOTH)]), (3, 1), "one waits for one of its sinks");
    assert_eq!(act(&mut desk, Action::Park { reason: "x".into() }, Select { pick: Some(Pick::Id(id(2))), ..ALL }), 2);
    let again = ask(&mut desk, Command::Import(vec![entry(2, 2, BOTH)])).unwrap();
    assert!(matches!(again, Outcome::Done { records: 0, .. }), "it is parked: {again:?}");
    assert_eq!(deliver_all(&mut desk.queue, A), [3, 1]);
    assert_eq!(deliver_all(&mut desk.queue, B), [1]);
    assert!(desk.queue.stats().balanced());
}

#[test]
fn dropping_a_record_that_is_out_makes_its_settlement_stray() {
    let directory = tempfile::tempdir().unwrap();
    let mut desk = offline(directory.path());
    append(&mut desk.queue, vec![entry(1, 1, SinkMask(1)), entry(2, 1, SinkMask(1))]);
    assert_eq!(numbers(&lease(&mut desk.queue, A, clock::now())), [1]);
    assert_eq!(
        act(&mut desk, Action::Drop { by: "somebody".into() }, Select { pick: Some(Pick::Seq(Seq(1))), ..ALL }),
        1
    );
    desk.queue.settle(A, Seq(1), Settlement::Delivered, clock::now());
    let stats = desk.queue.stats();
    assert_eq!((stats.settlements_stray, stats.sinks[0].balance.dropped, stats.sinks[0].balance.delivered), (1, 1, 0));
    assert_eq!(numbers(&lease(&mut desk.queue, A, clock::now())), [2]);
    assert!(stats.balanced());
}

#[test]
fn values_kept_by_name_survive() {
    let directory = tempfile::tempdir().unwrap();
    let mut queue = open(Settings { spool_bytes: 1 << 20, ..settings(directory.path()) }).queue;
    queue.keep_meta_bytes("key", b"one").unwrap();
    queue.keep_meta_bytes("key", b"two").unwrap();
    drop(queue);
    let queue = open(settings(directory.path())).queue;
    assert_eq!(queue.meta_bytes("key"), Some(&b"two"[..]));
    assert_eq!(queue.meta_bytes("other"), None);
}

#[test]
fn sinks_keep_their_numbers_and_new_ones_start_at_the_head() {
    let directory = tempfile::tempdir().unwrap();
    let with = |sinks: &[&str]| {
        let sinks: Vec<String> = sinks.iter().map(|sink| (*sink).to_owned()).collect();
        Queue::open(settings(directory.path()), &sinks, clock::now, &mut || {}).unwrap()
    };
    let mut opened = with(&["radius", "log"]);
    append(&mut opened.queue, vec![entry(1, 1, BOTH)]);
    drop(opened);
    let opened = with(&["sql", "log"]);
    assert_eq!(opened.sinks, [("sql".into(), SinkNumber(2)), ("log".into(), SinkNumber(1))]);
    assert_eq!(opened.report.orphans, ["radius"]);
    let mut queue = opened.queue;
    append(&mut queue, vec![entry(2, 2, SinkMask(6))]);
    assert_eq!(deliver_all(&mut queue, SinkNumber(2)), [2], "it does not get what was before it");
    assert_eq!(deliver_all(&mut queue, B), [1, 2]);
    drop(queue);
    let mut queue = with(&["radius"]).queue;
    assert_eq!(deliver_all(&mut queue, A), [1], "it comes back with what waited for it");
}

#[test]
fn the_balance_counts_records_and_not_moves_also_over_restarts() {
    for clean in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let mut desk = offline(directory.path());
        let restart = |desk: Offline| {
            if clean {
                desk.queue.close(clock::now).unwrap();
            } else {
                drop(desk);
            }
            offline(directory.path())
        };
        append(&mut desk.queue, (1..=6).map(|n| entry(n, n, SinkMask(1))).collect());
        let one = |n| Select { pick: Some(Pick::Id(id(n))), ..ALL };
        assert_eq!(act(&mut desk, Action::Park { reason: "x".into() }, ALL), 6);
        assert_eq!(act(&mut desk, Action::Drop { by: "somebody".into() }, one(1)), 1);
        desk = restart(desk);
        assert_eq!(act(&mut desk, Action::Retry, ALL), 5);
        assert_eq!(act(&mut desk, Action::Drop { by: "somebody".into() }, one(2)), 1);
        desk = restart(desk);
        assert_eq!(deliver_all(&mut desk.queue, A), [3, 4, 5, 6]);
        desk.queue.finish(clock::now).unwrap();
        desk = restart(desk);
        let stats = desk.queue.stats();
        let balance = Balance { appended: 6, delivered: 4, dropped: 2, ..Balance::default() };
        assert_eq!(stats.sinks[0].balance, balance, "closed in order: {clean}");
    }
}

fn retry(desk: &mut Offline) -> (u64, Skipped) {
    match ask(desk, Command::Act { action: Action::Retry, select: ALL }).unwrap() {
        Outcome::Done { records, skipped, .. } => (records, skipped),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_retried_record_does_not_undo_a_later_fact() {
    use Kind::{Interim, Missed, Start, Stop};
    for (name, collapses, parked, later, want, left) in [
        ("a Stop supersedes a parked Interim", true, Interim, Stop, (0, 0), 0),
        ("a later Interim likewise", true, Interim, Interim, (0, 0), 0),
        ("a parked Start would open the session again", true, Start, Stop, (0, 1), 1),
        ("where Interims do not collapse one is passed over", false, Interim, Stop, (0, 1), 1),
        ("a parked Stop undoes nothing", true, Stop, Interim, (1, 0), 0),
        ("a missed call is no fact of the session", true, Missed, Stop, (1, 0), 0),
    ] {
        for restart in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            let collapsing = if collapses { vec!["a".to_owned()] } else { Vec::new() };
            let settings = || Settings { collapsing: collapsing.clone(), ..settings(directory.path()) };
            let mut queue = open(settings()).queue;
            append(&mut queue, vec![of(parked, 1, 7, SinkMask(1))]);
            lease(&mut queue, A, clock::now());
            queue.settle(A, Seq(1), Settlement::Park { reason: "refused".into(), code: 0 }, clock::now());
            queue.tick(clock::now());
            append(&mut queue, vec![of(later, 2, 7, SinkMask(1))]);
            assert_eq!(deliver_all(&mut queue, A), [2], "{name}");
            queue.tick(clock::now());
            if restart {
                queue.close(clock::now).unwrap();
                queue = open(settings()).queue;
            }
            let mut desk = Offline { queue, clock: clock::now };
            let (records, skipped) = retry(&mut desk);
            assert_eq!((records, skipped.records), want, "{name}, {restart}: {skipped:?}");
            assert!(skipped.reasons.iter().all(|reason| reason.contains("would undo it")), "{skipped:?}");
            let stats = desk.queue.stats();
            assert!(stats.balanced(), "{name}: {stats:?}");
            assert_eq!(stats.sinks[0].parked_now, left, "{name}");
        }
    }
}

#[test]
fn a_retried_record_goes_ahead_of_those_made_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut queue = open(settings(directory.path())).queue;
    let numbered = |kind, number: u64| {
        let mut entry = of(kind, number, 7, SinkMask(1));
        let mut record = codec::decode(&entry.body).unwrap();
        record.number = Some(u32::try_from(number).unwrap());
        entry.body = codec::encode(&record);
        entry
    };
    append(&mut queue, vec![numbered(Kind::Start, 1)]);
    lease(&mut queue, A, clock::now());
    queue.settle(A, Seq(1), Settlement::Park { reason: "refused".into(), code: 0 }, clock::now());
    queue.tick(clock::now());
    // The Stop waits for its time: the server is down.
    append(&mut queue, vec![numbered(Kind::Interim, 2), numbered(Kind::Stop, 3)]);
    let now = clock::now();
    assert_eq!(numbers(&lease(&mut queue, A, now)), [2]);
    let after = Duration::from_secs(5);
    queue.settle(A, Seq(2), Settlement::Retry { after, reason: "no answer".into() }, now);
    let select = Select { state: Some(State::Parked), ..ALL };
    let query = Query { select, from: Position::Parked(None), max: 10, action: Some(Action::Retry) };
    assert_eq!(queue.slice(&query, now).unwrap().acted, 1);
    queue.finish(clock::now).unwrap();
    assert_eq!(deliver_all(&mut queue, A), [1, 2, 3]);
    assert!(queue.stats().balanced());
}
