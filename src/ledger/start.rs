//! The start of a process: what the one before could not write any more is made up for from the queue.
//!
//! A process that is killed has written rows up to some moment before. What was committed since then is read from the
//! queue, which keeps bodies until the ledger has them. What left a sink since then is known from the queue's settlements:
//! parked records with their reason; of others it is only known that they were settled, and the ledger says just that. An
//! operator's drop is never among those: it is in the ledger before it is in the queue.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::clock::Timestamp;
use crate::names;
use crate::queue::Standing;
use crate::queue::witness::{Event, Turn};

use super::block::{Blocks, Piece, heads};
use super::complete::Complete;
use super::day::Day;
use super::file::Missing;
use super::keeper::Keeper;
use super::open::Open;
use super::row::{Ended, Fate, Row};

/// Names a queue by its secret, which cannot be told from it.
#[must_use]
pub fn era(secret: &[u8; 16]) -> u64 {
    let digest = Sha256::new().chain_update(b"ledger").chain_update(secret).finalize();
    u64::from_le_bytes(std::array::from_fn(|at| digest[at]))
}

/// The last place of this queue that the ledger has on disk, found without reading much; `None` when it has none.
///
/// # Errors
/// The folder or a file cannot be read.
pub fn last(folder: &Path, era: u64) -> io::Result<Option<u64>> {
    let mut last = Complete::load(folder).last(era);
    for day in Day::all_in(folder)? {
        let file = File::open(day.path_in(folder))?;
        let heads = heads(&file)?;
        for (place, (at, head)) in heads.iter().enumerate().filter(|(_, (_, head))| head.about.era == era) {
            // The last ones may be what a crash has left.
            let is_sure = place + BLOCKS_CHECKED < heads.len()
                || matches!(Blocks::of(&file)?.from(*at).next_piece()?, Piece::Block(_));
            if is_sure && head.about.last > 0 {
                last = last.max(Some(head.about.last));
            }
        }
    }
    Ok(last)
}

/// Reads the files of the days that are not complete: what of this queue is open, and where its places are.
///
/// # Errors
/// The folder or a file cannot be read.
pub fn look(keeper: &mut Keeper, era: u64) -> io::Result<Open> {
    let mut open = Open::default();
    for day in Day::all_in(&keeper.settings().path)? {
        if keeper.is_complete(day) {
            continue;
        }
        let mut places: Option<(u64, u64)> = None;
        keeper.open_day(day, &mut |head, sinks, row| {
            if head.about.era != era {
                return;
            }
            if let Row::Made(made) = row {
                let (first, last) = places.get_or_insert((made.seq, made.seq));
                (*first, *last) = ((*first).min(made.seq), (*last).max(made.seq));
            }
            open.see(day, sinks, row);
        })?;
        if let Some((first, last)) = places {
            keeper.found(day, first);
            keeper.found(day, last);
        }
    }
    Ok(open)
}

/// Makes up for what the process before could not write. How many records it read again, and how many fates it found.
pub fn make_up(keeper: &mut Keeper, open: &Open, standing: &mut Standing, now: Timestamp) -> (usize, usize) {
    let version = names::VERSION.as_bytes();
    // Of a queue that is new to the ledger there was no process before.
    let is_clean = standing.is_clean() || keeper.last() == 0;
    keeper.note(now, &Row::Began { at: now, is_clean, version });
    let mut fates = 0;
    for (day, seq, name) in open.waiting() {
        fates += usize::from(settle(keeper, (day, seq), name, standing, now));
    }
    let events = standing.take_committed();
    let mut places = Vec::new();
    for event in &events {
        if let Event::Committed { seq, id, sinks, .. } = event {
            places.push((Day::of_record(*id), *seq, keeper.names_of(*sinks)));
        }
    }
    keeper.take(&Turn { at: now, events, missed: (0, 0), written: None });
    for (day, seq, names) in &places {
        for name in names {
            fates += usize::from(settle(keeper, (*day, *seq), name, standing, now));
        }
    }
    if let Some((from, to)) = standing.unread() {
        keeper.miss(Missing { records: to - from + 1, ..Missing::at(now) });
    }
    (places.len(), fates)
}

/// States what became of a record at a sink for which the ledger lets it wait; whether it does not.
fn settle(keeper: &mut Keeper, (day, seq): (Day, u64), name: &Arc<str>, standing: &Standing, now: Timestamp) -> bool {
    if standing.waits(name, seq) {
        return false;
    }
    let none = Ended { seq, sink: 0, fate: Fate::Settled, at: now, attempts: 0, who: b"", reason: b"", code: 0 };
    let ended = match standing.parked(name, seq) {
        Some(aside) => Ended {
            fate: Fate::Parked,
            at: aside.since,
            attempts: aside.attempts,
            reason: aside.reason.as_bytes(),
            code: aside.code,
            ..none
        },
        None if standing.is_lost(seq) => Ended { fate: Fate::Lost, ..none },
        None => none,
    };
    keeper.state(day, now, name, &ended);
    true
}

/// Blocks at the end of a file that are read to see that they are whole.
const BLOCKS_CHECKED: usize = 8;
