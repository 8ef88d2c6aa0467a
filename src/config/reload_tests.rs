//! Every option says whether a reload applies it.

use std::collections::BTreeSet;
use std::path::Path;

use super::reload::{Difference, Effect, SECTIONS, effect};
use super::{parse, walk};

#[test]
fn every_option_of_the_schema_says_when_it_takes_effect() {
    let known: BTreeSet<String> = walk::options().into_iter().map(|option| option.path).collect();
    assert!(known.len() > 150, "the walk found {} options only", known.len());
    let declared = SECTIONS
        .iter()
        .flat_map(|section| section.live.iter().chain(section.restart).map(|name| format!("{}.{name}", section.path)));
    let mut seen = BTreeSet::new();
    for path in declared {
        assert!(known.contains(&path), "`{path}` in src/config/reload.rs is no option of the schema: take it out");
        assert!(seen.insert(path.clone()), "`{path}` stands twice in src/config/reload.rs: it is live or restart");
    }
    let missing: Vec<_> = known.difference(&seen).map(String::as_str).collect();
    assert!(
        missing.is_empty(),
        "does a reload apply {missing:?}? Add each to `live` or `restart` of its section in src/config/reload.rs"
    );
}

fn differences(old: &str, new: &str) -> Vec<Difference> {
    let options = |text: &str| {
        let text = format!("[[route]]\nto = [\"sip:127.0.0.1:9\"]\n{text}");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/tollgate.toml");
        parse(&path, &text, Default::default()).unwrap_or_else(|mistakes| panic!("{mistakes}")).options
    };
    options(old).differences(&options(new))
}

#[test]
fn differences_have_names_places_and_effects() {
    use Effect::{Live, Restart};
    let sink = "[sinks.radius.billing]\nconfig = \"radiusclient.conf\"\n";
    let records = format!("{sink}records = \"cdr\"\n");
    for (what, old, new, want) in [
        ("nothing", "[sip]\nshards = 2\n", "[sip]\nshards = 2 # two\n", vec![]),
        ("a changed one", "[sip]\nshards = 2\n", "[sip]\nshards = 3\n", vec![("sip.shards", 4, Restart)]),
        ("a new one", "", "[sip]\nt1_ms = 400\n", vec![("sip.t1_ms", 4, Live)]),
        ("one that is gone", "[queue]\npath = \"x\"\n", "[queue]\n", vec![("queue.path", 4, Restart)]),
        ("a list", "[sip]\nallow = []\n", "[sip]\nallow = [\"10.0.0.0/8\"]\n", vec![("sip.allow", 4, Live)]),
        ("a field", "", "[accounting]\nfields = { a = \"$si\" }\n", vec![("accounting.fields.a", 4, Live)]),
        ("a sink's", sink, &records, vec![("sinks.radius.billing.records", 5, Restart)]),
        ("a sink that came", "", &records, vec![("sinks.radius.billing", 3, Restart)]),
        ("a sink that went", &records, "", vec![("sinks.radius.billing", 3, Restart)]),
        ("a second route", "", "[[route]]\nto = \"sip:127.0.0.1:8\"\n", vec![("route.to", 4, Live)]),
    ] {
        let found: Vec<_> = differences(old, new)
            .into_iter()
            .map(|own| {
                let line = own.place.to_string().rsplit(':').nth(1).and_then(|line| line.parse().ok());
                (own.option, line.unwrap_or(0), own.effect)
            })
            .collect();
        let want: Vec<_> = want.into_iter().map(|(option, line, effect)| (option.to_owned(), line, effect)).collect();
        assert_eq!(found, want, "{what}");
    }
}

#[test]
fn what_lies_below_an_option_has_its_effect() {
    for (path, want) in [
        ("accounting.fields.src_ip", Some(Effect::Live)),
        ("sinks.radius.fields.src_ip.attribute", Some(Effect::Live)),
        ("queue.path", Some(Effect::Restart)),
        ("queue", None),
        ("nothing.at.all", None),
    ] {
        assert_eq!(effect(path), want, "{path}");
    }
}
