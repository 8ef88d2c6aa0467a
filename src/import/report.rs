//! What was not taken, with places and reasons.

use super::lexer::Spot;
use super::limits::ITEMS_MAX;

/// What an item is about; in this order they are shown.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum About {
    /// Records would differ from those of the proxy, or be missing.
    Records,
    /// Requests would be treated in another way.
    Routing,
    /// A setting of the core or of a module that has no counterpart.
    Settings,
}

impl About {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Records, Self::Routing, Self::Settings];

    /// Its name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Routing => "routing",
            Self::Settings => "settings",
        }
    }
}

/// One thing that was not taken.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Item {
    /// What it is about.
    pub about: About,
    /// Where it stands.
    pub at: Spot,
    /// What stands there, on one line.
    pub what: String,
    /// Why it was not taken, and what to do.
    pub why: String,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    items: Vec<Item>,
    beyond: usize,
    to_do: Vec<String>,
}

/// Octets of what is shown of a statement.
const SHOWN_MAX: usize = 160;

impl Report {
    /// Adds an item.
    pub fn add(&mut self, about: About, at: Spot, what: impl Into<String>, why: impl Into<String>) {
        let item = Item { about, at, what: shortened(&what.into()), why: why.into() };
        if self.items.contains(&item) {
            return;
        }
        if self.items.len() < ITEMS_MAX {
            self.items.push(item);
        } else {
            self.beyond += 1;
        }
    }

    /// How many there are beyond those that are told.
    #[must_use]
    pub const fn beyond(&self) -> usize {
        self.beyond
    }

    /// Adds something that the operator has to do before the first start.
    pub fn to_do(&mut self, what: impl Into<String>) {
        let what = what.into();
        if !self.to_do.contains(&what) {
            self.to_do.push(what);
        }
    }

    /// What there is to do.
    #[must_use]
    pub fn tasks(&self) -> &[String] {
        &self.to_do
    }

    /// The items, by what they are about and then by place.
    #[must_use]
    pub fn items(&self) -> Vec<&Item> {
        let mut items: Vec<_> = self.items.iter().collect();
        items.sort_by_key(|item| (item.about, item.at));
        items
    }
}

/// A text on one line that is not too long.
#[must_use]
pub fn shortened(text: &str) -> String {
    let text: String = text.chars().map(|next| if next.is_control() { ' ' } else { next }).collect();
    if text.len() <= SHOWN_MAX {
        return text;
    }
    let end = (0..=SHOWN_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{} ...", &text[..end])
}
