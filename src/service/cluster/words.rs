//! What gateways tell each other without a bucket: that a call has another owner, and that its former owner keeps it no
//! more. Any of it may be lost; whoever does not hear it finds out by its next write.

use crate::cluster::calls::CallKey;
use crate::cluster::names::is_name;

/// Octets of a call's key.
const KEY_BYTES: usize = 24;

/// Where a gateway hears that calls of it have other owners.
pub(super) fn told_subject(prefix: &str, gateway: &str) -> String {
    format!("{prefix}.calls.told.{gateway}")
}

/// Where all hear that somebody has forgotten a call.
pub(super) fn confirmed_subject(prefix: &str) -> String {
    format!("{prefix}.calls.forgotten")
}

/// Where a gateway hears that others live whose leases it has.
pub(super) fn lives_subject(prefix: &str, gateway: &str) -> String {
    format!("{prefix}.gateways.live.{gateway}")
}

/// The name of a gateway that lives.
pub(super) fn read_lives(octets: &[u8]) -> Option<&str> {
    std::str::from_utf8(octets).ok().filter(|name| is_name(name))
}

/// The call has an owner that has written this revision.
pub(super) fn told(key: CallKey, revision: u64) -> Vec<u8> {
    [&key.0[..], &revision.to_be_bytes()].concat()
}

/// The call is that gateway's own.
pub(super) fn yours(key: CallKey) -> Vec<u8> {
    key.0.to_vec()
}

/// Which of the two, with the revision of the first.
pub(super) fn read_told(octets: &[u8]) -> Option<(CallKey, Option<u64>)> {
    let (key, revision) = octets.split_first_chunk::<KEY_BYTES>()?;
    let revision = match revision {
        [] => None,
        revision => Some(u64::from_be_bytes(revision.try_into().ok()?)),
    };
    Some((CallKey(*key), revision))
}

/// That gateway has forgotten the call.
pub(super) fn confirmed(key: CallKey, by: &str) -> Vec<u8> {
    [&key.0[..], by.as_bytes()].concat()
}

pub(super) fn read_confirmed(octets: &[u8]) -> Option<(CallKey, &str)> {
    let (key, by) = octets.split_first_chunk::<KEY_BYTES>()?;
    let by = std::str::from_utf8(by).ok().filter(|name| is_name(name))?;
    Some((CallKey(*key), by))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_read_and_all_else_is_nothing() {
        let key = CallKey([7; KEY_BYTES]);
        assert_eq!(read_told(&told(key, 1 << 40)), Some((key, Some(1 << 40))));
        assert_eq!(read_told(&yours(key)), Some((key, None)));
        assert_eq!(read_confirmed(&confirmed(key, "gw-1")), Some((key, "gw-1")));
        for octets in [&b""[..], &[7; 23], &[7; 31], &[7; 33]] {
            assert_eq!(read_told(octets), None, "{octets:?}");
        }
        for octets in [&b""[..], &[7; 23], &[7; 24], &confirmed(key, "a.b"), &[0xff; 30]] {
            assert_eq!(read_confirmed(octets), None, "{octets:?}");
        }
        assert_eq!((read_lives(b"gw-1"), read_lives(b"a.b"), read_lives(b"\xff")), (Some("gw-1"), None, None));
        assert_eq!(lives_subject("acc", "gw-1"), "acc.gateways.live.gw-1");
        assert_eq!(told_subject("tollgate", "gw-1"), "tollgate.calls.told.gw-1");
        assert_eq!(confirmed_subject("acc"), "acc.calls.forgotten");
    }
}
