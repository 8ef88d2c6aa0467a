//! What happened to a request, in one vocabulary: the SIP machine tells it, the policy may answer it, and accounting makes
//! records of it.

use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;

use super::reason::Withdrawal;
use super::types::{Output, Peer, ServerId};
use crate::sip::message::Message;
use crate::sip::proxy::usual_reason;

/// Something that happened to a request, or to the call it opened.
#[derive(Debug)]
pub enum Event {
    /// A response of 101 to 199 came and has been forwarded.
    Provisional {
        /// Of which transaction.
        transaction: ServerId,
        /// The response as it came in.
        response: Rc<Message>,
        /// Which target, counted over all groups from 0.
        target: u16,
    },
    /// All branches of a round have failed: the request waits for [`Input::Proceed`](super::Input::Proceed) before the next
    /// group starts, or the best response becomes its `Final`. Not told of requests of the gateway itself.
    RoundFailed {
        /// Of which transaction.
        transaction: ServerId,
        /// Its branches.
        round: Round,
    },
    /// Branches of an INVITE that came to nothing because another one was answered: comes before the `Final` of the first
    /// 2xx if there are any, and again for each that was still running then when it ends.
    Lost {
        /// Of which transaction.
        transaction: ServerId,
        /// Those that have ended.
        attempts: Vec<FinalResponse>,
        /// Those that are given up now, with the code 0.
        given_up: Vec<FinalResponse>,
    },
    /// The final response the caller is to get. Each 2xx of a fork makes one.
    Final {
        /// Of which transaction.
        transaction: ServerId,
        /// The response.
        response: FinalResponse,
    },
    /// The ACK for a 2xx passed and has been forwarded.
    Acknowledged {
        /// The ACK.
        message: Rc<Message>,
        /// Where it came from.
        peer: Peer,
    },
    /// A CANCEL for this INVITE came.
    Cancelled {
        /// The transaction of the INVITE.
        transaction: ServerId,
        /// Why, by its Reason.
        why: Withdrawal,
        /// The values of its Reason lines (RFC 3326), as they are sent on.
        reasons: Rc<[Box<[u8]>]>,
        /// Where it came from.
        from: SocketAddr,
    },
    /// Nothing more comes for this transaction: drop what is kept for it.
    Terminated {
        /// Which.
        transaction: ServerId,
    },
}

/// A round of branches without a 2xx.
#[derive(Debug)]
pub struct Round {
    /// Each branch of the round, in the order of the plan; one at least.
    pub attempts: Vec<FinalResponse>,
    /// Index of the best response in `attempts` (RFC 3261 §16.7 step 6).
    pub best: usize,
    /// Whether the plan has a further group.
    pub more: bool,
    /// Whether the best response is a redirection whose contacts come next.
    pub redirected: bool,
}

/// A final response, or what counts as one: of a branch, or of the request as a whole.
#[derive(Clone, Debug)]
pub struct FinalResponse {
    /// Request-URI that the branch was sent with; the one received when no branch was.
    pub uri: Bytes,
    /// Where that was sent; `None` when the name led to no address, or the gateway answers by itself.
    pub hop: Option<SocketAddr>,
    /// Status code; 408 when nothing came in time, 503 when it could not be sent.
    pub code: u16,
    /// Reason phrase.
    pub reason: Bytes,
    /// The response as it came in; `None` when the gateway made it.
    pub message: Option<Rc<Message>>,
    /// When what happened to the branch.
    pub stages: Stages,
}

/// When what happened to a branch, in milliseconds since its request came in.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stages {
    /// Its turn came.
    pub tried_ms: u32,
    /// Its first response of 180 to 189 came.
    pub rang_ms: Option<u32>,
    /// It ended: by its final response, or given up.
    pub ended_ms: u32,
}

impl FinalResponse {
    /// One that came in.
    pub(super) fn of(uri: Bytes, hop: Option<SocketAddr>, message: Rc<Message>, stages: Stages) -> Self {
        let (code, usual) = (message.code(), usual_reason(message.code()));
        let reason = match message.reason() {
            own if own == usual.as_bytes() => Bytes::from_static(usual.as_bytes()),
            own => Bytes::copy_from_slice(own),
        };
        Self { uri, hop, code, reason, message: Some(message), stages }
    }

    /// What stands for one of a branch that got none, with the usual phrase.
    pub(super) fn instead(uri: Bytes, hop: Option<SocketAddr>, code: u16, stages: Stages) -> Self {
        Self { uri, hop, code, reason: Bytes::from_static(usual_reason(code).as_bytes()), message: None, stages }
    }
}

/// Nothing waits for it.
impl From<Event> for Output {
    fn from(event: Event) -> Self {
        Self::Event { event, held: None }
    }
}
