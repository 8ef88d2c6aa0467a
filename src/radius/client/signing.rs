//! The octets of a request, and the proof that a packet answers it.

use super::{DelayTime, MessageAuthenticator, Reason, ServerSettings, Turn};
use crate::clock::Timestamp;
use crate::radius::authenticator::{self, MessageCheck};
use crate::radius::packet::{self, Code, Packet};
use crate::radius::{Secret, number};

/// Builds a request, but for its identifier and authenticators.
pub(super) fn build(
    turn: &Turn<'_>,
    server: &ServerSettings,
    since: Timestamp,
    attributes: &[u8],
    octets: &mut Vec<u8>,
) -> Result<(), Reason> {
    packet::begin(octets, Code::ACCOUNTING_REQUEST, 0);
    octets.extend_from_slice(attributes);
    if turn.settings.delay_time != DelayTime::Never {
        let delay = u32::try_from(turn.now.wall.since(since).as_secs()).unwrap_or(u32::MAX);
        packet::push(octets, number::ACCT_DELAY_TIME, &delay.to_be_bytes());
    }
    if server.message_authenticator == MessageAuthenticator::Send {
        authenticator::push_message_authenticator(octets);
    }
    packet::finish(octets).map_err(|packet::TooLong { octets }| Reason::TooLong { octets })
}

/// Signs it under an identifier. Returns its authenticator.
pub(super) fn sign(server: &ServerSettings, identifier: u8, octets: &mut [u8]) -> [u8; 16] {
    octets[1] = identifier;
    if server.message_authenticator == MessageAuthenticator::Send {
        authenticator::sign_message(octets, &[0; 16], &server.secret);
    }
    authenticator::sign_request(octets, &server.secret)
}

/// Whether both authenticators of a packet prove it the answer to the request with this one. On a connection Protocol-Error
/// may be signed in another way.
pub(super) fn is_authentic(packet: &Packet<'_>, request: &[u8; 16], secret: &Secret, is_connection: bool) -> bool {
    let may_be_signed_twice = is_connection && packet.code() == Code::PROTOCOL_ERROR;
    let is_signed = authenticator::is_response_authentic(packet, request, secret)
        || may_be_signed_twice && authenticator::is_response_signed_twice(packet, request, secret);
    is_signed && authenticator::check_response_message(packet, request, secret) != MessageCheck::Bad
}
