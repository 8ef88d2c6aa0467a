//! Tests of one sink's window.

use super::super::order::Rank;
use super::*;

fn window(records: &[(u64, u64)]) -> Window {
    let mut window = Window::new(1, 100, 10_000);
    for (seq, call) in records {
        window.push(*seq, RecordId(u128::from(*seq)), CallHash(*call), Bytes::from_static(b"0123456789"));
    }
    window
}

fn lent(window: &mut Window, now: u64) -> Vec<u64> {
    let mut out = Vec::new();
    let now = Now { mono: Instant(now), wall: Timestamp(0) };
    window.lease(100, now, &mut out);
    out.iter().map(|lease| lease.seq.0).collect()
}

#[test]
fn one_record_of_a_call_is_out_at_a_time() {
    let mut window = window(&[(1, 7), (2, 8), (3, 7), (4, 7)]);
    assert_eq!(lent(&mut window, 0), [1, 2]);
    assert_eq!(lent(&mut window, 0), [0_u64; 0], "the call's later records wait");
    window.remove(1);
    assert_eq!(lent(&mut window, 0), [3]);
    window.remove(2);
    window.remove(3);
    assert_eq!(lent(&mut window, 0), [4]);
    window.remove(4);
    assert!(window.slots.is_empty() && window.chains.is_empty() && window.out() == 0 && window.here.bytes == 0);
}

#[test]
fn a_record_that_backs_off_holds_its_call_only() {
    let mut window = window(&[(1, 7), (2, 7), (3, 8)]);
    assert_eq!(lent(&mut window, 0), [1, 3]);
    window.back_off(1, Instant(0), Duration::from_micros(50), "down".into());
    assert_eq!(window.deadline(), Some(Instant(50)));
    assert_eq!(lent(&mut window, 49), [0_u64; 0]);
    assert_eq!(lent(&mut window, 50), [1]);
    assert_eq!(window.slot(1).unwrap().attempts, 2);
    window.remove(1);
    assert_eq!(lent(&mut window, 50), [2]);
}

#[test]
fn a_record_from_the_middle_of_a_call_leaves_the_rest_in_order() {
    for (gone, rest) in [(1, [2, 3]), (2, [1, 3]), (3, [1, 2])] {
        let mut window = window(&[(1, 7), (2, 7), (3, 7)]);
        window.remove(gone);
        window.push(4, RecordId(4), CallHash(7), Bytes::new());
        let mut order = Vec::new();
        while let [seq] = lent(&mut window, 0)[..] {
            order.push(seq);
            window.remove(seq);
        }
        assert_eq!(order, [rest[0], rest[1], 4], "{gone} taken out");
    }
}

#[test]
fn a_hurried_record_does_not_come_a_second_time() {
    let mut window = window(&[(1, 7)]);
    assert_eq!(lent(&mut window, 0), [1]);
    assert!(!window.hurry(1), "it is lent");
    window.back_off(1, Instant(0), Duration::from_micros(50), String::new());
    assert!(window.hurry(1));
    assert_eq!(lent(&mut window, 1), [1]);
    assert_eq!(lent(&mut window, 60), [0_u64; 0], "its old time means nothing");
    window.back_off(1, Instant(60), Duration::from_micros(50), String::new());
    assert_eq!(lent(&mut window, 109), [0_u64; 0]);
    assert_eq!(lent(&mut window, 110), [1]);
}

#[test]
fn a_full_window_takes_no_more() {
    let mut window = Window::new(1, 2, 100);
    assert!(window.has_room());
    window.push(1, RecordId(1), CallHash(1), Bytes::from(vec![0; 99]));
    assert!(window.has_room());
    window.push(2, RecordId(2), CallHash(2), Bytes::new());
    assert!(!window.has_room(), "by count");
    window.remove(2);
    window.push(3, RecordId(3), CallHash(2), Bytes::from_static(b"x"));
    window.remove(1);
    window.push(4, RecordId(4), CallHash(2), Bytes::from(vec![0; 99]));
    assert!(!window.has_room(), "by octets");
}

/// Offers records (place, call) at a time in microseconds.
fn offer(window: &mut Window, records: &[(u64, u64)], at: u64) {
    for (seq, call) in records {
        window.offer(*seq, RecordId(1), CallHash(*call), &Bytes::from_static(b"0123456789"), Instant(at));
    }
}

#[test]
fn fresh_records_get_three_of_four_leases() {
    let mut window = window(&[(1, 1), (2, 2), (3, 3)]);
    window.begin(100);
    window.known_to(100);
    offer(&mut window, &[(100, 10), (101, 11), (102, 12), (103, 13), (104, 14)], 0);
    assert_eq!(lent(&mut window, 0), [100, 101, 102, 1, 103, 104, 2, 3]);
    assert_eq!(window.cursor(), 4, "the reading goes on where it was");
}

#[test]
fn a_record_is_fresh_for_half_a_second_only() {
    let mut window = window(&[(1, 1)]);
    window.begin(100);
    window.known_to(100);
    offer(&mut window, &[(100, 10)], 0);
    offer(&mut window, &[(101, 11)], 400_000);
    assert_eq!(lent(&mut window, 500_001), [101, 1, 100]);
    for seq in [1, 100, 101] {
        window.remove(seq);
    }
    assert_eq!((window.fresh.records, window.fresh.bytes, window.here.bytes), (0, 0, 0));
}

#[test]
fn a_fresh_record_waits_for_the_earlier_ones_of_its_call() {
    for (name, call, leases) in [
        ("another call's goes ahead", 8, &[100, 1][..]),
        ("one in the window is in front of it", 1, &[1]),
        ("one on disk keeps it on disk", 7, &[1]),
    ] {
        let mut window = window(&[(1, 1)]);
        window.begin(100);
        window.leave_unread(Order::Within(CallHash(7), Rank(None)), 50);
        window.known_to(100);
        offer(&mut window, &[(100, call)], 0);
        assert_eq!(lent(&mut window, 0), leases, "{name}");
        assert_eq!(window.slot(100).is_some(), call != 7, "{name}");
    }
}

#[test]
fn until_the_backlog_is_known_fresh_records_are_held() {
    let mut window = window(&[(1, 1)]);
    window.begin(100);
    offer(&mut window, &[(100, 7), (101, 8), (102, 8), (103, 9), (104, 7)], 0);
    window.leave_unread(Order::Within(CallHash(7), Rank(None)), 50);
    assert_eq!(lent(&mut window, 0), [1], "nobody knows yet what is on disk");
    window.remove(103);
    assert_eq!((window.held.len(), window.held_bytes), (4, 40), "it gives its room back");
    window.known_to(100);
    assert_eq!(lent(&mut window, 9_000_000), [101], "fresh from now on, in order of its call");
    window.remove(101);
    assert_eq!(lent(&mut window, 9_000_000), [102]);
    offer(&mut window, &[(105, 7)], 9_000_000);
    assert!([100, 103, 104, 105].iter().all(|seq| window.slot(*seq).is_none()));
}

#[test]
fn the_reading_may_come_first_to_a_held_record() {
    let mut window = window(&[]);
    window.begin(100);
    offer(&mut window, &[(100, 7)], 0);
    window.push(100, RecordId(1), CallHash(7), Bytes::new());
    assert_eq!(lent(&mut window, 0), [100]);
    window.remove(100);
    assert_eq!(lent(&mut window, 0), [0_u64; 0]);
    assert!(window.held.is_empty());
}

#[test]
fn fresh_records_have_a_room_of_their_own() {
    let mut window = Window::new(1, 4, 1000);
    window.begin(1);
    offer(&mut window, &[(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6), (7, 7), (8, 8)], 0);
    assert_eq!((window.slots.len(), window.fresh.records, window.cursor()), (6, 2, 7));
    assert!(!window.has_room());
    assert_eq!(lent(&mut window, 600_000), [1, 2, 3, 4, 5, 6], "none of them is fresh any more");
    window.remove(3);
    offer(&mut window, &[(9, 9)], 600_000);
    assert_eq!((window.slots.len(), window.fresh.records), (6, 1));
    offer(&mut window, &[(10, 7)], 600_000);
    assert_eq!(window.slots.len(), 6, "its call has a record on disk");
}

#[test]
fn an_id_tells_when_its_record_was_made() {
    assert_eq!(made(RecordId(1_700_000_000_123 << 80 | 5)), Timestamp(1_700_000_000_123_000));
}
