//! The connection to the broker, and publishing over it.
//!
//! A batch is published at once and then confirmed, message by message. A publication to an exchange that is not there, or
//! of a message that is too large, costs the channel with all that was not confirmed yet: the record at fault is known by
//! what the broker says, the others go again. A connection or channel that broke is left, and the next attempt makes another.

use std::future::ready;
use std::pin::pin;
use std::sync::Arc;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::protocol::{AMQPErrorKind, BasicProperties};
use lapin::types::FieldTable;
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{Channel, Confirmation, Connection, ConnectionProperties, ErrorKind, ExchangeKind, PublisherConfirm};
use tokio::time::{sleep, timeout};

use super::{Settings, kit};
use crate::net::dial::{Upkeep, connect_host};
use crate::net::socket::Local;
use crate::net::stream::Wire;
use crate::sinks::attempt::{Answer, Attempt, Entry, Fate};
use crate::sinks::event::Alarm;
use crate::sinks::trial::Message as Shown;

/// A message of a record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Message {
    /// Where it goes.
    pub exchange: String,
    /// To which queues.
    pub routing_key: String,
    /// The kind of its record: `type`.
    pub kind: &'static str,
    /// When that happened: `timestamp`, seconds since 1970.
    pub seconds: u64,
    /// The same at every attempt: `message-id`.
    pub id: String,
    /// What it says.
    pub body: Vec<u8>,
}

/// A message that outlives a restart of the broker.
const PERSISTENT: u8 = 2;

/// How often each side says that it is alive, seconds.
const HEARTBEAT: u16 = 30;

/// The way to the broker.
pub struct Link {
    sink: String,
    settings: Arc<Settings>,
    open: Option<Open>,
    alarm: Alarm,
}

struct Open {
    connection: Connection,
    channel: Channel,
}

/// What became of a message; of a record the last of these that one of its messages has.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Verdict {
    /// Its queues have it.
    Stored,
    /// A queue has no room.
    Full(String),
    /// Nothing with its routing key can go there before the configuration, here or there, is another.
    Unrouted(String),
    /// Nothing can go to its exchange before that.
    Misplaced(String),
    /// It may be there.
    Lost(String),
    /// It never will be.
    Refused(String, u32),
}

impl Verdict {
    fn fate(self) -> Fate {
        match self {
            Self::Stored => Fate::Delivered,
            Self::Full(reason) | Self::Unrouted(reason) | Self::Misplaced(reason) => Fate::Retry { reason },
            Self::Lost(reason) => Fate::Unknown { reason },
            Self::Refused(reason, code) => Fate::Refused { reason, code },
        }
    }
}

impl Link {
    pub(super) fn new(sink: &str, settings: &Settings) -> Self {
        Self { sink: sink.to_owned(), settings: Arc::new(settings.clone()), open: None, alarm: Alarm::default() }
    }

    /// The connection, a new one if need be.
    async fn connect(&mut self) -> Result<(), Answer> {
        if self.open.as_ref().is_some_and(|open| !open.connection.status().connected()) {
            self.open = None;
        }
        if let Some(open) = &mut self.open {
            if !open.channel.status().connected() {
                open.channel = channel(&open.connection).await.map_err(|error| refused(&error))?;
            }
            return Ok(());
        }
        let settings = &self.settings;
        let down = |reason: String| Answer::Down { reason, after: None };
        let upkeep = Upkeep { unacknowledged_max: Some(settings.timeout), ..Upkeep::default() };
        let stream = connect_host(&settings.host, settings.port, Local::default(), upkeep).await.map_err(down)?;
        let wire = match &settings.tls {
            None => Wire::Tcp(stream),
            Some((tls, name)) => {
                let secured = tls.connect(name.clone(), stream).await;
                Wire::tls(secured.map_err(|error| down(format!("TLS: {error}")))?)
            }
        };
        let uri = AMQPUri {
            scheme: AMQPScheme::AMQP,
            authority: AMQPAuthority {
                userinfo: AMQPUserInfo {
                    username: settings.user.clone(),
                    password: settings.password.text().to_owned(),
                },
                host: settings.host.clone(),
                port: settings.port,
            },
            vhost: settings.vhost.clone(),
            query: AMQPQueryString { heartbeat: Some(HEARTBEAT), ..AMQPQueryString::default() },
        };
        let name = format!("{} {}", crate::names::PRODUCT, self.sink);
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let connection = kit::open(wire, uri, properties).await.map_err(|error| refused(&error))?;
        let channel = channel(&connection).await.map_err(|error| refused(&error))?;
        self.open = Some(Open { connection, channel });
        Ok(())
    }

    /// Publishes a batch, and waits for all confirms; what became of each record.
    async fn publish(channel: &Channel, settings: &Settings, batch: &[Entry<Vec<Message>>]) -> Vec<Verdict> {
        let mut sent: Vec<(usize, &Message, Result<PublisherConfirm, Verdict>)> = Vec::with_capacity(batch.len());
        let content_type = settings.body.envelope.content_type();
        for (at, entry) in batch.iter().enumerate() {
            for message in &entry.item {
                let properties = BasicProperties::default()
                    .with_content_type(content_type.into())
                    .with_delivery_mode(PERSISTENT)
                    .with_message_id(message.id.as_str().into())
                    .with_timestamp(message.seconds)
                    .with_type(message.kind.into())
                    .with_app_id(crate::names::PRODUCT.into());
                let (exchange, key) = (message.exchange.as_str().into(), message.routing_key.as_str().into());
                let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
                let published = channel.basic_publish(exchange, key, options, &message.body, properties).await;
                sent.push((at, message, published.map_err(|error| broken(&error, message))));
            }
        }
        let mut verdicts = vec![Verdict::Stored; batch.len()];
        let (mut late, mut is_late) = (pin!(sleep(settings.timeout)), false);
        let timed_out = || Verdict::Lost(format!("no confirm within {} s", settings.timeout.as_secs_f64()));
        for (at, message, confirm) in sent {
            let verdict = match confirm {
                Err(verdict) => verdict,
                Ok(confirm) => tokio::select! {
                    biased;
                    confirmed = confirm => confirmed.map_or_else(|error| broken(&error, message), |told| of(told, message)),
                    () = &mut late, if !is_late => {
                        is_late = true;
                        timed_out()
                    }
                    () = ready(()), if is_late => timed_out(),
                },
            };
            verdicts[at] = verdicts[at].clone().max(verdict);
        }
        verdicts
    }
}

/// What no client is told, and so nobody can warn of where it is so.
const UNSEEN: &str = "a client cannot see what a full queue does: unless it has `x-overflow: reject-publish` it throws away its \
                      oldest messages, which were confirmed; ask the broker with `rabbitmqctl list_queues name arguments policy`";

/// A channel on which messages are confirmed.
async fn channel(connection: &Connection) -> lapin::Result<Channel> {
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    Ok(channel)
}

/// What it means that a connection or a channel cannot be made.
fn refused(error: &lapin::Error) -> Answer {
    let reason = error.to_string();
    match error.kind() {
        // A wrong password, a virtual host that is not there or not ours.
        ErrorKind::ProtocolError(_) => Answer::Misfit { reason: format!("the broker does not let us in: {reason}") },
        _ => Answer::Down { reason, after: None },
    }
}

/// What a message is told whose channel is gone: it is at fault when the broker names what is wrong with it.
fn broken(error: &lapin::Error, message: &Message) -> Verdict {
    let reason = error.to_string();
    if let ErrorKind::ProtocolError(told) = error.kind()
        && matches!(told.kind(), AMQPErrorKind::Soft(_))
    {
        // It names the exchange behind that, and other messages may go there.
        if let Some((_, topic)) = reason.split_once("access to topic '") {
            return if begins(topic, &message.routing_key) { Verdict::Unrouted(reason) } else { Verdict::Lost(reason) };
        }
        if reason.contains(&format!("exchange '{}'", message.exchange)) {
            return Verdict::Misplaced(reason);
        }
        // RabbitMQ names the size of a message that is larger than its `max_message_size`.
        if reason.contains(&format!("message size {} ", message.body.len())) {
            return Verdict::Refused(reason, u32::from(told.get_id()));
        }
    }
    Verdict::Lost(reason)
}

/// Whether the broker's words go on with that key in quotes; of what is long they have the begin, and three dots.
fn begins(told: &str, key: &str) -> bool {
    let is_whole = told.strip_prefix(key).is_some_and(|rest| rest.starts_with('\''));
    is_whole || told.split_once("...").is_some_and(|(begin, _)| !begin.is_empty() && key.starts_with(begin))
}

/// What a confirm means.
fn of(confirmation: Confirmation, message: &Message) -> Verdict {
    match confirmation {
        Confirmation::Ack(None) => Verdict::Stored,
        Confirmation::Ack(Some(returned)) | Confirmation::Nack(Some(returned)) => {
            let Message { exchange, routing_key, .. } = message;
            let text = &returned.reply_text;
            Verdict::Unrouted(if exchange.is_empty() {
                format!("there is no queue `{routing_key}`: {text}")
            } else {
                format!("no queue is bound to the exchange `{exchange}` for the routing key `{routing_key}`: {text}")
            })
        }
        Confirmation::Nack(None) => {
            let key = &message.routing_key;
            Verdict::Full(format!("the broker has not kept it: a queue for the routing key `{key}` is full"))
        }
        Confirmation::NotRequested => Verdict::Lost("the broker confirms nothing".to_owned()),
    }
}

impl Attempt for Link {
    const KIND: &'static str = "amqp";
    type Item = Vec<Message>;

    fn backend(&self) -> String {
        self.settings.place()
    }

    fn worth(&self) -> &'static str {
        "confirmed by the broker, for all queues that are bound"
    }

    fn octets(messages: &Vec<Message>) -> usize {
        messages.iter().map(|message| message.routing_key.len() + message.body.len()).sum()
    }

    fn describe(messages: &Vec<Message>) -> Shown {
        let mut shown = Shown { octets: Self::octets(messages), ..Shown::default() };
        for message in messages {
            shown.title = format!("message to `{}`, {}", message.exchange, message.routing_key);
            shown.attributes.push(("message-id".to_owned(), message.id.clone()));
            shown.attributes.push(("body".to_owned(), String::from_utf8_lossy(&message.body).into_owned()));
        }
        shown
    }

    async fn attempt(&mut self, batch: &[Entry<Vec<Message>>]) -> Answer {
        let limit = self.settings.timeout;
        match timeout(limit, self.connect()).await {
            Ok(Ok(())) => {}
            Ok(Err(answer)) => return answer,
            Err(_) => {
                let reason = format!("no connection within {} s", limit.as_secs_f64());
                return Answer::Down { reason, after: None };
            }
        }
        let Some(open) = &self.open else { return Answer::Down { reason: String::new(), after: None } };
        let verdicts = Self::publish(&open.channel, &self.settings, batch).await;
        let is_doubtful = verdicts.iter().any(|verdict| matches!(verdict, Verdict::Lost(_)));
        if is_doubtful && open.channel.status().connected() {
            // A confirm may come later: it would be that of another message.
            self.open = None;
        }
        for verdict in &verdicts {
            if let Verdict::Unrouted(reason) | Verdict::Misplaced(reason) = verdict {
                self.alarm.tell(&self.sink, reason);
            }
        }
        let is_one_exchange = self.settings.exchange.constant().is_some();
        let is_one_key = is_one_exchange && self.settings.routing_key.constant().is_some();
        let all = |is_it: fn(&Verdict) -> bool| verdicts.iter().all(is_it);
        match verdicts.first() {
            _ if all(|verdict| *verdict == Verdict::Stored) => Answer::Delivered,
            Some(Verdict::Full(reason)) if all(|verdict| matches!(verdict, Verdict::Full(_))) => {
                Answer::Down { reason: reason.clone(), after: None }
            }
            // All go to the same place, and there is none.
            Some(Verdict::Misplaced(reason))
                if is_one_exchange && all(|verdict| matches!(verdict, Verdict::Misplaced(_))) =>
            {
                Answer::Misfit { reason: reason.clone() }
            }
            Some(Verdict::Unrouted(reason)) if is_one_key && all(|verdict| matches!(verdict, Verdict::Unrouted(_))) => {
                Answer::Misfit { reason: reason.clone() }
            }
            _ => Answer::Each(verdicts.into_iter().map(Verdict::fate).collect()),
        }
    }

    fn abandon(&mut self) {
        self.open = None;
    }

    async fn close(&mut self) {
        if let Some(open) = self.open.take() {
            let _goodbye = open.connection.close(200, "goodbye".into()).await;
        }
    }

    fn warnings(&mut self) -> Vec<String> {
        vec![UNSEEN.to_owned()]
    }

    async fn reach(&mut self) -> Result<(), String> {
        self.connect().await.map_err(|answer| answer.reason().unwrap_or_default().to_owned())?;
        let (exchange, key) = (self.settings.exchange.constant(), self.settings.routing_key.constant());
        let Some(open) = &self.open else { return Ok(()) };
        let looked = match (exchange.as_deref(), key) {
            (Some(""), Some(queue)) => {
                let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
                open.channel.queue_declare(queue.into(), options, FieldTable::default()).await.map(drop)
            }
            (Some(exchange), _) if !exchange.is_empty() => {
                let options = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
                let kind = ExchangeKind::Topic;
                open.channel.exchange_declare(exchange.into(), kind, options, FieldTable::default()).await
            }
            _ => Ok(()),
        };
        looked.map_err(|error| error.to_string())
    }
}
