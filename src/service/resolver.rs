//! Resolves host names for the shards, at the side: they never wait for DNS.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::clock::{self, Instant};
use crate::sip::proxy::default_port;
use crate::sip::transport::driver::Question;
use crate::sip::transport::mailbox::{Mail, Mailbox};

/// Questions that wait for the resolver at most; beyond it the shards get "no address" at once.
pub const QUESTIONS_MAX: usize = 4096;
/// Look-ups that run at the same time.
const LOOKUPS_MAX: usize = 64;
/// Longest wait for the system's resolver.
const LOOKUP_WAIT: Duration = Duration::from_secs(10);
/// How long an answer is kept. The system's resolver tells no TTL.
const KEEP: Duration = Duration::from_secs(30);
/// Names kept at most.
const NAMES_MAX: usize = 10_000;

/// Answers questions until all shards have ended.
pub async fn resolve(mut questions: mpsc::Receiver<Question>, shards: Vec<Mailbox>) {
    let mut known: HashMap<(String, u16), (Instant, Vec<SocketAddr>)> = HashMap::new();
    let mut running = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            question = questions.recv(), if running.len() < LOOKUPS_MAX => {
                let Some(question) = question else { return };
                let port = question.port.unwrap_or_else(|| default_port(question.transport.unwrap_or_default()));
                let key = (question.host.clone(), port);
                match known.get(&key) {
                    Some((until, addresses)) if *until > clock::mono() => {
                        answer(&shards, &question, addresses.clone());
                    }
                    _ => {
                        running.spawn(async move { (look_up(key.0.clone(), key.1).await, key, question) });
                    }
                }
            }
            Some(done) = running.join_next() => {
                let Ok((addresses, key, question)) = done else { continue };
                answer(&shards, &question, addresses.clone());
                if known.len() >= NAMES_MAX {
                    known.clear();
                }
                known.insert(key, (clock::mono() + KEEP, addresses));
            }
        }
    }
}

/// The addresses of a name by the system's resolver; none when there are none or it takes too long.
async fn look_up(host: String, port: u16) -> Vec<SocketAddr> {
    match tokio::time::timeout(LOOKUP_WAIT, tokio::net::lookup_host((host.as_str(), port))).await {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => {
            tracing::debug!(%host, %error, "name not resolved");
            Vec::new()
        }
        Err(_) => {
            tracing::warn!(%host, "the resolver does not answer");
            Vec::new()
        }
    }
}

fn answer(shards: &[Mailbox], question: &Question, addresses: Vec<SocketAddr>) {
    if let Some(shard) = shards.get(question.shard) {
        let _full = shard.put(Mail::Resolved { query: question.query, addresses });
    }
}
