//! Mistakes of `[sinks.kafka.NAME]`: a text, and what the operator reads.

use std::path::Path;

use crate::config::error::{Mistake, Mistakes};
use crate::config::parse;

const BASE: &str = "[[route]]\nto = \"sip:127.0.0.2\"\n[accounting]\non = [\"kafka\"]\n[sinks.kafka.acc]\n";

fn findings(lines: &str) -> String {
    let parsed = parse(Path::new("t.toml"), &format!("{BASE}{lines}\n"), Default::default());
    let mistakes = parsed.map_or_else(|Mistakes(mistakes)| mistakes, |plan| plan.warnings);
    mistakes.iter().map(Mistake::to_string).collect::<Vec<_>>().join("\n")
}

/// What a build without the feature says of a section without other mistakes.
#[cfg(not(feature = "kafka"))]
#[test]
fn a_build_without_kafka_refuses_it_in_words() {
    assert_eq!(
        findings("brokers = [\"127.0.0.1\"]"),
        "error: this build of Tollgate has no sinks of the kind `kafka`\n  --> t.toml:5:14\n\
         hint: build it with `cargo build --release --features kafka`"
    );
}

#[cfg(feature = "kafka")]
#[test]
fn mistakes_are_named_and_what_is_said_counts() {
    use crate::net::tls::{NameCheck, Roots};
    use crate::sinks::kafka::{Key, Mechanism, Settings};

    let dir = tempfile::tempdir().unwrap();
    let password = dir.path().join("password");
    std::fs::write(&password, "secret\n").unwrap();
    std::fs::set_permissions(&password, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    let login = format!("user = \"gw\"\npassword_file = \"{}\"\n", password.display());
    let no_broker = |broker: &str| {
        format!("error: `{broker}` is no Kafka broker\n  --> t.toml:6:12\nhint: \"HOST:9092\" or \"[ADDRESS]:9092\"")
    };
    let own = |lines: &str| format!("brokers = [\"127.0.0.1\"]\n{lines}");
    for (lines, want) in [
        (own(""), String::new()),
        ("brokers = [\"k1:9092\", \"k2\", \"[::1]:9092\"]\ntopic = \"acc_{kind}\"".to_owned(), String::new()),
        (
            "topic = \"acc\"".to_owned(),
            "error: `sinks.kafka.acc` lacks the field `brokers`\n  --> t.toml:5:14\n\
             hint: add `brokers = [\"HOST:9092\"]`"
                .into(),
        ),
        ("brokers = [\"kafka://k1:9092\"]".to_owned(), no_broker("kafka://k1:9092")),
        ("brokers = [\"gw:secret@k1\"]".to_owned(), no_broker("gw:***@k1")),
        ("brokers = [\"k1:0\"]".to_owned(), no_broker("k1:0")),
        ("brokers = [\"::1\"]".to_owned(), no_broker("::1")),
        (own("user = \"gw\""), "error: `user` needs a `password_file`\n  --> t.toml:7:8".into()),
        (
            own("topic = \"acc/{kind}\""),
            "error: `acc/{kind}` has '/', which no such name may have\n  --> t.toml:7:9".into(),
        ),
        (
            own("message_key = \"{knd}\""),
            "error: `{knd}`: there is no value `knd`\n  --> t.toml:7:15\nhint: did you mean `kind`?".into(),
        ),
        (own(&login), String::new()),
        (
            own(&format!("{login}mechanism = \"plain\"")),
            "warning: without TLS the password goes over the network as it is\n  --> t.toml:7:8\n\
             hint: set `tls = true`, or another `mechanism`"
                .into(),
        ),
    ] {
        assert_eq!(findings(&lines), want, "{lines}");
    }
    let settings = |lines: &str| {
        let plan = parse(Path::new("t.toml"), &format!("{BASE}{lines}\n"), Default::default()).expect("no mistakes");
        plan.sinks[0].kind.of::<Settings>().expect("a Kafka sink").clone()
    };
    let plain = settings(&own(""));
    assert_eq!((plain.brokers.as_slice(), plain.delivery.batch_max), (["127.0.0.1:9092".to_owned()].as_slice(), 256));
    assert_eq!((plain.topic.constant().as_deref(), plain.makes_topics), (Some("tollgate"), false));
    assert_eq!((&plain.key, &plain.login, plain.tls.is_none()), (&Key::Session, &None, true));
    let other = settings(&own(&format!("{login}message_key = \"\"\nmake_topics = true\ntimeout_ms = 3000")));
    assert_eq!((other.key, other.makes_topics, other.timeout.as_secs()), (Key::None, true, 3));
    assert_eq!(other.login.map(|own| own.mechanism), Some(Mechanism::ScramSha512));
    let ca = dir.path().join("ca.pem");
    let key = rcgen::KeyPair::generate().unwrap();
    std::fs::write(&ca, rcgen::CertificateParams::default().self_signed(&key).unwrap().pem()).unwrap();
    let secured = settings(&own(&format!("tls = true\nca = \"{}\"\nverify_host = false", ca.display())));
    let (files, _) = secured.tls.expect("TLS");
    assert_eq!((files.roots, files.own, files.name_check), (Roots::File(ca), None, NameCheck::Off));
}
