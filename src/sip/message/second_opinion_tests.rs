//! What the `rsip` crate makes of the values that are interpreted, beside what this module reads: where both agree, and
//! why `rsip` 0.4 cannot take the place of [`Uri`] for URIs of the configuration and of fields, nor of [`Credentials`].

use std::fs;
use std::path::Path;

use rsip::headers::{self, UntypedHeader as _};

use super::{Credentials, Uri, unfold};

/// User, host and port.
type Parts = (Option<String>, String, Option<u16>);

fn of_rsip(text: &str) -> Option<Parts> {
    let uri = rsip::Uri::try_from(text).ok()?;
    Some((uri.user().map(str::to_owned), uri.host().to_string(), uri.port().map(|port| *port.value())))
}

fn own(text: &str) -> Option<Parts> {
    let uri = Uri::parse(text.as_bytes())?;
    let text = |part: &[u8]| String::from_utf8_lossy(part).into_owned();
    Some((uri.user.map(text), text(uri.host), uri.port))
}

#[test]
fn rsip_reads_a_plain_uri_alike() {
    for text in [
        "sip:10.0.0.5",
        "sip:10.0.0.5:5080",
        "sips:gw.example.net",
        "SIP:a@h",
        "sip:a:p@h",
        "sip:a;b@h",
        "sip:a&b@h",
        "sip:a%40b@h",
        "sip:h;x=1",
        "sip:alice@example.com:5070;transport=tcp",
        "sip:a@h;lr;q=1",
    ] {
        assert!(own(text).is_some(), "{text}");
        assert_eq!(of_rsip(text), own(text), "{text}");
    }
    for text in ["sip:", "sip:a@h:99999", "sip:a@h:x"] {
        assert_eq!((of_rsip(text), own(text)), (None, None), "{text}");
    }
}

#[test]
fn rsip_misreads_uris_that_operators_write() {
    let parts = |user: Option<&str>, host: &str, port| Some((user.map(str::to_owned), host.to_owned(), port));
    for (name, text, want, misread) in [
        (
            "a dot in the user is put into the host",
            "sip:+40.21@h",
            parts(Some("+40.21"), "h", None),
            parts(None, "+40.21@h", None),
        ),
        ("IPv6 is refused", "sip:[::1]:5060", parts(None, "[::1]", Some(5060)), None),
        ("and behind a user too", "sip:bob@[::1]", parts(Some("bob"), "[::1]", None), None),
        ("a number is a host with a port", "tel:+4021", parts(Some("+4021"), "", None), parts(None, "tel", Some(4021))),
        ("a service is refused", "urn:service:sos", parts(Some("service:sos"), "", None), None),
        ("headers are put into the host", "sip:a@b?x=1", parts(Some("a"), "b", None), parts(Some("a"), "b?x=1", None)),
        ("what follows a blank is dropped without a word", "sip:a b", None, parts(None, "a", None)),
        ("a stray bracket is a letter of the host", "sip:h>", None, parts(None, "h>", None)),
        ("no scheme is no mistake", "10.0.0.5", None, parts(None, "10.0.0.5", None)),
    ] {
        assert_eq!(own(text), want, "{name}");
        assert_eq!(of_rsip(text), misread, "{name}");
    }
}

#[test]
fn every_uri_of_the_shipped_configuration_is_read_alike() {
    let etc = Path::new(env!("CARGO_MANIFEST_DIR")).join("etc");
    let text = fs::read_to_string(etc.join("tollgate.toml")).expect("the manual");
    let is_end = |char: char| char.is_whitespace() || "\"'`<>,()…".contains(char);
    let uris = text.match_indices("sip").filter_map(|(at, _)| text[at..].split(is_end).next());
    let uris: Vec<&str> = uris.filter(|uri| uri.starts_with("sip:") || uri.starts_with("sips:")).collect();
    let read: Vec<&str> = uris.into_iter().filter(|uri| own(uri).is_some()).collect();
    assert!(read.len() > 4, "{read:?}");
    for uri in read.into_iter().filter(|uri| !uri.contains('[')) {
        assert_eq!(of_rsip(uri), own(uri), "{uri}");
    }
}

#[test]
fn rsip_reads_no_more() {
    let digest = "Digest username=\"NAME\", realm=\"r\", nonce=\"n\", uri=\"sip:x\", response=\"0\"";
    let bob = digest.replace("NAME", "bob");
    for (name, value, want, does_rsip) in [
        ("as rsip reads it", bob.clone(), Some("bob"), true),
        ("a comma", digest.replace("NAME", "b,o"), Some("b,o"), true),
        ("a nonce count of one digit", bob.clone() + ", qop=auth, nc=00000001, cnonce=\"c\"", Some("bob"), true),
        ("hexadecimal nc", bob.clone() + ", qop=auth, nc=0000000a, cnonce=\"c\"", Some("bob"), false),
        ("a nonce count over 255", bob.clone() + ", qop=auth, nc=00000257, cnonce=\"c\"", Some("bob"), false),
        ("an escaped quote", digest.replace("NAME", "b\\\"o"), Some("b\"o"), false),
        ("folded", bob.replace(", ", ",\r\n "), Some("bob"), true),
        ("an unknown algorithm", bob.clone() + ", algorithm=MD6", Some("bob"), false),
        ("blanks around the equals sign", bob.replace('=', " = "), Some("bob"), false),
        ("a URI with an IPv6 host", bob.replace("sip:x", "sip:[::1]"), Some("bob"), false),
        ("only a name", "digest username=bob".to_owned(), Some("bob"), false),
        ("no name", "Digest realm=\"r\"".to_owned(), None, true),
        ("another scheme", "Basic username=bob".to_owned(), None, true),
    ] {
        let found = Credentials::parse(value.as_bytes()).map(|found| found.username).filter(|name| !name.is_empty());
        assert_eq!(found.as_deref(), want.map(str::as_bytes), "{name}");
        let line = String::from_utf8(unfold(value.as_bytes()).into_owned()).expect("text");
        let typed = rsip::typed::Authorization::try_from(headers::Authorization::new(line)).ok();
        let agrees = typed.map(|typed| typed.username).as_deref() == want;
        assert_eq!(agrees, does_rsip, "{name}");
    }
    let latin_1 = Credentials::parse(b"Digest username=\"b\xfcrk\"").expect("a name that rsip cannot be given");
    assert_eq!(&*latin_1.username, b"b\xfcrk");
}
