//! The service: the parts wired together, told about by systemd, reloaded by SIGHUP, ended by SIGTERM.

mod classes;
mod cluster;
mod deliver;
mod delivery;
mod forwarding;
mod ledger;
mod log;
pub mod metrics;
mod mirrors;
mod nas;
mod outlets;
mod process;
mod reload;
#[cfg(test)]
mod reload_tests;
mod route_keys;
mod script;
mod supervisor;
mod systemd;
mod unwritten;
mod view;
mod wiring;

pub use cluster::NameTaken;
pub use deliver::{DeliverError, run as deliver};
pub(crate) use process::use_huge_pages;
pub use supervisor::run;
pub use wiring::{Service, try_listeners};
