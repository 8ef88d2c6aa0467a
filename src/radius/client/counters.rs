//! What is counted about one server.

/// What was counted about one server since the start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// First transmissions of a visit.
    pub requests: u64,
    /// Further transmissions.
    pub retransmissions: u64,
    /// Transmissions that ran out of time.
    pub timeouts: u64,
    /// Records stored by the server.
    pub stored: u64,
    /// Negative answers.
    pub refused: u64,
    /// Authentic answers of a wrong code.
    pub wrong_code: u64,
    /// Datagrams that are no packet.
    pub malformed: u64,
    /// Answers with a bad authenticator or Message-Authenticator.
    pub bad_authenticator: u64,
    /// Records stored by the server whose answer came after the visit.
    pub stored_late: u64,
    /// Answers to requests that were answered before, or whose record has ended otherwise.
    pub late: u64,
    /// Answers to identifiers that were never used.
    pub unknown: u64,
    /// Status-Server sent.
    pub probes: u64,
    /// Status-Server answered.
    pub probe_answers: u64,
    /// Refused sends and receives: nobody listens there; connections that failed or were lost.
    pub unreachable: u64,
}
