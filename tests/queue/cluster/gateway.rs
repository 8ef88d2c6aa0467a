//! A gateway: the real machines of its lease and its calls, and a plain model of its queue, its engine and its forwarder.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use tollgate::cluster::calls::{self, CallKey, Calls, Found, Header, Home, Settings, State};
use tollgate::cluster::lease::{self, Answer, Holder, Lease, Owner, Timing};

use super::jetstream::{Key, Version};
use super::network::{Event, MS, Network, Reply, Request, SECOND, Token, Word};
use super::records::{self, Fact, What, gateway as name};

/// Records under way to the stream.
const PUBLISH_MAX: usize = 16;
/// When what was asked is asked again.
const AGAIN: u64 = SECOND;
/// How often the ends of calls are asked whether they go on.
const WATCH: u64 = 5 * SECOND;
/// How often leases are read.
const ROUTINE: u64 = 500 * MS;
/// How long a queue remembers that a call has ended.
const ENDED_KEPT: u64 = 64 * SECOND;
/// From a commit to its being told.
const TELL: u64 = 2 * MS;

/// What survives the process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    id: u128,
    mark: u64,
    /// Records that are not in the stream, with their commits.
    records: VecDeque<(u64, Fact)>,
    /// Calls in progress, with the version of their values.
    pub(crate) calls: BTreeMap<usize, u64>,
    /// Calls that have ended here, and when.
    ended: BTreeMap<usize, u64>,
}

struct Life {
    calls: Calls,
    leases: Vec<Lease>,
    is_serving: bool,
    publishing: HashMap<u64, u64>,
    /// Scans that were asked for, and when; what they found and is still to be taken.
    scans: BTreeMap<u64, u64>,
    asked: BTreeSet<usize>,
    /// Who is to be told that a call is forgotten.
    tellers: HashMap<CallKey, usize>,
    watched: u64,
    tick: Option<u64>,
}

pub(crate) struct Gateway {
    who: usize,
    gateways: usize,
    partitions: usize,
    pub(crate) disk: Disk,
    life: Option<Life>,
}

fn number(name: &str) -> usize {
    name[2..].parse().expect("a name of ours")
}

fn octets(call: usize, version: u64) -> Vec<u8> {
    [(call as u64).to_be_bytes(), version.to_be_bytes()].concat()
}

impl Gateway {
    pub(crate) fn new(who: usize, gateways: usize, partitions: usize) -> Self {
        Self { who, gateways, partitions, disk: Disk::default(), life: None }
    }

    pub(crate) fn start(&mut self, net: &mut Network, timing: Timing) {
        let nonce = u128::from(net.chance.next());
        if self.disk.id == 0 {
            self.disk.id = u128::from(net.chance.next()) | 1;
        }
        let me = Arc::new(Owner { name: name(self.who), nonce });
        let leases: Vec<Lease> = (0..self.gateways).map(|_| Lease::new(Arc::clone(&me), timing)).collect();
        let home = Home { name: name(self.who), disk: self.disk.id };
        let mut out = Vec::new();
        let settings = Settings { home, epoch: 0, sinks: vec![(0, "billing".to_owned())] };
        let calls = Calls::new(net.clock(self.who), settings, &mut out);
        self.life = Some(Life {
            calls,
            leases,
            is_serving: false,
            publishing: HashMap::new(),
            scans: BTreeMap::new(),
            asked: BTreeSet::new(),
            tellers: HashMap::new(),
            watched: net.now,
            tick: None,
        });
        self.perform(net, out);
        let kept: Vec<(usize, u64)> = self.disk.calls.iter().map(|(call, version)| (*call, *version)).collect();
        for (call, version) in kept {
            let mark = self.disk.mark;
            self.tell(net, calls::Input::Put { key: records::key(call), value: octets(call, version), mark });
        }
        let ended: Vec<usize> = self.disk.ended.keys().copied().collect();
        for call in ended {
            self.tell(net, calls::Input::Ended { key: records::key(call), mark: self.disk.mark });
        }
        self.settle(net);
        self.lease(net, self.who, lease::Input::Want);
        self.routine(net);
    }

    /// The process dies. Whatever of its calls the bucket does not have then goes with its disk.
    pub(crate) fn kill(&mut self, net: &mut Network, keeps_disk: bool) {
        self.life = None;
        if keeps_disk {
            return;
        }
        let recorded = self.disk.records.iter().map(|(_, fact)| fact.call);
        for call in recorded.chain(self.disk.calls.keys().copied()) {
            let found = net.store.read(Key::Call(records::key(call)), None);
            let header =
                found.and_then(|found| found.value.as_deref()).map(|value| Header::decode(value).expect("ours").0);
            net.calls[call].is_unmirrored |= !header.is_some_and(|header| header.state != State::Ended);
        }
        self.disk = Disk::default();
    }

    pub(crate) fn has_records(&self) -> bool {
        !self.disk.records.is_empty()
    }

    /// The timer goes off at another instant.
    pub(crate) fn postpone(&mut self, until: u64) {
        if let Some(life) = &mut self.life {
            life.tick = Some(until);
        }
    }

    pub(crate) fn is_serving(&self) -> bool {
        self.life.as_ref().is_some_and(|life| life.is_serving)
    }

    /// Whether it and the bucket agree, and everything is in the stream.
    pub(crate) fn is_quiet(&self) -> bool {
        self.disk.records.is_empty() && self.life.as_ref().is_none_or(|life| life.is_serving && life.calls.is_in_step())
    }

    pub(crate) fn unmirrored(&self) -> usize {
        self.life.as_ref().map_or(0, |life| life.calls.unmirrored())
    }

    /// What is committed together: a record and what becomes of its call.
    fn commit(&mut self, net: &mut Network, call: usize, what: Option<What>, version: Option<u64>) {
        self.disk.mark += 1;
        let mark = self.disk.mark;
        if let Some(what) = what {
            if what == What::Stop {
                net.ends(self.who, call);
                self.disk.ended.retain(|_, at| net.now < *at + ENDED_KEPT);
                self.disk.ended.insert(call, net.now);
            }
            let number = net.record();
            self.disk.records.push_back((mark, Fact { call, what, number, by: self.who }));
        }
        match version {
            Some(version) => drop(self.disk.calls.insert(call, version)),
            None => drop(self.disk.calls.remove(&call)),
        }
        let (who, life) = (self.who, net.life(self.who));
        net.after(TELL, Event::Change { who, life, key: records::key(call), version, mark });
        self.publish(net);
    }

    pub(crate) fn changed(&mut self, net: &mut Network, key: CallKey, version: Option<u64>, mark: u64) {
        let input = match version {
            Some(version) => calls::Input::Put { key, value: octets(records::call(key), version), mark },
            None => calls::Input::End { key, mark },
        };
        self.tell(net, input);
    }

    /// A call is answered.
    pub(crate) fn dial(&mut self, net: &mut Network, call: usize) {
        self.commit(net, call, Some(What::Start), Some(1));
    }

    /// A call goes on.
    pub(crate) fn refresh(&mut self, net: &mut Network, call: usize) {
        if let Some(version) = self.disk.calls.get(&call).copied() {
            self.commit(net, call, Some(What::Interim), Some(version + 1));
        }
    }

    /// A BYE comes: of a call that is here, or is to be looked for.
    pub(crate) fn hangup(&mut self, net: &mut Network, call: usize) {
        if self.disk.calls.contains_key(&call) {
            self.commit(net, call, Some(What::Stop), None);
        } else if let Some(life) = &mut self.life {
            life.asked.insert(call);
            self.tell(net, calls::Input::Adopt { key: records::key(call) });
        }
    }

    /// Each half second: leases are read, what waits is asked again, the ends of calls are asked.
    pub(crate) fn routine(&mut self, net: &mut Network) {
        let Some(life) = &mut self.life else { return };
        let (from, to) = (Key::Gateway(0), Key::Gateway(usize::MAX));
        net.request(self.who, Token::Leases, Request::Scan { from, to });
        let late: Vec<u64> =
            life.scans.iter().filter(|(_, at)| net.now >= **at + AGAIN).map(|(scan, _)| *scan).collect();
        late.into_iter().for_each(|scan| self.scan(net, scan));
        self.publish(net);
        let Some(life) = &mut self.life else { return };
        if life.is_serving && net.now >= life.watched + WATCH {
            life.watched = net.now;
            // A BYE that has just been sent may still be on its way to another gateway.
            let is_over = |call: &usize| net.calls[*call].is_over && net.now >= net.calls[*call].over_at + SECOND;
            let over: Vec<usize> = self.disk.calls.keys().copied().filter(is_over).collect();
            over.into_iter().for_each(|call| self.commit(net, call, Some(What::Stop), None));
        }
        let (who, life) = (self.who, net.life(self.who));
        net.after(ROUTINE, Event::Routine { who, life });
    }

    fn scan(&mut self, net: &mut Network, scan: u64) {
        let Some(life) = &mut self.life else { return };
        life.scans.insert(scan, net.now);
        let (from, to) = (Key::Call(CallKey([0; 24])), Key::Call(CallKey([0xff; 24])));
        net.request(self.who, Token::Calls { scan }, Request::Scan { from, to });
    }

    /// Sends what is not in the stream, the records of a call one after the other.
    fn publish(&mut self, net: &mut Network) {
        let Some(life) = &mut self.life else { return };
        let mut busy = BTreeSet::new();
        let mut sent = Vec::new();
        for (_, fact) in &self.disk.records {
            if life.publishing.len() >= PUBLISH_MAX && !life.publishing.contains_key(&fact.number) {
                break;
            }
            let is_first = busy.insert(fact.call);
            let is_due = life.publishing.get(&fact.number).is_none_or(|at| net.now >= at + AGAIN);
            if is_first && is_due {
                life.publishing.insert(fact.number, net.now);
                sent.push(*fact);
            }
        }
        for fact in sent {
            let partition = fact.call % self.partitions;
            net.request(self.who, Token::Publish { number: fact.number }, Request::Publish { partition, fact });
        }
    }

    /// Tells the calls' machine what is in the stream.
    fn settle(&mut self, net: &mut Network) {
        let safe = self.disk.records.front().map_or(self.disk.mark, |(mark, _)| mark - 1);
        self.tell(net, calls::Input::Safe(safe));
    }

    fn tell(&mut self, net: &mut Network, input: calls::Input<'_>) {
        let Some(life) = &mut self.life else { return };
        let mut out = Vec::new();
        life.calls.handle(net.clock(self.who), input, &mut out);
        self.perform(net, out);
    }

    fn lease(&mut self, net: &mut Network, of: usize, input: lease::Input<'_>) {
        let Some(life) = &mut self.life else { return };
        let mut out = Vec::new();
        life.leases[of].handle(net.clock(self.who).mono, input, &mut out);
        self.perform_lease(net, of, out);
    }

    pub(crate) fn tick(&mut self, net: &mut Network) {
        let Some(life) = &mut self.life else { return };
        if life.tick != Some(net.now) {
            return;
        }
        life.tick = None;
        let now = net.clock(self.who);
        let mut out = Vec::new();
        life.calls.tick(now, &mut out);
        self.perform(net, out);
        for of in 0..self.gateways {
            let Some(life) = &mut self.life else { return };
            let mut out = Vec::new();
            life.leases[of].tick(now.mono, &mut out);
            self.perform_lease(net, of, out);
        }
    }

    /// Arms the timer.
    fn arm(&mut self, net: &mut Network) {
        let Some(life) = &mut self.life else { return };
        let due = life.leases.iter().map(Lease::deadline).chain([life.calls.deadline()]).flatten().min();
        let Some(at) = due.map(|due| net.true_time(self.who, due).max(net.now + 1)) else { return };
        if life.tick.is_none_or(|tick| at < tick || tick < net.now) {
            life.tick = Some(at);
            net.at(at, Event::Tick { who: self.who, life: net.life(self.who) });
        }
    }

    fn perform_lease(&mut self, net: &mut Network, of: usize, out: Vec<lease::Output>) {
        let is_own = of == self.who;
        for output in out {
            match output {
                lease::Output::Update { turn, expected, value } => {
                    let (key, value) = (Key::Gateway(of), Rc::from(value));
                    net.request(self.who, Token::Lease { key, turn }, Request::Update { key, expected, value });
                }
                lease::Output::Read => {
                    let key = Key::Gateway(of);
                    net.request(self.who, Token::LeaseRead(key), Request::Read(key));
                }
                lease::Output::Acquired { epoch } if is_own => {
                    if let Some(life) = &mut self.life {
                        life.calls.change(epoch, vec![(0, "billing".to_owned())]);
                    }
                }
                lease::Output::Acquired { .. } => self.tell(net, calls::Input::Inherit { from: &name(of) }),
                lease::Output::Ended(_) if is_own => {}
                lease::Output::Ended(_) => self.tell(net, calls::Input::Disinherit { from: &name(of) }),
                lease::Output::Twin => panic!("{} sees a twin", self.who),
                lease::Output::Released => {}
            }
        }
        self.arm(net);
    }

    fn perform(&mut self, net: &mut Network, out: Vec<calls::Output>) {
        for output in out {
            match output {
                calls::Output::Update { key, turn, expected, value } => {
                    let value = Rc::from(value);
                    net.request(
                        self.who,
                        Token::Call { key, turn },
                        Request::Update { key: Key::Call(key), expected, value },
                    );
                }
                calls::Output::Remove { key, turn, revision } => {
                    net.request(self.who, Token::Call { key, turn }, Request::Remove { key: Key::Call(key), revision });
                }
                calls::Output::Read { key, turn } => {
                    net.request(self.who, Token::Call { key, turn }, Request::Read(Key::Call(key)));
                }
                calls::Output::Scan { scan } => self.scan(net, scan),
                calls::Output::Fetch(key) => {
                    let (call, mark) = (records::call(key), self.disk.mark);
                    let (who, life, version) = (self.who, net.life(self.who), self.disk.calls.get(&call).copied());
                    net.after(TELL, Event::Change { who, life, key, version, mark });
                }
                calls::Output::Forget { key, confirm } => {
                    net.checks.forgotten += 1;
                    self.disk.calls.remove(&records::call(key));
                    if confirm {
                        self.confirm(net, key);
                    }
                }
                calls::Output::Confirm(key) => self.confirm(net, key),
                calls::Output::Restore { key, value, .. } => self.restore(net, key, &value),
                calls::Output::NotAdopted { key, .. } => {
                    if let Some(life) = &mut self.life {
                        life.asked.remove(&records::call(key));
                    }
                }
                calls::Output::Tell { key, revision, to } => {
                    net.word(self.who, number(&to), Word::Told { key, revision });
                }
                calls::Output::Yours { key, to } => net.word(self.who, number(&to), Word::Yours(key)),
                calls::Output::Inherited { from, calls } => {
                    net.checks.inherited += calls;
                    if number(&from) != self.who {
                        self.lease(net, number(&from), lease::Input::Yield);
                    }
                }
                calls::Output::Compared { .. } => {
                    if let Some(life) = &mut self.life {
                        life.is_serving = true;
                    }
                }
            }
        }
        self.arm(net);
    }

    fn restore(&mut self, net: &mut Network, key: CallKey, value: &[u8]) {
        net.checks.adopted += 1;
        let call = records::call(key);
        let version = u64::from_be_bytes(value[8..].try_into().expect("a value of ours"));
        self.commit(net, call, None, Some(version));
        if self.life.as_mut().is_some_and(|life| life.asked.remove(&call)) {
            self.hangup(net, call);
        }
    }

    fn confirm(&mut self, net: &mut Network, key: CallKey) {
        let teller = self.life.as_mut().and_then(|life| life.tellers.remove(&key));
        if let Some(to) = teller {
            net.word(self.who, to, Word::Confirmed(key));
        }
    }

    pub(crate) fn word(&mut self, net: &mut Network, from: usize, word: Word) {
        match word {
            Word::Told { key, revision } => {
                if let Some(life) = &mut self.life {
                    life.tellers.insert(key, from);
                }
                self.tell(net, calls::Input::Told { key, revision });
            }
            Word::Confirmed(key) => self.tell(net, calls::Input::Confirmed { key, by: &name(from) }),
            Word::Yours(key) => self.tell(net, calls::Input::Yours { key }),
        }
    }

    pub(crate) fn reply(&mut self, net: &mut Network, token: Token, reply: Reply) {
        match (token, reply) {
            (Token::Lease { key: Key::Gateway(of), turn }, reply) => {
                let answer = if let Reply::Answer(answer) = reply { answer } else { Answer::Refused };
                self.lease(net, of, lease::Input::Answered { turn, answer });
            }
            (Token::LeaseRead(Key::Gateway(of)), Reply::Read(found)) => {
                let revision = found.as_ref().map_or(0, |found| found.revision);
                let value = found.as_ref().and_then(|found| found.value.as_deref());
                self.lease(net, of, lease::Input::Seen { revision, value });
            }
            (Token::LeaseRead(Key::Gateway(of)), _) => self.lease(net, of, lease::Input::Unread),
            (Token::Leases, Reply::Scan(found)) => {
                for of in 0..self.gateways {
                    let version = found.iter().find(|(key, _)| *key == Key::Gateway(of)).map(|(_, version)| version);
                    let revision = version.map_or(0, |version| version.revision);
                    let value = version.and_then(|version| version.value.as_deref());
                    self.lease(net, of, lease::Input::Seen { revision, value });
                    self.look_after(net, of);
                }
            }
            (Token::Call { key, turn }, Reply::Answer(answer)) => {
                self.tell(net, calls::Input::Answered { key, turn, answer });
            }
            (Token::Call { key, turn }, Reply::Read(found)) => {
                let found = found.as_ref().and_then(|found| Some((found.revision, found.value.as_deref()?)));
                let found = found.map(|(revision, value)| Found { revision, value });
                self.tell(net, calls::Input::Seen { key, turn, found });
            }
            (Token::Call { key, turn }, _) => {
                self.tell(net, calls::Input::Answered { key, turn, answer: Answer::Refused });
                self.tell(net, calls::Input::Unread { key, turn });
            }
            (Token::Calls { scan }, Reply::Scan(found)) => self.scanned(net, scan, &found),
            (Token::Publish { number }, reply) => {
                if let Some(life) = &mut self.life {
                    life.publishing.remove(&number);
                }
                if let Reply::Answer(Answer::Stored(_)) = reply {
                    self.disk.records.retain(|(_, fact)| fact.number != number);
                    self.settle(net);
                    self.publish(net);
                }
            }
            _ => {}
        }
    }

    fn scanned(&mut self, net: &mut Network, scan: u64, found: &[(Key, Version)]) {
        if self.life.as_mut().is_none_or(|life| life.scans.remove(&scan).is_none()) {
            return;
        }
        for (key, version) in found {
            let (Key::Call(key), Some(value)) = (key, version.value.as_deref()) else { continue };
            let found = Found { revision: version.revision, value };
            self.tell(net, calls::Input::Found { key: *key, found });
        }
        self.tell(net, calls::Input::Scanned { scan });
    }

    /// Whose lease has run out is inherited; who lives or has nothing left is not.
    fn look_after(&mut self, net: &mut Network, of: usize) {
        let Some(life) = self.life.as_ref().filter(|_| of != self.who) else { return };
        let (lease, now) = (&life.leases[of], net.clock(self.who).mono);
        if lease.held(now).is_some() {
            return;
        }
        match (lease.holder(now), lease.is_wanted()) {
            (Holder::By { lives: false, .. }, false) if life.is_serving => self.lease(net, of, lease::Input::Want),
            (Holder::By { lives: true, .. } | Holder::Free, true) => self.lease(net, of, lease::Input::Yield),
            _ => {}
        }
    }
}
