//! An audit tells what became of the records of a time, however they came into the ledger.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::clock::Timestamp;
use crate::ledger::Day;
use crate::ledger::keeper::tests::{BEFORE_MIDNIGHT, committed, ended, open as keeper, turn};
use crate::queue::witness::{Event, How, Source};
use crate::queue::{Acknowledger, Worth};

fn audit(path: &Path, range: &Range) -> Audit {
    Audit::of(range.clone(), &Tally::read(path, range).unwrap(), None)
}

fn day() -> Range {
    let day = Day::of(BEFORE_MIDNIGHT);
    Range { from: day.begin(), to: day.end(), title: day.to_string() }
}

fn at(secs: i64) -> Timestamp {
    Timestamp(BEFORE_MIDNIGHT.0 + secs * 1_000_000)
}

fn delivered() -> How {
    How::Delivered(Some(Arc::new(Acknowledger { server: "s:1".into(), worth: Worth::Stored })))
}

#[test]
fn each_record_is_counted_once_by_what_became_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = keeper(folder.path());
    let made = |seq| committed(at(0), seq, Source::New);
    keeper.take(&turn(at(0), (1..=8).map(made).collect()));
    let of = |seq, how| ended(at(0), seq, 0, how);
    let by: Arc<str> = "ops: test calls".into();
    let events = vec![
        of(1, delivered()),
        of(2, How::Parked { reason: "refused".into(), code: 3 }),
        of(3, How::Dropped { by: by.clone(), under_way: false }),
        of(4, How::Dropped { by, under_way: true }),
        of(5, How::Superseded),
        Event::Lost { from: 6, to: 6 },
        of(7, How::Retried { reason: "no answer".into() }),
        of(8, How::Parked { reason: "odd".into(), code: 0 }),
    ];
    keeper.take(&turn(at(5), events));
    let back = |seq, source| {
        let Event::Committed { id, body, .. } = committed(at(0), seq, Source::New) else { unreachable!() };
        Event::Committed { seq: seq + 100, id, sinks: crate::ids::SinkMask(1), body, source }
    };
    // One that was parked is tried again and delivered, one that was dropped is put back; both on the next day.
    keeper.take(&turn(at(60), vec![back(8, Source::Again(8)), back(3, Source::Back)]));
    let Event::Ended { id, attempts, .. } = of(8, delivered()) else { unreachable!() };
    keeper.take(&turn(
        at(61),
        vec![Event::Ended { sink: crate::ids::SinkNumber(0), seq: 108, id, attempts, how: delivered() }],
    ));
    keeper.take(&turn(at(70), vec![committed(at(70), 109, Source::New)]));
    assert!(keeper.write(at(70)));
    let audit = audit(folder.path(), &day());
    let sink = &audit.sinks[0];
    assert_eq!((audit.calls, audit.records, sink.calls, sink.records), (8, 8, 8, 8), "the next day has its own");
    assert_eq!((sink.delivered, sink.parked, sink.dropped, sink.under_way), (2, 1, 1, 1));
    assert_eq!((sink.superseded, sink.lost, sink.waiting), (1, 1, 2));
    assert_eq!(sink.dropped_by, [("ops: test calls".to_owned(), 1)]);
    assert_eq!(sink.numbers, [("2026-11-29".to_owned(), 8)]);
    assert_eq!((audit.sinks[1].waiting, audit.sinks[1].lost), (7, 1));
    assert!(!audit.is_complete());
    let hours: Vec<_> = audit.hours.iter().filter(|hour| hour.calls > 0).collect();
    assert_eq!((audit.hours.len(), hours.iter().map(|hour| hour.calls).sum::<u64>()), (24, 8));
    assert_eq!(
        hours.iter().map(|hour| hour.incomplete).sum::<u64>(),
        8,
        "each waits at the other sink, if nowhere else"
    );
    assert_eq!(audit.wanting()[0], "`a`: 2 wait, 1 are parked, 1 were dropped, 1 are lost of 8 records");
    let tally = Tally::read(folder.path(), &day()).unwrap();
    let (found, count) = open(folder.path(), &day(), (&tally, Some("a")), 100).unwrap();
    let words: Vec<_> = found.iter().map(|own| format!("{} {} {}", own.call_id, own.fate.name(), own.reason)).collect();
    let want = [
        "call-2@x parked refused",
        "call-3@x waiting ",
        "call-4@x dropped-under-way ops: test calls",
        "call-6@x lost ",
        "call-7@x waiting no answer",
    ];
    assert_eq!((words, count), (want.map(str::to_owned).to_vec(), 5));
    let (some, count) = open(folder.path(), &day(), (&tally, Some("a")), 2).unwrap();
    assert_eq!((some.len(), count), (2, 5));
    let told = story(folder.path(), &Range::all(), "call-8@x").unwrap();
    let happened: Vec<_> =
        told[0].happened.iter().map(|own| format!("{} {} {}", own.sink, own.fate.name(), own.who)).collect();
    assert_eq!((told.len(), told[0].seqs.clone()), (1, vec![8, 108]));
    assert_eq!(happened, ["a parked ", "a waiting ", "a delivered s:1"]);
    assert!(story(folder.path(), &Range::all(), "call-88@x").unwrap().is_empty());
}

#[test]
fn calls_are_counted_in_the_hour_of_their_first_record() {
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = keeper(folder.path());
    let hour = |own: &Range, secs: i64| usize::try_from((at(secs).0 - own.from.0) / 3_600_000_000).unwrap();
    keeper.take(&turn(at(-7_200), [1, 2].map(|seq| committed(at(-7_200), seq, Source::New)).to_vec()));
    keeper.take(&turn(at(-3_600), vec![committed(at(-3_600), 3, Source::New)]));
    // The first call is everywhere, the third too; the second waits at both.
    let ends = [1, 3].map(|seq| [0, 1].map(|sink| ended(at(-3_500), seq, sink, delivered())));
    keeper.take(&turn(at(-3_500), ends.concat()));
    assert!(keeper.write(at(-3_500)));
    let hours = audit(folder.path(), &day()).hours;
    let counts = |secs: i64| (hours[hour(&day(), secs)].calls, hours[hour(&day(), secs)].incomplete);
    assert_eq!((counts(-7_200), counts(-3_600), counts(0)), ((2, 1), (1, 0), (0, 0)));
    assert_eq!(hours[1].from.0 - day().from.0, 3_600_000_000);
    let berlin = zone(Some("Europe/Berlin")).unwrap();
    let hours_of = |range: &Range| audit(folder.path(), range).hours.len();
    for (what, text, want) in
        [("a day", "2026-11-28", 24), ("summer begins", "2026-03-29", 23), ("summer ends", "2026-10-25", 25)]
    {
        assert_eq!(hours_of(&Range::day(text, &berlin, at(0)).unwrap()), want, "{what}");
    }
    let longer = Range { from: Timestamp(day().from.0 - 7_200_000_000), ..day() };
    assert_eq!((hours_of(&longer), hours_of(&Range::all())), (0, 0), "of more than a day there are none");
}

#[test]
fn what_the_ledger_lacks_is_said() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(audit(folder.path(), &day()).wanting().len(), 1, "there is no file");
    let mut keeper = keeper(folder.path());
    let path = Day::of(at(0)).path_in(folder.path());
    let mut places = Vec::new();
    for seq in 1..=3 {
        keeper.take(&turn(at(0), vec![committed(at(0), seq, Source::New)]));
        let both = [0, 1].map(|sink| ended(at(0), seq, sink, delivered()));
        keeper.take(&turn(at(0), both.to_vec()));
        places.push(std::fs::metadata(&path).map_or(0, |data| data.len()));
        assert!(keeper.write(at(0)));
    }
    let whole = audit(folder.path(), &day());
    assert!(whole.is_complete(), "{:?}", whole.wanting());
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"??", places[1] + 60).unwrap();
    let damaged = audit(folder.path(), &day());
    assert_eq!((damaged.records, damaged.sinks[0].delivered), (2, 2), "the rest is readable");
    let said = damaged.wanting().join("\n");
    assert!(said.contains("octets cannot be read") && said.contains("1 of `a`, 1 of `b`"), "{said}");
}

#[test]
fn what_others_have_is_compared_both_ways() {
    use super::against::{Key, Side};
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = keeper(folder.path());
    keeper.take(&turn(at(0), (1..=5).map(|seq| committed(at(0), seq, Source::New)).collect()));
    let of = |seq, how| ended(at(0), seq, 0, how);
    let parked = How::Parked { reason: "no".into(), code: 0 };
    keeper.take(&turn(
        at(1),
        vec![of(1, delivered()), of(2, delivered()), of(3, delivered()), of(4, parked), of(5, delivered())],
    ));
    assert!(keeper.write(at(1)));
    let id = |seq: u64| crate::ledger::keeper::tests::id(at(0), seq).to_string();
    let tally = Tally::read(folder.path(), &day()).unwrap();
    let compare = |text: String| {
        let mut side = Side::read(folder.path(), &day(), (&tally, "a"), (Key::Record, 100)).unwrap();
        theirs::csv(text.as_bytes(), &mut side, Key::Record)?;
        Ok::<_, theirs::TheirsError>(side.compare().unwrap())
    };
    let (other_day, unknown) = (crate::ledger::keeper::tests::id(at(90_000), 1), id(77));
    let text = format!(
        "\u{feff}Record_Id,duration_s\n{},\n{}.0,1\n{}.1,1\n{},\n{},\n{},\n{unknown},3\n{other_day},1\n",
        id(1),
        id(2),
        id(2),
        id(3),
        id(3),
        id(4)
    );
    let found = compare(text).unwrap();
    let words: Vec<_> =
        found.differences.iter().map(|own| format!("{} {} {}", own.what, own.key, own.call_id)).collect();
    let want = [
        format!("double {} call-3@x", id(3)),
        format!("early {} call-4@x", id(4)),
        format!("missing {} call-5@x", id(5)),
        format!("unknown {unknown} "),
    ];
    assert_eq!((words, found.ours, found.theirs), (want.to_vec(), 4, 7));
    let error = compare("call,start\n1,2\n".into()).unwrap_err().to_string();
    assert_eq!(error, "no column `record_id` there: it has `call`, `start`");
    let error = compare("duration,record_id\n1\n".into()).unwrap_err().to_string();
    assert_eq!(error, "line 2: it has fewer columns than the first line");
}

#[test]
fn two_hundred_sinks_that_came_and_went_have_room() {
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = keeper(folder.path());
    for number in 0..200_u64 {
        let name: Arc<str> = format!("sink-{number}").into();
        keeper.begin(7, std::iter::once((&name, crate::ids::SinkNumber(0))));
        let Event::Committed { id, body, .. } = committed(at(0), number, Source::New) else { unreachable!() };
        let sinks = crate::ids::SinkMask(1);
        keeper.take(&turn(at(0), vec![Event::Committed { seq: number, id, sinks, body, source: Source::New }]));
    }
    assert!(keeper.write(at(0)));
    let audit = audit(folder.path(), &day());
    assert_eq!((audit.records, audit.sinks.len()), (200, 200));
    assert!(audit.sinks.iter().all(|sink| sink.waiting == 1));
}
