//! Values on their way to octets and back.

use super::super::{Dictionary, Handle, ValueError};
use super::loaded;
use crate::clock::Timestamp;
use crate::dictionary::Input;

fn types() -> Dictionary {
    loaded(
        "ATTRIBUTE T-Utf8 3001 UTF8String\nATTRIBUTE T-Octets 3002 OctetString\nATTRIBUTE T-Ident 3003 DiameterIdentity\n\
         ATTRIBUTE T-I32 3004 Integer32\nATTRIBUTE T-I64 3005 Integer64\nATTRIBUTE T-U32 3006 Unsigned32\n\
         ATTRIBUTE T-U64 3007 Unsigned64\nATTRIBUTE T-F32 3008 Float32\nATTRIBUTE T-F64 3009 Float64\n\
         ATTRIBUTE T-Enum 3010 Enumerated\nVALUE T-Enum Minus -1\nVALUE T-Enum Two 2\nATTRIBUTE T-Time 3011 Time\n\
         ATTRIBUTE T-Addr 3012 Address\nATTRIBUTE T-Bare 3013 ipaddr\nATTRIBUTE T-Prefix 3014 ipv6prefix\n",
    )
}

#[test]
fn text_becomes_octets_and_octets_text() {
    let dictionary = types();
    for (avp, text, octets, shown) in [
        ("T-Utf8", "ä", &b"\xc3\xa4"[..], "\"ä\""),
        ("T-Utf8", "a\r\n\u{0}b\u{7f}", b"ab", "\"ab\""),
        ("T-Octets", "0x00ff", b"\x00\xff", "0x00ff"),
        ("T-Octets", "plain", b"plain", "\"plain\""),
        ("T-Ident", "node.example", b"node.example", "\"node.example\""),
        ("T-I32", "-1", &[255, 255, 255, 255], "-1"),
        ("T-I64", "-2", &[255, 255, 255, 255, 255, 255, 255, 254], "-2"),
        ("T-U32", "4294967295", &[255, 255, 255, 255], "4294967295"),
        ("T-U64", "0x10", &[0, 0, 0, 0, 0, 0, 0, 16], "16"),
        ("T-F32", "1.5", &[0x3f, 0xc0, 0, 0], "1.5"),
        ("T-F64", "-2", &[0xc0, 0, 0, 0, 0, 0, 0, 0], "-2"),
        ("T-Enum", "two", &[0, 0, 0, 2], "Two (2)"),
        ("T-Enum", "-1", &[255, 255, 255, 255], "Minus (-1)"),
        ("T-Time", "1970-01-01T00:00:00Z", &[0x83, 0xaa, 0x7e, 0x80], "1970-01-01T00:00:00Z"),
        ("T-Time", "2085978495", &[255, 255, 255, 255], "2036-02-07T06:28:15Z"),
        ("T-Time", "2085978496", &[0, 0, 0, 0], "2036-02-07T06:28:16Z"),
        ("T-Addr", "192.0.2.1", &[0, 1, 192, 0, 2, 1], "192.0.2.1"),
        ("T-Addr", "[::ffff:192.0.2.1]", &[0, 1, 192, 0, 2, 1], "192.0.2.1"),
        ("T-Addr", "+4930123", b"\x00\x084930123", "+4930123"),
        ("T-Bare", "192.0.2.1", &[192, 0, 2, 1], "192.0.2.1"),
        ("T-Prefix", "2001:db8::/32", &[0, 32, 0x20, 1, 0x0d, 0xb8], "2001:db8::/32"),
    ] {
        let definition = dictionary.find(avp).expect(avp);
        let mut out = Vec::new();
        definition.encode(Input::Text(text.as_bytes()), &mut out).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(out, octets, "{avp} {text:?}");
        assert_eq!(definition.print(&out).as_deref(), Some(shown), "{avp} {text:?}");
    }
}

#[test]
fn text_that_is_no_utf8_is_replaced() {
    let mut out = Vec::new();
    types().find("T-Utf8").expect("there").encode(Input::Text(b"a\xff\xfeb"), &mut out).expect("any text fits");
    assert_eq!(String::from_utf8(out).expect("UTF-8"), "a\u{FFFD}\u{FFFD}b");
}

#[test]
fn what_does_not_fit_leaves_nothing_behind() {
    let dictionary = types();
    for (avp, text) in [
        ("T-I32", "2147483648"),
        ("T-U32", "-1"),
        ("T-U32", "many"),
        ("T-U64", "-1"),
        ("T-F64", "x"),
        ("T-Enum", "three"),
        ("T-Time", "yesterday"),
        ("T-Addr", "host.example"),
        ("T-Addr", "+49x"),
        ("T-Bare", ""),
        ("T-Ident", "a b"),
        ("T-Ident", ""),
        ("T-Prefix", "2001:db8::/129"),
        ("Failed-AVP", "x"),
    ] {
        let mut out = vec![1, 2];
        let error = dictionary.find(avp).expect(avp).encode(Input::Text(text.as_bytes()), &mut out);
        assert!(error.is_err(), "{avp} {text:?}");
        assert_eq!(out, [1, 2], "{avp} {text:?}");
    }
    let error = dictionary.find("T-Enum").expect("there").encode(Input::Text(b"Tow"), &mut Vec::new());
    assert!(matches!(&error, Err(ValueError::Form { hint, .. }) if hint.contains("did you mean `Two`?")), "{error:?}");
}

#[test]
fn instants_become_times_or_text() {
    let dictionary = types();
    let text = |avp: &str, micros: i64| {
        let mut out = Vec::new();
        let definition = dictionary.find(avp).expect(avp);
        definition.encode(Input::Timestamp(Timestamp(micros)), &mut out).expect("any instant fits");
        out
    };
    for (micros, want) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_700_000_000_123_999, "2023-11-14T22:13:20.123Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (951_827_696_000_000, "2000-02-29T12:34:56.000Z"),
        (4_107_542_400_000_000, "2100-03-01T00:00:00.000Z"),
        (i64::MAX, "9223372036854775807"),
    ] {
        assert_eq!(String::from_utf8(text("T-Utf8", micros)).expect("ASCII"), want);
    }
    assert_eq!(text("T-Time", 1_700_000_000_999_999), 3_908_988_800_u32.to_be_bytes());
}

#[test]
fn octets_of_another_size_have_no_text() {
    let dictionary = types();
    for (avp, octets) in [
        ("T-U32", &[0, 0, 1][..]),
        ("T-U64", &[0, 0, 0, 1]),
        ("T-Time", &[]),
        ("T-Addr", &[0]),
        ("T-Addr", &[0, 1, 1, 2, 3]),
        ("T-Addr", &[0, 9, 1, 2, 3]),
        ("T-Bare", &[1, 2, 3]),
        ("T-Prefix", &[0, 129]),
        ("Failed-AVP", &[0, 0, 0, 0]),
    ] {
        assert_eq!(dictionary.find(avp).expect(avp).print(octets), None, "{avp} {octets:?}");
    }
}

thread_local! {
    static UTF8: Handle = types().find("T-Utf8").expect("there");
}

proptest::proptest! {
    #[test]
    fn any_instant_prints_as_jiff_prints_it(micros in -62_167_219_200_000_000_i64..253_402_300_799_000_000) {
        let mut out = Vec::new();
        UTF8.with(|avp| avp.encode(Input::Timestamp(Timestamp(micros)), &mut out)).expect("fits");
        let millis = micros.div_euclid(1000);
        let jiff = jiff::Timestamp::from_millisecond(millis).expect("in range");
        proptest::prop_assert_eq!(String::from_utf8(out).expect("ASCII"), format!("{jiff:.3}"));
    }
}
