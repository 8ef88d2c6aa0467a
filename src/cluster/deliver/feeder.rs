//! The loop that feeds the queue of a deliverer: leases, lanes, what the queue tells, what is written down.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::book::{Book, Effect, LaneId, Wanted};
use super::io::{Asked, Desk, Done, TakenUp, entry};
use super::leading::{LOOK_EVERY, Led};
use super::parts::{End, Parts, Shown, View};
use super::reader::{Came, Reader, SURE_WAIT, Source, Wires};
use crate::clock::{self, Instant};
use crate::cluster::admission::Admission;
use crate::cluster::bucket::{ReadError, WriteError};
use crate::cluster::lease::{Owner, Timing};
use crate::cluster::progress::OPEN_MAX;
use crate::cluster::roster::{self, Entry, Roster};
use crate::cluster::{Settings, names};
use crate::queue::witness::Event;
use crate::queue::{self, Full};
use crate::record;

/// How often what was settled is written down.
pub const WRITE_EVERY: Duration = Duration::from_millis(200);

/// Messages that wait to be taken into the queue at most, beside those of the readers.
const CAME_MAX: usize = 1_024;

/// Records of one commit at most.
const COMMIT_RECORDS_MAX: usize = 256;

/// Longest wait for the sinks to end what they have of a partition that is to go to another deliverer.
pub const GIVE_WAIT: Duration = Duration::from_secs(30);

/// How long a server may answer nothing before another one is tried: longer than a cluster takes to have a leader again. It
/// may be cut off from the others, which a client does not see.
pub const SILENT_MAX: Duration = Duration::from_secs(10);

/// Longest wait for all that is to be given back when the process ends.
pub const LEAVE_WAIT: Duration = Duration::from_secs(10);

/// A partition that is being given back, or was lost.
#[derive(Clone, Copy, Debug)]
enum Parting {
    /// The plan gives it to another.
    Giving { since: Instant },
    /// The lease has ended, and the sinks had records of it.
    Lost,
}

struct Lane {
    room: Arc<Semaphore>,
    reading: AbortHandle,
    ending: watch::Sender<bool>,
}

struct Feeder {
    settings: Settings,
    desk: Desk,
    roster: Roster,
    book: Book,
    admission: Arc<Admission>,
    /// Partitions that are ours, with the number of the tenure.
    tenures: BTreeMap<u16, u64>,
    parting: BTreeMap<u16, Parting>,
    lanes: HashMap<LaneId, Lane>,
    readers: JoinSet<()>,
    came: mpsc::Sender<(LaneId, Came)>,
    asked: FuturesUnordered<Asked>,
    producer: queue::Producer,
    ticket: u64,
    entries: Vec<record::Entry>,
    /// A commit that the queue had no room for.
    held: Option<record::Commit>,
    is_scanning: bool,
    /// Who leads the stream.
    led: watch::Sender<Led>,
    is_looking: bool,
    shown: Shown,
    gone: u64,
    trouble: Option<String>,
    /// Since when.
    since: Option<Instant>,
    /// Why it is to end.
    end: Option<End>,
}

/// Feeds the queue until `ended` is done, or it must not go on.
///
/// # Errors
/// The bucket's name cannot be used.
pub async fn run(parts: Parts, ended: impl Future<Output = ()>) -> Result<End, ReadError> {
    let Parts { settings, context, nonce, sinks, queue, admission, mut events, shown } = parts;
    let (came, mut coming) = mpsc::channel(CAME_MAX);
    let (receipts, mut receipt) = mpsc::channel(1);
    let timing = Timing { lease: settings.lease };
    let desk = Desk::new(context, &settings, sinks).await?;
    // One word is enough: all receipts are taken at once.
    let producer = queue.producer(Arc::new(move || {
        let _waits = receipts.try_send(());
    }));
    let mut feeder = Feeder::new(settings, (nonce, desk, producer), admission, (came, shown));
    let mut ended = pin!(ended);
    let mut scan = interval(timing.scan());
    let mut write = interval(WRITE_EVERY);
    let mut look = interval(LOOK_EVERY);
    scan.set_missed_tick_behavior(MissedTickBehavior::Delay);
    write.set_missed_tick_behavior(MissedTickBehavior::Delay);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut leaving: Option<Instant> = None;
    let mut told = Vec::new();
    loop {
        let due = feeder.roster.deadline().map(|due| due.since(clock::mono()));
        let mut out = Vec::new();
        let now = clock::mono;
        tokio::select! {
            () = &mut ended, if leaving.is_none() => {
                leaving = Some(now() + LEAVE_WAIT);
                feeder.drive(roster::Input::Leave, &mut out);
            }
            Some(done) = feeder.asked.next(), if !feeder.asked.is_empty() => feeder.done(done, &mut out),
            count = events.recv_many(&mut told, CAME_MAX), if !events.is_closed() || !events.is_empty() => {
                if count == 0 {
                    return Ok(End::Fenced("the queue of this process has ended".to_owned()));
                }
                for event in told.drain(..) {
                    feeder.heard(event);
                }
            }
            Some((lane, came)) = coming.recv(), if feeder.has_room() => {
                feeder.came(lane, came);
                while feeder.entries.len() < COMMIT_RECORDS_MAX && let Ok((lane, came)) = coming.try_recv() {
                    feeder.came(lane, came);
                }
            }
            _ = receipt.recv() => {}
            _ = scan.tick() => feeder.scan(),
            _ = look.tick() => feeder.look(),
            _ = write.tick() => {
                feeder.write();
                feeder.part(&mut out);
                feeder.show();
            }
            () = sleep(due.unwrap_or_default()), if due.is_some() => feeder.roster.tick(now(), &mut out),
        }
        if let Some(end) = feeder.turn(out, leaving) {
            return Ok(end);
        }
    }
}

impl Feeder {
    fn new(
        settings: Settings,
        (nonce, desk, producer): (u128, Desk, queue::Producer),
        admission: Arc<Admission>,
        (came, shown): (mpsc::Sender<(LaneId, Came)>, Shown),
    ) -> Self {
        let me = Owner { name: settings.name.clone(), nonce };
        let timing = Timing { lease: settings.lease };
        let sinks = desk.sinks.iter().map(|(_, number)| *number).collect();
        Self {
            roster: Roster::new(me, timing, settings.partitions.into()),
            book: Book::new(&settings.name, sinks, Arc::clone(&admission)),
            desk,
            settings,
            admission,
            tenures: BTreeMap::new(),
            parting: BTreeMap::new(),
            lanes: HashMap::new(),
            readers: JoinSet::new(),
            came,
            asked: FuturesUnordered::new(),
            producer,
            ticket: 0,
            entries: Vec::new(),
            held: None,
            is_scanning: false,
            led: watch::Sender::default(),
            is_looking: false,
            shown,
            gone: 0,
            trouble: None,
            since: None,
            end: None,
        }
    }

    /// Whether more may be read: nothing waits for room in the queue.
    fn has_room(&self) -> bool {
        self.held.is_none()
    }

    /// Gives the roster an input.
    fn drive(&mut self, input: roster::Input<'_>, out: &mut Vec<roster::Output>) {
        self.roster.handle(clock::mono(), input, out);
    }

    fn scan(&mut self) {
        if !std::mem::replace(&mut self.is_scanning, true) {
            self.asked.push(self.desk.scan(self.settings.partitions));
        }
    }

    fn look(&mut self) {
        if !self.lanes.is_empty() && !std::mem::replace(&mut self.is_looking, true) {
            self.asked.push(self.desk.led());
        }
    }

    fn write(&mut self) {
        for write in self.book.writes() {
            self.asked.push(self.desk.write(write));
        }
    }

    /// A question was answered.
    fn done(&mut self, done: Done, out: &mut Vec<roster::Output>) {
        match done {
            Done::Scanned(Ok(entries)) => {
                self.is_scanning = false;
                (self.trouble, self.since) = (None, None);
                self.drive(roster::Input::Scanned(&entries), out);
            }
            Done::Scanned(Err(error)) => {
                self.is_scanning = false;
                self.troubled(&error);
            }
            Done::Read(key, Ok(value)) => {
                let value =
                    value.map_or(Entry { key: key.clone(), revision: 0, value: None }, |value| entry(key, value));
                self.drive(roster::Input::Seen(&value), out);
            }
            Done::Read(key, Err(error)) => {
                self.troubled(&error);
                self.drive(roster::Input::Unread(&key), out);
            }
            Done::Updated { key, turn, answer } => {
                self.drive(roster::Input::Answered { key: &key, turn, answer }, out);
            }
            Done::Led { asked, by } => {
                self.is_looking = false;
                if let Some(by) = by {
                    self.led.send_replace(Led { by, asked });
                }
            }
            Done::TakenUp { partition, epoch, by_time, taken } if self.tenures.get(&partition) == Some(&epoch) => {
                match taken {
                    Ok(taken) => self.begin(partition, taken),
                    Err(why) => {
                        // Of a cluster that is known not to answer this is nothing new.
                        if self.trouble.is_none() {
                            tracing::warn!(
                                partition,
                                why,
                                "what a partition has delivered cannot be read: it is tried again"
                            );
                        }
                        self.asked.push(later(self.desk.take_up(partition, epoch, by_time)));
                    }
                }
            }
            Done::TakenUp { .. } => {}
            Done::Written { write, result } => self.written(write.lane, result),
            Done::Parked { at, id, parking, result } => match result {
                Ok(_) => {
                    let mut effects = Vec::new();
                    self.book.parked(at, &mut effects);
                    self.effects(effects);
                }
                Err(error) => {
                    tracing::warn!(%error, record = %id, "that a record is parked cannot be written down: it is tried again");
                    self.asked.push(later(self.desk.park(at, id, parking)));
                }
            },
            Done::Unparked { result: Ok(()), .. } => {}
            Done::Unparked { lane, id, .. } => self.asked.push(later(self.desk.unpark(lane, id))),
        }
    }

    fn troubled(&mut self, error: &ReadError) {
        if self.trouble.is_none() {
            tracing::warn!(%error, "the cluster does not answer: what this process holds runs out");
        }
        self.trouble = Some(error.to_string());
        if clock::mono().since(*self.since.get_or_insert(clock::mono())) >= SILENT_MAX {
            self.end.get_or_insert(End::Fenced(format!("{error}: another server is tried")));
        }
    }

    fn written(&mut self, lane: LaneId, result: Result<u64, WriteError>) {
        match result {
            Ok(revision) => self.book.written(lane, Some(revision)),
            Err(error) => {
                self.book.written(lane, None);
                if error == WriteError::Conflict && self.tenures.contains_key(&lane.partition) {
                    tracing::warn!(
                        partition = lane.partition,
                        "somebody else has written a progress: it is read again"
                    );
                    self.take_up_again(lane.partition, false);
                }
            }
        }
    }

    /// Takes up a partition that is ours as if it had come from another deliverer.
    fn take_up_again(&mut self, partition: u16, by_time: bool) {
        self.stop_reading(partition);
        self.book.give_up(partition);
        if let Some(epoch) = self.tenures.get(&partition) {
            self.asked.push(later(self.desk.take_up(partition, *epoch, by_time)));
        }
    }

    /// A partition is ours: its lanes are read from where its last owner has come.
    fn begin(&mut self, partition: u16, TakenUp { lanes, stream, parked }: TakenUp) {
        for (id, stored) in lanes {
            let sink = self.desk.sink(id.sink).to_owned();
            match self.book.take_up(id, &stored, stream) {
                Ok(wanted) => self.read(id, &sink, wanted),
                Err(error) => {
                    let why = format!(
                        "what is written down of partition {partition} for the sink `{sink}` cannot be used: {error}"
                    );
                    self.end.get_or_insert(End::Unfit(why));
                }
            }
        }
        for (lane, id, parking, body) in parked {
            match body {
                Some(body) => self.entries.push(self.book.came_parked(lane, body, &parking)),
                None => {
                    tracing::error!(record = %id, reason = parking.reason, "the stream has a parked record no more: it is lost");
                    self.gone += 1;
                    self.asked.push(self.desk.unpark(lane, id));
                }
            }
        }
        tracing::info!(partition, "delivery of a partition begins");
    }

    fn read(&mut self, lane: LaneId, sink: &str, wanted: Wanted) {
        let room = Arc::new(Semaphore::new(OPEN_MAX));
        let (ending, end) = watch::channel(false);
        let source = Source {
            context: self.desk.context.clone(),
            stream: self.settings.stream.clone(),
            subject: names::records(&self.settings.prefix, sink, lane.partition),
            lane,
        };
        let wires = Wires { room: Arc::clone(&room), out: self.came.clone(), led: self.led.subscribe(), ending: end };
        let reading = self.readers.spawn_local(Reader::new(source, wanted, wires).run());
        self.lanes.insert(lane, Lane { room, reading, ending });
    }

    /// No more is read of a partition, but what came may still be told to be certain.
    fn end_reading(&self, partition: u16) {
        for (_, lane) in self.lanes.iter().filter(|(id, _)| id.partition == partition) {
            lane.ending.send_replace(true);
        }
    }

    fn stop_reading(&mut self, partition: u16) {
        self.lanes.retain(|id, lane| {
            let stays = id.partition != partition;
            if !stays {
                lane.reading.abort();
            }
            stays
        });
        while self.readers.try_join_next().is_some() {}
    }

    fn came(&mut self, lane: LaneId, came: Came) {
        // One that was on its way when its partition went.
        if !self.lanes.contains_key(&lane) {
            return;
        }
        let mut effects = Vec::new();
        match came {
            Came::Message { mark, body } => self.entries.extend(self.book.came(lane, mark, body, &mut effects)),
            Came::Sure(mark) => self.book.sure(lane, mark),
            Came::CaughtUp => self.book.caught_up(lane, &mut effects),
            Came::Anew => {
                let why = "the stream was deleted and made anew while it was read".to_owned();
                self.end.get_or_insert(End::Fenced(why));
            }
            Came::Moved if self.parting.contains_key(&lane.partition) => {}
            Came::Moved => self.take_up_again(lane.partition, true),
        }
        self.effects(effects);
    }

    fn heard(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.book.heard(event, clock::wall(), &mut effects);
        self.effects(effects);
    }

    fn effects(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Room(lane) => {
                    if let Some(lane) = self.lanes.get(&lane) {
                        lane.room.add_permits(1);
                    }
                }
                Effect::Park { at, id, parking } => self.asked.push(self.desk.park(at, id, parking)),
                Effect::Unpark(lane, id) => self.asked.push(self.desk.unpark(lane, id)),
                Effect::Gone(lane, places) => {
                    self.gone += places.len() as u64;
                    tracing::error!(
                        partition = lane.partition,
                        sink = self.desk.sink(lane.sink),
                        messages = places.len(),
                        "the stream has records no more that were not delivered: they are lost (`cluster.max_age`?)"
                    );
                }
                Effect::Lost => {
                    let why = "the queue of this process has lost records".to_owned();
                    self.end.get_or_insert(End::Fenced(why));
                }
            }
        }
    }

    /// Does what has come of the turn; gives the end, if it is that.
    fn turn(&mut self, mut out: Vec<roster::Output>, leaving: Option<Instant>) -> Option<End> {
        while !out.is_empty() {
            for output in std::mem::take(&mut out) {
                self.follow(output);
            }
            self.part(&mut out);
        }
        let giving = |partition: &u16| matches!(self.parting.get(partition), Some(Parting::Giving { .. }));
        for partition in self.tenures.keys().filter(|partition| !giving(partition)) {
            if let Some(until) = self.roster.held_until(usize::from(*partition)) {
                self.admission.hold(*partition, until);
            }
        }
        self.submit();
        if leaving.is_some_and(|until| clock::mono() >= until) {
            tracing::warn!(
                "not all partitions could be given back in time: others take them over when their leases have run out"
            );
            return Some(End::Told);
        }
        self.end.take()
    }

    fn follow(&mut self, output: roster::Output) {
        match output {
            roster::Output::Update { key, turn, expected, value } => {
                self.asked.push(self.desk.update(key, turn, expected, value));
            }
            roster::Output::Read(key) => self.asked.push(self.desk.read(key)),
            roster::Output::Take { partition, epoch } => {
                let partition = number(partition);
                self.tenures.insert(partition, epoch);
                self.asked.push(self.desk.take_up(partition, epoch, false));
            }
            roster::Output::Give(partition) => {
                let partition = number(partition);
                self.end_reading(partition);
                self.admission.leave(partition);
                self.parting.insert(partition, Parting::Giving { since: clock::mono() });
            }
            roster::Output::Drop(partition) => {
                let partition = number(partition);
                tracing::warn!(partition, "the lease of a partition has ended");
                self.stop_reading(partition);
                self.tenures.remove(&partition);
                self.book.give_up(partition);
                self.parting.insert(partition, Parting::Lost);
            }
            roster::Output::Twin => drop(self.end.get_or_insert(End::Twin(self.settings.name.clone()))),
            roster::Output::Left => drop(self.end.get_or_insert(End::Told)),
        }
    }

    /// Looks after partitions that are to go, or have gone.
    fn part(&mut self, out: &mut Vec<roster::Output>) {
        let now = clock::mono();
        for (partition, parting) in self.parting.clone() {
            let is_out = self.admission.is_out(partition);
            match parting {
                Parting::Giving { since } if is_out && now >= since + GIVE_WAIT => {
                    let why =
                        format!("a sink holds records of partition {partition}, which is to go to another deliverer");
                    self.end.get_or_insert(End::Fenced(why));
                }
                Parting::Giving { .. } if is_out || !self.book.is_written(partition) => {}
                // What is not certain by then is repeated.
                Parting::Giving { since } if !self.book.is_sure(partition) && now < since + SURE_WAIT => {}
                Parting::Giving { .. } => {
                    self.parting.remove(&partition);
                    self.stop_reading(partition);
                    self.tenures.remove(&partition);
                    self.book.give_up(partition);
                    tracing::info!(partition, "a partition is given back");
                    self.roster.handle(now, roster::Input::Settled(partition.into()), out);
                }
                Parting::Lost if !is_out || self.tenures.contains_key(&partition) => {
                    self.parting.remove(&partition);
                }
                Parting::Lost => {
                    if let Some(other) =
                        self.roster.holder(partition.into(), now).filter(|name| *name != self.settings.name)
                    {
                        let why =
                            format!("partition {partition} went to `{other}` while a sink here had records of it");
                        self.end.get_or_insert(End::Fenced(why));
                    }
                }
            }
        }
    }

    /// Hands what came to the queue.
    fn submit(&mut self) {
        let mut receipts = Vec::new();
        self.producer.receipts(&mut receipts);
        if let Some(error) = receipts.into_iter().find_map(|(_, receipt)| receipt.err()) {
            self.end.get_or_insert(End::Fenced(format!("the queue of this process takes nothing: {error}")));
        }
        let commit = match self.held.take() {
            Some(commit) => commit,
            None if self.entries.is_empty() => return,
            None => record::Commit { entries: std::mem::take(&mut self.entries), calls: Vec::new() },
        };
        self.ticket += 1;
        if let Err(Full(commit)) = self.producer.append(self.ticket, commit) {
            self.held = Some(commit);
        }
    }

    fn show(&self) {
        let now = clock::mono();
        let owner = |partition: u16| self.roster.holder(partition.into(), now).map(str::to_owned);
        let view = View {
            is_member: self.roster.is_member(),
            members: self.roster.members(now).map(str::to_owned).collect(),
            owners: (0..self.settings.partitions).map(owner).collect(),
            own: self.book.partitions(),
            open: self.book.open(),
            gone: self.gone,
            trouble: self.trouble.clone(),
        };
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = view;
    }
}

/// Partitions are at most [`PARTITIONS_MAX`](crate::cluster::share::PARTITIONS_MAX).
fn number(partition: usize) -> u16 {
    u16::try_from(partition).unwrap_or(u16::MAX)
}

/// Asks again after a pause.
fn later(asked: Asked) -> Asked {
    Box::pin(async move {
        sleep(AGAIN_AFTER).await;
        asked.await
    })
}

/// Pause before something that failed is tried again.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
