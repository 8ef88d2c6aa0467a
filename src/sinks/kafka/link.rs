//! Handing messages over to the client, and what becomes of them.
//!
//! A batch is handed over at once, and each message has its own outcome. Kafka refuses what is too large with all that the
//! client had put into one piece with it, of which a topic's limit counts as a whole: such messages go again, each alone, and
//! only what is refused alone is too large.

use std::collections::HashSet;
use std::sync::Arc;

use rdkafka::error::RDKafkaErrorCode as Code;

use super::Settings;
use super::look::{look, refresh};
use super::producer::{Delivery, Producer};
use super::verdict::{self, Verdict};
use crate::clock;
use crate::sinks::attempt::{Answer, Attempt, Entry, Render};
use crate::sinks::event::{Alarm, Event};
use crate::sinks::trial::Message as Shown;

/// A message of a record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Message {
    /// Where it goes.
    pub topic: String,
    /// What chooses its partition.
    pub key: Option<Vec<u8>>,
    /// The same at every attempt: the header `id`.
    pub id: String,
    /// What it says.
    pub body: Vec<u8>,
}

/// The way to the brokers.
pub struct Link {
    sink: String,
    settings: Arc<Settings>,
    open: Option<Producer>,
    /// Topics to which messages could not go. The client may ask for them again after minutes only: it was seen to.
    barred: HashSet<String>,
    alarm: Alarm,
    /// What was found when they were asked.
    found: Option<String>,
    warnings: Vec<String>,
}

impl Settings {
    /// Makes messages of records.
    #[must_use]
    pub fn render(&self) -> Render<Vec<Message>> {
        let settings = self.clone();
        Box::new(move |record| {
            let (topic, key) = (settings.topic(record), settings.key.of(record));
            let message = |Event { id, body }| Message { topic: topic.clone(), key: key.clone(), id, body };
            let messages: Vec<_> = settings.body.events(record)?.into_iter().map(message).collect();
            Ok((!messages.is_empty()).then_some(messages))
        })
    }

    /// A link that will be made as the settings say; `sink` is the sink's name.
    #[must_use]
    pub fn link(&self, sink: &str) -> Link {
        let settings = Arc::new(self.clone());
        Link {
            sink: sink.to_owned(),
            settings,
            open: None,
            barred: HashSet::new(),
            alarm: Alarm::default(),
            found: None,
            warnings: Vec::new(),
        }
    }
}

impl Link {
    /// The client, a new one if need be.
    async fn open(&mut self) -> Result<Producer, String> {
        if let Some(open) = &self.open {
            return Ok(open.clone());
        }
        let (sink, settings) = (self.sink.clone(), Arc::clone(&self.settings));
        let made = tokio::task::spawn_blocking(move || Producer::new(&sink, &settings)).await;
        let made = made.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        Ok(self.open.insert(made).clone())
    }

    /// Asks anew for the topics of a batch to which messages could not go before.
    async fn ask_again(&mut self, producer: &Producer, batch: &[Entry<Vec<Message>>]) {
        let of_batch = batch.iter().flat_map(|entry| &entry.item).map(|message| &message.topic);
        let topics: HashSet<String> = of_batch.filter(|topic| self.barred.contains(*topic)).cloned().collect();
        self.barred.retain(|topic| !topics.contains(topic));
        if topics.is_empty() {
            return;
        }
        let (producer, wait) = (producer.clone(), self.settings.timeout);
        // Whether it was of use shows when messages go there.
        let _asked = tokio::task::spawn_blocking(move || refresh(&producer, &topics, wait)).await;
    }

    /// Hands over a batch, and waits for what becomes of each record.
    async fn publish(&self, producer: &Producer, batch: &[Entry<Vec<Message>>]) -> Vec<Verdict> {
        let begin = clock::mono();
        let mut sent = Vec::with_capacity(batch.len());
        for (at, entry) in batch.iter().enumerate() {
            sent.extend(entry.item.iter().map(|message| (at, message, self.send(producer, message))));
        }
        let is_alone = sent.len() == 1;
        let mut verdicts = vec![Verdict::Stored; batch.len()];
        let mut again = Vec::new();
        for (at, message, delivery) in sent {
            let verdict = self.told(producer, message, delivery).await;
            match verdict {
                Verdict::TooLarge(_) if !is_alone => again.push((at, message)),
                verdict => verdicts[at] = verdicts[at].clone().max(verdict.of_one()),
            }
        }
        for (at, message) in again {
            let verdict = if clock::mono().since(begin) < self.settings.timeout {
                self.told(producer, message, self.send(producer, message)).await.of_one()
            } else {
                Verdict::Away("it was refused among others, and is tried alone later".to_owned())
            };
            verdicts[at] = verdicts[at].clone().max(verdict);
        }
        verdicts
    }

    fn send(&self, producer: &Producer, message: &Message) -> Result<Delivery, Code> {
        producer.send(message, self.settings.body.envelope.content_type())
    }

    /// What becomes of a message. When the brokers do not let us in, none of what waits has to wait for its time.
    async fn told(&self, producer: &Producer, message: &Message, delivery: Result<Delivery, Code>) -> Verdict {
        let mut news = producer.news();
        let told = match delivery {
            Err(code) => Err(code),
            Ok(mut delivery) => {
                let told = tokio::select! {
                    biased;
                    told = &mut delivery => told,
                    Ok(_) = news.wait_for(|news| news.barred.is_some()) => {
                        producer.purge();
                        delivery.await
                    }
                };
                told.unwrap_or(Err(Code::PurgeInflight))
            }
        };
        let Err(code) = told else { return Verdict::Stored };
        let news = producer.news().borrow().clone();
        if let Some(reason) = news.barred {
            return Verdict::Misplaced(format!("the brokers do not let us in: {reason}"));
        }
        if let Some((code, reason)) = producer.fatal() {
            let wait = self.settings.timeout.as_secs_f64();
            return match verdict::of(code, &message.topic, Some(&reason), wait) {
                Verdict::Misplaced(_) => Verdict::Misplaced(format!("the brokers do not let us in: {reason}")),
                _ => Verdict::Lost(reason),
            };
        }
        verdict::of(code, &message.topic, news.trouble.as_deref(), self.settings.timeout.as_secs_f64())
    }
}

impl Attempt for Link {
    const KIND: &'static str = "kafka";
    type Item = Vec<Message>;

    fn backend(&self) -> String {
        let brokers = self.settings.brokers.join(",");
        self.found.as_ref().map_or_else(|| brokers.clone(), |found| format!("{brokers}, {found}"))
    }

    fn worth(&self) -> &'static str {
        "with the leader and all in-sync replicas of its partition, in their memory or on their disks"
    }

    fn octets(messages: &Vec<Message>) -> usize {
        messages.iter().map(|message| message.topic.len() + message.body.len()).sum()
    }

    fn describe(messages: &Vec<Message>) -> Shown {
        let mut shown = Shown { octets: Self::octets(messages), ..Shown::default() };
        for message in messages {
            shown.title = format!("message to the topic {}", message.topic);
            if let Some(key) = &message.key {
                shown.attributes.push(("key".to_owned(), String::from_utf8_lossy(key).into_owned()));
            }
            shown.attributes.push(("id".to_owned(), message.id.clone()));
            shown.attributes.push(("value".to_owned(), String::from_utf8_lossy(&message.body).into_owned()));
        }
        shown
    }

    async fn attempt(&mut self, batch: &[Entry<Vec<Message>>]) -> Answer {
        let producer = match self.open().await {
            Ok(producer) => producer,
            Err(reason) => return Answer::Misfit { reason },
        };
        self.ask_again(&producer, batch).await;
        let verdicts = self.publish(&producer, batch).await;
        let misplaced = batch.iter().zip(&verdicts).filter(|(_, verdict)| matches!(verdict, Verdict::Misplaced(_)));
        self.barred.extend(misplaced.flat_map(|(entry, _)| &entry.item).map(|message| message.topic.clone()));
        let is_barred = producer.news().borrow().barred.is_some();
        if is_barred || producer.fatal().is_some() {
            // The next one asks anew.
            self.open = None;
        }
        let all = |is_it: fn(&Verdict) -> bool| verdicts.iter().all(is_it);
        let is_one_topic = is_barred || self.settings.topic.constant().is_some();
        let reason = || verdicts.first().map_or("", Verdict::reason).to_owned();
        if all(|verdict| *verdict == Verdict::Stored) {
            return Answer::Delivered;
        }
        // A repeat is a message of its own, whatever became of the first: it waits as what was never sent does.
        if all(Verdict::is_outage) {
            return Answer::Down { reason: reason(), after: None };
        }
        if is_one_topic && all(|verdict| matches!(verdict, Verdict::Misplaced(_))) {
            return Answer::Misfit { reason: reason() };
        }
        for verdict in &verdicts {
            if let Verdict::Misplaced(reason) = verdict {
                self.alarm.tell(&self.sink, reason);
            }
        }
        Answer::Each(verdicts.into_iter().map(Verdict::fate).collect())
    }

    fn abandon(&mut self) {
        self.open = None;
    }

    async fn reach(&mut self) -> Result<(), String> {
        let (producer, settings, sink) = (self.open().await?, Arc::clone(&self.settings), self.sink.clone());
        let looked = tokio::task::spawn_blocking(move || look(&producer, &sink, &settings)).await;
        let topic = looked.map_err(|error| error.to_string())??;
        if let Some(topic) = topic {
            (self.found, self.warnings) = (Some(topic.found), topic.warnings);
        }
        Ok(())
    }

    fn warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }
}
