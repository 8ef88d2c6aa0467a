//! SIP: messages, transactions, dialogs and the proxy core, all without sockets.

pub(crate) mod dialog;
pub mod message;
pub(crate) mod proxy;
pub mod stack;
pub mod transaction;
