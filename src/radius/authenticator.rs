//! Authenticators: MD5 over packet and secret (RFC 2866 §3), Message-Authenticator (RFC 2869 §5.14, RFC 5997 §3).
//!
//! All comparisons take the same time whatever differs.

use hmac::{Hmac, KeyInit as _, Mac as _};
use md5::{Digest, Md5};
use subtle::ConstantTimeEq;

use super::packet::{HEADER_OCTETS, Packet};
use super::{Secret, number};

/// Octets of a Message-Authenticator attribute: head and value.
pub const MESSAGE_AUTHENTICATOR_OCTETS: usize = 18;

/// Signs an Accounting-Request: octets 4 to 19 become the request authenticator, which is returned.
///
/// `packet` is a finished packet of at least 20 octets; what stands in octets 4 to 19 does not matter.
pub fn sign_request(packet: &mut [u8], secret: &Secret) -> [u8; 16] {
    sign(packet, &[0; 16], secret)
}

/// Signs an answer: octets 4 to 19 become the response authenticator to a request with `request` as its own.
pub fn sign_response(packet: &mut [u8], request: &[u8; 16], secret: &Secret) {
    sign(packet, request, secret);
}

/// Whether an Accounting-Request was signed with this secret.
#[must_use]
pub fn is_request_authentic(packet: &Packet<'_>, secret: &Secret) -> bool {
    is_authentic(packet, &[0; 16], secret)
}

/// Whether an answer was signed with this secret for a request with this authenticator.
#[must_use]
pub fn is_response_authentic(packet: &Packet<'_>, request: &[u8; 16], secret: &Secret) -> bool {
    is_authentic(packet, request, secret)
}

/// Whether an answer was signed twice, the first signature standing in for the request's authenticator in the second.
///
/// FreeRADIUS 3.2 does that over TLS to answers of a code it does not know, such as Protocol-Error. Both need the secret.
#[must_use]
pub fn is_response_signed_twice(packet: &Packet<'_>, request: &[u8; 16], secret: &Secret) -> bool {
    is_authentic(packet, &digest(packet.octets(), request, secret), secret)
}

fn sign(packet: &mut [u8], stand_in: &[u8; 16], secret: &Secret) -> [u8; 16] {
    if packet.len() < HEADER_OCTETS {
        return [0; 16];
    }
    let digest = digest(packet, stand_in, secret);
    packet[4..HEADER_OCTETS].copy_from_slice(&digest);
    digest
}

fn is_authentic(packet: &Packet<'_>, stand_in: &[u8; 16], secret: &Secret) -> bool {
    digest(packet.octets(), stand_in, secret).ct_eq(&packet.authenticator()).into()
}

/// MD5(code, identifier, length, stand-in for the authenticator, attributes, secret).
fn digest(packet: &[u8], stand_in: &[u8; 16], secret: &Secret) -> [u8; 16] {
    let mut md5 = Md5::new();
    md5.update(&packet[..4]);
    md5.update(stand_in);
    md5.update(&packet[HEADER_OCTETS..]);
    md5.update(secret.octets());
    md5.finalize().into()
}

/// Appends a Message-Authenticator of zero octets; [`sign_message`] fills it once the packet is finished.
pub fn push_message_authenticator(out: &mut Vec<u8>) {
    super::packet::push(out, number::MESSAGE_AUTHENTICATOR, &[0; 16]);
}

/// Fills the first Message-Authenticator of a finished packet: HMAC-MD5 with `authenticator` in octets 4 to 19.
///
/// For an Accounting-Request that is sixteen zero octets and [`sign_request`] follows; for a Status-Server its own
/// random authenticator; for an answer the request's. Does nothing when the packet has no such attribute.
pub fn sign_message(packet: &mut [u8], authenticator: &[u8; 16], secret: &Secret) {
    let Some(at) = message_authenticator(packet) else { return };
    let code = message_code(packet, at, authenticator, secret);
    packet[at..at + 16].copy_from_slice(&code);
}

/// What the Message-Authenticator of a packet says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MessageCheck {
    /// There is none.
    Absent,
    /// It verifies.
    Good,
    /// It does not, or has another length than 16.
    Bad,
}

/// Checks the Message-Authenticator of a request.
///
/// `authenticator` as for [`sign_message`].
#[must_use]
pub fn check_request_message(packet: &Packet<'_>, authenticator: &[u8; 16], secret: &Secret) -> MessageCheck {
    check(packet, &[authenticator], secret)
}

/// Checks the Message-Authenticator of an answer to a request with `request` as its authenticator.
///
/// FreeRADIUS before 3.2.9 computes it in an Accounting-Response over zero octets instead; either is good.
#[must_use]
pub fn check_response_message(packet: &Packet<'_>, request: &[u8; 16], secret: &Secret) -> MessageCheck {
    check(packet, &[request, &[0; 16]], secret)
}

fn check(packet: &Packet<'_>, candidates: &[&[u8; 16]], secret: &Secret) -> MessageCheck {
    let octets = packet.octets();
    let Some(found) = packet.attributes().find(|attribute| attribute.number == number::MESSAGE_AUTHENTICATOR) else {
        return MessageCheck::Absent;
    };
    if found.value.len() != 16 {
        return MessageCheck::Bad;
    }
    let at = found.offset + 2;
    let good =
        candidates.iter().any(|stand_in| message_code(octets, at, stand_in, secret).ct_eq(&octets[at..at + 16]).into());
    if good { MessageCheck::Good } else { MessageCheck::Bad }
}

/// Where the value of the first Message-Authenticator of 16 octets begins.
fn message_authenticator(packet: &[u8]) -> Option<usize> {
    let packet = Packet::parse(packet).ok()?;
    let found = packet.attributes().find(|attribute| attribute.number == number::MESSAGE_AUTHENTICATOR)?;
    (found.value.len() == 16).then_some(found.offset + 2)
}

/// HMAC-MD5 over the packet with `stand_in` as authenticator and zero octets at `at`.
fn message_code(packet: &[u8], at: usize, stand_in: &[u8; 16], secret: &Secret) -> [u8; 16] {
    let mut mac = Hmac::<Md5>::new_from_slice(secret.octets()).expect("HMAC takes a key of any length");
    mac.update(&packet[..4]);
    mac.update(stand_in);
    mac.update(&packet[HEADER_OCTETS..at]);
    mac.update(&[0; 16]);
    mac.update(&packet[at + 16..]);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests;
