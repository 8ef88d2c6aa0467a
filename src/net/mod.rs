//! Pieces of the shell that know no policy: sockets, connections, TLS.

pub(crate) mod datagrams;
pub(crate) mod dial;
pub(crate) mod socket;
pub(crate) mod stream;
pub mod tls;
