//! Status-Server (RFC 5997): asks a server whether it lives.

use bytes::Bytes;

use super::super::packet::{self, Code, Packet};
use super::super::{Secret, authenticator};
use super::server::Probe;

/// A Status-Server packet: nothing but its Message-Authenticator.
pub(super) fn datagram(probe: &Probe, secret: &Secret) -> Bytes {
    let mut octets = Vec::with_capacity(packet::HEADER_OCTETS + authenticator::MESSAGE_AUTHENTICATOR_OCTETS);
    packet::begin(&mut octets, Code::STATUS_SERVER, probe.identifier);
    octets[4..packet::HEADER_OCTETS].copy_from_slice(&probe.authenticator);
    authenticator::push_message_authenticator(&mut octets);
    packet::finish(&mut octets).expect("38 octets fit into a packet");
    authenticator::sign_message(&mut octets, &probe.authenticator, secret);
    octets.into()
}

/// Whether a packet answers a probe: identifier, authenticators, and one of the two codes servers use.
pub(super) fn is_answer(packet: &Packet<'_>, probe: &Probe, secret: &Secret) -> bool {
    packet.identifier() == probe.identifier
        && authenticator::is_response_authentic(packet, &probe.authenticator, secret)
        && authenticator::check_response_message(packet, &probe.authenticator, secret)
            != authenticator::MessageCheck::Bad
        && matches!(packet.code(), Code::ACCOUNTING_RESPONSE | Code::ACCESS_ACCEPT)
}
