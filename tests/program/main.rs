//! The program as its operator knows it: command line, service, reload, checks, the whole way of a record, and what is frozen.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

#[path = "../support/mod.rs"]
mod support;

mod accounting_on;
mod admin;
mod amqp;
mod audit;
mod audit_against;
mod cdr;
mod check;
mod check_deep;
mod cli;
mod cluster;
mod cluster_reload;
mod control;
mod cut_off;
mod decode;
mod deliver;
mod descriptors;
mod files;
mod frozen;
mod full_disk;
mod golden;
mod https;
mod import;
#[cfg(feature = "kafka")]
mod kafka;
mod lab;
mod lagging;
mod main_job;
mod manual;
mod members;
mod mirror;
mod monitoring;
mod nats;
mod nats_servers;
mod package;
mod page;
mod proxies;
mod reading;
#[cfg(feature = "redis")]
mod redis;
mod reload;
mod replay;
mod script;
mod service;
mod sql;
mod sql_faults;
mod sql_gateway;
mod survival;
mod syslog;
mod telemetry;
mod top;
mod webhook;
mod webhook_gateway;
