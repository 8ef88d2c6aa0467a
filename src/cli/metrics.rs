//! `tollgate metrics`: what the running service counts.

use serde_json::{Value, json};

use super::Failure;
use super::output::{self, Format};
use crate::metric::{Metric, Shape};
use crate::service;

/// Lists all metrics.
///
/// # Errors
/// Standard output takes nothing more.
pub fn run(format: &Format) -> Result<(), Failure> {
    let mut all: Vec<&Metric> = service::metrics::all().collect();
    all.sort_unstable_by_key(|metric| metric.name);
    let rows: Vec<Value> = all.iter().map(|metric| row(metric)).collect();
    let cells: Vec<Vec<String>> =
        rows.iter().map(|row| ["name", "type", "unit", "help"].map(|key| output::cell(&row[key])).to_vec()).collect();
    Ok(format.print(&json!(rows), || output::table(&["NAME", "TYPE", "UNIT", "WHAT IT SAYS"], &cells))?)
}

fn row(metric: &Metric) -> Value {
    let shape = match metric.shape {
        Shape::Counter => "counter",
        Shape::Gauge => "gauge",
        Shape::Histogram => "histogram",
    };
    json!({ "name": metric.name, "type": shape, "unit": metric.unit, "help": metric.help.trim() })
}
