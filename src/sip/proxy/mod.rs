//! The proxy core of RFC 3261 §16, as rules over one request: what is checked, where it goes, and which of its answers
//! is the best one. The transactions around it are in `sip::stack`.

mod context;

pub use context::{Context, Ending, Progress, usual_reason};
