//! Records as ACRs.
