//! Patterns of texts: `*` stands for any run of octets, `?` for one; all else for itself.

/// A pattern, such as `*.example.org`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pattern {
    text: Box<[u8]>,
    case: Case,
}

/// Whether ASCII letters in both cases are the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Case {
    /// `a` is not `A`.
    Matters,
    /// Letters of ASCII are equal in either case: `a` is `A`.
    Ignored,
}

impl Pattern {
    /// The pattern that `text` spells.
    #[must_use]
    pub fn new(text: &str, case: Case) -> Self {
        Self { text: text.as_bytes().into(), case }
    }

    /// The octet every matching text begins with; `None` when it can be any, or the text can be empty.
    #[must_use]
    pub fn first(&self) -> Option<u8> {
        self.text.first().copied().filter(|octet| !matches!(octet, b'*' | b'?') && self.case == Case::Matters)
    }

    /// Whether the whole of `text` fits. Takes at most the product of both lengths.
    #[must_use]
    pub fn fits(&self, text: &[u8]) -> bool {
        let (mut own, mut other) = (0, 0);
        // Where to go on when the text behind the last star does not fit: one octet further.
        let mut retry: Option<(usize, usize)> = None;
        loop {
            match self.text.get(own) {
                Some(b'*') => {
                    own += 1;
                    retry = Some((own, other));
                    continue;
                }
                Some(octet) if text.get(other).is_some_and(|given| self.same(*octet, *given)) => {
                    own += 1;
                    other += 1;
                    continue;
                }
                None if other == text.len() => return true,
                _ => {}
            }
            match retry {
                Some((star, start)) if start < text.len() => {
                    retry = Some((star, start + 1));
                    (own, other) = (star, start + 1);
                }
                _ => return false,
            }
        }
    }

    fn same(&self, own: u8, given: u8) -> bool {
        own == b'?' || own == given || (self.case == Case::Ignored && own.eq_ignore_ascii_case(&given))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_run_and_a_question_mark_one_octet() {
        for (pattern, text, want) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("4021*", "4021234", true),
            ("4021*", "402", false),
            ("*.example.org", "sip.example.org", true),
            ("*.example.org", "example.org", false),
            ("*.EXAMPLE.org", "sip.example.ORG", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*ab*ab", "abxabab", true),
            ("*ab*ab", "abxaba", false),
            ("**", "x", true),
        ] {
            assert_eq!(Pattern::new(pattern, Case::Ignored).fits(text.as_bytes()), want, "{pattern} {text}");
        }
        assert!(!Pattern::new("Bob", Case::Matters).fits(b"bob"));
    }

    #[test]
    fn the_first_octet_is_known_only_when_it_cannot_be_another() {
        for (pattern, case, want) in [
            ("+40*", Case::Matters, Some(b'+')),
            ("*1", Case::Matters, None),
            ("", Case::Matters, None),
            ("a", Case::Ignored, None),
        ] {
            assert_eq!(Pattern::new(pattern, case).first(), want, "{pattern}");
        }
    }
}
