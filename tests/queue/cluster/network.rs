//! True time, the clocks of the hosts, and what the network makes of requests and answers.

use std::collections::BTreeMap;
use std::rc::Rc;

use tollgate::clock::{Instant, Now, Timestamp};
use tollgate::cluster::calls::{CallKey, Header, State};
use tollgate::cluster::lease::Answer;

use super::chance::Chance;
use super::checks::Checks;
use super::jetstream::{JetStream, Key, Message, Version};
use super::records::{self, Call, Fact};

pub(crate) const MS: u64 = 1_000;
pub(crate) const SECOND: u64 = 1_000 * MS;

/// What is asked of the servers.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Update { key: Key, expected: u64, value: Rc<[u8]> },
    Remove { key: Key, revision: u64 },
    Read(Key),
    Scan { from: Key, to: Key },
    Publish { partition: usize, fact: Fact },
    Fetch { partition: usize, after: u64 },
}

/// What comes back, if anything does.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Answer(Answer),
    Read(Option<Version>),
    Scan(Vec<(Key, Version)>),
    Messages(Vec<Message>),
    Refused,
}

/// What a reply is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Token {
    Lease { key: Key, turn: u64 },
    LeaseRead(Key),
    Leases,
    Call { key: CallKey, turn: u64 },
    Calls { scan: u64 },
    Publish { number: u64 },
    Lane { partition: usize, tenure: u64, what: Lane },
}

/// A step of a lane.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Lane {
    Read,
    Claim,
    Save,
    Fetch,
}

/// From a gateway to another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Word {
    Told { key: CallKey, revision: u64 },
    Confirmed(CallKey),
    Yours(CallKey),
}

/// What happens at an instant.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Arrive {
        who: usize,
        life: u32,
        token: Token,
        request: Request,
    },
    Reply {
        who: usize,
        life: u32,
        token: Token,
        reply: Reply,
    },
    Tick {
        who: usize,
        life: u32,
    },
    Routine {
        who: usize,
        life: u32,
    },
    /// The queue's thread tells what it has committed.
    Change {
        who: usize,
        life: u32,
        key: CallKey,
        version: Option<u64>,
        mark: u64,
    },
    Word {
        to: usize,
        from: usize,
        word: Word,
    },
    Dial {
        call: usize,
        at: usize,
    },
    Refresh {
        call: usize,
    },
    Hangup {
        call: usize,
        at: usize,
        tries: u32,
    },
    /// A record arrives at the backend; then its response at the deliverer.
    Backend {
        who: usize,
        life: u32,
        message: Message,
    },
    Settled {
        who: usize,
        life: u32,
        message: Message,
    },
    Fault(Fault),
}

/// What goes wrong, or is mended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    NoLeader { millis: u64 },
    Cut { who: usize, millis: u64, is_stale: bool },
    Pause { who: usize, millis: u64 },
    Kill { who: usize, keeps_disk: bool, back_after: Option<u64> },
    Start { who: usize },
    SetClock { who: usize, micros: i64 },
}

/// A machine with its clocks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Host {
    pub(crate) life: u32,
    pub(crate) is_up: bool,
    pub(crate) paused_until: u64,
    cut_until: u64,
    /// It sits at a server that has fallen behind, since then.
    stale: Option<u64>,
    booted: u64,
    /// Parts in a million that its clock is fast.
    drift: i64,
    pub(crate) wall: i64,
    pub(crate) started: u64,
    /// When it was last cut off or stopped, or the servers were without a leader.
    disturbed: u64,
}

/// All that lies between the processes.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) now: u64,
    pub(crate) chance: Chance,
    pub(crate) store: JetStream,
    pub(crate) hosts: Vec<Host>,
    pub(crate) checks: Checks,
    pub(crate) calls: Vec<Call>,
    records: u64,
    events: BTreeMap<(u64, u64), Event>,
    order: u64,
    leaderless_until: u64,
    /// Of a hundred requests and answers, so many are slow, and half as many lost.
    pub(crate) trouble: u64,
}

impl Network {
    pub(crate) fn new(seed: u64, hosts: usize) -> Self {
        let mut chance = Chance::new(seed);
        let host = |_| Host {
            booted: chance.within(1, 1_000_000) * SECOND,
            drift: i64::try_from(chance.within(0, 1_000)).expect("small") - 500,
            wall: 1_800_000_000_000_000,
            ..Host::default()
        };
        let hosts = (0..hosts).map(host).collect();
        Self {
            now: 0,
            chance,
            store: JetStream::default(),
            hosts,
            checks: Checks::default(),
            calls: Vec::new(),
            records: 0,
            events: BTreeMap::new(),
            order: 0,
            leaderless_until: 0,
            trouble: 0,
        }
    }

    pub(crate) fn at(&mut self, at: u64, event: Event) {
        self.order += 1;
        self.events.insert((at.max(self.now), self.order), event);
    }

    pub(crate) fn after(&mut self, micros: u64, event: Event) {
        self.at(self.now + micros, event);
    }

    /// The next event before `end`.
    pub(crate) fn next(&mut self, end: u64) -> Option<Event> {
        let entry = self.events.first_entry().filter(|entry| entry.key().0 < end)?;
        self.now = entry.key().0;
        Some(entry.remove())
    }

    fn drifted(micros: u64, drift: i64) -> u64 {
        let shift = i64::try_from(micros / 1_000).expect("in range") * drift / 1_000;
        micros.checked_add_signed(shift).expect("in range")
    }

    /// What the clocks of a host show.
    pub(crate) fn clock(&self, who: usize) -> Now {
        let host = &self.hosts[who];
        let mono = Instant(host.booted + Self::drifted(self.now, host.drift));
        Now { mono, wall: Timestamp(host.wall + i64::try_from(self.now).expect("in range")) }
    }

    /// When the clock of a host shows this, or a moment later.
    pub(crate) fn true_time(&self, who: usize, mono: Instant) -> u64 {
        let host = &self.hosts[who];
        let shown = mono.0.saturating_sub(host.booted);
        let mut at = Self::drifted(shown, -host.drift);
        while Self::drifted(at, host.drift) < shown {
            at += 1 + shown / 1_000_000;
        }
        at
    }

    /// The number of a new record.
    pub(crate) fn record(&mut self) -> u64 {
        self.records += 1;
        self.records
    }

    pub(crate) fn life(&self, who: usize) -> u32 {
        self.hosts[who].life
    }

    pub(crate) fn fault(&mut self, fault: Fault) {
        match fault {
            Fault::NoLeader { millis } => {
                self.leaderless_until = self.now + millis * MS;
                let until = self.leaderless_until;
                self.hosts.iter_mut().for_each(|host| host.disturbed = host.disturbed.max(until));
            }
            Fault::Cut { who, millis, is_stale } => {
                self.hosts[who].disturbed = self.hosts[who].disturbed.max(self.now + millis * MS);
                self.hosts[who].cut_until = self.now + millis * MS;
                self.hosts[who].stale = is_stale.then_some(self.now);
            }
            Fault::Pause { who, millis } => {
                self.hosts[who].paused_until = self.now + millis * MS;
                self.hosts[who].disturbed = self.hosts[who].disturbed.max(self.now + millis * MS);
            }
            Fault::SetClock { who, micros } => self.hosts[who].wall += micros,
            Fault::Kill { .. } | Fault::Start { .. } => {}
        }
    }

    pub(crate) fn heal(&mut self) {
        self.leaderless_until = 0;
        self.trouble = 0;
        for host in &mut self.hosts {
            (host.cut_until, host.paused_until, host.stale) = (0, 0, None);
        }
    }

    /// How long a message is on its way; `None`: for ever.
    fn way(&mut self) -> Option<u64> {
        let trouble = self.trouble;
        if self.chance.percent(trouble) {
            return (!self.chance.percent(33)).then(|| self.chance.within(1, 3_000) * MS);
        }
        Some(self.chance.within(200, 3_000))
    }

    /// Asks the servers.
    pub(crate) fn request(&mut self, who: usize, token: Token, request: Request) {
        let life = self.life(who);
        let Host { cut_until, stale, .. } = self.hosts[who];
        if cut_until > self.now {
            let is_read = matches!(request, Request::Read(_) | Request::Scan { .. } | Request::Fetch { .. });
            if let Some(since) = stale.filter(|_| is_read) {
                let reply = self.perform(&request, Some(since));
                self.after(2 * MS, Event::Reply { who, life, token, reply });
            } else if self.chance.percent(30) {
                self.after(MS, Event::Reply { who, life, token, reply: Reply::Refused });
            } else if self.chance.percent(50) {
                // Held back by the server, and done when the network is whole again.
                let late = self.chance.within(1, 50) * MS;
                self.at(cut_until + late, Event::Arrive { who, life, token, request });
            }
            return;
        }
        if let Some(way) = self.way() {
            self.after(way, Event::Arrive { who, life, token, request });
        }
    }

    /// A request has come to the servers.
    pub(crate) fn arrive(&mut self, who: usize, life: u32, token: Token, request: Request) {
        if self.leaderless_until > self.now {
            if self.chance.percent(60) {
                self.after(MS, Event::Reply { who, life, token, reply: Reply::Refused });
            } else if self.chance.percent(60) {
                let late = self.chance.within(1, 50) * MS;
                self.at(self.leaderless_until + late, Event::Arrive { who, life, token, request });
            }
            return;
        }
        let reply = self.perform(&request, None);
        if let (Key::Progress(partition), Reply::Answer(Answer::Stored(_)), Request::Update { value, .. }) =
            (key_of(&request), &reply, &request)
        {
            self.checks.progress(partition, value);
        }
        if self.hosts[who].cut_until <= self.now
            && let Some(way) = self.way()
        {
            self.after(way, Event::Reply { who, life, token, reply });
        }
    }

    fn perform(&mut self, request: &Request, stale: Option<u64>) -> Reply {
        match request {
            Request::Update { key, expected, value } => {
                Reply::Answer(self.store.update(self.now, *key, *expected, value))
            }
            Request::Remove { key, revision } => Reply::Answer(self.store.remove(self.now, *key, *revision)),
            Request::Read(key) => Reply::Read(self.store.read(*key, stale).cloned()),
            Request::Scan { from, to } => Reply::Scan(self.store.scan(*from, *to, stale)),
            Request::Publish { partition, fact } => {
                Reply::Answer(Answer::Stored(self.store.publish(self.now, *partition, *fact)))
            }
            Request::Fetch { partition, after } => Reply::Messages(self.store.fetch(*partition, *after, 16)),
        }
    }

    /// A gateway makes the Stop of a call. When it started, the stream had one, and the bucket did not have the call in
    /// progress any more: then it was to forget the call, unless the network has kept it from knowing.
    pub(crate) fn ends(&self, who: usize, call: usize) {
        let Host { started, disturbed, .. } = self.hosts[who];
        let had_ended = self.store.stops.get(&call).is_some_and(|at| *at < started);
        let found = self.store.read(Key::Call(records::key(call)), Some(started));
        let state =
            found.and_then(|found| Header::decode(found.value.as_deref()?).ok()).map(|(header, _)| header.state);
        let is_known = had_ended && !matches!(state, Some(State::Live | State::Adopted));
        let is_undisturbed = self.trouble == 0 && started > disturbed;
        assert!(!(is_known && is_undisturbed), "{who} ends {call}, which had ended before it started");
    }

    /// From process to process; may be lost.
    pub(crate) fn word(&mut self, from: usize, to: usize, word: Word) {
        let is_cut = self.hosts[from].cut_until.max(self.hosts[to].cut_until) > self.now;
        if let Some(way) = self.way().filter(|_| !is_cut) {
            self.after(way, Event::Word { to, from, word });
        }
    }

    /// To the backend or back from it, by another network.
    pub(crate) fn backend_way(&mut self) -> Option<u64> {
        let trouble = self.trouble;
        if self.chance.percent(trouble) {
            return (!self.chance.percent(33)).then(|| self.chance.within(1, 2_000) * MS);
        }
        Some(self.chance.within(1_000, 10_000))
    }
}

fn key_of(request: &Request) -> Key {
    match request {
        Request::Update { key, .. } | Request::Remove { key, .. } | Request::Read(key) => *key,
        Request::Scan { from, .. } => *from,
        Request::Publish { .. } | Request::Fetch { .. } => Key::Gateway(0),
    }
}
