//! Flows in virtual time: actors at addresses of their own, the stack between them.

mod breadth;
mod checks;
mod flows;
mod invariant;
mod outages;
mod protection;
mod races;
mod rfc;
mod rubbish;
pub(crate) mod script;
pub(crate) mod storm;
mod transports;
