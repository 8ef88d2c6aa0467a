//! Requests that wait until it is known whether another gateway of the cluster has their call.
//!
//! A request that claims a dialog by a signed Route value, and whose call nobody here knows, is held while the two names
//! that its call may have are looked up; what comes again meanwhile is absorbed. It goes on as a request of a known call
//! when the call was adopted, and as one of an unknown call when nobody has it, or nobody says so in time.

use std::time::Duration;

use super::{Count, Output, Shard};
use crate::accounting::{Absence, Key};
use crate::clock::{Instant, Now};
use crate::ids::SinkNumber;
use crate::sip::message::{Malformed, Message};
use crate::sip::stack::{self, Peer, RequestKey};

/// Requests of a shard that are held at most; further ones go on at once.
pub const HELD_MAX: usize = 1_024;
/// Longest time that one is held: a quarter of Timer F (RFC 3261 §17.1.2.2) is gone then at most.
pub const HELD_FOR: Duration = Duration::from_secs(2);

/// What the cluster says of a call.
#[derive(Clone, Debug)]
pub enum Said {
    /// It is ours now.
    Adopted {
        /// Which.
        key: Key,
        /// What the other gateway has kept of it.
        value: Vec<u8>,
        /// For each sink that the other numbers, which one that is here.
        sinks: Vec<(SinkNumber, SinkNumber)>,
    },
    /// It does not become ours.
    NotAdopted {
        /// Which.
        key: Key,
        /// Why.
        why: Absence,
    },
    /// Another has adopted it.
    Lost {
        /// Which.
        key: Key,
    },
    /// The queue is to say once more what it keeps of it.
    Again {
        /// Which.
        key: Key,
    },
    /// The queue is to say once more what it keeps of all.
    AllAgain,
}

/// How a request went on that was held.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Held {
    /// Its call was adopted.
    Adopted,
    /// No gateway has its call.
    Unknown,
    /// Nobody has said so in time.
    Late,
    /// It was not held: too many were.
    Full,
}

/// A request that is held.
#[derive(Debug)]
struct Waiting {
    key: RequestKey,
    peer: Peer,
    message: Message,
    arrived: Now,
}

/// Requests whose call is looked up.
#[derive(Debug)]
struct Asked {
    /// The names that the call may have, and whether one is still looked up.
    names: [(Key, bool); 2],
    requests: Vec<Waiting>,
    until: Instant,
}

/// What a shard of a cluster waits for.
#[derive(Debug, Default)]
pub(super) struct Adopting {
    is_on: bool,
    /// The oldest first.
    asked: Vec<Asked>,
    held: usize,
}

impl Adopting {
    pub fn turn_on(&mut self) {
        self.is_on = true;
    }

    pub fn is_empty(&self) -> bool {
        self.asked.is_empty()
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.asked.first().map(|asked| asked.until)
    }

    /// Holds a request that nobody asks about yet; whether it is to be asked.
    fn hold(&mut self, names: [Key; 2], request: Waiting) -> bool {
        self.held += 1;
        if let Some(asked) = self.of(names[0]) {
            asked.requests.push(request);
            return false;
        }
        let names = names.map(|key| (key, true));
        let until = request.arrived.mono + HELD_FOR;
        self.asked.push(Asked { names, requests: vec![request], until });
        true
    }

    fn of(&mut self, name: Key) -> Option<&mut Asked> {
        self.asked.iter_mut().find(|asked| asked.names.iter().any(|(key, _)| *key == name))
    }

    fn is_held(&self, request: RequestKey) -> bool {
        self.asked.iter().flat_map(|asked| &asked.requests).any(|own| own.key == request)
    }

    /// A name leads to a call, or to none; gives what has waited for that and has nothing more to wait for.
    fn take(&mut self, name: Key, is_found: bool) -> Vec<Waiting> {
        let is_its = |asked: &Asked| asked.names.iter().any(|(key, _)| *key == name);
        let Some(place) = self.asked.iter().position(is_its) else { return Vec::new() };
        let names = &mut self.asked[place].names;
        names.iter_mut().filter(|(key, _)| *key == name).for_each(|(_, is_open)| *is_open = false);
        if !is_found && names.iter().any(|(_, is_open)| *is_open) {
            return Vec::new();
        }
        self.remove(place)
    }

    fn pop_late(&mut self, now: Instant) -> Vec<Waiting> {
        if self.deadline().is_some_and(|until| until <= now) { self.remove(0) } else { Vec::new() }
    }

    fn remove(&mut self, place: usize) -> Vec<Waiting> {
        let requests = self.asked.remove(place).requests;
        self.held -= requests.len();
        requests
    }
}

impl Shard {
    /// Has calls that are not known here looked for in a cluster.
    #[must_use]
    pub fn in_cluster(mut self) -> Self {
        self.adopting.turn_on();
        self.engine.join_cluster();
        self
    }

    /// Holds a request whose call another gateway may have; gives back what goes on at once.
    pub(super) fn held_back(
        &mut self,
        now: Now,
        peer: Peer,
        message: Message,
        out: &mut Vec<Output>,
    ) -> Option<Message> {
        let may_be = self.adopting.is_on && message.is_request() && !message.to_tag().is_empty();
        if !may_be || self.engine.knows(&message) {
            return Some(message);
        }
        let Some(request) = self.stack.request_of_unknown(now, &message, &self.engine) else { return Some(message) };
        if self.adopting.is_held(request) {
            return None;
        }
        if self.adopting.held >= HELD_MAX {
            out.push(Output::Count(Count::RequestHeld(Held::Full)));
            return Some(message);
        }
        let names: Vec<Key> = Key::candidates(&message).map(|(key, _)| key).collect();
        let [one, other] = names[..] else { return Some(message) };
        if self.adopting.hold([one, other], Waiting { key: request, peer, message, arrived: now }) {
            out.push(Output::Adopt { names: [one, other] });
        }
        None
    }

    /// The cluster has said something.
    pub(super) fn said(&mut self, now: Now, said: Said, out: &mut Vec<Output>) {
        let before = self.pending.records.len();
        match said {
            Said::Adopted { key, value, sinks } => {
                match self.engine.adopt(now, key, &value, &sinks, &mut self.pending) {
                    Ok(Some(fields)) => self.policy.call_restored(&fields),
                    Ok(None) => {}
                    Err(error) => out.push(Output::Unreadable(error)),
                }
                let requests = self.adopting.take(key, true);
                self.go_on_with(now, requests, Held::Adopted, out);
            }
            Said::NotAdopted { key, why } => {
                self.engine.not_adopted(now, key, why, &mut self.pending);
                let requests = self.adopting.take(key, why == Absence::Ended);
                self.go_on_with(now, requests, Held::Unknown, out);
            }
            Said::Lost { key } => {
                if let Some(stop) = self.engine.forget(now, key, &mut self.pending) {
                    self.policy.call_ended(now, &stop);
                }
            }
            Said::Again { key } => self.engine.keep_again(now, key, &mut self.pending),
            Said::AllAgain => self.engine.keep_all_again(now),
        }
        self.mention_from(now, before);
    }

    /// Has the calls looked for whose ends wait to be recorded.
    pub(super) fn look_for_strays(&mut self, out: &mut Vec<Output>) {
        let asks = self.engine.take_asks().into_iter();
        out.extend(asks.map(|key| Output::Adopt { names: [key, key] }));
    }

    /// Requests that were held for too long go on.
    pub(super) fn release_late(&mut self, now: Now, out: &mut Vec<Output>) {
        loop {
            let requests = self.adopting.pop_late(now.mono);
            if requests.is_empty() {
                return;
            }
            self.go_on_with(now, requests, Held::Late, out);
        }
    }

    fn go_on_with(&mut self, now: Now, requests: Vec<Waiting>, how: Held, out: &mut Vec<Output>) {
        for Waiting { peer, message, arrived, .. } in requests {
            out.push(Output::Count(Count::RequestHeld(how)));
            self.step(now, stack::Input::Held { peer, message, arrived }, out);
        }
    }

    /// Takes a message, and lets it go on if nothing has to be found out first.
    pub(super) fn received(
        &mut self,
        now: Now,
        peer: Peer,
        message: Result<Message, Malformed>,
        out: &mut Vec<Output>,
    ) {
        let message = match message {
            Ok(message) => {
                self.ladders.received(now.wall, peer, &message);
                match self.held_back(now, peer, message, out) {
                    Some(message) => Ok(message),
                    None => return,
                }
            }
            Err(malformed) => Err(malformed),
        };
        self.step(now, stack::Input::Received { peer, message }, out);
    }
}
