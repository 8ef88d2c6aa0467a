//! Records as messages of an AMQP 0-9-1 broker, such as RabbitMQ.
//!
//! A message is published to an exchange with a routing key, persistent, `mandatory`, with the id of its record as
//! `message-id`, and is delivered when the broker has confirmed it and has not returned it: then every queue that is bound
//! for it has it, a durable one on its disk. What was not confirmed is published again under the same id, and may then be
//! there twice: the broker knows no repeats, its consumer has to.
//!
//! [`link`] publishes, [`kit`] gives the client our own connections.

mod kind;
mod kit;
pub mod link;

use std::time::Duration;

use rustls::pki_types::ServerName;

use self::link::{Link, Message};
use super::attempt::{self, Render};
use super::event::Body;
use super::event::name::{Alphabet, Template};
use super::secret::Secret;
use crate::net::tls::ClientTls;

/// Checked settings of an AMQP sink.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The broker's host, a name or an address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// TLS, and the name that the broker has to prove; `None`: without.
    pub tls: Option<(ClientTls, ServerName<'static>)>,
    /// The virtual host.
    pub vhost: String,
    /// Who we are.
    pub user: String,
    /// The password of that.
    pub password: Secret,
    /// The exchange; one without a name is the default exchange, whose routing keys are names of queues.
    pub exchange: Template,
    /// The routing key.
    pub routing_key: Template,
    /// What messages say.
    pub body: Body,
    /// Longest wait for confirms; to connect. Default [`TIMEOUT`].
    pub timeout: Duration,
    /// How batches are made and repeated.
    pub delivery: attempt::Settings,
}

/// Default of the longest wait for confirms.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// Messages that wait for their confirm by default.
pub const WINDOW: usize = 256;

/// What exchanges and routing keys take of a value: dots divide a routing key, and bindings have `*` and `#` as wildcards. A
/// name has 255 octets at most.
pub const NAMES: Alphabet = Alphabet { takes: |octet| !b".*#".contains(&octet), octets_max: 255 };

impl Settings {
    /// Makes messages of records.
    #[must_use]
    pub fn render(&self) -> Render<Vec<Message>> {
        let (body, exchange, routing_key) = (self.body.clone(), self.exchange.clone(), self.routing_key.clone());
        Box::new(move |record| {
            let seconds = u64::try_from(record.times.event.secs()).unwrap_or(0);
            let (exchange, routing_key) = (exchange.fill(record, NAMES), routing_key.fill(record, NAMES));
            let message = |event: super::event::Event| Message {
                exchange: exchange.clone(),
                routing_key: routing_key.clone(),
                kind: record.kind.name(),
                seconds,
                id: event.id,
                body: event.body,
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

    /// Where the broker is, for status and log.
    fn place(&self) -> String {
        let scheme = if self.tls.is_some() { "amqps" } else { "amqp" };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("{scheme}://{host}:{}/{}", self.port, self.vhost.trim_start_matches('/'))
    }
}
