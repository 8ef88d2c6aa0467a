//! The messages that a shard keeps of its last calls.

use super::bench::{Bench, Setup};
use crate::policy::pattern::{Case, Pattern};
use crate::shard::ladder::{Ladder, MESSAGES_MAX, OCTETS_MAX, TEXT_BYTES_MAX, Way};
use crate::shard::trace::{Filter, Tracing};
use crate::shard::{self, Input};
use crate::sip::message::Message;
use crate::sip::stack::{ListenerId, Peer};

fn bench(name: &str, trace_calls: usize) -> Bench {
    of(name, trace_calls, Filter::default())
}

fn of(name: &str, calls: usize, filter: Filter) -> Bench {
    let shard = shard::Settings { trace: Tracing { calls, filter }, ..shard::Settings::default() };
    Bench::new(name, Setup { shard, ..Setup::new() })
}

/// Each message as a word: `>INVITE`, `<200 INVITE`; `>` goes to the gateway.
fn words(ladder: &Ladder) -> Vec<String> {
    let word = |step: &shard::ladder::Step| {
        let way = if step.way == Way::In { '>' } else { '<' };
        let code = if step.code > 0 { format!("{} ", step.code) } else { String::new() };
        format!("{way}{code}{}", String::from_utf8_lossy(&step.method))
    };
    ladder.steps.iter().map(word).collect()
}

fn only(bench: &Bench) -> Ladder {
    let traced = bench.shard.traced(10);
    assert_eq!(traced.len(), 1, "{traced:?}");
    bench.shard.ladder(&traced[0].call_id).expect("it is kept")
}

#[test]
fn every_message_of_a_call_is_kept_in_its_order() {
    let mut bench = bench("a call", 10);
    bench.play(
        "an answered call\n after 5 s\n alice sends BYE\n bob gets BYE\n bob sends 200\n disk writes\n alice gets 200",
    );
    let ladder = only(&bench);
    let want =
        [">INVITE", "<INVITE", ">200 INVITE", "<200 INVITE", ">ACK", "<ACK", ">BYE", "<BYE", ">200 BYE", "<200 BYE"];
    let got: Vec<_> = words(&ladder).into_iter().filter(|word| word != "<100 INVITE").collect();
    assert_eq!(got, want);
    assert_eq!(ladder.left_out, 0);
    let invite = &ladder.steps[0];
    assert_eq!((invite.cseq, invite.peer.to_string()), (1, "192.0.2.10:5062".to_owned()));
    assert!(invite.text.starts_with(b"sip:") && invite.local.is_some(), "{invite:?}");
    assert!(ladder.from.windows(5).any(|part| part == b"alice"), "{ladder:?}");
    let traced = &bench.shard.traced(1)[0];
    assert_eq!((traced.code, traced.messages), (Some(200), ladder.steps.len()));
    assert_eq!((traced.last.0 - traced.begun.0) / 1_000_000, 5);
    assert!(bench.shard.ladder(b"another").is_none());
}

#[test]
fn the_oldest_call_gives_way() {
    let mut bench = bench("two of three", 2);
    let mut seen = Vec::new();
    for _ in 0..3 {
        bench.play("alice sends INVITE to closed\n disk writes\n alice gets 480\n alice sends ACK hop");
        seen.push(bench.shard.traced(1)[0].call_id.clone());
    }
    let kept: Vec<_> = bench.shard.traced(10).into_iter().map(|traced| traced.call_id).collect();
    assert_eq!(kept, [seen[2].clone(), seen[1].clone()], "the newest first");
    assert!(bench.shard.ladder(&seen[0]).is_none() && bench.shard.ladder(&seen[1]).is_some());
    let got = words(&bench.shard.ladder(&seen[2]).expect("it is kept"));
    assert_eq!((got.first().map(String::as_str), got.last().map(String::as_str)), (Some(">INVITE"), Some(">ACK")));
}

#[test]
fn a_call_has_a_limit_and_its_last_message_is_kept() {
    let mut bench = bench("many messages", 1);
    bench.play("alice sends INVITE to bob\n bob gets INVITE");
    for _ in 0..2 * MESSAGES_MAX {
        bench.play("alice repeats INVITE");
    }
    bench.play("bob sends 486\n bob gets ACK\n disk writes\n alice gets 486");
    let ladder = only(&bench);
    assert_eq!(ladder.steps.len(), MESSAGES_MAX);
    assert!(ladder.left_out as usize > MESSAGES_MAX, "{}", ladder.left_out);
    assert_eq!(words(&ladder).last().map(String::as_str), Some("<486 INVITE"));
    assert_eq!(bench.shard.traced(1)[0].messages, MESSAGES_MAX + ladder.left_out as usize);
}

#[test]
fn long_texts_are_cut_and_have_a_limit_of_their_own() {
    let mut bench = bench("long names", 1);
    bench.play("alice sends INVITE to bob\n bob gets INVITE");
    let call_id = bench.shard.traced(1)[0].call_id.clone();
    let text = format!(
        "INVITE sip:{} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10:5062;branch=z9hG4bKlong\r\nMax-Forwards: 70\r\n\
         From: <sip:alice@x>;tag=a\r\nTo: <sip:bob@x>;tag=b\r\nCall-ID: {}\r\nCSeq: 9 INVITE\r\n\r\n",
        "u".repeat(5_000),
        String::from_utf8(call_id).expect("text")
    );
    let peer = Peer { listener: ListenerId(0), addr: "192.0.2.10:5062".parse().expect("an address") };
    for _ in 0..MESSAGES_MAX {
        let message = Message::parse(text.clone().into_bytes());
        bench.shard.handle(bench.now, Input::Received { peer, message }, &mut Vec::new());
    }
    let ladder = only(&bench);
    let octets: usize = ladder.steps.iter().map(|step| step.method.len() + step.text.len()).sum();
    assert!(ladder.steps.len() < MESSAGES_MAX && ladder.left_out > 0 && octets <= OCTETS_MAX, "{octets}: {ladder:?}");
    assert!(ladder.steps.iter().all(|step| step.method.len() + step.text.len() <= TEXT_BYTES_MAX));
}

#[test]
fn nothing_is_kept_when_it_is_off_and_of_what_is_no_call() {
    let mut off = bench("off", 0);
    off.play("an answered call");
    assert_eq!(off.shard.traced(10), []);
    let mut other = bench("no call", 10);
    other.play("alice sends OPTIONS to bob\n bob gets OPTIONS\n bob sends 200\n alice gets 200");
    assert_eq!(other.shard.traced(10), []);
}

#[test]
fn only_calls_that_fit_all_conditions_are_kept() {
    let patterns = |texts: &[&str]| texts.iter().map(|text| Pattern::new(text, Case::Matters)).collect::<Vec<_>>();
    let networks = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a block")).collect::<Vec<_>>();
    let invite = |from: &str, uri: &str| {
        let text = format!(
            "INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10:5062;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
             From: {from};tag=a\r\nTo: <sip:x@y>\r\nCall-ID: one@gw\r\nCSeq: 9 INVITE\r\n\r\n"
        );
        Message::parse(text.into_bytes()).expect("a message")
    };
    let call = invite("\"A\" <sip:+4930123@x>", "sip:%2B40721@gw;user=phone");
    let odd = invite("<urn:service:sos>", "sip:gw");
    let none = Filter::default();
    for (what, filter, wants_call, wants_odd) in [
        ("without conditions every call is", none.clone(), true, true),
        ("the caller", Filter { from: patterns(&["+4930*"]), ..none.clone() }, true, false),
        ("not another", Filter { from: patterns(&["+4931*", "+4940?"]), ..none.clone() }, false, false),
        ("one value is enough", Filter { from: patterns(&["x", "+49301?3"]), ..none.clone() }, true, false),
        ("the callee, however it is spelt", Filter { to: patterns(&["+40721"]), ..none.clone() }, true, false),
        ("it is no caller", Filter { from: patterns(&["+40721"]), ..none.clone() }, false, false),
        ("calls of somebody, made", Filter { users: patterns(&["+4930123"]), ..none.clone() }, true, false),
        ("and taken", Filter { users: patterns(&["+40721"]), ..none.clone() }, true, false),
        ("the whole part has to fit", Filter { users: patterns(&["+4072"]), ..none.clone() }, false, false),
        ("any user, but one", Filter { to: patterns(&["*"]), ..none.clone() }, true, false),
        ("the source", Filter { sources: networks(&["198.51.100.1", "192.0.2.0/24"]), ..none.clone() }, true, true),
        ("another source", Filter { sources: networks(&["198.51.100.0/24"]), ..none.clone() }, false, false),
        ("the Call-ID", Filter { call_ids: patterns(&["*@gw"]), ..none.clone() }, true, true),
        ("another Call-ID", Filter { call_ids: patterns(&["*@gx"]), ..none.clone() }, false, false),
        (
            "all conditions",
            Filter {
                from: patterns(&["+49*"]),
                to: patterns(&["+40*"]),
                sources: networks(&["192.0.2.10"]),
                ..none.clone()
            },
            true,
            false,
        ),
        (
            "one of them does not hold",
            Filter { from: patterns(&["+49*"]), to: patterns(&["+41*"]), ..none },
            false,
            false,
        ),
    ] {
        let source = "192.0.2.10:5062".parse().expect("an address");
        assert_eq!(filter.wants(source, &call), wants_call, "{what}");
        assert_eq!(filter.wants(source, &odd), wants_odd, "{what}: an odd one");
    }
    let bob = Filter { to: patterns(&["bob"]), ..Filter::default() };
    let mut some = of("calls to bob", 10, bob);
    some.play("an answered call\n alice sends INVITE to closed\n disk writes\n alice gets 480\n alice sends ACK hop");
    assert_eq!(some.shard.traced(10).len(), 1, "the other call is not kept");
    assert!(words(&only(&some)).contains(&"<200 INVITE".to_owned()));
}
