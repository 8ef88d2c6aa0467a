//! Tests of the accounting engine.
