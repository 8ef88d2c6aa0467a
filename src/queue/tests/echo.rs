//! What is told of the calls in progress to whoever keeps a copy of them.

use std::sync::Mutex;

use super::*;
use crate::queue::echo::{Echo, Kept, Told};

fn put(key: &[u8], value: &[u8]) -> CallChange {
    CallChange::Put { key: key.to_vec(), value: value.to_vec() }
}

fn kept(key: &[u8], value: Option<&[u8]>, last: u64) -> (Vec<u8>, Kept) {
    (key.to_vec(), Kept { value: value.map(<[u8]>::to_vec), last })
}

fn take(echo: &Echo) -> Told {
    let mut told = echo.take();
    told.calls.sort_by(|one, other| one.0.cmp(&other.0));
    told
}

#[test]
fn a_call_is_told_when_it_is_on_disk_with_the_place_of_its_last_record() {
    let directory = tempfile::tempdir().unwrap();
    let mut queue = open(settings(directory.path())).queue;
    queue.add(Commit { entries: vec![entry(1, 1, BOTH)], calls: vec![put(b"before", b"1")] }).unwrap();
    queue.finish(clock::now).unwrap();
    let woken = Arc::new(Mutex::new(0));
    let count = Arc::clone(&woken);
    let echo = Echo::new(Arc::new(move || *count.lock().unwrap() += 1));
    queue.tell_calls(echo.clone());
    queue.add(Commit { entries: vec![entry(2, 2, BOTH)], calls: vec![put(b"one", b"1"), put(b"two", b"1")] }).unwrap();
    assert_eq!(take(&echo), Told::default(), "nothing is on disk");
    queue.finish(clock::now).unwrap();
    assert_eq!(take(&echo).calls, [kept(b"one", Some(b"1"), 2), kept(b"two", Some(b"1"), 2)]);
    let end = |key: &[u8]| CallChange::End { key: key.to_vec(), note: b"note".to_vec() };
    let remove = CallChange::Remove { key: b"nobody's".to_vec() };
    queue.add(Commit { entries: vec![entry(3, 2, BOTH)], calls: vec![end(b"two"), remove] }).unwrap();
    queue.finish(clock::now).unwrap();
    assert_eq!(take(&echo).calls, [kept(b"nobody's", None, 3), kept(b"two", None, 3)], "asked for, so told");
    let class = CallChange::Class { sink: A, session: 1, value: Some(b"class".to_vec()) };
    queue.add(Commit { entries: Vec::new(), calls: vec![class] }).unwrap();
    queue.finish(clock::now).unwrap();
    assert_eq!((take(&echo).calls.len(), *woken.lock().unwrap()), (0, 2), "what sinks keep is no call");
}

#[test]
fn it_is_told_how_far_records_have_left_for_all_sinks() {
    let directory = tempfile::tempdir().unwrap();
    let mut queue = open(settings(directory.path())).queue;
    let echo = Echo::new(Arc::new(|| ()));
    queue.tell_calls(echo.clone());
    let safe = |queue: &Queue| {
        queue.tell_safe();
        echo.take().safe
    };
    assert_eq!(safe(&queue), 0);
    append(&mut queue, (1..=200).map(|number| entry(number, number, BOTH)).collect());
    assert_eq!(safe(&queue), 0);
    assert_eq!(deliver_all(&mut queue, A).len(), 200);
    assert_eq!(safe(&queue), 0, "one sink has none of them");
    for lease in lease(&mut queue, B, clock::now()) {
        if lease.seq.0 != 130 {
            queue.settle(B, lease.seq, Settlement::Delivered, clock::now());
        }
    }
    assert_eq!(safe(&queue), 129, "up to the first that has not left");
    queue.settle(B, Seq(130), Settlement::Delivered, clock::now());
    assert_eq!(safe(&queue), 200);
}

#[test]
fn the_thread_tells_of_every_commit_after_it_was_asked() {
    let directory = tempfile::tempdir().unwrap();
    let started = spawn(settings(directory.path()), &[], &mut || {}).unwrap();
    let (woken, told) = std::sync::mpsc::channel();
    let echo = Echo::new(Arc::new(move || {
        let _gone = woken.send(());
    }));
    started.handle.tell_calls(echo.clone()).unwrap();
    let mut producer = started.handle.producer(Arc::new(|| ()));
    producer.append(1, Commit { entries: Vec::new(), calls: vec![put(b"one", b"1")] }).unwrap();
    told.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!(take(&echo).calls, [kept(b"one", Some(b"1"), 0)]);
    started.handle.stop();
    started.join.join().unwrap().unwrap();
}
