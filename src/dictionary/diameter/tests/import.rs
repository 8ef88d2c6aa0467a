//! Dictionaries of other programs.

use std::fs;
use std::path::Path;

use super::super::import::{ImportError, import};
use super::super::{Builder, Dictionary};

fn text(from: &str) -> String {
    import(from.as_bytes(), &Dictionary::builtin()).unwrap_or_else(|error| panic!("{error}")).text
}

/// The text loads beside what is built in.
fn load(text: &str) -> Dictionary {
    let mut builder = Builder::with_builtin();
    builder.text("imported", text.as_bytes());
    builder.finish().unwrap_or_else(|error| panic!("{error}\n{text}"))
}

const WANTED: &str = "VENDOR\tACME\t9999\nATTRIBUTE\tAcme-Info\t1\tGrouped\t9999,M\n{\n\tAcme-Kind | OPTIONAL\n\
    \tAcme-When | OPTIONAL\n}\nATTRIBUTE\tAcme-Kind\t2\tEnumerated\t9999\nVALUE\tAcme-Kind\tno-call\t0\n\
    VALUE\tAcme-Kind\tcall\t-1\nVALUE\tAcme-Kind\tother\t-1\nATTRIBUTE\tAcme-When\t3\tTime\t9999\nATTRIBUTE\tFree\t70001\tOctetString\tM\n";

#[test]
fn wireshark_s_xml_becomes_text() {
    let xml = "<?xml version=\"1.0\"?>\n<!DOCTYPE dictionary SYSTEM \"d.dtd\" [ <!ENTITY x SYSTEM \"/etc/passwd\"> ]>\n<dictionary><base>\
        <typedefn type-name=\"Own\" type-parent=\"Other\"/><typedefn type-name=\"Other\" type-parent=\"OctetString\"/>\
        <avp name=\"User-Name\" code=\"1\" mandatory=\"must\"><type type-name=\"Unsigned32\"/></avp>\
        <avp name=\"Acme-Info\" code=\"1\" mandatory=\"must\" vendor-bit=\"mustnot\" vendor-id=\"ACME\"><grouped>\
        <gavp name=\"Acme-Kind\"/><gavp name=\"Acme-When\"/></grouped></avp>\
        <avp name=\"Acme-Kind\" code=\"2\" mandatory=\"may\" vendor-id=\"ACME\"><type type-name=\"Enumerated\"/>\
        <enum name=\"no call\" code=\"0\"/><enum name=\"call\" code=\"-1\"/><enum name=\"CALL\" code=\"7\"/>\
        <enum name=\"other\" code=\"4294967295\"/><enum name=\"never\" code=\"4294967296\"/></avp>\
        <avp name=\"Acme-When\" code=\"3\" vendor-id=\"ACME\"><type type-name=\"Time\"/></avp>\
        <avp name=\"Free\" code=\"70001\" mandatory=\"must\"><type type-name=\"Own\"/></avp>\
        <avp name=\"Lost\" code=\"4\" vendor-id=\"Nobody\"><type type-name=\"Time\"/></avp></base>&x;\
        <vendor vendor-id=\"ACME\" code=\"9999\" name=\"Acme\"/></dictionary>";
    let found = import(xml.as_bytes(), &Dictionary::builtin()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(found.text, WANTED);
    assert_eq!(
        found.notes,
        [
            "`&x` is another file: import it by itself",
            "`Lost` is left out: nothing here says the number of the vendor `Nobody`",
            "1 AVPs are built in and left out"
        ]
    );
    let handle = load(&found.text).find("ACME:Acme-Kind").expect("there");
    assert_eq!((handle.code(), handle.vendor(), handle.values().number("call")), (2, 9999, Some(-1)));
}

#[test]
fn free_diameter_s_json_becomes_text() {
    let json = r#"{"Vendors":[{"Code":9999,"Name":"ACME"}],"Types":[{"Name":"Own","Base":"OctetString"}],
        "AVPs":[{"Code":1,"Name":"User-Name","Type":"UTF8String"},
        {"Code":1,"Vendor":9999,"Name":"Acme-Info","Type":"Grouped","Flags":{"Must":"VM"}},
        {"Code":2,"Vendor":9999,"Name":"Acme-Kind","Type":"Enumerated","Flags":{"Must":"V","MustNot":"M"},
         "EnumValues":[{"Code":0,"Name":"no call"},{"Code":-1,"Name":"call"},{"Code":4294967295,"Name":"other"}]},
        {"Code":3,"Vendor":9999,"Name":"Acme-When","Type":"Time"},
        {"Code":70001,"Name":"Free","Type":"Own","Flags":{"Must":"M"}}],
        "AVPRules":[{"AVP":"Acme-Info","Vendor":9999,"Content":[{"AVP":"Acme-Kind","Min":1},{"AVP":"Acme-When"}]}]}"#;
    assert_eq!(text(json), WANTED);
}

#[test]
fn what_is_no_dictionary_is_told() {
    let syntax = |line, what: &str| ImportError::Syntax { line, what: what.to_owned() };
    for (name, from, want) in [
        ("nothing", &b""[..], ImportError::Unknown),
        ("text", b"ATTRIBUTE x 1 string", ImportError::Unknown),
        ("other XML", b"<html/>", ImportError::Unknown),
        ("other JSON", b"{\"a\": 1}", ImportError::Unknown),
        ("go-diameter", b"<diameter></diameter>", ImportError::GoDiameter),
        ("no UTF-8", b"<a>\n\xff", syntax(2, "it is not UTF-8")),
        ("a code", b"<a>\n<avp name='x' code='y'/>", syntax(2, "`code` is `y`, no number")),
        ("a large code", b"<avp name='x' code='4294967296'/>", syntax(1, "the code 4294967296 is outside 32 bits")),
    ] {
        assert_eq!(import(from, &Dictionary::builtin()), Err(want), "{name}");
    }
    let broken = import(b"{\"AVPs\": [\n", &Dictionary::builtin());
    assert!(matches!(broken, Err(ImportError::Syntax { line: 2, .. })), "{broken:?}");
}

#[test]
fn a_text_cut_anywhere_never_panics() {
    let whole = "<d><vendor vendor-id=\"A\" code=\"9\"/><avp name=\"x{|}\" code=\"5\" vendor-id=\"A\"><grouped><gavp name=\"é\"/>\
                 </grouped><enum name=\"#\" code=\"1\"/></avp></d>";
    let builtin = Dictionary::builtin();
    for end in (0..=whole.len()).filter(|end| whole.is_char_boundary(*end)) {
        if let Ok(found) = import(&whole.as_bytes()[..end], &builtin) {
            load(&found.text);
        }
    }
}

#[test]
fn the_files_of_an_installed_wireshark_load() {
    let folder = Path::new("/usr/share/wireshark/diameter");
    let Ok(files) = fs::read_dir(folder) else {
        eprintln!("skipped: {} is not there; Debian's libwireshark-data has it", folder.display());
        return;
    };
    let (builtin, mut avps) = (Dictionary::builtin(), 0);
    for file in files.flatten().map(|file| file.path()).filter(|path| path.extension().is_some_and(|end| end == "xml"))
    {
        let text = fs::read(&file).expect("readable");
        // One is a place for the user's own, with nothing in it.
        if memchr::memmem::find(&text, b"<avp ").is_none() {
            continue;
        }
        let found = import(&text, &builtin).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        avps += found.text.lines().filter(|line| line.starts_with("ATTRIBUTE")).count();
        load(&found.text);
    }
    assert!(avps > 1000, "{avps} AVPs");
}
