//! The table of RFC sections in `tests/README.md`: what each row claims has a place in the code that quotes the section,
//! and a test that is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::tidy::{is_test_file, sources};

/// A section of an RFC, such as `3261` and `16.7`; the whole RFC when it is empty.
type Section = (String, String);

/// What a text cites: `RFC 3261 §16.7`, `RFC 3261 §17.1 and §17.2`; with `bare` a number of four digits alone is an RFC.
fn cited(text: &str, bare: bool) -> BTreeSet<Section> {
    let mut found = BTreeSet::new();
    let mut rfc: Option<String> = None;
    let mut before = "";
    for word in text.split(|c: char| !(c.is_alphanumeric() || c == '§' || c == '.')).filter(|word| !word.is_empty()) {
        let word = word.trim_end_matches('.');
        let is_number = word.len() == 4 && word.bytes().all(|octet| octet.is_ascii_digit());
        if let Some(section) = word.strip_prefix('§') {
            if let Some(rfc) = &rfc {
                found.insert((rfc.clone(), section.to_owned()));
            }
        } else if is_number && (bare || before == "RFC") {
            found.insert((word.to_owned(), String::new()));
            rfc = Some(word.to_owned());
        } else if !bare && !["and", "or", "to", "step"].contains(&word) && word.parse::<u8>().is_err() {
            // The sentence goes on with something else: a later § is of whatever that names.
            rfc = None;
        }
        before = word;
    }
    found
}

/// Whether `own` is what a row claims, or a part of it.
fn proves(own: &Section, claim: &Section) -> bool {
    let inside = own.1.strip_prefix(&claim.1).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    own.0 == claim.0 && (claim.1.is_empty() || inside)
}

/// A text without what stands in back quotes, and that.
fn quoted(text: &str) -> (String, Vec<&str>) {
    let outside: Vec<_> = text.split('`').step_by(2).collect();
    (outside.join(" "), text.split('`').skip(1).step_by(2).collect())
}

/// Tests that a row names and that are not there. `stack` and `shard` before a name say in which folder it stands.
fn missing_tests(tests: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folder = String::new();
    let mut missing = Vec::new();
    for (index, part) in tests.split('`').enumerate() {
        if index % 2 == 0 {
            for word in part.split_whitespace() {
                match word {
                    "stack" => "src/sip/stack/tests".clone_into(&mut folder),
                    "shard" => "src/shard/tests".clone_into(&mut folder),
                    _ => {}
                }
            }
        } else if part.contains('/') {
            if let Some((above, _)) = part.rsplit_once('/') {
                above.clone_into(&mut folder);
            }
            if !root.join(part).exists() {
                missing.push(part.to_owned());
            }
        } else if part.ends_with(".rs") {
            if !root.join(&folder).join(part).exists() {
                missing.push(format!("{folder}/{part}"));
            }
        } else {
            let begin = format!("fn {}", part.trim_end_matches('…'));
            if !sources(&folder).iter().any(|source| source.text.contains(&begin)) {
                missing.push(format!("{part} in {folder}"));
            }
        }
    }
    missing
}

#[test]
fn each_row_of_the_rfc_table_has_its_place_and_its_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("tests/README.md")).expect("it is UTF-8");
    let (_, table) = text.split_once("## RFCs\n").expect("the table is there");
    let rows: Vec<Vec<&str>> = table
        .lines()
        .take_while(|line| !line.starts_with("## "))
        .filter(|line| line.starts_with("| ") && line.contains(|c: char| c.is_ascii_digit()))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    assert!(rows.len() > 15, "{} rows were found", rows.len());
    let code: BTreeSet<Section> = sources("src")
        .iter()
        .filter(|source| !is_test_file(&source.path))
        .flat_map(|source| {
            // A comment breaks where its line ends.
            let joined =
                source.text.lines().map(|line| line.trim_start().trim_start_matches(['/', '!'])).collect::<Vec<_>>();
            cited(&joined.join(" "), false)
        })
        .collect();
    let mut faults = Vec::new();
    for row in rows {
        let [claim, _, tests] = row[..] else { panic!("a row has three columns: {row:?}") };
        let claims = cited(&quoted(claim).0, true);
        // `3261 §16.6` claims the section and not all of 3261.
        let whole =
            |own: &Section| own.1.is_empty() && claims.iter().any(|other| other.0 == own.0 && !other.1.is_empty());
        for own in claims.iter().filter(|own| !whole(own)) {
            if !code.iter().any(|place| proves(place, own)) {
                faults.push(format!("no place in src quotes RFC {} §{} ({claim})", own.0, own.1));
            }
        }
        faults.extend(missing_tests(tests).into_iter().map(|name| format!("no test {name} ({claim})")));
        if !tests.contains('`') {
            faults.push(format!("no test is named ({claim})"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn citations_are_found_in_sentences() {
    type Row = (&'static str, bool, &'static [(&'static str, &'static str)]);
    let rows: &[Row] = &[
        ("as RFC 3261 §16.7 step 6 says", false, &[("3261", ""), ("3261", "16.7")]),
        ("(RFC 3261 §17.1.1 and §17.2.1)", false, &[("3261", ""), ("3261", "17.1.1"), ("3261", "17.2.1")]),
        ("RFC 2543. As §4 of the manual has it", false, &[("2543", "")]),
        ("at 1000 calls, §4", false, &[]),
        (
            "3261 §9, §16.10 CANCEL; 3326 its Reason",
            true,
            &[("3261", ""), ("3261", "9"), ("3261", "16.10"), ("3326", "")],
        ),
        ("3263 next hop: §4.1 NAPTR", true, &[("3263", ""), ("3263", "4.1")]),
    ];
    for (text, bare, want) in rows {
        let want: BTreeSet<Section> = want.iter().map(|(rfc, own)| ((*rfc).to_owned(), (*own).to_owned())).collect();
        assert_eq!(cited(text, *bare), want, "{text}");
    }
}
