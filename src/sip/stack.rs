//! One shard's SIP machine: transactions under the proxy core.
