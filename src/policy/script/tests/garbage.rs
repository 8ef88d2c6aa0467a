//! When garbage is collected: between handlers, unless one of them makes too much of it.

use mlua::Lua;

use super::*;
use crate::policy::script::scripted::Scripted;

/// A script and its machine, whose memory can be read.
fn machine(text: &str) -> (Stage, Lua) {
    let routes = Arc::new(Routes::new(Vec::new(), Marks::NONE));
    let (ear, traces) = (Arc::new(Ear::default()), Arc::<Traces>::default());
    let outside = Outside { witness: Arc::<Ear>::clone(&ear), traces: Arc::clone(&traces), ..Outside::default() };
    let script = Script::new(&settings(text), &[], routes, outside, still, now()).expect("a script");
    let machine = script.machine().unwrap_or_else(|failure| panic!("{}", failure.text));
    let lua = machine.vm.lua.clone();
    (Stage { policy: Box::new(Scripted::new(machine, Arc::clone(&script.world), still)), ear, traces }, lua)
}

/// Puts an object where only a collection takes it from, makes 500 tables, and says whether it was taken.
const PROBE: &str = "local probe = setmetatable({}, { __mode = 'v' })
    function request_route(req)
        local before = probe[1] ~= nil
        probe[1] = {}
        for i = 1, 500 do local garbage = { i, tostring(i) } end
        log.info(before, probe[1] ~= nil)
    end";

#[test]
fn nothing_is_collected_while_a_handler_runs_and_all_of_it_when_the_shard_rests() {
    let mut stage = stage(PROBE);
    for _ in 0..20 {
        stage.invite();
        stage.policy.rest();
    }
    assert_eq!(stage.lines(), ["Info false true"; 20].join("; "));
}

#[test]
fn a_collection_waits_until_some_garbage_is_there() {
    let (mut stage, lua) = machine("function request_route(req) local garbage = { req.method } end");
    let kept = lua.used_memory();
    stage.invite();
    stage.policy.rest();
    assert!(lua.used_memory() > kept, "{} octets, {kept} before", lua.used_memory());
    for _ in 0..10_000 {
        stage.invite();
        stage.policy.rest();
        assert!(lua.used_memory() < kept + (40 << 10), "{} octets, {kept} before", lua.used_memory());
    }
}

#[test]
fn a_handler_that_makes_more_garbage_than_memory_is_not_ended_for_it() {
    let mut stage = stage(
        "function request_route(req)
            for i = 1, 100000 do local garbage = { i } end
            log.info('well')
        end",
    );
    // As if the shard came to no rest between them.
    for _ in 0..5 {
        stage.invite();
    }
    assert_eq!((stage.failures(), stage.lines()), (String::new(), ["Info well"; 5].join("; ")));
}

#[test]
fn what_a_script_keeps_for_long_and_drops_then_is_collected_too() {
    let (mut stage, lua) = machine(
        "local kept, turns = {}, 0
        function request_route(req)
            turns = turns + 1
            if turns % 200 == 0 then kept = {} end
            for i = 1, 10 do kept[#kept + 1] = { turns, tostring(turns * i) } end
        end",
    );
    let first = lua.used_memory();
    let mut most = 0;
    for _ in 0..4_000 {
        stage.invite();
        stage.policy.rest();
        most = most.max(lua.used_memory());
    }
    // 2000 tables of about 120 octets are kept at a time, and thrice as much is the most that may lie about.
    assert!(most < first + (900 << 10), "{most} octets, {first} at first");
}
