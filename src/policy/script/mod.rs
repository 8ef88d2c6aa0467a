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
//! | `branch_route.NAME(req)` | for each target, before it is tried, after `on_branch("NAME")` |
//! | `reply_route.NAME(req, reply)` | for each response that passes, after `on_reply("NAME")` |
//! | `failure_route.NAME(req, reply)` | when all branches of a round have failed, after `on_failure("NAME")`, once |
//! | `local_route(req, reply)` | when the gateway itself makes a final response, or a request; `reply` is nil then |
//! | `event_route["dialog:end"](call)` | when a recorded call has ended |
//!
//! A `request_route` that neither relays nor responds leaves that to the `[[route]]` tables; the marks of both add up.

mod comment;
mod meter;
mod pattern;
mod table;
mod text;
mod vm;

pub use meter::Limits;
pub use table::{BadTable, ENTRIES_MAX, KeyTable};
