//! SQL accounting sink: rows of MariaDB or MySQL, PostgreSQL or SQLite, in the tables of the proxies or in Tollgate's own.
//!
//! [`layout`] says which value goes to which column, [`row`] takes the values out of a record, and [`fit`] makes of each
//! what the column takes, whose type and width [`catalogue`] has from the database itself; [`plan`] writes the statement.
//! [`connection`] is the [`Attempt`](super::attempt::Attempt): a batch is one statement for each table. A repeat is made
//! harmless by the database, see [`Guard`]; which error is whose fault says [`failure`].

mod catalogue;
mod connection;
mod database;
mod failure;
mod fit;
mod kind;
mod layout;
mod plan;
mod read;
mod row;
mod schema;
pub mod settings;
mod side;

use std::sync::Arc;

use super::attempt::{Attempts, Render};

pub use super::profile::Profile;
pub use connection::{Connection, METRICS, SQL_CHANGED_VALUES_TOTAL};
pub use layout::names as column_names;
pub use read::{Column, Reader};
pub use row::{LEGS_MAX, Rows};
pub use schema::schema;
pub use settings::{Dialect, Empty, Guard, IdType, Mapping, Settings, Tables, Zone};

pub use side::SIDE_TABLE_DAYS;

use layout::Layouts;

/// A sink that inserts rows.
pub type SqlSink = Attempts<Connection>;

/// Makes rows of records as the settings say.
#[must_use]
pub fn render(settings: &Settings) -> Render<Rows> {
    let renderer = row::Renderer::new(settings);
    Box::new(move |record| renderer.rows(record))
}

/// The columns that are named twice for one table.
#[must_use]
pub fn doubles(settings: &Settings) -> Vec<String> {
    Layouts::new(settings).doubles().into_iter().map(str::to_owned).collect()
}

/// The fields that the columns of the profile need, with their templates.
#[must_use]
pub fn own_fields(settings: &Settings) -> Vec<(&'static str, &'static str)> {
    Layouts::new(settings).fields()
}

/// A connection that will be made as the settings say.
///
/// # Errors
/// What is wrong with the URL.
pub fn connection(name: &str, settings: &Settings) -> Result<Connection, String> {
    let made = Connection::new(name, &Arc::new(settings.clone()));
    // It says so at each level.
    made.map_err(|error| error.to_string().replace("error with configuration: ", ""))
}
