//! Tests of the radiusclient family.
