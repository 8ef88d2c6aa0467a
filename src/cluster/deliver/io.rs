//! Questions of a deliverer to the cluster, each a future that ends with what came of it.

use async_nats::jetstream::Context;
use async_nats::jetstream::stream::{Info, RawMessageErrorKind, Stream};
use bytes::Bytes;
use futures_util::future::{LocalBoxFuture, try_join_all};
use tokio::time::timeout;

use super::book::{self, LaneId, Stored, Write};
use super::leading::{self, AGAIN_BEFORE, Server};
use super::parked::{self, Parking};
use crate::clock::{Instant, mono};
use crate::cluster::bucket::{ANSWER_WAIT, ReadError, Store, Value, WriteError};
use crate::cluster::lease::Answer;
use crate::cluster::progress::Progress;
use crate::cluster::roster::{Entry, Key, MEMBERS};
use crate::cluster::{Settings, names};
use crate::ids::{RecordId, SinkNumber};

/// What came of a question.
#[derive(Debug)]
pub(super) enum Done {
    Scanned(Result<Vec<Entry>, ReadError>),
    Read(Key, Result<Option<Value>, ReadError>),
    Updated { key: Key, turn: u64, answer: Answer },
    TakenUp { partition: u16, epoch: u64, by_time: bool, taken: Result<TakenUp, String> },
    Written { write: Write, result: Result<u64, WriteError> },
    Parked { at: (LaneId, u64), id: RecordId, parking: Parking, result: Result<u64, WriteError> },
    Led { asked: Instant, by: Option<Server> },
    Unparked { lane: LaneId, id: RecordId, result: Result<(), WriteError> },
}

/// What was read of a partition, and made ours.
#[derive(Debug)]
pub(super) struct TakenUp {
    /// Each lane with its progress.
    pub lanes: Vec<(LaneId, Stored)>,
    /// The stream, after the last owner had it.
    pub stream: book::Stream,
    /// Parked records; without a body their messages are gone.
    pub parked: Vec<(LaneId, RecordId, Parking, Option<Bytes>)>,
}

pub(super) type Asked = LocalBoxFuture<'static, Done>;

/// Where questions go.
#[derive(Clone, Debug)]
pub(super) struct Desk {
    pub context: Context,
    pub state: Store,
    pub stream: String,
    /// The sinks of this process.
    pub sinks: Vec<(String, SinkNumber)>,
}

impl Desk {
    pub async fn new(
        context: Context,
        settings: &Settings,
        sinks: Vec<(String, SinkNumber)>,
    ) -> Result<Self, ReadError> {
        let state = Store::new(&context, &settings.state()).await?;
        Ok(Self { context, state, stream: settings.stream.clone(), sinks })
    }

    /// The name of a sink.
    pub fn sink(&self, number: SinkNumber) -> &str {
        self.sinks.iter().find(|(_, own)| *own == number).map_or("", |(name, _)| name)
    }

    /// Reads all leases, at the leader.
    pub fn scan(&self, partitions: u16) -> Asked {
        let state = self.state.clone();
        Box::pin(async move {
            let members = match state.keys(&format!("{MEMBERS}>")).await {
                Ok(members) => members,
                Err(error) => return Done::Scanned(Err(error)),
            };
            let members = members.iter().filter_map(|key| Key::parse(key));
            let keys = members.chain((0..usize::from(partitions)).map(Key::Partition));
            let read = keys.map(async |key| {
                let value = state.get(&key.to_string()).await?;
                Ok::<_, ReadError>(value.map(|value| entry(key, value)))
            });
            Done::Scanned(try_join_all(read).await.map(|entries| entries.into_iter().flatten().collect()))
        })
    }

    /// Reads one lease.
    pub fn read(&self, key: Key) -> Asked {
        let state = self.state.clone();
        Box::pin(async move {
            let value = state.get(&key.to_string()).await;
            Done::Read(key, value)
        })
    }

    /// Writes one.
    pub fn update(&self, key: Key, turn: u64, expected: u64, value: Vec<u8>) -> Asked {
        let state = self.state.clone();
        Box::pin(async move {
            let answer = match state.update(&key.to_string(), value, expected).await {
                Ok(revision) => Answer::Stored(revision),
                Err(WriteError::Conflict) => Answer::Conflict,
                Err(WriteError::Refused(_)) => Answer::Refused,
                Err(WriteError::Unknown(_)) => Answer::Lost,
            };
            Done::Updated { key, turn, answer }
        })
    }

    /// Writes the progress of a lane.
    pub fn write(&self, write: Write) -> Asked {
        let (state, key) = (self.state.clone(), write.lane.key(self.sink(write.lane.sink)));
        Box::pin(async move {
            let mut result = state.update(&key, write.bytes.clone(), write.expected).await;
            if result.is_err()
                && let Ok(Some(value)) = state.get(&key).await
            {
                // Ours, though the answer was lost or the repeat refused.
                if value.bytes == write.bytes {
                    result = Ok(value.revision);
                }
            }
            Done::Written { write, result }
        })
    }

    /// Writes down that a record is parked, with the record.
    pub fn park(&self, at: (LaneId, u64), id: RecordId, mut parking: Parking) -> Asked {
        let desk = self.clone();
        let key = names::parked(at.0.partition, self.sink(at.0.sink), id);
        Box::pin(async move {
            if parking.record.is_none() {
                let found = timeout(ANSWER_WAIT, desk.context.get_stream(&desk.stream)).await;
                if let Ok(Ok(stream)) = found {
                    parking.record = record_of(&stream, id, &parking).await.ok().flatten().map(Into::into);
                }
            }
            let result = desk.state.put(&key, parking.to_bytes()).await;
            Done::Parked { at, id, parking, result }
        })
    }

    /// Removes that.
    pub fn unpark(&self, lane: LaneId, id: RecordId) -> Asked {
        let (state, key) = (self.state.clone(), names::parked(lane.partition, self.sink(lane.sink), id));
        Box::pin(async move {
            let result = state.remove(&key).await;
            Done::Unparked { lane, id, result }
        })
    }

    /// Asks who leads the stream.
    pub fn led(&self) -> Asked {
        let desk = self.clone();
        Box::pin(async move {
            let asked = mono();
            let found = timeout(ANSWER_WAIT, desk.context.get_stream(&desk.stream)).await;
            let by = found.ok().and_then(Result::ok).and_then(|stream| leading::leader(stream.cached_info()).ok());
            Done::Led { asked, by }
        })
    }

    /// Makes the progress of a partition ours, and reads what a predecessor has left; `by_time`: its places are not those of
    /// the leader.
    pub fn take_up(&self, partition: u16, epoch: u64, by_time: bool) -> Asked {
        let desk = self.clone();
        Box::pin(async move {
            let taken = desk.taken_up(partition, by_time).await;
            Done::TakenUp { partition, epoch, by_time, taken }
        })
    }

    async fn taken_up(&self, partition: u16, by_time: bool) -> Result<TakenUp, String> {
        let stream = timeout(ANSWER_WAIT, self.context.get_stream(&self.stream)).await;
        let stream = stream.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let found = book::Stream { made: made(stream.cached_info()), last: stream.cached_info().state.last_sequence };
        let mut lanes = Vec::new();
        for (name, sink) in &self.sinks {
            let lane = LaneId { partition, sink: *sink };
            let (bytes, revision) = self.make_ours(&lane.key(name), found.made).await?;
            let progress = bytes.as_deref().filter(|_| by_time).and_then(|bytes| Progress::resume(bytes).ok());
            let again_behind = match progress {
                Some(progress) => Some(again_behind(&stream, &progress, partition, name).await?),
                None => None,
            };
            lanes.push((lane, Stored { bytes, revision, again_behind }));
        }
        let mut parked = Vec::new();
        let noted = self.state.scan(&names::parked_of(partition)).await.map_err(|error| error.to_string())?;
        for (key, Value { bytes, .. }) in noted {
            let Some((_, sink, id)) = names::read_parked(&key) else { continue };
            let Some((_, sink)) = self.sinks.iter().find(|(name, _)| name == sink) else { continue };
            let parking = match Parking::read(&bytes) {
                Ok(parking) => parking,
                Err(error) => {
                    tracing::error!(key, %error, "what is written down of a parked record cannot be read: it is left alone");
                    continue;
                }
            };
            let body = match &parking.record {
                Some(record) => Some(Bytes::copy_from_slice(record)),
                None => record_of(&stream, id, &parking).await?,
            };
            parked.push((LaneId { partition, sink: *sink }, id, parking, body));
        }
        Ok(TakenUp { lanes, stream: found, parked })
    }

    /// Writes a progress as it is, so that its last owner cannot write it any more.
    async fn make_ours(&self, key: &str, stream: u64) -> Result<(Option<Bytes>, u64), String> {
        for _ in 0..MAKE_OURS_TRIES {
            let stored = self.state.get(key).await.map_err(|error| error.to_string())?;
            let (bytes, revision) = stored.map_or((None, 0), |value| (Some(value.bytes), value.revision));
            let octets = bytes.as_ref().map_or_else(|| Progress::of(stream).to_bytes(), |bytes| bytes.to_vec());
            match self.state.update(key, octets, revision).await {
                Ok(revision) => return Ok((bytes, revision)),
                // Its last owner was a moment quicker, or the answer was lost.
                Err(WriteError::Conflict | WriteError::Unknown(_)) => {}
                Err(WriteError::Refused(why)) => return Err(why),
            }
        }
        Err(format!("`{key}` is written by somebody else again and again"))
    }
}

/// A parked record, from the stream; `None`: it is not there, or another one has its place.
async fn record_of(stream: &Stream, id: RecordId, parking: &Parking) -> Result<Option<Bytes>, String> {
    if parking.stream != 0 && parking.stream != made(stream.cached_info()) {
        return Ok(None);
    }
    let message = timeout(ANSWER_WAIT, stream.get_raw_message(parking.place)).await;
    match message.map_err(|error| error.to_string())? {
        Ok(message) => {
            Ok(Some(parked::fitting(message.payload)).filter(|body| parked::names_of(parking.place, body).0 == id))
        }
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

/// Where a lane is to be read again whose places are not those of the leader.
async fn again_behind(stream: &Stream, progress: &Progress, partition: u16, sink: &str) -> Result<u64, String> {
    let since = progress.since().unwrap_or_default();
    let from = since.saturating_sub(u64::try_from(AGAIN_BEFORE.as_nanos()).unwrap_or_default());
    let behind = leading::before(stream, from).await?;
    tracing::error!(
        partition,
        sink,
        read = progress.read(),
        behind,
        "the server that leads the stream has other messages where those stood that were read from the one before: the copies of the stream differ; it is read again from a minute before, and what was delivered since is repeated under the same record ids"
    );
    Ok(behind)
}

/// When a stream was made, as [`Progress::of`] has it.
pub(super) fn made(stream: &Info) -> u64 {
    u64::try_from(stream.created.unix_timestamp_nanos()).unwrap_or_default()
}

pub(super) fn entry(key: Key, Value { bytes, revision }: Value) -> Entry {
    Entry { key, revision, value: Some(bytes.to_vec()) }
}

/// How often a progress is tried to be made ours.
const MAKE_OURS_TRIES: usize = 8;
