//! Secrets stand in files of their own, and the files of TLS are named alike, whatever the kind.

use std::path::{Path, PathBuf};

use super::{Site, Spot};
use crate::causes::chain_text;
use crate::config::check::Check;
use crate::config::check::certificates::{Pair, Shown};
use crate::config::decode::At;
use crate::config::schema::Switch;
use crate::net::tls::{ClientFiles, ClientTls, NameCheck, Roots, TlsError};
use crate::sinks::secret::Secret;

/// The first line of a file, which is a password or the like; warns when others may read it.
pub(in crate::config) fn secret(what: &str, file: &At<PathBuf>, base: &Path, check: &mut Check<'_>) -> Option<Secret> {
    let path = base.join(&file.value);
    let text = secret_text(what, file, base, check)?;
    let line = text.lines().next().unwrap_or("");
    if line.is_empty() {
        check.error(file.place, format_args!("{} has no first line, which is the {what}", path.display()));
        return None;
    }
    Some(Secret::new(line.to_owned()))
}

/// The whole of such a file.
pub(super) fn secret_text(what: &str, file: &At<PathBuf>, base: &Path, check: &mut Check<'_>) -> Option<String> {
    let path = base.join(&file.value);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => {
            // Somebody may have written the secret itself: only what leads into a folder is a path.
            let folder = file.value.parent().filter(|own| own.file_name().is_some());
            let shown = match folder.is_some_and(|own| base.join(own).is_dir()) {
                true => path.display().to_string(),
                false => "the file".to_owned(),
            };
            let hint = format!("the name of a file belongs here, in which the {what} stands");
            check.error_hint(file.place, format_args!("cannot read {shown}: {error}"), Some(hint));
            return None;
        }
    };
    let mode = std::fs::metadata(&path).map_or(0, |data| std::os::unix::fs::MetadataExt::mode(&data));
    if mode & 0o007 != 0 {
        let what = format_args!("others may read {}, in which a {what} stands", path.display());
        check.warning(file.place, what, Some(format!("`chmod o= {}`", path.display())));
    }
    Some(text)
}

/// What a table says of TLS to its backend.
pub(super) struct TlsOptions<'t> {
    /// Whose certificate the backend has to have.
    pub ca: &'t Option<At<PathBuf>>,
    /// Certificate that is shown to it.
    pub certificate: &'t Option<At<PathBuf>>,
    /// Key of that.
    pub key: &'t Option<At<PathBuf>>,
    /// Whether the backend's name is compared with its certificate.
    pub verify_host: Option<Switch>,
}

impl TlsOptions<'_> {
    /// Loads the files, those of the system where none is named.
    pub(super) fn load(&self, kind: &str, site: &Site<'_>, check: &mut Check<'_>) -> Option<ClientTls> {
        self.load_files(kind, site, check).map(|(_, tls)| tls)
    }

    /// As [`TlsOptions::load`], with the names of the files, for a client that reads them itself.
    pub(super) fn load_files(
        &self,
        kind: &str,
        site: &Site<'_>,
        check: &mut Check<'_>,
    ) -> Option<(ClientFiles, ClientTls)> {
        self.load_below(&site.spot(kind), check)
    }

    /// As [`TlsOptions::load_files`], of a table that need not be a sink's.
    pub(super) fn load_below(&self, spot: &Spot<'_>, check: &mut Check<'_>) -> Option<(ClientFiles, ClientTls)> {
        let file = |path: &Option<At<PathBuf>>| path.as_ref().map(|path| spot.base.join(&path.value));
        let own = match (self.certificate, self.key) {
            (Some(certificate), Some(key)) => {
                Some(Pair::of((certificate, key), Shown::ToServers, spot.base, check).ok()?)
            }
            (None, None) => None,
            _ => {
                check.error(spot.place, format_args!("`{}` needs both `certificate` and `key`", spot.title));
                return None;
            }
        };
        let name_check = if self.verify_host.is_none_or(Switch::is_on) { NameCheck::On } else { NameCheck::Off };
        let identity = own.as_ref().map(|own| own.identity.clone());
        let roots = file(self.ca).map_or(Roots::System, Roots::File);
        let files = ClientFiles { roots, own: identity, name_check };
        check.certificates.extend(files.certificates().cloned());
        let place = |error: &TlsError| match (&own, self.ca, error.path()) {
            (Some(own), _, Some(path)) if path == own.identity.certificate || path == own.identity.key => {
                own.place(error)
            }
            (_, Some(ca), _) => ca.place,
            _ => spot.place,
        };
        let loaded = ClientTls::load(&files).map_err(|error| check.error(place(&error), chain_text(&error))).ok()?;
        Some((files, loaded))
    }
}
