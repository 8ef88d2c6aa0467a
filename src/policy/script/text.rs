//! The functions of Lua's string library that can take long, under the meter.

use std::cell::Cell;
use std::rc::Rc;

use mlua::{Function, IntoLua, Lua, LuaString, MultiValue, Table, Value};

use super::meter::{Meter, TOO_MANY_WAIT};
use super::pattern::{Capture, Matcher, PatternError, UNFINISHED};
use super::vm::raise;

/// Longest string that a function of this library makes, in octets: what is longer is no text of a message.
pub(super) const STRING_BYTES_MAX: usize = 1 << 20;

/// Puts them over those of the library.
pub(super) fn install(lua: &Lua, meter: &Rc<Meter>) -> mlua::Result<()> {
    let string: Table = lua.globals().raw_get("string")?;
    let with = |function: fn(&Lua, &Meter, MultiValue) -> mlua::Result<MultiValue>| {
        let meter = Rc::clone(meter);
        lua.create_function(move |lua, arguments| function(lua, &meter, arguments))
    };
    string.raw_set("find", with(find)?)?;
    string.raw_set("match", with(matched)?)?;
    string.raw_set("gsub", with(gsub)?)?;
    string.raw_set("rep", with(rep)?)?;
    let meter = Rc::clone(meter);
    string.raw_set("gmatch", lua.create_function(move |lua, arguments| gmatch(lua, &meter, arguments))?)?;
    string.raw_set("dump", Value::Nil)
}

/// The argument at this place as text.
fn text(lua: &Lua, arguments: &MultiValue, place: usize, function: &str) -> mlua::Result<LuaString> {
    let value = arguments.get(place).cloned().unwrap_or(Value::Nil);
    let kind = value.type_name();
    match lua.coerce_string(value)? {
        Some(text) => Ok(text),
        None => Err(raise(lua, format!("bad argument #{} to '{function}' (string expected, got {kind})", place + 1))),
    }
}

/// The argument at this place as a whole number, if it is there.
fn number(lua: &Lua, arguments: &MultiValue, place: usize, function: &str) -> mlua::Result<Option<i64>> {
    match arguments.get(place) {
        None | Some(Value::Nil) => Ok(None),
        Some(value) => match lua.coerce_integer(value.clone())? {
            Some(number) => Ok(Some(number)),
            None => {
                let kind = value.type_name();
                Err(raise(lua, format!("bad argument #{} to '{function}' (integer expected, got {kind})", place + 1)))
            }
        },
    }
}

/// Where to begin, counted from 0; `None` when that is behind the end.
fn begin(init: Option<i64>, length: usize) -> Option<usize> {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let place = match init.unwrap_or(1) {
        init @ 1.. => init - 1,
        0 => 0,
        back => (length + back).max(0),
    };
    usize::try_from(place).ok().filter(|_| place <= length)
}

fn why(lua: &Lua) -> impl Fn(PatternError) -> mlua::Error + '_ {
    |error| match error {
        PatternError::Malformed(what) => raise(lua, what.to_owned()),
        PatternError::Limit(limit) => mlua::Error::external(limit),
    }
}

fn value_of(lua: &Lua, subject: &[u8], capture: Capture) -> mlua::Result<Value> {
    match capture {
        Capture::Text { start, end } => lua.create_string(&subject[start..end])?.into_lua(lua),
        Capture::Position { start } => Ok(Value::Integer(start as i64 + 1)),
        Capture::Open { .. } => Err(raise(lua, UNFINISHED.to_owned())),
    }
}

/// Where a pattern without its anchor begins, and whether it has one.
fn anchor(pattern: &[u8]) -> (usize, bool) {
    let is_anchored = pattern.first() == Some(&b'^');
    (usize::from(is_anchored), is_anchored)
}

/// The first match from `start` on: where it begins, where it ends, what its parentheses capture.
fn first(
    meter: &Meter,
    subject: &[u8],
    pattern: &[u8],
    start: usize,
) -> Result<Option<(usize, usize, Vec<Capture>)>, PatternError> {
    let (body, is_anchored) = anchor(pattern);
    let mut matcher = Matcher::new(subject, pattern, meter);
    for at in start..=subject.len() {
        if let Some(end) = matcher.at(at, body)? {
            return Ok(Some((at, end, matcher.captures()?)));
        }
        if is_anchored {
            break;
        }
    }
    Ok(None)
}

/// A pattern that captures nothing gives the whole match.
fn or_whole(captures: Vec<Capture>, start: usize, end: usize) -> Vec<Capture> {
    if captures.is_empty() { vec![Capture::Text { start, end }] } else { captures }
}

fn find(lua: &Lua, meter: &Meter, arguments: MultiValue) -> mlua::Result<MultiValue> {
    let (subject, pattern) = (text(lua, &arguments, 0, "find")?, text(lua, &arguments, 1, "find")?);
    let (subject, pattern) = (subject.as_bytes(), pattern.as_bytes());
    let Some(start) = begin(number(lua, &arguments, 2, "find")?, subject.len()) else { return nil() };
    let is_plain = arguments.get(3).is_some_and(|value| !matches!(value, Value::Nil | Value::Boolean(false)));
    let is_literal = is_plain || !pattern.iter().any(|octet| b"^$*+?.([%-".contains(octet));
    if is_literal {
        meter.spend(1 + (subject.len() - start) as u64 / 16).map_err(mlua::Error::external)?;
        let Some(at) = memchr::memmem::find(&subject[start..], &pattern) else { return nil() };
        let begin = (start + at) as i64;
        return Ok([Value::Integer(begin + 1), Value::Integer(begin + pattern.len() as i64)].into_iter().collect());
    }
    let Some((at, end, captures)) = first(meter, &subject, &pattern, start).map_err(why(lua))? else { return nil() };
    let mut values = vec![Value::Integer(at as i64 + 1), Value::Integer(end as i64)];
    for capture in captures {
        values.push(value_of(lua, &subject, capture)?);
    }
    Ok(values.into_iter().collect())
}

fn nil() -> mlua::Result<MultiValue> {
    Ok([Value::Nil].into_iter().collect())
}

fn matched(lua: &Lua, meter: &Meter, arguments: MultiValue) -> mlua::Result<MultiValue> {
    let (subject, pattern) = (text(lua, &arguments, 0, "match")?, text(lua, &arguments, 1, "match")?);
    let (subject, pattern) = (subject.as_bytes(), pattern.as_bytes());
    let Some(start) = begin(number(lua, &arguments, 2, "match")?, subject.len()) else { return nil() };
    let Some((at, end, captures)) = first(meter, &subject, &pattern, start).map_err(why(lua))? else { return nil() };
    or_whole(captures, at, end).into_iter().map(|capture| value_of(lua, &subject, capture)).collect()
}

fn gmatch(lua: &Lua, meter: &Rc<Meter>, arguments: MultiValue) -> mlua::Result<Function> {
    let (subject, pattern) = (text(lua, &arguments, 0, "gmatch")?, text(lua, &arguments, 1, "gmatch")?);
    let start = begin(number(lua, &arguments, 2, "gmatch")?, subject.as_bytes().len());
    let (at, last_end) = (Cell::new(start), Cell::new(None));
    let meter = Rc::clone(meter);
    lua.create_function(move |lua, ()| {
        let (subject, pattern) = (subject.as_bytes(), pattern.as_bytes());
        let mut matcher = Matcher::new(&subject, &pattern, &meter);
        let Some(start) = at.get() else { return nil() };
        for place in start..=subject.len() {
            let Some(end) = matcher.at(place, 0).map_err(why(lua))? else { continue };
            if last_end.get() == Some(end) {
                continue;
            }
            at.set(Some(end));
            last_end.set(Some(end));
            let captures = or_whole(matcher.captures().map_err(why(lua))?, place, end);
            return captures.into_iter().map(|capture| value_of(lua, &subject, capture)).collect();
        }
        at.set(None);
        nil()
    })
}

fn gsub(lua: &Lua, meter: &Meter, arguments: MultiValue) -> mlua::Result<MultiValue> {
    let (subject, pattern) = (text(lua, &arguments, 0, "gsub")?, text(lua, &arguments, 1, "gsub")?);
    let (subject, pattern) = (subject.as_bytes(), pattern.as_bytes());
    let replacement = arguments.get(2).cloned().unwrap_or(Value::Nil);
    if !matches!(
        replacement,
        Value::String(_) | Value::Integer(_) | Value::Number(_) | Value::Table(_) | Value::Function(_)
    ) {
        let kind = replacement.type_name();
        let what = format!("bad argument #3 to 'gsub' (string/function/table expected, got {kind})");
        return Err(raise(lua, what));
    }
    let most = number(lua, &arguments, 3, "gsub")?.map_or(u64::MAX, |most| u64::try_from(most).unwrap_or(0));
    let (body, is_anchored) = anchor(&pattern);
    let mut matcher = Matcher::new(&subject, &pattern, meter);
    let (mut out, mut at, mut count, mut last_end) = (Vec::new(), 0, 0, None);
    while count < most {
        let end = matcher.at(at, body).map_err(why(lua))?.filter(|end| last_end != Some(*end));
        if let Some(end) = end {
            count += 1;
            // A capture that is never asked for may be unfinished.
            let captures = or_whole(matcher.parts().to_vec(), at, end);
            replace(lua, meter, &replacement, (&subject, at, end), &captures, &mut out)?;
            last_end = Some(end);
            at = end;
        } else if let Some(octet) = subject.get(at) {
            out.push(*octet);
            at += 1;
        } else {
            break;
        }
        if is_anchored {
            break;
        }
    }
    out.extend_from_slice(subject.get(at..).unwrap_or_default());
    let text = lua.create_string(out)?.into_lua(lua)?;
    Ok([text, Value::Integer(i64::try_from(count).unwrap_or(i64::MAX))].into_iter().collect())
}

/// Appends what stands for one match.
fn replace(
    lua: &Lua,
    meter: &Meter,
    by: &Value,
    (subject, start, end): (&[u8], usize, usize),
    captures: &[Capture],
    out: &mut Vec<u8>,
) -> mlua::Result<()> {
    let whole = &subject[start..end];
    let before = out.len();
    let Some(_waiting) = meter.wait() else { return Err(raise(lua, TOO_MANY_WAIT.to_owned())) };
    let made = match by {
        Value::Table(table) => table.get::<Value>(value_of(lua, subject, captures[0])?)?,
        Value::Function(function) => {
            let values: mlua::Result<MultiValue> =
                captures.iter().map(|capture| value_of(lua, subject, *capture)).collect();
            function.call::<Value>(values?)?
        }
        plain => {
            let Some(text) = lua.coerce_string(plain.clone())? else { return Ok(()) };
            expand(lua, &text.as_bytes(), whole, subject, captures, out)?;
            return grown(lua, meter, before, out);
        }
    };
    match made {
        Value::Nil | Value::Boolean(false) => out.extend_from_slice(whole),
        other => {
            let kind = other.type_name();
            match lua.coerce_string(other)? {
                Some(text) => out.extend_from_slice(&text.as_bytes()),
                None => return Err(raise(lua, format!("invalid replacement value (a {kind})"))),
            }
        }
    }
    grown(lua, meter, before, out)
}

/// A replacement string with `%0` to `%9` and `%%`.
fn expand(
    lua: &Lua,
    text: &[u8],
    whole: &[u8],
    subject: &[u8],
    captures: &[Capture],
    out: &mut Vec<u8>,
) -> mlua::Result<()> {
    let mut octets = text.iter();
    while let Some(octet) = octets.next() {
        if out.len() > STRING_BYTES_MAX {
            return Err(too_long(lua));
        }
        if *octet != b'%' {
            out.push(*octet);
            continue;
        }
        match octets.next() {
            Some(b'%') => out.push(b'%'),
            Some(b'0') => out.extend_from_slice(whole),
            Some(digit @ b'1'..=b'9') => match captures.get(usize::from(digit - b'1')) {
                Some(Capture::Text { start, end }) => out.extend_from_slice(&subject[*start..*end]),
                Some(Capture::Open { .. }) => return Err(raise(lua, UNFINISHED.to_owned())),
                Some(Capture::Position { start }) => {
                    out.extend_from_slice((start + 1).to_string().as_bytes());
                }
                None => {
                    let what = format!("invalid capture index %{}", char::from(*digit));
                    return Err(raise(lua, what));
                }
            },
            _ => return Err(raise(lua, "invalid use of '%' in replacement string".to_owned())),
        }
    }
    Ok(())
}

/// Counts what a result has grown by, and ends it where it gets too long.
fn grown(lua: &Lua, meter: &Meter, before: usize, out: &[u8]) -> mlua::Result<()> {
    meter.spend(1 + (out.len() - before) as u64 / 16).map_err(mlua::Error::external)?;
    if out.len() > STRING_BYTES_MAX { Err(too_long(lua)) } else { Ok(()) }
}

fn too_long(lua: &Lua) -> mlua::Error {
    raise(lua, format!("resulting string too large: the most is {STRING_BYTES_MAX} octets"))
}

fn rep(lua: &Lua, meter: &Meter, arguments: MultiValue) -> mlua::Result<MultiValue> {
    let part = text(lua, &arguments, 0, "rep")?;
    let Some(times) = number(lua, &arguments, 1, "rep")? else {
        return Err(raise(lua, "bad argument #2 to 'rep' (integer expected, got no value)".to_owned()));
    };
    let has_between = arguments.get(2).is_some_and(|value| !value.is_nil());
    let between = if has_between { Some(text(lua, &arguments, 2, "rep")?) } else { None };
    let (part, between) = (part.as_bytes(), between.map(|text| text.as_bytes().to_vec()).unwrap_or_default());
    let times = usize::try_from(times).unwrap_or(0);
    let length = (part.len() + between.len()).saturating_mul(times);
    if length > STRING_BYTES_MAX {
        return Err(too_long(lua));
    }
    meter.spend(1 + length as u64 / 16).map_err(mlua::Error::external)?;
    let mut out = Vec::with_capacity(length);
    if length > 0 {
        for number in 0..times {
            if number > 0 {
                out.extend_from_slice(&between);
            }
            out.extend_from_slice(&part);
        }
    }
    Ok([lua.create_string(out)?.into_lua(lua)?].into_iter().collect())
}
