//! Which responses of a target lead to the next one.

/// Codes of 3xx to 5xx responses after which the next target is tried. A 6xx ends a call at all targets (RFC 3261 §16.7 step
/// 5), and where no response came the next one is always tried.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NextOn([u64; WORDS]);

/// A text that names no responses.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadCodes {
    /// It is neither a code nor a class.
    #[error("`{0}` is neither a code from 300 to 599, such as `503`, nor `3xx`, `4xx` or `5xx`")]
    NoCode(String),
    /// It means responses that end the call.
    #[error("`{0}` cannot lead to the next target: a 6xx ends the call at all targets (RFC 3261 section 16.7)")]
    Global(String),
}

impl NextOn {
    /// No response.
    pub const NONE: Self = Self([0; WORDS]);

    /// Every refusal but 487, which says that the caller has given up.
    pub const REFUSALS: Self = Self([u64::MAX; WORDS]).without(487);

    /// What tells of the way and not of the callee: no response further on (408), a connection that failed (430), and the
    /// failures of servers.
    pub const FAILURES: Self = Self::NONE.with_class(500).with(408).with(430);

    /// The codes that texts name: `408`, `5xx`.
    ///
    /// # Errors
    /// The first text that names none.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, BadCodes> {
        let mut codes = Self::NONE;
        for text in texts {
            let class = text.strip_suffix("xx").or_else(|| text.strip_suffix("XX"));
            let class = class.and_then(|digit| digit.parse::<u16>().ok()).filter(|_| text.len() == 3);
            let code = text.parse::<u16>().ok().filter(|_| text.len() == 3);
            codes = match (class, code) {
                (Some(class @ 3..=5), _) => codes.with_class(class * 100),
                (_, Some(code @ 300..=599)) => codes.with(code),
                (Some(6), _) | (_, Some(600..=699)) => return Err(BadCodes::Global(text.to_owned())),
                _ => return Err(BadCodes::NoCode(text.to_owned())),
            };
        }
        Ok(codes)
    }

    /// Whether a response with this code leads to the next target.
    #[must_use]
    pub const fn has(self, code: u16) -> bool {
        if code < FIRST || code > LAST {
            return false;
        }
        let place = (code - FIRST) as usize;
        self.0[place / 64] & (1 << (place % 64)) != 0
    }

    const fn with(mut self, code: u16) -> Self {
        let place = (code - FIRST) as usize;
        self.0[place / 64] |= 1 << (place % 64);
        self
    }

    const fn without(mut self, code: u16) -> Self {
        let place = (code - FIRST) as usize;
        self.0[place / 64] &= !(1 << (place % 64));
        self
    }

    const fn with_class(mut self, first: u16) -> Self {
        let mut code = first;
        while code < first + 100 {
            self = self.with(code);
            code += 1;
        }
        self
    }
}

impl Default for NextOn {
    fn default() -> Self {
        Self::REFUSALS
    }
}

const FIRST: u16 = 300;
const LAST: u16 = 599;
const WORDS: usize = (LAST - FIRST + 1).div_ceil(64) as usize;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_named_one_by_one_or_by_class() {
        let codes = NextOn::parse(["408", "5xx", "3XX"]).expect("codes");
        let named: Vec<u16> = (0..1000).filter(|code| codes.has(*code)).collect();
        let want: Vec<u16> = (300..400).chain([408]).chain(500..600).collect();
        assert_eq!(named, want);
        assert!((0..1000).all(|code| !NextOn::NONE.has(code)));
        let refusals: Vec<u16> = (0..1000).filter(|code| NextOn::REFUSALS.has(*code)).collect();
        assert_eq!(refusals, (300..600).filter(|code| *code != 487).collect::<Vec<_>>());
        for (text, want) in [
            ("200", "`200` is neither a code from 300 to 599, such as `503`, nor `3xx`, `4xx` or `5xx`"),
            ("2xx", "`2xx` is neither a code from 300 to 599, such as `503`, nor `3xx`, `4xx` or `5xx`"),
            ("+99", "`+99` is neither a code from 300 to 599, such as `503`, nor `3xx`, `4xx` or `5xx`"),
            ("", "`` is neither a code from 300 to 599, such as `503`, nor `3xx`, `4xx` or `5xx`"),
            ("6xx", "`6xx` cannot lead to the next target: a 6xx ends the call at all targets (RFC 3261 section 16.7)"),
            ("603", "`603` cannot lead to the next target: a 6xx ends the call at all targets (RFC 3261 section 16.7)"),
        ] {
            assert_eq!(NextOn::parse([text]).expect_err(text).to_string(), want);
        }
    }
}
