//! SIP over real sockets: calls, routes, names, streams, protection, restarts, and messages made to break a parser.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

#[path = "../support/mod.rs"]
mod support;

mod dns;
mod endings;
mod facts;
mod ipv6;
mod memory;
mod protection;
mod restart;
mod routes;
mod rubbish;
mod streams;
mod torture;
mod torture_message;
