//! What the files of TLS hold, where that is not what they are named for: a certificate and a key in each other's place, an
//! authority that signs nothing, a certificate that the other side does not take.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Check;
use crate::config::decode::At;
use crate::config::error::Mistake;
use crate::config::tree::PlaceId;
use crate::net::tls::purpose::Purpose;
use crate::net::tls::{Identity, TlsError, certificates, is_valid_for, private_key};

/// A certificate and its key, and where each is named.
pub(in crate::config) struct Pair {
    pub identity: Identity,
    pub certificate: PlaceId,
    pub key: PlaceId,
}

/// Who is shown a certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::config) enum Shown {
    /// Clients that connect here.
    ToClients,
    /// Servers to which the gateway connects.
    ToServers,
}

impl Pair {
    /// The files of both options, with what is odd in them.
    ///
    /// # Errors
    /// They are in each other's place, which is noted.
    pub fn of(
        (certificate, key): (&At<PathBuf>, &At<PathBuf>),
        shown: Shown,
        base: &Path,
        check: &mut Check<'_>,
    ) -> Result<Self, Swapped> {
        let identity = Identity { certificate: base.join(&certificate.value), key: base.join(&key.value) };
        let own = Self { identity, certificate: certificate.place, key: key.place };
        own.refuse_swapped(check)?;
        own.warn_of_readers(check);
        check.certificates.insert(own.identity.certificate.clone());
        own.warn_of_purpose(shown, check);
        Ok(own)
    }

    /// Where the file is named that an error is about.
    pub fn place(&self, error: &TlsError) -> PlaceId {
        if error.path() == Some(&self.identity.key) { self.key } else { self.certificate }
    }

    fn refuse_swapped(&self, check: &mut Check<'_>) -> Result<(), Swapped> {
        let Identity { certificate, key } = &self.identity;
        let holds_key = |path: &Path| private_key(path).is_ok();
        let holds_certificate = |path: &Path| certificates(path).is_ok();
        let are_swapped =
            holds_key(certificate) && !holds_certificate(certificate) && holds_certificate(key) && !holds_key(key);
        if !are_swapped {
            return Ok(());
        }
        let (certificate, key) = (certificate.display(), key.display());
        let what = format!(
            "`certificate` and `key` look swapped: {certificate} has a private key, and {key} has a certificate"
        );
        let mistake = Mistake::error(what, check.place(self.certificate)).also_at(check.place(self.key));
        check.findings.push(mistake.hint("let each have the other's file"));
        Err(Swapped)
    }

    /// A key that every user may read is nearly always a slip.
    fn warn_of_readers(&self, check: &mut Check<'_>) {
        let key = &self.identity.key;
        let is_open = std::fs::metadata(key).is_ok_and(|about| about.is_file() && about.mode() & 0o004 != 0);
        if is_open && private_key(key).is_ok() {
            let what = format!("`{}` is a private key and every user may read it", key.display());
            check.warning(self.key, what, Some(format!("chmod 640 {}", key.display())));
        }
    }

    fn warn_of_purpose(&self, shown: Shown, check: &mut Check<'_>) {
        let path = &self.identity.certificate;
        let Some(own) = certificates(path).ok().and_then(|all| Purpose::of(&all[0])) else { return };
        let (is_for_them, whom, word) = match shown {
            Shown::ToClients => (own.is_for_servers, "servers", "serverAuth"),
            Shown::ToServers => (own.is_for_clients, "clients", "clientAuth"),
        };
        if !is_for_them {
            let what = format!("the certificate of `{}` in {} is not one for {whom}", own.holder, path.display());
            let hint =
                format!("its extended key usage lacks {word}: the other side may refuse it; have one made with that");
            check.warning(self.certificate, what, Some(hint));
        }
        if shown == Shown::ToClients && !own.has_names {
            let what = format!("the certificate of `{}` in {} has no subjectAltName", own.holder, path.display());
            let hint = "clients look for the host's name nowhere else: have one made with it".to_owned();
            check.warning(self.certificate, what, Some(hint));
        }
    }

    /// Warns when the certificate has none of the names by which it is asked.
    pub fn warn_of_names(&self, (option, names): (&str, &[At<String>]), check: &mut Check<'_>) {
        let path = &self.identity.certificate;
        let Some(own) = certificates(path).ok().and_then(|mut all| all.drain(..1).next()) else { return };
        let Some(first) = names.first().filter(|_| !names.iter().any(|name| is_valid_for(&own, name))) else { return };
        let what = format!("the certificate in {} has none of the names of `{option}`", path.display());
        let mistake = Mistake::warning(what, check.place(self.certificate)).also_at(check.place(first.place));
        let hint =
            "who asks by one of them refuses it: have one made with them, unless what stands in front has its own";
        check.findings.push(mistake.hint(hint));
    }
}

/// A certificate and a key that are in each other's place.
pub(in crate::config) struct Swapped;

/// Warns of a file of authorities in which a certificate signs nobody.
pub(super) fn warn_of_authorities(path: &Path, place: PlaceId, check: &mut Check<'_>) {
    // A file that cannot be read is noted where it is used.
    let Ok(all) = certificates(path) else { return };
    let mut leaves = all.iter().filter_map(|der| Purpose::of(der)).filter(|own| !own.is_authority);
    let Some(first) = leaves.next() else { return };
    let what = format!("the certificate of `{}` in {} is no authority's (CA:TRUE)", first.holder, path.display());
    let hint = match first.is_own_issuer {
        true => "only who shows this very certificate comes in: name the file of the authority that signs the clients'",
        false => "it signs no clients: name the file of the authority that does",
    };
    check.warning(place, what, Some(hint.to_owned()));
}
