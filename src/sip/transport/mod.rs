//! The shell: sockets and threads of the shards.

pub mod driver;
pub mod mailbox;
pub mod metrics;
pub mod udp;
