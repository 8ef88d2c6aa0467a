//! Pieces of the shell that know no policy: sockets, TLS.

pub mod socket;
pub mod tls;
