//! A connection to the servers, and publishing over it to one stream.
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
use async_nats::jetstream::stream::Info;
use async_nats::jetstream::{self, Context, ErrorCode};
use async_nats::{ConnectError, ConnectErrorKind, Event, ServerError};
use tokio::sync::watch;
use tokio::time::sleep;

use super::patience::Patience;
use super::verdict::{self, NOBODY, Verdict};
use super::{Access, covers};
use crate::clock;
use crate::sinks::attempt::{Answer, Fate};
use crate::sinks::event::Alarm;

/// Pause while no server answers for the stream: a cluster without a leader has one again within seconds.
const LEADERLESS_PAUSE: Duration = Duration::from_millis(250);

/// Subjects of one batch that the server has forbidden, and messages that wait for their acknowledgement, at most: beyond
/// 2 047 the client would block.
pub(crate) const WINDOW_MAX: u64 = 1_024;

/// The way to the servers, for the messages of one stream.
pub(crate) struct Publisher {
    sink: String,
    access: Access,
    stream: String,
    /// What to do when the stream is not there.
    missing: &'static str,
    open: Option<Open>,
    patience: Patience,
    alarm: Alarm,
}

/// A message of a record of a batch.
pub(crate) struct Outgoing {
    /// Place of its record in the batch.
    pub at: usize,
    /// Where it goes.
    pub subject: Arc<str>,
    /// The message.
    pub message: PublishMessage,
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
            Event::ServerError(ServerError::Other(text)) if (self.forbidden.len() as u64) < WINDOW_MAX => {
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

impl Publisher {
    /// For the messages of a sink to a stream; `missing` says what to do when the stream is not there.
    pub fn new(sink: &str, access: Access, stream: &str, missing: &'static str) -> Self {
        let (sink, stream) = (sink.to_owned(), stream.to_owned());
        Self { sink, access, stream, missing, open: None, patience: Patience::default(), alarm: Alarm::default() }
    }

    /// The servers and the stream, for status and log.
    pub fn backend(&self) -> String {
        format!("{} {}", self.access.servers.join(" "), self.stream)
    }

    /// The connection, a new one if need be.
    ///
    /// # Errors
    /// What it means for a batch that there is none.
    pub async fn connect(&mut self) -> Result<Context, Answer> {
        if let Some(open) = self.open.as_ref().filter(|open| !open.news.borrow().is_broken) {
            return Ok(open.context.clone());
        }
        self.open = None;
        let (tell, news) = watch::channel(News::default());
        let tell = Arc::new(tell);
        let ours = Arc::downgrade(&tell);
        let callback = move |event: Event| {
            tell.send_modify(|news| news.take(&event));
            ready(())
        };
        let access = &self.access;
        let options = access.options(&self.sink).map_err(|error| Answer::Misfit { reason: error.to_string() })?;
        // A connection that broke is not ours any more.
        let options = options.max_reconnects(access.servers.len()).event_callback(callback);
        let (servers, options) = self.patience.order(access, options);
        let client = options.connect(&servers).await.map_err(|error| unconnected(&error, access.timeout))?;
        let context = jetstream::new(client);
        self.open = Some(Open { context: context.clone(), news, tell: ours });
        Ok(context)
    }

    /// Leaves the connection, which is of no use any more.
    pub fn abandon(&mut self) {
        self.open = None;
    }

    /// Says goodbye to the servers.
    pub async fn close(&mut self) {
        if let Some(open) = self.open.take() {
            let _goodbye = open.context.client().drain().await;
        }
    }

    /// Delivers the messages of a batch of so many records. A server that has stored nothing for too long is left.
    pub async fn deliver(&mut self, records: usize, messages: Vec<Outgoing>) -> Answer {
        let begin = clock::mono();
        let answer = self.publish_all(records, messages).await;
        let is_stored = match &answer {
            Answer::Delivered => true,
            Answer::Each(fates) => fates.contains(&Fate::Delivered),
            _ => false,
        };
        if is_stored {
            self.patience.renew();
        } else if self.patience.has_ended(begin, clock::mono()) {
            self.abandon();
        }
        answer
    }

    async fn publish_all(&mut self, records: usize, messages: Vec<Outgoing>) -> Answer {
        if let Err(answer) = self.connect().await {
            return answer;
        }
        let Some(open) = &self.open else { return Answer::Down { reason: NOBODY.to_owned(), after: None } };
        let subjects: Vec<_> = messages.iter().map(|own| (own.at, Arc::clone(&own.subject))).collect();
        let mut verdicts = Self::publish(open, self.access.timeout, records, messages).await;
        let is_leaderless = verdicts.contains(&Verdict::Nowhere);
        if is_leaderless
            && let Some(answer) = self.look(&subjects, &mut verdicts).await
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

    /// Publishes a batch, and waits for all acknowledgements; what became of each record.
    async fn publish(open: &Open, timeout: Duration, records: usize, messages: Vec<Outgoing>) -> Vec<Verdict> {
        let mut sent: Vec<(usize, Arc<str>, Result<PublishAckFuture, Verdict>)> = Vec::with_capacity(messages.len());
        if let Some(tell) = open.tell.upgrade() {
            tell.send_modify(|news| news.forbidden.clear());
        }
        for Outgoing { at, subject, message } in messages {
            let ack = open.context.send_publish(subject.to_string(), message).await;
            sent.push((at, subject, ack.map_err(|error| verdict::unsent(error.kind(), &error))));
        }
        let mut verdicts = vec![Verdict::Stored; records];
        let (mut late, mut is_late) = (pin!(sleep(timeout)), false);
        for (at, subject, ack) in sent {
            let mut news = open.news.clone();
            let trouble = async {
                let found = news.wait_for(|news| news.trouble(&subject).is_some()).await;
                let gone = || Verdict::Lost("the connection has ended".to_owned());
                found.ok().and_then(|news| news.trouble(&subject)).unwrap_or_else(gone)
            };
            let verdict = match ack {
                Err(verdict) => verdict,
                Ok(ack) => tokio::select! {
                    biased;
                    verdict = verdict::of(ack) => verdict,
                    verdict = trouble => verdict,
                    () = &mut late, if !is_late => {
                        is_late = true;
                        timed_out(timeout)
                    }
                    () = ready(()), if is_late => timed_out(timeout),
                },
            };
            verdicts[at] = verdicts[at].clone().max(verdict);
        }
        verdicts
    }

    /// What it means that nobody answers for subjects: the stream is not there, has no leader, or does not take them.
    async fn look(&self, subjects: &[(usize, Arc<str>)], verdicts: &mut [Verdict]) -> Option<Answer> {
        let info = match self.info().await {
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
        for (place, verdict) in verdicts.iter_mut().enumerate().filter(|(_, verdict)| **verdict == Verdict::Nowhere) {
            let mut own = subjects.iter().filter(|(at, _)| *at == place).map(|(_, subject)| subject);
            *verdict = match own.find(|subject| !takes(&info, subject)) {
                Some(subject) if is_led => Verdict::Misplaced(not_taken(&self.stream, subject)),
                _ => Verdict::Away(format!("{NOBODY}: the stream `{}` has no leader", self.stream)),
            };
        }
        None
    }

    /// What the servers say of the stream.
    ///
    /// # Errors
    /// Why nothing is known of it.
    pub async fn info(&self) -> Result<Info, Missing> {
        let name = &self.stream;
        let Some(open) = &self.open else { return Err(Missing::Answer("there is no connection".to_owned())) };
        let error = match open.context.get_stream(name).await {
            Ok(stream) => return Ok(stream.cached_info().clone()),
            Err(error) => error,
        };
        let reason = error.to_string();
        Err(match error.kind() {
            GetStreamErrorKind::JetStream(error) => match error.error_code() {
                ErrorCode::STREAM_NOT_FOUND => {
                    Missing::Stream(format!("there is no stream `{name}`: {}", self.missing))
                }
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
}

/// What it means for a batch that no server lets us in.
fn unconnected(error: &ConnectError, timeout: Duration) -> Answer {
    let reason = error.to_string();
    match error.kind() {
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
            Answer::Misfit { reason: format!("the server does not let us in: {reason}") }
        }
        ConnectErrorKind::TimedOut => {
            Answer::Down { reason: format!("no server has let us in within {} s", timeout.as_secs_f64()), after: None }
        }
        ConnectErrorKind::ServerParse => Answer::Misfit { reason },
        _ => Answer::Down { reason, after: None },
    }
}

fn timed_out(timeout: Duration) -> Verdict {
    Verdict::Lost(format!("no acknowledgement within {} s", timeout.as_secs_f64()))
}

/// What is said of a subject that is not one of the stream's.
pub(crate) fn not_taken(stream: &str, subject: &str) -> String {
    format!("the stream `{stream}` does not take the subject `{subject}`: add it to the stream's subjects")
}

/// Whether a stream takes a subject.
pub(crate) fn takes(info: &Info, subject: &str) -> bool {
    info.config.subjects.iter().any(|own| covers(own, subject))
}

/// Why nothing is known of the stream.
pub(crate) enum Missing {
    /// It is not there.
    Stream(String),
    /// Nobody says.
    Answer(String),
}
