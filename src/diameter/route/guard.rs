//! When a whole route waits: its server is full (4002), or refuses everything (the flood guard).
//!
//! A server that lost its dictionary answers 5001 to every record. Parking them all would empty the queue into the dead
//! letters, so after twenty equal refusals in a row the route pauses, then tries one record at a time. The same for a
//! server whose connection breaks at every record, each of which was alone on it.

use std::time::Duration;

use super::Complaint;
use super::settings::{PAUSE_FIRST, PAUSE_MAX, REST_FIRST, REST_MAX};
use crate::clock::Instant;

/// What the guard says to a refusal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ruling {
    /// Let it be parked.
    Park,
    /// The route pauses from now on: the record stays in the queue.
    Pause,
    /// The route pauses already: the record stays in the queue.
    Keep,
}

#[derive(Clone, Debug)]
pub(super) struct Guard {
    last: Complaint,
    run: u32,
    /// As many make a flood.
    pause_after: u32,
    /// What everything meets with.
    paused: Option<Complaint>,
    pause: Duration,
    rest: Duration,
    until: Instant,
}

impl Guard {
    pub const fn new(pause_after: u32) -> Self {
        Self {
            last: Complaint::Result(0),
            run: 0,
            pause_after,
            paused: None,
            pause: PAUSE_FIRST,
            rest: REST_FIRST,
            until: Instant(0),
        }
    }

    /// Until when nothing is sent.
    pub fn closed_until(&self, now: Instant) -> Option<Instant> {
        (self.until > now).then_some(self.until)
    }

    /// What the pause is for, if there is one.
    pub const fn paused(&self) -> Option<Complaint> {
        self.paused
    }

    /// The server's storage is full; answers that were under way count once.
    pub fn rest(&mut self, now: Instant) -> Duration {
        if self.until <= now {
            self.until = now + self.rest;
            self.rest = (self.rest * 2).min(REST_MAX);
        }
        self.until.since(now)
    }

    /// Something else than a refusal of the kind that makes a flood. Whether a pause ends by it.
    pub fn other(&mut self, is_success: bool) -> bool {
        self.run = 0;
        if is_success {
            self.rest = REST_FIRST;
            self.pause = PAUSE_FIRST;
            self.until = Instant(0);
        }
        self.paused.take().is_some()
    }

    /// A record was refused for good.
    pub fn refused(&mut self, now: Instant, by: Complaint) -> Ruling {
        if self.paused == Some(by) {
            if self.until <= now {
                self.pause = (self.pause * 2).min(PAUSE_MAX);
                self.until = now + self.pause;
            }
            return Ruling::Keep;
        }
        self.paused = None;
        self.run = if self.last == by { self.run + 1 } else { 1 };
        self.last = by;
        if self.run < self.pause_after || !by.makes_flood() {
            return Ruling::Park;
        }
        self.paused = Some(by);
        self.until = now + self.pause;
        Ruling::Pause
    }
}

/// What kind of record a submission is about, in the words of its maker. Servers that refuse one often refuse all of its
/// kind, which an operator is then told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Kind(pub &'static str);

/// Kinds of records of which every one is parked, while others are taken: no flood, but as much of a mistake.
#[derive(Debug, Default)]
pub(super) struct Kinds {
    runs: Vec<Run>,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    kind: Kind,
    by: Complaint,
    length: u32,
    is_told: bool,
}

impl Kinds {
    /// A record of a kind was parked; whether that is to be told now.
    pub fn parked(&mut self, kind: Kind, by: Complaint, tell_after: u32) -> bool {
        let place = self.runs.iter().position(|run| run.kind == kind).unwrap_or_else(|| {
            self.runs.push(Run { kind, by, length: 0, is_told: false });
            self.runs.len() - 1
        });
        let run = &mut self.runs[place];
        if run.by != by {
            *run = Run { kind, by, length: 0, is_told: false };
        }
        run.length = run.length.saturating_add(1);
        let is_news = run.length >= tell_after && !run.is_told;
        run.is_told |= is_news;
        is_news
    }

    /// A record of a kind was taken; whether its trouble had been told.
    pub fn taken(&mut self, kind: Kind) -> bool {
        let place = self.runs.iter().position(|run| run.kind == kind);
        place.is_some_and(|place| self.runs.swap_remove(place).is_told)
    }

    /// The kinds that have been told, with what they meet with.
    pub fn told(&self) -> impl Iterator<Item = (Kind, Complaint)> {
        self.runs.iter().filter(|run| run.is_told).map(|run| (run.kind, run.by))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(guard: &mut Guard, now: Instant, code: u32) -> Ruling {
        guard.refused(now, Complaint::Result(code))
    }

    #[test]
    fn twenty_equal_refusals_pause_the_route_and_another_answer_ends_the_pause() {
        let (mut guard, mut now) = (Guard::new(20), Instant(1));
        for answer in 1..20 {
            assert_eq!(refused(&mut guard, now, 5001), Ruling::Park, "answer {answer}");
        }
        assert_eq!(refused(&mut guard, now, 5001), Ruling::Pause);
        assert_eq!(refused(&mut guard, now, 5001), Ruling::Keep, "those under way stay too");
        assert_eq!(guard.closed_until(now), Some(now + PAUSE_FIRST));
        now = now + PAUSE_FIRST;
        assert_eq!(guard.closed_until(now), None, "one record may try");
        assert_eq!(refused(&mut guard, now, 5001), Ruling::Keep);
        assert_eq!(guard.closed_until(now), Some(now + PAUSE_FIRST * 2), "the pause doubles");
        assert!(guard.other(true), "a success ends it");
        assert_eq!(guard.closed_until(now), None);
        assert_eq!(refused(&mut guard, now, 5001), Ruling::Park, "and counting begins anew");
    }

    #[test]
    fn different_refusals_and_successes_between_them_are_no_flood() {
        let (mut guard, now) = (Guard::new(20), Instant(1));
        for answer in 0..100 {
            assert_eq!(refused(&mut guard, now, 5001 + answer % 2), Ruling::Park);
        }
        for answer in 0..100 {
            assert_eq!(refused(&mut guard, now, 5004), Ruling::Park);
            if answer % 19 == 18 {
                assert!(!guard.other(true));
            }
        }
        for _ in 0..100 {
            assert_eq!(refused(&mut guard, now, 1001), Ruling::Park, "another class");
        }
    }

    #[test]
    fn breaks_at_every_record_are_a_flood_too() {
        let (mut guard, now) = (Guard::new(3), Instant(1));
        for want in [Ruling::Park, Ruling::Park, Ruling::Pause, Ruling::Keep] {
            assert_eq!(guard.refused(now, Complaint::Break), want);
        }
        assert!(guard.other(true), "one that is taken ends it");
    }

    #[test]
    fn a_full_server_lets_the_route_rest_for_a_second_doubling_to_a_minute() {
        let (mut guard, mut now) = (Guard::new(20), Instant(1));
        for secs in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(guard.rest(now), Duration::from_secs(secs));
            assert_eq!(guard.rest(now), Duration::from_secs(secs), "answers under way count once");
            now = now + Duration::from_secs(secs);
        }
        guard.other(true);
        assert_eq!(guard.rest(now), REST_FIRST);
    }
}
