//! Bytes of stored calls.

use proptest::collection::vec;
use proptest::prelude::{any, proptest};
use proptest::prop_assert_eq;

use super::bench::{Bench, templates};
use super::settings;
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
