//! The end of whoever asks.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::{Client, Event, HeaderMap, Message, StatusCode as Nats, jetstream};
use axum::http::{Method, StatusCode};
use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{Stream, StreamExt as _};
use serde_json::Value;
use tokio::time::timeout;

use super::{Ask, MEMBER, STATUS, VERSION, read_piece};
use crate::admin::remote::ANSWER_OCTETS_MAX;
use crate::admin::request::Request;
use crate::admin::travel::Travel;
use crate::clock::Timestamp;
use crate::cluster::Settings;
use crate::cluster::backlog::{self, Backlog};
use crate::cluster::bucket::{ReadError, Store, WriteError};
use crate::cluster::lease;
use crate::cluster::link::{self, LinkError};
use crate::cluster::names::{self, Role};
use crate::cluster::roster::{Key, MEMBERS};

/// Longest silence of a process that is asked: one that works on a request says so each second.
pub const SILENCE_MAX: Duration = Duration::from_secs(5);

/// How long names are waited for when all are called at once.
const CALL_WAIT: Duration = Duration::from_secs(2);

/// Processes of a cluster that are asked at most.
const MEMBERS_MAX: usize = 1_024;

/// What servers have said that is no answer, kept: one of each process that may not be asked.
const COMPLAINTS_MAX: usize = MEMBERS_MAX;

/// A process of the cluster.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Member {
    /// What it is.
    pub role: Role,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.role.name(), self.name)
    }
}

/// What the cluster knows of a process, beside what it says itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Standing {
    /// Its name is its own. It may have died all the same.
    Own,
    /// It has ended in order, and given back what it had.
    Ended,
    /// It fell silent: this one has taken over its calls.
    TakenOver(String),
    /// Nothing that can be read.
    Unknown,
}

/// The processes of a cluster.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Members {
    /// Each with its standing.
    pub all: BTreeMap<Member, Standing>,
    /// Why others may be missing.
    pub trouble: Option<String>,
}

/// What is asked of a process, or what it is to do.
#[derive(Clone, Debug)]
pub struct Question {
    method: Method,
    target: String,
    body: Option<Value>,
    is_command: bool,
}

impl From<&Request> for Question {
    fn from(request: &Request) -> Self {
        let Travel { method, target, body } = Travel::of(request);
        let is_command = method != Method::GET && !matches!(request, Request::LedgerFlush {});
        Self { method, target, body, is_command }
    }
}

impl Question {
    /// What became of each record of a time.
    #[must_use]
    pub fn standings(from: Timestamp, to: Timestamp) -> Self {
        let target = format!("/api/v1/audit/records?from_micros={}&to_micros={}", from.0, to.0);
        Self { method: Method::GET, target, body: None, is_command: false }
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AskError {
    /// Nobody hears what is asked of it.
    #[error(
        "nobody answers by this name: it does not run, has no connection to the cluster, or is of an older release"
    )]
    Nobody,
    /// It has said nothing.
    #[error("it has not answered within {} s", SILENCE_MAX.as_secs())]
    Silent,
    /// It stopped in the middle.
    #[error("its answer breaks off")]
    Cut,
    /// There is no end of it.
    #[error("its answer is longer than {} MiB", ANSWER_OCTETS_MAX >> 20)]
    TooLong,
    /// The servers do not let us ask.
    #[error("the servers do not let this login ask: {0}")]
    Forbidden(String),
    /// The answer makes no sense.
    #[error("its answer cannot be read: it is of another release")]
    Unreadable,
    /// It knows no such request.
    #[error("it is of another release and does not know {0}")]
    Unknown(String),
    /// It does not do that.
    #[error("{0}")]
    Refused(String),
    /// The request asks for something that is not there.
    #[error("{0}")]
    Usage(String),
    /// It tried and failed.
    #[error("it says: {0}")]
    Failed(String),
}

/// Why nobody can be asked.
#[derive(Debug, thiserror::Error)]
pub enum ReachError {
    /// There is no connection.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The bucket cannot be used.
    #[error(transparent)]
    Bucket(#[from] ReadError),
}

/// Why a process was not forgotten.
#[derive(Debug, thiserror::Error)]
pub enum ForgetError {
    /// The bucket does not answer.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What was written there last is not removed.
    #[error("it is not forgotten: {0}")]
    Write(#[from] WriteError),
    /// No other gateway has said that it has all of its calls.
    #[error(
        "no other gateway has taken over its calls yet: they are looked after when its name has been silent for `lease_ms`"
    )]
    HasCalls,
}

/// Why what waits in the stream is not known.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NotKnown {
    /// In words.
    pub why: String,
    /// Whether nothing is wrong but that this login may not ask.
    pub is_forbidden: bool,
}

/// Asks the processes of a cluster.
#[derive(Clone, Debug)]
pub struct Asker {
    client: Client,
    state: Store,
    prefix: String,
    stream: String,
    by: String,
    /// What the servers have said last that is no answer, at most [`COMPLAINTS_MAX`] of it.
    complaints: Arc<Mutex<VecDeque<String>>>,
}

impl Asker {
    /// Connects. `by` is who asks, for the logs of those that are asked.
    ///
    /// # Errors
    /// No server lets us in, or the name of the bucket cannot be used.
    pub async fn connect(settings: &Settings, by: String) -> Result<Self, ReachError> {
        let complaints = Arc::<Mutex<VecDeque<String>>>::default();
        let own = Arc::clone(&complaints);
        let with = |options: async_nats::ConnectOptions| {
            options.custom_inbox_prefix(names::answers(&settings.prefix)).event_callback(move |event| {
                if let Event::ServerError(error) = &event {
                    let mut own = own.lock().unwrap_or_else(PoisonError::into_inner);
                    own.truncate(COMPLAINTS_MAX - 1);
                    own.push_front(error.to_string());
                }
                std::future::ready(())
            })
        };
        let context = link::connect_as(settings, "commands", with).await?;
        let state = Store::new(&context, &settings.state()).await?;
        let (prefix, stream) = (settings.prefix.clone(), settings.stream.clone());
        Ok(Self { client: context.client(), state, prefix, stream, by, complaints })
    }

    /// The processes, as the leader of the bucket knows them; else those that answer at once when all are called.
    pub async fn members(&self) -> Members {
        match self.known().await {
            Ok(all) => Members { all, trouble: None },
            Err(error) => {
                let complaint = self.complaint("").map(|text| format!(" ({text})")).unwrap_or_default();
                let trouble = format!("{error}{complaint}: who does not answer now is not known");
                let all = self.called().await.into_iter().map(|member| (member, Standing::Unknown)).collect();
                Members { all, trouble: Some(trouble) }
            }
        }
    }

    async fn known(&self) -> Result<BTreeMap<Member, Standing>, ReadError> {
        let mut keys = Vec::new();
        for (role, prefix) in [(Role::Gateway, names::GATEWAYS), (Role::Deliverer, MEMBERS)] {
            for key in self.state.keys(&format!("{prefix}>")).await? {
                let name = key.strip_prefix(prefix).filter(|name| names::is_name(name)).map(str::to_owned);
                keys.extend(name.map(|name| (Member { role, name }, key)));
            }
        }
        keys.truncate(MEMBERS_MAX);
        let read = keys.into_iter().map(async |(member, key)| match self.state.get(&key).await {
            Ok(value) => value.map(|value| (standing(&member, &value.bytes), member)),
            // A login that may list the bucket need not be one that may read it: keys that sign are in it too.
            Err(_) => Some((Standing::Unknown, member)),
        });
        let found = join_all(read).await;
        Ok(found.into_iter().flatten().map(|(standing, member)| (member, standing)).collect())
    }

    /// Removes what the cluster knows of a process.
    ///
    /// # Errors
    /// The bucket does not answer, or the calls of a gateway are not taken over yet.
    pub async fn forget(&self, member: &Member) -> Result<(), ForgetError> {
        let key = match member.role {
            Role::Gateway => names::lease_of_gateway(&member.name),
            Role::Deliverer => Key::Member(member.name.clone()).to_string(),
        };
        let Some(value) = self.state.get(&key).await? else { return Ok(()) };
        // Whoever takes over the calls of a gateway gives its lease back when it has all of them.
        if member.role == Role::Gateway && !lease::Value::decode(&value.bytes).is_ok_and(|lease| lease.released) {
            return Err(ForgetError::HasCalls);
        }
        self.state.remove_exactly(&key, value.revision).await?;
        Ok(())
    }

    /// Those that say their names.
    async fn called(&self) -> Vec<Member> {
        let mut found = Vec::new();
        let calling = async {
            let inbox = self.client.new_inbox();
            let Ok(mut heard) = self.client.subscribe(inbox.clone()).await else { return };
            let called = self.client.publish_with_reply(names::ask_all(&self.prefix), inbox, "".into()).await;
            while let Some(message) = heard.next().await.filter(|message| called.is_ok() && message.status.is_none()) {
                found.extend(message.headers.as_ref().and_then(read_member));
            }
        };
        let _over = timeout(CALL_WAIT, calling).await;
        found.truncate(MEMBERS_MAX);
        found
    }

    /// Asks some of them the same, all at once.
    pub async fn ask_all(
        &self,
        members: impl IntoIterator<Item = Member>,
        question: &Question,
    ) -> Vec<(Member, Result<Value, AskError>)> {
        let asked = members.into_iter().map(async |member| {
            let answer = self.ask(&member, question).await;
            (member, answer)
        });
        join_all(asked).await
    }

    /// Asks one.
    ///
    /// # Errors
    /// It does not answer, or did not do it.
    pub async fn ask(&self, member: &Member, question: &Question) -> Result<Value, AskError> {
        let subject = match question.is_command {
            true => names::command(&self.prefix, member.role, &member.name),
            false => names::ask(&self.prefix, member.role, &member.name),
        };
        let Question { method, target, body, .. } = question.clone();
        let what = format!("{method} {}", target.split('?').next().unwrap_or_default());
        let ask = Ask { v: VERSION, method: method.to_string(), target, by: self.by.clone(), body };
        let answered = async {
            let inbox = self.client.new_inbox();
            let mut heard = self.client.subscribe(inbox.clone()).await.map_err(|_| AskError::Silent)?;
            let sent = self.client.publish_with_reply(subject.clone(), inbox, ask.encode().into()).await;
            sent.map_err(|_| AskError::Silent)?;
            hear(&mut heard).await
        };
        let (status, body) =
            answered.await.map_err(|error| match (&error, self.complaint(&format!("\"{subject}\""))) {
                (AskError::Silent, Some(text)) => AskError::Forbidden(text),
                _ => error,
            })?;
        let value: Option<Value> = serde_json::from_slice(&body).ok();
        let told = || value.as_ref().and_then(|value| value["error"].as_str()).map(str::to_owned);
        let told = || told().unwrap_or_else(|| status.to_string());
        match status {
            _ if status.is_success() => value.ok_or(AskError::Unreadable),
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Err(AskError::Unknown(what)),
            StatusCode::FORBIDDEN => Err(AskError::Refused(told())),
            _ if status.is_client_error() => Err(AskError::Usage(told())),
            _ => Err(AskError::Failed(told())),
        }
    }

    /// Keys of the records that are parked at deliverers, as the leader of the bucket knows them; of those that were, too.
    ///
    /// # Errors
    /// The bucket does not answer.
    pub async fn parked(&self) -> Result<Vec<String>, ReadError> {
        self.state.keys(names::ALL_PARKED).await
    }

    /// What is written down of one of them ([`Parking`](crate::cluster::deliver::parked::Parking)); `None`: it is parked no
    /// more.
    ///
    /// # Errors
    /// The bucket does not answer.
    pub async fn parking(&self, key: &str) -> Result<Option<Bytes>, ReadError> {
        Ok(self.state.get(key).await?.map(|value| value.bytes))
    }

    /// What waits in the stream.
    ///
    /// # Errors
    /// Why that is not known; whether the servers do not let this login ask.
    pub async fn backlog(&self) -> Result<Backlog, NotKnown> {
        let context = jetstream::new(self.client.clone());
        backlog::read(&context, &self.state, (&self.prefix, &self.stream)).await.map_err(|why| {
            match self.complaint("$JS.API") {
                Some(text) => {
                    NotKnown { why: format!("the servers do not let this login ask: {text}"), is_forbidden: true }
                }
                None => NotKnown { why, is_forbidden: false },
            }
        })
    }

    /// The last one that is about this.
    fn complaint(&self, what: &str) -> Option<String> {
        let complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        complaints.iter().find(|text| text.contains(what)).cloned()
    }
}

/// What a lease says of the process whose name it has.
fn standing(member: &Member, octets: &[u8]) -> Standing {
    match lease::Value::decode(octets) {
        Err(_) => Standing::Unknown,
        Ok(lease) if lease.owner.name != member.name => Standing::TakenOver(lease.owner.name),
        Ok(lease) if lease.released => Standing::Ended,
        Ok(_) => Standing::Own,
    }
}

/// The process that an answer is from.
fn read_member(headers: &HeaderMap) -> Option<Member> {
    let (role, name) = headers.get(MEMBER)?.as_str().split_once(' ')?;
    let role = [Role::Gateway, Role::Deliverer].into_iter().find(|own| own.name() == role)?;
    names::is_name(name).then(|| Member { role, name: name.to_owned() })
}

/// Waits for all pieces of an answer.
async fn hear(heard: &mut (impl Stream<Item = Message> + Unpin)) -> Result<(StatusCode, Vec<u8>), AskError> {
    let mut body = Vec::new();
    let mut next = 1;
    loop {
        let silent = if next == 1 { AskError::Silent } else { AskError::Cut };
        let message = match timeout(SILENCE_MAX, heard.next()).await {
            Ok(Some(message)) => message,
            Ok(None) => return Err(AskError::Cut),
            Err(_) => return Err(silent),
        };
        if message.status == Some(Nats::NO_RESPONDERS) {
            return Err(AskError::Nobody);
        }
        let Some(headers) = message.headers else { return Err(AskError::Unreadable) };
        // Without a code it says that it works on it.
        let Some(status) = headers.get(STATUS) else { continue };
        let status: StatusCode = status.as_str().parse().map_err(|_| AskError::Unreadable)?;
        let (number, all) = read_piece(&headers).ok_or(AskError::Unreadable)?;
        if number != next {
            return Err(AskError::Cut);
        }
        if body.len() + message.payload.len() > ANSWER_OCTETS_MAX {
            return Err(AskError::TooLong);
        }
        body.extend_from_slice(&message.payload);
        if number == all {
            return Ok((status, body));
        }
        next += 1;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream::{self, pending};

    use super::super::pieces;
    use super::*;

    /// What the servers of the tests take in one message.
    const PAYLOAD_MAX: usize = 65_536;

    fn message((headers, payload): (HeaderMap, Bytes)) -> Message {
        let (subject, length) = ("tollgate.answer.x".into(), payload.len());
        Message { subject, reply: None, payload, headers: Some(headers), status: None, description: None, length }
    }

    fn of(body: &Bytes) -> Vec<Message> {
        pieces(&HeaderMap::new(), StatusCode::OK, body.clone(), PAYLOAD_MAX).map(message).collect()
    }

    /// That a process works on it.
    fn sign() -> Message {
        let mut head = HeaderMap::new();
        head.insert(MEMBER, "gateway gw1");
        message((head, Bytes::new()))
    }

    /// What is heard of these messages, when nothing comes after them.
    async fn heard(messages: Vec<Message>) -> Result<(StatusCode, Vec<u8>), AskError> {
        hear(&mut stream::iter(messages).chain(pending())).await
    }

    /// As many records as are told at once, in their JSON.
    fn long() -> Bytes {
        let record = |number: u32| format!("[\"{number:026}\",null,\"start\",\"{number}@gw1.example.com\",\"dd-\"]");
        let records: Vec<String> = (0..100_000).map(record).collect();
        format!("{{\"records\":[{}]}}", records.join(",")).into()
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_no_message_holds_arrives_whole_and_in_order() {
        let body = long();
        let messages = of(&body);
        assert!(messages.len() > 100, "{}", messages.len());
        assert!(messages.iter().all(|own| own.payload.len() + super::super::HEAD_OCTETS <= PAYLOAD_MAX));
        let signs = [vec![sign(), sign()], messages].concat();
        assert_eq!(heard(signs).await, Ok((StatusCode::OK, body.to_vec())));
        assert_eq!(heard(of(&Bytes::new())).await, Ok((StatusCode::OK, Vec::new())), "an empty one is one piece");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_lacks_a_piece_breaks_off() {
        let messages = of(&long());
        let (all, last) = (messages.len(), messages.len() - 1);
        let but =
            |left: usize| messages.iter().enumerate().filter(move |(at, _)| *at != left).map(|(_, own)| own.clone());
        for (name, messages, want) in [
            ("the first is missing", but(0).collect(), AskError::Cut),
            ("one is missing", but(7).collect(), AskError::Cut),
            ("the last is missing", but(last).collect(), AskError::Cut),
            ("one comes twice", [&messages[..8], &messages[7..]].concat(), AskError::Cut),
            (
                "two change places",
                [&messages[..7], &messages[8..9], &messages[7..8], &messages[9..]].concat(),
                AskError::Cut,
            ),
            ("nothing comes", Vec::new(), AskError::Silent),
            ("it works on it, and then nothing comes", vec![sign()], AskError::Silent),
        ] {
            assert!(messages.len() <= all + 1, "{name}");
            assert_eq!(heard(messages).await, Err(want), "{name}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_beyond_the_limit_is_not_kept() {
        let piece = |number: usize| {
            let mut head = HeaderMap::new();
            head.insert(STATUS, "200");
            head.insert(super::super::PIECE, format!("{number}/9999999"));
            message((head, vec![b'x'; 1 << 20].into()))
        };
        let mut endless = stream::iter((1..).map(piece));
        assert_eq!(hear(&mut endless).await, Err(AskError::TooLong));
        let left: Message = endless.next().await.expect("it never ends");
        assert_eq!(left.headers.as_ref().and_then(read_piece), Some((66, 9_999_999)), "64 MiB, and the one too much");
    }
}
