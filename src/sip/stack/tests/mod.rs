//! Flows in virtual time: actors at addresses of their own, the stack between them.

mod flows;
mod script;
