//! Whether what a field gives can be of the type of the attribute or AVP that is to carry it: a text in a number's place
//! is left out of every record, which nobody sees before the bill.

use crate::config::check::Check;
use crate::config::decode::{At, Ordered};
use crate::config::error::{Mistake, Place, nearest, suggestion};
use crate::config::reload::lost_head;
use crate::config::schema::FileTable;
use crate::config::tree::PlaceId;
use crate::sinks::mapping::Unmapped;
use crate::vars::{Gives, Template};

/// The fields there are.
pub(in crate::config) struct Fields<'f> {
    /// Of records, those of routes included.
    pub record: FieldList<'f>,
    /// The fields that each leg has a value of its own for.
    pub leg: FieldList<'f>,
}

impl<'f> Fields<'f> {
    pub(in crate::config) fn of(file: &'f FileTable) -> Self {
        let routes = file.route.iter().map(|route| &route.value.fields);
        Self {
            record: FieldList::of([&file.accounting.fields, &file.accounting.bye_fields].into_iter().chain(routes)),
            leg: FieldList::of([&file.accounting.leg_fields, &file.accounting.bye_leg_fields].into_iter()),
        }
    }
}

/// Fields of records, or of legs: a name may have several templates.
#[derive(Debug, Default)]
pub(in crate::config) struct FieldList<'f>(Vec<(&'f str, &'f At<String>)>);

impl<'f> FieldList<'f> {
    fn of(tables: impl Iterator<Item = &'f Ordered<At<String>>>) -> Self {
        Self(tables.flat_map(|table| &table.0).map(|(name, text)| (name.as_str(), text)).collect())
    }

    /// Names of all fields a sink may map, for hints at a slip.
    pub(in crate::config) fn names(&self) -> Vec<&'f str> {
        self.0.iter().map(|(name, _)| *name).collect()
    }
}

/// A name in a table of mappings that is no field is a mistake; the section that defines fields is told.
pub(super) fn is_field(field: &At<String>, section: &str, fields: &[&str], check: &mut Check<'_>) {
    if fields.contains(&field.as_str()) {
        return;
    }
    let hint = match nearest(field, fields.iter().copied()) {
        Some(near) => Some(format!("did you mean `{near}`?")),
        None => lost_head(field, "").or_else(|| suggestion(field, fields.iter().copied())),
    };
    let hint = hint.or_else(|| Some(format!("define it in `[{section}]`")));
    check.error_hint(field.place, format_args!("no field `{}` in `{section}`", field.value), hint);
}

/// Fields with their labels: those of the table, and the others under their own names.
pub(super) fn labels(
    table: &Ordered<At<String>>,
    unmapped: Option<Unmapped>,
    fields: &FieldList<'_>,
    section: &str,
    check: &mut Check<'_>,
) -> Vec<(String, String)> {
    let names = fields.names();
    for (field, _) in &table.0 {
        is_field(field, section, &names, check);
    }
    let label =
        |name: &str| table.0.iter().find(|(field, _)| field.value == name).map(|(_, label)| label.value.clone());
    let mut labels: Vec<(String, String)> = Vec::new();
    for name in names {
        let is_new = labels.iter().all(|(own, _)| own != name);
        let label = label(name).or_else(|| (unmapped.unwrap_or_default() == Unmapped::Own).then(|| name.to_owned()));
        labels.extend(label.filter(|_| is_new).map(|label| (name.to_owned(), label)));
    }
    labels
}

/// What carries a field.
pub(super) struct Carrier<'c> {
    /// Name of the attribute or AVP.
    pub name: &'c str,
    /// What its type takes.
    pub takes: Takes,
    /// Where the mapping stands.
    pub place: PlaceId,
}

/// What a type takes, as far as it matters here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Takes {
    /// A whole number, and nothing else.
    Number,
    /// A number or one of these names.
    NumberOrName,
    /// An instant, or seconds.
    Instant,
    /// An address, a prefix, or the like.
    Address,
    /// Anything.
    Any,
}

impl Takes {
    const fn name(self) -> &'static str {
        match self {
            Self::Number | Self::NumberOrName => "a whole number",
            Self::Instant => "an instant",
            Self::Address => "an address",
            Self::Any => "anything",
        }
    }

    /// Whether a value of that kind never fits, or not always.
    fn misfit(self, gives: Gives) -> Option<Misfit> {
        match (self, gives) {
            (Self::Any, _) | (_, Gives::Any) | (Self::NumberOrName, Gives::Text | Gives::User) => None,
            (Self::Number | Self::NumberOrName | Self::Instant, Gives::Number | Gives::Instant) => None,
            (Self::Address, Gives::Host | Gives::User) => None,
            (Self::Number, Gives::User) => Some(Misfit::Sometimes),
            (Self::Instant | Self::Address | Self::Number | Self::NumberOrName, _) => Some(Misfit::Always),
        }
    }
}

enum Misfit {
    Always,
    Sometimes,
}

/// Warns of each template of `field` whose value does not fit. `takes_text` tells whether a constant does.
pub(super) fn fit(
    field: &str,
    fields: &FieldList<'_>,
    carrier: &Carrier<'_>,
    takes_text: impl Fn(&str) -> bool,
    check: &mut Check<'_>,
) {
    for (_, text) in fields.0.iter().filter(|(name, _)| *name == field) {
        let Ok(template) = Template::parse(text) else { continue };
        let misfit = match template.constant() {
            Some(constant) if takes_text(constant) => None,
            Some(_) => Some(Misfit::Always),
            None => carrier.takes.misfit(template.gives()),
        };
        let (name, takes, template) = (carrier.name, carrier.takes.name(), &text.value);
        let (what, hint) = match misfit {
            None => continue,
            Some(Misfit::Always) => (
                format!("`{field}` is `{template}`, and `{name}` takes {takes}: the records go without it"),
                "map it to one of text".to_owned(),
            ),
            Some(Misfit::Sometimes) => (
                format!(
                    "`{field}` is `{template}`, and `{name}` takes {takes}: the records go without it where it is none"
                ),
                format!("map it to one of text, or write `$({}{{s.int}})` if it is one", inner(template)),
            ),
        };
        let mistake = Mistake::warning(what, check.place(carrier.place)).hint(hint);
        let also = check.place(text.place);
        check.findings.push(if also == Place::Nowhere { mistake } else { mistake.also_at(also) });
    }
}

/// `fU` of `$fU` and `$(fU)`.
fn inner(template: &str) -> &str {
    template.trim().trim_start_matches('$').trim_start_matches('(').trim_end_matches(')')
}
