//! Forwarding: a sink of a gateway in a cluster, whose records go to the stream.
//!
//! [`Forward`] stands in the place of a sink's kind. What the backend looks like is the business of `tollgate deliver`;
//! here its records are published as the queue has them, and settled when the stream's leader has acknowledged them:
//! handed over, not delivered. Whatever the cluster answers, nothing parks but a record that its servers refuse for its size.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::Context;
use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;

use super::objects::{self, ObjectError};
use super::{Settings, names};
use crate::dictionary::AnyDictionary;
use crate::queue::{Lease, Worth};
use crate::record::Record;
use crate::sinks::attempt::{self, Answer, Attempt, Attempts, Carry, Entry};
use crate::sinks::jetstream::connection::{Missing, Outgoing, Publisher};
use crate::sinks::kind::{self, Ended, Ground, Kind, SetupError, Started, Tables, Tried};
use crate::sinks::trial::{Message as Shown, Reached, Trial, TrialError, Wanted};

/// The cluster of a process, shared by all that reach it.
#[derive(Debug)]
pub struct Cluster {
    settings: Settings,
    /// Whether this process has seen its stream and buckets: from then on it makes none.
    is_made: AtomicBool,
}

impl Cluster {
    /// That of these settings.
    #[must_use]
    pub fn new(settings: Settings) -> Arc<Self> {
        Arc::new(Self { settings, is_made: AtomicBool::new(false) })
    }

    /// Its settings.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Makes the stream and the buckets if they are missing, once in the life of the process.
    ///
    /// # Errors
    /// What it means for a batch that they are not there.
    async fn ensure(&self, context: &Context) -> Result<(), Answer> {
        if self.is_made.load(Ordering::Relaxed) {
            return Ok(());
        }
        match objects::ensure(context, &self.settings).await {
            Ok(report) => {
                if !self.is_made.swap(true, Ordering::Relaxed) {
                    report.tell();
                }
                Ok(())
            }
            Err(error) => Err(without(&error)),
        }
    }
}

/// What it means for a batch that the stream or a bucket cannot be made: it waits, and none of it parks.
fn without(error: &ObjectError) -> Answer {
    let reason = error.to_string();
    if error.is_transient() {
        Answer::Down { reason, after: Some(LEADERLESS_PAUSE) }
    } else {
        Answer::Misfit { reason }
    }
}

/// Pause while there is no leader that could make a stream.
const LEADERLESS_PAUSE: Duration = Duration::from_millis(500);

/// Messages that wait for their acknowledgement, of each sink.
const WINDOW: usize = 512;

/// First wait before records are tried again, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// What to do about a stream that is not there.
const MISSING: &str = "it was there when this process started, so what it held is lost; `tollgate cluster init` or a restart makes it anew";

/// The kind of a sink that is forwarded.
#[derive(Debug)]
pub struct Forward {
    sink: Arc<dyn Kind>,
    cluster: Arc<Cluster>,
}

impl Forward {
    /// Forwards what is meant for a sink of this kind.
    #[must_use]
    pub fn kind(sink: Arc<dyn Kind>, cluster: &Arc<Cluster>) -> Arc<dyn Kind> {
        Arc::new(Self { sink, cluster: Arc::clone(cluster) })
    }
}

/// How batches are made and repeated: until the stream has them.
#[must_use]
pub fn delivery(settings: &Settings) -> attempt::Settings {
    let access = &settings.access;
    // Each server is tried once, then each object is asked for and made, then come the acknowledgements and a question
    // about the stream.
    let steps = u32::try_from(access.servers.len() + OBJECT_STEPS + 2).unwrap_or(u32::MAX);
    attempt::Settings {
        batch_max: WINDOW,
        timeout: access.timeout.saturating_mul(steps),
        retry_first: RETRY.0,
        retry_max: RETRY.1,
        attempts_max: u32::MAX,
        breaks_max: u32::MAX,
        ..attempt::Settings::default()
    }
}

/// Questions to the servers before the first batch.
const OBJECT_STEPS: usize = 6;

impl Kind for Forward {
    fn name(&self) -> &'static str {
        self.sink.name()
    }

    /// What the sink's own settings say is for who delivers.
    fn is_same(&self, other: &dyn Kind) -> bool {
        other.of::<Self>().is_some_and(|other| other.sink.name() == self.sink.name())
    }

    fn check(&self) -> Result<(), SetupError> {
        self.sink.check()
    }

    fn start(&self, ground: Ground, ended: Ended) -> Result<Started, SetupError> {
        kind::start(self, ground, ended, make)
    }

    fn only(&self, name: &str, server: SocketAddr) -> Result<Arc<dyn Kind>, TrialError> {
        self.sink.only(name, server)
    }

    fn send<'a>(&'a self, name: &'a str, wanted: &'a Wanted) -> Tried<'a, Trial> {
        self.sink.send(name, wanted)
    }

    fn ask<'a>(&'a self, name: &'a str, wait: Duration) -> Tried<'a, Vec<Reached>> {
        self.sink.ask(name, wait)
    }

    fn dictionary(&self) -> Option<AnyDictionary<'_>> {
        self.sink.dictionary()
    }

    fn tables(&self) -> Option<&dyn Tables> {
        self.sink.tables()
    }
}

fn make(own: &Forward, ground: &Ground, earlier: Option<&Attempts<Link>>) -> Result<Attempts<Link>, SetupError> {
    let (carry, link) = (carry(&ground.name, own.cluster.settings()), Link::new(&ground.name, &own.cluster));
    let waited_until = Attempts::waited_until(ground, earlier);
    Ok(Attempts::carrying(&ground.name, delivery(own.cluster.settings()), carry, link, waited_until).shown(ground))
}

/// Makes messages of records as they lie in the queue.
#[must_use]
pub fn carry(sink: &str, settings: &Settings) -> Carry<Message> {
    let (sink, partitions) = (sink.to_owned(), settings.partitions);
    let subjects: Vec<Arc<str>> =
        (0..partitions.max(1)).map(|partition| names::records(&settings.prefix, &sink, partition).into()).collect();
    Box::new(move |lease: &Lease, record: &Record| {
        let subject = Arc::clone(&subjects[usize::from(names::partition(lease.call, partitions))]);
        Ok(Some(Message { subject, id: names::message_id(record, &sink), body: lease.body.clone() }))
    })
}

/// A record on its way to the stream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Message {
    /// Where it goes.
    pub subject: Arc<str>,
    /// The same at every attempt, and at every gateway that ends the same session: `Nats-Msg-Id`.
    pub id: String,
    /// The record's octets.
    pub body: Bytes,
}

/// The way to the stream.
pub struct Link {
    cluster: Arc<Cluster>,
    publisher: Publisher,
    /// What all messages have.
    headers: HeaderMap,
}

impl Link {
    /// For the records of a sink.
    #[must_use]
    pub fn new(sink: &str, cluster: &Arc<Cluster>) -> Self {
        let settings = cluster.settings();
        let publisher = Publisher::new(sink, settings.access.clone(), &settings.stream, MISSING);
        let mut headers = HeaderMap::new();
        headers.insert(names::GATEWAY_HEADER, settings.name.as_str());
        headers.insert(names::PARTITIONS_HEADER, settings.partitions.to_string());
        Self { cluster: Arc::clone(cluster), publisher, headers }
    }

    /// As it is published.
    fn publication(&self, Message { id, body, .. }: &Message) -> PublishMessage {
        PublishMessage::build()
            .payload(body.clone())
            .headers(self.headers.clone())
            .message_id(id)
            .expected_stream(&self.cluster.settings().stream)
    }
}

impl Attempt for Link {
    const KIND: &'static str = "cluster";
    type Item = Message;

    fn backend(&self) -> String {
        self.publisher.backend()
    }

    fn worth(&self) -> &'static str {
        "in the stream of the cluster, not at its backend yet"
    }

    fn stores(&self) -> Worth {
        Worth::Taken
    }

    fn octets(message: &Message) -> usize {
        message.subject.len() + message.body.len()
    }

    fn describe(message: &Message) -> Shown {
        Shown {
            title: format!("message to {}", message.subject),
            octets: Self::octets(message),
            attributes: vec![("Nats-Msg-Id".to_owned(), message.id.clone())],
        }
    }

    async fn attempt(&mut self, batch: &[Entry<Message>]) -> Answer {
        let context = match self.publisher.connect().await {
            Ok(context) => context,
            Err(answer) => return answer,
        };
        if let Err(answer) = self.cluster.ensure(&context).await {
            return answer;
        }
        let outgoing = batch.iter().enumerate().map(|(at, entry)| {
            let message = self.publication(&entry.item);
            Outgoing { at, subject: Arc::clone(&entry.item.subject), message }
        });
        let outgoing = outgoing.collect();
        self.publisher.deliver(batch.len(), outgoing).await
    }

    fn abandon(&mut self) {
        self.publisher.abandon();
    }

    async fn close(&mut self) {
        self.publisher.close().await;
    }

    async fn reach(&mut self) -> Result<(), String> {
        self.publisher.connect().await.map_err(|answer| answer.reason().unwrap_or_default().to_owned())?;
        match self.publisher.info().await {
            Ok(_there) => Ok(()),
            Err(Missing::Stream(reason) | Missing::Answer(reason)) => Err(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::ids::{CallHash, Seq};
    use crate::queue::AFTER_ALL;
    use crate::record::Kind as RecordKind;
    use crate::sinks::jetstream::{Access, Login, TIMEOUT, Tls};

    fn settings() -> Settings {
        let servers = vec!["nats://a".to_owned(), "nats://b".to_owned()];
        Settings {
            access: Access { servers, login: Login::None, tls: Tls::default(), timeout: TIMEOUT },
            name: "gw1".to_owned(),
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

    /// What is made of a record that the queue has under this call.
    fn message(kind: RecordKind, call: CallHash) -> (Record, Message) {
        let record =
            Record { call_id: b"x@y".to_vec(), ..Record::of_no_call(kind, Timestamp(1_700_000_000_000_000), 7) };
        let (id, body, appended) = (record.id, Bytes::from_static(b"octets of the queue"), Timestamp(5));
        let lease = Lease { seq: Seq(1), id, call, attempts: 0, first_tried: None, appended, body };
        let message = carry("cdrs", &settings())(&lease, &record).expect("it can be made").expect("it is wanted");
        (record, message)
    }

    #[test]
    fn a_record_goes_where_the_queue_orders_it_and_not_where_its_octets_would() {
        for (kind, call) in
            [(RecordKind::Start, CallHash::of(b"x@y")), (RecordKind::On, AFTER_ALL), (RecordKind::Event, CallHash(5))]
        {
            let (record, message) = message(kind, call);
            let subject = names::records("tollgate", "cdrs", names::partition(call, 16));
            assert_eq!((&*message.subject, message.id), (subject.as_str(), format!("{}.cdrs", record.id)), "{kind:?}");
            assert_eq!(message.body, "octets of the queue");
        }
        let partitions = [CallHash::of(b"x@y"), AFTER_ALL, CallHash(5)].map(|call| names::partition(call, 16));
        assert!(partitions[0] != partitions[1] && partitions[0] != partitions[2], "{partitions:?}: they show nothing");
    }

    #[test]
    fn a_message_says_who_it_is_from_which_one_it_is_and_for_which_stream() {
        let (_, message) = message(RecordKind::Start, CallHash(5));
        let link = Link::new("cdrs", &Cluster::new(settings()));
        let outgoing = link.publication(&message).outbound_message("somewhere");
        let headers = outgoing.headers.expect("it has some");
        for (name, want) in [
            ("Nats-Msg-Id", message.id.as_str()),
            ("Nats-Expected-Stream", "TOLLGATE_RECORDS"),
            (names::GATEWAY_HEADER, "gw1"),
            (names::PARTITIONS_HEADER, "16"),
        ] {
            assert_eq!(headers.get(name).map(async_nats::HeaderValue::as_str), Some(want), "{name}");
        }
        assert_eq!(outgoing.payload, message.body);
    }

    #[test]
    fn no_number_of_tries_parks_a_record_and_the_stream_s_word_is_not_the_backend_s() {
        let delivery = delivery(&settings());
        assert_eq!((delivery.attempts_max, delivery.breaks_max), (u32::MAX, u32::MAX));
        // Both servers, six questions for the objects, the acknowledgements and one question more.
        assert_eq!(delivery.timeout, 10 * TIMEOUT);
        assert_eq!(Link::new("cdrs", &Cluster::new(settings())).stores(), Worth::Taken);
    }

    #[test]
    fn without_a_stream_a_batch_waits_and_only_what_does_not_mend_itself_is_a_misfit() {
        let (stream, why) = ("TOLLGATE_RECORDS".to_owned(), "no".to_owned());
        for (error, is_misfit) in [
            (ObjectError::Leaderless { stream: stream.clone(), why: why.clone() }, false),
            (ObjectError::TooFew { stream: stream.clone(), replicas: 3, why: why.clone() }, true),
            (ObjectError::Refused { stream: stream.clone(), why: why.clone() }, true),
            (ObjectError::Unfit { stream, what: why }, true),
        ] {
            let answer = without(&error);
            assert_eq!(matches!(answer, Answer::Misfit { .. }), is_misfit, "{error}");
            assert!(is_misfit || matches!(answer, Answer::Down { after: Some(LEADERLESS_PAUSE), .. }), "{answer:?}");
        }
    }
}
