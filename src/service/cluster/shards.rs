//! What the cluster says of calls, on its way to the shards that own them. Nothing of it is lost when a shard's mailbox is
//! full: it waits here.

use std::collections::VecDeque;
use std::time::Duration;

use crate::accounting::Key;
use crate::front::mailbox::{Mail, Mailbox};
use crate::shard::adopting::Said;

/// When it is tried again after a mailbox was full.
pub(super) const RETRY: Duration = Duration::from_millis(20);

/// The shards, with what waits for each.
#[derive(Debug)]
pub(super) struct Shards {
    secret: [u8; 16],
    mailboxes: Vec<Mailbox>,
    waiting: Vec<VecDeque<Said>>,
}

impl Shards {
    pub fn new(secret: [u8; 16], mailboxes: Vec<Mailbox>) -> Self {
        let waiting = mailboxes.iter().map(|_| VecDeque::new()).collect();
        Self { secret, mailboxes, waiting }
    }

    /// Tells the shard that owns a call.
    pub fn tell(&mut self, key: Key, said: Said) {
        let owner = key.call().shard(&self.secret, self.mailboxes.len());
        self.waiting[owner].push_back(said);
        self.hand_over();
    }

    /// Tells all shards.
    pub fn tell_all(&mut self, said: &Said) {
        self.waiting.iter_mut().for_each(|waiting| waiting.push_back(said.clone()));
        self.hand_over();
    }

    /// Hands over what waits, as far as there is room.
    pub fn hand_over(&mut self) {
        for (mailbox, waiting) in self.mailboxes.iter().zip(&mut self.waiting) {
            while let Some(said) = waiting.pop_front() {
                if let Err(Mail::Said(said)) = mailbox.put(Mail::Said(said)) {
                    waiting.push_front(said);
                    break;
                }
            }
        }
    }

    /// Whether something waits.
    pub fn is_behind(&self) -> bool {
        self.waiting.iter().any(|waiting| !waiting.is_empty())
    }

    /// Sends other keys for signing.
    pub fn sign_with(&self, keys: &crate::sip::dialog::RouteKeys) {
        for mailbox in &self.mailboxes {
            let _ended = mailbox.put(Mail::Keys(keys.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::mailbox::{MAILS_MAX, mailbox};

    #[test]
    fn what_finds_no_room_in_a_mailbox_waits_and_keeps_its_order() {
        let (mailbox, inbox) = mailbox();
        let mut shards = Shards::new([0; 16], vec![mailbox]);
        let key = |number: usize| Key::of(number.to_string().as_bytes(), b"a", b"b");
        let all = 3 * MAILS_MAX;
        (0..all).for_each(|number| shards.tell(key(number), Said::Lost { key: key(number) }));
        assert!(shards.is_behind());
        let mut got = Vec::new();
        while let Some(mail) = inbox.take() {
            let Mail::Said(Said::Lost { key }) = mail else { panic!("{mail:?}") };
            got.push(key);
            shards.hand_over();
        }
        assert!(!shards.is_behind());
        assert_eq!(got, (0..all).map(key).collect::<Vec<_>>());
    }
}
