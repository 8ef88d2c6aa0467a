//! SIP: messages, transactions, dialogs and the proxy core, all without sockets.

pub mod dialog;
pub mod message;
pub mod proxy;
pub mod stack;
pub mod transaction;
