//! What a backend is told so that it lets us in, and what whoever administrates the gateway tells it.

use std::fmt;

/// A password, a token or a key, which no log shows.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(String);

impl Secret {
    /// Takes it.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// Whether it is of printable ASCII without blanks, as a header of HTTP wants it.
    #[must_use]
    pub fn is_printable(&self) -> bool {
        self.0.bytes().all(|octet| octet.is_ascii_graphic())
    }

    /// What it is: for the wire, and for comparing.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}
