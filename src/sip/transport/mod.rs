//! The shell: sockets and threads of the shards.

pub mod driver;
pub mod mailbox;
mod memory;
pub mod metrics;
pub mod udp;
