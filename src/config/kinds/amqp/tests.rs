//! Mistakes of `[sinks.amqp.NAME]`: a text, and what the operator reads.

use std::path::Path;

use crate::config::error::{Mistake, Mistakes};
use crate::config::parse;
use crate::sinks::amqp::Settings;

const BASE: &str = "[[route]]\nto = \"sip:127.0.0.2\"\n[accounting]\non = [\"amqp\"]\nfields = { caller = \"$fU\" }\n\
                    [sinks.amqp.acc]\n";

fn findings(lines: &str) -> String {
    let parsed = parse(Path::new("t.toml"), &format!("{BASE}{lines}\n"), Default::default());
    let mistakes = parsed.map_or_else(|Mistakes(mistakes)| mistakes, |plan| plan.warnings);
    mistakes.iter().map(Mistake::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn mistakes_are_named() {
    let urls = "hint: \"amqp://HOST\", \"amqp://HOST:5672/VHOST\", or \"amqps://...\" with TLS";
    for (lines, want) in [
        ("url = \"amqp://localhost\"", String::new()),
        ("url = \"amqp://[::1]:5673/acc\"\nexchange = \"acc\"\nrouting_key = \"{kind}.{caller}\"", String::new()),
        (
            "",
            "error: `sinks.amqp.acc` lacks the field `url`\n  --> t.toml:6:13\nhint: add `url = \"amqp://HOST/VHOST\"`"
                .into(),
        ),
        ("url = \"localhost\"", format!("error: `localhost` is no AMQP broker\n  --> t.toml:7:7\n{urls}")),
        (
            "url = \"amqp://h/?heartbeat=1\"",
            format!("error: `amqp://h/?heartbeat=1` is no AMQP broker\n  --> t.toml:7:7\n{urls}"),
        ),
        (
            "url = \"amqp://me:secret@h\"",
            "error: a password may stand in this URL\n  --> t.toml:7:7\n\
             hint: write it into a file, and name that by `password_file`"
                .into(),
        ),
        (
            "url = \"amqp://h\"\nrouting_key = \"acc.#\"",
            "error: `acc.#` has '#', which no such name may have\n  --> t.toml:8:15".into(),
        ),
        (
            "url = \"amqp://h\"\npassword_file = \"p\"",
            "error: `password_file` needs a `user`\n  --> t.toml:8:17".into(),
        ),
    ] {
        assert_eq!(findings(lines), want, "{lines}");
    }
}

#[test]
fn a_url_names_host_port_and_virtual_host() {
    for (url, want) in
        [("amqp://h", ("h", 5672, "/")), ("amqp://h:9/acc", ("h", 9, "acc")), ("amqp://h/%2facc", ("h", 5672, "/acc"))]
    {
        let text = format!("{BASE}url = \"{url}\"\n");
        let plan = parse(Path::new("t.toml"), &text, Default::default()).unwrap_or_else(|error| panic!("{error}"));
        let own = plan.sinks[0].kind.of::<Settings>().expect("an AMQP sink").clone();
        assert_eq!((own.host.as_str(), own.port, own.vhost.as_str()), want, "{url}");
    }
}
