//! Delivery to backends.
