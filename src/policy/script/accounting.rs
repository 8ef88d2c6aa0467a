//! What is recorded: marks, flags, records by hand.

use mlua::{Lua, LuaString, Value};

use super::api::{Arguments, Call, Shared};
use super::comment;
use super::turn::{FlagMeaning, Places, State};
use super::world::World;
use crate::ids::SinkMask;
use crate::policy::{Manual, Marks};

const MARKING: Places = Places::REQUEST.or(Places::FAILURE).or(Places::BRANCH).or(Places::LOCAL);
/// From replies too, for the record is made of the request.
const BY_HAND: Places = MARKING.or(Places::REPLY);

/// Names, and where they may be called.
pub(super) const FUNCTIONS: &[(&str, Places, Call)] = &[
    ("do_accounting", MARKING, do_accounting),
    ("drop_accounting", MARKING, drop_accounting),
    ("acc_log_request", BY_HAND, acc_log_request),
    ("acc_db_request", BY_HAND, acc_db_request),
    ("acc_rad_request", BY_HAND, acc_aaa_request),
    ("acc_aaa_request", BY_HAND, acc_aaa_request),
    ("acc_diam_request", BY_HAND, acc_diam_request),
    ("acc_evi_request", BY_HAND, acc_evi_request),
    ("acc_request", BY_HAND, acc_request),
];

/// Records by hand that one handler asks for at most.
const RECORDS_MAX: usize = 64;
/// Longest name of a table, in octets, as databases have it.
const TABLE_BYTES_MAX: usize = 64;

/// The marks that a request has: those of `do_accounting`, and those of its flags.
pub(super) fn marks(world: &World, shared: &Shared, state: &State) -> Marks {
    let mut marks = state.marks;
    let mut failed = SinkMask::NONE;
    for (name, meaning) in &world.flags {
        let Some(bit) = shared.flag(name.as_bytes()).filter(|bit| state.flags & bit != 0) else { continue };
        let _ = bit;
        match meaning {
            FlagMeaning::Accounting(sinks) => marks.accounting = marks.accounting.or(*sinks),
            FlagMeaning::Missed(sinks) => marks.missed = marks.missed.or(*sinks),
            FlagMeaning::Failed => failed = SinkMask(u64::MAX),
        }
    }
    marks.failed = marks.failed.or(failed.and(marks.accounting));
    marks
}

/// An attempt has made its Missed record: who wants one of the next attempt says so again.
pub(super) fn reset_missed(world: &World, shared: &Shared, state: &mut State) {
    state.marks.missed = SinkMask::NONE;
    for (name, meaning) in &world.flags {
        if let FlagMeaning::Missed(_) = meaning {
            state.flags &= !shared.flag(name.as_bytes()).unwrap_or(0);
        }
    }
}

/// Words joined by `|`, blanks around them dropped.
fn words(text: &[u8]) -> impl Iterator<Item = String> {
    let words = text.split(|octet| *octet == b'|').map(<[u8]>::trim_ascii);
    words.map(|word| String::from_utf8_lossy(word).into_owned())
}

/// What `types` and `flags` mean, read once for each pair.
fn meant(shared: &Shared, arguments: &Arguments<'_>, is_doing: bool) -> mlua::Result<Marks> {
    let (types, flags) = (arguments.text(0)?, arguments.maybe_text(1)?);
    let (types, flags) = (types.as_bytes(), flags.as_ref().map(LuaString::as_bytes));
    let flags: Option<&[u8]> = flags.as_deref();
    let is_known =
        |known: &&Known| known.is_doing == is_doing && *known.types == *types && known.flags.as_deref() == flags;
    if let Some(known) = shared.marks.borrow().iter().find(is_known) {
        return Ok(known.marks);
    }
    let (mut missed, mut failed, mut cdr) = (false, false, false);
    for flag in words(flags.unwrap_or_default()).filter(|flag| !flag.is_empty()) {
        match &*flag.to_ascii_lowercase() {
            "missed" => missed = true,
            "failed" => failed = true,
            "cdr" => cdr = true,
            _ => return Err(arguments.wrong(format_args!("`{flag}`: no such flag; there are cdr, missed, failed"))),
        }
    }
    let mut marks = Marks::NONE;
    let sinks = &shared.world.sinks;
    // What is dropped is dropped whole where no flag says which part.
    let is_whole = flags.is_none();
    for word in words(&types) {
        let Some(all) = sinks.of(&word) else {
            let known = sinks.words();
            return Err(arguments.wrong(format_args!("`{word}`: no such type or sink; there are {known}")));
        };
        let accounting = match (is_doing, is_whole, cdr) {
            (true, _, cdr) => sinks.of_mode(all, cdr),
            (false, true, _) => all,
            (false, false, true) => sinks.of_mode(all, true),
            (false, false, false) => SinkMask::NONE,
        };
        let whole = !is_doing && is_whole;
        // Missed calls are for those that record what happens: whole calls have records of their own for that.
        let part = |is_meant: bool, sinks: SinkMask| match (is_doing, is_meant || whole) {
            (_, false) => SinkMask::NONE,
            (true, true) => sinks,
            (false, true) => all,
        };
        let (missed, failed) = (part(missed, sinks.of_mode(all, false)), part(failed, accounting));
        marks = marks.or(Marks { accounting, missed, failed });
    }
    let mut known = shared.marks.borrow_mut();
    if known.len() < MARKS_MAX && types.len() + flags.map_or(0, <[u8]>::len) <= PAIR_BYTES_MAX {
        known.push(Known { is_doing, types: (*types).into(), flags: flags.map(Into::into), marks });
    }
    Ok(marks)
}

/// What types and flags mean, as they were written once.
#[derive(Debug)]
pub(super) struct Known {
    is_doing: bool,
    types: Box<[u8]>,
    flags: Option<Box<[u8]>>,
    marks: Marks,
}

/// Pairs of types and flags that are remembered: a script has few, and they are looked through.
const MARKS_MAX: usize = 64;
/// Longest pair that is remembered, in octets.
const PAIR_BYTES_MAX: usize = 256;
/// Longest name of a flag, in octets.
const FLAG_BYTES_MAX: usize = 255;

fn do_accounting(_lua: &Lua, shared: &Shared, arguments: &Arguments<'_>) -> mlua::Result<Value> {
    let marks = meant(shared, arguments, true)?;
    let table = table(arguments, 2)?;
    let mut turn = shared.turn.borrow_mut();
    turn.state.marks = turn.state.marks.or(marks);
    if table.is_some() {
        turn.state.table = table;
    }
    turn.is_changed = true;
    Ok(Value::Boolean(true))
}

fn drop_accounting(_lua: &Lua, shared: &Shared, arguments: &Arguments<'_>) -> mlua::Result<Value> {
    let gone = if arguments.len() == 0 {
        let all = SinkMask(u64::MAX);
        Marks { accounting: all, missed: all, failed: all }
    } else {
        meant(shared, arguments, false)?
    };
    let mut turn = shared.turn.borrow_mut();
    // Flags that are set count as marks from here on, so that a part of what they mean can go.
    turn.state.marks = marks(&shared.world, shared, &turn.state);
    for (name, _) in &shared.world.flags {
        turn.state.flags &= !shared.flag(name.as_bytes()).unwrap_or(0);
    }
    let without = |mask: SinkMask, gone: SinkMask| SinkMask(mask.0 & !gone.0);
    let before = turn.state.marks;
    turn.state.marks = Marks {
        accounting: without(before.accounting, gone.accounting),
        missed: without(before.missed, gone.missed),
        failed: without(before.failed, gone.failed),
    };
    turn.is_changed = true;
    Ok(Value::Boolean(true))
}

/// The name of a table, if one is given.
fn table(arguments: &Arguments<'_>, place: usize) -> mlua::Result<Option<Box<str>>> {
    let Some(text) = arguments.maybe_text(place)? else { return Ok(None) };
    let text = text.as_bytes();
    let is_name = !text.is_empty()
        && text.len() <= TABLE_BYTES_MAX
        && text.iter().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'_' | b'.' | b'-' | b'$'));
    match std::str::from_utf8(&text) {
        Ok(name) if is_name => Ok(Some(name.into())),
        _ => {
            let shown = text.escape_ascii();
            Err(arguments.wrong(format_args!(
                "`{shown}` is no name of a table: letters, digits, `_`, `.`, `-` and `$`, at most {TABLE_BYTES_MAX}"
            )))
        }
    }
}

/// A record by hand for the sinks of these words. True when it is made: it is on disk before anything that this handler
/// decides leaves. False when there is no such sink.
fn by_hand(shared: &Shared, arguments: &Arguments<'_>, words: &[&str], has_table: bool) -> mlua::Result<Value> {
    let comment = arguments.text(0)?;
    let comment = comment.as_bytes();
    let table = if has_table { table(arguments, 1)? } else { None };
    let comment = if comment.contains(&b'$') {
        let value = shared.evaluate(&comment).map_err(|what| arguments.wrong(what))?;
        value.text().map(std::borrow::Cow::into_owned).unwrap_or_default()
    } else {
        comment.to_vec()
    };
    let (code, reason) = comment::read(&comment);
    let known = &shared.world.sinks;
    let of_kind = words.iter().filter_map(|word| known.of(word)).map(|sinks| known.of_mode(sinks, false));
    let sinks = of_kind.fold(SinkMask::NONE, SinkMask::or);
    if sinks.is_empty() {
        return Ok(Value::Boolean(false));
    }
    let mut turn = shared.turn.borrow_mut();
    if turn.records.len() >= RECORDS_MAX {
        return Err(arguments.wrong(format_args!("more than {RECORDS_MAX} records by hand of one handler")));
    }
    turn.records.push(Manual { sinks, code, reason, fields: Vec::new(), table: table.map(String::from) });
    Ok(Value::Boolean(true))
}

fn acc_log_request(_lua: &Lua, shared: &Shared, arguments: &Arguments<'_>) -> mlua::Result<Value> {
    by_hand(shared, arguments, &["log"], false)
}

fn acc_db_request(_lua: &Lua, shared: &Shared, arguments: &Arguments<'_>) -> mlua::Result<Value> {
    by_hand(shared, arguments, &["db"], true)
}

fn acc_aaa_request(_lua: &Lua, shared: &Shared, arguments: &Arguments<'_>) -> mlua::Result<Value> {
    by_hand(shared, arguments, &["aaa"], false)
}

fn acc_diam_request(_lua: &Lua, shared: &Shared, arguments: &Arguments<'_>) -> mlua::Result<Value> {
    by_hand(shared, arguments, &["diam"], false)
}

fn acc_evi_request(_lua: &Lua, shared: &Shared, arguments: &Arguments<'_>) -> mlua::Result<Value> {
    by_hand(shared, arguments, &["evi"], false)
}

fn acc_request(_lua: &Lua, shared: &Shared, arguments: &Arguments<'_>) -> mlua::Result<Value> {
    by_hand(shared, arguments, &["log", "db"], true)
}

fn bit(shared: &Shared, arguments: &Arguments<'_>) -> mlua::Result<u64> {
    let name = arguments.text(0)?;
    if name.as_bytes().len() > FLAG_BYTES_MAX {
        return Err(arguments.wrong(format_args!("a name of more than {FLAG_BYTES_MAX} octets")));
    }
    let most = super::turn::FLAGS_MAX;
    shared.flag(&name.as_bytes()).ok_or_else(|| arguments.wrong(format_args!("more than {most} different flags")))
}

pub(super) fn setflag(_lua: &Lua, shared: &Shared, arguments: &Arguments<'_>) -> mlua::Result<Value> {
    let bit = bit(shared, arguments)?;
    let mut turn = shared.turn.borrow_mut();
    turn.state.flags |= bit;
    turn.is_changed = true;
    Ok(Value::Boolean(true))
}

pub(super) fn resetflag(_lua: &Lua, shared: &Shared, arguments: &Arguments<'_>) -> mlua::Result<Value> {
    let bit = bit(shared, arguments)?;
    let mut turn = shared.turn.borrow_mut();
    turn.state.flags &= !bit;
    turn.is_changed = true;
    Ok(Value::Boolean(true))
}

pub(super) fn isflagset(_lua: &Lua, shared: &Shared, arguments: &Arguments<'_>) -> mlua::Result<Value> {
    let bit = bit(shared, arguments)?;
    Ok(Value::Boolean(shared.turn.borrow().state.flags & bit != 0))
}
