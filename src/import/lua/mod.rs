//! `route.lua` from the routes of a script.
//!
//! What has a counterpart is translated, each line with where it comes from; the rest stands there as a comment, and in the
//! report. What depends on a condition that has none is a comment as a whole: whether it is done is not guessed.

mod call;
mod condition;
mod output;
pub mod pattern;
mod reach;
mod statement;
mod value;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use super::dialect::Dialect;
use super::lexer::Spot;
use super::report::{About, Report};
use super::sinks::Sink;
use super::syntax::{Expression, Route, RouteKind, Script};
use super::usage::assigns;
use super::walk::calls;
use output::{Output, entry, is_name};
use reach::Reach;

/// What is needed to translate.
pub struct Material<'m> {
    /// Whose file it is.
    pub dialect: Dialect,
    /// Its routes and flags.
    pub script: &'m Script,
    /// The sinks of `tollgate.toml`.
    pub sinks: &'m [Sink],
    /// The flag that Kamailio tracks dialogs by.
    pub dialog_flag: Option<String>,
}

/// Helpers that a script uses.
#[derive(Clone, Copy, Debug, Default)]
struct Uses {
    variables: bool,
    next_hop: bool,
    branches: bool,
}

struct Translator<'t> {
    dialect: Dialect,
    script: &'t Script,
    sinks: &'t [Sink],
    dialog_flag: Option<String>,
    report: &'t mut Report,
    reach: Reach,
    /// The names that each of [`ARMING`] is ever called with.
    armed: BTreeMap<String, BTreeSet<String>>,
    uses: Uses,
    out: Output,
    /// The kind of handler whose lines are written.
    kind: RouteKind,
    /// Whether they are those of a part that is called.
    is_part: bool,
    /// Kinds of handlers from which it is called.
    from: BTreeSet<RouteKind>,
    /// Whether something may have been decided about the request so far.
    decides: bool,
}

/// The name of a reply route that has none there, for all responses.
const ALL_REPLIES: &str = "all";

/// Writes it; `title` names the file, `origin` shows a place.
pub fn write(material: Material<'_>, report: &mut Report, (title, origin): (&str, &dyn Fn(Spot) -> String)) -> String {
    let Material { dialect, script, sinks, dialog_flag } = material;
    let mut has_branches = assigns(script, &["$branch"]).is_some();
    let mut armed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for route in &script.routes {
        calls(&route.body, &mut |call, _| {
            has_branches |= call.name == "append_branch" && !call.arguments.is_empty();
            if ARMING.contains(&call.name.as_str()) {
                let name = call.arguments.first().map_or_else(String::new, Expression::written);
                armed.entry(call.name.clone()).or_default().insert(name);
            }
        });
    }
    let uses = Uses { variables: false, next_hop: assigns(script, &["$du", "$(du"]).is_some(), branches: has_branches };
    let mut own = Translator {
        dialect,
        script,
        sinks,
        dialog_flag,
        report,
        reach: Reach::of(script),
        armed,
        uses,
        out: Output::default(),
        kind: RouteKind::Request,
        is_part: false,
        from: BTreeSet::new(),
        decides: false,
    };
    for route in &script.routes {
        own.route(route);
    }
    let body = own.out.text(origin);
    format!("{}{body}", own.head(title))
}

impl Translator<'_> {
    /// What stands in front: where it comes from, and helpers that are used.
    fn head(&self, title: &str) -> String {
        let mut head = format!(
            "-- Made from {} by `tollgate import`; behind each line stands where it comes from. Read it before it is used:\n\
             -- lines that begin with `-- NOT TRANSLATED` are for you to do, and import.txt says why.\n",
            title.replace(char::is_control, " ")
        );
        if self.script.routes.iter().any(is_part) {
            head.push_str("\n-- Parts that are called: route(NAME).\nlocal route = {}\n");
        }
        if self.reach.has_exits() {
            head.push_str(
                "\n-- What a part gives back that ends the whole handler, as `exit` does.\nlocal EXIT = {}\n",
            );
        }
        if self.uses.variables {
            head.push_str("\n-- $var(name), which keeps its value from one request to the next.\nlocal var = {}\n");
        }
        if self.uses.next_hop || self.uses.branches {
            head.push_str(T_RELAY);
        }
        head
    }

    fn route(&mut self, route: &Route) {
        self.kind = route.kind;
        self.is_part = is_part(route);
        self.from = if self.is_part { self.reach.from(&route.name) } else { BTreeSet::from([route.kind]) };
        if self.is_part {
            // Where all that call it have a response, it has one too.
            let has_reply = |kind: &RouteKind| matches!(kind, RouteKind::Failure | RouteKind::Reply);
            if let Some(kind) = self.from.first().filter(|_| self.from.iter().all(has_reply)) {
                self.kind = *kind;
            }
        }
        // Whatever calls a part may have decided already.
        self.decides = self.is_part;
        self.out.blank();
        let (head, end) = self.brackets(route);
        let is_dead = matches!(route.kind, RouteKind::Event | RouteKind::Other);
        if is_dead {
            self.out.comment(format!("NOT TRANSLATED: {}", route.head), Some(route.at));
            let why = "no handler here is called then, or with other functions; its lines are comments";
            self.report.add(About::Routing, route.at, route.head.clone(), why);
            self.out.kill();
        } else {
            self.out.line(head, Some(route.at));
        }
        self.out.open();
        if matches!(route.kind, RouteKind::Request | RouteKind::Failure) && !self.is_part {
            if self.uses.next_hop || self.uses.branches {
                self.out.line("next_hop, branches = nil, {}", None);
            }
            if route.kind == RouteKind::Request && self.script.routes.iter().any(is_for_all_replies) {
                self.out.line(format!("on_reply(\"{ALL_REPLIES}\")"), None);
                if self.armed("t_on_reply") > 0 {
                    let why = "a route that t_on_reply names takes the place of the one for all responses";
                    self.report.add(About::Routing, route.at, "onreply_route without a name", why);
                }
            }
        }
        self.block(&route.body);
        self.out.close();
        if is_dead {
            self.out.wake();
        } else {
            self.out.line(end, None);
        }
    }

    /// The line that begins the function of a route, and the one that ends it.
    fn brackets(&self, route: &Route) -> (String, &'static str) {
        let table = match route.kind {
            RouteKind::Request if route.name.is_empty() => return ("function request_route(req)".to_owned(), "end"),
            RouteKind::Local => return ("function local_route(req, reply)".to_owned(), "end"),
            RouteKind::Request => "route",
            RouteKind::Branch => "branch_route",
            RouteKind::Failure => "failure_route",
            RouteKind::Reply => "reply_route",
            RouteKind::Event | RouteKind::Other => "event_route",
        };
        let name = if is_for_all_replies(route) { ALL_REPLIES } else { &route.name };
        let arguments = if route.kind == RouteKind::Branch { "req" } else { "req, reply" };
        if is_name(name) {
            (format!("function {table}.{name}({arguments})"), "end")
        } else {
            (format!("{} = function({arguments})", entry(table, name)), "end")
        }
    }

    /// Whether what is written is reached from handlers of this kind alone.
    fn is_only_from(&self, kind: RouteKind) -> bool {
        self.from.iter().all(|own| *own == kind)
    }

    /// How many different names this function is ever called with.
    fn armed(&self, function: &str) -> usize {
        self.armed.get(function).map_or(0, BTreeSet::len)
    }
}

/// Functions that name the route for what comes next.
const ARMING: [&str; 3] = ["t_on_failure", "t_on_branch", "t_on_reply"];

/// Whether a route is a part that is called.
fn is_part(route: &Route) -> bool {
    route.kind == RouteKind::Request && !route.name.is_empty()
}

fn is_for_all_replies(route: &Route) -> bool {
    route.kind == RouteKind::Reply && route.name.is_empty()
}

/// What `t_relay` does with `$du` and appended branches.
const T_RELAY: &str = r#"
-- As t_relay there: to the Request-URI by the next hop that was set, and to the branches that were appended.
local next_hop, branches = nil, {}
local function t_relay(with_uri)
  if #branches == 0 then
    if next_hop then return relay(next_hop .. ";lr") end
    return relay()
  end
  local targets = {}
  if with_uri then targets[1] = next_hop and next_hop .. ";lr" or req.uri end
  for _, branch in ipairs(branches) do targets[#targets + 1] = branch end
  branches = {}
  return fork(targets)
end
"#;
