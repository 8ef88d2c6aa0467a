//! What is remembered of one request until its final response.

use std::cell::OnceCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use super::ends::Whence;
use super::finding::Respondent;
use super::passport::Finding;
use super::session::Key;
use crate::ids::SinkMask;
use crate::policy::{Account, Marks, RouteFields, Targets, Values};
use crate::record::codec::LEGS_MAX;
use crate::record::ending::HasRung;
use crate::record::{Cause, End, Fields, Party};
use crate::sip::message::{Message, Method};
use crate::sip::stack::{FinalResponse, RequestView, Stages, Withdrawal};
use crate::vars::{Avps, Parties, Tried};

/// Most provisional responses of one INVITE that make a record; later ones count as repeats.
pub(super) const PROVISIONALS_MAX: usize = 64;

/// One request that is accounted, or belongs to a session.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) view: RequestView,
    pub(super) marks: Marks,
    pub(super) avps: Avps,
    /// Those of them that are lists.
    pub(super) leg_values: Vec<LegValues>,
    /// What the policy has set for its records.
    pub(super) values: Option<Rc<Values>>,
    /// How it is recorded; `None`: by the settings alone.
    pub(super) account: Option<Arc<Account>>,
    /// The session it belongs to.
    pub(super) session: Option<Key>,
    pub(super) sender: Party,
    /// Whether it came from there.
    pub(super) whence: Whence,
    /// Whether the end that is to get it has moved, as far as somebody from elsewhere said.
    pub(super) is_to_moved: bool,
    pub(super) parties: Parties,
    /// Whether it is an initial INVITE without a final response.
    pub(super) is_open: bool,
    /// Whether it came while the INVITE of its call was open.
    pub(super) is_early: bool,
    /// Whether a round of branches has failed.
    pub(super) is_tried: bool,
    /// Whether the newest round has redirected the call: its leg is there, and that of where it went is not.
    pub(super) is_sent_on: bool,
    /// Whether its call has ended in the records: a 2xx shows that it goes on.
    pub(super) is_late: bool,
    /// Who has answered its last round of branches, if one has failed.
    pub(super) respondent: Option<Respondent>,
    pub(super) is_cancelled: bool,
    /// What its CANCEL says.
    pub(super) withdrawal: Withdrawal,
    /// Whence it came, and all that it says.
    pub(super) withdrawn: Option<Box<Withdrawn>>,
    /// Whether the caller has sent a BYE before the final response.
    pub(super) is_hung_up: bool,
    /// Whether it was answered and branches have lost to that.
    pub(super) is_won: bool,
    /// Legs of those that sent the call on, in order of creation.
    pub(super) legs: Vec<Fields>,
    /// Targets tried in vain.
    pub(super) attempts: Vec<Tried>,
    /// The newest 503 that was the best of its round: the caller gets it as 500 (RFC 3261 §16.7 step 6).
    pub(super) unavailable: Option<Box<FinalResponse>>,
    /// Target of the newest leg: it sent the call on.
    pub(super) forwarder: Bytes,
    /// Whether a leg had to be cut.
    pub(super) is_cut: bool,
    /// Sinks that were told of the cancelled attempt.
    pub(super) told: SinkMask,
    /// Sessions it has opened.
    pub(super) opened: Vec<Key>,
    /// Hashes of provisional responses that have made a record.
    pub(super) provisionals: Vec<u128>,
    /// What its Identity headers are worth, once it was asked.
    pub(super) identity: OnceCell<Box<Finding>>,
}

impl Transaction {
    /// A request that nobody is told of yet.
    pub(super) const fn new(view: RequestView, sender: Party) -> Self {
        Self {
            view,
            marks: Marks::NONE,
            avps: Avps::new(),
            leg_values: Vec::new(),
            values: None,
            account: None,
            session: None,
            sender,
            whence: Whence::Sender,
            is_to_moved: false,
            parties: Parties::AsWritten,
            is_open: false,
            is_early: false,
            is_tried: false,
            is_sent_on: false,
            is_late: false,
            respondent: None,
            is_cancelled: false,
            withdrawal: Withdrawal::GivenUp,
            withdrawn: None,
            is_hung_up: false,
            is_won: false,
            legs: Vec::new(),
            attempts: Vec::new(),
            unavailable: None,
            forwarder: Bytes::new(),
            is_cut: false,
            told: SinkMask::NONE,
            opened: Vec::new(),
            provisionals: Vec::new(),
            identity: OnceCell::new(),
        }
    }

    pub(super) fn request(&self) -> &Message {
        &self.view.message
    }

    /// What its targets are to each other; without a route there is one at most.
    pub(super) fn targets(&self) -> Targets {
        self.account.as_deref().map_or(Targets::Alternatives, |account| account.targets)
    }

    /// Fields of its own; `None`: those of the settings.
    pub(super) fn fields(&self) -> Option<&RouteFields> {
        self.account.as_deref()?.fields.as_ref()
    }

    /// The table that takes its records.
    pub(super) fn table(&self) -> Option<&str> {
        let of_policy = self.values.as_deref().and_then(|values| values.table.as_deref());
        of_policy.or_else(|| self.account.as_deref()?.table.as_deref())
    }

    /// Takes what the policy has set, in place of what it had set before and of the values of the route.
    pub(super) fn set(&mut self, values: Rc<Values>) {
        self.avps = values.avps.clone();
        self.leg_values.clear();
        self.values = Some(values);
    }

    pub(super) fn method(&self) -> Method {
        self.view.message.method()
    }

    /// Whether it is an INVITE that may open a session.
    pub(super) fn is_initial_invite(&self) -> bool {
        self.method() == Method::Invite && !self.view.in_dialog && self.session.is_none()
    }

    /// The value of a list for a leg.
    pub(super) fn leg_value(&self, name: &str, leg: usize) -> Option<&[u8]> {
        let list = self.leg_values.iter().find(|list| &*list.name == name)?;
        list.values.get(leg).map(Vec::as_slice).filter(|value| !value.is_empty())
    }

    /// The values of the route as a leg sees them: of lists only its own.
    pub(super) fn avps_of_leg(&self, leg: usize) -> Avps {
        let mut avps = self.avps.clone();
        for LegValues { name, .. } in &self.leg_values {
            avps.remove(name);
            if let Some(value) = self.leg_value(name, leg) {
                avps.add(name, value);
            }
        }
        avps
    }

    /// Notes a target that was tried in vain; beyond [`LEGS_MAX`] only the last ones are left out.
    pub(super) fn note(&mut self, attempt: &FinalResponse) {
        if self.attempts.len() < LEGS_MAX {
            let cause = self.failure(&Response::of_attempt(attempt)).cause;
            self.attempts.push(Tried::of(attempt, cause));
        }
    }

    /// The attempt behind a response that the gateway makes of its 503.
    pub(super) fn behind(&self, response: &Response<'_>) -> Option<&FinalResponse> {
        self.unavailable
            .as_deref()
            .filter(|_| response.code == 500 && response.message.is_none() && !response.is_attempt)
    }

    /// Whether a branch has rung, or for what the gateway makes of several, one of them.
    fn has_rung(&self, response: &Response<'_>) -> HasRung {
        let is_any = response.message.is_none() && !response.is_attempt;
        let has_rung = response.stages.rang_ms.is_some()
            || (is_any && self.attempts.iter().any(|tried| tried.stages.rang_ms.is_some()));
        if has_rung { HasRung::Yes } else { HasRung::No }
    }

    /// Who ended an attempt that failed, and why.
    pub(super) fn failure(&self, response: &Response<'_>) -> End {
        if let Some(attempt) = self.behind(response) {
            return self.failure(&Response::of_attempt(attempt));
        }
        let is_local = response.message.is_none();
        let withdrawn = match self.withdrawal {
            Withdrawal::GivenUp => Cause::Cancelled,
            Withdrawal::Elsewhere => Cause::Elsewhere,
        };
        let (by, cause) = match response.code {
            487 if self.is_cancelled => (Party::Caller, withdrawn),
            _ if self.is_cancelled && is_local => (Party::Caller, withdrawn),
            487 if self.is_hung_up => (Party::Caller, Cause::Cancelled),
            487 if self.is_won => (Party::Gateway, Cause::Elsewhere),
            _ if self.is_won && is_local => (Party::Gateway, Cause::Elsewhere),
            // The gateway itself takes no call now; nobody was asked.
            503 if is_local && !response.is_attempt => (Party::Gateway, Cause::Refused),
            code => {
                (if is_local { Party::Gateway } else { Party::Callee }, Cause::of_code(code, self.has_rung(response)))
            }
        };
        End { by, cause }
    }
}

/// A CANCEL.
#[derive(Debug)]
pub(super) struct Withdrawn {
    pub(super) from: SocketAddr,
    /// The values of its Reason lines.
    pub(super) reasons: Rc<[Box<[u8]>]>,
}

/// Values of a route for the legs of its calls.
#[derive(Debug)]
pub(super) struct LegValues {
    pub(super) name: Box<str>,
    /// That of each leg; an empty one is none.
    pub(super) values: Vec<Vec<u8>>,
}

/// A response, or what stands for one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Response<'a> {
    pub(super) code: u16,
    pub(super) reason: &'a [u8],
    /// `None` when the gateway made it.
    pub(super) message: Option<&'a Message>,
    /// Request-URI of its branch; empty: as received.
    pub(super) uri: &'a [u8],
    /// Who sent it, when known.
    pub(super) source: Option<SocketAddr>,
    /// Whether it stands for a branch that was tried.
    pub(super) is_attempt: bool,
    /// When what happened to that branch.
    pub(super) stages: Stages,
}

impl<'a> Response<'a> {
    pub(super) fn of_attempt(attempt: &'a FinalResponse) -> Self {
        Self {
            code: attempt.code,
            reason: &attempt.reason,
            message: attempt.message.as_deref(),
            uri: &attempt.uri,
            source: attempt.hop,
            is_attempt: true,
            stages: attempt.stages,
        }
    }

    /// What the caller gets.
    pub(super) fn of_final(response: &'a FinalResponse) -> Self {
        Self { is_attempt: false, ..Self::of_attempt(response) }
    }

    /// A response the gateway gives itself, or none.
    pub(super) const fn local(code: u16, reason: &'a [u8]) -> Self {
        Self {
            code,
            reason,
            message: None,
            uri: b"",
            source: None,
            is_attempt: false,
            stages: Stages { tried_ms: 0, rang_ms: None, ended_ms: 0 },
        }
    }

    /// Whether the gateway has made it for the caller, who sees a To tag of the gateway's own then.
    pub(super) const fn is_local_final(self) -> bool {
        self.message.is_none() && self.code >= 200
    }

    /// Tag of its To header.
    pub(super) fn to_tag(self) -> &'a [u8] {
        self.message.map_or(b"", Message::to_tag)
    }
}
