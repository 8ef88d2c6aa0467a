//! What an operator can set about streams.

use std::time::Duration;

use super::framing::MessageLimits;

/// Limits of connections. Each bounds what one peer, or all of them, can hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Settings {
    /// How large a message may be.
    pub message: MessageLimits,
    /// Connections others have opened, all listeners together; sources outside `sip.allow` may have a quarter of them.
    /// The same number again may be opened by the gateway. Default 10 000.
    pub connections_max: usize,
    /// Connections one source address has opened. Default 500.
    pub connections_per_source_max: usize,
    /// Silence after which a connection is closed. One that has never brought a whole message gets a minute at most.
    /// Default 600 s.
    pub idle: Duration,
    /// Longest time from the first octet of a message to its last. Default 10 s.
    pub message_time: Duration,
    /// Longest TLS handshake of a connection that came in. Default 5 s.
    pub handshake: Duration,
    /// Longest time until a connection of ours stands, its TLS handshake included. Default 4 s.
    pub connect: Duration,
    /// Octets that wait for a peer that does not read; beyond it the connection is closed. Default 1 MiB.
    pub backlog_bytes_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            message: MessageLimits::default(),
            connections_max: 10_000,
            connections_per_source_max: 500,
            idle: Duration::from_secs(600),
            message_time: Duration::from_secs(10),
            handshake: Duration::from_secs(5),
            connect: Duration::from_secs(4),
            backlog_bytes_max: 1 << 20,
        }
    }
}
