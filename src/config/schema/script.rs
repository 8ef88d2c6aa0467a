//! `[script]`.

use std::path::PathBuf;

use serde::Deserialize;

use super::super::decode::{At, Ordered};
use crate::policy::script::OnError;
use crate::units::{Count, Millis};

/// `[script]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScriptTable {
    /// The script; empty: none.
    pub file: Option<At<PathBuf>>,
    /// What becomes of a request whose handler has failed.
    pub on_error: Option<ScriptErrors>,
    /// How long a handler may take.
    pub time_max_ms: Option<Millis<1, 1_000>>,
    /// Instructions of a handler.
    pub instructions_max: Option<Count<1_000, 1_000_000_000>>,
    /// Memory of the script in each shard.
    pub memory_max_kib: Option<Count<256, 1_048_576>>,
    /// Runs of handlers that each shard keeps for `tollgate script trace`.
    pub trace_turns: Option<Count<0, 100_000>>,
    /// Tables that the script looks things up in: name to file.
    pub tables: Ordered<At<PathBuf>>,
}

/// What becomes of a request whose handler has failed.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum ScriptErrors {
    /// The routes decide.
    Routes,
    /// It gets 500.
    Refuse,
}

impl From<ScriptErrors> for OnError {
    fn from(word: ScriptErrors) -> Self {
        match word {
            ScriptErrors::Routes => Self::Routes,
            ScriptErrors::Refuse => Self::Refuse,
        }
    }
}
