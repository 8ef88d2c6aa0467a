//! Where a request goes, and how it leaves.

use bytes::Bytes;
use mlua::{Lua, LuaString, Table, Value};

use super::api::{Arguments, Call, Shared, octets};
use super::counting::KEYS_OF_CALL_MAX;
use super::objects::URI_BYTES_MAX;
use super::turn::{Choice, Places, Terms};
use crate::policy::Targets;
use crate::sip::message::{Method, Uri};
use crate::sip::stack::{Edits, ListenerId, NextOn};

const DECIDING: Places = Places::REQUEST.or(Places::FAILURE);
const ARMING: Places = DECIDING.or(Places::BRANCH);

/// Names, and where they may be called.
pub(super) const FUNCTIONS: &[(&str, Places, Call)] = &[
    ("relay", DECIDING, relay),
    ("fork", DECIDING, fork),
    ("append_branch", DECIDING, append_branch),
    ("reply", DECIDING, reply),
    ("redirect", DECIDING, redirect),
    ("drop", Places::REQUEST.or(Places::BRANCH), drop_it),
    ("on_branch", ARMING, on_branch),
    ("on_reply", ARMING, on_reply),
    ("on_failure", ARMING, on_failure),
    ("append_hf", ARMING, append_hf),
    ("remove_hf", ARMING, remove_hf),
    ("record_route", ARMING, record_route),
    ("set_socket", ARMING, set_socket),
    ("loose_route", Places::REQUEST, loose_route),
    ("count_call", DECIDING, count_call),
    ("calls", Places::ANY.or(Places::END), calls),
];

/// Targets of one call of `relay` at most.
const TARGETS_MAX: usize = 256;
/// Header lines that are added to one request at most, and removed names.
const HEADERS_MAX: usize = 64;
/// Longest value of an added header line, in octets.
const HEADER_BYTES_MAX: usize = 4_096;

/// Longest reason phrase of a response, in octets; what is longer is cut.
const REASON_BYTES_MAX: usize = 1_024;

fn relay(_lua: &Lua, shared: &Shared, arguments: &Arguments<'_>) -> mlua::Result<Value> {
    decide_targets(shared, arguments, false)
}

/// `relay`, its targets tried at the same time.
fn fork(_lua: &Lua, shared: &Shared, arguments: &Arguments<'_>) -> mlua::Result<Value> {
    decide_targets(shared, arguments, true)
}

fn decide_targets(shared: &Shared, arguments: &Arguments<'_>, is_parallel: bool) -> mlua::Result<Value> {
    let (mut groups, terms) = match arguments.value(0) {
        Value::Nil => (Vec::new(), Terms::default()),
        Value::Table(table) => of_table(shared, arguments, &table, is_parallel)?,
        _ => (vec![vec![target(shared, arguments, &arguments.text(0)?)?]], Terms::default()),
    };
    let mut turn = shared.turn.borrow_mut();
    if groups.is_empty() {
        // Branches that were appended are tried at once, beside the Request-URI where that was not tried yet.
        let mut branches = std::mem::take(&mut turn.branches);
        if !branches.is_empty() {
            let own = Bytes::copy_from_slice(turn.uri());
            let is_ours = Uri::parse(&own).is_none_or(|uri| shared.world.is_own(&uri));
            if turn.place == Places::REQUEST && !is_ours && shared.destination(&own).is_ok() {
                branches.insert(0, own);
            }
            groups.push(branches);
        }
    }
    turn.choice = Some(Choice::Relay { groups, terms });
    Ok(Value::Boolean(true))
}

/// A target that can be read; text that is none is an error at the line of the script.
fn target(shared: &Shared, arguments: &Arguments<'_>, text: &LuaString) -> mlua::Result<Bytes> {
    if text.as_bytes().len() > URI_BYTES_MAX {
        return Err(arguments.wrong(format_args!("a target of more than {URI_BYTES_MAX} octets")));
    }
    shared.destination(&text.as_bytes()).map_err(|what| arguments.wrong(what))?;
    Ok(octets(text))
}

fn of_table(
    shared: &Shared,
    arguments: &Arguments<'_>,
    table: &Table,
    mut is_parallel: bool,
) -> mlua::Result<(Vec<Vec<Bytes>>, Terms)> {
    let (mut entries, mut terms) = (Vec::new(), Terms::default());
    for pair in table.clone().pairs::<Value, Value>() {
        let (key, value) = pair?;
        match key {
            Value::Integer(_) => {}
            Value::String(key) => {
                let key = String::from_utf8_lossy(&key.as_bytes()).into_owned();
                if key == "fork" {
                    is_parallel = match &*word(arguments, &key, &value)? {
                        "parallel" => true,
                        "serial" => false,
                        _ => return Err(arguments.wrong("`fork` is `serial` or `parallel`")),
                    };
                } else {
                    option(arguments, &key, &value, &mut terms)?;
                }
            }
            _ => return Err(arguments.wrong("a table of targets is a list, with options by name")),
        }
    }
    for value in table.clone().sequence_values::<Value>() {
        match value? {
            Value::String(text) => entries.push(vec![target(shared, arguments, &text)?]),
            Value::Table(group) => {
                let texts: mlua::Result<Vec<LuaString>> = group.sequence_values().collect();
                let targets: mlua::Result<Vec<Bytes>> =
                    texts?.iter().map(|text| target(shared, arguments, text)).collect();
                entries.push(targets?);
            }
            other => return Err(arguments.wrong(format_args!("a {} is no target", other.type_name()))),
        }
    }
    if entries.iter().map(Vec::len).sum::<usize>() > TARGETS_MAX {
        return Err(arguments.wrong(format_args!("more than {TARGETS_MAX} targets")));
    }
    let groups = if is_parallel { vec![entries.concat()] } else { entries };
    Ok((groups.into_iter().filter(|group| !group.is_empty()).collect(), terms))
}

fn word(arguments: &Arguments<'_>, key: &str, value: &Value) -> mlua::Result<String> {
    match value {
        Value::String(text) => Ok(String::from_utf8_lossy(&text.as_bytes()).into_owned()),
        other => Err(arguments.wrong(format_args!("`{key}` is a {}, not text", other.type_name()))),
    }
}

fn option(arguments: &Arguments<'_>, key: &str, value: &Value, terms: &mut Terms) -> mlua::Result<()> {
    match key {
        "ring_timeout_s" => {
            let secs = value.as_integer().and_then(|secs| u64::try_from(secs).ok());
            let secs = secs.filter(|secs| (1..=3600).contains(secs));
            let Some(secs) = secs else { return Err(arguments.wrong("`ring_timeout_s` is a number from 1 to 3600")) };
            terms.ring_timeout_s = Some(secs);
        }
        "next_on" => {
            let text = word(arguments, key, value)?;
            let codes: Vec<String> = text.split(',').map(|code| code.trim().to_owned()).collect();
            NextOn::parse(codes.iter().map(String::as_str)).map_err(|error| arguments.wrong(error))?;
            terms.next_on = Some(codes);
        }
        "redirects" => match &*word(arguments, key, value)? {
            "follow" => terms.follows_redirects = true,
            "pass" => terms.follows_redirects = false,
            _ => return Err(arguments.wrong("`redirects` is `follow` or `pass`")),
        },
        "targets" => match &*word(arguments, key, value)? {
            "forward" => terms.targets = Some(Targets::Forward),
            "alternatives" => terms.targets = Some(Targets::Alternatives),
            _ => return Err(arguments.wrong("`targets` is `forward` or `alternatives`")),
        },
        _ => {
            return Err(arguments.wrong(format_args!(
                "`{key}`: no such option; there are fork, next_on, redirects, ring_timeout_s, targets"
            )));
        }
    }
    Ok(())
}

fn append_branch(_lua: &Lua, shared: &Shared, arguments: &Arguments<'_>) -> mlua::Result<Value> {
    let text = match arguments.maybe_text(0)? {
        Some(text) => target(shared, arguments, &text)?,
        None => Bytes::copy_from_slice(shared.turn.borrow().uri()),
    };
    let mut turn = shared.turn.borrow_mut();
    if turn.branches.len() >= TARGETS_MAX {
        return Err(arguments.wrong(format_args!("more than {TARGETS_MAX} branches")));
    }
    turn.branches.push(text);
    Ok(Value::Boolean(true))
}

fn reply(_lua: &Lua, shared: &Shared, arguments: &Arguments<'_>) -> mlua::Result<Value> {
    let code = arguments.number(0)?;
    let code = u16::try_from(code).ok().filter(|code| (200..=699).contains(code));
    let Some(code) = code else { return Err(arguments.wrong("argument 1 is a final code, from 200 to 699")) };
    let reason = arguments.maybe_text(1)?.map(|text| text.as_bytes().to_vec()).unwrap_or_default();
    let reason =
        reason.into_iter().filter(|octet| !matches!(octet, b'\r' | b'\n' | 0)).take(REASON_BYTES_MAX).collect();
    shared.turn.borrow_mut().choice = Some(Choice::Reply { code, reason, contacts: Vec::new() });
    Ok(Value::Boolean(true))
}

fn redirect(_lua: &Lua, shared: &Shared, arguments: &Arguments<'_>) -> mlua::Result<Value> {
    let mut contacts = Vec::new();
    for place in 0..arguments.len().max(1) {
        let text = arguments.text(place)?;
        if text.as_bytes().len() > URI_BYTES_MAX {
            return Err(arguments.wrong(format_args!("a URI of more than {URI_BYTES_MAX} octets")));
        }
        if place >= TARGETS_MAX {
            return Err(arguments.wrong(format_args!("more than {TARGETS_MAX} targets")));
        }
        if Uri::parse(&text.as_bytes()).is_none() {
            let shown = text.as_bytes().escape_ascii().to_string();
            return Err(arguments.wrong(format_args!("`{shown}` is no URI")));
        }
        contacts.push([b"<", &*text.as_bytes(), b">"].concat().into());
    }
    shared.turn.borrow_mut().choice = Some(Choice::Reply { code: 302, reason: Vec::new(), contacts });
    Ok(Value::Boolean(true))
}

fn drop_it(_lua: &Lua, shared: &Shared, _arguments: &Arguments<'_>) -> mlua::Result<Value> {
    let mut turn = shared.turn.borrow_mut();
    if turn.place == Places::BRANCH {
        turn.is_dropped = true;
    } else {
        turn.choice = Some(Choice::Drop);
    }
    Ok(Value::Boolean(true))
}

/// The name of a handler; whether there is one is seen when it is to run, for it may be defined further down.
fn handler(arguments: &Arguments<'_>) -> mlua::Result<Option<Box<str>>> {
    let Some(text) = arguments.maybe_text(0)? else { return Ok(None) };
    match std::str::from_utf8(&text.as_bytes()) {
        Ok(name) => Ok(Some(name.into())),
        Err(_) => Err(arguments.wrong("a handler's name is UTF-8")),
    }
}

/// Whether the script has such a handler.
fn known(lua: &Lua, arguments: &Arguments<'_>, table: &str) -> mlua::Result<Option<Box<str>>> {
    let name = handler(arguments)?;
    if let Some(name) = &name {
        let handlers: Table = lua.globals().raw_get(table)?;
        if !handlers.raw_get::<Value>(&**name)?.is_function() {
            return Err(arguments.wrong(format_args!("there is no function {table}.{name}")));
        }
    }
    Ok(name)
}

fn on_branch(lua: &Lua, shared: &Shared, arguments: &Arguments<'_>) -> mlua::Result<Value> {
    shared.turn.borrow_mut().state.on_branch = known(lua, arguments, "branch_route")?;
    Ok(Value::Boolean(true))
}

fn on_reply(lua: &Lua, shared: &Shared, arguments: &Arguments<'_>) -> mlua::Result<Value> {
    shared.turn.borrow_mut().state.on_reply = known(lua, arguments, "reply_route")?;
    Ok(Value::Boolean(true))
}

fn on_failure(lua: &Lua, shared: &Shared, arguments: &Arguments<'_>) -> mlua::Result<Value> {
    shared.turn.borrow_mut().state.on_failure = known(lua, arguments, "failure_route")?;
    Ok(Value::Boolean(true))
}

/// The name of a header line that may be changed.
fn header(arguments: &Arguments<'_>) -> mlua::Result<Vec<u8>> {
    let name = arguments.text(0)?.as_bytes().to_vec();
    let is_token =
        !name.is_empty() && name.iter().all(|octet| octet.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(octet));
    let shown = name.escape_ascii();
    if !is_token {
        return Err(arguments.wrong(format_args!("`{shown}` is no name of a header")));
    }
    if !Edits::may_change(&name) {
        return Err(arguments.wrong(format_args!("`{shown}` belongs to the proxy: it cannot be added or removed")));
    }
    Ok(name)
}

fn append_hf(_lua: &Lua, shared: &Shared, arguments: &Arguments<'_>) -> mlua::Result<Value> {
    let (name, value) = (header(arguments)?, arguments.text(1)?);
    let value = value.as_bytes();
    if value.len() > HEADER_BYTES_MAX {
        return Err(arguments.wrong(format_args!("a value of more than {HEADER_BYTES_MAX} octets")));
    }
    let mut turn = shared.turn.borrow_mut();
    let added = &mut turn.state.edits.added;
    if added.len() >= HEADERS_MAX {
        return Err(arguments.wrong(format_args!("more than {HEADERS_MAX} header lines")));
    }
    let name = String::from_utf8_lossy(&name).into_owned();
    added.push((name.into(), value.trim_ascii().into()));
    Ok(Value::Boolean(true))
}

fn remove_hf(_lua: &Lua, shared: &Shared, arguments: &Arguments<'_>) -> mlua::Result<Value> {
    let name = header(arguments)?;
    let mut turn = shared.turn.borrow_mut();
    let edits = &mut turn.state.edits;
    if edits.removed.len() >= HEADERS_MAX {
        return Err(arguments.wrong(format_args!("more than {HEADERS_MAX} names")));
    }
    // What was added before goes too.
    edits.added.retain(|(own, _)| !own.as_bytes().eq_ignore_ascii_case(&name));
    edits.removed.push(name.into());
    Ok(Value::Boolean(true))
}

fn record_route(_lua: &Lua, shared: &Shared, arguments: &Arguments<'_>) -> mlua::Result<Value> {
    let is_on = !matches!(arguments.value(0), Value::Boolean(false));
    shared.turn.borrow_mut().state.edits.off_route = !is_on;
    Ok(Value::Boolean(true))
}

fn set_socket(_lua: &Lua, shared: &Shared, arguments: &Arguments<'_>) -> mlua::Result<Value> {
    let name = arguments.text(0)?;
    let name = name.as_bytes();
    let place = shared.world.listeners.iter().position(|(own, _)| own.as_bytes() == &*name);
    let Some(place) = place.and_then(|place| u16::try_from(place).ok()) else {
        let known: Vec<&str> = shared.world.listeners.iter().map(|(own, _)| &**own).collect();
        let shown = name.escape_ascii();
        return Err(arguments.wrong(format_args!("`{shown}`: no such listener; there are {}", known.join(", "))));
    };
    shared.turn.borrow_mut().state.edits.listener = Some(ListenerId(place));
    Ok(Value::Boolean(true))
}

/// `count_call(key[, max])`: the call counts for the key from here on, until it ends; false, and it does not count, where
/// the key has as many already.
fn count_call(_lua: &Lua, shared: &Shared, arguments: &Arguments<'_>) -> mlua::Result<Value> {
    let key = arguments.text(0)?.as_bytes().to_vec();
    let max = match arguments.value(1) {
        Value::Nil => u64::MAX,
        _ => u64::try_from(arguments.number(1)?).map_err(|_| arguments.wrong("argument 2 is negative"))?,
    };
    let mut turn = shared.turn.borrow_mut();
    if turn.view.as_ref().is_none_or(|view| view.in_dialog || view.message.method() != Method::Invite) {
        return Err(arguments.wrong("only the INVITE that begins a call can be counted"));
    }
    if turn.state.counted.contains(&key) {
        return Ok(Value::Boolean(true));
    }
    if turn.state.counted.len() >= KEYS_OF_CALL_MAX {
        return Err(arguments.wrong(format_args!("more than {KEYS_OF_CALL_MAX} keys of one call")));
    }
    if !shared.world.outside.counters.add(&key, max) {
        return Ok(Value::Boolean(false));
    }
    turn.state.counted.push(key);
    turn.state.is_holding = true;
    turn.is_changed = true;
    Ok(Value::Boolean(true))
}

/// Calls in progress of a key.
fn calls(_lua: &Lua, shared: &Shared, arguments: &Arguments<'_>) -> mlua::Result<Value> {
    let key = arguments.text(0)?;
    let count = shared.world.outside.counters.of(&key.as_bytes());
    Ok(Value::Integer(i64::try_from(count).unwrap_or(i64::MAX)))
}

/// Whether the request goes where its Route or its dialog leads, and not by what the script decides.
fn loose_route(_lua: &Lua, shared: &Shared, _arguments: &Arguments<'_>) -> mlua::Result<Value> {
    let turn = shared.turn.borrow();
    let follows = |view: &crate::sip::stack::RequestView| view.way != crate::sip::stack::Way::Table;
    Ok(Value::Boolean(turn.view.as_ref().is_some_and(follows)))
}
