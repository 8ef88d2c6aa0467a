//! Reads a lane out of the stream, message by message in the order of the stream, and never one that is not wanted yet.
//!
//! The server's side of it, a consumer without acknowledgements, is thrown away and made anew behind the last message that
//! came, whenever something is odd: no answer, a number left out, a consumer that is gone with its server. So reading
//! depends on nothing that a server remembers.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy, pull};
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use async_nats::jetstream::{Context, Message};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};

use super::book::{LaneId, Wanted};
use super::io::made;
use crate::cluster::bucket::ANSWER_WAIT;

/// What comes out of a lane.
#[derive(Clone, Debug)]
pub enum Came {
    /// A message.
    Message {
        /// Its place in the stream.
        place: u64,
        /// The record.
        body: Bytes,
    },
    /// All that a predecessor has read and that the stream still has has come.
    CaughtUp,
    /// There is another stream of the same name, whose places count from 1 again.
    Anew,
}

/// A lane that is to be read.
#[derive(Debug)]
pub struct Reader {
    /// The connection.
    pub context: Context,
    /// The stream.
    pub stream: String,
    /// The subject of the lane.
    pub subject: String,
    /// Which one it is.
    pub lane: LaneId,
    /// What is to be read still.
    pub wanted: Wanted,
    /// How many messages are wanted still: one is taken for each that comes.
    pub room: Arc<Semaphore>,
    /// Takes what comes.
    pub out: mpsc::Sender<(LaneId, Came)>,
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

/// How long the server keeps a consumer that nobody asks.
const ABANDONED_AFTER: Duration = Duration::from_secs(30);

/// Why reading has to begin anew.
#[derive(Debug)]
enum Broken {
    /// Who takes the messages has ended.
    Unwanted,
    /// Something is odd.
    Odd(String),
}

impl Broken {
    fn odd(error: impl ToString) -> Self {
        Self::Odd(error.to_string())
    }
}

impl Reader {
    /// Reads until nobody takes what comes.
    pub async fn run(mut self) {
        loop {
            match self.read().await {
                Ok(never) => match never {},
                Err(Broken::Unwanted) => return,
                Err(Broken::Odd(why)) => {
                    tracing::debug!(subject = %self.subject, next = self.wanted.next, why, "the stream is asked anew");
                    if self.out.is_closed() {
                        return;
                    }
                    sleep(PAUSE).await;
                }
            }
        }
    }

    async fn read(&mut self) -> Result<std::convert::Infallible, Broken> {
        let mut end = self.end().await?;
        let mut consumer = self.consumer().await?;
        let (mut number, mut idle) = (0, 0);
        loop {
            if end.is_some_and(|end| self.wanted.next > end) {
                self.tell(Came::CaughtUp).await?;
                (self.wanted.owed, end) = (None, None);
            }
            // Waits until at least one is wanted.
            let first = self.room.clone().acquire_owned().await.map_err(|_| Broken::Unwanted)?;
            let wanted = (1 + self.room.available_permits()).min(AT_ONCE);
            drop(first);
            let batch = consumer.batch().max_messages(wanted).expires(QUESTION_TIME).messages();
            let mut batch = timeout(ANSWER_WAIT, batch).await.map_err(Broken::odd)?.map_err(Broken::odd)?;
            let mut late = pin!(sleep(QUESTION_TIME + LATE_MAX));
            let (before, mut is_late) = (number, false);
            loop {
                let message = tokio::select! {
                    biased;
                    message = batch.next() => message,
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
            if self.wanted.owed.is_some() {
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

    /// Takes the message that is the consumer's `number`th, as far as we can tell.
    async fn take(&mut self, message: &Message, number: u64) -> Result<(), Broken> {
        let (place, count) = {
            let info = message.info().map_err(Broken::odd)?;
            (info.stream_sequence, info.consumer_sequence)
        };
        if count != number {
            return Err(Broken::Odd(format!("message {count} of the lane came in the place of {number}")));
        }
        // A server that does not have the next one yet begins at its own end.
        if place < self.wanted.next {
            return Ok(());
        }
        if let Ok(permit) = self.room.try_acquire() {
            permit.forget();
        }
        self.wanted.next = place + 1;
        self.tell(Came::Message { place, body: message.payload.clone() }).await
    }

    /// The last message of the lane, by which all that is owed has come. The servers may have any of them answer a consumer,
    /// also one that has been away and has not caught up itself, so that a consumer's end says nothing: the leader does.
    /// `None`: nothing is owed, or the leader does not know of it, for it was cut off before.
    async fn end(&self) -> Result<Option<u64>, Broken> {
        let Some(owed) = self.wanted.owed else { return Ok(None) };
        let asked = async {
            let stream = self.context.get_stream(&self.stream).await.map_err(Broken::odd)?;
            let last = match stream.get_last_raw_message_by_subject(&self.subject).await {
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
        self.out.send((self.lane, came)).await.map_err(|_| Broken::Unwanted)
    }

    async fn consumer(&self) -> Result<Consumer<pull::Config>, Broken> {
        let config = pull::Config {
            filter_subject: self.subject.clone(),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: self.wanted.next.max(1) },
            ack_policy: AckPolicy::None,
            inactive_threshold: ABANDONED_AFTER,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let found = timeout(ANSWER_WAIT, self.context.get_stream(&self.stream)).await.map_err(Broken::odd)?;
        let stream = found.map_err(Broken::odd)?;
        if made(stream.cached_info()) != self.wanted.stream {
            self.tell(Came::Anew).await?;
            return Err(Broken::Unwanted);
        }
        timeout(ANSWER_WAIT, stream.create_consumer(config)).await.map_err(Broken::odd)?.map_err(Broken::odd)
    }
}
