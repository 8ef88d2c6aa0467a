//! Quantities with units and ranges.
