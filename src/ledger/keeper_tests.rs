//! What the queue tells is in the files of the days, whatever happens to clock, disk and process.

use super::*;
use crate::ledger::block::{Blocks, Piece};
use crate::ledger::running::Running;
use crate::ledger::{OnTrouble, coding, start};
use crate::record::{Kind, Record, codec};

/// Ten seconds before the end of 2026-11-29.
pub(in crate::ledger) const BEFORE_MIDNIGHT: Timestamp = Timestamp(Day(20_786).end().0 - 10_000_000);

pub(in crate::ledger) fn settings(path: &Path) -> Settings {
    Settings { is_kept: true, path: path.to_owned(), days: 40, on_trouble: OnTrouble::Gap }
}

pub(in crate::ledger) fn id(at: Timestamp, number: u64) -> RecordId {
    RecordId(u128::try_from(at.0 / 1000).unwrap() << 80 | u128::from(number))
}

pub(in crate::ledger) fn committed(at: Timestamp, seq: u64, source: Source) -> Event {
    let record = Record {
        call_id: format!("call-{seq}@x").into_bytes(),
        ..Record::of_no_call(Kind::Start, at, u128::from(seq))
    };
    let body = codec::encode(&Record { id: id(at, seq), ..record }).into();
    Event::Committed { seq, id: id(at, seq), sinks: SinkMask(3), body, source }
}

pub(in crate::ledger) fn ended(at: Timestamp, seq: u64, sink: u8, how: How) -> Event {
    Event::Ended { sink: SinkNumber(sink), seq, id: Some(id(at, seq)), attempts: 1, how }
}

pub(in crate::ledger) fn turn(at: Timestamp, events: Vec<Event>) -> Turn {
    Turn { at, events, missed: (0, 0), written: None }
}

pub(in crate::ledger) fn open(path: &Path) -> Keeper {
    let mut keeper = Keeper::open(settings(path)).unwrap();
    let names: [Arc<str>; 2] = ["a".into(), "b".into()];
    keeper.begin(7, names.iter().zip([SinkNumber(0), SinkNumber(1)]));
    keeper
}

/// The rows of a day, in words.
fn words(path: &Path, day: Day) -> Vec<String> {
    let file = File::open(day.path_in(path)).unwrap();
    let mut blocks = Blocks::of(&file).unwrap();
    let mut words = Vec::new();
    loop {
        match blocks.next_piece().unwrap() {
            Piece::End => return words,
            Piece::Damage { octets } | Piece::Torn { octets } => words.push(format!("{octets} octets")),
            Piece::Block(_) => {
                let (sinks, mut rows) = coding::read(blocks.rows()).unwrap();
                while let Some(row) = rows.next_row().unwrap() {
                    words.push(match row {
                        Row::Made(made) => {
                            let call = String::from_utf8_lossy(made.call_id).into_owned();
                            format!("{} {call} for {}{}", made.seq, made.sinks, if made.is_back { " back" } else { "" })
                        }
                        Row::Ended(ended) => {
                            let who = String::from_utf8_lossy(ended.who).into_owned();
                            format!("{} {} {} {who}", ended.seq, sinks[usize::from(ended.sink)].name, ended.fate.name())
                        }
                        Row::Again { seq, was, .. } => format!("{was} is {seq}"),
                        Row::Gap { records, fates, .. } => format!("gap of {records} and {fates}"),
                        Row::Began { .. } => "began".to_owned(),
                        Row::Counted { what, count, .. } => format!("{count} {}", String::from_utf8_lossy(what)),
                        Row::Gone { from, to, .. } => format!("{from} to {to} gone"),
                    });
                }
            }
        }
    }
}

fn secs(at: Timestamp, secs: i64) -> Timestamp {
    Timestamp(at.0 + secs * 1_000_000)
}

#[test]
fn what_becomes_of_a_record_is_in_the_file_of_its_day() {
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = open(folder.path());
    let (late, early) = (BEFORE_MIDNIGHT, secs(BEFORE_MIDNIGHT, 20));
    let (day, next) = (Day::of(late), Day::of(early));
    assert_eq!(next, Day(day.0 + 1));
    keeper.take(&turn(late, vec![committed(late, 1, Source::New), committed(late, 2, Source::New)]));
    keeper.take(&turn(early, vec![committed(early, 3, Source::New)]));
    let by = Arc::new(Acknowledger { server: "s".into(), worth: Worth::Taken });
    let events = vec![
        ended(late, 1, 0, How::Delivered(Some(by))),
        ended(late, 2, 1, How::Dropped { by: "me".into(), under_way: true }),
        ended(early, 3, 1, How::Delivered(None)),
        Event::Lost { from: 2, to: 2 },
    ];
    keeper.take(&turn(early, events));
    // Put back from the parked ones two days later.
    let Event::Committed { id, sinks, body, .. } = committed(late, 2, Source::New) else { unreachable!() };
    let later = secs(early, 86_400);
    keeper.take(&turn(later, vec![Event::Committed { seq: 9, id, sinks, body, source: Source::Again(2) }]));
    assert!(keeper.write(later));
    let want = [
        "1 call-1@x for 3",
        "2 call-2@x for 3",
        "1 a handed-over s",
        "2 b dropped-under-way me",
        "2 to 2 gone",
        "2 is 9",
    ];
    assert_eq!(words(folder.path(), day), want);
    assert_eq!(words(folder.path(), next), ["3 call-3@x for 3", "3 b delivered "]);
}

#[test]
fn a_clock_that_is_set_back_over_midnight_parts_no_record_from_its_fate() {
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = open(folder.path());
    let (early, late) = (secs(BEFORE_MIDNIGHT, 20), BEFORE_MIDNIGHT);
    // Names go on from where they were, though the clock says that it is the day before.
    keeper.take(&turn(early, vec![committed(early, 1, Source::New)]));
    keeper.take(&turn(late, vec![committed(early, 2, Source::New), ended(early, 1, 0, How::Superseded)]));
    assert!(keeper.write(late));
    let want = ["1 call-1@x for 3", "2 call-2@x for 3", "1 a superseded "];
    assert_eq!(words(folder.path(), Day::of(early)), want);
    assert!(!Day::of(late).path_in(folder.path()).exists());
}

#[test]
fn a_closed_day_has_the_same_rows_in_less_and_takes_more() {
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = open(folder.path());
    let (at, day) = (BEFORE_MIDNIGHT, Day::of(BEFORE_MIDNIGHT));
    for seq in 1..=200 {
        keeper.take(&turn(at, vec![committed(at, seq, Source::New)]));
        keeper.take(&turn(at, vec![ended(at, seq, 0, How::Delivered(None)), ended(at, seq, 1, How::Delivered(None))]));
        assert!(keeper.write(at));
    }
    let before = words(folder.path(), day);
    let size = || fs::metadata(day.path_in(folder.path())).unwrap().len();
    let (open_size, morning) = (size(), secs(at, 3 * 3600));
    keeper.take(&turn(at, vec![ended(at, 200, 1, How::Superseded)]));
    while keeper.tend(morning) {}
    assert!(keeper.is_complete(day));
    assert_eq!(words(folder.path(), day), [&before[..], &["200 b superseded ".to_owned()]].concat());
    assert!(size() < open_size / 4, "{} of {open_size}", size());
    assert!(matches!(keeper.notices()[..], [Notice::Closed { .. }]));
    keeper.take(&turn(morning, vec![committed(at, 201, Source::Back)]));
    assert!(keeper.write(morning) && !keeper.is_complete(day));
    assert_eq!(words(folder.path(), day).last().unwrap(), "201 call-201@x for 3 back");
    keeper.keep_days(5);
    keeper.tend(secs(at, 7 * 86_400));
    assert!(!day.path_in(folder.path()).exists(), "it is too old");
}

#[test]
fn damage_is_said_when_a_day_is_closed_and_the_rest_stays() {
    use std::os::unix::fs::FileExt as _;
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = open(folder.path());
    let (at, day) = (BEFORE_MIDNIGHT, Day::of(BEFORE_MIDNIGHT));
    let mut places = Vec::new();
    for seq in 1..=3 {
        places.push(fs::metadata(day.path_in(folder.path())).map_or(0, |data| data.len()));
        keeper.take(&turn(at, vec![committed(at, seq, Source::New)]));
        assert!(keeper.write(at));
    }
    let file = OpenOptions::new().write(true).open(day.path_in(folder.path())).unwrap();
    file.write_all_at(b"?", places[1] + 70).unwrap();
    while keeper.tend(secs(at, 3 * 3600)) {}
    let want = ["1 call-1@x for 3", "gap of 0 and 0", "3 call-3@x for 3"];
    assert_eq!(words(folder.path(), day), want);
    let file = File::open(day.path_in(folder.path())).unwrap();
    let mut blocks = Blocks::of(&file).unwrap();
    let mut missing = Vec::new();
    let mut running = Running::default();
    while let Piece::Block(_) = blocks.next_piece().unwrap() {
        let (sinks, mut rows) = coding::read(blocks.rows()).unwrap();
        missing.extend(running.meet(&sinks));
        while let Some(row) = rows.next_row().unwrap() {
            if let Row::Made(made) = row {
                running.count(&made, |sink| sinks.get(sink).map(|sink| sink.name));
            }
        }
    }
    assert_eq!(missing, [("a".into(), 1), ("b".into(), 1)], "the running numbers show what is missing");
}

#[test]
fn the_ledger_of_another_process_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let _first = open(folder.path());
    let second = Keeper::open(settings(folder.path())).unwrap_err();
    assert!(matches!(second, LedgerError::Locked { .. }), "{second}");
}

#[test]
fn what_is_written_is_found_again_and_a_torn_block_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let (at, day) = (BEFORE_MIDNIGHT, Day::of(BEFORE_MIDNIGHT));
    let mut keeper = open(folder.path());
    for seq in 1..=4 {
        keeper.take(&turn(at, vec![committed(at, seq, Source::New), ended(at, seq, 0, How::Delivered(None))]));
        assert!(keeper.write(at));
    }
    drop(keeper);
    let path = day.path_in(folder.path());
    let length = fs::metadata(&path).unwrap().len();
    OpenOptions::new().write(true).open(&path).unwrap().set_len(length - 3).unwrap();
    assert_eq!(start::last(folder.path(), 7).unwrap(), Some(3), "the last block is not whole");
    assert_eq!(start::last(folder.path(), 8).unwrap(), None, "of another queue there is nothing");
    let mut keeper = open(folder.path());
    let open = start::look(&mut keeper, 7).unwrap();
    let waiting: Vec<_> = open.waiting().map(|(_, seq, name)| (seq, name.to_string())).collect();
    assert_eq!(waiting, [(1, "b".to_owned()), (2, "b".to_owned()), (3, "b".to_owned())]);
    assert!(matches!(keeper.notices()[..], [Notice::Found { damaged: 0, torn: 1.., .. }]));
    keeper.take(&turn(at, vec![committed(at, 4, Source::Back)]));
    assert!(keeper.write(at));
    let words = words(folder.path(), day);
    assert_eq!((words.len(), words.last().map(String::as_str)), (7, Some("4 call-4@x for 3 back")));
}

#[test]
fn what_was_missed_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let (at, day) = (BEFORE_MIDNIGHT, Day::of(BEFORE_MIDNIGHT));
    let mut keeper = open(folder.path());
    keeper.take(&Turn { missed: (3, 8), ..turn(at, vec![committed(at, 1, Source::New)]) });
    assert!(keeper.write(at));
    assert_eq!(words(folder.path(), day), ["1 call-1@x for 3", "gap of 3 and 8"]);
}

#[test]
fn a_file_that_cannot_be_made_is_a_gap_that_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let (at, day) = (BEFORE_MIDNIGHT, Day::of(BEFORE_MIDNIGHT));
    let mut keeper = open(folder.path());
    // Where the file belongs there is a folder.
    fs::create_dir(day.path_in(folder.path())).unwrap();
    let parked = How::Parked { reason: "no".into(), code: 0 };
    keeper.take(&turn(at, vec![committed(at, 1, Source::New), ended(at, 1, 0, parked)]));
    for later in [2, 4] {
        assert!(!keeper.write(secs(at, later)), "it cannot be written yet");
    }
    let told = keeper.notices();
    assert!(matches!(told[..], [Notice::Failing { .. }]), "{told:?}");
    fs::remove_dir(day.path_in(folder.path())).unwrap();
    assert!(keeper.write(secs(at, 6)));
    let missing = Missing { from: at, to: at, records: 1, fates: 1 };
    assert_eq!(keeper.notices(), [Notice::Recovered { missing: Some(missing) }]);
    assert_eq!(words(folder.path(), day), ["gap of 1 and 1"]);
    let stats = keeper.stats();
    assert_eq!((stats.rows, stats.missed, stats.failing), (1, 2, None));
}

#[test]
fn a_day_that_is_too_old_at_a_start_is_removed_and_not_packed() {
    let folder = tempfile::tempdir().unwrap();
    let (at, day) = (BEFORE_MIDNIGHT, Day::of(BEFORE_MIDNIGHT));
    let mut keeper = open(folder.path());
    keeper.take(&turn(at, vec![committed(at, 1, Source::New)]));
    assert!(keeper.write(at));
    drop(keeper);
    let mut keeper = open(folder.path());
    while keeper.tend(secs(at, 50 * 86_400)) {}
    assert_eq!(keeper.notices(), [Notice::Removed { day }]);
}
