//! RADIUS to real servers: FreeRADIUS, its SQL modules, radsecproxy, pyrad; dictionaries and client files.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

#[path = "../support/mod.rs"]
mod support;

mod breaks;
mod client_files;
mod dictionaries;
mod failover;
mod faults;
mod freeradius;
mod peers;
mod reload;
mod streams;
