//! The connection to the server, and adding over it: a batch is sent at once, and answered entry by entry.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, Pipeline, RedisConnectionInfo, RedisError, Value};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{KEYS, Settings};
use crate::net::dial::{Upkeep, connect_host};
use crate::net::socket::Local;
use crate::net::stream::Wire;
use crate::queue::Worth;
use crate::sinks::attempt::{Answer, Attempt, Entry, Fate, Render};
use crate::sinks::event::Alarm;
use crate::sinks::trial::Message as Shown;

/// An entry of a record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Message {
    /// The stream it goes to.
    pub key: String,
    /// The same at every attempt: the field `id`.
    pub id: String,
    /// What it says: the field `data`.
    pub body: Vec<u8>,
}

/// What became of an entry; of a record the last of these that one of its entries has.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Verdict {
    /// The stream has it.
    Stored,
    /// The server takes nothing now.
    Away(String),
    /// It cannot go into that stream before the configuration, here or there, is another.
    Misplaced(String),
    /// Nothing goes into any stream before that.
    Barred(String),
    /// It may be there.
    Lost(String),
}

impl Verdict {
    fn fate(self) -> Fate {
        match self {
            Self::Stored => Fate::Delivered,
            Self::Away(reason) => Fate::Unsent { reason },
            Self::Misplaced(reason) | Self::Barred(reason) => Fate::Retry { reason },
            Self::Lost(reason) => Fate::Unknown { reason },
        }
    }
}

/// Codes of a server that takes nothing for a while, whatever it is given.
const AWAY: &[&str] = &[
    "BUSY",
    "CLUSTERDOWN",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "NOREPLICAS",
    "OOM",
    "READONLY",
    "TRYAGAIN",
    "UNBLOCKED",
];

/// What the server's error means for an entry. None is about what an entry says: that is octets to a server.
fn verdict(error: &RedisError) -> Verdict {
    let told = told(error);
    match error.code() {
        Some(code) if AWAY.contains(&code) => Verdict::Away(told),
        Some("MOVED" | "ASK" | "CROSSSLOT") => {
            Verdict::Misplaced(format!("another server of a cluster has that stream, which is not looked for: {told}"))
        }
        Some("WRONGTYPE") => Verdict::Misplaced(told),
        // Of a command that we may not give it speaks otherwise.
        Some("NOPERM") if told.contains("to access ") => Verdict::Misplaced(told),
        // A stream that has had an entry with the last id there is.
        Some("ERR") if told.contains("The stream ") => Verdict::Misplaced(told),
        Some(_) => Verdict::Barred(told),
        None if error.kind() == ErrorKind::AuthenticationFailed => Verdict::Barred(told),
        None => Verdict::Lost(told),
    }
}

/// An error as the server has said it.
fn told(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        (Some(code), None) => code.to_owned(),
        (None, _) => error.to_string(),
    }
}

/// The way to the server.
pub struct Link {
    sink: String,
    settings: Arc<Settings>,
    open: Option<Open>,
    alarm: Alarm,
    warnings: Vec<String>,
}

/// A connection, and what reads and writes it.
struct Open {
    connection: MultiplexedConnection,
    driver: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Settings {
    /// Makes entries of records.
    #[must_use]
    pub fn render(&self) -> Render<Vec<Message>> {
        let (body, key) = (self.body.clone(), self.key.clone());
        Box::new(move |record| {
            let key = key.fill(record, KEYS);
            let message =
                |event: crate::sinks::event::Event| Message { key: key.clone(), id: event.id, body: event.body };
            let messages: Vec<_> = body.events(record)?.into_iter().map(message).collect();
            Ok((!messages.is_empty()).then_some(messages))
        })
    }

    /// A link that will be made as the settings say; `sink` is the sink's name.
    #[must_use]
    pub fn link(&self, sink: &str) -> Link {
        let settings = Arc::new(self.clone());
        Link { sink: sink.to_owned(), settings, open: None, alarm: Alarm::default(), warnings: Vec::new() }
    }

    /// Where the server is, for status and log.
    pub(super) fn place(&self) -> String {
        let scheme = if self.tls.is_some() { "rediss" } else { "redis" };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("{scheme}://{host}:{}/{}", self.port, self.database)
    }

    /// The command for an entry.
    fn add(&self, message: &Message) -> Cmd {
        let mut command = redis::cmd("XADD");
        command.arg(&message.key);
        if !self.makes_streams {
            command.arg("NOMKSTREAM");
        }
        if let Some(most) = self.length_max {
            command.arg("MAXLEN").arg("~").arg(most);
        }
        command.arg("*").arg("id").arg(&message.id).arg("data").arg(&message.body);
        command
    }
}

impl Link {
    /// The connection, a new one if need be: without one nothing was sent, however long it took.
    async fn connect(&mut self) -> Result<MultiplexedConnection, Answer> {
        if let Some(open) = self.open.as_ref().filter(|open| !open.driver.is_finished()) {
            return Ok(open.connection.clone());
        }
        self.open = None;
        let limit = self.settings.timeout;
        timeout(limit, self.open()).await.unwrap_or_else(|_| Err(no_connection(limit)))
    }

    async fn open(&mut self) -> Result<MultiplexedConnection, Answer> {
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
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(settings.timeout));
        let made = MultiplexedConnection::new_with_config(&self.identity(), wire, config).await;
        let (connection, driver) = made.map_err(|error| match verdict(&error) {
            Verdict::Misplaced(reason) | Verdict::Barred(reason) => {
                Answer::Misfit { reason: format!("the server does not let us in: {reason}") }
            }
            _ => down(told(&error)),
        })?;
        let open = Open { connection: connection.clone(), driver: tokio::spawn(driver) };
        self.open = Some(open);
        Ok(connection)
    }

    fn identity(&self) -> RedisConnectionInfo {
        let settings = &self.settings;
        let mut identity = RedisConnectionInfo::default().set_db(settings.database.into()).set_skip_set_lib_name();
        if let Some((user, password)) = &settings.login {
            identity = identity.set_password(password.text());
            if let Some(user) = user {
                identity = identity.set_username(user);
            }
        }
        identity
    }

    /// Adds a batch; what became of each record.
    async fn add(&self, connection: &mut MultiplexedConnection, batch: &[Entry<Vec<Message>>]) -> Vec<Verdict> {
        let mut pipeline = Pipeline::new();
        for message in batch.iter().flat_map(|entry| &entry.item) {
            pipeline.add_command(self.settings.add(message));
        }
        let answers: Result<Vec<Result<Value, RedisError>>, _> = pipeline.ignore_errors().query_async(connection).await;
        let mut answers = match answers {
            Ok(answers) => answers.into_iter(),
            Err(error) => {
                let lost = match error.is_timeout() {
                    true => format!("no acknowledgement within {} s", self.settings.timeout.as_secs_f64()),
                    false => format!("the connection broke: {}", told(&error)),
                };
                return vec![Verdict::Lost(lost); batch.len()];
            }
        };
        let mut of_message = |message: &Message| match answers.next() {
            Some(Ok(Value::Nil)) => {
                Verdict::Misplaced(format!("there is no stream `{}`: make it, or set `make_streams`", message.key))
            }
            Some(Ok(_)) => Verdict::Stored,
            Some(Err(error)) => verdict(&error),
            None => Verdict::Lost("the server did not tell of it".to_owned()),
        };
        let mut of_record =
            |entry: &Entry<Vec<Message>>| entry.item.iter().map(&mut of_message).fold(Verdict::Stored, Verdict::max);
        batch.iter().map(&mut of_record).collect()
    }

    /// What an operator should know of how the server keeps streams.
    async fn judge(&mut self, connection: &mut MultiplexedConnection) {
        let mut warn = |text: &str| self.warnings.push(text.to_owned());
        let kept = config(connection, "append*").await;
        let kept = kept.as_ref().map(|pairs| (value(pairs, "appendonly"), value(pairs, "appendfsync")));
        match kept {
            None => {
                warn("it does not say how it keeps what it acknowledges (CONFIG GET): is `appendfsync` \"always\"?");
            }
            Some((Some("yes"), Some("always"))) => {}
            Some((Some("yes"), _)) => warn(
                "it forces what it acknowledges to its disk later (`appendfsync` is not \"always\"): a power cut takes the \
                 last of it",
            ),
            Some(_) => warn(
                "it keeps what it acknowledges in memory (`appendonly` is \"no\"): a restart may take all since its last \
                 snapshot",
            ),
        }
        let evicts = config(connection, "maxmemory-policy").await;
        let evicts = evicts.as_ref().and_then(|pairs| value(pairs, "maxmemory-policy"));
        if let Some(policy) = evicts.filter(|policy| policy.starts_with("allkeys")) {
            self.warnings.push(format!("it may throw whole streams away when its memory is full (`{policy}`)"));
        }
    }
}

fn no_connection(limit: Duration) -> Answer {
    Answer::Down { reason: format!("no connection within {} s", limit.as_secs_f64()), after: None }
}

async fn config(connection: &mut MultiplexedConnection, pattern: &str) -> Option<Vec<(String, String)>> {
    redis::cmd("CONFIG").arg("GET").arg(pattern).query_async(connection).await.ok()
}

fn value<'p>(pairs: &'p [(String, String)], name: &str) -> Option<&'p str> {
    pairs.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
}

impl Attempt for Link {
    const KIND: &'static str = "redis";
    type Item = Vec<Message>;

    fn backend(&self) -> String {
        self.settings.place()
    }

    fn stores(&self) -> Worth {
        Worth::Taken
    }

    fn worth(&self) -> &'static str {
        "in the server's memory, on its disk as its appendfsync says"
    }

    fn octets(messages: &Vec<Message>) -> usize {
        messages.iter().map(|message| message.key.len() + message.body.len()).sum()
    }

    fn describe(messages: &Vec<Message>) -> Shown {
        let mut shown = Shown { octets: Self::octets(messages), ..Shown::default() };
        for message in messages {
            shown.title = format!("entry of {}", message.key);
            shown.attributes.push(("id".to_owned(), message.id.clone()));
            shown.attributes.push(("data".to_owned(), String::from_utf8_lossy(&message.body).into_owned()));
        }
        shown
    }

    async fn attempt(&mut self, batch: &[Entry<Vec<Message>>]) -> Answer {
        let mut connection = match self.connect().await {
            Ok(connection) => connection,
            Err(answer) => return answer,
        };
        let verdicts = self.add(&mut connection, batch).await;
        if verdicts.iter().any(|verdict| matches!(verdict, Verdict::Lost(_))) {
            self.open = None;
        }
        if verdicts.iter().all(|verdict| *verdict == Verdict::Stored) {
            return Answer::Delivered;
        }
        let all = |is_it: fn(&Verdict) -> bool| verdicts.iter().all(is_it);
        let is_one_stream = self.settings.key.constant().is_some();
        match verdicts.first() {
            Some(Verdict::Away(reason)) if all(|own| matches!(own, Verdict::Away(_))) => {
                return Answer::Down { reason: reason.clone(), after: None };
            }
            Some(Verdict::Barred(reason)) if all(|own| matches!(own, Verdict::Barred(_))) => {
                return Answer::Misfit { reason: reason.clone() };
            }
            // Of several streams one says nothing about the others: its records wait alone.
            Some(Verdict::Misplaced(reason)) if is_one_stream && all(|own| matches!(own, Verdict::Misplaced(_))) => {
                return Answer::Misfit { reason: reason.clone() };
            }
            _ => {}
        }
        for verdict in &verdicts {
            if let Verdict::Misplaced(reason) | Verdict::Barred(reason) = verdict {
                self.alarm.tell(&self.sink, reason);
            }
        }
        Answer::Each(verdicts.into_iter().map(Verdict::fate).collect())
    }

    fn abandon(&mut self) {
        self.open = None;
    }

    async fn reach(&mut self) -> Result<(), String> {
        self.warnings.clear();
        let connected = self.connect().await;
        let mut connection = connected.map_err(|answer| answer.reason().unwrap_or_default().to_owned())?;
        let key = self.settings.key.with_values("");
        if key == self.settings.key.with_values("x") {
            let kind: Result<String, _> = redis::cmd("TYPE").arg(&key).query_async(&mut connection).await;
            match kind.as_deref() {
                Ok("none") if !self.settings.makes_streams => {
                    return Err(format!("there is no stream `{key}`: make it, or set `make_streams`"));
                }
                Ok("none" | "stream") => {}
                Ok(other) => return Err(format!("`{key}` is no stream but a {other}")),
                Err(error) => return Err(told(error)),
            }
        }
        self.judge(&mut connection).await;
        Ok(())
    }

    fn warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }
}
