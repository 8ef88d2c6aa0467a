//! Questions of a gateway to the buckets of its cluster, each a future that ends with what came of it.

use std::time::Duration;

use async_nats::jetstream::Context;
use bytes::Bytes;
use futures_util::future::{BoxFuture, try_join_all};

use super::metrics::Shown;
use crate::cluster::bucket::{ReadError, Store, Value, WriteError};
use crate::cluster::calls::CallKey;
use crate::cluster::lease::Answer;
use crate::cluster::{Settings, link, names, objects};
use crate::sinks::jetstream::patience::Patience;

/// Between two tries to reach the servers, and to read the bucket of calls whole.
const PAUSE: Duration = Duration::from_millis(500);

/// What came of a question.
#[derive(Debug)]
pub(super) enum Done {
    /// The servers are there; which of them was tried is told, too.
    Connected(Box<Desk>, Patience),
    /// All leases of gateways: name, revision, value.
    Leases(Result<Vec<(String, u64, Vec<u8>)>, ReadError>),
    LeaseRead {
        name: String,
        found: Result<Option<Value>, ReadError>,
    },
    LeaseWritten {
        name: String,
        turn: u64,
        answer: Answer,
    },
    CallRead {
        key: CallKey,
        turn: u64,
        found: Result<Option<Value>, ReadError>,
    },
    CallWritten {
        key: CallKey,
        turn: u64,
        answer: Answer,
    },
    /// The bucket of calls, whole; `None` when it could not be read.
    Calls {
        scan: u64,
        found: Option<Vec<(CallKey, Value)>>,
    },
    /// The keys that sign Record-Route values.
    Keys(Result<Option<Value>, ReadError>),
    KeysWritten(Result<u64, WriteError>),
}

pub(super) type Asked = BoxFuture<'static, Done>;

/// Where questions go.
#[derive(Clone, Debug)]
pub(super) struct Desk {
    pub context: Context,
    state: Store,
    calls: Store,
    /// Names this process: under the message id of an earlier one the bucket would say that a call is stored which another
    /// gateway has adopted or ended since.
    life: String,
}

impl Desk {
    /// Connects, and sees to it that stream and buckets are there. Tried until it succeeds, at one server after the other;
    /// the log and the status say why it does not.
    pub fn connect(settings: Settings, life: u128, (mut patience, shown): (Patience, Shown)) -> Asked {
        Box::pin(async move {
            let mut told = String::new();
            loop {
                let why = match Self::try_connect(&settings, life, &patience).await {
                    Ok(desk) => return Done::Connected(Box::new(desk), patience),
                    Err(why) => why,
                };
                shown.show(|view| view.trouble = Some(why.clone()));
                if why != told {
                    tracing::error!(why, "no cluster: calls are served, and would not survive this gateway");
                    told = why;
                }
                patience.leave();
                tokio::time::sleep(PAUSE).await;
            }
        })
    }

    async fn try_connect(settings: &Settings, life: u128, patience: &Patience) -> Result<Self, String> {
        let text = |error: &dyn std::error::Error| crate::causes::chain_text(error);
        let context = link::connect_with(settings, "calls", patience).await.map_err(|error| text(&error))?;
        objects::ensure(&context, settings).await.map_err(|error| text(&error))?;
        let state = Store::new(&context, &settings.state()).await.map_err(|error| text(&error))?;
        let calls = Store::new(&context, &settings.calls()).await.map_err(|error| text(&error))?;
        Ok(Self { context, state, calls, life: format!("{life:032x}") })
    }

    /// Reads the leases of all gateways.
    pub fn leases(&self) -> Asked {
        let state = self.state.clone();
        Box::pin(async move {
            let keys = match state.keys(&format!("{}>", names::GATEWAYS)).await {
                Ok(keys) => keys,
                Err(error) => return Done::Leases(Err(error)),
            };
            let names =
                keys.iter().filter_map(|key| key.strip_prefix(names::GATEWAYS)).filter(|name| names::is_name(name));
            let read = names.map(async |name| {
                let found = state.get(&names::lease_of_gateway(name)).await?;
                Ok::<_, ReadError>(found.map(|Value { bytes, revision }| (name.to_owned(), revision, bytes.to_vec())))
            });
            Done::Leases(try_join_all(read).await.map(|found| found.into_iter().flatten().collect()))
        })
    }

    pub fn read_lease(&self, name: String) -> Asked {
        let state = self.state.clone();
        Box::pin(async move {
            let found = state.get(&names::lease_of_gateway(&name)).await;
            Done::LeaseRead { name, found }
        })
    }

    pub fn write_lease(&self, name: String, turn: u64, expected: u64, value: Vec<u8>) -> Asked {
        let state = self.state.clone();
        Box::pin(async move {
            let answer = answer(state.update(&names::lease_of_gateway(&name), value, expected).await);
            Done::LeaseWritten { name, turn, answer }
        })
    }

    pub fn read_call(&self, key: CallKey, turn: u64) -> Asked {
        let calls = self.calls.clone();
        Box::pin(async move {
            let found = calls.get(&key.to_string()).await;
            Done::CallRead { key, turn, found }
        })
    }

    pub fn write_call(&self, key: CallKey, turn: u64, expected: u64, value: Vec<u8>) -> Asked {
        let (calls, life) = (self.calls.clone(), self.life.clone());
        Box::pin(async move {
            let name = key.to_string();
            let written = match expected {
                0 => calls.create(&name, value, &format!("{name}.{life}")).await,
                _ => calls.update(&name, value, expected).await,
            };
            Done::CallWritten { key, turn, answer: answer(written) }
        })
    }

    pub fn remove_call(&self, key: CallKey, turn: u64, revision: u64) -> Asked {
        let calls = self.calls.clone();
        Box::pin(async move {
            let answer = answer(calls.remove_exactly(&key.to_string(), revision).await);
            Done::CallWritten { key, turn, answer }
        })
    }

    /// Reads the bucket of calls whole.
    pub fn scan_calls(&self, scan: u64) -> Asked {
        let calls = self.calls.clone();
        Box::pin(async move {
            let found = match calls.scan(">").await {
                Ok(found) => found,
                Err(error) => {
                    tracing::warn!(%error, "the calls of other gateways cannot be read; tried again");
                    tokio::time::sleep(PAUSE).await;
                    return Done::Calls { scan, found: None };
                }
            };
            let call = |(key, value): (String, Value)| Some((CallKey::parse(&key)?, value));
            Done::Calls { scan, found: Some(found.into_iter().filter_map(call).collect()) }
        })
    }

    pub fn read_keys(&self) -> Asked {
        let state = self.state.clone();
        Box::pin(async move { Done::Keys(state.get(names::ROUTE_KEYS).await) })
    }

    pub fn write_keys(&self, value: Vec<u8>, expected: u64) -> Asked {
        let state = self.state.clone();
        Box::pin(async move { Done::KeysWritten(state.update(names::ROUTE_KEYS, value, expected).await) })
    }

    /// Tells another gateway something that may be lost.
    pub fn tell(&self, subject: String, octets: Vec<u8>) {
        let client = self.context.client();
        tokio::spawn(async move {
            // Whoever does not hear it finds out by its next write.
            let _unheard = client.publish(subject, Bytes::from(octets)).await;
        });
    }
}

fn answer(written: Result<u64, WriteError>) -> Answer {
    match written {
        Ok(revision) => Answer::Stored(revision),
        Err(WriteError::Conflict) => Answer::Conflict,
        Err(WriteError::Refused(_)) => Answer::Refused,
        Err(WriteError::Unknown(_)) => Answer::Lost,
    }
}
