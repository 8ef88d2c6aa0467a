//! What a script has defined, found once when it is loaded.

use mlua::{Function, Table, Value};

/// The tables that a script puts its handlers into.
pub(super) const TABLES: [&str; 4] = ["branch_route", "reply_route", "failure_route", "event_route"];

/// What a script has defined.
#[derive(Debug)]
pub(super) struct Handlers {
    pub(super) request: Option<Function>,
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
        Ok(Self {
            request: function(globals, "request_route", "request_route")?,
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

const END_EVENT: &str = "dialog:end";
