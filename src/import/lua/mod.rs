//! `route.lua` from the routes of a script.

pub mod output;
pub mod pattern;
pub mod reach;
