//! Messages of records, published over a connection to the servers.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{Info, RetentionPolicy, StorageType};
use bytes::Bytes;

use super::Settings;
use crate::sinks::attempt::{Answer, Attempt, Entry};
use crate::sinks::jetstream::connection::{Missing, Outgoing, Publisher, not_taken, takes};
use crate::sinks::trial::Message as Shown;

/// A message of a record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Message {
    /// Where it goes.
    pub subject: Arc<str>,
    /// The same at every attempt: `Nats-Msg-Id`.
    pub id: String,
    /// What it says.
    pub body: Bytes,
}

/// Window within which a stream should know a repeat: shorter than a restart of a server, or of this one, is of little use.
const DUPLICATES_MIN: Duration = Duration::from_secs(60);

/// The way to the servers.
pub struct Link {
    publisher: Publisher,
    settings: Arc<Settings>,
    warnings: Vec<String>,
}

impl Link {
    pub(super) fn new(sink: &str, settings: &Settings) -> Self {
        let publisher = Publisher::new(sink, settings.access.clone(), &settings.stream, "add it");
        Self { publisher, settings: Arc::new(settings.clone()), warnings: Vec::new() }
    }

    /// What an operator should know of a stream.
    fn judge(&mut self, info: &Info) -> Result<(), String> {
        let (config, stream) = (&info.config, &self.settings.stream);
        if config.no_ack {
            return Err(format!("the stream `{stream}` acknowledges nothing (`no_ack`): no record would be delivered"));
        }
        let subject = self.settings.subject.with_values("*");
        if !takes(info, &subject) {
            return Err(not_taken(stream, &subject));
        }
        let mut warn = |text: String| self.warnings.push(text);
        if config.retention != RetentionPolicy::Limits {
            let retention = if config.retention == RetentionPolicy::Interest { "interest" } else { "workqueue" };
            warn(format!(
                "its retention is `{retention}`: when a server restarts it forgets which messages were consumed, and a \
                 repeat of one is delivered twice; `limits` remembers"
            ));
        }
        if config.storage == StorageType::Memory {
            warn("it is kept in memory: a server that restarts has lost it".to_owned());
        }
        let window = config.duplicate_window;
        if window < DUPLICATES_MIN {
            warn(format!("it knows repeats for {} s only (`duplicate_window`): 120 s are usual", window.as_secs_f64()));
        }
        Ok(())
    }
}

impl Attempt for Link {
    const KIND: &'static str = "nats";
    type Item = Vec<Message>;

    fn backend(&self) -> String {
        self.publisher.backend()
    }

    fn worth(&self) -> &'static str {
        "stored by the stream's server, on its disk within its sync_interval"
    }

    fn octets(messages: &Vec<Message>) -> usize {
        messages.iter().map(|message| message.subject.len() + message.body.len()).sum()
    }

    fn describe(messages: &Vec<Message>) -> Shown {
        let mut shown = Shown { octets: Self::octets(messages), ..Shown::default() };
        for message in messages {
            shown.title = format!("message to {}", message.subject);
            shown.attributes.push(("Nats-Msg-Id".to_owned(), message.id.clone()));
            shown.attributes.push(("body".to_owned(), String::from_utf8_lossy(&message.body).into_owned()));
        }
        shown
    }

    async fn attempt(&mut self, batch: &[Entry<Vec<Message>>]) -> Answer {
        let (settings, content_type) = (&self.settings, self.settings.body.envelope.content_type());
        let all = batch.iter().enumerate().flat_map(|(at, entry)| entry.item.iter().map(move |own| (at, own)));
        let outgoing = all.map(|(at, own)| {
            let message = PublishMessage::build()
                .payload(own.body.clone())
                .message_id(&own.id)
                .expected_stream(&settings.stream)
                .header("Content-Type", content_type);
            Outgoing { at, subject: Arc::clone(&own.subject), message }
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
        self.warnings.clear();
        self.publisher.connect().await.map_err(|answer| answer.reason().unwrap_or_default().to_owned())?;
        let info = match self.publisher.info().await {
            Ok(info) => info,
            Err(Missing::Stream(reason) | Missing::Answer(reason)) => return Err(reason),
        };
        self.judge(&info)
    }

    fn warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }
}
