//! Names of the keys that deliverers hold or look at.

use std::fmt;

use crate::cluster::names::is_name;
use crate::cluster::share::PARTITIONS_MAX;

/// A key of the cluster's state.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Key {
    /// That this deliverer lives.
    Member(String),
    /// Who delivers the records of this partition.
    Partition(usize),
}

/// What the keys of members begin with.
pub const MEMBERS: &str = "member.deliver.";
const PARTITION: &str = "lease.partition.";

/// Prefixes of all these keys, for the filters of a scan.
pub const PREFIXES: [&str; 2] = [MEMBERS, PARTITION];

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Member(name) => write!(f, "{MEMBERS}{name}"),
            Self::Partition(number) => write!(f, "{PARTITION}{number:03}"),
        }
    }
}

impl Key {
    /// Reads the name of a key; `None`: it is none of ours.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(name) = text.strip_prefix(MEMBERS) {
            return is_name(name).then(|| Self::Member(name.to_owned()));
        }
        let number = text.strip_prefix(PARTITION).filter(|digits| digits.len() == 3)?;
        let is_number = number.bytes().all(|octet| octet.is_ascii_digit());
        let number = number.parse().ok().filter(|number| is_number && *number < PARTITIONS_MAX)?;
        Some(Self::Partition(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_is_written_and_others_are_not_ours() {
        for (text, key) in [
            ("member.deliver.del-1_A", Some(Key::Member("del-1_A".to_owned()))),
            ("lease.partition.000", Some(Key::Partition(0))),
            ("lease.partition.255", Some(Key::Partition(255))),
            ("lease.partition.256", None),
            ("lease.partition.7", None),
            ("lease.partition.+07", None),
            ("lease.partition.0007", None),
            ("lease.gateway.gw1", None),
            ("member.deliver.", None),
            ("member.deliver.a.b", None),
            ("member.deliver.ä", None),
            ("", None),
        ] {
            assert_eq!(Key::parse(text), key, "{text}");
            if let Some(key) = key {
                assert_eq!(key.to_string(), text);
                assert!(PREFIXES.iter().any(|prefix| text.starts_with(prefix)));
            }
        }
        assert_eq!(Key::parse(&format!("member.deliver.{}", "x".repeat(65))), None);
    }
}
