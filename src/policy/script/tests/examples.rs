//! etc/route-examples.lua: each example does what its test says, and no function or field is without one.

use std::collections::{BTreeMap, BTreeSet};

use mlua::Value;

use super::super::trial;
use super::super::vm::Vm;
use super::*;

const EXAMPLES: &str = include_str!("../../../../etc/route-examples.lua");
const MANUAL: &str = include_str!("../../../../etc/route.lua");

fn script() -> (Script, Vec<NamedSink>, Vec<SinkNumber>, Arc<trial::Heard>) {
    let settings = Settings { name: "route-examples.lua".to_owned(), ..settings(EXAMPLES) };
    let numbers: Vec<SinkNumber> = (0..settings.sinks.len() as u8).map(SinkNumber).collect();
    let gold = named::route("to gold", "gold.example", Some("gold"), None);
    let routes = Arc::new(Routes::new(vec![gold], Marks::NONE));
    let (outside, heard) = trial::Heard::outside();
    let script = Script::new(&settings, &numbers, routes, outside, still, now());
    (script.unwrap_or_else(|error| panic!("{error}")), settings.sinks, numbers, heard)
}

#[test]
fn each_example_does_what_its_test_says() {
    let (script, sinks, numbers, heard) = script();
    let outcomes = trial::run(&script, (&sinks, &numbers), &BTreeMap::new(), &heard, still).expect("the examples load");
    let failed: Vec<String> = outcomes
        .iter()
        .filter_map(|outcome| Some(format!("{}: {}", outcome.name, outcome.failure.as_ref()?)))
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    // Each has its test.
    let tests: BTreeSet<&str> = outcomes.iter().filter_map(|outcome| outcome.name.strip_prefix("test_")).collect();
    let mut examples: BTreeSet<&str> = code()
        .filter_map(|line| line.strip_prefix("function example.").or(line.strip_prefix("function route.")))
        .filter_map(|line| line.split('(').next())
        .collect();
    // Handlers that no request comes to.
    examples.extend(["local_route", "dialog_end"]);
    assert_eq!(tests, examples);
}

/// Lines of the examples without their comments.
fn code() -> impl Iterator<Item = &'static str> {
    EXAMPLES.lines().filter(|line| !line.starts_with("--"))
}

#[test]
fn no_function_or_field_is_without_an_example_and_a_word_in_the_manual() {
    let globals = |lua: &mlua::Lua| -> BTreeSet<String> {
        let globals = lua.globals();
        globals.pairs::<String, Value>().flatten().map(|(name, _)| name).collect()
    };
    let bare = Vm::new(Limits::default(), still).expect("a machine");
    let empty = Settings { text: "".into(), ..settings("") };
    let routes = Arc::new(Routes::new(Vec::new(), Marks::NONE));
    let numbers: Vec<SinkNumber> = (0..5).map(SinkNumber).collect();
    let script = Script::new(&empty, &numbers, routes, Outside::default(), still, now()).expect("a script");
    let machine = script.machine().unwrap_or_else(|failure| panic!("{}", failure.text));
    let mut names: BTreeSet<String> = &globals(&machine.vm.lua) - &globals(&bare.lua);
    names.remove("route");
    assert!(names.len() > 40, "{names:?}");
    let code = code().collect::<Vec<_>>().join("\n");
    let is_word = |text: &str, word: &str| {
        text.match_indices(word).any(|(at, _)| {
            let is_part = |sign: Option<char>| sign.is_some_and(|sign| sign.is_alphanumeric() || sign == '_');
            let before = text[..at].chars().next_back();
            // `example.relay` is the name of the example, not a call.
            let is_name = text[..at].ends_with("example.") || text[..at].ends_with("test_");
            !is_name && !is_part(before) && !is_part(text[at + word.len()..].chars().next())
        })
    };
    // Fields as objects.rs has them.
    let source = include_str!("../objects.rs");
    let of = |function: &str| {
        let body = source.split(&format!("\nfn {function}(")).nth(1).and_then(|rest| rest.split("\n}\n").next());
        let body = body.unwrap_or_else(|| panic!("no function {function}"));
        let fields = body.lines().filter_map(|line| line.trim().strip_prefix("b\"")?.split_once("\" =>"));
        fields.map(|(field, _)| field.to_owned()).collect::<Vec<_>>()
    };
    let (request, reply) = (of("request"), of("reply"));
    assert!(request.len() > 25 && reply.len() > 6, "{request:?} {reply:?}");
    for name in names {
        assert!(is_word(&code, &name), "etc/route-examples.lua has no example of {name}");
        assert!(is_word(MANUAL, &name), "etc/route.lua says nothing of {name}");
    }
    for (object, fields) in [("req", request), ("reply", reply)] {
        for field in fields {
            assert!(is_word(&code, &format!("{object}.{field}")), "no example of {object}.{field}");
            assert!(is_word(MANUAL, &format!(".{field}")), "etc/route.lua says nothing of .{field}");
        }
    }
}
