//! Pieces of the shell that know no policy: TLS.

pub mod tls;
