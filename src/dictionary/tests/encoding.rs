//! Values of every type, both directions.

use super::*;
use crate::clock::Timestamp;

/// One attribute of each type, 200 upwards.
const TYPES: &str = "ATTRIBUTE T-string 200 string\nATTRIBUTE T-octets 201 octets\nATTRIBUTE T-octets3 202 octets[3]\n\
    ATTRIBUTE T-integer 203 integer\nVALUE T-integer One 1\nVALUE T-integer 802.1X 2\nATTRIBUTE T-signed 204 signed\n\
    ATTRIBUTE T-byte 205 byte\nATTRIBUTE T-short 206 short\nATTRIBUTE T-integer64 207 integer64\nATTRIBUTE T-date 208 date\n\
    ATTRIBUTE T-ipaddr 209 ipaddr\nATTRIBUTE T-ipv6addr 210 ipv6addr\nATTRIBUTE T-ipv6prefix 211 ipv6prefix\n\
    ATTRIBUTE T-ipv4prefix 212 ipv4prefix\nATTRIBUTE T-ifid 213 ifid\nATTRIBUTE T-ether 214 ether\nATTRIBUTE T-combo-ip 215 combo-ip\n\
    ATTRIBUTE T-bool 216 bool\nATTRIBUTE T-abinary 217 abinary\nATTRIBUTE T-tagged 218 string has_tag\n\
    ATTRIBUTE T-tagged-integer 219 integer has_tag\nVALUE T-tagged-integer L2TP 3\nATTRIBUTE T-secret 220 string secret\n";

#[test]
fn values_go_onto_the_wire_and_come_back_as_freeradius_prints_them() {
    let dictionary = clean(TYPES);
    for (kind, text, value, printed) in [
        ("string", "abc", "616263", "\"abc\""),
        ("string", " a ", "20 61 20", "\" a \""),
        ("string", "q\"\\\r\n\té\u{1}", "71 22 5c 0d 0a 09 c3a9 01", r#""q\"\\\r\n\té\001""#),
        ("octets", "abc", "616263", "0x616263"),
        ("octets", "0x00fF", "00ff", "0x00ff"),
        ("octets", "0x0", "307830", "0x307830"),
        ("octets3", "0x010203", "010203", "0x010203"),
        ("integer", "1", "00000001", "One"),
        ("integer", "oNe", "00000001", "One"),
        ("integer", "802.1x", "00000002", "802.1X"),
        ("integer", "0xffffffff", "ffffffff", "4294967295"),
        ("integer", " 7 ", "00000007", "7"),
        ("signed", "-2", "fffffffe", "-2"),
        ("signed", "2147483647", "7fffffff", "2147483647"),
        ("byte", "255", "ff", "255"),
        ("short", "0x1234", "1234", "4660"),
        ("integer64", "4294967296", "0000000100000000", "4294967296"),
        ("date", "1700000000", "6553f100", "\"Nov 14 2023 22:13:20 UTC\""),
        ("date", "2023-11-14T22:13:20Z", "6553f100", "\"Nov 14 2023 22:13:20 UTC\""),
        ("date", "2023-11-15T00:13:20.9+02:00", "6553f100", "\"Nov 14 2023 22:13:20 UTC\""),
        ("date", "4294967295", "ffffffff", "\"Feb  7 2106 06:28:15 UTC\""),
        ("ipaddr", "192.0.2.1", "c0000201", "192.0.2.1"),
        ("ipv6addr", "2001:db8::1", "20010db8000000000000000000000001", "2001:db8::1"),
        ("ipv6addr", "[fe80::1%eth0]", "fe800000000000000000000000000001", "fe80::1"),
        ("ipv6prefix", "2001:db8::/32", "0020 20010db8", "2001:db8::/32"),
        ("ipv6prefix", "2001:db8:ffff::/33", "0021 20010db880", "2001:db8:8000::/33"),
        ("ipv6prefix", "::/0", "0000", "::/0"),
        ("ipv6prefix", "2001:db8::1", "0080 20010db8000000000000000000000001", "2001:db8::1/128"),
        ("ipv4prefix", "192.0.2.129/25", "0019 c0000280", "192.0.2.128/25"),
        ("ipv4prefix", "0.0.0.0/0", "0000 00000000", "0.0.0.0/0"),
        ("ifid", "1:2:3:ffff", "000100020003ffff", "1:2:3:ffff"),
        ("ether", "00:1A:2b:3:4:5", "001a2b030405", "00:1a:2b:03:04:05"),
        ("ether", "00-1a-2b-03-04-05", "001a2b030405", "00:1a:2b:03:04:05"),
        ("combo-ip", "192.0.2.1", "c0000201", "192.0.2.1"),
        ("combo-ip", "::1", "00000000000000000000000000000001", "::1"),
        ("bool", "yes", "01", "1"),
        ("bool", "0", "00", "0"),
        ("abinary", "0x0102", "0102", "0x0102"),
        ("secret", "abc", "616263", "<hidden>"),
    ] {
        let attribute = dictionary.attribute(&format!("T-{kind}")).unwrap();
        let mut out = Vec::new();
        attribute.encode(Input::Text(text.as_bytes()), &mut out).unwrap();
        assert_eq!(out[2..], octets(value), "{kind} {text}");
        assert_eq!(usize::from(out[1]), out.len(), "{kind} {text}");
        let decoded = &dictionary.decode(&out)[0];
        assert_eq!(decoded.to_string(), format!("T-{kind} = {printed}"), "{text}");
        assert_eq!(decoded.octets, octets(value), "{kind} {text}");
    }
}

#[test]
fn octets_that_are_no_text_are_kept() {
    let dictionary = clean(TYPES);
    let mut out = Vec::new();
    dictionary.attribute("T-string").unwrap().encode(Input::Text(b"a\xff\0"), &mut out).unwrap();
    assert_eq!(out, octets("c8 05 61ff00"));
    assert_eq!(dictionary.decode(&out)[0].text, r#""a\377\000""#);
}

#[test]
fn a_value_that_does_not_fit_is_an_error_and_leaves_no_trace() {
    let dictionary = clean(TYPES);
    for (kind, text, want) in [
        ("string", "", "empty value for T-string"),
        ("string", &"x".repeat(254), "254 octets for T-string, which holds 253"),
        ("octets", "0x", "empty"),
        ("octets3", "ab", "`ab` is no octets[3] for T-octets3"),
        ("integer", "", "empty"),
        ("integer", "4294967296", "4294967296 for T-integer is outside 0 to 4294967295"),
        ("integer", "-1", "-1 for T-integer is outside"),
        ("integer", "tow", "`tow` is no integer for T-integer"),
        ("integer", "onee", "did you mean `One`?"),
        ("integer", "99999999999999999999", "is no integer"),
        ("integer", "0x1g", "is no integer"),
        ("integer", "\u{7}", "`\\u{7}` is no integer"),
        ("signed", "2147483648", "is outside -2147483648 to 2147483647"),
        ("byte", "256", "is outside 0 to 255"),
        ("short", "65536", "is outside 0 to 65535"),
        ("integer64", "-1", "is outside 0 to"),
        ("date", "yesterday", "is no date"),
        ("date", "1960-01-01T00:00:00Z", "is outside 0 to 4294967295"),
        ("ipaddr", "localhost", "`localhost` is no ipaddr for T-ipaddr; names are not looked up"),
        ("ipaddr", "::1", "is no ipaddr"),
        ("ipaddr", "192.0.2.1:5060", "is no ipaddr"),
        ("ipv6addr", "192.0.2.1", "is no ipv6addr"),
        ("ipv6prefix", "2001:db8::/129", "is no ipv6prefix"),
        ("ipv6prefix", "192.0.2.0/24", "is no ipv6prefix"),
        ("ipv6prefix", "2001:db8::/", "is no ipv6prefix"),
        ("ipv4prefix", "192.0.2.0/33", "is no ipv4prefix"),
        ("ipv4prefix", "192.0.2.0/+1", "is no ipv4prefix"),
        ("ifid", "1:2:3", "is no ifid"),
        ("ifid", "1:2:3:10000", "is no ifid"),
        ("ether", "1:2:3:4:5", "is no ether"),
        ("ether", "1:2:3:4:5:+6", "is no ether"),
        ("combo-ip", "x", "is no combo-ip"),
        ("bool", "2", "is outside 0 to 1"),
        ("bool", "maybe", "is no bool"),
        ("abinary", "ip in forward", "write `0x…`"),
    ] {
        let mut out = b"before".to_vec();
        let attribute = dictionary.attribute(&format!("T-{kind}")).unwrap();
        let error = attribute.encode(Input::Text(text.as_bytes()), &mut out).expect_err(kind).to_string();
        assert!(error.contains(want), "{kind} {text}: {error}");
        assert_eq!(out, b"before", "{kind} {text}");
    }
    let mut out = Vec::new();
    let error = dictionary.attribute("T-integer").unwrap().encode(Input::Text(&[b'x'; 5_000]), &mut out).unwrap_err();
    assert!(error.to_string().len() < 200, "the value is shortened: {error}");
}

#[test]
fn numbers_instants_and_addresses_take_the_form_of_the_type() {
    let dictionary = clean(TYPES);
    let time = Timestamp(1_700_000_000_123_456);
    let v4: std::net::IpAddr = "192.0.2.1".parse().unwrap();
    let v6: std::net::IpAddr = "::1".parse().unwrap();
    for (name, kind, input, want) in [
        ("a number", "integer", Input::Number(5), Some("00000005")),
        ("a number as text", "string", Input::Number(-5), Some("2d35")),
        ("a number out of range", "byte", Input::Number(256), None),
        ("a number as an address", "ipaddr", Input::Number(5), None),
        ("seconds", "date", Input::Timestamp(time), Some("6553f100")),
        ("seconds in an integer", "integer", Input::Timestamp(time), Some("6553f100")),
        ("seconds in eight octets", "integer64", Input::Timestamp(time), Some("000000006553f100")),
        ("an instant before 1970", "date", Input::Timestamp(Timestamp(-1)), None),
        (
            "an instant as text",
            "string",
            Input::Timestamp(time),
            Some("323032332d31312d31345432323a31333a32302e3132335a"),
        ),
        ("an address", "ipaddr", Input::Address(v4), Some("c0000201")),
        ("an address of the other family", "ipaddr", Input::Address(v6), None),
        ("either family", "combo-ip", Input::Address(v6), Some("00000000000000000000000000000001")),
        ("an address as text", "string", Input::Address(v6), Some("3a3a31")),
        ("an address as octets", "octets", Input::Address(v4), Some("c0000201")),
        ("an address as a prefix", "ipv4prefix", Input::Address(v4), Some("0020c0000201")),
        ("octets as they are", "integer", Input::Octets(&[1, 2, 3, 4]), Some("01020304")),
        ("octets that look like hex", "octets", Input::Octets(b"0x00"), Some("30783030")),
        ("no octets", "octets", Input::Octets(b""), None),
        ("too many octets", "octets", Input::Octets(&[0; 254]), None),
    ] {
        let mut out = Vec::new();
        let done = dictionary.attribute(&format!("T-{kind}")).unwrap().encode(input, &mut out).is_ok();
        assert_eq!(done.then(|| out[2..].to_vec()), want.map(octets), "{name}");
    }
}

#[test]
fn tags_follow_rfc_2868() {
    let dictionary = clean(TYPES);
    for (kind, text, want, printed) in [
        ("tagged", ":1:abc", "01 616263", "T-tagged:1 = \"abc\""),
        ("tagged", ":31:abc", "1f 616263", "T-tagged:31 = \"abc\""),
        ("tagged", "abc", "616263", "T-tagged = \"abc\""),
        ("tagged", "\u{5}abc", "00 05616263", "T-tagged:0 = \"\\005abc\""),
        ("tagged", ":0:abc", "3a303a616263", "T-tagged = \":0:abc\""),
        ("tagged", ":32:abc", "3a33323a616263", "T-tagged = \":32:abc\""),
        ("tagged", ":x:abc", "3a783a616263", "T-tagged = \":x:abc\""),
        ("tagged-integer", ":2:L2TP", "02000003", "T-tagged-integer:2 = L2TP"),
        ("tagged-integer", "3", "00000003", "T-tagged-integer:0 = L2TP"),
    ] {
        let mut out = Vec::new();
        dictionary.attribute(&format!("T-{kind}")).unwrap().encode(Input::Text(text.as_bytes()), &mut out).unwrap();
        assert_eq!(out[2..], octets(want), "{text}");
        assert_eq!(dictionary.decode(&out)[0].to_string(), printed, "{text}");
    }
    let tagged = dictionary.attribute("T-tagged-integer").unwrap();
    let error = tagged.encode(Input::Number(0x100_0000), &mut Vec::new()).unwrap_err().to_string();
    assert!(error.contains("outside 0 to 16777215"), "{error}");
    let text = dictionary.attribute("T-tagged").unwrap();
    assert!(text.encode(Input::Text(b":1:"), &mut Vec::new()).is_err(), "a tag alone is empty");
}
