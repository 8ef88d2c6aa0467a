//! Values the policy sets for a request, read back by `$avp(name)`.

/// Named stacks of values: index 0 is the one added last, as in the SER family.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Avps {
    /// In the order they were added.
    entries: Vec<(Box<str>, Box<[u8]>)>,
}

impl Avps {
    /// No values.
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// Puts a value on top of those of the same name.
    pub fn add(&mut self, name: &str, value: &[u8]) {
        self.entries.push((name.into(), value.into()));
    }

    /// Takes all values of a name away.
    pub fn remove(&mut self, name: &str) {
        self.entries.retain(|entry| &*entry.0 != name);
    }

    /// The values of a name, the last added first.
    pub fn values<'a>(&'a self, name: &'a str) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        self.entries.iter().rev().filter(move |entry| &*entry.0 == name).map(|entry| &*entry.1)
    }

    /// Whether a name has a value.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|entry| &*entry.0 == name)
    }

    /// How many values there are, of all names together.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no value at all.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
