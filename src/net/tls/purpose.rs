//! Whose a certificate is, and what it may be used for (RFC 5280 §4.2.1).

use std::net::IpAddr;

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;
use x509_parser::x509::X509Version;

use super::expiry::shown;

/// What a certificate may be used for. One that names no purposes may be used for all.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Purpose {
    /// Its subject, for people, or a name of its subjectAltName where it has none.
    pub holder: String,
    /// Whether it may sign others.
    pub is_authority: bool,
    /// Whether its own key has signed it.
    pub is_own_issuer: bool,
    /// Whether a server may show it.
    pub is_for_servers: bool,
    /// Whether a client may show it.
    pub is_for_clients: bool,
    /// Whether it has a subjectAltName: the common name means nothing (RFC 9525 §2).
    pub has_names: bool,
}

impl Purpose {
    /// Of a certificate, given as DER; `None` when it cannot be read.
    #[must_use]
    pub fn of(der: &[u8]) -> Option<Self> {
        let (_, own) = parse_x509_certificate(der).ok()?;
        // Certificates of the first version have no extensions, and old authorities have such ones.
        let signs = own.key_usage().ok().flatten().is_none_or(|usage| usage.value.key_cert_sign());
        let is_old = own.version() == X509Version::V1;
        let is_ca = own.basic_constraints().ok().flatten().is_some_and(|basic| basic.value.ca);
        let purposes = own.extended_key_usage().ok().flatten().map(|usage| usage.value.clone());
        let is_for = |named: fn(&x509_parser::extensions::ExtendedKeyUsage<'_>) -> bool| {
            purposes.as_ref().is_none_or(|purposes| purposes.any || named(purposes))
        };
        Some(Self {
            holder: holder(&own),
            is_authority: is_old || (is_ca && signs),
            is_own_issuer: own.subject().as_raw() == own.issuer().as_raw(),
            is_for_servers: is_for(|own| own.server_auth),
            is_for_clients: is_for(|own| own.client_auth),
            has_names: own.subject_alternative_name().ok().flatten().is_some(),
        })
    }
}

fn holder(own: &X509Certificate<'_>) -> String {
    let subject = own.subject().to_string();
    if !subject.is_empty() {
        return shown(&subject);
    }
    let names = own.subject_alternative_name().ok().flatten();
    let named = names.and_then(|names| names.value.general_names.iter().find_map(text_of));
    named.map_or_else(|| "nobody".to_owned(), |name| shown(&name))
}

fn text_of(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(text) | GeneralName::RFC822Name(text) | GeneralName::URI(text) => Some((*text).to_owned()),
        GeneralName::IPAddress(octets) => match octets.len() {
            4 => <[u8; 4]>::try_from(*octets).ok().map(|octets| IpAddr::from(octets).to_string()),
            _ => <[u8; 16]>::try_from(*octets).ok().map(|octets| IpAddr::from(octets).to_string()),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
        KeyUsagePurpose,
    };

    use super::*;

    fn purpose(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Purpose {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name = DistinguishedName::new();
        change(&mut params);
        let made = params.self_signed(&KeyPair::generate().expect("a key")).expect("a certificate");
        Purpose::of(made.der()).expect("a certificate")
    }

    #[test]
    fn a_certificate_tells_whose_it_is() {
        for (what, names, common, want) in [
            ("its subject", &["gw.example"][..], Some("ops"), "CN=ops"),
            ("a name where it has none", &["gw.example", "b.example"], None, "gw.example"),
            ("an address", &["192.0.2.7"], None, "192.0.2.7"),
            ("no control characters", &[], Some("a\u{1b}[2J"), "CN=a [2J"),
            ("nothing at all", &[], None, "nobody"),
        ] {
            let made = purpose(names, |params| {
                if let Some(common) = common {
                    params.distinguished_name.push(DnType::CommonName, common);
                }
            });
            assert_eq!(made.holder, want, "{what}");
            assert_eq!(made.has_names, !names.is_empty(), "{what}");
        }
    }

    #[test]
    fn a_certificate_tells_what_it_is_for() {
        let ca = || IsCa::Ca(BasicConstraints::Unconstrained);
        let of = |change: &dyn Fn(&mut CertificateParams)| {
            let made = purpose(&["a.example"], change);
            (made.is_authority, made.is_for_servers, made.is_for_clients)
        };
        use ExtendedKeyUsagePurpose::{Any, ClientAuth, CodeSigning, ServerAuth};
        for (what, is_ca, usages, purposes, want) in [
            ("a leaf", IsCa::NoCa, vec![], vec![], (false, true, true)),
            ("one that says it is none", IsCa::ExplicitNoCa, vec![], vec![], (false, true, true)),
            ("an authority", ca(), vec![], vec![], (true, true, true)),
            ("with its use", ca(), vec![KeyUsagePurpose::KeyCertSign], vec![], (true, true, true)),
            ("with another one", ca(), vec![KeyUsagePurpose::DigitalSignature], vec![], (false, true, true)),
            ("of a client", IsCa::NoCa, vec![], vec![ClientAuth], (false, false, true)),
            ("of a server", IsCa::NoCa, vec![], vec![ServerAuth], (false, true, false)),
            ("of both", IsCa::NoCa, vec![], vec![ServerAuth, ClientAuth], (false, true, true)),
            ("of anybody", IsCa::NoCa, vec![], vec![Any], (false, true, true)),
            ("of neither", IsCa::NoCa, vec![], vec![CodeSigning], (false, false, false)),
        ] {
            let made = of(&|params| {
                params.is_ca = is_ca;
                params.key_usages.clone_from(&usages);
                params.extended_key_usages.clone_from(&purposes);
            });
            assert_eq!(made, want, "{what}");
        }
        assert_eq!(Purpose::of(b"junk"), None);
    }
}
