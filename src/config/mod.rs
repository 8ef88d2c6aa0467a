//! Configuration: defaults, the TOML file and the environment become one [`Plan`](plan::Plan), or a list of all mistakes.

pub mod decode;
pub mod error;
pub mod radiusclient;
pub mod schema;
pub mod tree;

#[cfg(test)]
mod decode_tests;
