//! Mistakes of `[admin]` and `[admin.tls]`: each row is a TOML text and exactly what the operator reads.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::check_tests::{BASE, Folder};

/// A folder with the certificates of two hosts and an old one, `{DIR}/a.pem` and so on, with keys, and a token.
fn folder() -> Folder {
    let folder = Folder::new("");
    for (name, year) in [("a", 2090), ("b", 2090), ("old", 2021)] {
        let mut params = rcgen::CertificateParams::new([format!("{name}.example")]).expect("a name");
        params.not_after = rcgen::date_time_ymd(year, 1, 10);
        let key = rcgen::KeyPair::generate().expect("a key");
        folder.write(&format!("{name}.pem"), &params.self_signed(&key).expect("a certificate").pem());
        folder.write(&format!("{name}.key"), &key.serialize_pem());
    }
    let made = |name: &str, names: &[&str], change: &dyn Fn(&mut rcgen::CertificateParams)| {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names).expect("names");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        change(&mut params);
        let key = rcgen::KeyPair::generate().expect("a key");
        folder.write(&format!("{name}.pem"), &params.self_signed(&key).expect("a certificate").pem());
        folder.write(&format!("{name}.key"), &key.serialize_pem());
    };
    made("ca", &[], &|params| params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained));
    made("old-ca", &[], &|params| {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.not_after = rcgen::date_time_ymd(2021, 1, 10);
    });
    made("client", &["c.example"], &|own| own.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth]);
    made("nameless", &[], &|_| {});
    folder.write("token", "0123456789abcdef");
    folder.write("empty", "");
    folder
}

#[test]
fn mistakes_of_its_certificates_are_named() {
    let folder = folder();
    let found =
        |lines: &str| folder.findings(&format!("{BASE}[admin]\nlisten = \"127.0.0.1:8443\"\n[admin.tls]\n{lines}\n"));
    let pair = |certificate: &str, key: &str, more: &str| {
        format!("certificate = \"{{DIR}}/{certificate}\"\nkey = \"{{DIR}}/{key}\"\n{more}")
    };
    for (lines, want) in [
        (String::new(), ""),
        ("certificate = \"\"\nkey = \"\"\nclient_certificate = \"none\"\nclient_ca = \"\"".to_owned(), ""),
        (pair("a.pem", "a.key", ""), ""),
        (pair("a.pem", "a.key", "client_certificate = \"optional\"\nclient_ca = \"{DIR}/ca.pem\""), ""),
        (
            pair("a.pem", "a.key", "client_certificate = \"optional\"\nclient_ca = \"{DIR}/b.pem\""),
            "warning: the certificate of `CN=rcgen self signed cert` in {DIR}/b.pem is no authority's (CA:TRUE)\n  --> t.toml:9:13\n\
             hint: only who shows this very certificate comes in: name the file of the authority that signs the clients'",
        ),
        (
            pair("client.pem", "client.key", ""),
            "warning: the certificate of `CN=client` in {DIR}/client.pem is not one for servers\n  --> t.toml:6:15\n\
             hint: its extended key usage lacks serverAuth: the other side may refuse it; have one made with that",
        ),
        (
            pair("nameless.pem", "nameless.key", ""),
            "warning: the certificate of `CN=nameless` in {DIR}/nameless.pem has no subjectAltName\n  --> t.toml:6:15\n\
             hint: clients look for the host's name nowhere else: have one made with it",
        ),
        (
            pair("a.key", "a.pem", ""),
            "error: `certificate` and `key` look swapped: {DIR}/a.key has a private key, and {DIR}/a.pem has a certificate\n  \
             --> t.toml:6:15\n  --> t.toml:7:7\nhint: let each have the other's file",
        ),
        (pair("a.key", "b.key", ""), "error: no certificate in {DIR}/a.key\n  --> t.toml:6:15"),
        (
            pair("a.pem", "b.pem", ""),
            "error: cannot read a private key from {DIR}/b.pem: no items found\n  --> t.toml:7:7",
        ),
        (
            pair("old.pem", "old.key", ""),
            "warning: the certificate of `CN=rcgen self signed cert` expired on 2021-01-10\n  --> {DIR}/old.pem\n\
             hint: renew it; while the service runs the log repeats this every day",
        ),
        (
            pair("a.pem", "a.key", "client_certificate = \"required\"\nclient_ca = \"{DIR}/old-ca.pem\""),
            "warning: the certificate of `CN=old-ca` expired on 2021-01-10\n  --> {DIR}/old-ca.pem\n\
             hint: renew it; while the service runs the log repeats this every day",
        ),
        (
            pair("a.pem", "b.key", ""),
            "error: the key in {DIR}/b.key is not that of the certificate in {DIR}/a.pem\n  --> t.toml:7:7",
        ),
        (pair("empty", "a.key", ""), "error: no certificate in {DIR}/empty\n  --> t.toml:6:15"),
        (
            pair("a.pem", "none", ""),
            "error: cannot read a private key from {DIR}/none: I/O error: No such file or directory (os error 2)\n  --> t.toml:7:7",
        ),
        (
            pair("a.pem", "a.key", "client_certificate = \"required\"\nclient_ca = \"{DIR}/empty\""),
            "error: no certificate in {DIR}/empty\n  --> t.toml:9:13",
        ),
        (
            pair("a.pem", "a.key", "client_certificate = \"required\""),
            "error: client certificates are asked for, but nobody is trusted to sign them\n  --> t.toml:8:22\n\
             hint: set `client_ca` to a file of the authorities that sign them",
        ),
        (
            pair("a.pem", "a.key", "client_ca = \"{DIR}/b.pem\""),
            "error: `client_ca` without `client_certificate` has no effect\n  --> t.toml:8:13\n\
             hint: set `client_certificate = \"required\"` or \"optional\"",
        ),
        (
            "certificate = \"{DIR}/a.pem\"".to_owned(),
            "error: `admin.tls` needs both `certificate` and `key`\n  --> t.toml:6:15",
        ),
        (
            "client_certificate = \"required\"\nclient_ca = \"{DIR}/b.pem\"".to_owned(),
            "error: client certificates need TLS, and `admin.tls` has no certificate\n  --> t.toml:6:22\n\
             hint: set `certificate` and `key` too",
        ),
    ] {
        assert_eq!(found(&lines), want, "{lines}");
    }
    let alone = format!("{BASE}[admin.tls]\n{}\n", pair("a.pem", "a.key", ""));
    assert_eq!(
        folder.findings(&alone),
        "error: there is no HTTP that `admin.tls` could be for\n  --> t.toml:4:15\n\
         hint: set `admin.listen` to an address, such as \"127.0.0.1:8443\""
    );
    let key = folder.text("{DIR}/a.key");
    fs::set_permissions(key, fs::Permissions::from_mode(0o644)).expect("changed");
    let text = found(&pair("a.pem", "a.key", ""));
    assert!(text.contains("`{DIR}/a.key` is a private key and every user may read it"), "{text}");
}

#[test]
fn names_that_the_certificate_lacks_are_warned_of() {
    let folder = folder();
    let tls = "[admin.tls]\ncertificate = \"{DIR}/a.pem\"\nkey = \"{DIR}/a.key\"\n";
    let lacks = "warning: the certificate in {DIR}/a.pem has none of the names of `admin.hosts`\n  --> t.toml:7:15\n  --> t.toml:5:10\n\
        hint: who asks by one of them refuses it: have one made with them, unless what stands in front has its own";
    for (hosts, want) in [
        ("[]", ""),
        ("[\"a.example\"]", ""),
        ("[\"b.example\", \"A.example\"]", ""),
        ("[\"b.example\"]", lacks),
        ("[\"b.example\", \"c.example\"]", lacks),
    ] {
        let text = format!("{BASE}[admin]\nlisten = \"127.0.0.1:8443\"\nhosts = {hosts}\n{tls}");
        assert_eq!(folder.findings(&text), want, "{hosts}");
    }
}

#[test]
fn a_socket_needs_its_folder() {
    let folder = folder();
    for (option, path, want) in [
        ("socket", "{DIR}/admin.sock", ""),
        ("socket", "", ""),
        ("socket", "/run/tollgate/other.sock", ""),
        ("socket", "{DIR}/none/admin.sock", "admin.socket"),
        ("status_socket", "{DIR}/none/admin.sock", "admin.status_socket"),
    ] {
        let want = match want {
            "" => String::new(),
            name => format!(
                "warning: the folder of `{name}` is not there: {{DIR}}/none\n  --> t.toml:4:{}\nhint: the service does not \
                 start without it: make it, or use /run/tollgate, which systemd-tmpfiles makes",
                option.len() + 4
            ),
        };
        assert_eq!(folder.findings(&format!("{BASE}[admin]\n{option} = \"{path}\"\n")), want, "{option} {path}");
    }
}

#[test]
fn what_others_could_do_on_the_network_is_warned_of() {
    let folder = folder();
    let open = "anybody who reaches it can read metrics and records in progress";
    let clear = "the token and what it opens go over the network in clear text: set `admin.tls.certificate` and `key`";
    let tls = "[admin.tls]\ncertificate = \"{DIR}/a.pem\"\nkey = \"{DIR}/a.key\"\n";
    let asks = "client_certificate = \"optional\"\nclient_ca = \"{DIR}/ca.pem\"\n";
    let token = "token_file = \"{DIR}/token\"\n";
    for (what, lines, want) in [
        ("metrics in clear text", String::new(), open),
        ("all in clear text", "api = true\n".to_owned(), open),
        ("a token in clear text", format!("api = true\n{token}"), clear),
        ("metrics by TLS", tls.to_owned(), ""),
        ("calls by TLS for everybody", format!("api = true\n{tls}"), open),
        ("a token by TLS", format!("api = true\n{token}{tls}"), ""),
        ("certificates", format!("api = true\n{tls}{asks}"), ""),
    ] {
        let found = folder.findings(&format!("{BASE}[admin]\nlisten = \"192.0.2.1:8443\"\n{lines}"));
        let warning = "warning: `admin.listen` is open to other hosts: 192.0.2.1:8443\n  --> t.toml:4:10\nhint: ";
        assert_eq!(found, if want.is_empty() { String::new() } else { format!("{warning}{want}") }, "{what}");
    }
}
