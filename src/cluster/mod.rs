//! Many gateways as one: what they share lies in streams and buckets of NATS JetStream.

pub mod calls;
pub mod lease;
pub mod roster;
pub mod share;
