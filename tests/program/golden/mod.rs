//! Every flow of `tests/golden/flows` is played through the gateway in the place of each system that it was played
//! through, and what comes out is compared with what that system wrote. What differs stands in
//! `tests/golden/differences.toml` with its reason, and nothing else there.

mod ends;
mod flow;
mod seen;
mod setup;
mod text;

use std::fs;
use std::path::{Path, PathBuf};

/// Where the data is.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The flows, each a folder.
fn flows() -> Vec<PathBuf> {
    let flows = fs::read_dir(folder().join("flows")).expect("the flows are there").flatten();
    let mut flows: Vec<_> = flows.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    flows.sort();
    flows
}

/// All golden files, with what they are called.
fn golden_files() -> impl Iterator<Item = (String, String)> {
    let files = flows().into_iter().flat_map(|flow| fs::read_dir(flow).expect("a folder").flatten());
    let files = files.map(|file| file.path()).filter(|path| path.extension().is_some_and(|end| end == "txt"));
    files.map(|path| (path.display().to_string(), read(&path)))
}
