//! Ends of calls, and values, while it is not known what the bucket holds: each of these was once a change of one line that no
//! other test has seen.

use super::tests::{Bench, key, value};
use super::*;

#[test]
fn a_call_that_ends_before_its_lost_first_value_could_be_looked_for_is_looked_for_all_the_same() {
    let mut bench = Bench::new();
    bench.put(1, b"call", 0);
    let (_, lost, _) = bench.perform();
    bench.put(2, b"call", 0);
    let Output::Update { turn, .. } = bench.open.remove(0) else { panic!("it is written") };
    // Nothing is asked for a while then.
    bench.input(Input::Answered { key: key(2), turn, answer: Answer::Refused });
    bench.input(Input::Answered { key: key(1), turn: lost, answer: Answer::Lost });
    bench.input(Input::End { key: key(1), mark: 0 });
    bench.pass(200);
    bench.serve();
    bench.pass(200);
    bench.serve();
    assert_eq!(bench.header(key(1)), None, "the value that was stored is removed");
}

#[test]
fn a_call_that_ends_right_after_its_first_value_was_not_found_leaves_a_mark() {
    let mut bench = Bench::new();
    bench.put(1, b"call", 0);
    let held_back = bench.open.remove(0);
    bench.pass(2_000);
    bench.serve();
    bench.input(Input::End { key: key(1), mark: 0 });
    bench.pass(200);
    bench.serve();
    assert_eq!(bench.header(key(1)).map(|header| header.state), Some(State::Ended));
    bench.open.push(held_back);
    assert_eq!(bench.perform().2, Answer::Conflict);
}

#[test]
fn an_old_read_of_the_same_octets_is_not_the_value_that_is_to_be_written() {
    let mut bench = Bench::new();
    bench.put(1, b"one", 0);
    bench.serve();
    bench.put(1, b"two", 0);
    bench.serve();
    let (old, new) = (value(State::Live, "a", &[], b"one"), bench.revision);
    bench.put(1, b"one", 0);
    bench.open.clear();
    bench.pass(2_000);
    let Output::Read { key, turn } = bench.open.remove(0) else { panic!("it is looked for") };
    bench.input(Input::Seen { key, turn, found: Some(Found { revision: new - 1, value: &old }) });
    assert!(!bench.calls.is_in_step());
    bench.pass(200);
    bench.serve();
    let (_, stored) = &bench.bucket[&key];
    assert_eq!(Header::decode(stored).map(|(_, body)| body), Ok(&b"one"[..]));
}

#[test]
fn a_request_for_a_call_that_has_ended_here_is_told_so_before_the_bucket_knows_it() {
    let mut bench = Bench::new();
    bench.mirrored(1);
    bench.input(Input::End { key: key(1), mark: 10 });
    assert!(bench.open.is_empty(), "its records are not in the stream yet");
    bench.input(Input::Adopt { key: key(1) });
    assert_eq!(bench.take(), [Output::NotAdopted { key: key(1), why: Why::Ended }]);
}
