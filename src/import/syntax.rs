//! Statements and expressions of the language, as they were written: nothing is known here of what functions do.

use super::lexer::{Spot, quote};

/// Statements in their order.
pub type Block = Vec<Statement>;

/// A statement with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// Where it begins.
    pub at: Spot,
    /// What it is.
    pub what: Action,
}

/// What a statement is.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// `if (condition) then else otherwise`
    If {
        /// The condition.
        condition: Expression,
        /// What is done when it holds.
        then: Block,
        /// What is done when it does not.
        otherwise: Block,
    },
    /// `while (condition) body`, and `for`, whose head is one text.
    Loop {
        /// Its head as written.
        head: String,
        /// What is repeated.
        body: Block,
    },
    /// `switch (value) { case ... }`
    Switch {
        /// What is compared.
        value: Expression,
        /// The cases; `None` is `default`.
        cases: Vec<(Option<Expression>, Block)>,
    },
    /// `name(arguments);`
    Call(Call),
    /// `route(NAME);`
    Route(String),
    /// `target = value;`, also with `+=`, `:=`
    Assign {
        /// The variable with its `$`, or the word.
        target: String,
        /// The sign between them.
        sign: &'static str,
        /// The value.
        value: Expression,
    },
    /// `return;` or `return value;`
    Return(Option<Expression>),
    /// `exit;`
    Exit,
    /// `drop;`
    Drop,
    /// `break;`
    Break,
    /// A block in braces of its own.
    Block(Block),
    /// What could not be read, as text.
    Unread(String),
}

/// A call of a function.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The function.
    pub name: String,
    /// Its arguments.
    pub arguments: Vec<Expression>,
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Expression {
    /// A text in quotation marks.
    Text(String),
    /// A whole number.
    Number(i64),
    /// A word such as `method`, `myself` or `UDP`.
    Word(String),
    /// A variable with its `$`.
    Variable(String),
    /// A call; `route(NAME)` is one of `route`.
    Call(Call),
    /// `!a`
    Not(Box<Expression>),
    /// `a && b`, `a == b`, `a + b`, by the sign between them.
    Pair(&'static str, Box<Expression>, Box<Expression>),
    /// What could not be read, as text.
    Unread(String),
}

impl Expression {
    /// The text it is.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// It as it was written, on one line.
    #[must_use]
    pub fn written(&self) -> String {
        match self {
            Self::Text(text) => quote(text),
            Self::Number(number) => number.to_string(),
            Self::Word(text) | Self::Variable(text) | Self::Unread(text) => text.clone(),
            Self::Call(call) => call.written(),
            Self::Not(inner) => match **inner {
                Self::Pair(..) => format!("!({})", inner.written()),
                _ => format!("!{}", inner.written()),
            },
            Self::Pair(sign, left, right) => {
                let side = |side: &Self| match (side, *sign) {
                    (Self::Pair("||", ..), "&&") => format!("({})", side.written()),
                    _ => side.written(),
                };
                format!("{} {sign} {}", side(left), side(right))
            }
        }
    }
}

impl Call {
    /// It as it was written, on one line.
    #[must_use]
    pub fn written(&self) -> String {
        let arguments: Vec<_> = self.arguments.iter().map(Expression::written).collect();
        format!("{}({})", self.name, arguments.join(", "))
    }
}

/// What kind of route a block is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum RouteKind {
    /// `route`, `request_route`: without a name the main one, with one a part that is called.
    Request,
    /// `branch_route`
    Branch,
    /// `failure_route`
    Failure,
    /// `onreply_route`, `reply_route`
    Reply,
    /// `local_route`
    Local,
    /// `event_route`
    Event,
    /// `startup_route`, `timer_route`, `error_route`, `onsend_route`
    Other,
}

impl RouteKind {
    /// The handler of ours for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Request => "request_route",
            Self::Branch => "branch_route",
            Self::Failure => "failure_route",
            Self::Reply => "reply_route",
            Self::Local => "local_route",
            Self::Event | Self::Other => "event_route",
        }
    }
}

/// A route.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Where it begins.
    pub at: Spot,
    /// What kind it is.
    pub kind: RouteKind,
    /// Its head as written: `failure_route[RETRY]`.
    pub head: String,
    /// Its name; empty for the main one.
    pub name: String,
    /// What it does.
    pub body: Block,
}

/// A parameter of a module.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// Where it stands.
    pub at: Spot,
    /// The modules as written: `acc|acc_radius`.
    pub modules: String,
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Expression,
}

/// A setting of the core: `listen=udp:10.0.0.1:5060`.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// Where it stands.
    pub at: Spot,
    /// Its name.
    pub name: String,
    /// Its value as text, words one blank apart, quotation marks taken off.
    pub value: String,
}

/// A whole configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Script {
    /// Settings of the core.
    pub settings: Vec<Setting>,
    /// Modules that are loaded, without folder and `.so`.
    pub modules: Vec<(String, Spot)>,
    /// Parameters of modules.
    pub params: Vec<Param>,
    /// Names of flags with their numbers: `flags ACC:1`.
    pub flags: Vec<(String, i64)>,
    /// Routes in their order.
    pub routes: Vec<Route>,
    /// What could not be read, with its text.
    pub unread: Vec<(Spot, String)>,
}
