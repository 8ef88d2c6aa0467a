//! Checks of `[[mirror]]`.

use std::collections::BTreeSet;
use std::path::Path;

use super::sinks::Names;
use super::{Check, accounting, sip};
use crate::config::decode::At;
use crate::config::kinds::secret::secret;
use crate::config::plan::MirrorPlan;
use crate::config::schema::{AccountingTable, MirrorTable, RouteAccountTable};
use crate::mirror::Settings;
use crate::sip::stack::Transport;
use crate::units::{Count, Millis};

/// Most mirrors: each has a thread.
const MIRRORS_MAX: usize = 16;
/// Most characters of a name.
const NAME_CHARS_MAX: usize = 64;

/// The mirrors in their order.
pub(super) fn check(
    tables: &[At<MirrorTable>],
    global: &AccountingTable,
    names: &Names,
    base: &Path,
    check: &mut Check<'_>,
) -> Vec<MirrorPlan> {
    if let Some(first) = tables.get(MIRRORS_MAX) {
        check.error(first.place, format_args!("more than {MIRRORS_MAX} mirrors"));
    }
    let (mut known, mut bound) = (BTreeSet::new(), BTreeSet::new());
    tables.iter().filter_map(|table| one(table, (&mut known, &mut bound), (global, names), base, check)).collect()
}

fn one<'t>(
    table: &'t At<MirrorTable>,
    (known, bound): (&mut BTreeSet<&'t str>, &mut BTreeSet<&'t str>),
    (global, names): (&AccountingTable, &Names),
    base: &Path,
    check: &mut Check<'_>,
) -> Option<MirrorPlan> {
    let name = table.name.as_ref().map_or("mirror", |name| name.as_str());
    let place = table.name.as_ref().map_or(table.place, |name| name.place);
    let is_word = |sign: char| sign.is_ascii_alphanumeric() || matches!(sign, '-' | '_' | '.');
    if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.chars().all(is_word) {
        let what = format_args!("the name of a mirror is 1 to {NAME_CHARS_MAX} letters, digits, `-`, `_` and `.`");
        check.error(place, what);
    }
    if !known.insert(name) {
        let hint = Some("its records and its calls in progress are told by its name: set another `name`".to_owned());
        check.error_hint(place, format_args!("two mirrors are called `{name}`"), hint);
    }
    let account = RouteAccountTable { on: table.on.clone(), flags: table.flags.clone(), forwarding_legs: None };
    let marks = accounting::route_marks(&account, global, names, check);
    if marks.is_empty() {
        let hint = Some("set `on` here, or `accounting.on`".to_owned());
        check.warning(table.place, format_args!("the mirror `{name}` has no sink: nothing is recorded"), hint);
    }
    let own = table.proxy.as_ref().map(|own| &own.0[..]).unwrap_or_default();
    let proxy = check.each(own, str::parse);
    let allow = table.allow.as_ref().map(|allow| check.each(allow, sip::network));
    let allow = allow.unwrap_or_else(|| MirrorPlan::LOOPBACK.iter().filter_map(|own| own.parse().ok()).collect());
    let file = table.key_file.as_ref().filter(|file| !file.as_os_str().is_empty());
    let key = file.and_then(|file| secret("key", file, base, check));
    let Some(listen) = &table.listen else {
        let hint = Some("such as `listen = \"udp:127.0.0.1:9060\"`".to_owned());
        check.error_hint(table.place, format_args!("the mirror `{name}` has no `listen`"), hint);
        return None;
    };
    if !bound.insert(listen.as_str()) {
        check.error(listen.place, format_args!("two mirrors listen on `{}`", listen.value));
    }
    let listen = match sip::listener(listen) {
        Ok((Transport::Tls, _)) => {
            let hint = Some("`tcp:` on loopback behind a TLS proxy, such as stunnel".to_owned());
            check.error_hint(listen.place, "packets of HEP are taken by `udp:` and `tcp:`", hint);
            return None;
        }
        Ok(listen) => listen,
        Err((what, hint)) => {
            check.error_hint(listen.place, what, hint);
            return None;
        }
    };
    Some(MirrorPlan {
        name: name.to_owned(),
        listen,
        allow,
        key,
        proxy,
        marks,
        reorder: table.reorder_ms.map_or(Settings::REORDER, Millis::duration),
        requests_max: table.requests_max.map_or(Settings::REQUESTS_MAX, Count::len),
    })
}
