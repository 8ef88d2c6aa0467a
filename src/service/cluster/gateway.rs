//! The loop by which a gateway takes part in its cluster: what the queue keeps of calls goes into the bucket, calls of others
//! come from there, and the lease of our name is held.

use std::collections::{BTreeMap, HashSet};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_nats::Subscriber;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::desk::{Asked, Desk, Done};
use super::leases::{Effect, Leases};
use super::metrics::{Meters, Shown};
use super::shards::{RETRY, Shards};
use super::words;
use super::{Compared, End};
use crate::accounting::{self, Absence, Key};
use crate::clock::{self, Instant};
use crate::cluster::Settings;
use crate::cluster::bucket::{ReadError, Value};
use crate::cluster::calls::{CallKey, Calls, Found, Input, Output, Why};
use crate::cluster::lease;
use crate::ids::SinkNumber;
use crate::queue::echo::{Echo, Kept, Told};
use crate::service::route_keys::Keyring;
use crate::shard::adopting::Said;
use crate::sinks::jetstream::patience::Patience;

/// Every so many scans of the leases the keys of Record-Route values are read.
const KEYS_EVERY: u64 = 8;

/// What the loop is made of.
pub(super) struct Gateway {
    pub settings: Settings,
    /// Names this process.
    pub life: u128,
    pub leases: Leases,
    pub calls: Calls,
    pub shards: Shards,
    pub keyring: Arc<Keyring>,
    pub echo: Echo,
    pub sinks: Vec<(String, SinkNumber)>,
    pub meters: Meters,
    pub shown: Shown,
    pub desk: Option<Desk>,
    /// With the server in use.
    pub patience: Patience,
    /// Whether our lease could be written when that was tried last.
    pub is_stored: bool,
    pub asked: FuturesUnordered<Asked>,
    pub is_scanning: bool,
    pub scans: u64,
    /// Scans of the bucket of calls that wait for the servers.
    pub postponed: Vec<u64>,
    /// Found calls that there was no room for, by scan.
    pub found: BTreeMap<u64, Vec<(CallKey, Value)>>,
    /// Calls that are to be confirmed as forgotten when the queue keeps them no more.
    pub confirming: HashSet<CallKey>,
    /// Who waits for the comparison of a start, and the calls that have gone to others until then.
    pub starting: Option<(oneshot::Sender<Compared>, HashSet<Key>)>,
    pub has_restored: bool,
    pub told: Option<Subscriber>,
    pub confirmed: Option<Subscriber>,
    pub lives: Option<Subscriber>,
    /// Revision of the keys that sign, as the bucket has them.
    pub keys: Option<u64>,
    pub end: Option<End>,
}

/// What wakes the loop.
pub(super) struct Bells {
    pub questions: mpsc::Receiver<[Key; 2]>,
    pub echo: Arc<Notify>,
    pub beat: Arc<AtomicU64>,
}

impl Gateway {
    /// Goes on until `ended` is done, or another process has our name.
    pub async fn run(mut self, mut bells: Bells, ended: impl Future<Output = ()>, mut first: Vec<Output>) -> End {
        let mut ended = pin!(ended);
        let mut scan = interval(lease::Timing { lease: self.settings.lease }.scan());
        scan.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.asked.push(Desk::connect(self.settings.clone(), self.life, (Patience::default(), self.shown.clone())));
        self.drive_leases(Leases::start);
        self.perform(&mut first);
        loop {
            let due = self.due();
            let wait = async {
                match due {
                    Some(due) => sleep(due.since(clock::mono())).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = &mut ended => return End::Told,
                Some(done) = self.asked.next(), if !self.asked.is_empty() => self.done(done).await,
                () = bells.echo.notified() => self.heard(),
                Some(names) = bells.questions.recv() => {
                    names.into_iter().filter_map(call_key).for_each(|key| self.drive(Input::Adopt { key }));
                }
                Some(message) = next(&mut self.told) => self.is_told(&message.payload),
                Some(message) = next(&mut self.confirmed) => self.is_confirmed(&message.payload),
                Some(message) = next(&mut self.lives) => self.lives(&message.payload),
                _ = scan.tick() => self.scan(),
                () = wait => {}
            }
            self.tick();
            bells.beat.store(clock::mono().0, Ordering::Relaxed);
            if let Some(end) = self.end.take() {
                return end;
            }
        }
    }

    fn due(&self) -> Option<Instant> {
        let retry = self.shards.is_behind().then(|| clock::mono() + RETRY);
        [self.calls.deadline(), self.leases.deadline(), retry].into_iter().flatten().min()
    }

    fn tick(&mut self) {
        let now = clock::now();
        self.drive_leases(Leases::tick);
        let mut out = Vec::new();
        self.calls.tick(now, &mut out);
        self.perform(&mut out);
        self.take_found();
        self.shards.hand_over();
    }

    /// What the queue has told.
    fn heard(&mut self) {
        let Told { calls, overflowed, safe } = self.echo.take();
        if overflowed {
            self.drive(Input::Overflowed);
            self.shards.tell_all(&Said::AllAgain);
        }
        for (key, Kept { value, last: mark }) in calls {
            let Some(key) = <[u8; 24]>::try_from(key).ok().map(CallKey) else { continue };
            match value.filter(|value| !accounting::has_ended(value)) {
                Some(value) => self.drive(Input::Put { key, value, mark }),
                None => {
                    self.drive(Input::End { key, mark });
                    self.confirm(key);
                }
            }
        }
        self.drive(Input::Safe(safe));
    }

    /// Tells the gateway that has a call, if it waits for that, that it is not kept here any more.
    fn confirm(&mut self, key: CallKey) {
        if self.confirming.remove(&key)
            && let Some(desk) = &self.desk
        {
            desk.tell(words::confirmed_subject(&self.settings.prefix), words::confirmed(key, &self.settings.name));
        }
    }

    fn is_told(&mut self, payload: &[u8]) {
        match words::read_told(payload) {
            Some((key, Some(revision))) => self.drive(Input::Told { key, revision }),
            Some((key, None)) => self.drive(Input::Yours { key }),
            None => {}
        }
    }

    fn lives(&mut self, payload: &[u8]) {
        if let Some(name) = words::read_lives(payload) {
            self.drive_leases(|leases, now, out| leases.lives(now, name, out));
        }
    }

    fn is_confirmed(&mut self, payload: &[u8]) {
        if let Some((key, by)) = words::read_confirmed(payload) {
            self.drive(Input::Confirmed { key, by });
        }
    }

    fn scan(&mut self) {
        let now = clock::mono();
        self.meters.state(&self.calls, self.leases.own(now).is_some(), self.leases.living(now).len());
        let Some(desk) = self.desk.as_ref().filter(|_| !self.is_scanning) else { return };
        self.is_scanning = true;
        self.asked.push(desk.leases());
        if self.scans.is_multiple_of(KEYS_EVERY) {
            self.asked.push(desk.read_keys());
        }
        self.scans += 1;
    }

    async fn done(&mut self, done: Done) {
        match done {
            Done::Connected(desk, patience) => {
                (self.patience, self.is_stored) = (patience, true);
                self.connected(*desk).await;
            }
            Done::Leases(found) => {
                self.is_scanning = false;
                self.reached(found.as_ref().err());
                self.judge(found.is_ok());
                if let Ok(found) = found {
                    self.drive_leases(|leases, now, out| leases.scanned(now, &found, out));
                }
            }
            Done::LeaseRead { name, found } => self.drive_leases(|leases, now, out| match found {
                Ok(Some(Value { bytes, revision })) => leases.seen(now, &name, revision, Some(&bytes), out),
                Ok(None) => leases.seen(now, &name, 0, None, out),
                Err(_) => leases.unread(now, &name, out),
            }),
            Done::LeaseWritten { name, turn, answer } => {
                self.is_stored = matches!(answer, lease::Answer::Stored(_) | lease::Answer::Conflict);
                self.drive_leases(|leases, now, out| leases.answered(now, &name, turn, answer, out));
            }
            Done::CallRead { key, turn, found } => match found {
                Ok(found) => {
                    let found = found.as_ref().map(|own| Found { revision: own.revision, value: &own.bytes });
                    self.drive(Input::Seen { key, turn, found });
                }
                Err(_) => self.drive(Input::Unread { key, turn }),
            },
            Done::CallWritten { key, turn, answer } => {
                self.meters.written(answer);
                self.drive(Input::Answered { key, turn, answer });
            }
            Done::Calls { scan, found: None } => self.scan_calls(scan),
            Done::Calls { scan, found: Some(mut found) } => {
                found.reverse();
                self.found.insert(scan, found);
                self.take_found();
            }
            Done::Keys(found) => self.keys_read(found),
            Done::KeysWritten(written) => match written {
                Ok(revision) => self.keys = Some(revision),
                Err(error) => {
                    tracing::debug!(%error, "the keys of Record-Route values are read again");
                    self.ask(|desk| desk.read_keys());
                }
            },
        }
    }

    async fn connected(&mut self, desk: Desk) {
        let client = desk.context.client();
        let told = words::told_subject(&self.settings.prefix, &self.settings.name);
        self.told = client.subscribe(told).await.ok();
        let lives = words::lives_subject(&self.settings.prefix, &self.settings.name);
        self.lives = client.subscribe(lives).await.ok();
        self.confirmed = client.subscribe(words::confirmed_subject(&self.settings.prefix)).await.ok();
        for scan in std::mem::take(&mut self.postponed) {
            self.asked.push(desk.scan_calls(scan));
        }
        self.desk = Some(desk);
        self.scan();
    }

    /// A server that is connected, and neither reads nor stores for us, is left: it may be cut off from the others.
    fn judge(&mut self, is_read: bool) {
        let now = clock::mono();
        if is_read && self.is_stored {
            self.patience.renew();
        } else if self.desk.is_some() && self.patience.has_ended(now, now) {
            tracing::warn!("the server in use stores nothing for us: another one is tried");
            (self.desk, self.told, self.lives, self.confirmed) = (None, None, None, None);
            self.asked.push(Desk::connect(
                self.settings.clone(),
                self.life,
                (self.patience.clone(), self.shown.clone()),
            ));
        }
    }

    fn scan_calls(&mut self, scan: u64) {
        match &self.desk {
            Some(desk) => self.asked.push(desk.scan_calls(scan)),
            None => self.postponed.push(scan),
        }
    }

    fn ask(&self, question: impl FnOnce(&Desk) -> Asked) {
        if let Some(desk) = &self.desk {
            self.asked.push(question(desk));
        }
    }

    /// Whether the buckets answer.
    fn reached(&mut self, error: Option<&ReadError>) {
        match (self.meters.reach(error.map(ToString::to_string)), error) {
            (false, _) => {}
            (true, Some(error)) => {
                tracing::error!(%error, "the cluster does not answer: calls are served, and changes of them wait here");
            }
            (true, None) => tracing::info!("the cluster answers"),
        }
    }

    /// Gives what scans have found to the machine, as much as it takes.
    fn take_found(&mut self) {
        while let Some((scan, mut found)) = self.found.pop_first() {
            while self.calls.room() > 0
                && let Some((key, value)) = found.pop()
            {
                let found = Found { revision: value.revision, value: &value.bytes };
                self.drive(Input::Found { key, found });
            }
            if !found.is_empty() {
                self.found.insert(scan, found);
                return;
            }
            self.drive(Input::Scanned { scan });
        }
    }

    fn drive(&mut self, input: Input<'_>) {
        let mut out = Vec::new();
        self.calls.handle(clock::now(), input, &mut out);
        self.perform(&mut out);
    }

    fn perform(&mut self, out: &mut Vec<Output>) {
        for output in out.drain(..) {
            match output {
                Output::Update { key, turn, expected, value } => {
                    self.request(key, turn, |desk| desk.write_call(key, turn, expected, value));
                }
                Output::Remove { key, turn, revision } => {
                    self.request(key, turn, |desk| desk.remove_call(key, turn, revision));
                }
                Output::Read { key, turn } => self.request(key, turn, |desk| desk.read_call(key, turn)),
                Output::Scan { scan } => self.scan_calls(scan),
                Output::Fetch(key) => self.say(key, |key| Said::Again { key }),
                Output::Forget { key, confirm } => self.forget(key, confirm),
                Output::Confirm(key) => {
                    self.confirming.insert(key);
                    self.confirm(key);
                }
                Output::Restore { key, from, sinks, value } => {
                    tracing::info!(call = %key, gateway = from.name, "a call is taken over from another gateway");
                    self.has_restored = true;
                    self.meters.adopted();
                    let sinks = self.translated(&sinks);
                    self.say(key, |key| Said::Adopted { key, value, sinks });
                }
                Output::NotAdopted { key, why } => {
                    let why = match why {
                        Why::Unknown => Absence::Unknown,
                        Why::Ended => Absence::Ended,
                        Why::Unreadable | Why::Unreachable => Absence::Unsaid,
                    };
                    self.say(key, |key| Said::NotAdopted { key, why });
                }
                Output::Tell { key, revision, to } => self.tell(&to, words::told(key, revision)),
                Output::Yours { key, to } => self.tell(&to, words::yours(key)),
                Output::Inherited { from, calls: 0 } if from == self.settings.name => {}
                Output::Inherited { from, calls } => {
                    tracing::warn!(gateway = from, calls, "the calls of a gateway that has fallen silent are ours now");
                    self.drive_leases(|leases, now, out| leases.give_back(now, &from, out));
                }
                Output::Compared { complete } => self.compared(complete),
            }
        }
    }

    /// Asks for something; without a connection it was not asked.
    fn request(&self, key: CallKey, turn: u64, question: impl FnOnce(&Desk) -> Asked) {
        let refused =
            || -> Asked { Box::pin(async move { Done::CallWritten { key, turn, answer: lease::Answer::Refused } }) };
        self.asked.push(self.desk.as_ref().map_or_else(refused, question));
    }

    fn say(&mut self, key: CallKey, said: impl FnOnce(Key) -> Said) {
        if let Some(key) = Key::from_bytes(&key.0) {
            self.shards.tell(key, said(key));
        }
    }

    fn tell(&self, to: &str, word: Vec<u8>) {
        if let Some(desk) = &self.desk {
            desk.tell(words::told_subject(&self.settings.prefix, to), word);
        }
    }

    fn forget(&mut self, key: CallKey, confirm: bool) {
        self.meters.lost();
        let Some(own) = Key::from_bytes(&key.0) else { return };
        tracing::info!(call = %key, "another gateway has a call of ours: it is forgotten here without a record");
        if confirm {
            self.confirming.insert(key);
        }
        match &mut self.starting {
            Some((_, gone)) => drop(gone.insert(own)),
            None => self.shards.tell(own, Said::Lost { key: own }),
        }
    }

    /// For each sink of another gateway which one that is here, by its name.
    fn translated(&self, sinks: &[(u8, String)]) -> Vec<(SinkNumber, SinkNumber)> {
        let own = |name: &String| self.sinks.iter().find(|(own, _)| own == name).map(|(_, number)| *number);
        sinks.iter().filter_map(|(theirs, name)| Some((SinkNumber(*theirs), own(name)?))).collect()
    }

    fn compared(&mut self, complete: bool) {
        if let Some((answer, gone)) = self.starting.take() {
            // Who waits for it has given up.
            let _gone = answer.send(Compared { complete, gone, has_restored: self.has_restored });
        }
    }

    fn drive_leases(&mut self, act: impl FnOnce(&mut Leases, Instant, &mut Vec<Effect>)) {
        let mut out = Vec::new();
        act(&mut self.leases, clock::mono(), &mut out);
        for effect in out {
            match effect {
                Effect::Update { name, turn, expected, value } => {
                    let refused = name.clone();
                    self.asked.push(self.desk.as_ref().map_or_else(
                        || -> Asked {
                            Box::pin(async move {
                                Done::LeaseWritten { name: refused, turn, answer: lease::Answer::Refused }
                            })
                        },
                        |desk| desk.write_lease(name, turn, expected, value),
                    ));
                }
                Effect::Read { name } => self.ask(|desk| desk.read_lease(name)),
                Effect::Own { epoch } => {
                    tracing::info!(epoch, name = self.settings.name, "the cluster has taken this gateway in");
                    self.calls.change(epoch, names_of(&self.sinks));
                }
                Effect::Lost(end) => {
                    tracing::warn!(?end, "the lease of this gateway's name has ended: others may take over its calls");
                }
                Effect::Twin => self.end = Some(End::Twin),
                Effect::Inherit { from } => {
                    tracing::warn!(gateway = from, "a gateway has fallen silent: its calls are taken over");
                    self.drive(Input::Inherit { from: &from });
                }
                Effect::Disinherit { from } => self.drive(Input::Disinherit { from: &from }),
                Effect::Claim { from } => {
                    if let Some(desk) = &self.desk {
                        let (prefix, name) = (&self.settings.prefix, &self.settings.name);
                        desk.tell(words::lives_subject(prefix, &from), name.clone().into_bytes());
                    }
                }
            }
        }
    }

    /// The keys that sign are those of the cluster; the first gateway gives its own.
    fn keys_read(&mut self, found: Result<Option<Value>, ReadError>) {
        let Ok(found) = found else { return };
        let revision = found.as_ref().map_or(0, |value| value.revision);
        if self.keys == Some(revision) && !self.keyring.is_due() {
            return;
        }
        match self.keyring.shared(found.as_ref().map(|value| &value.bytes[..])) {
            Ok(step) => {
                if step.has_changed {
                    self.shards.sign_with(&self.keyring.keys());
                }
                match step.write {
                    Some(value) => self.ask(|desk| desk.write_keys(value, revision)),
                    None => self.keys = Some(revision),
                }
            }
            Err(error) => {
                let cause = crate::causes::chain_text(&error);
                tracing::error!(cause, "the keys of the cluster for Record-Route values cannot be used");
            }
        }
    }
}

/// The names of our sinks, by number.
pub(super) fn names_of(sinks: &[(String, SinkNumber)]) -> Vec<(u8, String)> {
    sinks.iter().map(|(name, number)| (number.0, name.clone())).collect()
}

fn call_key(key: Key) -> Option<CallKey> {
    key.to_bytes().try_into().ok().map(CallKey)
}

async fn next(subscriber: &mut Option<Subscriber>) -> Option<async_nats::Message> {
    match subscriber {
        Some(subscriber) => subscriber.next().await,
        None => None,
    }
}
