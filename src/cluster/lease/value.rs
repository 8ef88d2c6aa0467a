//! The value of a lease's key: a small JSON object, so that an operator can read it with any client.
//!
//! `{"v":1,"owner":"gw1","nonce":"…32 hex digits…","epoch":3,"turn":17,"released":false}`. A later version may hold
//! anything else; whatever this release cannot read belongs to somebody else and is left alone.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The version that this release writes.
const VERSION: u32 = 1;

/// The most octets of a value that are looked at.
pub const VALUE_BYTES_MAX: usize = 1024;

/// A process that holds leases.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Owner {
    /// Its configured name; unique in the cluster.
    pub name: String,
    /// Drawn at its start: two lives of one name differ by it.
    pub nonce: u128,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// What stands in a lease's key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Value {
    /// Who wrote it.
    pub owner: Owner,
    /// Number of the tenure: rises by one whenever the lease is taken.
    pub epoch: u64,
    /// Number of the owner's update, so that it knows which of them was stored.
    pub turn: u64,
    /// Given back: free at once.
    pub released: bool,
}

/// The octets are no value of a version this release knows.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the value is not of version {VERSION}")]
pub struct Unreadable;

#[derive(Deserialize)]
struct Versioned {
    v: u32,
}

#[derive(Deserialize, Serialize)]
struct Wire<'v> {
    v: u32,
    #[serde(borrow)]
    owner: std::borrow::Cow<'v, str>,
    nonce: std::borrow::Cow<'v, str>,
    epoch: u64,
    turn: u64,
    #[serde(default)]
    released: bool,
}

impl Value {
    /// As octets.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let wire = Wire {
            v: VERSION,
            owner: self.owner.name.as_str().into(),
            nonce: format!("{:032x}", self.owner.nonce).into(),
            epoch: self.epoch,
            turn: self.turn,
            released: self.released,
        };
        // Numbers, texts and a bool always have a JSON form.
        serde_json::to_vec(&wire).unwrap_or_default()
    }

    /// From octets.
    ///
    /// # Errors
    /// What this release cannot read, a later version first of all.
    pub fn decode(octets: &[u8]) -> Result<Self, Unreadable> {
        if octets.len() > VALUE_BYTES_MAX {
            return Err(Unreadable);
        }
        let Versioned { v } = serde_json::from_slice(octets).map_err(|_| Unreadable)?;
        if v != VERSION {
            return Err(Unreadable);
        }
        let wire: Wire<'_> = serde_json::from_slice(octets).map_err(|_| Unreadable)?;
        let is_hex = wire.nonce.len() == 32 && wire.nonce.bytes().all(|octet| octet.is_ascii_hexdigit());
        let nonce = u128::from_str_radix(&wire.nonce, 16).ok().filter(|_| is_hex).ok_or(Unreadable)?;
        let owner = Owner { name: wire.owner.into_owned(), nonce };
        Ok(Self { owner, epoch: wire.epoch, turn: wire.turn, released: wire.released })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value() -> Value {
        Value { owner: Owner { name: "gw-1".to_owned(), nonce: 0xab }, epoch: 3, turn: 17, released: false }
    }

    #[test]
    fn a_value_is_read_as_it_was_written() {
        let text =
            r#"{"v":1,"owner":"gw-1","nonce":"000000000000000000000000000000ab","epoch":3,"turn":17,"released":false}"#;
        assert_eq!(String::from_utf8(value().encode()).as_deref(), Ok(text));
        assert_eq!(Value::decode(text.as_bytes()), Ok(value()));
        let released = Value { released: true, ..value() };
        assert_eq!(Value::decode(&released.encode()), Ok(released));
        let more = text.replace("\"turn\"", "\"colour\":\"red\",\"turn\"");
        assert_eq!(Value::decode(more.as_bytes()), Ok(value()), "what a release of this version adds is passed over");
    }

    #[test]
    fn what_cannot_be_read_is_nobodys_value() {
        let good = String::from_utf8(value().encode()).expect("it is JSON");
        for (name, octets) in [
            ("nothing", String::new()),
            ("no JSON", "gw-1".to_owned()),
            ("another version", good.replace("\"v\":1", "\"v\":2")),
            ("a later version with other fields", r#"{"v":7,"holder":[1,2]}"#.to_owned()),
            ("no version", good.replace("\"v\":1,", "")),
            ("no owner", good.replace("owner", "Owner")),
            ("a short nonce", good.replace("0000ab", "ab")),
            ("a nonce with a sign", good.replace("\"00", "\"+0")),
            ("a negative epoch", good.replace("\"epoch\":3", "\"epoch\":-3")),
            ("something behind it", good.clone() + "}"),
            ("too long", good.replace("gw-1", &"x".repeat(VALUE_BYTES_MAX))),
        ] {
            assert_eq!(Value::decode(octets.as_bytes()), Err(Unreadable), "{name}");
        }
        for end in 0..good.len() {
            assert_eq!(Value::decode(&good.as_bytes()[..end]), Err(Unreadable), "cut at {end}");
        }
    }
}
