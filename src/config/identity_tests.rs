//! `[accounting.identity]`: each row is what is configured and what the operator reads.

use std::fs;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CustomExtension, IsCa, Issuer, KeyPair, date_time_ymd};
use tempfile::TempDir;

use super::error::{Mistake, Mistakes};
use super::parse;
use super::plan::Plan;

/// TNAuthList of a provider, RFC 8226.
const PROVIDER: &[u8] = b"\x30\x08\xA0\x06\x16\x041234";

/// A folder with two authorities and certificates of the first; `{DIR}` in texts stands for it.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("written");
    let key = KeyPair::generate().expect("a key");
    let authority = |name: &str| {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let own = KeyPair::generate().expect("a key");
        put(name, &params.self_signed(&own).expect("a certificate").pem());
        Issuer::new(params, own)
    };
    let (issuer, _) = (authority("ca.pem"), authority("other.pem"));
    let mut params = CertificateParams::default();
    let sign = |params: &CertificateParams| params.signed_by(&key, &issuer).expect("a certificate").pem();
    put("web.pem", &sign(&params));
    let oid = [1, 3, 6, 1, 5, 5, 7, 1, 26];
    params.custom_extensions = vec![CustomExtension::from_oid_content(&oid, PROVIDER.to_vec())];
    put("own.pem", &sign(&params));
    params.not_after = date_time_ymd(2021, 1, 10);
    put("old.pem", &sign(&params));
    put("empty.pem", "");
    folder
}

fn plan(folder: &Path, lines: &str) -> Result<Plan, Mistakes> {
    let dir = folder.display().to_string();
    let head = "[[route]]\nto = \"sip:127.0.0.9\"\n[accounting.identity]\n";
    parse(Path::new("t.toml"), &(head.to_owned() + &lines.replace("{DIR}", &dir)), Default::default())
}

#[test]
fn what_is_wrong_with_it_is_named() {
    let folder = folder();
    let own = |file: &str| {
        format!("anchors = \"{{DIR}}/ca.pem\"\ncertificates = {{ \"https://c.example/1.pem\" = \"{{DIR}}/{file}\" }}")
    };
    for (name, lines, want) in [
        ("nothing", String::new(), &[][..]),
        ("nobody is trusted", "anchors = \"\"".to_owned(), &[]),
        ("all is there", own("own.pem") + "\nmax_age_s = 5", &[]),
        (
            "nobody signs",
            "anchors = \"{DIR}/ca.pem\"".to_owned(),
            &[
                "warning: `accounting.identity` has no certificate: every verdict is `no-certificate`\n  --> t.toml:4:11\n\
               hint: name those of the networks that calls come from in `accounting.identity.certificates`",
            ],
        ),
        (
            "nobody is trusted to sign",
            "certificates = { \"https://c.example/1.pem\" = \"{DIR}/own.pem\" }".to_owned(),
            &[
                "error: `accounting.identity.certificates` without `anchors`: nothing would be checked\n  --> t.toml:4:18\n\
               hint: set `anchors` to a PEM file of the authorities that may sign them",
            ],
        ),
        (
            "no authorities",
            "anchors = \"{DIR}/empty.pem\"".to_owned(),
            &["error: no certificate in {DIR}/empty.pem\n  --> t.toml:4:11"],
        ),
        (
            "no file",
            own("none.pem"),
            &[
                "error: cannot read a certificate from {DIR}/none.pem: I/O error: No such file or directory (os error 2)\n  \
               --> t.toml:5:46",
            ],
        ),
        (
            "a certificate of anybody",
            own("web.pem"),
            &[
                "error: cannot use {DIR}/web.pem: its first certificate names no numbers and no provider: TNAuthList is \
               missing or damaged (RFC 8226 section 9)\n  --> t.toml:5:46",
            ],
        ),
        (
            "one of another authority",
            own("own.pem").replace("ca.pem", "other.pem"),
            &["warning: `{DIR}/own.pem` does not lead to one of `anchors` now\n  --> t.toml:5:46\n\
               hint: calls signed with it get `untrusted`; does the file have the certificates between?"],
        ),
        (
            "no address",
            own("own.pem").replace("https://", ""),
            &["error: `c.example/1.pem` is no address of a certificate\n  --> t.toml:5:18\n\
               hint: write what stands in the `info` of its Identity headers: `https://…`"],
        ),
        (
            "a limit that is none",
            own("own.pem") + "\nmax_age_s = 0",
            &["error: `accounting.identity.max_age_s`: 0 is outside 1 to 86400 s\n  --> t.toml:6:13"],
        ),
    ] {
        let found = match plan(folder.path(), &lines) {
            Ok(plan) => plan.warnings,
            Err(Mistakes(mistakes)) => mistakes,
        };
        let dir = folder.path().display().to_string();
        let found: Vec<_> = found.iter().map(Mistake::to_string).map(|text| text.replace(&dir, "{DIR}")).collect();
        assert_eq!(found, want, "{name}");
    }
}

#[test]
fn its_files_are_watched_and_read_again_by_every_reload() {
    let folder = folder();
    let lines = "anchors = \"{DIR}/ca.pem\"\nmax_age_s = 7\n\
                 certificates = { \"https://c.example/1.pem\" = \"{DIR}/own.pem\" }";
    let read = || plan(folder.path(), lines).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let before = read();
    let verifier = before.accounting.identity.as_ref().expect("something is checked");
    assert_eq!((verifier.max_age.as_secs(), verifier.signers.len(), verifier.anchors.len()), (7, 1, 1));
    for name in ["ca.pem", "own.pem"] {
        assert!(before.certificates.contains(&folder.path().join(name)), "{name}: nobody is told when it ends");
    }
    assert_eq!(read().accounting, before.accounting);
    fs::copy(folder.path().join("old.pem"), folder.path().join("own.pem")).expect("copied");
    let after = read();
    assert_ne!(after.accounting, before.accounting, "the options are the same, the certificate is not");
    let warnings: Vec<_> = after.warnings.iter().map(Mistake::to_string).collect();
    assert!(warnings.iter().any(|text| text.contains("expired on 2021-01-10")), "{warnings:?}");
    assert!(warnings.iter().any(|text| text.contains("does not lead to one of `anchors` now")), "{warnings:?}");
}
