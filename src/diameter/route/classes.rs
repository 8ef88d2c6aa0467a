//! Class values of servers, to be repeated in the later records of their sessions (RFC 6733 §8.20).

use std::collections::{HashMap, VecDeque};

use foldhash::fast::FixedState;

use super::settings::{CLASS_OCTETS_MAX, CLASS_SESSIONS_MAX};
use crate::diameter::avp::{Writer, flag};
use crate::diameter::code;

/// Encoded Class AVPs by session, the oldest session forgotten first.
#[derive(Debug, Default)]
pub(super) struct Classes {
    by_session: HashMap<u64, Box<[u8]>, FixedState>,
    order: VecDeque<u64>,
}

impl Classes {
    /// What to add to a record of the session, as encoded AVPs.
    pub fn of(&self, session: u64) -> &[u8] {
        self.by_session.get(&session).map_or(&[], |octets| octets)
    }

    /// An answer carried these.
    pub fn keep(&mut self, session: u64, values: &[&[u8]]) {
        let mut octets = Vec::new();
        for value in values {
            if octets.len() + value.len() + 8 <= CLASS_OCTETS_MAX {
                Writer::new(&mut octets).avp(code::CLASS, 0, flag::MANDATORY, value);
            }
        }
        if self.by_session.insert(session, octets.into()).is_none() {
            self.order.push_back(session);
        }
        while self.order.len() > CLASS_SESSIONS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_session.remove(&oldest);
        }
    }

    /// The session is over.
    pub fn forget(&mut self, session: u64) {
        if self.by_session.remove(&session).is_some() && self.by_session.len() * 2 < self.order.len() {
            // Places of sessions that are over are given back now and then.
            let live = &self.by_session;
            self.order.retain(|session| live.contains_key(session));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_kept_in_order_and_within_bounds() {
        let mut classes = Classes::default();
        classes.keep(1, &[b"ab", b"c"]);
        assert_eq!(classes.of(1), b"\0\0\0\x19\x40\0\0\x0aab\0\0\0\0\0\x19\x40\0\0\x09c\0\0\0");
        assert_eq!(classes.of(2), b"");
        classes.keep(1, &[&[7; CLASS_OCTETS_MAX], b"x"]);
        assert_eq!(classes.of(1), b"\0\0\0\x19\x40\0\0\x09x\0\0\0", "too long a one is left out");
        for session in 2..(CLASS_SESSIONS_MAX as u64 + 10) {
            classes.keep(session, &[b"z"]);
        }
        assert_eq!(classes.of(1), b"", "the oldest is forgotten");
        for session in 2..(CLASS_SESSIONS_MAX as u64 + 10) {
            classes.forget(session);
        }
        assert!(classes.by_session.is_empty() && classes.order.is_empty());
    }
}
