//! Reads a lane out of the stream, message by message in the order of the stream, and never one that is not wanted yet.
//!
//! The server's side of it, a consumer without acknowledgements at the server that leads the stream, is thrown away and made
//! anew behind the last message that is certain ([`leading`](super::leading)), whenever something is odd: no answer, a number
//! left out, a consumer that is gone with its server, another leader. So reading depends on nothing that a server remembers.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy, pull};
use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream};
use async_nats::jetstream::{Context, Message};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{sleep, timeout};

use super::book::{LaneId, Wanted};
use super::io::made;
use super::leading::{Differs, Led, Server, Trail, holds, leader, nanos};
use crate::clock::{Instant, mono};
use crate::cluster::bucket::ANSWER_WAIT;
use crate::cluster::progress::Mark;

/// What comes out of a lane.
#[derive(Clone, Debug)]
pub enum Came {
    /// A message.
    Message {
        /// Where it is.
        mark: Mark,
        /// The record.
        body: Bytes,
    },
    /// All that a predecessor has read and that the stream still has has come.
    CaughtUp,
    /// All up to this message came from the stream's leader for certain.
    Sure(Mark),
    /// There is another stream of the same name, whose places count from 1 again.
    Anew,
    /// The leader has other messages where those stood that came: the lane is to be read again by their times.
    Moved,
}

/// Where a lane is.
#[derive(Clone, Debug)]
pub struct Source {
    /// The connection.
    pub context: Context,
    /// The stream.
    pub stream: String,
    /// The subject of the lane.
    pub subject: String,
    /// Which one it is.
    pub lane: LaneId,
}

/// How a reader is told what to do, and tells what it has done.
#[derive(Debug)]
pub struct Wires {
    /// How many messages are wanted still: one is taken for each that comes.
    pub room: Arc<Semaphore>,
    /// Takes what comes.
    pub out: mpsc::Sender<(LaneId, Came)>,
    /// Who leads.
    pub led: watch::Receiver<Led>,
    /// Whether it is to end when all is certain that came.
    pub ending: watch::Receiver<bool>,
}

/// A lane that is to be read.
#[derive(Debug)]
pub struct Reader {
    source: Source,
    wires: Wires,
    /// What is to be read still.
    wanted: Wanted,
    /// What came and is not certain yet.
    trail: Trail,
    place: Place,
}

/// A consumer's server, which was the leader when it was made.
#[derive(Clone, Debug, Default)]
struct Place {
    server: Server,
    /// When it was asked who leads.
    asked: Instant,
    /// The first message that the stream had.
    first: u64,
}

/// Messages asked for at once.
const AT_ONCE: usize = 256;

/// How long the server keeps a question that it has not answered whole.
const QUESTION_TIME: Duration = Duration::from_secs(2);

/// How much later it says that this time is over. It may never: of a question whose time ends while messages come,
/// nats-server 2.9.10 does not tell the end.
const LATE_MAX: Duration = Duration::from_millis(250);

/// After so many questions without a message it is looked whether all that the server has sent has come: what is on its way
/// between two servers when their connection breaks is lost, and no later message shows that where none comes.
const IDLE_LOOK: u32 = 5;

/// Pause before the server is asked anew after something went wrong.
const PAUSE: Duration = Duration::from_millis(200);

/// How many consumers are made until one is at the leader: the servers choose by lot.
const LOTS_MAX: usize = 24;

/// Longest wait until what came is certain, when a lane is given to another deliverer.
pub const SURE_WAIT: Duration = Duration::from_secs(2);

/// How long the server keeps a consumer that nobody asks.
const ABANDONED_AFTER: Duration = Duration::from_secs(30);

/// Why reading has to begin anew.
#[derive(Debug)]
enum Broken {
    /// Who takes the messages has ended.
    Unwanted,
    /// Something is odd.
    Odd(String),
    /// The leader has other messages than came.
    Moved,
}

impl From<Differs> for Broken {
    fn from(_: Differs) -> Self {
        Self::Moved
    }
}

impl Broken {
    fn odd(error: impl ToString) -> Self {
        Self::Odd(error.to_string())
    }
}

impl Reader {
    /// Reads what is wanted of a lane.
    #[must_use]
    pub fn new(source: Source, wanted: Wanted, wires: Wires) -> Self {
        let trail = Trail::behind(wanted.mark);
        Self { source, wires, wanted, trail, place: Place::default() }
    }

    /// Reads until nobody takes what comes, or the lane is given to another deliverer.
    pub async fn run(mut self) {
        let mut ending = self.wires.ending.clone();
        loop {
            let read = tokio::select! {
                biased;
                _ = ending.wait_for(|ending| *ending) => break,
                read = self.read() => read,
            };
            match read {
                Ok(never) => match never {},
                Err(Broken::Unwanted) => return,
                Err(Broken::Moved) => return drop(self.tell(Came::Moved).await),
                Err(Broken::Odd(why)) => {
                    tracing::debug!(subject = %self.source.subject, next = self.wanted.next, why, "the stream is asked anew");
                    if self.wires.out.is_closed() {
                        return;
                    }
                    sleep(PAUSE).await;
                }
            }
        }
        let _late = timeout(SURE_WAIT, self.make_sure()).await;
        // Telling it may have been cut short.
        let _unwanted = self.tell(Came::Sure(self.trail.mark())).await;
    }

    /// Waits until all that came is certain.
    async fn make_sure(&mut self) -> Result<(), Broken> {
        while !self.trail.is_sure() {
            self.wires.led.changed().await.map_err(|_| Broken::Unwanted)?;
            self.look().await?;
        }
        Ok(())
    }

    async fn read(&mut self) -> Result<std::convert::Infallible, Broken> {
        let mut end = self.end().await?;
        let mut consumer = self.consumer().await?;
        let (mut number, mut idle) = (0, 0);
        loop {
            if end.is_some_and(|end| self.wanted.next > end) {
                self.tell(Came::CaughtUp).await?;
                (self.wanted.owed, end) = (VecDeque::new(), None);
            }
            while self.trail.is_full() {
                self.wires.led.changed().await.map_err(|_| Broken::Unwanted)?;
                self.look().await?;
            }
            // Waits until at least one is wanted.
            let room = Arc::clone(&self.wires.room);
            let first = self.until(room.acquire()).await?.map_err(|_| Broken::Unwanted)?;
            let wanted = (1 + self.wires.room.available_permits()).min(AT_ONCE);
            drop(first);
            let batch = consumer.batch().max_messages(wanted).expires(QUESTION_TIME).messages();
            let mut batch = timeout(ANSWER_WAIT, batch).await.map_err(Broken::odd)?.map_err(Broken::odd)?;
            let mut late = pin!(sleep(QUESTION_TIME + LATE_MAX));
            let (before, mut is_late) = (number, false);
            loop {
                let message = tokio::select! {
                    biased;
                    message = self.until(batch.next()) => message?,
                    () = &mut late => {
                        is_late = true;
                        None
                    }
                };
                let Some(message) = message else { break };
                number += 1;
                self.take(&message.map_err(Broken::odd)?, number).await?;
            }
            if number > before {
                idle = 0;
                continue;
            }
            if !self.wanted.owed.is_empty() {
                return Err(Broken::Odd("the server that was asked has nothing, and more is owed".to_owned()));
            }
            idle += 1;
            if is_late || idle % IDLE_LOOK == 0 {
                let sent = timeout(ANSWER_WAIT, consumer.info()).await.map_err(Broken::odd)?;
                let sent = sent.map_err(Broken::odd)?.delivered.consumer_sequence;
                if sent != number {
                    return Err(Broken::Odd(format!("{sent} messages were sent and {number} came")));
                }
            }
        }
    }

    /// Waits for something, and looks meanwhile whether our server still leads.
    async fn until<T>(&mut self, what: impl Future<Output = T>) -> Result<T, Broken> {
        let mut what = pin!(what);
        loop {
            tokio::select! {
                biased;
                done = &mut what => return Ok(done),
                changed = self.wires.led.changed() => {
                    changed.map_err(|_| Broken::Unwanted)?;
                    self.look().await?;
                }
            }
        }
    }

    /// Looks who leads: what came from the leader is certain.
    async fn look(&mut self) -> Result<(), Broken> {
        let Led { by, asked } = self.wires.led.borrow_and_update().clone();
        if asked < self.place.asked {
            return Ok(());
        }
        if by != self.place.server {
            return Err(Broken::Odd("another server leads the stream".to_owned()));
        }
        match self.trail.led(asked) {
            Some(mark) => self.tell(Came::Sure(mark)).await,
            None => Ok(()),
        }
    }

    /// Takes the message that is the consumer's `number`th, as far as we can tell.
    async fn take(&mut self, message: &Message, number: u64) -> Result<(), Broken> {
        let (mark, count) = {
            let info = message.info().map_err(Broken::odd)?;
            (Mark { place: info.stream_sequence, time: nanos(info.published) }, info.consumer_sequence)
        };
        if count != number {
            return Err(Broken::Odd(format!("message {count} of the lane came in the place of {number}")));
        }
        if mark.place < self.wanted.next {
            return Ok(self.trail.came_again(mark, mono())?);
        }
        if !self.trail.is_shown() || !self.is_owed(mark) {
            return Err(Broken::Moved);
        }
        if let Ok(permit) = self.wires.room.try_acquire() {
            permit.forget();
        }
        self.tell(Came::Message { mark, body: message.payload.clone() }).await?;
        // Only now, for who waits may be ended: what is certain has been told.
        self.wanted.next = mark.place + 1;
        self.trail.came(mark, mono());
        Ok(())
    }

    /// Whether a message may come where a predecessor has left some open: they come each where it was, or are too old.
    fn is_owed(&mut self, mark: Mark) -> bool {
        while let Some(owed) = self.wanted.owed.pop_front_if(|owed| owed.place <= mark.place) {
            let is_there = owed.place == mark.place;
            if owed.time > 0 && if is_there { owed != mark } else { owed.place >= self.place.first } {
                return false;
            }
        }
        true
    }

    /// The last message of the lane, by which all that is owed has come. The servers may have any of them answer a consumer,
    /// also one that has been away and has not caught up itself, so that a consumer's end says nothing: the leader does.
    /// `None`: nothing is owed, or the leader does not know of it, for it was cut off before.
    async fn end(&self) -> Result<Option<u64>, Broken> {
        let Some(owed) = self.wanted.owed.back().map(|owed| owed.place) else { return Ok(None) };
        let asked = async {
            let stream = self.source.context.get_stream(&self.source.stream).await.map_err(Broken::odd)?;
            let last = match stream.get_last_raw_message_by_subject(&self.source.subject).await {
                Ok(message) => message.sequence,
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => 0,
                Err(error) => return Err(Broken::odd(error)),
            };
            let is_known = last >= owed || stream.cached_info().state.first_sequence > owed;
            Ok(is_known.then_some(last))
        };
        timeout(ANSWER_WAIT, asked).await.map_err(Broken::odd)?
    }

    async fn tell(&self, came: Came) -> Result<(), Broken> {
        self.wires.out.send((self.source.lane, came)).await.map_err(|_| Broken::Unwanted)
    }

    /// A consumer at the server that leads the stream, which has to have there what came before.
    async fn consumer(&mut self) -> Result<Consumer<pull::Config>, Broken> {
        let asked = mono();
        let found =
            timeout(ANSWER_WAIT, self.source.context.get_stream(&self.source.stream)).await.map_err(Broken::odd)?;
        let stream = found.map_err(Broken::odd)?;
        if made(stream.cached_info()) != self.wanted.stream {
            self.tell(Came::Anew).await?;
            return Err(Broken::Unwanted);
        }
        let server = leader(stream.cached_info()).map_err(Broken::odd)?;
        if !holds(&stream, self.trail.mark()).await.map_err(Broken::odd)? {
            return Err(Broken::Moved);
        }
        self.place = Place { server, asked, first: stream.cached_info().state.first_sequence };
        let start = self.trail.again().unwrap_or(self.wanted.next).max(1);
        for _ in 0..LOTS_MAX {
            if let Some(consumer) = self.drawn(&stream, start).await? {
                return Ok(consumer);
            }
        }
        Err(Broken::Odd(format!("none of {LOTS_MAX} consumers is at the server that leads the stream")))
    }

    /// A consumer, if the server that was drawn for it is the leader.
    async fn drawn(&self, stream: &Stream, start: u64) -> Result<Option<Consumer<pull::Config>>, Broken> {
        let config = pull::Config {
            filter_subject: self.source.subject.clone(),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: start },
            ack_policy: AckPolicy::None,
            inactive_threshold: ABANDONED_AFTER,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let made = timeout(ANSWER_WAIT, stream.create_consumer(config)).await.map_err(Broken::odd)?;
        let consumer = made.map_err(Broken::odd)?;
        let info = consumer.cached_info();
        let at = info.cluster.as_ref().and_then(|cluster| cluster.leader.as_deref());
        if at.is_none() || at == self.place.server.as_deref() {
            return Ok(Some(consumer));
        }
        let _gone = timeout(ANSWER_WAIT, stream.delete_consumer(&info.name)).await;
        Ok(None)
    }
}
