//! Damaged and strange journals below a queue: what is lost is counted, and what is told is told once.

use std::fs;
use std::path::PathBuf;

use super::damage::{change, frames, open_and_deliver};
use super::*;

/// Commits and records of each.
const COMMITS: u64 = 6;
const EACH: u64 = 3;
const RECORDS: u64 = COMMITS * EACH;

/// A queue that was killed with records from `first` on, of which sled has the first `flushed` commits; its spool.
fn killed(path: &Path, first: u64, flushed: u64) -> PathBuf {
    let mut queue = open(settings(path)).queue;
    for commit in 0..COMMITS {
        let begin = first + commit * EACH;
        append(&mut queue, (begin..begin + EACH).map(|n| Entry { body: body(n, 300), ..entry(n, n, BOTH) }).collect());
        if commit + 1 == flushed {
            queue.chain.database(0).unwrap().flush().unwrap();
        }
    }
    drop(queue);
    path.join("00000001")
}

/// Where the commits of a journal begin and end, by their heads.
fn commits(file: &Path) -> Vec<(usize, usize)> {
    let octets = fs::read(file).unwrap();
    let mut found = Vec::new();
    let mut at = 0;
    while octets[at..].starts_with(b"TGj1") {
        let length = u32::from_be_bytes(octets[at + 16..at + 20].try_into().unwrap()) as usize;
        found.push((at, at + 20 + length));
        at += 20 + length;
    }
    found
}

/// What the operator hears of a journal and of lost records at an opening.
fn told(path: &Path) -> Vec<String> {
    let notices = open(settings(path)).queue.notices();
    let of_interest = |notice: &&Notice| {
        let is_quiet = matches!(notice, Notice::Switched { .. } | Notice::Near { .. } | Notice::Alarm { .. });
        !is_quiet && notice.level() > Level::Info
    };
    notices.iter().filter(of_interest).map(ToString::to_string).collect()
}

#[test]
fn a_commit_damaged_anywhere_costs_its_damaged_record_and_is_told_once() {
    let whole = tempfile::tempdir().unwrap();
    let all = commits(&killed(whole.path(), 1, 0).join("journal"));
    assert_eq!(all.len() as u64, COMMITS);
    for (place, is_record_hit) in all.iter().flat_map(|place| [(place, false), (place, true)]) {
        let directory = tempfile::tempdir().unwrap();
        let file = killed(directory.path(), 1, 0).join("journal");
        let own: Vec<_> = frames(&file).into_iter().filter(|(at, _)| (place.0..place.1).contains(at)).collect();
        assert_eq!(own.len() as u64, EACH);
        // In the checksum of the whole, or in the body of the second record.
        let octet = if is_record_hit { own[1].0 + 100 } else { place.0 + 5 };
        change(&file, |octets| octets[octet] ^= 4);
        let name = format!("octet {octet} of the commit from {} to {}", place.0, place.1);
        let (first, again) = (told(directory.path()), told(directory.path()));
        let aside = directory.path().join("00000001/journal.damaged");
        let is_last = all.last() == Some(place);
        if is_last {
            // It may never have been whole; `head` says that it was.
            let lost = format!("records {0} to {0} are lost", own[1].1);
            assert_eq!(first.contains(&lost), is_record_hit, "{name}: {first:?}");
            assert!(
                first.iter().any(|text| text.contains("records of the last commit found in the file")),
                "{first:?}"
            );
        } else {
            let words = format!(
                "1 commits are damaged from octet {} of {} on: their records are looked for, the calls may be out of \
                 date; check the disk, then remove the file",
                place.0,
                aside.display()
            );
            assert_eq!(first, [words], "{name}");
        }
        assert_eq!(aside.exists(), !is_last, "{name}");
        assert!(again.is_empty(), "{name}: told again: {again:?}");
        let (_, a, b, lost) = open_and_deliver(directory.path());
        let want: BTreeSet<u64> = (1..=RECORDS).filter(|n| !is_record_hit || *n != own[1].1).collect();
        assert_eq!((&a, &b, lost), (&want, &want, u64::from(is_record_hit)), "{name}");
    }
}

#[test]
fn of_a_journal_with_nothing_of_this_queue_nothing_is_taken_and_what_is_missing_is_counted() {
    const FLUSHED: u64 = 2;
    let other = tempfile::tempdir().unwrap();
    let others = fs::read(killed(other.path(), 1001, 0).join("journal")).unwrap();
    type Damage<'a> = &'a dyn Fn(&mut Vec<u8>);
    let table: [(&str, Damage<'_>, bool); 5] = [
        ("it is of zeros", &|octets| octets.fill(0), false),
        (
            "it is noise",
            &|octets| (1_u32..).zip(octets).for_each(|(n, octet)| *octet = (n.wrapping_mul(n) >> 7) as u8),
            false,
        ),
        ("it is empty", &Vec::clear, false),
        ("it is another queue's", &|octets| octets.clone_from(&others), true),
        ("it is another queue's, its end torn", &|octets| *octets = others[..commits_end(&others) - 7].to_vec(), true),
    ];
    for (name, damage, is_strange) in table {
        let directory = tempfile::tempdir().unwrap();
        let spool = killed(directory.path(), 1, FLUSHED);
        change(&spool.join("journal"), damage);
        let before = fs::read(spool.join("journal")).unwrap();
        let (first, again) = (told(directory.path()), told(directory.path()));
        let aside = spool.join("journal.strange");
        let words = format!("{} was the journal here and has no commit of this database", aside.display());
        assert_eq!(first.iter().any(|text| text.starts_with(&words)), is_strange, "{name}: {first:?}");
        let lost = format!("records {} to {RECORDS} are lost", FLUSHED * EACH + 1);
        assert!(first.contains(&lost), "{name}: {first:?}");
        assert!(again.is_empty(), "{name}: told again: {again:?}");
        assert_eq!(is_strange.then(|| fs::read(aside).unwrap()), is_strange.then_some(before), "{name}: it is kept");
        let (mut queue, a, b, lost) = open_and_deliver(directory.path());
        let want: BTreeSet<u64> = (1..=FLUSHED * EACH).collect();
        assert_eq!((&a, &b, lost), (&want, &want, RECORDS - FLUSHED * EACH), "{name}");
        append(&mut queue, vec![entry(9999, 1, BOTH)]);
        drop(queue);
        let (_, a, _, _) = open_and_deliver(directory.path());
        assert!(a.contains(&9999), "{name}: it goes on");
    }
}

/// Where the last commit ends.
fn commits_end(octets: &[u8]) -> usize {
    octets.iter().rposition(|octet| *octet != 0).unwrap() + 1
}
