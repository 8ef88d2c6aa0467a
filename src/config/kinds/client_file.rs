//! What the tables of several kinds of sinks name alike: a client file, a profile, the form of the time.

use std::path::{Path, PathBuf};

use super::Site;
use crate::causes::chain_text;
use crate::config::check::Check;
use crate::config::decode::At;
use crate::config::error::{Mistake, Mistakes, Place, Weight, suggestion};
use crate::config::keywords::Keywords;
use crate::net::tls::{ClientFiles, ClientTls};
use crate::sinks::profile::{Clock, Profile};
use crate::units::Count;

/// The client file that `config` names; all its mistakes become ours.
pub(super) fn client_file<T>(
    kind: &str,
    site: &Site<'_>,
    config: Option<&At<PathBuf>>,
    load: impl FnOnce(&Path) -> Result<T, Mistakes>,
    check: &mut Check<'_>,
) -> Option<T> {
    let Some(config) = config else {
        let hint = format!("add `config = \"/etc/tollgate/{kind}client.conf\"`");
        check.error_hint(site.place, format_args!("`sinks.{kind}.{}` lacks the field `config`", site.name), Some(hint));
        return None;
    };
    let path = site.base.join(&config.value);
    match load(&path) {
        Ok(client) => Some(client),
        Err(mistakes) => {
            let here = check.place(config.place);
            check.findings.extend(mistakes.0.into_iter().map(|mistake| {
                // A file that cannot be read has no line of its own to show.
                let whole = mistake.weight == Weight::Error && mistake.places == [Place::Whole(path.clone())];
                if whole { mistake.also_at(here.clone()) } else { mistake }
            }));
            None
        }
    }
}

/// The files of TLS that a client file names: what cannot be used is an error here, as it would be at the start, shown
/// there and where the client file names it.
pub(super) fn client_tls(files: &ClientFiles, keywords: &Keywords, check: &mut Check<'_>) -> Option<ClientTls> {
    check.certificates.extend(files.certificates().cloned());
    let error = match ClientTls::load(files) {
        Ok(config) => return Some(config),
        Err(error) => error,
    };
    let is_it = |file: &Path| error.path() == Some(file);
    let named = keywords.place(match &files.own {
        Some(own) if is_it(&own.certificate) => "tls-cert-file",
        Some(own) if is_it(&own.key) => "tls-key-file",
        _ => "tls-ca-file",
    });
    let what = chain_text(&error);
    check.findings.push(match error.path() {
        Some(path) => Mistake::error(what, Place::Whole(path.to_owned())).also_at(named),
        None => Mistake::error(what, named),
    });
    None
}

/// The profile of that name, among `all`; the default one without a name.
pub(super) fn profile<T: Copy + Default>(
    text: Option<&At<String>>,
    all: impl IntoIterator<Item = T> + Clone,
    name: fn(T) -> &'static str,
    check: &mut Check<'_>,
) -> Option<T> {
    let Some(text) = text else { return Some(T::default()) };
    let found = all.clone().into_iter().find(|profile| name(*profile) == text.value);
    if found.is_none() {
        check.error_hint(
            text.place,
            format_args!("unknown profile `{}`", text.value),
            suggestion(text, all.into_iter().map(name).collect::<Vec<_>>()),
        );
    }
    found
}

/// The mode of the time that is given, one of those that the profile has.
pub(super) fn time_mode(
    given: Option<&At<Count<0, 4>>>,
    count: usize,
    profile: Profile,
    check: &mut Check<'_>,
) -> usize {
    let Some(given) = given else { return 0 };
    let mode = given.value.len();
    if mode > 0 && mode >= count {
        let what = format_args!("the profile `{}` has no `time_mode = {mode}`", profile.name());
        check.error_hint(given.place, what, Some("`kamailio` has them".to_owned()));
    }
    mode
}

/// The format of an instant.
pub(super) fn time_format(given: Option<&At<String>>, format: &mut String, check: &mut Check<'_>) {
    let Some(given) = given else { return };
    if Clock::is_format(given) {
        format.clone_from(&given.value);
    } else {
        let hint = Some(format!("as of strftime, such as `{}`", Clock::FORMAT));
        check.error_hint(given.place, format_args!("`{}` is no format of a time", given.value), hint);
    }
}
