//! What the final response to a request inside a call says about that call: one table.
//!
//! A call ends in the records when it has ended, and only its other end can say so. A response of that end is one that
//! came back by the branch of a request that went exactly where the dialog goes ([`Course::Dialog`]); by any other way
//! anybody may have answered. It must also have come from the address of the end that its tags name as its
//! sender, for both ends know the tags, and one could speak for the other to itself. A sender can provoke every refusal but 481, 410 and 604 (a low Max-Forwards, an unknown
//! Require, an old CSeq, a missing credential), and silence too.
//!
//! | request | way | who answered | code | the call |
//! |---|---|---|---|---|
//! | any | any | the gateway, for it went nowhere | any | nothing |
//! | BYE | the dialog's | the other end | 2xx, 481, 410, 604 | has ended when the BYE arrived |
//! | BYE | another | whoever is there | 2xx, 481, 410, 604 | is in doubt |
//! | BYE | any | whoever is there | 401, 407 | waits for the credentials, then is in doubt |
//! | BYE | any | whoever is there | 408 | is in doubt |
//! | BYE | any | whoever is there | any other | goes on; an Event where failures are marked |
//! | BYE | any | nobody | – | is in doubt |
//! | re-INVITE, UPDATE | the dialog's | the other end | 2xx | goes on: Interim (re-INVITE), session timer, remote targets |
//! | re-INVITE, UPDATE | the dialog's | the other end | 481, 410, 604 | has ended when the request arrived |
//! | re-INVITE, UPDATE | the dialog's | the other end | 408 | is in doubt |
//! | re-INVITE, UPDATE | the dialog's | the other end | any other | goes on; a Failed or Event where that is marked |
//! | re-INVITE, UPDATE | the dialog's | nobody | – | is in doubt |
//! | re-INVITE, UPDATE | from elsewhere | the other end | 2xx | goes on: Interim (re-INVITE), remote targets; no shorter session timer |
//! | re-INVITE, UPDATE | from elsewhere | anybody | any other | nothing |
//! | re-INVITE, UPDATE | another | anybody | any | nothing |
//! | any other | any | anybody | any | nothing |
//!
//! The way is "from elsewhere" where a change came from an address that neither end has had; another one where it came
//! from the end that it went to, and for a BYE from anywhere but its sender or to an end that has moved by a change from
//! elsewhere.
//!
//! Doubt is settled by asking the end the request was meant for, or, if it did not come from the end that its tags name, the
//! latter: OPTIONS inside the dialog, to where that end surely was, whether `sip.watch` is on or not. 481 or silence ends the call at the instant of the request, any other response lets it go on
//! (RFC 3261 §12.2.1.2, §15.1.1; RFC 5057 §5.1).

use super::ends::Whence;
use crate::sip::dialog::Course;
use crate::sip::message::Method;
use crate::sip::stack::FinalResponse;

/// Who gave a final response.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Respondent {
    /// Whoever the request went to.
    Peer,
    /// Nobody: no response came in time, or the request could not be sent on. The code is the gateway's.
    Nobody,
    /// The gateway itself, without sending the request anywhere.
    Gateway,
}

impl Respondent {
    /// Who has answered a branch.
    pub(super) const fn of_attempt(attempt: &FinalResponse) -> Self {
        if attempt.message.is_some() { Self::Peer } else { Self::Nobody }
    }
}

/// What it says about the call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Finding {
    /// It has ended when the request arrived.
    Ended,
    /// It may have ended when the request arrived.
    Doubt,
    /// The request may come again with credentials; if it does not, the call is in doubt.
    Challenged,
    /// It goes on, and the other end has agreed to what the request changes.
    Agreed,
    /// It goes on: the request was refused.
    Refused,
    /// It says nothing: the call goes on as if the request had not been.
    Nothing,
}

/// What a request would do to its call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Aim {
    End,
    Change,
    Nothing,
}

/// Where a request came from and went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Way {
    /// From its sender to the remote target of its dialog by its route set.
    Dialogs {
        /// Whether that target is where the other end surely is.
        is_sure: bool,
    },
    /// There too, but from an address that neither end has had.
    Elsewhere,
    /// Elsewhere, or back to where it came from.
    Another,
}

impl Way {
    /// By what is known of a request.
    pub(super) fn of(course: Course, whence: Whence, is_to_moved: bool) -> Self {
        match (course, whence) {
            (Course::Dialog, Whence::Sender) => Self::Dialogs { is_sure: !is_to_moved },
            (Course::Dialog, Whence::Elsewhere) => Self::Elsewhere,
            _ => Self::Another,
        }
    }
}

/// The table of the module.
pub(super) fn finding(method: Method, way: Way, by: Respondent, code: u16) -> Finding {
    use Respondent::{Gateway, Nobody, Peer};
    let aim = match method {
        Method::Bye => Aim::End,
        Method::Invite | Method::Update => Aim::Change,
        _ => Aim::Nothing,
    };
    match (aim, way, by, code) {
        (Aim::Nothing, ..) | (_, _, Gateway, _) | (Aim::Change, Way::Another, ..) => Finding::Nothing,
        (Aim::End, Way::Dialogs { is_sure: true }, Peer, 200..=299 | 410 | 481 | 604) => Finding::Ended,
        (Aim::End, _, Peer, 200..=299 | 408 | 410 | 481 | 604) | (Aim::End, _, Nobody, _) => Finding::Doubt,
        (Aim::End, _, Peer, 401 | 407) => Finding::Challenged,
        (Aim::Change, _, Peer, 200..=299) => Finding::Agreed,
        (Aim::Change, Way::Elsewhere, ..) => Finding::Nothing,
        (Aim::Change, Way::Dialogs { is_sure: true }, Peer, 410 | 481 | 604) => Finding::Ended,
        (Aim::Change, _, Peer, 408 | 410 | 481 | 604) | (Aim::Change, _, Nobody, _) => Finding::Doubt,
        (Aim::End | Aim::Change, _, Peer, _) => Finding::Refused,
    }
}
