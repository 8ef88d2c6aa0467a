//! Tests of a whole shard in virtual time: SIP machine, policy, accounting and the responses it holds.

mod adopting;
mod bench;
mod disk;
mod facts;
mod flows;
mod fuzz;
mod ladder;
mod parsing;
mod policy;
mod promise;
mod restart;
mod script;
mod storm;
mod watch;
