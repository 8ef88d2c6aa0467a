//! A bucket of the cluster: values by key, each with a revision that rises.
//!
//! Reads are answered by the leader, for the answers of others may be stale (the buckets are made without direct gets); a
//! [scan](Store::scan), which any server may be given, is made anew until the leader has it.
//! Writes name the revision that they replace.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy, pull};
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream};
use async_nats::jetstream::{self, Context, ErrorCode};
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde::Deserialize;
use tokio::time::timeout;

use super::names::Bucket;

/// Longest wait for an answer: longer than a server takes, shorter than a lease.
pub const ANSWER_WAIT: Duration = Duration::from_secs(2);

/// A value and its revision, at least 1.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Value {
    /// Octets of the value.
    pub bytes: Bytes,
    /// Its revision.
    pub revision: u64,
}

/// Why a value was not read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the bucket `{bucket}` does not answer ({why})")]
pub struct ReadError {
    /// The bucket.
    pub bucket: String,
    /// What was said.
    pub why: String,
}

/// Why a value was not written.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum WriteError {
    /// The revision is another one. After a lost answer the repeat says so too: who wrote shows only by reading.
    #[error("it was changed meanwhile")]
    Conflict,
    /// It may have been written.
    #[error("no answer: it may have been written ({0})")]
    Unknown(String),
    /// It was not written.
    #[error("it was not written ({0})")]
    Refused(String),
}

/// A bucket that can be reached.
#[derive(Clone, Debug)]
pub struct Store {
    context: Context,
    stream: Stream<()>,
    bucket: Bucket,
    /// Whether it is known to have had a value.
    is_there: Arc<AtomicBool>,
}

impl Store {
    /// The bucket, which must be there when it is used.
    ///
    /// # Errors
    /// Its name cannot be used.
    pub async fn new(context: &Context, bucket: &Bucket) -> Result<Self, ReadError> {
        let unusable =
            |error: &dyn std::error::Error| ReadError { bucket: bucket.name().to_owned(), why: error.to_string() };
        let stream = context.get_stream_no_info(bucket.stream()).await.map_err(|error| unusable(&error))?;
        Ok(Self { context: context.clone(), stream, bucket: bucket.clone(), is_there: Arc::default() })
    }

    fn unread(&self, why: impl ToString) -> ReadError {
        ReadError { bucket: self.bucket.name().to_owned(), why: why.to_string() }
    }

    /// The value of a key, as the leader has it; `None` where there is none, or none any more.
    ///
    /// # Errors
    /// Nobody answers.
    pub async fn get(&self, key: &str) -> Result<Option<Value>, ReadError> {
        if !self.is_there.load(Ordering::Relaxed) {
            self.look().await?;
        }
        let subject = self.bucket.subject(key);
        let asked = timeout(ANSWER_WAIT, self.stream.get_last_raw_message_by_subject(&subject)).await;
        let wrong = match asked {
            Ok(Ok(message)) if is_removal(&message.headers) => return Ok(None),
            Ok(Ok(message)) => return Ok(Some(Value { bytes: message.payload, revision: message.sequence })),
            Ok(Err(error)) if error.kind() == LastRawMessageErrorKind::NoMessageFound => return Ok(None),
            Ok(Err(error)) => self.unread(error),
            Err(_) => self.unread("no answer in time"),
        };
        // It may have been deleted.
        self.is_there.store(false, Ordering::Relaxed);
        Err(wrong)
    }

    /// Looks whether the bucket has ever had a value, and gives it one if not. A bucket that is just being made must not be
    /// asked for a value: it would cost the cluster a server of nats-server 2.9.10. One that has taken a value is made.
    async fn look(&self) -> Result<(), ReadError> {
        let info = timeout(ANSWER_WAIT, self.stream.get_info()).await;
        let info = info.map_err(|_| self.unread("no answer in time"))?.map_err(|error| self.unread(error))?;
        if info.state.last_sequence == 0 {
            self.put(FIRST, Vec::new()).await.map_err(|error| self.unread(error))?;
        }
        self.is_there.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Writes a value in the place of that with revision `expected`, 0 for none; gives its revision.
    ///
    /// # Errors
    /// A [`WriteError`].
    pub async fn update(&self, key: &str, bytes: Vec<u8>, expected: u64) -> Result<u64, WriteError> {
        let message = PublishMessage::build().payload(bytes.into()).expected_last_subject_sequence(expected);
        self.publish(key, message).await
    }

    /// Writes a value where there is none, under a message id: sent once more it is not stored again as long as the bucket
    /// knows the id. Gives its revision.
    ///
    /// # Errors
    /// A [`WriteError`].
    pub async fn create(&self, key: &str, bytes: Vec<u8>, id: &str) -> Result<u64, WriteError> {
        let message = PublishMessage::build().payload(bytes.into()).expected_last_subject_sequence(0).message_id(id);
        self.publish(key, message).await
    }

    /// Writes a value, whatever is there.
    ///
    /// # Errors
    /// A [`WriteError`], never [`WriteError::Conflict`].
    pub async fn put(&self, key: &str, bytes: Vec<u8>) -> Result<u64, WriteError> {
        self.publish(key, PublishMessage::build().payload(bytes.into())).await
    }

    /// Removes a value, whatever is there.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub async fn remove(&self, key: &str) -> Result<(), WriteError> {
        let message = PublishMessage::build().header(OPERATION, PURGE).header("Nats-Rollup", "sub");
        self.publish(key, message).await.map(|_| ())
    }

    /// Removes a value of exactly this revision and leaves no mark; gives the revision again. [`WriteError::Conflict`]: the
    /// key has another one, or none.
    ///
    /// # Errors
    /// A [`WriteError`].
    pub async fn remove_exactly(&self, key: &str, revision: u64) -> Result<u64, WriteError> {
        let request = serde_json::json!({ "seq": revision, "no_erase": true });
        let asked = self.context.request(format!("STREAM.MSG.DELETE.{}", self.bucket.stream()), &request);
        let answer: Response<Removed> = match timeout(ANSWER_WAIT, asked).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(WriteError::Unknown(error.to_string())),
            Err(_) => return Err(WriteError::Unknown("no answer in time".to_owned())),
        };
        match answer {
            Response::Ok(_) => Ok(revision),
            Response::Err { error } => match judge(&error) {
                Refusal::Gone => Err(WriteError::Conflict),
                Refusal::Forbidden => self.purge_exactly(key, revision).await,
                Refusal::Other => Err(WriteError::Unknown(error.to_string())),
            },
        }
    }

    /// The same in a bucket that lets no single message be deleted. Not for what happens often: while values are written,
    /// nats-server 2.9.10 does some 250 of these a second, and all else waits for them.
    async fn purge_exactly(&self, key: &str, revision: u64) -> Result<u64, WriteError> {
        // What is older than the next place, of this key alone: a later value stays.
        let removal = self.stream.purge().filter(self.bucket.subject(key)).sequence(revision + 1);
        match timeout(ANSWER_WAIT, removal.into_future()).await {
            Ok(Ok(answer)) if answer.purged == 0 => Err(WriteError::Conflict),
            Ok(Ok(_)) => Ok(revision),
            Ok(Err(error)) => Err(WriteError::Unknown(error.to_string())),
            Err(_) => Err(WriteError::Unknown("no answer in time".to_owned())),
        }
    }

    async fn publish(&self, key: &str, message: PublishMessage) -> Result<u64, WriteError> {
        let subject = self.bucket.subject(key);
        let written = async {
            let sent = self.context.send_publish(subject, message.expected_stream(self.bucket.stream())).await;
            sent.map_err(|error| WriteError::Unknown(error.to_string()))?.await.map_err(|error| wrong(&error))
        };
        let written = timeout(ANSWER_WAIT, written).await;
        written.unwrap_or_else(|_| Err(WriteError::Unknown("no answer in time".to_owned()))).map(|ack| ack.sequence)
    }

    /// The keys that the pattern `keys` fits, removed ones among them, as the leader has them.
    ///
    /// # Errors
    /// Nobody answers.
    pub async fn keys(&self, keys: &str) -> Result<Vec<String>, ReadError> {
        let listed = async {
            let mut found = Vec::new();
            let mut subjects =
                self.stream.info_with_subjects(self.bucket.subject(keys)).await.map_err(|error| self.unread(error))?;
            while let Some(subject) = subjects.next().await {
                let (subject, _) = subject.map_err(|error| self.unread(error))?;
                found.extend(self.bucket.key(&subject).map(str::to_owned));
            }
            Ok(found)
        };
        timeout(ANSWER_WAIT, listed).await.map_err(|_| self.unread("no answer in time"))?
    }

    /// All values whose keys the pattern `keys` fits, which ends in `>`, in the order in which they were written last, as the
    /// leader had them when the scan began.
    ///
    /// The servers give a scan to any of them, and one that was away and is catching up gives what it has and does not say
    /// what it lacks. So the scan is made anew until it is given to the leader. A mark is written before, and all is there when
    /// the mark has come: a reader is told of each key by its last value then, in order, and of nothing that came later.
    ///
    /// Left to the caller is what changes while the scan runs: a value that is replaced may be missing, for the new one comes
    /// after the mark, and one that was read may be gone. Whoever acts on one writes on condition of its revision. (When a
    /// key is removed, nats-server 2.9 has readers pass over all that is behind the last value of each key: nothing of that is
    /// read here.)
    ///
    /// # Errors
    /// Nobody answers, or stops in the middle, or the leader is not given the scan. To be tried again.
    pub async fn scan(&self, keys: &str) -> Result<Vec<(String, Value)>, ReadError> {
        let inbox = self.context.client().new_inbox();
        let nonce = inbox.rsplit('.').next().unwrap_or_default();
        let mark = format!("{}{SCANNED}{nonce}", keys.trim_end_matches('>'));
        let marked = self.put(&mark, Vec::new()).await.map_err(|error| self.unread(error))?;
        let found = self.scan_to(keys, marked).await;
        // One that is left behind is passed over by everybody.
        let _removed = self.remove_exactly(&mark, marked).await;
        let mut found = found?;
        found.retain(|(key, _)| !key.rsplit('.').next().is_some_and(|last| last.starts_with(SCANNED)));
        Ok(found)
    }

    /// A reader of the last values at the leader.
    async fn reader(&self, keys: &str) -> Result<Consumer<pull::Config>, ReadError> {
        for _ in 0..READERS_MAX {
            let config = pull::Config {
                filter_subject: self.bucket.subject(keys),
                deliver_policy: DeliverPolicy::LastPerSubject,
                ack_policy: AckPolicy::None,
                inactive_threshold: ABANDONED_AFTER,
                memory_storage: true,
                num_replicas: 1,
                ..pull::Config::default()
            };
            let made = timeout(ANSWER_WAIT, self.stream.create_consumer(config)).await;
            let reader = made.map_err(|_| self.unread("no answer in time"))?.map_err(|error| self.unread(error))?;
            let info = timeout(ANSWER_WAIT, self.stream.get_info()).await;
            let info = info.map_err(|_| self.unread("no answer in time"))?.map_err(|error| self.unread(error))?;
            let told = reader.cached_info();
            let host = told.cluster.as_ref().and_then(|cluster| cluster.leader.as_ref());
            if host == info.cluster.as_ref().and_then(|cluster| cluster.leader.as_ref()) {
                return Ok(reader);
            }
            // It would end by itself.
            let _gone = timeout(ANSWER_WAIT, self.stream.delete_consumer(&told.name)).await;
        }
        Err(self.unread("its leader is not given what is to be read"))
    }

    /// The last values, up to that revision.
    async fn scan_to(&self, keys: &str, last: u64) -> Result<Vec<(String, Value)>, ReadError> {
        let reader = self.reader(keys).await?;
        let (mut values, mut read, mut idle) = (Vec::new(), 0, 0);
        while read < last {
            if idle >= IDLE_MAX {
                return Err(self.unread("it stopped in the middle"));
            }
            let batch = reader.batch().max_messages(SCANNED_AT_ONCE).expires(IDLE).messages().await;
            let mut batch = batch.map_err(|error| self.unread(error))?;
            idle += 1;
            while let Some(message) =
                timeout(ANSWER_WAIT, batch.next()).await.map_err(|_| self.unread("it stopped in the middle"))?
            {
                let message = message.map_err(|error| self.unread(error))?;
                read = message.info().map_err(|error| self.unread(error))?.stream_sequence;
                idle = 0;
                let is_gone = message.headers.as_ref().is_some_and(is_removal);
                if let Some(key) = self.bucket.key(&message.subject).filter(|_| !is_gone) {
                    values.push((key.to_owned(), Value { bytes: message.payload.clone(), revision: read }));
                }
                if read >= last {
                    break;
                }
            }
        }
        Ok(values)
    }
}

/// Header of a value that removes the one before it.
const OPERATION: &str = "KV-Operation";
const PURGE: &str = "PURGE";

/// How long the server keeps a scan that nobody goes on with.
const ABANDONED_AFTER: Duration = Duration::from_secs(10);

/// The last part of the key of a mark up to which a scan reads begins so.
const SCANNED: &str = "scanned-";

/// The first value of a bucket, which scans pass over as they do marks.
const FIRST: &str = "scanned-never";

/// Values asked for at once.
const SCANNED_AT_ONCE: usize = 256;

/// How long a server has for some of them, and how often in a row it may have none.
const IDLE: Duration = Duration::from_millis(250);
const IDLE_MAX: u32 = 8;

/// How often a scan is given to another server than the leader at most: of three, one in 15 000 is.
const READERS_MAX: usize = 24;

/// The answer to a removal says no more than that.
#[derive(Debug, Deserialize)]
struct Removed {}

/// Why a message was not deleted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Refusal {
    /// It is not there any more.
    Gone,
    /// Nothing may be deleted in this stream.
    Forbidden,
    /// Something else.
    Other,
}

/// 10043 is told by a cluster; 10057 means all three, told apart by its text alone.
fn judge(error: &jetstream::Error) -> Refusal {
    let text = error.to_string();
    match error.error_code() {
        ErrorCode::SEQUENCE_NOT_FOUND => Refusal::Gone,
        ErrorCode::STREAM_MESSAGE_DELETE_FAILED if text.contains("not permitted") => Refusal::Forbidden,
        ErrorCode::STREAM_MESSAGE_DELETE_FAILED if text.contains("no message found") || text.contains("EOF") => {
            Refusal::Gone
        }
        _ => Refusal::Other,
    }
}

fn is_removal(headers: &HeaderMap) -> bool {
    headers.get(OPERATION).is_some_and(|operation| matches!(operation.as_str(), "DEL" | PURGE))
}

fn wrong(error: &jetstream::context::PublishError) -> WriteError {
    let text = error.to_string();
    match error.kind() {
        PublishErrorKind::WrongLastSequence => WriteError::Conflict,
        PublishErrorKind::StreamNotFound | PublishErrorKind::MaxPayloadExceeded => WriteError::Refused(text),
        PublishErrorKind::Other => {
            let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<jetstream::Error>());
            match source.map(jetstream::Error::error_code) {
                Some(ErrorCode::STREAM_WRONG_LAST_SEQUENCE) => WriteError::Conflict,
                Some(_) => WriteError::Refused(text),
                None => WriteError::Unknown(text),
            }
        }
        PublishErrorKind::TimedOut
        | PublishErrorKind::BrokenPipe
        | PublishErrorKind::MaxAckPending
        | PublishErrorKind::WrongLastMessageId => WriteError::Unknown(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_is_told_from_what_may_not_go() {
        for (code, text, want) in [
            (10043, "sequence 4001 not found", Refusal::Gone),
            (10057, "no message found", Refusal::Gone),
            (10057, "stream store EOF", Refusal::Gone),
            (10057, "message delete not permitted", Refusal::Forbidden),
            (10057, "disk full", Refusal::Other),
            (10008, "JetStream system temporarily unavailable", Refusal::Other),
        ] {
            let error = serde_json::json!({ "code": 400, "err_code": code, "description": text });
            assert_eq!(judge(&serde_json::from_value(error).unwrap()), want, "{code} {text}");
        }
    }
}
