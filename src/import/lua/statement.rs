//! Statements, one after the other.

use super::Translator;
use super::call::{Made, places};
use super::condition::{Cond, target};
use super::output::{entry, quoted};
use crate::import::lexer::Spot;
use crate::import::report::{About, shortened};
use crate::import::syntax::{Action, Block, Call, Expression, RouteKind, Statement};
use crate::import::variables::Variable;

/// Whether the statements behind one are reached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Flow {
    /// They are.
    On,
    /// They are not: the handler, or the part, has ended.
    Ended,
}

impl Translator<'_> {
    /// All statements of a block.
    pub(super) fn block(&mut self, block: &Block) -> Flow {
        let mut flow = Flow::On;
        for statement in block {
            if flow == Flow::Ended {
                self.out.comment(format!("never reached: {}", short(statement)), Some(statement.at));
                continue;
            }
            flow = self.statement(statement);
        }
        flow
    }

    fn statement(&mut self, statement: &Statement) -> Flow {
        let at = statement.at;
        match &statement.what {
            Action::If { condition, then, otherwise } => self.branch_on(condition, then, otherwise, at),
            Action::Switch { value, cases } => self.choice(value, cases, at),
            Action::Loop { head, body } => {
                self.dead(head, "loops are not translated", &[("", body)], at);
                Flow::On
            }
            Action::Block(inner) => self.block(inner),
            Action::Call(call) => {
                self.called(call, at);
                Flow::On
            }
            Action::Route(name) => self.part_called(name, at),
            Action::Assign { target, sign, value } => {
                let written = || format!("{target} {sign} {}", value.written());
                match self.assigned(target, sign, value) {
                    Ok(lines) => lines.into_iter().for_each(|line| self.out.line(line, Some(at))),
                    Err(why) => self.left_out(&written(), &why, at),
                }
                Flow::On
            }
            Action::Return(value) => self.returned(value.as_ref(), at),
            Action::Exit => self.exit(at),
            Action::Drop => self.dropped(at),
            // SER ended a route so.
            Action::Break => self.returned(None, at),
            Action::Unread(text) => {
                self.left_out(text, "it cannot be read", at);
                Flow::On
            }
        }
    }

    /// Something that is for the operator to do.
    fn left_out(&mut self, what: &str, why: &str, at: Spot) {
        self.out.comment(format!("NOT TRANSLATED: {}", shortened(what)), Some(at));
        let is_accounting = ["acc_", "do_accounting", "drop_accounting", "$acc", "setflag", "resetflag"]
            .iter()
            .any(|start| what.starts_with(start));
        let about = if is_accounting { About::Records } else { About::Routing };
        self.report.add(about, at, what, why);
        self.decides = true;
    }

    /// Statements whose condition is not known: they stand there as comments.
    fn dead(&mut self, head: &str, why: &str, parts: &[(&str, &Block)], at: Spot) {
        self.left_out(head, why, at);
        self.out.kill();
        for (name, block) in parts {
            if !name.is_empty() {
                self.out.line(*name, None);
            }
            self.out.open();
            self.block(block);
            self.out.close();
        }
        self.out.line("end", None);
        self.out.wake();
        self.decides = true;
    }

    fn called(&mut self, call: &Call, at: Spot) {
        let written = call.written();
        let may = places(&call.name);
        let is_known = self.from.iter().any(|kind| may.contains(kind));
        if !is_known {
            return self.left_out(&written, "it cannot be called from such a route here", at);
        }
        if let Some(kind) = self.from.iter().find(|kind| !may.contains(kind)) {
            let why = format!("it cannot be called from {} here, from where this part is called too", kind.name());
            self.report.add(About::Routing, at, written.clone(), why);
        }
        match self.call(call) {
            Ok(Made::Lines(lines)) => {
                let is_accounting = ["acc_", "do_acc", "drop_acc"].iter().any(|start| call.name.starts_with(start));
                if is_accounting && self.out.is_dead() {
                    let why = "it depends on something that is not translated: a comment in route.lua";
                    self.report.add(About::Records, at, written, why);
                }
                lines.into_iter().for_each(|line| self.out.line(line, Some(at)));
            }
            Ok(Made::Needless(why)) => self.out.comment(format!("{}: {why}", shortened(&written)), Some(at)),
            Err(why) => self.left_out(&written, &why, at),
        }
    }

    fn part_called(&mut self, name: &str, at: Spot) -> Flow {
        if !self.script.routes.iter().any(|route| super::is_part(route) && route.name == name) {
            self.left_out(&format!("route({name})"), "there is no such route", at);
            return Flow::On;
        }
        self.decides = true;
        let call = self.part(name);
        if self.reach.always_exits(name) {
            self.out.line(format!("return {call}"), Some(at));
            return Flow::Ended;
        }
        if self.reach.may_exit(name) {
            let what = if self.is_part { "return EXIT" } else { "return" };
            self.out.line(format!("if {call} == EXIT then {what} end"), Some(at));
        } else {
            self.out.line(call, Some(at));
        }
        Flow::On
    }

    fn branch_on(&mut self, condition: &Expression, then: &Block, otherwise: &Block, at: Spot) -> Flow {
        if let Some(flow) = self.effect(condition, then, otherwise, at) {
            return flow;
        }
        match self.condition(condition) {
            Ok(Cond::Code(code, _)) => self.branches(&code, then, otherwise, at),
            Ok(Cond::Always(holds, why)) => {
                let word = if holds { "always" } else { "never" };
                self.out.comment(format!("{word}: if ({}): {why}", shortened(&condition.written())), Some(at));
                self.block(if holds { then } else { otherwise })
            }
            Err(why) => {
                let head = format!("if ({}) then", condition.written());
                let parts = [("", then), ("else", otherwise)];
                self.dead(&head, &why, if otherwise.is_empty() { &parts[..1] } else { &parts }, at);
                Flow::On
            }
        }
    }

    /// `if code then ... elseif ... else ... end`
    fn branches(&mut self, code: &str, then: &Block, otherwise: &Block, at: Spot) -> Flow {
        self.out.line(format!("if {code} then"), Some(at));
        let before = self.decides;
        let mut after = before;
        let mut flow = self.indented(then);
        after |= self.decides;
        let mut rest = otherwise;
        while let [Statement { what: Action::If { condition, then, otherwise }, at }] = &rest[..] {
            if is_effect(condition).is_some() {
                break;
            }
            let Ok(Cond::Code(code, _)) = self.condition(condition) else { break };
            self.decides = before;
            self.out.line(format!("elseif {code} then"), Some(*at));
            flow = both(flow, self.indented(then));
            after |= self.decides;
            rest = otherwise;
        }
        self.decides = before;
        if rest.is_empty() {
            flow = Flow::On;
        } else {
            self.out.line("else", None);
            flow = both(flow, self.indented(rest));
        }
        self.decides |= after;
        self.out.line("end", None);
        flow
    }

    fn indented(&mut self, block: &Block) -> Flow {
        self.out.open();
        let flow = self.block(block);
        self.out.close();
        flow
    }

    /// `if (!t_relay()) ...`: the function is called, and what was for its failure falls away, for the gateway answers
    /// then; `None` where the condition is no such call.
    fn effect(&mut self, condition: &Expression, then: &Block, otherwise: &Block, at: Spot) -> Option<Flow> {
        let (call, is_not) = is_effect(condition)?;
        self.called(call, at);
        let (good, bad) = if is_not { (otherwise, then) } else { (then, otherwise) };
        for statement in bad {
            let what = format!("not needed: {}: a failure of {} is answered without it", short(statement), call.name);
            self.out.comment(what, Some(statement.at));
        }
        Some(self.block(good))
    }

    /// `switch` as `if ... elseif`, where no case falls into the next.
    fn choice(&mut self, value: &Expression, cases: &[(Option<Expression>, Block)], at: Spot) -> Flow {
        match self.choices(value, cases) {
            Ok(branches) => {
                let (before, mut after) = (self.decides, self.decides);
                let mut word = "if";
                let mut flow = Flow::Ended;
                for (code, block) in &branches {
                    match code {
                        Some(code) => self.out.line(format!("{word} {code} then"), Some(at)),
                        None if word == "if" => self.out.line("do", Some(at)),
                        None => self.out.line("else", None),
                    }
                    word = "elseif";
                    self.decides = before;
                    flow = both(flow, self.indented(block));
                    after |= self.decides;
                }
                if !branches.is_empty() {
                    self.out.line("end", None);
                }
                self.decides |= after;
                let has_default = branches.last().is_some_and(|(code, _)| code.is_none());
                if has_default { flow } else { Flow::On }
            }
            Err(why) => {
                let parts: Vec<_> = cases.iter().map(|(_, block)| ("elseif case then", block)).collect();
                self.dead(&format!("switch ({})", value.written()), &why, &parts, at);
                Flow::On
            }
        }
    }

    /// Conditions and statements of the cases; `None` is the default, which has to be the last.
    #[allow(clippy::type_complexity, reason = "a list of pairs for one caller")]
    fn choices(
        &mut self,
        value: &Expression,
        cases: &[(Option<Expression>, Block)],
    ) -> Result<Vec<(Option<String>, Block)>, String> {
        let mut all = Vec::new();
        let mut waiting: Vec<String> = Vec::new();
        for (number, (case, block)) in cases.iter().enumerate() {
            let is_last = number + 1 == cases.len();
            let code = match case {
                None if !is_last => return Err("`default` is not the last case".to_owned()),
                None => None,
                Some(case) => {
                    let sign = Expression::Pair("==", Box::new(value.clone()), Box::new(case.clone()));
                    match self.condition(&sign)? {
                        Cond::Code(code, _) => Some(code),
                        Cond::Always(..) => return Err("a case is a constant".to_owned()),
                    }
                }
            };
            if block.is_empty() && !is_last {
                waiting.extend(code);
                continue;
            }
            let mut block = block.clone();
            match block.last().map(|last| &last.what) {
                Some(Action::Break) => drop(block.pop()),
                Some(Action::Exit | Action::Return(_) | Action::Drop) => {}
                _ if is_last => {}
                _ => return Err("a case goes on into the next one".to_owned()),
            }
            let code = code.map(|code| {
                waiting.push(code);
                std::mem::take(&mut waiting).join(" or ")
            });
            all.push((code, block));
        }
        Ok(all)
    }

    fn returned(&mut self, value: Option<&Expression>, at: Spot) -> Flow {
        let value = match value {
            Some(Expression::Number(number)) if self.is_part => format!(" {number}"),
            _ => String::new(),
        };
        self.out.line(format!("return{value}"), Some(at));
        Flow::Ended
    }

    /// `exit`: nothing more is done about the request. Where nothing was decided it is left without a response.
    fn exit(&mut self, at: Spot) -> Flow {
        if self.is_part {
            self.out.line("return EXIT", Some(at));
            return Flow::Ended;
        }
        if self.kind == RouteKind::Request && !self.decides {
            self.out.line("drop()", Some(at));
        }
        self.out.line("return", Some(at));
        Flow::Ended
    }

    fn dropped(&mut self, at: Spot) -> Flow {
        match self.kind {
            RouteKind::Branch if !self.is_part => self.out.line("drop()", Some(at)),
            RouteKind::Reply => self.left_out("drop", "a response that came cannot be held back", at),
            _ => return self.exit(at),
        }
        self.out.line("return", Some(at));
        Flow::Ended
    }

    /// Lines for `target sign value`.
    fn assigned(&mut self, text: &str, sign: &str, value: &Expression) -> Result<Vec<String>, String> {
        let Some(variable) = target(text) else {
            return Err(format!("`{text}` cannot be set"));
        };
        let value = match value {
            // Kamailio and SER take a text as it is.
            Expression::Text(text) if !self.dialect.fills_texts() => quoted(text),
            other => self.value(other)?.code,
        };
        let is_plain = variable.steps.is_empty() && matches!(variable.index.as_deref(), None | Some("*" | "0"));
        if !is_plain && variable.name != "acc_leg" {
            return Err("one of several values cannot be set".to_owned());
        }
        match (sign, variable.name.as_str(), variable.argument.as_deref()) {
            ("=" | ":=", _, _) => self.set(&variable, &value, sign == ":="),
            ("+=" | "-=" | "*=" | "/=", "var", Some(name)) => {
                self.uses.variables = true;
                let name = entry("var", name);
                Ok(vec![format!("{name} = (tonumber({name}) or 0) {} {value}", &sign[..1])])
            }
            _ => Err(format!("`{sign}` is translated for $var alone")),
        }
    }

    fn set(&mut self, variable: &Variable, value: &str, is_alone: bool) -> Result<Vec<String>, String> {
        let argument = variable.argument.as_deref();
        let one = |line: String| Ok(vec![line]);
        match (variable.name.as_str(), argument) {
            (_, Some(argument)) if argument.contains('$') => Err("its name is a variable".to_owned()),
            ("ru", None) => one(format!("req.uri = {value}")),
            ("rU", None) if value != "nil" => one(format!("req.user = {value}")),
            ("rd", None) => one(format!("req.host = {value}")),
            ("du", None) => one(format!("next_hop = {value}")),
            ("branch", None) => one(format!("branches[#branches + 1] = {value}")),
            ("fs", None) => one(format!("set_socket({value})")),
            ("var", Some(name)) => {
                self.uses.variables = true;
                one(format!("{} = {value}", entry("var", name)))
            }
            ("avp", Some(name)) => {
                let name = entry("avp", name);
                let is_new = is_alone && value != "nil" || variable.index.as_deref() == Some("*");
                let clear = is_new.then(|| format!("{name} = nil"));
                Ok(clear.into_iter().chain((value != "nil" || !is_new).then(|| format!("{name} = {value}"))).collect())
            }
            ("dlg_var" | "dlg_val", Some(name)) => {
                let name = entry("avp", &format!("dlg_{name}"));
                // It has one value, and AVPs are stacks.
                let clear = (value != "nil").then(|| format!("{name} = nil"));
                Ok(clear.into_iter().chain([format!("{name} = {value}")]).collect())
            }
            ("acc_extra", Some(name)) => one(format!("{} = {value}", entry("acc_extra", name))),
            ("acc_leg", Some(name)) => {
                let table = match variable.index.as_deref() {
                    None => "acc_leg".to_owned(),
                    Some(index) => match index.trim().parse::<i32>() {
                        Ok(index) => format!("acc_legs[{index}]"),
                        Err(_) => return Err("the number of its leg is not known".to_owned()),
                    },
                };
                one(format!("{} = {value}", entry(&table, name)))
            }
            (name, _) => Err(format!("`${name}` cannot be set")),
        }
    }
}

fn both(left: Flow, right: Flow) -> Flow {
    if left == Flow::Ended && right == Flow::Ended { Flow::Ended } else { Flow::On }
}

/// A statement on one line, what is in its blocks left out.
fn short(statement: &Statement) -> String {
    let text = match &statement.what {
        Action::If { condition, .. } => format!("if ({}) ...", condition.written()),
        Action::Loop { head, .. } => format!("{head} ..."),
        Action::Switch { value, .. } => format!("switch ({}) ...", value.written()),
        Action::Call(call) => call.written(),
        Action::Route(name) => format!("route({name})"),
        Action::Assign { target, sign, value } => format!("{target} {sign} {}", value.written()),
        Action::Return(_) => "return".to_owned(),
        Action::Exit => "exit".to_owned(),
        Action::Drop => "drop".to_owned(),
        Action::Break => "break".to_owned(),
        Action::Block(_) => "{ ... }".to_owned(),
        Action::Unread(text) => text.clone(),
    };
    shortened(&text)
}

/// Functions that do something and tell whether it went well.
const EFFECTS: &[&str] = &[
    "t_relay",
    "t_relay_to_udp",
    "t_relay_to_tcp",
    "forward",
    "append_branch",
    "record_route",
    "t_reply",
    "sl_send_reply",
    "send_reply",
    "dlg_manage",
    "create_dialog",
    "do_accounting",
    "acc_log_request",
    "acc_db_request",
    "acc_rad_request",
    "acc_aaa_request",
    "acc_evi_request",
];

/// The call of such a function that a condition is, and whether it is negated.
fn is_effect(condition: &Expression) -> Option<(&Call, bool)> {
    match condition {
        Expression::Call(call) if EFFECTS.contains(&call.name.as_str()) => Some((call, false)),
        Expression::Not(inner) => is_effect(inner).map(|(call, is_not)| (call, !is_not)),
        _ => None,
    }
}
