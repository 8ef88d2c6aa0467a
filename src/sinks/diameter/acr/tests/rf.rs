//! The Rf profile.

use super::super::{Application, Legs, Rf, Style, Unmapped};
use super::*;

fn rf() -> Settings {
    let mut settings = Settings { application: Application::Rf, ..settings() };
    settings.fields = mapped(&[
        ("caller", "Calling-Party-Address"),
        ("callee", "Called-Party-Address"),
        ("subscriber", "Subscription-Id"),
        ("ioi", "Originating-IOI"),
        ("expires", "Expires"),
        ("icid", "IMS-Charging-Identifier"),
        ("vendor", "Tollgate-Trunk"),
    ]);
    settings.leg_fields = mapped(&[("asked", "Requested-Party-Address")]);
    settings
}

fn text(name: &str, text: &str) -> (String, Value) {
    (name.to_owned(), Value::Text(text.as_bytes().to_vec()))
}

fn start() -> Record {
    let mut record = record(Kind::Start);
    record.fields = vec![
        ("caller".to_owned(), Value::List(vec![b"sip:alice@a.example".to_vec(), b"tel:+4930".to_vec()])),
        text("callee", "sip:bob@b.example"),
        text("subscriber", "tel:+49301234"),
        text("ioi", "home1.example"),
        text("vendor", "trunk-7"),
        text("other", "x\u{1}y"),
    ];
    record.legs = vec![leg(&[("asked", "sip:one@b.example")]), leg(&[("asked", "sip:two@b.example")])];
    record
}

#[test]
fn a_start_has_its_service_information() {
    let settings = rf();
    assert_eq!(
        lines(&settings, &start())[6..],
        [
            "Acct-Application-Id = 3",
            "Event-Timestamp = 2023-11-14T22:13:24Z",
            "Service-Context-Id = \"32260@3gpp.org\"",
            "Service-Information",
            "  Subscription-Id",
            "    Subscription-Id-Type = END_USER_E164 (0)",
            "    Subscription-Id-Data = \"49301234\"",
            "  IMS-Information",
            "    Event-Type",
            "      SIP-Method = \"INVITE\"",
            "    Role-Of-Node = FORWARDING_ROLE (2)",
            "    Node-Functionality = AS (6)",
            "    User-Session-Id = \"call-1@192.0.2.7\"",
            "    Calling-Party-Address = \"sip:alice@a.example\"",
            "    Calling-Party-Address = \"tel:+4930\"",
            "    Called-Party-Address = \"sip:bob@b.example\"",
            "    IMS-Charging-Identifier = \"fedcba9876543210fedcba9876543210\"",
            "    Time-Stamps",
            "      SIP-Request-Timestamp = 2023-11-14T22:13:20Z",
            "      SIP-Response-Timestamp = 2023-11-14T22:13:24Z",
            "      SIP-Request-Timestamp-Fraction = 0",
            "      SIP-Response-Timestamp-Fraction = 0",
            "    Inter-Operator-Identifier",
            "      Originating-IOI = \"home1.example\"",
            "    Service-Specific-Info",
            "      Service-Specific-Data = \"other=xy\"",
            "    Requested-Party-Address = \"sip:one@b.example\"",
            "    Requested-Party-Address = \"sip:two@b.example\"",
            "Tollgate-Record-Id = \"01HF7YAT000000000000000001\"",
            "Tollgate-Trunk = \"trunk-7\"",
        ]
    );
}

/// TS 32.260 without any field of the configuration.
#[test]
fn parties_and_charging_id_come_from_the_messages() {
    let plain = Settings { application: Application::Rf, ..settings() };
    let mut started = record(Kind::Start);
    started.fields = vec![
        ("ims.asserted".to_owned(), Value::List(vec![b"sip:alice@a.example".to_vec(), b"tel:+4930".to_vec()])),
        text("ims.from", "sip:anonymous@anonymous.invalid"),
        text("ims.called", "sip:bob@10.0.0.5"),
        text("ims.icid", "icid-77"),
        text("ims.orig-ioi", "home1.example"),
        text("ims.term-ioi", "home2.example"),
        ("ims.access-network".to_owned(), Value::List(vec![b"3GPP-E-UTRAN-FDD;utran-cell-id-3gpp=1".to_vec()])),
    ];
    let all = lines(&plain, &started);
    for want in [
        "  Subscription-Id",
        "    Subscription-Id-Type = END_USER_SIP_URI (2)",
        "    Subscription-Id-Data = \"sip:alice@a.example\"",
        "    Subscription-Id-Type = END_USER_E164 (0)",
        "    Subscription-Id-Data = \"4930\"",
        "    Calling-Party-Address = \"sip:alice@a.example\"",
        "    Calling-Party-Address = \"tel:+4930\"",
        "    Called-Party-Address = \"sip:bob@10.0.0.5\"",
        "    IMS-Charging-Identifier = \"icid-77\"",
        "      Originating-IOI = \"home1.example\"",
        "      Terminating-IOI = \"home2.example\"",
    ] {
        assert!(all.iter().any(|line| line == want), "{want} in {all:#?}");
    }
    assert!(value(&all, "Access-Network-Information").is_some_and(|value| value.contains("3GPP-E-UTRAN-FDD")));
    assert!(!all.iter().any(|line| line.contains("ims.")), "our own fields travel in no list: {all:#?}");
    // Nobody asserted an identity; the node serves the called party.
    started.fields[0].1 = Value::Absent;
    let terminating = Settings { rf: Rf { role_of_node: 1, ..Rf::default() }, ..plain.clone() };
    let all = lines(&terminating, &started);
    assert_eq!(value(&all, "Calling-Party-Address"), Some("\"sip:anonymous@anonymous.invalid\""));
    assert_eq!(value(&all, "Subscription-Id-Data"), Some("\"sip:bob@10.0.0.5\""));
    // What the configuration maps is not made up beside it.
    let mut own = rf();
    own.style.unmapped = Unmapped::Omit;
    let mut both = start();
    both.fields.extend(started.fields.clone());
    let all = lines(&own, &both);
    assert_eq!(all.iter().filter(|line| line.contains("Called-Party-Address")).count(), 1);
    assert_eq!(value(&all, "Called-Party-Address"), Some("\"sip:bob@b.example\""));
    assert_eq!(all.iter().filter(|line| line.contains("Subscription-Id-Data")).count(), 1);
    // In base accounting they are nobody's.
    let base = lines(&settings(), &started);
    assert!(!base.iter().any(|line| line.contains("ims.")), "{base:#?}");
}

#[test]
fn every_avp_of_3gpp_can_lose_its_m() {
    let mut optional = rf();
    optional.optional = ["Node-Functionality", "Service-Information", "10415:824", "Inter-Operator-Identifier"]
        .map(str::to_owned)
        .to_vec();
    let message = messages(&optional, &start()).remove(0);
    let (_, avps) = header::split(&message).expect("a message");
    walk(Avps::new(avps), GROUPS, &mut |avp| {
        if avp.vendor == 10_415 {
            assert_eq!(avp.is_mandatory(), ![862, 873, 824, 838].contains(&avp.code), "{}", avp.code);
        }
    });
}

#[test]
fn what_rf_does_not_use_is_not_there() {
    for kind in Kind::ALL {
        let lines = lines(&rf(), &record(kind));
        for name in [
            "Acct-Session-Id",
            "Acct-Multi-Session-Id",
            "Accounting-Sub-Session-Id",
            "Termination-Cause",
            "Tollgate-Method",
        ] {
            assert_eq!(value(&lines, name), None, "{name} in {kind:?}");
        }
    }
}

#[test]
fn all_of_3gpp_has_v_and_m() {
    let message = messages(&rf(), &start()).remove(0);
    let (_, avps) = header::split(&message).expect("a message");
    let mut count = 0;
    walk(Avps::new(avps), GROUPS, &mut |avp| {
        if avp.vendor == 10_415 {
            assert_eq!(avp.flags, 0xC0, "{}", avp.code);
            count += 1;
        }
    });
    assert_eq!(count, 22);
}

#[test]
fn stops_and_events_have_a_cause() {
    for (kind, want) in [(Kind::Stop, Some("0")), (Kind::Failed, Some("486")), (Kind::Start, None)] {
        assert_eq!(value(&lines(&rf(), &record(kind)), "Cause-Code"), want, "{kind:?}");
    }
    let mut over = record(Kind::Event);
    (over.method, over.code, over.fields) = (b"SUBSCRIBE".to_vec(), 200, vec![text("expires", "0")]);
    let lines = lines(&rf(), &over);
    assert_eq!((value(&lines, "Cause-Code"), value(&lines, "Expires")), (Some("-2"), Some("0")));
}

#[test]
fn a_subscriber_is_told_by_its_form() {
    for (value_text, kind, data) in [
        ("tel:+49301234", "END_USER_E164 (0)", "49301234"),
        ("+49301234", "END_USER_E164 (0)", "49301234"),
        ("SIP:alice@a.example", "END_USER_SIP_URI (2)", "SIP:alice@a.example"),
        ("alice@a.example", "END_USER_NAI (3)", "alice@a.example"),
        ("alice", "END_USER_PRIVATE (4)", "alice"),
        ("+1234567890123456", "END_USER_PRIVATE (4)", "+1234567890123456"),
    ] {
        let mut record = record(Kind::Start);
        record.fields = vec![text("subscriber", value_text)];
        let lines = lines(&rf(), &record);
        assert_eq!(value(&lines, "Subscription-Id-Type"), Some(kind), "{value_text}");
        assert_eq!(value(&lines, "Subscription-Id-Data"), Some(format!("\"{data}\"").as_str()), "{value_text}");
    }
}

#[test]
fn what_the_network_gave_is_not_made_up() {
    let mut record = start();
    record.fields.push(text("icid", "icid-from-the-network"));
    let lines = lines(&rf(), &record);
    let found: Vec<_> = lines.iter().filter(|line| line.contains("IMS-Charging-Identifier")).collect();
    assert_eq!(found, ["    IMS-Charging-Identifier = \"icid-from-the-network\""]);
}

#[test]
fn the_node_is_what_the_configuration_says() {
    let settings = Settings {
        rf: Rf { service_context_id: "ext.01.262.8.32260@3gpp.org".to_owned(), role_of_node: 1, node_functionality: 7 },
        style: Style { unmapped: Unmapped::Omit, ..Style::default() },
        ..rf()
    };
    let lines = lines(&settings, &start());
    for (name, want) in [
        ("Service-Context-Id", Some("\"ext.01.262.8.32260@3gpp.org\"")),
        ("Role-Of-Node", Some("TERMINATING_ROLE (1)")),
        ("Node-Functionality", Some("IBCF (7)")),
        ("Service-Specific-Data", None),
    ] {
        assert_eq!(value(&lines, name), want, "{name}");
    }
}

#[test]
fn grouped_legs_stand_at_the_end() {
    let settings = Settings { legs: Legs::Grouped, leg_fields: mapped(&[("asked", "Tollgate-Leg-Dst")]), ..rf() };
    let lines = lines(&settings, &start());
    assert_eq!(
        lines[lines.len() - 6..],
        [
            "Tollgate-Leg-Info",
            "  Tollgate-Leg-Number = 1",
            "  Tollgate-Leg-Dst = \"sip:one@b.example\"",
            "Tollgate-Leg-Info",
            "  Tollgate-Leg-Number = 2",
            "  Tollgate-Leg-Dst = \"sip:two@b.example\"",
        ]
    );
}
