//! The connection to the servers, and publishing over it.
//!
//! A batch is published at once and then acknowledged, message by message. When the connection breaks, or the server forbids
//! a subject, what waits for it is told at once and not by a time-out. A connection that broke is left, and the next attempt
//! makes another.

use std::collections::HashMap;
use std::future::ready;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_nats::jetstream::context::{GetStreamErrorKind, PublishAckFuture};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{Info, RetentionPolicy, StorageType};
use async_nats::jetstream::{self, Context, ErrorCode};
use async_nats::{ConnectErrorKind, ConnectOptions, Event, ServerError};
use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::sleep;

use super::place::covers;
use super::verdict::{self, NOBODY, Verdict};
use super::{Login, Settings};
use crate::sinks::attempt::{Answer, Attempt, Entry, Fate};
use crate::sinks::event::Alarm;
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

/// Pause while no server answers for the stream: a cluster without a leader has one again within seconds.
const LEADERLESS_PAUSE: Duration = Duration::from_millis(250);

/// Window within which a stream should know a repeat: shorter than a restart of a server, or of this one, is of little use.
const DUPLICATES_MIN: Duration = Duration::from_secs(60);

/// Subjects of one batch that the server has forbidden: as many as a batch has records.
const FORBIDDEN_MAX: usize = super::WINDOW_MAX as usize;

/// The way to the servers.
pub struct Link {
    sink: String,
    settings: Arc<Settings>,
    open: Option<Open>,
    alarm: Alarm,
    warnings: Vec<String>,
}

struct Open {
    context: Context,
    news: watch::Receiver<News>,
    /// The client's, which ends with it.
    tell: Weak<watch::Sender<News>>,
}

/// What has happened to a connection.
#[derive(Clone, Debug, Default)]
struct News {
    is_broken: bool,
    /// Subjects of the batch under way that we may not publish to, and what the server has said of each, beside
    /// acknowledgements. It may allow them at any time, so that the next batch asks anew.
    forbidden: HashMap<String, String>,
}

impl News {
    fn take(&mut self, event: &Event) {
        match event {
            Event::Disconnected | Event::Closed => self.is_broken = true,
            Event::ServerError(ServerError::Other(text)) if self.forbidden.len() < FORBIDDEN_MAX => {
                if let Some(subject) = forbidden(text) {
                    self.forbidden.insert(subject.to_owned(), text.clone());
                }
            }
            _ => {}
        }
    }

    /// What it means for a message to that subject that waits.
    fn trouble(&self, subject: &str) -> Option<Verdict> {
        if let Some(text) = self.forbidden.get(subject) {
            return Some(Verdict::Misplaced(text.clone()));
        }
        self.is_broken.then(|| Verdict::Lost("the connection broke before it was acknowledged".to_owned()))
    }
}

/// The subject to which we may not publish, if the server says that.
fn forbidden(text: &str) -> Option<&str> {
    let (told, subject) = text.split_once('"')?;
    let (subject, _) = subject.rsplit_once('"')?;
    told.to_lowercase().contains(PUBLISH_DENIED).then_some(subject)
}

/// What the server says when we may not publish there.
const PUBLISH_DENIED: &str = "permissions violation for publish";

impl Link {
    pub(super) fn new(sink: &str, settings: &Settings) -> Self {
        let settings = Arc::new(settings.clone());
        Self { sink: sink.to_owned(), settings, open: None, alarm: Alarm::default(), warnings: Vec::new() }
    }

    /// The connection, a new one if need be.
    async fn connect(&mut self) -> Result<(), Answer> {
        if self.open.as_ref().is_some_and(|open| open.news.borrow().is_broken) {
            self.open = None;
        }
        if self.open.is_some() {
            return Ok(());
        }
        let (tell, news) = watch::channel(News::default());
        let tell = Arc::new(tell);
        let ours = Arc::downgrade(&tell);
        let callback = move |event: Event| {
            tell.send_modify(|news| news.take(&event));
            ready(())
        };
        let settings = &self.settings;
        let mut options = ConnectOptions::new()
            .name(format!("{} {}", crate::names::PRODUCT, self.sink))
            .connection_timeout(settings.timeout)
            .request_timeout(Some(settings.timeout))
            // A connection that broke is not ours any more.
            .max_reconnects(settings.servers.len())
            .event_callback(callback);
        if let Some(tls) = &settings.tls {
            options = options.tls_client_config((*tls.config()).clone());
        }
        options = match &settings.login {
            Login::None => options,
            Login::User(name, password) => options.user_and_password(name.clone(), password.text().to_owned()),
            Login::Token(token) => options.token(token.text().to_owned()),
            Login::Nkey(seed) => options.nkey(seed.text().to_owned()),
            Login::Credentials(text) => options.credentials(text.text()).map_err(|_| Answer::Misfit {
                reason: "the credentials cannot be used: a JWT and the seed of an nkey belong into their file"
                    .to_owned(),
            })?,
        };
        let client = options.connect(&settings.servers).await.map_err(|error| {
            let reason = error.to_string();
            match error.kind() {
                ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                    Answer::Misfit { reason: format!("the server does not let us in: {reason}") }
                }
                ConnectErrorKind::TimedOut => Answer::Down {
                    reason: format!("no server has let us in within {} s", settings.timeout.as_secs_f64()),
                    after: None,
                },
                ConnectErrorKind::ServerParse => Answer::Misfit { reason },
                _ => Answer::Down { reason, after: None },
            }
        })?;
        self.open = Some(Open { context: jetstream::new(client), news, tell: ours });
        Ok(())
    }

    /// Publishes a batch, and waits for all acknowledgements; what became of each record.
    async fn publish(open: &Open, settings: &Settings, batch: &[Entry<Vec<Message>>]) -> Vec<Verdict> {
        let mut sent: Vec<(usize, &Message, Result<PublishAckFuture, Verdict>)> = Vec::with_capacity(batch.len());
        let content_type = settings.body.envelope.content_type();
        if let Some(tell) = open.tell.upgrade() {
            tell.send_modify(|news| news.forbidden.clear());
        }
        for (at, entry) in batch.iter().enumerate() {
            for message in &entry.item {
                let publish = PublishMessage::build()
                    .payload(message.body.clone())
                    .message_id(&message.id)
                    .expected_stream(&settings.stream)
                    .header("Content-Type", content_type);
                let ack = open.context.send_publish(message.subject.to_string(), publish).await;
                sent.push((at, message, ack.map_err(|error| verdict::unsent(error.kind(), &error))));
            }
        }
        let mut verdicts = vec![Verdict::Stored; batch.len()];
        let (mut late, mut is_late) = (pin!(sleep(settings.timeout)), false);
        for (at, message, ack) in sent {
            let mut news = open.news.clone();
            let trouble = async {
                let found = news.wait_for(|news| news.trouble(&message.subject).is_some()).await;
                let gone = || Verdict::Lost("the connection has ended".to_owned());
                found.ok().and_then(|news| news.trouble(&message.subject)).unwrap_or_else(gone)
            };
            let verdict = match ack {
                Err(verdict) => verdict,
                Ok(ack) => tokio::select! {
                    biased;
                    verdict = verdict::of(ack) => verdict,
                    verdict = trouble => verdict,
                    () = &mut late, if !is_late => {
                        is_late = true;
                        timed_out(settings)
                    }
                    () = ready(()), if is_late => timed_out(settings),
                },
            };
            verdicts[at] = verdicts[at].clone().max(verdict);
        }
        verdicts
    }

    /// What it means that nobody answers for subjects: the stream is not there, has no leader, or does not take them.
    async fn look(&self, batch: &[Entry<Vec<Message>>], verdicts: &mut [Verdict]) -> Option<Answer> {
        let open = self.open.as_ref()?;
        let info = match info(&open.context, &self.settings).await {
            Ok(info) => info,
            Err(Missing::Stream(reason)) => return Some(Answer::Misfit { reason }),
            Err(Missing::Answer(reason)) => {
                let nobody = format!("{NOBODY}, and {reason}");
                verdicts.iter_mut().filter(|own| **own == Verdict::Nowhere).for_each(|own| {
                    *own = Verdict::Away(nobody.clone());
                });
                return None;
            }
        };
        let is_led = info.cluster.as_ref().is_none_or(|cluster| cluster.leader.is_some());
        for (entry, verdict) in batch.iter().zip(verdicts).filter(|(_, verdict)| **verdict == Verdict::Nowhere) {
            let subjects = entry.item.iter().map(|message| &message.subject);
            let stranger = subjects.clone().find(|subject| !takes(&info, subject));
            *verdict = match stranger {
                Some(subject) if is_led => Verdict::Misplaced(not_taken(&self.settings.stream, subject)),
                _ => Verdict::Away(format!("{NOBODY}: the stream `{}` has no leader", self.settings.stream)),
            };
        }
        None
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

fn timed_out(settings: &Settings) -> Verdict {
    Verdict::Lost(format!("no acknowledgement within {} s", settings.timeout.as_secs_f64()))
}

fn not_taken(stream: &str, subject: &str) -> String {
    format!("the stream `{stream}` does not take the subject `{subject}`: add it to the stream's subjects")
}

fn takes(info: &Info, subject: &str) -> bool {
    info.config.subjects.iter().any(|own| covers(own, subject))
}

/// Why nothing is known of the stream.
enum Missing {
    /// It is not there.
    Stream(String),
    /// Nobody says.
    Answer(String),
}

/// What the servers say of the stream.
async fn info(context: &Context, settings: &Settings) -> Result<Info, Missing> {
    let name = &settings.stream;
    let error = match context.get_stream(name).await {
        Ok(stream) => return Ok(stream.cached_info().clone()),
        Err(error) => error,
    };
    let reason = error.to_string();
    Err(match error.kind() {
        GetStreamErrorKind::JetStream(error) => match error.error_code() {
            ErrorCode::STREAM_NOT_FOUND => Missing::Stream(format!("there is no stream `{name}`: add it")),
            ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => {
                Missing::Stream(format!("there is no JetStream: {reason}"))
            }
            _ => Missing::Answer(reason),
        },
        GetStreamErrorKind::EmptyName | GetStreamErrorKind::InvalidStreamName => Missing::Stream(reason),
        GetStreamErrorKind::Request => Missing::Answer(format!(
            "JetStream does not answer: it has no leader at the moment, or is not enabled ({reason})"
        )),
    })
}

impl Attempt for Link {
    const KIND: &'static str = "nats";
    type Item = Vec<Message>;

    fn backend(&self) -> String {
        format!("{} {}", self.settings.servers.join(" "), self.settings.stream)
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
        if let Err(answer) = self.connect().await {
            return answer;
        }
        let Some(open) = &self.open else { return Answer::Down { reason: NOBODY.to_owned(), after: None } };
        let mut verdicts = Self::publish(open, &self.settings, batch).await;
        let is_leaderless = verdicts.contains(&Verdict::Nowhere);
        if is_leaderless
            && let Some(answer) = self.look(batch, &mut verdicts).await
            && verdicts.iter().all(|verdict| *verdict == Verdict::Nowhere)
        {
            return answer;
        }
        for verdict in &verdicts {
            if let Verdict::Misplaced(reason) = verdict {
                self.alarm.tell(&self.sink, reason);
            }
        }
        if verdicts.iter().all(|verdict| *verdict == Verdict::Stored) {
            return Answer::Delivered;
        }
        if let Some(Verdict::Away(reason)) = verdicts.first()
            && verdicts.iter().all(|verdict| matches!(verdict, Verdict::Away(_)))
        {
            return Answer::Down { reason: reason.clone(), after: is_leaderless.then_some(LEADERLESS_PAUSE) };
        }
        Answer::Each(verdicts.into_iter().map(Verdict::fate).collect::<Vec<Fate>>())
    }

    fn abandon(&mut self) {
        self.open = None;
    }

    async fn close(&mut self) {
        if let Some(open) = self.open.take() {
            let _goodbye = open.context.client().drain().await;
        }
    }

    async fn reach(&mut self) -> Result<(), String> {
        self.warnings.clear();
        self.connect().await.map_err(|answer| answer.reason().unwrap_or_default().to_owned())?;
        let Some(open) = &self.open else { return Ok(()) };
        let info = match info(&open.context, &self.settings).await {
            Ok(info) => info,
            Err(Missing::Stream(reason) | Missing::Answer(reason)) => return Err(reason),
        };
        self.judge(&info)
    }

    fn warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }
}
