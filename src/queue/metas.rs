//! Named values: those that every spool gets, and the number that rises with every named value and call written, so that of
//! two copies the newer one is known.

use std::collections::BTreeMap;

use super::batch::Batch;
use super::frame::{self, Meta};
use super::layout;
use super::totals;

/// The named values all spools share.
#[derive(Debug, Default)]
pub struct Metas {
    shared: BTreeMap<Vec<u8>, Vec<u8>>,
    revision: u64,
}

impl Metas {
    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.shared.is_empty()
    }

    /// One of them.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.shared.get(name).map(Vec::as_slice)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&Vec<u8>, &Vec<u8>)> {
        self.shared.iter()
    }

    /// Takes up a named value that a spool holds, if all share it.
    pub fn take(&mut self, name: &[u8], revision: u64, value: &[u8]) {
        self.revision = self.revision.max(revision);
        if name == b"sinks" || name == totals::NAME || name.starts_with(b"kept/") {
            self.share(name, value.to_vec());
        }
    }

    /// All of a spool were taken up. Calls count with the same number; it has to rise over theirs too, and every commit writes
    /// fewer.
    pub fn leap(&mut self) {
        self.revision += 1 << 32;
    }

    /// Every new spool gets this value from now on.
    pub fn share(&mut self, name: &[u8], value: Vec<u8>) {
        self.shared.insert(name.to_vec(), value);
    }

    /// Adds a value to a batch.
    pub fn add(&mut self, batch: &mut Batch, name: &[u8], value: &[u8]) {
        self.revision += 1;
        put(batch, self.revision, name, value);
    }

    /// Adds all shared ones to the first batch of a spool.
    pub fn add_all(&mut self, batch: &mut Batch) {
        for (name, value) in &self.shared {
            self.revision += 1;
            put(batch, self.revision, name, value);
        }
    }

    /// The number that rises.
    pub fn revision(&mut self) -> &mut u64 {
        &mut self.revision
    }
}

fn put(batch: &mut Batch, revision: u64, name: &[u8], value: &[u8]) {
    let mut out = Vec::new();
    frame::put_meta(&mut out, &Meta { revision, name, value });
    batch.insert(layout::meta_key(name), out);
}
