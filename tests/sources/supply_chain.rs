//! What the crates are that Tollgate is made of: their licences, where they come from, how many versions of one there are,
//! and, where TOLLGATE_ADVISORIES names a checkout of the RustSec database, what is known against them. `deny.toml` says
//! what is allowed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use semver::{Version, VersionReq};
use toml::{Table, Value};

/// A crate that is compiled in, or into a test.
struct Package {
    name: String,
    version: Version,
    license: Option<String>,
    source: Option<String>,
    manifest: PathBuf,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rules() -> Table {
    fs::read_to_string(root().join("deny.toml")).unwrap().parse().unwrap()
}

/// All packages of this platform.
fn packages() -> Vec<Package> {
    let cargo = |words: &[&str]| {
        let output = Command::new(env!("CARGO")).args(words).current_dir(root()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    // Everything it asks about was downloaded for the build of this test.
    let platform = rules()["graph"]["targets"][0].as_str().unwrap().to_owned();
    let words = ["metadata", "--format-version=1", "--locked", "--offline", "--filter-platform", &platform];
    let metadata: serde_json::Value = serde_json::from_slice(&cargo(&words)).unwrap();
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    let packages = metadata["packages"].as_array().unwrap().iter().map(|own| Package {
        name: text(&own["name"]).unwrap(),
        version: own["version"].as_str().unwrap().parse().unwrap(),
        license: text(&own["license"]),
        source: text(&own["source"]),
        manifest: text(&own["manifest_path"]).unwrap().into(),
    });
    let found: Vec<_> = packages.collect();
    assert!(found.len() > 100, "{} packages only", found.len());
    found
}

/// Whether a licence expression (SPDX, or with `/` as older ones have it) can be met by `allowed`.
fn is_met(expression: &str, allowed: &[&str]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let met = any(&words, &mut at, allowed);
    met && at == words.len()
}

fn any(words: &[&str], at: &mut usize, allowed: &[&str]) -> bool {
    let mut met = all(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        met |= all(words, at, allowed);
    }
    met
}

fn all(words: &[&str], at: &mut usize, allowed: &[&str]) -> bool {
    let mut met = one(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        met &= one(words, at, allowed);
    }
    met
}

fn one(words: &[&str], at: &mut usize, allowed: &[&str]) -> bool {
    let Some(word) = words.get(*at) else { return false };
    *at += 1;
    if *word == "(" {
        let met = any(words, at, allowed);
        let is_closed = words.get(*at) == Some(&")");
        *at += 1;
        return met && is_closed;
    }
    if words.get(*at) == Some(&"WITH") {
        // An exception is a licence of its own.
        *at += 2;
        return false;
    }
    allowed.contains(word)
}

#[test]
fn licence_expressions_are_read() {
    for (expression, want) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("MIT OR GPL-3.0", true),
        ("MIT AND GPL-3.0", false),
        ("Unlicense/MIT", true),
        ("(MIT OR GPL-3.0) AND ISC", true),
        ("(MIT OR ISC) AND GPL-3.0", false),
        ("GPL-3.0 AND MIT OR ISC", true),
        ("Apache-2.0 WITH LLVM-exception OR MIT", true),
        ("Apache-2.0 WITH LLVM-exception", false),
        ("(MIT", false),
        ("MIT ISC", false),
        ("", false),
    ] {
        assert_eq!(is_met(expression, &["MIT", "ISC", "Apache-2.0"]), want, "{expression}");
    }
}

#[test]
fn every_crate_has_a_licence_that_is_allowed() {
    let rules = rules();
    let allowed: Vec<&str> = rules["licenses"]["allow"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let clarified = rules["licenses"]["clarify"].as_array().unwrap();
    let clarified: Vec<&str> = clarified.iter().filter_map(|own| own["crate"].as_str()).collect();
    let mut wrong = Vec::new();
    for own in packages().iter().filter(|own| own.source.is_some()) {
        let is_good = match &own.license {
            Some(expression) => is_met(expression, &allowed),
            None => {
                let name = format!("{}@{}", own.name, own.version);
                let text = fs::read_to_string(own.manifest.with_file_name("LICENSE"));
                clarified.contains(&name.as_str()) && text.is_ok_and(|text| text.starts_with("MIT License"))
            }
        };
        if !is_good {
            wrong.push(format!("{} {}: {:?}", own.name, own.version, own.license));
        }
    }
    assert!(wrong.is_empty(), "not allowed by deny.toml:\n{}", wrong.join("\n"));
}

#[test]
fn every_crate_comes_from_the_registry() {
    let rules = rules();
    let allowed: Vec<_> =
        rules["sources"]["allow-registry"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    for own in packages() {
        let source = own.source.as_deref().unwrap_or_default();
        let is_good = source.strip_prefix("registry+").is_some_and(|url| allowed.contains(&url));
        assert!(is_good || own.name == "tollgate", "{} comes from {source:?}", own.name);
    }
}

#[test]
fn a_crate_has_one_version_or_a_reason() {
    let rules = rules();
    let mut skipped = BTreeSet::new();
    for own in rules["bans"]["skip"].as_array().unwrap() {
        assert!(!own["reason"].as_str().unwrap().is_empty());
        skipped.insert(own["crate"].as_str().unwrap().to_owned());
    }
    let mut versions: BTreeMap<String, Vec<Version>> = BTreeMap::new();
    for own in packages() {
        versions.entry(own.name).or_default().push(own.version);
    }
    let mut older = BTreeSet::new();
    for (name, list) in &mut versions {
        list.sort();
        list.pop();
        older.extend(list.iter().map(|version| format!("{name}@{version}")));
    }
    let new: Vec<_> = older.difference(&skipped).collect();
    assert!(new.is_empty(), "beside a newer version: {new:?}; see `cargo tree -d`, then deny.toml");
    let gone: Vec<_> = skipped.difference(&older).collect();
    assert!(gone.is_empty(), "deny.toml skips what is there no more: {gone:?}");
}

/// What one advisory of the database says: its id, its crate, and the versions it does not concern.
struct Advisory {
    id: String,
    package: String,
    unconcerned: Vec<VersionReq>,
}

impl Advisory {
    /// From its file: Markdown that begins with TOML. `None` when it was withdrawn.
    fn read(text: &str) -> Option<Self> {
        let toml: Table = text.split("```toml").nth(1)?.split("```").next()?.parse().ok()?;
        let about = &toml["advisory"];
        if about.get("withdrawn").is_some() {
            return None;
        }
        let lists = ["patched", "unaffected"].map(|list| toml.get("versions").and_then(|own| own.get(list)));
        let all = lists.into_iter().flatten().filter_map(Value::as_array).flatten().filter_map(Value::as_str);
        let unconcerned = all.filter_map(|text| VersionReq::parse(text).ok()).collect();
        let text = |key: &str| about[key].as_str().map(str::to_owned);
        Some(Self { id: text("id")?, package: text("package")?, unconcerned })
    }

    fn concerns(&self, name: &str, version: &Version) -> bool {
        self.package == name && !self.unconcerned.iter().any(|range| range.matches(version))
    }
}

#[test]
fn an_advisory_concerns_the_versions_it_names() {
    let text = "```toml\n[advisory]\nid = \"RUSTSEC-2000-0001\"\npackage = \"odd\"\n[versions]\npatched = [\">= 1.2.3\"]\n\
                unaffected = [\"< 1.0.0\"]\n```\n\n# It is odd\n";
    let advisory = Advisory::read(text).unwrap();
    for (name, version, want) in
        [("odd", "1.1.0", true), ("odd", "1.2.3", false), ("odd", "0.9.0", false), ("even", "1.1.0", false)]
    {
        assert_eq!(advisory.concerns(name, &version.parse().unwrap()), want, "{name} {version}");
    }
    let withdrawn = text.replace("package", "withdrawn = \"2001-01-01\"\npackage");
    assert!(Advisory::read(&withdrawn).is_none());
}

#[test]
fn nothing_is_known_against_a_crate() {
    let Some(database) = std::env::var_os("TOLLGATE_ADVISORIES").map(PathBuf::from) else {
        eprintln!("skipped: TOLLGATE_ADVISORIES names no database of advisories");
        return;
    };
    let rules = rules();
    let ignored: Vec<_> =
        rules["advisories"]["ignore"].as_array().unwrap().iter().map(|own| own["id"].as_str()).collect();
    let mut found = Vec::new();
    for own in packages() {
        let Ok(files) = fs::read_dir(database.join("crates").join(&own.name)) else { continue };
        for file in files {
            let Some(advisory) = Advisory::read(&fs::read_to_string(file.unwrap().path()).unwrap()) else { continue };
            if advisory.concerns(&own.name, &own.version) && !ignored.contains(&Some(advisory.id.as_str())) {
                found.push(format!("{}: {} {}", advisory.id, own.name, own.version));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_program_is_made_without_openssl() {
    let words = ["tree", "--locked", "--offline", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"];
    let output = Command::new(env!("CARGO")).args(words).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    assert!(tree.lines().any(|line| line.starts_with("rustls ")), "{tree}");
    let found: Vec<_> =
        tree.lines().filter(|line| line.contains("openssl-sys") || line.contains("native-tls")).collect();
    assert!(found.is_empty(), "{found:?}");
}
