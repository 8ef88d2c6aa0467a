//! What was written since a database was flushed last, in memory: reads go through it, and sled gets it with the flush.
//!
//! Most of it is gone by then: a record that is delivered, and a call that has ended, never come to sled.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::database::Pair;

/// Changes that sled does not have, by their keys.
#[derive(Debug, Default)]
pub struct Overlay {
    changes: BTreeMap<sled::IVec, Change>,
    /// Of keys and values.
    octets: usize,
}

/// What became of a key.
#[derive(Debug)]
struct Change {
    /// `None` when it was removed.
    value: Option<sled::IVec>,
    /// Whether sled has the key: what it has not need not be removed there.
    is_stored: bool,
}

impl Overlay {
    /// Sets or removes a value; `is_stored` says whether sled has the key, if that is not known here.
    ///
    /// # Errors
    /// Those of `is_stored`.
    pub fn set<E>(
        &mut self,
        key: &[u8],
        value: Option<&[u8]>,
        is_stored: impl FnOnce() -> Result<bool, E>,
    ) -> Result<(), E> {
        let value = value.map(sled::IVec::from);
        let octets = value.as_ref().map_or(0, |value| value.len());
        if let Some(change) = self.changes.get_mut(key) {
            self.octets += octets;
            self.octets -= change.value.as_ref().map_or(0, |value| value.len());
            change.value = value;
            if change.value.is_none() && !change.is_stored {
                self.changes.remove(key);
                self.octets -= key.len();
            }
            return Ok(());
        }
        let is_stored = is_stored()?;
        if value.is_some() || is_stored {
            self.octets += key.len() + octets;
            self.changes.insert(key.into(), Change { value, is_stored });
        }
        Ok(())
    }

    /// Octets of all keys and values.
    pub fn octets(&self) -> u64 {
        self.octets as u64
    }

    /// The value of a key; `None` when sled has to be asked, `Some(None)` when there is none whatever sled says.
    pub fn get(&self, key: &[u8]) -> Option<Option<sled::IVec>> {
        self.changes.get(key).map(|change| change.value.clone())
    }

    /// All changes, in the order of their keys.
    pub fn changes(&self) -> impl Iterator<Item = (&sled::IVec, Option<&sled::IVec>)> {
        self.changes.iter().map(|(key, change)| (key, change.value.as_ref()))
    }

    /// The pairs of a range, lowest first: those that `stored` gives of it, lowest first, as they were changed. An error
    /// of `stored` stands where it is met.
    pub fn merge<E>(
        &self,
        range: Ends<'_>,
        stored: impl Iterator<Item = Result<Pair, E>>,
    ) -> impl Iterator<Item = Result<Pair, E>> {
        merge(self.within(range), stored, range.0, |own, stored| own < stored)
    }

    /// As [`Overlay::merge`], highest first.
    pub fn merge_back<E>(
        &self,
        range: Ends<'_>,
        stored: impl Iterator<Item = Result<Pair, E>>,
    ) -> impl Iterator<Item = Result<Pair, E>> {
        merge(self.within(range).rev(), stored, range.1, |own, stored| own > stored)
    }

    fn within(&self, range: Ends<'_>) -> std::collections::btree_map::Range<'_, sled::IVec, Change> {
        // A map panics at a range that ends before it begins.
        let is_empty = match range {
            (Bound::Included(begin), Bound::Included(end)) => begin > end,
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
            (Bound::Included(begin) | Bound::Excluded(begin), Bound::Excluded(end) | Bound::Included(end)) => {
                begin >= end
            }
        };
        let nothing: Ends<'_> = (Bound::Included(&[]), Bound::Excluded(&[]));
        self.changes.range::<[u8], _>(if is_empty { nothing } else { range })
    }
}

/// Both ends of a range of keys.
pub type Ends<'k> = (Bound<&'k [u8]>, Bound<&'k [u8]>);

/// Pairs of both, each in the same order from `begin` on, of which `is_first` says whether the own key comes before the
/// stored one. Of two with the same key the own one counts.
fn merge<'o, 'k, E>(
    own: impl Iterator<Item = (&'o sled::IVec, &'o Change)>,
    stored: impl Iterator<Item = Result<Pair, E>>,
    begin: Bound<&'k [u8]>,
    is_first: impl Fn(&[u8], &[u8]) -> bool,
) -> impl Iterator<Item = Result<Pair, E>> {
    let (mut own, mut stored) = (own.peekable(), stored.peekable());
    std::iter::from_fn(move || {
        loop {
            let changed = match (own.peek(), stored.peek()) {
                (None, _) => return stored.next(),
                // Nothing that cannot be read comes before the first key of all.
                (Some((key, _)), Some(Err(_))) if begin != Bound::Included(&***key) => return stored.next(),
                (Some((key, _)), Some(Ok((other, _)))) if !is_first(key, other) => {
                    if *key != other {
                        return stored.next();
                    }
                    stored.next();
                    own.next()
                }
                (Some(_), _) => own.next(),
            };
            let (key, change) = changed?;
            if let Some(value) = &change.value {
                return Some(Ok((key.clone(), value.clone())));
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// `a=1 b=2`, for a look at what lies in a map.
    fn told(pairs: impl Iterator<Item = Result<Pair, Infallible>>) -> String {
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        let pairs = pairs.map(|pair| pair.unwrap_or_else(|never| match never {}));
        pairs.map(|(key, value)| format!("{}={}", text(&key), text(&value))).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_was_changed_is_read_in_place_of_what_is_stored() {
        let stored = [("b", "1"), ("d", "1"), ("f", "1"), ("h", "1")];
        type Row = (&'static str, &'static [(&'static str, Option<&'static str>)], &'static str);
        let table: [Row; 7] = [
            ("nothing", &[], "b=1 d=1 f=1 h=1"),
            ("a value", &[("d", Some("2"))], "b=1 d=2 f=1 h=1"),
            ("a new one between", &[("e", Some("2"))], "b=1 d=1 e=2 f=1 h=1"),
            ("new ones at both ends", &[("a", Some("2")), ("i", Some("2"))], "a=2 b=1 d=1 f=1 h=1 i=2"),
            ("one is removed", &[("f", None)], "b=1 d=1 h=1"),
            ("one is removed and made anew", &[("f", None), ("f", Some("3"))], "b=1 d=1 f=3 h=1"),
            ("the first and the last are removed", &[("b", None), ("h", None), ("x", None)], "d=1 f=1"),
        ];
        let pair = |(key, value): &(&str, &str)| Ok::<_, Infallible>((key.as_bytes().into(), value.as_bytes().into()));
        for (name, changes, want) in table {
            let mut overlay = Overlay::default();
            for (key, value) in changes {
                let is_stored = stored.iter().any(|(other, _)| other == key);
                let set = overlay.set(key.as_bytes(), value.map(str::as_bytes), || Ok::<_, Infallible>(is_stored));
                set.unwrap_or_else(|never| match never {});
            }
            let all = (Bound::Unbounded, Bound::Unbounded);
            assert_eq!(told(overlay.merge(all, stored.iter().map(pair))), want, "{name}");
            let mut back: Vec<_> = want.split(' ').collect();
            back.reverse();
            assert_eq!(
                told(overlay.merge_back(all, stored.iter().rev().map(pair))),
                back.join(" "),
                "{name}, backwards"
            );
        }
    }

    #[test]
    fn what_came_and_went_leaves_nothing_for_sled() {
        let mut overlay = Overlay::default();
        let mut set = |key: &[u8], value: Option<&[u8]>, is_stored| {
            overlay.set(key, value, || Ok::<_, Infallible>(is_stored)).unwrap_or_else(|never| match never {});
            (overlay.changes().count(), overlay.octets())
        };
        assert_eq!(set(b"record", Some(b"1"), false), (1, 7), "it came");
        assert_eq!(set(b"record", Some(b"123"), true), (1, 9), "it was changed");
        assert_eq!(set(b"record", None, true), (0, 0), "it went, and sled never had it");
        assert_eq!(set(b"call", Some(b"2"), true), (1, 5), "sled has another value");
        assert_eq!(set(b"call", None, false), (1, 4), "and has to remove it");
        assert_eq!(set(b"other", None, false), (1, 4), "what nobody has need not be removed");
    }

    #[test]
    fn what_cannot_be_read_hides_nothing_that_the_range_begins_with() {
        let mut overlay = Overlay::default();
        for key in [b"c", b"d"] {
            overlay.set(key, Some(b"1"), || Ok::<_, Infallible>(false)).unwrap_or_else(|never| match never {});
        }
        let read = |begin: &[u8]| {
            let damaged = std::iter::repeat_with(|| Err::<Pair, _>("damaged"));
            let read = overlay.merge((Bound::Included(begin), Bound::Unbounded), damaged);
            read.map_while(Result::ok).map(|(key, _)| String::from_utf8_lossy(&key).into_owned()).collect::<Vec<_>>()
        };
        assert!(read(b"b").is_empty(), "something between may be there");
        assert_eq!(read(b"c"), ["c"]);
        assert_eq!(read(b"d"), ["d"]);
    }

    #[test]
    fn a_range_that_ends_before_it_begins_is_empty() {
        let mut overlay = Overlay::default();
        overlay.set(b"m", Some(b"1"), || Ok::<_, Infallible>(false)).unwrap_or_else(|never| match never {});
        let (low, high) = (b"a".as_slice(), b"z".as_slice());
        for (begin, end, want) in [
            (Bound::Included(low), Bound::Excluded(high), "m=1"),
            (Bound::Included(high), Bound::Excluded(low), ""),
            (Bound::Included(high), Bound::Included(low), ""),
            (Bound::Excluded(low), Bound::Excluded(low), ""),
            (Bound::Included(b"m".as_slice()), Bound::Included(b"m".as_slice()), "m=1"),
        ] {
            assert_eq!(told(overlay.merge((begin, end), std::iter::empty())), want, "{begin:?} {end:?}");
        }
    }
}
