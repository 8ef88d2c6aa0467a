//! The server side of accounting: verifies a request, decodes it, makes the answer (RFC 2866 §3, RFC 5997).
//!
//! Answers are made by crate `radius`, so that the client of this crate is not only tested against itself.

use ::radius::core::avp::AVP;
use ::radius::core::code::Code as ModelCode;
use ::radius::core::packet::Packet as Model;

use super::packet::{Code, Malformed, Packet};
use super::{Secret, authenticator, number};
use crate::dictionary::{Decoded, Dictionary};

/// A request that was verified.
#[derive(Clone, Debug)]
pub enum Request {
    /// An Accounting-Request with its attributes.
    Accounting(Vec<Decoded>),
    /// A Status-Server.
    Status,
}

/// Why a datagram gets no answer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Rejected {
    /// It is no packet.
    #[error("not a RADIUS packet")]
    Malformed(#[from] Malformed),
    /// It asks for something else.
    #[error("{code} is not for an accounting port")]
    OtherCode {
        /// Its code.
        code: Code,
    },
    /// Its authenticator or Message-Authenticator does not verify.
    #[error("the authenticator does not verify: the secrets differ")]
    NotAuthentic,
    /// No answer could be made.
    #[error("cannot answer: {reason}")]
    NoAnswer {
        /// What the packet model says.
        reason: String,
    },
}

/// Reads a request and makes its answer, an Accounting-Response with the request's Proxy-States.
///
/// # Errors
/// When the datagram deserves no answer.
pub fn receive(datagram: &[u8], secret: &Secret, dictionary: &Dictionary) -> Result<(Request, Vec<u8>), Rejected> {
    use authenticator::MessageCheck;
    let packet = Packet::parse(datagram)?;
    let request = match packet.code() {
        Code::ACCOUNTING_REQUEST => {
            let message = authenticator::check_request_message(&packet, &[0; 16], secret);
            if !authenticator::is_request_authentic(&packet, secret) || message == MessageCheck::Bad {
                return Err(Rejected::NotAuthentic);
            }
            Request::Accounting(dictionary.decode(&packet.octets()[super::packet::HEADER_OCTETS..]))
        }
        Code::STATUS_SERVER => {
            let own = packet.authenticator();
            if authenticator::check_request_message(&packet, &own, secret) != MessageCheck::Good {
                return Err(Rejected::NotAuthentic);
            }
            Request::Status
        }
        code => return Err(Rejected::OtherCode { code }),
    };
    let answer = answer(&packet, secret).map_err(|error| Rejected::NoAnswer { reason: error.to_string() })?;
    Ok((request, answer))
}

fn answer(packet: &Packet<'_>, secret: &Secret) -> Result<Vec<u8>, ::radius::core::packet::PacketError> {
    let model = Model::decode(packet.octets(), secret.octets())?;
    let mut answer = model.make_response_packet(ModelCode::AccountingResponse);
    for state in packet.attributes().filter(|attribute| attribute.number == number::PROXY_STATE) {
        answer.add(AVP::from_bytes(number::PROXY_STATE, state.value));
    }
    answer.encode()
}

#[cfg(test)]
mod tests {
    use super::super::packet;
    use super::*;

    fn request(code: Code, secret: &Secret) -> Vec<u8> {
        let mut octets = Vec::new();
        packet::begin(&mut octets, code, 9);
        packet::push(&mut octets, number::ACCT_STATUS_TYPE, &[0, 0, 0, 1]);
        packet::push(&mut octets, number::PROXY_STATE, b"one");
        packet::push(&mut octets, number::PROXY_STATE, b"two");
        packet::finish(&mut octets).unwrap();
        authenticator::sign_request(&mut octets, secret);
        octets
    }

    #[test]
    fn an_authentic_request_is_decoded_and_answered() {
        let (secret, dictionary) = (Secret::new("testing123"), Dictionary::builtin());
        let request = request(Code::ACCOUNTING_REQUEST, &secret);
        let (read, answer) = receive(&request, &secret, &dictionary).unwrap();
        let Request::Accounting(attributes) = read else { panic!("{read:?}") };
        assert_eq!(attributes[0].to_string(), "Acct-Status-Type = Start");
        let answer = Packet::parse(&answer).unwrap();
        assert_eq!((answer.code(), answer.identifier()), (Code::ACCOUNTING_RESPONSE, 9));
        let own = Packet::parse(&request).unwrap().authenticator();
        assert!(authenticator::is_response_authentic(&answer, &own, &secret));
        let states: Vec<_> = answer.attributes().map(|attribute| attribute.value).collect();
        assert_eq!(states, [b"one", b"two"]);
    }

    #[test]
    fn what_is_not_authentic_gets_no_answer() {
        let (secret, other) = (Secret::new("testing123"), Secret::new("other"));
        let dictionary = Dictionary::builtin();
        let good = request(Code::ACCOUNTING_REQUEST, &secret);
        let mut bad_message = good.clone();
        packet::push(&mut bad_message, number::MESSAGE_AUTHENTICATOR, &[7; 16]);
        packet::finish(&mut bad_message).unwrap();
        authenticator::sign_request(&mut bad_message, &secret);
        for (name, datagram, secret, want) in [
            ("another secret", good.clone(), &other, Rejected::NotAuthentic),
            ("a bad Message-Authenticator", bad_message, &secret, Rejected::NotAuthentic),
            ("a Status-Server without one", request(Code::STATUS_SERVER, &secret), &secret, Rejected::NotAuthentic),
            ("an Access-Request", request(Code(1), &secret), &secret, Rejected::OtherCode { code: Code(1) }),
            ("rubbish", b"rubbish".to_vec(), &secret, Rejected::Malformed(Malformed::Short { octets: 7 })),
        ] {
            assert_eq!(receive(&datagram, secret, &dictionary).unwrap_err(), want, "{name}");
        }
    }
}
