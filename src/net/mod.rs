//! Pieces of the shell that know no policy: sockets, connections, TLS.

pub mod dial;
pub mod socket;
pub mod stream;
pub mod tls;
