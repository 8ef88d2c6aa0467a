//! What a record is in RADIUS words: Acct-Status-Type, Acct-Terminate-Cause.

use super::settings::StatusMapping;
use crate::record::{Cause, End, Kind, Record};

/// Acct-Status-Type (RFC 2866 §5.1; Failed is the SIP proxies' own).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Status {
    /// A call was answered.
    Start = 1,
    /// A call has ended, or a whole call in one record.
    Stop = 2,
    /// Interim-Update, in old dictionaries Alive.
    Interim = 3,
    /// The gateway starts anew and has lost calls in progress (RFC 2866 §5.1).
    On = 7,
    /// The gateway has stopped: it follows all records before it.
    Off = 8,
    /// A call came to nothing: the proxies' use of 15, which RFC 2866 §5.1 reserves for Failed.
    Failed = 15,
}

/// The status of a record: the three columns the proxies' accounting modules have had.
#[must_use]
pub fn status(record: &Record, mapping: StatusMapping) -> Status {
    match record.kind {
        Kind::Start => Status::Start,
        Kind::Stop | Kind::Cdr => Status::Stop,
        Kind::Interim if record.code < 300 => match mapping {
            // A re-INVITE was a Start to them; an interim timer they did not have.
            StatusMapping::Openser | StatusMapping::Ser if record.in_dialog && record.method == b"INVITE" => {
                Status::Start
            }
            _ => Status::Interim,
        },
        Kind::Interim | Kind::Failed | Kind::Missed => failed(record, mapping),
        Kind::Event => event(record, mapping),
        Kind::On => Status::On,
        Kind::Off => Status::Off,
    }
}

/// Something that did not succeed; inside a dialog the newest mapping says that the session goes on.
fn failed(record: &Record, mapping: StatusMapping) -> Status {
    match mapping {
        StatusMapping::Newest if record.in_dialog => Status::Interim,
        _ => Status::Failed,
    }
}

fn event(record: &Record, mapping: StatusMapping) -> Status {
    let answered = (200..300).contains(&record.code);
    match (record.method.as_slice(), mapping) {
        // A BYE that makes an Event was refused: its call goes on.
        (b"BYE", _) if !answered => failed(record, mapping),
        (b"BYE" | b"CANCEL", _) => Status::Stop,
        (b"INVITE", StatusMapping::Newest) if answered && record.in_dialog => Status::Interim,
        (b"INVITE", _) if answered => Status::Start,
        (b"ACK", StatusMapping::Newest) => Status::Interim,
        (b"ACK", _) => Status::Start,
        (b"INVITE", _) => failed(record, mapping),
        (_, StatusMapping::Ser) if answered => Status::Interim,
        _ => failed(record, mapping),
    }
}

/// Acct-Terminate-Cause (RFC 2866 §5.10) of how a session ended, unless `overrides` has its cause.
#[must_use]
pub fn terminate_cause(end: End, code: u16, overrides: &[(Cause, u32)]) -> u32 {
    let named = |cause: Cause| overrides.iter().find(|(own, _)| *own == cause).map(|(_, number)| *number);
    // Causes that were part of another one follow it, unless they are named themselves.
    named(end.cause).or_else(|| named(end.cause.parent())).unwrap_or_else(|| end.words(code).terminate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Party;
    use crate::sinks::tests::record;

    #[test]
    fn the_status_follows_the_table_of_the_proxies() {
        use Kind::{Cdr, Event, Failed, Interim, Missed, Start, Stop};
        use Status as S;
        for (name, kind, method, code, in_dialog, newest, openser, ser) in [
            ("an answered call", Start, "INVITE", 200, false, S::Start, S::Start, S::Start),
            ("an answered re-INVITE", Interim, "INVITE", 200, true, S::Interim, S::Start, S::Start),
            ("early media after a Start", Interim, "INVITE", 183, false, S::Interim, S::Interim, S::Interim),
            ("a refused call", Failed, "INVITE", 486, false, S::Failed, S::Failed, S::Failed),
            ("a refused re-INVITE", Failed, "INVITE", 488, true, S::Interim, S::Failed, S::Failed),
            ("a missed call", Missed, "INVITE", 486, false, S::Failed, S::Failed, S::Failed),
            ("a missed re-INVITE", Missed, "INVITE", 408, true, S::Interim, S::Failed, S::Failed),
            ("a BYE", Stop, "BYE", 200, true, S::Stop, S::Stop, S::Stop),
            ("a refused BYE", Stop, "BYE", 481, true, S::Stop, S::Stop, S::Stop),
            ("a BYE as an event", Event, "BYE", 200, true, S::Stop, S::Stop, S::Stop),
            ("a refused BYE whose call goes on", Event, "BYE", 500, true, S::Interim, S::Failed, S::Failed),
            ("a CANCEL", Event, "CANCEL", 200, false, S::Stop, S::Stop, S::Stop),
            ("an ACK", Event, "ACK", 200, true, S::Interim, S::Start, S::Start),
            ("an INVITE as an event", Event, "INVITE", 200, false, S::Start, S::Start, S::Start),
            ("a re-INVITE as an event", Event, "INVITE", 200, true, S::Interim, S::Start, S::Start),
            ("early media as an event", Event, "INVITE", 183, false, S::Failed, S::Failed, S::Failed),
            ("an answered MESSAGE", Event, "MESSAGE", 202, false, S::Failed, S::Failed, S::Interim),
            ("an answered INFO in a dialog", Event, "INFO", 200, true, S::Interim, S::Failed, S::Interim),
            ("a refused INFO in a dialog", Event, "INFO", 500, true, S::Interim, S::Failed, S::Failed),
            ("a refused REGISTER", Event, "REGISTER", 403, false, S::Failed, S::Failed, S::Failed),
            ("a whole call", Cdr, "INVITE", 200, false, S::Stop, S::Stop, S::Stop),
        ] {
            let mut record = record(kind);
            (record.method, record.code, record.in_dialog) = (method.as_bytes().to_vec(), code, in_dialog);
            for (mapping, want) in
                [(StatusMapping::Newest, newest), (StatusMapping::Openser, openser), (StatusMapping::Ser, ser)]
            {
                assert_eq!(status(&record, mapping), want, "{name}, {mapping:?}");
            }
        }
    }

    #[test]
    fn every_end_has_its_terminate_cause() {
        use Cause::{
            Administrator, Bye, Cancelled, Elsewhere, FailedBye, Lifetime, NoAck, Refused, Restart, SessionTimer,
            Timeout, Unreachable,
        };
        use Party::{Callee, Caller, Gateway};
        for (by, cause, code, want) in [
            (Caller, Bye, 200, 1),
            (Callee, Bye, 200, 18),
            (Gateway, Bye, 200, 10),
            (Caller, FailedBye, 481, 2),
            (Callee, FailedBye, 408, 2),
            (Gateway, NoAck, 0, 8),
            (Gateway, SessionTimer, 0, 5),
            (Gateway, Lifetime, 0, 5),
            (Gateway, Administrator, 0, 6),
            (Gateway, Restart, 0, 11),
            (Caller, Cancelled, 487, 1),
            (Caller, Elsewhere, 487, 1),
            (Gateway, Elsewhere, 0, 10),
            (Gateway, Timeout, 408, 15),
            (Callee, Refused, 486, 17),
            (Callee, Refused, 503, 15),
            (Gateway, Unreachable, 503, 3),
        ] {
            assert_eq!(terminate_cause(End { by, cause }, code, &[]), want, "{by:?} {cause:?} {code}");
        }
        assert_eq!(terminate_cause(End { by: Caller, cause: Bye }, 200, &[(Bye, 2)]), 2, "an override wins");
        let busy = End { by: Callee, cause: Cause::Busy };
        for (name, overrides, want) in [
            ("a busy callee is one who refused", &[][..], 17),
            ("so it is where that is overridden", &[(Refused, 3)], 3),
            ("but for an override of its own", &[(Refused, 3), (Cause::Busy, 4)], 4),
        ] {
            assert_eq!(terminate_cause(busy, 486, overrides), want, "{name}");
        }
    }
}
