//! Queues that earlier releases have left.

use crate::support::queue::{A, try_open, unpack};

#[test]
fn class_values_of_the_last_release_move_to_a_tree_of_their_own() {
    let directory = tempfile::tempdir().unwrap();
    unpack(include_str!("../vectors/queue/classes.txt"), directory.path());
    // Class (25), without flags as freeDiameter sent it, 12 octets.
    let gold = b"\0\0\0\x19\0\0\0\x0cgold";
    let mut sessions = None;
    for start in ["this release for the first time", "again"] {
        let opened = try_open(directory.path()).unwrap();
        // Call, and both tags: 24 octets are the name of a call.
        assert_eq!(opened.calls.iter().map(|(name, _)| name.len()).collect::<Vec<_>>(), [24, 24], "{start}");
        assert!(
            opened.classes.iter().all(|(sink, _, octets)| (*sink, &octets[..]) == (A, gold)),
            "{:?}",
            opened.classes
        );
        let found: Vec<u64> = opened.classes.iter().map(|(_, session, _)| *session).collect();
        assert_eq!(found.len(), 2, "{start}");
        assert_eq!(*sessions.get_or_insert(found.clone()), found, "{start}");
        assert_eq!(opened.queue.stats().calls, 4, "{start}");
        assert!(!opened.report.calls_lost && opened.report.damaged.is_empty(), "{:?}", opened.report);
    }
}
