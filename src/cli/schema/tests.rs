//! The schema that is shipped is what the readers of the file want, and says what its sample says.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::cli::manual::sample::{Item, Part, read};
use crate::config::sample_tests;
use crate::config::walk::{self, Shape};

const SAMPLE: &str = include_str!("../../../etc/tollgate.toml");

/// Characters of a description at most, but for its first sentence.
const DESCRIPTION_MAX: usize = 200;

/// What the sample says of an option.
#[derive(Default)]
struct Said {
    description: String,
    default: Option<Value>,
}

/// By the path without names of sinks.
fn said() -> BTreeMap<String, Said> {
    let mut all: BTreeMap<String, Said> = BTreeMap::new();
    let mut section = String::new();
    for item in read(SAMPLE).items {
        let (lines, text) = match item {
            Item::Text(text) => (Vec::new(), text),
            Item::Section { head, text } => {
                section = path_of(&head);
                all.entry(section.clone()).or_default().description = description(&text);
                (Vec::new(), text)
            }
            Item::Options { lines, text } => (lines, text),
        };
        let shown = text.iter().filter_map(|part| if let Part::Example(lines) = part { Some(lines) } else { None });
        for name in lines.iter().chain(shown.flatten()).filter_map(|line| line.split_once(" = ")).map(|(name, _)| name)
        {
            let own = all.entry(format!("{section}.{name}")).or_default();
            if own.description.is_empty() {
                own.description = description(&text);
            }
        }
    }
    for line in SAMPLE.lines() {
        let bare = line.trim_start_matches('#');
        if bare.starts_with('[') {
            section = path_of(bare);
        } else if let Some(table) = default(line) {
            for (name, value) in table {
                let default = serde_json::to_value(value).expect("values of TOML are values of JSON");
                all.entry(format!("{section}.{name}")).or_default().default = Some(default);
            }
        }
    }
    all
}

/// What a line such as `#shards = 0` shows.
fn default(line: &str) -> Option<toml::Table> {
    line.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()))?.parse().ok()
}

/// `[sinks.radius.billing.fields]` is `sinks.radius.fields`.
fn path_of(head: &str) -> String {
    let steps = head.trim_matches(['[', ']']).split('.').enumerate();
    let is_name = |at: usize| head.contains("[sinks.") && at == 2;
    steps.filter(|(at, _)| !is_name(*at)).map(|(_, step)| step).collect::<Vec<_>>().join(".")
}

/// The first sentences.
fn description(text: &[Part]) -> String {
    let prose = text.iter().map_while(|part| match part {
        Part::Prose(words) => Some(words.as_str()),
        Part::Term(..) | Part::Example(_) => None,
    });
    let all = prose.collect::<Vec<_>>().join(" ");
    let mut end = 0;
    for sentence in all.split_inclusive(". ") {
        if end > 0 && end + sentence.len() > DESCRIPTION_MAX {
            break;
        }
        end += sentence.len();
    }
    all[..end].trim_end_matches([' ', ':']).to_owned()
}

fn schema(shape: &Shape, path: &str, said: &BTreeMap<String, Said>) -> Value {
    match shape {
        Shape::Table { members, required } => {
            let member = |(name, shape): &(&str, Shape)| {
                let dot = if path.is_empty() { "" } else { "." };
                ((*name).to_owned(), schema_of(shape, &format!("{path}{dot}{name}"), said))
            };
            let properties: Map<String, Value> = members.iter().map(member).collect();
            let mut table = json!({ "type": "object", "additionalProperties": false, "properties": properties });
            if !required.is_empty() {
                table["required"] = json!(required);
            }
            table
        }
        Shape::Free(inner) => json!({ "type": "object", "additionalProperties": schema(inner, path, said) }),
        Shape::List(inner) => json!({ "type": "array", "items": schema(inner, path, said) }),
        Shape::OneOrMany(inner) => {
            let one = schema(inner, path, said);
            json!({ "anyOf": [one, { "type": "array", "items": one }] })
        }
        Shape::Words(words) => json!({ "enum": words }),
        Shape::Switch => json!({ "type": "boolean" }),
        Shape::Number(None) => json!({ "type": "integer" }),
        Shape::Number(Some((min, max))) => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Shape::Text => json!({ "type": "string" }),
        Shape::Either(all) => json!({ "anyOf": all.iter().map(|one| schema(one, path, said)).collect::<Vec<_>>() }),
    }
}

/// The same with what is said of the option.
fn schema_of(shape: &Shape, path: &str, said: &BTreeMap<String, Said>) -> Value {
    let mut schema = schema(shape, path, said);
    let own = said.get(path);
    // What several kinds of sinks have alike is explained once.
    let alike = || {
        let (kind, name) = path.strip_prefix("sinks.")?.split_once('.')?;
        let others = said
            .iter()
            .filter(|(other, _)| other.starts_with("sinks.") && !other.starts_with(&format!("sinks.{kind}.")));
        others
            .filter(|(other, _)| other.ends_with(&format!(".{name}")))
            .map(|(_, own)| own)
            .find(|own| !own.description.is_empty())
    };
    if let Some(own) = own.filter(|own| !own.description.is_empty()).or_else(alike) {
        schema["description"] = json!(own.description);
    }
    if let Some(default) = own.and_then(|own| own.default.as_ref()) {
        schema["default"] = default.clone();
    }
    schema
}

/// A line for each table, but those with tables inside in several.
fn print(value: &Value, indent: usize, text: &mut String) {
    match value {
        Value::Object(members) if has_tables(value) => {
            text.push_str("{\n");
            for (number, (name, member)) in members.iter().enumerate() {
                let comma = if number > 0 { ",\n" } else { "" };
                *text += &format!("{comma}{}{}: ", " ".repeat(indent), json!(name));
                print(member, indent + 1, text);
            }
            text.push('}');
        }
        other => *text += &other.to_string(),
    }
}

/// Whether there are tables with options inside a schema.
fn has_tables(schema: &Value) -> bool {
    let members = schema.as_object().into_iter().flat_map(Map::values);
    members.filter(|own| own.is_object()).any(|own| own.get("properties").is_some() || has_tables(own))
}

#[test]
fn what_is_shipped_is_what_the_readers_want() {
    let mut whole = schema(&walk::file(), "", &said());
    whole["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    whole["title"] = json!("tollgate.toml");
    let mut want = String::new();
    print(&whole, 0, &mut want);
    want.push('\n');
    // TOLLGATE_WRITE=1 writes it anew.
    if std::env::var_os("TOLLGATE_WRITE").is_some() {
        fs::write(path(), &want).expect("the file is written");
    }
    let shipped = fs::read_to_string(path()).unwrap_or_default();
    assert!(shipped == want, "etc/tollgate.schema.json is not what the code makes: TOLLGATE_WRITE=1 writes it anew");
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/tollgate.schema.json")
}

fn shipped() -> Value {
    let text = fs::read_to_string(path()).expect("it is there");
    serde_json::from_str(&text).expect("it is JSON")
}

fn is_valid(validator: &jsonschema::Validator, toml: &str) -> bool {
    let table: toml::Table = toml.parse().expect("it is TOML");
    validator.is_valid(&serde_json::to_value(table).expect("values of TOML are values of JSON"))
}

#[test]
fn the_sample_fits_with_all_its_options_and_what_is_wrong_does_not() {
    let schema = shipped();
    let validator = jsonschema::validator_for(&schema).expect("it is a schema");
    assert!(is_valid(&validator, SAMPLE));
    let is_option =
        |line: &str| line.strip_prefix('#').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()));
    let sample = sample_tests::sample();
    let all: String =
        sample.lines().map(|line| if is_option(line) { &line[1..] } else { line }.to_owned() + "\n").collect();
    assert!(is_valid(&validator, &all), "with all options");
    for line in sample.lines().filter(|line| is_option(line)) {
        let name = line[1..].split(' ').next().expect("a line has a first word");
        let wrong = sample.replacen(&format!("\n{line}\n"), &format!("\n{name} = 5.5\n"), 1);
        assert!(!is_valid(&validator, &wrong), "{line}");
    }
    for (name, toml, want) in [
        ("nothing", "", true),
        ("a section nobody knows", "[spi]", false),
        ("an option nobody knows", "sip.shard = 1", false),
        ("an option of another section", "sip.path = \"a\"", false),
        ("a number outside its range", "sip.t1_ms = 99", false),
        ("a number at its end", "sip.t1_ms = 100", true),
        ("a number as text", "sip.t1_ms = \"100\"", false),
        ("a word nobody knows", "[[route]]\nfork = \"serail\"", false),
        ("a table for a list of tables", "[route]\nto = \"sip:a\"", false),
        ("one target", "[[route]]\nto = \"sip:a\"", true),
        ("several targets", "[[route]]\nto = [\"sip:a\", \"sip:b\"]", true),
        ("a target that is a number", "[[route]]\nto = [5]", false),
        ("an answer without its code", "[[route]]\nanswer = { reason = \"a\" }", false),
        ("an answer", "[[route]]\nanswer = { code = 404 }", true),
        ("flags as a list", "accounting.flags = [\"failed\"]", true),
        ("flags as a table", "accounting.flags = { failed = [\"a\"], log_flag = 3, db_flag = \"ACC\" }", true),
        ("a flag nobody knows", "accounting.flags = { fialed = [\"a\"] }", false),
        ("where fields come from", "accounting.in_dialog_fields = \"call\"", true),
        ("where each comes from", "accounting.in_dialog_fields = { src = \"call\" }", true),
        ("where none comes from", "accounting.in_dialog_fields = { src = \"cell\" }", false),
        ("a field by any name", "accounting.fields = { anything = \"$fU\" }", true),
        ("a kind nobody knows", "[sinks.radios.a]\nconfig = \"a\"", false),
        ("a sink without a kind", "[sinks.billing]\nconfig = \"a\"", false),
    ] {
        assert_eq!(is_valid(&validator, toml), want, "{name}");
    }
}

#[test]
fn every_option_is_in_it_with_what_is_said_of_it() {
    let schema = shipped();
    let mut silent = Vec::new();
    for option in walk::options() {
        let mut at = &schema;
        for step in option.path.split('.') {
            let inside = |own: &Value| match own {
                _ if own["properties"][step].is_object() => Some(own["properties"][step].clone()),
                _ => None,
            };
            at = below(at)
                .into_iter()
                .find(|own| inside(own).is_some())
                .unwrap_or_else(|| panic!("{} is missing", option.path));
            at = &at["properties"][step];
        }
        // Inner tables of a route and of a listener are explained as a whole.
        let is_inner = ["route.", "sip.tls."]
            .iter()
            .any(|head| option.path.starts_with(head) && option.path.matches('.').count() > 1);
        if !is_inner && at["description"].as_str().is_none_or(str::is_empty) {
            silent.push(option.path);
        }
    }
    assert!(silent.is_empty(), "{silent:?}");
}

/// A schema and those of its elements and alternatives.
fn below(schema: &Value) -> Vec<&Value> {
    let inner = ["items", "additionalProperties"].iter().map(|key| &schema[*key]).filter(|own| own.is_object());
    let either = schema["anyOf"].as_array().into_iter().flatten();
    std::iter::once(schema).chain(inner.chain(either).flat_map(below)).collect()
}
