//! Reads the files of days one after the other, with memory for one block, and says what cannot be read.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Range;
use crate::clock::Timestamp;
use crate::ledger::block::{Blocks, Head, Piece};
use crate::ledger::coding;
use crate::ledger::day::Day;
use crate::ledger::row::Row;
use crate::ledger::running::{BlockSink, Running};

/// Something that the ledger lacks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Gap {
    /// Of which day's file.
    pub day: Day,
    /// From when on; what is missing came behind that.
    pub from: Timestamp,
    /// How many records of each sink are missing, as far as the running numbers tell.
    pub records: Vec<(Arc<str>, u64)>,
    /// In words.
    pub why: String,
}

impl Gap {
    /// In words.
    #[must_use]
    pub fn text(&self) -> String {
        let records = self.records.iter().map(|(sink, count)| format!("{count} of `{sink}`")).collect::<Vec<_>>();
        let records =
            if records.is_empty() { String::new() } else { format!("; missing records: {}", records.join(", ")) };
        format!("the ledger of {} has a gap behind {}: {}{records}", self.day, self.from, self.why)
    }
}

/// The file of a day cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}")]
pub struct ReadError {
    /// The file, or the folder.
    pub path: PathBuf,
    /// What the system says.
    pub source: io::Error,
}

/// The days that have a file in which records of a range may be.
///
/// # Errors
/// The folder cannot be read.
pub fn days(folder: &Path, range: &Range) -> Result<Vec<Day>, ReadError> {
    let failed = |source| ReadError { path: folder.to_owned(), source };
    let days = Day::all_in(folder).map_err(failed)?;
    Ok(days.into_iter().filter(|day| day.begin() < range.to && range.from < day.end()).collect())
}

/// Hands every row of a day's file to `take`, with its block's head and sinks, unless `wants` passes the block over. Gives
/// the gaps, and how many records of each sink the day has.
///
/// # Errors
/// The file cannot be read.
pub fn read_day(
    folder: &Path,
    day: Day,
    mut wants: impl FnMut(&[u8]) -> bool,
    take: &mut dyn FnMut(&Head, &[BlockSink<'_>], &Row<'_>),
) -> Result<(Vec<Gap>, Running), ReadError> {
    let path = day.path_in(folder);
    let failed = |source| ReadError { path: path.clone(), source };
    let file = File::open(&path).map_err(failed)?;
    let mut blocks = Blocks::of(&file).map_err(failed)?;
    let (mut gaps, mut running, mut last) = (Vec::new(), Running::default(), day.begin());
    let mut damaged = 0;
    let mut gap = |from, records: Vec<_>, why: String| gaps.push(Gap { day, from, records, why });
    loop {
        match blocks.next_piece().map_err(failed)? {
            Piece::End => break,
            Piece::Damage { octets } => damaged += octets,
            // A block that is being written, or was when the process ended: the next start makes up for it.
            Piece::Torn { .. } => break,
            Piece::Block(head) => {
                let Ok((sinks, mut rows)) = coding::read(blocks.rows()) else {
                    damaged += head.octets();
                    continue;
                };
                let missing = running.meet(&sinks);
                if damaged > 0 {
                    gap(last, missing, format!("{damaged} octets cannot be read"));
                } else if !missing.is_empty() {
                    gap(last, missing, "rows were never written".to_owned());
                }
                (damaged, last) = (0, head.about.begun);
                let is_wanted = wants(blocks.rows());
                while let Ok(Some(row)) = rows.next_row() {
                    match &row {
                        Row::Made(made) => running.count(made, |sink| sinks.get(sink).map(|sink| sink.name)),
                        Row::Gap { from, records, fates, reason, .. } => {
                            let reason = String::from_utf8_lossy(reason);
                            gap(
                                *from,
                                Vec::new(),
                                format!("{records} records and {fates} fates have no row: {reason}"),
                            );
                        }
                        _ => {}
                    }
                    if is_wanted {
                        take(&head, &sinks, &row);
                    }
                }
            }
        }
    }
    if damaged > 0 {
        gap(last, Vec::new(), format!("{damaged} octets cannot be read"));
    }
    Ok((gaps, running))
}
