//! XML of the go-diameter form.

use std::path::Path;

use super::super::{Builder, Type};
use super::{Table, loaded, refused};

const GOOD: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<diameter>
  <!-- a comment -->
  <application id="4" type="auth" name="Some Application">
    <vendor id="9999" name="Acme"/>
    <command code="272" short="CC" name="Credit-Control">
      <request><rule avp="Session-Id" required="true" max="1"/></request>
    </command>
    <avp name="Acme-State" code="1" must="V,M" may="P" must-not="-" vendor-id="9999">
      <data type="Enumerated">
        <item code="0" name="IDLE"/>
        <item code="1" name="BUSY"/>
      </data>
    </avp>
    <avp name="Acme-Leg" code="2" must="V" vendor-id="9999">
      <data type="Grouped">
        <rule avp="Acme-State" required="true" max="1"/>
        <rule avp="User-Name" required="false"/>
      </data>
    </avp>
    <avp name="Plain" code="3333" must="-"><data type="UTF8String"/></avp>
    <avp name="Accounting-Record-Number" code="485" must="M"><data type="Unsigned32"/></avp>
  </application>
</diameter>
"#;

#[test]
fn avps_items_and_groups_are_read() {
    let dictionary = loaded(GOOD);
    let state = dictionary.find("Acme-State").expect("there");
    assert_eq!((state.vendor(), state.code(), state.kind(), state.is_mandatory()), (9999, 1, Type::Enumerated, true));
    assert_eq!(state.values().number("busy"), Some(1));
    assert_eq!(state.origin().line, 10, "the line of its type");
    let leg = dictionary.find("Acme:Acme-Leg").expect("there");
    assert_eq!(leg.members().collect::<Vec<_>>(), ["Acme-State", "User-Name"]);
    assert!(!leg.is_mandatory());
    assert!(!dictionary.find("Plain").expect("there").is_mandatory());
    assert!(dictionary.warnings().is_empty(), "{:?}", dictionary.warnings());
}

#[test]
fn entities_document_types_and_mistakes_are_refused() {
    let avp = |inner: &str| format!("<diameter><application>\n{inner}\n</application></diameter>");
    for (name, text, want) in [
        ("a document type", "<!DOCTYPE diameter SYSTEM \"http://host/x.dtd\"><diameter/>".to_owned(), "document types"),
        (
            "an external entity",
            "<!DOCTYPE d [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><d>&x;</d>".to_owned(),
            "document types",
        ),
        ("an entity in text", avp("&x;"), "entities are not read"),
        ("an entity in a name", avp("<avp name=\"&x;\" code=\"1\"/>"), "entities are not read"),
        ("no code", avp("<avp name=\"A\"><data type=\"Time\"/></avp>"), "takes a name and a code"),
        ("a wrong code", avp("<avp name=\"A\" code=\"x\"><data type=\"Time\"/></avp>"), "no AVP code"),
        ("no type", avp("<avp name=\"A\" code=\"3333\"></avp>"), "has no `<data type=…>`"),
        ("a wrong type", avp("<avp name=\"A\" code=\"3333\"><data type=\"Tim\"/></avp>"), "did you mean `Time`?"),
        ("an unknown vendor", avp("<avp name=\"A\" code=\"1\" vendor-id=\"X\"/>"), "vendor `X` of `A` is not defined"),
        ("another type", avp("<avp name=\"A\" code=\"263\"><data type=\"Time\"/></avp>"), "but `Session-Id`"),
        ("a tag that does not close", "<diameter><application>".to_owned(), "ends inside an element"),
        ("tags that cross", "<diameter><a></b></diameter>".to_owned(), "XML:"),
        ("too deep", "<a>".repeat(100), "deep"),
    ] {
        let problems = refused(text.as_bytes());
        assert!(problems.contains(want), "{name}: {problems}");
    }
}

#[test]
fn the_file_cut_anywhere_never_panics() {
    for end in 1..GOOD.len() {
        let mut builder = Builder::empty();
        builder.file(Path::new("site"), &mut Table::of(&[("site", &GOOD.as_bytes()[..end])]));
        assert!(builder.finish().is_err() || end + 2 > GOOD.len(), "{end} octets");
    }
}
