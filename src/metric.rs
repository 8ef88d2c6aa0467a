//! Metrics by name: what a name stands for is written once, and is its documentation, its constant and what Prometheus is
//! told.

/// How a metric behaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shape {
    /// Rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts values by size.
    Histogram,
}

/// What Prometheus is told of a metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name: `tollgate_SUBSYSTEM_NOUN_UNIT`, and `_total` behind it for a counter.
    pub name: &'static str,
    /// How it behaves.
    pub shape: Shape,
    /// What it is counted in: a word that ends the name, or [`TRUTH`].
    pub unit: &'static str,
    /// What it says, with its labels.
    pub help: &'static str,
    /// Upper bounds of the buckets of a histogram; empty for [`ROUND_TRIP`].
    pub buckets: &'static [f64],
}

/// The unit of a gauge that says whether something holds.
pub const TRUTH: &str = "0 or 1";

/// Upper bounds of buckets for round trips and commits, in seconds.
pub const ROUND_TRIP: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Upper bounds of buckets for what people wait for until a call stands, in seconds: Timer C is the last.
pub const RINGING: &[f64] = &[0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 181.0];

/// Upper bounds of buckets for what waits for a backend, in seconds: from an answer at once to an outage of days.
pub const WAITING: &[f64] =
    &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1_800.0, 7_200.0, 43_200.0, 172_800.0];

/// Makes constants of names, and a list of what they are:
///
/// ```text
/// metrics_of! { LIST:
///     /// What it says, by `label`.
///     counter NAME = "tollgate_things_total", "things";
///     histogram OTHER = "tollgate_wait_seconds", "seconds", WAITING;
/// }
/// ```
macro_rules! metrics_of {
    (@shape counter) => { $crate::metric::Shape::Counter };
    (@shape gauge) => { $crate::metric::Shape::Gauge };
    (@shape histogram) => { $crate::metric::Shape::Histogram };
    (@buckets) => { &[] };
    (@buckets $buckets:ident) => { $crate::metric::$buckets };
    ($list:ident: $($(#[doc = $help:literal])+ $shape:ident $name:ident = $text:literal, $unit:expr $(, $buckets:ident)?;)+) => {
        $(
            $(#[doc = $help])+
            pub const $name: &str = $text;
        )+
        /// What Prometheus is told of these.
        pub const $list: &[$crate::metric::Metric] = &[$($crate::metric::Metric {
            name: $text,
            shape: $crate::metric::metrics_of!(@shape $shape),
            unit: $unit,
            help: concat!($($help),+),
            buckets: $crate::metric::metrics_of!(@buckets $($buckets)?),
        }),+];
    };
}
pub(crate) use metrics_of;
