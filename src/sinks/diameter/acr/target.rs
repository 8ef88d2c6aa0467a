//! AVPs resolved for the rendering, and what is wrong with those that cannot be.

use std::fmt;
use std::ops::{Deref, DerefMut};

use super::marks::Marks;
use super::settings::{FieldMapping, Settings};
use crate::diameter::avp::{Writer, flag};
use crate::diameter::code;
use crate::dictionary::Input;
use crate::dictionary::diameter::{Dictionary, Handle, LabelError, Type, is_plain, rfc_3339};
use crate::record::Value;
use crate::sinks::mapping::{self, Target as _};

/// Misfits of one record that are kept with their texts; the others are counted.
const MISFITS_MAX: usize = 16;

/// One thing that is wrong with the settings.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SetupError {
    /// A label means no AVP.
    #[error("{purpose}: {source}")]
    Label {
        /// What the AVP is for.
        purpose: String,
        /// What the dictionary makes of the label.
        source: LabelError,
    },
    /// The flag M of the AVP cannot be changed.
    #[error("{option}: the flag M of `{avp}` cannot be changed: {why}")]
    Mark {
        /// The option that wants to.
        option: &'static str,
        /// The AVP as it stands there.
        avp: String,
        /// The reason.
        why: &'static str,
    },
    /// The AVP must not carry a value of a call.
    #[error("{purpose}: no value can be sent in `{avp}`: {why}")]
    Refused {
        /// What the AVP is for.
        purpose: String,
        /// Its name.
        avp: String,
        /// The reason.
        why: String,
    },
}

impl SetupError {
    /// The label it is about; of an AVP that was found its name.
    #[must_use]
    pub fn label(&self) -> &str {
        match self {
            Self::Label { source, .. } => source.label(),
            Self::Mark { avp, .. } | Self::Refused { avp, .. } => avp,
        }
    }

    /// What to write instead, where there is a guess.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Label { source, .. } => Some(source.hint()),
            Self::Mark { .. } | Self::Refused { .. } => None,
        }
    }

    /// The option that it is about, where that is known.
    #[must_use]
    pub const fn option(&self) -> Option<&'static str> {
        match self {
            Self::Mark { option, .. } => Some(option),
            Self::Label { .. } | Self::Refused { .. } => None,
        }
    }
}

/// All that is wrong with the settings.
pub type SetupErrors = mapping::SetupErrors<SetupError>;

/// A value that was left out of a record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Misfit {
    /// The field, or what of the record it is.
    pub field: String,
    /// Name of the AVP.
    pub avp: String,
    /// Why it does not fit.
    pub why: String,
}

/// Misfits of one record.
#[derive(Debug, Default)]
pub(super) struct Misfits {
    kept: Vec<Misfit>,
    count: usize,
}

impl Misfits {
    pub(super) fn clear(&mut self) {
        self.kept.clear();
        self.count = 0;
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn kept(&self) -> &[Misfit] {
        &self.kept
    }

    fn note(&mut self, target: &Target, why: &dyn fmt::Display) {
        self.count += 1;
        if self.kept.len() < MISFITS_MAX {
            let (field, avp) = (target.field().to_string(), target.handle().name().to_owned());
            self.kept.push(Misfit { field, avp, why: why.to_string() });
        }
    }
}

/// AVPs in the making, and the values that do not fit them.
#[derive(Debug)]
pub(super) struct Page<'p> {
    pub(super) avps: Writer<'p>,
    pub(super) misfits: &'p mut Misfits,
}

impl<'p> Deref for Page<'p> {
    type Target = Writer<'p>;

    fn deref(&self) -> &Writer<'p> {
        &self.avps
    }
}

impl<'p> DerefMut for Page<'p> {
    fn deref_mut(&mut self) -> &mut Writer<'p> {
        &mut self.avps
    }
}

/// An AVP with its flags, and the field it carries.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// Name of the field, or what of the record it is.
    field: Box<str>,
    handle: Handle,
    code: u32,
    vendor: u32,
    flags: u8,
    form: Form,
}

/// The forms of value that need no look into the definition.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    /// Text: a plain one goes out as it came.
    Text,
    /// Four octets: a number between these.
    Word { min: i64, max: i64 },
    /// Eight octets: a number between these.
    Long { min: i64, max: i64 },
    /// Whatever else the dictionary says.
    Other,
}

impl Form {
    fn of(kind: Type) -> Self {
        match (kind, kind.octets(), kind.range()) {
            (Type::Utf8String, _, _) => Self::Text,
            (_, Some(4), Some((min, max))) => Self::Word { min, max },
            (_, Some(8), Some((min, max))) => Self::Long { min, max },
            _ => Self::Other,
        }
    }
}

impl Target {
    pub(super) fn is(&self, vendor: u32, code: u32) -> bool {
        (self.vendor, self.code) == (vendor, code)
    }

    pub(super) fn is_user_name(&self) -> bool {
        self.is(0, code::USER_NAME)
    }

    pub(super) fn takes_text(&self) -> bool {
        self.handle.kind().is_text()
    }

    pub(super) fn code(&self) -> u32 {
        self.code
    }

    pub(super) fn vendor(&self) -> u32 {
        self.vendor
    }

    pub(super) fn flags(&self) -> u8 {
        self.flags
    }

    /// Without M: inside a group without it a member's does not count (RFC 6733 §4.4).
    pub(super) fn field(&self) -> &str {
        &self.field
    }

    pub(super) const fn handle(&self) -> &Handle {
        &self.handle
    }

    pub(super) fn without_mandatory(&mut self) {
        self.flags &= !flag::MANDATORY;
    }

    /// Writes a value as its definition says.
    #[inline(never)]
    fn encode(&self, input: Input<'_>, out: &mut Page<'_>) {
        let written = out.avp_with(self.code, self.vendor, self.flags, |value| self.handle.encode(input, value));
        if let Err(error) = written {
            out.misfits.note(self, &error);
        }
    }

    /// Writes every item of a list as an AVP of its own; other values as one.
    pub(super) fn put_each(&self, value: &Value, out: &mut Page<'_>) {
        match value {
            Value::List(items) => items.iter().for_each(|item| self.put_text(item, "", out)),
            other => self.put_value(other, "", out),
        }
    }

    /// An AVP without value, which holds the place of one.
    pub(super) fn put_empty(&self, out: &mut Writer<'_>) {
        out.avp(self.code, self.vendor, self.flags, b"");
    }
}

impl mapping::Target<Page<'_>> for Target {
    fn field(&self) -> &str {
        &self.field
    }

    fn is_text(&self) -> bool {
        self.takes_text()
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.handle.values().number(name)
    }

    /// What does not fit is left out, and noted by the AVP; an instant in a text is RFC 3339.
    // Each caller knows what it has: the ways of the other inputs go.
    #[inline(always)]
    fn put(&self, value: Input<'_>, _name: &str, out: &mut Page<'_>) {
        match (self.form, value) {
            (Form::Text, Input::Text(text)) if is_plain(text) => out.avp(self.code, self.vendor, self.flags, text),
            (Form::Word { min, max }, Input::Number(number)) if (min..=max).contains(&number) => {
                // The lower half of its two's complement.
                out.u32(self.code, self.vendor, self.flags, number as u32);
            }
            (Form::Long { min, max }, Input::Number(number)) if (min..=max).contains(&number) => {
                out.u64(self.code, self.vendor, self.flags, number as u64);
            }
            (Form::Text, Input::Timestamp(at)) => match rfc_3339(at) {
                Some(text) => out.avp(self.code, self.vendor, self.flags, &text),
                None => self.encode(value, out),
            },
            (_, value) => self.encode(value, out),
        }
    }
}

/// Resolves labels and collects what is wrong.
pub(super) struct Finder<'a> {
    dictionary: &'a Dictionary,
    marks: Marks,
    /// Labels whose flag M the configuration changes, with what they mean.
    changed: Vec<(&'static str, String, (u32, u32))>,
    /// AVPs that were found for something.
    used: Vec<(u32, u32)>,
    errors: Vec<SetupError>,
}

impl<'a> Finder<'a> {
    pub(super) fn new(settings: &'a Settings) -> Self {
        let mut finder = Self {
            dictionary: &settings.dictionary,
            marks: Marks::default(),
            changed: Vec::new(),
            used: Vec::new(),
            errors: Vec::new(),
        };
        let mandatory = finder.numbers(&settings.mandatory, "an AVP with M", "`mandatory`");
        let optional = finder.numbers(&settings.optional, "an AVP without M", "`optional`");
        finder.marks = Marks::new(settings.application, mandatory, optional);
        finder
    }

    pub(super) const fn marks(&self) -> &Marks {
        &self.marks
    }

    pub(super) fn finish(mut self) -> Result<(), SetupErrors> {
        for (option, label, (vendor, code)) in std::mem::take(&mut self.changed) {
            if let Some(why) = self.marks.refusal(vendor, code, &self.used) {
                self.errors.push(SetupError::Mark { option, avp: label, why });
            }
        }
        if self.errors.is_empty() { Ok(()) } else { Err(mapping::SetupErrors(self.errors)) }
    }

    fn numbers(&mut self, labels: &[String], purpose: &str, option: &'static str) -> Vec<(u32, u32)> {
        let mut found = Vec::new();
        for label in labels {
            if let Some(handle) = self.find(label, purpose) {
                found.push((handle.vendor(), handle.code()));
                self.changed.push((option, label.clone(), (handle.vendor(), handle.code())));
            }
        }
        found
    }

    fn find(&mut self, label: &str, purpose: &str) -> Option<Handle> {
        match self.dictionary.find(label) {
            Ok(handle) => Some(handle),
            Err(source) => {
                self.errors.push(SetupError::Label { purpose: purpose.to_owned(), source });
                None
            }
        }
    }

    pub(super) fn refuse(&mut self, purpose: &str, avp: &str, why: &str) {
        let (purpose, avp) = (purpose.to_owned(), avp.to_owned());
        self.errors.push(SetupError::Refused { purpose, avp, why: why.to_owned() });
    }

    fn target(&mut self, field: &str, handle: Handle) -> Target {
        let key = (handle.vendor(), handle.code());
        let flags = self.marks.flags(key.0, key.1, handle.flags());
        self.used.push(key);
        let form = Form::of(handle.kind());
        Target { field: field.into(), code: key.1, vendor: key.0, flags, form, handle }
    }

    /// An AVP for a value of ours; `None` for an empty label.
    pub(super) fn named(&mut self, label: &str, purpose: &str) -> Option<Target> {
        if label.is_empty() {
            return None;
        }
        let handle = self.find(label, purpose)?;
        if let Some(why) = handle.refusal() {
            self.refuse(purpose, handle.name(), why);
            return None;
        }
        Some(self.target(purpose, handle))
    }

    /// An AVP of a profile, if its dictionary has it.
    pub(super) fn optional(&mut self, label: &str) -> Option<Target> {
        let handle = self.dictionary.find(label).ok()?;
        Some(self.target(label, handle))
    }

    /// The Grouped AVP of a label; notes a misfit when it is none.
    pub(super) fn group(&mut self, label: &str, purpose: &str) -> Option<Target> {
        let handle = self.find(label, purpose)?;
        if handle.kind() != Type::Grouped {
            self.refuse(purpose, handle.name(), &format!("it is {}, no group", handle.kind()));
            return None;
        }
        Some(self.target(purpose, handle))
    }

    /// The AVPs of fields.
    pub(super) fn fields(&mut self, mappings: &[FieldMapping], what: &str) -> Vec<Target> {
        let mut found = Vec::with_capacity(mappings.len());
        for mapping in mappings {
            let purpose = format!("{what} `{}`", mapping.field);
            let Some(handle) = self.find(&mapping.avp, &purpose) else { continue };
            // Of the groups one takes a value: the subscriber, whose kind is told from the value.
            let is_subscriber = (handle.vendor(), handle.code()) == (0, super::rf::SUBSCRIPTION_ID);
            match handle.refusal().filter(|_| !is_subscriber) {
                Some(why) => self.refuse(&purpose, handle.name(), why),
                None => found.push(self.target(&mapping.field, handle)),
            }
        }
        found
    }
}
