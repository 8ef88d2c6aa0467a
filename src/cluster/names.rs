//! Subjects of records, ids of messages, buckets and their keys.

use std::fmt::Write as _;

use crate::ids::{CallHash, RecordId};
use crate::record::{Kind, Record};

/// Most characters of the name of a gateway or a deliverer.
pub const NAME_CHARS_MAX: usize = 64;

/// Header with the name of the gateway that has published a record.
pub const GATEWAY_HEADER: &str = "Tollgate-Gateway";

/// Header with the number of partitions by which the subject was made.
pub const PARTITIONS_HEADER: &str = "Tollgate-Partitions";

/// Whether a process, a stream or a prefix may be called so: letters, digits, `-` and `_`, 1 to [`NAME_CHARS_MAX`].
#[must_use]
pub fn is_name(text: &str) -> bool {
    let fits = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
    (1..=NAME_CHARS_MAX).contains(&text.len()) && text.bytes().all(fits)
}

/// The nearest [name](is_name) to that of a machine: its first part, with `-` for what does not fit.
#[must_use]
pub fn of_machine(host: &str) -> String {
    let first = host.split('.').next().unwrap_or_default();
    let fit = |sign: char| if sign.is_ascii_alphanumeric() || matches!(sign, '-' | '_') { sign } else { '-' };
    let name: String = first.chars().map(fit).take(NAME_CHARS_MAX).collect();
    if name.is_empty() { crate::names::PRODUCT.to_lowercase() } else { name }
}

/// The partition of a call, less than `partitions`, which is at least 1. The same in every process and release.
#[must_use]
pub fn partition(call: CallHash, partitions: u16) -> u16 {
    let number = call.0 % u64::from(partitions.max(1));
    u16::try_from(number).unwrap_or(0)
}

/// All subjects of records: those of the stream.
#[must_use]
pub fn all_records(prefix: &str) -> String {
    format!("{prefix}.records.>")
}

/// All subjects of a partition, those of every sink.
#[must_use]
pub fn records_of(prefix: &str, partition: u16) -> String {
    format!("{prefix}.records.*.{partition:03}")
}

/// The subject of the records of a partition for a sink, whose name has neither dots nor wildcards.
#[must_use]
pub fn records(prefix: &str, sink: &str, partition: u16) -> String {
    format!("{prefix}.records.{sink}.{partition:03}")
}

/// The sink and the partition that a [subject of records](records) names.
#[must_use]
pub fn read_records<'s>(prefix: &str, subject: &'s str) -> Option<(&'s str, u16)> {
    let rest = subject.strip_prefix(prefix)?.strip_prefix(".records.")?;
    let (sink, partition) = rest.split_once('.')?;
    let is_number = partition.len() == 3 && partition.bytes().all(|octet| octet.is_ascii_digit());
    (!sink.is_empty() && is_number).then(|| partition.parse().ok().map(|partition| (sink, partition)))?
}

/// `Nats-Msg-Id` of a record for a sink: by the record's own id, or by that of the session which it ends. The session
/// ends once, whoever ends it.
#[must_use]
pub fn message_id(record: &Record, sink: &str) -> String {
    let is_end = match record.kind {
        Kind::Stop => true,
        // That of a call which came to nothing has no session that another gateway could know.
        Kind::Cdr => record.times.answered.is_some(),
        Kind::Start | Kind::Interim | Kind::Failed | Kind::Missed | Kind::Event | Kind::On | Kind::Off => false,
    };
    if is_end && !record.session.is_empty() {
        return format!("{}.{}.{sink}", record.session, record.kind.name());
    }
    format!("{}.{sink}", record.id)
}

/// A key-value bucket: a stream whose subjects are its keys.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bucket {
    name: String,
}

impl Bucket {
    pub(super) fn of(prefix: &str, what: &str) -> Self {
        Self { name: format!("{}_{what}", prefix.to_ascii_uppercase()) }
    }

    /// Its name, as clients of key-value buckets know it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of its stream.
    #[must_use]
    pub fn stream(&self) -> String {
        format!("KV_{}", self.name)
    }

    /// The subject of a key; of `>` all.
    #[must_use]
    pub fn subject(&self, key: &str) -> String {
        format!("$KV.{}.{key}", self.name)
    }

    /// The key of a subject.
    #[must_use]
    pub fn key<'s>(&self, subject: &'s str) -> Option<&'s str> {
        subject.strip_prefix("$KV.")?.strip_prefix(&self.name)?.strip_prefix('.')
    }
}

/// What the keys of the leases of gateways begin with; the name follows.
pub const GATEWAYS: &str = "lease.gateway.";

/// Key of the lease by which a gateway holds its name, and its calls.
#[must_use]
pub fn lease_of_gateway(name: &str) -> String {
    format!("{GATEWAYS}{name}")
}

/// Key of what has become of the records of a partition for a sink.
#[must_use]
pub fn progress(partition: u16, sink: &str) -> String {
    format!("progress.{partition:03}.{sink}")
}

/// The keys of what has become of all records.
pub const ALL_PROGRESS: &str = "progress.>";

/// Partition and sink of a [key of progress](progress).
#[must_use]
pub fn read_progress(key: &str) -> Option<(u16, &str)> {
    let (partition, sink) = key.strip_prefix("progress.")?.split_once('.')?;
    Some((partition.parse().ok()?, sink))
}

/// Key of a parked record.
#[must_use]
pub fn parked(partition: u16, sink: &str, record: RecordId) -> String {
    format!("parked.{partition:03}.{sink}.{record}")
}

/// What the processes of a cluster are.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Role {
    /// It serves calls.
    Gateway,
    /// It delivers records.
    Deliverer,
}

impl Role {
    /// As it stands in a subject.
    const fn part(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Deliverer => "deliver",
        }
    }

    /// In words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Deliverer => "deliverer",
        }
    }
}

/// Where a process hears questions.
#[must_use]
pub fn ask(prefix: &str, role: Role, name: &str) -> String {
    format!("{prefix}.ask.{}.{name}", role.part())
}

/// Where all processes hear whether somebody is there.
#[must_use]
pub fn ask_all(prefix: &str) -> String {
    format!("{prefix}.ask.all")
}

/// Where a process hears commands: apart from questions, so that the servers can let in the one and not the other.
#[must_use]
pub fn command(prefix: &str, role: Role, name: &str) -> String {
    format!("{prefix}.command.{}.{name}", role.part())
}

/// First part of the subjects at which answers are heard, and of nothing else.
#[must_use]
pub fn answers(prefix: &str) -> String {
    format!("{prefix}.answer")
}

/// Whether answers may go there: whoever asks names the subject, and must not have a process publish elsewhere.
#[must_use]
pub fn is_answer(prefix: &str, subject: &str) -> bool {
    let rest = subject.strip_prefix(prefix).and_then(|rest| rest.strip_prefix(".answer."));
    rest.is_some_and(|rest| {
        rest.len() <= SUBJECT_OCTETS_MAX && rest.split('.').all(|part| !part.is_empty() && is_literal(part))
    })
}

/// Longest rest of a subject of answers, in octets: a client makes some 45.
const SUBJECT_OCTETS_MAX: usize = 128;

fn is_literal(part: &str) -> bool {
    part.bytes().all(|octet| octet.is_ascii_graphic() && !matches!(octet, b'*' | b'>'))
}

/// The keys of all parked records.
pub const ALL_PARKED: &str = "parked.>";

/// The keys of all parked records of a partition.
#[must_use]
pub fn parked_of(partition: u16) -> String {
    format!("parked.{partition:03}.>")
}

/// Partition, sink and record of a [key of a parked record](parked).
#[must_use]
pub fn read_parked(key: &str) -> Option<(u16, &str, RecordId)> {
    let mut parts = key.strip_prefix("parked.")?.splitn(3, '.');
    let (partition, sink, record) = (parts.next()?, parts.next()?, parts.next()?);
    Some((partition.parse().ok()?, sink, record.parse().ok()?))
}

/// Key of the keys that sign Record-Route values.
pub const ROUTE_KEYS: &str = "route.keys";

/// Key of a call in progress: the octets of the engine's key, in hexadecimal digits.
#[must_use]
pub fn call(key: &[u8]) -> String {
    key.iter().fold(String::with_capacity(2 * key.len()), |mut text, octet| {
        let _never_fails = write!(text, "{octet:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::clock::Timestamp;

    fn record(kind: Kind, session: &str) -> Record {
        Record { session: session.to_owned(), ..Record::of_no_call(kind, Timestamp(1_700_000_000_000_000), 7) }
    }

    #[test]
    fn a_call_has_one_partition_in_every_release() {
        for (call_id, partitions, want) in
            [("a84b4c76e66710@pc33.example.com", 16, 1), ("a84b4c76e66710@pc33.example.com", 1, 0), ("", 256, 54)]
        {
            assert_eq!(partition(CallHash::of(call_id.as_bytes()), partitions), want, "{call_id} of {partitions}");
        }
        let all: BTreeSet<u16> =
            (0..1000_u32).map(|number| partition(CallHash::of(&number.to_be_bytes()), 16)).collect();
        assert_eq!(all.len(), 16, "calls are in all of them");
    }

    #[test]
    fn a_subject_tells_its_sink_and_partition() {
        assert_eq!(records("tollgate", "billing-2", 7), "tollgate.records.billing-2.007");
        assert_eq!((all_records("acc"), records_of("acc", 12)), ("acc.records.>".into(), "acc.records.*.012".into()));
        for (subject, want) in [
            ("tollgate.records.billing.007", Some(("billing", 7))),
            ("tollgate.records.billing.255", Some(("billing", 255))),
            ("tollgate.records.billing.7", None),
            ("tollgate.records.billing", None),
            ("tollgate.records..007", None),
            ("tollgate.records.a.b.007", None),
            ("other.records.billing.007", None),
        ] {
            assert_eq!(read_records("tollgate", subject), want, "{subject}");
        }
    }

    #[test]
    fn what_ends_a_session_has_the_session_s_name_and_all_else_its_own() {
        let session = "0123456789abcdef0123456789abcdef";
        for (kind, answered, want) in [
            (Kind::Start, true, None),
            (Kind::Interim, true, None),
            (Kind::Stop, true, Some("stop")),
            (Kind::Cdr, true, Some("cdr")),
            (Kind::Cdr, false, None),
            (Kind::Failed, false, None),
        ] {
            let mut record = record(kind, session);
            record.times.answered = answered.then_some(Timestamp(1));
            let want = want.map_or(format!("{}.billing", record.id), |word| format!("{session}.{word}.billing"));
            assert_eq!(message_id(&record, "billing"), want, "{kind:?} answered: {answered}");
        }
        let nameless = record(Kind::Stop, "");
        assert_eq!(message_id(&nameless, "billing"), format!("{}.billing", nameless.id));
    }

    #[test]
    fn a_bucket_s_keys_are_subjects() {
        let state = Bucket::of("tollgate", "STATE");
        assert_eq!((state.name(), state.stream().as_str()), ("TOLLGATE_STATE", "KV_TOLLGATE_STATE"));
        let key = lease_of_gateway("gw1");
        assert_eq!(state.subject(&key), "$KV.TOLLGATE_STATE.lease.gateway.gw1");
        assert_eq!(state.key(&state.subject(&key)), Some("lease.gateway.gw1"));
        assert_eq!(state.key("$KV.TOLLGATE_STATES.x"), None);
        assert_eq!(call(&[0, 0xab, 0x7f]), "00ab7f");
        let key = parked(7, "sql", RecordId(1));
        assert_eq!(
            (key.as_str(), read_parked(&key)),
            ("parked.007.sql.00000000000000000000000001", Some((7, "sql", RecordId(1))))
        );
        assert_eq!(read_parked("parked.007.sql.1"), None);
        let key = progress(3, "sql");
        assert_eq!((key.as_str(), read_progress(&key)), ("progress.003.sql", Some((3, "sql"))));
        assert_eq!((read_progress("progress.sql"), read_progress("parked.003.sql")), (None, None));
    }

    #[test]
    fn answers_go_where_answers_are_heard_and_nowhere_else() {
        let of = |subject: &str| is_answer("tollgate", subject);
        assert!(of("tollgate.answer.Vk3x") && of("tollgate.answer.Vk3x.7"));
        for other in [
            "tollgate.answer",
            "tollgate.answer.",
            "tollgate.answers.x",
            "tollgate.answer.x..y",
            "tollgate.answer.>",
            "tollgate.answer.x.*",
            "tollgate.answer.x y",
            "tollgate.records.billing.007",
            "$KV.TOLLGATE_STATE.lease.gateway.gw1",
            "other.tollgate.answer.x",
            "",
        ] {
            assert!(!of(other), "{other}");
        }
        assert!(!of(&format!("tollgate.answer.{}", "x".repeat(129))));
        assert_eq!(ask("acc", Role::Gateway, "gw1"), "acc.ask.gateway.gw1");
        assert_eq!(command("acc", Role::Deliverer, "gw1"), "acc.command.deliver.gw1");
        assert!(is_answer("acc", &format!("{}.x", answers("acc"))) && ask_all("acc") == "acc.ask.all");
    }

    #[test]
    fn a_machine_s_name_becomes_one_of_ours() {
        for (host, want) in [("gw1.example.org", "gw1"), ("gw_2", "gw_2"), ("-", "-"), ("", "tollgate"), ("süd", "s-d")]
        {
            assert_eq!(of_machine(host), want, "{host}");
            assert!(is_name(&of_machine(host)), "{host}");
        }
        assert!(!is_name("a.b") && !is_name("") && !is_name(&"x".repeat(65)) && is_name(&"x".repeat(64)));
    }
}
