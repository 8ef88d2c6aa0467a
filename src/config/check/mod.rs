//! What the types cannot say: names that must exist, addresses, templates, files. Everything is checked, and every
//! mistake noted, before a [`Plan`] is made.

mod accounting;
pub(super) mod certificates;
mod cluster;
mod deliver;
mod dns;
mod identity;
mod mirror;
mod routes;
mod script;
pub(super) mod sections;
mod sinks;
mod sip;
mod streams;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use super::decode::At;
use super::error::{Findings, Mistake, Place};
use super::kinds::carriers::Fields;
use super::plan::Plan;
use super::reload::Options;
use super::schema::FileTable;
use super::tree::{Node, PlaceId, Places};
use crate::clock;
use crate::net::tls::expiry::expiring;

/// What the checks share.
pub(super) struct Check<'a> {
    /// Where each value stands: file, line and column by [`PlaceId`].
    pub places: &'a Places,
    /// Errors and warnings so far; the check goes on after each.
    pub findings: &'a mut Findings,
    /// Files of certificates, own ones and those of authorities.
    pub certificates: BTreeSet<PathBuf>,
}

impl Check<'_> {
    pub(super) fn place(&self, id: PlaceId) -> Place {
        self.places.get(id)
    }

    /// Notes what keeps the service from starting; other checks go on.
    pub(super) fn error(&mut self, place: PlaceId, what: impl fmt::Display) {
        self.findings.push(Mistake::error(what.to_string(), self.place(place)));
    }

    /// Notes an error with a hint, if there is one.
    pub(super) fn error_hint(&mut self, place: PlaceId, what: impl fmt::Display, hint: Option<String>) {
        self.findings.push(Mistake::error(what.to_string(), self.place(place)).maybe_hint(hint));
    }

    /// Notes what the service starts with all the same, with what to do about it.
    pub(super) fn warning(&mut self, place: PlaceId, what: impl fmt::Display, hint: Option<String>) {
        self.findings.push(Mistake::warning(what.to_string(), self.place(place)).maybe_hint(hint));
    }

    /// Warns of certificates that end soon.
    fn expiring(&mut self) {
        let now = clock::wall();
        for soon in self.certificates.iter().filter_map(|path| expiring(path, now)) {
            let mistake = Mistake::warning(soon.to_string(), Place::Whole(soon.path.clone()));
            self.findings.push(mistake.hint("renew it; while the service runs the log repeats this every day"));
        }
    }

    /// Reads a list of values, each with its own error; what does not read is left out.
    fn each<T, E: fmt::Display>(&mut self, list: &[At<String>], read: impl Fn(&str) -> Result<T, E>) -> Vec<T> {
        let mut values = Vec::new();
        for text in list {
            match read(text) {
                Ok(value) => values.push(value),
                Err(error) => self.error(text.place, error),
            }
        }
        values
    }
}

/// Whether the file is for `tollgate deliver` alone: it makes no records, and takes those that others have made.
fn is_of_deliverer(file: &FileTable) -> bool {
    let has_calls = file.sip.listen.is_some() || !file.route.is_empty() || file.script.file.is_some();
    file.cluster.is_some() && !has_calls && file.mirror.is_empty()
}

/// Checks the whole file; a plan comes back even with errors, but is then not to be used.
pub(super) fn plan(file: &FileTable, root: &Node, path: &Path, check: &mut Check<'_>) -> Plan {
    let base = path.parent().unwrap_or(Path::new(""));
    let names = sinks::Names::of(root);
    let mut queue = sections::queue(&file.queue, check);
    queue.path = base.join(&queue.path);
    let ledger = sections::ledger(&file.ledger, &queue.path, base, check);
    let telemetry = sections::telemetry(&file.telemetry, ledger.is_kept, check);
    let (mut sip, mut shard) = sip::check(&file.sip, (&file.queue, &queue), base, check);
    shard.trace = sections::trace(&file.trace, sip.shards, check);
    let marks = accounting::marks(&file.accounting, &names, check);
    let mut route = routes::check(&file.route, (&file.sip, &sip), &file.accounting, &names, check);
    let mirrors = mirror::check(&file.mirror, &file.accounting, &names, base, check);
    let is_of_deliverer = is_of_deliverer(file);
    if file.route.is_empty() && file.script.file.is_none() && mirrors.is_empty() && !is_of_deliverer {
        let mistake = Mistake::warning("there is no `[[route]]`: every call gets 404", Place::Whole(path.to_owned()));
        check.findings.push(mistake.hint("add a `[[route]]` with `to`"));
    }
    let fields = Fields::of(file);
    let sinks = sinks::check(file, &fields, base, check);
    let verifier = identity::check(&file.accounting.identity, base, check);
    let cluster = file.cluster.as_ref().and_then(|table| cluster::check(table, &sinks.answering, base, check));
    let deliver = deliver::check(&file.deliver, &queue.path, base, check);
    let (admin, admin_tls) = sections::admin(&file.admin, base, check);
    check.expiring();
    let all_marks = route.iter().map(|route| route.marks).chain(mirrors.iter().map(|own| own.marks)).chain([marks]);
    accounting::flags(file, &names, &sinks.flags, check);
    let script = script::check(file, &sip, (&sinks.plans, &sinks.modes), base, check);
    // Which sinks a script marks is seen when it runs.
    if script.is_none() && !is_of_deliverer {
        accounting::unused(all_marks, &names, &sinks.places, check);
    }
    let mut accounting = accounting::check(&file.accounting, sinks.modes, &fields.record.names(), check);
    accounting.frozen_fields = sinks.frozen;
    accounting.identity = verifier;
    accounting::add_fields(&sinks.fields, accounting::Frozen::Yes, &mut accounting, &mut route);
    accounting::add_fields(&sinks.request_fields, accounting::Frozen::No, &mut accounting, &mut route);
    queue.collapsing = sinks.collapsing;
    accounting.listeners.clone_from(&sip.stack.listeners);
    sip::route_keys(&file.sip, accounting.lifetime_max, &mut sip, check);
    accounting.ack_wait = sip.stack.transaction.timeout();
    accounting.pings = sip::pings(&file.sip.watch, check);
    let mut log = sections::log(&file.log, check);
    let of_cluster = cluster.as_ref().map(|_| cluster::LOG).filter(|own| !sinks.log.contains(own));
    log.level.extend(sinks.log.into_iter().chain(of_cluster));
    Plan {
        path: path.to_owned(),
        options: Options::of(root, check.places),
        sip,
        shard,
        route,
        script,
        mirrors,
        marks,
        accounting,
        queue,
        ledger,
        telemetry,
        sinks: sinks.plans,
        accounting_on: sinks.accounting_on,
        cluster,
        deliver,
        is_of_deliverer,
        admin,
        admin_tls,
        log,
        service: sections::service(&file.service),
        certificates: std::mem::take(&mut check.certificates).into_iter().collect(),
        warnings: Vec::new(),
    }
}
