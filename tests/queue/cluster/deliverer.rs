//! A deliverer: the real machine of its partitions, and of how far a partition is delivered, and a plain model
//! of how it reads and delivers.

use std::collections::BTreeMap;
use std::rc::Rc;

use tollgate::cluster::lease::{Answer, Owner, Timing};
use tollgate::cluster::progress::{Mark, Next, Progress};
use tollgate::cluster::roster::{self, Entry, Roster};

use super::checks;
use super::jetstream::{Key, Message};
use super::network::{Event, Lane as Step, Network, Reply, Request, SECOND, Token};

/// When what was asked is asked again.
const AGAIN: u64 = SECOND;
/// How often progress is written and the stream is read.
const ROUND: u64 = 250_000;
/// Messages of a lane that are out of the stream and not settled.
const OPEN_MAX: usize = 32;

#[derive(Debug)]
struct Open {
    message: Message,
    sent: Option<u64>,
}

/// A partition that is ours.
#[derive(Debug)]
struct Lane {
    epoch: u64,
    tenure: u64,
    /// Whether its progress is written under our number.
    is_claimed: bool,
    /// Whether it was, ever.
    was_claimed: bool,
    revision: u64,
    progress: Progress,
    /// The last message that was read here.
    read: u64,
    open: BTreeMap<u64, Open>,
    /// What was asked, and when.
    asked: Option<(Step, u64)>,
    fetching: Option<u64>,
    is_given: bool,
}

struct Life {
    roster: Roster,
    lanes: BTreeMap<usize, Lane>,
    tick: Option<u64>,
    rounds: u64,
}

pub(crate) struct Deliverer {
    who: usize,
    partitions: usize,
    tenures: u64,
    life: Option<Life>,
}

fn name(who: usize) -> String {
    format!("del{who}")
}

impl Deliverer {
    pub(crate) fn new(who: usize, partitions: usize) -> Self {
        Self { who, partitions, tenures: 0, life: None }
    }

    pub(crate) fn start(&mut self, net: &mut Network, timing: Timing) {
        let me = Owner { name: name(self.who), nonce: u128::from(net.chance.next()) };
        let roster = Roster::new(me, timing, self.partitions);
        self.life = Some(Life { roster, lanes: BTreeMap::new(), tick: None, rounds: 0 });
        self.routine(net);
    }

    pub(crate) fn kill(&mut self) {
        self.life = None;
    }

    /// For a failure: what it thinks of its partitions.
    pub(crate) fn tale(&self, net: &Network) -> String {
        let Some(life) = &self.life else { return "down".to_owned() };
        let now = net.clock(self.who).mono;
        let members: Vec<&str> = life.roster.members(now).collect();
        let holders: Vec<_> = (0..self.partitions).map(|partition| life.roster.holder(partition, now)).collect();
        format!("{}: members {members:?}, holders {holders:?}, lanes {:?}", name(self.who), life.lanes)
    }

    /// The timer goes off at another instant.
    pub(crate) fn postpone(&mut self, until: u64) {
        if let Some(life) = &mut self.life {
            life.tick = Some(until);
        }
    }

    pub(crate) fn holds(&self, net: &Network, partition: usize) -> bool {
        self.life.as_ref().is_some_and(|life| life.roster.holds(partition, net.clock(self.who).mono))
    }

    /// Partitions that it delivers.
    pub(crate) fn lanes(&self) -> usize {
        self.life.as_ref().map_or(0, |life| life.lanes.values().filter(|lane| lane.is_claimed).count())
    }

    fn tell(&mut self, net: &mut Network, input: roster::Input<'_>) {
        let Some(life) = &mut self.life else { return };
        let mut out = Vec::new();
        life.roster.handle(net.clock(self.who).mono, input, &mut out);
        self.perform(net, out);
    }

    pub(crate) fn tick(&mut self, net: &mut Network) {
        let Some(life) = self.life.as_mut().filter(|life| life.tick == Some(net.now)) else { return };
        life.tick = None;
        let mut out = Vec::new();
        life.roster.tick(net.clock(self.who).mono, &mut out);
        self.perform(net, out);
    }

    fn arm(&mut self, net: &mut Network) {
        let Some(life) = &mut self.life else { return };
        let due = life.roster.deadline().map(|due| net.true_time(self.who, due).max(net.now + 1));
        if let Some(at) = due.filter(|at| life.tick.is_none_or(|tick| *at < tick || tick < net.now)) {
            life.tick = Some(at);
            net.at(at, Event::Tick { who: self.who, life: net.life(self.who) });
        }
    }

    fn store_key(&self, key: &roster::Key) -> Key {
        match key {
            roster::Key::Member(name) => Key::Member(name[3..].parse().expect("a name of ours")),
            roster::Key::Partition(number) => Key::Partition(*number),
        }
    }

    fn roster_key(key: Key) -> Option<roster::Key> {
        match key {
            Key::Member(who) => Some(roster::Key::Member(name(who))),
            Key::Partition(number) => Some(roster::Key::Partition(number)),
            _ => None,
        }
    }

    fn perform(&mut self, net: &mut Network, out: Vec<roster::Output>) {
        for output in out {
            match output {
                roster::Output::Update { key, turn, expected, value } => {
                    let (key, value) = (self.store_key(&key), Rc::from(value));
                    net.request(self.who, Token::Lease { key, turn }, Request::Update { key, expected, value });
                }
                roster::Output::Read(key) => {
                    let key = self.store_key(&key);
                    net.request(self.who, Token::LeaseRead(key), Request::Read(key));
                }
                roster::Output::Take { partition, epoch } => self.take(net, partition, epoch),
                roster::Output::Give(partition) => {
                    if let Some(lane) = self.life.as_mut().and_then(|life| life.lanes.get_mut(&partition)) {
                        lane.is_given = true;
                    }
                    self.step(net, partition);
                }
                roster::Output::Drop(partition) => {
                    if let Some(life) = &mut self.life {
                        life.lanes.remove(&partition);
                    }
                }
                roster::Output::Twin => panic!("{} sees a twin", self.who),
                roster::Output::Left => {}
            }
        }
        self.arm(net);
    }

    fn take(&mut self, net: &mut Network, partition: usize, epoch: u64) {
        self.tenures += 1;
        let tenure = self.tenures;
        net.checks.taken.push((partition, self.who));
        let lane = Lane {
            epoch,
            tenure,
            is_claimed: false,
            was_claimed: false,
            revision: 0,
            progress: Progress::default(),
            read: 0,
            open: BTreeMap::new(),
            asked: None,
            fetching: None,
            is_given: false,
        };
        if let Some(life) = &mut self.life {
            life.lanes.insert(partition, lane);
        }
        self.step(net, partition);
    }

    /// Each quarter of a second; each second time the leases are read.
    pub(crate) fn routine(&mut self, net: &mut Network) {
        let Some(life) = &mut self.life else { return };
        life.rounds += 1;
        if life.rounds % 2 == 1 {
            let (from, to) = (Key::Member(0), Key::Partition(usize::MAX));
            net.request(self.who, Token::Leases, Request::Scan { from, to });
        }
        let lanes: Vec<usize> = life.lanes.keys().copied().collect();
        lanes.into_iter().for_each(|partition| self.step(net, partition));
        net.after(ROUND, Event::Routine { who: self.who, life: net.life(self.who) });
    }

    /// Does what is next for a lane.
    fn step(&mut self, net: &mut Network, partition: usize) {
        let (who, now) = (self.who, net.now);
        if !self.holds(net, partition) {
            return;
        }
        let Some(lane) = self.life.as_mut().and_then(|life| life.lanes.get_mut(&partition)) else { return };
        let key = Key::Progress(partition);
        let token = |what| Token::Lane { partition, tenure: lane.tenure, what };
        if lane.asked.is_some_and(|(_, at)| now >= at + AGAIN) {
            // Its answer may be lost: it is read back.
            lane.asked = None;
            lane.progress.not_written();
            lane.is_claimed = false;
        }
        if !lane.is_claimed {
            if lane.asked.is_none() {
                lane.asked = Some((Step::Read, now));
                net.request(who, token(Step::Read), Request::Read(key));
            }
            return;
        }
        let is_busy = lane.open.values().any(|open| open.sent.is_some());
        if lane.is_given && !is_busy && !lane.progress.is_changed() && lane.asked.is_none() {
            if let Some(life) = &mut self.life {
                life.lanes.remove(&partition);
            }
            return self.tell(net, roster::Input::Settled(partition));
        }
        if lane.progress.is_changed() && lane.asked.is_none() {
            lane.asked = Some((Step::Save, now));
            lane.progress.writing();
            let (value, expected) = (Rc::from(checks::written(lane.epoch, &lane.progress)), lane.revision);
            net.request(who, token(Step::Save), Request::Update { key, expected, value });
        }
        if lane.is_given {
            return self.send(net, partition);
        }
        if lane.open.len() < OPEN_MAX && lane.progress.has_room() && lane.fetching.is_none_or(|at| now >= at + AGAIN) {
            lane.fetching = Some(now);
            net.request(who, token(Step::Fetch), Request::Fetch { partition, after: lane.read });
        }
        self.send(net, partition);
    }

    /// Sends what is open, the records of a call one after the other.
    fn send(&mut self, net: &mut Network, partition: usize) {
        let (who, now, life) = (self.who, net.now, net.life(self.who));
        let Some(lane) = self.life.as_mut().and_then(|life| life.lanes.get_mut(&partition)) else { return };
        let mut busy = Vec::new();
        for open in lane.open.values_mut() {
            // What is being given back begins nothing more.
            if lane.is_given && open.sent.is_none() {
                continue;
            }
            let call = open.message.fact.call;
            if busy.contains(&call) {
                continue;
            }
            busy.push(call);
            if open.sent.is_none_or(|at| now >= at + AGAIN) {
                open.sent = Some(now);
                if let Some(way) = net.backend_way() {
                    net.after(way, Event::Backend { who, life, message: open.message });
                }
            }
        }
    }

    /// The backend has taken a record.
    pub(crate) fn settled(&mut self, net: &mut Network, message: Message) {
        let partition = message.partition;
        let Some(lane) = self.life.as_mut().and_then(|life| life.lanes.get_mut(&partition)) else { return };
        lane.open.remove(&message.seq);
        lane.progress.settle(message.seq);
        if self.holds(net, partition) {
            self.send(net, partition);
        }
    }

    pub(crate) fn reply(&mut self, net: &mut Network, token: Token, reply: Reply) {
        match (token, reply) {
            (Token::Lease { key, turn }, reply) => {
                let Some(key) = Self::roster_key(key) else { return };
                let answer = if let Reply::Answer(answer) = reply { answer } else { Answer::Refused };
                self.tell(net, roster::Input::Answered { key: &key, turn, answer });
            }
            (Token::LeaseRead(key), reply) => {
                let Some(key) = Self::roster_key(key) else { return };
                let Reply::Read(found) = reply else { return self.tell(net, roster::Input::Unread(&key)) };
                let revision = found.as_ref().map_or(0, |found| found.revision);
                let value = found.and_then(|found| found.value).map(|value| value.to_vec());
                self.tell(net, roster::Input::Seen(&Entry { key, revision, value }));
            }
            (Token::Leases, Reply::Scan(found)) => {
                let entry = |(key, version): (Key, super::jetstream::Version)| {
                    let value = version.value.map(|value| value.to_vec());
                    Self::roster_key(key).map(|key| Entry { key, revision: version.revision, value })
                };
                let entries: Vec<Entry> = found.into_iter().filter_map(entry).collect();
                self.tell(net, roster::Input::Scanned(&entries));
            }
            (Token::Lane { partition, tenure, what }, reply) => self.lane(net, partition, tenure, what, reply),
            _ => {}
        }
    }

    fn lane(&mut self, net: &mut Network, partition: usize, tenure: u64, what: Step, reply: Reply) {
        let who = self.who;
        let lane = self.life.as_mut().and_then(|life| life.lanes.get_mut(&partition));
        let Some(lane) = lane.filter(|lane| lane.tenure == tenure) else { return };
        if what == Step::Fetch {
            lane.fetching = None;
            let Reply::Messages(messages) = reply else { return };
            for message in messages.into_iter().filter(|message| message.seq > lane.read).collect::<Vec<_>>() {
                lane.read = message.seq;
                let mut gone = Vec::new();
                let mark = Mark { place: message.seq, time: message.seq };
                let next = lane.progress.came(mark, &mut gone);
                lane.progress.sure(mark);
                if next == Next::Deliver {
                    lane.open.insert(message.seq, Open { message, sent: None });
                }
                assert!(gone.is_empty(), "the stream loses nothing: {gone:?}");
            }
            if self.holds(net, partition) {
                self.send(net, partition);
            }
            return;
        }
        if lane.asked.is_none_or(|(asked, _)| asked != what) {
            return;
        }
        lane.asked = None;
        match reply {
            Reply::Read(found) => {
                lane.revision = found.as_ref().map_or(0, |found| found.revision);
                let value = found.and_then(|found| found.value);
                let (epoch, progress) = value.as_deref().map(checks::read_written).unwrap_or_default();
                if epoch > lane.epoch || (epoch < lane.epoch && lane.was_claimed) {
                    // Another has it, or had it since: nothing more is done until the lease says so, too.
                    lane.asked = Some((Step::Read, net.now));
                    return;
                }
                if !lane.was_claimed {
                    lane.read = progress.begin() - 1;
                    lane.progress = progress;
                }
                if epoch == lane.epoch {
                    // Ours already: the answer was lost.
                    (lane.is_claimed, lane.was_claimed) = (true, true);
                    return;
                }
                lane.asked = Some((Step::Claim, net.now));
                let (key, value) = (Key::Progress(partition), Rc::from(checks::written(lane.epoch, &lane.progress)));
                let token = Token::Lane { partition, tenure, what: Step::Claim };
                net.request(who, token, Request::Update { key, expected: lane.revision, value });
            }
            Reply::Answer(Answer::Stored(revision)) => {
                lane.revision = revision;
                (lane.is_claimed, lane.was_claimed) = (true, true);
                self.step(net, partition);
            }
            Reply::Answer(Answer::Conflict) => {
                lane.is_claimed = false;
                lane.progress.not_written();
            }
            _ => lane.progress.not_written(),
        }
    }
}
