//! Places for connections: a bounded number. When all are taken, one that waits for its next request gives its place to a new
//! one, so that silent connections keep nobody out: of those whose origin has most places the one that has waited longest,
//! so that a flood of one address takes its places from itself. And no connection waits, or takes for one answer, longer
//! than a limit.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::{self, Instant};
use crate::timers::spell::Spell;

/// A bounded number of places.
#[derive(Clone, Debug)]
pub(super) struct Places {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    places_max: usize,
    /// Longest work on one request.
    served_max: Duration,
    /// Longest wait for the next one, and for an answer to be read.
    waiting_max: Duration,
    taken: Mutex<Taken>,
    /// A place came free.
    freed: Notify,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    by_number: HashMap<u64, Connection>,
}

#[derive(Debug)]
struct Connection {
    origin: Origin,
    state: State,
    since: Instant,
    /// Told when it has to go, and when its state is another.
    told: Arc<Notify>,
    is_going: bool,
}

/// Where a connection comes from, as far as one may have many of them.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Origin {
    /// An address, of IPv6 the network of a site or a host (RFC 4291 §2.5.4).
    Address(IpAddr),
    /// A user of this machine; `None`: who it is is not known.
    User(Option<u32>),
}

impl Origin {
    /// Of an address.
    pub fn of(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(own) => Ipv6Addr::from_bits(own.to_bits() & NETWORK).into(),
            own @ IpAddr::V4(_) => own,
        })
    }
}

/// Bits that name a network of IPv6.
const NETWORK: u128 = !(u64::MAX as u128);

/// What a connection is doing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Its next request is not there yet, or it has not read its last answer.
    Waiting,
    /// Its request is being worked on.
    Served,
}

/// Connections that could not be accepted: a spell of that is told, and how many there were when it is over.
#[derive(Debug)]
pub(super) struct AcceptTroubles {
    what: &'static str,
    spell: Spell,
}

impl AcceptTroubles {
    /// None yet, of connections of this kind.
    pub fn new(what: &'static str) -> Self {
        Self { what, spell: Spell::default() }
    }

    /// A connection was accepted.
    pub fn over(&mut self) {
        if let Some(failures) = self.spell.succeeded(clock::mono()) {
            tracing::info!(failures, "{} connections are accepted again", self.what);
        }
    }

    /// One was not.
    pub fn note(&mut self, error: &std::io::Error) {
        if self.spell.failed(clock::mono()) {
            tracing::warn!(%error, "no {} connection can be accepted", self.what);
        }
    }
}

/// The place of one connection; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    shared: Arc<Shared>,
    number: u64,
    told: Arc<Notify>,
}

impl Places {
    /// So many places, in which a connection is served, and waits, for so long at most.
    pub fn new(places_max: usize, (served_max, waiting_max): (Duration, Duration)) -> Self {
        let shared = Shared { places_max, served_max, waiting_max, taken: Mutex::default(), freed: Notify::new() };
        Self { shared: Arc::new(shared) }
    }

    /// A place for a new connection; if need be, after another one has left.
    pub async fn take(&self, origin: Origin) -> Place {
        loop {
            let freed = self.shared.freed.notified();
            if let Some(place) = self.try_take(origin, clock::mono()) {
                return place;
            }
            freed.await;
        }
    }

    fn try_take(&self, origin: Origin, now: Instant) -> Option<Place> {
        let mut taken = self.shared.taken();
        if taken.by_number.len() < self.shared.places_max {
            let (number, told) = (taken.next, Arc::new(Notify::new()));
            taken.next += 1;
            let own = Connection { origin, state: State::Waiting, since: now, told: told.clone(), is_going: false };
            taken.by_number.insert(number, own);
            return Some(Place { shared: self.shared.clone(), number, told });
        }
        // One is enough: who waits for a place is alone, for it is what accepts.
        let is_going = taken.by_number.values().any(|own| own.is_going);
        if is_going {
            return None;
        }
        let mut counts: HashMap<Origin, usize> = HashMap::new();
        // The new one counts: of two that have as many, it is its own that goes.
        for origin in taken.by_number.values().map(|own| own.origin).chain([origin]) {
            *counts.entry(origin).or_default() += 1;
        }
        let waiting = taken.by_number.values_mut().filter(|own| own.state == State::Waiting);
        if let Some(longest) = waiting.min_by_key(|own| (Reverse(counts[&own.origin]), own.since)) {
            longest.is_going = true;
            longest.told.notify_one();
        }
        None
    }
}

impl Shared {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Its request is there, and is worked on from now.
    pub fn served(&self) {
        self.enter(State::Served);
    }

    /// Its answer is made; it waits for the next request.
    pub fn waiting(&self) {
        self.enter(State::Waiting);
    }

    fn enter(&self, state: State) {
        if let Some(own) = self.shared.taken().by_number.get_mut(&self.number) {
            (own.state, own.since) = (state, clock::mono());
            own.told.notify_one();
        }
    }

    /// Completes when the connection has to go: another one needs the place, or it has been in one state for too long.
    pub async fn has_to_go(&self) {
        loop {
            let own = self.shared.taken().by_number.get(&self.number).map(|own| (own.state, own.since, own.is_going));
            let Some((state, since, false)) = own else { return };
            let most = match state {
                State::Waiting => self.shared.waiting_max,
                State::Served => self.shared.served_max,
            };
            let due = since + most;
            let now = clock::mono();
            if due <= now {
                return;
            }
            tokio::select! {
                () = self.told.notified() => {}
                () = tokio::time::sleep(due.since(now)) => {}
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.taken().by_number.remove(&self.number);
        self.shared.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_waited_longest_goes_and_who_is_served_stays() {
        let places = Places::new(3, (Duration::from_secs(30), Duration::from_secs(30)));
        let take = |at| places.try_take(Origin::User(None), Instant(at));
        let (first, second, third) = (take(1), take(2), take(3));
        let [Some(first), Some(second), Some(third)] = [first, second, third] else { panic!("three places") };
        first.served();
        assert!(take(4).is_none(), "all are taken");
        let going = |place: &Place| places.shared.taken().by_number[&place.number].is_going;
        assert_eq!([going(&first), going(&second), going(&third)], [false, true, false]);
        assert!(take(5).is_none(), "the one that was told has not gone yet");
        assert!(!going(&third), "one is enough");
        drop(second);
        assert!(take(6).is_some(), "its place is free");
    }

    #[test]
    fn a_flood_of_one_origin_takes_its_places_from_itself() {
        let places = Places::new(3, (Duration::from_secs(30), Duration::from_secs(30)));
        let of = |address: &str| Origin::of(address.parse().expect("an address"));
        let take = |origin, at| places.try_take(origin, Instant(at));
        let going = |place: &Place| places.shared.taken().by_number[&place.number].is_going;
        for (what, other, flooding) in [
            ("addresses", "192.0.2.7", ["192.0.2.8", "192.0.2.8", "::ffff:192.0.2.8"]),
            ("networks", "2001:db8:0:1::1", ["2001:db8:0:2::1", "2001:db8:0:2::2", "2001:db8:0:2:1::"]),
        ] {
            let other = take(of(other), 1).expect("a place");
            let [first, second] = [flooding[0], flooding[1]].map(|own| take(of(own), 2).expect("a place"));
            second.served();
            assert!(take(of(flooding[2]), 3).is_none(), "{what}: all are taken");
            assert_eq!([going(&other), going(&first), going(&second)], [false, true, false], "{what}");
        }
    }

    #[test]
    fn one_that_comes_first_from_its_origin_takes_the_place_of_a_flood() {
        let places = Places::new(2, (Duration::from_secs(30), Duration::from_secs(30)));
        let take = |user, at| places.try_take(Origin::User(Some(user)), Instant(at));
        let (older, newer) = (take(1, 1).expect("a place"), take(1, 2).expect("a place"));
        assert!(take(2, 3).is_none(), "all are taken");
        let going = |place: &Place| places.shared.taken().by_number[&place.number].is_going;
        assert_eq!([going(&older), going(&newer)], [true, false]);
    }

    #[tokio::test]
    async fn who_does_not_read_an_answer_goes_however_long_work_may_take() {
        let places = Places::new(1, (Duration::from_secs(3600), Duration::from_millis(10)));
        let place = places.take(Origin::User(None)).await;
        place.served();
        let mut going = std::pin::pin!(place.has_to_go());
        tokio::select! {
            biased;
            () = &mut going => panic!("its work may take an hour"),
            () = std::future::ready(()) => {}
        }
        place.waiting();
        going.await;
    }
}
