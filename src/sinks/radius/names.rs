//! Servers given by name: their addresses are looked up again from time to time and when one stops answering, at the
//! side, so that no record waits for DNS.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::settings::Settings;
use crate::clock::Instant;
use crate::radius::client::ServerIndex;

/// Least time between two look-ups, however often servers stop answering; the time between them while a server has no
/// address at all.
const PAUSE: Duration = Duration::from_secs(5);
/// Longest wait for one answer of the resolver.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a look-up came to.
pub(super) type Answer = io::Result<Vec<SocketAddr>>;
type Lookup = Pin<Box<dyn Future<Output = Answer> + Send>>;
/// Who is asked for the addresses of a host with a port.
pub(super) type Resolver = Arc<dyn Fn(String, u16) -> Lookup + Send + Sync>;

/// The system's resolver, which works on a thread of its own.
pub(super) fn system() -> Resolver {
    Arc::new(|host, port| {
        Box::pin(async move { tokio::net::lookup_host((host.as_str(), port)).await.map(Iterator::collect) })
    })
}

struct Name {
    server: ServerIndex,
    host: String,
    /// Where the server is now.
    address: SocketAddr,
    /// Whether its last look-up failed.
    has_failed: bool,
}

/// The names of a sink's servers.
pub(super) struct Names {
    sink: Arc<str>,
    names: Vec<Name>,
    resolver: Resolver,
    interval: Duration,
    next: Instant,
    last: Instant,
    running: Option<JoinHandle<Vec<Answer>>>,
}

impl Names {
    pub(super) fn new(sink: Arc<str>, now: Instant, settings: &Settings, resolver: Resolver) -> Self {
        let servers = &settings.client.servers;
        let name = |name: &super::NamedServer| {
            let address = servers.get(usize::from(name.place))?.address;
            Some(Name { server: ServerIndex(name.place), host: name.host.clone(), address, has_failed: false })
        };
        let names = settings.names.iter().filter_map(name).collect();
        let interval = settings.lookup_interval.max(PAUSE);
        let mut names = Self { sink, names, resolver, interval, next: now, last: now, running: None };
        names.next = now + names.pause();
        names
    }

    /// Time until the next look-up.
    fn pause(&self) -> Duration {
        let is_missing = self.names.iter().any(|name| name.address.ip().is_unspecified());
        if is_missing { PAUSE } else { self.interval }
    }

    /// The name of a server that was given by one, with its port.
    pub(super) fn label(&self, server: usize) -> Option<String> {
        let name = self.names.iter().find(|name| usize::from(name.server.0) == server)?;
        Some(format!("{}:{}", name.host, name.address.port()))
    }

    /// A server does not answer: perhaps it has moved.
    pub(super) fn hurry(&mut self) {
        self.next = self.next.min(self.last + PAUSE);
    }

    /// Looks names up when it is time; the servers that have another address now.
    pub(super) fn poll(&mut self, now: Instant, cx: &mut Context<'_>) -> Vec<(ServerIndex, SocketAddr)> {
        if self.names.is_empty() {
            return Vec::new();
        }
        if self.running.is_none() && now >= self.next {
            (self.last, self.next) = (now, now + self.pause());
            self.running = Some(tokio::spawn(look_up(self.questions(), Arc::clone(&self.resolver))));
        }
        let Some(running) = &mut self.running else { return Vec::new() };
        let Poll::Ready(answers) = Pin::new(running).poll(cx) else { return Vec::new() };
        self.running = None;
        self.answered(answers.unwrap_or_default())
    }

    fn questions(&self) -> Vec<(String, u16)> {
        self.names.iter().map(|name| (name.host.clone(), name.address.port())).collect()
    }

    fn answered(&mut self, answers: Vec<Answer>) -> Vec<(ServerIndex, SocketAddr)> {
        let mut moved = Vec::new();
        for (name, answer) in self.names.iter_mut().zip(answers) {
            let addresses = answer.unwrap_or_default();
            // One that was right before stays right while it is among them.
            if addresses.contains(&name.address) {
                name.has_failed = false;
                continue;
            }
            let (sink, host, is_missing) = (&self.sink, &name.host, name.address.ip().is_unspecified());
            let same_family = addresses.iter().find(|address| address.is_ipv4() == name.address.is_ipv4());
            let Some(address) = same_family.filter(|_| !is_missing).or(addresses.first()) else {
                if !std::mem::replace(&mut name.has_failed, true) {
                    match is_missing {
                        true => tracing::warn!(%sink, host, "name not resolved, the server is not used until it is"),
                        false => {
                            let address = name.address;
                            tracing::warn!(%sink, host, %address, "name not resolved, its last address stays");
                        }
                    }
                }
                continue;
            };
            match is_missing {
                true => tracing::info!(%sink, host, %address, "name resolved, the server is used"),
                false => tracing::info!(%sink, host, from = %name.address, to = %address, "server has moved"),
            }
            (name.address, name.has_failed) = (*address, false);
            moved.push((name.server, *address));
        }
        moved
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.abort();
        }
    }
}

async fn look_up(questions: Vec<(String, u16)>, resolver: Resolver) -> Vec<Answer> {
    let mut answers = Vec::with_capacity(questions.len());
    for (host, port) in questions {
        let answer = tokio::time::timeout(PATIENCE, resolver(host, port)).await;
        answers.push(answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())));
    }
    answers
}
