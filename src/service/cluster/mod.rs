//! A gateway as one of many: its calls survive it, and it goes on with those of others.

mod desk;
mod leases;
mod metrics;
mod shards;
mod words;
