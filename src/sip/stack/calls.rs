//! The transactions of each Call-ID: how many there are, so that one call cannot take the room of the others, and which
//! of them are INVITEs that make dialogs.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;

use smallvec::SmallVec;

use super::settings::Settings;
use crate::sip::message::Method;
use crate::sip::transaction::slab::Key;

/// For each open transaction that a Call-ID may have, so many may there be that have their response and only absorb what
/// is repeated: 1024 in 32 s by default.
const ABSORBING_FOR_EACH: usize = 64;
/// INVITEs of one Call-ID that are found by it; further ones make no early dialog.
const INVITES_MAX: usize = 64;
/// BYEs of one source that have room beyond the limits: one, and one more with credentials.
const BYES_FOR_EACH: usize = 2;
/// And of all sources: the two ends and whoever else their requests may come from.
const BYES_MAX: usize = 8;

/// See the module. Call-IDs are told apart by a keyed hash, so that nobody can choose two that are taken for one.
#[derive(Debug)]
pub(super) struct Calls {
    table: HashMap<u64, Call, foldhash::fast::RandomState>,
    open_max: usize,
}

#[derive(Debug, Default)]
struct Call {
    /// Without a final response.
    open: u32,
    /// With it.
    absorbing: u32,
    /// Server transactions of INVITEs without a To tag.
    invites: SmallVec<[Key; 1]>,
    /// Who has sent a BYE inside the call, once for each; boxed, for most transactions are none.
    byes: Option<Box<SmallVec<[IpAddr; 2]>>>,
}

impl Call {
    /// Whether a BYE of this source is among the first of its own: no other's transactions are in its way.
    fn is_first_bye(&self, source: IpAddr) -> bool {
        let byes = self.byes.as_deref().map_or(&[][..], |byes| byes);
        byes.len() < BYES_MAX && byes.iter().filter(|own| **own == source).count() < BYES_FOR_EACH
    }
}

impl Calls {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { table: HashMap::default(), open_max: settings.transactions_per_call_max }
    }

    /// Takes other limits from now on.
    pub(super) fn configure(&mut self, settings: &Settings) {
        self.open_max = settings.transactions_per_call_max;
    }

    /// Call-IDs that have a transaction.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether a Call-ID may have a further transaction. What ends a call or acknowledges has a quarter for itself, and
    /// the first BYEs of a `source` inside the call have room whatever others have opened: one end cannot keep the other
    /// from hanging up.
    pub(super) fn has_room(&self, call: u64, method: Method, source: Option<IpAddr>) -> bool {
        let Some(own) = self.table.get(&call) else { return true };
        if method == Method::Bye && source.is_some_and(|source| own.is_first_bye(source)) {
            return true;
        }
        let most = match method {
            Method::Bye | Method::Prack => self.open_max,
            _ => self.open_max - self.open_max / 4,
        };
        (own.open as usize) < most && (own.absorbing as usize) < self.open_max * ABSORBING_FOR_EACH
    }

    /// A transaction begins; `invite` when it may make a dialog, `bye` is the source of a BYE inside the call.
    pub(super) fn opened(&mut self, call: u64, invite: Option<Key>, bye: Option<IpAddr>) {
        let own = self.table.entry(call).or_default();
        own.open += 1;
        if let Some(source) = bye.filter(|source| own.is_first_bye(*source)) {
            own.byes.get_or_insert_default().push(source);
        }
        if let Some(key) = invite.filter(|_| own.invites.len() < INVITES_MAX) {
            own.invites.push(key);
        }
    }

    /// A transaction has its final response.
    pub(super) fn answered(&mut self, call: u64) {
        if let Some(own) = self.table.get_mut(&call) {
            own.open = own.open.saturating_sub(1);
            own.absorbing += 1;
        }
    }

    /// A transaction has ended, after its final response or without.
    pub(super) fn closed(&mut self, call: u64, key: Key, was_answered: bool) {
        let Entry::Occupied(mut entry) = self.table.entry(call) else { return };
        let own = entry.get_mut();
        let count = if was_answered { &mut own.absorbing } else { &mut own.open };
        *count = count.saturating_sub(1);
        own.invites.retain(|invite| *invite != key);
        if own.open + own.absorbing == 0 {
            entry.remove();
            let (used, room) = (self.table.len(), self.table.capacity());
            if room > TABLE_ROOM_MIN && used < room / 8 {
                self.table.shrink_to(used * 2);
            }
        }
    }

    /// The INVITEs of a Call-ID that make dialogs.
    pub(super) fn invites(&self, call: u64) -> &[Key] {
        self.table.get(&call).map_or(&[], |own| &own.invites)
    }
}

/// Places of the table that are kept when it is empty.
const TABLE_ROOM_MIN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_its_share_and_a_quarter_of_it_is_for_its_end() {
        let mut calls = Calls::new(&Settings { transactions_per_call_max: 4, ..Settings::default() });
        for (what, method, opens, want) in [
            ("a first one", Method::Other, 2, true),
            ("a third one", Method::Invite, 1, true),
            ("a fourth one is none of these", Method::Invite, 0, false),
            ("but may end the call", Method::Bye, 1, true),
            ("a fifth one may not", Method::Bye, 0, false),
        ] {
            assert_eq!(calls.has_room(7, method, None), want, "{what}");
            (0..opens).for_each(|_| calls.opened(7, None, None));
        }
        assert!(calls.has_room(8, Method::Invite, None), "another call");
        calls.answered(7);
        calls.answered(7);
        assert!(calls.has_room(7, Method::Invite, None), "some are answered");
        for _ in 2..4 * ABSORBING_FOR_EACH {
            calls.opened(7, None, None);
            calls.answered(7);
        }
        assert!(!calls.has_room(7, Method::Bye, None), "so many are absorbed at most");
    }

    #[test]
    fn one_end_cannot_keep_the_other_from_hanging_up() {
        let mut calls = Calls::new(&Settings { transactions_per_call_max: 4, ..Settings::default() });
        let source = |number: u8| Some(IpAddr::from([192, 0, 2, number]));
        for _ in 0..9 {
            if calls.has_room(7, Method::Bye, source(1)) {
                calls.opened(7, None, source(1));
            }
        }
        assert!(!calls.has_room(7, Method::Bye, source(1)), "who has opened all that there may be");
        assert!(!calls.has_room(7, Method::Bye, None), "who is not inside the call");
        assert!(!calls.has_room(7, Method::Invite, source(2)), "the other end, with another request");
        for what in ["the other end's BYE", "its BYE with credentials"] {
            assert!(calls.has_room(7, Method::Bye, source(2)), "{what}");
            calls.opened(7, None, source(2));
        }
        assert!(!calls.has_room(7, Method::Bye, source(2)), "no third one");
        for number in 3..20 {
            calls.opened(7, None, source(number));
        }
        assert!(!calls.has_room(7, Method::Bye, source(20)), "so many sources at most");
    }

    #[test]
    fn what_has_ended_is_forgotten() {
        let mut calls = Calls::new(&Settings::default());
        let key = Key::from_u64(1 << 32 | 1).expect("a key");
        calls.opened(7, Some(key), None);
        assert_eq!(calls.invites(7), [key]);
        calls.answered(7);
        assert_eq!(calls.invites(7), [key], "its dialog may still be asked for");
        calls.closed(7, key, true);
        assert_eq!((calls.invites(7).len(), calls.len()), (0, 0));
    }
}
