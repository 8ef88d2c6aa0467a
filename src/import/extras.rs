//! `*_extra`, `multi_leg_info`, `extra_fields` and `leg_fields`: which value goes where under which name.

/// One value with its label.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Extra {
    /// Its label: the key of the line, the column, the attribute.
    pub label: String,
    /// The value as written, a variable as a rule.
    pub value: String,
}

/// A backend of `extra_fields`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Backend {
    /// Syslog.
    Log,
    /// SQL.
    Db,
    /// RADIUS, or Diameter.
    Aaa,
    /// Events.
    Evi,
}

impl Backend {
    /// All of them, in the order in which fields get their names.
    pub const ALL: [Self; 4] = [Self::Log, Self::Db, Self::Aaa, Self::Evi];

    /// The word for it in the scripts.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Db => "db",
            Self::Aaa => "aaa",
            Self::Evi => "evi",
        }
    }
}

/// Most values of one list: the family's own limit.
const EXTRAS_MAX: usize = 64;

/// Reads `label=$variable; label=$variable/reply`.
///
/// # Errors
/// Parts that cannot be read, beside those that can.
pub fn list(text: &str) -> (Vec<Extra>, Vec<String>) {
    let (mut extras, mut odd) = (Vec::new(), Vec::new());
    for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        match part.split_once('=') {
            Some((label, value)) if !label.trim().is_empty() && extras.len() < EXTRAS_MAX => {
                extras.push(Extra { label: label.trim().to_owned(), value: value.trim().to_owned() });
            }
            _ => odd.push(part.to_owned()),
        }
    }
    (extras, odd)
}

/// Reads `backend: tag->label; tag` of OpenSIPS from 2.3 on; a value is the tag, in `value`.
#[must_use]
pub fn tags(text: &str) -> Option<(Backend, Vec<Extra>)> {
    let (word, rest) = text.split_once(':')?;
    let word = word.trim().to_lowercase();
    let backend = Backend::ALL.into_iter().find(|own| own.word() == word)?;
    let one = |part: &str| {
        let (tag, label) = part.split_once("->").unwrap_or((part, part));
        Extra { label: label.trim().to_owned(), value: tag.trim().to_owned() }
    };
    Some((backend, rest.split(';').map(str::trim).filter(|part| !part.is_empty()).take(EXTRAS_MAX).map(one).collect()))
}

/// Whether the configuration takes this as a field's name.
#[must_use]
pub fn is_field_name(name: &str) -> bool {
    let fits = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'_' | b'-');
    !name.is_empty() && name.len() <= 64 && name.bytes().all(fits)
}

/// Fields of records with their names in our configuration.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    list: Vec<(String, String)>,
}

/// Most fields of a record that the check permits.
pub const FIELDS_MAX: usize = 64;

impl Fields {
    /// Name and template of each, in order.
    #[must_use]
    pub fn list(&self) -> &[(String, String)] {
        &self.list
    }

    /// The field of a tag of OpenSIPS, which has the tag's name.
    pub fn of_tag(&mut self, tag: &str, template: &str) {
        if self.list.iter().all(|(own, _)| own != tag) {
            self.list.push((tag.to_owned(), template.to_owned()));
        }
    }

    /// The name of the field for a template that stands behind the field with number `after`, with its number: one that is there, or
    /// a new one called after the label. So the fields of each sink stand in the order of its own list.
    pub fn name(&mut self, label: &str, template: &str, after: Option<usize>) -> (String, usize) {
        let from = after.map_or(0, |last| last + 1);
        let known = self.list.iter().enumerate().skip(from).find(|(_, (_, own))| own == template);
        if let Some((number, (name, _))) = known {
            return (name.clone(), number);
        }
        let plain: String = label
            .chars()
            .take(48)
            .map(|next| if next.is_ascii_alphanumeric() || next == '_' || next == '-' { next } else { '_' })
            .collect();
        let plain = if plain.is_empty() { "field".to_owned() } else { plain };
        let is_free = |name: &str| self.list.iter().all(|(own, _)| own != name);
        let numbered = (2..).map(|number| format!("{plain}_{number}"));
        let name = std::iter::once(plain.clone()).chain(numbered).find(|name| is_free(name)).unwrap_or(plain);
        self.list.push((name.clone(), template.to_owned()));
        (name, self.list.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_values_are_read() {
        let (extras, odd) = list(" via = $(hdr(Via)[*]) ;email=$avp(email);contact=$ct /reply;odd; ");
        let found: Vec<_> = extras.iter().map(|own| (own.label.as_str(), own.value.as_str())).collect();
        assert_eq!(found, [("via", "$(hdr(Via)[*])"), ("email", "$avp(email)"), ("contact", "$ct /reply")]);
        assert_eq!(odd, ["odd"]);
        let (backend, extras) = tags("DB: a->x1; b").expect("it is readable");
        let found: Vec<_> = extras.iter().map(|own| (own.value.as_str(), own.label.as_str())).collect();
        assert_eq!((backend, found), (Backend::Db, vec![("a", "x1"), ("b", "b")]));
        for (name, text) in [("no backend", "a;b"), ("an unknown one", "mars:a")] {
            assert_eq!(tags(text), None, "{name}");
        }
    }

    #[test]
    fn the_fields_of_a_sink_keep_their_order() {
        let mut fields = Fields::default();
        let mut names = |list: &[(&str, &str)]| {
            let mut last = None;
            let mut names = Vec::new();
            for (label, template) in list {
                let (name, number) = fields.name(label, template, last);
                last = Some(number);
                names.push(name);
            }
            names
        };
        assert_eq!(names(&[("from", "$fu"), ("to", "$tu")]), ["from", "to"]);
        assert_eq!(names(&[("f", "$fu"), ("ua", "$ua")]), ["from", "ua"], "the same value is the same field");
        assert_eq!(names(&[("To", "$tu"), ("From", "$fu")]), ["to", "From"], "in another order it is another one");
        assert_eq!(names(&[("Sip-Src-IP", "$si"), ("", "$sp")]), ["Sip-Src-IP", "field"]);
    }
}
