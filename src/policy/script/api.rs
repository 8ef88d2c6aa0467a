//! The functions a script calls: how they are defined, who may call them, and those that only look.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use mlua::{IntoLua, Lua, LuaString, MultiValue, Value};

use super::accounting::Known;
use super::meter::{Meter, TOO_MANY_WAIT};
use super::trace::{Draft, write_call};
use super::turn::{FLAGS_MAX, Places, Turn};
use super::vm::{LINE_BYTES_MAX, printable, raise};
use super::world::{Severity, World};
use super::{accounting, objects, routing};
use crate::policy::target::Destination;
use crate::record;
use crate::sip::message::Uri;
use crate::sip::stack::Network;
use crate::vars::{Arrival, Context, Template};

/// Templates, targets and words that are remembered, each; further ones are read each time.
const REMEMBERED_MAX: usize = 1024;

/// What the functions of one virtual machine share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) world: Arc<World>,
    pub(super) turn: RefCell<Turn>,
    /// What the handler that runs has decided so far.
    pub(super) draft: RefCell<Draft>,
    templates: RefCell<Texts<Rc<Template>>>,
    destinations: RefCell<Texts<Rc<Destination>>>,
    /// Bits of flags by name.
    flags: RefCell<Texts<u8>>,
    /// What pairs of types and flags mean.
    pub(super) marks: RefCell<Vec<Known>>,
}

/// What texts of a script mean.
type Texts<T> = HashMap<Box<[u8]>, T, foldhash::fast::RandomState>;

/// A function that a script calls.
pub(super) type Call = fn(&Lua, &Shared, &Arguments<'_>) -> mlua::Result<Value>;

/// What a function is called with.
pub(super) struct Arguments<'a> {
    lua: &'a Lua,
    name: &'static str,
    values: MultiValue,
}

impl Shared {
    pub(super) fn new(world: Arc<World>, turn: Turn) -> Self {
        Self {
            world,
            turn: RefCell::new(turn),
            draft: RefCell::default(),
            templates: RefCell::default(),
            destinations: RefCell::default(),
            flags: RefCell::default(),
            marks: RefCell::default(),
        }
    }

    /// The bit of a flag: those of the configuration come first.
    pub(super) fn flag(&self, name: &[u8]) -> Option<u64> {
        let mut flags = self.flags.borrow_mut();
        if let Some(bit) = flags.get(name) {
            return Some(1 << bit);
        }
        let bit = u8::try_from(flags.len()).ok().filter(|bit| usize::from(*bit) < FLAGS_MAX)?;
        flags.insert(name.into(), bit);
        Some(1 << bit)
    }

    /// A target, read once.
    pub(super) fn destination(&self, text: &[u8]) -> Result<Rc<Destination>, String> {
        if let Some(known) = self.destinations.borrow().get(text) {
            return Ok(Rc::clone(known));
        }
        let word = std::str::from_utf8(text).map_err(|_| "a target is a URI in ASCII".to_owned())?;
        let made = Rc::new(Destination::parse(word).map_err(|error| error.to_string())?);
        let mut known = self.destinations.borrow_mut();
        if known.len() < REMEMBERED_MAX {
            known.insert(text.into(), Rc::clone(&made));
        }
        Ok(made)
    }

    /// A template, read once.
    fn template(&self, text: &[u8]) -> Result<Rc<Template>, String> {
        if let Some(known) = self.templates.borrow().get(text) {
            return Ok(Rc::clone(known));
        }
        let word = std::str::from_utf8(text).map_err(|_| "a template is UTF-8".to_owned())?;
        let made = Rc::new(Template::from_str(word).map_err(|error| match &error.hint {
            Some(hint) => format!("{error}; {hint}"),
            None => error.to_string(),
        })?);
        let mut known = self.templates.borrow_mut();
        if known.len() < REMEMBERED_MAX {
            known.insert(text.into(), Rc::clone(&made));
        }
        Ok(made)
    }

    /// What a template stands for in the request that the handler is about.
    pub(super) fn evaluate(&self, text: &[u8]) -> Result<record::Value, String> {
        let template = self.template(text)?;
        let turn = self.turn.borrow();
        let Some(view) = &turn.view else { return Ok(record::Value::Absent) };
        let listener = self.world.listeners.get(usize::from(view.peer.listener.0)).map(|(_, own)| own);
        let arrival = Arrival {
            source: view.peer.addr,
            local: listener.map(|own| own.local),
            transport: listener.map(|own| own.transport),
        };
        let reply = turn.reply.as_ref();
        let context = Context {
            arrival: Some(arrival),
            sent_uri: Some(turn.uri()),
            reply: reply.and_then(|reply| reply.message.as_ref()),
            code: reply.map_or(0, |reply| reply.code),
            reason: reply.map_or(b"", |reply| &reply.reason),
            ..Context::new(&view.message, &turn.state.avps, turn.now.wall)
        };
        Ok(template.eval(&context))
    }
}

impl Arguments<'_> {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// An error of this function, at the line that calls it.
    pub(super) fn wrong(&self, what: impl std::fmt::Display) -> mlua::Error {
        raise(self.lua, format!("{}: {what}", self.name))
    }

    /// The value at this place; `nil` when there is none.
    pub(super) fn value(&self, place: usize) -> Value {
        self.values.get(place).cloned().unwrap_or(Value::Nil)
    }

    /// Text, or a number as its text; `None`: nil, or not given.
    pub(super) fn maybe_text(&self, place: usize) -> mlua::Result<Option<LuaString>> {
        match self.value(place) {
            Value::Nil => Ok(None),
            value @ (Value::String(_) | Value::Integer(_) | Value::Number(_)) => self.lua.coerce_string(value),
            other => Err(self.wrong(format_args!("argument {} is a {}, not text", place + 1, other.type_name()))),
        }
    }

    /// Text that must be there.
    pub(super) fn text(&self, place: usize) -> mlua::Result<LuaString> {
        self.maybe_text(place)?.ok_or_else(|| self.wrong(format_args!("argument {} is missing", place + 1)))
    }

    /// A whole number that must be there.
    pub(super) fn number(&self, place: usize) -> mlua::Result<i64> {
        let value = self.value(place);
        let kind = value.type_name();
        self.lua
            .coerce_integer(value)?
            .ok_or_else(|| self.wrong(format_args!("argument {} is a {kind}, not a whole number", place + 1)))
    }
}

/// Defines a function.
pub(super) fn define(
    lua: &Lua,
    shared: &Rc<Shared>,
    (name, places): (&'static str, Places),
    call: Call,
) -> mlua::Result<mlua::Function> {
    let shared = Rc::clone(shared);
    let is_step = !LOOKING.contains(&name);
    lua.create_function(move |lua, values: MultiValue| {
        let place = shared.turn.borrow().place;
        let arguments = Arguments { lua, name, values };
        if !places.has(place) {
            let (here, there) = (place.names(), places.names());
            return Err(arguments.wrong(format_args!("cannot be called from {here}; it can from {there}")));
        }
        let back = call(lua, &shared, &arguments)?;
        if is_step {
            let result = back.as_boolean();
            shared.draft.borrow_mut().note(lua, (name, result), |out| write_call(&arguments.values, out));
        }
        Ok(back)
    })
}

/// Functions that decide nothing.
const LOOKING: [&str; 9] =
    ["is_method", "has_totag", "is_myself", "is_in", "pv", "isflagset", "kv", "loose_route", "calls"];

/// Puts all functions and objects into the machine.
pub(super) fn install(lua: &Lua, shared: &Rc<Shared>, meter: &Rc<Meter>) -> mlua::Result<()> {
    let globals = lua.globals();
    let looking: [(&'static str, Call); 9] = [
        ("is_method", is_method),
        ("has_totag", has_totag),
        ("is_myself", is_myself),
        ("is_in", is_in),
        ("pv", pv),
        ("setflag", accounting::setflag),
        ("resetflag", accounting::resetflag),
        ("isflagset", accounting::isflagset),
        ("kv", kv),
    ];
    for (name, call) in looking {
        let places =
            if name == "kv" || name == "is_in" { Places::ANY.or(Places::LOAD).or(Places::END) } else { Places::ANY };
        globals.raw_set(name, define(lua, shared, (name, places), call)?)?;
    }
    for (name, places, call) in accounting::FUNCTIONS.iter().chain(routing::FUNCTIONS) {
        globals.raw_set(*name, define(lua, shared, (name, *places), *call)?)?;
    }
    let log = lua.create_table()?;
    for (name, severity) in
        [("debug", Severity::Debug), ("info", Severity::Info), ("warn", Severity::Warn), ("error", Severity::Error)]
    {
        let (shared, meter) = (Rc::clone(shared), Rc::clone(meter));
        let write = lua.create_function(move |lua, values: MultiValue| {
            // A line costs more than what it is made of.
            meter.spend(LINE_COST).map_err(mlua::Error::external)?;
            say(lua, &shared, &meter, severity, values)
        })?;
        log.raw_set(name, write)?;
    }
    globals.raw_set("log", log)?;
    objects::install(lua, shared)
}

/// What a line of the log costs, in instructions.
const LINE_COST: u64 = 1_000;

fn say(lua: &Lua, shared: &Shared, meter: &Meter, severity: Severity, values: MultiValue) -> mlua::Result<()> {
    let mut line = String::new();
    for value in values {
        if !line.is_empty() {
            line.push(' ');
        }
        match lua.coerce_string(value.clone())? {
            Some(text) => line.push_str(&String::from_utf8_lossy(&text.as_bytes())),
            None => {
                // Its metatable may have a function for that.
                let Some(_waiting) = meter.wait() else { return Err(raise(lua, TOO_MANY_WAIT.to_owned())) };
                line.push_str(&value.to_string()?);
            }
        }
        if line.len() > LINE_BYTES_MAX {
            break;
        }
    }
    let line = printable(&line, LINE_BYTES_MAX);
    let turn = shared.turn.borrow();
    shared.world.outside.witness.said(severity, &line, turn.view.as_ref().map(|view| view.message.call_id()));
    Ok(())
}

/// Text from octets, or nil for none.
pub(super) fn text_of(lua: &Lua, octets: Option<&[u8]>) -> mlua::Result<Value> {
    octets.map_or(Ok(Value::Nil), |octets| lua.create_string(octets)?.into_lua(lua))
}

/// A value of a record, as a script sees it.
pub(super) fn value_of(lua: &Lua, value: record::Value) -> mlua::Result<Value> {
    match value {
        record::Value::Absent => Ok(Value::Nil),
        record::Value::Text(text) => text_of(lua, Some(&text)),
        record::Value::Number(number) => Ok(Value::Integer(number)),
        record::Value::List(list) => text_of(lua, Some(&list.join(&b", "[..]))),
    }
}

fn is_method(_lua: &Lua, shared: &Shared, arguments: &Arguments<'_>) -> mlua::Result<Value> {
    let wanted = arguments.text(0)?;
    let turn = shared.turn.borrow();
    let method = turn.view.as_ref().map(|view| view.message.method_text()).unwrap_or_default();
    Ok(Value::Boolean(wanted.as_bytes().split(|octet| *octet == b'|').any(|word| word.trim_ascii() == method)))
}

fn has_totag(_lua: &Lua, shared: &Shared, _arguments: &Arguments<'_>) -> mlua::Result<Value> {
    let turn = shared.turn.borrow();
    Ok(Value::Boolean(turn.view.as_ref().is_some_and(|view| !view.message.to_tag().is_empty())))
}

fn is_myself(_lua: &Lua, shared: &Shared, arguments: &Arguments<'_>) -> mlua::Result<Value> {
    let given = arguments.maybe_text(0)?;
    let turn = shared.turn.borrow();
    let is_own = |uri: &[u8]| Uri::parse(uri).is_some_and(|uri| shared.world.is_own(&uri));
    Ok(Value::Boolean(match given {
        Some(uri) => is_own(&uri.as_bytes()),
        None => is_own(turn.uri()),
    }))
}

fn is_in(_lua: &Lua, _shared: &Shared, arguments: &Arguments<'_>) -> mlua::Result<Value> {
    let text = arguments.text(0)?;
    let Some(address) = ip_of(&text.as_bytes()) else {
        return Err(arguments.wrong("argument 1 is no IP address"));
    };
    for place in 1..arguments.len() {
        let block = arguments.text(place)?;
        let block = String::from_utf8_lossy(&block.as_bytes()).into_owned();
        let Ok(network) = block.parse::<Network>() else {
            return Err(arguments.wrong(format_args!("`{block}` is no block of addresses, such as 10.0.0.0/8")));
        };
        if network.contains(address) {
            return Ok(Value::Boolean(true));
        }
    }
    Ok(Value::Boolean(false))
}

fn ip_of(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim_matches(['[', ']']);
    text.parse().ok()
}

fn pv(lua: &Lua, shared: &Shared, arguments: &Arguments<'_>) -> mlua::Result<Value> {
    let text = arguments.text(0)?;
    let value = shared.evaluate(&text.as_bytes()).map_err(|what| arguments.wrong(what))?;
    value_of(lua, value)
}

/// `kv(table, key)`: the value, or nil. `kv(table, key, "prefix")`: the value of the longest key that `key` begins with.
fn kv(lua: &Lua, shared: &Shared, arguments: &Arguments<'_>) -> mlua::Result<Value> {
    let name = arguments.text(0)?;
    let name = String::from_utf8_lossy(&name.as_bytes()).into_owned();
    let Some(table) = shared.world.tables.get(&name) else {
        let known: Vec<&str> = shared.world.tables.keys().map(String::as_str).collect();
        let known =
            if known.is_empty() { "there is none".to_owned() } else { format!("there are {}", known.join(", ")) };
        return Err(arguments.wrong(format_args!("`{name}`: no such table in [script.tables]; {known}")));
    };
    let key = arguments.text(1)?;
    let key = key.as_bytes();
    match arguments.maybe_text(2)? {
        None => text_of(lua, table.of(&key)),
        Some(how) if &*how.as_bytes() == b"prefix" => text_of(lua, table.longest_prefix(&key).map(|(_, value)| value)),
        Some(_) => Err(arguments.wrong("argument 3 is `prefix` or nothing")),
    }
}

/// Octets for later.
pub(super) fn octets(text: &LuaString) -> Bytes {
    Bytes::copy_from_slice(&text.as_bytes())
}
