//! SIP: messages, transactions, the proxy core, and the shell that moves datagrams.

pub mod dialog;
pub mod message;
pub mod proxy;
pub mod stack;
pub mod transaction;
pub mod transport;
