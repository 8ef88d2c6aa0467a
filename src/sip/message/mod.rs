//! SIP messages: index, parse, print (RFC 3261 §7, §25).
