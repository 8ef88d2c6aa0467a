//! Files of records for those who load them with a job of their own.

pub mod line;
#[cfg(test)]
mod line_tests;
pub mod writer;
#[cfg(test)]
mod writer_tests;
