//! What a feeder is made of, what can be seen of it, and why it ends.

use std::sync::{Arc, Mutex};

use async_nats::jetstream::Context;
use tokio::sync::mpsc;

use crate::cluster::Settings;
use crate::cluster::admission::Admission;
use crate::ids::SinkNumber;
use crate::queue;
use crate::queue::witness::Event;

/// What a feeder is made of.
pub struct Parts {
    /// The cluster.
    pub settings: Settings,
    /// The connection to its servers.
    pub context: Context,
    /// Random, of this process.
    pub nonce: u128,
    /// The sinks of this process.
    pub sinks: Vec<(String, SinkNumber)>,
    /// Its queue.
    pub queue: queue::Handle,
    /// Which records go to the sinks.
    pub admission: Arc<Admission>,
    /// What becomes of records in the queue.
    pub events: mpsc::UnboundedReceiver<Event>,
    /// Where it can be looked at.
    pub shown: Shown,
}

/// Why a feeder has ended.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum End {
    /// It was told to, and all is given back.
    #[error("told to end")]
    Told,
    /// Nothing that the sinks hold may go any more: the term has to end.
    #[error("{0}")]
    Fenced(String),
    /// This release cannot go on from what is written down.
    #[error("{0}")]
    Unfit(String),
    /// Another process of the same name lives.
    #[error("another deliverer called `{0}` is running: give each a `cluster.name` of its own")]
    Twin(String),
}

/// What can be seen of a running feeder.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct View {
    /// Whether the cluster has taken this process in.
    pub is_member: bool,
    /// The deliverers that live.
    pub members: Vec<String>,
    /// Who has each partition, as far as is known here.
    pub owners: Vec<Option<String>>,
    /// Partitions that are delivered here.
    pub own: Vec<u16>,
    /// Messages that were taken and are not settled.
    pub open: usize,
    /// Messages that the stream had lost before they were delivered.
    pub gone: u64,
    /// Why the cluster cannot be reached, if so.
    pub trouble: Option<String>,
}

/// Where a feeder can be looked at.
pub type Shown = Arc<Mutex<View>>;
