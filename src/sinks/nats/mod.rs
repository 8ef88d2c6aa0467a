//! Records as messages of a JetStream stream.
//!
//! A message is published with the id of its record as `Nats-Msg-Id` and the name of the stream it is meant for. It is
//! delivered when that stream's server has acknowledged it: stored, on the disk as soon as the server's `sync_interval` says.
//! What was published and not acknowledged is published again under the same id, which the stream knows for its
//! `duplicate_window`: with retention `limits` over a restart of the server too, with `workqueue` and `interest` not for
//! messages that were consumed.
//!
//! [`link`] makes messages of records; [`jetstream`](super::jetstream) publishes them.

mod kind;
pub mod link;

use self::link::{Link, Message};
use super::attempt::{self, Render};
use super::event::Body;
use super::event::name::{Alphabet, Template};
use super::jetstream::Access;
use super::jetstream::connection;

/// Checked settings of a NATS sink.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The way to the servers.
    pub access: Access,
    /// The stream that has to take the messages.
    pub stream: String,
    /// Their subject.
    pub subject: Template,
    /// What they say.
    pub body: Body,
    /// How batches are made and repeated.
    pub delivery: attempt::Settings,
}

/// Messages that wait for their acknowledgement by default.
pub const WINDOW: usize = 256;

/// The same at most.
pub const WINDOW_MAX: u64 = connection::WINDOW_MAX;

/// Octets of a subject at most; a server takes 4 096 for a whole line.
const SUBJECT_OCTETS_MAX: usize = 1_000;

/// What a subject takes of a value: dots would divide it, `*` and `>` are wildcards, and with `$` begin those of the server.
pub const SUBJECTS: Alphabet = Alphabet { takes: |octet| !b".*>$".contains(&octet), octets_max: SUBJECT_OCTETS_MAX };

impl Settings {
    /// Makes messages of records.
    #[must_use]
    pub fn render(&self) -> Render<Vec<Message>> {
        let (body, subject) = (self.body.clone(), self.subject.clone());
        Box::new(move |record| {
            let subject = subject.fill(record, SUBJECTS);
            let message = |event: super::event::Event| Message {
                subject: subject.as_str().into(),
                id: event.id,
                body: event.body.into(),
            };
            let messages: Vec<_> = body.events(record)?.into_iter().map(message).collect();
            Ok((!messages.is_empty()).then_some(messages))
        })
    }

    /// A link that will be made as the settings say; `sink` is the sink's name.
    #[must_use]
    pub fn link(&self, sink: &str) -> Link {
        Link::new(sink, self)
    }
}
