//! What a witness hears, and what the queue keeps for it.

use super::*;
use crate::queue::witness::{Event, How, Source, Tap, Telling, Witness};

fn witnessed(path: &Path, kept: u64) -> (Queue, Telling) {
    let mut queue = open(settings(path)).queue;
    let (witness, telling) = Witness::new(kept);
    queue.tell(witness);
    (queue, telling)
}

/// What was told since the last call, in words.
fn told(queue: &mut Queue, telling: &Telling) -> Vec<String> {
    queue.hand_over(clock::wall());
    let events = telling.turns.try_iter().flat_map(|turn| turn.events);
    let words = events.map(|event| match event {
        Event::Committed { seq, sinks, source: Source::New, .. } => format!("{seq} for {}", sinks.0),
        Event::Committed { seq, sinks, source: Source::Back, .. } => format!("{seq} back for {}", sinks.0),
        Event::Committed { seq, sinks, source: Source::Again(was), .. } => format!("{seq} for {}, was {was}", sinks.0),
        Event::Ended { sink, seq, id: known, attempts, how } => {
            assert!(known.is_some(), "{seq}");
            let how = match how {
                How::Delivered(by) => format!("delivered by {}", by.map_or("?".to_owned(), |by| by.server.clone())),
                How::Parked { reason, code } => format!("parked: {reason} {code}"),
                How::Dropped { by, under_way } => format!("dropped by {by}, {under_way}"),
                How::Superseded => "superseded".to_owned(),
                How::Retried { reason } => format!("retried: {reason}"),
            };
            format!("{seq} at {}, {attempts}: {how}", sink.0)
        }
        Event::Discarded { why, records } => format!("{records} {}", why.name()),
        Event::Lost { from, to } => format!("{from} to {to} lost"),
    });
    words.collect()
}

#[test]
fn a_witness_hears_of_every_record_and_how_it_left() {
    let directory = tempfile::tempdir().unwrap();
    let (mut queue, telling) = witnessed(directory.path(), 0);
    let now = clock::now();
    append(&mut queue, (1..=5).map(|number| entry(number, number, BOTH)).collect());
    assert_eq!(told(&mut queue, &telling), ["1 for 3", "2 for 3", "3 for 3", "4 for 3", "5 for 3"]);
    let leases = lease(&mut queue, A, now);
    let by = Arc::new(Acknowledger { server: "there".into(), worth: Worth::Stored });
    let (after, reason) = (Duration::from_secs(60), "no answer".to_owned());
    queue.settle(A, leases[0].seq, Settlement::DeliveredBy(by), now);
    queue.settle(A, leases[1].seq, Settlement::Delivered, now);
    queue.settle(A, leases[2].seq, Settlement::Park { reason: "refused".into(), code: 7 }, now);
    queue.settle(A, leases[3].seq, Settlement::Retry { after, reason: reason.clone() }, now);
    queue.settle(A, leases[4].seq, Settlement::Defer { after, reason }, now);
    queue.tick(now);
    let want = ["1 at 0, 1: delivered by there", "2 at 0, 1: delivered by ?", "4 at 0, 1: retried: no answer"];
    let want: Vec<_> = want.into_iter().chain(["3 at 0, 1: parked: refused 7"]).collect();
    assert_eq!(told(&mut queue, &telling), want, "a visit that says nothing of a record is no try of it");
    let act = |queue: &mut Queue, action, pick, state| {
        let select = Select { pick: Some(Pick::Seq(Seq(pick))), state: Some(state), ..Select::default() };
        let from = if state == State::Parked { Position::Parked(None) } else { Position::Waiting(Seq(0)) };
        queue.slice(&Query { select, from, max: 10, action: Some(action) }, now).unwrap();
        queue.finish(clock::now).unwrap();
    };
    let drop = || Action::Drop { by: "me".into() };
    act(&mut queue, Action::Retry, 3, State::Parked);
    assert_eq!(told(&mut queue, &telling), ["6 for 1, was 3"]);
    lease(&mut queue, B, now);
    act(&mut queue, drop(), 5, State::Waiting);
    let want = ["5 at 0, 0: dropped by me, false", "5 at 1, 1: dropped by me, true"];
    assert_eq!(told(&mut queue, &telling), want);
    queue.settle(B, Seq(4), Settlement::Park { reason: "odd".into(), code: 0 }, now);
    queue.tick(now);
    act(&mut queue, drop(), 4, State::Parked);
    let want = ["4 at 1, 1: parked: odd 0", "4 at 1, 0: dropped by me, false"];
    assert_eq!(told(&mut queue, &telling), want);
    queue.put_back(vec![entry(9, 9, BOTH)]).unwrap();
    queue.finish(clock::now).unwrap();
    assert_eq!(told(&mut queue, &telling), ["7 back for 3"]);
}

#[test]
fn a_tap_hears_all_at_once_and_needs_no_ledger() {
    let directory = tempfile::tempdir().unwrap();
    let mut queue = open(settings(directory.path())).queue;
    let heard = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (own, tap) =
        (Arc::clone(&heard), |heard: &std::sync::Mutex<Vec<Event>>, event| heard.lock().unwrap().push(event));
    queue.tell(Witness::default().tapped(Tap(Arc::new(move |event| tap(&own, event)))));
    let now = clock::now();
    append(&mut queue, vec![entry(1, 1, SinkMask(1)), entry(2, 2, SinkMask(1))]);
    let leases = lease(&mut queue, A, now);
    queue.settle(A, leases[0].seq, Settlement::Withdrawn, now);
    queue.settle(A, leases[1].seq, Settlement::Delivered, now);
    let words: Vec<_> = heard
        .lock()
        .unwrap()
        .iter()
        .map(|event| match event {
            Event::Committed { seq, .. } => format!("{seq} committed"),
            Event::Ended { seq, how: How::Superseded, .. } => format!("{seq} superseded"),
            Event::Ended { seq, how, .. } => format!("{seq} {how:?}"),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(words, ["1 committed", "2 committed", "1 superseded", "2 Delivered(None)"]);
    let balance = queue.stats().sinks[0].balance;
    assert_eq!((balance.superseded, balance.delivered, balance.waiting), (1, 1, 0));
}

#[test]
fn of_many_tries_in_vain_the_first_ones_are_told_and_every_power_of_two() {
    let directory = tempfile::tempdir().unwrap();
    let (mut queue, telling) = witnessed(directory.path(), 0);
    append(&mut queue, vec![entry(1, 1, SinkMask(1))]);
    let mut now = clock::now();
    for _ in 0..40 {
        now = now.after(Duration::from_secs(2));
        for lease in lease(&mut queue, A, now) {
            let settlement = Settlement::Retry { after: Duration::from_secs(1), reason: "no".into() };
            queue.settle(A, lease.seq, settlement, now);
        }
    }
    let tries: Vec<_> = told(&mut queue, &telling).into_iter().skip(1).collect();
    let want = [1, 2, 3, 4, 5, 6, 7, 8, 16, 32].map(|attempts| format!("1 at 0, {attempts}: retried: no"));
    assert_eq!(tries, want);
}

#[test]
fn bodies_stay_until_the_witness_has_them_and_are_read_again_after_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let (mut queue, telling) = witnessed(directory.path(), 0);
    append(&mut queue, (1..=3000).map(|number| entry(number, number, BOTH)).collect());
    for sink in [A, B] {
        assert_eq!(deliver_all(&mut queue, sink).len(), 3000);
    }
    for number in 3001..3020 {
        append(&mut queue, vec![entry(number, number, BOTH)]);
    }
    // The process is killed: nothing is closed, and the ledger has nothing but the first 100.
    std::mem::forget(queue);
    drop(telling);
    let copy = tempfile::tempdir().unwrap();
    copy_queue(directory.path(), copy.path());
    let mut again = open(settings(copy.path())).queue;
    let mut standing = again.standing(100, false);
    let seqs: Vec<u64> = standing
        .take_committed()
        .into_iter()
        .map(|event| match event {
            Event::Committed { seq, source: Source::Back, .. } => seq,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(seqs, (101..=3019).collect::<Vec<_>>());
    assert!(standing.waits("a", 3005) && !standing.waits("a", 5) && !standing.waits("c", 3005));
    let (witness, telling) = Witness::new(100);
    again.tell(witness);
    telling.kept.store(3019, std::sync::atomic::Ordering::Release);
    for number in 3020..3060 {
        again.hand_over(clock::wall());
        append(&mut again, vec![entry(number, number, BOTH)]);
    }
    let left = again.standing(100, false).take_committed().len();
    assert!(left < 2000, "{left}: what the ledger has may go");
}

#[test]
fn a_witness_that_does_not_listen_holds_nothing_up_and_misses_are_counted() {
    use crate::queue::witness::{EVENTS_MAX, TURNS_MAX};
    let directory = tempfile::tempdir().unwrap();
    let (mut queue, telling) = witnessed(directory.path(), 0);
    for _ in 0..TURNS_MAX + 1 {
        queue.witness.note(|| Event::Lost { from: 1, to: 1 });
        queue.hand_over(clock::wall());
    }
    for _ in 0..EVENTS_MAX + 6 {
        queue.witness.note(|| Event::Lost { from: 1, to: 1 });
    }
    queue.hand_over(clock::wall());
    let turns: Vec<_> = telling.turns.try_iter().collect();
    assert_eq!((turns.len(), turns.iter().map(|turn| turn.missed.1).sum::<u64>()), (TURNS_MAX, 0));
    queue.hand_over(clock::wall());
    let last = telling.turns.try_recv().unwrap();
    assert_eq!((last.events.len(), last.missed), (EVENTS_MAX, (0, 7)));
}

/// What a process that was killed leaves: the files, without the locks.
fn copy_queue(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy_queue(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}
