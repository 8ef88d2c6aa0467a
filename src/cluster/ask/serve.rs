//! The end of a process that is asked.

use std::time::Duration;

use async_nats::{Client, Event, HeaderMap, Message, Request, RequestErrorKind, Subscriber};
use axum::http::StatusCode;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{SelectAll, select_all};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::{Ask, MEMBER, pieces};
use crate::admin::remote::{Also, Arrived, Remote, Rights, refusal};
use crate::causes::chain_text;
use crate::clock::{self, Instant};
use crate::cluster::bucket::{ANSWER_WAIT, Store};
use crate::cluster::deliver::feeder::SILENT_MAX;
use crate::cluster::names::{self, Role};
use crate::cluster::{Settings, link};

/// Requests worked on at once; a further one is told so.
const ASKS_MAX: usize = 16;

/// Requests that wait to be taken, of each subject; further ones are not heard.
const WAITING_MAX: usize = 64;

/// How long a request may be worked on before whoever asks hears of it, and how long after each such word.
const SIGN_EVERY: Duration = Duration::from_secs(1);

/// Between two tries to reach the servers.
const PAUSE: Duration = Duration::from_secs(1);

/// How often it is looked whether the server knows of the others: one that is cut off brings no questions.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// What answers the questions that come to a process by its cluster, for as long as it is not dropped.
#[must_use]
pub fn answering(settings: Settings, role: Role) -> Also {
    Box::new(move |remote| Box::pin(Answerer { settings, role, remote }.run()))
}

/// A process that can be asked.
struct Answerer {
    settings: Settings,
    role: Role,
    remote: Remote,
}

/// What a task has ended with.
enum Ended {
    /// A request is answered, or nobody waits for that.
    Answered,
    /// Whether the server knows the cluster's state.
    Looked(bool),
}

impl Answerer {
    /// Never ends.
    async fn run(self) {
        let (mut told, mut left) = (String::new(), 0);
        loop {
            match self.open(left).await {
                Ok((client, heard)) => {
                    tracing::debug!("this process can be asked by the cluster");
                    told.clear();
                    self.hear(client, heard).await;
                }
                Err(why) if why == told => {}
                Err(why) => {
                    tracing::info!(
                        why,
                        "nobody can ask this process by the cluster yet: it is tried again each second"
                    );
                    told = why;
                }
            }
            left += 1;
            sleep(PAUSE).await;
        }
    }

    /// Connects, and listens where questions come.
    async fn open(&self, left: usize) -> Result<(Client, SelectAll<Subscriber>), String> {
        let Settings { prefix, name, access, .. } = &self.settings;
        let mut settings = self.settings.clone();
        // Whichever answers; then one after the other, as `tollgate deliver` does.
        if let Some(one) = access.servers.get(left % access.servers.len().max(1)).filter(|_| left > 0) {
            settings.access.servers = vec![one.clone()];
        }
        let with = |options: async_nats::ConnectOptions| {
            let options = options.custom_inbox_prefix(names::answers(prefix)).subscription_capacity(WAITING_MAX);
            options.event_callback(complained)
        };
        let context = link::connect_as(&settings, "ask", with).await.map_err(|error| chain_text(&error))?;
        let client = context.client();
        let mut heard = Vec::new();
        for subject in [names::ask(prefix, self.role, name), names::ask_all(prefix), self.commands()] {
            heard.push(client.subscribe(subject).await.map_err(|error| error.to_string())?);
        }
        Ok((client, select_all(heard)))
    }

    fn commands(&self) -> String {
        names::command(&self.settings.prefix, self.role, &self.settings.name)
    }

    /// Answers until the connection is of no use any more.
    async fn hear(&self, client: Client, mut heard: SelectAll<Subscriber>) {
        let mut tasks = JoinSet::new();
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut is_looking, mut silence) = (false, Silence::default());
        loop {
            tokio::select! {
                message = heard.next() => match message {
                    Some(message) => self.take(&client, message, &mut tasks),
                    None => return,
                },
                Some(ended) = tasks.join_next(), if !tasks.is_empty() => match ended {
                    Ok(Ended::Looked(is_known)) => {
                        is_looking = false;
                        if silence.looked(clock::mono(), is_known, tasks.len()) {
                            return;
                        }
                    }
                    Ok(Ended::Answered) => {}
                    Err(error) => tracing::error!(%error, "a question of the cluster could not be answered"),
                },
                _ = look.tick(), if !is_looking => {
                    is_looking = true;
                    let (client, settings) = (client.clone(), self.settings.clone());
                    tasks.spawn(async move { Ended::Looked(knows(client, &settings).await) });
                }
            }
        }
    }

    /// Begins to answer a message.
    fn take(&self, client: &Client, message: Message, tasks: &mut JoinSet<Ended>) {
        let Settings { prefix, name, commands, .. } = &self.settings;
        let Some(reply) = message.reply.filter(|reply| names::is_answer(prefix, reply)) else {
            tracing::debug!(subject = %message.subject, "a question is left alone: its answer would be heard nowhere");
            return;
        };
        if tasks.len() > 2 * ASKS_MAX {
            return;
        }
        let mut head = HeaderMap::new();
        head.insert(MEMBER, format!("{} {name}", self.role.name()));
        let answer = Reply { client: client.clone(), subject: reply.to_string(), head };
        let arrived = match message.subject.as_str() {
            subject if subject == names::ask_all(prefix) => Err((StatusCode::NO_CONTENT, Bytes::new())),
            _ if tasks.len() > ASKS_MAX => Err(refusal(
                StatusCode::SERVICE_UNAVAILABLE,
                &format!("this process works on {ASKS_MAX} requests of the cluster: ask again in a moment"),
            )),
            subject => {
                let rights = match (subject == self.commands(), commands) {
                    (false, _) => Rights::Questions,
                    (true, true) => Rights::Commands,
                    (true, false) => Rights::NoCommands,
                };
                Ask::read(&message.payload)
                    .map(|Ask { method, target, by, body, .. }| Arrived { by, rights, method, target, body })
                    .map_err(|text| refusal(StatusCode::BAD_REQUEST, &text))
            }
        };
        let remote = self.remote.clone();
        tasks.spawn(async move {
            match arrived {
                Ok(arrived) => answer.work(&remote, arrived).await,
                Err(made) => answer.say(made).await,
            }
            Ended::Answered
        });
    }
}

/// For how long the server has not known the cluster's state.
#[derive(Debug, Default)]
struct Silence {
    since: Option<Instant>,
}

impl Silence {
    /// What a look has shown, while so many requests are worked on. Whether another server is to be tried: not as long as
    /// there is something to be answered, which takes no JetStream and would break off with the connection.
    fn looked(&mut self, now: Instant, is_known: bool, answering: usize) -> bool {
        if is_known {
            self.since = None;
            return false;
        }
        let since = *self.since.get_or_insert(now);
        now.since(since) >= SILENT_MAX && answering == 0
    }
}

/// Where an answer goes.
struct Reply {
    client: Client,
    subject: String,
    head: HeaderMap,
}

impl Reply {
    /// Answers as soon as the answer is made, as long as somebody waits for it.
    async fn work(&self, remote: &Remote, arrived: Arrived) {
        let mut work = std::pin::pin!(remote.answer(arrived));
        loop {
            tokio::select! {
                answer = &mut work => return self.say(answer).await,
                is_there = self.sign() => if !is_there { return },
            }
        }
    }

    /// Says after a while that it works on it; whether somebody hears that. The servers know when nobody does.
    async fn sign(&self) -> bool {
        sleep(SIGN_EVERY).await;
        let request = Request::new().headers(self.head.clone()).timeout(Some(SIGN_EVERY));
        let said = self.client.send_request(self.subject.clone(), request).await;
        !said.is_err_and(|error| error.kind() == RequestErrorKind::NoResponders)
    }

    /// Sends an answer, piece by piece: the next one when the server has taken the last.
    async fn say(&self, (status, body): (StatusCode, Bytes)) {
        for (head, piece) in pieces(&self.head, status, body, self.client.max_payload()) {
            let said = async {
                self.client
                    .publish_with_headers(self.subject.clone(), head, piece)
                    .await
                    .map_err(|error| error.to_string())?;
                self.client.flush().await.map_err(|error| error.to_string())
            };
            // Whoever waits for the rest notices that it does not come.
            match timeout(SILENT_MAX, said).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return tracing::debug!(error, "an answer to the cluster breaks off"),
                Err(_) => return tracing::debug!("an answer to the cluster is not taken"),
            }
        }
    }
}

/// Whether the server knows the leader of the cluster's state.
async fn knows(client: Client, settings: &Settings) -> bool {
    let asked = async {
        let context = async_nats::jetstream::new(client);
        Store::new(&context, &settings.state()).await?.get(names::ROUTE_KEYS).await
    };
    timeout(ANSWER_WAIT, asked).await.is_ok_and(|read| read.is_ok())
}

/// What the servers say beside answers: that this process may not listen, above all.
async fn complained(event: Event) {
    match event {
        Event::ServerError(error) if link::is_new(&error.to_string()) => {
            tracing::warn!(%error, "the cluster: `tollgate … --cluster` may not reach this process");
        }
        Event::SlowConsumer(_) => tracing::debug!("more questions of the cluster than are taken: some are not heard"),
        other => tracing::debug!(event = %other, "the connection for questions of the cluster"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn another_server_is_tried_when_this_one_has_known_nothing_for_ten_seconds_and_nothing_is_being_answered() {
        for (name, looks, want) in [
            ("it knows", &[(0, true, 0), (30, true, 0)][..], false),
            ("it does not yet", &[(0, false, 0), (9, false, 0)], false),
            ("it does not for ten seconds", &[(0, false, 0), (5, false, 0), (10, false, 0)], true),
            ("it knew in between", &[(0, false, 0), (9, true, 0), (10, false, 0), (19, false, 0)], false),
            ("an answer is under way", &[(0, false, 0), (10, false, 1), (60, false, 1)], false),
            ("and has ended", &[(0, false, 1), (10, false, 1), (13, false, 0)], true),
        ] {
            let mut silence = Silence::default();
            let told = looks.iter().map(|(at, is_known, answering)| {
                silence.looked(Instant(7) + Duration::from_secs(*at), *is_known, *answering)
            });
            assert_eq!(told.collect::<Vec<_>>().pop(), Some(want), "{name}");
        }
    }
}
