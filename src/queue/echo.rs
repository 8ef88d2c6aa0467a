//! What becomes of the calls in progress, told to whoever keeps a copy of them elsewhere: the last state of each call that
//! is on disk, and how far records have left for all sinks.
//!
//! Nothing here waits. Changes lie in a table until they are taken, the last one of each call; what finds no room there is
//! dropped, and all is to be told again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use foldhash::fast::RandomState;

use super::handle::{Wake, lock};
use crate::record::CallChange;

/// Calls with a change that was not taken, at most.
pub const CALLS_MAX: usize = 65_536;
/// Octets of their names and values.
pub const BYTES_MAX: usize = 64 << 20;

/// The last that became of a call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Kept {
    /// What the queue keeps of it; `None` when it keeps it no more.
    pub value: Option<Vec<u8>>,
    /// The records that were committed with this, or before it, have places up to this one.
    pub last: u64,
}

/// What was told since the last time.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Told {
    /// Calls by name, in no order.
    pub calls: Vec<(Vec<u8>, Kept)>,
    /// Whether changes found no room: all calls are to be told again.
    pub overflowed: bool,
    /// All records with places up to this one have left for all sinks.
    pub safe: u64,
}

#[derive(Debug, Default)]
struct State {
    calls: HashMap<Vec<u8>, Kept, RandomState>,
    bytes: usize,
    overflowed: bool,
    safe: u64,
}

/// Where it is told.
#[derive(Clone)]
pub struct Echo {
    state: Arc<Mutex<State>>,
    wake: Wake,
}

impl std::fmt::Debug for Echo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Echo")
    }
}

impl Echo {
    /// One that nothing was told yet. `wake` is called by the queue's thread when there is something: it must return at
    /// once, and must not call the queue.
    #[must_use]
    pub fn new(wake: Wake) -> Self {
        Self { state: Arc::default(), wake }
    }

    /// Takes what was told.
    #[must_use]
    pub fn take(&self) -> Told {
        let (calls, overflowed, safe) = {
            let mut state = lock(&self.state);
            state.bytes = 0;
            (std::mem::take(&mut state.calls), std::mem::take(&mut state.overflowed), state.safe)
        };
        Told { calls: calls.into_iter().collect(), overflowed, safe }
    }

    fn tell(&self, changes: &mut Vec<(Vec<u8>, Option<Vec<u8>>)>, last: u64) {
        {
            let mut state = lock(&self.state);
            for (key, value) in changes.drain(..) {
                state.put(key, Kept { value, last });
            }
        }
        (self.wake)();
    }

    fn tell_safe(&self, safe: u64) {
        let before = std::mem::replace(&mut lock(&self.state).safe, safe);
        if before != safe {
            (self.wake)();
        }
    }
}

impl State {
    fn put(&mut self, key: Vec<u8>, kept: Kept) {
        let octets = |kept: &Kept| kept.value.as_ref().map_or(0, Vec::len);
        let before = self.calls.get(&key).map(|kept| key.len() + octets(kept));
        let after = key.len() + octets(&kept);
        let has_room = self.bytes - before.unwrap_or(0) + after <= BYTES_MAX;
        if has_room && (before.is_some() || self.calls.len() < CALLS_MAX) {
            self.bytes = self.bytes - before.unwrap_or(0) + after;
            self.calls.insert(key, kept);
        } else {
            // What is known of it is old.
            self.bytes -= before.unwrap_or(0);
            self.calls.remove(&key);
            self.overflowed = true;
        }
    }
}

/// The queue's side: what the next commit changes.
#[derive(Debug, Default)]
pub(super) struct Echoing {
    to: Option<Echo>,
    changes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Echoing {
    /// Tells it from now on.
    pub fn tell(&mut self, to: Echo) {
        self.to = Some(to);
    }

    /// Whether anybody listens.
    pub const fn is_heard(&self) -> bool {
        self.to.is_some()
    }

    /// Takes note of a change that the next commit makes.
    pub fn note(&mut self, change: &CallChange) {
        if self.to.is_none() {
            return;
        }
        self.changes.push(match change {
            CallChange::Put { key, value } => (key.clone(), Some(value.clone())),
            CallChange::Remove { key } | CallChange::End { key, .. } => (key.clone(), None),
            CallChange::Class { .. } => return,
        });
    }

    /// All that was noted is on disk, with records up to this place.
    pub fn committed(&mut self, last: u64) {
        if let Some(to) = self.to.as_ref().filter(|_| !self.changes.is_empty()) {
            to.tell(&mut self.changes, last);
        }
    }

    /// All records up to this place have left for all sinks.
    pub fn safe(&self, last: u64) {
        if let Some(to) = &self.to {
            to.tell_safe(last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(state: &mut State, key: u64, octets: usize) {
        state.put(key.to_be_bytes().to_vec(), Kept { value: Some(vec![0; octets]), last: 0 });
    }

    #[test]
    fn the_last_change_of_a_call_takes_the_place_of_the_one_before() {
        let echo = Echo::new(Arc::new(|| ()));
        let mut echoing = Echoing::default();
        let of = |key: u8, value: Option<u8>| match value {
            Some(value) => CallChange::Put { key: vec![key], value: vec![value] },
            None => CallChange::End { key: vec![key], note: b"note".to_vec() },
        };
        echoing.note(&of(1, Some(1)));
        echoing.tell(echo.clone());
        for change in [of(1, Some(2)), of(2, Some(3)), of(1, Some(4))] {
            echoing.note(&change);
        }
        assert_eq!(echo.take(), Told::default(), "nothing that is not on disk");
        echoing.committed(7);
        echoing.note(&of(2, None));
        echoing.committed(8);
        echoing.safe(6);
        let mut told = echo.take();
        told.calls.sort_by(|one, other| one.0.cmp(&other.0));
        let kept = |value: Option<u8>, last| Kept { value: value.map(|octet| vec![octet]), last };
        let want = vec![(vec![1], kept(Some(4), 7)), (vec![2], kept(None, 8))];
        assert_eq!(told, Told { calls: want, overflowed: false, safe: 6 });
        assert_eq!(echo.take(), Told { safe: 6, ..Told::default() }, "each is told once");
    }

    #[test]
    fn what_finds_no_room_is_to_be_told_again() {
        let mut state = State::default();
        for key in 0..CALLS_MAX as u64 {
            put(&mut state, key, 1);
        }
        put(&mut state, 0, 2);
        assert!(!state.overflowed, "one that is there has room");
        put(&mut state, CALLS_MAX as u64, 1);
        assert!(state.overflowed && state.calls.len() == CALLS_MAX);
        let mut state = State::default();
        put(&mut state, 1, BYTES_MAX - 8);
        put(&mut state, 1, 10);
        assert_eq!((state.bytes, state.overflowed), (18, false));
        put(&mut state, 2, BYTES_MAX - 18 - 7);
        assert!(state.overflowed && state.bytes == 18);
        put(&mut state, 1, BYTES_MAX);
        assert_eq!((state.bytes, state.calls.len()), (0, 0), "an old value is no value");
    }
}
