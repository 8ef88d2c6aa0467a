//! Kinds of sinks that a build has only when asked for, and what one without them says.

use super::Site;
use crate::config::check::Check;

/// Kinds that are features of the build, under the feature's name, and whether this one has them.
pub(super) const FEATURES: &[(&str, bool)] = &[("kafka", cfg!(feature = "kafka")), ("redis", cfg!(feature = "redis"))];

/// Refuses the section of a kind that is not in this build; whether it is.
pub(super) fn is_built(kind: &str, site: &Site<'_>, check: &mut Check<'_>) -> bool {
    let refusal = refusal(kind, FEATURES);
    if let Some((what, hint)) = &refusal {
        check.error_hint(site.place, what, Some(hint.clone()));
    }
    refusal.is_none()
}

/// What a build with these features says of a kind that it has not, and what to do.
fn refusal(kind: &str, features: &[(&str, bool)]) -> Option<(String, String)> {
    let is_there = features.iter().all(|(own, is_there)| *own != kind || *is_there);
    (!is_there).then(|| {
        let what = format!("this build of Tollgate has no sinks of the kind `{kind}`");
        (what, format!("build it with `cargo build --release --features {kind}`"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::kinds::NAMES;

    #[test]
    fn a_build_without_a_feature_refuses_its_kind_in_words() {
        for (kind, _) in FEATURES {
            assert!(NAMES.contains(kind), "{kind} is a kind");
            let others: Vec<_> = FEATURES.iter().map(|(own, _)| (*own, own != kind)).collect();
            let want = (
                format!("this build of Tollgate has no sinks of the kind `{kind}`"),
                format!("build it with `cargo build --release --features {kind}`"),
            );
            assert_eq!(refusal(kind, &others), Some(want), "{kind}, without it");
            assert_eq!(refusal(kind, &[(kind, true)]), None, "{kind}, with it");
            let manifest = include_str!("../../../Cargo.toml");
            assert!(manifest.contains(&format!("\n{kind} = [\"dep:")), "{kind} is a feature");
        }
        assert_eq!(refusal("nats", FEATURES), None, "a kind that every build has");
    }
}
