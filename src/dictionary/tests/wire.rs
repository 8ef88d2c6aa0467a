//! Places on the wire: vendor formats, TLVs, extended spaces; and what is malformed there.

use super::*;

const SPACES: &str = "VENDOR One 9901\nVENDOR Two 9902 format=2,1\nVENDOR Three 9903 format=2,2\nVENDOR Four 9904 format=4,0\n\
    VENDOR Wi 9905 format=1,1,c\nATTRIBUTE V1 26.9901.1 string\nATTRIBUTE V2 26.9902.0x0102 string\nATTRIBUTE V3 26.9903.3 string\n\
    ATTRIBUTE V4 26.9904.0x01020304 string\nATTRIBUTE V5 26.9905.5 string\nATTRIBUTE VT 26.9901.7 tlv\nATTRIBUTE VT1 26.9901.7.1 integer\n\
    ATTRIBUTE VT2 26.9901.7.2 tlv\nATTRIBUTE VT21 26.9901.7.2.1 string\nATTRIBUTE E1 241.1 string\nATTRIBUTE ET 241.2 tlv\n\
    ATTRIBUTE ET1 241.2.1 byte\nATTRIBUTE L1 245.1 string\nATTRIBUTE LT 245.2 tlv\nATTRIBUTE LT1 245.2.1 string\n\
    ATTRIBUTE EV 241.26.9901.3 string\nATTRIBUTE LV 246.26.9901.4 string\nATTRIBUTE T 200 tlv\nATTRIBUTE T5 200.5 short\n";

#[test]
fn every_space_has_its_header() {
    let dictionary = clean(SPACES);
    for (name, value, want, max) in [
        ("V1", "ab", "1a 0a 000026ad 01 04 6162", 247),
        ("V2", "ab", "1a 0b 000026ae 0102 05 6162", 246),
        ("V3", "ab", "1a 0c 000026af 0003 0006 6162", 245),
        ("V4", "ab", "1a 0c 000026b0 01020304 6162", 245),
        ("V5", "ab", "1a 0b 000026b1 05 05 00 6162", 246),
        ("VT1", "1", "1a 0e 000026ad 07 08 01 06 00000001", 245),
        ("VT21", "ab", "1a 0e 000026ad 07 08 02 06 01 04 6162", 243),
        ("E1", "ab", "f1 05 01 6162", 252),
        ("ET1", "1", "f1 06 02 01 03 01", 250),
        ("L1", "ab", "f5 06 01 00 6162", 3765),
        ("LT1", "ab", "f5 08 02 00 01 04 6162", 253),
        ("EV", "ab", "f1 0a 1a 000026ad 03 6162", 247),
        ("LV", "ab", "f6 0b 1a 00 000026ad 04 6162", 3760),
        ("T5", "7", "c8 06 05 04 0007", 251),
    ] {
        let attribute = dictionary.attribute(name).unwrap();
        assert_eq!(attribute.value_octets_max(), max, "{name}");
        let mut out = vec![9];
        attribute.encode(Input::Text(value.as_bytes()), &mut out).unwrap();
        assert_eq!(out[1..], octets(want), "{name}");
        let decoded = dictionary.decode(&out[1..]);
        assert_eq!((decoded.len(), decoded[0].name().as_str()), (1, name));
        if attribute.kind() == Type::String {
            let (most, over) = ("x".repeat(max), "x".repeat(max + 1));
            out.clear();
            attribute.encode(Input::Text(most.as_bytes()), &mut out).unwrap();
            assert_eq!(dictionary.decode(&out)[0].octets, most.as_bytes(), "{name}");
            let error = attribute.encode(Input::Text(over.as_bytes()), &mut out).unwrap_err();
            assert!(matches!(error, ValueError::TooLong { .. }), "{name}: {error}");
        }
    }
}

#[test]
fn long_values_are_fragmented_and_joined() {
    let dictionary = clean(SPACES);
    for (name, octets, fragments) in
        [("L1", 251, 1), ("L1", 252, 2), ("L1", 502, 2), ("L1", 503, 3), ("LV", 246, 1), ("LV", 247, 2)]
    {
        let value = "y".repeat(octets);
        let mut out = Vec::new();
        dictionary.attribute(name).unwrap().encode(Input::Text(value.as_bytes()), &mut out).unwrap();
        let (mut rest, mut flags) = (&out[..], Vec::new());
        while let [_, length, _, flag, ..] = *rest {
            flags.push(flag);
            rest = &rest[usize::from(length)..];
        }
        assert!(rest.is_empty());
        let mut want = vec![0x80; fragments];
        want[fragments - 1] = 0;
        assert_eq!(flags, want, "{name} {octets}");
        let decoded = dictionary.decode(&out);
        assert_eq!((decoded.len(), &decoded[0].octets[..]), (1, value.as_bytes()), "{name} {octets}");
    }
}

#[test]
fn unknown_and_malformed_attributes_are_shown_as_octets() {
    let dictionary = clean(SPACES);
    for (name, packet, want) in [
        ("an unknown number", "c9 04 0102", "Attr-201 = 0x0102"),
        ("an unknown vendor", "1a 0a 00006180 01 04 0102", "Attr-26.24960.1 = 0x0102"),
        ("an unknown number of a known vendor", "1a 0a 000026ad 63 04 0102", "Attr-26.9901.99 = 0x0102"),
        ("an unknown extended number", "f1 05 63 0102", "Attr-241.99 = 0x0102"),
        ("an unknown extended vendor", "f1 0a 1a 00006180 05 0102", "Attr-241.26.24960.5 = 0x0102"),
        ("an integer of three octets", "2e 05 000001", "Attr-46 = 0x000001"),
        ("an address of five octets", "04 07 0102030405", "Attr-4 = 0x0102030405"),
        ("a prefix with too many bits", "61 06 0081 2001", "Attr-97 = 0x00812001"),
        ("a prefix with too many octets", "61 15 0000 0000000000000000000000000000000000", "Attr-97 = 0x"),
        ("a vendor's length beyond the end", "1a 0a 000026ad 01 05 6162", "Attr-26 = 0x000026ad01056162"),
        ("a vendor's length below its header", "1a 0a 000026ad 01 01 6162", "Attr-26 = 0x000026ad01016162"),
        ("a vendor without attributes", "1a 06 000026ad", "Attr-26 = 0x000026ad"),
        ("a vendor cut short", "1a 04 0000", "Attr-26 = 0x0000"),
        ("a TLV's length beyond the end", "c8 06 05 05 0007", "Attr-200 = 0x05050007"),
        ("a TLV's length below its header", "c8 06 05 01 0007", "Attr-200 = 0x05010007"),
        ("an empty TLV", "c8 02", "Attr-200 = 0x"),
        ("an unknown TLV", "c8 06 09 04 0007", "Attr-200.9 = 0x0007"),
        ("an extended attribute without number", "f1 02", "Attr-241 = 0x"),
        ("a long-extended one without flags", "f5 03 01", "Attr-245 = 0x01"),
        ("a WiMAX fragment", "1a 0b 000026b1 05 05 80 6162", "Attr-26.9905.5 = 0x6162"),
        ("an empty value", "01 02", "User-Name = \"\""),
    ] {
        let decoded = dictionary.decode(&octets(packet));
        assert_eq!(decoded.len(), 1, "{name}: {decoded:?}");
        assert!(decoded[0].to_string().starts_with(want), "{name}: {}", decoded[0]);
    }
    for (name, packet, want) in [
        (
            "several attributes of one vendor",
            "1a 0e 000026ad 01 04 6162 01 04 6364",
            vec!["V1 = \"ab\"", "V1 = \"cd\""],
        ),
        ("several TLVs", "c8 0a 05 04 0007 05 04 0008", vec!["T5 = 7", "T5 = 8"]),
        ("a length below two ends the list", "01 03 61 01 01 62", vec!["User-Name = \"a\"", "Attr-1 = 0x0162"]),
        ("a length beyond the end", "01 03 61 01 09 62", vec!["User-Name = \"a\"", "Attr-1 = 0x0962"]),
        ("a lone octet", "01 03 61 2c", vec!["User-Name = \"a\"", "Attr-44 = 0x"]),
        ("a fragment that is missing", "f5 05 01 80 61 01 03 62", vec!["L1 = \"a\"", "User-Name = \"b\""]),
        ("nothing", "", vec![]),
    ] {
        let decoded: Vec<_> = dictionary.decode(&octets(packet)).iter().map(ToString::to_string).collect();
        assert_eq!(decoded, want, "{name}");
    }
}

#[test]
fn the_radius_crate_reads_the_same_attributes() {
    let dictionary = clean(SPACES);
    let mut body = Vec::new();
    for (name, value) in
        [("User-Name", "alice"), ("Acct-Session-Time", "17"), ("V1", "ab"), ("T5", "7"), ("L1", &*"z".repeat(600))]
    {
        dictionary.attribute(name).unwrap().encode(Input::Text(value.as_bytes()), &mut body).unwrap();
    }
    let length = u16::try_from(20 + body.len()).unwrap().to_be_bytes();
    let packet = [&[4, 1, length[0], length[1]], &[0; 16][..], &body].concat();
    let parsed = ::radius::core::packet::Packet::decode(&packet, b"secret").unwrap();
    assert_eq!(::radius::core::rfc2865::lookup_user_name(&parsed).unwrap().unwrap(), "alice");
    assert_eq!(::radius::core::rfc2866::lookup_acct_session_time(&parsed).unwrap().unwrap(), 17);
    assert_eq!(parsed.lookup_all(26).len(), 1);
    assert_eq!(parsed.lookup_all(245).len(), 3);
}
