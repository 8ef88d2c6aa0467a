//! What the bucket holds of a call: who has it, and what that gateway's queue keeps of it.

use crate::clock::Timestamp;
use crate::ids::SINKS_MAX;
use crate::record::bytes::{Reader, Unreadable, put_number, put_text};

/// First octet of every value that is written; what was written under a lower one stays readable.
const VERSION: u8 = 1;

const LIVE: u8 = 1;
const ADOPTED: u8 = 2;
const ENDED: u8 = 3;

/// The most former owners that are named.
pub const FORMER_MAX: usize = 64;

/// Where a call is kept: a gateway and its queue. A gateway that comes back with another disk is another home.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Home {
    /// The gateway's name.
    pub name: String,
    /// Drawn when its queue was made.
    pub disk: u128,
}

/// What is the matter with the call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// Its owner's queue keeps it.
    Live,
    /// Its owner has adopted it; its queue may not keep it yet.
    Adopted,
    /// It has ended, and a former owner may not know yet: the value has no body.
    Ended,
}

/// What stands before the octets of the call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Header {
    /// See [`State`].
    pub state: State,
    /// Who has it.
    pub owner: Home,
    /// Number of the owner's tenure of its name.
    pub epoch: u64,
    /// When this was written.
    pub written: Timestamp,
    /// Gateways that had it and have not said that they have forgotten it.
    pub former: Vec<String>,
    /// Names of the sinks that the body names by numbers.
    pub sinks: Vec<(u8, String)>,
}

/// What the bucket holds cannot be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ValueError {
    /// Written by a newer release.
    #[error("it was written by a newer release (version {found}, this one reads up to {VERSION})")]
    Newer {
        /// First octet of the value.
        found: u8,
    },
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

impl Header {
    /// As octets, with the body behind it.
    #[must_use]
    pub fn encode(&self, body: &[u8]) -> Vec<u8> {
        let state = match self.state {
            State::Live => LIVE,
            State::Adopted => ADOPTED,
            State::Ended => ENDED,
        };
        let mut out = Vec::with_capacity(128 + body.len());
        out.extend_from_slice(&[VERSION, state]);
        put_text(self.owner.name.as_bytes(), &mut out);
        out.extend_from_slice(&self.owner.disk.to_be_bytes());
        put_number(self.epoch, &mut out);
        out.extend_from_slice(&self.written.0.to_le_bytes());
        put_number(self.former.len() as u64, &mut out);
        self.former.iter().for_each(|name| put_text(name.as_bytes(), &mut out));
        put_number(self.sinks.len() as u64, &mut out);
        for (number, name) in &self.sinks {
            out.push(*number);
            put_text(name.as_bytes(), &mut out);
        }
        out.extend_from_slice(body);
        out
    }

    /// Header and body.
    ///
    /// # Errors
    /// What this release cannot read, values of a later one first of all.
    pub fn decode(octets: &[u8]) -> Result<(Self, &[u8]), ValueError> {
        let mut reader = Reader::new(octets);
        match reader.octet("version")? {
            VERSION => {}
            0 => return Err(Unreadable { what: "version", at: 0 }.into()),
            found => return Err(ValueError::Newer { found }),
        }
        let unreadable = reader.unreadable("state");
        let state = match reader.octet("state")? {
            LIVE => State::Live,
            ADOPTED => State::Adopted,
            ENDED => State::Ended,
            _ => return Err(unreadable.into()),
        };
        let name = reader.string("owner")?.to_owned();
        let disk = u128::from_be_bytes(reader.array("disk")?);
        let epoch = reader.number("epoch")?;
        let written = Timestamp(i64::from_le_bytes(reader.array("time")?));
        let mut former = Vec::new();
        for _ in 0..count(&mut reader, "former owners", FORMER_MAX)? {
            former.push(reader.string("former owner")?.to_owned());
        }
        let mut sinks = Vec::new();
        for _ in 0..count(&mut reader, "sinks", SINKS_MAX)? {
            let number = reader.octet("number of a sink")?;
            sinks.push((number, reader.string("name of a sink")?.to_owned()));
        }
        let body = reader.take(reader.left(), "body")?;
        Ok((Self { state, owner: Home { name, disk }, epoch, written, former, sinks }, body))
    }
}

fn count(reader: &mut Reader<'_>, what: &'static str, most: usize) -> Result<usize, Unreadable> {
    let unreadable = reader.unreadable(what);
    let count: usize = reader.number(what)?;
    if count <= most { Ok(count) } else { Err(unreadable) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            state: State::Adopted,
            owner: Home { name: "gw-2".to_owned(), disk: 7 },
            epoch: 3,
            written: Timestamp(1_700_000_000_000_000),
            former: vec!["gw-1".to_owned()],
            sinks: vec![(0, "billing".to_owned()), (63, "log".to_owned())],
        }
    }

    #[test]
    fn a_value_is_read_as_it_was_written() {
        for (state, body) in [(State::Live, &b"call"[..]), (State::Adopted, b"c"), (State::Ended, b"")] {
            let header = Header { state, ..header() };
            assert_eq!(Header::decode(&header.encode(body)), Ok((header, body)));
        }
    }

    #[test]
    fn what_cannot_be_read_says_so_and_a_later_release_is_told_from_damage() {
        let good = header().encode(b"");
        for end in 0..good.len() {
            assert!(matches!(Header::decode(&good[..end]), Err(ValueError::Unreadable(_))), "cut at {end}");
        }
        let changed = |at: usize, octet: u8| {
            let mut octets = good.clone();
            octets[at] = octet;
            Header::decode(&octets).map(|_| ())
        };
        assert_eq!(changed(0, 2), Err(ValueError::Newer { found: 2 }));
        assert!(matches!(changed(0, 0), Err(ValueError::Unreadable(_))));
        assert!(matches!(changed(1, 9), Err(ValueError::Unreadable(Unreadable { what: "state", at: 1 }))));
        for at in 0..good.len() {
            for octet in [0, 1, 0x7f, 0x80, 0xff] {
                let _ = changed(at, octet);
            }
        }
    }
}
