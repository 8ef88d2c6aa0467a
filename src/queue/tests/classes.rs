//! Class values of sessions, in a tree of their own.

use super::*;

fn class(sink: SinkNumber, session: u64, value: Option<&[u8]>) -> CallChange {
    CallChange::Class { sink, session, value: value.map(<[u8]>::to_vec) }
}

fn put(key: &[u8], value: &[u8]) -> CallChange {
    CallChange::Put { key: key.to_vec(), value: value.to_vec() }
}

fn change(queue: &mut Queue, calls: Vec<CallChange>) {
    queue.add(Commit { entries: Vec::new(), calls }).unwrap();
    queue.finish(clock::now).unwrap();
}

/// Keys in the trees of calls and Class values.
fn keys(queue: &mut Queue) -> Vec<u8> {
    let mut pairs = Vec::new();
    queue.chain.active().database.as_ref().unwrap().range(layout::KEPT, usize::MAX, &mut pairs).unwrap();
    pairs.iter().map(|(key, _)| key[0]).collect()
}

#[test]
fn class_values_come_back_as_they_were_last_whatever_calls_are_called() {
    let directory = tempfile::tempdir().unwrap();
    let mut queue = open(settings(directory.path())).queue;
    // As a Class value is called in its tree.
    let alike = [&[0][..], &7_u64.to_be_bytes()].concat();
    let long = vec![5; 9000];
    change(&mut queue, vec![class(A, 7, Some(b"gold")), put(&alike, b"a call"), class(B, 7, Some(&long))]);
    change(&mut queue, vec![class(A, 8, Some(b"lead")), class(A, 7, Some(b"silver")), class(A, 9, None)]);
    change(&mut queue, vec![class(A, 8, None)]);
    assert_eq!((queue.stats().calls, keys(&mut queue)), (3, b"CDDDD".to_vec()));
    drop(queue);
    for _ in 0..2 {
        let opened = open(settings(directory.path()));
        assert_eq!(opened.calls, [(alike.clone(), b"a call".to_vec())]);
        assert_eq!(opened.classes, [(A, 7, b"silver".to_vec()), (B, 7, long.clone())]);
        assert_eq!(opened.queue.stats().calls, 3);
    }
    let mut queue = open(settings(directory.path())).queue;
    let too_long = class(A, 1, Some(&[1; BODY_BYTES_MAX + 1]));
    let added = queue.add(Commit { entries: Vec::new(), calls: vec![too_long, class(B, 7, None)] });
    assert_eq!(added, Err(AppendFailed::TooLong));
    queue.finish(clock::now).unwrap();
    drop(queue);
    assert_eq!(open(settings(directory.path())).classes, [(A, 7, b"silver".to_vec())]);
}

#[test]
fn class_values_among_the_calls_move_to_their_own_tree() {
    let directory = tempfile::tempdir().unwrap();
    let mut queue = open(settings(directory.path())).queue;
    // As the releases called them that had no tree for them; and calls whose names begin like that.
    let old = |sink: SinkNumber, session: u64| [&b"class"[..], &[sink.0], &session.to_be_bytes()].concat();
    let calls: [&[u8]; 3] = [b"class", &[&b"class"[..], &[0; 19]].concat(), b"classified"];
    let mut changes: Vec<CallChange> = calls.iter().map(|name| put(name, b"a call")).collect();
    changes.extend([put(&old(A, 1), b"one"), put(&old(B, u64::MAX), &[2; 9000]), put(&old(A, 3), b"three")]);
    change(&mut queue, changes);
    assert_eq!(keys(&mut queue), b"CCCCCCCC");
    drop(queue);
    let mut opened = open(settings(directory.path()));
    let mut names: Vec<&[u8]> = opened.calls.iter().map(|(name, _)| &name[..]).collect();
    names.sort_unstable();
    let mut want = calls;
    want.sort_unstable();
    assert_eq!(names, want);
    assert_eq!(
        opened.classes,
        [(A, 1, b"one".to_vec()), (A, 3, b"three".to_vec()), (B, u64::MAX, vec![2; 9000])],
        "sink by sink"
    );
    assert_eq!((opened.queue.stats().calls, keys(&mut opened.queue)), (6, b"CCCDDDDD".to_vec()));
    change(&mut opened.queue, vec![class(A, 1, None), class(A, 3, Some(b"drei"))]);
    drop(opened);
    let mut opened = open(settings(directory.path()));
    assert_eq!(opened.classes, [(A, 3, b"drei".to_vec()), (B, u64::MAX, vec![2; 9000])]);
    assert_eq!(keys(&mut opened.queue), b"CCCDDDD", "nothing is left in the old place");
}

#[test]
fn class_values_go_along_to_the_next_spool_in_order_and_after_a_failed_write() {
    let directory = tempfile::tempdir().unwrap();
    let small = Settings { spool_bytes: 1 << 20, ..settings(directory.path()) };
    let mut queue = open(small.clone()).queue;
    change(&mut queue, (0..2000).map(|session| class(A, session, Some(b"gold"))).collect());
    let mut n = 0;
    while queue.stats().spools < 2 {
        let entries = (n..n + 20).map(|n| Entry { body: body(n, 2000), ..entry(n, n, BOTH) }).collect();
        queue.add(Commit { entries, calls: vec![class(A, n, None), class(B, n, Some(b"lead"))] }).unwrap();
        queue.finish(clock::now).unwrap();
        queue.tick(clock::now());
        n += 20;
    }
    let is_kept = |session: &u64| *session >= n || !session.is_multiple_of(20);
    let mut want: Vec<Class> = (0..2000).filter(is_kept).map(|session| (A, session, b"gold".to_vec())).collect();
    want.extend((0..n).step_by(20).map(|session| (B, session, b"lead".to_vec())));
    drop(queue);
    let opened = open(small.clone());
    assert_eq!(opened.classes, want);
    let mut queue = opened.queue;
    // As after an error of sled: the spool takes no more writes.
    queue.chain.active().database = None;
    change(&mut queue, vec![class(A, 1999, None), class(A, 1998, Some(b"tin"))]);
    assert!(queue.notices().iter().any(|notice| matches!(notice, Notice::Rescued { .. })));
    drop(queue);
    want.retain(|(sink, session, _)| (*sink, *session) != (A, 1999));
    want.iter_mut().filter(|(sink, session, _)| (*sink, *session) == (A, 1998)).for_each(|one| one.2 = b"tin".to_vec());
    assert_eq!(open(small).classes, want);
}
