//! What the Reason of a CANCEL says (RFC 3326).

use crate::sip::message::{Message, Name, Params, unquote};

/// Why the caller's side withdraws an INVITE.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Withdrawal {
    /// The caller has given up, or nothing is said.
    #[default]
    GivenUp,
    /// The call was answered elsewhere: a proxy that forks, or a PBX, takes it back from those who lost.
    Elsewhere,
}

impl Withdrawal {
    /// By the Reason values of a CANCEL, of which one is enough: `SIP;cause=200`, or cause 26 of Q.850, non-selected user
    /// clearing.
    #[must_use]
    pub fn of(cancel: &Message) -> Self {
        let says_elsewhere = |value: &[u8]| {
            let mut params = Params::of(value);
            let Some(protocol) = params.next().map(|first| first.name) else { return false };
            let Some(cause) = params.value(b"cause").map(unquote) else { return false };
            let cause = std::str::from_utf8(&cause).ok().and_then(|cause| cause.trim().parse::<u16>().ok());
            (protocol.eq_ignore_ascii_case(b"SIP") && cause == Some(200))
                || (protocol.eq_ignore_ascii_case(b"Q.850") && cause == Some(26))
        };
        if cancel.values(Name::Reason).any(says_elsewhere) { Self::Elsewhere } else { Self::GivenUp }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_says_whether_the_call_was_answered_elsewhere() {
        for (name, lines, want) in [
            ("no Reason", "", false),
            ("the usual one", "Reason: SIP;cause=200;text=\"Call completed elsewhere\"\r\n", true),
            ("in any case, with blanks", "rEASON: sip ; CAUSE = 200\r\n", true),
            ("parameters before and behind", "Reason: SIP;x=\"a;cause=487,b\";cause=200;y\r\n", true),
            ("the second of several values", "Reason: Q.850;cause=16;text=\"a, SIP\" , SIP;cause=200\r\n", true),
            ("the second of several lines", "Reason: Q.850;cause=16\r\nReason: SIP;cause=200\r\n", true),
            ("as a PBX says it", "Reason: Q.850;cause=26;text=\"Answered elsewhere\"\r\n", true),
            ("another code", "Reason: SIP;cause=487\r\n", false),
            ("busy everywhere is no answer", "Reason: SIP;cause=600\r\n", false),
            ("200 of another protocol", "Reason: Q.850;cause=200\r\n", false),
            ("only in a text", "Reason: SIP;cause=487;text=\"SIP;cause=200, SIP;cause=200\"\r\n", false),
            ("a longer number", "Reason: SIP;cause=2000\r\n", false),
            ("no cause", "Reason: SIP\r\n", false),
            ("an empty line", "Reason: \r\n", false),
        ] {
            let text = format!("CANCEL sip:b@x SIP/2.0\r\n{lines}CSeq: 1 CANCEL\r\nCall-ID: c\r\n\r\n");
            let cancel = Message::parse(text.into_bytes()).expect("a message");
            assert_eq!(Withdrawal::of(&cancel) == Withdrawal::Elsewhere, want, "{name}");
        }
    }
}
