//! What an operator does.

use super::*;

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
        Outcome::Done { records } => records,
        other => panic!("{other:?}"),
    }
}

const ALL: Select = Select { sink: None, pick: None, state: None };

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
    assert_eq!(act(&mut desk, Action::Drop, of(B)), 1000);
    let stats = desk.queue.stats();
    assert!(stats.balanced());
    assert_eq!(
        (stats.sinks[0].parked_now, stats.sinks[0].balance.waiting, stats.sinks[1].balance.dropped),
        (1000, 0, 1000)
    );
    let parked = Select { state: Some(State::Parked), ..of(A) };
    assert_eq!(act(&mut desk, Action::Drop, Select { pick: Some(Pick::Id(id(500))), ..parked }), 1);
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
fn dropping_a_record_that_is_out_makes_its_settlement_stray() {
    let directory = tempfile::tempdir().unwrap();
    let mut desk = offline(directory.path());
    append(&mut desk.queue, vec![entry(1, 1, SinkMask(1)), entry(2, 1, SinkMask(1))]);
    assert_eq!(numbers(&lease(&mut desk.queue, A, clock::now())), [1]);
    assert_eq!(act(&mut desk, Action::Drop, Select { pick: Some(Pick::Seq(Seq(1))), ..ALL }), 1);
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
