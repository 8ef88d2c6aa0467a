//! What a script has defined, found once when it is loaded.

use std::collections::HashMap;

use mlua::{Function, Table, Value};

use crate::sip::dialog::Word;

/// The tables that a script puts its handlers into.
pub(super) const TABLES: [&str; 4] = ["branch_route", "reply_route", "failure_route", "event_route"];

/// The table that a script puts the functions into that routes name. A script may have a global of this name for itself:
/// there is none to be named then.
pub(super) const NAMED: &str = "route";

/// What a script has defined.
#[derive(Debug)]
pub(super) struct Handlers {
    pub(super) request: Option<Function>,
    /// Functions that routes name.
    pub(super) named: HashMap<Box<str>, Function>,
    /// Their names, as later requests of a dialog bring them back.
    pub(super) words: HashMap<Word, Box<str>>,
    pub(super) local: Option<Function>,
    pub(super) end: Option<Function>,
    pub(super) branch: Table,
    pub(super) reply: Table,
    pub(super) failure: Table,
    /// The objects handlers are called with.
    pub(super) req: Value,
    pub(super) reply_object: Value,
    pub(super) call: Value,
}

impl Handlers {
    pub(super) fn of(globals: &Table) -> Result<Self, String> {
        let function = |table: &Table, name: &str, shown: &str| match table.raw_get::<Value>(name) {
            Ok(Value::Nil) => Ok(None),
            Ok(Value::Function(function)) => Ok(Some(function)),
            Ok(other) => Err(format!("`{shown}` is a {}, not a function", other.type_name())),
            Err(error) => Err(error.to_string()),
        };
        let table = |name: &str| match globals.raw_get::<Value>(name) {
            Ok(Value::Table(table)) => Ok(table),
            _ => Err(format!("`{name}` is a table of handlers: write `function {name}.NAME(req)`")),
        };
        let [branch, reply, failure, event] = TABLES.map(table);
        let event = event?;
        for pair in event.clone().pairs::<Value, Value>() {
            let name = pair.ok().and_then(|(name, _)| name.to_string().ok()).unwrap_or_default();
            if name != END_EVENT {
                return Err(format!("`event_route[\"{name}\"]`: no such event; there is `{END_EVENT}`"));
            }
        }
        let value = |name: &str| globals.raw_get::<Value>(name).unwrap_or(Value::Nil);
        let named = functions_of(&value(NAMED));
        Ok(Self {
            request: function(globals, "request_route", "request_route")?,
            words: named.keys().map(|name| (word_of(name), name.clone())).collect(),
            named,
            local: function(globals, "local_route", "local_route")?,
            end: function(&event, END_EVENT, "event_route[\"dialog:end\"]")?,
            branch: branch?,
            reply: reply?,
            failure: failure?,
            req: value("req"),
            reply_object: value("reply"),
            call: value("call"),
        })
    }
}

/// The functions of the table that routes name them in.
fn functions_of(table: &Value) -> HashMap<Box<str>, Function> {
    let Value::Table(table) = table else { return HashMap::new() };
    let table = table.clone();
    let pairs = table.pairs::<Value, Value>().flatten();
    let named = pairs.filter_map(|pair| match pair {
        (Value::String(name), Value::Function(function)) => Some((name.to_str().ok()?.to_owned().into(), function)),
        _ => None,
    });
    named.take(NAMED_MAX).collect()
}

/// Functions of the table that can be named; a configuration has no more routes.
const NAMED_MAX: usize = crate::policy::routes::ROUTES_MAX;

/// What stands for the name of a function in the Record-Route value of a dialog. It outlives the process: the same name has
/// the same word in every release.
pub(super) fn word_of(name: &str) -> Word {
    // FNV-1a with 32 bits; whoever could choose another name writes the script.
    let word = name.bytes().fold(0x811c_9dc5_u32, |word, octet| (word ^ u32::from(octet)).wrapping_mul(0x0100_0193));
    Word(word.max(1))
}

pub(super) const END_EVENT: &str = "dialog:end";
