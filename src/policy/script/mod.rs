//! A policy that is a script: `[script] file = "route.lua"`, in Lua 5.4.
//!
//! Each shard has one virtual machine, built from a [`Script`] and swapped by a reload between two events. The machine has
//! the libraries string, table, math and utf8, one object for the request, and functions that decide and mark; it has no
//! way to a file, a socket or a clock. What a handler does is limited in time, instructions and memory, and a limit that
//! is hit ends it, whatever it is doing.
//!
//! | handler | runs |
//! |---|---|
//! | `request_route(req)` | once for each request that comes in |
//! | `route.NAME(req)` | for a request that takes a `[[route]]` with `script = "NAME"`, and for later ones of its dialog |
//! | `branch_route.NAME(req)` | for each target, before it is tried, after `on_branch("NAME")` |
//! | `reply_route.NAME(req, reply)` | for each response that passes, after `on_reply("NAME")` |
//! | `failure_route.NAME(req, reply)` | when all branches of a round have failed, after `on_failure("NAME")`, once |
//! | `local_route(req, reply)` | when the gateway itself makes a final response, or a request; `reply` is nil then |
//! | `event_route["dialog:end"](call)` | when a recorded call has ended |
//!
//! A `request_route` that neither relays nor responds leaves that to the `[[route]]` tables, and a `route.NAME` to the other
//! parts of its table; the marks of all add up.

mod accounting;
mod api;
mod comment;
mod counting;
mod frames;
mod garbage;
mod handlers;
mod meter;
mod objects;
mod pattern;
mod routing;
mod scripted;
mod table;
mod text;
pub mod trace;
pub mod trial;
mod turn;
mod vm;
mod world;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use super::{Policy, Recipe, Routes};
use crate::clock::{Instant, Now};
use crate::ids::SinkNumber;
use crate::sip::stack::Listener;
use api::Shared;
use handlers::{Handlers, NAMED, TABLES};
use scripted::Scripted;
use turn::Turn;
use vm::{Failure, Vm};
use world::World;

pub use counting::{COUNTED, Counters, KEYS_MAX};
pub use meter::Limits;
pub use table::{BadTable, ENTRIES_MAX, KeyTable};
pub use trace::Traces;
pub use turn::FlagMeaning;
pub use world::{HANDLERS, NamedSink, OnError, Outside, Severity, Unheard, WORDS, Witness, words_of};

/// What a script is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name of its file, as errors give it.
    pub name: String,
    /// The file.
    pub text: Arc<str>,
    /// Where it lies, and the messages of its tests beside it.
    pub folder: PathBuf,
    /// Limits of its handlers.
    pub limits: Limits,
    /// What becomes of a request whose handler has failed.
    pub on_error: OnError,
    /// The sinks, in an order of their own; see [`Script::new`].
    pub sinks: Vec<NamedSink>,
    /// Flags that mark: the flag's number or name, and what it means, with the sinks that the words mean.
    pub flags: Vec<Flag>,
    /// The listeners as they are configured, in their order.
    pub listeners: Vec<(String, Listener)>,
    /// Host names of the gateway.
    pub names: Vec<String>,
    /// Tables to look up in, by name.
    pub tables: HashMap<String, Arc<KeyTable>>,
    /// Runs of handlers that each shard keeps, with what they have decided. Default [`trace::TURNS_USUAL`].
    pub trace_turns: usize,
}

/// A flag that marks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Flag {
    /// Its number or name, as `setflag` has it.
    pub name: String,
    /// What it does.
    pub does: FlagDoes,
    /// The word for the sinks it is about, one of [`WORDS`] or a sink's name; [`FlagDoes::Cdr`] and [`FlagDoes::Failed`] are about
    /// all.
    pub word: &'static str,
}

/// What a flag does when it is set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FlagDoes {
    /// Accounts, by all sinks of the word but those that get one record a call.
    Account,
    /// Records failed attempts.
    Missed,
    /// Records refusals, by all sinks that account.
    Failed,
    /// Accounts, by the sinks that get one record a call.
    Cdr,
}

/// A script cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct BadScript(String);

/// A script that has been loaded once: what each shard builds its machine from.
#[derive(Debug)]
pub struct Script {
    name: String,
    text: Arc<str>,
    limits: Limits,
    world: Arc<World>,
    /// Functions that routes can name, in order.
    named: Vec<String>,
    clock: fn() -> Instant,
    now: Now,
}

impl Script {
    /// A script with its sinks numbered; `routes` decides what it leaves to them.
    ///
    /// # Errors
    /// It cannot be read, or its own lines fail; with file and line.
    pub fn new(
        settings: &Settings,
        numbers: &[SinkNumber],
        routes: Arc<Routes>,
        outside: Outside,
        clock: fn() -> Instant,
        now: Now,
    ) -> Result<Self, BadScript> {
        let sinks = world::Sinks::new(&settings.sinks, numbers);
        let flags = settings.flags.iter().map(|flag| {
            let all = sinks.of(flag.word).unwrap_or_default();
            let meaning = match flag.does {
                FlagDoes::Account => FlagMeaning::Accounting(sinks.of_mode(all, false)),
                FlagDoes::Cdr => FlagMeaning::Accounting(sinks.cdr()),
                FlagDoes::Missed => FlagMeaning::Missed(sinks.of_mode(all, false)),
                FlagDoes::Failed => FlagMeaning::Failed,
            };
            (flag.name.clone(), meaning)
        });
        let world = World {
            flags: flags.collect(),
            sinks,
            listeners: settings.listeners.clone(),
            names: settings.names.clone(),
            tables: settings.tables.clone(),
            routes,
            on_error: settings.on_error,
            outside,
            trace_turns: settings.trace_turns,
            loaded: now.wall,
        };
        let Settings { name, text, limits, .. } = settings.clone();
        let mut script = Self { name, text, limits, world: Arc::new(world), named: Vec::new(), clock, now };
        let machine = script.machine().map_err(|failure| BadScript(failure.text))?;
        script.named = machine.handlers.named.keys().map(ToString::to_string).collect();
        script.named.sort_unstable();
        Ok(script)
    }

    /// The functions that routes can name, in order.
    #[must_use]
    pub fn named(&self) -> &[String] {
        &self.named
    }

    /// A machine that has loaded it.
    fn machine(&self) -> Result<Machine, Failure> {
        let vm =
            Vm::new(self.limits, self.clock).map_err(|error| Failure { text: error.to_string(), is_limit: false })?;
        let shared = Rc::new(Shared::new(Arc::clone(&self.world), Turn::idle(self.now)));
        for (name, _) in &self.world.flags {
            shared.flag(name.as_bytes());
        }
        let wrong = |error: mlua::Error| Failure { text: error.to_string(), is_limit: false };
        objects::install_headers(&vm.lua, &shared).map_err(wrong)?;
        api::install(&vm.lua, &shared, &vm.meter).map_err(wrong)?;
        let globals = vm.lua.globals();
        for name in TABLES.into_iter().chain([NAMED]) {
            globals.raw_set(name, vm.lua.create_table().map_err(wrong)?).map_err(wrong)?;
        }
        vm.load(&self.name, &self.text)?;
        let handlers = Handlers::of(&globals)
            .map_err(|what| Failure { text: format!("{}: {what}", self.name), is_limit: false })?;
        vm.sweep();
        Ok(Machine { vm, shared, handlers })
    }
}

impl Recipe for Script {
    fn build(self: Arc<Self>) -> Box<dyn Policy> {
        match self.machine() {
            Ok(machine) => Box::new(Scripted::new(machine, Arc::clone(&self.world), self.clock)),
            Err(failure) => {
                // It was loaded before, with the same text: memory is short.
                self.world.outside.witness.failed("load", &failure.text, failure.is_limit);
                Recipe::build(Arc::clone(&self.world.routes))
            }
        }
    }
}

/// A virtual machine with a script in it.
#[derive(Debug)]
struct Machine {
    vm: Vm,
    shared: Rc<Shared>,
    handlers: Handlers,
}
