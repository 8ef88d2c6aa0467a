//! Files of all kinds, and handshakes in memory.

use std::fs;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ClientConnection, ServerConfig, ServerConnection};
use tempfile::TempDir;

use super::*;

/// A folder with the files of an authority, a server for `radius.example` and 192.0.2.1, and a client.
struct Files {
    dir: TempDir,
}

impl Files {
    fn new() -> Self {
        let dir = TempDir::with_prefix("tollgate-tls-").unwrap();
        for name in ["ca", "other"] {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
            fs::write(dir.path().join(format!("{name}.pem")), ca.pem()).unwrap();
            if name == "ca" {
                for (leaf, names) in
                    [("server", vec!["radius.example".to_owned(), "192.0.2.1".to_owned()]), ("client", vec![])]
                {
                    let key = KeyPair::generate().unwrap();
                    let signed = CertificateParams::new(names).unwrap().signed_by(&key, &ca).unwrap();
                    fs::write(dir.path().join(format!("{leaf}.pem")), signed.pem()).unwrap();
                    fs::write(dir.path().join(format!("{leaf}.key")), key.serialize_pem()).unwrap();
                }
            }
        }
        fs::write(dir.path().join("empty"), "").unwrap();
        fs::write(dir.path().join("damaged"), "-----BEGIN CERTIFICATE-----\n§§§\n-----END CERTIFICATE-----\n").unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn client(&self, ca: &str, own: Option<(&str, &str)>, name_check: NameCheck) -> Result<ClientTls, TlsError> {
        let own = own.map(|(certificate, key)| Identity { certificate: self.path(certificate), key: self.path(key) });
        ClientTls::load(&ClientFiles { roots: Roots::File(self.path(ca)), own, name_check })
    }

    fn server(&self) -> Arc<ServerConfig> {
        let (chain, key) = (certificates(&self.path("server.pem")), private_key(&self.path("server.key")));
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        Arc::new(builder.with_no_client_auth().with_single_cert(chain.unwrap(), key.unwrap()).unwrap())
    }
}

/// Carries what both sides say to each other until they agree or one refuses.
fn shake_hands(client: ClientTls, server: Arc<ServerConfig>, name: ServerName<'static>) -> Result<(), rustls::Error> {
    let mut client = ClientConnection::new(client.0, name)?;
    let mut server = ServerConnection::new(server)?;
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;
        wire.clear();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    Ok(())
}

#[test]
fn a_server_has_to_prove_its_name_unless_that_is_switched_off() {
    use NameCheck::{Off as Ignored, On as Checked};
    let files = Files::new();
    for (name, ca, host, name_check, want) in [
        ("the name it has", "ca.pem", "radius.example", Checked, ""),
        ("the address it has", "ca.pem", "192.0.2.1", Checked, ""),
        ("a name with a final dot", "ca.pem", "radius.example.", Checked, ""),
        ("another name", "ca.pem", "other.example", Checked, "not valid for name \"other.example\""),
        ("another address", "ca.pem", "192.0.2.2", Checked, "not valid for name"),
        ("another name that nobody checks", "ca.pem", "other.example", Ignored, ""),
        ("another authority", "other.pem", "radius.example", Checked, "UnknownIssuer"),
        ("another authority and no name check", "other.pem", "radius.example", Ignored, "UnknownIssuer"),
    ] {
        let client = files.client(ca, None, name_check).unwrap();
        let result = shake_hands(client, files.server(), server_name(host).unwrap());
        match result {
            Ok(()) => assert_eq!(want, "", "{name}"),
            Err(error) => assert!(!want.is_empty() && error.to_string().contains(want), "{name}: {error}"),
        }
    }
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_what_is_wrong() {
    let files = Files::new();
    for (name, ca, own, at_fault, want) in [
        ("everything is there", "ca.pem", Some(("client.pem", "client.key")), "", ""),
        ("no authority", "none", None, "none", "cannot read"),
        ("an empty authority", "empty", None, "empty", "has no certificate"),
        ("a key as authority", "client.key", None, "client.key", "has no certificate"),
        ("a damaged authority", "damaged", None, "damaged", "is not PEM"),
        ("no certificate", "ca.pem", Some(("none", "client.key")), "none", "cannot read"),
        ("no key", "ca.pem", Some(("client.pem", "client.pem")), "client.pem", "has no private key"),
        ("another's key", "ca.pem", Some(("client.pem", "server.key")), "server.key", "cannot be used"),
    ] {
        let text = match files.client(ca, own, NameCheck::On) {
            Ok(_) => String::new(),
            Err(error) => {
                assert_eq!(error.path(), Some(files.path(at_fault).as_path()), "{name}");
                error.to_string()
            }
        };
        assert!(text.contains(want) && text.is_empty() == want.is_empty(), "{name}: {text}");
    }
}

#[test]
fn a_host_that_no_certificate_can_name_is_an_error() {
    for (host, is_fine) in [("a.example", true), ("::1", true), ("a_b.example", true), ("a b", false), ("", false)] {
        assert_eq!(server_name(host).is_ok(), is_fine, "{host}");
    }
    assert_eq!(server_address([127, 0, 0, 1].into()), server_name("127.0.0.1").unwrap());
}
