//! Mistakes of `[sinks.redis.NAME]`: a text, and what the operator reads.

use std::path::Path;

use crate::config::error::{Mistake, Mistakes};
use crate::config::parse;

const BASE: &str = "[[route]]\nto = \"sip:127.0.0.2\"\n[accounting]\non = [\"redis\"]\n[sinks.redis.acc]\n";

fn findings(lines: &str) -> String {
    let parsed = parse(Path::new("t.toml"), &format!("{BASE}{lines}\n"), Default::default());
    let mistakes = parsed.map_or_else(|Mistakes(mistakes)| mistakes, |plan| plan.warnings);
    mistakes.iter().map(Mistake::to_string).collect::<Vec<_>>().join("\n")
}

/// What a build without the feature says of a section without other mistakes.
#[cfg(not(feature = "redis"))]
#[test]
fn a_build_without_redis_refuses_it_in_words() {
    assert_eq!(
        findings("url = \"redis://127.0.0.1\""),
        "error: this build of Tollgate has no sinks of the kind `redis`\n  --> t.toml:5:14\n\
         hint: build it with `cargo build --release --features redis`"
    );
}

#[cfg(feature = "redis")]
#[test]
fn mistakes_are_named_and_what_is_said_counts() {
    use crate::sinks::redis::Settings;

    let no_server = |url: &str| {
        format!(
            "error: `{url}` is no Redis server\n  --> t.toml:6:7\n\
             hint: \"redis://HOST\", \"redis://HOST:6379/DATABASE\", or \"rediss://...\" with TLS"
        )
    };
    for (lines, want) in [
        ("url = \"redis://127.0.0.1\"", String::new()),
        ("url = \"redis://[::1]:6380/3\"\nstream = \"acc\"\nlength_max = 1000000", String::new()),
        (
            "stream = \"acc\"",
            "error: `sinks.redis.acc` lacks the field `url`\n  --> t.toml:5:14\nhint: add `url = \"redis://HOST\"`"
                .into(),
        ),
        (
            "url = \"redis://:secret@127.0.0.1\"",
            "error: a password may stand in this URL\n  --> t.toml:6:7\n\
             hint: write it into a file, and name that by `password_file`"
                .into(),
        ),
        ("url = \"http://127.0.0.1\"", no_server("http://127.0.0.1")),
        ("url = \"redis://127.0.0.1/acc\"", no_server("redis://127.0.0.1/acc")),
        ("url = \"redis://127.0.0.1/70000\"", no_server("redis://127.0.0.1/70000")),
        (
            "url = \"redis://127.0.0.1\"\nuser = \"gw\"",
            "error: `user` needs a `password_file`\n  --> t.toml:7:8".into(),
        ),
        (
            "url = \"redis://127.0.0.1\"\nstream = \"acc:{knd}\"",
            "error: `acc:{knd}`: there is no value `knd`\n  --> t.toml:7:10\nhint: did you mean `kind`?".into(),
        ),
    ] {
        assert_eq!(findings(lines), want, "{lines}");
    }
    let settings = |lines: &str| {
        let plan = parse(Path::new("t.toml"), &format!("{BASE}{lines}\n"), Default::default()).expect("no mistakes");
        plan.sinks[0].kind.of::<Settings>().expect("a Redis sink").clone()
    };
    let own = settings("url = \"redis://[::1]/3\"");
    assert_eq!((own.host.as_str(), own.port, own.database, own.delivery.batch_max), ("::1", 6379, 3, 256));
    assert_eq!((own.key.with_values("*").as_str(), own.makes_streams, own.length_max), ("tollgate:*", false, None));
    let other = settings("url = \"redis://127.0.0.1:6380\"\nmake_streams = true\nlength_max = 5");
    assert_eq!((other.port, other.makes_streams, other.length_max), (6380, true, Some(5)));
}
