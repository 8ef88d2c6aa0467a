//! Record-Route and what it tells of a dialog (RFC 3261 §12, §16.4, §16.6).
