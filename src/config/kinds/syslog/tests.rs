//! Mistakes of `[sinks.syslog.NAME]`: a text, and what the operator reads.

use std::path::Path;

use crate::config::error::{Mistake, Mistakes};
use crate::config::parse;
use crate::config::plan::Plan;
use crate::sinks::syslog::Settings;
use crate::sinks::syslog::frame::Format;

const BASE: &str = "[[route]]\nto = \"sip:127.0.0.2\"\n[accounting]\non = [\"syslog\"]\nfields = { caller = \"$fU\", ua = \"$ua\" }\n\
                    leg_fields = { src = \"$leg(src)\" }\n[sinks.syslog.acc]\n";

fn load(lines: &str) -> Result<Plan, Mistakes> {
    parse(Path::new("t.toml"), &format!("{BASE}{lines}\n"), Default::default())
}

fn findings(lines: &str) -> String {
    let mistakes = load(lines).map_or_else(|Mistakes(mistakes)| mistakes, |plan| plan.warnings);
    mistakes.iter().map(Mistake::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn mistakes_are_named() {
    let receivers = "hint: \"/dev/log\", \"journald\", \"udp:HOST:PORT\", \"tcp:HOST:PORT\", \"tls:HOST:PORT\" or \"relp:HOST:PORT\"";
    for (lines, want) in [
        ("", String::new()),
        ("to = \"journald\"", String::new()),
        ("to = \"journald:/run/systemd/journal.acc/socket\"", String::new()),
        ("to = \"udp:[2001:db8::1]:514\"", String::new()),
        (
            "to = \"log.example\"",
            format!("error: `log.example` is no receiver of lines\n  --> t.toml:8:6\n{receivers}"),
        ),
        ("to = \"udp:log\"", format!("error: `udp:log` is no receiver of lines\n  --> t.toml:8:6\n{receivers}")),
        ("to = \"udp:log:0\"", format!("error: `udp:log:0` is no receiver of lines\n  --> t.toml:8:6\n{receivers}")),
        (
            "level = \"L_NOTICES\"",
            "error: unknown level `L_NOTICES`\n  --> t.toml:8:9\nhint: did you mean `L_NOTICE`?".into(),
        ),
        (
            "facility = \"LOCAL9\"",
            "error: unknown facility `LOCAL9`\n  --> t.toml:8:12\nhint: did you mean `local0`?".into(),
        ),
        (
            "profile = \"kamailio\"\nlog_fmt = \"mc\"",
            "error: the profile `kamailio` has no `log_fmt`\n  --> t.toml:9:11\nhint: `ser` and `openser-1.1` have"
                .into(),
        ),
        (
            "profile = \"ser\"\nlog_fmt = \"mzc\"",
            "error: `log_fmt` has no letter `z`\n  --> t.toml:9:11\nhint: there are cdfimorstup01FTUSnDX".into(),
        ),
        ("profile = \"ser\"\nlog_fmt = \"\"", "error: `log_fmt` has from 1 to 64 letters\n  --> t.toml:9:11".into()),
        (
            "profile = \"opensips\"\ntime_mode = 3",
            "error: the profile `opensips` has no `time_mode = 3`\n  --> t.toml:9:13\nhint: `kamailio` has them".into(),
        ),
        (
            "profile = \"kamailio\"\ntime_mode = 3\ntime_format = \"%!\"",
            "error: `%!` is no format of a time\n  --> t.toml:10:15\nhint: as of strftime, such as `%Y-%m-%d %H:%M:%S`"
                .into(),
        ),
        (
            "profile = \"kamalio\"",
            "error: unknown profile `kamalio`\n  --> t.toml:8:11\nhint: did you mean `kamailio`?".into(),
        ),
        (
            "fields = { callr = \"from\" }",
            "error: no field `callr` in `accounting.fields`\n  --> t.toml:8:12\nhint: did you mean `caller`?".into(),
        ),
        (
            "identity = \"a b\"",
            "error: `a b` cannot be the identity of a line\n  --> t.toml:8:12\n\
             hint: printable ASCII without blanks, brackets and colons, 48 at most"
                .into(),
        ),
        (
            "to = \"/dev/log\"\nformat = \"rfc5424\"",
            "warning: a local log gets lines with the header of RFC 5424 as their text\n  --> t.toml:8:6\n\
             hint: journald and rsyslog do not read it there: leave `format` out"
                .into(),
        ),
        (
            "to = \"tls:log.example:6514\"\nca = \"/nowhere.pem\"",
            "error: cannot read `/nowhere.pem`: No such file or directory (os error 2)\n  --> t.toml:9:6".into(),
        ),
        (
            "to = \"tls:log.example:6514\"\nkey = \"k.pem\"",
            "error: `sinks.syslog.acc` needs both `certificate` and `key`\n  --> t.toml:7:15".into(),
        ),
    ] {
        assert_eq!(findings(lines), want, "{lines}");
    }
}

#[test]
fn labels_formats_and_identities_have_their_defaults() {
    let settings = |lines: &str| {
        let plan = load(lines).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        plan.sinks[0].kind.of::<Settings>().expect("a syslog sink").clone()
    };
    let local = settings("profile = \"kamailio\"\nfields = { ua = \"agent\" }\nunmapped = \"omit\"");
    assert_eq!(local.layout.fields, [("ua".to_owned(), "agent".to_owned())]);
    assert!(local.layout.leg_fields.is_empty());
    assert_eq!((local.header.priority, local.header.identity.as_str()), (29, "kamailio"));
    assert_eq!((local.format, local.header.host.as_str()), (Format::Rfc3164, ""));
    let far = settings("to = \"tcp:127.0.0.1:601\"\nfacility = \"LOG_LOCAL0\"\nlevel = \"L_INFO\"\nhost = \"gw1\"");
    assert_eq!((far.format, far.header.host.as_str(), far.header.priority), (Format::Rfc5424, "gw1", 16 << 3 | 6));
    let pair = |name: &str| (name.to_owned(), name.to_owned());
    assert_eq!((far.layout.fields, far.layout.leg_fields), (vec![pair("caller"), pair("ua")], vec![pair("src")]));
}
