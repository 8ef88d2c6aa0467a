//! One run: gateways, deliverers, calls and what goes wrong, from a seed; then all is mended, and nothing may be missing.

use std::collections::BTreeMap;
use std::time::Duration;

use tollgate::cluster::calls::{CallKey, Header, State};
use tollgate::cluster::lease::Timing;

use super::deliverer::Deliverer;
use super::gateway::Gateway;
use super::jetstream::{Key, Message};
use super::network::{Event, Fault, MS, Network, SECOND};
use super::records::{Call, What};

const TIMING: Timing = Timing { lease: Duration::from_secs(4) };
/// How long calls begin and things go wrong.
const TROUBLE: u64 = 40 * SECOND;
/// How long it may take then until all is in order.
const MENDED: u64 = 60 * SECOND;
/// A BYE is sent again so often, each time to any gateway.
const TRIES: u32 = 6;

/// What a run was like.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Run {
    pub(crate) calls: usize,
    pub(crate) unmirrored: usize,
    pub(crate) adopted: u64,
    pub(crate) inherited: u64,
    pub(crate) forgotten: u64,
    /// Records that the duplicate window kept away, and repeats at the backend.
    pub(crate) duplicates: u64,
    pub(crate) repeats: u64,
    pub(crate) faults: u64,
}

impl Run {
    /// Adds those of another run.
    pub(crate) fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.unmirrored += other.unmirrored;
        self.adopted += other.adopted;
        self.inherited += other.inherited;
        self.forgotten += other.forgotten;
        self.duplicates += other.duplicates;
        self.repeats += other.repeats;
        self.faults += other.faults;
    }
}

struct World {
    net: Network,
    gateways: Vec<Gateway>,
    deliverers: Vec<Deliverer>,
    partitions: usize,
    /// Whether each event is shown.
    is_traced: bool,
}

/// A run without faults when `is_calm`.
pub(crate) fn run(seed: u64, is_calm: bool) -> Run {
    let mut world = World::new(seed);
    let faults = world.plan(is_calm);
    world.play(TROUBLE);
    world.mend();
    let end = TROUBLE + MENDED;
    while world.net.now < end && !world.is_quiet() {
        let next = (world.net.now + SECOND).min(end);
        world.play(next);
        world.net.now = next;
    }
    world.check();
    let World { net, .. } = world;
    Run {
        calls: net.calls.iter().filter(|call| call.is_answered).count(),
        unmirrored: net.calls.iter().filter(|call| call.is_unmirrored).count(),
        adopted: net.checks.adopted,
        inherited: net.checks.inherited,
        forgotten: net.checks.forgotten,
        duplicates: net.store.duplicates,
        repeats: net.checks.repeats,
        faults,
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut net = Network::new(seed, 9);
        let gateways = usize::try_from(net.chance.within(2, 5)).expect("small");
        let deliverers = usize::try_from(net.chance.within(1, 4)).expect("small");
        let partitions = usize::try_from(net.chance.within(1, 6)).expect("small");
        net.hosts.truncate(gateways + deliverers);
        let gateways: Vec<Gateway> = (0..gateways).map(|who| Gateway::new(who, gateways, partitions)).collect();
        let first = gateways.len();
        let deliverers = (first..first + deliverers).map(|who| Deliverer::new(who, partitions)).collect();
        let is_traced = std::env::var_os("TOLLGATE_CLUSTER_TRACE").is_some();
        Self { net, gateways, deliverers, partitions, is_traced }
    }

    /// Lays out calls and faults; gives how many of these.
    fn plan(&mut self, is_calm: bool) -> u64 {
        let hosts = self.net.hosts.len();
        for who in 0..hosts {
            let at = self.net.chance.within(0, 1_000) * MS;
            self.net.at(at, Event::Fault(Fault::Start { who }));
        }
        for call in 0..usize::try_from(self.net.chance.within(10, 40)).expect("small") {
            self.net.calls.push(Call::default());
            let begin = self.net.chance.within(1_000, 38_000) * MS;
            let length = self.net.chance.within(50, 20_000) * MS;
            let at = self.net.chance.index(self.gateways.len());
            self.net.at(begin, Event::Dial { call, at });
            let end = (begin + length).min(TROUBLE - SECOND);
            while self.net.chance.percent(40) {
                let refresh = self.net.chance.within(begin, end);
                self.net.at(refresh, Event::Refresh { call });
            }
            let at = if self.net.chance.percent(50) { at } else { self.net.chance.index(self.gateways.len()) };
            self.net.at(end, Event::Hangup { call, at, tries: 0 });
        }
        if is_calm {
            return 0;
        }
        self.net.trouble = [0, 0, 1, 5][self.net.chance.index(4)];
        let faults = self.net.chance.within(1, 8);
        for _ in 0..faults {
            let fault = self.fault();
            let at = self.net.chance.within(2_000, 39_000) * MS;
            self.net.at(at, Event::Fault(fault));
        }
        faults
    }

    fn fault(&mut self) -> Fault {
        let chance = &mut self.net.chance;
        let who = chance.index(self.net.hosts.len());
        match chance.within(0, 9) {
            0 => Fault::NoLeader { millis: chance.within(4_000, 8_000) },
            1..=3 => Fault::Cut { who, millis: chance.within(200, 15_000), is_stale: chance.percent(50) },
            4..=5 => Fault::Pause { who, millis: chance.within(100, 15_000) },
            6 => {
                let micros = i64::try_from(chance.within(0, 7_200)).expect("small") - 3_600;
                Fault::SetClock { who, micros: micros * 1_000_000 }
            }
            _ => {
                let back_after = chance.percent(70).then(|| chance.within(50, 15_000));
                Fault::Kill { who, keeps_disk: chance.percent(50), back_after }
            }
        }
    }

    fn play(&mut self, end: u64) {
        while let Some(event) = self.net.next(end) {
            self.happen(event);
            while let Some((partition, who)) = self.net.checks.taken.pop() {
                let holds = |own: &&Deliverer| own.holds(&self.net, partition);
                let holders = self.deliverers.iter().filter(holds).count();
                assert!(holders <= 1, "{partition} was taken by {who}, and another holds it");
            }
        }
    }

    /// Whose event it is, with the life it is for.
    fn subject(event: &Event) -> Option<(usize, Option<u32>)> {
        match event {
            Event::Reply { who, life, .. }
            | Event::Tick { who, life }
            | Event::Routine { who, life }
            | Event::Change { who, life, .. }
            | Event::Settled { who, life, .. } => Some((*who, Some(*life))),
            Event::Word { to, .. } => Some((*to, None)),
            _ => None,
        }
    }

    fn happen(&mut self, event: Event) {
        if self.is_traced {
            println!("{:>12} {event:?}", self.net.now);
        }
        let net = &mut self.net;
        if let Some((who, life)) = Self::subject(&event) {
            let host = &net.hosts[who];
            if !host.is_up || life.is_some_and(|life| life != host.life) {
                return;
            }
            let until = host.paused_until;
            if until > net.now {
                return match event {
                    // The timer is due as soon as the process goes on.
                    Event::Tick { who, .. } => self.postpone(who, until),
                    event => net.at(until, event),
                };
            }
            match self.gateways.get_mut(who) {
                Some(gateway) => match event {
                    Event::Reply { token, reply, .. } => gateway.reply(net, token, reply),
                    Event::Tick { .. } => gateway.tick(net),
                    Event::Routine { .. } => gateway.routine(net),
                    Event::Change { key, version, mark, .. } => gateway.changed(net, key, version, mark),
                    Event::Word { from, word, .. } => gateway.word(net, from, word),
                    _ => {}
                },
                None => {
                    let deliverer = &mut self.deliverers[who - self.gateways.len()];
                    match event {
                        Event::Reply { token, reply, .. } => deliverer.reply(net, token, reply),
                        Event::Tick { .. } => deliverer.tick(net),
                        Event::Routine { .. } => deliverer.routine(net),
                        Event::Settled { message, .. } => deliverer.settled(net, message),
                        _ => {}
                    }
                }
            }
            return;
        }
        match event {
            Event::Arrive { who, life, token, request } => net.arrive(who, life, token, request),
            Event::Backend { who, life, message } => {
                net.checks.arrived(message.fact);
                if let Some(way) = net.backend_way() {
                    net.after(way, Event::Settled { who, life, message });
                }
            }
            Event::Fault(fault) => self.strike(fault),
            Event::Dial { call, at } => {
                let serves = self.serves(at);
                self.net.calls[call].is_answered = serves;
                if serves {
                    self.gateways[at].dial(&mut self.net, call);
                }
            }
            Event::Refresh { call } => {
                let keeps = |at: &usize| self.serves(*at) && self.gateways[*at].disk.calls.contains_key(&call);
                if let Some(at) = (0..self.gateways.len()).find(keeps) {
                    self.gateways[at].refresh(&mut self.net, call);
                }
            }
            Event::Hangup { call, at, tries } => self.hangup(call, at, tries),
            _ => {}
        }
    }

    fn postpone(&mut self, who: usize, until: u64) {
        let life = self.net.life(who);
        match self.gateways.get_mut(who) {
            Some(gateway) => gateway.postpone(until),
            None => self.deliverers[who - self.gateways.len()].postpone(until),
        }
        self.net.at(until, Event::Tick { who, life });
    }

    fn serves(&self, at: usize) -> bool {
        let host = &self.net.hosts[at];
        host.is_up && host.paused_until <= self.net.now && self.gateways[at].is_serving()
    }

    fn hangup(&mut self, call: usize, at: usize, tries: u32) {
        if !self.net.calls[call].is_answered {
            return;
        }
        if !self.net.calls[call].is_over {
            (self.net.calls[call].is_over, self.net.calls[call].over_at) = (true, self.net.now);
        }
        if self.serves(at) {
            self.gateways[at].hangup(&mut self.net, call);
        } else if tries < TRIES {
            let at = self.net.chance.index(self.gateways.len());
            self.net.after(SECOND / 2, Event::Hangup { call, at, tries: tries + 1 });
        }
    }

    fn strike(&mut self, fault: Fault) {
        self.net.fault(fault);
        match fault {
            Fault::Start { who } if !self.net.hosts[who].is_up => {
                self.net.hosts[who].is_up = true;
                self.net.hosts[who].life += 1;
                self.net.hosts[who].paused_until = 0;
                self.net.hosts[who].started = self.net.now;
                match self.gateways.get_mut(who) {
                    Some(gateway) => gateway.start(&mut self.net, TIMING),
                    None => self.deliverers[who - self.gateways.len()].start(&mut self.net, TIMING),
                }
            }
            Fault::Kill { who, keeps_disk, back_after } if self.net.hosts[who].is_up => {
                self.net.hosts[who].is_up = false;
                match self.gateways.get_mut(who) {
                    Some(gateway) => gateway.kill(&mut self.net, keeps_disk),
                    None => self.deliverers[who - self.gateways.len()].kill(),
                }
                if let Some(millis) = back_after {
                    self.net.after(millis * MS, Event::Fault(Fault::Start { who }));
                }
            }
            _ => {}
        }
    }

    /// The network is whole again, and every process runs whose disk is there; at least one of each kind.
    fn mend(&mut self) {
        self.net.heal();
        let gateways = self.gateways.len();
        let is_down = |own: &Self, who: usize| !own.net.hosts[who].is_up;
        let all_down = |own: &Self, mut range: std::ops::Range<usize>| range.all(|who| is_down(own, who));
        for who in 0..self.net.hosts.len() {
            let is_needed = match who < gateways {
                true => {
                    !self.gateways[who].disk.calls.is_empty()
                        || self.gateways[who].has_records()
                        || all_down(self, 0..gateways)
                }
                false => all_down(self, gateways..self.net.hosts.len()),
            };
            if is_needed && is_down(self, who) {
                self.strike(Fault::Start { who });
            }
        }
    }

    fn is_quiet(&self) -> bool {
        let is_up = |who: usize| self.net.hosts[who].is_up;
        let gateways = self.gateways.iter().enumerate().all(|(who, own)| !is_up(who) || own.is_quiet());
        let lanes = self.deliverers.iter().map(Deliverer::lanes).sum::<usize>() == self.partitions;
        gateways && lanes && self.undelivered().is_empty() && self.left().is_empty() && self.unended().is_empty()
    }

    /// Messages that no backend has.
    fn undelivered(&self) -> Vec<Message> {
        let has_arrived = |message: &&Message| {
            let arrived = self.net.checks.arrived.get(&message.fact.call);
            arrived.is_some_and(|records| records.iter().any(|record| record.id() == message.fact.id()))
        };
        self.net.store.messages.iter().filter(|message| !has_arrived(message)).copied().collect()
    }

    /// Calls in progress that the bucket holds.
    fn left(&self) -> BTreeMap<CallKey, Header> {
        let found = self.net.store.scan(Key::Call(CallKey([0; 24])), Key::Call(CallKey([0xff; 24])), None);
        let live = found.into_iter().filter_map(|(key, version)| {
            let (header, _) = Header::decode(version.value.as_deref()?).expect("a value of ours");
            match (key, header.state) {
                (Key::Call(key), State::Live | State::Adopted) => Some((key, header)),
                _ => None,
            }
        });
        live.collect()
    }

    /// Calls without a Start or a Stop, as often as that.
    fn unended(&self) -> Vec<(usize, What)> {
        let mut counts = vec![[0; 2]; self.net.calls.len()];
        for message in &self.net.store.messages {
            match message.fact.what {
                What::Start => counts[message.fact.call][0] += 1,
                What::Stop => counts[message.fact.call][1] += 1,
                What::Interim => {}
            }
        }
        let mut missing = Vec::new();
        for (number, (call, counts)) in self.net.calls.iter().zip(&counts).enumerate() {
            for (count, what) in counts.iter().zip([What::Start, What::Stop]) {
                assert!(*count <= usize::from(call.is_answered), "{number} has {count} of {what:?}");
                if *count == 0 && call.is_answered && !call.is_unmirrored {
                    missing.push((number, what));
                }
            }
        }
        missing
    }

    fn check(&self) {
        assert_eq!(self.unended(), [], "calls that miss a record, and which");
        for (number, gateway) in self.gateways.iter().enumerate() {
            let (calls, unmirrored) = (&gateway.disk.calls, gateway.unmirrored());
            assert!(
                gateway.is_quiet() || !self.net.hosts[number].is_up,
                "{number} is not done: {calls:?}, {unmirrored}"
            );
        }
        assert_eq!(self.left(), BTreeMap::new(), "calls that nobody ends");
        let undelivered: Vec<u64> = self.undelivered().iter().map(|message| message.seq).collect();
        let tales: Vec<String> = self.deliverers.iter().map(|own| own.tale(&self.net)).collect();
        assert!(undelivered.is_empty(), "not delivered: {undelivered:?}; {tales:#?}");
        let lanes: Vec<usize> = self.deliverers.iter().map(Deliverer::lanes).collect();
        assert_eq!(lanes.iter().sum::<usize>(), self.partitions, "partitions that are delivered: {lanes:?}");
    }
}
