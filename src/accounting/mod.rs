//! Turns transaction and dialog events into records.
