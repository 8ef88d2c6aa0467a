//! An error with its causes on one line, outermost first.
//!
//! No text of an error of ours repeats its source; those of libraries do, and are told once.

/// The texts of an error and of all its causes.
#[must_use]
pub fn chain_text(error: &dyn std::error::Error) -> String {
    let mut texts = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(inner) = cause {
        let text = inner.to_string();
        match texts.last_mut() {
            Some(last) if last.ends_with(&text) => {}
            Some(last) if text.ends_with(last.as_str()) => *last = text,
            _ => texts.push(text),
        }
        cause = inner.source();
    }
    texts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A text with a cause.
    #[derive(Debug)]
    struct Link(&'static str, Option<Box<Self>>);

    impl std::fmt::Display for Link {
        fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            out.write_str(self.0)
        }
    }

    impl std::error::Error for Link {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            self.1.as_deref().map(|cause| cause as _)
        }
    }

    #[test]
    fn what_a_cause_repeats_is_told_once() {
        for (what, texts, want) in [
            ("one", &["cannot send"][..], "cannot send"),
            ("each its own", &["cannot send", "refused", "os error 111"], "cannot send: refused: os error 111"),
            ("the end again", &["no server", "IO error: refused", "refused"], "no server: IO error: refused"),
            (
                "the same, and then with more before it",
                &["check the login", "violation", "nats: violation", "nats: violation"],
                "check the login: nats: violation",
            ),
        ] {
            let chain = texts.iter().rev().fold(None, |cause, text| Some(Box::new(Link(text, cause))));
            assert_eq!(chain_text(&*chain.expect("some text")), want, "{what}");
        }
    }
}
