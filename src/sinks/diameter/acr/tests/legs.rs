//! Legs in their three ways.

use super::super::{LegOrder, Legs, Renderer, Style, Unmapped};
use super::*;

const DICTIONARY: &str = "VENDOR Acme 9999\nATTRIBUTE Acme-Src 1 UTF8String Acme,M\nATTRIBUTE Acme-Dst 2 UTF8String Acme\n\
    ATTRIBUTE Acme-Count 3 Unsigned32 Acme\nATTRIBUTE Acme-Leg 4 Grouped Acme\nATTRIBUTE Acme-Must 5 Grouped Acme,M\n";

fn with(legs: Legs) -> Settings {
    let mut settings = with_dictionary(DICTIONARY);
    (settings.legs, settings.style.unmapped) = (legs, Unmapped::Omit);
    settings.leg_fields = mapped(&[("src", "Acme-Src"), ("dst", "Acme-Dst")]);
    settings
}

fn forwarded() -> Record {
    let mut record = record(Kind::Start);
    record.legs = vec![
        leg(&[("src", "alice"), ("dst", "bob")]),
        leg(&[("src", "bob"), ("dst", "")]),
        leg(&[("src", "carol"), ("dst", "dave"), ("why", "busy")]),
    ];
    record
}

fn of_legs(settings: &Settings, lines: &[String]) -> Vec<String> {
    let from = lines.iter().position(|line| line.contains("Acme-") || line.contains("Tollgate-Leg"));
    assert!(from.is_some(), "{settings:?}");
    lines[from.unwrap_or(0)..].to_vec()
}

#[test]
fn flat_legs_keep_their_places_with_empty_values() {
    let settings = with(Legs::Flat);
    assert_eq!(
        of_legs(&settings, &lines(&settings, &forwarded())),
        [
            "Acme-Src = \"alice\"",
            "Acme-Dst = \"bob\"",
            "Acme-Src = \"bob\"",
            "Acme-Dst = \"\"",
            "Acme-Src = \"carol\"",
            "Acme-Dst = \"dave\"",
        ]
    );
    let newest = Settings { style: Style { leg_order: LegOrder::NewestFirst, ..settings.style }, ..settings };
    assert_eq!(of_legs(&newest, &lines(&newest, &forwarded()))[0], "Acme-Src = \"carol\"");
}

#[test]
fn grouped_legs_are_numbered_units() {
    let mut settings = Settings { leg_group: "Acme-Leg".to_owned(), style: Style::default(), ..with(Legs::Grouped) };
    assert_eq!(
        of_legs(&settings, &lines(&settings, &forwarded())),
        [
            "Acme-Leg",
            "  Tollgate-Leg-Number = 1",
            "  Acme-Src = \"alice\"",
            "  Acme-Dst = \"bob\"",
            "Acme-Leg",
            "  Tollgate-Leg-Number = 2",
            "  Acme-Src = \"bob\"",
            "Acme-Leg",
            "  Tollgate-Leg-Number = 3",
            "  Acme-Src = \"carol\"",
            "  Acme-Dst = \"dave\"",
            "  Tollgate-Field = \"why=busy\"",
        ]
    );
    let mandatory = |settings: &Settings| {
        let message = messages(settings, &forwarded()).remove(0);
        let (_, avps) = header::split(&message).expect("a message");
        let mut found = Vec::new();
        walk(Avps::new(avps), &[(9999, 4), (9999, 5)], &mut |avp| {
            if (avp.vendor, avp.code) == (9999, 1) {
                found.push(avp.is_mandatory());
            }
        });
        found
    };
    assert_eq!(mandatory(&settings), [false; 3], "in a group without M a member has none");
    settings.leg_group = "Acme-Must".to_owned();
    settings.mandatory = vec!["Acme-Must".to_owned(), "Acme-Src".to_owned()];
    assert_eq!(mandatory(&settings), [true; 3], "in a group with M as the configuration says");
    settings.leg_number = String::new();
    assert!(value(&lines(&settings, &forwarded()), "Tollgate-Leg-Number").is_none());
}

#[test]
fn sub_sessions_are_one_message_a_leg() {
    let settings = with(Legs::SubSessions);
    let messages = messages(&settings, &forwarded());
    let found: Vec<_> = messages
        .iter()
        .map(|message| {
            let lines = lines_of(&settings, message);
            ["Session-Id", "Accounting-Sub-Session-Id", "Acme-Src", "Acme-Dst"]
                .map(|name| value(&lines, name).map(str::to_owned))
        })
        .collect();
    assert_eq!(found.len(), 3);
    for (at, (src, dst)) in [("alice", Some("bob")), ("bob", None), ("carol", Some("dave"))].into_iter().enumerate() {
        assert_eq!(found[at][0], found[0][0], "one session");
        assert_eq!(found[at][1], Some((at + 1).to_string()));
        assert_eq!(found[at][2], Some(format!("\"{src}\"")));
        assert_eq!(found[at][3], dst.map(|dst| format!("\"{dst}\"")));
    }
    let without = lines(&settings, &record(Kind::Stop));
    assert!(value(&without, "Accounting-Sub-Session-Id").is_none(), "a call without legs");
}

#[test]
fn legs_without_avps_travel_as_text() {
    let mut settings = with(Legs::Flat);
    (settings.leg_fields, settings.style.unmapped) = (Vec::new(), Unmapped::Own);
    assert_eq!(
        of_legs(&settings, &lines(&settings, &forwarded())),
        [
            "Tollgate-Leg = \"1 src=alice;dst=bob\"",
            "Tollgate-Leg = \"2 src=bob\"",
            "Tollgate-Leg = \"3 src=carol;dst=dave;why=busy\"",
        ]
    );
}

#[test]
fn flat_legs_refuse_what_cannot_repeat() {
    for (avp, want) in [("Acme-Count", "only a string type can be"), ("Called-Station-Id", "servers allow it once")] {
        let mut settings = with(Legs::Flat);
        settings.leg_fields = mapped(&[("src", avp)]);
        let wrong = Renderer::new(&settings).expect_err(avp).to_string();
        assert!(wrong.contains(want), "{avp}: {wrong}");
        settings.legs = Legs::Grouped;
        assert!(Renderer::new(&settings).is_ok(), "{avp} in a group");
    }
    let settings = Settings { leg_group: "Acme-Src".to_owned(), ..with(Legs::Grouped) };
    let wrong = Renderer::new(&settings).expect_err("no group").to_string();
    assert!(wrong.contains("it is UTF8String, no group"), "{wrong}");
}
