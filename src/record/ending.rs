//! How calls and attempts end, in the words of SIP, of ISUP and of every backend: the one place that says so.
//!
//! Three tables: status codes (RFC 3398 §8.2.6.1), cause values of Q.850 (RFC 3398 §7.2.4.1), and the ends of calls with
//! Acct-Terminate-Cause (RFC 2866 §5.10), Termination-Cause (RFC 6733 §8.15; from 11 on the RADIUS causes, each plus 10)
//! and Cause-Code (TS 32.299 §7.2.35). An `h323-disconnect-cause` is the cause value of Q.850 in hexadecimal digits.

use std::ops::RangeInclusive;

use super::{Cause, End, Party};

/// A status code: the cause value of Q.850 that it is, 0 for none of its own, and why an attempt came to nothing that got it.
type Code = (RangeInclusive<u16>, u8, Cause);

/// The first row that fits.
const CODES: &[Code] = &[
    (300..=399, REDIRECTED, Cause::Redirected),
    (402..=402, REJECTED, Cause::Refused),
    (403..=403, REJECTED, Cause::Forbidden),
    (401..=401, REJECTED, Cause::Refused),
    (404..=404, UNALLOCATED, Cause::Refused),
    (405..=405, 63, Cause::Refused),
    (406..=406, 79, Cause::Refused),
    (407..=407, REJECTED, Cause::Refused),
    (408..=408, TIMER_EXPIRED, Cause::Timeout),
    (410..=410, 22, Cause::Refused),
    (413..=414, INTERWORKING, Cause::Refused),
    (415..=415, 79, Cause::Refused),
    (416..=423, INTERWORKING, Cause::Refused),
    // RFC 5626 §11.1: the flow to the phone is gone.
    (430..=430, NO_USER, Cause::Offline),
    // RFC 5079, RFC 8224 §6.2.2.
    (433..=433, REJECTED, Cause::Forbidden),
    (436..=438, REJECTED, Cause::Forbidden),
    (480..=480, NO_USER, Cause::Offline),
    (481..=481, TEMPORARY, Cause::Refused),
    (482..=483, 25, Cause::Refused),
    (484..=484, 28, Cause::Refused),
    (485..=485, UNALLOCATED, Cause::Refused),
    (486..=486, BUSY, Cause::Busy),
    // Nobody has cancelled it here; RFC 3398 leaves it without a value.
    (487..=487, NORMAL, Cause::Refused),
    (488..=488, 65, Cause::Refused),
    (400..=499, TEMPORARY, Cause::Refused),
    (501..=501, 79, Cause::Refused),
    (502..=502, 38, Cause::Unreachable),
    (503..=503, TEMPORARY, Cause::Unreachable),
    (504..=504, TIMER_EXPIRED, Cause::Unreachable),
    (505..=513, INTERWORKING, Cause::Refused),
    (500..=599, TEMPORARY, Cause::Refused),
    (600..=600, BUSY, Cause::Busy),
    (603..=603, REJECTED, Cause::Refused),
    (604..=604, UNALLOCATED, Cause::Refused),
    (606..=606, 65, Cause::Refused),
    // RFC 8197, RFC 8688.
    (607..=607, REJECTED, Cause::Refused),
    (608..=608, REJECTED, Cause::Forbidden),
    (600..=699, BUSY, Cause::Refused),
];

/// Cause values of Q.850 and their status code (RFC 3398 §7.2.4.1); the first row that fits.
const CAUSES: &[(RangeInclusive<u8>, u16)] = &[
    (1..=3, 404),
    (BUSY..=BUSY, 486),
    (NO_USER..=NO_USER, 408),
    (NO_ANSWER..=20, 480),
    (REJECTED..=REJECTED, 403),
    (22..=23, 410),
    (ELSEWHERE..=ELSEWHERE, 404),
    (OUT_OF_ORDER..=OUT_OF_ORDER, 502),
    (28..=28, 484),
    (29..=29, 501),
    (UNSPECIFIED..=UNSPECIFIED, 480),
    (34..=34, 503),
    (38..=38, 503),
    (41..=42, 503),
    (47..=47, 503),
    (55..=55, 403),
    (57..=57, 403),
    (58..=58, 503),
    (65..=65, 488),
    (70..=70, 488),
    (79..=79, 501),
    (87..=87, 403),
    (88..=88, 503),
    (TIMER_EXPIRED..=TIMER_EXPIRED, 504),
];

const UNALLOCATED: u8 = 1;
const NORMAL: u8 = 16;
const BUSY: u8 = 17;
const NO_USER: u8 = 18;
const NO_ANSWER: u8 = 19;
const REJECTED: u8 = 21;
const REDIRECTED: u8 = 23;
const ELSEWHERE: u8 = 26;
const OUT_OF_ORDER: u8 = 27;
const UNSPECIFIED: u8 = 31;
const TEMPORARY: u8 = 41;
const TIMER_EXPIRED: u8 = 102;
const INTERWORKING: u8 = 127;

/// What an end is in the words of the backends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Words {
    /// Cause value of Q.850; 0: that of the status code.
    q850: u8,
    /// Acct-Terminate-Cause (RFC 2866 §5.10).
    pub terminate: u32,
    /// Termination-Cause (RFC 6733 §8.15).
    pub termination: u32,
    /// Cause-Code of a call that ended so (TS 32.299 §7.2.35).
    pub cause_code: i32,
}

/// An end of a call: its cause, who has ended it (`None`: whoever), with which status codes.
type Row = (Cause, Option<Party>, RangeInclusive<u16>, Words);

/// The first row that fits; the most frequent end stands first.
const ENDS: &[Row] = {
    use Cause::{
        Administrator, Busy, Bye, Cancelled, Elsewhere, FailedBye, Forbidden, Lifetime, NoAck, NoAnswer, Offline,
        Redirected, Refused, Restart, SessionTimer, Timeout, Unreachable,
    };
    use Party::{Callee, Caller, Gateway};
    const fn row(cause: Cause, by: Option<Party>, is_4xx: Is4xx, words: (u8, u32, u32, i32)) -> Row {
        let codes = match is_4xx {
            Yes => 400..=499,
            Any => 0..=u16::MAX,
        };
        let (q850, terminate, termination, cause_code) = words;
        (cause, by, codes, Words { q850, terminate, termination, cause_code })
    }
    use Is4xx::{Any, Yes};
    &[
        row(Bye, Some(Caller), Any, (NORMAL, 1, 1, 0)),
        row(Bye, Some(Callee), Any, (NORMAL, 18, 1, 0)),
        row(Bye, Some(Gateway), Any, (NORMAL, 10, 20, 0)),
        row(FailedBye, None, Any, (NORMAL, 2, 12, 0)),
        row(Cancelled, None, Any, (NORMAL, 1, 1, 1)),
        // The gateway takes it back from those who lost; else the caller's side does.
        row(Elsewhere, Some(Gateway), Any, (ELSEWHERE, 10, 20, 1)),
        row(Elsewhere, None, Any, (ELSEWHERE, 1, 1, 1)),
        row(NoAck, None, Any, (TIMER_EXPIRED, 8, 18, 2)),
        row(SessionTimer, None, Any, (TIMER_EXPIRED, 5, 8, 1)),
        row(Lifetime, None, Any, (UNSPECIFIED, 5, 8, 1)),
        row(Administrator, None, Any, (UNSPECIFIED, 6, 4, 1)),
        row(Restart, None, Any, (TEMPORARY, 11, 21, 3)),
        // A target answered that it leads nowhere.
        row(Unreachable, Some(Callee), Any, (0, 3, 5, 1)),
        row(Unreachable, None, Any, (OUT_OF_ORDER, 3, 5, 1)),
        row(NoAnswer, None, Any, (NO_ANSWER, 15, 25, 2)),
        row(Timeout, None, Any, (TIMER_EXPIRED, 15, 25, 2)),
        row(Busy, None, Yes, (BUSY, 17, 27, 1)),
        row(Offline, None, Yes, (NO_USER, 17, 27, 1)),
        row(Forbidden, None, Yes, (REJECTED, 17, 27, 1)),
        row(Refused, None, Yes, (0, 17, 27, 1)),
        row(Busy, None, Any, (BUSY, 15, 25, 1)),
        row(Offline, None, Any, (NO_USER, 15, 25, 1)),
        row(Forbidden, None, Any, (REJECTED, 15, 25, 1)),
        row(Redirected, None, Any, (REDIRECTED, 15, 25, 1)),
        row(Refused, None, Any, (0, 15, 25, 1)),
    ]
};

/// Whether a row is for status codes of 400 to 499 alone.
enum Is4xx {
    Yes,
    Any,
}

/// What no table has: an end without a status code.
const OTHER: Words = Words { q850: UNSPECIFIED, terminate: 15, termination: 25, cause_code: 1 };

impl End {
    /// What it is in the words of the backends, with the status code of its record.
    #[must_use]
    pub fn words(self, code: u16) -> Words {
        let fits = |row: &&Row| row.0 == self.cause && row.1.is_none_or(|by| by == self.by) && row.2.contains(&code);
        ENDS.iter().find(fits).map_or(OTHER, |row| row.3)
    }

    /// Its cause value of Q.850, where nobody has named one.
    #[must_use]
    pub fn q850(self, code: u16) -> u8 {
        match self.words(code).q850 {
            0 => q850_of(code).unwrap_or(UNSPECIFIED),
            own => own,
        }
    }
}

impl Cause {
    /// Why an attempt came to nothing that got this final code, and whether it rang before.
    #[must_use]
    pub fn of_code(code: u16, has_rung: HasRung) -> Self {
        let cause = row_of(code).map_or(Self::Refused, |row| row.2);
        match (cause, has_rung) {
            (Self::Timeout | Self::Offline, HasRung::Yes) => Self::NoAnswer,
            (cause, _) => cause,
        }
    }

    /// The cause that this one was told by before it had a word of its own: what is configured for that holds for both.
    #[must_use]
    pub const fn parent(self) -> Self {
        match self {
            Self::Busy | Self::Redirected | Self::Forbidden | Self::Offline => Self::Refused,
            Self::NoAnswer => Self::Timeout,
            own => own,
        }
    }
}

/// Whether a response of 180 to 189 came before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HasRung {
    /// The callee was alerted.
    Yes,
    /// Nothing says so.
    No,
}

fn row_of(code: u16) -> Option<&'static Code> {
    CODES.iter().find(|row| row.0.contains(&code))
}

/// The cause value of Q.850 that a final code of 300 or more is (RFC 3398 §8.2.6.1; a code that is not listed counts as
/// x00 of its class); `None` for any other.
#[must_use]
pub fn q850_of(code: u16) -> Option<u8> {
    row_of(code).map(|row| row.1)
}

/// The status code that a cause value of Q.850 is (RFC 3398 §7.2.4.1), 500 for one that is not listed; `None` for normal call
/// clearing, which is none.
#[must_use]
pub fn code_of(q850: u8) -> Option<u16> {
    if q850 == NORMAL {
        return None;
    }
    Some(CAUSES.iter().find(|row| row.0.contains(&q850)).map_or(500, |row| row.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_causes_of_rfc_3398() {
        for (codes, want) in [
            (&[404, 485, 604][..], 1),
            (&[486, 600], 17),
            (&[480], 18),
            (&[401, 402, 403, 407, 603], 21),
            (&[410], 22),
            (&[482, 483], 25),
            (&[484], 28),
            (&[502], 38),
            (&[400, 481, 500, 503, 499, 599], 41),
            (&[405], 63),
            (&[406, 415, 501], 79),
            (&[408, 504], 102),
            (&[413, 414, 416, 420, 421, 423, 505, 513], 127),
            (&[300, 302, 380], 23),
        ] {
            for code in codes {
                assert_eq!(q850_of(*code), Some(want), "{code}");
            }
        }
        for code in [0, 100, 180, 200, 299, 700] {
            assert_eq!(q850_of(code), None, "{code} ends nothing");
        }
    }

    #[test]
    fn causes_are_the_codes_of_rfc_3398() {
        for (causes, want) in [
            (&[1, 2, 3, 26][..], Some(404)),
            (&[16], None),
            (&[17], Some(486)),
            (&[18], Some(408)),
            (&[19, 20, 31], Some(480)),
            (&[21, 55, 57, 87], Some(403)),
            (&[22, 23], Some(410)),
            (&[27], Some(502)),
            (&[28], Some(484)),
            (&[29, 79], Some(501)),
            (&[34, 38, 41, 42, 47, 58, 88], Some(503)),
            (&[65, 70], Some(488)),
            (&[102], Some(504)),
            (&[111, 127, 0, 99, 255], Some(500)),
        ] {
            for cause in causes {
                assert_eq!(code_of(*cause), want, "{cause}");
            }
        }
    }

    #[test]
    fn refusals_are_told_apart() {
        use HasRung::{No, Yes};
        for (name, code, has_rung, want) in [
            ("a busy phone", 486, No, "busy"),
            ("all phones of a user", 600, Yes, "busy"),
            ("nobody answers a phone that rings", 408, Yes, "no-answer"),
            ("a phone that gives up ringing", 480, Yes, "no-answer"),
            ("silence", 408, No, "timeout"),
            ("a phone that is not registered", 480, No, "offline"),
            ("a phone whose connection is gone", 430, No, "offline"),
            ("a redirection", 302, No, "redirected"),
            ("who may not call", 403, No, "forbidden"),
            ("an identity that does not hold", 438, No, "forbidden"),
            ("a network behind the target that is down", 503, No, "unreachable"),
            ("a gateway behind it that says nothing", 504, No, "unreachable"),
            ("a callee who declines", 603, Yes, "refused"),
            ("a number nobody has", 404, No, "refused"),
            ("a fault", 500, Yes, "refused"),
        ] {
            assert_eq!(Cause::of_code(code, has_rung).name(), want, "{name}");
        }
    }

    #[test]
    fn an_end_has_its_cause_value_and_what_is_new_counts_as_what_it_was() {
        use Party::{Callee, Caller, Gateway};
        for (by, cause, code, want) in [
            (Caller, Cause::Bye, 200, 16),
            (Caller, Cause::Cancelled, 487, 16),
            (Gateway, Cause::Elsewhere, 0, 26),
            (Callee, Cause::Busy, 600, 17),
            (Callee, Cause::NoAnswer, 480, 19),
            (Gateway, Cause::Timeout, 408, 102),
            (Gateway, Cause::Unreachable, 503, 27),
            (Callee, Cause::Unreachable, 502, 38),
            (Callee, Cause::Refused, 404, 1),
            (Gateway, Cause::Refused, 0, 31),
            (Gateway, Cause::Restart, 0, 41),
        ] {
            assert_eq!(End { by, cause }.q850(code), want, "{by:?} {cause:?} {code}");
        }
        // Statistics that were kept of `refused` go on.
        for cause in [Cause::Busy, Cause::Redirected, Cause::Forbidden, Cause::Offline] {
            for code in [302, 403, 480, 486, 600, 608] {
                let old = End { by: Callee, cause: cause.parent() }.words(code);
                let new = End { by: Callee, cause }.words(code);
                let numbers = |words: Words| (words.terminate, words.termination, words.cause_code);
                // A redirection is no 4xx, nor is what it stands for.
                if cause != Cause::Redirected || code < 400 {
                    assert_eq!(numbers(new), numbers(old), "{cause:?} {code}");
                }
            }
        }
    }
}
