//! HTTP over TLS: who comes in, by what, for how long, and what keeps nobody out.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, Method, header};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::tests::Running;
use super::tls::{Client, Shown};
use super::{HttpTls, access};
use crate::clock::{self, Timestamp};
use crate::net::tls::{Clients, Identity, ServerTls, certificates, private_key, provider};
use crate::sinks::secret::Secret;

const TOKEN: &str = "0123456789abcdef";

/// Authorities `ours` and `theirs`, and what they have signed.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().expect("a folder"));
        for name in ["ours", "theirs"] {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed");
            std::fs::write(files.path(&format!("{name}.pem")), authority.pem()).expect("written");
            for (leaf, year) in [("server", 2090), ("client", 2090), ("late", 2020)] {
                let key = KeyPair::generate().expect("a key");
                let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
                params.not_before = rcgen::date_time_ymd(2010, 1, 1);
                params.not_after = rcgen::date_time_ymd(year, 1, 1);
                let signed = params.signed_by(&key, &authority).expect("signed");
                std::fs::write(files.path(&format!("{name}-{leaf}.pem")), signed.pem()).expect("written");
                std::fs::write(files.path(&format!("{name}-{leaf}.key")), key.serialize_pem()).expect("written");
            }
        }
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn tls(&self, server: &str, clients: fn(PathBuf) -> Clients) -> HttpTls {
        let (certificate, key) = (self.path(&format!("{server}.pem")), self.path(&format!("{server}.key")));
        let clients = clients(self.path("ours.pem"));
        let asks_clients = clients != Clients::Anybody;
        let server = ServerTls::load(&[Identity { certificate, key }], &clients).expect("files that fit");
        HttpTls { server, asks_clients }
    }

    /// A client that trusts both authorities and shows this certificate.
    fn client(&self, own: Option<&str>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        for name in ["ours.pem", "theirs.pem"] {
            roots.add_parsable_certificates(certificates(&self.path(name)).expect("certificates"));
        }
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder = builder.expect("versions").with_root_certificates(roots);
        Arc::new(match own {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let (chain, key) = pair(&self.path(&format!("{name}.pem")), &self.path(&format!("{name}.key")));
                builder.with_client_auth_cert(chain, key).expect("a pair")
            }
        })
    }
}

fn pair(certificate: &Path, key: &Path) -> (Vec<rustls::pki_types::CertificateDer<'static>>, PrivateKeyDer<'static>) {
    (certificates(certificate).expect("a certificate"), private_key(key).expect("a key"))
}

type Stream = StreamOwned<ClientConnection, TcpStream>;

fn connect(running: &Running, config: &Arc<ClientConfig>) -> Stream {
    let stream = TcpStream::connect(running.http()).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
    let name = ServerName::try_from("127.0.0.1").expect("an address");
    StreamOwned::new(ClientConnection::new(Arc::clone(config), name).expect("a client"), stream)
}

fn head(method: &str, path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:8443\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
}

/// Status and body of the next answer of a connection that stays.
fn next(stream: &mut Stream) -> io::Result<(u16, String)> {
    let mut text = Vec::new();
    let rest = loop {
        if let Some(end) = text.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        let mut octet = [0];
        stream.read_exact(&mut octet)?;
        text.push(octet[0]);
    };
    let head = String::from_utf8(text).expect("a head").to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next());
    let mut body = vec![0; length.map_or(0, |length| length.parse().expect("a number"))];
    assert_eq!(rest, head.len());
    stream.read_exact(&mut body)?;
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line");
    Ok((code, String::from_utf8_lossy(&body).into_owned()))
}

/// The status of an answer; 0 when there is none, for the handshake has failed.
fn ask(running: &Running, config: &Arc<ClientConfig>, request: &str) -> u16 {
    let mut stream = connect(running, config);
    stream.write_all(request.as_bytes()).and_then(|()| next(&mut stream)).map_or(0, |(code, _)| code)
}

#[test]
fn a_good_certificate_is_as_good_as_the_token() {
    let files = Files::new();
    let with = |clients, token| Running::start_by(2, true, token, Some(files.tls("ours-server", clients)));
    let anybody = with(|_| Clients::Anybody, Some(TOKEN));
    let optional = with(Clients::Optional, Some(TOKEN));
    let no_token = with(Clients::Optional, None);
    let required = with(Clients::Required, Some(TOKEN));
    let [none, ours, theirs, late] =
        [None, Some("ours-client"), Some("theirs-client"), Some("ours-late")].map(|own| files.client(own));
    let token = format!("Authorization: Bearer {TOKEN}\r\n");
    for (what, running, client, read, metrics) in [
        ("no certificate is asked for", &anybody, &none, 401, 200),
        ("one that nobody asked for is not shown", &anybody, &ours, 401, 200),
        ("asked for, and none is there", &optional, &none, 401, 200),
        ("a good one", &optional, &ours, 200, 200),
        ("one of a foreign authority", &optional, &theirs, 0, 0),
        ("one that has expired", &optional, &late, 0, 0),
        ("without a token nothing is open either", &no_token, &none, 403, 200),
        ("a good one needs no token to be there", &no_token, &ours, 200, 200),
        ("who must have one and has none", &required, &none, 0, 0),
        ("who must have one and has it", &required, &ours, 200, 200),
        ("a foreign one is none", &required, &theirs, 0, 0),
        ("an expired one is none", &required, &late, 0, 0),
    ] {
        assert_eq!(ask(running, client, &head("GET", "/api/v1/status", "", "")), read, "{what}");
        assert_eq!(ask(running, client, &head("GET", "/metrics", "", "")), metrics, "{what}");
    }
    for (what, running, client) in [
        ("the token with TLS", &anybody, &none),
        ("the token instead of a certificate", &optional, &none),
        ("the token with a certificate", &required, &ours),
    ] {
        assert_eq!(ask(running, client, &head("GET", "/api/v1/status", &token, "")), 200, "{what}");
    }
    for (path, want) in [
        ("/", "this port speaks TLS: ask it by https://\r\n"),
        ("/health", "{\"error\":\"this port speaks TLS: ask it by https://\"}"),
    ] {
        let bare = required.ask(&format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"));
        assert_eq!(bare, (400, want.to_owned()), "{path}");
    }
}

#[test]
fn a_page_of_another_site_does_nothing_by_its_readers_certificate() {
    let files = Files::new();
    let running = Running::start_by(2, true, None, Some(files.tls("ours-server", Clients::Optional)));
    let client = files.client(Some("ours-client"));
    let json = "Content-Type: application/json\r\n";
    for (what, headers, want) in [
        ("a program", json.to_owned(), 200),
        ("the page itself", format!("{json}Origin: https://127.0.0.1:8443\r\nSec-Fetch-Site: same-origin\r\n"), 200),
        ("a browser that tells its origin alone", format!("{json}Origin: https://127.0.0.1:8443\r\n"), 200),
        ("another site", format!("{json}Origin: https://evil.example\r\nSec-Fetch-Site: cross-site\r\n"), 403),
        ("another name of the same site", format!("{json}Sec-Fetch-Site: same-site\r\n"), 403),
        ("a word that nobody knows", format!("{json}Sec-Fetch-Site: cross-origin\r\n"), 403),
        ("two words", format!("{json}Sec-Fetch-Site: none\r\nSec-Fetch-Site: cross-site\r\n"), 403),
        ("two origins", format!("{json}Origin: https://127.0.0.1:8443\r\nOrigin: https://evil.example\r\n"), 403),
        ("another site by an older browser", format!("{json}Origin: https://evil.example\r\n"), 403),
        ("another port", format!("{json}Origin: https://127.0.0.1:9443\r\n"), 403),
        ("a page in clear text", format!("{json}Origin: http://127.0.0.1:8443\r\n"), 403),
        ("a page in a frame that hides it", format!("{json}Origin: null\r\n"), 403),
        ("a form", "Content-Type: text/plain\r\n".to_owned(), 415),
        ("a form of another site", "Content-Type: text/plain\r\nOrigin: https://evil.example\r\n".to_owned(), 403),
    ] {
        let request = head("POST", "/api/v1/records/retry", &headers, "{\"all\": true}");
        assert_eq!(ask(&running, &client, &request), want, "{what}");
    }
    let read = head("GET", "/api/v1/status", "Sec-Fetch-Site: cross-site\r\n", "");
    assert_eq!(ask(&running, &client, &read), 403, "it reads nothing either");
    let preflight = head("OPTIONS", "/api/v1/records/retry", "Origin: https://evil.example\r\n", "");
    assert_eq!(ask(&running, &client, &preflight), 403, "nor may it try");
}

#[test]
fn renewed_certificates_are_for_new_connections_and_old_ones_end() {
    let files = Files::new();
    let running = Running::start_by(1, true, None, Some(files.tls("ours-server", Clients::Optional)));
    let client = files.client(Some("ours-client"));
    let mut stays = connect(&running, &client);
    let request = head("GET", "/api/v1/status", "", "");
    for _ in 0..2 {
        stays.write_all(request.as_bytes()).expect("written");
        assert_eq!(next(&mut stays).expect("an answer").0, 200);
    }
    let shown = |stream: &Stream| stream.conn.peer_certificates().expect("a certificate")[0].clone();
    let theirs = certificates(&files.path("theirs-server.pem")).expect("a certificate")[0].clone();
    assert_ne!(shown(&stays), theirs);
    running.renewal.renew(Some(files.tls("theirs-server", Clients::Optional)));
    assert_eq!(stays.read(&mut [0]).expect("closed in order"), 0, "a connection that rests ends");
    let mut new = connect(&running, &client);
    new.write_all(request.as_bytes()).expect("written");
    assert_eq!(next(&mut new).expect("an answer").0, 200);
    assert_eq!(shown(&new), theirs);
    // Switched off and on again.
    running.renewal.renew(None);
    assert_eq!(running.ask("GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").0, 200);
    running.renewal.renew(Some(files.tls("ours-server", Clients::Required)));
    assert_eq!(ask(&running, &files.client(None), &request), 0);
}

#[test]
fn a_certificate_counts_until_its_last_instant() {
    let now = clock::wall();
    for (what, until, want) in [
        ("none was shown", None, false),
        ("it is good", Some(Timestamp(now.0 + 1)), true),
        ("its last instant", Some(now), true),
        ("it has expired while the connection stood", Some(Timestamp(now.0 - 1)), false),
    ] {
        let shown = until.map(|until| Shown { holder: "CN=client".into(), until });
        let client = Client::at(([192, 0, 2, 7], 4711).into()).asked(shown);
        assert_eq!(client.certified(now), want.then_some("CN=client"), "{what}");
    }
}

#[test]
fn who_asks_is_named_by_what_let_it_in_and_from_where() {
    let token = Secret::new(TOKEN.to_owned());
    let with_token = format!("Bearer {TOKEN}").parse().expect("a value");
    let with_token = HeaderMap::from_iter([(header::AUTHORIZATION, with_token)]);
    let none = HeaderMap::new();
    let bare = Client::at(([192, 0, 2, 7], 4711).into());
    let until = Timestamp(clock::wall().0 + 60_000_000);
    let certified = bare.clone().asked(Some(Shown { holder: "CN=ops".into(), until }));
    for (what, token, client, headers, want) in [
        ("by the token", Some(&token), &bare, &with_token, "the token from 192.0.2.7:4711"),
        ("by a certificate", Some(&token), &certified, &none, "CN=ops from 192.0.2.7:4711"),
        ("by both", Some(&token), &certified, &with_token, "CN=ops from 192.0.2.7:4711"),
        ("where nothing is asked for", None, &bare, &none, "somebody from 192.0.2.7:4711"),
    ] {
        let admitted = access::admitted((token, client), &Method::GET, headers);
        assert_eq!(admitted.ok().as_deref(), Some(want), "{what}");
    }
}

#[test]
fn handshakes_that_do_not_end_and_those_that_fail_keep_nobody_out() {
    let files = Files::new();
    let running = Running::start_by(1, true, None, Some(files.tls("ours-server", Clients::Required)));
    let client = files.client(Some("ours-client"));
    let request = head("GET", "/health", "", "");
    // More than there are places, a thousand in all: silent ones, halves of a handshake, and nothing that is any.
    for first in [&b""[..], b"\x16\x03\x01\x02\x00\x01", b"\x00\x00\x00\x00\x00\x00", b"GET / HT"] {
        for _ in 0..3 {
            let waiting: Vec<_> = (0..84)
                .map(|_| {
                    let mut stream = TcpStream::connect(running.http()).expect("connected");
                    // Those before it may have gone already.
                    let _sent = stream.write_all(first);
                    stream
                })
                .collect();
            assert_eq!(ask(&running, &client, &request), 200);
            drop(waiting);
        }
    }
    // Without others a handshake has its time too.
    let begun = clock::mono();
    let mut slow = TcpStream::connect(running.http()).expect("connected");
    slow.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
    slow.write_all(b"\x16\x03\x01\x02\x00\x01").expect("written");
    let _end = slow.read(&mut [0; 64]);
    assert!((Duration::from_secs(4)..Duration::from_secs(20)).contains(&clock::mono().since(begun)));
}
