//! When the memory of a machine that nobody uses any more is collected: between handlers, while the shard has nothing in hand.
//!
//! A collection takes several times as long as a handler. In the middle of one it would delay the message that the handler
//! is about, and all that came with it; so it waits until what the shard has to send has left.

use std::cell::Cell;

use mlua::Lua;
use mlua::state::{GcGenParams, GcMode};

/// The collector of one machine.
#[derive(Debug)]
pub(super) struct Collector {
    /// From so many octets on it runs within handlers too: one handler has used that up, or the script keeps as much.
    urgent: usize,
    /// Octets from which on it is to run between handlers.
    due: Cell<usize>,
    /// What was left by the last collection of everything, in octets.
    kept: Cell<usize>,
    is_running: Cell<bool>,
}

/// What may come up for collection between two, at least, in octets.
const GARBAGE_BYTES_MIN: usize = 16 << 10;

impl Collector {
    /// It runs, until the script is loaded and [`sweep`](Self::sweep) was called.
    pub(super) fn new(lua: &Lua, memory_max: usize) -> Self {
        // One object for all requests, and few that live long: the young ones are looked at most.
        lua.gc_set_mode(GcMode::Generational(GcGenParams::default()));
        Self { urgent: memory_max / 2, due: Cell::new(0), kept: Cell::new(0), is_running: Cell::new(true) }
    }

    /// Looks in the middle of a handler whether it has to run now.
    pub(super) fn look(&self, lua: &Lua) {
        if !self.is_running.get() && lua.used_memory() > self.urgent {
            self.is_running.set(true);
            lua.gc_restart();
        }
    }

    /// Runs if enough has come up since it ran last.
    pub(super) fn sweep(&self, lua: &Lua) {
        let used = lua.used_memory();
        if used < self.due.get() && !self.is_running.get() {
            return;
        }
        // What was young in two collections is looked at by one of everything only. Neither fails but by a finaliser of the
        // script's, of which there are none.
        if used > 2 * self.kept.get() || self.is_running.get() {
            let _collected = lua.gc_collect();
            self.kept.set(lua.used_memory());
        } else {
            let _stepped = lua.gc_step();
        }
        let left = lua.used_memory();
        self.due.set(left + (left / 4).max(GARBAGE_BYTES_MIN));
        self.is_running.set(false);
        lua.gc_stop();
    }
}
