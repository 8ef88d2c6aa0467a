//! Where transactions live: the generational slab of the timers, under the names used here.
//!
//! A driver keeps client and server transactions in one [`Slab`] each. What survives a transaction (a branch on the
//! wire, a timer, an id given away) carries its [`Key`] and misses when the slot has gone to another one.

pub use crate::timers::slab::{Key, Slab};
