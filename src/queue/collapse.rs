//! Interim records are cumulative: of one session only the newest need wait (RFC 2869 §2.1). When a newer Interim or the
//! Stop is durable, the older Interim is settled as superseded, unless it is lent. Start and Stop are never touched.
//!
//! What is known of waiting Interims is kept in memory and found again as records are read after a restart, so that at
//! worst an old Interim is delivered; none is superseded before its successor is on disk.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::ids::{CallHash, RecordId};
use crate::record::Kind;
use crate::record::codec::{self, Glimpse};

use super::order::Rank;

/// Sessions with an Interim that are remembered for one sink; those of further ones are all delivered.
const SESSIONS_MAX: usize = 1 << 18;

/// The newest Interim of a session.
#[derive(Clone, Copy, Debug)]
struct Newest {
    seq: u64,
    made: Made,
    bytes: usize,
}

/// When a record was made, as against others of its session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Made {
    /// Its number within the session.
    rank: Rank,
    /// Its name: names rise with the time, unless the clock was set back by much.
    id: RecordId,
}

impl Made {
    /// Whether it was made after `other`: by their numbers, or by their names if they have none.
    pub(super) fn is_after(self, other: Self) -> bool {
        match (self.rank.0, other.rank.0) {
            (Some(own), Some(other)) => own > other,
            _ => self.id > other.id,
        }
    }
}

/// An Interim that a later record makes needless.
#[derive(Clone, Copy, Debug)]
pub(super) struct Older {
    /// Its place.
    pub seq: u64,
    /// Its name.
    pub id: RecordId,
    /// Octets of its body.
    pub bytes: usize,
}

/// The sessions of one sink that have had an Interim and no Stop.
#[derive(Debug, Default)]
pub(super) struct Sessions(HashMap<u64, Newest, FixedState>);

/// What a record says of its session: kind, session by hash, and when it was made; `None` for one of no session.
pub(super) fn fact(id: RecordId, body: &[u8]) -> Option<(Kind, u64, Made)> {
    let Glimpse { kind, session, number } = codec::peek(body)?;
    let is_of_session = matches!(kind, Kind::Start | Kind::Interim | Kind::Stop) && !session.is_empty();
    is_of_session.then(|| (kind, CallHash::of(session).0, Made { rank: Rank(number), id }))
}

/// What a record means for the Interims of its session.
#[derive(Clone, Copy, Debug)]
enum Meaning {
    /// It is one; its session by hash.
    Interim(u64, Made),
    /// It ends the session.
    Stop(u64, Made),
    /// Nothing.
    Other,
}

fn meaning(id: RecordId, body: &[u8]) -> Meaning {
    match fact(id, body) {
        Some((Kind::Interim, session, made)) => Meaning::Interim(session, made),
        Some((Kind::Stop, session, made)) => Meaning::Stop(session, made),
        _ => Meaning::Other,
    }
}

impl Sessions {
    /// Takes note of a record; gives the older Interim that it makes needless.
    pub(super) fn note(&mut self, seq: u64, id: RecordId, body: &[u8]) -> Option<Older> {
        let older = match meaning(id, body) {
            Meaning::Other => None,
            Meaning::Stop(session, made) => match self.0.get(&session) {
                Some(known) if made.is_after(known.made) => self.0.remove(&session),
                _ => None,
            },
            Meaning::Interim(session, made) => match self.0.get(&session) {
                // It is read a second time, or was parked and put back since.
                Some(known) if !made.is_after(known.made) => None,
                None if self.0.len() >= SESSIONS_MAX => None,
                _ => self.0.insert(session, Newest { seq, made, bytes: body.len() }),
            },
        }?;
        Some(Older { seq: older.seq, id: older.made.id, bytes: older.bytes })
    }

    /// Whether a newer Interim of its session is known.
    pub(super) fn has_newer(&self, id: RecordId, body: &[u8]) -> bool {
        let newer = |session, made| self.0.get(&session).is_some_and(|newest| newest.made.is_after(made));
        matches!(meaning(id, body), Meaning::Interim(session, made) if newer(session, made))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_that_are_no_record_mean_nothing() {
        for body in [&b""[..], b"\x01", b"\x01\x01", b"\xff\x01\x00\x00", &[1; 40]] {
            assert!(matches!(meaning(RecordId(1), body), Meaning::Other), "{body:?}");
        }
    }
}
