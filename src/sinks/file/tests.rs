//! What an attempt answers when the file cannot be written.

use std::fs;

use super::*;
use crate::clock::Timestamp;

#[test]
fn a_place_that_cannot_be_written_is_named_and_what_a_person_must_do_is_no_outage() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    fs::create_dir(folder.path().join("calls.csv")).expect("it can be made");
    std::os::unix::fs::symlink("calls.csv", folder.path().join("link.csv")).expect("it can be made");
    fs::write(folder.path().join("file"), "").expect("it can be written");
    for (place, want) in [
        ("none/calls.csv", "cannot open `DIR/none/calls.csv`: No such file or directory (os error 2)"),
        ("file/calls.csv", "cannot open `DIR/file/calls.csv`: Not a directory (os error 20)"),
        ("calls.csv", "cannot write to `DIR/calls.csv`: it is no regular file"),
        ("link.csv", "cannot write to `DIR/link.csv`: it is no regular file"),
    ] {
        let mut writer = Writer::new(writer::Settings::new(folder.path().join(place)));
        let result = answer(writer.write(Timestamp(0), b"1\r\n", b""));
        let want = want.replace("DIR", &folder.path().to_string_lossy());
        assert_eq!(result, Answer::Misfit { reason: want }, "{place}");
    }
}

#[test]
fn a_device_that_is_full_takes_nothing_and_is_tried_again() {
    // The kernel's own full disk: writes fail with ENOSPC.
    let full = || io::Error::from_raw_os_error(libc::ENOSPC);
    let error = WriteError::Nothing { what: "write to", path: "/x".into(), source: full() };
    let Answer::Down { reason, after: None } = answer(Err(error)) else { panic!("it is an outage") };
    assert_eq!(reason, "cannot write to `/x`: No space left on device (os error 28)");
    let doubtful = WriteError::Unknown { what: "force to the disk", path: "/x".into(), source: full() };
    assert!(matches!(answer(Err(doubtful)), Answer::Unknown { .. }));
}
