//! Redefinitions: what wins, what is told.

use super::*;

#[test]
fn the_operator_wins_and_is_told_both_places() {
    for (name, text, attribute, oid, want) in [
        ("the same again", "ATTRIBUTE User-Name 1 string", "User-Name", "1", ""),
        ("other flags", "ATTRIBUTE User-Password 2 string", "User-Password", "2", ""),
        ("integer for date", "ATTRIBUTE Event-Timestamp 55 integer", "Event-Timestamp", "55", ""),
        ("string for octets", "ATTRIBUTE Class 25 string", "Class", "25", ""),
        ("string for Vendor-Specific", "ATTRIBUTE Vendor-Specific 26 string", "Vendor-Specific", "26", ""),
        ("an old name", "ATTRIBUTE Client-Id 4 ipaddr", "Client-Id", "4", ""),
        ("NAS-Port-Id of radiusclient", "ATTRIBUTE NAS-Port-Id 5 integer", "NAS-Port-Id", "5", ""),
        (
            "NAS-Port-Id-String of radiusclient",
            "ATTRIBUTE NAS-Port-Id-String 87 string",
            "NAS-Port-Id-String",
            "87",
            "",
        ),
        (
            "another number",
            "ATTRIBUTE User-Name 200 string",
            "User-Name",
            "200",
            "d:1: `User-Name` is now 200 string, was 1 string at built-in dictionary.rfc2865:3",
        ),
        (
            "another type",
            "ATTRIBUTE NAS-Port 5 string",
            "NAS-Port",
            "5",
            "d:1: `NAS-Port` is now 5 string, was 5 integer at built-in dictionary.rfc2865:7",
        ),
        (
            "another vendor",
            "VENDOR V 9\nATTRIBUTE User-Name 26.9.1 string",
            "User-Name",
            "26.9.1",
            "d:2: `User-Name` is now 26.9.1 string, was 1 string",
        ),
        (
            "within one file",
            "ATTRIBUTE X 200 string\nATTRIBUTE X 201 string",
            "X",
            "201",
            "d:2: `X` is now 201 string, was 200 string at d:1",
        ),
    ] {
        let dictionary = load(text).unwrap();
        assert_eq!(dictionary.attribute(attribute).unwrap().oid().to_string(), oid, "{name}");
        let found: Vec<_> = dictionary.warnings().iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), usize::from(!want.is_empty()), "{name}: {found:?}");
        assert!(found.first().is_none_or(|found| found.contains(want)), "{name}: {found:?}");
    }
}

#[test]
fn a_second_name_of_a_number_decodes_and_both_encode() {
    let dictionary = clean("ATTRIBUTE First 200 integer\nVALUE First One 1\nATTRIBUTE Second 200 integer\n");
    let mut out = Vec::new();
    for name in ["First", "Second"] {
        out.clear();
        dictionary.attribute(name).unwrap().encode(Input::Text(b"One"), &mut out).unwrap();
        assert_eq!(out, octets("c8 06 00000001"), "{name}");
    }
    assert_eq!(dictionary.decode(&out)[0].to_string(), "Second = One");
    // A definition repeated later decodes again.
    let dictionary = clean("ATTRIBUTE First 200 integer\nATTRIBUTE Second 200 integer\nATTRIBUTE First 200 integer\n");
    assert_eq!(dictionary.by_oid(&Oid::standard(200)).unwrap().name(), "First");
}

#[test]
fn values_belong_to_their_attribute_and_the_later_wins() {
    let text = "ATTRIBUTE A 200 integer\nATTRIBUTE B 201 integer\nVALUE A Start 7\nVALUE B start 8\nVALUE A sToP 9\nVALUE A Halt 9\n";
    let dictionary = clean(text);
    let value = |attribute: &str, name: &str| dictionary.attribute(attribute).unwrap().value(name);
    assert_eq!(value("Acct-Status-Type", "start"), Some(1));
    assert_eq!((value("A", "START"), value("B", "Start"), value("B", "Stop")), (Some(7), Some(8), None));
    let a = dictionary.attribute("A").unwrap();
    assert_eq!((a.value("stop"), a.value("halt"), a.value_name(9)), (Some(9), Some(9), Some("Halt")));
    let found = warnings("VALUE Service-Type Framed-User 3\n");
    assert_eq!(found.len(), 1);
    assert!(
        found[0]
            .starts_with("d:1: value `Framed-User` of `Service-Type` is now 3, was 2 at built-in dictionary.rfc2865:"),
        "{found:?}"
    );
}

#[test]
fn values_may_come_before_their_attribute_or_from_another() {
    let dictionary = clean("VALUE A One 1\nATTRIBUTE A 200 integer\nATTRIBUTE B 201 integer\nVALUE-ALIAS B A\n");
    assert_eq!(dictionary.attribute("A").unwrap().value("one"), Some(1));
    assert_eq!(dictionary.attribute("B").unwrap().value("one"), Some(1));
}

#[test]
fn values_of_a_replaced_definition_go_with_it() {
    let dictionary = load("ATTRIBUTE Error-Cause 200 integer\nVALUE Error-Cause Mine 1\n").unwrap();
    let cause = dictionary.attribute("Error-Cause").unwrap();
    assert_eq!((cause.value("Mine"), cause.value("Invalid-Request")), (Some(1), None));
}

#[test]
fn the_ser_file_with_types_changed_encodes_by_its_types() {
    let text = "ATTRIBUTE Sip-Method 101 string\nATTRIBUTE Sip-Response-Code 102 integer\nATTRIBUTE Sip-Cseq 103 integer\n\
                ATTRIBUTE Sip-To-Tag 104 string\nATTRIBUTE Sip-From-Tag 105 string\nATTRIBUTE Sip-Translated-Request-ID 107 string\n\
                ATTRIBUTE Sip-Source-IP-Address 108 ipaddr\nATTRIBUTE Sip-Source-Port 109 integer\n";
    let dictionary = load(text).unwrap();
    let mut out = Vec::new();
    for (name, input) in [
        ("Sip-Method", Input::Text(b"INVITE")),
        ("sip-cseq", Input::Text(b"17")),
        ("Sip-Source-IP-Address", Input::Text(b"192.0.2.1")),
    ] {
        dictionary.attribute(name).unwrap().encode(input, &mut out).unwrap();
    }
    assert_eq!(out, octets("65 08 494e56495445 67 06 00000011 6c 06 c0000201"));
    let names: Vec<_> =
        dictionary.collisions().iter().map(|found| (&*found.name, found.number, &*found.official)).collect();
    assert_eq!(names[0], ("Sip-Method", 101, "Error-Cause"));
    assert_eq!(names[2], ("Sip-Cseq", 103, "Digest-Response"));
    assert_eq!(names.len(), 8);
    let warning = dictionary.warnings()[0].to_string();
    assert!(
        warning.starts_with("d:1: names on officially assigned numbers: `Sip-Method` on 101 (Error-Cause), "),
        "{warning}"
    );
}

#[test]
fn vendors_may_be_defined_again() {
    for (name, text, want) in [
        ("the same", "VENDOR V 9999\nVENDOR V 9999\n", ""),
        ("another number", "VENDOR V 9999\nVENDOR V 9998\n", "d:2: vendor `V` is now 9998, was 9999 at d:1"),
        ("another name of a number", "VENDOR V 9999\nVENDOR W 9999\n", ""),
        (
            "another format",
            "VENDOR V 9999\nVENDOR V 9999 format=2,1\n",
            "d:2: vendor 9999 has format 2,1 here and 1,1 at d:1",
        ),
        ("the format again without words", "VENDOR V 9999 format=2,1\nVENDOR V 9999\n", ""),
    ] {
        let found = warnings(text);
        assert_eq!(found, if want.is_empty() { vec![] } else { vec![want.to_owned()] }, "{name}");
    }
    let text = "VENDOR V 9999 format=2,2\nATTRIBUTE Big 26.9999.256 string\nATTRIBUTE Small 26.9999.1 string\n";
    let dictionary = load(format!("{text}VENDOR V 9999 format=1,1\n")).unwrap();
    assert_eq!(dictionary.warnings().len(), 2);
    assert!(dictionary.attribute("Big").unwrap().refusal().is_some_and(|why| why.contains("given later")));
    assert!(dictionary.attribute("Big").unwrap().encode(Input::Text(b"x"), &mut Vec::new()).is_err());
    assert_eq!(dictionary.attribute("Small").unwrap().refusal(), None);
    let dictionary = clean("VENDOR USR 429\nVENDOR Lucent 4846\nVENDOR Starent 8164\n");
    for (number, want) in [(429, "4,0"), (4846, "2,1"), (8164, "2,2"), (32473, "1,1")] {
        assert_eq!(dictionary.vendor(number).unwrap().format.to_string(), want);
    }
}
