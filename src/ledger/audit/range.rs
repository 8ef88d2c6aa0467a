//! Which time an audit is about: a day of a time zone, or from one instant to another.

use jiff::Zoned;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use crate::clock::Timestamp;

/// From an instant to another one, which is not part of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Range {
    /// The first instant.
    pub from: Timestamp,
    /// The first one behind it.
    pub to: Timestamp,
    /// In words, with the time zone.
    pub title: String,
}

/// A time cannot be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct BadRange(String);

impl Range {
    /// A day: `today`, `yesterday` or a date such as `2026-11-20`, from its first instant in the time zone to that of the
    /// next day, 23 or 25 hours later where the clocks are changed.
    ///
    /// # Errors
    /// It is no day.
    pub fn day(text: &str, zone: &TimeZone, now: Timestamp) -> Result<Self, BadRange> {
        let today = zoned(now, zone)?.date();
        let wrong =
            || BadRange(format!("`{text}` is no day: write `yesterday`, `today` or a date such as `2026-11-20`"));
        let date = match text {
            "today" => today,
            "yesterday" => today.yesterday().map_err(|_| wrong())?,
            other => other.parse::<Date>().map_err(|_| wrong())?,
        };
        let begin = |date: Date| date.to_zoned(zone.clone()).map_err(|_| wrong());
        let (from, to) = (begin(date)?, begin(date.tomorrow().map_err(|_| wrong())?)?);
        let hours = (to.timestamp().as_second() - from.timestamp().as_second()) / 3600;
        let changed = if hours == 24 { String::new() } else { format!(", {hours} hours: the clocks are changed") };
        Ok(Self { from: of(&from), to: of(&to), title: format!("{date} ({}{changed})", name(zone)) })
    }

    /// From one time to another: each a date, a date with a time of day, both in the time zone, or an instant with its offset.
    ///
    /// # Errors
    /// One is no time, or they are in the wrong order.
    pub fn between(from: &str, to: Option<&str>, zone: &TimeZone, now: Timestamp) -> Result<Self, BadRange> {
        let begin = time(from, zone)?;
        let end = to.map_or(Ok(now), |to| time(to, zone))?;
        if end <= begin {
            return Err(BadRange(format!("`--to` is not behind `--from`: {end} and {begin}")));
        }
        let title = format!("{from} to {} ({})", to.unwrap_or("now"), name(zone));
        Ok(Self { from: begin, to: end, title })
    }

    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self { from: Timestamp(i64::MIN), to: Timestamp(i64::MAX), title: "all days that are kept".to_owned() }
    }

    /// Whether an instant lies in it.
    #[must_use]
    pub fn has(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.to
    }
}

/// The time zone of this name, or that of the machine.
///
/// # Errors
/// There is none of that name.
pub fn zone(name: Option<&str>) -> Result<TimeZone, BadRange> {
    let Some(name) = name else { return Ok(TimeZone::system()) };
    TimeZone::get(name)
        .map_err(|_| BadRange(format!("`{name}` is no time zone: write one such as `Europe/Berlin` or `UTC`")))
}

/// A local time that the clocks pass over is the first instant behind the gap, one that they pass twice the first of both.
fn time(text: &str, zone: &TimeZone) -> Result<Timestamp, BadRange> {
    if let Ok(instant) = text.parse::<jiff::Timestamp>() {
        return Ok(Timestamp(instant.as_microsecond()));
    }
    let wrong = || {
        BadRange(format!("`{text}` is no time: write `2026-11-20`, `2026-11-20T13:00` or `2026-11-20T13:00:00+01:00`"))
    };
    let local = text.parse::<DateTime>().map_err(|_| wrong())?;
    Ok(of(&local.to_zoned(zone.clone()).map_err(|_| wrong())?))
}

fn zoned(at: Timestamp, zone: &TimeZone) -> Result<Zoned, BadRange> {
    let instant = jiff::Timestamp::from_microsecond(at.0);
    instant.map(|instant| instant.to_zoned(zone.clone())).map_err(|_| BadRange(format!("no calendar has {at}")))
}

fn of(time: &Zoned) -> Timestamp {
    Timestamp(time.timestamp().as_microsecond())
}

fn name(zone: &TimeZone) -> String {
    zone.iana_name().unwrap_or("local time").to_owned()
}

/// An instant in a time zone, to the second, for people.
#[must_use]
pub fn local(at: Timestamp, zone: &TimeZone) -> String {
    zoned(at, zone).map_or_else(|_| at.to_string(), |time| time.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-29T23:30:00Z";

    fn now() -> Timestamp {
        Timestamp(NOW.parse::<jiff::Timestamp>().unwrap().as_microsecond())
    }

    #[test]
    fn a_day_is_that_of_the_time_zone_also_when_the_clocks_are_changed() {
        for (name, day, place, from, hours) in [
            ("yesterday in UTC", "yesterday", "UTC", "2026-11-28T00:00:00Z", 24),
            ("it is tomorrow in Berlin", "yesterday", "Europe/Berlin", "2026-11-28T23:00:00Z", 24),
            ("today", "today", "America/New_York", "2026-11-29T05:00:00Z", 24),
            ("summer begins", "2026-03-29", "Europe/Berlin", "2026-03-28T23:00:00Z", 23),
            ("summer ends", "2026-10-25", "Europe/Berlin", "2026-10-24T22:00:00Z", 25),
            ("midnight is passed over", "2026-09-06", "America/Santiago", "2026-09-06T04:00:00Z", 23),
            ("half an hour", "2026-04-05", "Australia/Lord_Howe", "2026-04-04T13:00:00Z", 24),
        ] {
            let zone = zone(Some(place)).unwrap();
            let range = Range::day(day, &zone, now()).unwrap();
            assert_eq!(range.from.to_string(), from.replace('Z', ".000000Z"), "{name}");
            assert_eq!((range.to.0 - range.from.0) / 3_600_000_000, hours, "{name}");
            assert_eq!(range.title.contains("clocks"), hours != 24, "{name}");
        }
    }

    #[test]
    fn times_are_read_in_the_zone_or_by_their_offset() {
        let zone = zone(Some("Europe/Berlin")).unwrap();
        for (from, to, want) in [
            ("2026-11-20", None, "2026-11-19T23:00:00.000000Z"),
            ("2026-11-20T13:00", Some("2026-11-21"), "2026-11-20T12:00:00.000000Z"),
            ("2026-11-20T13:00:00Z", Some("2026-11-20T13:00:01Z"), "2026-11-20T13:00:00.000000Z"),
            ("2026-03-29T02:30", None, "2026-03-29T01:30:00.000000Z"),
            ("2026-10-25T02:30", None, "2026-10-25T00:30:00.000000Z"),
        ] {
            assert_eq!(Range::between(from, to, &zone, now()).unwrap().from.to_string(), want, "{from}");
        }
        for (from, to) in [("x", None), ("2026-11-20", Some("2026-11-20")), ("2027-01-01", None), ("2026-13-01", None)]
        {
            assert!(Range::between(from, to, &zone, now()).is_err(), "{from} {to:?}");
        }
        for day in ["", "monday", "2026-02-30", "20.11.2026"] {
            let error = Range::day(day, &zone, now()).unwrap_err().to_string();
            assert!(error.contains("yesterday"), "{error}");
        }
    }

    #[test]
    fn a_time_zone_that_there_is_not_is_an_error() {
        let error = zone(Some("Europe/Bärlin")).unwrap_err().to_string();
        assert!(error.contains("`Europe/Bärlin` is no time zone"), "{error}");
    }
}
