//! RADIUS accounting client machines (RFC 2866, RFC 5080).
