//! Answers that wait for the commit of their records.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::Ticket;
use crate::clock::Instant;
use crate::sip::stack::{AnswerId, ServerId};

/// One answer that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub transaction: ServerId,
    pub answer: AnswerId,
    ticket: Ticket,
}

/// The answers of all turns whose receipt is out, in the order of their tickets.
#[derive(Debug, Default)]
pub(super) struct Held {
    waiting: VecDeque<Waiting>,
    /// Ticket and instant of each commit without a receipt.
    open: VecDeque<(Ticket, Instant)>,
    /// The ticket that the next commit gets.
    next: Ticket,
    /// The ticket of the newest record of each transaction that has one.
    mentioned: HashMap<ServerId, Ticket, foldhash::fast::FixedState>,
    /// Whether a receipt was late and none has come in time since.
    late: bool,
}

impl Held {
    /// Lets an answer wait for the newest record of its transaction. Says `false` when there is none that is not on
    /// disk: the answer may go.
    pub fn hold(&mut self, transaction: ServerId, answer: AnswerId) -> bool {
        let oldest = self.open.front().map_or(self.next, |(ticket, _)| *ticket);
        match self.mentioned.get(&transaction) {
            // A ticket older than one already in the list only waits for that one: every ticket gets its receipt.
            Some(ticket) if *ticket >= oldest => {
                self.waiting.push_back(Waiting { transaction, answer, ticket: *ticket });
                true
            }
            _ => false,
        }
    }

    /// Notes that the transaction has a record in this turn.
    pub fn mention(&mut self, transaction: ServerId) {
        self.mentioned.insert(transaction, self.next);
    }

    /// Forgets a transaction that has ended.
    pub fn forget(&mut self, transaction: ServerId) {
        self.mentioned.remove(&transaction);
    }

    /// Ends a turn: the ticket of its commit.
    pub fn close(&mut self, now: Instant) -> Ticket {
        let ticket = self.next;
        self.open.push_back((ticket, now));
        self.next = Ticket(ticket.0 + 1);
        ticket
    }

    /// The next answer that the receipt `ticket` lets go. A receipt covers every earlier ticket.
    pub fn pop_committed(&mut self, ticket: Ticket) -> Option<Waiting> {
        while self.open.front().is_some_and(|(open, _)| *open <= ticket) {
            self.open.pop_front();
            // Any receipt says that the disk takes records again; the next late one raises the alarm anew.
            self.late = false;
        }
        self.waiting.pop_front_if(|waiting| waiting.ticket <= ticket)
    }

    /// The next answer whose receipt is later than `limit`.
    pub fn pop_overdue(&mut self, now: Instant, limit: Duration) -> Option<Waiting> {
        // An answer held in this turn has no open ticket yet and waits for the flush.
        let overdue = self.open.iter().take_while(|(_, since)| now.since(*since) >= limit).last()?.0;
        self.late = true;
        self.waiting.pop_front_if(|waiting| waiting.ticket <= overdue)
    }

    /// When the next receipt becomes late, if an answer waits for it.
    pub fn deadline(&self, limit: Duration) -> Option<Instant> {
        let first = self.waiting.front()?;
        let (_, since) = self.open.iter().find(|(ticket, _)| *ticket == first.ticket)?;
        Some(*since + limit)
    }

    /// Whether a receipt was late and none has come since.
    pub fn is_late(&self) -> bool {
        self.late
    }

    /// Whether nothing waits for the disk.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(500);

    #[test]
    fn a_receipt_releases_its_answers_and_all_earlier_ones() {
        let mut held = Held::default();
        let mut tickets = Vec::new();
        for number in 0..3 {
            held.mention(ServerId(number));
            assert!(held.hold(ServerId(number), AnswerId(0)));
            tickets.push(held.close(Instant(number * 1000)));
        }
        let mut released = Vec::new();
        while let Some(waiting) = held.pop_committed(tickets[1]) {
            released.push(waiting.transaction);
        }
        assert_eq!(released, [ServerId(0), ServerId(1)]);
        assert!(!held.is_empty());
        assert!(held.pop_committed(tickets[2]).is_some());
        assert!(held.is_empty());
    }

    #[test]
    fn a_late_receipt_lets_the_answer_go_and_is_remembered_until_one_comes() {
        let mut held = Held::default();
        held.mention(ServerId(1));
        assert!(held.hold(ServerId(1), AnswerId(0)));
        let ticket = held.close(Instant(0));
        assert_eq!(held.deadline(LIMIT), Some(Instant(500_000)));
        assert!(held.pop_overdue(Instant(499_999), LIMIT).is_none());
        assert!(!held.is_late());
        assert!(held.pop_overdue(Instant(500_000), LIMIT).is_some());
        assert!(held.is_late());
        assert!(held.pop_committed(ticket).is_none(), "the answer is gone already");
        assert!(!held.is_late());
    }

    #[test]
    fn an_answer_of_this_turn_is_never_overdue() {
        let mut held = Held::default();
        held.mention(ServerId(1));
        assert!(held.hold(ServerId(1), AnswerId(0)));
        assert!(held.pop_overdue(Instant(u64::MAX), LIMIT).is_none());
        assert_eq!(held.deadline(LIMIT), None);
    }

    #[test]
    fn a_final_answer_waits_for_an_earlier_record_of_its_transaction() {
        let (one, two, answer) = (ServerId(1), ServerId(2), AnswerId(0));
        let mut held = Held::default();
        assert!(!held.hold(one, answer), "no record: nothing to wait for");
        held.mention(one);
        let first = held.close(Instant(0));
        held.mention(two);
        assert!(held.hold(two, answer));
        let second = held.close(Instant(0));
        assert!(held.hold(one, answer), "its record is not on disk yet");
        assert!(held.pop_committed(first).is_none(), "stands behind a later ticket");
        assert_eq!(held.pop_committed(second).map(|waiting| waiting.transaction), Some(two));
        assert_eq!(held.pop_committed(second).map(|waiting| waiting.transaction), Some(one));
        assert!(!held.hold(one, answer), "on disk by now");
    }
}
