//! What the cluster knows of a parked record: that it is settled for its lane, why it is parked, and the record itself, for the
//! stream lets its message go before anybody has looked after it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ids::{CallHash, RecordId};
use crate::queue::AFTER_ALL;
use crate::record::{BODY_BYTES_MAX, Kind, codec};

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
    /// The record's octets; `None`: they are in the stream alone.
    #[serde(default, with = "octets", skip_serializing_if = "Option::is_none")]
    pub record: Option<Vec<u8>>,
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

/// What a queue takes of a message. A gateway's record is never longer: what is, is parked as octets that are no record, and
/// does not keep the others of its lane waiting.
#[must_use]
pub fn fitting(mut body: Bytes) -> Bytes {
    body.truncate(BODY_BYTES_MAX);
    body
}

/// The name of the record in a message, and of what it is to come in order with.
#[must_use]
pub fn names_of(place: u64, body: &[u8]) -> (RecordId, CallHash) {
    match codec::decode(body) {
        Ok(record) if matches!(record.kind, Kind::On | Kind::Off) => (record.id, AFTER_ALL),
        Ok(record) => (record.id, CallHash::of(&record.call_id)),
        // It is parked when its turn comes, with the reason; under a name that is the same at every reading.
        Err(_) => (RecordId(u128::from(place)), CallHash(place)),
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

/// In Base64, as far as they are there.
mod octets {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(octets: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
        match octets {
            Some(octets) => serializer.serialize_str(&STANDARD.encode(octets)),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'d, D: Deserializer<'d>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| STANDARD.decode(text).map_err(D::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parking_is_read_as_it_was_written_and_one_of_an_older_release_has_no_record() {
        let older = r#"{"partition":3,"place":9,"code":5,"at":1700000000000000,"by":"del1","reason":"refused"}"#;
        let mut parking = Parking::read(older.as_bytes()).unwrap();
        assert_eq!((parking.stream, parking.record.clone()), (0, None));
        assert_eq!(Parking::read(&parking.to_bytes()).unwrap(), parking);
        parking.record = Some(vec![0, 255, 7]);
        assert_eq!(Parking::read(&parking.to_bytes()).unwrap(), parking);
    }
}
