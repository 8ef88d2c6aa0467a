//! Class values of servers, to be repeated in the later records of their sessions (RFC 6733 §8.20).

use std::collections::{HashMap, VecDeque};

use foldhash::fast::FixedState;

use super::Output;
use super::settings::{CLASS_OCTETS_MAX, CLASS_SESSIONS_MAX};
use crate::diameter::avp::{Avp, Avps, Writer};
use crate::diameter::code;

/// Encoded Class AVPs by session, the oldest session forgotten first.
///
/// What is to outlive the process is told as [`Output::Class`]: values that are new, and sessions that are forgotten.
#[derive(Debug, Default)]
pub(super) struct Classes {
    by_session: HashMap<u64, Box<[u8]>, FixedState>,
    order: VecDeque<u64>,
    /// Flags of the echoed AVPs.
    flags: u8,
}

impl Classes {
    /// None yet; they will go out with these flags.
    pub fn new(flags: u8) -> Self {
        Self { flags, ..Self::default() }
    }

    /// What to add to a record of the session, as encoded AVPs.
    pub fn of(&self, session: u64) -> &[u8] {
        self.by_session.get(&session).map_or(&[], |octets| octets)
    }

    /// An answer carried these.
    pub fn keep(&mut self, session: u64, values: &[&[u8]], out: &mut Vec<Output>) {
        let mut octets = Vec::new();
        for value in values {
            if octets.len() + (value.len() + 8).next_multiple_of(4) <= CLASS_OCTETS_MAX {
                Writer::new(&mut octets).avp(code::CLASS, 0, self.flags, value);
            }
        }
        if !octets.is_empty() && self.of(session) != octets {
            out.push(Output::Class { session, octets: Some(octets.clone().into()) });
            self.insert(session, octets.into(), out);
        }
    }

    /// An earlier process kept this; what is none of ours is given up.
    pub fn restore(&mut self, session: u64, octets: &[u8], out: &mut Vec<Output>) {
        let is_class = |avp: Result<Avp<'_>, _>| avp.is_ok_and(|avp| (avp.code, avp.vendor) == (code::CLASS, 0));
        let is_fit = octets.len() <= CLASS_OCTETS_MAX && octets.len().is_multiple_of(4);
        if is_fit && !octets.is_empty() && Avps::new(octets).all(is_class) {
            // An earlier process, of another release or configuration, may have given it other flags.
            let mut own = Vec::with_capacity(octets.len());
            for avp in Avps::new(octets).flatten() {
                Writer::new(&mut own).avp(code::CLASS, 0, self.flags, avp.value);
            }
            self.insert(session, own.into(), out);
        } else {
            out.push(Output::Class { session, octets: None });
        }
    }

    /// All that is kept, the oldest session first.
    pub fn all(&self) -> Vec<(u64, Vec<u8>)> {
        let known = |session: &u64| Some((*session, self.by_session.get(session)?.to_vec()));
        self.order.iter().filter_map(known).collect()
    }

    fn insert(&mut self, session: u64, octets: Box<[u8]>, out: &mut Vec<Output>) {
        if self.by_session.insert(session, octets).is_none() {
            self.order.push_back(session);
        }
        while self.order.len() > CLASS_SESSIONS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            if self.by_session.remove(&oldest).is_some() {
                out.push(Output::Class { session: oldest, octets: None });
            }
        }
    }

    /// The session is over.
    pub fn forget(&mut self, session: u64, out: &mut Vec<Output>) {
        if self.by_session.remove(&session).is_none() {
            return;
        }
        out.push(Output::Class { session, octets: None });
        if self.by_session.len() * 2 < self.order.len() {
            // Places of sessions that are over are given back now and then.
            let live = &self.by_session;
            self.order.retain(|session| live.contains_key(session));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sessions that were told to be kept, and to be forgotten.
    fn told(out: &mut Vec<Output>) -> (Vec<u64>, Vec<u64>) {
        let (mut kept, mut forgotten) = (Vec::new(), Vec::new());
        for output in out.drain(..) {
            let Output::Class { session, octets } = output else { panic!("{output:?}") };
            if octets.is_some() { kept.push(session) } else { forgotten.push(session) }
        }
        (kept, forgotten)
    }

    #[test]
    fn classes_are_kept_in_order_and_within_bounds() {
        let (mut classes, mut out) = (Classes::new(0x40), Vec::new());
        classes.keep(1, &[b"ab", b"c"], &mut out);
        assert_eq!(classes.of(1), b"\0\0\0\x19\x40\0\0\x0aab\0\0\0\0\0\x19\x40\0\0\x09c\0\0\0");
        assert_eq!(out, [Output::Class { session: 1, octets: Some(classes.of(1).into()) }]);
        assert_eq!(classes.of(2), b"");
        out.clear();
        classes.keep(1, &[b"ab", b"c"], &mut out);
        assert_eq!(out, [], "the same again is not written again");
        classes.keep(1, &[&[7; CLASS_OCTETS_MAX], b"x"], &mut out);
        assert_eq!(classes.of(1), b"\0\0\0\x19\x40\0\0\x09x\0\0\0", "too long a one is left out");
        assert_eq!(told(&mut out), (vec![1], vec![]));
        let last = CLASS_SESSIONS_MAX as u64 + 9;
        for session in 2..=last {
            classes.keep(session, &[b"z"], &mut out);
        }
        assert_eq!(classes.of(1), b"", "the oldest is forgotten");
        assert_eq!(told(&mut out), ((2..=last).collect(), (1..=9).collect()));
        for session in 2..=last {
            classes.forget(session, &mut out);
        }
        assert!(classes.by_session.is_empty() && classes.order.is_empty());
        assert_eq!(told(&mut out), (vec![], (10..=last).collect()));
    }

    #[test]
    fn what_was_kept_comes_back_and_rubbish_does_not() {
        let (mut before, mut out) = (Classes::new(0x40), Vec::new());
        before.keep(1, &[b"gold"], &mut out);
        let octets = before.of(1);
        let mut classes = Classes::new(0x40);
        out.clear();
        classes.restore(1, octets, &mut out);
        assert_eq!((classes.of(1), &out[..]), (octets, &[][..]));
        let mut plain = Classes::default();
        plain.restore(1, octets, &mut out);
        assert_eq!(plain.of(1), b"\0\0\0\x19\0\0\0\x0cgold", "the flags of a release before");
        for (name, rubbish) in [
            ("nothing", vec![]),
            ("no AVP", vec![1; 8]),
            ("another AVP", [&[0, 0, 0, 1], &octets[4..]].concat()),
            ("a cut one", octets[..8].to_vec()),
            ("too many", octets.repeat(CLASS_OCTETS_MAX / 12 + 1)),
        ] {
            classes.restore(2, &rubbish, &mut out);
            assert_eq!((classes.of(2), told(&mut out)), (&b""[..], (vec![], vec![2])), "{name}");
        }
        for session in 0..=CLASS_SESSIONS_MAX as u64 {
            classes.restore(session, octets, &mut out);
        }
        assert_eq!(told(&mut out).1, [1], "the oldest makes room");
    }
}
