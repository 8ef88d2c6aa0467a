//! What the cluster knows of a parked record: that it is settled for its lane, where its message is, and why it is parked.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// A parked record.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Parking {
    /// Its partition.
    pub partition: u16,
    /// Place of its message in the stream.
    pub place: u64,
    /// Which stream: see [`Progress::of`](crate::cluster::progress::Progress::of). 0: not known.
    #[serde(default)]
    pub stream: u64,
    /// The backend's result code, 0 for none.
    pub code: u32,
    /// Since when, in microseconds since 1970.
    #[serde(with = "micros")]
    pub at: Timestamp,
    /// The deliverer that has parked it.
    pub by: String,
    /// Why, for the operator.
    pub reason: String,
}

impl Parking {
    /// As it is written down.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // Numbers and texts have a form in JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads it again. Members that a newer release has added are passed over.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

mod micros {
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::clock::Timestamp;

    pub fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(at.0)
    }

    pub fn deserialize<'d, D: Deserializer<'d>>(deserializer: D) -> Result<Timestamp, D::Error> {
        i64::deserialize(deserializer).map(Timestamp)
    }
}
