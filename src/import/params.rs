//! Parameters of modules and settings of the core by their names, and which of them nobody has asked for.

use std::cell::RefCell;

use regex::RegexBuilder;

use super::lexer::Spot;
use super::limits::REGEX_OCTETS_MAX;
use super::syntax::{Expression, Param, Script, Setting};

/// Finds parameters, and remembers which ones were found.
#[derive(Debug)]
pub struct Params<'s> {
    script: &'s Script,
    asked: RefCell<Vec<bool>>,
    asked_settings: RefCell<Vec<bool>>,
}

/// A value with its place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Value {
    /// As text.
    pub text: String,
    /// Where it stands.
    pub at: Spot,
}

impl Value {
    /// The number that it is.
    #[must_use]
    pub fn number(&self) -> Option<i64> {
        self.text.trim().parse().ok()
    }

    /// Whether it is a number other than 0, or a word for that.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.number()
            .map_or_else(|| ["yes", "on", "true"].contains(&self.text.to_lowercase().as_str()), |number| number != 0)
    }
}

impl<'s> Params<'s> {
    /// Those of a script.
    #[must_use]
    pub fn new(script: &'s Script) -> Self {
        Self {
            script,
            asked: RefCell::new(vec![false; script.params.len()]),
            asked_settings: RefCell::new(vec![false; script.settings.len()]),
        }
    }

    /// All values of a parameter, in their order. The name of the module may be a pattern there.
    #[must_use]
    pub fn all(&self, module: &str, name: &str) -> Vec<Value> {
        let mut found = Vec::new();
        for (number, param) in self.script.params.iter().enumerate() {
            if param.name == name && is_for(&param.modules, module) {
                self.asked.borrow_mut()[number] = true;
                found.push(Value { text: self.value(param), at: param.at });
            }
        }
        found
    }

    /// The value of a parameter: the last one counts.
    #[must_use]
    pub fn get(&self, module: &str, name: &str) -> Option<Value> {
        self.all(module, name).pop()
    }

    /// The value of a parameter of the first of these modules that has it.
    #[must_use]
    pub fn of(&self, modules: &[&str], name: &str) -> Option<Value> {
        modules.iter().find_map(|module| self.get(module, name))
    }

    /// All values of a setting of the core.
    #[must_use]
    pub fn settings(&self, name: &str) -> Vec<Value> {
        let mut found = Vec::new();
        for (number, setting) in self.script.settings.iter().enumerate().filter(|(_, own)| own.name == name) {
            self.asked_settings.borrow_mut()[number] = true;
            found.push(Value { text: setting.value.clone(), at: setting.at });
        }
        found
    }

    /// Parameters that nobody has asked for.
    #[must_use]
    pub fn left(&self) -> Vec<&'s Param> {
        let asked = self.asked.borrow();
        self.script.params.iter().zip(asked.iter()).filter(|(_, asked)| !**asked).map(|(param, _)| param).collect()
    }

    /// Settings of the core that nobody has asked for.
    #[must_use]
    pub fn settings_left(&self) -> Vec<&'s Setting> {
        let asked = self.asked_settings.borrow();
        self.script.settings.iter().zip(asked.iter()).filter(|(_, asked)| !**asked).map(|(own, _)| own).collect()
    }

    /// A value as text; the name of a flag becomes its number.
    fn value(&self, param: &Param) -> String {
        match &param.value {
            Expression::Text(text) | Expression::Word(text) => {
                let number = self.script.flags.iter().find(|(name, _)| name == text).map(|(_, number)| *number);
                number.map_or_else(|| text.clone(), |number| number.to_string())
            }
            other => other.written(),
        }
    }
}

/// Whether `modules` of a `modparam` means this module: by name, in a list with `|`, or by a pattern.
#[must_use]
pub fn is_for(modules: &str, module: &str) -> bool {
    if modules.split('|').any(|own| own.trim() == module) {
        return true;
    }
    let is_pattern = modules.contains(['.', '*', '+', '?', '(', '[', '^']);
    let pattern =
        is_pattern.then(|| RegexBuilder::new(&format!("^(?:{modules})$")).size_limit(REGEX_OCTETS_MAX).build());
    pattern.is_some_and(|pattern| pattern.is_ok_and(|pattern| pattern.is_match(module)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_named_one_by_one_in_lists_and_by_patterns() {
        for (name, modules, module, want) in [
            ("itself", "acc", "acc", true),
            ("another", "acc", "acc_radius", false),
            ("in a list", "auth_db|acc|usrloc", "acc", true),
            ("not in it", "auth_db|usrloc", "acc", false),
            ("by a pattern", "acc.*", "acc_radius", true),
            ("by a list of patterns", "^x$|acc_(db|radius)", "acc_radius", true),
            ("not by a part", "acc.", "acc_radius", false),
            ("by no pattern at all", "acc(", "acc", false),
        ] {
            assert_eq!(is_for(modules, module), want, "{name}");
        }
    }
}
