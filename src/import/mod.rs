//! `tollgate import`: the configuration of a proxy of the SER family becomes one of ours.
//!
//! * [`lexer`] cuts a file into tokens, [`preprocess`] does what `#!define`, `#!ifdef` and `include_file` say;
//! * [`parser`] makes settings, parameters of modules and routes of them, [`syntax`];
//! * nothing is guessed: what is not understood is told with its line.
//!
//! Nothing here opens a file by itself: whoever calls gives the octets of files by their paths.

pub mod database;
pub mod dialect;
pub mod extras;
pub mod lexer;
pub mod limits;
pub mod listen;
pub mod params;
pub mod parser;
pub mod preprocess;
pub mod report;
pub mod sinks;
pub mod syntax;
pub mod toml;
pub mod usage;
pub mod variables;
pub mod walk;
