//! What waits in the stream: of each sink the messages that no deliverer has taken yet, and what is taken and not settled.
//!
//! The stream's leader says how many messages each lane has, the bucket which of them was read last. What is behind that is
//! counted by a consumer that begins there and is never read: its server says how much there is for it. The servers may make
//! it at any of them, one that has not caught up among them, so that it is made anew until the leader has it; where that does not
//! come about, or takes too long, one message is counted, and the count is said to be a lower bound.
//!
//! So it does not matter whether a lane has a deliverer, has lost it, or never had one. Deliverers write their progress down
//! five times a second: what they have taken since counts as waiting.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy, pull};
use async_nats::jetstream::stream::{ClusterInfo, Info, RawMessageErrorKind, Stream};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::timeout;

use super::bucket::{ANSWER_WAIT, Store};
use super::names;
use super::progress::Progress;
use crate::clock::Timestamp;

/// What the stream has for a sink.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Held {
    /// Messages in the stream, delivered or not.
    pub records: u64,
    /// Those that no deliverer has taken.
    pub waiting: u64,
    /// When the oldest of these came into the stream.
    pub oldest: Option<Timestamp>,
    /// Those that are taken and not settled, whether their deliverer lives or not. What is parked is settled.
    pub taken: u64,
    /// Whether more may wait, or be taken.
    pub is_more: bool,
}

impl Held {
    /// Both together.
    #[must_use]
    pub fn and(self, other: &Self) -> Self {
        Self {
            records: self.records + other.records,
            waiting: self.waiting + other.waiting,
            oldest: self.oldest.into_iter().chain(other.oldest).min(),
            taken: self.taken + other.taken,
            is_more: self.is_more || other.is_more,
        }
    }
}

/// By sink.
pub type Backlog = BTreeMap<String, Held>;

/// Lanes that are looked at at once.
const AT_ONCE: usize = 16;

/// Longest counting of one lane; it is a lower bound then.
const COUNT_WAIT: Duration = Duration::from_secs(4);

/// How often a consumer is made at another server than the leader at most.
const CONSUMERS_MAX: usize = 16;

/// How long the servers keep one that was not deleted.
const ABANDONED_AFTER: Duration = Duration::from_secs(5);

/// A lane.
struct Lane {
    sink: String,
    subject: String,
    /// Messages in the stream.
    records: u64,
    /// What is written down of it; `Err`: nothing that this release can read.
    progress: Result<Progress, ()>,
}

/// Looks at it.
///
/// # Errors
/// Why it is not known.
pub async fn read(context: &Context, state: &Store, (prefix, name): (&str, &str)) -> Result<Backlog, String> {
    let found = answered(async { context.get_stream(name).await }).await?;
    let info = found.cached_info();
    let mut records = BTreeMap::new();
    let counted = async {
        let mut subjects = found.info_with_subjects(names::all_records(prefix)).await?;
        while let Some((subject, count)) = subjects.try_next().await? {
            if let Some((sink, partition)) = names::read_records(prefix, &subject) {
                records.insert((partition, sink.to_owned()), count as u64);
            }
        }
        Ok::<_, async_nats::jetstream::stream::InfoError>(())
    };
    answered(counted).await?;
    let keys = state.keys(names::ALL_PROGRESS).await.map_err(|error| error.to_string())?;
    for key in keys {
        if let Some((partition, sink)) = names::read_progress(&key) {
            records.entry((partition, sink.to_owned())).or_default();
        }
    }
    let looked = records.into_iter().map(async |((partition, sink), records)| {
        let stored = state.get(&names::progress(partition, &sink)).await.map_err(|error| error.to_string())?;
        let progress = match stored.map(|value| Progress::resume(&value.bytes)) {
            None => Ok(Progress::default()),
            // What is written down of an earlier stream says nothing of this one.
            Some(Ok(progress)) => Ok(progress.within(made(info))),
            Some(Err(_)) => Err(()),
        };
        let subject = names::records(prefix, &sink, partition);
        let lane = Lane { sink, subject, records, progress };
        lane.held(&found, info).await.map(|held| (lane.sink, held))
    });
    let lanes: Vec<(String, Held)> = stream::iter(looked).buffer_unordered(AT_ONCE).try_collect().await?;
    Ok(sums(lanes))
}

fn sums(lanes: Vec<(String, Held)>) -> Backlog {
    let mut sums = Backlog::new();
    for (sink, held) in lanes {
        let sum = sums.entry(sink).or_default();
        *sum = std::mem::take(sum).and(&held);
    }
    sums
}

impl Lane {
    async fn held(&self, stream: &Stream, info: &Info) -> Result<Held, String> {
        let records = self.records;
        let Ok(progress) = &self.progress else { return Ok(Held { records, is_more: true, ..Held::default() }) };
        let (begin, taken) = (progress.read() + 1, progress.open() as u64);
        let Some(oldest) = self.first(stream, begin).await? else {
            return Ok(Held { records, taken, ..Held::default() });
        };
        let waiting = match progress.read() {
            // All of them.
            0 => Some(records),
            _ => timeout(COUNT_WAIT, self.count(stream, info, begin)).await.unwrap_or(Ok(None))?,
        };
        // What has come since they were counted is among them.
        let (is_more, waiting) = (waiting.is_none(), waiting.unwrap_or(1).max(1));
        Ok(Held { records: records.max(waiting), waiting, oldest: Some(oldest), taken, is_more })
    }

    /// When the first message came that has this place or a later one, as the leader knows it.
    async fn first(&self, stream: &Stream, begin: u64) -> Result<Option<Timestamp>, String> {
        match timeout(ANSWER_WAIT, stream.get_first_raw_message_by_subject(&self.subject, begin)).await {
            Err(_) => Err(LATE.to_owned()),
            Ok(Ok(message)) => Ok(Some(timestamp(message.time.unix_timestamp_nanos()))),
            Ok(Err(error)) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Ok(Err(error)) => Err(error.to_string()),
        }
    }

    /// How many there are from that place on; `None`: the leader is not given the question.
    async fn count(&self, stream: &Stream, info: &Info, begin: u64) -> Result<Option<u64>, String> {
        for _ in 0..CONSUMERS_MAX {
            let config = pull::Config {
                filter_subject: self.subject.clone(),
                deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: begin },
                ack_policy: AckPolicy::None,
                inactive_threshold: ABANDONED_AFTER,
                memory_storage: true,
                num_replicas: 1,
                ..pull::Config::default()
            };
            let made: Consumer<pull::Config> = answered(stream.create_consumer(config)).await?;
            let told = made.cached_info();
            let _gone = timeout(ANSWER_WAIT, stream.delete_consumer(&told.name)).await;
            if leader(told.cluster.as_ref()) == leader(info.cluster.as_ref()) {
                return Ok(Some(told.num_pending));
            }
        }
        Ok(None)
    }
}

fn leader(cluster: Option<&ClusterInfo>) -> Option<&str> {
    cluster?.leader.as_deref()
}

/// When a stream was made, as [`Progress::of`] has it.
fn made(stream: &Info) -> u64 {
    u64::try_from(stream.created.unix_timestamp_nanos()).unwrap_or_default()
}

fn timestamp(nanos: i128) -> Timestamp {
    Timestamp(i64::try_from(nanos / 1_000).unwrap_or(i64::MAX))
}

const LATE: &str = "no answer in time";

/// An answer of JetStream.
async fn answered<T, E: ToString>(asked: impl Future<Output = Result<T, E>>) -> Result<T, String> {
    let answer = timeout(ANSWER_WAIT, asked).await.map_err(|_| LATE.to_owned())?;
    answer.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_are_added_up_by_sink() {
        let lane = |records, waiting, oldest: Option<i64>, taken, is_more| Held {
            records,
            waiting,
            oldest: oldest.map(Timestamp),
            taken,
            is_more,
        };
        let all = vec![
            ("cdrs".to_owned(), lane(10, 3, Some(70), 2, false)),
            ("cdrs".to_owned(), lane(5, 0, None, 0, false)),
            ("sql".to_owned(), lane(1, 1, Some(9), 0, true)),
            ("cdrs".to_owned(), lane(7, 1, Some(50), 1, false)),
        ];
        let sums = sums(all);
        assert_eq!(sums["cdrs"], lane(22, 4, Some(50), 3, false));
        assert_eq!(sums["sql"], lane(1, 1, Some(9), 0, true));
        let total = sums.values().fold(Held::default(), Held::and);
        assert_eq!(total, lane(23, 5, Some(9), 3, true));
    }
}
