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
//! | what it starts on knows a call to have ended ([`Input::Ended`] before the scan), and the bucket still has it | it is removed when its records are in the stream; whoever has adopted it meanwhile is told that it has ended ([`Output::Tell`]), and forgets it |
//! | more waits than is allowed | the value is dropped, counted ([`Calls::unmirrored`]), and fetched again from the queue when there is room |

mod adoptions;
#[cfg(test)]
mod doubt_tests;
mod mirror;
#[cfg(test)]
mod tests;
mod value;

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use foldhash::fast::RandomState;

use super::lease::Answer;
use crate::clock::{Instant, Now, Timestamp};

use self::adoptions::Adoptions;
use self::mirror::{Bus, Mirror};

pub use self::value::{FORMER_MAX, Header, Home, State, ValueError};

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
/// How long what was not stored when it was looked for may be stored all the same.
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

impl CallKey {
    /// Reads the key of the bucket; `None`: it is none of ours.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let octets = data_encoding::HEXLOWER.decode(text.as_bytes()).ok()?;
        octets.try_into().ok().map(Self)
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
    /// The queue remembers a call that has ended, of which the bucket may not know: only at a start, before its scan ends.
    Ended {
        /// Which.
        key: CallKey,
        /// Its records were committed up to this.
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
    /// A scan found this; not more of them than [`Calls::room`] at once.
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

/// Where what a gateway writes comes from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This gateway and its queue.
    pub home: Home,
    /// Number of its tenure of its name.
    pub epoch: u64,
    /// Its sinks.
    pub sinks: Vec<(u8, String)>,
}

impl Settings {
    fn header(&self, state: State, former: &[String], written: Timestamp) -> Header {
        let sinks = if state == State::Live { self.sinks.clone() } else { Vec::new() };
        Header { state, owner: self.home.clone(), epoch: self.epoch, written, former: former.to_vec(), sinks }
    }
}

/// Requests to the bucket, numbered.
#[derive(Clone, Debug, Default)]
struct Turns(u64);

impl Turns {
    fn next(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }
}

/// The calls of one gateway in the bucket.
#[derive(Clone, Debug)]
pub struct Calls {
    settings: Settings,
    turns: Turns,
    mirror: Mirror,
    adoptions: Adoptions,
    /// Until when a start waits for the comparison; `None` when it has ended.
    comparing: Option<Instant>,
    /// Calls that ended before the start, with their marks, until its scan has shown which of them the bucket has.
    ended: HashMap<CallKey, u64, RandomState>,
    /// Number of the last scan that was asked for.
    scans: u64,
    unreadable: u64,
}

/// The scan at a start.
const FIRST_SCAN: u64 = 1;

impl Calls {
    /// A gateway that has just started: it takes what its queue keeps, and asks for a scan to compare it with.
    #[must_use]
    pub fn new(now: Now, settings: Settings, out: &mut Vec<Output>) -> Self {
        let mut adoptions = Adoptions::default();
        adoptions.inherit(&settings.home.name, FIRST_SCAN, None);
        out.push(Output::Scan { scan: FIRST_SCAN });
        let comparing = Some(now.mono + COMPARE_WAIT);
        Self {
            settings,
            turns: Turns::default(),
            mirror: Mirror::default(),
            adoptions,
            comparing,
            ended: HashMap::default(),
            scans: FIRST_SCAN,
            unreadable: 0,
        }
    }

    /// Another tenure of our name, or other sinks.
    pub fn change(&mut self, epoch: u64, sinks: Vec<(u8, String)>) {
        (self.settings.epoch, self.settings.sinks) = (epoch, sinks);
    }

    /// Calls whose last value is not in the bucket: what is lost with this gateway and its disk.
    #[must_use]
    pub fn unmirrored(&self) -> usize {
        self.mirror.unmirrored()
    }

    /// Values that had no room, ever.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.mirror.missed_ever()
    }

    /// Values of others that could not be read, ever.
    #[must_use]
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// Whether the bucket holds all that the queue keeps, and nothing of ours besides.
    #[must_use]
    pub fn is_in_step(&self) -> bool {
        self.mirror.is_in_step()
    }

    /// How many more finds of a scan may come at once.
    #[must_use]
    pub fn room(&self) -> usize {
        self.adoptions.room()
    }

    /// When [`Calls::tick`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let mirror = if self.comparing.is_some() { None } else { self.mirror.deadline() };
        [self.comparing, mirror, self.adoptions.deadline()].into_iter().flatten().min()
    }

    /// Takes what happened.
    pub fn handle(&mut self, now: Now, input: Input<'_>, out: &mut Vec<Output>) {
        let Self { settings, turns, mirror, adoptions, .. } = self;
        let bus = &mut Bus { now, settings, turns, out };
        match input {
            Input::Put { key, value, mark } => mirror.put(key, value, mark),
            Input::End { key, mark } => mirror.end(key, mark),
            Input::Ended { key, mark } => drop(self.ended.insert(key, mark)),
            Input::Safe(mark) => mirror.safe(mark),
            Input::Overflowed => mirror.overflowed(),
            Input::Answered { key, turn, answer } => {
                if !mirror.answered(key, turn, answer, bus) {
                    adoptions.answered(key, turn, answer, mirror, bus);
                }
            }
            Input::Seen { key, turn, found } => {
                if !mirror.seen(key, turn, found, bus) {
                    adoptions.seen(key, turn, found, mirror, bus);
                }
            }
            Input::Unread { key, turn } => {
                if !mirror.unread(key, turn, now.mono) {
                    adoptions.unread(key, turn, bus);
                }
            }
            Input::Found { key, found } => self.found(now, key, found, out),
            Input::Scanned { scan } => {
                adoptions.scanned(scan, bus);
                self.ended = HashMap::default();
                if self.comparing.take().is_some() {
                    out.push(Output::Compared { complete: true });
                }
            }
            Input::Adopt { key } if mirror.has_ended(key) => out.push(Output::NotAdopted { key, why: Why::Ended }),
            // It is being restored.
            Input::Adopt { key } if mirror.has(key) => {}
            Input::Adopt { key } => adoptions.ask(key, bus),
            Input::Inherit { from } => {
                self.scans += 1;
                adoptions.inherit(from, self.scans, Some(now.mono + LINGER));
                out.push(Output::Scan { scan: self.scans });
            }
            Input::Disinherit { from } => adoptions.disinherit(from),
            Input::Told { key, revision } => mirror.told(key, revision, bus),
            Input::Yours { key } if mirror.has(key) => {}
            Input::Yours { key } => adoptions.look_up(key, bus),
            Input::Confirmed { key, by } => mirror.confirmed(key, by),
        }
        self.pump(now, out);
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Now, out: &mut Vec<Output>) {
        if self.comparing.is_some_and(|until| until <= now.mono) {
            self.comparing = None;
            out.push(Output::Compared { complete: false });
        }
        self.mirror.tick(now.mono);
        let bus = &mut Bus { now, settings: &self.settings, turns: &mut self.turns, out };
        self.adoptions.tick(bus);
        if self.adoptions.is_scan_due(now.mono, self.scans + 1) {
            self.scans += 1;
            bus.out.push(Output::Scan { scan: self.scans });
        }
        self.pump(now, out);
    }

    fn pump(&mut self, now: Now, out: &mut Vec<Output>) {
        if self.comparing.is_none() {
            self.mirror.pump(&mut Bus { now, settings: &self.settings, turns: &mut self.turns, out });
        }
    }

    /// A scan has found this.
    fn found(&mut self, now: Now, key: CallKey, found: Found<'_>, out: &mut Vec<Output>) {
        let Self { settings, turns, mirror, adoptions, .. } = self;
        let bus = &mut Bus { now, settings, turns, out };
        if mirror.has(key) {
            mirror.found(key, found, bus);
            // One of our name and another disk, which has just been forgotten, is adopted below.
            if mirror.has(key) {
                return;
            }
        }
        let Ok((header, body)) = Header::decode(found.value) else {
            self.unreadable += 1;
            return;
        };
        let ended = self.ended.remove(&key).filter(|_| header.state != State::Ended);
        if let Some(mark) = ended {
            return mirror.ended_before(key, found.revision, header, mark, bus);
        }
        match (header.state, header.owner == bus.settings.home) {
            (State::Ended, _) => Mirror::sweep(key, found.revision, &header, bus),
            (State::Live, true) => mirror.remnant(key, found.revision, header.former),
            // Adopted and not kept when the process ended; unless it was adopted and ended since the scan read it.
            (State::Adopted, true) => adoptions.look_up(key, bus),
            (State::Live | State::Adopted, false) => {
                if adoptions.inherits(&header.owner.name) {
                    adoptions.found(key, found.revision, header, body, bus);
                }
            }
        }
    }
}
