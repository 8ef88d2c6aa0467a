//! Mistakes of meaning: each row is a TOML text and exactly what the operator reads.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use super::error::{Mistake, Mistakes};
use super::plan::Plan;
use super::{Place, parse};
use crate::ids::SinkNumber;
use crate::sinks::radius::Settings;
use crate::sip::stack::Transport;

/// What a good configuration has; the rows add to it.
pub(super) const BASE: &str = "[[route]]\nto = \"sip:127.0.0.2\"\n";

pub(super) fn findings(text: &str) -> String {
    let mistakes = match parse(Path::new("t.toml"), text, Default::default()) {
        Ok(plan) => plan.warnings,
        Err(Mistakes(mistakes)) => mistakes,
    };
    mistakes.iter().map(Mistake::to_string).collect::<Vec<_>>().join("\n")
}

fn good(text: &str) -> Plan {
    parse(Path::new("t.toml"), text, Default::default()).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

#[test]
fn a_target_that_does_not_resolve_is_an_error() {
    let text = findings("[[route]]\nto = \"sip:nowhere.invalid\"\n");
    assert!(text.starts_with("error: the host `nowhere.invalid` does not resolve: "), "{text}");
    assert!(text.ends_with("\n  --> t.toml:2:6"), "{text}");
    assert_eq!(findings("[[route]]\nto = \"sip:localhost\"\n"), "");
}

#[test]
fn mistakes_of_accounting_are_named() {
    for (lines, want) in [
        (
            "on = [\"radius\"]",
            "error: no sink of the kind `radius`\n  --> t.toml:4:7\nhint: add a `[sinks.radius.NAME]`",
        ),
        (
            "failed_transactions = 1",
            "error: unknown field `failed_transactions` in `accounting`\n  --> t.toml:4:1\nhint: `failed_transactions` of ser is \
             `flags = [\"failed\"]` here or in a route",
        ),
        (
            "flags = [\"mised\"]",
            "error: unknown value `mised` for `accounting.flags`\n  --> t.toml:4:10\nhint: did you mean `missed`?",
        ),
        (
            "flags = { mised = [\"sql\"] }",
            "error: unknown field `mised` in `accounting.flags`\n  --> t.toml:4:11\nhint: did you mean `missed`?",
        ),
        ("flags = { missed = [\"sqll\"] }", "error: unknown sink `sqll`\n  --> t.toml:4:21\nhint: did you mean `sql`?"),
        (
            "methods = [\"MESSAGE\", \"ACK\"]",
            "error: `ACK` makes records of its own, not Events\n  --> t.toml:4:23\nhint: set `report_ack = true`",
        ),
        (
            "fields = { \"a b\" = \"$ua\" }",
            "error: `a b` is no name of a field\n  --> t.toml:4:12\nhint: a field's name has letters, digits, `_` and `-`, 64 at most",
        ),
        ("fields = { a = \"\" }", "error: ``: the template is empty\n  --> t.toml:4:17"),
        (
            "fields = { a = \"$(fu{uri.usr})\" }",
            "error: `$(fu{uri.usr})`: unknown transformation `uri.usr`\n  --> t.toml:4:22\nhint: did you mean `uri.user`?",
        ),
        (
            "in_dialog_fields = \"cal\"",
            "error: unknown value `cal` for `accounting.in_dialog_fields`\n  --> t.toml:4:20\nhint: did you mean `call`?",
        ),
        (
            "fields = { account = \"$ua\" }\nin_dialog_fields = { acount = \"call\" }",
            "error: `accounting.in_dialog_fields`: no field `acount` in `accounting.fields`\n  --> t.toml:5:22\n\
             hint: did you mean `account`?",
        ),
        (
            "fields = { account = \"$ua\" }\nin_dialog_fields = { account = \"cal\" }",
            "error: unknown value `cal` for `accounting.in_dialog_fields.account`\n  --> t.toml:5:32\n\
             hint: did you mean `call`?",
        ),
        ("failed_filter = [200]", "error: `accounting.failed_filter`: 200 is outside 300 to 699\n  --> t.toml:4:18"),
        (
            "lifetime_s = 0\nat_lifetime = \"bye\"",
            "warning: `accounting.at_lifetime` has no effect with `lifetime_s = 0`\n  --> t.toml:5:15",
        ),
        (
            "at_session_timer = \"record\"\nsession_timers = false",
            "warning: `accounting.at_session_timer` has no effect with `session_timers = false`\n  --> t.toml:4:20",
        ),
    ] {
        assert_eq!(findings(&format!("{BASE}[accounting]\n{lines}\n")), want);
    }
}

/// Each of these is one of two words, and what is none of them must not be taken for the default.
#[test]
fn what_becomes_of_a_call_that_ends_by_itself_is_one_of_two_words() {
    let ends = [("by", "bye"), ("recrd", "record")];
    for (option, mistyped) in [
        ("at_lifetime", ends),
        ("at_session_timer", ends),
        ("at_no_ack", ends),
        ("at_unreachable", ends),
        ("billed_to", [("notice", "noticed"), ("last_alive", "last-alive")]),
        ("revive", [("alert", "alarm"), ("records", "record")]),
    ] {
        let found = |value: &str| findings(&format!("{BASE}[accounting]\n{option} = {value}\n"));
        let column = option.len() + 4;
        for (wrong, right) in mistyped {
            assert_eq!(found(&format!("\"{right}\"")), "", "{option} = {right}");
            let want = format!(
                "error: unknown value `{wrong}` for `accounting.{option}`\n  --> t.toml:4:{column}\nhint: did you mean `{right}`?"
            );
            assert_eq!(found(&format!("\"{wrong}\"")), want);
        }
        let [(_, one), (_, other)] = mistyped;
        let want = format!(
            "error: unknown value `xxxxxxxxxxxx` for `accounting.{option}`\n  --> t.toml:4:{column}\nhint: known are `{one}`, `{other}`"
        );
        assert_eq!(found("\"xxxxxxxxxxxx\""), want);
        for (value, name) in [("true", "true or false"), ("5", "a whole number"), ("[\"bye\"]", "a list")] {
            let want = format!("error: `accounting.{option}` is {name}, expected ");
            let text = found(value);
            assert!(text.starts_with(&want) && text.contains(&format!("  --> t.toml:4:{column}")), "{text}");
        }
    }
}

#[test]
fn the_words_of_a_call_that_ends_by_itself_reach_the_engine() {
    use crate::accounting::{BilledTo, Revival};
    use crate::record::Cause::{Lifetime, NoAck, SessionTimer, Unreachable};
    let settings = |lines: &str| good(&format!("{BASE}[accounting]\n{lines}\n")).accounting;
    let hang_up = |lines: &str| {
        let all = settings(lines).hang_up;
        [Lifetime, SessionTimer, NoAck, Unreachable].map(|cause| all.contains(&cause))
    };
    for (lines, want) in [
        ("", [true, false, true, true]),
        ("at_lifetime = \"record\"", [false, false, true, true]),
        ("at_session_timer = \"bye\"", [true, true, true, true]),
        ("at_no_ack = \"record\"", [true, false, false, true]),
        ("at_unreachable = \"record\"", [true, false, true, false]),
        ("at_lifetime = \"bye\"\nat_session_timer = \"record\"", [true, false, true, true]),
    ] {
        assert_eq!(hang_up(lines), want, "{lines}");
    }
    for (lines, billed_to, revival) in [
        ("", BilledTo::Noticed, Revival::Told),
        ("billed_to = \"last-alive\"", BilledTo::LastAlive, Revival::Told),
        ("billed_to = \"noticed\"\nrevive = \"record\"", BilledTo::Noticed, Revival::Recorded),
        ("revive = \"alarm\"", BilledTo::Noticed, Revival::Told),
    ] {
        let settings = settings(lines);
        assert_eq!((settings.billed_to, settings.revival), (billed_to, revival), "{lines}");
    }
}

#[test]
fn the_source_of_later_fields_is_one_for_all_or_one_for_each() {
    use crate::accounting::FieldSource::{Call, Request};
    let sources = |lines: &str| {
        let fields = "fields = { a = \"$ua\", b = \"$ua\" }";
        let plan = good(&format!("[[route]]\nto = \"sip:127.0.0.1\"\n[accounting]\n{fields}\n{lines}\n"));
        ["a", "b"].map(|name| plan.accounting.in_dialog_fields.of(name))
    };
    for (lines, want) in [
        ("", [Request, Request]),
        ("in_dialog_fields = \"request\"", [Request, Request]),
        ("in_dialog_fields = \"call\"", [Call, Call]),
        ("in_dialog_fields = { b = \"call\" }", [Request, Call]),
        ("[accounting.in_dialog_fields]\na = \"call\"\nb = \"request\"", [Call, Request]),
    ] {
        assert_eq!(sources(lines), want, "{lines}");
    }
}

#[test]
fn mistakes_of_the_other_sections_are_named() {
    for (lines, want) in [
        ("[queue]\npath = \"\"", "error: `queue.path` is empty\n  --> t.toml:4:8"),
        (
            "[queue]\nrefuse_after_ms = 100",
            "error: `queue.refuse_after_ms` is 100, `queue.commit_wait_max_ms` is 500\n  --> t.toml:4:19\n\
             hint: responses wait that long anyway: set it to as much or more",
        ),
        (
            "[admin]\nlisten = \"8080\"",
            "error: `8080` is no address with a port\n  --> t.toml:4:10\nhint: write `127.0.0.1:8080`, or \"\" for none",
        ),
        (
            "[admin]\nlisten = \"0.0.0.0:8080\"",
            "warning: `admin.listen` is open to other hosts: 0.0.0.0:8080\n  --> t.toml:4:10\nhint: anybody who reaches it can read metrics and records in progress",
        ),
        (
            "[trace]\nfrom = [\"+49*\"]",
            "warning: `[trace]` says which calls are kept, and keeps none\n  --> t.toml:4:9\nhint: set `trace.calls`",
        ),
        ("[trace]\ncalls = 9\nuser = \"+49*\"\nsource = [\"10.0.0.0/8\", \"::1\"]", ""),
        (
            "[trace]\ncalls = 9\nsource = \"10.0.0.1/8\"\nto = \"\"",
            "error: `10.0.0.1/8` has bits beyond its length of 8\n  --> t.toml:5:10\n\
             error: an empty pattern matches nothing\n  --> t.toml:6:6",
        ),
        ("[log]\nlevel = \"inf\"", "error: unknown log level `inf`\n  --> t.toml:4:9\nhint: did you mean `info`?"),
        ("[log]\nlevel = \"info,a b=warn\"", "error: `a b` is no module\n  --> t.toml:4:9"),
    ] {
        assert_eq!(findings(&format!("{BASE}{lines}\n")), want);
    }
    let long = format!("{BASE}[admin]\nsocket = \"/{}\"\n", "x".repeat(107));
    assert_eq!(findings(&long), "error: `admin.socket` has 108 octets, the system takes 107\n  --> t.toml:4:10");
}

/// A folder with a client file and a dictionary; `{DIR}` in texts stands for it.
pub(super) struct Folder(tempfile::TempDir);

impl Folder {
    pub(super) fn new(client: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = Self(dir);
        folder.write("radiusclient.conf", client);
        folder
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        fs::write(&path, text.replace("{DIR}", &self.0.path().display().to_string())).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("changed");
    }

    pub(super) fn text(&self, text: &str) -> String {
        text.replace("{DIR}", &self.0.path().display().to_string())
    }

    pub(super) fn findings(&self, text: &str) -> String {
        findings(&self.text(text)).replace(&self.0.path().display().to_string(), "{DIR}")
    }
}

pub(super) const CLIENT: &str = "acctserver 127.0.0.1:1813:a-long-enough-secret\nradius_timeout 1\nradius_retries 3\n";

/// They had one place in the queue: each record reached one of them, and nobody was told.
#[test]
fn two_sinks_have_different_names() {
    let text = |other: &str| {
        format!(
            "[[route]]\nto = \"sip:127.0.0.1\"\n[accounting]\non = [\"file\", \"syslog\"]\n\
             [sinks.file.acc]\npath = \"/tmp/a.csv\"\n[sinks.syslog.{other}]\nto = \"/dev/log\"\n"
        )
    };
    let want = "error: another sink is called `acc` already\n  --> t.toml:7:15\n\
                hint: sinks of different kinds need different names, too";
    assert_eq!(findings(&text("acc")), want);
    assert_eq!(findings(&text("log")), "");
}

#[test]
fn flags_are_for_all_sinks_or_each_for_its_own() {
    let sinks = "[sinks.file.a]\npath = \"/tmp/a.csv\"\n[sinks.file.b]\npath = \"/tmp/b.csv\"\n";
    for (name, accounting, route, want) in [
        ("a list is for all of `on`", "on = [\"a\", \"b\"]\nflags = [\"missed\"]", "", ["ab", "ab", ""]),
        (
            "a table says which",
            "on = [\"a\", \"b\"]\nflags = { missed = [\"a\"], failed = [\"file\"] }",
            "",
            ["ab", "a", "ab"],
        ),
        ("missed calls alone", "on = [\"a\"]\nflags = { missed = [\"b\"] }", "", ["a", "b", ""]),
        (
            "a route has its own",
            "on = [\"a\", \"b\"]\nflags = [\"missed\"]",
            "account.flags = { failed = [\"b\"] }\n",
            ["ab", "", "b"],
        ),
        (
            "a route has other sinks",
            "on = [\"a\", \"b\"]\nflags = { missed = [\"a\", \"b\"], failed = [\"b\"] }",
            "account.on = [\"a\"]\n",
            ["a", "ab", ""],
        ),
    ] {
        let plan = good(&format!("[[route]]\nto = \"sip:127.0.0.1\"\n{route}[accounting]\n{accounting}\n{sinks}"));
        let marks = plan.route[0].marks;
        let letters = |mask: crate::ids::SinkMask| {
            mask.iter().map(|sink| if sink == SinkNumber(0) { 'a' } else { 'b' }).collect::<String>()
        };
        assert_eq!([marks.accounting, marks.missed, marks.failed].map(letters), want, "{name}");
    }
    let text = format!(
        "[[route]]\nto = \"sip:127.0.0.1\"\n[accounting]\non = [\"a\"]\nflags = {{ failed = [\"b\"], missed = [\"b\"] }}\n{sinks}"
    );
    assert_eq!(findings(&text), "warning: `b` gets no failed calls, for `on` does not name it\n  --> t.toml:5:21");
}

#[test]
fn mistakes_of_a_radius_sink_are_named() {
    let folder = Folder::new(CLIENT);
    folder.write("bad", "ATTRIBUTE Broken\n");
    let head = "[[route]]\nto = \"sip:127.0.0.1\"\n[accounting]\non = [\"radius\"]\nfields.src_ip = \"$si\"\n[sinks.radius.billing]\n";
    for (lines, want) in [
        (
            "profile = \"own\"",
            "error: `sinks.radius.billing` lacks the field `config`\n  --> t.toml:6:15\nhint: add `config = \"/etc/tollgate/radiusclient.conf\"`",
        ),
        (
            "config = \"{DIR}/none\"",
            "error: cannot read: No such file or directory (os error 2)\n  --> {DIR}/none\n  --> t.toml:7:10",
        ),
        (
            "config = \"{DIR}/radiusclient.conf\"\nprofile = \"opensip\"",
            "error: unknown profile `opensip`\n  --> t.toml:8:11\nhint: did you mean `opensips`?",
        ),
        (
            "config = \"{DIR}/radiusclient.conf\"\nfields.src_ip = \"No-Such-Thing\"",
            "error: unknown RADIUS attribute `No-Such-Thing`\n  --> t.toml:8:17\nhint: `tollgate dict` lists what is built in; `dictionary` adds a file",
        ),
        (
            "config = \"{DIR}/radiusclient.conf\"\nfields.src_ip = \"Caling-Station-Id\"",
            "error: unknown RADIUS attribute `Caling-Station-Id`\n  --> t.toml:8:17\nhint: did you mean `Calling-Station-Id`?",
        ),
        (
            "config = \"{DIR}/radiusclient.conf\"\nfields.srcip = \"Calling-Station-Id\"",
            "error: no field `srcip` in `accounting.fields`\n  --> t.toml:8:8\nhint: did you mean `src_ip`?",
        ),
        (
            "config = \"{DIR}/radiusclient.conf\"\nleg_fields.src = \"Tollgate-Leg-Src\"",
            "error: no field `src` in `accounting.leg_fields`\n  --> t.toml:8:12\nhint: define it in `[accounting.leg_fields]`",
        ),
        (
            "config = \"{DIR}/radiusclient.conf\"\naccounting_on_user = \"a\\nb\"",
            "error: `accounting_on_user` takes 253 octets at most, without control characters\n  --> t.toml:8:22",
        ),
        (
            "config = \"{DIR}/radiusclient.conf\"\naccounting_on = \"never\"\naccounting_on_user = \"gw\"",
            "warning: `accounting_on_user` has no effect with `accounting_on = \"never\"`\n  --> t.toml:9:22",
        ),
        (
            "config = \"{DIR}/radiusclient.conf\"\nservice_type = \"Sip\"",
            "error: unknown value `Sip` of Service-Type\n  --> t.toml:8:16\nhint: `tollgate dict Service-Type` lists the names; a number is fine too",
        ),
    ] {
        assert_eq!(folder.findings(&format!("{head}{lines}\n")), want);
    }
    let broken =
        folder.findings(&format!("{head}config = \"{{DIR}}/radiusclient.conf\"\ndictionary = \"{{DIR}}/bad\"\n"));
    assert!(broken.starts_with("error: "), "{broken}");
    assert!(broken.ends_with("\n  --> {DIR}/bad:1:1"), "{broken}");
    let refused =
        folder.findings(&format!("{head}config = \"{{DIR}}/radiusclient.conf\"\nfields.src_ip = \"User-Password\"\n"));
    assert!(refused.starts_with("error: `User-Password` cannot carry a value of a call: "), "{refused}");
}

#[test]
fn fields_may_have_policies_that_fit_their_attribute() {
    let folder = Folder::new(CLIENT);
    folder.write("long", "ATTRIBUTE Long-Callee 245.1 string\n");
    let text = |lines: &str| {
        format!(
            "[[route]]\nto = \"sip:127.0.0.1\"\nfields = {{ trunk = \"gold\" }}\n[accounting]\non = [\"b\"]\n\
             fields = {{ x = \"$ua\", y = \"$si\" }}\n[sinks.radius.b]\nconfig = \"{{DIR}}/radiusclient.conf\"\n\
             dictionary = \"{{DIR}}/long\"\n{lines}\n"
        )
    };
    for (lines, want) in [
        ("fields.x = { attribute = \"Called-Station-Id\", oversize = \"hash\", max = 50, priority = 9 }", ""),
        ("fields.x = { attribute = \"Called-Station-Id\", oversize = \"long-extended\", long = \"Long-Callee\" }", ""),
        ("fields.trunk = \"Tollgate-Trunk\"", ""),
        ("fields.x = { max = 50 }", "error: `sinks.radius.b.fields.x` lacks the field `attribute`\n  --> t.toml:10:8"),
        (
            "fields.x = { attribute = \"Called-Station-Id\", oversise = \"hash\" }",
            "error: unknown field `oversise` in `sinks.radius.b.fields.x`\n  --> t.toml:10:47\nhint: did you mean `oversize`?",
        ),
        (
            "fields.x = { attribute = \"Called-Station-Id\", oversize = \"hsah\" }",
            "error: unknown value `hsah` for `sinks.radius.b.fields.x.oversize`\n  --> t.toml:10:58\nhint: did you mean `hash`?",
        ),
        (
            "fields.x = { attribute = \"Called-Station-Id\", oversize = \"split\" }",
            "error: a record has `Called-Station-Id` once at most\n  --> t.toml:10:8\nhint: RFC 2866 section 5.13; take an attribute that may be repeated",
        ),
        (
            "fields = { x = \"User-Name\", y = \"User-Name\" }",
            "error: a record has `User-Name` once at most\n  --> t.toml:10:33\nhint: RFC 2866 section 5.13; take an attribute that may be repeated",
        ),
        (
            "fields.x = \"Acct-Session-Id\"",
            "error: `Acct-Session-Id` is in every record already: no field can have it\n  --> t.toml:10:12",
        ),
        (
            "fields.x = { attribute = \"Called-Station-Id\", oversize = \"long-extended\" }",
            "error: `oversize = \"long-extended\"` needs an attribute\n  --> t.toml:10:8\nhint: add `long = \"ATTRIBUTE\"`, of the space of 245 or 246 (RFC 6929)",
        ),
        (
            "fields.x = { attribute = \"Called-Station-Id\", oversize = \"long-extended\", long = \"Tollgate-Callee\" }",
            "error: `Tollgate-Callee` takes no long values\n  --> t.toml:10:82\nhint: one of the space of 245 or 246 (RFC 6929), such as `245.1`",
        ),
        (
            "fields.x = { attribute = \"Called-Station-Id\", long = \"Long-Callee\" }",
            "error: `long` needs `oversize = \"long-extended\"`\n  --> t.toml:10:54",
        ),
    ] {
        assert_eq!(folder.findings(&text(lines)), want, "{lines}");
    }
    let lines = "fields = { x = \"User-Name\", trunk = { attribute = \"Class\" } }\ncollapse_interims = false\ncolumns = \"freeradius-sql\"\nlegs = \"apart\"";
    let plan = good(&folder.text(&text(lines)));
    assert_eq!(plan.accounting.frozen_fields, ["x", "trunk"], "a server joins the records of a session by them");
    assert_eq!((plan.queue.collapsing.len(), plan.accounting_on), (0, vec!["b".to_owned()]));
    let settings = plan.sinks[0].kind.of::<Settings>().expect("a RADIUS sink");
    assert_eq!(settings.columns, crate::sinks::radius::Columns::FreeradiusSql);
    assert_eq!(settings.legs, crate::sinks::radius::Legs::Apart);
    let fields = plan.route[0].fields.as_ref().expect("the route has fields");
    let names: Vec<&str> = fields.all.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!((names, fields.own), (vec!["trunk", "x", "y"], 1));
}

#[test]
fn keys_of_a_client_file_reach_the_sink() {
    let folder = Folder::new(
        "acctserver localhost:1813:a-long-enough-secret, 127.0.0.1:1814:a-long-enough-secret, 127.0.0.1:1815\n\
         radius_timeout 1\nradius_retries 3\nradius_deadtime 30\nbindaddr 127.0.0.1\nnas-identifier gw\nnas-ip 192.0.2.1\n\
         default_realm example.org\nclientdebug 1\nseqfile /var/run/seq\nnew-key 5\n",
    );
    let text = "[[route]]\nto = \"sip:127.0.0.1\"\n[accounting]\non = [\"b\"]\n[sinks.radius.b]\nconfig = \"{DIR}/radiusclient.conf\"\n";
    let found = folder.findings(text);
    assert!(found.contains("error: unknown keyword `new-key`"), "{found}");
    let plan = good(&folder.text(&format!("{text}unknown_keywords = \"warn\"\n")));
    let settings = plan.sinks[0].kind.of::<Settings>().expect("a RADIUS sink");
    let servers: Vec<u16> = settings.client.servers.iter().map(|server| server.address.port()).collect();
    assert_eq!(servers, [1813, 1814], "one without a secret is left out");
    assert_eq!((settings.names.len(), settings.names[0].host.as_str()), (1, "localhost"));
    assert_eq!(settings.client.revival, Duration::from_secs(30));
    assert_eq!(settings.bind.map(|ip| ip.to_string()).as_deref(), Some("127.0.0.1"));
    assert_eq!(settings.nas_identifier.as_deref(), Some("gw"));
    assert_eq!(settings.nas_address.map(|ip| ip.to_string()).as_deref(), Some("192.0.2.1"));
    assert_eq!(settings.default_realm.as_deref(), Some("example.org"));
    assert_eq!(settings.ignored_keywords, ["seqfile"]);
    assert_eq!(plan.log.level, "info,tollgate::radius=debug,tollgate::sinks::radius=debug");
    let warnings: String = plan.warnings.iter().map(Mistake::to_string).collect();
    assert!(
        warnings.contains("unknown keyword `new-key`") && warnings.contains("no secret for `127.0.0.1`"),
        "{warnings}"
    );
}

#[test]
fn a_mistake_in_a_client_file_is_shown_in_that_file() {
    let folder = Folder::new("acctserver 127.0.0.1\nradius_timout 1\nradius_retries 3\n");
    let text = folder.findings(
        "[[route]]\nto = \"sip:127.0.0.1\"\n[accounting]\non = [\"b\"]\n[sinks.radius.b]\nconfig = \"{DIR}/radiusclient.conf\"\n",
    );
    assert!(text.contains("  --> {DIR}/radiusclient.conf:2:1\nhint: did you mean `radius_timeout`?"), "{text}");
    assert!(text.contains("no secret for `127.0.0.1`"), "{text}");
    folder.write("radiusclient.conf", &format!("{CLIENT}dictionary {{DIR}}/none\n"));
    let text = folder.findings(
        "[[route]]\nto = \"sip:127.0.0.1\"\n[accounting]\non = [\"b\"]\n[sinks.radius.b]\nconfig = \"{DIR}/radiusclient.conf\"\n",
    );
    assert!(text.ends_with("\n  --> {DIR}/none\n  --> {DIR}/radiusclient.conf:4:12"), "{text}");
}

#[test]
fn secrets_do_not_show_and_readers_of_them_do() {
    let folder = Folder::new(CLIENT);
    let path = folder.0.path().join("radiusclient.conf");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("changed");
    let text = "[[route]]\nto = \"sip:127.0.0.1\"\n[accounting]\non = [\"b\"]\n[sinks.radius.b]\nconfig = \"{DIR}/radiusclient.conf\"\n";
    let plan = good(&folder.text(text));
    let warnings = plan.warnings.iter().map(Mistake::to_string).collect::<Vec<_>>();
    assert!(warnings.iter().any(|warning| warning.contains("every user may read it")), "{warnings:?}");
    assert!(!format!("{plan:?}").contains("a-long-enough-secret"));
}

#[test]
fn a_dictionary_conflict_is_a_warning_that_quotes_both_places() {
    let folder = Folder::new(&format!("{CLIENT}dictionary {{DIR}}/dictionary\n"));
    folder.write("dictionary", "ATTRIBUTE Event-Timestamp 99 integer\n");
    let text = folder.findings(
        "[[route]]\nto = \"sip:127.0.0.1\"\n[accounting]\non = [\"b\"]\n[sinks.radius.b]\nconfig = \"{DIR}/radiusclient.conf\"\n",
    );
    assert!(text.starts_with("warning: "), "{text}");
    assert!(text.contains("Event-Timestamp") && text.contains("dictionary.rfc2869:"), "{text}");
    assert!(text.contains("\n  --> {DIR}/dictionary:1:1"), "{text}");
}

#[test]
fn one_wrong_sink_causes_no_other_mistakes() {
    let folder = Folder::new(CLIENT);
    let text = "[[route]]\nto = \"sip:127.0.0.1\"\n[accounting]\non = [\"a\", \"b\"]\n[sinks.radius]\na = 5\nb.config = \"{DIR}/radiusclient.conf\"\n";
    assert_eq!(folder.findings(text), "error: `sinks.radius.a` is a whole number, expected a table\n  --> t.toml:6:5");
}

#[test]
fn a_plan_holds_what_the_file_says() {
    let folder = Folder::new(CLIENT);
    let text = "[sip]\nlisten = [\"udp:0.0.0.0:5070\", \"udp:[::1]:5070\"]\nadvertise = [\"192.0.2.7\"]\nshards = 4\ncalls_max = 1000\n\
         [[route]]\nmatch.prefix = \"9\"\naccount = { on = [] }\nanswer = { code = 503 }\n[[route]]\nto = \"sip:127.0.0.1\"\n\
         [accounting]\non = [\"radius\"]\nflags = [\"missed\"]\n[queue]\npath = \"q\"\n[sinks.radius.z]\nconfig = \"{DIR}/radiusclient.conf\"\nrecords = \"cdr\"\n\
         [sinks.radius.a]\nconfig = \"{DIR}/radiusclient.conf\"\nwindow_max = 7\n";
    let plan = good(&folder.text(text));
    assert_eq!(plan.sip.binds, ["0.0.0.0:5070".parse().expect("fits"), "[::1]:5070".parse().expect("fits")]);
    let listeners: Vec<_> =
        plan.sip.stack.listeners.iter().map(|listener| (listener.transport, listener.local.to_string())).collect();
    assert_eq!(listeners, [(Transport::Udp, "192.0.2.7:5070".into()), (Transport::Udp, "[::1]:5070".into())]);
    assert_eq!((plan.sip.shards, plan.shard.calls_max), (4, 250));
    assert_eq!(plan.queue.path, Path::new("q"));
    assert_eq!(plan.sink_names(), ["a", "z"]);
    let settings = plan.sinks[0].kind.of::<Settings>().expect("a RADIUS sink");
    assert_eq!((settings.client.window, settings.client.transmissions), (7, 4));
    assert_eq!(settings.client.initial_timeout, Duration::from_secs(1));
    assert!(plan.route[0].marks.is_empty());
    // The queue has given number 3 to `a` and 1 to `z`.
    let numbers = [SinkNumber(3), SinkNumber(1)];
    let routes = plan.routes(&numbers);
    assert_eq!(routes.marks()[1].missed.iter().collect::<Vec<_>>(), [SinkNumber(1), SinkNumber(3)]);
    assert_eq!(plan.accounting(&numbers).sinks[1], crate::accounting::SinkMode::Cdr);
}

#[test]
fn new_calls_are_never_refused_before_the_response_that_waits_has_left() {
    let seconds = |text: &str| {
        let plan = good(&format!(
            "[sip]\nlisten = [\"udp:127.0.0.1:5060\"]\n[[route]]\nto = [\"sip:127.0.0.1\"]\n[queue]\n{text}\n"
        ));
        assert_eq!(plan.queue.refuse_after, plan.shard.refuse_after, "{text}");
        plan.queue.refuse_after.as_millis()
    };
    for (text, want) in [
        ("", 3000),
        ("commit_wait_max_ms = 100", 3000),
        ("commit_wait_max_ms = 10000", 10_000),
        ("refuse_after_ms = 500", 500),
        ("commit_wait_max_ms = 1000\nrefuse_after_ms = 60000", 60_000),
    ] {
        assert_eq!(seconds(text), want, "{text}");
    }
}

#[test]
fn the_longest_gathering_is_as_given_or_what_it_is_for_needs() {
    for (text, want) in [
        ("", 5),
        ("gather = \"latency\"", 5),
        ("gather = \"cpu\"", 20),
        ("gather_max_ms = 0", 0),
        ("gather = \"cpu\"\ngather_max_ms = 40", 40),
    ] {
        let plan = good(&format!(
            "[sip]\nlisten = [\"udp:127.0.0.1:5060\"]\n[[route]]\nto = [\"sip:127.0.0.1\"]\n[queue]\n{text}\n"
        ));
        assert_eq!(plan.queue.gather_max.as_millis(), want, "{text}");
    }
}

#[test]
fn a_sink_nobody_names_gets_a_warning() {
    let folder = Folder::new(CLIENT);
    let text = "[[route]]\nto = \"sip:127.0.0.1\"\n[sinks.radius.b]\nconfig = \"{DIR}/radiusclient.conf\"\n";
    assert_eq!(
        folder.findings(text),
        "warning: no `on` names the sink `b`: it gets no records\n  --> t.toml:3:15\nhint: add \"b\" to `accounting.on`"
    );
}

#[test]
fn a_file_that_is_not_there_is_a_mistake() {
    let Err(Mistakes(mistakes)) = super::load(Path::new("/nowhere/tollgate.toml")) else { panic!("it loads") };
    assert_eq!(mistakes[0].places, [Place::Whole("/nowhere/tollgate.toml".into())]);
    assert_eq!(mistakes[0].what, "cannot read the configuration: No such file or directory (os error 2)");
}
