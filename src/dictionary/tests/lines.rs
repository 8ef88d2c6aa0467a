//! Lines, well-formed and malformed.

use super::*;

#[test]
fn both_families_of_lines_are_understood() {
    for (name, text, attribute, oid, kind) in [
        ("radiusclient", "ATTRIBUTE X 200 string", "X", "200", "string"),
        ("radcli's address", "ATTRIBUTE X 200 ipv4addr", "X", "200", "ipaddr"),
        ("a vendor field", "VENDOR V 9999\nATTRIBUTE X 1 string V", "X", "26.9999.1", "string"),
        ("a vendor field with its key", "VENDOR V 9999\nATTRIBUTE X 1 string vendor=v", "X", "26.9999.1", "string"),
        ("lower case", "attribute x 200 STRING", "X", "200", "string"),
        ("a number in hex", "ATTRIBUTE X 0xC8 octets", "X", "200", "octets"),
        ("octets of a fixed count", "ATTRIBUTE X 200 octets[16]", "X", "200", "octets[16]"),
        ("another name of a type", "ATTRIBUTE X 200 uint64", "X", "200", "integer64"),
        ("a whole path", "ATTRIBUTE X 26.9.1 string", "X", "26.9.1", "string"),
        ("an extended path", "ATTRIBUTE X 241.200 string", "X", "241.200", "string"),
        ("an extended vendor's path", "ATTRIBUTE X 245.26.9.200 string", "X", "245.26.9.200", "string"),
        (
            "a vendor's block",
            "VENDOR V 9999\nBEGIN-VENDOR V\nATTRIBUTE X 5 date\nEND-VENDOR V",
            "X",
            "26.9999.5",
            "date",
        ),
        (
            "a block in an extended space",
            "VENDOR V 9999\nBEGIN-VENDOR V format=Extended-Vendor-Specific-5\nATTRIBUTE X 5 date\nEND-VENDOR V",
            "X",
            "245.26.9999.5",
            "date",
        ),
        (
            "its other spelling",
            "VENDOR V 9999\nbegin-vendor v parent=extended-vendor-specific-1\nATTRIBUTE X 5 date\nend-vendor V",
            "X",
            "241.26.9999.5",
            "date",
        ),
        ("a TLV's path", "ATTRIBUTE T 200 tlv\nATTRIBUTE X 200.3 byte", "X", "200.3", "byte"),
        (
            "TLV blocks in a vendor's",
            "VENDOR V 9999\nBEGIN-VENDOR V\nATTRIBUTE T 7 tlv\nBEGIN-TLV T\nATTRIBUTE U 1 tlv\nBEGIN-TLV U\nATTRIBUTE X 2 short\nEND-TLV U\nEND-TLV T\nEND-VENDOR V",
            "X",
            "26.9999.7.1.2",
            "short",
        ),
        ("a comment behind", "ATTRIBUTE X 200 string # has_tag", "X", "200", "string"),
        ("blanks before, CRLF, a mark", "\u{feff}  ATTRIBUTE\tX 200 string \r\n", "X", "200", "string"),
        ("an internal number", "ATTRIBUTE X 3000 string", "X", "3000", "string"),
        ("flags", "ATTRIBUTE X 200 string has_tag,array , secret", "X", "200", "string"),
        ("octets in a comment", "# caf\u{e9}\nATTRIBUTE X 200 string", "X", "200", "string"),
    ] {
        let dictionary = clean(text);
        let found = dictionary.attribute(attribute).unwrap();
        assert_eq!((found.oid().to_string().as_str(), found.kind().to_string().as_str()), (oid, kind), "{name}");
    }
    assert!(load(b"# caf\xe9 in Latin-1\n".to_vec()).is_ok());
    let flags = clean("ATTRIBUTE X 200 string has_tag,encrypt=2,array").attribute("X").unwrap().flags();
    assert_eq!(flags.to_string(), "has_tag,encrypt=2,array");
}

#[test]
fn every_type_word_is_known() {
    let words = "string octets octets[1] octets[253] integer signed byte short integer64 date ipaddr ipv4addr ipv6addr ipv6prefix \
                 ipv4prefix cidr ifid ether combo-ip bool abinary tlv vsa extended long-extended evs uint8 uint16 uint32 uint64 int32 text";
    for word in words.split_ascii_whitespace() {
        let kind = Type::parse(&word.to_ascii_uppercase()).unwrap_or_else(|| panic!("{word}"));
        assert_eq!(Type::parse(&kind.to_string()), Some(kind), "{word}");
    }
    for word in ["", "strin", "octets[]", "octets[0]", "octets[254]", "octets[x", "integer32"] {
        assert_eq!(Type::parse(word), None, "{word}");
    }
}

/// Asserts that each text has one error, at a line of the file, that contains what is wanted.
fn assert_errors(rows: &[(&str, &str, &str)]) {
    for (name, text, want) in rows {
        let error = load(*text).expect_err(name);
        let lines: Vec<&Problem> =
            error.problems.iter().filter(|problem| problem.severity == Severity::Error).collect();
        assert_eq!(lines.len(), 1, "{name}: {error}");
        assert!(lines[0].text.contains(want), "{name}: {error}");
        assert!(lines[0].origin.line > 0 && &*lines[0].origin.file == "d", "{name}");
    }
}

#[test]
fn malformed_attributes_are_errors_with_their_line() {
    assert_errors(&[
        ("attribute without type", "ATTRIBUTE X 200", "`ATTRIBUTE` takes a name, a number and a type"),
        ("attribute alone", "ATTRIBUTE", "`ATTRIBUTE` takes"),
        ("unknown type", "ATTRIBUTE X 200 strng", "unknown type `strng` of `X`; did you mean `string`?"),
        ("no number", "ATTRIBUTE X abc string", "`abc` of `X` is no number"),
        ("hex without digits", "ATTRIBUTE X 0x string", "`0x` of `X` is no number"),
        ("a negative number", "ATTRIBUTE X -1 string", "`-1` of `X` is no number"),
        ("an empty part", "ATTRIBUTE X 26..1 string", "is no number"),
        ("a number beyond 32 bits", "ATTRIBUTE X 4294967296 string", "is no number"),
        ("number 0", "ATTRIBUTE X 0 string", "`X`: 0 in 0 is outside 1 to 255"),
        ("a vendor's number over one octet", "ATTRIBUTE X 26.9.256 string", "256 in 26.9.256 is outside 0 to 255"),
        ("an extended number over one octet", "ATTRIBUTE X 241.256 string", "256 in 241.256 is outside 0 to 255"),
        ("a vendor without number", "ATTRIBUTE X 26.9 string", "26.9 lacks the vendor's attribute number"),
        ("an extended vendor without number", "ATTRIBUTE X 241.26.9 string", "lacks the vendor's attribute number"),
        ("a parent that is no TLV", "ATTRIBUTE X 1.2 string", "`X`: it is 1.2, but 1 is string, not tlv"),
        (
            "a parent that is missing",
            "ATTRIBUTE X 26.9.200.1 string",
            "`X`: it is 26.9.200.1, but 26.9.200 is not defined",
        ),
        ("below an internal number", "ATTRIBUTE X 1000.1 string", "outside 0 to 255"),
        ("too many levels", "ATTRIBUTE X 26.9.1.2.3.4.5.6 string", "more than 4 TLV levels"),
        ("a long name", &format!("ATTRIBUTE {} 200 string", "x".repeat(128)), "is longer than 127 octets"),
        (
            "a name for unknown attributes",
            "ATTRIBUTE Attr-200 200 string",
            "names with `Attr-` stand for unknown attributes",
        ),
        ("a name beyond ASCII", "ATTRIBUTE Größe 200 string", "has characters outside ASCII"),
        ("a tag on octets", "ATTRIBUTE X 200 octets has_tag", "`has_tag` needs string or integer, not octets"),
        ("concat on a string", "ATTRIBUTE X 200 string concat", "`concat` needs octets, not string"),
        (
            "an encryption nobody knows",
            "ATTRIBUTE X 200 string encrypt=4",
            "`encrypt=4` is not `encrypt=1`, `2` or `3`",
        ),
    ]);
}

#[test]
fn other_malformed_lines_are_errors_with_their_line() {
    assert_errors(&[
        ("value without number", "VALUE Service-Type X", "`VALUE` takes an attribute, a name and a number"),
        ("value without digits", "VALUE Service-Type X ten", "`ten` of value `X` is no number"),
        ("value beyond a byte", "ATTRIBUTE X 200 byte\nVALUE X Y 256", "value `Y` 256 is outside 0 to 255"),
        ("value beyond a short", "ATTRIBUTE X 200 short\nVALUE X Y 0x10000", "value `Y` 65536 is outside 0 to 65535"),
        ("a negative value", "VALUE Service-Type Y -1", "value `Y` -1 is outside 0 to 4294967295"),
        ("vendor without number", "VENDOR V", "`VENDOR` takes a name and a number"),
        ("a vendor number with four octets", "VENDOR V 16777216", "`16777216` is no number below 16777216"),
        ("a format nobody knows", "VENDOR V 9999 format=3,1", "`format=3,1` is not"),
        ("continuation with other sizes", "VENDOR V 9999 format=2,1,c", "is not `format="),
        ("a format with more", "VENDOR V 9999 format=1,1,c,d", "is not `format="),
        ("an unknown vendor's block", "BEGIN-VENDOR Ciscoo\nEND-VENDOR Ciscoo", "vendor `Ciscoo` is not defined"),
        ("a block without name", "BEGIN-VENDOR", "`BEGIN-VENDOR` takes a vendor"),
        (
            "a block in no space",
            "BEGIN-VENDOR Tollgate format=User-Name\nEND-VENDOR Tollgate",
            "`User-Name` is string, not evs",
        ),
        (
            "a block in an unknown space",
            "BEGIN-VENDOR Tollgate parent=Nobody\nEND-VENDOR Tollgate",
            "attribute `Nobody` is not defined",
        ),
        ("an end without beginning", "END-VENDOR Tollgate", "`END-VENDOR Tollgate` without a beginning"),
        (
            "another vendor's end",
            "VENDOR V 9\nBEGIN-VENDOR V\nEND-VENDOR Tollgate",
            "`END-VENDOR Tollgate`, but `V` is open since d:2",
        ),
        ("an end without name", "END-TLV", "`END-TLV` takes a name"),
        (
            "a block in a block",
            "VENDOR V 9\nBEGIN-VENDOR V\nBEGIN-VENDOR Tollgate\nEND-VENDOR Tollgate\nEND-VENDOR V",
            "inside `V`, which began at d:2",
        ),
        ("a TLV block of a string", "BEGIN-TLV User-Name\nEND-TLV User-Name", "`User-Name` is string, not tlv"),
        (
            "a TLV block of nothing",
            "BEGIN-TLV User-Nam\nEND-TLV User-Nam",
            "attribute `User-Nam` is not defined; did you mean `User-Name`?",
        ),
        ("an alias of one name", "VALUE-ALIAS X", "`VALUE-ALIAS` takes two attribute names"),
        ("an include of nothing", "$INCLUDE", "`$INCLUDE` takes one file name"),
        ("a missing include", "$INCLUDE none", "cannot read `none`"),
        ("octets that are no text", "ATTRIBUTE \u{0}\u{1} 200 string", "has characters outside ASCII"),
    ]);
    assert!(load(b"VALUE \xff x 1".to_vec()).unwrap_err().to_string().contains("d:1: octets that are not UTF-8"));
}

#[test]
fn all_errors_are_reported_at_once() {
    let error = load("ATTRIBUTE X\nVALUE Y\nVENDOR Z\n").unwrap_err();
    let lines: Vec<u32> = error.problems.iter().map(|problem| problem.origin.line).collect();
    assert_eq!(lines, [1, 2, 3]);
    assert!(error.to_string().starts_with("error: d:1: `ATTRIBUTE` takes"), "{error}");
}

#[test]
fn what_one_family_lets_pass_is_a_warning() {
    for (name, text, want) in [
        (
            "unknown keyword",
            "ATRIBUTE X 200 string",
            "d:1: unknown keyword `ATRIBUTE`, line skipped; did you mean `ATTRIBUTE`?",
        ),
        ("a single word", "hello", "unknown keyword `hello`"),
        (
            "a word that is neither flag nor vendor",
            "ATTRIBUTE X 200 string Nobody",
            "`Nobody` is neither a flag nor a vendor",
        ),
        ("a name FreeRADIUS refuses", "ATTRIBUTE X+Y 200 string", "FreeRADIUS does not take the name `X+Y`"),
        (
            "values of a string",
            "VALUE User-Name X 1\nVALUE User-Name Y 2",
            "values of `User-Name`, which is string, are not used",
        ),
        (
            "values of nothing",
            "VALUE Nobody X 1\nVALUE Nobody Y 2",
            "values of `nobody`, which is not defined, are not used",
        ),
        ("a value with more", "VALUE Service-Type X 200 V", "`V` after value `X` is not used"),
        ("a vendor with more", "VENDOR V 9999 x", "`x` after vendor `V` is not used"),
        (
            "a block with more",
            "BEGIN-VENDOR Tollgate x\nEND-VENDOR Tollgate",
            "`x` after `BEGIN-VENDOR Tollgate` is not used",
        ),
        ("a block without end", "BEGIN-VENDOR Tollgate", "d:1: `BEGIN-VENDOR Tollgate` has no end in this file"),
        ("an alias of nothing", "VALUE-ALIAS Nobody Service-Type", "`nobody` is not defined"),
        ("an alias to nothing", "VALUE-ALIAS Service-Type Nobody", "`nobody` is not defined"),
    ] {
        let found = warnings(text);
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        assert!(found[0].contains(want), "{name}: {found:?}");
    }
}

#[test]
fn freeradius_4_is_named_once_and_skipped() {
    let text = "PROTOCOL RADIUS 1\nBEGIN-PROTOCOL RADIUS\nFLAGS internal\nDEFINE Foo string\nVALUE Foo X 1\nATTRIBUTE P 200 struct\n\
                MEMBER Q uint8\nVALUE P A 1\nATTRIBUTE .14 .14 string\nBEGIN P\nATTRIBUTE Hidden 201 string\nBEGIN R\nEND R\nEND P\n\
                ATTRIBUTE F 203 float32\nEND-PROTOCOL RADIUS\nATTRIBUTE Kept 202 string\n";
    let dictionary = load(text).unwrap();
    let found: Vec<_> = dictionary.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(found, ["d:1: FreeRADIUS 4 dictionary: `PROTOCOL` and its like are skipped"]);
    assert!(dictionary.attribute("Kept").is_some());
    assert!(dictionary.attribute("Hidden").is_none() && dictionary.attribute("P").is_none());
}

#[test]
fn includes_are_relative_read_once_and_blocks_stay_in_their_file() {
    let files = Table::default()
        .with("a/main", "VENDOR V 9999\nBEGIN-VENDOR V\n$INCLUDE sub/one\nATTRIBUTE M 1 string\nEND-VENDOR V\n$INCLUDE- none\n$-INCLUDE none\nINCLUDE /abs\n")
        .with("a/sub/one", "ATTRIBUTE One 200 string\n$INCLUDE ../main\n$INCLUDE two\n")
        .with("a/sub/two", "$INCLUDE one\nATTRIBUTE Two 201 string\n")
        .with("/abs", "ATTRIBUTE Abs 202 string\n");
    let files = files.link("a/sub/../main", "a/main").link("a/sub/one", "a/sub/one");
    let dictionary = files.load("a/main").unwrap();
    assert_eq!(dictionary.warnings(), []);
    for (name, oid) in [("One", "200"), ("Two", "201"), ("Abs", "202"), ("M", "26.9999.1")] {
        assert_eq!(dictionary.attribute(name).unwrap().oid().to_string(), oid, "{name}");
    }
    assert_eq!(dictionary.files().len(), 4);
    assert_eq!(dictionary.attribute("Two").unwrap().origin().to_string(), "a/sub/two:2");
}

#[test]
fn limits_hold() {
    let mut deep = Table::default();
    for level in 0..70 {
        deep = deep.with(&level.to_string(), format!("$INCLUDE {}\n", level + 1));
    }
    let error = deep.load("0").unwrap_err().to_string();
    assert_eq!(error, "error: 63:1: more than 64 levels of `$INCLUDE`");
    let error = load(vec![b'\n'; (1 << 20) + 1]).unwrap_err().to_string();
    assert_eq!(error, "error: d: larger than 1048576 octets");
    let mut many = Table::default();
    let values: String = (0..40_000).map(|number| format!("VALUE X a{number} {number}\n")).collect();
    let mut main = "ATTRIBUTE X 200 integer\n".to_owned();
    for file in 0..6 {
        many = many.with(&format!("f{file}"), values.as_str());
        main.push_str(&format!("$INCLUDE f{file}\n"));
    }
    let error = many.with("d", main).load("d").unwrap_err();
    assert!(error.to_string().contains("more than 200000 definitions"), "{error}");
    let garbage: String = (0..3_000).map(|number| format!("x{number}\n")).collect();
    assert_eq!(load(garbage).unwrap().warnings().len(), problem::PROBLEMS_MAX);
}

#[test]
fn a_file_everybody_may_write_is_warned_of() {
    let mut files = Table::default().with("d", "ATTRIBUTE X 200 string");
    files.is_world_writable = true;
    let dictionary = files.load("d").unwrap();
    assert!(dictionary.warnings()[0].to_string().starts_with("d: every user may write this file"));
}

#[test]
fn only_regular_files_are_opened() {
    let folder = tempfile::tempdir().unwrap();
    let error = Dictionary::load(folder.path(), &mut Files).unwrap_err().to_string();
    assert!(error.contains("not a regular file"), "{error}");
    let error = Dictionary::load(&folder.path().join("none"), &mut Files).unwrap_err().to_string();
    assert!(error.contains("cannot read"), "{error}");
}
