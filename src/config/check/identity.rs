//! Checks of `[accounting.identity]`: the files, and whether their certificates can sign what a caller claims.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::Check;
use super::sections::set;
use super::streams::told;
use crate::accounting::passport::{MAX_AGE, Signer, Verifier};
use crate::clock;
use crate::config::schema::IdentityTable;
use crate::net::tls::{certificates, trust_anchors};
use crate::units::Secs;

/// Certificates of signers at most: more than there are telephone networks with one.
const SIGNERS_MAX: usize = 10_000;

/// Who may sign; `None` where nothing is to be checked.
pub(super) fn check(table: &IdentityTable, base: &Path, check: &mut Check<'_>) -> Option<Arc<Verifier>> {
    let files = &table.certificates.0;
    let Some(anchors) = table.anchors.as_ref().filter(|path| !path.as_os_str().is_empty()) else {
        if let Some((x5u, _)) = files.first() {
            let hint = Some("set `anchors` to a PEM file of the authorities that may sign them".to_owned());
            let what = "`accounting.identity.certificates` without `anchors`: nothing would be checked";
            check.error_hint(x5u.place, what, hint);
        }
        return None;
    };
    let path = base.join(&anchors.value);
    let trusted = told(anchors.place, trust_anchors(&path), check)?.roots;
    check.certificates.insert(path);
    let mut verifier = Verifier { anchors: trusted, signers: BTreeMap::new(), max_age: MAX_AGE };
    set(&mut verifier.max_age, table.max_age_s, Secs::duration);
    if files.is_empty() {
        let hint = "name those of the networks that calls come from in `accounting.identity.certificates`";
        let what = "`accounting.identity` has no certificate: every verdict is `no-certificate`";
        check.warning(anchors.place, what, Some(hint.to_owned()));
    }
    if let Some((x5u, _)) = files.get(SIGNERS_MAX) {
        check.error(x5u.place, format_args!("`accounting.identity.certificates`: more than {SIGNERS_MAX}"));
    }
    for (x5u, file) in files.iter().take(SIGNERS_MAX) {
        if !["https://", "http://"].iter().any(|scheme| x5u.starts_with(scheme)) {
            let hint = Some("write what stands in the `info` of its Identity headers: `https://…`".to_owned());
            check.error_hint(x5u.place, format_args!("`{}` is no address of a certificate", x5u.value), hint);
        }
        let path = base.join(&file.value);
        let Some(chain) = told(file.place, certificates(&path), check) else { continue };
        match Signer::of(chain) {
            Ok(signer) => {
                if !verifier.trusts(&signer, clock::wall()) {
                    let what = format!("`{}` does not lead to one of `anchors` now", path.display());
                    let hint = "calls signed with it get `untrusted`; does the file have the certificates between?";
                    check.warning(file.place, what, Some(hint.to_owned()));
                }
                verifier.signers.insert(x5u.value.clone(), signer);
            }
            Err(error) => check.error(file.place, format_args!("cannot use {}: {error}", path.display())),
        }
        check.certificates.insert(path);
    }
    Some(Arc::new(verifier))
}
