//! Pseudo-variables: what a template such as `"$fU of $si"` stands for in one request and its response.
//!
//! The names are those of the SER family; [`catalogue`] lists them. A [`Template`] is read once, when the configuration
//! is loaded, and evaluated for each record in a [`Context`].

mod avps;
mod catalogue;
mod eval;
mod gives;
mod template;
#[cfg(test)]
mod tests;
mod transform;

use std::net::SocketAddr;

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::record::Cause;
use crate::sip::message::Message;
use crate::sip::stack::{FinalResponse, Stages, Transport};

pub use avps::Avps;
pub use catalogue::{Argument, Variable, catalogue};
pub use gives::Gives;
pub use template::{Error, TEMPLATE_BYTES_MAX, Template};
pub use transform::{TRANSFORMATIONS_MAX, Transformation, transformations};

/// How a message reached the gateway.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Arrival {
    /// Who sent it.
    pub source: SocketAddr,
    /// The address of ours it came in on, when known.
    pub local: Option<SocketAddr>,
    /// By what transport, when known.
    pub transport: Option<Transport>,
}

/// Whether From and To are read as they stand.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Parties {
    /// From is From.
    #[default]
    AsWritten,
    /// From is read from To and To from From, so that a request of the callee shows the same pair as the INVITE.
    Exchanged,
}

/// One leg of a call: a party that sends it on and the target it is sent to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Leg<'a> {
    /// URI of the caller, or of the target before that sent the call on: `$leg(src)`.
    pub src: &'a [u8],
    /// URI of the target: `$leg(dst)`.
    pub dst: &'a [u8],
    /// Final code of the leg: `$leg(code)`.
    pub code: u16,
    /// Why it came to nothing: `$leg(cause)`; `None` of one that was answered.
    pub cause: Option<Cause>,
}

/// A target that was tried in vain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tried {
    /// Its Request-URI: `$attempt(uri)`.
    pub uri: Bytes,
    /// Its final code: `$attempt(code)`; 0 of one that was given up because another one answered.
    pub code: u16,
    /// Why it came to nothing: `$attempt(cause)`.
    pub cause: Cause,
    /// Where it was sent.
    pub hop: Option<SocketAddr>,
    /// When what happened to it.
    pub stages: Stages,
}

impl Tried {
    /// An attempt that came to nothing for this cause.
    #[must_use]
    pub fn of(attempt: &FinalResponse, cause: Cause) -> Self {
        Self { uri: attempt.uri.clone(), code: attempt.code, cause, hop: attempt.hop, stages: attempt.stages }
    }
}

/// Where the values come from.
#[derive(Clone, Debug)]
pub struct Context<'a> {
    /// The request as received.
    pub request: &'a Message,
    /// How it came.
    pub arrival: Option<Arrival>,
    /// Request-URI as sent on; `None`: as received.
    pub sent_uri: Option<&'a [u8]>,
    /// The response; `None` when the gateway made it or there is none.
    pub reply: Option<&'a Message>,
    /// How the response came, when known.
    pub reply_arrival: Option<Arrival>,
    /// Code of the response; 0 when there is none.
    pub code: u16,
    /// Reason phrase of the response.
    pub reason: &'a [u8],
    /// Values the policy has set.
    pub avps: &'a Avps,
    /// The leg, where leg fields are evaluated.
    pub leg: Option<Leg<'a>>,
    /// Targets that were tried in vain, in the order in which that was known.
    pub attempts: &'a [Tried],
    /// How From and To are read.
    pub parties: Parties,
    /// The instant of the record.
    pub now: Timestamp,
}

impl<'a> Context<'a> {
    /// A context of a request alone.
    #[must_use]
    pub const fn new(request: &'a Message, avps: &'a Avps, now: Timestamp) -> Self {
        Self {
            request,
            arrival: None,
            sent_uri: None,
            reply: None,
            reply_arrival: None,
            code: 0,
            reason: b"",
            avps,
            leg: None,
            attempts: &[],
            parties: Parties::AsWritten,
            now,
        }
    }
}
