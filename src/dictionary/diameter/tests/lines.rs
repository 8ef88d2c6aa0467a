//! Lines of dictionaries: what RADIUS and OpenSIPS files say, and what is wrong with them.

use std::path::Path;

use super::super::{Builder, Type};
use super::{Table, loaded, refused};

#[test]
fn a_radius_file_serves_diameter() {
    let dictionary = loaded(
        "VENDOR Acme 9999 format=1,1\n\
         BEGIN-VENDOR Acme\n\
         ATTRIBUTE Acme-Text 1 string has_tag\n\
         ATTRIBUTE Acme-Count 2 integer\n\
         ATTRIBUTE Acme-State 3 integer\n\
         VALUE Acme-State Idle 0\n\
         VALUE Acme-State Busy 1\n\
         ATTRIBUTE Acme-When 4 date\n\
         ATTRIBUTE Acme-Host 5 ipaddr\n\
         ATTRIBUTE Acme-Either 6 combo-ip\n\
         ATTRIBUTE Acme-Bytes 7 integer64\n\
         ATTRIBUTE Acme-Secret 8 octets encrypt=1\n\
         ATTRIBUTE Acme-Tlv 9 tlv\n\
         BEGIN-TLV Acme-Tlv\n\
         ATTRIBUTE Acme-Inner 1 string\n\
         END-TLV Acme-Tlv\n\
         END-VENDOR Acme\n\
         ATTRIBUTE Sip-To-Tag 104 string\n\
         ATTRIBUTE Event-Timestamp 55 integer\n\
         ATTRIBUTE User-Name 1 string\n",
    );
    for (name, kind) in [
        ("Acme-Text", Type::Utf8String),
        ("Acme-Count", Type::Unsigned32),
        ("Acme-State", Type::Enumerated),
        ("Acme-When", Type::Time),
        ("Acme-Host", Type::BareAddress),
        ("Acme-Either", Type::Address),
        ("Acme-Bytes", Type::Unsigned64),
        ("Acme-Secret", Type::OctetString),
    ] {
        let avp = dictionary.find(name).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((avp.kind(), avp.vendor(), avp.is_mandatory()), (kind, 9999, false), "{name}");
    }
    // A RADIUS word says less than Diameter's own dictionary, which keeps type and flags.
    for (name, kind) in [("Event-Timestamp", Type::Time), ("User-Name", Type::Utf8String)] {
        let avp = dictionary.find(name).expect(name);
        assert_eq!((avp.kind(), avp.is_mandatory()), (kind, true), "{name}");
    }
    let tag = dictionary.find("Sip-To-Tag").expect("there");
    assert_eq!((tag.code(), tag.is_mandatory()), (104, false), "no M on a number that is another AVP's");
    let warnings: Vec<String> = dictionary.warnings().iter().map(ToString::to_string).collect();
    let warned = |part: &str| warnings.iter().any(|warning| warning.contains(part));
    assert!(warned("`Sip-To-Tag` has the code 104 of `Digest-Realm`"), "{warnings:#?}");
    assert!(warned("flags of RADIUS are skipped"), "{warnings:#?}");
    assert!(dictionary.find("Acme-Inner").is_err(), "members of a TLV have no code");
}

#[test]
fn an_opensips_file_loads() {
    let dictionary = loaded(
        "VENDOR 9999 Acme\n\
         ATTRIBUTE acme-leg 100 grouped 9999\n\
         {\n\
             acme-src | REQUIRED | 1\n\
             acme-dst | OPTIONAL | 1\n\
         }\n\
         ATTRIBUTE acme-src 101 utf8string 9999\n\
         ATTRIBUTE acme-dst 102 string 9999\n\
         ATTRIBUTE plain 2001\n\
         ATTRIBUTE counter 2002 unsigned32\n\
         APPLICATION-ACC 42/9999 Some Application\n\
         REQUEST 92001 Some-Request\n\
         {\n\
             Origin-Host | REQUIRED | 1\n\
         }\n",
    );
    let leg = dictionary.find("Acme-Leg").expect("there");
    assert_eq!(leg.members().collect::<Vec<_>>(), ["acme-src", "acme-dst"]);
    assert_eq!((leg.kind(), leg.vendor(), leg.code()), (Type::Grouped, 9999, 100));
    assert_eq!(dictionary.find("plain").expect("there").kind(), Type::Utf8String);
    assert_eq!(dictionary.find("counter").expect("there").kind(), Type::Unsigned32);
    assert_eq!(dictionary.warnings().len(), 2, "{:?}", dictionary.warnings());
}

#[test]
fn flags_and_vendors_stand_in_the_fourth_field() {
    let dictionary = loaded(
        "VENDOR Acme 9999\n\
         ATTRIBUTE A 1 UTF8String Acme,M\n\
         ATTRIBUTE B 2 UTF8String vendor=acme mandatory\n\
         ATTRIBUTE C 3 UTF8String 9999\n\
         ATTRIBUTE Called-Station-Id 30 UTF8String optional\n\
         ATTRIBUTE Calling-Station-Id 31 UTF8String\n",
    );
    for (name, vendor, mandatory) in [
        ("A", 9999, true),
        ("B", 9999, true),
        ("C", 9999, false),
        ("Called-Station-Id", 0, false),
        ("Calling-Station-Id", 0, true),
    ] {
        let avp = dictionary.find(name).expect(name);
        assert_eq!((avp.vendor(), avp.is_mandatory()), (vendor, mandatory), "{name}");
    }
}

#[test]
fn mistakes_are_told_with_their_line() {
    for (name, line, want) in [
        ("no type", "ATTRIBUTE Foo", "takes a name, a code and a type"),
        ("a wrong type", "ATTRIBUTE Foo 1000 UTF8Strin", "did you mean `UTF8String`?"),
        ("a wrong code", "ATTRIBUTE Foo x UTF8String", "no AVP code"),
        ("code 0", "ATTRIBUTE Foo 0 UTF8String", "no AVP code"),
        ("an unknown vendor", "ATTRIBUTE Foo 1 UTF8String Acme", "neither a flag nor a vendor"),
        ("another type", "ATTRIBUTE Foo 485 UTF8String", "`Foo` is UTF8String here, but `Accounting-Record-Number`"),
        ("a name of digits", "ATTRIBUTE 1234 1234 UTF8String", "could not be told from a code"),
        ("a name with a colon", "ATTRIBUTE a:b 1234 UTF8String", "or `:` or `|`"),
        ("vendor 0", "VENDOR Nobody 0", "vendor 0"),
        ("a vendor without number", "VENDOR A B", "is no number"),
        ("a value out of range", "VALUE Accounting-Record-Type Big 99999999999", "outside"),
        ("a value without number", "VALUE Accounting-Record-Type Big x", "is no number"),
        ("an include that is not there", "$INCLUDE nowhere", "cannot read `nowhere`"),
        ("a brace behind no group", "ATTRIBUTE Foo 1234 UTF8String {", "behind what is no group"),
        ("an end without beginning", "END-VENDOR Acme", "without a beginning"),
        ("octets that are no UTF-8", "ATTRIBUTE \u{0} 1 string", "characters outside ASCII"),
    ] {
        let text = format!("# a comment\n{line}\n");
        let problems = refused(text.as_bytes());
        assert!(problems.contains(want) && problems.contains("site:2"), "{name}: {problems}");
    }
}

#[test]
fn files_include_each_other_once() {
    let mut files = Table::of(&[
        ("dir/site", b"$INCLUDE other\n$INCLUDE- missing\nATTRIBUTE B 2002 UTF8String\n"),
        ("dir/other", b"ATTRIBUTE A 2001 UTF8String\n$INCLUDE site\n"),
    ]);
    let mut builder = Builder::with_builtin();
    builder.file(Path::new("dir/site"), &mut files);
    let dictionary = builder.finish().unwrap_or_else(|error| panic!("{error}"));
    assert!(dictionary.find("A").is_ok() && dictionary.find("B").is_ok());
    assert_eq!(dictionary.files().len(), 2);
}

#[test]
fn a_profile_of_the_radius_side_loads() {
    for (name, text) in crate::dictionary::builtin::PROFILES {
        let mut builder = Builder::with_builtin();
        builder.text(name, text.as_bytes());
        let dictionary = builder.finish().unwrap_or_else(|error| panic!("{name}: {error}"));
        let avp = dictionary.find("0:Sip-Response-Code").unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!avp.is_mandatory() && avp.vendor() == 0, "{name}");
    }
}

proptest::proptest! {
    #[test]
    fn rubbish_never_panics(octets in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
        let mut builder = Builder::empty();
        builder.text("rubbish", &octets);
        let _problems = builder.finish().is_ok();
    }

    #[test]
    fn shuffled_words_never_panic(words in proptest::collection::vec(
        proptest::sample::select(vec![
            "ATTRIBUTE", "VALUE", "VENDOR", "BEGIN-VENDOR", "END-VENDOR", "BEGIN-TLV", "END-TLV", "REQUEST", "{", "}",
            "\n", "Acme", "9999", "Session-Id", "UTF8String", "Grouped", "M", "|", "0", "-1", "4294967296",
        ]), 0..40)) {
        let mut builder = Builder::empty();
        builder.text("words", words.join(" ").as_bytes());
        let _problems = builder.finish().is_ok();
    }
}

#[test]
fn one_file_serves_both_protocols() {
    let text = "VENDOR 9999 Acme\n\
        ATTRIBUTE Acme-Leg 300 Grouped Acme\n\
        {\n\
            Acme-Src | REQUIRED | 1\n\
        }\n\
        ATTRIBUTE Acme-Src 101 UTF8String Acme,M\n\
        ATTRIBUTE Acme-When 102 Time 9999\n\
        ATTRIBUTE Acme-Big 1000 Unsigned32 Acme\n\
        VALUE Acme-Big One 1\n\
        ATTRIBUTE Acme-Plain 103 integer Acme\n\
        APPLICATION-ACC 42 Some\n\
        REQUEST 1000 Some-Request\n\
        {\n\
            Session-Id | FIXED_HEAD | 1\n\
        }\n";
    let mut builder = crate::dictionary::Builder::with_builtin();
    builder.text("site", text.as_bytes());
    let radius = builder.finish().unwrap_or_else(|error| panic!("{error}"));
    for (name, kind) in [
        ("Acme-Src", Some(crate::dictionary::Type::String)),
        ("Acme-When", Some(crate::dictionary::Type::Date)),
        ("Acme-Plain", Some(crate::dictionary::Type::Integer)),
        ("Acme-Leg", None),
        ("Acme-Big", None),
    ] {
        let found = radius.attribute(name);
        assert_eq!(found.as_ref().map(|attribute| attribute.kind()), kind, "{name}");
        assert!(found.is_none_or(|attribute| attribute.vendor().is_some_and(|vendor| vendor.number == 9999)), "{name}");
    }
    assert_eq!(radius.warnings().len(), 1, "{:?}", radius.warnings());
    let diameter = loaded(text);
    for name in ["Acme-Leg", "Acme-Src", "Acme-When", "Acme-Big", "Acme-Plain"] {
        assert!(diameter.find(name).is_ok_and(|avp| avp.vendor() == 9999), "{name}");
    }
}
