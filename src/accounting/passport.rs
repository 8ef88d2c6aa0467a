//! Whether what an INVITE claims about its caller holds: who has signed its PASSporT (RFC 8224 §6.2, RFC 8225, RFC 8588), and whether
//! that one may (RFC 8226). Nothing is fetched: certificates and authorities are those of the configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use serde_json::Value as Json;
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage};
use x509_parser::asn1_rs::{Any, Class, FromDer, Sequence};
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY};

use super::facts::number_in;
use super::identity::{IDENTITIES_MAX, IDENTITY_BYTES_MAX, object, parts};
use super::transaction::Transaction;
use crate::clock::Timestamp;
use crate::record::Facts;
use crate::record::facts::Fact;
use crate::sip::message::{Elements, Message, Name, NameAddr, Params, unquote};

/// How far the instant of the claims may be away from the arrival of the INVITE (RFC 8224 §5.2).
pub const MAX_AGE: Duration = Duration::from_secs(60);

/// Whoever may sign what a caller claims.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verifier {
    /// The authorities.
    pub anchors: Vec<TrustAnchor<'static>>,
    /// Those who sign, by the address of their certificate (`x5u`).
    pub signers: BTreeMap<String, Signer>,
    /// How far `iat` may be away from the arrival, to both sides. Usually [`MAX_AGE`].
    pub max_age: Duration,
}

/// A certificate that a PASSporT may be signed with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Signer {
    /// The certificate first, then those that lead to an authority.
    chain: Vec<CertificateDer<'static>>,
    /// Its key: an uncompressed point of P-256.
    key: Vec<u8>,
    authority: Authority,
}

/// The numbers a certificate may sign for, as its TNAuthList says (RFC 8226 §9).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Authority {
    /// Whether it belongs to a provider (SPC): which numbers that one has, the certificate does not say.
    is_provider: bool,
    ranges: Vec<Range>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Range {
    digits: usize,
    first: u64,
    count: u64,
}

/// Why a certificate cannot be that of a signer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SignerError {
    /// It is not X.509, version 3.
    #[error("the first certificate in it cannot be read")]
    Unreadable,
    /// ES256 is what PASSporTs are signed with.
    #[error("the key of its first certificate is not of the curve P-256 (ES256, RFC 8225 section 4.1)")]
    Key,
    /// Its keyUsage says so.
    #[error("its first certificate is not for signatures: keyUsage without digitalSignature")]
    Usage,
    /// Without a TNAuthList it may sign for no number.
    #[error(
        "its first certificate names no numbers and no provider: TNAuthList is missing or damaged (RFC 8226 section 9)"
    )]
    NoNumbers,
    /// What a PASSporT may claim is limited, and nobody would see to it.
    #[error(
        "its first certificate limits what may be claimed (JWTClaimConstraints, RFC 8226 section 8), which is not supported"
    )]
    Constrained,
}

/// DER of the object identifiers of RFC 8226 and RFC 9118: 1.3.6.1.5.5.7.1.26, .27 and .33.
const TN_AUTH_LIST: &[u8] = &[0x2B, 6, 1, 5, 5, 7, 1, 26];
const CONSTRAINTS: [&[u8]; 2] = [&[0x2B, 6, 1, 5, 5, 7, 1, 27], &[0x2B, 6, 1, 5, 5, 7, 1, 33]];
/// DER of anyExtendedKeyUsage, 2.5.29.37.0: certificates of signers have no purpose; one that is for others alone is none.
const ANY_PURPOSE: &[u8] = &[0x55, 0x1D, 0x25, 0];
/// Octets of an uncompressed point of P-256.
const POINT_BYTES: usize = 65;

impl Signer {
    /// The signer with this certificate, which stands first.
    ///
    /// # Errors
    /// It is not one that can sign a PASSporT.
    pub fn of(chain: Vec<CertificateDer<'static>>) -> Result<Self, SignerError> {
        let first = chain.first().ok_or(SignerError::Unreadable)?;
        let (_, certificate) = X509Certificate::from_der(first).map_err(|_| SignerError::Unreadable)?;
        if EndEntityCert::try_from(first).is_err() {
            return Err(SignerError::Unreadable);
        }
        let info = certificate.public_key();
        let curve = info.algorithm.parameters.as_ref().and_then(|own| own.as_oid().ok());
        let key = info.subject_public_key.data.to_vec();
        let is_p256 = info.algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY && curve == Some(OID_EC_P256);
        if !is_p256 || key.len() != POINT_BYTES {
            return Err(SignerError::Key);
        }
        let usage = certificate.key_usage().map_err(|_| SignerError::Unreadable)?;
        if usage.is_some_and(|usage| !usage.value.digital_signature()) {
            return Err(SignerError::Usage);
        }
        let extension =
            |oid: &[u8]| certificate.extensions().iter().find(|own| own.oid.as_bytes() == oid).map(|own| own.value);
        if CONSTRAINTS.into_iter().any(|oid| extension(oid).is_some()) {
            return Err(SignerError::Constrained);
        }
        let authority = extension(TN_AUTH_LIST).and_then(Authority::read).ok_or(SignerError::NoNumbers)?;
        Ok(Self { chain, key, authority })
    }
}

impl Authority {
    /// `SEQUENCE OF CHOICE { spc [0], range [1] { start, count }, one [2] }`, tagged explicitly.
    fn read(der: &[u8]) -> Option<Self> {
        let (_, list) = Sequence::from_der(der).ok()?;
        let mut authority = Self::default();
        let mut rest = &*list.content;
        while !rest.is_empty() {
            let (next, entry) = Any::from_der(rest).ok()?;
            rest = next;
            let (_, inner) =
                Any::from_der(entry.as_bytes()).ok().filter(|_| entry.class() == Class::ContextSpecific)?;
            match entry.tag().0 {
                0 => authority.is_provider = true,
                1 => {
                    let (count, start) = Any::from_der(inner.as_bytes()).ok()?;
                    let (_, count) = u64::from_der(count).ok()?;
                    authority.ranges.extend(Range::of(start.as_bytes(), count));
                }
                2 => authority.ranges.extend(Range::of(inner.as_bytes(), 1)),
                _ => return None,
            }
        }
        Some(authority)
    }

    fn has(&self, number: &str) -> bool {
        self.is_provider || self.ranges.iter().any(|range| range.has(number))
    }
}

impl Range {
    /// `None` for what is no number, such as one with `*`: nobody gets that from the caller.
    fn of(start: &[u8], count: u64) -> Option<Self> {
        let start = canonical(start)?;
        Some(Self { digits: start.len(), first: start.parse().ok()?, count })
    }

    fn has(self, number: &str) -> bool {
        let place = number.parse::<u64>().ok().and_then(|number| number.checked_sub(self.first));
        number.len() == self.digits && place.is_some_and(|place| place < self.count)
    }
}

/// What a check has come to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verdict {
    /// All holds.
    Verified,
    /// It is in a form that is not checked.
    Unsupported,
    /// The certificate is not among those of the configuration.
    NoCertificate,
    /// The claims were not made just now.
    Stale,
    /// They are about another call.
    NumbersDiffer,
    /// The signature is not that of the certificate.
    BadSignature,
    /// The certificate is of no use: its authority, its time, or its numbers.
    Untrusted,
}

impl Verdict {
    const fn name(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Unsupported => "unsupported",
            Self::NoCertificate => "no-certificate",
            Self::Stale => "stale",
            Self::NumbersDiffer => "numbers-differ",
            Self::BadSignature => "bad-signature",
            Self::Untrusted => "untrusted",
        }
    }
}

/// What the Identity headers of a request are worth.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Finding {
    verdict: Verdict,
    /// What holds, if something does.
    sound: Option<Sound>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Sound {
    attest: Option<String>,
    /// Digits of the caller.
    orig: String,
}

/// Adds what the Identity headers of an INVITE are worth; whether there was no room. That is found out once.
pub(super) fn put_finding(facts: &mut Facts, transaction: &Transaction, verifier: &Verifier) -> bool {
    let request = transaction.request();
    if !request.has(Name::Identity) {
        return false;
    }
    let found = || Box::new(verifier.find(request, transaction.view.arrived.wall));
    transaction.identity.get_or_init(found).put(facts)
}

impl Finding {
    pub(super) fn put(&self, facts: &mut Facts) -> bool {
        let mut is_cut = facts.put_text(Fact::IdentityVerdict, self.verdict.name().as_bytes());
        if let Some(Sound { attest, orig }) = &self.sound {
            is_cut |= facts.put_text(Fact::VerifiedOrig, orig.as_bytes());
            is_cut |= attest.as_ref().is_some_and(|attest| facts.put_text(Fact::VerifiedAttest, attest.as_bytes()));
        }
        is_cut
    }
}

impl Verifier {
    /// Whether the certificate of a signer leads to an authority at that time. Revocation is not asked for.
    #[must_use]
    pub fn trusts(&self, signer: &Signer, at: Timestamp) -> bool {
        let [own, above @ ..] = &*signer.chain else { return false };
        let (Ok(own), Ok(secs)) = (EndEntityCert::try_from(own), u64::try_from(at.secs())) else { return false };
        let time = UnixTime::since_unix_epoch(Duration::from_secs(secs));
        let usage = KeyUsage::required_if_present(ANY_PURPOSE);
        own.verify_for_usage(ALL_VERIFICATION_ALGS, &self.anchors, above, time, usage, None, None).is_ok()
    }

    /// What the Identity headers of a request are worth that came at `wall`: of several the first that holds counts, else
    /// the first that could be checked.
    pub(super) fn find(&self, request: &Message, wall: Timestamp) -> Finding {
        let mut verdict = Verdict::Unsupported;
        for value in request.headers(Name::Identity).take(IDENTITIES_MAX) {
            match self.check(request, value, wall) {
                Ok(sound) => return Finding { verdict: Verdict::Verified, sound: Some(sound) },
                Err(why) if verdict == Verdict::Unsupported => verdict = why,
                Err(_) => {}
            }
        }
        Finding { verdict, sound: None }
    }

    /// What costs little is asked first, so that a forged one costs little.
    fn check(&self, request: &Message, value: &[u8], wall: Timestamp) -> Result<Sound, Verdict> {
        let passport = Passport::read(value).ok_or(Verdict::Unsupported)?;
        let signer = passport.x5u().and_then(|x5u| self.signers.get(x5u)).ok_or(Verdict::NoCertificate)?;
        if wall.secs().abs_diff(passport.iat) > self.max_age.as_secs() {
            return Err(Verdict::Stale);
        }
        if !is_of(request, &passport) {
            return Err(Verdict::NumbersDiffer);
        }
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &signer.key);
        key.verify(&passport.signed, &passport.signature).map_err(|_| Verdict::BadSignature)?;
        if !signer.authority.has(&passport.orig) || !self.trusts(signer, wall) {
            return Err(Verdict::Untrusted);
        }
        Ok(Sound { attest: passport.attest, orig: passport.orig })
    }
}

/// A PASSporT in the form that is checked.
struct Passport<'a> {
    /// What is signed (RFC 7515 §5.1).
    signed: Vec<u8>,
    signature: Vec<u8>,
    /// The protected header.
    head: Json,
    /// The `info` parameter of the header: a URI.
    info: &'a [u8],
    iat: i64,
    orig: String,
    dest: Vec<String>,
    attest: Option<String>,
}

impl<'a> Passport<'a> {
    fn read(value: &'a [u8]) -> Option<Self> {
        if value.len() > IDENTITY_BYTES_MAX {
            return None;
        }
        let [head, claims, signature] = parts(value)?;
        let signed = [head, b".", claims].concat();
        let signature = data_encoding::BASE64URL_NOPAD.decode(signature).ok()?;
        let (head, claims) = (object(head)?, object(claims)?);
        let param = |name: &[u8]| Params::of(value).value(name).map(unquote);
        let info = Params::of(value).value(b"info")?.strip_prefix(b"<")?.strip_suffix(b">")?;
        let (alg, ppt) = (param(b"alg"), param(b"ppt"));
        let kind = head.get("ppt").map(Json::as_str);
        let is_plain = head["alg"] == "ES256" && head["typ"] == "passport" && head.get("crit").is_none();
        let is_same = alg.is_none_or(|alg| *alg == *b"ES256")
            && ppt.is_none_or(|ppt| kind.flatten().is_some_and(|kind| kind.as_bytes() == &*ppt));
        let attest = match kind {
            None => None,
            // RFC 8588 §4 and §5: both have to be there.
            Some(Some("shaken")) if claims["origid"].is_string() => {
                Some(claims["attest"].as_str().filter(|attest| matches!(*attest, "A" | "B" | "C"))?.to_owned())
            }
            Some(_) => return None,
        };
        let orig = canonical(claims["orig"]["tn"].as_str()?.as_bytes())?;
        let dest = match &claims["dest"]["tn"] {
            Json::Array(all) => all.as_slice(),
            one => std::slice::from_ref(one),
        };
        let dest: Vec<_> = dest.iter().filter_map(|one| canonical(one.as_str()?.as_bytes())).collect();
        let iat = claims["iat"].as_i64()?;
        let is_whole = is_plain && is_same && !dest.is_empty();
        is_whole.then_some(Self { signed, signature, head, info, iat, orig, dest, attest })
    }

    /// The address of the certificate, where header and PASSporT name the same one (RFC 8224 §6.2).
    fn x5u(&self) -> Option<&str> {
        self.head["x5u"].as_str().filter(|x5u| x5u.as_bytes() == self.info)
    }
}

/// Whether the claims are about this request: its From or P-Asserted-Identity, its To or Request-URI.
fn is_of(request: &Message, passport: &Passport<'_>) -> bool {
    let (number, orig) = (|uri: &[u8]| number_in(uri).and_then(canonical), Some(passport.orig.clone()));
    let asserted = request.headers(Name::PAssertedIdentity).flat_map(Elements::of).filter_map(NameAddr::parse);
    let is_caller = request.from().into_iter().chain(asserted).any(|caller| number(caller.uri) == orig);
    let callees = [request.to().map(|to| to.uri), Some(request.request_uri())];
    is_caller
        && callees.into_iter().flatten().any(|uri| number(uri).is_some_and(|callee| passport.dest.contains(&callee)))
}

/// A telephone number in the form that is compared: without a leading `+` and visual separators (RFC 8224 §8.3). `None` for
/// what is none.
fn canonical(number: &[u8]) -> Option<String> {
    let number = number.strip_prefix(b"+").unwrap_or(number);
    let digits = number.iter().filter(|octet| !matches!(octet, b'-' | b'.' | b'(' | b')' | b' '));
    let digits: String = digits
        .map(|octet| (octet.is_ascii_digit() || matches!(octet, b'*' | b'#')).then_some(char::from(*octet)))
        .collect::<Option<_>>()?;
    (!digits.is_empty()).then_some(digits)
}
