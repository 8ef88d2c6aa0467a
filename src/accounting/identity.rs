//! What an INVITE claims about its caller: the PASSporTs of its Identity headers (RFC 8224, RFC 8225: `shaken` of RFC 8588,
//! `div` of RFC 8946, `rcd` of RFC 9795) and the `verstat` of those who say to have checked one. No signature is looked at here:
//! anybody can write them, and [`passport`](super::passport) says what they are worth.

use data_encoding::BASE64URL_NOPAD;
use serde_json::Value as Json;

use crate::record::Facts;
use crate::record::facts::{FACT_VALUES_MAX, Fact};
use crate::sip::message::{Message, Name};

/// Octets of an Identity header that is read; a longer one is left out, and the record says that it was shortened.
pub(super) const IDENTITY_BYTES_MAX: usize = 8 * 1024;
/// Identity headers that are read.
pub(super) const IDENTITIES_MAX: usize = 4;

/// Adds what is claimed; whether something is missing. An INVITE without such headers costs a look-up and a search in From.
pub(super) fn put_claims(facts: &mut Facts, request: &Message) -> bool {
    let mut is_cut = false;
    if let Some(verstat) = verstat(request) {
        is_cut |= facts.put_text(Fact::Verstat, verstat);
    }
    if !request.has(Name::Identity) {
        return is_cut;
    }
    for (number, value) in request.headers(Name::Identity).enumerate() {
        if number == IDENTITIES_MAX || value.len() > IDENTITY_BYTES_MAX {
            is_cut = true;
            continue;
        }
        if let Some(claims) = claims_of(value) {
            is_cut |= put(facts, &claims);
        }
    }
    is_cut
}

/// The claims of a PASSporT; `None` where they cannot be read, or are left out for the receiver to put together (the compact
/// form of RFC 8225 §7).
fn claims_of(value: &[u8]) -> Option<Json> {
    let [_head, claims, _signature] = parts(value)?;
    object(claims)
}

/// Header, claims and signature of a PASSporT, as they came.
pub(super) fn parts(value: &[u8]) -> Option<[&[u8]; 3]> {
    let token = value.split(|octet| *octet == b';').next()?;
    let mut parts = token.split(|octet| *octet == b'.').map(<[u8]>::trim_ascii);
    Some([parts.next()?, parts.next()?, parts.next()?])
}

/// A part that is a JSON object; nested deeper than serde_json reads, it is none.
pub(super) fn object(part: &[u8]) -> Option<Json> {
    let object = serde_json::from_slice(&BASE64URL_NOPAD.decode(part).ok()?).ok()?;
    matches!(object, Json::Object(_)).then_some(object)
}

fn put(facts: &mut Facts, claims: &Json) -> bool {
    let mut is_cut = false;
    // Of several PASSporTs the first one that says something is right: the newest is written last.
    for (fact, text) in [
        (Fact::Attest, claims["attest"].as_str()),
        (Fact::OrigId, claims["origid"].as_str()),
        (Fact::Orig, identities(&claims["orig"]).next()),
        (Fact::CallerName, claims["rcd"]["nam"].as_str()),
    ] {
        if let Some(text) = text.filter(|text| !text.is_empty() && !facts.has(fact)) {
            is_cut |= facts.put_text(fact, text.as_bytes());
        }
    }
    if let Some(iat) = claims["iat"].as_u64().filter(|_| !facts.has(Fact::Iat)) {
        is_cut |= facts.put_number(Fact::Iat, iat);
    }
    if !facts.has(Fact::Dest) {
        let mut all = identities(&claims["dest"]);
        is_cut |=
            all.by_ref().take(FACT_VALUES_MAX).fold(false, |cut, one| cut | facts.put_text(Fact::Dest, one.as_bytes()));
        is_cut |= all.next().is_some();
    }
    // Each diversion has a PASSporT of its own.
    identities(&claims["div"]).take(1).fold(is_cut, |cut, one| cut | facts.put_text(Fact::Div, one.as_bytes()))
}

/// Numbers and URIs of an identity claim (RFC 8225 §5.2.1): one of either, or a list.
fn identities(claim: &Json) -> impl Iterator<Item = &str> {
    ["tn", "uri"]
        .into_iter()
        .flat_map(move |key| match &claim[key] {
            Json::Array(items) => items.as_slice(),
            one => std::slice::from_ref(one),
        })
        .filter_map(Json::as_str)
}

/// The first `verstat` of From or P-Asserted-Identity (TS 24.229 §7.2A.20), a parameter of the number.
fn verstat(request: &Message) -> Option<&[u8]> {
    const KEY: &[u8] = b"verstat=";
    let values = request.headers(Name::From).chain(request.headers(Name::PAssertedIdentity));
    values.into_iter().find_map(|value| {
        let at = memchr::memmem::find(value, KEY)?;
        // Behind a semicolon it is a parameter, else part of something longer.
        let is_param = at > 0 && value[at - 1] == b';';
        let rest = &value[at + KEY.len()..];
        let end = rest.iter().position(|octet| !is_word(*octet)).unwrap_or(rest.len());
        Some(&rest[..end]).filter(|word| is_param && !word.is_empty())
    })
}

const fn is_word(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.')
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{ProptestConfig, any, prop_assert, proptest};

    use super::*;

    fn identity(claims: &str) -> String {
        let part = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
        let head = part(r#"{"alg":"ES256","ppt":"shaken","typ":"passport","x5u":"https://cert.example/p.pem"}"#);
        format!("Identity: {head}.{}.c2ln;info=<https://cert.example/p.pem>;alg=ES256;ppt=\"shaken\"\r\n", part(claims))
    }

    fn invite(from: &str, lines: &str) -> Message {
        let text =
            format!("INVITE sip:d@x SIP/2.0\r\nFrom: <{from}>;tag=a\r\n{lines}CSeq: 1 INVITE\r\nCall-ID: c\r\n\r\n");
        Message::parse(text.into_bytes()).expect("a message")
    }

    /// `attest origid orig dest,dest iat div,div name verstat`, `-` for what is not claimed.
    fn shown(request: &Message) -> String {
        let mut facts = Facts::new();
        let is_cut = put_claims(&mut facts, request);
        let texts = |fact| {
            let all: Vec<_> = facts.texts(fact).map(String::from_utf8_lossy).collect();
            if all.is_empty() { "-".to_owned() } else { all.join(",") }
        };
        let iat = facts.number(Fact::Iat).map_or("-".to_owned(), |iat| iat.to_string());
        let words = [
            texts(Fact::Attest),
            texts(Fact::OrigId),
            texts(Fact::Orig),
            texts(Fact::Dest),
            iat,
            texts(Fact::Div),
            texts(Fact::CallerName),
            texts(Fact::Verstat),
        ];
        words.join(" ") + if is_cut { " +" } else { "" }
    }

    const SHAKEN: &str = r#"{"attest":"A","dest":{"tn":["12155550113","12155550114"]},"iat":1443208345,"orig":{"tn":"12155550112"},"origid":"123e4567-e89b"}"#;
    const DIV: &str =
        r#"{"dest":{"tn":["12155550199"]},"div":{"tn":"12155550113"},"iat":1443208346,"orig":{"tn":"12155550112"}}"#;

    #[test]
    fn what_is_claimed_is_read() {
        let both = identity(SHAKEN) + &identity(DIV);
        let rcd =
            identity(r#"{"orig":{"uri":"sip:al@x"},"dest":{"uri":["sip:b@x"]},"iat":7,"rcd":{"nam":"Al, \"Ltd\""}}"#);
        let long = format!("Identity: a.{}.b\r\n", "x".repeat(9_000));
        for (name, from, lines, want) in [
            ("nothing", "sip:al@x", "", "- - - - - - - -"),
            (
                "shaken",
                "sip:al@x",
                &identity(SHAKEN),
                "A 123e4567-e89b 12155550112 12155550113,12155550114 1443208345 - - -",
            ),
            (
                "and diverted",
                "sip:al@x",
                &both,
                "A 123e4567-e89b 12155550112 12155550113,12155550114 1443208345 12155550113 - -",
            ),
            ("a caller with a name", "sip:al@x", &rcd, "- - sip:al@x sip:b@x 7 - Al, \"Ltd\" -"),
            (
                "verstat",
                "sip:+12155550112;verstat=TN-Validation-Passed@x;user=phone",
                "",
                "- - - - - - - TN-Validation-Passed",
            ),
            (
                "no verstat",
                "sip:xverstat=1@x",
                "P-Asserted-Identity: <tel:+1;verstat=No-TN-Validation>\r\n",
                "- - - - - - - No-TN-Validation",
            ),
            (
                "the signature of RFC 4474",
                "sip:al@x",
                "Identity: \"ZYNBbHC00VMZr2kZt6VmCvPonWJMGvQTBDqghoWeLxJfzB2a1pxAr3VgrB0SsSAa\"\r\n",
                "- - - - - - - -",
            ),
            ("the compact form", "sip:al@x", "Identity: ..c2ln;info=<x>\r\n", "- - - - - - - -"),
            ("no base64", "sip:al@x", "Identity: a.!!!.b;info=<x>\r\n", "- - - - - - - -"),
            ("no JSON", "sip:al@x", "Identity: e30.e30x.b\r\n", "- - - - - - - -"),
            ("no object", "sip:al@x", "Identity: e30.WzFd.b\r\n", "- - - - - - - -"),
            (
                "claims of other types",
                "sip:al@x",
                &identity(r#"{"attest":1,"orig":[],"dest":{"tn":{"a":1}},"iat":"7","div":null,"rcd":[]}"#),
                "- - - - - - - -",
            ),
            ("one that is too long", "sip:al@x", &long, "- - - - - - - - +"),
            (
                "more than are read",
                "sip:al@x",
                &identity(SHAKEN).repeat(9),
                "A 123e4567-e89b 12155550112 12155550113,12155550114 1443208345 - - - +",
            ),
        ] {
            assert_eq!(shown(&invite(from, lines)), want, "{name}");
        }
        let deep = identity(&format!("{}1{}", "[".repeat(3_000), "]".repeat(3_000)));
        assert_eq!(shown(&invite("sip:al@x", &deep)), "- - - - - - - -", "nested deeply");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn any_identity_is_read(octets in vec(any::<u8>(), 0..600), claims in "\\PC{0,200}") {
            let text = octets.iter().map(|octet| char::from(b'!' + octet % 90)).collect::<String>();
            for line in [format!("Identity: {text}\r\n"), identity(&claims)] {
                prop_assert!(shown(&invite("sip:al@x", &line)).len() < 10_000);
            }
        }
    }
}
