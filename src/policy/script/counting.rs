//! Calls in progress by keys of the script's own: users, customers, trunks.
//!
//! A key counts a call from `count_call` on. Until the call is answered its INVITE holds the count; then the call itself,
//! which carries its keys among the fields of its records, so that a reload and a restart lose none. Calls that are not
//! recorded are counted until nothing more comes of their INVITE.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::record::{Fields, Value};

/// The field that carries the keys of a call.
pub const COUNTED: &str = "counted";
/// Keys that are counted at once at most; a call with a further one is not counted.
pub const KEYS_MAX: usize = 1_000_000;
/// Keys of one call at most.
pub(super) const KEYS_OF_CALL_MAX: usize = 16;

/// How many calls each key has now; of all shards together.
#[derive(Debug, Default)]
pub struct Counters {
    calls: Mutex<HashMap<Box<[u8]>, u64>>,
}

impl Counters {
    /// Counts a call; `false`, and it is not counted, where the key has `max` of them already.
    pub(super) fn add(&self, key: &[u8], max: u64) -> bool {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = calls.len() < KEYS_MAX;
        match calls.get_mut(key) {
            Some(count) if *count >= max => false,
            Some(count) => {
                *count += 1;
                true
            }
            None if max == 0 || !has_room => false,
            None => {
                calls.insert(key.into(), 1);
                true
            }
        }
    }

    /// A call is there, whatever the limit.
    pub(super) fn put(&self, key: &[u8]) {
        let _counted = self.add(key, u64::MAX);
    }

    /// A call has ended.
    pub(super) fn remove(&self, key: &[u8]) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = calls.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                calls.remove(key);
            }
        }
    }

    /// Calls of a key.
    pub(super) fn of(&self, key: &[u8]) -> u64 {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.get(key).copied().unwrap_or(0)
    }
}

#[cfg(test)]
impl Counters {
    /// Calls of a key.
    pub(crate) fn count(&self, key: &str) -> u64 {
        self.of(key.as_bytes())
    }

    /// As after a restart.
    pub(crate) fn forget(&self) {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// The keys that the fields of a call carry.
pub(super) fn keys(fields: &Fields) -> Vec<&[u8]> {
    match fields.iter().find(|field| field.0 == COUNTED).map(|field| &field.1) {
        Some(Value::List(keys)) => keys.iter().map(Vec::as_slice).collect(),
        Some(Value::Text(key)) => vec![key],
        _ => Vec::new(),
    }
}
