//! One shard's SIP machine: a transaction-stateful, record-routing proxy (RFC 3261 §16, RFC 6026) without sockets,
//! clocks or threads.

mod branch;
mod settings;
mod types;

pub(crate) use branch::push_hex;
pub use branch::{BRANCH_BYTES, COOKIE};
pub use settings::{Network, Settings, TokenBucket};
pub use types::{
    AnswerId, Attempt, Hop, Ignored, Input, Listener, ListenerId, Output, Peer, Plan, QueryId, RequestView, ServerId,
    Sizes, Target, Transport, Verdict,
};
