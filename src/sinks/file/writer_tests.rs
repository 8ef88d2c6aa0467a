//! The life of a file, in virtual time.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::writer::{Identity, Settings, Sync, Told, WriteError, Writer};
use crate::clock::Timestamp;

/// 2023-11-14T22:13:20Z and so many seconds.
fn at(secs: i64) -> Timestamp {
    Timestamp((1_700_000_000 + secs) * 1_000_000)
}

struct Folder {
    dir: tempfile::TempDir,
}

impl Folder {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a folder can be made") }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("calls.csv")
    }

    fn settings(&self) -> Settings {
        let header = Some(b"id\r\n".to_vec());
        Settings { header, identity: Identity::Unique, ..Settings::new(self.path()) }
    }

    fn put(&self, octets: &[u8]) {
        fs::write(self.path(), octets).expect("it can be written");
    }

    /// Sets when the open file was written last.
    fn age(&self, written: Timestamp) {
        let time = std::time::UNIX_EPOCH + Duration::from_micros(u64::try_from(written.0).expect("it is later"));
        File::options().append(true).open(self.path()).and_then(|file| file.set_modified(time)).expect("it is ours");
    }

    /// All files by name.
    fn files(&self) -> Vec<(String, String)> {
        let entries = fs::read_dir(self.dir.path()).expect("it is there").map(|entry| entry.expect("it is readable"));
        let read = |path: &Path| String::from_utf8(fs::read(path).expect("it is readable")).expect("it is UTF-8");
        let mut files: Vec<_> =
            entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), read(&entry.path()))).collect();
        files.sort();
        files
    }

    fn has(&self, want: &[(&str, &str)]) {
        let want: Vec<_> = want.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        assert_eq!(self.files(), want);
    }
}

#[test]
fn a_period_ends_a_file_also_when_nothing_comes() {
    let folder = Folder::new();
    let mut writer = Writer::new(folder.settings());
    assert_eq!(writer.rest(at(0)), None, "nothing is open");
    writer.write(at(0), b"1\r\n", b"").expect("the disk is there");
    writer.write(at(1), b"2\r\n", b"").expect("the disk is there");
    // 22:13:21: the hour ends in 46 min 39 s.
    assert_eq!(writer.rest(at(1)), Some(Duration::from_secs(46 * 60 + 39)));
    writer.tick(at(1 + 46 * 60)).expect("nothing is due");
    folder.has(&[("calls.csv", "id\r\n1\r\n2\r\n")]);
    writer.tick(at(46 * 60 + 40)).expect("it can be renamed");
    folder.has(&[("calls-20231114T230000Z-0001.csv", "id\r\n1\r\n2\r\n")]);
    let finished = folder.dir.path().join("calls-20231114T230000Z-0001.csv");
    assert_eq!(writer.told(), [Told::Finished(finished)]);
    assert_eq!(writer.rest(at(46 * 60 + 40)), None);

    writer.write(at(3600), b"3\r\n", b"").expect("the disk is there");
    writer.write(at(2 * 3600), b"4\r\n", b"").expect("the disk is there");
    folder.has(&[
        ("calls-20231114T230000Z-0001.csv", "id\r\n1\r\n2\r\n"),
        ("calls-20231115T001320Z-0001.csv", "id\r\n3\r\n"),
        ("calls.csv", "id\r\n4\r\n"),
    ]);
}

#[test]
fn a_file_does_not_grow_beyond_its_size_and_no_name_is_taken_twice() {
    let folder = Folder::new();
    fs::write(folder.dir.path().join("calls-20231114T221320Z-0002.csv"), "theirs").expect("it can be written");
    let mut writer = Writer::new(Settings { octets_max: 12, ..folder.settings() });
    for line in [&b"111\r\n"[..], b"2\r\n", b"3\r\n", b"a line of its own\r\n", b"5\r\n"] {
        writer.write(at(0), line, b"").expect("the disk is there");
    }
    folder.has(&[
        ("calls-20231114T221320Z-0001.csv", "id\r\n111\r\n2\r\n"),
        ("calls-20231114T221320Z-0002.csv", "theirs"),
        ("calls-20231114T221320Z-0003.csv", "id\r\n3\r\n"),
        ("calls-20231114T221320Z-0004.csv", "id\r\na line of its own\r\n"),
        ("calls.csv", "id\r\n5\r\n"),
    ]);
}

#[test]
fn what_stands_there_at_a_start_is_gone_on_with_mended_or_finished() {
    let no_header = |folder: &Folder| Settings { header: None, ..folder.settings() };
    let json = |folder: &Folder| Settings { header: Some(Vec::new()), ..folder.settings() };
    let ours: fn(&Folder) -> Settings = Folder::settings;
    let ended = "calls-20231114T221320Z-0001.csv";
    for (name, before, age, settings, cut, after) in [
        ("nothing", None, 0, ours, 0, vec![("calls.csv", "id\r\n9\r\n")]),
        ("an empty file", Some(""), 0, ours, 0, vec![("calls.csv", "id\r\n9\r\n")]),
        ("whole lines", Some("id\r\n1\r\n"), 0, ours, 0, vec![("calls.csv", "id\r\n1\r\n9\r\n")]),
        ("a torn line", Some("id\r\n1\r\n23"), 0, ours, 2, vec![("calls.csv", "id\r\n1\r\n9\r\n")]),
        ("half a line end", Some("id\r\n1\r\n2\r"), 0, ours, 2, vec![("calls.csv", "id\r\n1\r\n9\r\n")]),
        ("a torn header", Some("i"), 0, ours, 1, vec![("calls.csv", "id\r\n9\r\n")]),
        ("other columns", Some("no\r\n1\r\n"), 0, ours, 0, vec![(ended, "no\r\n1\r\n"), ("calls.csv", "id\r\n9\r\n")]),
        ("fewer octets than a header", Some("\r\n"), 0, ours, 0, vec![(ended, "\r\n"), ("calls.csv", "id\r\n9\r\n")]),
        (
            "an earlier hour",
            Some("id\r\n1\r\n"),
            3600,
            ours,
            0,
            vec![(ended, "id\r\n1\r\n"), ("calls.csv", "id\r\n9\r\n")],
        ),
        ("no header", Some("1\r\n"), 0, no_header, 0, vec![(ended, "1\r\n"), ("calls.csv", "9\r\n")]),
        ("JSON", Some("1\n"), 0, json, 0, vec![("calls.csv", "1\n9\r\n")]),
    ] {
        let folder = Folder::new();
        if let Some(before) = before {
            folder.put(before.as_bytes());
            folder.age(at(-age));
        }
        let mut writer = Writer::new(settings(&folder));
        writer.write(at(0), b"9\r\n", b"").unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(folder.files().len(), after.len(), "{name}: {:?}", folder.files());
        folder.has(&after);
        let was_cut: u64 =
            writer.told().iter().map(|told| if let Told::Cut(octets) = told { *octets } else { 0 }).sum();
        assert_eq!(was_cut, cut, "{name}");
    }
}

#[test]
fn a_torn_line_of_any_length_is_found() {
    let folder = Folder::new();
    let long = [b"id\r\n1\r\n".to_vec(), vec![b'x'; 200_000]].concat();
    folder.put(&long);
    folder.age(at(0));
    Writer::new(folder.settings()).write(at(0), b"2\r\n", b"").expect("the disk is there");
    folder.has(&[("calls.csv", "id\r\n1\r\n2\r\n")]);
}

#[test]
fn a_repeat_that_is_there_is_not_written_again() {
    let folder = Folder::new();
    folder.put(b"id\r\n1\r\n2\r\n3");
    folder.age(at(0));
    let mut writer = Writer::new(folder.settings());
    writer.write(at(0), b"1\r\n5\r\n", b"2\r\n3\r\n1\r\n4\r\n").expect("the disk is there");
    folder.has(&[("calls.csv", "id\r\n1\r\n2\r\n3\r\n4\r\n1\r\n5\r\n")]);
    writer.write(at(1), b"", b"5\r\n").expect("the disk is there");
    folder.has(&[("calls.csv", "id\r\n1\r\n2\r\n3\r\n4\r\n1\r\n5\r\n")]);
    drop(writer);
    let mut nameless = Writer::new(Settings { identity: Identity::None, ..folder.settings() });
    nameless.write(at(2), b"", b"5\r\n").expect("the disk is there");
    folder.has(&[("calls.csv", "id\r\n1\r\n2\r\n3\r\n4\r\n1\r\n5\r\n5\r\n")]);
}

#[test]
fn a_file_that_others_moved_or_deleted_is_begun_anew() {
    let folder = Folder::new();
    let mut writer = Writer::new(folder.settings());
    writer.write(at(0), b"1\r\n", b"").expect("the disk is there");
    fs::rename(folder.path(), folder.dir.path().join("theirs")).expect("they may");
    writer.write(at(1), b"2\r\n", b"").expect("the disk is there");
    folder.has(&[("calls.csv", "id\r\n2\r\n"), ("theirs", "id\r\n1\r\n")]);
    fs::remove_file(folder.path()).expect("they may");
    writer.write(at(2), b"3\r\n", b"").expect("the disk is there");
    folder.has(&[("calls.csv", "id\r\n3\r\n"), ("theirs", "id\r\n1\r\n")]);
}

#[test]
fn lines_are_forced_to_the_disk_when_they_are_to_be() {
    let folder = Folder::new();
    let settings = Settings { rotate: Duration::ZERO, ..folder.settings() };
    for (sync, rests) in [
        (Sync::Batch, [None, None]),
        (Sync::Never, [None, None]),
        (Sync::Interval, [Some(Duration::from_secs(1)), None]),
    ] {
        let mut writer = Writer::new(Settings { sync, ..settings.clone() });
        writer.write(at(0), b"1\r\n", b"").expect("the disk is there");
        assert_eq!(writer.rest(at(0)), rests[0], "{sync:?}");
        writer.tick(at(1)).expect("the disk is there");
        assert_eq!(writer.rest(at(1)), rests[1], "{sync:?}");
        writer.close().expect("the disk is there");
        assert_eq!(writer.rest(at(1)), None);
    }
}

#[test]
fn permissions_are_those_configured_and_two_never_write_one_file() {
    let folder = Folder::new();
    let mut writer = Writer::new(Settings { mode: 0o660, ..folder.settings() });
    writer.write(at(0), b"1\r\n", b"").expect("the disk is there");
    let mode = fs::metadata(folder.path()).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let mut other = Writer::new(folder.settings());
    let refused = other.write(at(0), b"2\r\n", b"").expect_err("it is locked");
    assert!(matches!(refused, WriteError::Locked { .. }), "{refused}");
    writer.close().expect("the disk is there");
    other.write(at(0), b"2\r\n", b"").expect("it is free");
    folder.has(&[("calls.csv", "id\r\n1\r\n2\r\n")]);
}

#[test]
fn a_rehearsal_leaves_nothing_behind() {
    let folder = Folder::new();
    let writer = Writer::new(folder.settings());
    writer.rehearse(b"1\r\n").expect("the disk is there");
    folder.has(&[]);
    let nowhere = Writer::new(Settings { path: folder.dir.path().join("none/calls.csv"), ..folder.settings() });
    assert!(matches!(nowhere.rehearse(b""), Err(WriteError::Nothing { what: "create", .. })));
}
