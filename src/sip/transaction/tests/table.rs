//! Every state and every input of every machine, over an unreliable transport and where a reliable one differs. A row
//! reads: in this state, this input gives these outputs and leads to that state, for this reason.

use super::*;

type Path = (&'static str, &'static [&'static str]);

/// How to come to a state.
fn path(kind: &str, state: &str) -> &'static [&'static str] {
    let paths: &[Path] = match kind {
        "INVITE client" => &[
            ("Calling", &[]),
            ("Proceeding", &["1xx"]),
            ("Completed", &["3xx", "ack"]),
            ("Accepted", &["2xx"]),
            ("Terminated", &["unreachable"]),
        ],
        "non-INVITE client" => {
            &[("Trying", &[]), ("Proceeding", &["1xx"]), ("Completed", &["2xx"]), ("Terminated", &["unreachable"])]
        }
        "INVITE server" => &[
            ("Proceeding", &["1xx"]),
            ("Completed", &["3xx"]),
            ("Confirmed", &["3xx", "ack"]),
            ("Accepted", &["2xx"]),
            ("Terminated", &["3xx", "ack", "end"]),
        ],
        _ => &[("Trying", &[]), ("Proceeding", &["1xx"]), ("Completed", &["2xx"]), ("Terminated", &["2xx", "end"])],
    };
    paths.iter().find(|(name, _)| *name == state).unwrap_or_else(|| panic!("{kind} has no state {state}")).1
}

fn check(kind: &str, inputs: &[&str], states: &[&str], table: &str) {
    let mut missing: Vec<(&str, &str)> =
        states.iter().flat_map(|state| inputs.iter().map(move |input| (*state, *input))).collect();
    for row in table.lines().map(str::trim).filter(|row| !row.is_empty()) {
        let mut cells = row.split('|').map(str::trim);
        let mut cell = || cells.next().unwrap_or_else(|| panic!("too few cells: {row}"));
        let (from, input, outputs, to) = (cell(), cell(), cell(), cell());
        let mut rig = Rig::udp(kind);
        for step in path(kind, from) {
            if *step == "end" {
                rig.now = rig.deadline().expect("the state ends by a timer");
                rig.tick();
            } else {
                rig.feed(step);
            }
        }
        assert_eq!(format!("{:?}", rig.state()), from, "{kind}: {row}");
        assert_eq!(rig.feed(input), outputs, "{kind}: {row}");
        assert_eq!(format!("{:?}", rig.state()), to, "{kind}: {row}");
        missing.retain(|(state, word)| (*state, *word) != (from, input));
    }
    assert!(missing.is_empty(), "{kind}: no row for {missing:?}");
}

#[test]
fn invite_client() {
    check(
        "INVITE client",
        &CLIENT_WORDS,
        &["Calling", "Proceeding", "Completed", "Accepted", "Terminated"],
        "
        Calling    | 1xx         | deliver              | Proceeding | RFC 3261 §17.1.1.2: retransmissions stop
        Calling    | 2xx         | deliver              | Accepted   | RFC 6026 §7.2
        Calling    | 3xx         | deliver, acknowledge | Completed  | RFC 3261 §17.1.1.2: the ACK is the transaction's
        Calling    | ack         | nothing              | Calling    | nobody asked for it
        Calling    | unreachable | failed, terminated   | Terminated | RFC 3261 §17.1.4
        Proceeding | 1xx         | deliver              | Proceeding | RFC 3261 §17.1.1.2: each goes up
        Proceeding | 2xx         | deliver              | Accepted   | RFC 6026 §7.2
        Proceeding | 3xx         | deliver, acknowledge | Completed  | RFC 3261 §17.1.1.2
        Proceeding | ack         | nothing              | Proceeding | nobody asked for it
        Proceeding | unreachable | nothing              | Proceeding | figure 5 has no such arrow: nothing was sent
        Completed  | 1xx         | nothing              | Completed  | too late
        Completed  | 2xx         | nothing              | Completed  | figure 5 has no such arrow
        Completed  | 3xx         | send ack             | Completed  | RFC 3261 §17.1.1.2: same ACK, not delivered again
        Completed  | ack         | nothing              | Completed  | there is one
        Completed  | unreachable | failed, terminated   | Terminated | RFC 3261 §17.1.1.2: the ACK could not be sent
        Accepted   | 1xx         | nothing              | Accepted   | too late
        Accepted   | 2xx         | deliver              | Accepted   | RFC 6026 §7.2: each 2xx of a fork goes up
        Accepted   | 3xx         | nothing              | Accepted   | too late
        Accepted   | ack         | nothing              | Accepted   | the ACK for a 2xx is none of its business
        Accepted   | unreachable | nothing              | Accepted   | it sends nothing
        Terminated | 1xx         | nothing              | Terminated | over
        Terminated | 2xx         | nothing              | Terminated | over
        Terminated | 3xx         | nothing              | Terminated | over
        Terminated | ack         | nothing              | Terminated | over
        Terminated | unreachable | nothing              | Terminated | over
        ",
    );
}

#[test]
fn non_invite_client() {
    check(
        "non-INVITE client",
        &CLIENT_WORDS,
        &["Trying", "Proceeding", "Completed", "Terminated"],
        "
        Trying     | 1xx         | deliver            | Proceeding | RFC 3261 §17.1.2.2
        Trying     | 2xx         | deliver            | Completed  | RFC 3261 §17.1.2.2
        Trying     | 3xx         | deliver            | Completed  | a refusal is final as well
        Trying     | ack         | nothing            | Trying     | there is no ACK but for INVITE
        Trying     | unreachable | failed, terminated | Terminated | RFC 3261 §17.1.4
        Proceeding | 1xx         | deliver            | Proceeding | figure 6
        Proceeding | 2xx         | deliver            | Completed  | RFC 3261 §17.1.2.2
        Proceeding | 3xx         | deliver            | Completed  | RFC 3261 §17.1.2.2
        Proceeding | ack         | nothing            | Proceeding | there is no ACK but for INVITE
        Proceeding | unreachable | failed, terminated | Terminated | RFC 3261 §17.1.4: it still retransmits
        Completed  | 1xx         | nothing            | Completed  | absorbed
        Completed  | 2xx         | nothing            | Completed  | absorbed: delivered once
        Completed  | 3xx         | nothing            | Completed  | absorbed
        Completed  | ack         | nothing            | Completed  | there is no ACK but for INVITE
        Completed  | unreachable | nothing            | Completed  | it sends nothing
        Terminated | 1xx         | nothing            | Terminated | over
        Terminated | 2xx         | nothing            | Terminated | over
        Terminated | 3xx         | nothing            | Terminated | over
        Terminated | ack         | nothing            | Terminated | over
        Terminated | unreachable | nothing            | Terminated | over
        ",
    );
}

#[test]
fn invite_server() {
    check(
        "INVITE server",
        &SERVER_WORDS,
        &["Proceeding", "Completed", "Confirmed", "Accepted", "Terminated"],
        "
        Proceeding | again       | send 1xx | Proceeding | RFC 3261 §17.2.1: the last provisional again
        Proceeding | ack         | nothing  | Proceeding | there is nothing to acknowledge
        Proceeding | 1xx         | send 1xx | Proceeding | RFC 3261 §17.2.1
        Proceeding | 2xx         | send 2xx | Accepted   | RFC 6026 §7.1
        Proceeding | 3xx         | send 3xx | Completed  | RFC 3261 §17.2.1
        Completed  | again       | send 3xx | Completed  | RFC 3261 §17.2.1
        Completed  | ack         |          | Confirmed  | RFC 3261 §17.2.1: not handed up
        Completed  | 1xx         | nothing  | Completed  | after a final answer there is none
        Completed  | 2xx         | nothing  | Completed  | after a final answer there is none
        Completed  | 3xx         | nothing  | Completed  | after a final answer there is none
        Confirmed  | again       | nothing  | Confirmed  | overtaken by its ACK
        Confirmed  | ack         | nothing  | Confirmed  | RFC 3261 §17.2.1: absorbed
        Confirmed  | 1xx         | nothing  | Confirmed  | after a final answer there is none
        Confirmed  | 2xx         | nothing  | Confirmed  | after a final answer there is none
        Confirmed  | 3xx         | nothing  | Confirmed  | after a final answer there is none
        Accepted   | again       | nothing  | Accepted   | RFC 6026 §7.1: absorbed, the 2xx comes again from its maker
        Accepted   | ack         | deliver  | Accepted   | RFC 6026 §7.1: goes up
        Accepted   | 1xx         | nothing  | Accepted   | after a final answer there is none
        Accepted   | 2xx         | send 2xx | Accepted   | RFC 6026 §7.1: repeated, or of another branch
        Accepted   | 3xx         | nothing  | Accepted   | after a final answer there is none
        Terminated | again       | nothing  | Terminated | over
        Terminated | ack         | nothing  | Terminated | over
        Terminated | 1xx         | nothing  | Terminated | over
        Terminated | 2xx         | nothing  | Terminated | over
        Terminated | 3xx         | nothing  | Terminated | over
        ",
    );
}

#[test]
fn non_invite_server() {
    check(
        "non-INVITE server",
        &SERVER_WORDS,
        &["Trying", "Proceeding", "Completed", "Terminated"],
        "
        Trying     | again       | nothing  | Trying     | RFC 3261 §17.2.2: discarded
        Trying     | ack         | nothing  | Trying     | there is no ACK but for INVITE
        Trying     | 1xx         | send 1xx | Proceeding | RFC 3261 §17.2.2
        Trying     | 2xx         | send 2xx | Completed  | RFC 3261 §17.2.2
        Trying     | 3xx         | send 3xx | Completed  | RFC 3261 §17.2.2
        Proceeding | again       | send 1xx | Proceeding | RFC 3261 §17.2.2
        Proceeding | ack         | nothing  | Proceeding | there is no ACK but for INVITE
        Proceeding | 1xx         | send 1xx | Proceeding | RFC 3261 §17.2.2
        Proceeding | 2xx         | send 2xx | Completed  | RFC 3261 §17.2.2
        Proceeding | 3xx         | send 3xx | Completed  | RFC 3261 §17.2.2
        Completed  | again       | send 2xx | Completed  | RFC 3261 §17.2.2
        Completed  | ack         | nothing  | Completed  | there is no ACK but for INVITE
        Completed  | 1xx         | nothing  | Completed  | RFC 3261 §17.2.2: discarded
        Completed  | 2xx         | nothing  | Completed  | RFC 3261 §17.2.2: discarded
        Completed  | 3xx         | nothing  | Completed  | RFC 3261 §17.2.2: discarded
        Terminated | again       | nothing  | Terminated | over
        Terminated | ack         | nothing  | Terminated | over
        Terminated | 1xx         | nothing  | Terminated | over
        Terminated | 2xx         | nothing  | Terminated | over
        Terminated | 3xx         | nothing  | Terminated | over
        ",
    );
}

#[test]
fn an_invite_without_an_answer_yet_absorbs_its_repetitions() {
    let mut rig = Rig::udp("INVITE server");
    assert_eq!(rig.feed("again"), "nothing");
    assert_eq!(rig.state(), State::Proceeding);
}

#[test]
fn a_refusal_repeated_before_its_ack_was_made_waits_for_it() {
    let mut rig = Rig::udp("INVITE client");
    assert_eq!(rig.feed("3xx"), "deliver, acknowledge");
    assert_eq!(rig.feed("3xx"), "nothing", "delivered once, and there is no ACK to send yet");
    assert_eq!(rig.feed("ack"), "send ack");
}

/// What is kept, in octets, along the way: the request has 7, the ACK and each response 3.
#[test]
fn octets_are_kept_as_long_as_a_retransmission_may_need_them() {
    for (name, kind, steps) in [
        ("ACK and CANCEL are made from the INVITE", "INVITE client", &[("1xx", 7), ("3xx", 7), ("ack", 3)][..]),
        ("nobody retransmits an accepted INVITE", "INVITE client", &[("1xx", 7), ("2xx", 0)]),
        ("a request that failed to leave is dropped", "INVITE client", &[("unreachable", 0)]),
        ("an answered request is dropped", "non-INVITE client", &[("1xx", 7), ("2xx", 0)]),
        ("an acknowledged refusal is dropped", "INVITE server", &[("1xx", 3), ("3xx", 3), ("ack", 0)]),
        ("a 2xx is retransmitted by its maker", "INVITE server", &[("1xx", 3), ("2xx", 0)]),
        ("a final answer is kept for its request", "non-INVITE server", &[("1xx", 3), ("2xx", 3)]),
    ] {
        let mut rig = Rig::udp(kind);
        for (word, want) in steps {
            rig.feed(word);
            assert_eq!(rig.kept_bytes(), *want, "{name}: after {word}");
        }
    }
}

#[test]
fn the_request_can_be_had_until_its_ack_or_final_answer() {
    for (kind, steps, want) in [
        ("INVITE client", &[][..], true),
        ("INVITE client", &["1xx"], true),
        ("INVITE client", &["3xx"], true),
        ("INVITE client", &["3xx", "ack"], false),
        ("INVITE client", &["2xx"], false),
        ("non-INVITE client", &["1xx"], true),
        ("non-INVITE client", &["3xx"], false),
    ] {
        let mut rig = Rig::udp(kind);
        for word in steps {
            rig.feed(word);
        }
        let Machine::Client(client) = &rig.machine else { panic!("a client") };
        assert_eq!(client.request().is_some(), want, "{kind} after {steps:?}");
    }
}
