//! Tests of the dictionary.

mod conflicts;
mod encoding;
mod lines;
mod wire;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use super::*;

/// Files of a test; each path is a file of its own, unless two names are made one.
#[derive(Default)]
struct Table {
    files: HashMap<PathBuf, (Vec<u8>, u64)>,
    is_world_writable: bool,
}

impl Table {
    fn with(mut self, path: &str, text: impl Into<Vec<u8>>) -> Self {
        let inode = u64::try_from(self.files.len()).unwrap();
        self.files.insert(path.into(), (text.into(), inode));
        self
    }

    /// Another name of a file.
    fn link(mut self, path: &str, target: &str) -> Self {
        let file = self.files[Path::new(target)].clone();
        self.files.insert(path.into(), file);
        self
    }

    fn load(mut self, path: &str) -> Result<Dictionary, LoadError> {
        Dictionary::load(Path::new(path), &mut self)
    }
}

impl Loader for Table {
    fn load(&mut self, path: &Path) -> io::Result<Source> {
        let (text, inode) = self.files.get(path).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(Source { text, identity: Identity(0, inode), is_world_writable: self.is_world_writable })
    }
}

/// The built-in dictionary with one file `d`.
fn load(text: impl Into<Vec<u8>>) -> Result<Dictionary, LoadError> {
    Table::default().with("d", text).load("d")
}

/// A dictionary that must load without a warning.
fn clean(text: &str) -> Dictionary {
    let dictionary = load(text).unwrap();
    assert_eq!(dictionary.warnings(), [], "{text}");
    dictionary
}

/// Warnings of a text that loads.
fn warnings(text: &str) -> Vec<String> {
    load(text).unwrap().warnings().iter().map(ToString::to_string).collect()
}

/// Octets of hex with blanks.
fn octets(hex: &str) -> Vec<u8> {
    let digits: String = hex.chars().filter(|char| !char.is_whitespace()).collect();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn the_built_in_text_is_free_of_problems() {
    assert_eq!(Dictionary::builtin().warnings(), []);
}

#[test]
fn profiles_load_and_tell_which_numbers_are_taken() {
    for (name, taken) in [("opensips", 0), ("openser", 9), ("kamailio", 4)] {
        let mut builder = Builder::with_builtin();
        builder.text(name, builtin::profile(name).unwrap().as_bytes());
        let dictionary = builder.finish().unwrap();
        assert_eq!(dictionary.collisions().len(), taken, "{name}");
        assert_eq!(dictionary.warnings().len(), usize::from(taken > 0), "{name}: one warning lists them");
        let method = dictionary.attribute("Sip-Method").unwrap();
        assert_eq!(method.value("INVITE"), Some(1), "{name}");
        assert_eq!(dictionary.attribute("Service-Type").unwrap().value("sip-session"), Some(15), "{name}");
    }
    assert_eq!(builtin::profile("ser"), None);
}

#[test]
fn both_sip_numberings_encode_and_decode() {
    for (profile, name, input, want) in [
        ("opensips", "Sip-Method", Input::Text(b"BYE"), "cc 06 00000008"),
        ("openser", "Sip-Method", Input::Text(b"BYE"), "65 06 00000008"),
        ("kamailio", "Sip-Method", Input::Text(b"OPTIONS"), "65 06 00000200"),
        ("opensips", "Sip-Method", Input::Text(b"OPTIONS"), "cc 06 00000020"),
        ("opensips", "Sip-Response-Code", Input::Number(200), "cd 06 000000c8"),
        ("openser", "Sip-Response-Code", Input::Number(200), "66 06 000000c8"),
        ("opensips", "Sip-From-Tag", Input::Text(b"ab"), "ce 04 6162"),
        ("openser", "Sip-From-Tag", Input::Text(b"ab"), "69 04 6162"),
        ("openser", "Sip-Src-Port", Input::Number(5060), "6d 06 35303630"),
        ("opensips", "Sip-Call-MSDuration", Input::Number(1500), "e6 06 000005dc"),
    ] {
        let mut builder = Builder::with_builtin();
        builder.text(profile, builtin::profile(profile).unwrap().as_bytes());
        let dictionary = builder.finish().unwrap();
        let mut out = Vec::new();
        dictionary.attribute(name).unwrap().encode(input, &mut out).unwrap();
        assert_eq!(out, octets(want), "{profile} {name}");
        assert_eq!(dictionary.decode(&out)[0].name(), name, "{profile}");
    }
}

#[test]
fn our_attributes_are_in_our_space_and_hold_what_they_say() {
    let dictionary = Dictionary::builtin();
    assert_eq!(dictionary.vendor(crate::names::VENDOR_NUMBER).unwrap().name.as_ref(), crate::names::VENDOR);
    let id = dictionary.attribute("tollgate-record-id").unwrap();
    assert_eq!(id.oid(), Oid::vendor(crate::names::VENDOR_NUMBER, 1));
    assert_eq!(id.value_octets_max(), 247);
    for name in dictionary.names().filter(|name| name.starts_with("Tollgate-")) {
        assert_eq!(dictionary.attribute(name).unwrap().refusal(), None, "{name}");
    }
}

#[test]
fn what_is_no_place_for_a_call_says_why() {
    let dictionary =
        clean("ATTRIBUTE Far 1000 integer\nATTRIBUTE Vir 250 string virtual\nATTRIBUTE Password 2 string\n");
    for (name, want) in [
        ("User-Name", None),
        ("Far", Some("above 255")),
        ("Vir", Some("virtual")),
        ("Password", Some("User-Password")),
        ("User-Password", Some("encrypted")),
        ("CHAP-Password", Some("CHAP-Password")),
        ("CHAP-Challenge", Some("CHAP-Challenge")),
        ("Reply-Message", Some("Reply-Message")),
        ("State", Some("State")),
        ("EAP-Message", Some("EAP-Message")),
        ("Message-Authenticator", Some("Message-Authenticator")),
        ("Proxy-State", Some("Proxy-State")),
        ("Tunnel-Password", Some("encrypted")),
        ("Vendor-Specific", Some("holds other attributes")),
        ("Extended-Attribute-1", Some("holds other attributes")),
    ] {
        let refusal = dictionary.attribute(name).unwrap().refusal();
        assert!(
            refusal.is_some() == want.is_some() && refusal.unwrap_or("").contains(want.unwrap_or("")),
            "{name}: {refusal:?}"
        );
    }
}

#[test]
fn the_effective_dictionary_does_not_depend_on_chance() {
    let text = "ATTRIBUTE Zeta 200 string\nATTRIBUTE Alpha 200 string\nATTRIBUTE Beta 201 integer\nVALUE Beta Two 2\nVALUE Beta One 1\n";
    let first = clean(text).effective();
    assert_eq!(first, clean(text).effective());
    let rows: Vec<_> =
        first.iter().filter(|row| row.origin.starts_with("d:")).map(|row| (&*row.name, row.decodes)).collect();
    assert_eq!(rows, [("Alpha", true), ("Zeta", false), ("Beta", true)]);
    let beta = first.iter().find(|row| row.name == "Beta").unwrap();
    assert_eq!((&*beta.number, &*beta.kind, &*beta.origin), ("201", "integer", "d:3"));
    assert_eq!(beta.values, [("One".to_owned(), 1), ("Two".to_owned(), 2)]);
}

#[test]
fn an_attribute_is_explained() {
    let dictionary = load("ATTRIBUTE Sip-Method 101 integer\nVALUE Sip-Method Invite 1\n").unwrap();
    let method = dictionary.explain("sip-method", Some("invite")).unwrap();
    assert_eq!(method.official.as_deref(), Some("Error-Cause"));
    assert_eq!(method.aliases, ["Error-Cause"]);
    assert_eq!(method.layout, "type 101 | length | value");
    assert_eq!(method.sample, Some(Ok("0x650600000001".to_owned())));
    assert_eq!(method.row.origin, "d:1");
    let wrong = dictionary.explain("sip-method", Some("invit")).unwrap().sample.unwrap().unwrap_err();
    assert_eq!(wrong, "`invit` is no integer for Sip-Method; did you mean `Invite`?");
    let id = dictionary.explain("Tollgate-Record-Id", None).unwrap();
    assert_eq!(id.vendor, Some((32473, "1,1".to_owned())));
    assert_eq!(id.layout, "type 26 | length | vendor 32473 (4) | vendor type 1 (1) | vendor length (1) | value");
    assert!(dictionary.explain("Nobody", None).is_none());
    assert_eq!(dictionary.nearest("Acct-Sesion-Id"), Some("Acct-Session-Id"));
    assert!(serde_json::to_string(&id).unwrap().contains("\"type\":\"string\""));
}

proptest::proptest! {
    #[test]
    fn no_octets_panic_the_parser(text in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
        let mut builder = Builder::empty();
        builder.text("d", &text);
        let _ = builder.finish();
    }

    #[test]
    fn no_near_text_panics_the_parser(lines in proptest::collection::vec(
        "(ATTRIBUTE|VALUE|VENDOR|BEGIN-VENDOR|END-VENDOR|BEGIN-TLV|END-TLV|\\$INCLUDE|VALUE-ALIAS|BEGIN|x)( (A|B|Cisco|Acct-Status-Type|26\\.9\\.1|245\\.26\\.1\\.2|0xff|1\\.2\\.3|tlv|string|integer|format=2,2|has_tag|encrypt=2|d|-1|[a-z.0-9]{0,6})){0,5}", 0..12)) {
        let mut builder = Builder::empty();
        let start = "VENDOR Cisco 9\nATTRIBUTE A 200 tlv\nATTRIBUTE E 245.26 evs\nATTRIBUTE Acct-Status-Type 40 integer\n";
        builder.text("d", format!("{start}{}", lines.join("\n")).as_bytes());
        if let Ok(dictionary) = builder.finish() {
            for row in dictionary.effective() {
                let _ = dictionary.explain(&row.name, Some("1"));
            }
        }
    }

    #[test]
    fn no_octets_panic_the_decoder(packet in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..600)) {
        static DICTIONARY: std::sync::LazyLock<Dictionary> = std::sync::LazyLock::new(Dictionary::builtin);
        let decoded = DICTIONARY.decode(&packet);
        proptest::prop_assert!(decoded.len() <= packet.len() + 1);
    }
}
