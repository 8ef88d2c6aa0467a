//! The proxy core of RFC 3261 §16, as rules over one request: what is checked, where it goes, and which of its responses
//! is the best one. The transactions around it are in `sip::stack`.

mod check;
mod context;
pub mod locate;
mod route;

pub use check::{
    MAX_BREADTH_DEFAULT, Refusal, breadth_share, capabilities, check, max_breadth, max_forwards, max_forwards_onward,
};
pub use context::{Context, Ending, Progress, usual_reason};
pub use route::{
    Own, Routing, authority_of, default_port, follows, home_of, hop, is_sips, transport_named, transport_named_by,
    way_back,
};
