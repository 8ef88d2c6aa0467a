//! The queue on real disks: kills, power cuts, full and failing disks, and its thread under load; and many gateways in
//! virtual time.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

#[path = "../support/mod.rs"]
mod support;

mod cluster;
mod disk_full;
mod drop;
mod faults;
mod kill;
mod powercut;
mod releases;
mod thread;
