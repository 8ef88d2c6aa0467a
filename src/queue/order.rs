//! What must leave in order: the records of one session (Start, Interim, Stop), and nothing else.
//!
//! The order follows from the record itself, so that records an earlier release has stored are held to it too. A session
//! is a dialog: two of them that share a Call-ID, as the branches of a forked call or whatever a peer makes of one
//! Call-ID, do not wait for each other. Failed, Missed, Event and Cdr are facts of their own: a server that never answers
//! one of them holds nothing by it.

use crate::ids::CallHash;
use crate::record::Kind;
use crate::record::codec::{self, Glimpse};

use super::barrier::AFTER_ALL;

/// The place of a record in the order of its sink.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Order {
    /// It waits for no other record, and none waits for it.
    Free,
    /// It leaves after all earlier ones of the same name.
    Within(CallHash, Rank),
}

/// When a record of a session was made, as against the others of its session: by its number there, or unknown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rank(pub Option<u32>);

impl Rank {
    /// Whether it was made before `other`, for sure.
    pub fn is_before(self, other: Self) -> bool {
        matches!((self.0, other.0), (Some(own), Some(other)) if own < other)
    }
}

impl Order {
    /// The order of a record by its octets, the beginning of which is enough. What cannot be read is ordered by its call.
    pub fn of(call: CallHash, body: &[u8]) -> Self {
        if call == AFTER_ALL {
            return Self::Within(call, Rank(None));
        }
        let Some(Glimpse { kind, session, number }) = codec::peek(body) else { return Self::Within(call, Rank(None)) };
        match kind {
            Kind::Start | Kind::Interim | Kind::Stop if !session.is_empty() => {
                Self::Within(CallHash::of(session), Rank(number))
            }
            Kind::Failed | Kind::Missed | Kind::Event | Kind::Cdr => Self::Free,
            Kind::Start | Kind::Interim | Kind::Stop | Kind::On | Kind::Off => Self::Within(call, Rank(None)),
        }
    }

    /// Whether it is about a session.
    pub fn is_of_session(self) -> bool {
        self != Self::Free
    }
}
