//! Status-Server (RFC 5997): asks a server whether it lives.

use bytes::Bytes;

use super::super::packet::{self, Code, Packet};
use super::super::{Secret, authenticator};
use crate::timers::random::Random;

/// An unanswered Status-Server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probe {
    identifier: u8,
    authenticator: [u8; 16],
}

impl Probe {
    pub(super) fn new(identifier: u8, random: &mut Random) -> Self {
        Self { identifier, authenticator: random.octets() }
    }

    pub(super) fn identifier(&self) -> u8 {
        self.identifier
    }

    /// Its packet: nothing but its Message-Authenticator.
    pub(super) fn datagram(&self, secret: &Secret) -> Bytes {
        let mut octets = Vec::with_capacity(packet::HEADER_OCTETS + authenticator::MESSAGE_AUTHENTICATOR_OCTETS);
        packet::begin(&mut octets, Code::STATUS_SERVER, self.identifier);
        octets[4..packet::HEADER_OCTETS].copy_from_slice(&self.authenticator);
        authenticator::push_message_authenticator(&mut octets);
        packet::finish(&mut octets).expect("38 octets fit into a packet");
        authenticator::sign_message(&mut octets, &self.authenticator, secret);
        octets.into()
    }

    /// Whether a packet answers it: identifier, authenticators, and one of the two codes servers use.
    pub(super) fn is_answered_by(&self, packet: &Packet<'_>, secret: &Secret) -> bool {
        packet.identifier() == self.identifier
            && authenticator::is_response_authentic(packet, &self.authenticator, secret)
            && authenticator::check_response_message(packet, &self.authenticator, secret)
                != authenticator::MessageCheck::Bad
            && matches!(packet.code(), Code::ACCOUNTING_RESPONSE | Code::ACCESS_ACCEPT)
    }
}
