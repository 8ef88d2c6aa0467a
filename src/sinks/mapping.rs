//! From the values of a record to their places at a backend, as [`profile`](super::profile) has them: how fields and legs
//! follow, what becomes of spans and of what has no place.
//!
//! A kind of sink brings its [`Target`]s, an attribute or an AVP each, and what they are written into.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use smallvec::SmallVec;

use super::profile::{Attributes, Form, Val};
use crate::dictionary::Input;
use crate::record::core::{Core, Item};
use crate::record::{Fields, Kind, LegOrder, Record, Value};

/// Octets of a text that is put together without an allocation.
const TEXT_OCTETS: usize = 256;

/// A place for values at a backend; `O` is what is written into.
pub trait Target<O> {
    /// The field whose values it takes.
    fn field(&self) -> &str;

    /// Whether it takes any text.
    fn is_text(&self) -> bool;

    /// The number that its dictionary has for a name, in any case.
    fn number(&self, name: &str) -> Option<i64>;

    /// What stands between the values of a list.
    fn join(&self) -> &'static [u8] {
        b", "
    }

    /// Writes a value. What does not fit is left out or shortened, and noted under `name` unless that is empty.
    fn put(&self, value: Input<'_>, name: &str, out: &mut O);

    /// Writes a text; an empty one is left out.
    #[inline]
    fn put_text(&self, text: &[u8], name: &str, out: &mut O) {
        if !text.is_empty() {
            self.put(Input::Text(text), name, out);
        }
    }

    /// Writes the value of a field; an absent or empty one is left out.
    fn put_value(&self, value: &Value, name: &str, out: &mut O) {
        match value {
            Value::Absent => {}
            Value::Text(text) => self.put_text(text, name, out),
            Value::Number(number) => self.put(Input::Number(*number), name, out),
            Value::List(items) => match items.as_slice() {
                [one] => self.put_text(one, name, out),
                many => self.put_text(&many.join(self.join()), name, out),
            },
        }
    }

    /// Writes a method: where no text goes, the number it has by its name, else that of `Other`, else nothing.
    fn put_method(&self, method: &[u8], out: &mut O) {
        if self.is_text() {
            return self.put_text(method, Core::Method.name(), out);
        }
        let named = std::str::from_utf8(method).ok().and_then(|name| self.number(name));
        if let Some(number) = named.or_else(|| self.number("Other")) {
            self.put(Input::Number(number), "", out);
        }
    }
}

/// Whether an attribute has to be in the dictionary.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Need {
    /// Without it the sink does not start.
    Required,
    /// It is left out where it is not.
    Optional,
}

impl Attributes {
    /// The places of their values, found by name: texts first, then a method that is a number, then numbers.
    pub fn places<T>(
        &self,
        mut find: impl FnMut(&str, Need) -> Option<T>,
        is_text: impl Fn(&T) -> bool,
    ) -> Vec<Place<T>> {
        let needed = self.needed.iter().map(|row| (row, Need::Required));
        let known = self.known.iter().map(|row| (row, Need::Optional));
        let found = needed.chain(known).filter_map(|((name, value, form), need)| {
            let target = find(name, need)?;
            Some(Place { name, value: *value, form: *form, target })
        });
        let mut places: Vec<_> = found.collect();
        places.sort_by_key(|place| match place.value {
            Val::Core(Core::Method) if !is_text(&place.target) => 1,
            _ if place.is_text() => 0,
            _ => 2,
        });
        places
    }
}

/// A value with its place.
#[derive(Debug)]
pub struct Place<T> {
    name: &'static str,
    value: Val,
    form: Form,
    target: T,
}

impl<T> Place<T> {
    /// Which value it is.
    pub const fn value(&self) -> Val {
        self.value
    }

    /// The attribute's name in the table.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What takes it.
    pub const fn target(&self) -> &T {
        &self.target
    }

    /// Whether the value is a text.
    pub const fn is_text(&self) -> bool {
        use Core::{CallId, Cause, EndedBy, FromTag, Kind, Method, Reason, ToTag};
        matches!(
            self.value,
            Val::Core(Kind | CallId | Method | Reason | FromTag | ToTag | EndedBy | Cause)
                | Val::Field(_)
                | Val::Fixed(_)
        )
    }
}

/// How values are sent that say little.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Manner {
    /// They are left out; spans as far as they are known.
    #[default]
    Own,
    /// As the proxies do: a code always, 0 where there is none, and spans of whole calls only.
    Proxy,
    /// The same in the letter: no spans of a BYE.
    Exact,
}

/// Writes values of a record to their places.
pub fn put_core<O, T: Target<O>>(places: &[Place<T>], record: &Record, round: Round, manner: Manner, out: &mut O) {
    let has_spans = match manner {
        Manner::Own => true,
        Manner::Proxy => matches!(record.kind, Kind::Stop | Kind::Cdr),
        Manner::Exact => record.kind == Kind::Cdr,
    };
    for Place { value, form, target, .. } in places {
        let core = value.core();
        let name = core.map_or("", Core::name);
        match value.of(record) {
            Some(Item::Text(method)) if core == Some(Core::Method) => target.put_method(method, out),
            Some(Item::Text(text)) => target.put_text(text, name, out),
            Some(Item::Word(word)) => target.put_text(word.as_bytes(), name, out),
            Some(Item::Kind(kind)) => target.put_text(kind.title().as_bytes(), name, out),
            Some(Item::Number(number)) if *form == Form::H323 => {
                target.put_text(format!("h323-disconnect-cause={number:x}").as_bytes(), name, out);
            }
            Some(Item::Number(number)) => target.put(Input::Number(number), "", out),
            None if core == Some(Core::Code) && manner != Manner::Own => target.put(Input::Number(0), "", out),
            Some(Item::Instant(at)) => target.put(Input::Timestamp(at), "", out),
            Some(Item::Span(span)) if has_spans => {
                let number = match form {
                    Form::Secs => round.seconds(span).into(),
                    _ => i64::try_from(span.as_millis()).unwrap_or(i64::MAX),
                };
                target.put(Input::Number(number), "", out);
            }
            Some(Item::Address(address)) => target.put_text(address.to_string().as_bytes(), name, out),
            Some(Item::Many(many)) => many.texts().iter().for_each(|text| target.put_text(text, name, out)),
            Some(Item::Span(_) | Item::Id(_) | Item::Flag(_)) | None => {}
        }
    }
}

/// Writes fields in the order of the record, each to all its targets; `own` is the target of one that has none.
pub fn put_fields<'t, O, T: Target<O> + 't>(
    fields: &Fields,
    targets: &[T],
    own: impl Fn(&str) -> Option<&'t T>,
    out: &mut O,
) {
    for (name, value) in fields {
        let mut found = false;
        for target in targets.iter().filter(|target| target.field() == name) {
            found = true;
            target.put_value(value, name, out);
        }
        if !found && let Some(target) = own(name) {
            put_named(target, name, value, out);
        }
    }
}

/// Writes `name=value`; an absent or empty value is left out.
pub fn put_named<O>(target: &impl Target<O>, name: &str, value: &Value, out: &mut O) {
    let Some(value) = value.text().filter(|value| !value.is_empty()) else { return };
    let length = name.len() + 1 + value.len();
    let mut short = [0; TEXT_OCTETS];
    let mut long = Vec::new();
    let text = if let Some(text) = short.get_mut(..length) {
        text
    } else {
        long.resize(length, 0);
        &mut long[..]
    };
    text[..name.len()].copy_from_slice(name.as_bytes());
    text[name.len()] = b'=';
    text[name.len() + 1..].copy_from_slice(&value);
    target.put(Input::Text(text), name, out);
}

/// The fields of a leg that `is_mapped` has no target for, in one text: `1 name=value;name=value`. Empty without any value.
pub fn rest_of_leg(number: usize, leg: &Fields, is_mapped: impl Fn(&str) -> bool) -> SmallVec<[u8; TEXT_OCTETS]> {
    let mut text = SmallVec::new();
    for (name, value) in leg.iter().filter(|(name, _)| !is_mapped(name)) {
        let Some(value) = value.text().filter(|value| !value.is_empty()) else { continue };
        if text.is_empty() {
            text.extend_from_slice(number.to_string().as_bytes());
            text.push(b' ');
        } else {
            text.push(b';');
        }
        for part in [name.as_bytes(), b"=", &value] {
            text.extend_from_slice(part);
        }
    }
    text
}

/// Where a column, of whatever backend, takes its value from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Source {
    /// A value that every record has a place for.
    Core(Core),
    /// The field of that name.
    Field(String),
    /// The field of that name of a leg.
    Leg(String),
    /// The number of a leg, from 1.
    LegNumber,
    /// A value as a system's tables have it.
    Value(Val, Form),
}

impl Source {
    /// The source of a name: `record_id` and the other core values, as in JSON; a field, by its name or as `field.NAME`,
    /// which helps one that is called like a core value; `leg.NAME` and `leg`.
    ///
    /// # Errors
    /// There is none: all names there are.
    pub fn named(name: &str, fields: &[&str], leg_fields: &[&str]) -> Result<Self, Vec<String>> {
        let leg = |name: &str| leg_fields.contains(&name).then(|| Self::Leg(name.to_owned()));
        let field = |name: &str| fields.contains(&name).then(|| Self::Field(name.to_owned()));
        let core = || Core::ALL.iter().find(|core| Self::core_name(**core) == name).map(|core| Self::Core(*core));
        let found = match name.split_once('.') {
            Some(("leg", own)) => leg(own),
            Some(("field", own)) => field(own),
            _ if name == LEG_NUMBER => Some(Self::LegNumber),
            _ => core().or_else(|| field(name)),
        };
        found.ok_or_else(|| {
            let legs = leg_fields.iter().map(|own| format!("leg.{own}"));
            let fields = fields.iter().map(|own| (*own).to_owned());
            let cores = Core::ALL.iter().map(|core| Self::core_name(*core).to_owned());
            fields.chain(legs).chain(cores).chain([LEG_NUMBER.to_owned()]).collect()
        })
    }

    /// What a core value is called among columns: as in JSON, but `record_id`, for tables have ids of their own.
    #[must_use]
    pub const fn core_name(core: Core) -> &'static str {
        match core {
            Core::Id => "record_id",
            other => other.name(),
        }
    }
}

/// The number of a leg among columns.
const LEG_NUMBER: &str = "leg";

/// How a span becomes whole seconds.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Round {
    /// To the nearest second, half a second up.
    #[default]
    #[serde(rename = "nearest")]
    HalfUp,
    /// Down: a call of 59.9 s has 59.
    Truncate,
    /// Up: every second that has begun counts.
    Up,
}

impl Round {
    /// Whole seconds of a span; `u32::MAX` for what exceeds it.
    #[must_use]
    pub fn seconds(self, span: Duration) -> u32 {
        let more = match self {
            Self::HalfUp => span.subsec_millis() >= 500,
            Self::Truncate => false,
            Self::Up => span.subsec_nanos() > 0,
        };
        u32::try_from(span.as_secs().saturating_add(u64::from(more))).unwrap_or(u32::MAX)
    }
}

/// What happens to a field without an attribute of its own.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Unmapped {
    /// It travels as `name=value` in `Tollgate-Field`, on Rf in Service-Specific-Info; a leg in `Tollgate-Leg`.
    #[default]
    Own,
    /// It is left out.
    Omit,
}

/// What the settings of every kind of sink say of values and their places.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Style {
    /// How spans become seconds. Default half up.
    pub round: Round,
    /// The order of legs. Default oldest first.
    pub leg_order: LegOrder,
    /// Fields without a mapping. Default own.
    pub unmapped: Unmapped,
}

/// All that is wrong with a sink's settings.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SetupErrors<E>(pub Vec<E>);

impl<E: std::error::Error> std::error::Error for SetupErrors<E> {}

impl<E: fmt::Display> fmt::Display for SetupErrors<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if number > 0 { "; " } else { "" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::profile::Profile;
    use crate::sinks::tests::record;

    /// An attribute whose values are read as `name=value`.
    struct Line(String);

    impl Target<Vec<String>> for Line {
        fn field(&self) -> &str {
            &self.0
        }

        fn is_text(&self) -> bool {
            self.0 != "Sip-Method"
        }

        fn number(&self, name: &str) -> Option<i64> {
            ["other", "invite", "bye"].iter().zip(0..).find(|(own, _)| name.eq_ignore_ascii_case(own)).map(|(_, n)| n)
        }

        fn put(&self, value: Input<'_>, _name: &str, out: &mut Vec<String>) {
            let text = match value {
                Input::Text(text) => String::from_utf8_lossy(text).into_owned(),
                Input::Number(number) => number.to_string(),
                other => format!("{other:?}"),
            };
            out.push(format!("{}={text}", self.0));
        }
    }

    fn values(profile: Profile, manner: Manner, record: &Record) -> Vec<String> {
        let profile = profile.system().attributes.as_ref().expect("it has some");
        let find = |name: &str, _need| (name != "Sip-Call-Created").then(|| Line(name.to_owned()));
        let (places, mut out) = (profile.places(find, Target::is_text), Vec::new());
        put_core(&places, record, Round::HalfUp, manner, &mut out);
        out
    }

    #[test]
    fn a_profile_sends_texts_then_a_method_by_number_then_numbers() {
        let mut record = record(Kind::Stop);
        let spans = ["Sip-Call-MSDuration=61500", "Sip-Call-Setuptime=4", "Sip-Call-Duration=62"];
        let texts = ["Sip-From-Tag=alice-tag", "Sip-To-Tag=bob-tag"];
        assert_eq!(
            values(Profile::Opensips, Manner::Own, &record),
            [&texts[..], &["Sip-Method=2", "Sip-Response-Code=200"], &spans].concat()
        );
        record.method = b"X-OWN".to_vec();
        assert_eq!(
            values(Profile::Openser, Manner::Own, &record),
            [&texts[..], &["Sip-Method=0", "Sip-Response-Code=200", "Sip-CSeq=1"]].concat(),
            "an unknown method is `Other`"
        );
        record = Record { kind: Kind::Interim, code: 0, to_tag: Vec::new(), method: b"invite".to_vec(), ..record };
        assert_eq!(
            values(Profile::Opensips, Manner::Own, &record),
            [&["Sip-From-Tag=alice-tag", "Sip-Method=1"], &spans[..]].concat(),
            "what says nothing is left out"
        );
        assert_eq!(
            values(Profile::Opensips, Manner::Proxy, &record),
            ["Sip-From-Tag=alice-tag", "Sip-Method=1", "Sip-Response-Code=0"],
            "the proxies send a code always, and spans at the end"
        );
    }

    #[test]
    fn a_field_goes_to_all_its_places_or_else_by_its_name() {
        let text = |name: &str, value: Value| (name.to_owned(), value);
        let fields = vec![
            text("b", Value::List(vec![b"x".to_vec(), b"y".to_vec()])),
            text("a", Value::Number(-7)),
            text("c", Value::Text(b"z".to_vec())),
            text("d", Value::Absent),
        ];
        let (targets, own, mut out) = (["a", "b", "a"].map(|field| Line(field.into())), Line("own".into()), Vec::new());
        put_fields(&fields, &targets, |name| (name != "hidden").then_some(&own), &mut out);
        assert_eq!(out, ["b=x, y", "a=-7", "a=-7", "own=c=z"]);
        for (name, mapped, want) in [
            ("all of a leg", &[][..], "2 b=x, y;a=-7;c=z"),
            ("what has no place", &["b"], "2 a=-7;c=z"),
            ("nothing but absent values", &["a", "b", "c"], ""),
        ] {
            let rest = rest_of_leg(2, &fields, |field| mapped.contains(&field));
            assert_eq!(String::from_utf8_lossy(&rest), want, "{name}");
        }
    }

    #[test]
    fn a_column_names_its_source() {
        let named = |name| Source::named(name, &["caller", "method"], &["src"]).ok();
        let (field, leg) = (|name: &str| Source::Field(name.to_owned()), |name: &str| Source::Leg(name.to_owned()));
        for (name, want) in [
            ("record_id", Some(Source::Core(Core::Id))),
            ("duration_s", Some(Source::Core(Core::Duration))),
            ("caller", Some(field("caller"))),
            ("method", Some(Source::Core(Core::Method))),
            ("field.method", Some(field("method"))),
            ("leg.src", Some(leg("src"))),
            ("leg", Some(Source::LegNumber)),
            ("id", None),
            ("src", None),
            ("leg.caller", None),
            ("field.src", None),
            ("", None),
        ] {
            assert_eq!(named(name), want, "{name}");
        }
        let known = Source::named("calller", &["caller"], &["src"]).expect_err("there is none");
        assert!(["caller", "leg.src", "record_id", "leg"].iter().all(|name| known.iter().any(|own| own == name)));
    }

    #[test]
    fn spans_are_rounded_as_configured() {
        for (millis, half_up, truncate, up) in
            [(0, 0, 0, 0), (1, 0, 0, 1), (499, 0, 0, 1), (500, 1, 0, 1), (1499, 1, 1, 2), (2000, 2, 2, 2)]
        {
            for (round, want) in [(Round::HalfUp, half_up), (Round::Truncate, truncate), (Round::Up, up)] {
                assert_eq!(round.seconds(Duration::from_millis(millis)), want, "{millis} ms, {round:?}");
            }
        }
        assert_eq!(Round::Up.seconds(Duration::MAX), u32::MAX);
    }
}
