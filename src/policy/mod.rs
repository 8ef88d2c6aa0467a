//! Decides where a request goes and what is recorded of it.
