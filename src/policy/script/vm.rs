//! The virtual machine: which libraries it has, and what limits it.

use std::rc::Rc;

use mlua::chunk::ChunkMode;
use mlua::{Error, Function, HookTriggers, IntoLuaMulti, Lua, LuaOptions, StdLib, Table, Value, VmState};

use super::garbage::Collector;
use super::meter::{CALLS_MAX, Limit, Limits, Meter, STEP};
use super::text;
use crate::clock::Instant;

/// A machine that has loaded nothing yet.
#[derive(Debug)]
pub(super) struct Vm {
    pub(super) lua: Lua,
    pub(super) meter: Rc<Meter>,
    collector: Rc<Collector>,
}

impl Vm {
    /// With the libraries string, table, math and utf8, and none of the functions that reach outside.
    pub(super) fn new(limits: Limits, clock: fn() -> Instant) -> mlua::Result<Self> {
        let libraries = StdLib::STRING | StdLib::TABLE | StdLib::MATH | StdLib::UTF8;
        let lua = Lua::new_with(libraries, LuaOptions::new().catch_rust_panics(false))?;
        let meter = Rc::new(Meter::new(limits, clock));
        let collector = Rc::new(Collector::new(&lua, limits.memory));
        text::install(&lua, &meter)?;
        let watched = Rc::clone(&meter);
        let hit =
            lua.create_function(move |_, ()| watched.hit().map_or(Ok(()), |limit| Err(Error::external(limit))))?;
        let watched = Rc::clone(&meter);
        let words = lua.create_function(move |_, error: Value| {
            let (is_memory, text) = match &error {
                Value::Error(error) => (is_memory(error), describe(error)),
                // Only what Lua itself says of memory is given as text.
                _ => (true, String::new()),
            };
            if is_memory { Err(Error::external(watched.out_of_memory())) } else { Ok(text) }
        })?;
        let prelude = lua.load(include_str!("prelude.lua")).set_name("=[tollgate]").set_mode(ChunkMode::Text);
        let put = lua.create_function(|_, (table, meta): (Table, Option<Table>)| {
            // Those of the prelude say whether they may be replaced; ours say nothing.
            let is_open = table.metatable().map_or(Ok(true), |old| old.raw_get::<bool>("open"))?;
            if is_open {
                table.set_metatable(meta)?;
            }
            Ok(is_open)
        })?;
        prelude.into_function()?.call::<()>((hit, words, put))?;
        // That of strings is for nobody to change.
        if let Some(meta) = lua.type_metatable::<mlua::LuaString>() {
            meta.raw_set("__metatable", false)?;
        }
        let (watched, looked) = (Rc::clone(&meter), Rc::clone(&collector));
        let triggers = HookTriggers::new().every_nth_instruction(STEP);
        lua.set_hook(triggers, move |lua, _| {
            looked.look(lua);
            let is_deep = lua.inspect_stack(CALLS_MAX, |_| ()).is_some();
            let within =
                watched.spend(u64::from(STEP)).and_then(|()| if is_deep { watched.too_deep() } else { Ok(()) });
            match within {
                Ok(()) => Ok(VmState::Continue),
                Err(limit) => {
                    watched.note(|| line_of(lua));
                    Err(Error::external(limit))
                }
            }
        })?;
        lua.set_memory_limit(limits.memory)?;
        Ok(Self { lua, meter, collector })
    }

    /// Runs the text of a script, which defines its handlers.
    pub(super) fn load(&self, name: &str, text: &str) -> Result<(), Failure> {
        self.meter.begin();
        let chunk = self.lua.load(text).set_name(format!("@{name}")).set_mode(ChunkMode::Text);
        chunk.exec().map_err(|error| self.failure(&error))
    }

    /// Runs a handler.
    pub(super) fn call(&self, handler: &Function, arguments: impl IntoLuaMulti) -> Result<(), Failure> {
        self.meter.begin();
        handler.call::<Value>(arguments).map(drop).map_err(|error| self.failure(&error))
    }

    /// No handler runs, and nobody waits for one: collects what they have left.
    pub(super) fn sweep(&self) {
        self.collector.sweep(&self.lua);
    }

    /// What to tell of an error: a limit before all else, which may have shown itself as another one.
    fn failure(&self, error: &Error) -> Failure {
        if is_memory(error) {
            self.meter.out_of_memory();
        }
        let text = printable(&describe(error), LINE_BYTES_MAX);
        match self.meter.hit() {
            Some(limit) => {
                let place = self.meter.place().or_else(|| place_of(error));
                let place = place.map(|place| format!("{place}: ")).unwrap_or_default();
                Failure { text: format!("{place}the handler was ended: it used {limit}"), is_limit: true }
            }
            None => Failure { text, is_limit: false },
        }
    }
}

/// Why a script or one of its handlers has ended early.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{text}")]
pub(super) struct Failure {
    /// With file and line, where they are known.
    pub(super) text: String,
    /// Whether a limit was hit.
    pub(super) is_limit: bool,
}

/// An error of a function of ours, at the line that called it.
pub(super) fn raise(lua: &Lua, what: String) -> Error {
    let place = line_of(lua).map(|place| format!("{place}: ")).unwrap_or_default();
    Error::RuntimeError(format!("{place}{what}"))
}

/// File and line of the script that run now.
fn line_of(lua: &Lua) -> Option<String> {
    let at = |level| {
        let place = lua.inspect_stack(level, |frame| {
            let (source, line) = (frame.source().short_src?.into_owned(), frame.current_line()?);
            Some(format!("{source}:{line}"))
        });
        place.flatten().filter(|place| !place.starts_with('['))
    };
    (0..8).find_map(at)
}

/// Longest line of the log that a script makes, in octets.
pub(super) const LINE_BYTES_MAX: usize = 2_048;

/// Text for one line of the log: what a script says may come from a request.
pub(super) fn printable(text: &str, bytes_max: usize) -> String {
    let text = &text[..text.floor_char_boundary(bytes_max)];
    text.chars().map(|sign| if sign.is_control() { ' ' } else { sign }).collect()
}

fn is_memory(error: &Error) -> bool {
    match error {
        Error::MemoryError(_) => true,
        Error::CallbackError { cause, .. } => is_memory(cause),
        _ => false,
    }
}

/// The text of an error, without the trace of calls that stands behind it.
fn describe(error: &Error) -> String {
    match error {
        Error::CallbackError { cause, .. } => describe(cause),
        Error::RuntimeError(text) | Error::SyntaxError { message: text, .. } => bare(text).to_owned(),
        Error::ExternalError(source) => match source.downcast_ref::<Limit>() {
            Some(limit) => limit.to_string(),
            None => source.to_string(),
        },
        other => bare(&other.to_string()).to_owned(),
    }
}

/// The same for those who run a function by themselves.
pub(super) fn described(error: &Error) -> String {
    describe(error)
}

fn bare(text: &str) -> &str {
    text.split("\nstack traceback:").next().unwrap_or(text)
}

/// File and line of the innermost line of the script that an error names.
fn place_of(error: &Error) -> Option<String> {
    let trace = match error {
        Error::CallbackError { traceback, .. } => traceback.clone(),
        Error::RuntimeError(text) => text.clone(),
        _ => return None,
    };
    trace.lines().map(str::trim).find_map(|line| {
        let (file, rest) = line.split_once(':')?;
        let number = rest.split(':').next()?;
        let is_place = !file.starts_with('[') && number.parse::<u32>().is_ok();
        is_place.then(|| format!("{file}:{number}"))
    })
}
