//! `tollgate deliver`: takes records out of the stream and has the sinks of this process deliver them.
//!
//! Any number of deliverers share the partitions: each partition has one owner at a time, by a lease
//! ([`roster`](super::roster)). Its messages are read in the order of the stream ([`reader`]) and go into the queue of the
//! process, from which the sinks take them as in a gateway: in order within a session, tried again, parked. That queue is a
//! working set and empty at the start; what counts is the progress that is written down in the cluster ([`book`]).
//!
//! A record goes to its sink only while the lease is held ([`admission`](super::admission)). A process that lost a
//! partition to another while its sinks had records of it ends its term ([`parts::End::Fenced`]): all connections to backends are closed, and it begins anew with
//! nothing in hand.

pub mod book;
pub mod feeder;
mod io;
pub mod leading;
pub mod parked;
pub mod parts;
pub mod reader;
