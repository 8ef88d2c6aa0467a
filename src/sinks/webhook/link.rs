//! Sending requests: over connections that are kept, each within its time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use tokio::task::JoinSet;

use super::post::{Post, signature};
use super::verdict::{Hidden, Seen, Verdict, late, unanswered, without_secrets};
use super::{ANSWER_OCTETS_MAX, ATTEMPT, Batch, Login, SIGNATURE, Settings, TIMESTAMP};
use crate::clock::{self, Instant};
use crate::net::tls::ClientTls;
use crate::sinks::attempt::{Answer, Attempt, Entry};
use crate::sinks::event::Alarm;
use crate::sinks::kind::SetupError;
use crate::sinks::trial::Message as Shown;

/// Keys whose attempts are counted: beyond, all are forgotten, and counted from one.
const COUNTED_MAX: usize = 10_000;

/// How long an unused connection is kept.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// The way to the receiver.
pub struct Link {
    sink: String,
    way: Arc<Way>,
    /// Until when the receiver wants to be left alone, and why.
    rest: Option<(Instant, String)>,
    /// How often what is not delivered yet was sent, by its key.
    counted: HashMap<String, u32>,
    alarm: Alarm,
    warnings: Vec<String>,
}

/// What every request needs.
struct Way {
    client: Client,
    settings: Settings,
    place: String,
    hidden: Hidden,
}

/// What became of the requests of a record, and how long the receiver wants to be left alone.
type Sent = (Verdict, Option<Duration>);

impl Link {
    pub(super) fn new(sink: &str, settings: &Settings) -> Result<Self, SetupError> {
        let tls = settings.tls.clone().map_or_else(ClientTls::of_nobody, Ok)?;
        let client = Client::builder()
            .tls_backend_preconfigured((*tls.config()).clone())
            .no_proxy()
            .redirect(Policy::none())
            .user_agent(crate::names::PRODUCT)
            // A connection that is not made in time was not used: then the rest of the time is of no use.
            .connect_timeout(settings.timeout / 2)
            .pool_idle_timeout(IDLE_MAX)
            .build()?;
        let place = without_secrets(settings.url.as_str());
        let hidden = Hidden::of(&settings.login, &settings.url);
        let way = Arc::new(Way { client, settings: settings.clone(), place, hidden });
        let (rest, counted, alarm) = (None, HashMap::new(), Alarm::default());
        Ok(Self { sink: sink.to_owned(), way, rest, counted, alarm, warnings: Vec::new() })
    }

    /// The requests of a record, or of all in one, each with how often it was sent, this time included.
    fn requests(&mut self, batch: &[Entry<Vec<Post>>]) -> Vec<Vec<(Post, u32)>> {
        if self.counted.len() >= COUNTED_MAX {
            self.counted.clear();
        }
        let mut counted = |post: Post, may_be_there: bool| {
            let count = self.counted.entry(post.key.clone()).or_insert(u32::from(may_be_there));
            *count = count.saturating_add(1);
            (post, *count)
        };
        if self.way.settings.batch == Batch::Array {
            let may_be_there = batch.iter().any(|entry| entry.may_be_there);
            let array = Post::array(batch.iter().flat_map(|entry| &entry.item));
            return vec![vec![counted(array, may_be_there)]];
        }
        let each = |entry: &Entry<Vec<Post>>| {
            entry.item.iter().map(|post| counted(post.clone(), entry.may_be_there)).collect()
        };
        batch.iter().map(each).collect()
    }

    /// Forgets how often those were sent that are not sent again.
    fn forget(&mut self, batch: &[Entry<Vec<Post>>], sent: &[Sent]) {
        let is_done = |(verdict, _): &&Sent| matches!(verdict, Verdict::Delivered | Verdict::Refused(..));
        if self.way.settings.batch == Batch::Array {
            if sent.iter().all(|sent| is_done(&sent)) {
                self.counted.remove(&Post::array(batch.iter().flat_map(|entry| &entry.item)).key);
            }
            return;
        }
        for (entry, _) in batch.iter().zip(sent).filter(|(_, sent)| is_done(sent)) {
            entry.item.iter().for_each(|post| {
                self.counted.remove(&post.key);
            });
        }
    }
}

impl Way {
    /// Posts the events of a record one after the other, as long as they are taken.
    async fn post(self: Arc<Self>, requests: Vec<(Post, u32)>, until: Instant) -> Sent {
        for (post, count) in requests {
            let sent = self.post_one(post, count, until).await;
            if sent.0 != Verdict::Delivered {
                return sent;
            }
        }
        (Verdict::Delivered, None)
    }

    async fn post_one(&self, Post { key, body }: Post, count: u32, until: Instant) -> Sent {
        let settings = &self.settings;
        let now = clock::wall();
        let mut request = self
            .authorized(self.client.post(settings.url.clone()))
            .timeout(until.since(clock::mono()))
            .header(CONTENT_TYPE, settings.content_type())
            .header("Idempotency-Key", key)
            .header(ATTEMPT, count);
        if let Some(key) = &settings.signing_key {
            let timestamp = now.secs().to_string();
            let signature = signature(key.text(), &timestamp, &body);
            request = request.header(TIMESTAMP, timestamp).header(SIGNATURE, signature);
        }
        let response = match request.body(body).send().await {
            Ok(response) => response,
            Err(error) => return (unanswered(&error, settings.timeout), None),
        };
        let (status, headers) = (response.status(), response.headers().clone());
        let (body, end) = read(response).await;
        let seen = Seen { status, headers: &headers, body: &body, hidden: &self.hidden };
        let verdict = match (seen.verdict(&settings.expect), end) {
            // What was expected may stand in what is missing.
            (Verdict::Lost(_), Err(error)) if status.is_success() => unanswered(&error, settings.timeout),
            (verdict, _) => verdict,
        };
        (verdict, seen.retry_after(now, settings.retry_after_max))
    }

    fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.settings.login {
            Login::None => request,
            Login::Basic(user, password) => request.basic_auth(user, Some(password.text())),
            Login::Bearer(token) => match HeaderValue::from_str(&format!("Bearer {}", token.text())) {
                Ok(mut value) => {
                    value.set_sensitive(true);
                    request.header(AUTHORIZATION, value)
                }
                // The check refuses such a token.
                Err(_) => request,
            },
        }
    }
}

/// The begin of a body, [`ANSWER_OCTETS_MAX`] at most, and why there was not more. What is read to its end leaves its
/// connection for the next request.
async fn read(mut response: Response) -> (Vec<u8>, Result<(), reqwest::Error>) {
    let mut body = Vec::new();
    while body.len() < ANSWER_OCTETS_MAX {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk[..chunk.len().min(ANSWER_OCTETS_MAX - body.len())]),
            Ok(None) => break,
            Err(error) => return (body, Err(error)),
        }
    }
    (body, Ok(()))
}

impl Attempt for Link {
    const KIND: &'static str = "webhook";
    type Item = Vec<Post>;

    fn backend(&self) -> String {
        self.way.place.clone()
    }

    fn worth(&self) -> &'static str {
        "taken by the receiver, as its 2xx says"
    }

    fn octets(posts: &Vec<Post>) -> usize {
        posts.iter().map(|post| post.body.len() + 1).sum()
    }

    fn describe(posts: &Vec<Post>) -> Shown {
        let mut shown = Shown { title: "POST".to_owned(), octets: Self::octets(posts), ..Shown::default() };
        for post in posts {
            shown.attributes.push(("id".to_owned(), post.key.clone()));
            shown.attributes.push(("body".to_owned(), String::from_utf8_lossy(&post.body).into_owned()));
        }
        shown
    }

    async fn attempt(&mut self, batch: &[Entry<Vec<Post>>]) -> Answer {
        if let Some((until, reason)) = &self.rest {
            let left = until.since(clock::mono());
            if !left.is_zero() {
                return Answer::Down { reason: reason.clone(), after: Some(left) };
            }
            self.rest = None;
        }
        let until = clock::mono() + self.way.settings.timeout;
        let requests = self.requests(batch);
        let mut sent: Vec<Sent> = vec![(late(self.way.settings.timeout), None); requests.len()];
        let mut tasks = JoinSet::new();
        for (at, requests) in requests.into_iter().enumerate() {
            let way = Arc::clone(&self.way);
            tasks.spawn(async move { (at, way.post(requests, until).await) });
        }
        while let Some(ended) = tasks.join_next().await {
            if let Ok((at, end)) = ended {
                sent[at] = end;
            }
        }
        self.forget(batch, &sent);
        // It may ask for a rest when it is not known what it did: then the same comes again after that.
        let after = sent.iter().filter_map(|(_, after)| *after).max();
        if let Some(after) = after
            && let Some((Verdict::Away(reason) | Verdict::Lost(reason), _)) =
                sent.iter().find(|own| own.1 == Some(after))
        {
            self.rest = Some((clock::mono() + after, reason.clone()));
        }
        let verdicts: Vec<Verdict> = sent.into_iter().map(|(verdict, _)| verdict).collect();
        let is_alike =
            verdicts.windows(2).all(|two| std::mem::discriminant(&two[0]) == std::mem::discriminant(&two[1]));
        match &verdicts[..] {
            [_] => {}
            [Verdict::Delivered | Verdict::Away(_) | Verdict::Misfit(_), ..] if is_alike => {}
            _ => {
                for verdict in &verdicts {
                    if let Verdict::Misfit(reason) = verdict {
                        self.alarm.tell(&self.sink, reason);
                    }
                }
                return Answer::Each(verdicts.into_iter().map(Verdict::fate).collect());
            }
        }
        let first = verdicts.into_iter().next();
        first.map_or(Answer::Delivered, |verdict| verdict.answer(after))
    }

    fn abandon(&mut self) {}

    /// Whether there is a server at the URL that knows us. What it takes shows only when it gets something.
    async fn reach(&mut self) -> Result<(), String> {
        self.warnings.clear();
        let way = Arc::clone(&self.way);
        let (settings, place) = (&way.settings, &way.place);
        let head = way.authorized(way.client.head(settings.url.clone())).timeout(settings.timeout);
        let response = head.send().await.map_err(|error| match unanswered(&error, settings.timeout) {
            Verdict::Away(reason) | Verdict::Misfit(reason) | Verdict::Lost(reason) => reason,
            Verdict::Delivered | Verdict::Refused(..) => error.to_string(),
        })?;
        let status = response.status();
        let seen = Seen { status, headers: response.headers(), body: &[], hidden: &way.hidden };
        match (status, seen.verdict(&super::Expect::default())) {
            // A receiver of POST need not know HEAD.
            (StatusCode::METHOD_NOT_ALLOWED, _) | (_, Verdict::Delivered) => Ok(()),
            (_, Verdict::Misfit(reason)) => Err(reason),
            _ if status.is_success() || status == StatusCode::NOT_IMPLEMENTED => Ok(()),
            _ if status.is_server_error() => Err(format!("it answered {status}")),
            _ => {
                self.warnings.push(format!("a HEAD request to {place} is answered {status}: is this the right URL?"));
                Ok(())
            }
        }
    }

    fn warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }
}
