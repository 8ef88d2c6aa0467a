//! Kinds of sinks: what each checks of its tables and client files, and what their checks have in common.

pub(super) mod carriers;
mod client_file;
pub mod diameter;
mod dictionary;
pub mod radius;
