//! The shell: sockets and threads of the shards.

pub mod udp;
