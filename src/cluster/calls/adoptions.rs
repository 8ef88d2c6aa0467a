//! Calls of others that are being adopted, on demand or because their gateway's lease has run out.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use foldhash::fast::RandomState;

use super::mirror::{Bus, Mirror};
use super::value::{FORMER_MAX, Header, Home, State};
use super::{ADOPT_WAIT, ANSWER_WAIT, Answer, CallKey, DOUBT_KEPT, Found, Output, PAUSE, Why};
use crate::clock::Instant;

/// Adoptions under way; a scan waits when there are more.
const ADOPTIONS_MAX: usize = 1_024;
/// How often others may be faster.
const TRIES_MAX: u8 = 8;

/// What we have asked the bucket to hold.
#[derive(Clone, Debug)]
struct Draft {
    sent: Instant,
    expected: u64,
    from: Home,
    header: Header,
    body: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Busy {
    /// The next read is due then.
    Resting(Instant),
    /// Until its answer is held for lost.
    Reading {
        turn: u64,
        until: Instant,
    },
    Updating {
        turn: u64,
        until: Instant,
        draft: Box<Draft>,
    },
}

#[derive(Clone, Debug)]
struct Adoption {
    busy: Busy,
    /// A request waits for it, until then.
    asked: Option<Instant>,
    /// The gateway that is being inherited, and what the scan showed.
    heir_of: Option<String>,
    base: u64,
    tries: u8,
    /// An update that may be stored: what it expected.
    doubt: Option<Box<Draft>>,
}

/// A gateway whose calls are adopted.
#[derive(Clone, Debug)]
struct Estate {
    from: String,
    scan: u64,
    is_scanned: bool,
    /// When it is scanned once more.
    again: Option<Instant>,
    under_way: usize,
    calls: u64,
}

/// Calls that are to become ours.
#[derive(Clone, Debug, Default)]
pub(super) struct Adoptions {
    under_way: HashMap<CallKey, Adoption, RandomState>,
    estates: Vec<Estate>,
    /// When something is to be looked at: answers that did not come, rests, and requests that wait no longer.
    alarms: BTreeSet<(Instant, CallKey)>,
}

impl Adoptions {
    pub fn room(&self) -> usize {
        ADOPTIONS_MAX.saturating_sub(self.under_way.len())
    }

    pub fn deadline(&self) -> Option<Instant> {
        let alarm = self.alarms.first().map(|(at, _)| *at);
        let again = self.estates.iter().filter(|estate| estate.is_scanned).filter_map(|estate| estate.again);
        again.chain(alarm).min()
    }

    /// Looks for a call on demand.
    pub fn ask(&mut self, key: CallKey, bus: &mut Bus<'_>) {
        let until = bus.now.mono + ADOPT_WAIT;
        self.alarms.insert((until, key));
        match self.under_way.get_mut(&key) {
            Some(adoption) => adoption.asked = Some(until),
            None => {
                let busy = self.read(key, bus);
                self.begin(key, Adoption { busy, asked: Some(until), heir_of: None, base: 0, tries: 0, doubt: None });
            }
        }
    }

    /// Looks whether a call is ours without our knowing.
    pub fn look_up(&mut self, key: CallKey, bus: &mut Bus<'_>) {
        if !self.under_way.contains_key(&key) {
            let busy = self.read(key, bus);
            self.begin(key, Adoption { busy, asked: None, heir_of: None, base: 0, tries: 0, doubt: None });
        }
    }

    fn begin(&mut self, key: CallKey, adoption: Adoption) {
        if let Some(estate) = self.estate(adoption.heir_of.as_deref()) {
            estate.under_way += 1;
        }
        self.under_way.insert(key, adoption);
    }

    fn estate(&mut self, from: Option<&str>) -> Option<&mut Estate> {
        self.estates.iter_mut().find(|estate| Some(estate.from.as_str()) == from)
    }

    /// Whether the calls of that gateway are adopted.
    pub fn inherits(&self, from: &str) -> bool {
        self.estates.iter().any(|estate| estate.from == from)
    }

    pub fn inherit(&mut self, from: &str, scan: u64, again: Option<Instant>) {
        if !self.inherits(from) {
            let from = from.to_owned();
            self.estates.push(Estate { from, scan, is_scanned: false, again, under_way: 0, calls: 0 });
        }
    }

    /// Whether an estate is to be scanned once more now, which is by the scan of that number then.
    pub fn is_scan_due(&mut self, now: Instant, scan: u64) -> bool {
        let mut is_due = false;
        for estate in self.estates.iter_mut().filter(|own| own.is_scanned && own.again.is_some_and(|at| at <= now)) {
            (estate.scan, estate.is_scanned, estate.again) = (scan, false, None);
            is_due = true;
        }
        is_due
    }

    /// What is under way goes on; nothing more begins.
    pub fn disinherit(&mut self, from: &str) {
        self.estates.retain(|estate| estate.from != from);
    }

    pub fn scanned(&mut self, scan: u64, bus: &mut Bus<'_>) {
        self.estates.iter_mut().filter(|estate| estate.scan <= scan).for_each(|estate| estate.is_scanned = true);
        self.settle(bus);
    }

    fn settle(&mut self, bus: &mut Bus<'_>) {
        self.estates.retain(|estate| {
            let is_done = estate.is_scanned && estate.again.is_none() && estate.under_way == 0;
            if is_done {
                bus.out.push(Output::Inherited { from: estate.from.clone(), calls: estate.calls });
            }
            !is_done
        });
    }

    /// A scan has found a call of a gateway that is inherited.
    pub fn found(&mut self, key: CallKey, revision: u64, header: Header, body: &[u8], bus: &mut Bus<'_>) {
        let heir_of = Some(header.owner.name.clone());
        if let Some(adoption) = self.under_way.get_mut(&key) {
            // Looked for on demand: that goes on, whether somebody waits for it or not.
            if adoption.heir_of.is_none() {
                (adoption.heir_of, adoption.base) = (heir_of, revision);
                if let Some(estate) = self.estate(Some(&header.owner.name)) {
                    estate.under_way += 1;
                }
            }
            return;
        }
        let busy = self.update(key, revision, header, body, bus);
        self.begin(key, Adoption { busy, asked: None, heir_of, base: revision, tries: 0, doubt: None });
    }

    fn read(&mut self, key: CallKey, bus: &mut Bus<'_>) -> Busy {
        let turn = bus.turns.next();
        bus.out.push(Output::Read { key, turn });
        let until = bus.now.mono + ANSWER_WAIT;
        self.alarms.insert((until, key));
        Busy::Reading { turn, until }
    }

    fn rest(&mut self, key: CallKey, pause: Duration, bus: &Bus<'_>) -> Busy {
        let until = bus.now.mono + pause;
        self.alarms.insert((until, key));
        Busy::Resting(until)
    }

    fn update(&mut self, key: CallKey, expected: u64, old: Header, body: &[u8], bus: &mut Bus<'_>) -> Busy {
        let Header { owner: from, mut former, sinks, .. } = old;
        let own = &bus.settings.home;
        former.retain(|name| *name != own.name && *name != from.name);
        if from.name != own.name {
            former.truncate(FORMER_MAX - 1);
            former.push(from.name.clone());
        }
        let mut header = bus.settings.header(State::Adopted, &former, bus.now.wall);
        header.sinks = sinks;
        let turn = bus.turns.next();
        bus.out.push(Output::Update { key, turn, expected, value: header.encode(body) });
        let until = bus.now.mono + ANSWER_WAIT;
        self.alarms.insert((until, key));
        Busy::Updating {
            turn,
            until,
            draft: Box::new(Draft { sent: bus.now.mono, expected, from, header, body: body.to_vec() }),
        }
    }

    pub fn answered(&mut self, key: CallKey, turn: u64, answer: Answer, mirror: &mut Mirror, bus: &mut Bus<'_>) {
        let Some(mut adoption) = self.under_way.remove(&key) else { return };
        match adoption.busy {
            Busy::Updating { turn: current, draft, .. } if current == turn => match answer {
                Answer::Stored(revision) => {
                    self.adopted(key, revision, *draft, adoption.heir_of.as_deref(), mirror, bus);
                    return;
                }
                Answer::Conflict | Answer::Lost => {
                    adoption.tries += u8::from(answer == Answer::Conflict);
                    adoption.doubt = Some(draft);
                    adoption.busy = self.read(key, bus);
                }
                Answer::Refused => adoption.busy = self.rest(key, PAUSE, bus),
            },
            busy => adoption.busy = busy,
        }
        self.under_way.insert(key, adoption);
    }

    pub fn unread(&mut self, key: CallKey, turn: u64, bus: &Bus<'_>) {
        let rest = self
            .under_way
            .get(&key)
            .is_some_and(|own| matches!(own.busy, Busy::Reading { turn: current, .. } if current == turn));
        if rest {
            let busy = self.rest(key, PAUSE, bus);
            self.under_way.entry(key).and_modify(|own| own.busy = busy);
        }
    }

    pub fn seen(&mut self, key: CallKey, turn: u64, found: Option<Found<'_>>, mirror: &mut Mirror, bus: &mut Bus<'_>) {
        let is_current = |own: &Adoption| matches!(own.busy, Busy::Reading { turn: current, .. } if current == turn);
        if !self.under_way.get(&key).is_some_and(is_current) {
            return;
        }
        let Some(Found { revision, value }) = found else { return self.end(key, Why::Unknown, bus) };
        let Ok((header, body)) = Header::decode(value) else { return self.end(key, Why::Unreadable, bus) };
        let is_ours = header.owner == bus.settings.home;
        match header.state {
            State::Ended => self.end(key, Why::Ended, bus),
            State::Adopted if is_ours => {
                let Some(adoption) = self.under_way.remove(&key) else { return };
                let from = adoption.doubt.map_or_else(|| header.owner.clone(), |draft| draft.from);
                let draft = Draft { sent: bus.now.mono, expected: 0, from, header, body: body.to_vec() };
                self.adopted(key, revision, draft, adoption.heir_of.as_deref(), mirror, bus);
            }
            State::Live if is_ours => {
                mirror.remnant(key, revision, header.former);
                self.end(key, Why::Ended, bus);
            }
            State::Live | State::Adopted => self.seen_anothers(key, revision, header, body, bus),
        }
    }

    /// It is not ours yet.
    fn seen_anothers(&mut self, key: CallKey, revision: u64, header: Header, body: &[u8], bus: &mut Bus<'_>) {
        let Some(adoption) = self.under_way.get(&key) else { return };
        let doubt = adoption.doubt.as_ref();
        let is_same = doubt.is_some_and(|draft| draft.expected == revision);
        let is_moot = adoption.asked.is_none() && adoption.heir_of.is_none();
        if is_moot && is_same && doubt.is_some_and(|draft| bus.now.mono < draft.sent + DOUBT_KEPT) {
            // Nobody waits for it any more, but what was held back may be stored yet.
            let busy = self.rest(key, ANSWER_WAIT, bus);
            self.under_way.entry(key).and_modify(|own| own.busy = busy);
            return;
        }
        // Who writes its calls lives; and others are faster again and again.
        let lives = adoption.asked.is_none() && adoption.base != revision;
        if is_moot || lives || adoption.tries >= TRIES_MAX {
            return self.end(key, Why::Unreachable, bus);
        }
        let busy = self.update(key, revision, header, body, bus);
        self.under_way.entry(key).and_modify(|own| own.busy = busy);
    }

    fn adopted(
        &mut self,
        key: CallKey,
        revision: u64,
        draft: Draft,
        heir_of: Option<&str>,
        mirror: &mut Mirror,
        bus: &mut Bus<'_>,
    ) {
        let Draft { from, header, body, .. } = draft;
        mirror.adopted(key, revision, header.former);
        if from.name != bus.settings.home.name {
            bus.out.push(Output::Tell { key, revision, to: from.name.clone() });
        }
        bus.out.push(Output::Restore { key, from, sinks: header.sinks, value: body });
        if let Some(estate) = self.estate(heir_of) {
            estate.under_way = estate.under_way.saturating_sub(1);
            estate.calls += 1;
        }
        self.settle(bus);
    }

    /// It does not become ours.
    fn end(&mut self, key: CallKey, why: Why, bus: &mut Bus<'_>) {
        let Some(adoption) = self.under_way.remove(&key) else { return };
        if adoption.asked.is_some() {
            bus.out.push(Output::NotAdopted { key, why });
        }
        if let Some(estate) = self.estate(adoption.heir_of.as_deref()) {
            estate.under_way = estate.under_way.saturating_sub(1);
        }
        self.settle(bus);
    }

    pub fn tick(&mut self, bus: &mut Bus<'_>) {
        let now = bus.now.mono;
        while let Some((_, key)) = self.alarms.first().copied().filter(|(at, _)| *at <= now) {
            self.alarms.pop_first();
            self.look(key, bus);
        }
    }

    fn look(&mut self, key: CallKey, bus: &mut Bus<'_>) {
        let Some(mut adoption) = self.under_way.remove(&key) else { return };
        let now = bus.now.mono;
        if adoption.asked.is_some_and(|until| until <= now) {
            let is_sent = adoption.doubt.is_some() || matches!(adoption.busy, Busy::Updating { .. });
            if !is_sent && adoption.heir_of.is_none() {
                self.under_way.insert(key, adoption);
                return self.end(key, Why::Unreachable, bus);
            }
            // What may be stored is followed to its end.
            adoption.asked = None;
            bus.out.push(Output::NotAdopted { key, why: Why::Unreachable });
        }
        adoption.busy = match adoption.busy {
            Busy::Resting(until) | Busy::Reading { until, .. } if until <= now => self.read(key, bus),
            Busy::Updating { until, draft, .. } if until <= now => {
                adoption.doubt = Some(draft);
                self.read(key, bus)
            }
            busy => busy,
        };
        self.under_way.insert(key, adoption);
    }
}
