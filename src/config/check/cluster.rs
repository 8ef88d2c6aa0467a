//! Checks of `[cluster]`.

use std::path::Path;
use std::time::Duration;

use super::Check;
use super::sections::set;
use crate::cluster::{Settings, names};
use crate::config::decode::At;
use crate::config::kinds::jetstream::AccessOptions;
use crate::config::kinds::{Spot, host_name};
use crate::config::schema::{ClusterTable, Switch};
use crate::config::tree::PlaceId;
use crate::sinks::jetstream::TIMEOUT;
use crate::units::{Count, Millis, Secs};

/// The client tells of what we tell ourselves.
pub(super) const LOG: &str = ",async_nats=off";

/// Seconds of a day.
const DAY_S: u64 = 86_400;

/// The cluster, if there is one; `answering` are sinks whose servers would tell a gateway what it hears no more.
pub(super) fn check(
    table: &At<ClusterTable>,
    answering: &[(String, &'static str)],
    base: &Path,
    check: &mut Check<'_>,
) -> Option<Settings> {
    for (sink, answers) in answering {
        let hint = "the answers come to who delivers: `accounting.interim_s` says how often interim records are made";
        let what = format_args!("this gateway will not hear what the servers of `{sink}` say: {answers}");
        check.warning(table.place, what, Some(hint.to_owned()));
    }
    let spot = Spot { title: "cluster".to_owned(), place: table.place, base };
    let access = access(table).access(TIMEOUT, &spot, check);
    let name = table.name.as_ref().map_or_else(|| names::of_machine(&host_name()), |name| name.value.clone());
    let stream = table.stream.as_ref().map_or(Settings::STREAM, |stream| stream.as_str());
    let prefix = table.prefix.as_ref().map_or(Settings::PREFIX, |prefix| prefix.as_str());
    for (given, what) in [(&table.name, "gateway"), (&table.stream, "stream"), (&table.prefix, "prefix")] {
        given.iter().for_each(|given| word(given, what, check));
    }
    let replicas = table.replicas.as_ref().map_or(Settings::REPLICAS, |own| own.value.len());
    if let Some(given) = table.replicas.as_ref().filter(|own| own.value.get() % 2 == 0) {
        let hint = Some("1, 3 or 5: of an even number none more may fail than of one less".to_owned());
        check.error_hint(given.place, format_args!("{replicas} copies have no clear majority"), hint);
    }
    let mut settings = Settings {
        access: access?,
        name,
        stream: stream.to_owned(),
        prefix: prefix.to_owned(),
        replicas,
        partitions: table.partitions.map_or(Settings::PARTITIONS, |own| u16::try_from(own.get()).unwrap_or(u16::MAX)),
        duplicate_window: Settings::DUPLICATE_WINDOW,
        max_age: Settings::MAX_AGE,
        lease: Settings::LEASE,
        commands: table.commands.is_some_and(Switch::is_on),
    };
    set(&mut settings.duplicate_window, table.duplicate_window_s.as_ref().map(|own| own.value), Secs::duration);
    set(&mut settings.max_age, table.max_age_days, |days: Count<1, 3_650>| Duration::from_secs(days.get() * DAY_S));
    set(&mut settings.lease, table.lease_ms, Millis::duration);
    if settings.duplicate_window > settings.max_age {
        let place = table.duplicate_window_s.as_ref().map_or(PlaceId::default(), |own| own.place);
        check.error(place, "`duplicate_window_s` is longer than `max_age_days`, which no stream can be");
    }
    Some(settings)
}

fn access(table: &ClusterTable) -> AccessOptions<'_> {
    AccessOptions {
        servers: ("nats", &table.nats),
        user: &table.user,
        password_file: &table.password_file,
        token_file: &table.token_file,
        nkey_file: &table.nkey_file,
        credentials_file: &table.credentials_file,
        ca: &table.ca,
        certificate: &table.certificate,
        key: &table.key,
        verify_host: table.verify_host,
    }
}

fn word(given: &At<String>, what: &str, check: &mut Check<'_>) {
    if !names::is_name(given) {
        let hint = Some(format!("letters, digits, `-` and `_`, {} at most", names::NAME_CHARS_MAX));
        check.error_hint(given.place, format_args!("`{}` is no name of a {what}", given.value), hint);
    }
}
