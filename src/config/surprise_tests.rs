//! What an operator gets wrong without a mistake in the file: warnings, and where the socket is beside mistakes.

use std::path::Path;

use ::config::Map;

use super::check_tests::{CLIENT, Folder, findings};
use super::error::{Mistake, Mistakes, Place};
use super::{DEFAULT_PATH, parse, socket, socket_in};

#[test]
fn a_file_that_is_named_and_cannot_be_read_names_no_socket() {
    let Err(Mistakes(mistakes)) = socket(Path::new("/nowhere/typo.toml")) else { panic!("another's socket") };
    assert_eq!(mistakes[0].places, [Place::Whole("/nowhere/typo.toml".into())]);
    assert!(mistakes[0].hint.as_ref().is_some_and(|hint| hint.contains("--socket")), "{mistakes:?}");
    assert!(socket(Path::new(DEFAULT_PATH)).is_ok(), "whoever names none may not be one who may read it");
}

#[test]
fn the_socket_is_found_in_a_file_with_mistakes() {
    let path = Path::new("/etc/tollgate/tollgate.toml");
    let none = Map::new();
    let variable = Map::from_iter([("TOLLGATE_ADMIN__SOCKET".to_owned(), "/run/env.sock".to_owned())]);
    let (usual, deliverer) = ("/run/tollgate/admin.sock", "/run/tollgate/deliver.sock");
    let listen = Map::from_iter([("TOLLGATE_SIP__LISTEN".to_owned(), "udp:127.0.0.1:5060".to_owned())]);
    for (what, text, environment, want) in [
        ("a good file", "[admin]\nsocket = \"/run/own.sock\"\n", &none, Some("/run/own.sock")),
        ("a relative path", "[admin]\nsocket = \"own.sock\"\n", &none, Some("/etc/tollgate/own.sock")),
        ("no section", "[sip]\n", &none, Some(usual)),
        ("switched off", "[admin]\nsocket = \"\"\n", &none, None),
        ("unknown sections", "[spi]\nx = 1\n[admin]\nsocket = \"/a\"\nlisten = 5\n", &none, Some("/a")),
        ("bad syntax before it", "[sip\nlisten = = 1\n[admin]\nsocket = \"/a\"\n", &none, Some("/a")),
        ("bad syntax behind it", "[admin]\nsocket = \"/a\"\n]]]]\n", &none, Some("/a")),
        ("no text", "[admin]\nsocket = 5\n", &none, Some(usual)),
        ("no TOML at all", "loadmodule \"acc.so\"\nroute {\n", &none, Some(usual)),
        ("the environment is above it", "[admin]\nsocket = \"/a\"\n", &variable, Some("/run/env.sock")),
        ("of a deliverer", "[cluster]\n[deliver]\nsocket = \"/d\"\n", &none, Some("/d")),
        ("of a deliverer that says nothing", "[cluster]\nname = 5\n[admin]\nsocket = \"/a\"\n", &none, Some(deliverer)),
        ("of a gateway of a cluster", "[cluster]\n[[route]]\n[deliver]\nsocket = \"/d\"\n", &none, Some(usual)),
        ("that listens by the environment", "[cluster]\n[deliver]\nsocket = \"/d\"\n", &listen, Some(usual)),
    ] {
        let found = socket_in(path, text, environment).unwrap_or_else(|mistakes| panic!("{what}: {mistakes}"));
        assert_eq!(found.as_deref(), want.map(Path::new), "{what}");
    }
}

#[test]
fn a_file_that_is_named_and_is_no_toml_names_no_socket() {
    let none = Map::new();
    let variable = Map::from_iter([("TOLLGATE_ADMIN__SOCKET".to_owned(), "/run/env.sock".to_owned())]);
    for (what, file, text, environment, want) in [
        ("Kamailio's", "/x/kamailio.cfg", "debug=2\nloadmodule \"acc.so\"\n", &none, Err("kamailio.cfg:2:1")),
        ("nonsense", "/x/t.toml", "[sip]\nlisten = = 1\n", &none, Err("t.toml:2:10")),
        ("with a socket", "/x/t.toml", "[sip\nlisten = = 1\n[admin]\nsocket = \"/a\"\n", &none, Ok("/a")),
        ("beside the environment", "/x/kamailio.cfg", "loadmodule \"acc.so\"\n", &variable, Ok("/run/env.sock")),
        ("TOML without a socket", "/x/t.toml", "[spi]\nx = 1\n", &none, Ok("/run/tollgate/admin.sock")),
        ("the file of everybody", DEFAULT_PATH, "loadmodule \"acc.so\"\n", &none, Ok("/run/tollgate/admin.sock")),
    ] {
        match (socket_in(Path::new(file), text, environment), want) {
            (Ok(found), Ok(want)) => assert_eq!(found.as_deref(), Some(Path::new(want)), "{what}"),
            (Err(Mistakes(mistakes)), Err(want)) => {
                let place = mistakes[0].places[0].to_string();
                assert!(place.ends_with(want), "{what}: {place}");
                let hint = mistakes.last().and_then(|own| own.hint.clone());
                assert!(hint.is_some_and(|hint| hint.contains("--socket")), "{what}: {mistakes:?}");
            }
            (found, _) => panic!("{what}: {found:?}"),
        }
    }
}

#[test]
fn what_would_surprise_is_warned_of() {
    let to = |target: &str| format!("[[route]]\nto = \"{target}\"\n");
    let open = "[sip]\nlisten = [\"udp:192.0.2.7:5060\"]\n";
    for (what, text, want) in [
        (
            "others reach it, nobody may call",
            format!("{open}{}", to("sip:127.0.0.9")),
            Some("lets only this host send"),
        ),
        ("others may call", format!("{open}allow = [\"10.0.0.0/8\"]\n{}", to("sip:127.0.0.9")), None),
        (
            "others may call there",
            format!("{open}allow_on = {{ \"udp:192.0.2.7:5060\" = \"10.0.0.0/8\" }}\n{}", to("sip:127.0.0.9")),
            None,
        ),
        ("nobody reaches it", to("sip:127.0.0.9"), None),
        (
            "a route to the gateway itself",
            format!("[sip]\nlisten = [\"udp:127.0.0.1:5060\"]\n{}", to("sip:127.0.0.1")),
            Some("`sip:127.0.0.1` is this gateway itself"),
        ),
        (
            "with its port",
            format!("{open}allow = [\"10.0.0.0/8\"]\n{}", to("sip:192.0.2.7:5060")),
            Some("is this gateway"),
        ),
        ("another port", to("sip:127.0.0.1:5061"), None),
        ("an empty file", String::new(), Some("this file is empty")),
    ] {
        let findings = match parse(Path::new("t.toml"), &text, Default::default()) {
            Ok(plan) => plan.warnings,
            Err(mistakes) => panic!("{what}: {mistakes}"),
        };
        let about = |own: &&Mistake| !own.what.contains("there is no `[[route]]`");
        let found: Vec<_> = findings.iter().filter(about).map(|own| own.what.as_str()).collect();
        match want {
            Some(part) => assert!(found.iter().any(|own| own.contains(part)), "{what}: {found:?}"),
            None => assert!(found.is_empty(), "{what}: {found:?}"),
        }
    }
}

/// What the line of a section was, that is lost, stands in the table above: fields, or options of another section.
#[test]
fn a_lost_section_line_is_told() {
    let base = "[[route]]\nto = \"sip:127.0.0.9\"\n";
    let lost = |option: &str, section: &str| {
        format!("hint: `{option}` is an option of `{section}`: is that line missing above it?")
    };
    for (what, lines, want, hint) in [
        (
            "an option of one section",
            "[accounting.fields]\nua = \"$ua\"\non_trouble = \"serve\"\n",
            "warning: the field `on_trouble` has no variable: every record gets the text `serve`\n  --> t.toml:5:1",
            lost("on_trouble", "[queue]` or `[ledger]"),
        ),
        (
            "an option of two",
            "[accounting.leg_fields]\nlisten = \"udp:127.0.0.1:5060\"\n",
            "warning: the field `listen` has no variable: every record gets the text `udp:127.0.0.1:5060`\n  --> t.toml:4:1",
            lost("listen", "[sip]` or `[[sip.tls]]` or `[admin]"),
        ),
        (
            "one that is no text",
            "[accounting.fields]\nua = \"$ua\"\nfree_min_mib = 512\n",
            "error: `accounting.fields.free_min_mib` is a whole number, expected a string\n  --> t.toml:5:16",
            lost("free_min_mib", "[queue]"),
        ),
        (
            "one below the fields of a route",
            "[route.fields]\nlevel = \"debug\"\n",
            "warning: the field `level` has no variable: every record gets the text `debug`\n  --> t.toml:4:1",
            lost("level", "[log]` or `[sinks.syslog.NAME]"),
        ),
        ("a constant of a route", "[route.fields]\ntrunk = \"gold\"\n", "", String::new()),
        (
            "a constant of all",
            "[accounting.fields]\ncaller = \"fU\"\n",
            "warning: the field `caller` has no variable: every record gets the text `fU`\n  --> t.toml:4:1",
            "hint: variables begin with `$`; `tollgate vars` lists them".to_owned(),
        ),
        (
            "an option in another section",
            "[queue]\npath = \"q\"\nstop_timeout_s = 5\n",
            "error: unknown field `stop_timeout_s` in `queue`\n  --> t.toml:5:1",
            lost("stop_timeout_s", "[service]"),
        ),
        (
            "a section without the one above it",
            "[identity]\nmax_age_s = 60\n",
            "error: unknown section `identity`\n  --> t.toml:3:2",
            "hint: did you mean `[accounting.identity]`?".to_owned(),
        ),
        (
            "a kind of sink as a section",
            "[radius]\nprofile = \"opensips\"\n",
            "error: unknown section `radius`\n  --> t.toml:3:2",
            "hint: did you mean `[sinks.radius.NAME]`?".to_owned(),
        ),
        (
            "a mistyped option",
            "[queue]\nfree_mib_min = 5\n",
            "error: unknown field `free_mib_min` in `queue`\n  --> t.toml:4:1",
            "hint: did you mean `free_min_mib`?".to_owned(),
        ),
    ] {
        let found = findings(&format!("{base}{lines}"));
        let want = if want.is_empty() { String::new() } else { format!("{want}\n{hint}") };
        assert_eq!(found, want, "{what}");
    }
}

#[test]
fn a_value_that_cannot_be_of_its_attributes_type_is_told() {
    let folder = Folder::new(CLIENT);
    folder.write(
        "own",
        "ATTRIBUTE Own-Number 245.1 integer\nATTRIBUTE Own-When 245.2 date\nATTRIBUTE Own-Named 245.3 integer\nVALUE Own-Named x 1\n",
    );
    folder.write("diameterclient.conf", "identity gw.example.net\nacctserver cdf.example.net\n");
    let text = |template: &str, sink: &str, name: &str| {
        format!(
            "[[route]]\nto = \"sip:127.0.0.1\"\n[accounting]\non = [\"b\"]\nfields = {{ x = \"{template}\" }}\n{sink}fields = {{ x = \"{name}\" }}\n"
        )
    };
    let radius = "[sinks.radius.b]\nconfig = \"{DIR}/radiusclient.conf\"\ndictionary = \"{DIR}/own\"\n";
    let diameter = "[sinks.diameter.b]\nconfig = \"{DIR}/diameterclient.conf\"\n";
    let number = "takes a whole number: the records go without it\n";
    let sometimes = "takes a whole number: the records go without it where it is none\n";
    for (template, sink, name, want) in [
        ("$ua", radius, "Own-Number", number),
        ("$Au", radius, "Own-Number", number),
        ("$fU at $si", radius, "Own-Number", number),
        ("$si", radius, "Own-Number", number),
        ("gold", radius, "Own-Number", number),
        ("$fU", radius, "Own-Number", sometimes),
        ("$(fU{s.int})", radius, "Own-Number", ""),
        ("$(ua{s.len})", radius, "Own-Number", ""),
        ("$cs", radius, "Own-Number", ""),
        ("$Tf", radius, "Own-Number", ""),
        ("$hdr(X-Customer)", radius, "Own-Number", ""),
        ("$rm", radius, "Own-Named", ""),
        ("$si", radius, "Own-Named", number),
        ("$ua", radius, "Own-When", "takes an instant: the records go without it\n"),
        ("$Tf", radius, "Own-When", ""),
        ("$ua", radius, "Framed-IP-Address", "takes an address: the records go without it\n"),
        ("$rp", radius, "Framed-IP-Address", "takes an address: the records go without it\n"),
        ("$si", radius, "Framed-IP-Address", ""),
        ("$ua", radius, "Calling-Station-Id", ""),
        ("$ua", diameter, "NAS-Port", number),
        ("$fu", diameter, "Port-Limit", number),
        ("$fU", diameter, "NAS-Port", sometimes),
        ("$cs", diameter, "NAS-Port", ""),
        ("$fu", diameter, "Framed-IP-Address", "takes an address: the records go without it\n"),
        ("$fu", diameter, "Calling-Station-Id", ""),
    ] {
        let found = folder.findings(&text(template, sink, name));
        if let ("Own-When", "") | ("Own-Number", "") = (name, want) {
            assert_eq!(found, "", "{template}, {name}");
            continue;
        }
        // A constant is told as such too.
        let found: Vec<_> = found.split("warning: ").filter(|own| own.starts_with("`x` is")).collect();
        let at = if sink == radius { "t.toml:9:16" } else { "t.toml:8:16" };
        match (want, &found[..]) {
            ("", []) => {}
            (want, [only]) if !want.is_empty() => {
                assert!(
                    only.starts_with(&format!("`x` is `{template}`, and `{name}` {want}  --> {at}\n  --> t.toml:5:")),
                    "{only}"
                );
            }
            (_, found) => panic!("{template}, {name}: {found:?}"),
        }
    }
}

/// Whatever file they are in: the first ten are enough to begin with.
#[test]
fn ten_mistakes_are_told_of_any_file() {
    let folder = Folder::new(CLIENT);
    let many = |line: &dyn Fn(usize) -> String| (0..25).map(line).collect::<String>();
    folder.write("bad-dictionary", &many(&|number| format!("ATTRIBUTE A{number}\n")));
    folder.write("bad-client", &format!("{CLIENT}{}", many(&|number| format!("unknown-{number} 5\n"))));
    folder.write("bad-servers", &many(&|number| format!("host{number}\n")));
    folder.write(
        "with-servers",
        "acctserver 127.0.0.1:1813\nservers {DIR}/bad-servers\nradius_timeout 1\nradius_retries 3\n",
    );
    folder.write("bad-diameter", &many(&|number| format!("unknown-{number} 5\n")));
    let route = "[[route]]\nto = \"sip:127.0.0.9\"\n[accounting]\non = [\"b\"]\n";
    for (what, text) in [
        ("options", many(&|number| format!("[section{number}]\n"))),
        ("syntax", many(&|_| "x = = 1\n".to_owned())),
        ("routes", many(&|_| "[[route]]\nto = \"10.0.0.5\"\n".to_owned())),
        (
            "a dictionary",
            format!(
                "{route}[sinks.radius.b]\nconfig = \"{{DIR}}/radiusclient.conf\"\ndictionary = \"{{DIR}}/bad-dictionary\"\n"
            ),
        ),
        ("a client file", format!("{route}[sinks.radius.b]\nconfig = \"{{DIR}}/bad-client\"\n")),
        ("a servers file", format!("{route}[sinks.radius.b]\nconfig = \"{{DIR}}/with-servers\"\n")),
        ("a Diameter client file", format!("{route}[sinks.diameter.b]\nconfig = \"{{DIR}}/bad-diameter\"\n")),
    ] {
        let mistakes = match parse(Path::new("t.toml"), &folder.text(&text), Default::default()) {
            Ok(plan) => Mistakes(plan.warnings),
            Err(mistakes) => mistakes,
        };
        let told = mistakes.to_string();
        let count = |weight: &str| told.lines().filter(|line| line.starts_with(weight)).count();
        let all = mistakes.0.len();
        assert!(all > 10 || what == "syntax", "{what}: {told}");
        assert!(count("error: ") <= 11 && count("warning: ") <= 10, "{what}: {told}");
        assert!(told.contains(" more ") || told.contains("further mistakes of syntax"), "{what}: {told}");
    }
}

#[test]
fn a_token_of_the_api_is_not_to_be_guessed() {
    let folder = Folder::new(CLIENT);
    let found = |token: &str| {
        folder.write("token", token);
        folder.findings("[[route]]\nto = \"sip:127.0.0.9\"\n[admin]\ntoken_file = \"{DIR}/token\"\n")
    };
    let weak = "error: the token in {DIR}/token is not made of 16 or more characters of ASCII without blanks\n  --> t.toml:4:14\n\
        hint: `openssl rand -hex 16 > {DIR}/token` makes one";
    for (what, token, want) in [
        ("a good one", "0123456789abcdef\n", ""),
        ("a short one", "0123456789abcde\n", weak),
        ("one with a blank", "0123456789 abcdefgh\n", weak),
        ("one of other letters", "0123456789abcdefä\n", weak),
        ("none", "\n", "error: {DIR}/token has no first line, which is the token\n  --> t.toml:4:14"),
    ] {
        assert_eq!(found(token), want, "{what}");
    }
}
