//! A limit ends a handler, whatever it does: plain loops, protected calls, library work.

use std::time::Duration;

use super::*;
use crate::clock;

/// Long work that ends by itself only after a long time; each must be ended by a limit.
const LONG: &[(&str, &str)] = &[
    ("a loop", "while true do end"),
    ("a loop in a protected call", "while true do pcall(function() while true do end end) end"),
    (
        "a loop in a handler of errors",
        "while true do xpcall(function() error('x') end, function() while true do end end) end",
    ),
    ("protected calls within each other", "local function f() pcall(f) f() end f()"),
    ("recursion in protected calls", "local function f() while true do pcall(f) end end f()"),
    ("an object in each turn", "while true do setmetatable({}, { __index = function() while true do end end }) end"),
    ("padding", "while true do pcall(string.pack, 'c1000000', '') end"),
    (
        "a chain of objects",
        "local t = {} for i = 1, 1500 do t = setmetatable({}, { __index = t }) end while true do local x = t.x end",
    ),
    (
        "what is left of a table",
        "local t = {} for i = 1, 20000 do t[i] = i end for i = 1, 19999 do t[i] = nil end while true do next(t) end",
    ),
    ("an iterator", "for _ in pairs(setmetatable({}, { __pairs = function() while true do end end })) do end"),
    ("joining objects", "local t = setmetatable({}, { __concat = function() while true do end end }) return t .. t"),
    (
        "objects that are equal",
        "local m = { __eq = function() while true do end end } return setmetatable({}, m) == setmetatable({}, m)",
    ),
    ("objects with a length", "return #setmetatable({}, { __len = function() while true do end end })"),
    ("an object that is called", "setmetatable({}, { __call = function() while true do end end })()"),
    ("an error that is a table", "while true do pcall(error, setmetatable({}, { __tostring = error })) end"),
    ("a handler of errors that fails", "while true do xpcall(error, function(m) error(m) end, 'x') end"),
    ("an error whose text never ends", "error(setmetatable({}, { __tostring = function() while true do end end }))"),
    (
        "weak tables",
        "local o, w, n = {}, {}, 3001 for i = 1, n do o[i] = {} end \
         for i = 1, n do w[i] = setmetatable({}, { __mode = 'k' }) end \
         for i = 1, n - 1 do w[i * 1999 % n + 1][o[i]] = o[i + 1] end \
         for i = 2, n do o[i] = nil end while true do local x = {} end",
    ),
    (
        "code points of a long string",
        "local s = ('x'):rep(1 << 20) while true do utf8.len(s) pcall(utf8.codepoint, s, 1, -1) end",
    ),
    ("octets of a long string", "local s = ('x'):rep(1 << 20) while true do pcall(string.byte, s, 1, -1) end"),
    ("a long format", "local s = ('!16i1'):rep(200000) while true do string.packsize(s) end"),
    ("a long number", "local s = ('7'):rep(1 << 20) while true do tonumber(s) tonumber(s, 16) end"),
    (
        "many values",
        "local t = {} for i = 1, 30000 do t[i] = i end while true do select(-1, table.unpack(t)) math.max(table.unpack(t)) end",
    ),
    (
        "a full table",
        "local t = {} for i = 1, 16384 do t[-i] = i end local i = 1 while true do t[-i] = nil t[-i - 16384] = i i = i + 1 end",
    ),
    (
        "comparing long strings",
        "local a, b = ('x'):rep(1 << 20), ('x'):rep((1 << 20) - 1) while true do local c = a < b end",
    ),
    ("a metamethod", "local t = setmetatable({}, { __index = function() while true do end end }) return t.x"),
    ("a comparison", "local t = setmetatable({}, { __lt = function() while true do end end }) return t < t"),
    ("text of an object", "return tostring(setmetatable({}, { __tostring = function() while true do end end }))"),
    ("sorting", "local t = {} for i = 1, 1000 do t[i] = -i end while true do table.sort(t) end"),
    ("a comparison of sorting", "table.sort({ 1, 2, 3 }, function() while true do end end)"),
    ("moving", "table.move({}, 1, 1 << 60, 2)"),
    (
        "inserting",
        "local t = {} for i = 1, 2000 do t[i] = i end while true do table.insert(t, 1, 0) table.remove(t, 1) end",
    ),
    ("joining", "local t = {} for i = 1, 1000 do t[i] = 'x' end while true do table.concat(t, ',') end"),
    ("unpacking", "local t = {} for i = 1, 200 do t[i] = i end while true do table.unpack(t) end"),
    ("packing", "while true do table.pack(1, 2, 3) end"),
    ("a pattern", "local s = string.rep('a', 2000) while true do string.find(s, '.-.-.-.-x') end"),
    ("a match", "local s = string.rep('a', 2000) while true do string.match(s, 'a-a-b') end"),
    ("matches", "local s = string.rep('a ', 2000) while true do for w in string.gmatch(s, '%a+') do end end"),
    ("replacing", "local s = string.rep('a', 2000) while true do string.gsub(s, 'a', 'bb') end"),
    ("replacing by a function", "string.gsub('a', 'a', function() while true do end end)"),
    ("repeating", "while true do string.rep('ab', 1000, ',') end"),
    ("repeating nothing", "while true do string.rep('', 1 << 60) end"),
    ("formatting", "local s = string.rep('x', 1000) while true do string.format('%s %99.9f %q', s, 1.5, s) end"),
    ("cases", "local s = string.rep('x', 100000) while true do s:upper() s:lower() s:reverse() end"),
    ("parts", "local s = string.rep('x', 100000) while true do s:sub(2) s:byte(1, 100) end"),
    ("binary data", "local s = string.rep('x', 100000) while true do string.unpack('s4', string.pack('s4', s)) end"),
    ("sizes", "while true do string.packsize('i4i8!8d') end"),
    ("characters", "while true do string.char(65, 66, 67) utf8.char(228, 8364) end"),
    ("UTF-8", "local s = string.rep('x', 100000) while true do utf8.len(s) utf8.offset(s, -1) end"),
    ("code points", "local s = string.rep('x', 5000) while true do for _ in utf8.codes(s) do end end"),
    ("numbers", "while true do math.random(10) math.floor(1.5) math.tointeger(3) tonumber('0x1p4') end"),
    ("a table's next", "local t = {} for i = 1, 5000 do t[i] = i end while true do for _ in pairs(t) do end end"),
    ("select", "while true do select('#', 1, 2, 3) end"),
    ("lines of the log", "while true do log.info('x') end"),
    ("templates", "while true do pv('$(hdr(Via)[*])') end"),
    ("values", "while true do avp.x = 1 avp.x = nil end"),
];

/// A value whose variables are closed by a function that never ends.
const VALUE: &str = "local value = setmetatable({}, { __close = function() while true do end end })";
/// The same, the function given afterwards.
const LATER: &str = "local value = setmetatable({}, {}) getmetatable(value).__close = function() while true do end end";

#[test]
fn a_limit_does_not_wait_for_thousands_of_variables_to_be_closed() {
    let refused = "a metatable with `__close` cannot be set: variables are not closed";
    let not_closed = "got a non-closable value";
    let two = "local function f() local a <close> = value local b <close> = value f() end f()";
    let fourth = "local function f() for _ in next, { 1 }, nil, value do f() end end f()";
    let string = "local meta = getmetatable('') if meta then meta.__close = print end local a <close> = ''";
    for (name, text, want) in [
        ("two variables of each call", format!("{VALUE} {two}"), refused),
        ("the fourth value of a loop", format!("{VALUE} {fourth}"), refused),
        ("two variables, by a function that comes later", format!("{LATER} {two}"), not_closed),
        ("the fourth value of a loop, likewise", format!("{LATER} {fourth}"), not_closed),
        (
            "by rawset",
            format!("local value = setmetatable({{}}, {{}}) rawset(getmetatable(value), '__close', error) {two}"),
            not_closed,
        ),
        ("a string", string.to_owned(), not_closed),
        ("a leg", "acc_new_leg() local a <close> = acc_legs[0]".to_owned(), not_closed),
        ("the request", "local a <close> = req".to_owned(), not_closed),
        (
            "an object of its own",
            "local t = setmetatable({}, { __metatable = 1 }) setmetatable(t, {})".to_owned(),
            "protected",
        ),
        (
            "an object that gives a table for its metatable",
            "local t = setmetatable({}, { __metatable = {} }) setmetatable(t, nil)".to_owned(),
            "cannot change a protected metatable",
        ),
        ("an object of ours", "setmetatable(avp, {})".to_owned(), "cannot change a protected metatable"),
    ] {
        let mut stage = stage(&format!("function request_route(req)\n{text}\nend"));
        stage.invite();
        let failures = stage.failures();
        assert!(failures.contains(want) && !failures.ends_with("(limit)"), "{name}: {failures}");
    }
}

#[test]
fn what_is_called_is_a_function_and_no_chain_of_tables() {
    let refused = "a metatable whose `__call` is a table cannot be set: it is a function";
    for (name, text, want) in [
        ("itself", "local t, meta = {}, {} meta.__call = t setmetatable(t, meta) t()", refused),
        (
            "itself, later",
            "local t, meta = {}, {} setmetatable(t, meta) meta.__call = t t()",
            "attempt to call a table value",
        ),
        ("a string", "local meta = getmetatable('') if meta then meta.__call = '' end (''):x()", "attempt to call"),
    ] {
        let mut stage = stage(&format!("function request_route(req)\n{text}\nend"));
        stage.invite();
        assert!(stage.failures().contains(want), "{name}: {}", stage.failures());
    }
}

#[test]
fn metatables_do_what_they_do_in_lua() {
    let text = "
        local C = {} C.__index = C
        C.__call = function(self, n) return self.n + n end
        C.__eq = function(a, b) return a.n == b.n end
        C.__lt = function(a, b) return a.n < b.n end
        C.__le = function(a, b) return a.n <= b.n end
        C.__add = function(a, b) return a.n + b.n end
        C.__concat = function(a, b) return 'joined' end
        C.__len = function() return 7 end
        C.__tostring = function(self) return 'C ' .. self.n end
        C.__pairs = function(self) return next, { x = 1 } end
        C.__unm = function(self) return -self.n end
        local function new(n) return setmetatable({ n = n }, C) end
        function C:twice() return self.n * 2 end
        local a, b = new(1), new(2)
        assert(a:twice() == 2 and a(5) == 6 and a ~= b and a == new(1) and a < b and a <= b and a + b == 3)
        assert(a .. b == 'joined' and #a == 7 and tostring(a) == 'C 1' and -b == -2)
        for key in pairs(a) do assert(key == 'x') end
        assert(getmetatable(a) == C and getmetatable(setmetatable(a, nil)) == nil and a.twice == nil)
        assert(getmetatable(setmetatable({}, { __metatable = 'no' })) == 'no')
        local kept = {} setmetatable(kept, { __newindex = function(t, k, v) rawset(t, k, v + 1) end })
        kept.x = 1 assert(kept.x == 2)
        assert(not pcall(setmetatable, 1, {}) and not pcall(setmetatable, {}, 1))";
    if let Err(error) = load(&settings(text)) {
        panic!("{error}");
    }
}

#[test]
fn long_work_of_every_kind_is_ended_and_the_tables_decide() {
    for (name, text) in LONG {
        let limits = Limits { time: Duration::from_millis(200), ..Limits::default() };
        let settings = Settings { limits, ..settings(&format!("function request_route(req)\n{text}\nend")) };
        let mut stage = load_by(&settings, clock::mono).unwrap_or_else(|error| panic!("{name}: {error}"));
        let begun = clock::mono();
        let decision = stage.invite();
        let took = clock::mono().since(begun);
        assert!(stage.failures().ends_with("(limit)"), "{name}: {}", stage.failures());
        assert_eq!(targets(&decision.treatment), "404 ", "{name}: no route matches");
        // A hundred times what it takes: that it ends at all is the point.
        assert!(took < Duration::from_secs(20), "{name} took {took:?}");
        // The machine is as good as before.
        assert!(stage.invite().records.is_empty(), "{name}");
    }
}

#[test]
fn an_error_says_where_the_handler_was_and_which_limit_it_was() {
    let mut stage = stage("function request_route(req)\n  local n = 0\n  while true do\n    n = n + 1\n  end\nend");
    stage.invite();
    let failures = stage.failures();
    let tail = ": the handler was ended: it used more than `instructions_max` = 1000000 instructions (limit)";
    assert!(failures.starts_with("request_route: route.lua:") && failures.ends_with(tail), "{failures}");
}

#[test]
fn the_time_of_a_handler_is_limited_too() {
    let text = "function request_route(req)\nwhile true do end\nend";
    let limits = Limits { instructions: u64::MAX, time: Duration::from_millis(5), ..Limits::default() };
    let settings = Settings { limits, ..settings(text) };
    let mut stage = load_by(&settings, clock::mono).expect("a script");
    stage.invite();
    assert!(stage.failures().contains("longer than `time_max_ms` = 5 ms"), "{}", stage.failures());
}

#[test]
fn memory_is_limited_and_free_again_after_the_handler() {
    let hog = "function request_route(req)\n\
        hogs = not hogs\n if hogs then local t = {} for i = 1, 1e9 do t[i] = string.rep('x', 1000) .. i end end\n\
        log.info('well') end";
    let mut stage = stage(hog);
    for _ in 0..20 {
        stage.invite();
    }
    let failures = stage.failures();
    assert!(failures.contains("more than `memory_max_kib` = 4096 KiB of memory"), "{failures}");
    assert!(stage.lines().contains("Info well"), "{failures}");
}

#[test]
fn a_protected_call_catches_errors_of_the_script_and_of_our_functions() {
    let mut stage = stage(
        "function request_route(req)\n\
         log.info(pcall(error, 'plain'))\n\
         log.info(pcall(error, { code = 1 }))\n\
         log.info(select(2, pcall(do_accounting, 'mars')))\n\
         log.info(xpcall(error, function(m) return 'handled ' .. m end, 'one'))\n\
         log.info(pcall(function(...) return select('#', ...), ... end, 1, nil, 3))\n\
         end",
    );
    stage.invite();
    let lines = stage.lines();
    assert!(lines.contains("Info false plain; Info false table: "), "{lines}");
    assert!(lines.contains("do_accounting: `mars`: no such type or sink; there are aaa, billing, bus"), "{lines}");
    assert!(lines.contains("Info false handled one; Info true 3 1 nil 3"), "{lines}");
    assert_eq!(stage.failures(), "");
}

#[test]
fn nothing_leads_outside() {
    for name in [
        "io",
        "os",
        "package",
        "require",
        "load",
        "loadfile",
        "dofile",
        "loadstring",
        "debug",
        "coroutine",
        "collectgarbage",
        "print",
        "warn",
    ] {
        assert!(load(&settings(&format!("assert({name} == nil)"))).is_ok(), "{name} is there");
    }
    for (name, text, want) in [
        ("string.dump", "assert(string.dump == nil)", None),
        ("a finalizer", "setmetatable({}, { __gc = function() end })", Some("finalizers are not run")),
        ("bytecode", "\u{1b}Lua", Some("attempt to load a binary chunk")),
        ("a syntax error", "function f(", Some("route.lua:1")),
        ("an error of the file", "\n\nerror('no')", Some("route.lua:3: no")),
        ("an endless file", "while true do end", Some("it used more than")),
        ("a handler that is none", "request_route = 1", Some("`request_route` is a integer, not a function")),
        ("an unknown event", "event_route['dialog:begin'] = print", None),
        ("an event that does not exist", "event_route['x'] = function() end", Some("no such event")),
        ("a deciding function outside", "relay()", Some("route.lua:1: relay: cannot be called from the file itself")),
    ] {
        let error = load(&settings(text)).err().map(|error| error.to_string());
        match want {
            None => assert_eq!(error, None, "{name}"),
            Some(want) => assert!(error.as_deref().unwrap_or("").contains(want), "{name}: {error:?}"),
        }
    }
}

#[test]
fn lua_patterns_mean_what_they_mean_in_lua() {
    let mut checks = String::from(
        "local function is(a, b) if a ~= b then error(tostring(a) .. ' is not ' .. tostring(b), 2) end end\n",
    );
    for (expression, want) in [
        ("('hello world'):find('wor')", "7"),
        ("select('#', ('hello'):find('l+'))", "2"),
        ("(select(3, ('key = value'):find('(%w+) = (%w+)')))", "'key'"),
        ("('a.b'):find('.', 1, true)", "2"),
        ("('abc'):find('b', -2)", "2"),
        ("('abc'):find('x')", "nil"),
        ("('abc'):find('', 4)", "4"),
        ("('abc'):find('', 5)", "nil"),
        ("('  trim '):match('^%s*(.-)%s*$')", "'trim'"),
        ("('sip:bob@host;p=1'):match('sip:([^@]+)@([%w.]+)')", "'bob'"),
        ("('f(a(b)c)d'):match('%b()')", "'(a(b)c)'"),
        ("('THE (quick) fox'):find('%f[%a]%a+%f[%A]')", "1"),
        ("('abab'):match('(ab)%1')", "'ab'"),
        ("('x'):match('()')", "1"),
        ("('2026-11-29'):gsub('%d+', '<%0>')", "'<2026>-<11>-<29>'"),
        ("(select(2, ('abc'):gsub('', '-')))", "4"),
        ("('abc'):gsub('', '-')", "'-a-b-c-'"),
        ("('abc'):gsub('%w', { a = '1', b = true and '2' })", "'12c'"),
        ("('abc'):gsub('b', function() return false end)", "'abc'"),
        ("('hello'):gsub('l', 'L', 1)", "'heLlo'"),
        ("('^a'):gsub('%^', '')", "'a'"),
        ("('a]b'):match('[]]')", "']'"),
        ("('a-b'):match('[a%-]+')", "'a-'"),
        ("('\\0x'):match('%z?x')", "'\\0x'"),
        (
            "(function() local t = {} for k, v in ('a=1, b=2'):gmatch('(%w+)=(%w+)') do t[#t + 1] = k .. v end return table.concat(t, ' ') end)()",
            "'a1 b2'",
        ),
        ("(function() local n = 0 for _ in ('abc'):gmatch('') do n = n + 1 end return n end)()", "4"),
        ("('x'):rep(3, '-')", "'x-x-x'"),
        ("('x'):rep(2, nil)", "'xx'"),
        ("select('#', ('f(a)'):find('%b()'))", "2"),
        ("select('#', ('a('):find('%f[(]'))", "2"),
        ("('aa'):find('()%1')", "nil"),
        ("('x'):rep(-1)", "''"),
        ("table.concat((function() local t = { 3, 1, 2 } table.sort(t) return t end)(), ' ')", "'1 2 3'"),
        (
            "table.concat((function() local t = { 'b', 'aa', 'c' } table.sort(t, function(a, b) return #a > #b end) return t end)(), ' ')",
            "'aa b c'",
        ),
        (
            "(function() local t = { 1, 2, 3 } table.insert(t, 1, 0) table.insert(t, 4) return table.concat(t, ',') .. table.remove(t, 2) .. table.remove(t) end)()",
            "'0,1,2,3,414'",
        ),
        ("table.concat(table.move({ 1, 2, 3 }, 2, 3, 1), ',')", "'2,3,3'"),
    ] {
        checks.push_str(&format!("is(({expression}), {want})\n"));
    }
    for (text, want) in [
        ("('x'):find('[a')", "missing ']'"),
        ("('x'):find('%')", "ends with '%'"),
        ("('x'):find('(x')", "unfinished capture"),
        ("('x'):match('x)')", "invalid pattern capture"),
        ("('x'):gsub('x', '%2')", "invalid capture index %2"),
        ("('x'):find('%f')", "missing '[' after '%f'"),
    ] {
        checks.push_str(&format!(
            "is(select(2, pcall(function() return {text} end)):find({want:?}, 1, true) ~= nil, true)\n"
        ));
    }
    if let Err(error) = load(&settings(&checks)) {
        let line = error.to_string().split(':').nth(1).and_then(|line| line.parse::<usize>().ok()).unwrap_or(0);
        panic!("{error}: {}", checks.lines().nth(line.saturating_sub(1)).unwrap_or_default());
    }
}

#[test]
fn a_machine_takes_little_memory() {
    let settings = settings(include_str!("../../../../etc/route.lua"));
    let numbers: Vec<SinkNumber> = (0..5).map(SinkNumber).collect();
    let routes = Arc::new(Routes::new(Vec::new(), Marks::NONE));
    let script =
        Script::new(&settings, &numbers, routes, Outside::default(), clock::mono, clock::now()).expect("a script");
    let machine = script.machine().unwrap_or_else(|failure| panic!("{}", failure.text));
    machine.vm.lua.gc_collect().expect("garbage is collected");
    let used = machine.vm.lua.used_memory();
    assert!(used <= 64 << 10, "{used} octets");
}
