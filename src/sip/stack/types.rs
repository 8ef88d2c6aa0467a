//! What goes into one shard's SIP machine and what comes out.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Tagger;
use super::event::Event;
use super::next::NextOn;
use crate::clock::{Now, Timestamp};
use crate::sip::dialog::{Course, Direction, Word};
use crate::sip::message::{Malformed, Message, Name};

/// Place of a listener in [`Settings::listeners`](super::Settings::listeners).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ListenerId(pub u16);

/// How messages travel (RFC 3261 §18).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Transport {
    /// Datagrams: retransmissions are ours.
    #[default]
    Udp,
    /// A stream: no retransmissions.
    Tcp,
    /// A stream over TLS.
    Tls,
}

impl Transport {
    /// The token of the Via header (RFC 3261 §20.42).
    #[must_use]
    pub const fn via_token(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        }
    }

    /// The URI parameter with its semicolon (RFC 3261 §19.1.1); UDP is the default and needs none.
    #[must_use]
    pub const fn uri_parameter(self) -> &'static str {
        match self {
            Self::Udp => "",
            Self::Tcp => ";transport=tcp",
            Self::Tls => ";transport=tls",
        }
    }

    /// Whether the transport delivers or says that it did not, so that nothing is retransmitted over it.
    #[must_use]
    pub const fn is_reliable(self) -> bool {
        !matches!(self, Self::Udp)
    }
}

/// One socket the gateway answers at, under the address others reach it by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Listener {
    /// What the socket speaks.
    pub transport: Transport,
    /// The address written into Via and Record-Route: where others send to.
    pub local: SocketAddr,
}

/// The other end of a message: where it came from, or where it goes to, and through which of our listeners.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Peer {
    /// Our end.
    pub listener: ListenerId,
    /// The other end.
    pub addr: SocketAddr,
}

/// A server transaction: slot and generation, never used twice by one stack.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ServerId(pub(crate) u64);

impl ServerId {
    /// A name for a request that no SIP machine has taken, to ask a policy about it.
    #[must_use]
    pub const fn made_up(number: u64) -> Self {
        Self(number)
    }
}

/// A final response of one server transaction that waits for [`Input::Release`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ResponseId(pub(crate) u32);

/// A question of [`Output::Resolve`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct QueryId(pub(crate) u64);

/// Where a request goes next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Hop {
    /// There, without asking anybody.
    Addr(SocketAddr),
    /// To a name, by [`Output::Resolve`]; a port given rules out SRV (RFC 3263 §4.2).
    Name {
        /// Host name, without brackets or port.
        host: String,
        /// Port of the URI, if it has one.
        port: Option<u16>,
    },
}

/// By which transports a name may be reached (RFC 3263 §4.1).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Ways {
    /// Those its records name; UDP when they name none.
    Any,
    /// The one that the URI names.
    Only(Transport),
    /// A `sips` URI: TLS.
    Secure,
}

impl Ways {
    /// The transport, as far as it is known before anything is asked.
    #[must_use]
    pub const fn transport(self) -> Option<Transport> {
        match self {
            Self::Any => None,
            Self::Only(transport) => Some(transport),
            Self::Secure => Some(Transport::Tls),
        }
    }
}

/// One place a name leads to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Destination {
    /// Where.
    pub addr: SocketAddr,
    /// By which transport; `None`: UDP, or TCP for a long request (RFC 3261 §18.1.1).
    pub transport: Option<Transport>,
}

/// One branch to be tried.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// The Request-URI to send; empty leaves the one received.
    pub uri: Bytes,
    /// Where to.
    pub hop: Hop,
    /// By which transport; `None`: by the `transport` parameter of the URI that is sent.
    pub transport: Option<Transport>,
    /// Longest wait for a final response; then the branch is cancelled and counts as 408. `None`: Timer C alone.
    pub ring_timeout: Option<Duration>,
    /// Which of its responses lead to the next group.
    pub next_on: NextOn,
    /// How the request leaves to it beside what each leaves with; `None`: as any.
    pub edits: Option<Arc<Edits>>,
}

/// How a request leaves otherwise than it would.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Edits {
    /// Names of header lines that are taken away: all lines of a name. Never what the proxy itself needs, see
    /// [`Edits::may_change`].
    pub removed: Vec<Box<[u8]>>,
    /// Name and value of header lines that are added at the end.
    pub added: Vec<(Box<str>, Box<[u8]>)>,
    /// Whether it leaves without a Record-Route of ours: later requests of its dialog pass by, and end no call in the records.
    pub off_route: bool,
    /// The listener it leaves by, where that is of the transport that leads there.
    pub listener: Option<ListenerId>,
    /// What the later requests of the dialog that it makes bring back, in our Record-Route value.
    pub word: Word,
}

impl Edits {
    /// Whether header lines of this name may be removed and added: not those that transactions, dialogs and ways are made of.
    #[must_use]
    pub fn may_change(name: &[u8]) -> bool {
        use Name::{CSeq, CallId, ContentLength, From, MaxBreadth, MaxForwards, RecordRoute, Route, To, Via};
        !matches!(
            Name::of(name),
            Via | Route | RecordRoute | From | To | CallId | CSeq | MaxForwards | MaxBreadth | ContentLength
        )
    }
}

/// Serial groups of parallel targets (RFC 3261 §16.6, §16.7): the next group starts when all of one have failed,
/// none of them with a response that does not lead on.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Plan {
    /// The groups, first tried first. Empty groups are skipped.
    pub groups: Vec<Vec<Target>>,
    /// What becomes of a 300, 301 or 302.
    pub redirects: Redirects,
}

/// What becomes of a redirection (RFC 3261 §16.7 step 4).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Redirects {
    /// It is a refusal like others, and may go to the caller.
    #[default]
    Pass,
    /// Its contacts are tried next, those of the highest q first, those of one q at once. Only where the targets are
    /// trusted: they choose where calls go.
    Follow {
        /// Longest wait for a final response of each of them.
        ring_timeout: Option<Duration>,
    },
}

/// How a request goes on after a round of its branches has failed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Onward {
    /// As its plan says: to the next group, or to the caller with the best response if none is left.
    #[default]
    AsPlanned,
    /// To no further target.
    Nowhere,
    /// To these targets, in place of those the plan has left; not after a 6xx or a CANCEL (RFC 3261 §16.7).
    To(Plan),
    /// To no further target, and the caller gets this response in place of the best one; not after a 6xx or a CANCEL.
    Respond {
        /// Final status code, 300 to 699; another becomes 500.
        code: u16,
        /// Reason phrase; empty takes the usual one.
        reason: Cow<'static, str>,
    },
}

/// What is to become of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Treatment {
    /// Send it to these targets.
    Forward(Plan),
    /// Send it where its Route or its Request-URI says (RFC 3261 §16.12). Only a request whose [`RequestView::way`] is
    /// not the table may go so; any other gets 404.
    FollowRoute {
        /// How it leaves beside what each leaves with.
        edits: Option<Arc<Edits>>,
    },
    /// Respond to it here. The response is held like any other final one.
    Respond {
        /// Final status code, 200 to 699; another becomes 500.
        code: u16,
        /// Reason phrase; empty takes the usual one.
        reason: Cow<'static, str>,
        /// `Retry-After` in seconds (RFC 3261 §20.33).
        retry_after_s: Option<u32>,
        /// Contacts, such as where a redirection leads (RFC 3261 §21.3).
        contacts: Vec<Bytes>,
    },
    /// Forget it without a response.
    Ignore,
}

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// A message came in.
    Received {
        /// From where, and through which listener.
        peer: Peer,
        /// The message, or why it is none; what could be read of it still gets its response.
        message: Result<Message, Malformed>,
    },
    /// A message that came in some time ago goes on.
    Held {
        /// From where, and through which listener.
        peer: Peer,
        /// The message.
        message: Message,
        /// When it came.
        arrived: Now,
    },
    /// What the policy makes of an [`Output::Request`].
    Decide {
        /// Which request.
        transaction: ServerId,
        /// What to do with it.
        treatment: Treatment,
    },
    /// How the policy goes on after an [`Event::RoundFailed`].
    Proceed {
        /// Which request.
        transaction: ServerId,
        /// How it goes on.
        onward: Onward,
    },
    /// A held final response may leave: its record is safe.
    Release {
        /// Of which transaction.
        transaction: ServerId,
        /// Which response.
        response: ResponseId,
    },
    /// What the resolver found for an [`Output::Resolve`]; no destination means that there is none.
    Resolved {
        /// Which question.
        query: QueryId,
        /// Best first.
        destinations: Vec<Destination>,
    },
    /// A datagram to this peer came back, or a connection to it failed.
    Unreachable {
        /// Who was meant.
        peer: Peer,
    },
}

/// Why a message led to nothing; for counters.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Ignored {
    /// A request that came again and was absorbed by its transaction.
    RequestRepeated,
    /// A response that came again while the first one is held, or that its transaction absorbed.
    AnswerRepeated,
    /// A response that fits no transaction of ours: dropped (RFC 6026 §7.3).
    AnswerStray,
    /// A response to a forwarded request with no Via but ours, or with a code outside 100 to 699.
    AnswerMalformed,
    /// A provisional response after a final one.
    ProvisionalLate,
    /// More 2xx responses to one INVITE than [`Settings::responses_held_max`](super::Settings::responses_held_max).
    AnswersTooMany,
    /// An ACK that fits no transaction and leads along no dialog: dropped.
    AckStray,
    /// A malformed message that no response can be made for.
    Malformed,
    /// A request from outside `allow`, dropped or answered 403.
    Forbidden,
    /// A request answered without a transaction, with this code.
    AnsweredStateless(u16),
    /// As above, but the rate limit for such responses is used up: nothing was sent.
    RateLimited,
    /// A decision, release or resolution for something that is gone.
    Outdated,
    /// No listener reaches that address family.
    NoListener,
    /// A new request of a source over its rate or its share of the transactions, answered 503.
    SourceLimited,
    /// A request inside a dialog that leads elsewhere than the dialog does; answered 403.
    Steered,
    /// A response that makes a dialog came from there without our Record-Route value, which was put back.
    RouteMissing(IpAddr),
    /// A request with a To tag that fits no dialog that passes here; answered 481.
    DialogUnknown,
    /// A request whose Call-ID has as many open transactions as one may have, or whose source has inside of calls;
    /// answered 503.
    CallLimited,
}

/// What to do, or what is to be known.
#[derive(Debug)]
pub enum Output {
    /// Send these octets.
    Send {
        /// To whom, through which listener.
        peer: Peer,
        /// One whole message.
        bytes: Bytes,
        /// The host of the target, for a request that goes over TLS to a name: the certificate of the other end must be
        /// valid for it (RFC 5922 §7.3). Without, the address must be in the certificate, or a connection to it be there
        /// already.
        authority: Option<Arc<str>>,
    },
    /// A new request waits for [`Input::Decide`]; [`Stack::request`](super::Stack::request) shows it. The 100 goes out
    /// by itself.
    Request {
        /// Its transaction.
        transaction: ServerId,
    },
    /// Something happened to a request.
    Event {
        /// What.
        event: Event,
        /// The response that waits for its record, until [`Input::Release`]: the final one for the caller, or the 200 to
        /// its CANCEL, if there was room to hold that.
        held: Option<(ServerId, ResponseId)>,
    },
    /// A 2xx to an INVITE came for a branch that is not of this process. It goes on if it is given to
    /// [`Stack::pass_on`](super::Stack::pass_on), else it is dropped.
    Orphan {
        /// The 2xx.
        response: Rc<Message>,
    },
    /// Ask where a name leads (RFC 3263).
    Resolve {
        /// Name of the question.
        query: QueryId,
        /// Host name.
        host: String,
        /// Port, if given.
        port: Option<u16>,
        /// By which transports.
        ways: Ways,
    },
    /// A destination is down, or up again.
    Turned {
        /// Which.
        peer: Peer,
        /// How it is now.
        condition: Condition,
    },
    /// For counters.
    Ignored {
        /// What was not done.
        why: Ignored,
    },
}

/// Whether a destination answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Condition {
    /// It does.
    Up,
    /// It did not, several times in a row.
    Down,
}

/// By what a request leaves.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Way {
    /// By the table of routes, and by nothing it says of its way itself.
    #[default]
    Table,
    /// By its Route and Request-URI: it belongs to a dialog that passes here, or a trusted proxy has routed it.
    Route,
    /// To the remote target of its dialog by these Route values, for it names the gateway where that should stand.
    Dialog(Bytes),
}

/// A request as the decision and the accounting see it.
#[derive(Clone, Debug)]
pub struct RequestView {
    /// The request as received.
    pub message: Rc<Message>,
    /// Where it came from.
    pub peer: Peer,
    /// When it came.
    pub arrived: Now,
    /// Whether it has a To tag.
    pub in_dialog: bool,
    /// Who of the call sent it, by our signed Record-Route parameter; `None` without a valid one.
    pub direction: Option<Direction>,
    /// What the policy has put into that parameter when the dialog was made; see [`Edits::word`].
    pub word: Word,
    /// When the call began, by that parameter; `None` where it does not say so, or there is none.
    pub begun: Option<Timestamp>,
    /// Whether it goes where its dialog goes.
    pub course: Course,
    /// The Request-URI after strict-route repair (RFC 3261 §16.4); `None` when it is the one received.
    pub repaired_uri: Option<Bytes>,
    /// How many Route values at the top are taken off: those that name the gateway, and all of a request that does not
    /// go where they lead.
    pub own_routes: u16,
    /// The stream that the side it leaves to is spoken to by, where it names no transport; `None`: UDP.
    pub side: Option<Transport>,
    /// By what it may leave.
    pub way: Way,
    /// What makes the To tag of responses that are the gateway's own; `None` for a request that gets none.
    pub tagger: Option<Tagger>,
}

impl RequestView {
    /// The To tag that a response of the gateway's own has which the request has none for; empty for none.
    #[must_use]
    pub fn local_tag(&self) -> String {
        let tagger = self.tagger.filter(|_| !self.in_dialog);
        tagger.map(|tagger| tagger.tag(&self.message)).unwrap_or_default()
    }

    /// A request of which only is known what itself says.
    #[must_use]
    pub fn of(message: Rc<Message>, peer: Peer, arrived: Now) -> Self {
        Self {
            in_dialog: !message.to_tag().is_empty(),
            message,
            peer,
            arrived,
            direction: None,
            word: Word::NONE,
            begun: None,
            course: Course::Outside,
            repaired_uri: None,
            own_routes: 0,
            side: None,
            way: Way::Table,
            tagger: None,
        }
    }

    /// The Request-URI the request is really for: the one received, or the one strict-route repair restored.
    #[must_use]
    pub fn request_uri(&self) -> &[u8] {
        self.repaired_uri.as_deref().unwrap_or_else(|| self.message.request_uri())
    }

    /// Whether the request came from the callee's side of its call; a request without our signed parameter counts as
    /// the caller's.
    #[must_use]
    pub fn is_upstream(&self) -> bool {
        self.direction == Some(Direction::Upstream)
    }
}

/// How full the tables are.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Sizes {
    /// Server transactions.
    pub server: usize,
    /// Client transactions.
    pub client: usize,
    /// Final responses that wait for their release.
    pub held: usize,
    /// Timers that run.
    pub timers: usize,
    /// Questions to the resolver without an answer.
    pub queries: usize,
    /// Sources whose new requests are counted.
    pub sources: usize,
    /// Destinations that are down.
    pub down: usize,
    /// Call-IDs whose transactions are counted.
    pub calls: usize,
}
