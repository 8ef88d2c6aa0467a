//! The sources and the crates they are built from. Links no product code.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]
#![allow(clippy::disallowed_methods, reason = "no test of this binary has a socket or a queue")]

mod rfcs;
mod supply_chain;
mod tidy;
