//! SQL accounting sink: rows of MariaDB or MySQL, PostgreSQL or SQLite, in the tables of the proxies or in Tollgate's own.
//!
//! [`layout`] says which value goes to which column, [`row`] takes the values out of a record, and [`fit`] makes of each
//! what the column takes, whose type and width [`catalogue`] has from the database itself.

// The connection that they are for comes next.
#![allow(dead_code)]

mod catalogue;
mod database;
mod failure;
mod fit;
mod layout;
mod plan;
mod row;
mod schema;
pub mod settings;
