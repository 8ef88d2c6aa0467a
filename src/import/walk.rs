//! Visits to all statements and calls of a route.

use super::lexer::Spot;
use super::syntax::{Action, Block, Call, Expression, Statement};

/// Visits all calls of a block in their order, those in conditions and arguments included.
pub fn calls(block: &Block, visit: &mut dyn FnMut(&Call, Spot)) {
    statements(block, &mut |statement| {
        let at = statement.at;
        match &statement.what {
            Action::If { condition, .. } => in_expression(condition, at, visit),
            Action::Switch { value, .. } => in_expression(value, at, visit),
            Action::Call(call) => in_call(call, at, visit),
            Action::Assign { value, .. } | Action::Return(Some(value)) => in_expression(value, at, visit),
            _ => {}
        }
    });
}

/// Visits all statements of a block in their order, those in blocks within it included.
pub fn statements(block: &Block, visit: &mut dyn FnMut(&Statement)) {
    for statement in block {
        visit(statement);
        match &statement.what {
            Action::If { then, otherwise, .. } => {
                statements(then, visit);
                statements(otherwise, visit);
            }
            Action::Loop { body, .. } | Action::Block(body) => statements(body, visit),
            Action::Switch { cases, .. } => cases.iter().for_each(|(_, block)| statements(block, visit)),
            _ => {}
        }
    }
}

fn in_call(call: &Call, at: Spot, visit: &mut dyn FnMut(&Call, Spot)) {
    visit(call, at);
    call.arguments.iter().for_each(|argument| in_expression(argument, at, visit));
}

fn in_expression(expression: &Expression, at: Spot, visit: &mut dyn FnMut(&Call, Spot)) {
    match expression {
        Expression::Call(call) => in_call(call, at, visit),
        Expression::Not(inner) => in_expression(inner, at, visit),
        Expression::Pair(_, left, right) => {
            in_expression(left, at, visit);
            in_expression(right, at, visit);
        }
        _ => {}
    }
}
