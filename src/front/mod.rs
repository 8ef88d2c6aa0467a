//! The shell: sockets and threads of the shards, and the thread of the connections.

mod datagrams;
pub mod dns;
pub mod driver;
pub mod mailbox;
mod memory;
pub mod metrics;
pub mod mirror;
pub mod resolver;
pub mod stream;
pub mod tally;
mod turned_away;
pub mod udp;
