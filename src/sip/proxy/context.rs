//! The response context of one forwarded request (RFC 3261 §16.7): which targets are still to be tried, which branches
//! run, and which of the responses is the best one.
//!
//! States: open (rounds follow one another), then one of won (a 2xx came), refused (a 6xx came) or cancelled (by the
//! caller); in these three no further group starts.

use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::sip::message::Message;
use crate::sip::stack::{FinalResponse, NextOn, Plan, Redirects, Round, Target};

/// Why no further group starts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// It may start.
    Open,
    /// A 2xx came.
    Won,
    /// A 6xx came (RFC 3261 §16.7 step 5), or another response that leads to no further target.
    Refused,
    /// The caller sent CANCEL.
    Cancelled,
}

/// What one failed branch means for the whole.
#[derive(Debug)]
pub enum Progress {
    /// Others of its round still run.
    Waiting,
    /// It was a 6xx: cancel those that still run.
    CancelOthers,
    /// The round has failed.
    RoundOver(Round),
}

/// See the module.
#[derive(Debug)]
pub struct Context {
    groups: VecDeque<Vec<Target>>,
    /// The branches of the running round; `None` while one is pending.
    round: Vec<Option<FinalResponse>>,
    /// Which responses of each of them lead to the next group.
    next_on: SmallVec<[NextOn; 1]>,
    /// Whether the first group left is the rest of the running one: what ends with that does not end it.
    is_split: bool,
    /// Targets of the earlier rounds.
    earlier: u16,
    number: u16,
    best: Option<FinalResponse>,
    /// Every 401 and 407 of all rounds: their challenges go upstream together.
    challenges: Vec<Rc<Message>>,
    ending: Ending,
    redirects: Redirects,
    /// Targets that may still be added.
    room: usize,
    /// Request-URIs of all targets so far, if redirections are followed: none is tried twice (RFC 3261 §16.5).
    tried: Vec<Bytes>,
    /// Branches of the running round whose redirection is followed: their 3xx is nobody's response.
    followed: Vec<u16>,
}

impl Context {
    /// A context for `plan`, of which at most `branches_max` targets are tried.
    #[must_use]
    pub fn new(plan: Plan, branches_max: usize) -> Self {
        let mut context = Self {
            groups: VecDeque::new(),
            redirects: plan.redirects,
            room: branches_max.min(usize::from(u16::MAX)),
            tried: Vec::new(),
            followed: Vec::new(),
            round: Vec::new(),
            next_on: SmallVec::new(),
            is_split: false,
            earlier: 0,
            number: 0,
            best: None,
            challenges: Vec::new(),
            ending: Ending::Open,
        };
        context.groups = context.admitted(plan.groups).into();
        context
    }

    /// Of these groups what there is room for.
    fn admitted(&mut self, mut groups: Vec<Vec<Target>>) -> Vec<Vec<Target>> {
        groups.retain_mut(|group| {
            group.truncate(self.room);
            self.room -= group.len();
            if matches!(self.redirects, Redirects::Follow { .. }) {
                self.tried.extend(group.iter().map(|target| target.uri.clone()));
            }
            !group.is_empty()
        });
        groups
    }

    /// Leaves out all groups but the first so many of those that are left.
    fn keep(&mut self, groups: usize) {
        self.room += self.groups.iter().skip(groups).map(Vec::len).sum::<usize>();
        self.groups.truncate(groups);
    }

    /// Goes on with this plan in place of what is left of the other, as far as there is room: after any refusal but a 6xx,
    /// not after a 2xx or a CANCEL (RFC 3261 §16.7 steps 5 and 10).
    pub fn replace(&mut self, plan: Plan) {
        if !self.may_go_on() {
            return;
        }
        self.keep(0);
        self.ending = Ending::Open;
        self.is_split = false;
        if !self.followed.is_empty() {
            // Nobody follows the redirection any more: it is a response like others.
            self.followed.clear();
            let attempts: Vec<FinalResponse> = self.failures().cloned().collect();
            self.note_best(&attempts[self.best_of(&attempts)]);
        }
        self.redirects = plan.redirects;
        self.groups = self.admitted(plan.groups).into();
    }

    /// Whether further targets, or another response than the best one, may follow: after any refusal but a 6xx.
    #[must_use]
    pub fn may_go_on(&self) -> bool {
        match self.ending {
            Ending::Open => true,
            Ending::Refused => self.best.as_ref().is_none_or(|best| best.code < 600),
            Ending::Won | Ending::Cancelled => false,
        }
    }

    /// Whether a group is left that may start.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.ending == Ending::Open && !self.groups.is_empty()
    }

    /// Whether no branch of the running round is pending.
    #[must_use]
    pub fn is_round_over(&self) -> bool {
        self.round.iter().all(Option::is_some)
    }

    /// Targets of the groups that are left.
    #[must_use]
    pub fn left(&self) -> usize {
        self.groups.iter().map(Vec::len).sum()
    }

    /// Starts the next round: its targets, or `None` when there is none to be tried. Of a group of more than `breadth`
    /// targets the others are left for a round of their own (RFC 5393 §5.3.3).
    pub fn next_round(&mut self, breadth: u32) -> Option<Vec<Target>> {
        if self.ending != Ending::Open {
            return None;
        }
        let mut group = self.groups.pop_front()?;
        let most = usize::try_from(breadth).unwrap_or(usize::MAX).max(1);
        self.is_split = group.len() > most;
        if self.is_split {
            self.groups.push_front(group.split_off(most));
        }
        self.next_on = group.iter().map(|target| target.next_on).collect();
        self.earlier += u16::try_from(self.round.len()).unwrap_or(u16::MAX);
        self.number += 1;
        self.round = vec![None; group.len()];
        self.followed.clear();
        Some(group)
    }

    /// The branches of the running round that have failed.
    pub fn failures(&self) -> impl Iterator<Item = &FinalResponse> {
        self.round.iter().flatten()
    }

    /// What becomes of a redirection.
    #[must_use]
    pub const fn redirects(&self) -> Redirects {
        self.redirects
    }

    /// Which responses of a branch of the running round lead to the next group.
    #[must_use]
    pub fn next_on(&self, branch: u16) -> NextOn {
        self.next_on.get(usize::from(branch)).copied().unwrap_or_default()
    }

    /// Whether a target with this Request-URI was tried or is to be.
    #[must_use]
    pub fn has_tried(&self, uri: &[u8]) -> bool {
        self.tried.iter().any(|own| *own == uri)
    }

    /// A branch of the running round, which is about to fail, was sent on: these groups come next, as far as there is
    /// room.
    pub fn redirected(&mut self, branch: u16, groups: Vec<Vec<Target>>) {
        let added = self.admitted(groups);
        if !added.is_empty() {
            self.followed.push(branch);
        }
        for group in added.into_iter().rev() {
            self.groups.push_front(group);
        }
    }

    /// Number of the running round, from 1.
    #[must_use]
    pub const fn round(&self) -> u16 {
        self.number
    }

    /// Number of a branch of the running round among all targets, from 0.
    #[must_use]
    pub fn target(&self, branch: u16) -> u16 {
        self.earlier.saturating_add(branch)
    }

    /// Why no further group starts.
    #[must_use]
    pub const fn ending(&self) -> Ending {
        self.ending
    }

    /// Ends the context: no further group starts. The first reason stays, but a 2xx beats a CANCEL.
    pub fn end(&mut self, ending: Ending) {
        if self.ending == Ending::Open || ending == Ending::Won {
            self.ending = ending;
            self.keep(0);
        }
    }

    /// A branch of the running round has failed for good; `attempt` says how. A second failure of a branch is nothing.
    pub fn failed(&mut self, branch: u16, attempt: FinalResponse) -> Progress {
        let code = attempt.code;
        if let Some(message) = attempt.message.as_ref().filter(|_| is_challenge(code)) {
            self.challenges.push(Rc::clone(message));
        }
        let Some(place) = self.round.get_mut(usize::from(branch)).filter(|place| place.is_none()) else {
            return Progress::Waiting;
        };
        *place = Some(attempt);
        if (600..700).contains(&code) {
            self.end(Ending::Refused);
        }
        if !self.is_round_over() {
            return if (600..700).contains(&code) { Progress::CancelOthers } else { Progress::Waiting };
        }
        let attempts: Vec<FinalResponse> = self.round.iter().flatten().cloned().collect();
        self.end_unless_onward(&attempts);
        let best = self.best_of(&attempts);
        let newer = &attempts[best];
        let is_followed = u16::try_from(best).is_ok_and(|best| self.followed.contains(&best));
        // RFC 3261 §16.7 step 4: a redirection that is followed is no response.
        if !is_followed {
            self.note_best(newer);
        }
        Progress::RoundOver(Round { attempts, best, more: self.has_more(), redirected: is_followed })
    }

    /// Of equal responses that of the later round is the better one: it is the last thing that happened to the caller.
    fn note_best(&mut self, newer: &FinalResponse) {
        if self.best.as_ref().is_none_or(|older| self.rank(newer) <= self.rank(older)) {
            self.best = Some(newer.clone());
        }
    }

    /// Ends the context after a round with a response that leads to no other target. What was to be tried at the same time
    /// still is, and so are the contacts of a redirection that is followed.
    fn end_unless_onward(&mut self, attempts: &[FinalResponse]) {
        let leads_on =
            |(attempt, next_on): (&FinalResponse, &NextOn)| attempt.message.is_none() || next_on.has(attempt.code);
        if !self.followed.is_empty() || attempts.iter().zip(&self.next_on).all(leads_on) {
            return;
        }
        if self.is_split {
            self.keep(1);
        } else {
            self.end(Ending::Refused);
        }
    }

    /// The best response of all rounds that have failed, with the challenges of the others.
    #[must_use]
    pub fn best(&self) -> Option<(&FinalResponse, Vec<Rc<Message>>)> {
        let best = self.best.as_ref()?;
        let own = best.message.as_ref();
        let others = self.challenges.iter().filter(|other| own.is_none_or(|own| !Rc::ptr_eq(own, other)));
        let others = if is_challenge(best.code) { others.cloned().collect() } else { Vec::new() };
        Some((best, others))
    }

    fn best_of(&self, attempts: &[FinalResponse]) -> usize {
        let rank = |index: usize| {
            let is_followed = u16::try_from(index).is_ok_and(|index| self.followed.contains(&index));
            (is_followed, self.rank(&attempts[index]), attempts[index].message.is_none())
        };
        (0..attempts.len()).min_by_key(|index| rank(*index)).unwrap_or(0)
    }

    /// Lower is better (RFC 3261 §16.7 step 6): 6xx, then the lowest class; in class 4xx first what lets the caller try
    /// again better; 503 last. Once the caller has cancelled, 487 is what it waits for.
    fn rank(&self, attempt: &FinalResponse) -> u8 {
        match attempt.code {
            600.. => 0,
            487 if self.ending == Ending::Cancelled => 1,
            300..400 => 2,
            401 | 407 | 415 | 420 | 484 => 3,
            400..500 => 4,
            503 => 6,
            _ => 5,
        }
    }
}

const fn is_challenge(code: u16) -> bool {
    matches!(code, 401 | 407)
}

/// The reason phrase of a code the gateway itself answers with (RFC 3261 §21 and later).
#[must_use]
pub const fn usual_reason(code: u16) -> &'static str {
    match code {
        100 => "Trying",
        180 => "Ringing",
        183 => "Session Progress",
        202 => "Accepted",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        410 => "Gone",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        440 => "Max-Breadth Exceeded",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        _ if code < 300 => "OK",
        _ if code < 400 => "Redirection",
        _ if code < 500 => "Request Failure",
        _ if code < 600 => "Server Failure",
        _ => "Global Failure",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::stack::{Hop, Stages};

    fn target() -> Target {
        let hop = Hop::Name { host: "x".to_owned(), port: None };
        Target { uri: Bytes::new(), hop, transport: None, ring_timeout: None, next_on: NextOn::default(), edits: None }
    }

    /// A local failure, or a response of a branch.
    fn attempt(code: u16, is_local: bool) -> FinalResponse {
        let text = format!("SIP/2.0 {code} x\r\nCSeq: 1 INVITE\r\n\r\n");
        let message = (!is_local).then(|| Rc::new(Message::parse(text.into_bytes()).expect("an answer")));
        FinalResponse { uri: Bytes::new(), hop: None, code, reason: Bytes::new(), message, stages: Stages::default() }
    }

    #[test]
    fn the_best_answer_of_all_rounds_wins() {
        for (name, rounds, cancelled, want) in [
            ("one answer is the best", vec![vec![486]], false, 486),
            ("a 6xx beats every other", vec![vec![302, 603, 404]], false, 603),
            ("the lowest class wins", vec![vec![500, 404, 302]], false, 302),
            ("what lets the caller try again comes first", vec![vec![404, 401]], false, 401),
            ("503 is the last choice", vec![vec![503, 501]], false, 501),
            ("the first of equals in a round wins", vec![vec![404, 486]], false, 404),
            ("the later of equal rounds wins", vec![vec![486], vec![480]], false, 480),
            ("an earlier round of a lower class wins", vec![vec![486], vec![500]], false, 486),
            ("a cancelled call ends as 487", vec![vec![486, 487]], true, 487),
        ] {
            let groups = rounds.iter().map(|round| round.iter().map(|_| target()).collect()).collect();
            let mut context = Context::new(Plan { groups, ..Plan::default() }, 64);
            for round in rounds {
                let group = context.next_round(u32::MAX).expect("a round");
                assert_eq!(group.len(), round.len(), "{name}");
                if cancelled {
                    context.end(Ending::Cancelled);
                }
                for (branch, code) in (0..).zip(round) {
                    context.failed(branch, attempt(code, false));
                }
            }
            assert_eq!(context.best().map(|(best, _)| best.code), Some(want), "{name}");
        }
    }

    #[test]
    fn an_answer_leads_to_the_next_target_or_ends_the_call() {
        let trunks = NextOn::FAILURES;
        for (name, next_on, round, breadth, more) in [
            ("a failure of the server leads on", trunks, "503", 60, true),
            ("no answer further on does", trunks, "408", 60, true),
            ("silence always does", NextOn::NONE, "=408", 60, true),
            ("so does what could not be sent", NextOn::NONE, "=503", 60, true),
            ("a busy callee is busy at every trunk", trunks, "486", 60, false),
            ("a challenge is for the caller", trunks, "407", 60, false),
            ("one of several is enough to end it", trunks, "503 486", 60, false),
            ("all of them have to lead on", trunks, "503 500", 60, true),
            ("a 6xx ends it whatever is set", NextOn::REFUSALS, "603", 60, false),
            ("by default every refusal leads on", NextOn::default(), "486", 60, true),
            ("but who gave up wants no other target", NextOn::default(), "487", 60, false),
            ("what was to be tried at the same time still is", trunks, "486 503", 1, true),
        ] {
            let codes: Vec<&str> = round.split(' ').collect();
            let first = codes.iter().map(|_| Target { next_on, ..target() }).collect();
            let mut context = Context::new(Plan { groups: vec![first, vec![target()]], ..Plan::default() }, 64);
            let size = context.next_round(breadth).expect("a round").len();
            let mut last = Progress::Waiting;
            for (branch, code) in (0..).zip(&codes[..size]) {
                let number = code.trim_start_matches('=').parse().expect("a code");
                last = context.failed(branch, attempt(number, code.starts_with('=')));
            }
            assert!(
                matches!(last, Progress::RoundOver(Round { more: found, .. }) if found == more),
                "{name}: {last:?}"
            );
        }
    }

    #[test]
    fn another_plan_takes_the_place_of_what_is_left() {
        for (name, code, ending, wanted, found) in [
            ("after an answer that leads on", 503, Ending::Open, 2, Some(2)),
            ("and after one that leads to no target of the plan", 486, Ending::Open, 2, Some(2)),
            ("as far as there is room: three of four have not been tried", 503, Ending::Open, 9, Some(3)),
            ("what is left may also be given up", 503, Ending::Open, 0, None),
            ("a 6xx ends the call at all targets", 603, Ending::Open, 2, None),
            ("so does an answer of 2xx", 503, Ending::Won, 2, None),
            ("and a caller who gives up", 487, Ending::Cancelled, 2, None),
        ] {
            let trunk = || Target { next_on: NextOn::FAILURES, ..target() };
            let groups = vec![vec![trunk()], vec![trunk(), trunk()], vec![trunk(), trunk()]];
            let mut context = Context::new(Plan { groups, ..Plan::default() }, 4);
            context.next_round(u32::MAX).expect("a round");
            if ending != Ending::Open {
                context.end(ending);
            }
            context.failed(0, attempt(code, false));
            let group: Vec<Target> = (0..wanted).map(|_| trunk()).collect();
            context.replace(Plan { groups: vec![group], ..Plan::default() });
            assert_eq!(context.next_round(u32::MAX).map(|group| group.len()), found, "{name}");
            assert_eq!(context.best().map(|(best, _)| best.code), Some(code), "{name}");
        }
    }

    #[test]
    fn a_callees_word_beats_our_own_of_the_same_class() {
        let mut context = Context::new(Plan { groups: vec![vec![target(), target()]], ..Plan::default() }, 64);
        context.next_round(u32::MAX).expect("a round");
        context.failed(0, attempt(408, true));
        let Progress::RoundOver(Round { best, more, .. }) = context.failed(1, attempt(486, false)) else {
            panic!("the round is over");
        };
        assert_eq!((best, more), (1, false));
    }

    #[test]
    fn a_plan_is_cut_at_its_limit_and_empty_groups_are_skipped() {
        let groups = vec![vec![], vec![target(), target()], vec![], vec![target(), target()], vec![target()]];
        let mut context = Context::new(Plan { groups, ..Plan::default() }, 3);
        assert_eq!(context.next_round(u32::MAX).map(|group| group.len()), Some(2));
        assert_eq!(context.next_round(u32::MAX).map(|group| group.len()), Some(1));
        assert_eq!(context.target(0), 2);
        assert!(context.next_round(u32::MAX).is_none());
    }

    #[test]
    fn no_round_follows_an_end_and_no_branch_fails_twice() {
        let plan = || Plan { groups: vec![vec![target(), target()], vec![target()]], ..Plan::default() };
        for ending in [Ending::Won, Ending::Refused, Ending::Cancelled] {
            let mut context = Context::new(plan(), 64);
            context.next_round(u32::MAX);
            context.end(ending);
            assert!(context.next_round(u32::MAX).is_none(), "{ending:?}");
        }
        let mut context = Context::new(plan(), 64);
        context.next_round(u32::MAX);
        for _ in 0..2 {
            assert!(matches!(context.failed(0, attempt(486, false)), Progress::Waiting));
        }
        assert!(matches!(context.failed(9, attempt(486, false)), Progress::Waiting), "a branch that is none");
        assert!(matches!(context.failed(1, attempt(603, false)), Progress::RoundOver(Round { more: false, .. })));
    }
}
