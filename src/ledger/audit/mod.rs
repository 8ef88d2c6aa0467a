//! What `tollgate audit` tells: whether every record of a time is where it belongs, which are not, and the story of one call.

pub mod against;
mod open;
mod range;
mod read;
mod report;
mod standings;
mod story;
mod tally;
#[cfg(test)]
mod tests;
pub mod theirs;

pub use open::{OpenRecord, open};
pub use range::{BadRange, Range, local, zone};
pub use read::{Gap, ReadError};
pub use report::{Audit, SinkAudit, UNWRITTEN};
pub use standings::{LETTERS, STANDINGS_MAX, Standings};
pub use story::{Told, story};
pub use tally::{Hour, Tally};
