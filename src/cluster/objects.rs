//! The stream of the records and the two buckets: made when they are missing, and looked at when they are there.
//!
//! They may have been made by another release, or by hand. What would lose records or break a lease is an error; what only
//! differs from the configuration is told.

use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use async_nats::jetstream::{Context, ErrorCode};

use super::{Settings, names};
use crate::sinks::jetstream::covers;

/// Why an object cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// Nobody decides about streams now: there is no leader, or no JetStream.
    #[error(
        "JetStream does not answer for the stream `{stream}`: it has no leader at the moment, or is not enabled ({why})"
    )]
    Leaderless {
        /// The stream.
        stream: String,
        /// What was said.
        why: String,
    },
    /// There are fewer servers than the stream needs.
    #[error(
        "the servers cannot keep {replicas} copies of the stream `{stream}` ({why}): set `cluster.replicas` to 1, or start more servers"
    )]
    TooFew {
        /// The stream.
        stream: String,
        /// Copies that are wanted.
        replicas: usize,
        /// What was said.
        why: String,
    },
    /// It was refused.
    #[error("the stream `{stream}` cannot be made or looked at ({why})")]
    Refused {
        /// The stream.
        stream: String,
        /// What was said.
        why: String,
    },
    /// It is there, and does not do.
    #[error("the stream `{stream}` {what}")]
    Unfit {
        /// The stream.
        stream: String,
        /// What is wrong, and what to do.
        what: String,
    },
}

impl ObjectError {
    /// Whether the same may succeed later without a change of configurations.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Leaderless { .. } => true,
            Self::TooFew { .. } | Self::Refused { .. } | Self::Unfit { .. } => false,
        }
    }
}

/// What was found or made.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Report {
    /// Streams that were missing and were made.
    pub made: Vec<String>,
    /// What an operator should know of those that were there.
    pub warnings: Vec<String>,
}

impl Report {
    /// Tells the log.
    pub fn tell(&self) {
        for stream in &self.made {
            tracing::info!(stream, "the stream was missing and is made");
        }
        for warning in &self.warnings {
            tracing::warn!("{warning}");
        }
    }
}

/// Makes the stream and the buckets where they are missing; all of them are as they must be then.
///
/// # Errors
/// The first object that cannot be used.
pub async fn ensure(context: &Context, settings: &Settings) -> Result<Report, ObjectError> {
    let mut report = Report::default();
    for wanted in wanted(settings) {
        match look(context, &wanted.name).await? {
            Some(found) => report.warnings.append(&mut judge(&wanted, &found)?),
            None => {
                make(context, &wanted).await?;
                report.made.push(wanted.name);
            }
        }
    }
    Ok(report)
}

/// Looks at the stream and the buckets; makes none.
///
/// # Errors
/// The first object that is there and cannot be used.
pub async fn check(context: &Context, settings: &Settings) -> Result<Report, ObjectError> {
    let mut report = Report::default();
    for wanted in wanted(settings) {
        match look(context, &wanted.name).await? {
            Some(found) => report.warnings.append(&mut judge(&wanted, &found)?),
            None => report.warnings.push(missing(&wanted)),
        }
    }
    Ok(report)
}

/// What is to be known of a stream that is not there.
fn missing(wanted: &Config) -> String {
    let copies = match wanted.num_replicas {
        0 | 1 => String::new(),
        // Nothing tells a client how many there are before one is made.
        copies => format!(", with {copies} copies, which takes {copies} servers (`cluster.replicas`)"),
    };
    format!("the stream `{}` is not there yet: a start makes it{copies}", wanted.name)
}

/// The stream of the records first, then the buckets.
#[must_use]
pub fn wanted(settings: &Settings) -> [Config; 3] {
    let records = Config {
        name: settings.stream.clone(),
        subjects: vec![names::all_records(&settings.prefix)],
        description: Some(description(settings.partitions)),
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        num_replicas: settings.replicas,
        max_age: settings.max_age,
        duplicate_window: settings.duplicate_window,
        deny_delete: true,
        ..Config::default()
    };
    let bucket = |bucket: names::Bucket, deny_delete: bool| Config {
        name: bucket.stream(),
        subjects: vec![bucket.subject(">")],
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        num_replicas: settings.replicas,
        max_messages_per_subject: 1,
        discard: DiscardPolicy::New,
        allow_rollup: true,
        deny_delete,
        // An answer by a follower may be older than an acknowledged write.
        allow_direct: false,
        ..Config::default()
    };
    // A call is removed as the one message that holds it: that says whether it was the last, and leaves no mark behind.
    [records, bucket(settings.state(), true), bucket(settings.calls(), false)]
}

/// Keeps the number of partitions, which must never be another: the order of a call is that of its partition.
fn description(partitions: u16) -> String {
    format!("Records of Tollgate in {partitions} partitions")
}

/// The configuration of a stream; `None` when it is not there.
async fn look(context: &Context, stream: &str) -> Result<Option<Config>, ObjectError> {
    let error = match context.get_stream(stream).await {
        Ok(found) => return Ok(Some(found.cached_info().config.clone())),
        Err(error) => error,
    };
    let (stream, why) = (stream.to_owned(), error.to_string());
    match error.kind() {
        GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => Ok(None),
        GetStreamErrorKind::JetStream(error) if is_leaderless(error.error_code()) => {
            Err(ObjectError::Leaderless { stream, why })
        }
        GetStreamErrorKind::Request => Err(ObjectError::Leaderless { stream, why }),
        GetStreamErrorKind::JetStream(_) | GetStreamErrorKind::EmptyName | GetStreamErrorKind::InvalidStreamName => {
            Err(ObjectError::Refused { stream, why })
        }
    }
}

/// Makes a stream; another process may have made the same meanwhile, which the servers take as the same.
async fn make(context: &Context, wanted: &Config) -> Result<(), ObjectError> {
    let Err(error) = context.create_stream(wanted).await else { return Ok(()) };
    let (stream, why) = (wanted.name.clone(), error.to_string());
    Err(match error.kind() {
        CreateStreamErrorKind::JetStream(error) if is_leaderless(error.error_code()) => {
            ObjectError::Leaderless { stream, why }
        }
        CreateStreamErrorKind::JetStream(error) if is_too_few(error.error_code()) => {
            ObjectError::TooFew { stream, replicas: wanted.num_replicas, why }
        }
        CreateStreamErrorKind::JetStreamUnavailable
        | CreateStreamErrorKind::TimedOut
        | CreateStreamErrorKind::NotFound
        | CreateStreamErrorKind::Response => ObjectError::Leaderless { stream, why },
        CreateStreamErrorKind::JetStream(_)
        | CreateStreamErrorKind::EmptyStreamName
        | CreateStreamErrorKind::InvalidStreamName
        | CreateStreamErrorKind::DomainAndExternalSet
        | CreateStreamErrorKind::ResponseParse => ObjectError::Refused { stream, why },
    })
}

/// 10004, 10008, 10009: the servers have no leader for it yet.
fn is_leaderless(code: ErrorCode) -> bool {
    [ErrorCode::CLUSTER_INCOMPLETE, ErrorCode::CLUSTER_NOT_AVAILABLE, ErrorCode::CLUSTER_NOT_LEADER].contains(&code)
}

/// 10005, 10074: not as many servers as copies.
fn is_too_few(code: ErrorCode) -> bool {
    [ErrorCode::CLUSTER_NO_PEERS, ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED].contains(&code)
}

/// What an operator should know of a stream that is there.
fn judge(wanted: &Config, found: &Config) -> Result<Vec<String>, ObjectError> {
    let unfit = |what: &str| Err(ObjectError::Unfit { stream: wanted.name.clone(), what: what.to_owned() });
    let is_bucket = wanted.max_messages_per_subject == 1;
    if let Some(subject) = wanted.subjects.iter().find(|own| !found.subjects.iter().any(|has| covers(has, own))) {
        return unfit(&format!("does not take the subjects `{subject}`: add them, or set another `cluster.stream`"));
    }
    if found.no_ack {
        return unfit("acknowledges nothing (`no_ack`): no record would ever be forwarded");
    }
    if found.retention != RetentionPolicy::Limits {
        return unfit("has another retention than `limits`: it forgets repeats; delete it, and it is made anew");
    }
    if found.storage != StorageType::File {
        return unfit("is kept in memory: servers that restart have lost it; delete it, and it is made anew");
    }
    if is_bucket && found.max_messages_per_subject != 1 {
        return unfit("is no bucket with one value a key: set `max_msgs_per_subject` to 1");
    }
    if is_bucket && found.allow_direct {
        return unfit("lets followers answer (`allow_direct`), whose answers may be old: set it to false");
    }
    // The servers do not let it be changed.
    if !wanted.deny_delete && found.deny_delete {
        return unfit("lets nothing be removed (`deny_delete`): delete it, and it is made anew");
    }
    if !is_bucket && found.max_messages_per_subject > 0 {
        return unfit("keeps only the last messages of a subject (`max_msgs_per_subject`): set it to -1");
    }
    // Another description is an operator's own.
    let partitions = |config: &Config| {
        let text = config.description.as_deref()?.strip_prefix("Records of Tollgate in ")?;
        text.strip_suffix(" partitions")?.parse::<u16>().ok()
    };
    if let (Some(own), Some(other)) = (partitions(wanted), partitions(found))
        && own != other
    {
        return unfit(&format!("has {other} partitions, and `cluster.partitions` is {own}: the two must be the same"));
    }
    Ok(differences(wanted, found))
}

/// What differs from the configuration, and is as the operator may want it.
fn differences(wanted: &Config, found: &Config) -> Vec<String> {
    let name = &wanted.name;
    let mut told = Vec::new();
    if found.num_replicas != wanted.num_replicas {
        let (has, own) = (found.num_replicas, wanted.num_replicas);
        told.push(format!("the stream `{name}` has {has} copies, and `cluster.replicas` is {own}"));
    }
    if found.max_messages > 0 || found.max_bytes > 0 {
        let policy = if found.discard == DiscardPolicy::Old { "drops its oldest records" } else { "takes no more" };
        told.push(format!("the stream `{name}` has a limit of size, and {policy} when it is full"));
    }
    if wanted.max_messages_per_subject == 1 {
        return told;
    }
    if found.duplicate_window != wanted.duplicate_window {
        let (has, own) = (found.duplicate_window.as_secs(), wanted.duplicate_window.as_secs());
        told.push(format!("the stream `{name}` knows repeats for {has} s, and `cluster.duplicate_window_s` is {own}"));
    }
    if found.max_age != wanted.max_age {
        let (has, own) = (found.max_age.as_secs() / 86_400, wanted.max_age.as_secs() / 86_400);
        let has = if found.max_age.is_zero() { "for ever".to_owned() } else { format!("for {has} days") };
        told.push(format!("the stream `{name}` keeps records {has}, and `cluster.max_age_days` is {own}"));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::jetstream::{Access, Login, TIMEOUT, Tls};

    fn settings() -> Settings {
        let access = Access { servers: Vec::new(), login: Login::None, tls: Tls::default(), timeout: TIMEOUT };
        Settings {
            access,
            name: "a".to_owned(),
            stream: Settings::STREAM.to_owned(),
            prefix: Settings::PREFIX.to_owned(),
            replicas: Settings::REPLICAS,
            partitions: Settings::PARTITIONS,
            duplicate_window: Settings::DUPLICATE_WINDOW,
            max_age: Settings::MAX_AGE,
            lease: Settings::LEASE,
            commands: false,
        }
    }

    #[test]
    fn only_calls_can_be_removed_and_they_must() {
        let all = wanted(&settings());
        for (wanted, denies) in all.iter().zip([true, true, false]) {
            assert_eq!(wanted.deny_delete, denies, "{}", wanted.name);
            assert_eq!(judge(wanted, wanted).expect("it is as it is wanted"), Vec::<String>::new());
            let denied = Config { deny_delete: true, ..wanted.clone() };
            assert_eq!(judge(wanted, &denied).is_ok(), denies, "{}", wanted.name);
        }
    }
}
