//! The ledger: beside the queue, one small row for each record and for what became of it at each sink, so that it can be
//! asked later whether every call was delivered everywhere, and what happened to one.
//!
//! [`row`] and [`block`] are the layout on disk.

pub mod block;
pub mod day;
pub mod row;

pub use day::Day;
