//! Functions that do something.

use super::Translator;
use super::output::{entry, is_name, quoted};
use crate::import::syntax::{Call, Expression, RouteKind};
use crate::import::variables::template;

/// What becomes of a statement.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Made {
    /// Lines of Lua.
    Lines(Vec<String>),
    /// Nothing, for this reason: the gateway does it anyway.
    Needless(&'static str),
}

fn one(line: impl Into<String>) -> Result<Made, String> {
    Ok(Made::Lines(vec![line.into()]))
}

impl Translator<'_> {
    /// A call as a statement.
    pub(super) fn call(&mut self, call: &Call) -> Result<Made, String> {
        match call.name.as_str() {
            "do_accounting" => self.marking(call),
            "drop_accounting" => self.marking(call),
            "setflag" => {
                let flag = self.flag(call.arguments.first())?;
                let mut lines = vec![format!("setflag({flag})")];
                if self.dialog_flag.as_deref() == Some(flag.trim_matches('"')) {
                    lines.extend(self.whole_call());
                }
                Ok(Made::Lines(lines))
            }
            "resetflag" => {
                let flag = self.flag(call.arguments.first())?;
                one(format!("resetflag({flag})"))
            }
            "acc_new_leg" => one("acc_new_leg()"),
            "dlg_manage" | "create_dialog" => match self.whole_call() {
                Some(line) => one(line),
                None => Ok(Made::Needless("calls are tracked without being asked for")),
            },
            name if name.starts_with("acc_") => self.by_hand(call),
            "t_on_failure" => self.arming(call, "on_failure", "failure_route"),
            "t_on_branch" => self.arming(call, "on_branch", "branch_route"),
            "t_on_reply" => self.arming(call, "on_reply", "reply_route"),
            _ => self.sending(call),
        }
    }

    /// Functions about where a request goes and how.
    fn sending(&mut self, call: &Call) -> Result<Made, String> {
        match call.name.as_str() {
            "t_relay" | "t_relay_to" | "t_relay_to_udp" | "t_relay_to_tcp" | "t_relay_to_tls" | "forward"
            | "forward_udp" | "forward_tcp" | "route_to" => self.relay(call),
            "t_reply" | "sl_send_reply" | "send_reply" | "sl_reply" | "t_send_reply" => self.reply(call),
            "sl_reply_error" | "send_reply_error" | "t_reply_error" => one("reply(500, \"Server Internal Error\")"),
            "append_branch" => self.branch(call.arguments.first()),
            "record_route" => one("record_route(true)"),
            "loose_route" => Ok(Made::Needless("`relay()` inside a call follows its Route")),
            "append_hf" => self.header(call),
            "remove_hf" => match call.arguments.first() {
                Some(Expression::Text(name)) if is_proxy_s(name) => Ok(Made::Needless(PROXY_S)),
                Some(Expression::Text(name)) => one(format!("remove_hf({})", quoted(name))),
                _ => Err("its header is no text".to_owned()),
            },
            "force_send_socket" => match call.arguments.first() {
                Some(Expression::Unread(text) | Expression::Text(text)) if text.contains(':') => {
                    one(format!("set_socket({})", quoted(text)))
                }
                _ => Err("its socket cannot be read".to_owned()),
            },
            "xlog" | "log" | "xinfo" | "xnotice" | "xerr" | "xwarn" | "xdbg" | "xalert" | "xcrit" => self.log(call),
            name => match self.rewriting(call) {
                Some(made) => made,
                None => match needless(name) {
                    Some(why) => Ok(Made::Needless(why)),
                    None => Err(why_not(name).to_owned()),
                },
            },
        }
    }

    /// `do_accounting` and `drop_accounting`. Where there are sinks of both kinds they are named one by one.
    fn marking(&mut self, call: &Call) -> Result<Made, String> {
        let mut arguments = Vec::new();
        for (place, argument) in call.arguments.iter().enumerate() {
            let text = match argument {
                Expression::Text(text) | Expression::Word(text) if !text.contains('$') => Some(text.clone()),
                _ => None,
            };
            let code = match text {
                Some(text) if place == 0 => {
                    let flags = call.arguments.get(1).map(Expression::written).unwrap_or_default().to_lowercase();
                    let is_whole = flags.contains("cdr");
                    quoted(&self.sinks_of(&text, (call.name == "do_accounting").then_some(is_whole)))
                }
                Some(text) => quoted(&text),
                None if matches!(argument, Expression::Unread(text) if text.is_empty()) => "nil".to_owned(),
                None => self.value(argument)?.as_text(),
            };
            arguments.push(code);
        }
        while arguments.last().is_some_and(|last| last == "nil") {
            arguments.pop();
        }
        one(format!("{}({})", call.name, arguments.join(", ")))
    }

    /// Types of a call as they are, or the names of their sinks where both records of transactions and of whole calls
    /// are made; `None`: both.
    fn sinks_of(&self, types: &str, is_whole: Option<bool>) -> String {
        let has = |is_whole: bool| self.sinks.iter().any(|sink| sink.is_whole == is_whole);
        if !(has(true) && has(false)) {
            return types.to_owned();
        }
        let words: Vec<_> = types.split('|').map(|word| word.trim().to_lowercase()).collect();
        let fits = |own: &&crate::import::sinks::Sink| {
            words.iter().any(|word| *word == own.backend.word())
                && is_whole.is_none_or(|is_whole| own.is_whole == is_whole)
        };
        let names: Vec<_> = self.sinks.iter().filter(fits).map(|sink| sink.name.as_str()).collect();
        if names.is_empty() { types.to_owned() } else { names.join("|") }
    }

    /// The mark for a record of the whole call, in Kamailio, where tracking a call makes one.
    fn whole_call(&self) -> Option<String> {
        if self.dialect != crate::import::dialect::Dialect::Kamailio {
            return None;
        }
        let names: Vec<_> = self.sinks.iter().filter(|sink| sink.is_whole).map(|sink| sink.name.as_str()).collect();
        (!names.is_empty()).then(|| format!("do_accounting({}, \"cdr\")", quoted(&names.join("|"))))
    }

    /// The number or name of a flag.
    pub(super) fn flag(&self, argument: Option<&Expression>) -> Result<String, String> {
        match argument {
            Some(Expression::Number(number)) => Ok(number.to_string()),
            Some(Expression::Text(name) | Expression::Word(name)) => {
                let number =
                    self.script.flags.iter().find(|(own, _)| own == name).map(|(_, number)| number.to_string());
                let number = number.or_else(|| name.parse::<u32>().ok().map(|number| number.to_string()));
                Ok(number.unwrap_or_else(|| quoted(name)))
            }
            _ => Err("its flag cannot be read".to_owned()),
        }
    }

    /// `acc_log_request` and its like. Variables in the comment are filled in when it runs.
    fn by_hand(&mut self, call: &Call) -> Result<Made, String> {
        let name = match call.name.as_str() {
            "acc_syslog_request" => "acc_log_request",
            name @ ("acc_log_request" | "acc_db_request" | "acc_rad_request" | "acc_aaa_request"
            | "acc_diam_request" | "acc_evi_request" | "acc_request") => name,
            name => return Err(why_not(name).to_owned()),
        };
        let mut arguments = Vec::new();
        for argument in &call.arguments {
            arguments.push(match argument {
                Expression::Text(text) if text.contains('$') => quoted(&template(text)?),
                Expression::Number(number) => quoted(&number.to_string()),
                other => self.value(other)?.as_text(),
            });
        }
        one(format!("{name}({})", arguments.join(", ")))
    }

    fn arming(&mut self, call: &Call, function: &str, table: &str) -> Result<Made, String> {
        let name = match call.arguments.first() {
            Some(Expression::Text(name) | Expression::Word(name)) => name.clone(),
            Some(Expression::Number(0)) => return one(format!("{function}(nil)")),
            Some(Expression::Number(number)) => number.to_string(),
            _ => return Err("its route is not known".to_owned()),
        };
        let kind = match table {
            "failure_route" => RouteKind::Failure,
            "branch_route" => RouteKind::Branch,
            _ => RouteKind::Reply,
        };
        if !self.script.routes.iter().any(|route| route.kind == kind && route.name == name) {
            return Err(format!("there is no {table}[{name}]"));
        }
        one(format!("{function}({})", quoted(&name)))
    }

    fn relay(&mut self, call: &Call) -> Result<Made, String> {
        self.decides = true;
        let written: Vec<_> =
            call.arguments.iter().map(|own| own.text().map_or_else(|| own.written(), str::to_owned)).collect();
        let transport =
            call.name.rsplit_once('_').map(|(_, last)| last).filter(|last| ["udp", "tcp", "tls"].contains(last));
        let target = match &written[..] {
            [] => None,
            [first, ..] if first.starts_with("uri:") || first.starts_with("0x") || first.parse::<u32>().is_ok() => None,
            [host, port] if port.parse::<u16>().is_ok() => Some(format!("{host}:{port}")),
            [place] if place.matches(':').count() == 2 => Some(place.clone()),
            [place] if place.parse::<std::net::Ipv4Addr>().is_ok() => Some(place.clone()),
            [place] if place.split_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) => {
                Some(place.clone())
            }
            _ => return Err("where it goes cannot be read".to_owned()),
        };
        let Some(target) = target else { return one(self.relayed()) };
        let (transport, place) = match target.split_once(':') {
            Some((word @ ("udp" | "tcp" | "tls"), place)) => (Some(word), place.to_owned()),
            _ => (transport, target.clone()),
        };
        let transport = transport.map_or_else(String::new, |word| format!(";transport={word}"));
        one(format!("relay({})", quoted(&format!("sip:{place}{transport};lr"))))
    }

    /// `relay()`, or the function of our own that minds next hops and branches.
    fn relayed(&self) -> String {
        if !self.uses.next_hop && !self.uses.branches {
            return "relay()".to_owned();
        }
        let is_first = if self.is_only_from(RouteKind::Failure) { "false" } else { "true" };
        format!("t_relay({is_first})")
    }

    fn branch(&mut self, argument: Option<&Expression>) -> Result<Made, String> {
        if argument.is_none() && self.is_only_from(RouteKind::Failure) {
            return Ok(Made::Needless("after a failure `relay()` goes to the Request-URI as a branch"));
        }
        self.uses.branches = true;
        let uri = match argument {
            Some(argument) => self.value(argument)?.as_text(),
            None => "req.uri".to_owned(),
        };
        one(format!("branches[#branches + 1] = {uri}"))
    }

    fn reply(&mut self, call: &Call) -> Result<Made, String> {
        let code = match call.arguments.first() {
            Some(Expression::Number(code)) => *code,
            Some(Expression::Text(code)) => code.trim().parse().map_err(|_| "its code is no number".to_owned())?,
            _ => return Err("its code is no number".to_owned()),
        };
        if !(200..=699).contains(&code) {
            return Err("only final responses can be sent".to_owned());
        }
        self.decides = true;
        match call.arguments.get(1) {
            None => one(format!("reply({code})")),
            Some(reason) => {
                let reason = self.value(reason)?.as_text();
                one(format!("reply({code}, {reason})"))
            }
        }
    }

    fn header(&mut self, call: &Call) -> Result<Made, String> {
        let Some(Expression::Text(line)) = call.arguments.first() else { return Err("its line is no text".to_owned()) };
        let line = line.trim_end();
        let (name, value) = line.split_once(':').ok_or("its line has no `:`")?;
        if name.contains('$') || value.contains(['\r', '\n']) {
            return Err("its line cannot be read".to_owned());
        }
        if is_proxy_s(name.trim()) {
            return Ok(Made::Needless(PROXY_S));
        }
        let value = self.filled(value.trim())?.as_text();
        one(format!("append_hf({}, {value})", quoted(name.trim())))
    }

    /// Functions that change the Request-URI.
    fn rewriting(&mut self, call: &Call) -> Option<Result<Made, String>> {
        let set = |own: &mut Self, line: &dyn Fn(String) -> String| {
            let argument = call.arguments.first().ok_or_else(|| "it has no argument".to_owned())?;
            let value = own.value(argument)?.as_text();
            one(line(value))
        };
        Some(match call.name.as_str() {
            "seturi" | "rewriteuri" => set(self, &|value| format!("req.uri = {value}")),
            "sethost" | "rewritehost" => set(self, &|value| format!("req.host = {value}")),
            "setuser" | "rewriteuser" => set(self, &|value| format!("req.user = {value}")),
            "sethostport" | "rewritehostport" => {
                set(self, &|value| format!("req.uri = \"sip:\" .. (req.user and req.user .. \"@\" or \"\") .. {value}"))
            }
            "prefix" => set(self, &|value| format!("req.user = {value} .. (req.user or \"\")")),
            "strip" | "strip_tail" => {
                let number = match call.arguments.first() {
                    Some(Expression::Number(number)) => Some(*number),
                    Some(Expression::Text(text)) => text.trim().parse().ok(),
                    _ => None,
                };
                match number.filter(|number| (0..=256).contains(number)) {
                    Some(number) if call.name == "strip" => {
                        one(format!("req.user = (req.user or \"\"):sub({})", number + 1))
                    }
                    Some(number) => one(format!("req.user = (req.user or \"\"):sub(1, {})", -number - 1)),
                    None => Err("its number cannot be read".to_owned()),
                }
            }
            _ => return None,
        })
    }

    fn log(&mut self, call: &Call) -> Result<Made, String> {
        let (level, text) = match &call.arguments[..] {
            [text] => (None, text),
            [level, text, ..] => (Some(level.text().map_or_else(|| level.written(), str::to_owned)), text),
            [] => return Ok(Made::Needless("it says nothing")),
        };
        let function = match level.as_deref().map(|level| level.trim_start_matches("L_")).unwrap_or(&call.name) {
            "DBG" | "xdbg" | "3" | "4" => "debug",
            "WARN" | "xwarn" | "0" => "warn",
            "ERR" | "CRIT" | "ALERT" | "xerr" | "xcrit" | "xalert" | "-1" | "-2" | "-3" => "error",
            _ => "info",
        };
        let Expression::Text(text) = text else { return Ok(Made::Needless("what it says cannot be read")) };
        match self.filled(text.trim()) {
            Ok(value) => one(format!("log.{function}({})", value.as_text())),
            Err(_) => Ok(Made::Needless("it names a variable that is not known here")),
        }
    }

    /// A call of a part of the script.
    pub(super) fn part(&self, name: &str) -> String {
        let arguments = match self.kind {
            RouteKind::Request if !self.is_part => "req",
            _ => "req, reply",
        };
        if is_name(name) {
            format!("route.{name}({arguments})")
        } else {
            format!("{}({arguments})", entry("route", name))
        }
    }
}

/// Whether a header belongs to the proxy, so that a script cannot change it.
fn is_proxy_s(name: &str) -> bool {
    let own = ["Via", "Route", "Record-Route", "From", "To", "Call-ID", "CSeq", "Max-Forwards", "Content-Length"];
    own.iter().any(|own| own.eq_ignore_ascii_case(name.trim()))
}

const PROXY_S: &str = "this header belongs to the proxy, which sees to it";

/// The handlers from which a function of ours can be called.
pub(super) fn places(name: &str) -> &'static [RouteKind] {
    use RouteKind::{Branch, Failure, Local, Reply, Request};
    match name {
        "do_accounting" | "drop_accounting" | "dlg_manage" | "create_dialog" => &[Request, Failure, Branch, Local],
        "t_on_failure" | "t_on_branch" | "t_on_reply" | "append_hf" | "remove_hf" | "record_route"
        | "force_send_socket" | "seturi" | "rewriteuri" | "sethost" | "rewritehost" | "setuser" | "rewriteuser"
        | "sethostport" | "rewritehostport" | "prefix" | "strip" | "strip_tail" => &[Request, Failure, Branch],
        "t_relay" | "forward" | "t_reply" | "sl_send_reply" | "send_reply" | "sl_reply" | "append_branch" => {
            &[Request, Failure]
        }
        _ => &[Request, Failure, Branch, Reply, Local],
    }
}

/// Functions that need no counterpart, with the reason.
fn needless(name: &str) -> Option<&'static str> {
    Some(match name {
        "force_rport" | "add_rport" => "answers go to the port that a request came from where its Via asks for it",
        "t_newtran" | "t_check_trans" | "t_precheck_trans" => "transactions are made and matched without the script",
        "mf_process_maxfwd_header" | "sanity_check" => "requests are checked before the script sees them",
        "t_release" | "t_set_auto_inv_100" | "t_set_disable_6xx" => "the gateway sees to that itself",
        "setdebug" | "resetdebug" | "setsflag" | "resetsflag" => "it changes nothing about requests",
        _ => return None,
    })
}

/// Why a function has no counterpart, and what there is instead.
pub(super) fn why_not(name: &str) -> &'static str {
    let starts = |starts: &[&str]| starts.iter().any(|start| name.starts_with(start));
    if starts(&["save", "lookup", "registered", "unregister", "reg_"]) {
        return "Tollgate keeps no registrations";
    }
    if starts(&[
        "www_",
        "proxy_auth",
        "proxy_chal",
        "auth_",
        "consume_cred",
        "pv_www",
        "pv_proxy",
        "allow_",
        "is_from_local",
    ]) {
        return "nobody is asked for credentials or looked up here; `sip.allow` says who may send";
    }
    if starts(&["ds_", "lb_", "load_bal", "use_next_gw", "do_routing", "next_gw", "load_gws", "cr_", "carrier"]) {
        return "targets are a list here: relay{ \"sip:a\", \"sip:b\", fork = \"serial\" }, kv() finds prefixes";
    }
    if starts(&["fix_nat", "nat_", "handle_ruri", "set_contact", "add_contact", "force_rport", "client_nat"]) {
        return "addresses behind NAT are not mended";
    }
    if starts(&["rtp", "engage_", "start_record", "mediaproxy", "use_media"]) {
        return "media do not pass here";
    }
    if starts(&["sql_", "avp_db", "redis", "cache_", "http_", "async", "exec", "mongo"]) {
        return "a script waits for no server here; kv() reads tables from files";
    }
    if starts(&["get_profile", "set_dlg_profile", "is_in_profile", "unset_dlg"]) {
        return "count_call(key, max) and calls(key) count calls in progress";
    }
    if starts(&["t_set_fr", "t_reset_fr", "t_set_retr"]) {
        return "see `ring_timeout_s` of relay()";
    }
    if starts(&["setbflag", "resetbflag", "isbflagset", "isbranchflag", "setbranchflag"]) {
        return "there are no flags of branches";
    }
    if starts(&["uac_", "topoh", "topology"]) {
        return "From, To and the other ends of a call are not rewritten";
    }
    "it has no counterpart"
}
