//! Values of fields: text as it came, lists, numbers.

/// Field names with their values, in order.
pub type Fields = Vec<(String, Value)>;

/// The value of one field.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Value {
    /// The variable had no value: left out, NULL or empty by backend.
    Absent,
    /// Octets as they came.
    Text(Vec<u8>),
    /// All values of `[*]`: joined by comma and space, an array in JSON.
    List(Vec<Vec<u8>>),
    /// A whole number, written in decimal where a backend has text only.
    Number(i64),
}

impl Value {
    /// The value as one text: a list joined by comma and space, a number in decimal, an absent one `None`.
    #[must_use]
    pub fn text(&self) -> Option<std::borrow::Cow<'_, [u8]>> {
        match self {
            Self::Absent => None,
            Self::Text(text) => Some(text.into()),
            Self::List(items) => Some(match items.as_slice() {
                [one] => one.into(),
                many => many.join(&b", "[..]).into(),
            }),
            Self::Number(number) => Some(number.to_string().into_bytes().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_becomes_one_text() {
        for (name, value, want) in [
            ("absent has none", Value::Absent, None),
            ("text stays", Value::Text(b"a\xff".to_vec()), Some(&b"a\xff"[..])),
            ("a list is joined", Value::List(vec![b"a".to_vec(), b"b".to_vec()]), Some(b"a, b")),
            ("a number is decimal", Value::Number(-7), Some(b"-7")),
        ] {
            assert_eq!(value.text().as_deref(), want, "{name}");
        }
    }
}
