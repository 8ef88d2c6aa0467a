//! The whole logic of one shard, without sockets.
