//! Versioned bytes of a record and of a call in progress.
