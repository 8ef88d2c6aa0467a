//! Levels and facilities, by the names of both worlds.

/// A level: its number (RFC 5424 §6.2.1), its words here and on the scales of the proxies, and how their lines call it.
pub const LEVELS: &[(u8, &[&str], &str)] = &[
    (0, &["emerg", "emergency"], "EMERG"),
    (1, &["alert", "L_ALERT"], "ALERT"),
    (2, &["crit", "critical", "L_CRIT", "L_BUG"], "CRITICAL"),
    (3, &["err", "error", "L_ERR"], "ERROR"),
    (4, &["warning", "warn", "L_WARN"], "WARNING"),
    (5, &["notice", "L_NOTICE"], "NOTICE"),
    (6, &["info", "L_INFO"], "INFO"),
    (7, &["debug", "dbg", "L_DBG"], "DEBUG"),
];

/// Facilities with their numbers (RFC 5424 §6.2.1).
pub const FACILITIES: &[(u8, &str)] = &[
    (0, "kern"),
    (1, "user"),
    (2, "mail"),
    (3, "daemon"),
    (4, "auth"),
    (5, "syslog"),
    (6, "lpr"),
    (7, "news"),
    (8, "uucp"),
    (9, "cron"),
    (10, "authpriv"),
    (11, "ftp"),
    (16, "local0"),
    (17, "local1"),
    (18, "local2"),
    (19, "local3"),
    (20, "local4"),
    (21, "local5"),
    (22, "local6"),
    (23, "local7"),
];

/// The number of a level, by any of its words in any case, with or without `LOG_`.
#[must_use]
pub fn level(word: &str) -> Option<u8> {
    let word = bare(word);
    let is_it = |words: &[&str]| words.iter().any(|own| own.eq_ignore_ascii_case(word));
    LEVELS.iter().find(|(_, words, _)| is_it(words)).map(|(number, ..)| *number)
}

/// The same of a facility.
#[must_use]
pub fn facility(word: &str) -> Option<u8> {
    let word = bare(word);
    FACILITIES.iter().find(|(_, own)| own.eq_ignore_ascii_case(word)).map(|(number, _)| *number)
}

fn bare(word: &str) -> &str {
    match word.split_at_checked(4) {
        Some((head, rest)) if head.eq_ignore_ascii_case("LOG_") => rest,
        _ => word,
    }
}
