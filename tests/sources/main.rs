//! The sources and the crates they are built from. Links no product code.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod supply_chain;
mod tidy;
