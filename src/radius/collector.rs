//! The other side.
