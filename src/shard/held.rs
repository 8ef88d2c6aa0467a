//! Responses that wait for the commit of their records.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::Ticket;
use crate::clock::Instant;
use crate::ids::CallHash;
use crate::sip::stack::{ResponseId, ServerId};

/// One response that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub transaction: ServerId,
    pub response: ResponseId,
    /// Since when it waits.
    pub since: Instant,
    ticket: Ticket,
}

/// A commit without a receipt.
#[derive(Debug)]
struct Open {
    since: Instant,
    /// The calls it has records of.
    calls: Vec<CallHash>,
}

/// The responses of all turns whose receipt is out.
///
/// A response waits for the newest record of its call, whichever transaction made it: of two BYEs that cross only one
/// makes the Stop, but neither response may be seen before it is on disk.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// In the order of their tickets.
    waiting: VecDeque<Waiting>,
    /// Commits without a receipt: the last one has the ticket before `next`, the others count down from it.
    open: VecDeque<Open>,
    /// The ticket that the next commit gets.
    next: Ticket,
    /// The calls with records in this turn.
    mentioned: Vec<CallHash>,
    /// The ticket of the newest record of each call that has one without a receipt.
    newest: HashMap<CallHash, Ticket, foldhash::fast::FixedState>,
    /// Whether a receipt was late, and some still are.
    late: bool,
}

impl Held {
    /// Lets a response wait for the newest record of its call. Says `false` when there is none that is not on disk: the
    /// response may go.
    pub fn hold(&mut self, call: CallHash, transaction: ServerId, response: ResponseId, since: Instant) -> bool {
        let Some(&ticket) = self.newest.get(&call) else { return false };
        // Almost always at the end.
        let place = self.waiting.partition_point(|other| other.ticket <= ticket);
        self.waiting.insert(place, Waiting { transaction, response, since, ticket });
        true
    }

    /// Notes that the call has a record in this turn.
    pub fn mention(&mut self, call: CallHash) {
        if self.newest.insert(call, self.next) != Some(self.next) {
            self.mentioned.push(call);
        }
    }

    /// Ends a turn: the ticket of its commit.
    pub fn close(&mut self, now: Instant) -> Ticket {
        let ticket = self.next;
        self.open.push_back(Open { since: now, calls: std::mem::take(&mut self.mentioned) });
        self.next = Ticket(ticket.0 + 1);
        ticket
    }

    /// Takes a receipt, which covers every earlier ticket. What it lets go comes by [`pop_settled`](Self::pop_settled).
    pub fn settle(&mut self, ticket: Ticket, now: Instant, late_after: Duration) {
        loop {
            let oldest = self.oldest();
            let Some(open) = self.open.front().filter(|_| oldest <= ticket) else { break };
            for call in &open.calls {
                if self.newest.get(call) == Some(&oldest) {
                    self.newest.remove(call);
                }
            }
            self.open.pop_front();
        }
        self.late &= self.is_overdue(0, now, late_after);
    }

    /// The next response that needs wait for no receipt any more.
    pub fn pop_settled(&mut self) -> Option<Waiting> {
        let oldest = self.oldest();
        self.waiting.front().filter(|waiting| waiting.ticket < oldest)?;
        self.waiting.pop_front()
    }

    /// The next response whose receipt is later than `limit`.
    pub fn pop_overdue(&mut self, now: Instant, limit: Duration) -> Option<Waiting> {
        // A response held in this turn has no commit yet and waits for the flush.
        let place = self.place(self.waiting.front()?.ticket);
        if self.is_overdue(place, now, limit) { self.waiting.pop_front() } else { None }
    }

    /// Looks whether a receipt is late, which raises the alarm.
    pub fn judge(&mut self, now: Instant, late_after: Duration) {
        self.late |= self.is_overdue(0, now, late_after);
    }

    /// When the first receipt becomes late, or a response has waited for its own up to the limit.
    pub fn deadline(&self, limit: Duration, late_after: Duration) -> Option<Instant> {
        let begun = |place: usize| self.open.get(place).map(|open| open.since);
        let alarm = begun(0).filter(|_| !self.late).map(|since| since + late_after);
        let response = self.waiting.front().and_then(|waiting| begun(self.place(waiting.ticket)));
        [alarm, response.map(|since| since + limit)].into_iter().flatten().min()
    }

    /// Whether a receipt was late, and some still are.
    pub fn is_late(&self) -> bool {
        self.late
    }

    /// Whether nothing waits for the disk.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.open.is_empty()
    }

    /// The oldest ticket without a receipt; the next one when there is none.
    fn oldest(&self) -> Ticket {
        Ticket(self.next.0 - self.open.len() as u64)
    }

    /// Where the commit of that ticket stands in `open`; behind its end when it is of this turn.
    fn place(&self, ticket: Ticket) -> usize {
        usize::try_from(ticket.0.saturating_sub(self.oldest().0)).unwrap_or(usize::MAX)
    }

    fn is_overdue(&self, place: usize, now: Instant, limit: Duration) -> bool {
        self.open.get(place).is_some_and(|open| now.since(open.since) >= limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(500);
    /// As a test asks for it: at the same time.
    const LATE: Duration = LIMIT;
    const ONE: CallHash = CallHash(1);
    const TWO: CallHash = CallHash(2);
    const ANSWER: ResponseId = ResponseId(0);

    impl Held {
        /// A response to a call with a record of its own; its commit.
        fn recorded(&mut self, call: CallHash, at: Instant) -> Ticket {
            self.mention(call);
            assert!(self.hold(call, ServerId(call.0), ANSWER, at));
            self.close(at)
        }

        /// As the shard does.
        fn overdue(&mut self, now: Instant) -> Option<Waiting> {
            self.judge(now, LATE);
            self.pop_overdue(now, LIMIT)
        }

        fn receive(&mut self, ticket: Ticket, at: Instant) -> Vec<u64> {
            self.settle(ticket, at, LATE);
            std::iter::from_fn(|| self.pop_settled()).map(|waiting| waiting.transaction.0).collect()
        }
    }

    #[test]
    fn a_receipt_releases_its_answers_and_all_earlier_ones() {
        let mut held = Held::default();
        let tickets: Vec<_> = (0..3).map(|call| held.recorded(CallHash(call), Instant(call * 1000))).collect();
        assert_eq!(held.receive(tickets[1], Instant(0)), [0, 1]);
        assert!(!held.is_empty());
        assert_eq!(held.receive(tickets[2], Instant(0)), [2]);
        assert!(held.is_empty() && held.newest.is_empty());
    }

    #[test]
    fn a_late_receipt_lets_the_answer_go_and_is_remembered_until_none_is_late() {
        let mut held = Held::default();
        let first = held.recorded(ONE, Instant(0));
        let second = held.recorded(TWO, Instant(1_000));
        assert_eq!(held.deadline(LIMIT, LATE), Some(Instant(500_000)));
        assert!(held.overdue(Instant(499_999)).is_none());
        assert!(!held.is_late());
        assert!(held.overdue(Instant(500_000)).is_some());
        assert!(held.is_late());
        assert_eq!(held.deadline(LIMIT, LATE), Some(Instant(501_000)));
        assert!(held.overdue(Instant(500_000)).is_none(), "the second one has time");
        assert!(held.overdue(Instant(501_000)).is_some());
        assert_eq!(held.deadline(LIMIT, LATE), None);
        assert!(held.receive(first, Instant(600_000)).is_empty(), "the answer is gone already");
        assert!(held.is_late(), "the second receipt is late");
        held.receive(second, Instant(600_000));
        assert!(!held.is_late());
    }

    #[test]
    fn the_alarm_can_begin_later_than_the_first_answer_goes() {
        const LATE: Duration = Duration::from_secs(3);
        let mut held = Held::default();
        let first = held.recorded(ONE, Instant(0));
        let second = held.recorded(TWO, Instant(1_000));
        assert_eq!(held.deadline(LIMIT, LATE), Some(Instant(500_000)), "that of the answer");
        held.judge(Instant(502_000), LATE);
        assert!(held.pop_overdue(Instant(502_000), LIMIT).is_some());
        assert!(held.pop_overdue(Instant(502_000), LIMIT).is_some());
        assert!(!held.is_late());
        assert_eq!(held.deadline(LIMIT, LATE), Some(Instant(3_000_000)), "that of the alarm");
        held.judge(Instant(3_000_000), LATE);
        assert!(held.is_late());
        assert_eq!(held.deadline(LIMIT, LATE), None);
        held.settle(first, Instant(3_000_000), LATE);
        assert!(!held.is_late(), "the second one has a millisecond left");
        held.settle(second, Instant(9_000_000), LATE);
        assert!(held.is_empty());
    }

    #[test]
    fn a_late_receipt_raises_the_alarm_without_an_answer_that_waits() {
        let mut held = Held::default();
        held.close(Instant(0));
        assert_eq!(held.deadline(LIMIT, LATE), Some(Instant(500_000)));
        assert!(held.overdue(Instant(500_000)).is_none());
        assert!(held.is_late());
        assert_eq!(held.deadline(LIMIT, LATE), None);
    }

    #[test]
    fn an_answer_of_this_turn_is_never_overdue_and_no_receipt_lets_it_go() {
        let mut held = Held::default();
        held.mention(ONE);
        assert!(held.hold(ONE, ServerId(1), ANSWER, Instant(0)));
        assert!(held.overdue(Instant(u64::MAX)).is_none());
        assert_eq!(held.deadline(LIMIT, LATE), None);
        assert!(held.receive(Ticket(u64::MAX), Instant(0)).is_empty());
        assert!(!held.is_empty());
    }

    #[test]
    fn an_answer_waits_for_an_earlier_record_of_its_call() {
        let mut held = Held::default();
        assert!(!held.hold(ONE, ServerId(1), ANSWER, Instant(0)), "no record: nothing to wait for");
        held.mention(ONE);
        let first = held.close(Instant(0));
        let second = held.recorded(TWO, Instant(0));
        assert!(held.hold(ONE, ServerId(1), ANSWER, Instant(0)), "its record is not on disk yet");
        assert_eq!(held.receive(first, Instant(0)), [1]);
        assert!(!held.hold(ONE, ServerId(1), ANSWER, Instant(0)), "on disk by now");
        assert_eq!(held.receive(second, Instant(0)), [2]);
    }

    #[test]
    fn an_answer_waits_for_the_newest_record_of_its_call() {
        let mut held = Held::default();
        let first = held.recorded(ONE, Instant(0));
        let second = held.recorded(ONE, Instant(0));
        assert_eq!(held.receive(first, Instant(0)), [1]);
        assert!(held.hold(ONE, ServerId(3), ANSWER, Instant(0)), "the second record is not on disk");
        assert_eq!(held.receive(second, Instant(0)), [1, 3]);
    }
}
