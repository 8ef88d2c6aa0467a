//! Diameter to real servers: freeDiameter, Erlang/OTP, python-diameter; scripted servers; every message as a text.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

#[path = "../support/mod.rs"]
mod support;

mod crate_peer;
mod freediameter;
mod gateway;
mod peers;
mod scripted;
mod vectors;
