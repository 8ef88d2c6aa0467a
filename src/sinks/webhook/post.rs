//! What is posted: events, alone or as an array, under a key that is the same at every attempt.

use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use super::{Batch, Settings};
use crate::sinks::event::{Envelope, Event};

/// The body of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Post {
    /// `Idempotency-Key`: the id of the event, or of several the hash of theirs.
    pub key: String,
    /// JSON.
    pub body: Bytes,
}

impl From<Event> for Post {
    fn from(event: Event) -> Self {
        Self { key: event.id, body: event.body.into() }
    }
}

impl Post {
    /// Several in an array, in that order.
    pub(super) fn array<'p>(posts: impl Iterator<Item = &'p Self>) -> Self {
        let (mut ids, mut body) = (Sha256::new(), vec![b'[']);
        for (at, post) in posts.enumerate() {
            if at > 0 {
                body.push(b',');
            }
            body.extend_from_slice(&post.body);
            ids.update(post.key.as_bytes());
            ids.update(b"\n");
        }
        body.push(b']');
        Self { key: data_encoding::HEXLOWER.encode(&ids.finalize()), body: body.into() }
    }
}

impl Settings {
    /// The media type of a request.
    pub(super) const fn content_type(&self) -> &'static str {
        match (self.batch, self.body.envelope) {
            (Batch::Array, Envelope::CloudEvents) => "application/cloudevents-batch+json",
            (_, envelope) => envelope.content_type(),
        }
    }
}

/// The signature of a body that is sent at that second.
pub(super) fn signature(key: &str, timestamp: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(body);
    format!("sha256={}", data_encoding::HEXLOWER.encode(&mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn post(key: &str) -> Post {
        Post { key: key.to_owned(), body: format!("{{\"id\":\"{key}\"}}").into() }
    }

    #[test]
    fn an_array_has_its_events_in_order_and_a_key_of_their_ids() {
        let key = |ids: &[&str]| Post::array(ids.iter().map(|id| post(id)).collect::<Vec<_>>().iter()).key;
        let both = Post::array([post("a"), post("b")].iter());
        assert_eq!(&both.body[..], b"[{\"id\":\"a\"},{\"id\":\"b\"}]");
        assert_eq!(&Post::array([post("a")].iter()).body[..], b"[{\"id\":\"a\"}]", "one alone is an array too");
        assert_eq!(both.key, key(&["a", "b"]), "the same at every attempt");
        // printf 'a\nb\n' | sha256sum
        assert_eq!(both.key, "911169ddaaf146aff539f58c26c489af3b892dff0fe283c1c264c65ae5aa59a2");
        for (others, why) in [(&["b", "a"][..], "the order"), (&["a"], "one less"), (&["ab"], "where one ends")] {
            assert_ne!(both.key, key(others), "{why}");
        }
    }

    #[test]
    fn a_signature_is_over_the_time_and_the_body() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac 'the key'
        let want = "sha256=84faebcec6b37f199bf658805624934ad37a51f90f790dd2c9fbc4b47b192f1d";
        assert_eq!(signature("the key", "1700000000", b"{\"a\":1}"), want);
    }
}
