//! What an authentic answer to an Accounting-Request means.

use super::super::number;
use super::super::packet::{Code, Packet};

/// Error-Cause: the server does no accounting (RFC 6614 §2.5).
pub const CAUSE_UNSUPPORTED_EXTENSION: u32 = 406;

/// Error-Causes that the same record will always get: unsupported attribute, missing attribute, invalid request,
/// invalid attribute value (RFC 5176 §3.5).
const PERMANENT_CAUSES: [u32; 4] = [401, 402, 404, 407];

/// The meaning of an authentic answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    /// The server has stored the record.
    Stored,
    /// The server has not stored it and says so.
    Refused {
        /// Error-Cause (RFC 5176 §3.5); 0 when the server gives none that can be read.
        cause: u32,
    },
    /// An answer of another protocol part: perhaps an authentication port.
    WrongCode {
        /// Its code.
        code: Code,
    },
}

/// Reads an answer whose authenticator was verified.
///
/// Error-Cause is taken by its official number 101, whatever a dictionary calls that number.
#[must_use]
pub fn classify(packet: &Packet<'_>) -> Answer {
    let cause = packet.value(number::ERROR_CAUSE).map(|value| value.try_into().map_or(0, u32::from_be_bytes));
    match (packet.code(), cause) {
        (Code::ACCOUNTING_RESPONSE, None) => Answer::Stored,
        (Code::ACCOUNTING_RESPONSE, Some(cause)) => Answer::Refused { cause },
        (Code::PROTOCOL_ERROR, cause) => Answer::Refused { cause: cause.unwrap_or(0) },
        (code, _) => Answer::WrongCode { code },
    }
}

/// Whether the same record will get the same Error-Cause again.
#[must_use]
pub fn is_permanent(cause: u32) -> bool {
    PERMANENT_CAUSES.contains(&cause)
}

/// The name of an Error-Cause (RFC 5176 §3.5, RFC 7930 §7).
#[must_use]
pub const fn cause_name(cause: u32) -> &'static str {
    match cause {
        0 => "no cause given",
        401 => "Unsupported-Attribute",
        402 => "Missing-Attribute",
        403 => "NAS-Identification-Mismatch",
        404 => "Invalid-Request",
        405 => "Unsupported-Service",
        406 => "Unsupported-Extension",
        407 => "Invalid-Attribute-Value",
        501 => "Administratively-Prohibited",
        502 => "Request-Not-Routable",
        503 => "Session-Context-Not-Found",
        504 => "Session-Context-Not-Removable",
        505 => "Other-Proxy-Processing-Error",
        506 => "Resources-Unavailable",
        507 => "Request-Initiated",
        508 => "Multiple-Session-Selection-Unsupported",
        601 => "Response-Too-Big",
        _ => "unknown cause",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::radius::packet;

    fn answer(code: u8, attributes: &[(u8, &[u8])]) -> Answer {
        let mut octets = Vec::new();
        packet::begin(&mut octets, Code(code), 1);
        for (number, value) in attributes {
            packet::push(&mut octets, *number, value);
        }
        packet::finish(&mut octets).unwrap();
        classify(&Packet::parse(&octets).unwrap())
    }

    #[test]
    fn only_a_plain_accounting_response_acknowledges() {
        let cause = |cause: u32| cause.to_be_bytes();
        for (name, code, attributes, want) in [
            ("a plain response", 5, vec![], Answer::Stored),
            ("a response with Proxy-State", 5, vec![(33, &b"x"[..])], Answer::Stored),
            ("a response that refuses", 5, vec![(101, &cause(406)[..])], Answer::Refused { cause: 406 }),
            ("a response with an odd Error-Cause", 5, vec![(101, &b"odd"[..])], Answer::Refused { cause: 0 }),
            ("Protocol-Error", 52, vec![(101, &cause(404)[..])], Answer::Refused { cause: 404 }),
            ("Protocol-Error without a cause", 52, vec![], Answer::Refused { cause: 0 }),
            ("Access-Accept", 2, vec![], Answer::WrongCode { code: Code(2) }),
            ("Access-Reject", 3, vec![], Answer::WrongCode { code: Code(3) }),
            ("Access-Challenge", 11, vec![], Answer::WrongCode { code: Code(11) }),
            ("Accounting-Request", 4, vec![], Answer::WrongCode { code: Code(4) }),
            ("an unknown code", 77, vec![], Answer::WrongCode { code: Code(77) }),
        ] {
            assert_eq!(answer(code, &attributes), want, "{name}");
        }
    }

    #[test]
    fn the_record_is_at_fault_for_four_causes_only() {
        let permanent: Vec<u32> = (0..1000).filter(|cause| is_permanent(*cause)).collect();
        assert_eq!(permanent, [401, 402, 404, 407]);
    }
}
