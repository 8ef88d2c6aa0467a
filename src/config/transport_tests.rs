//! What carries RADIUS packets, from radiusclient.conf to settings: each row is what it says and what the operator reads.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use super::error::{Mistake, Mistakes};
use super::parse;
use super::plan::Plan;
use crate::net::socket::SourceAddress;
use crate::radius::client::Idle;
use crate::sinks::radius::{Carrier, Settings};

/// A folder with an authority, a certificate and keys; `{DIR}` in texts stands for it.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().expect("a folder"));
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
        let key = KeyPair::generate().expect("a key");
        let certificate = CertificateParams::default().signed_by(&key, &ca).expect("a certificate");
        let other = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.not_after = rcgen::date_time_ymd(2021, 1, 10);
        let old = params.signed_by(&key, &ca).expect("a certificate");
        for (name, text) in [
            ("ca.pem", ca.pem()),
            ("own.pem", certificate.pem()),
            ("old.pem", old.pem()),
            ("own.key", key.serialize_pem()),
            ("open.key", key.serialize_pem()),
            ("other.key", other.serialize_pem()),
            ("empty.pem", String::new()),
        ] {
            folder.write(name, &text, if name == "open.key" { 0o644 } else { 0o600 });
        }
        folder
    }

    fn path(&self) -> String {
        self.0.path().display().to_string()
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        let path = self.0.path().join(name);
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("changed");
    }

    fn plan(&self, client: &str, more: &str) -> Result<Plan, Mistakes> {
        let rest = "\nradius_timeout 1\nradius_retries 3\n";
        self.write("radiusclient.conf", &(client.replace("{DIR}", &self.path()) + rest), 0o600);
        let toml = format!(
            "[[route]]\nto = \"sip:127.0.0.9\"\n[accounting]\non = [\"radius\"]\n[sinks.radius.r]\n\
             config = \"{}/radiusclient.conf\"\n{more}\n",
            self.path()
        );
        parse(Path::new("t.toml"), &toml, Default::default())
    }

    fn settings(&self, client: &str, more: &str) -> Settings {
        let plan = self.plan(client, more).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        plan.sinks[0].kind.of::<Settings>().expect("a RADIUS sink").clone()
    }

    fn findings(&self, client: &str) -> Vec<String> {
        let found = match self.plan(client, "") {
            Ok(plan) => plan.warnings,
            Err(Mistakes(mistakes)) => mistakes,
        };
        found.iter().map(Mistake::to_string).map(|text| text.replace(&self.path(), "{DIR}")).collect()
    }
}

const UDP: &str = "acctserver 127.0.0.1:1813:a-long-enough-secret\n";
const TLS: &str = "acctserver localhost,127.0.0.1:1\nserv-type tls\n";
const CA: &str = "tls-ca-file {DIR}/ca.pem\n";
const OWN: &str = "tls-cert-file {DIR}/own.pem\ntls-key-file {DIR}/own.key\n";

#[test]
fn what_is_wrong_with_a_transport_is_named() {
    let at = |place: &str| format!("\n  --> {{DIR}}/radiusclient.conf:{place}");
    let none = "warning: no certificate of our own: a RADIUS server over TLS usually asks for one\n  --> \
                {DIR}/radiusclient.conf:2:11\nhint: set `tls-cert-file` and `tls-key-file`";
    let folder = Folder::new();
    for (name, client, want) in [
        ("TLS in order", [TLS, CA, OWN].concat(), vec![]),
        ("TCP in order", format!("{UDP}serv-type tcp\n"), vec![]),
        ("files that UDP does not use", format!("{UDP}tls-ca-file /none\n{OWN}"), vec![]),
        (
            "no trust anchors",
            [TLS, OWN].concat(),
            vec![format!(
                "error: `serv-type tls` needs `tls-ca-file`: no server could be trusted without it{}",
                at("2:11")
            )],
        ),
        ("no certificate of our own", [TLS, CA].concat(), vec![none.to_owned()]),
        (
            "trust anchors that are not there",
            [TLS, "tls-ca-file none.pem\n", OWN].concat(),
            vec![format!(
                "error: cannot read `{{DIR}}/none.pem`: No such file or directory (os error 2)\n  --> {{DIR}}/none.pem{}",
                at("3:13")
            )],
        ),
        (
            "trust anchors that are none",
            [TLS, "tls-ca-file empty.pem\n", OWN].concat(),
            vec![format!("error: `{{DIR}}/empty.pem` has no certificate\n  --> {{DIR}}/empty.pem{}", at("3:13"))],
        ),
        (
            "the key of another",
            [TLS, CA, OWN].concat().replace("own.key", "other.key"),
            vec![format!(
                "error: `{{DIR}}/other.key` cannot be used: keys may not be consistent: KeyMismatch\n  --> \
                 {{DIR}}/other.key{}",
                at("5:14")
            )],
        ),
        (
            "a key that everybody may read",
            [TLS, CA, OWN].concat().replace("own.key", "open.key"),
            vec!["warning: this file holds a private key and every user may read it\n  --> {DIR}/open.key".to_owned()],
        ),
        (
            "a certificate that has ended",
            [TLS, CA, OWN].concat().replace("own.pem", "old.pem"),
            vec![
                "warning: the certificate of `CN=rcgen self signed cert` expired on 2021-01-10\n  --> {DIR}/old.pem\n\
                 hint: renew it; while the service runs the log repeats this every day"
                    .to_owned(),
            ],
        ),
        (
            "an address of somebody else",
            format!("{UDP}bindaddr 192.0.2.1\n"),
            vec![format!(
                "error: `bindaddr` is `192.0.2.1`, which is no address of this host{}\nhint: `*` leaves it to the kernel",
                at("2:10")
            )],
        ),
        (
            "a namespace that is not there yet",
            format!("{UDP}namespace tollgate-none\n"),
            vec![
                format!(
                    "warning: there is no network namespace `tollgate-none` now: `/run/netns/tollgate-none` is missing{}\n\
                 hint: `ip netns add tollgate-none`, before the service starts",
                    at("2:11")
                ),
                format!(
                    "warning: `namespace` cannot work under the shipped unit: only root may enter a network namespace{}\n\
                 hint: run the gateway in it with `NetworkNamespacePath=` in a drop-in of the unit, and leave the keyword out",
                    at("2:11")
                ),
            ],
        ),
    ] {
        assert_eq!(folder.findings(&client), want, "{name}");
    }
}

#[test]
fn a_transport_reaches_the_settings() {
    let folder = Folder::new();
    assert!(matches!(folder.settings(UDP, "").carrier, Carrier::Udp));
    assert!(matches!(folder.settings(&format!("{UDP}serv-type tcp\n"), "").carrier, Carrier::Tcp));
    let settings = folder.settings(&[TLS, CA, OWN].concat(), "watchdog_s = 7\nkeep_alive = true");
    let Carrier::Tls(tls) = &settings.carrier else { panic!("{:?}", settings.carrier) };
    assert_eq!(format!("{:?}", tls.names), "[DnsName(\"localhost\"), IpAddress(V4(Ipv4Addr([127, 0, 0, 1])))]");
    assert_eq!((settings.client.watchdog, settings.client.idle), (Duration::from_secs(7), Idle::KeptAlive));
    let ports: Vec<u16> = settings.client.servers.iter().map(|server| server.address.port()).collect();
    assert_eq!((ports, settings.client.servers[0].secret.octets()), (vec![2083, 1], &b"radsec"[..]));
    let near = folder.settings(&format!("{UDP}bindaddr 127.0.0.1\nnamespace mgmt\nuse-public-addr true\n"), "");
    assert_eq!(near.bind, Some(IpAddr::from([127, 0, 0, 1])));
    assert_eq!(near.namespace.as_deref(), Some(Path::new("/run/netns/mgmt")));
    assert_eq!(near.source, SourceAddress::Public);
    let plain = folder.settings(UDP, "");
    assert_eq!((plain.bind, plain.namespace, plain.source), (None, None, SourceAddress::Kernel));
    assert_eq!((plain.client.watchdog, plain.client.idle), (Duration::from_secs(30), Idle::MayClose));
}

#[test]
fn segmentation_offload_is_for_datagrams() {
    let folder = Folder::new();
    let on = "segmentation_offload = true";
    assert!(folder.settings(UDP, on).segmentation_offload && !folder.settings(UDP, "").segmentation_offload);
    let tcp = format!("{UDP}serv-type tcp\n");
    assert!(!folder.settings(&tcp, "segmentation_offload = false").segmentation_offload);
    for client in [tcp, [TLS, CA, OWN].concat()] {
        let mistakes = folder.plan(&client, on).map(drop).unwrap_err().to_string();
        let want = "error: `segmentation_offload` is for RADIUS over UDP alone: over TCP and TLS nothing is padded\n  --> t.toml:7:24";
        assert!(mistakes.contains(want), "{mistakes}");
    }
}
