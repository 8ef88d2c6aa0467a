//! Whether a server is used: its health, and the probes that tell of it.
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

use super::lane::Link;
use super::probe::Probe;
use super::{LANE_RETRY, LaneId, Output, Probing, ServerIndex, Settings, Turn};
use crate::clock::Instant;

/// Transmissions in a row that ran out of time before a server is suspected.
const RUN_OUTS: u32 = 3;
/// Probe answers in a row before a dead server is used again.
const PROBES_TO_ALIVE: u32 = 3;
/// Probes sent to a server that answers records; when it answers none, it is taken as one that answers no probes.
const PROBES_TO_UNSUPPORTED: u32 = 3;
/// Probes in a row that a server has to miss before it counts as silent, when it answered probes and no records.
const PROBES_TO_SILENT: u32 = 3;

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

/// Why a server is suspected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Suspicion {
    /// It did not answer records.
    Silent,
    /// The host or the network says that nobody is there, or the connection was lost.
    Gone,
}

/// Whether the server answers Status-Server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Support {
    Unknown,
    Yes,
    No,
}

/// How one server stands.
#[derive(Debug)]
pub(super) struct Standing {
    server: ServerIndex,
    health: Health,
    since: Instant,
    revive_at: Option<Instant>,
    /// When anything authentic came from it last.
    heard_at: Option<Instant>,
    run_outs: u32,
    waiting_since: Option<Instant>,
    suspicion: Suspicion,
    /// Whether a record may go to it to find out; when that is so again.
    may_try: bool,
    try_at: Option<Instant>,
    /// Whether such a record goes to it although another server lives.
    is_due: bool,
    /// The lane for Status-Server; none before the first.
    link: Option<Link>,
    probe: Option<Probe>,
    next_probe: Option<Instant>,
    probe_answered_at: Option<Instant>,
    probes_answered: u32,
    /// In a row, since its health changed.
    probes_missed: u32,
    /// Probes still to be sent to a server that is alive, to learn whether it answers them.
    trials: u32,
    probe_identifier: u8,
    support: Support,
}

impl Standing {
    /// A server of which nothing is known yet; without an address it is taken for dead.
    pub(super) fn new(now: Instant, server: ServerIndex, has_address: bool, probing: Probing) -> Self {
        Self {
            server,
            health: if has_address { Health::Alive } else { Health::Dead },
            since: now,
            revive_at: None,
            heard_at: None,
            run_outs: 0,
            waiting_since: None,
            suspicion: Suspicion::Silent,
            may_try: false,
            try_at: None,
            is_due: false,
            link: None,
            probe: None,
            next_probe: None,
            probe_answered_at: None,
            probes_answered: 0,
            probes_missed: 0,
            trials: 0,
            probe_identifier: 0,
            support: if probing == Probing::Never { Support::No } else { Support::Unknown },
        }
    }

    /// The server is at another address, where nothing is known of it yet.
    pub(super) fn moved(&mut self, turn: &mut Turn<'_>, has_address: bool) {
        let (was, probe_identifier) = (self.health, self.probe_identifier);
        *self = Self { probe_identifier, ..Self::new(turn.now.mono, self.server, has_address, turn.settings.probing) };
        if was != Health::Alive && self.health == Health::Alive {
            turn.out.push(Output::Health { server: self.server, health: Health::Alive });
        }
    }

    pub(super) fn health(&self) -> Health {
        self.health
    }

    pub(super) fn is(&self, health: Health) -> bool {
        self.health == health
    }

    /// Whether it is not known to live, nor to refuse.
    pub(super) fn is_doubtful(&self) -> bool {
        matches!(self.health, Health::Suspect | Health::ProbesOnly | Health::Dead)
    }

    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// Whether nothing authentic has ever come from it.
    pub(super) fn is_mute(&self) -> bool {
        self.heard_at.is_none()
    }

    /// Whether it has answered a Status-Server since then.
    pub(super) fn has_answered_probe_since(&self, since: Instant) -> bool {
        self.probe_answered_at.is_some_and(|at| at > since)
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

    /// Records that may be under way to it at once, when `window` may be to one that lives.
    pub(super) fn limit(&self, window: usize, outstanding: usize) -> usize {
        match self.health {
            Health::Alive => window,
            Health::Suspect | Health::ProbesOnly => outstanding + usize::from(self.may_try),
            Health::Dead | Health::Refusing => 0,
        }
    }

    /// A record sets out to find whether it answers records again.
    pub(super) fn tries(&mut self, turn: &mut Turn<'_>) {
        let revive_at = turn.now.mono + turn.random.jitter(turn.settings.revival);
        if matches!(self.health, Health::Suspect | Health::ProbesOnly) {
            (self.may_try, self.try_at) = (false, Some(turn.now.mono + turn.settings.response_window));
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

    pub(super) fn transmitted(&mut self, now: Instant) {
        self.waiting_since.get_or_insert(now);
    }

    /// A transmission ran out of time.
    pub(super) fn ran_out(&mut self) {
        self.run_outs = self.run_outs.saturating_add(1);
    }

    /// When it becomes suspect unless something comes.
    fn silent_at(&self, settings: &Settings) -> Option<Instant> {
        let is_doubtful = self.health == Health::Alive && self.run_outs >= RUN_OUTS;
        self.waiting_since.filter(|_| is_doubtful).map(|since| since + settings.response_window)
    }

    /// Whether it is to be suspected for its silence.
    pub(super) fn is_silent(&self, turn: &Turn<'_>) -> bool {
        self.silent_at(turn.settings).is_some_and(|at| at <= turn.now.mono) || self.is_wholly_silent()
    }

    /// When a suspect is dead.
    fn dead_at(&self, settings: &Settings) -> Option<Instant> {
        (self.health == Health::Suspect).then(|| self.since + settings.zombie_period)
    }

    /// Whether a suspect was silent for so long that it is dead.
    pub(super) fn is_gone(&self, turn: &Turn<'_>) -> bool {
        self.dead_at(turn.settings).is_some_and(|at| at <= turn.now.mono)
    }

    /// Whether its time in the grave is over, once.
    pub(super) fn rises(&mut self, now: Instant) -> bool {
        self.revive_at.take_if(|at| *at <= now).is_some()
    }

    /// An authentic answer to a record came. Returns its health from now on, if that is another.
    pub(super) fn heard(&mut self, now: Instant) -> Option<Health> {
        self.run_outs = 0;
        self.waiting_since = None;
        self.heard_at = Some(now);
        match self.health {
            Health::Suspect | Health::ProbesOnly => Some(Health::Alive),
            Health::Dead => self.revived(),
            Health::Alive | Health::Refusing => None,
        }
    }

    /// A dead server answered.
    fn revived(&mut self) -> Option<Health> {
        self.probes_answered += 1;
        let is_proven = self.probes_answered >= PROBES_TO_ALIVE || self.support == Support::No;
        is_proven.then_some(Health::Alive)
    }

    /// A probe was answered. Returns its health from now on, if that is another.
    pub(super) fn probe_answered(&mut self, now: Instant) -> Option<Health> {
        self.support = Support::Yes;
        self.trials = 0;
        self.probe = None;
        self.probe_answered_at = Some(now);
        self.heard_at = Some(now);
        // A server that was silent as a whole and answers now is back; one that answered all along tells nothing new.
        let was_silent = self.suspicion == Suspicion::Gone || self.probes_missed > 0;
        self.probes_missed = 0;
        match self.health {
            Health::Suspect if was_silent => Some(Health::Alive),
            Health::Suspect => Some(Health::ProbesOnly),
            Health::Dead => self.revived(),
            Health::Alive | Health::ProbesOnly | Health::Refusing => None,
        }
    }

    /// What an answer has changed: its health is another from now on.
    pub(super) fn come_back(&mut self, turn: &mut Turn<'_>, health: Health) {
        let revive_at = turn.now.mono + turn.random.jitter(turn.settings.revival);
        self.enter(turn, health);
        self.revive_at = (health == Health::ProbesOnly).then_some(revive_at);
    }

    /// A probe was not answered in its time.
    fn misses_probe(&mut self) {
        self.probes_missed = self.probes_missed.saturating_add(1);
    }

    /// Whether it answers Status-Server no more either.
    fn is_wholly_silent(&self) -> bool {
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

    fn probes(&self) -> bool {
        self.support != Support::No && (self.is_doubtful() || self.trials > 0)
    }

    /// It went silent or is gone.
    pub(super) fn suspect(&mut self, turn: &mut Turn<'_>, suspicion: Suspicion) {
        if matches!(self.health, Health::Alive | Health::ProbesOnly) {
            self.suspicion = suspicion;
            self.enter(turn, Health::Suspect);
        }
    }

    /// Nothing came for too long.
    pub(super) fn die(&mut self, turn: &mut Turn<'_>) {
        self.enter(turn, Health::Dead);
        if self.support != Support::Yes {
            // Only the revival timer can bring it back.
            self.revive_at = Some(turn.now.mono + turn.random.jitter(turn.settings.revival));
        }
    }

    /// Its health is this from now on.
    pub(super) fn enter(&mut self, turn: &mut Turn<'_>, health: Health) {
        let answers_records = self.health == Health::Suspect && health == Health::Alive;
        let was_probes_only = self.health == Health::ProbesOnly;
        self.trials = if answers_records && self.support == Support::Unknown { PROBES_TO_UNSUPPORTED } else { 0 };
        self.health = health;
        self.since = turn.now.mono;
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
            self.next_probe.get_or_insert(turn.now.mono);
        } else {
            self.next_probe = None;
            self.probe = None;
        }
        turn.out.push(Output::Health { server: self.server, health });
    }

    /// The socket for Status-Server is there.
    pub(super) fn link_opened(&mut self) {
        self.link = Some(Link::Open);
    }

    /// The socket for Status-Server cannot be had, or was lost.
    pub(super) fn link_failed(&mut self, now: Instant) {
        self.link = Some(Link::Closed { retry_at: now + LANE_RETRY });
        self.probe_missed();
    }

    /// The Status-Server under way on its own socket.
    pub(super) fn probe(&self) -> Option<&Probe> {
        self.probe.as_ref()
    }

    /// The next Status-Server, if one is due on its own socket; asks for that socket first.
    pub(super) fn next_probe(&mut self, turn: &mut Turn<'_>) -> Option<Probe> {
        let now = turn.now.mono;
        if !self.probes() {
            self.next_probe = None;
        }
        if self.next_probe.is_none_or(|at| at > now) {
            return None;
        }
        match self.link {
            Some(Link::Open) => {
                self.probe_missed();
                self.next_probe = None;
                if !self.probes() {
                    return None;
                }
                if self.is_wholly_silent() {
                    self.suspect(turn, Suspicion::Silent);
                }
                self.next_probe = Some(now + turn.random.jitter(turn.settings.probe_interval));
                // Each is a new packet (RFC 5997 §4.3).
                self.probe_identifier = self.probe_identifier.wrapping_add(1);
                self.probe = Some(Probe::new(self.probe_identifier, turn.random));
                self.probe
            }
            Some(Link::Opening | Link::Dormant | Link::Draining) => None,
            Some(Link::Closed { retry_at }) if retry_at > now => {
                self.next_probe = Some(retry_at);
                None
            }
            None | Some(Link::Closed { .. }) => {
                self.link = Some(Link::Opening);
                turn.out.push(Output::OpenLane { server: self.server, lane: LaneId::PROBE });
                None
            }
        }
    }

    /// Whether Status-Server is due on its connections, where one `is_pending` perhaps. That is trial enough: the watchdog
    /// looks after the answer.
    pub(super) fn probes_connections(&mut self, turn: &mut Turn<'_>, is_pending: bool) -> bool {
        if self.next_probe.is_none_or(|at| at > turn.now.mono) {
            return false;
        }
        if is_pending {
            self.misses_probe();
        }
        self.trials = 0;
        let goes_on = self.probes();
        self.next_probe = goes_on.then(|| turn.now.mono + turn.random.jitter(turn.settings.probe_interval));
        true
    }

    /// When something is due that concerns its health.
    pub(super) fn deadline(&self, settings: &Settings) -> Option<Instant> {
        let probe = self.next_probe.filter(|_| self.link != Some(Link::Opening));
        let all = [self.silent_at(settings), self.dead_at(settings), probe, self.revive_at, self.try_at];
        all.into_iter().flatten().min()
    }
}
