//! Another process of our own name: alive, or a former life of ours?

use super::value::{Owner, Value};

/// Changes to the key that are seen of a living one at least. What a former life had under way may be stored after its
/// end, but only once: each update expects the revision of the one before.
const CHANGES: u8 = 2;

/// How often a process of our name with another nonce was seen to change the key.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Twin {
    nonce: u128,
    changes: u8,
    is_told: bool,
}

impl Twin {
    /// Looks at a value that another wrote. Whether it shows, for the first time, that a twin lives.
    pub fn looks_alive(&mut self, me: &Owner, value: &Value) -> bool {
        let Owner { name, nonce } = &value.owner;
        if *name != me.name || value.released {
            return false;
        }
        self.changes = if self.nonce == *nonce { self.changes.saturating_add(1) } else { 0 };
        self.nonce = *nonce;
        let is_news = self.changes >= CHANGES && !self.is_told;
        self.is_told |= is_news;
        is_news
    }

    /// The key is ours.
    pub fn reset(&mut self) {
        self.changes = 0;
    }
}
