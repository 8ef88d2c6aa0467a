//! Our functions of strings against those of Lua's own library: the same values, or an error of both.

use mlua::{Lua, LuaOptions, StdLib};

use super::super::vm::Vm;
use super::*;
use crate::clock;

/// Cases of the test; `TOLLGATE_SCRIPT_CASES` asks for more.
const CASES: u64 = 4_000;

/// Numbers that are the same in each run (a linear congruence with its upper half taken).
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }

    fn one_of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }

    /// A text of few different signs, so that something matches.
    fn subject(&mut self) -> String {
        let signs = [
            "a", "b", "c", "A", "1", " ", "(", ")", "[", "]", "-", ".", "%", "^", "$", "\\0", "\\255", "\\n", "=", "_",
        ];
        let usual = if self.below(3) == 0 { signs.len() } else { 5 };
        (0..self.below(13)).map(|_| self.one_of(&signs[..usual])).collect()
    }

    fn set(&mut self) -> String {
        let mut set = String::from(self.one_of(&["[", "[^", "[", "[]", "[^]"]));
        for _ in 0..=self.below(3) {
            set.push_str(self.one_of(&[
                "a", "b", "a-c", "1-9", "-", "%a", "%D", "%]", "%-", "^", ".", "c-a", "a-", "%z", "[", "\\0-a", "A-%a",
            ]));
        }
        // One in many does not end.
        set + self.one_of(&["]", "]", "]", "]", "]", "]", "]", "]", "]", ""])
    }

    fn pattern(&mut self) -> String {
        let mut out = String::from(self.one_of(&["", "", "", "^"]));
        let mut open = 0;
        for _ in 0..self.below(6) {
            match self.below(14) {
                0 => {
                    out.push('(');
                    open += 1;
                }
                1 if open > 0 => {
                    out.push(')');
                    open -= 1;
                }
                2 => out.push_str("()"),
                3 => out.push_str(self.one_of(&["%b()", "%bab", "%baa", "%b[]", "%b", "%ba"])),
                4 => {
                    out.push_str(self.one_of(&["%f", "%f", "%f", "%f%a", "%fa"]));
                    let set = self.set();
                    out.push_str(&set);
                }
                5 => out.push_str(self.one_of(&["%1", "%2", "%1", "%0", "%9"])),
                6 => out.push_str(self.one_of(&["$", "^", "%", ")", "]", "-", "*", "%$", "%%"])),
                _ => {
                    let set = self.set();
                    out.push_str(match self.below(4) {
                        0 => {
                            self.one_of(&["%a", "%A", "%d", "%l", "%s", "%u", "%w", "%x", "%p", "%c", "%g", "%W", "%z"])
                        }
                        1 => &set,
                        _ => self.one_of(&["a", "b", "c", ".", ".", "1", "%.", "%("]),
                    });
                    out.push_str(self.one_of(&["", "", "*", "+", "-", "?"]));
                }
            }
        }
        // Most are closed.
        if self.below(12) > 0 {
            out.push_str(&")".repeat(open));
        }
        out.push_str(self.one_of(&["", "", "", "", "$"]));
        out
    }

    fn number(&mut self) -> &'static str {
        self.one_of(&[
            "1",
            "0",
            "2",
            "-1",
            "-3",
            "5",
            "99",
            "-99",
            "nil",
            "'2'",
            "2.0",
            "1.5",
            "'x'",
            "math.mininteger",
            "math.maxinteger",
        ])
    }

    fn replacement(&mut self) -> &'static str {
        self.one_of(&[
            "'x'",
            "''",
            "'<%0>'",
            "'%1'",
            "'%2%1'",
            "'%%'",
            "'%'",
            "'%a'",
            "7",
            "1.5",
            "nil",
            "true",
            "{ a = 'A', b = 1, c = false, [1] = 'one', [''] = '-' }",
            "{ a = {} }",
            "{}",
            "function(...) return select('#', ...) end",
            "function(a) return a end",
            "function() end",
            "function(a, b) return b end",
            "function() return {} end",
        ])
    }

    /// A call, as Lua writes it.
    fn call(&mut self) -> String {
        let (subject, pattern) = (self.subject(), self.pattern());
        match self.below(14) {
            0..=2 => format!("string.find('{subject}', '{pattern}', {})", self.number()),
            3 => format!(
                "string.find('{subject}', '{}', {}, {})",
                self.subject(),
                self.number(),
                self.one_of(&["true", "false", "1", "nil"])
            ),
            4..=6 => format!("string.match('{subject}', '{pattern}', {})", self.number()),
            7..=8 => format!(
                "(function() local all, n = {{}}, 0 for a, b, c in string.gmatch('{subject}', '{pattern}', {}) do n = n + 1 \
                 all[n] = tostring(a) .. ',' .. tostring(b) .. ',' .. tostring(c) end return table.concat(all, ';') end)()",
                self.number()
            ),
            9..=11 => {
                let most = self.one_of(&["nil", "nil", "1", "2", "0", "-1", "99", "'1'", "1.5"]);
                format!("string.gsub('{subject}', '{pattern}', {}, {most})", self.replacement())
            }
            12 => format!(
                "string.rep('{subject}', {}, {})",
                self.one_of(&["0", "1", "3", "-1", "'2'", "2.0", "1.5", "nil", "{}"]),
                self.one_of(&["nil", "','", "''", "5", "{}"])
            ),
            _ => format!(
                "string.format('{}', {})",
                self.one_of(&[
                    "%s",
                    "%5s|%-5s|",
                    "%d",
                    "%q",
                    "%x %X",
                    "%5.2f",
                    "%c",
                    "%%",
                    "%i",
                    "%",
                    "%y",
                    "%.3s",
                    "%g"
                ]),
                self.one_of(&["'ab', 1", "1, 2", "65, 'x'", "1.5, 1e15", "nil", "'12', '13'", "-7, true", "2^53, 0"])
            ),
        }
    }
}

/// Calls a text, and gives what it returns as one text; an error is told without its words.
const TELL: &str = "local function tell(ok, ...)
  if not ok then return 'error' end
  local out = {}
  for n = 1, select('#', ...) do
    local value = (select(n, ...))
    out[n] = math.type(value) == nil and type(value) .. ' ' .. tostring(value) or math.type(value) .. ' ' .. tostring(value)
  end
  return table.concat(out, ', ')
end
return tell(pcall(function() return CALL end))";

#[test]
fn functions_of_strings_do_what_those_of_lua_do() {
    let cases = std::env::var("TOLLGATE_SCRIPT_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(CASES);
    let native = Lua::new_with(StdLib::STRING | StdLib::TABLE | StdLib::MATH, LuaOptions::new()).expect("Lua");
    let limits = Limits { instructions: u64::MAX, time: Duration::from_secs(3_600), memory: 64 << 20 };
    let own = Vm::new(limits, clock::mono).expect("a machine");
    let mut dice = Dice(13);
    let (mut errors, mut different) = (0, Vec::new());
    for case in 0..cases {
        let call = dice.call();
        let text = TELL.replace("CALL", &call);
        let told = |lua: &Lua| match lua.load(&text).eval::<mlua::LuaString>() {
            Ok(told) => String::from_utf8_lossy(&told.as_bytes()).into_owned(),
            Err(error) => panic!("case {case}: {call}: {error}"),
        };
        let (want, is) = (told(&native), told(&own.lua));
        errors += u64::from(want == "error");
        if want != is {
            different.push(format!("case {case}: {call}\n  Lua: {want}\n  own: {is}"));
        }
    }
    assert!(
        different.is_empty(),
        "{} of {cases}:\n{}",
        different.len(),
        different[..different.len().min(20)].join("\n")
    );
    assert!(errors > cases / 50 && errors < cases / 2, "{errors} of {cases} are errors");
}
