//! Labels, and what the built-in dictionaries say.

use super::super::{Dictionary, LabelError, Type};
use super::loaded;

#[test]
fn the_built_in_dictionaries_are_clean() {
    let dictionary = Dictionary::builtin();
    assert!(dictionary.warnings().is_empty(), "{:?}", dictionary.warnings());
    for definition in dictionary.definitions() {
        for member in definition.members() {
            let found = dictionary.find(member);
            assert!(
                matches!(found, Ok(_) | Err(LabelError::Ambiguous { .. })),
                "{member} of {} is defined",
                definition.name()
            );
        }
    }
}

#[test]
fn codes_types_and_flags_are_those_of_the_documents() {
    let dictionary = Dictionary::builtin();
    for (name, vendor, code, kind, mandatory) in [
        // RFC 6733 section 4.5, 9.8.
        ("Session-Id", 0, 263, Type::Utf8String, true),
        ("Accounting-Sub-Session-Id", 0, 287, Type::Unsigned64, true),
        ("Event-Timestamp", 0, 55, Type::Time, true),
        ("Error-Message", 0, 281, Type::Utf8String, false),
        ("Product-Name", 0, 269, Type::Utf8String, false),
        ("Accounting-Record-Type", 0, 480, Type::Enumerated, true),
        // RFC 7155.
        ("NAS-IP-Address", 0, 4, Type::BareAddress, true),
        ("Called-Station-Id", 0, 30, Type::Utf8String, true),
        ("Accounting-Input-Octets", 0, 363, Type::Unsigned64, true),
        // RADIUS attributes without an entry in RFC 7155's accounting tables.
        ("Digest-Realm", 0, 104, Type::Utf8String, false),
        // RFC 8506.
        ("Subscription-Id", 0, 443, Type::Grouped, true),
        // RFC 4740 against TS 32.299: told apart by vendor.
        ("0:SIP-Method", 0, 393, Type::Utf8String, false),
        ("3GPP:SIP-Method", 10_415, 824, Type::Utf8String, true),
        ("Cause-Code", 10_415, 861, Type::Integer32, true),
        ("Access-Network-Information", 10_415, 1263, Type::OctetString, true),
        ("Tollgate-Src-IP", 32_473, 30, Type::Address, false),
    ] {
        let avp = dictionary.find(name).unwrap_or_else(|error| panic!("{error}"));
        let found = (avp.vendor(), avp.code(), avp.kind(), avp.is_mandatory());
        assert_eq!(found, (vendor, code, kind, mandatory), "{name}");
    }
}

#[test]
fn a_label_finds_its_avp() {
    let dictionary = loaded(
        "VENDOR Example 9999\nATTRIBUTE Sip-Method 1 UTF8String Example\nATTRIBUTE Leg-Src 2345 UTF8String 9999\n",
    );
    for (label, vendor, code) in [
        ("Session-Id", 0, 263),
        ("session-id", 0, 263),
        // Exact spelling first: RFC 4740 and 3GPP spell SIP-Method.
        ("Sip-Method", 9999, 1),
        ("example:SIP-Method", 9999, 1),
        ("9999:leg-src", 9999, 2345),
        ("2345", 0, 2345),
        ("9999:2345", 9999, 2345),
        ("Example:77", 9999, 77),
        ("485", 0, 485),
    ] {
        let avp = dictionary.find(label).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((avp.vendor(), avp.code()), (vendor, code), "{label}");
    }
    let unknown = dictionary.find("2345").expect("any code is fine");
    assert_eq!((unknown.kind(), unknown.is_mandatory()), (Type::Utf8String, false));
    assert_eq!(dictionary.find("9999:2345").expect("defined").name(), "Leg-Src");
}

#[test]
fn a_label_that_fits_none_or_several_says_so() {
    let dictionary = Dictionary::builtin();
    for (label, want, hint) in [
        ("Sesion-Id", "unknown AVP `Sesion-Id`", "did you mean `Session-Id`?"),
        (
            "SIP-Method",
            "`SIP-Method` stands for several AVPs: `0:SIP-Method`, `3GPP:SIP-Method`",
            "write `VENDOR:NAME`",
        ),
        (
            "Nobody:Thing",
            "unknown vendor `Nobody` in `Nobody:Thing`",
            "give its number, or define it with a `VENDOR` line",
        ),
    ] {
        let error = dictionary.find(label).expect_err(label);
        assert_eq!((error.to_string().as_str(), error.hint().as_str()), (want, hint));
    }
}

#[test]
fn what_must_not_carry_values_says_why() {
    let dictionary = Dictionary::builtin();
    for (label, start) in [
        ("Acct-Status-Type", "Accounting-Record-Type"),
        ("Acct-Input-Octets", "Accounting-Input-Octets"),
        ("Acct-Delay-Time", "Event-Timestamp"),
        ("Session-Id", "Tollgate writes it"),
        ("Service-Information", "it is a group"),
    ] {
        let why = dictionary.find(label).expect(label).refusal().expect("refused");
        assert!(why.starts_with(start), "{label}: {why}");
    }
    assert_eq!(dictionary.find("User-Name").expect("there").refusal(), None);
    let tlv = loaded("ATTRIBUTE Some-Tlv 241.1 tlv\n").find("Some-Tlv");
    assert!(matches!(tlv, Err(LabelError::Unmapped { .. })), "{tlv:?}");
}
