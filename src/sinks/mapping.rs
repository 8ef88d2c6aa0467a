//! What the settings of every sink say about records: rounding, fields without a place of their own.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

/// How a span becomes whole seconds.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Round {
    /// To the nearest second, half a second up.
    #[default]
    #[serde(rename = "nearest")]
    HalfUp,
    /// Down.
    Truncate,
    /// Up.
    Up,
}

impl Round {
    /// Whole seconds of a span; `u32::MAX` for what exceeds it.
    #[must_use]
    pub fn seconds(self, span: Duration) -> u32 {
        let more = match self {
            Self::HalfUp => span.subsec_millis() >= 500,
            Self::Truncate => false,
            Self::Up => span.subsec_nanos() > 0,
        };
        u32::try_from(span.as_secs().saturating_add(u64::from(more))).unwrap_or(u32::MAX)
    }
}

/// What happens to a field without an attribute of its own.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Unmapped {
    /// It travels as `name=value` in `Tollgate-Field`, on Rf in Service-Specific-Info; a leg in `Tollgate-Leg`.
    #[default]
    Own,
    /// It is left out.
    Omit,
}

/// All that is wrong with a sink's settings.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SetupErrors<E>(pub Vec<E>);

impl<E: std::error::Error> std::error::Error for SetupErrors<E> {}

impl<E: fmt::Display> fmt::Display for SetupErrors<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if number > 0 { "; " } else { "" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_rounded_as_configured() {
        for (millis, half_up, truncate, up) in
            [(0, 0, 0, 0), (1, 0, 0, 1), (499, 0, 0, 1), (500, 1, 0, 1), (1499, 1, 1, 2), (2000, 2, 2, 2)]
        {
            for (round, want) in [(Round::HalfUp, half_up), (Round::Truncate, truncate), (Round::Up, up)] {
                assert_eq!(round.seconds(Duration::from_millis(millis)), want, "{millis} ms, {round:?}");
            }
        }
        assert_eq!(Round::Up.seconds(Duration::MAX), u32::MAX);
    }
}
