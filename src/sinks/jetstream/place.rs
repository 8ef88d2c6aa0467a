//! Whether a stream takes a subject.

/// Whether every subject of the pattern `subject` is one of the pattern `filter`: `*` stands for one token, `>` for all that
/// follow, one at least.
pub(crate) fn covers(filter: &str, subject: &str) -> bool {
    let (mut filter, mut subject) = (filter.split('.'), subject.split('.'));
    loop {
        match (filter.next(), subject.next()) {
            (None, None) => return true,
            (Some(">"), Some(_)) => return true,
            (Some("*"), Some(token)) if token != ">" => {}
            (Some(own), Some(token)) if own == token => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_takes_what_its_subjects_cover() {
        for (filter, subject, want) in [
            ("acc.stop", "acc.stop", true),
            ("acc.stop", "acc.start", false),
            ("acc.*", "acc.start", true),
            ("acc.*", "acc.*", true),
            ("acc.stop", "acc.*", false),
            ("acc.*", "acc", false),
            ("acc.*", "acc.stop.BYE", false),
            ("acc.>", "acc.*.*", true),
            ("acc.>", "acc", false),
            (">", "acc.stop", true),
            ("acc.*.BYE", "acc.*.*", false),
            ("*.*", "acc.>", false),
        ] {
            assert_eq!(covers(filter, subject), want, "{filter} {subject}");
        }
    }
}
