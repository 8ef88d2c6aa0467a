//! What signed claims about a caller are worth: each way in which they do not hold, with certificates made here.

use data_encoding::BASE64URL_NOPAD;
use proptest::prelude::{ProptestConfig, prop_assert_ne, proptest};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P384_SHA384, date_time_ymd,
};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use rustls::pki_types::CertificateDer;
use serde_json::{Value as Json, json};

use crate::accounting::passport::{MAX_AGE, Signer, SignerError, Verifier};
use crate::clock::Timestamp;
use crate::record::Facts;
use crate::record::facts::Fact;
use crate::sip::message::Message;

/// When the claims are made.
const IAT: i64 = 1_700_000_000;
/// TNAuthLists: of a provider, of 1 215 555 0100 to 0199, of one number.
const PROVIDER: &[u8] = b"\x30\x08\xA0\x06\x16\x041234";
const HUNDRED: &[u8] = b"\x30\x14\xA1\x12\x30\x10\x16\x0B12155550100\x02\x01\x64";
const ANOTHER: &[u8] = b"\x30\x0F\xA2\x0D\x16\x0B12155550113";
const TN_AUTH_LIST: [u64; 9] = [1, 3, 6, 1, 5, 5, 7, 1, 26];

fn authority() -> (CertificateDer<'static>, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    (params.self_signed(&key).expect("a certificate").der().clone(), Issuer::new(params, key))
}

/// Parameters of a certificate with such a TNAuthList.
fn signing(numbers: &[u8]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.custom_extensions = vec![CustomExtension::from_oid_content(&TN_AUTH_LIST, numbers.to_vec())];
    params
}

struct World {
    verifier: Verifier,
    key: KeyPair,
    other_key: KeyPair,
}

impl World {
    /// One key, with certificates of every kind at `https://c.example/KIND.pem`.
    fn new() -> Self {
        let (key, other_key) = (KeyPair::generate().expect("a key"), KeyPair::generate().expect("a key"));
        let ((root, issuer), (_, stranger)) = (authority(), authority());
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "between");
        let middle_key = KeyPair::generate().expect("a key");
        let middle = params.signed_by(&middle_key, &issuer).expect("a certificate").der().clone();
        let between = Issuer::new(params, middle_key);
        let (mut old, mut young, mut tls) = (signing(PROVIDER), signing(PROVIDER), signing(PROVIDER));
        old.not_after = date_time_ymd(2023, 11, 14);
        young.not_before = date_time_ymd(2023, 11, 15);
        tls.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let made = |params: &CertificateParams, issuer: &Issuer<'_, KeyPair>| {
            params.signed_by(&key, issuer).expect("a certificate").der().clone()
        };
        let chains = [
            ("good", vec![made(&signing(PROVIDER), &issuer)]),
            ("between", vec![made(&signing(PROVIDER), &between), middle]),
            ("gap", vec![made(&signing(PROVIDER), &between)]),
            ("old", vec![made(&old, &issuer)]),
            ("young", vec![made(&young, &issuer)]),
            ("stranger", vec![made(&signing(PROVIDER), &stranger)]),
            ("tls", vec![made(&tls, &issuer)]),
            ("hundred", vec![made(&signing(HUNDRED), &issuer)]),
            ("another", vec![made(&signing(ANOTHER), &issuer)]),
        ];
        let signers = chains
            .into_iter()
            .map(|(kind, chain)| (format!("https://c.example/{kind}.pem"), Signer::of(chain).expect("a signer")))
            .collect();
        let anchors = vec![webpki::anchor_from_trusted_cert(&root).expect("an anchor").to_owned()];
        Self { verifier: Verifier { anchors, signers, max_age: MAX_AGE }, key, other_key }
    }

    /// `verdict attest orig`, of the call at `IAT` and so many seconds.
    fn found(&self, call: &Call) -> String {
        let lines = call.more.clone() + &format!("Identity: {}\r\n", self.identity(call)) + &call.behind;
        let text = format!(
            "INVITE {} SIP/2.0\r\nFrom: <{}>;tag=a\r\nTo: <{}>\r\n{lines}CSeq: 1 INVITE\r\nCall-ID: c\r\n\r\n",
            call.uri, call.from, call.to
        );
        let request = Message::parse(text.into_bytes()).expect("a message");
        let mut facts = Facts::new();
        assert!(!self.verifier.find(&request, Timestamp((IAT + call.late) * 1_000_000)).put(&mut facts));
        let all = [Fact::IdentityVerdict, Fact::VerifiedAttest, Fact::VerifiedOrig];
        let words: Vec<_> = all.iter().filter_map(|fact| facts.text(*fact)).map(String::from_utf8_lossy).collect();
        words.join(" ")
    }

    fn identity(&self, call: &Call) -> String {
        let part = |json: &Json| BASE64URL_NOPAD.encode(json.to_string().as_bytes());
        let signed = format!("{}.{}", part(&call.head), part(&call.claims));
        let key = if call.is_forged { &self.other_key } else { &self.key };
        let signature = BASE64URL_NOPAD.encode(&sign(key, signed.as_bytes()));
        let signed = call.instead.as_ref().map_or(signed, |claims| format!("{}.{}", part(&call.head), part(claims)));
        format!("{signed}.{signature}{}", call.params)
    }
}

fn sign(key: &KeyPair, octets: &[u8]) -> Vec<u8> {
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key.serialize_der(), &random).expect("a key");
    key.sign(&random, octets).expect("a signature").as_ref().to_vec()
}

struct Call {
    head: Json,
    claims: Json,
    /// Claims that are sent in place of those that were signed.
    instead: Option<Json>,
    params: String,
    is_forged: bool,
    from: &'static str,
    to: &'static str,
    uri: &'static str,
    /// Header lines before the Identity, and behind it.
    more: String,
    behind: String,
    late: i64,
}

impl Call {
    fn new() -> Self {
        let mut call = Self {
            head: json!({ "alg": "ES256", "ppt": "shaken", "typ": "passport" }),
            claims: json!({
                "attest": "A", "dest": { "tn": ["12155550199"] }, "iat": IAT, "orig": { "tn": "12155550112" }, "origid": "1-2"
            }),
            instead: None,
            params: String::new(),
            is_forged: false,
            from: "sip:+12155550112@x;user=phone",
            to: "sip:+12155550199@x",
            uri: "sip:77@x",
            more: String::new(),
            behind: String::new(),
            late: 0,
        };
        call.certificate("good");
        call
    }

    fn certificate(&mut self, kind: &str) {
        self.head["x5u"] = format!("https://c.example/{kind}.pem").into();
        self.params = format!(";info=<https://c.example/{kind}.pem>;alg=ES256;ppt=\"shaken\"");
    }
}

/// What a row changes of the call that holds, and what comes of it.
type Row = (&'static str, fn(&mut Call), &'static str);

const GOOD: &str = "verified A 12155550112";

const ROWS: &[Row] = &[
    ("all holds", |_| {}, GOOD),
    ("by a certificate between", |call| call.certificate("between"), GOOD),
    ("its numbers are in a range", |call| call.certificate("hundred"), GOOD),
    ("as old as it may be", |call| call.late = 60, GOOD),
    ("by a clock that is ahead", |call| call.late = -60, GOOD),
    ("written for the eye", |call| call.from = "tel:+1-(215)-555.0112", GOOD),
    (
        "asserted by the network",
        |call| {
            (call.from, call.more) =
                ("sip:anonymous@x", "P-Asserted-Identity: <sip:al@x>, <tel:+12155550112>\r\n".into());
        },
        GOOD,
    ),
    ("for who is called now", |call| (call.to, call.uri) = ("sip:1@x", "sip:12155550199;x=y@x"), GOOD),
    ("one of several that are called", |call| call.claims["dest"]["tn"] = json!(["1", "+1 215 555 0199"]), GOOD),
    (
        "without the parameters that may be missing",
        |call| call.params.truncate(";info=<https://c.example/good.pem>".len()),
        GOOD,
    ),
    ("behind a form that is not checked", |call| call.more = "Identity: ..c2ln;info=<x>\r\n".into(), GOOD),
    ("in front of one that does not hold", |call| call.behind = "Identity: ..c2ln;info=<x>\r\n".into(), GOOD),
    (
        "a caller of whom nothing is said",
        |call| {
            call.head.as_object_mut().expect("one").remove("ppt");
            call.params.truncate(";info=<https://c.example/good.pem>;alg=ES256".len());
        },
        "verified 12155550112",
    ),
    ("signed with another key", |call| call.is_forged = true, "bad-signature"),
    (
        "the attestation was raised",
        |call| {
            call.claims["attest"] = "C".into();
            call.instead = Some(Call::new().claims);
        },
        "bad-signature",
    ),
    ("a second too old", |call| call.late = 61, "stale"),
    ("a second too early", |call| call.late = -61, "stale"),
    ("at no time that there is", |call| call.claims["iat"] = json!(i64::MIN), "stale"),
    ("without a time", |call| call.claims["iat"] = json!("1700000000"), "unsupported"),
    ("a certificate that ended", |call| call.certificate("old"), "untrusted"),
    ("a certificate that is not valid yet", |call| call.certificate("young"), "untrusted"),
    ("of another authority", |call| call.certificate("stranger"), "untrusted"),
    ("nothing leads to the authority", |call| call.certificate("gap"), "untrusted"),
    ("a certificate of a web server", |call| call.certificate("tls"), "untrusted"),
    ("a certificate for other numbers", |call| call.certificate("another"), "untrusted"),
    ("a certificate that nobody has", |call| call.certificate("none"), "no-certificate"),
    ("two certificates", |call| call.head["x5u"] = "https://c.example/between.pem".into(), "no-certificate"),
    ("no certificate in it", |call| call.head["x5u"] = Json::Null, "no-certificate"),
    ("from another number", |call| call.from = "sip:+12155550113@x", "numbers-differ"),
    ("from nobody's number", |call| call.from = "sip:al@x", "numbers-differ"),
    ("to another number", |call| call.to = "sip:+12155550198@x", "numbers-differ"),
    ("of an address", |call| call.claims["orig"] = json!({ "uri": "sip:+12155550112@x" }), "unsupported"),
    ("for an address", |call| call.claims["dest"] = json!({ "uri": ["sip:+12155550199@x"] }), "unsupported"),
    ("of no number", |call| call.claims["orig"]["tn"] = "al".into(), "unsupported"),
    ("signed otherwise", |call| call.head["alg"] = "RS256".into(), "unsupported"),
    ("not signed", |call| call.head["alg"] = "none".into(), "unsupported"),
    ("no PASSporT", |call| call.head["typ"] = "JWT".into(), "unsupported"),
    ("with what has to be understood", |call| call.head["crit"] = json!(["b64"]), "unsupported"),
    ("of another kind", |call| call.head["ppt"] = "div".into(), "unsupported"),
    ("a header of another kind", |call| call.params = call.params.replace("shaken", "div"), "unsupported"),
    ("a header signed otherwise", |call| call.params = call.params.replace("ES256", "RS256"), "unsupported"),
    ("a header without info", |call| call.params.clear(), "unsupported"),
    ("an attestation that there is not", |call| call.claims["attest"] = "D".into(), "unsupported"),
    ("no origin", |call| call.claims["origid"] = Json::Null, "unsupported"),
    ("one that is too long", |call| call.claims["x"] = "x".repeat(9_000).into(), "unsupported"),
    (
        "the compact form in front of one that does not hold",
        |call| (call.more, call.late) = ("Identity: ..c2ln;info=<x>\r\n".into(), 99),
        "stale",
    ),
    ("more than are read", |call| call.more = "Identity: ..c2ln;info=<x>\r\n".repeat(4), "unsupported"),
];

#[test]
fn claims_are_verified_only_where_all_holds() {
    let world = World::new();
    for (name, change, want) in ROWS {
        let mut call = Call::new();
        change(&mut call);
        assert_eq!(world.found(&call), *want, "{name}");
    }
}

#[test]
fn a_certificate_that_cannot_sign_says_why() {
    let (_, issuer) = authority();
    let key = KeyPair::generate().expect("a key");
    let large = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("a key");
    let of = |params: &CertificateParams, key: &KeyPair| {
        Signer::of(vec![params.signed_by(key, &issuer).expect("a certificate").der().clone()]).map(drop)
    };
    let (mut usage, mut limited) = (signing(PROVIDER), signing(PROVIDER));
    usage.key_usages = vec![KeyUsagePurpose::KeyAgreement];
    let constraints = CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 27], b"\x30\x00".to_vec());
    limited.custom_extensions.push(constraints);
    let mut signs = signing(PROVIDER);
    signs.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    for (name, params, key, want) in [
        ("one that can", &signs, &key, Ok(())),
        ("a key of another curve", &signing(PROVIDER), &large, Err(SignerError::Key)),
        ("not for signatures", &usage, &key, Err(SignerError::Usage)),
        ("a certificate of anybody", &CertificateParams::default(), &key, Err(SignerError::NoNumbers)),
        ("numbers that cannot be read", &signing(b"\x30\x03\xA0\x09"), &key, Err(SignerError::NoNumbers)),
        ("limited claims", &limited, &key, Err(SignerError::Constrained)),
    ] {
        assert_eq!(of(params, key), want, "{name}");
    }
    for octets in [&b""[..], b"\x30\x00", &[0x30; 5_000]] {
        let chain = vec![CertificateDer::from(octets.to_vec())];
        assert_eq!(Signer::of(chain).map(drop), Err(SignerError::Unreadable));
    }
    assert_eq!(Signer::of(Vec::new()).map(drop), Err(SignerError::Unreadable));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_octet_is_changed_it_does_not_hold(place in 0_usize..300, octet in b'!'..=b'~') {
        let world = World::new();
        let identity = world.identity(&Call::new());
        let mut octets = identity.clone().into_bytes();
        let token = identity.find(';').expect("one");
        let place = place % token;
        // The same one again is no change.
        octets[place] = if octets[place] == octet { b'~' } else { octet };
        let changed = String::from_utf8(octets).expect("ASCII");
        // It stands in front of one that is not checked, so that what is found is of it.
        let call = Call { params: String::new(), more: format!("Identity: {changed}\r\n"), ..Call::new() };
        prop_assert_ne!(world.found(&call), GOOD);
    }
}
