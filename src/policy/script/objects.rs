//! The objects a script reads and sets: the request, the response, values, fields and legs. There is one of each for all
//! requests, so that a request makes no garbage.

use std::rc::Rc;

use bytes::Bytes;
use mlua::{Function, Lua, LuaString, MultiValue, Table, Value};

use super::api::{Shared, text_of, value_of};
use super::trace::write_field;
use super::turn::{Places, State, Turn};
use super::vm::raise;
use crate::record;
use crate::sip::message::{Message, Name, NameAddr, Uri};

/// Values and fields that a script sets for one request at most, each.
const VALUES_MAX: usize = 1_024;
/// Legs that a script makes for one request at most; a record keeps [`crate::record::codec::LEGS_MAX`] of them.
const LEGS_MAX: usize = 1_024;

/// What values, fields and legs of one request take at most, in octets.
const HELD_BYTES_MAX: usize = 1 << 20;
/// What each of them takes beside its name and its text, about.
const HELD_EACH: usize = 64;
/// Longest Request-URI that a script sets, in octets.
pub(super) const URI_BYTES_MAX: usize = 8_192;

type Get = fn(&Lua, &Shared, &[u8]) -> mlua::Result<Value>;
type Set = fn(&Lua, &Shared, &[u8], Value) -> mlua::Result<()>;

/// Puts them into the machine.
pub(super) fn install(lua: &Lua, shared: &Rc<Shared>) -> mlua::Result<()> {
    let globals = lua.globals();
    let objects: [(&'static str, Get, Set); 6] = [
        ("req", request, set_request),
        ("avp", avp, set_avp),
        ("avps", avps, fixed),
        ("acc_extra", extra, set_extra),
        ("acc_leg", leg, set_leg),
        ("call", call, fixed),
    ];
    for (name, get, set) in objects {
        globals.raw_set(name, object(lua, shared, name, (get, set))?)?;
    }
    // It is a function too: `reply(486)` responds, `reply.code` is the code of the response that came.
    let respond: Function = globals.raw_get("reply")?;
    let object = object(lua, shared, "reply", (reply, fixed))?;
    if let Some(meta) = object.metatable() {
        let call = lua.create_function(move |_, mut arguments: MultiValue| {
            arguments.pop_front();
            respond.call::<Value>(arguments)
        })?;
        meta.raw_set("__call", call)?;
    }
    globals.raw_set("reply", object)?;
    globals.raw_set("acc_legs", legs(lua, shared)?)?;
    let own = Rc::clone(shared);
    let new_leg = lua.create_function(move |lua, ()| {
        let mut turn = own.turn.borrow_mut();
        push_leg(lua, &mut turn)?;
        own.draft.borrow_mut().note(lua, ("acc_new_leg", None), |out| out.extend_from_slice(b"()"));
        Ok(turn.state.legs.len())
    })?;
    globals.raw_set("acc_new_leg", new_leg)
}

/// A table without entries whose entries are made and taken by functions.
fn object(lua: &Lua, shared: &Rc<Shared>, name: &'static str, (get, set): (Get, Set)) -> mlua::Result<Table> {
    let (object, meta) = (lua.create_table()?, lua.create_table()?);
    let own = Rc::clone(shared);
    // The table itself is passed over as a truth: to hold it would be one of the larger parts of each access.
    meta.raw_set(
        "__index",
        lua.create_function(move |lua, (_, key): (bool, LuaString)| get(lua, &own, &key.as_bytes()))?,
    )?;
    let own = Rc::clone(shared);
    let assign = move |lua: &Lua, (_, key, value): (bool, LuaString, Value)| {
        let key = key.as_bytes();
        // Noted before, for the value is given away.
        own.draft.borrow_mut().note(lua, (name, None), |out| write_field(&key, &value, out));
        set(lua, &own, &key, value).inspect_err(|_| own.draft.borrow_mut().retract())
    };
    meta.raw_set("__newindex", lua.create_function(assign)?)?;
    meta.raw_set("__metatable", false)?;
    object.set_metatable(Some(meta))?;
    Ok(object)
}

fn fixed(lua: &Lua, _shared: &Shared, key: &[u8], _value: Value) -> mlua::Result<()> {
    Err(raise(lua, format!("`{}` cannot be set", key.escape_ascii())))
}

fn unknown(lua: &Lua, object: &str, key: &[u8]) -> mlua::Error {
    raise(lua, format!("`{object}.{}`: no such field", key.escape_ascii()))
}

fn request(lua: &Lua, shared: &Shared, key: &[u8]) -> mlua::Result<Value> {
    let turn = shared.turn.borrow();
    let Some(view) = &turn.view else { return Ok(Value::Nil) };
    let message = &*view.message;
    let of = |octets: Option<&[u8]>| text_of(lua, octets);
    let listener = shared.world.listeners.get(usize::from(view.peer.listener.0)).map(|(_, own)| own);
    match key {
        b"method" => of(Some(message.method_text())),
        b"uri" => of(Some(turn.uri())),
        b"user" => of(Uri::parse(turn.uri()).and_then(|uri| uri.user)),
        b"host" => of(Uri::parse(turn.uri()).map(|uri| uri.host)),
        b"port" => {
            Ok(Uri::parse(turn.uri()).and_then(|uri| uri.port).map_or(Value::Nil, |port| Value::Integer(port.into())))
        }
        b"original_uri" => of(Some(message.request_uri())),
        b"from_uri" => of(party(message, Name::From).map(|party| party.uri)),
        b"from_user" => of(party(message, Name::From).and_then(|party| party.parsed_uri()?.user)),
        b"from_host" => of(party(message, Name::From).and_then(|party| Some(party.parsed_uri()?.host))),
        b"from_tag" => of(some(message.from_tag())),
        b"to_uri" => of(party(message, Name::To).map(|party| party.uri)),
        b"to_user" => of(party(message, Name::To).and_then(|party| party.parsed_uri()?.user)),
        b"to_host" => of(party(message, Name::To).and_then(|party| Some(party.parsed_uri()?.host))),
        b"to_tag" => of(some(message.to_tag())),
        b"call_id" => of(Some(message.call_id())),
        b"cseq" => Ok(Value::Integer(message.cseq().0.into())),
        b"src_ip" => of(Some(view.peer.addr.ip().to_canonical().to_string().as_bytes())),
        b"src_port" => Ok(Value::Integer(view.peer.addr.port().into())),
        b"dst_ip" => of(listener.map(|own| own.local.ip().to_string()).as_deref().map(str::as_bytes)),
        b"dst_port" => Ok(listener.map_or(Value::Nil, |own| Value::Integer(own.local.port().into()))),
        b"transport" => {
            of(listener.map(|own| own.transport.via_token().to_ascii_lowercase()).as_deref().map(str::as_bytes))
        }
        b"socket" => of(shared.world.listeners.get(usize::from(view.peer.listener.0)).map(|(name, _)| name.as_bytes())),
        b"is_initial" => Ok(Value::Boolean(!view.in_dialog)),
        b"has_totag" => Ok(Value::Boolean(!message.to_tag().is_empty())),
        b"is_from_callee" => Ok(Value::Boolean(view.is_upstream())),
        b"user_agent" => of(message.header(Name::UserAgent)),
        b"contact" => of(message.header(Name::Contact)),
        b"content_type" => of(message.header(Name::ContentType)),
        b"max_forwards" => of(message.header(Name::MaxForwards)),
        b"body" => of(some(message.body())),
        b"hdr" => header_of(lua, false),
        _ => Err(unknown(lua, "req", key)),
    }
}

fn some(octets: &[u8]) -> Option<&[u8]> {
    (!octets.is_empty()).then_some(octets)
}

fn party(message: &Message, name: Name) -> Option<NameAddr<'_>> {
    message.header(name).and_then(NameAddr::parse)
}

/// The function that reads header lines: made once for each object.
fn header_of(lua: &Lua, is_reply: bool) -> mlua::Result<Value> {
    lua.named_registry_value(if is_reply { "reply.hdr" } else { "req.hdr" })
}

/// Makes the functions that read header lines.
pub(super) fn install_headers(lua: &Lua, shared: &Rc<Shared>) -> mlua::Result<()> {
    for is_reply in [false, true] {
        let own = Rc::clone(shared);
        let read = move |lua: &Lua, (name, index): (LuaString, Option<i64>)| {
            let turn = own.turn.borrow();
            let message = if is_reply {
                turn.reply.as_ref().and_then(|reply| reply.message.as_ref())
            } else {
                turn.view.as_ref().map(|view| &*view.message)
            };
            let name = name.as_bytes();
            let Some(message) = message else { return Ok(Value::Nil) };
            let mut values = message.headers_named(&name);
            let value = match index.unwrap_or(0) {
                place @ 0.. => values.nth(usize::try_from(place).unwrap_or(usize::MAX)),
                back => {
                    let all: Vec<&[u8]> = values.collect();
                    let back = usize::try_from(back.unsigned_abs()).unwrap_or(usize::MAX);
                    all.len().checked_sub(back).map(|place| all[place])
                }
            };
            text_of(lua, value)
        };
        lua.set_named_registry_value(if is_reply { "reply.hdr" } else { "req.hdr" }, lua.create_function(read)?)?;
    }
    Ok(())
}

/// Text of a value that is assigned; `None`: nil.
fn assigned(lua: &Lua, key: &[u8], value: Value) -> mlua::Result<Option<LuaString>> {
    match value {
        Value::Nil => Ok(None),
        value @ (Value::String(_) | Value::Integer(_) | Value::Number(_)) => lua.coerce_string(value),
        other => {
            let kind = other.type_name();
            Err(raise(lua, format!("`{}` is text or a number, not a {kind}", key.escape_ascii())))
        }
    }
}

fn set_request(lua: &Lua, shared: &Shared, key: &[u8], value: Value) -> mlua::Result<()> {
    let mut turn = shared.turn.borrow_mut();
    if !Places::REQUEST.or(Places::FAILURE).or(Places::BRANCH).has(turn.place) {
        let (here, key) = (turn.place.names(), key.escape_ascii());
        return Err(raise(lua, format!("`req.{key}` cannot be set in {here}")));
    }
    let text = assigned(lua, key, value)?;
    let Some(text) = text else { return Err(raise(lua, format!("`req.{}` cannot be nil", key.escape_ascii()))) };
    let text = text.as_bytes();
    if text.len() > URI_BYTES_MAX {
        return Err(raise(lua, format!("`req.{}`: more than {URI_BYTES_MAX} octets", key.escape_ascii())));
    }
    let made: Bytes = match key {
        b"uri" => Bytes::copy_from_slice(&text),
        b"user" | b"host" => {
            let Some(uri) = Uri::parse(turn.uri()) else { return Err(unknown(lua, "req", key)) };
            let user = if key == b"user" { Some(&*text) } else { uri.user };
            let mut made = [uri.scheme_text, b":"].concat();
            if let Some(user) = user.filter(|user| !user.is_empty()) {
                made.extend_from_slice(user);
                made.push(b'@');
            }
            made.extend_from_slice(if key == b"host" { &text } else { uri.host });
            if let Some(port) = uri.port {
                made.extend_from_slice(format!(":{port}").as_bytes());
            }
            if !uri.params.is_empty() {
                made.push(b';');
                made.extend_from_slice(uri.params);
            }
            made.into()
        }
        _ => return Err(raise(lua, format!("`req.{}` cannot be set", key.escape_ascii()))),
    };
    if Uri::parse(&made).is_none() {
        return Err(raise(lua, format!("`{}` is no URI", made.escape_ascii())));
    }
    turn.state.uri = Some(made);
    Ok(())
}

fn reply(lua: &Lua, shared: &Shared, key: &[u8]) -> mlua::Result<Value> {
    let turn = shared.turn.borrow();
    let Some(reply) = &turn.reply else { return Ok(Value::Nil) };
    match key {
        b"code" => Ok(Value::Integer(reply.code.into())),
        b"reason" => text_of(lua, Some(&reply.reason)),
        b"is_local" => Ok(Value::Boolean(reply.message.is_none())),
        b"to_tag" => text_of(lua, reply.message.as_ref().and_then(|message| some(message.to_tag()))),
        b"contact" => text_of(lua, reply.message.as_ref().and_then(|message| message.header(Name::Contact))),
        b"body" => text_of(lua, reply.message.as_ref().and_then(|message| some(message.body()))),
        b"hdr" => header_of(lua, true),
        _ => Err(unknown(lua, "reply", key)),
    }
}

/// Takes room for what is set, in place of what was there.
fn hold(lua: &Lua, held: &mut usize, before: usize, after: usize) -> mlua::Result<()> {
    let needed = held.saturating_sub(before) + after;
    if needed > HELD_BYTES_MAX {
        return Err(raise(lua, format!("more than {HELD_BYTES_MAX} octets of values, fields and legs of one request")));
    }
    *held = needed;
    Ok(())
}

fn held_by(name: &str, value: &record::Value) -> usize {
    let text = if let record::Value::Text(text) = value { text.len() } else { 0 };
    HELD_EACH + name.len() + text
}

/// Whether something can be set for the records of the request now.
fn may_set(lua: &Lua, turn: &Turn) -> mlua::Result<()> {
    if Places::ANY.has(turn.place) {
        return Ok(());
    }
    Err(raise(lua, format!("nothing can be set from {}: there is no request", turn.place.names())))
}

/// The name of a value or field.
fn name_of<'a>(lua: &Lua, key: &'a [u8]) -> mlua::Result<&'a str> {
    std::str::from_utf8(key).map_err(|_| raise(lua, format!("`{}`: a name is UTF-8", key.escape_ascii())))
}

fn avp(lua: &Lua, shared: &Shared, key: &[u8]) -> mlua::Result<Value> {
    let name = name_of(lua, key)?;
    let turn = shared.turn.borrow();
    let newest = turn.state.avps.values(name).next();
    text_of(lua, newest)
}

fn set_avp(lua: &Lua, shared: &Shared, key: &[u8], value: Value) -> mlua::Result<()> {
    let name = name_of(lua, key)?;
    let text = assigned(lua, key, value)?;
    let mut turn = shared.turn.borrow_mut();
    may_set(lua, &turn)?;
    let State { avps, held, .. } = &mut *turn.state;
    match text {
        None => {
            let gone: usize = avps.values(name).map(|value| HELD_EACH + name.len() + value.len()).sum();
            *held = held.saturating_sub(gone);
            avps.remove(name);
        }
        Some(_) if avps.len() >= VALUES_MAX => {
            return Err(raise(lua, format!("more than {VALUES_MAX} values of one request")));
        }
        Some(text) => {
            let text = text.as_bytes();
            hold(lua, held, 0, HELD_EACH + name.len() + text.len())?;
            avps.add(name, &text);
        }
    }
    turn.is_changed = true;
    Ok(())
}

/// All values of a name, the newest first.
fn avps(lua: &Lua, shared: &Shared, key: &[u8]) -> mlua::Result<Value> {
    let name = name_of(lua, key)?;
    let turn = shared.turn.borrow();
    let list = lua.create_table()?;
    for (place, value) in (1..).zip(turn.state.avps.values(name)) {
        list.raw_set(place, lua.create_string(value)?)?;
    }
    Ok(Value::Table(list))
}

fn field(fields: &[(String, record::Value)], name: &str) -> record::Value {
    let found = fields.iter().find(|field| field.0 == name);
    found.map_or(record::Value::Absent, |field| field.1.clone())
}

fn put(lua: &Lua, fields: &mut record::Fields, held: &mut usize, key: &[u8], value: Value) -> mlua::Result<()> {
    let name = name_of(lua, key)?;
    let value = match value {
        Value::Integer(number) => Some(record::Value::Number(number)),
        other => assigned(lua, key, other)?.map(|text| record::Value::Text(text.as_bytes().to_vec())),
    };
    let place = fields.iter().position(|field| field.0 == name);
    if place.is_none() && value.is_some() && fields.len() >= VALUES_MAX {
        return Err(raise(lua, format!("more than {VALUES_MAX} fields")));
    }
    let before = place.map_or(0, |place| held_by(name, &fields[place].1));
    hold(lua, held, before, value.as_ref().map_or(0, |value| held_by(name, value)))?;
    match (place, value) {
        (Some(place), Some(value)) => fields[place].1 = value,
        (Some(place), None) => drop(fields.remove(place)),
        (None, None) => {}
        (None, Some(value)) => fields.push((name.to_owned(), value)),
    }
    Ok(())
}

fn extra(lua: &Lua, shared: &Shared, key: &[u8]) -> mlua::Result<Value> {
    let name = name_of(lua, key)?;
    let value = field(&shared.turn.borrow().state.fields, name);
    value_of(lua, value)
}

fn set_extra(lua: &Lua, shared: &Shared, key: &[u8], value: Value) -> mlua::Result<()> {
    let mut turn = shared.turn.borrow_mut();
    may_set(lua, &turn)?;
    let State { fields, held, .. } = &mut *turn.state;
    put(lua, fields, held, key, value)?;
    turn.is_changed = true;
    Ok(())
}

fn push_leg(lua: &Lua, turn: &mut Turn) -> mlua::Result<()> {
    may_set(lua, turn)?;
    if turn.state.legs.len() >= LEGS_MAX {
        return Err(raise(lua, format!("more than {LEGS_MAX} legs")));
    }
    hold(lua, &mut turn.state.held, 0, HELD_EACH)?;
    turn.state.legs.push(record::Fields::new());
    turn.is_changed = true;
    Ok(())
}

fn leg(lua: &Lua, shared: &Shared, key: &[u8]) -> mlua::Result<Value> {
    let name = name_of(lua, key)?;
    let value = shared.turn.borrow().state.legs.last().map_or(record::Value::Absent, |leg| field(leg, name));
    value_of(lua, value)
}

/// Sets a field of the last leg; the first leg is made by it.
fn set_leg(lua: &Lua, shared: &Shared, key: &[u8], value: Value) -> mlua::Result<()> {
    let mut turn = shared.turn.borrow_mut();
    if turn.state.legs.is_empty() {
        push_leg(lua, &mut turn)?;
    }
    may_set(lua, &turn)?;
    let State { legs, held, .. } = &mut *turn.state;
    if let Some(leg) = legs.last_mut() {
        put(lua, leg, held, key, value)?;
    }
    turn.is_changed = true;
    Ok(())
}

/// `acc_legs[i]`: 0 is the first, -1 the last; `#acc_legs` is how many.
fn legs(lua: &Lua, shared: &Rc<Shared>) -> mlua::Result<Table> {
    let (object, meta) = (lua.create_table()?, lua.create_table()?);
    let own = Rc::clone(shared);
    let get = move |lua: &Lua, (_, index): (Value, i64)| {
        let count = own.turn.borrow().state.legs.len();
        let back = || count.checked_sub(usize::try_from(index.unsigned_abs()).ok()?);
        let place = if index < 0 { back() } else { usize::try_from(index).ok() };
        match place.filter(|place| *place < count) {
            Some(place) => Ok(Value::Table(one_leg(lua, &own, place)?)),
            None => Ok(Value::Nil),
        }
    };
    meta.raw_set("__index", lua.create_function(get)?)?;
    let own = Rc::clone(shared);
    meta.raw_set("__len", lua.create_function(move |_, _: Value| Ok(own.turn.borrow().state.legs.len()))?)?;
    meta.raw_set("__metatable", false)?;
    object.set_metatable(Some(meta))?;
    Ok(object)
}

fn one_leg(lua: &Lua, shared: &Rc<Shared>, place: usize) -> mlua::Result<Table> {
    let (object, meta) = (lua.create_table()?, lua.create_table()?);
    let own = Rc::clone(shared);
    let get = move |lua: &Lua, (_, key): (Value, LuaString)| {
        let key = key.as_bytes();
        let name = name_of(lua, &key)?;
        let value = own.turn.borrow().state.legs.get(place).map_or(record::Value::Absent, |leg| field(leg, name));
        value_of(lua, value)
    };
    meta.raw_set("__index", lua.create_function(get)?)?;
    let own = Rc::clone(shared);
    let set = move |lua: &Lua, (_, key, value): (Value, LuaString, Value)| {
        let mut turn = own.turn.borrow_mut();
        may_set(lua, &turn)?;
        let State { legs, held, .. } = &mut *turn.state;
        let key = key.as_bytes();
        if let Some(leg) = legs.get_mut(place) {
            own.draft.borrow_mut().note(lua, ("acc_legs", None), |out| {
                out.extend_from_slice(format!("[{place}]").as_bytes());
                write_field(&key, &value, out);
            });
            put(lua, leg, held, &key, value).inspect_err(|_| own.draft.borrow_mut().retract())?;
        }
        turn.is_changed = true;
        Ok(())
    };
    meta.raw_set("__newindex", lua.create_function(set)?)?;
    meta.raw_set("__metatable", false)?;
    object.set_metatable(Some(meta))?;
    Ok(object)
}

/// The call that has ended, in `event_route["dialog:end"]`.
fn call(lua: &Lua, shared: &Shared, key: &[u8]) -> mlua::Result<Value> {
    let turn = shared.turn.borrow();
    let Some(ended) = &turn.ended else { return Ok(Value::Nil) };
    let name = name_of(lua, key)?;
    match ended.texts.get(name) {
        Some(value) => value_of(lua, value.clone()),
        None => value_of(lua, field(&ended.fields, name)),
    }
}
