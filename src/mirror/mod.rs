//! Accounting without being in the path: follows the calls of another proxy by copies of its messages, and has
//! [`accounting::Engine`] make the records that a gateway in its place would have made.
//!
//! [`Mirror`] is a machine: messages go in with the [`Sight`] of each, records and changes to the calls in progress come out
//! as an [`Outcome`]. It puts the messages in the order of the times at which they were seen (`order`), tells which side of
//! the proxy each was seen at (`hops`), and follows each request to its final response (`watching`): what the SIP machine
//! of a gateway in the path tells of its transactions, this one tells of those of the proxy. Its time is that of the messages.
//!
//! A copy may be missing, come twice or late, and of some hops none may come at all:
//!
//! | heard | taken as |
//! |---|---|
//! | a request or a response again, by whatever hop | nothing |
//! | a request that the proxy sent, and not as it received it | the request |
//! | a 2xx at one side alone | the 2xx |
//! | a refusal by the callee's side, and not that it went to the caller | the refusal, after [`REFUSAL_WAIT`] |
//! | an ACK to a 2xx that was not heard | that 2xx, at the time of the ACK |
//! | no final response to an INVITE | 408, after [`INVITE_WAIT`] without a message of it |
//! | a BYE and no response to it | the end of the call, when the BYE came |
//! | a BYE before the 2xx of its call | the end of the call, as soon as that comes |
//! | a BYE of a call whose beginning was not heard | nothing; it is counted |
//! | no BYE | the end of the call, when its session timer or its longest time is over |
//!
//! Nothing is ever sent to the proxy or to an end of a call: what a gateway in the path would ask them stays unasked. Then a
//! BYE is taken at its word, and a call that only may have ended goes on.

mod exchanges;
mod hops;
mod order;
#[cfg(test)]
mod tests;
mod watching;

use std::rc::Rc;
use std::time::Duration;

use crate::accounting::{self, Engine, Notice, Outcome, RestoreError};
use crate::clock::{Instant, Now, Timestamp};
use crate::ids::RecordIds;
use crate::policy::Marks;
use crate::record::CallChange;
use crate::record::facts::Fact;
use crate::sip::message::Message;
use crate::sip::stack::{Listener, Transport};

use exchanges::Exchanges;
pub use hops::{Hop, NotOwn, Own};
use order::Order;

/// What an operator can set about a mirror.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name; its records have it.
    pub name: String,
    /// The addresses of the proxy. None: the hop at which a request is seen first is that of its caller.
    pub proxy: Vec<Own>,
    /// What is recorded.
    pub marks: Marks,
    /// How. What would be sent to the ends of calls is not.
    pub accounting: accounting::Settings,
    /// Longest time by which copies overtake each other. Default 1 s.
    pub reorder: Duration,
    /// Requests without an end, and those that ended shortly ago, beyond which new ones are not followed. Default 100 000.
    pub requests_max: usize,
}

impl Settings {
    /// Time by which copies overtake each other, unless it is set.
    pub const REORDER: Duration = Duration::from_secs(1);
    /// Requests that are followed at once, unless it is set.
    pub const REQUESTS_MAX: usize = 100_000;
}

/// Where and when a message was seen.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    /// When.
    pub at: Timestamp,
    /// From whom to whom it went.
    pub hop: Hop,
    /// By what.
    pub transport: Transport,
}

/// A message that was seen.
#[derive(Debug)]
struct Seen {
    at: Timestamp,
    hop: Hop,
    transport: Transport,
    message: Rc<Message>,
}

/// What is counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Count {
    /// A message that the proxy received, or any where nobody has said who the proxy is.
    Received,
    /// A message that the proxy sent.
    Sent,
    /// A message that the proxy has no part in.
    Elsewhere,
    /// A message from the proxy to itself.
    Inside,
    /// Octets that are no SIP message.
    Malformed,
    /// A message that came again, by this hop or another one.
    Repeated,
    /// A message with an earlier time than one that was taken before.
    Late,
    /// A response whose request was not heard.
    Stray,
    /// A request that nobody has recorded.
    Unwanted,
    /// A request for which there was no room.
    Full,
    /// A request or a refusal that was heard at the callee's side alone.
    OneSided,
    /// A 2xx that was not heard, and an ACK shows that it was.
    Inferred,
    /// A request whose final response was not heard.
    Unanswered,
    /// A BYE of a call whose beginning was not heard.
    Unknown,
}

impl Count {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Received,
        Self::Sent,
        Self::Elsewhere,
        Self::Inside,
        Self::Malformed,
        Self::Repeated,
        Self::Late,
        Self::Stray,
        Self::Unwanted,
        Self::Full,
        Self::OneSided,
        Self::Inferred,
        Self::Unanswered,
        Self::Unknown,
    ];

    /// Its name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Sent => "sent",
            Self::Elsewhere => "elsewhere",
            Self::Inside => "inside",
            Self::Malformed => "malformed",
            Self::Repeated => "repeated",
            Self::Late => "late",
            Self::Stray => "stray",
            Self::Unwanted => "unwanted",
            Self::Full => "full",
            Self::OneSided => "one_sided",
            Self::Inferred => "inferred",
            Self::Unanswered => "unanswered",
            Self::Unknown => "unknown",
        }
    }
}

/// Follows the calls of a proxy.
#[derive(Debug)]
pub struct Mirror {
    settings: Settings,
    engine: Engine,
    order: Order,
    exchanges: Exchanges,
    /// Where the proxy was seen to receive messages.
    places: Vec<Listener>,
    ids: RecordIds,
    /// Time of the newest message that was taken.
    taken: Timestamp,
    counts: [u64; Count::ALL.len()],
}

impl Mirror {
    /// A mirror without calls. `seed` is random and differs from that of every other one and of every engine.
    #[must_use]
    pub fn new(mut settings: Settings, seed: u128) -> Self {
        settings.accounting = watching_alone(settings.accounting);
        Self {
            engine: Engine::new(settings.accounting.clone(), seed),
            order: Order::new(settings.reorder, WAITING_MAX),
            exchanges: Exchanges::default(),
            places: Vec::new(),
            ids: RecordIds::new(!seed),
            taken: Timestamp(0),
            counts: [0; Count::ALL.len()],
            settings,
        }
    }

    /// Takes up a call that was in progress when the process before ended: its key as it stands in [`Outcome`], without what
    /// [`Self::hear`] adds to it.
    ///
    /// # Errors
    /// Key or value were not written by this release or an older one.
    pub fn restore(&mut self, now: Now, key: &[u8], value: &[u8]) -> Result<(), RestoreError> {
        self.engine.restore(virtual_now(now.wall), key, value)
    }

    /// Takes new settings of accounting for all that is heard from now on, and new marks; `None`: the same.
    pub fn configure(&mut self, settings: accounting::Settings, marks: Option<Marks>) {
        self.settings.marks = marks.unwrap_or(self.settings.marks);
        let listeners = std::mem::take(&mut self.settings.accounting.listeners);
        self.settings.accounting = accounting::Settings { listeners, ..watching_alone(settings) };
        self.engine.configure(self.settings.accounting.clone());
    }

    /// Takes octets that were seen; what is to be committed is appended to `out`.
    pub fn hear(&mut self, now: Now, sight: Sight, octets: Vec<u8>, out: &mut Outcome) {
        let Sight { at, hop, transport } = sight;
        match Message::parse(octets) {
            Ok(message) if !message.call_id().is_empty() && !message.cseq().1.is_empty() => {
                self.order.put(now.mono, Seen { at, hop, transport, message: Rc::new(message) });
            }
            _ => self.count(Count::Malformed),
        }
        self.tick(now, out);
    }

    /// Lets time pass.
    pub fn tick(&mut self, now: Now, out: &mut Outcome) {
        let (records, calls) = (out.records.len(), out.calls.len());
        while let Some(seen) = self.order.pop(now.mono) {
            self.take(&seen, out);
        }
        if let Some(clock) = self.order.clock(now.mono) {
            // What is still on its way may be older than the clock.
            self.pass(clock - self.settings.reorder, out);
        }
        self.mark(now, (records, calls), out);
    }

    /// Nothing more comes: takes what waits, and lets as much time pass as makes it sure that nothing is missing. Calls in
    /// progress go on.
    pub fn finish(&mut self, now: Now, out: &mut Outcome) {
        self.order.pass(self.settings.reorder + FINISH_WAIT);
        self.tick(now, out);
    }

    /// When [`Self::tick`] is due; `None`: not before something is heard.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let timers = [self.exchanges.deadline(), self.engine.deadline().map(|due| Timestamp(due.0.cast_signed()))];
        let timer = timers.into_iter().flatten().min();
        let timer = timer.and_then(|due| self.order.instant_of(order::after(due, self.settings.reorder)));
        [self.order.deadline(), timer].into_iter().flatten().min()
    }

    /// Calls in progress.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.engine.calls()
    }

    /// Calls in progress, in no order.
    pub fn views(&self) -> impl Iterator<Item = accounting::CallView> {
        self.engine.views()
    }

    /// Requests that are followed, and messages that wait for earlier ones.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize) {
        (self.exchanges.len(), self.order.len())
    }

    /// What was counted since the beginning.
    pub fn counts(&self) -> impl Iterator<Item = (Count, u64)> {
        Count::ALL.into_iter().map(|count| (count, self.counts[count as usize]))
    }

    /// The side of the proxy of which nothing was heard, though enough was heard of the other one.
    #[must_use]
    pub fn silent_side(&self) -> Option<&'static str> {
        let heard = |count: Count| self.counts[count as usize];
        match (heard(Count::Received), heard(Count::Sent)) {
            _ if self.settings.proxy.is_empty() => None,
            (SIDE_LEAST.., 0) => Some("sent by"),
            (0, SIDE_LEAST..) => Some("received by"),
            _ => None,
        }
    }

    /// What there is to hear of calls since this was asked last.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        self.engine.take_notices()
    }

    fn count(&mut self, count: Count) {
        self.counts[count as usize] += 1;
    }

    /// Names the records from there on as those of this mirror: their ids are of now, for what waits is judged by them, and
    /// the instants in them those of the messages. The calls in progress are no calls of a shard.
    fn mark(&mut self, now: Now, (records, calls): (usize, usize), out: &mut Outcome) {
        for made in &mut out.records[records..] {
            made.record.id = self.ids.next(u64::try_from(now.wall.0 / 1000).unwrap_or(0));
            made.record.shortened |= made.record.facts.put_text(Fact::Mirror, self.settings.name.as_bytes());
        }
        for change in &mut out.calls[calls..] {
            let (CallChange::Put { key, .. } | CallChange::Remove { key } | CallChange::End { key, .. }) = change
            else {
                continue;
            };
            key.extend(suffix(&self.settings.name));
        }
    }
}

/// What stands behind the key of a stored call that a mirror follows.
fn suffix(name: &str) -> impl Iterator<Item = u8> {
    std::iter::once(MIRRORED).chain(name.bytes())
}

/// The mirror that a stored call is of, and its key there; `None` for a call of a shard.
#[must_use]
pub fn mirrored(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let (key, rest) = key.split_at_checked(accounting::Key::BYTES)?;
    Some((rest.strip_prefix(&[MIRRORED])?, key))
}

/// Settings of accounting where nobody can be asked, and the absence of an ACK says nothing.
fn watching_alone(settings: accounting::Settings) -> accounting::Settings {
    let lifetime = settings.lifetime_max.unwrap_or(LIFETIME_MAX);
    accounting::Settings {
        pings: None,
        hang_up: Vec::new(),
        lifetime_max: Some(lifetime),
        ack_wait: lifetime.saturating_mul(2),
        // Its monotonic clock is the time of the messages, which goes on over a restart.
        boot_id: "mirror".to_owned(),
        listeners: Vec::new(),
        ..settings
    }
}

/// Both clocks of a mirror show the time of its messages.
fn virtual_now(at: Timestamp) -> Now {
    Now { mono: Instant(u64::try_from(at.0).unwrap_or(0)), wall: at }
}

/// Messages that wait for earlier ones; beyond, the oldest is taken at once.
const WAITING_MAX: usize = 65_536;
/// Longest call where `accounting.lifetime_max` sets none.
const LIFETIME_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// Without a message of an INVITE for so long none is to be expected: Timer C runs for more than 180 s (RFC 3261 §16.6).
pub const INVITE_WAIT: Duration = Duration::from_secs(200);
/// The same of other requests: 64 T1 (RFC 3261 §17.1.2.2), and a little more.
pub const REQUEST_WAIT: Duration = Duration::from_secs(35);
/// How long the proxy may take to pass a refusal on, or to try another target.
pub const REFUSAL_WAIT: Duration = Duration::from_secs(32);
/// What a capture that has ended is waited for.
const FINISH_WAIT: Duration = Duration::from_secs(36);
/// Messages of one side that would have been followed by some of the other.
const SIDE_LEAST: u64 = 50;
/// Marks the key of a stored call as that of a mirror.
const MIRRORED: u8 = b'm';
