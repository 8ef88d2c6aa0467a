//! Bytes of stored calls.

use std::num::NonZeroU32;

use proptest::collection::vec;
use proptest::prelude::{any, proptest};
use proptest::prop_assert_eq;

use super::bench::{Bench, templates};
use super::settings;
use crate::accounting::session::Text;
use crate::accounting::stored::{Stored, VERSION, decode, encode};
use crate::accounting::{Engine, Settings};

/// A stored call with all that can be in it.
fn stored() -> (Vec<u8>, Vec<u8>) {
    let fields = templates(&[("ua", "$ua"), ("via", "$(hdr(Via)[*])")]);
    let legs = templates(&[("src", "$leg(src)"), ("code", "$leg(code)")]);
    let mut bench = Bench::new(Settings { fields, leg_fields: legs, ..settings() }, "a0 m1 f2");
    bench.play("forward; INVITE; round B 486; 200 b se=1800; ACK; +15");
    bench.stored.pop_first().expect("a call is stored")
}

#[test]
fn a_call_comes_back_from_its_bytes() {
    let (_, value) = stored();
    let Ok(Stored::Live(session)) = decode(&value) else { panic!("a live call") };
    assert_eq!(encode(&session), value);
    assert_eq!((session.legs().len(), session.fields().len(), session.timer_s), (2, 2, 1800));
    assert!(session.acknowledged.is_some());
}

#[test]
fn bytes_cut_anywhere_are_refused() {
    let (_, value) = stored();
    for length in 0..value.len() {
        assert!(decode(&value[..length]).is_err(), "{length} of {} octets", value.len());
    }
    assert!(decode(&[&value[..], &[0]].concat()).is_err(), "one octet too many");
}

#[test]
fn a_call_of_the_last_release_is_read() {
    // Answered on 2026-11-28, kept before its ACK was, without [sip.watch].
    let octets = [
        "010141010000000000000001000000000000000100000000000000e558861b8811f461081a3caa050000003f0d72df506106",
        "006b8b3caa05000000a27e72df50610600241ff207c2536fc26787f510a7a922b247cdeb86439474885ed3946f5a04ebcc01",
        "c8010001066b6570742d3101610162024f4b0002000000",
    ]
    .concat();
    let pairs = octets.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("ASCII"));
    let value: Vec<u8> = pairs.map(|pair| u8::from_str_radix(pair, 16).expect("hexadecimal")).collect();
    let Ok(Stored::Live(session)) = decode(&value) else { panic!("a live call") };
    let texts = [Text::CallId, Text::FromTag, Text::ToTag, Text::Reason].map(|text| session.text(text));
    assert_eq!(texts, [&b"kept-1"[..], b"a", b"b", b"OK"]);
    assert_eq!((session.code, session.cseq, session.next_number.map(NonZeroU32::get)), (200, 1, Some(1)));
    assert!(session.ends.is_none() && session.doubt.is_none() && !session.is_early());
    let again = encode(&session);
    assert_eq!(again[0], VERSION);
    assert!(matches!(decode(&again), Ok(Stored::Live(own)) if own.name == session.name && encode(&own) == again));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(at in any::<proptest::sample::Index>(), octets in vec(any::<u8>(), 1..24)) {
        let (key, mut value) = stored();
        let at = at.index(value.len());
        for (place, octet) in value[at..].iter_mut().zip(&octets) {
            *place = *octet;
        }
        let mut bench = Bench::new(settings(), "a0");
        bench.engine = Engine::new(settings(), 1);
        if bench.engine.restore(bench.now, &key, &value).is_ok() {
            if value[0] == VERSION
                && let Ok(Stored::Live(session)) = decode(&value)
            {
                prop_assert_eq!(encode(&session), value);
            }
            bench.play("+0.5; close; BYE caller; 200; +100000");
        }
    }
}
