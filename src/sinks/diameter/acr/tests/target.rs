//! The short ways of writing a value write what the dictionary's own way writes.

use proptest::prelude::*;

use super::super::target::{Finder, Misfits, Page};
use super::*;
use crate::diameter::avp::Writer;
use crate::dictionary::Input;
use crate::sinks::mapping::Target as _;

const TYPES: &[&str] = &[
    "UTF8String",
    "OctetString",
    "DiameterIdentity",
    "Integer32",
    "Unsigned32",
    "Enumerated",
    "Integer64",
    "Unsigned64",
    "Float32",
    "Time",
    "Address",
];

thread_local! {
    static ALL: Settings = {
        let lines = (0..TYPES.len()).map(|place| format!("ATTRIBUTE T-{place} {} {}\n", 3001 + place, TYPES[place]));
        let vendors = (0..TYPES.len()).map(|place| format!("ATTRIBUTE V-{place} {} {} 999 M\n", place + 1, TYPES[place]));
        with_dictionary(&format!("VENDOR Site 999\n{}{}", lines.collect::<String>(), vendors.collect::<String>()))
    };
}

fn check(input: Input<'_>) {
    ALL.with(|settings| {
        let mut finder = Finder::new(settings);
        for place in 0..2 * TYPES.len() {
            let label = format!("{}-{}", if place < TYPES.len() { "T" } else { "V" }, place % TYPES.len());
            let target = finder.named(&label, "a test").expect("it is in the dictionary");
            let (mut out, mut want, mut misfits) = (vec![7; 20], vec![7; 20], Misfits::default());
            target.put(input, "", &mut Page { avps: Writer::new(&mut out), misfits: &mut misfits });
            let mut value = Vec::new();
            let is_fit = target.handle().encode(input, &mut value).is_ok();
            if is_fit {
                Writer::new(&mut want).avp(target.code(), target.vendor(), target.flags(), &value);
            }
            assert_eq!((out, misfits.count()), (want, usize::from(!is_fit)), "{label} {input:?}");
        }
    });
}

proptest! {
    #[test]
    fn any_value_is_written_as_the_dictionary_says(
        text in proptest::collection::vec(any::<u8>(), 0..40),
        plain in "[ -~]{0,40}",
        number in prop_oneof![any::<i64>(), -2..3_i64, any::<i32>().prop_map(i64::from)],
        at in prop_oneof![any::<i64>(), -62_168_000_000_000_000..253_403_000_000_000_000_i64],
    ) {
        check(Input::Text(&text));
        check(Input::Text(plain.as_bytes()));
        check(Input::Number(number));
        check(Input::Timestamp(Timestamp(at)));
    }
}
