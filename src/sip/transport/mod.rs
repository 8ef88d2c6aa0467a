//! The shell: sockets and threads of the shards.
