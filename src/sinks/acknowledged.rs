//! Who acknowledged which records, for a sink with several servers.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;

use crate::ids::Seq;
use crate::queue::{Acknowledger, Worth};

/// The servers of a sink, and the records that they acknowledged since somebody asked.
#[derive(Debug, Default)]
pub struct Acknowledged {
    servers: HashMap<usize, Arc<Acknowledger>, FixedState>,
    records: HashMap<Seq, Arc<Acknowledger>, FixedState>,
}

impl Acknowledged {
    /// A record is stored by the server of this number; `name` is called for the first one.
    pub fn note(&mut self, seq: Seq, server: usize, name: impl FnOnce() -> String) {
        let make = || Arc::new(Acknowledger { server: name(), worth: Worth::Stored });
        let server = self.servers.entry(server).or_insert_with(make);
        self.records.insert(seq, Arc::clone(server));
    }

    /// Who acknowledged a record; given once.
    pub fn take(&mut self, seq: Seq) -> Option<Arc<Acknowledger>> {
        self.records.remove(&seq)
    }
}
