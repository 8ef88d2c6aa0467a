//! Tests of a database, of its journal and its guards.

use super::*;

fn batch(pairs: &[(&[u8], &[u8])]) -> Batch {
    let mut batch = Batch::default();
    pairs.iter().for_each(|(key, value)| batch.insert(key, value));
    batch
}

#[test]
fn what_was_flushed_is_there_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let (mut db, _) = Database::open(&path, 1 << 20).unwrap();
    db.apply(&batch(&[(b"a", b"1"), (b"b", b"2")])).unwrap();
    db.flush().unwrap();
    db.sync_files().unwrap();
    drop(db);
    let (db, found) = Database::open(&path, 1 << 20).unwrap();
    assert_eq!(found, Findings::default());
    assert_eq!(db.read(b"b").unwrap().unwrap(), b"2");
    assert_eq!(db.last::<&[u8]>(..).unwrap().unwrap().0, b"b");
    assert_eq!(db.read(b"c").unwrap(), None);
}

#[test]
fn a_second_opening_is_refused_as_locked() {
    let directory = tempfile::tempdir().unwrap();
    let _first = Database::open(directory.path(), 1 << 20).unwrap();
    match Database::open(directory.path(), 1 << 20) {
        Err(StoreError::Locked) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_snapshot_that_was_being_written_goes_and_a_wrong_one_is_moved_away() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    for round in 0..3_u8 {
        let (mut db, _) = Database::open(path, 1 << 20).unwrap();
        db.apply(&batch(&[(&[round], b"x")])).unwrap();
        db.flush().unwrap();
    }
    let snapshots = || -> Vec<PathBuf> {
        let files = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|file| file.file_name().unwrap().to_string_lossy().starts_with("snap.")).collect()
    };
    let good = snapshots().pop().expect("opening again writes a snapshot");
    assert!(is_sound_snapshot(&fs::read(&good).unwrap()));
    fs::write(path.join("snap.FFFFFFFFFFFFFFFF.generating"), b"half").unwrap();
    let (_, found) = Database::open(path, 1 << 20).unwrap();
    assert!(!found.snapshot_moved, "a sound snapshot stays");

    let file = snapshots().pop().unwrap();
    let mut bytes = fs::read(&file).unwrap();
    bytes[3] ^= 1;
    fs::write(&file, bytes).unwrap();
    let (db, found) = Database::open(path, 1 << 20).unwrap();
    assert!(found.snapshot_moved);
    assert_eq!(db.read(&[2]).unwrap().unwrap(), b"x");
}

/// The files of an open database, as a process killed now would leave them.
fn killed(path: &Path) -> tempfile::TempDir {
    let left = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(path).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
        fs::copy(entry.path(), left.path().join(entry.file_name())).unwrap();
    }
    left
}

fn open(path: &Path) -> (Database, Findings) {
    Database::open(path, 1 << 20).unwrap()
}

#[test]
fn a_commit_is_there_after_a_kill_though_sled_was_not_flushed() {
    let directory = tempfile::tempdir().unwrap();
    let (mut db, _) = open(directory.path());
    db.commit(&batch(&[(b"a", b"1"), (b"b", b"1")])).unwrap();
    db.commit(&batch(&[(b"a", b"2")])).unwrap();
    let mut removal = Batch::default();
    removal.remove(b"b");
    db.commit(&removal).unwrap();
    db.commit(&Batch::default()).unwrap();
    assert_eq!((db.next, db.read(b"a").unwrap().unwrap().as_ref()), (4, &b"2"[..]), "nothing is no commit");
    let mut left = killed(directory.path());
    for round in ["killed", "killed again, before anything else was committed"] {
        let (db, found) = open(left.path());
        assert_eq!(found, Findings::default(), "{round}");
        assert_eq!(db.read(b"a").unwrap().unwrap(), b"2", "{round}");
        assert_eq!((db.read(b"b").unwrap(), db.next), (None, 4), "{round}");
        left = killed(left.path());
    }
}

#[test]
fn what_was_flushed_after_a_commit_is_not_undone_by_the_journal() {
    let directory = tempfile::tempdir().unwrap();
    let (mut db, _) = open(directory.path());
    db.commit(&batch(&[(b"a", b"1")])).unwrap();
    db.apply(&batch(&[(b"a", b"2")])).unwrap();
    db.flush().unwrap();
    let left = killed(directory.path());
    assert_eq!(open(left.path()).0.read(b"a").unwrap().unwrap(), b"2");
    db.commit(&batch(&[(b"b", b"3")])).unwrap();
    let left = killed(directory.path());
    let (again, found) = open(left.path());
    assert_eq!((again.read(b"a").unwrap().unwrap(), found), (b"2".into(), Findings::default()));
    assert_eq!(again.read(b"b").unwrap().unwrap(), b"3");
}

#[test]
fn what_came_and_went_between_two_flushes_never_comes_to_sled() {
    let directory = tempfile::tempdir().unwrap();
    let (mut db, _) = open(directory.path());
    db.commit(&batch(&[(b"call", b"1"), (b"record", b"2")])).unwrap();
    let mut settled = batch(&[(b"call", b"3")]);
    settled.remove(b"record");
    db.commit(&settled).unwrap();
    assert_eq!((db.read(b"record").unwrap(), db.read(b"call").unwrap()), (None, Some(b"3".into())));
    let stored = |db: &Database| db.db.as_ref().unwrap().iter().keys().map(Result::unwrap).collect::<Vec<_>>();
    assert_eq!(stored(&db), [JOURNAL_KEY], "it is in the journal, and here");
    db.flush().unwrap();
    assert_eq!(stored(&db), [JOURNAL_KEY, b"call"]);
    assert_eq!(db.overlay.octets(), 0);
}

#[test]
fn a_full_journal_is_flushed_and_begins_again() {
    let directory = tempfile::tempdir().unwrap();
    let (mut db, _) = open(directory.path());
    for number in 0..20_u8 {
        let mut megabyte = batch(&[(b"last", &[number])]);
        (0..=255).for_each(|key| megabyte.insert([b'k', key], [number; 4096]));
        db.commit(&megabyte).unwrap();
    }
    let length = fs::metadata(journal::path(directory.path())).unwrap().len();
    assert!(length <= 8 << 20, "{length}");
    let left = killed(directory.path());
    let (db, found) = open(left.path());
    assert_eq!((db.read(b"last").unwrap().unwrap(), found), ((&[19_u8]).into(), Findings::default()));
}

#[test]
fn without_a_journal_commits_are_flushed_and_another_is_made_at_once_then_seldom() {
    let directory = tempfile::tempdir().unwrap();
    let (mut db, _) = open(directory.path());
    let file = journal::path(directory.path());
    fs::create_dir(&file).unwrap();
    let mut told = Vec::new();
    for number in 1..=JOURNAL_REST + 100 {
        db.commit(&batch(&[(b"a", &number.to_be_bytes())])).unwrap();
        if let Some(error) = db.take_journal_failure() {
            assert!(error.to_string().starts_with(&format!("{}: ", file.display())), "{error}");
            told.push(number);
        }
    }
    assert_eq!(told, [1, 2, JOURNAL_REST + 3, JOURNAL_REST + 4]);
    assert!(!db.has_failed());
    fs::remove_dir(&file).unwrap();
    for number in 0..2 * JOURNAL_REST {
        db.commit(&batch(&[(b"a", &number.to_be_bytes())])).unwrap();
    }
    assert!(file.is_file() && db.journal.is_some(), "it is back");
    let left = killed(directory.path());
    assert_eq!(open(left.path()).0.read(b"a").unwrap().unwrap(), &(2 * JOURNAL_REST - 1).to_be_bytes());
}

#[test]
fn a_database_that_failed_takes_no_commit_into_its_journal_either() {
    let directory = tempfile::tempdir().unwrap();
    let (mut db, _) = open(directory.path());
    db.commit(&batch(&[(b"a", b"1")])).unwrap();
    db.failed = true;
    assert!(matches!(db.commit(&batch(&[(b"a", b"2")])), Err(StoreError::Closed)));
    let left = killed(directory.path());
    assert_eq!(open(left.path()).0.read(b"a").unwrap().unwrap(), b"1", "it was not acknowledged");
}

#[test]
fn commits_that_are_nowhere_are_counted_and_the_journal_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let (mut db, _) = open(directory.path());
    for number in 1..=3_u8 {
        db.commit(&batch(&[(&[number], b"x")])).unwrap();
    }
    let left = killed(directory.path());
    let file = journal::path(left.path());
    let mut octets = fs::read(&file).unwrap();
    octets[40] ^= 1;
    fs::write(&file, octets).unwrap();
    let (mut db, found) = open(left.path());
    assert_eq!(found.commits_missing, 1);
    assert!(left.path().join(DAMAGED).exists() && !file.exists());
    assert_eq!((db.read(&[2]).unwrap(), db.read(&[3]).unwrap().unwrap()), (None, b"x".into()));
    db.commit(&batch(&[(b"b", b"4")])).unwrap();
    let left = killed(left.path());
    let (db, found) = open(left.path());
    assert_eq!((db.read(b"b").unwrap().unwrap(), found), (b"4".into(), Findings::default()), "it goes on in a new one");
}

#[test]
fn a_journal_with_nothing_of_this_database_is_set_aside_whole() {
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    for (directory, text) in directories.iter().zip(["own", "other"]) {
        let (mut db, _) = open(directory.path());
        for key in [b"a", b"b", b"c"] {
            db.commit(&batch(&[(key, text.as_bytes())])).unwrap();
        }
        // As far as it is flushed it is there whatever becomes of the journal.
        if text == "own" {
            db.flush().unwrap();
            db.commit(&batch(&[(b"d", b"own")])).unwrap();
        }
    }
    let [own, other] = directories.map(|directory| killed(directory.path()));
    fs::copy(journal::path(other.path()), journal::path(own.path())).unwrap();
    let (mut db, found) = open(own.path());
    let aside = own.path().join(STRANGE);
    assert_eq!(found, Findings { strange: Some(aside.clone()), ..Findings::default() });
    assert_eq!(fs::read(&aside).unwrap(), fs::read(journal::path(other.path())).unwrap());
    assert_eq!((db.read(b"a").unwrap().unwrap(), db.read(b"d").unwrap()), (b"own".into(), None));
    db.commit(&batch(&[(b"e", b"own")])).unwrap();
    let left = killed(own.path());
    let (db, found) = open(left.path());
    assert_eq!((found, db.read(b"e").unwrap().unwrap()), (Findings::default(), b"own".into()), "it goes on");
}

#[test]
fn a_journal_of_a_database_that_never_had_one_is_damage() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    fs::write(journal::path(directory.path()), b"x").unwrap();
    assert!(matches!(Database::open(directory.path(), 1 << 20), Err(StoreError::Damaged(_))));
}

#[test]
fn a_panic_becomes_damage() {
    match guarded::<()>(|| panic!("as sled does")) {
        Err(StoreError::Damaged(text)) => assert_eq!(text, "as sled does"),
        other => panic!("{other:?}"),
    }
}
