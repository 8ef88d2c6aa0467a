//! Mistakes of meaning in `[sip]` and in routes: each row is a TOML text and exactly what the operator reads.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::check_tests::{BASE, findings};

#[test]
fn mistakes_of_sip_are_named() {
    for (line, want) in [
        (
            "listen = [\"udp:127.0.0.1:5060\", \"udp:127.0.0.1:5060\"]",
            "error: `udp:127.0.0.1:5060` is listed twice in `sip.listen`\n  --> t.toml:4:33",
        ),
        (
            "listen = [\"upd:127.0.0.1:5060\"]",
            "error: unknown transport `upd`\n  --> t.toml:4:11\nhint: did you mean `udp`?",
        ),
        (
            "listen = [\"ws:127.0.0.1:5060\"]",
            "error: transport `ws` is not served; `udp`, `tcp` and `tls` are\n  --> t.toml:4:11",
        ),
        (
            "listen = [\"tcp:127.0.0.1:5060\", \"tcp:127.0.0.1:5060\"]",
            "error: `tcp:127.0.0.1:5060` is listed twice in `sip.listen`\n  --> t.toml:4:33",
        ),
        (
            "listen = [\"udp:127.0.0.1:5060\", \"tls:127.0.0.1:5061\"]",
            "error: no `[[sip.tls]]` is for `tls:127.0.0.1:5061`\n  --> t.toml:4:33\nhint: add a `[[sip.tls]]` with `certificates = [{ certificate = \"gw.pem\", key = \"gw.key\" }]`",
        ),
        (
            "listen = [\"tcp:127.0.0.1:5061\"]\n[[sip.tls]]\nclient_certificate = \"none\"",
            "error: there is no TLS listener that this `[[sip.tls]]` could be for\n  --> t.toml:5:1\nhint: add \"tls:192.0.2.1:5061\" to `sip.listen`",
        ),
        (
            "streams = { connections_max = 5, connections_per_source_max = 6 }",
            "error: `sip.streams.connections_per_source_max` is more than `sip.streams.connections_max`\n  --> t.toml:4:63",
        ),
        (
            "dns = { servers = [\"192.0.2.53\", \"dns.example\"] }",
            "error: `dns.example` is no address of a DNS server; write `192.0.2.53`, `192.0.2.53:5353` or `[2001:db8::53]:53`\n  --> t.toml:4:34",
        ),
        (
            "dns = { ttl_min_s = 60, ttl_max_s = 30 }",
            "error: `sip.dns.ttl_min_s` is more than `sip.dns.ttl_max_s`\n  --> t.toml:4:21",
        ),
        (
            "listen = [\"udp:localhost:5060\"]",
            "error: `localhost:5060` is no address with a port\n  --> t.toml:4:11\nhint: write `udp:ADDRESS:PORT`, such as `udp:192.0.2.1:5060` or `tcp:[2001:db8::1]:5060`",
        ),
        (
            "listen = [\"udp:0.0.0.0:5060\"]",
            "error: `udp:0.0.0.0:5060` listens on all addresses, but nothing says which one others reach it by\n  --> t.toml:4:11\nhint: set `advertise` to an IPv4 address, or listen on one address",
        ),
        ("listen = []", "error: `sip.listen` has 0 addresses, allowed is 1 to 64"),
        (
            "advertise = \"gw.example\"",
            "error: `gw.example` is no IP address, with or without a port\n  --> t.toml:4:13",
        ),
        (
            "allow = [\"10.0.0.0/33\"]",
            "error: `10.0.0.0/33` is no block of addresses, such as `10.0.0.0/8` or `2001:db8::/32`\n  --> t.toml:4:10",
        ),
        ("allow = [\"10.0.0.1/8\"]", "error: `10.0.0.1/8` has bits beyond its length of 8\n  --> t.toml:4:10"),
        ("names = [\"a b\"]", "error: `a b` is no host name\n  --> t.toml:4:10"),
        ("t1_ms = 1000\nt2_ms = 500", "error: `sip.t2_ms` is less than `sip.t1_ms`\n  --> t.toml:5:9"),
        (
            "transactions_max = 1000\ntransactions_in_dialog_max = 500",
            "error: `sip.transactions_in_dialog_max` is less than `sip.transactions_max`\n  --> t.toml:5:30",
        ),
    ] {
        assert_eq!(findings(&format!("{BASE}[sip]\n{line}\n")), want);
    }
}

#[test]
fn mistakes_of_certificates_are_named() {
    let dir = tempfile::tempdir().expect("a folder");
    for name in ["a", "b"] {
        let made = rcgen::generate_simple_self_signed([format!("{name}.example")]).expect("a certificate");
        for (ending, text) in [("pem", made.cert.pem()), ("key", made.signing_key.serialize_pem())] {
            let file = dir.path().join(format!("{name}.{ending}"));
            fs::write(&file, text).expect("written");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("changed");
        }
    }
    fs::write(dir.path().join("empty"), "").expect("written");
    let mut params = rcgen::CertificateParams::new(["old.example".to_owned()]).expect("a name");
    params.not_after = rcgen::date_time_ymd(2021, 1, 10);
    let key = rcgen::KeyPair::generate().expect("a key");
    let old = params.self_signed(&key).expect("a certificate").pem();
    for (name, text) in [("old.pem", old), ("old.key", key.serialize_pem())] {
        fs::write(dir.path().join(name), text).expect("written");
        fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(0o600)).expect("changed");
    }
    let found = |lines: &str| {
        let text = format!("{BASE}[sip]\nlisten = [\"udp:127.0.0.1:5060\", \"tls:127.0.0.1:5061\"]\n{lines}\n");
        let own = dir.path().display().to_string();
        findings(&text.replace("{DIR}", &own)).replace(&own, "{DIR}")
    };
    let good = "certificates = [{ certificate = \"{DIR}/a.pem\", key = \"{DIR}/a.key\" }]";
    let own = "[sip.tls_client]\nca = \"{DIR}/a.pem\"\n";
    for (lines, want) in [
        (format!("[[sip.tls]]\n{good}\n{own}"), ""),
        (
            format!("[[sip.tls]]\n{}\n{own}", good.replace("/a.", "/old.")),
            "warning: the certificate of `CN=rcgen self signed cert` expired on 2021-01-10\n  --> {DIR}/old.pem\n\
             hint: renew it; while the service runs the log repeats this every day",
        ),
        (
            format!("[[sip.tls]]\n{good}\n{}", own.replace("/a.", "/old.")),
            "warning: the certificate of `CN=rcgen self signed cert` expired on 2021-01-10\n  --> {DIR}/old.pem\n\
             hint: renew it; while the service runs the log repeats this every day",
        ),
        (
            format!("[[sip.tls]]\n{good}\n[sip.tls_client]\nca = \"{{DIR}}/none\""),
            "error: cannot read a certificate from {DIR}/none: I/O error: No such file or directory (os error 2)\n  --> t.toml:8:6",
        ),
        (
            format!(
                "{own}[[sip.tls]]\n[[sip.tls.certificates]]\ncertificate = \"{{DIR}}/a.pem\"\nkey = \"{{DIR}}/b.key\""
            ),
            "error: the key in {DIR}/b.key is not that of the certificate in {DIR}/a.pem\n  --> t.toml:10:7",
        ),
        (
            format!(
                "{own}[[sip.tls]]\ncertificates = [{{ certificate = \"{{DIR}}/empty\", key = \"{{DIR}}/a.key\" }}]"
            ),
            "error: no certificate in {DIR}/empty\n  --> t.toml:8:33",
        ),
        (
            format!("{own}[[sip.tls]]\n{good}\nclient_certificate = \"required\""),
            "error: client certificates are asked for, but nobody is trusted to sign them\n  --> t.toml:7:1\nhint: set `client_ca` to a file of the authorities that sign them",
        ),
        (
            format!("{own}[[sip.tls]]\n{good}\nclient_ca = \"{{DIR}}/a.pem\""),
            "error: `client_ca` without `client_certificate` has no effect\n  --> t.toml:9:13\nhint: set `client_certificate = \"required\"` or \"optional\"",
        ),
        (
            format!("{own}[[sip.tls]]\n{good}\nlisten = \"tls:127.0.0.1:5062\""),
            "error: no `[[sip.tls]]` is for `tls:127.0.0.1:5061`\n  --> t.toml:4:33\nhint: add a `[[sip.tls]]` with `certificates = [{ certificate = \"gw.pem\", key = \"gw.key\" }]`\nerror: `tls:127.0.0.1:5062` is not in `sip.listen`\n  --> t.toml:9:10\nhint: did you mean `tls:127.0.0.1:5061`?",
        ),
        (
            format!("[[sip.tls]]\n{good}\n{own}certificate = \"{{DIR}}/a.pem\""),
            "error: `sip.tls_client` needs both `certificate` and `key`\n  --> t.toml:9:15",
        ),
    ] {
        assert_eq!(found(&lines), want, "{lines}");
    }
    fs::set_permissions(dir.path().join("a.key"), fs::Permissions::from_mode(0o644)).expect("changed");
    let text = found(&format!("[[sip.tls]]\n{good}\n{own}"));
    assert!(text.contains("`{DIR}/a.key` is a private key and every user may read it"), "{text}");
}

#[test]
fn mistakes_of_routes_are_named() {
    for (lines, want) in [
        (
            "[sip]",
            "warning: there is no `[[route]]`: every call gets 404\n  --> t.toml\nhint: add a `[[route]]` with `to`",
        ),
        (
            "[[route]]\nto = \"10.0.0.5\"",
            "error: `10.0.0.5` is no SIP URI, such as `sip:10.0.0.5:5060`\n  --> t.toml:2:6",
        ),
        (
            "[[route]]\nto = [\"sip:127.0.0.1\", \"tel:5\"]",
            "error: `tel:5` has a scheme that cannot be a target; only `sip:` and `sips:` can\n  --> t.toml:2:24",
        ),
        (
            "[[route]]\nto = \"sip:127.0.0.1;transport=tcp\"",
            "error: `sip:127.0.0.1;transport=tcp` needs a `tcp` listener, and `sip.listen` has none\n  --> t.toml:2:6\nhint: add \"tcp:ADDRESS:PORT\" to `sip.listen`",
        ),
        (
            "[[route]]\nname = \"x\"",
            "error: this `[[route]]` has neither `to` nor `answer`\n  --> t.toml:1:1\nhint: add `to = [\"sip:192.0.2.1\"]` or `answer = { code = 404 }`",
        ),
        (
            "[[route]]\nto = \"sip:127.0.0.1\"\nanswer = { code = 404 }",
            "error: a `[[route]]` has `to` or `answer`, not both\n  --> t.toml:3:1",
        ),
        (
            "[[route]]\nto = \"sip:127.0.0.1\"\nnext_on = [\"5xx\", \"6xx\"]",
            "error: `6xx` cannot lead to the next target: a 6xx ends the call at all targets (RFC 3261 section 16.7)\n  --> t.toml:3:19",
        ),
        (
            "[[route]]\nto = \"<sip:127.0.0.1>;next_on=busy\"",
            "error: `<sip:127.0.0.1>;next_on=busy`: `busy` is neither a code from 300 to 599, such as `503`, nor `3xx`, `4xx` or `5xx`\n  --> t.toml:2:6",
        ),
        (
            "[[route]]\nto = \"sip:127.0.0.1\"\ntargets = \"alternative\"",
            "error: unknown value `alternative` for `route.targets`\n  --> t.toml:3:11\nhint: did you mean `alternatives`?",
        ),
        (
            "[[route]]\nnext_on = \"5xx\"\nanswer = { code = 404 }",
            "error: a `[[route]]` with `answer` has no use for `next_on`\n  --> t.toml:3:1",
        ),
        (
            "[[route]]\nanswer = { code = 302 }",
            "warning: a 302 without `contacts` leads nowhere\n  --> t.toml:2:1\nhint: add `contacts = [\"sip:192.0.2.1\"]`",
        ),
        (
            "[[route]]\nanswer = { code = 486, contacts = \"sip:a\" }",
            "error: a 486 has no `contacts`; answers from 300 to 399 and 485 have\n  --> t.toml:2:35",
        ),
        (
            "[[route]]\nanswer = { code = 302, contacts = [\"sip:a;lr\"] }",
            "error: `sip:a;lr` is a next hop (`lr`), which is no contact\n  --> t.toml:2:36",
        ),
        (
            "[[route]]\nanswer = { code = 302, contacts = \"tel:+1\" }",
            "error: `tel:+1` has a scheme that cannot be a target; only `sip:` and `sips:` can\n  --> t.toml:2:35",
        ),
        (
            "[[route]]\nto = \"sip:127.0.0.1\"\navps = { src = [\"$fu\", \"$fUU\"] }",
            "error: `$fUU`: unknown variable `$fUU`\n  --> t.toml:3:26\nhint: did you mean `$fU`?",
        ),
        ("[[route]]\nto = \"sip:127.0.0.1\"\navps = { src = [] }", "error: `src` has no value\n  --> t.toml:3:10"),
        (
            "[[route]]\nfork = \"serial\"\nanswer = { code = 404 }",
            "error: a `[[route]]` with `answer` has no use for `fork`\n  --> t.toml:3:1",
        ),
        (
            "[[route]]\nto = \"sip:127.0.0.1\"\nmatch = { method = [\"INVTE\"] }",
            "error: unknown method `INVTE`\n  --> t.toml:3:21\nhint: did you mean `INVITE`?",
        ),
        (
            "[[route]]\nto = \"sip:127.0.0.1\"\nmatch = { method = \"invite\" }",
            "error: unknown method `invite`\n  --> t.toml:3:20\nhint: did you mean `INVITE`?",
        ),
        (
            "[[route]]\nto = \"sip:127.0.0.1\"\nmatch.prefix = \"+40*\"",
            "error: `+40*` is a pattern; `prefix` is plain text, `user` takes patterns\n  --> t.toml:3:16",
        ),
        (
            "[[route]]\nto = \"sip:127.0.0.1\"\n[[route]]\nto = \"sip:127.0.0.2\"",
            "warning: this `[[route]]` is never reached\n  --> t.toml:3:1\n  --> t.toml:1:1\nhint: the one before it matches everything",
        ),
        (
            "[[route]]\nto = \"sip:127.0.0.1\"\naccount.on = [\"radus\"]",
            "error: unknown sink `radus`\n  --> t.toml:3:15\nhint: did you mean `radius`?",
        ),
        (
            "[[route]]\nto = \"sip:127.0.0.1\"\navps = { src = \"$fUU\" }",
            "error: `$fUU`: unknown variable `$fUU`\n  --> t.toml:3:18\nhint: did you mean `$fU`?",
        ),
    ] {
        assert_eq!(findings(lines), want);
    }
}
