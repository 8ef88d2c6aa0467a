//! The calls of a gateway in the cluster's bucket, so that another gateway can go on with them.
//!
//! A call is kept in the queue of its gateway and, some milliseconds later, in the bucket: the last value by call, written
//! on condition that the bucket still holds what we wrote last. Who else writes has adopted the call.
//!
//! | what happens | what follows |
//! |---|---|
//! | the queue keeps a call or a new value of it | it is written when the records that came with it are in the stream ([`Input::Safe`]), so that nobody adopts a call before its Start is there; values that wait are replaced by later ones |
//! | it has ended | it is removed when its records are in the stream: a gateway that loses its disk before that leaves a call that another ends, under the same record id |
//! | it has ended, and a former owner may still keep it, or a value of it may be on its way | a mark takes its place for [`MARK_KEPT`]: the one forgets it when it comes back, the other is refused |
//! | another's value is found under a call of ours | that one has adopted it: [`Output::Forget`], without a record; never by mere absence, which an old read may show |
//! | a request comes for a call that is not here ([`Input::Adopt`]) | the call is read and adopted, also from an owner that lives, which is told ([`Output::Tell`]) |
//! | a gateway's lease has run out and we have it ([`Input::Inherit`]) | its calls are adopted one by one as a scan finds them; one that it has changed meanwhile is left to it |
//! | a gateway starts ([`Input::Put`] of all it keeps, then a scan) | compared: those that another has or had are forgotten, those of our name that our disk does not have are adopted, and those that it had to the end are removed |
//! | more waits than is allowed | the value is dropped, counted (`Calls::unmirrored`), and fetched again from the queue when there is room |

mod value;

use std::fmt;
use std::time::Duration;

pub use self::value::{FORMER_MAX, Header, Home, State, ValueError};
use super::lease::Answer;

/// Calls whose values wait or are under way; what comes on top is not mirrored for the time being.
pub const WAITING_MAX: usize = 65_536;
/// Octets of these values.
pub const WAITING_BYTES_MAX: usize = 64 << 20;
/// Requests to the bucket under way.
pub const FLIGHT_MAX: usize = 256;
/// When an answer is held for lost.
pub const ANSWER_WAIT: Duration = Duration::from_secs(2);
/// Before the next request after one was refused.
pub const PAUSE: Duration = Duration::from_millis(200);
/// How long a call is looked for on demand.
pub const ADOPT_WAIT: Duration = Duration::from_secs(2);
/// How long a start waits for the comparison.
pub const COMPARE_WAIT: Duration = Duration::from_secs(10);
/// How long an adoption that was given up may still be stored: it is looked at until then.
pub const DOUBT_KEPT: Duration = Duration::from_secs(60);
/// A gateway is inherited by two scans, the second so long after the first: what it had under way may be stored late.
pub const LINGER: Duration = Duration::from_secs(15);
/// Age at which the mark of an ended call is removed: whoever has not come back until then does not come back.
pub const MARK_KEPT: Duration = Duration::from_secs(30 * 86_400);

/// Names a call: the octets of the engine's key, in hexadecimal digits the key of the bucket.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct CallKey(pub [u8; 24]);

impl fmt::Display for CallKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for CallKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a read or a scan found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Found<'a> {
    /// Its revision.
    pub revision: u64,
    /// Its octets.
    pub value: &'a [u8],
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// The queue keeps this of a call. At a start all that it keeps comes, before anything else.
    Put {
        /// Which.
        key: CallKey,
        /// The engine's octets.
        value: Vec<u8>,
        /// Rises with each commit: that of the commit which it came with.
        mark: u64,
    },
    /// The queue keeps a call no more: it has ended.
    End {
        /// Which.
        key: CallKey,
        /// Of the commit.
        mark: u64,
    },
    /// All records of commits up to this mark are in the stream, or are of no use to it.
    Safe(u64),
    /// Changes were lost on the way here: all is fetched anew.
    Overflowed,
    /// An update or a removal was answered, or its answer will not come.
    Answered {
        /// Which.
        key: CallKey,
        /// Of the request.
        turn: u64,
        /// What became of it; a removal that found nothing to remove is a conflict.
        answer: Answer,
    },
    /// A read was answered.
    Seen {
        /// Which.
        key: CallKey,
        /// Of the request.
        turn: u64,
        /// What is there.
        found: Option<Found<'a>>,
    },
    /// A read gave nothing.
    Unread {
        /// Which.
        key: CallKey,
        /// Of the request.
        turn: u64,
    },
    /// A scan found this; not more of them than `Calls::room` at once.
    Found {
        /// Which.
        key: CallKey,
        /// What is there.
        found: Found<'a>,
    },
    /// A scan has come to its end.
    Scanned {
        /// Of [`Output::Scan`].
        scan: u64,
    },
    /// A request came for a call that is not here.
    Adopt {
        /// Which.
        key: CallKey,
    },
    /// The lease of that gateway is ours: adopt its calls.
    Inherit {
        /// Its name.
        from: &'a str,
    },
    /// It is ours no more.
    Disinherit {
        /// Its name.
        from: &'a str,
    },
    /// Another gateway says that it has the call now.
    Told {
        /// Which.
        key: CallKey,
        /// Of what it wrote.
        revision: u64,
    },
    /// Another gateway says that the call is ours.
    Yours {
        /// Which.
        key: CallKey,
    },
    /// A gateway that was told has forgotten the call.
    Confirmed {
        /// Which.
        key: CallKey,
        /// That gateway.
        by: &'a str,
    },
}

/// What to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Output {
    /// Write a key of the bucket if its revision is still the expected one; 0: if there is none.
    Update {
        /// Which.
        key: CallKey,
        /// For the answer.
        turn: u64,
        /// The revision.
        expected: u64,
        /// The octets.
        value: Vec<u8>,
    },
    /// Remove exactly this revision of a key, and leave no mark.
    Remove {
        /// Which.
        key: CallKey,
        /// For the answer.
        turn: u64,
        /// The revision.
        revision: u64,
    },
    /// Read a key at the stream's leader.
    Read {
        /// Which.
        key: CallKey,
        /// For the answer.
        turn: u64,
    },
    /// Read the whole bucket. To be tried until it succeeds.
    Scan {
        /// For its end.
        scan: u64,
    },
    /// Tell what the queue keeps of a call, by [`Input::Put`] or [`Input::End`].
    Fetch(CallKey),
    /// Forget a call without a record: another gateway has it. With `confirm` that one is to be told when it is done.
    Forget {
        /// Which.
        key: CallKey,
        /// Whether to tell.
        confirm: bool,
    },
    /// Tell the other gateway that the call is not here.
    Confirm(CallKey),
    /// A call is ours now: restore it, and keep it in the queue.
    Restore {
        /// Which.
        key: CallKey,
        /// Whose it was.
        from: Home,
        /// The sinks that the octets name by number.
        sinks: Vec<(u8, String)>,
        /// The engine's octets.
        value: Vec<u8>,
    },
    /// Nothing came of [`Input::Adopt`].
    NotAdopted {
        /// Which.
        key: CallKey,
        /// Why.
        why: Why,
    },
    /// Tell a gateway that its call is ours; it may be dead.
    Tell {
        /// Which.
        key: CallKey,
        /// Of what we wrote.
        revision: u64,
        /// That gateway.
        to: String,
    },
    /// Tell a gateway that a call of ours was found to be its own, and is forgotten here; it may not know yet.
    Yours {
        /// Which.
        key: CallKey,
        /// That gateway.
        to: String,
    },
    /// All that there was to inherit is ours: its lease can be given back.
    Inherited {
        /// The gateway's name.
        from: String,
        /// How many calls.
        calls: u64,
    },
    /// Calls may be served. Without the comparison when the bucket did not answer in time; it follows.
    Compared {
        /// Whether all was compared.
        complete: bool,
    },
}

/// Why a call was not adopted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Why {
    /// The bucket does not have it.
    Unknown,
    /// It has ended.
    Ended,
    /// What the bucket holds cannot be read.
    Unreadable,
    /// The bucket does not answer, or others are faster again and again.
    Unreachable,
}
