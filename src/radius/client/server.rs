//! One server: its health, its window, its lanes.
//!
//! ```text
//! Alive      --(3 transmissions in a row ran out and no record answered for response_window | refused)--> Suspect
//! Suspect    --(a record answered, or a probe after one that was not)--> Alive
//! Suspect    --(silent about records, and the first probe answered)--> ProbesOnly
//! Suspect    --(nothing for zombie_period)--> Dead
//! ProbesOnly --(a record answered)--> Alive
//! ProbesOnly --(3 probes in a row not answered | refused)--> Suspect
//! Dead       --(3 answers in a row, or the revival timer)--> Alive, with a small window
//! Alive      --(answers "no accounting here" and never took a record)--> Refusing, until the configuration is read again
//! ```
//!
//! An answer to Status-Server proves the next hop, not what stores records behind it: it wakes a server that was silent as
//! a whole, never one that answers Status-Server and no record. To such a server, and to a suspect one, goes one record in
//! each response_window, to find out whether it is the server or were the records before; when another server lives, one
//! record in each revival time.
//!
//! A server whose name has no address yet begins as Dead, without lanes and probes; its first address makes it Alive.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use super::doubt::Acknowledged;
use super::lane::{IDENTIFIERS, Lane, LaneId, Link};
use super::line::Line;
use super::visit::Task;
use super::window::Window;
use super::{Probing, ServerSettings, ServerStatus, Settings, Transport};
use crate::clock::{Instant, Now};

/// Transmissions in a row that ran out of time before a server is suspected.
const RUN_OUTS: u32 = 3;
/// Probe answers in a row before a dead server is used again.
const PROBES_TO_ALIVE: u32 = 3;
/// Probes sent to a server that answers records; when it answers none, it is taken as one that answers no probes.
const PROBES_TO_UNSUPPORTED: u32 = 3;
/// Probes in a row that a server has to miss before it counts as silent, when it answered probes and no records.
const PROBES_TO_SILENT: u32 = 3;
/// Answers with a bad authenticator, and none with a good one, that mean different secrets.
const BAD_TO_MISMATCH: u32 = 10;

/// Whether a server is used.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Health {
    /// It is.
    Alive,
    /// It went silent: new records avoid it, those under way go on.
    Suspect,
    /// It answers Status-Server, but no record: what is behind it may be down.
    ProbesOnly,
    /// It is not, until it answers probes or the revival timer runs out.
    Dead,
    /// It does no accounting and said so.
    Refusing,
}

impl Health {
    /// Lower-case name for labels and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Suspect => "suspect",
            Self::ProbesOnly => "probes-only",
            Self::Dead => "dead",
            Self::Refusing => "refusing",
        }
    }
}

/// What was counted about one server since the start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// First transmissions of a visit.
    pub requests: u64,
    /// Further transmissions.
    pub retransmissions: u64,
    /// Transmissions that ran out of time.
    pub timeouts: u64,
    /// Records stored by the server.
    pub stored: u64,
    /// Negative answers.
    pub refused: u64,
    /// Authentic answers of a wrong code.
    pub wrong_code: u64,
    /// Datagrams that are no packet.
    pub malformed: u64,
    /// Answers with a bad authenticator or Message-Authenticator.
    pub bad_authenticator: u64,
    /// Records stored by the server whose answer came after the visit.
    pub stored_late: u64,
    /// Answers to requests that were answered before, or whose record has ended otherwise.
    pub late: u64,
    /// Answers to identifiers that were never used.
    pub unknown: u64,
    /// Status-Server sent.
    pub probes: u64,
    /// Status-Server answered.
    pub probe_answers: u64,
    /// Refused sends and receives: nobody listens there; connections that failed or were lost.
    pub unreachable: u64,
}

/// Why a server is suspected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Suspicion {
    /// It did not answer records.
    Silent,
    /// The host or the network says that nobody is there, or the connection was lost.
    Gone,
}

/// What a sign of life changes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Comeback {
    /// Nothing.
    None,
    /// It answers records again.
    Alive,
    /// It answers, but no records.
    ProbesOnly,
}

/// Whether the server answers Status-Server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Support {
    Unknown,
    Yes,
    No,
}

/// An unanswered Status-Server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probe {
    pub(super) identifier: u8,
    pub(super) authenticator: [u8; 16],
}

#[derive(Debug)]
pub(super) struct Server {
    pub(super) settings: ServerSettings,
    pub(super) health: Health,
    pub(super) since: Instant,
    pub(super) lanes: Vec<Lane>,
    pub(super) probe_link: Option<Link>,
    pub(super) probe: Option<Probe>,
    pub(super) next_probe: Option<Instant>,
    pub(super) revive_at: Option<Instant>,
    pub(super) outstanding: usize,
    pub(super) counters: Counters,
    pub(super) last_authentic: Option<Instant>,
    /// When it answered a Status-Server last.
    pub(super) last_probe_answer: Option<Instant>,
    pub(super) acknowledged: Acknowledged,
    pub(super) told_wrong_code: bool,
    pub(super) told_mismatch: bool,
    pub(super) told_mute: bool,
    /// Visits that wait for a connection, first come first.
    pub(super) waiting: VecDeque<u32>,
    pub(super) line: Line,
    /// How the last connection failed or ended.
    pub(super) trouble: Option<Arc<str>>,
    pub(super) window: Window,
    run_outs: u32,
    waiting_since: Option<Instant>,
    bad_since_good: u32,
    probes_answered: u32,
    /// In a row, since its health changed.
    probes_missed: u32,
    suspicion: Suspicion,
    /// Whether a record may go to it to find out; when that is so again.
    may_try: bool,
    try_at: Option<Instant>,
    /// Whether such a record goes to it although another server lives.
    is_due: bool,
    /// Probes still to be sent to a server that is alive, to learn whether it answers them.
    trials: u32,
    probe_identifier: u8,
    support: Support,
}

impl Server {
    pub(super) fn new(now: Instant, settings: ServerSettings, common: &Settings) -> Self {
        Self {
            health: if is_address(&settings) { Health::Alive } else { Health::Dead },
            settings,
            since: now,
            lanes: Vec::new(),
            probe_link: None,
            probe: None,
            next_probe: None,
            revive_at: None,
            outstanding: 0,
            counters: Counters::default(),
            last_authentic: None,
            last_probe_answer: None,
            acknowledged: Acknowledged::default(),
            told_wrong_code: false,
            told_mismatch: false,
            told_mute: false,
            waiting: VecDeque::new(),
            line: Line::default(),
            trouble: None,
            window: Window::new(now, common),
            run_outs: 0,
            waiting_since: None,
            bad_since_good: 0,
            probes_answered: 0,
            probes_missed: 0,
            suspicion: Suspicion::Silent,
            may_try: false,
            try_at: None,
            is_due: false,
            trials: 0,
            probe_identifier: 0,
            support: if common.probing == Probing::Never { Support::No } else { Support::Unknown },
        }
    }

    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    pub(super) fn status(&self) -> ServerStatus {
        ServerStatus {
            address: self.address(),
            health: self.health,
            since: self.since,
            outstanding: self.outstanding,
            window: self.window.size(),
            lanes: self.lanes.iter().filter(|lane| lane.link == Link::Open).count(),
            round_trip: self.window.round_trip(),
            counters: self.counters,
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.settings.address
    }

    /// Whether its address is known.
    pub(super) fn has_address(&self) -> bool {
        is_address(&self.settings)
    }

    /// Data lane by number.
    pub(super) fn lane(&mut self, lane: LaneId) -> Option<&mut Lane> {
        self.lanes.get_mut(usize::from(lane.0).checked_sub(1)?)
    }

    /// Whether new records may go here at all, room aside.
    pub(super) fn is_usable(&self) -> bool {
        match self.health {
            Health::Alive => true,
            Health::Suspect | Health::ProbesOnly => self.may_try,
            Health::Dead | Health::Refusing => false,
        }
    }

    /// Whether records go here before they go to a server that comes after it.
    pub(super) fn is_preferred(&self) -> bool {
        self.health == Health::Alive || self.health == Health::ProbesOnly && self.is_due
    }

    /// A record sets out to find whether it answers records again.
    pub(super) fn tries(&mut self, now: Instant, common: &Settings, revive_at: Instant) {
        if matches!(self.health, Health::Suspect | Health::ProbesOnly) {
            (self.may_try, self.try_at) = (false, Some(now + common.response_window));
        }
        if self.health == Health::ProbesOnly {
            (self.is_due, self.revive_at) = (false, Some(revive_at));
        }
    }

    /// The time for the next such record has come.
    pub(super) fn tend_trial(&mut self, now: Instant) {
        if self.try_at.take_if(|at| *at <= now).is_some() {
            self.may_try = true;
        }
        if self.health == Health::ProbesOnly && self.revive_at.take_if(|at| *at <= now).is_some() {
            (self.is_due, self.may_try, self.try_at) = (true, true, None);
        }
    }

    /// When [`Self::tend_trial`] is due.
    pub(super) fn trial_deadline(&self) -> Option<Instant> {
        self.try_at
    }

    /// Records that may go here now.
    pub(super) fn room(&self) -> usize {
        if self.line.holds() {
            return 0;
        }
        let limit = match self.health {
            Health::Alive => self.window.size(),
            Health::Suspect | Health::ProbesOnly => self.outstanding + usize::from(self.may_try),
            Health::Dead | Health::Refusing => 0,
        };
        let identifiers = self.lanes.iter().map(Lane::room).sum::<usize>() + self.promised();
        limit.saturating_sub(self.outstanding).min(identifiers)
    }

    /// Identifiers of connections that will be opened for requests, those spoken for left out.
    fn promised(&self) -> usize {
        let promised = self.lanes.iter().filter(|lane| lane.is_promised()).count();
        (promised * (IDENTIFIERS - 1)).saturating_sub(self.waiting.len())
    }

    /// Whether there is a lane that requests can go out on, or one that will be opened for them.
    pub(super) fn has_path(&self) -> bool {
        self.lanes.iter().any(|lane| lane.is_usable() || lane.is_promised())
    }

    /// How the last connection failed or ended.
    pub(super) fn why(&self) -> Arc<str> {
        self.trouble.clone().unwrap_or_else(|| "it is still being opened".into())
    }

    /// Whether the server answers Status-Server, as far as is known.
    pub(super) fn knows_probes(&self) -> Option<bool> {
        match self.support {
            Support::Unknown => None,
            Support::Yes => Some(true),
            Support::No => Some(false),
        }
    }

    /// It answers records and no Status-Server.
    pub(super) fn knows_no_probes(&mut self) {
        self.support = Support::No;
    }

    /// Its identifiers on the lanes that requests go out on run short.
    pub(super) fn runs_short(&self) -> bool {
        let usable = self.usable_lanes();
        usable > 0 && self.lanes.iter().map(Lane::room).sum::<usize>() * 4 <= usable * IDENTIFIERS
    }

    /// Whether another lane should be opened: three quarters of the identifiers are taken, or there is no lane. While one
    /// is being opened or is on probation it is waited for.
    pub(super) fn wants_lane(&self, lanes_max: u16) -> bool {
        let current = self.lanes.iter().filter(|lane| lane.is_current()).count();
        current < usize::from(lanes_max)
            && self.has_address()
            && self.usable_lanes() == current
            && (current == 0 || self.runs_short())
    }

    fn usable_lanes(&self) -> usize {
        self.lanes.iter().filter(|lane| lane.is_usable()).count()
    }

    /// A new lane; the place of one to an earlier address is taken when nothing waits on it any more.
    pub(super) fn add_lane(&mut self, transport: Transport) -> LaneId {
        let idle = self.lanes.iter().position(|lane| !lane.is_current() && lane.is_idle());
        let place = idle.unwrap_or(self.lanes.len());
        match self.lanes.get_mut(place) {
            Some(lane) => *lane = Lane::new(transport),
            None => self.lanes.push(Lane::new(transport)),
        }
        LaneId(u16::try_from(place + 1).unwrap_or(u16::MAX))
    }

    /// It is at another address now, where nothing is known of it yet: it begins anew, while the lanes to the old address
    /// drain. Connections that are there are good as they are; further ones lead to the new address.
    pub(super) fn moved(&mut self, now: Instant, address: SocketAddr, common: &Settings) {
        if common.transport == Transport::Stream && self.has_address() {
            self.settings.address = address;
            return;
        }
        let mut lanes = std::mem::take(&mut self.lanes);
        lanes.iter_mut().for_each(|lane| lane.link = Link::Draining);
        let settings = ServerSettings { address, ..self.settings.clone() };
        *self = Self {
            lanes,
            outstanding: self.outstanding,
            counters: self.counters,
            probe_identifier: self.probe_identifier,
            ..Self::new(now, settings, common)
        };
    }

    /// The first lane with a quarter of its identifiers free, else the one with the most; few sockets stay busy.
    pub(super) fn pick_lane(&self) -> Option<LaneId> {
        let first = self.lanes.iter().position(|lane| lane.room() * 4 > IDENTIFIERS);
        let most = || (0..self.lanes.len()).max_by_key(|&index| self.lanes[index].room());
        let index = first.or_else(most).filter(|&index| self.lanes[index].room() > 0)?;
        Some(LaneId(u16::try_from(index + 1).unwrap_or(u16::MAX)))
    }

    pub(super) fn transmitted(&mut self, now: Instant) {
        self.waiting_since.get_or_insert(now);
    }

    /// A transmission ran out of time.
    pub(super) fn ran_out(&mut self, now: Instant, first: bool, common: &Settings) {
        self.run_outs = self.run_outs.saturating_add(1);
        if first {
            self.window.ran_out(now, common);
        }
    }

    /// When it becomes suspect unless something comes.
    pub(super) fn silent_at(&self, common: &Settings) -> Option<Instant> {
        let is_doubtful = self.health == Health::Alive && self.run_outs >= RUN_OUTS;
        self.waiting_since.filter(|_| is_doubtful).map(|since| since + common.response_window)
    }

    /// An authentic answer to a record came.
    pub(super) fn heard(&mut self, now: Instant) -> Comeback {
        self.run_outs = 0;
        self.waiting_since = None;
        self.heard_anything(now);
        match self.health {
            Health::Suspect | Health::ProbesOnly => Comeback::Alive,
            Health::Dead => self.revived(),
            Health::Alive | Health::Refusing => Comeback::None,
        }
    }

    fn heard_anything(&mut self, now: Instant) {
        self.bad_since_good = 0;
        (self.told_mismatch, self.told_mute) = (false, false);
        self.last_authentic = Some(now);
    }

    /// A dead server answered.
    fn revived(&mut self) -> Comeback {
        self.probes_answered += 1;
        match self.probes_answered >= PROBES_TO_ALIVE || self.support == Support::No {
            true => Comeback::Alive,
            false => Comeback::None,
        }
    }

    /// A record was acknowledged: the window grows.
    pub(super) fn acknowledged(&mut self, now: Now, task: &Task) {
        self.counters.stored += 1;
        self.acknowledged.note(now, task);
        self.window.grow(now.mono);
    }

    /// A bad authenticator. Returns whether to report different secrets: at once on a connection, where nobody else
    /// gets a word in.
    pub(super) fn heard_bad(&mut self, transport: Transport) -> bool {
        self.counters.bad_authenticator += 1;
        self.bad_since_good = self.bad_since_good.saturating_add(1);
        let enough = transport == Transport::Stream || self.bad_since_good >= BAD_TO_MISMATCH;
        let tell = enough && !self.told_mismatch;
        self.told_mismatch |= tell;
        tell
    }

    /// Identifier of the next probe: each is a new packet (RFC 5997 §4.3).
    pub(super) fn next_identifier(&mut self) -> u8 {
        self.probe_identifier = self.probe_identifier.wrapping_add(1);
        self.probe_identifier
    }

    /// A probe was answered.
    pub(super) fn probe_answered(&mut self, now: Instant) -> Comeback {
        self.counters.probe_answers += 1;
        self.support = Support::Yes;
        self.trials = 0;
        self.probe = None;
        self.last_probe_answer = Some(now);
        self.heard_anything(now);
        // A server that was silent as a whole and answers now is back; one that answered all along tells nothing new.
        let was_silent = self.suspicion == Suspicion::Gone || self.probes_missed > 0;
        self.probes_missed = 0;
        match self.health {
            Health::Suspect if was_silent => Comeback::Alive,
            Health::Suspect => Comeback::ProbesOnly,
            Health::Dead => self.revived(),
            Health::Alive | Health::ProbesOnly | Health::Refusing => Comeback::None,
        }
    }

    /// A probe was not answered in its time.
    pub(super) fn misses_probe(&mut self) {
        self.probes_missed = self.probes_missed.saturating_add(1);
    }

    /// Whether it answers Status-Server no more either.
    pub(super) fn is_wholly_silent(&self) -> bool {
        self.health == Health::ProbesOnly && self.probes_missed >= PROBES_TO_SILENT
    }

    /// The probe under way, if any, was not answered.
    pub(super) fn probe_missed(&mut self) {
        if self.probe.take().is_some() {
            self.probes_answered = 0;
            self.misses_probe();
            if self.health == Health::Alive && self.trials > 0 {
                self.trials -= 1;
                if self.trials == 0 {
                    self.support = Support::No;
                }
            }
        }
    }

    /// A connection was lost: answers in a row begin anew.
    pub(super) fn lost(&mut self) {
        self.probes_answered = 0;
    }

    /// A probe went out on a connection: that is trial enough, the watchdog looks after its answer.
    pub(super) fn tried(&mut self) {
        self.trials = 0;
    }

    pub(super) fn probes(&self) -> bool {
        let is_doubtful = matches!(self.health, Health::Suspect | Health::ProbesOnly | Health::Dead);
        self.support != Support::No && (is_doubtful || self.trials > 0)
    }

    /// It is suspected, for this reason.
    pub(super) fn suspect(&mut self, now: Instant, suspicion: Suspicion) {
        self.suspicion = suspicion;
        self.enter(now, Health::Suspect);
    }

    pub(super) fn enter(&mut self, now: Instant, health: Health) {
        let answers_records = self.health == Health::Suspect && health == Health::Alive;
        let was_probes_only = self.health == Health::ProbesOnly;
        self.trials = if answers_records && self.support == Support::Unknown { PROBES_TO_UNSUPPORTED } else { 0 };
        self.health = health;
        self.since = now;
        self.run_outs = 0;
        self.waiting_since = None;
        self.probes_answered = 0;
        // What answered Status-Server and does no more is silent as a whole.
        self.probes_missed = u32::from(was_probes_only && health == Health::Suspect);
        self.revive_at = None;
        // Where nobody is there no record need find that out, unless nothing else can.
        let is_there = self.suspicion == Suspicion::Silent || self.support == Support::No;
        self.may_try = health == Health::ProbesOnly || health == Health::Suspect && is_there;
        (self.try_at, self.is_due) = (None, false);
        if self.probes() {
            self.next_probe.get_or_insert(now);
        } else {
            self.next_probe = None;
            self.probe = None;
        }
    }

    /// Whether only the revival timer can bring it back.
    pub(super) fn needs_revival_timer(&self) -> bool {
        self.support != Support::Yes
    }
}

fn is_address(settings: &ServerSettings) -> bool {
    !settings.address.ip().is_unspecified()
}
