//! Which server leads the stream, and whether what was read there still stands where it stood.
//!
//! All that is acknowledged is at the server that leads. A consumer may be at any server, and after a cut a follower of
//! nats-server 2.9.10 was seen that had other messages under the same places, for good. So a lane is read from a consumer at
//! the leader; some times a second it is asked who leads, and what came before such a question from the server that it names
//! is certain. When another one leads, it is asked for the last message that was certain, and for those that came after it:
//! if it has others there, its places are not those by which was counted, and the lane is read again by the time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_nats::datetime::DateTime;
use async_nats::jetstream::stream::{Info, RawMessageErrorKind, Stream};
use tokio::time::timeout;

use crate::clock::Instant;
use crate::cluster::bucket::ANSWER_WAIT;
use crate::cluster::progress::Mark;

/// How often it is asked who leads.
pub const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How far before what is open a lane is read again whose places are others now: longer than the clocks of servers differ and
/// than a message waits for them to agree.
pub const AGAIN_BEFORE: Duration = Duration::from_secs(60);

/// Messages of a lane that may have come and not be certain: beyond, no more are read until it is known who leads.
const FRESH_MAX: usize = 65_536;

/// Name of a server; `None` where there is but one.
pub type Server = Option<Arc<str>>;

/// Who leads the stream.
#[derive(Clone, Debug, Default)]
pub struct Led {
    /// The server.
    pub by: Server,
    /// When that was asked.
    pub asked: Instant,
}

/// Who leads, as a server has said. A stream without a leader has none to name: then it is an error to know it.
///
/// # Errors
/// There is no leader.
pub fn leader(info: &Info) -> Result<Server, &'static str> {
    match &info.cluster {
        None => Ok(None),
        Some(cluster) => match cluster.leader.as_deref() {
            Some(leader) if !leader.is_empty() => Ok(Some(leader.into())),
            _ => Err("the stream has no leader at the moment"),
        },
    }
}

/// A time of the stream in nanoseconds since 1970.
#[must_use]
pub fn nanos(time: DateTime) -> u64 {
    u64::try_from(time.unix_timestamp_nanos()).unwrap_or_default()
}

/// When the leader took its message at a place; `None`: it has none there.
///
/// # Errors
/// Nobody answers.
pub async fn taken_at(stream: &Stream, place: u64) -> Result<Option<u64>, String> {
    let asked = timeout(ANSWER_WAIT, stream.get_raw_message(place)).await.map_err(|error| error.to_string())?;
    match asked {
        Ok(message) => Ok(Some(nanos(message.time))),
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

/// Whether the leader still has a message where it was. What it has let go for its age says nothing against it.
///
/// # Errors
/// Nobody answers.
pub async fn holds(stream: &Stream, Mark { place, time }: Mark) -> Result<bool, String> {
    if time == 0 || place < stream.cached_info().state.first_sequence {
        return Ok(true);
    }
    Ok(taken_at(stream, place).await? == Some(time))
}

/// The last place before all messages that the leader took at this time or later, as far as their times grow with them.
///
/// # Errors
/// Nobody answers.
pub async fn before(stream: &Stream, time: u64) -> Result<u64, String> {
    let state = &stream.cached_info().state;
    // One that has had no message says 0.
    let (mut low, mut high) = (state.first_sequence.max(1), state.last_sequence.saturating_add(1));
    while low < high {
        let middle = low + (high - low) / 2;
        // One that was removed counts as later: rather too much is read than too little.
        match taken_at(stream, middle).await? {
            Some(taken) if taken < time => low = middle + 1,
            _ => high = middle,
        }
    }
    Ok(low.saturating_sub(1))
}

/// A message that came.
#[derive(Clone, Copy, Debug)]
struct Fresh {
    mark: Mark,
    came: Instant,
}

/// What has come of a lane, and is not certain yet.
#[derive(Debug, Default)]
pub struct Trail {
    /// The last one that is certain.
    mark: Mark,
    fresh: VecDeque<Fresh>,
    /// How many of the last ones the present leader has not shown yet.
    unseen: usize,
}

/// A message stands where another one stood.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Differs;

impl Trail {
    /// Nothing came but what a predecessor was certain of.
    #[must_use]
    pub fn behind(mark: Mark) -> Self {
        Self { mark, ..Self::default() }
    }

    /// The last message that is certain.
    #[must_use]
    pub const fn mark(&self) -> Mark {
        self.mark
    }

    /// Whether all is certain.
    #[must_use]
    pub fn is_sure(&self) -> bool {
        self.fresh.is_empty()
    }

    /// Whether too much is not certain.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.fresh.len() >= FRESH_MAX
    }

    /// Reading begins anew, and what is not certain is to come again. Gives the first of it.
    pub fn again(&mut self) -> Option<u64> {
        self.unseen = self.fresh.len();
        self.fresh.front().map(|fresh| fresh.mark.place)
    }

    /// A message that has not come before was taken.
    pub fn came(&mut self, mark: Mark, came: Instant) {
        self.fresh.push_back(Fresh { mark, came });
    }

    /// A message came that is before the next one: it has to be the one that came before.
    ///
    /// # Errors
    /// It is another one.
    pub fn came_again(&mut self, mark: Mark, came: Instant) -> Result<(), Differs> {
        let at = self.fresh.len() - self.unseen;
        let Some(fresh) = self.fresh.get_mut(at) else { return Ok(()) };
        if mark.place < fresh.mark.place {
            return Ok(());
        }
        if mark != fresh.mark {
            return Err(Differs);
        }
        (fresh.came, self.unseen) = (came, self.unseen - 1);
        Ok(())
    }

    /// Whether a message may be the next one: all that is to come again has come.
    #[must_use]
    pub const fn is_shown(&self) -> bool {
        self.unseen == 0
    }

    /// Its server has led at this time: what came before it is certain. Gives the last one, if there is one that was not.
    pub fn led(&mut self, asked: Instant) -> Option<Mark> {
        let mut last = None;
        while self.fresh.len() > self.unseen
            && let Some(fresh) = self.fresh.pop_front_if(|fresh| fresh.came < asked)
        {
            last = Some(fresh.mark);
        }
        self.mark = last.unwrap_or(self.mark);
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(place: u64) -> Mark {
        Mark { place, time: 1_000 + place }
    }

    /// Messages 3 and 5 came, at 10 and 20.
    fn trail() -> Trail {
        let mut trail = Trail::behind(at(2));
        trail.came(at(3), Instant(10));
        trail.came(at(5), Instant(20));
        trail
    }

    #[test]
    fn only_what_came_before_it_was_asked_who_leads_is_certain() {
        let mut trail = trail();
        let certain: Vec<_> = [10, 20, 20, 21].map(|asked| trail.led(Instant(asked))).into();
        assert_eq!(certain, [None, Some(at(3)), None, Some(at(5))]);
        assert_eq!((trail.mark(), trail.is_sure()), (at(5), true));
    }

    #[test]
    fn what_another_leader_has_not_shown_again_is_not_certain() {
        let mut trail = trail();
        assert_eq!(trail.again(), Some(3));
        assert_eq!(trail.led(Instant(99)), None);
        assert!(!trail.is_shown());
        assert_eq!(trail.came_again(at(2), Instant(100)), Ok(()), "it was certain before");
        assert_eq!(trail.came_again(at(3), Instant(100)), Ok(()));
        assert_eq!((trail.led(Instant(100)), trail.led(Instant(101))), (None, Some(at(3))));
        assert_eq!(trail.came_again(at(5), Instant(102)), Ok(()));
        assert!(trail.is_shown());
        assert_eq!(trail.led(Instant(103)), Some(at(5)));
        assert_eq!(trail.again(), None);
    }

    #[test]
    fn what_another_leader_has_in_the_place_of_what_came_is_told() {
        let rows = [
            ("another message", Mark { place: 3, time: 7 }),
            ("none there", at(5)),
            ("none there, and another one behind it", at(4)),
        ];
        for (what, mark) in rows {
            let mut trail = trail();
            trail.again();
            assert_eq!(trail.came_again(mark, Instant(100)), Err(Differs), "{what}");
        }
    }
}
