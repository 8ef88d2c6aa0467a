//! Our own end: answers are waited for, then every peer hears a goodbye.

use super::*;

#[test]
fn a_stop_waits_for_answers_and_says_goodbye() {
    let mut bench = Bench::new(&[("a.test", 0), ("b.test", 1)]);
    let first = bench.submit(1).expect("sent");
    bench.submit(2);
    bench.put(Input::Stop);
    assert_eq!(bench.capacity(), 0);
    assert!(!bench.client.is_gone());
    bench.answer_to(&first, 2001);
    assert!(is_delivered(&bench.end()));
    assert_eq!(bench.submit(3), None, "nothing new");
    retry(&bench.end());
    bench.pass_secs(6);
    assert_eq!(retry(&bench.end()).1, Reason::Stopping);
    assert!(bench.client.is_gone(), "both answered the goodbye");
    assert_eq!(bench.client.deadline(bench.now.mono), None, "nobody is called again");
}

#[test]
fn the_last_answer_is_followed_by_the_goodbye_at_once() {
    let mut bench = Bench::new(&[("a.test", 0)]);
    let sent = bench.submit(1).expect("sent");
    bench.put(Input::Stop);
    bench.pass_secs(1);
    assert!(!bench.client.is_gone());
    bench.answer_to(&sent, 2001);
    assert!(is_delivered(&bench.end()));
    bench.pass(Duration::ZERO);
    assert!(bench.client.is_gone());
}

#[test]
fn a_peer_that_does_not_answer_the_goodbye_is_left_after_its_time() {
    let mut bench = Bench::new(&[("a.test", 0)]);
    bench.alive[0] = false;
    bench.put(Input::Stop);
    assert!(!bench.client.is_gone());
    bench.pass_secs(4);
    assert!(!bench.client.is_gone());
    bench.pass_secs(2);
    assert!(bench.client.is_gone());
    let mut bench = Bench::new(&[]);
    bench.put(Input::Stop);
    assert!(bench.client.is_gone());
}
