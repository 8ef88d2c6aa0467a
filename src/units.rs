//! Quantities with units and ranges, as configuration types: a value out of range does not parse.
//!
//! Each type holds its unit in its name and its range in its parameters, so that a `Settings` struct filled from them
//! needs no further check.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

/// A span in whole milliseconds, from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Millis<const MIN: u64, const MAX: u64>(u64);

/// A span in whole seconds, from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Secs<const MIN: u64, const MAX: u64>(u64);

/// A number of things, from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Count<const MIN: u64, const MAX: u64>(u64);

/// A size in mebibytes (2^20 octets), from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Mib<const MIN: u64, const MAX: u64>(u64);

/// A number lies outside its range.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{value} is outside {min} to {max}{}{unit}", if unit.is_empty() { "" } else { " " })]
pub struct OutOfRange {
    /// What was given.
    pub value: u64,
    /// Least allowed value.
    pub min: u64,
    /// Greatest allowed value.
    pub max: u64,
    /// Unit, empty for a count.
    pub unit: &'static str,
}

fn within(value: u64, min: u64, max: u64, unit: &'static str) -> Result<u64, OutOfRange> {
    if (min..=max).contains(&value) { Ok(value) } else { Err(OutOfRange { value, min, max, unit }) }
}

impl<const MIN: u64, const MAX: u64> Millis<MIN, MAX> {
    /// The span of `value` milliseconds.
    ///
    /// # Errors
    /// `value` is outside `MIN` to `MAX`.
    pub fn new(value: u64) -> Result<Self, OutOfRange> {
        within(value, MIN, MAX, "ms").map(Self)
    }

    /// The span as the standard library has it.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl<const MIN: u64, const MAX: u64> Secs<MIN, MAX> {
    /// The span of `value` seconds.
    ///
    /// # Errors
    /// `value` is outside `MIN` to `MAX`.
    pub fn new(value: u64) -> Result<Self, OutOfRange> {
        within(value, MIN, MAX, "s").map(Self)
    }

    /// The span as the standard library has it.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.0)
    }

    /// The span, or nothing for 0, which switches a limit off.
    #[must_use]
    pub const fn duration_unless_zero(self) -> Option<Duration> {
        if self.0 == 0 { None } else { Some(self.duration()) }
    }
}

impl<const MIN: u64, const MAX: u64> Count<MIN, MAX> {
    /// The number `value`.
    ///
    /// # Errors
    /// `value` is outside `MIN` to `MAX`.
    pub fn new(value: u64) -> Result<Self, OutOfRange> {
        within(value, MIN, MAX, "").map(Self)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number as a size of things in memory; `usize::MAX` where that is smaller.
    #[must_use]
    pub fn len(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// Whether the number is 0.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl<const MIN: u64, const MAX: u64> Mib<MIN, MAX> {
    /// The size of `value` mebibytes.
    ///
    /// # Errors
    /// `value` is outside `MIN` to `MAX`.
    pub fn new(value: u64) -> Result<Self, OutOfRange> {
        within(value, MIN, MAX, "MiB").map(Self)
    }

    /// The size in octets; `u64::MAX` where that is smaller.
    #[must_use]
    pub const fn octets(self) -> u64 {
        self.0.saturating_mul(1 << 20)
    }
}

/// Reads a whole number that is not negative.
struct Whole {
    what: &'static str,
    min: u64,
    max: u64,
}

impl Visitor<'_> for Whole {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {} to {}", self.what, self.min, self.max)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<u64, E> {
        Ok(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<u64, E> {
        let (min, max) = (self.min, self.max);
        u64::try_from(value).map_err(|_| E::custom(format_args!("{value} is negative, allowed is {min} to {max}")))
    }
}

fn number<'de, D: Deserializer<'de>>(input: D, what: &'static str, min: u64, max: u64) -> Result<u64, D::Error> {
    input.deserialize_u64(Whole { what, min, max })
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Millis<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        Self::new(number(input, "milliseconds", MIN, MAX)?).map_err(D::Error::custom)
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Secs<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        Self::new(number(input, "seconds", MIN, MAX)?).map_err(D::Error::custom)
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Count<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        Self::new(number(input, "a whole number", MIN, MAX)?).map_err(D::Error::custom)
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Mib<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        Self::new(number(input, "mebibytes", MIN, MAX)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_outside_its_range_is_refused_with_range_and_unit() {
        for (got, want) in [
            (Millis::<100, 30_000>::new(99).map(|_| ()), "99 is outside 100 to 30000 ms"),
            (Secs::<1, 10>::new(11).map(|_| ()), "11 is outside 1 to 10 s"),
            (Count::<1, 64>::new(0).map(|_| ()), "0 is outside 1 to 64"),
            (Mib::<10, 20>::new(21).map(|_| ()), "21 is outside 10 to 20 MiB"),
        ] {
            assert_eq!(got.expect_err("out of range").to_string(), want);
        }
        assert_eq!(Millis::<100, 30_000>::new(100).map(Millis::duration), Ok(Duration::from_millis(100)));
        assert_eq!(Secs::<0, 10>::new(0).map(Secs::duration_unless_zero), Ok(None));
        assert_eq!(Mib::<0, { u64::MAX }>::new(u64::MAX).map(Mib::octets), Ok(u64::MAX));
    }
}
