//! Tests of the radiusclient family: one row for each statement about the format.

mod keywords;
mod lists;
mod secrets;

use std::collections::HashMap;

use super::*;
use crate::config::error::{Findings, Place};
use crate::config::keyword_file::LINE_OCTETS_MAX;
use crate::net::tls::NameCheck;

/// Files and names of a test.
#[derive(Default)]
struct Table {
    files: HashMap<PathBuf, (Vec<u8>, bool)>,
    names: HashMap<String, IpAddr>,
    opened: Vec<PathBuf>,
}

impl Surroundings for Table {
    fn read(&mut self, path: &Path) -> io::Result<(Vec<u8>, Readers)> {
        self.opened.push(path.to_owned());
        let (text, is_open) = self.files.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok((text.clone(), if *is_open { Readers::All } else { Readers::Few }))
    }

    fn resolve(&mut self, name: &str) -> Vec<IpAddr> {
        self.names.get(name).copied().into_iter().collect()
    }
}

impl Table {
    fn with(mut self, path: &str, text: impl Into<Vec<u8>>) -> Self {
        self.files.insert(path.into(), (text.into(), false));
        self
    }

    fn named(mut self, name: &str, address: &str) -> Self {
        self.names.insert(name.to_owned(), address.parse().unwrap());
        self
    }
}

/// What a complete file has besides the lines of interest.
const REST: &str = "\nradius_timeout 5\nradius_retries 2\n";

/// A server that needs no servers file.
const SERVER: &str = "acctserver 192.0.2.1:1813:long-enough-secret\n";

fn loaded(text: impl Into<Vec<u8>>) -> Result<RadiusClient, Mistakes> {
    let mut table = Table::default().with("/etc/t/radiusclient.conf", text).named("gw.example", "192.0.2.9");
    load(Path::new("/etc/t/radiusclient.conf"), Unknown::Refuse, &mut table)
}

/// The file of `line` with what it needs besides.
fn line(line: &str) -> Result<RadiusClient, Mistakes> {
    loaded(format!("{SERVER}{line}{REST}"))
}

/// Errors and warnings as text.
fn findings(result: &Result<RadiusClient, Mistakes>) -> Vec<String> {
    match result {
        Ok(client) => client.warnings.iter().map(ToString::to_string).collect(),
        Err(mistakes) => mistakes.0.iter().map(ToString::to_string).collect(),
    }
}

/// Asserts that there is one finding and that it contains `want`; an empty `want` is none.
fn assert_finding(name: &str, result: &Result<RadiusClient, Mistakes>, want: &str) {
    let found = findings(result);
    if want.is_empty() {
        assert_eq!(found, Vec::<String>::new(), "{name}");
    } else {
        assert_eq!(found.len(), 1, "{name}: {found:#?}");
        assert!(found[0].contains(want), "{name}: {}", found[0]);
    }
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
        let _ = loaded(text.clone());
        let mut found = Findings::default();
        let _ = servers::secrets(Path::new("s"), &text, &mut found);
    }

    #[test]
    fn no_near_text_panics(
        text in "(acctserver|servers|nas-ip|bindaddr|radius_timeout|serv-type|#|x| ){1,3}[ \t=#:\\[\\]@,.0-9a-fé\r\n]{0,40}"
    ) {
        let _ = loaded(text);
    }
}
