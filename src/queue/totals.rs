//! The totals of each sink on disk: written with the commits that change them, so that they survive a restart.
//!
//! One named value, which every spool gets: for each sink its number, its first place (a number may be given to another
//! sink later), how many totals follow, and these.

use super::bitmap::Since;
use super::building::Fresh;
use super::frame::Reader;
use super::sinks::Sinks;
use crate::ids::SinkNumber;

/// Name of the value.
pub const NAME: &[u8] = b"totals";

/// Octets of one sink with five totals.
const SINK_OCTETS: usize = 50;

/// The totals as they are when these records are on disk.
pub fn write(sinks: &Sinks, records: &[Fresh]) -> Vec<u8> {
    let mut out = Vec::with_capacity(sinks.iter().count() * SINK_OCTETS);
    for sink in sinks.iter() {
        let Since { sink: number, seq } = sink.since();
        let fresh = |record: &&Fresh| record.origin.is_counted() && record.sinks.has(number);
        let mut balance = *sink.balance();
        balance.appended += records.iter().filter(fresh).count() as u64;
        let totals = balance.totals();
        out.push(number.0);
        out.extend_from_slice(&seq.to_be_bytes());
        out.push(u8::try_from(totals.len()).unwrap_or(0));
        totals.iter().for_each(|total| out.extend_from_slice(&total.to_be_bytes()));
    }
    out
}

/// Reads what [`write`] wrote, for one sink.
pub fn read(value: &[u8], of: Since) -> Vec<u64> {
    let mut from = Reader(value);
    let mut one = || {
        let since = Since { sink: SinkNumber(from.u8().ok()?), seq: from.u64().ok()? };
        let count = from.u8().ok()?;
        let totals: Option<Vec<u64>> = (0..count).map(|_| from.u64().ok()).collect();
        Some((since, totals?))
    };
    std::iter::from_fn(&mut one).find(|(since, _)| *since == of).map(|(_, totals)| totals).unwrap_or_default()
}
