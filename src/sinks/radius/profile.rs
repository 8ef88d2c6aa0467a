//! Attribute names of a profile, resolved once at start.

use std::borrow::Cow;

use crate::dictionary::{Dictionary, Handle, Type};

use super::SetupErrors;
use super::settings::{Columns, FieldMapping, Settings};
use crate::radius::attribute::{Limit, Oversize, Priority};
use crate::radius::number;

/// Why a sink cannot start with its settings.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SetupError {
    /// No dictionary knows an attribute.
    #[error("no dictionary has the attribute `{attribute}` for {purpose}; read: {files}{hint}")]
    Unknown {
        /// The name.
        attribute: String,
        /// What it is for.
        purpose: String,
        /// The dictionary files that were read.
        files: String,
        /// Empty, or `; did you mean …`.
        hint: String,
    },
    /// An attribute must not carry values of calls.
    #[error("`{attribute}` cannot carry {purpose}: {why}")]
    Refused {
        /// The name.
        attribute: String,
        /// What it was to carry.
        purpose: String,
        /// The reason.
        why: &'static str,
    },
    /// More servers than one sink takes.
    #[error("{count} accounting servers, at most 64")]
    TooManyServers {
        /// How many there are.
        count: usize,
    },
}

/// An attribute with its policies.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// The field whose values it takes; empty for those of ours.
    pub(super) field: Box<str>,
    pub(super) handle: Handle,
    pub(super) oversize: Oversize,
    /// What one value may have at most.
    pub(super) limit: Limit,
    pub(super) priority: Priority,
    /// Takes the whole of a value that is too long.
    pub(super) long: Option<Handle>,
    /// `@` and the realm of a name without one; only User-Name has it.
    pub(super) realm: Option<Box<str>>,
    /// What stands between the values of a list.
    pub(super) join: &'static [u8],
}

impl Target {
    fn new(handle: Handle, priority: Priority, settings: &Settings) -> Self {
        let octets = handle.value_octets_max();
        let standard = match *handle.oid().parts() {
            [number] => Some(number),
            _ => None,
        };
        let column = standard.and_then(|number| settings.columns.width(number));
        let realm = settings.default_realm.as_deref().filter(|realm| !realm.is_empty());
        let realm = realm.filter(|_| standard == Some(u32::from(number::USER_NAME)));
        Self {
            field: Box::default(),
            handle,
            oversize: Oversize::Truncate,
            limit: Limit { octets, column },
            priority,
            long: None,
            realm: realm.map(|realm| format!("@{realm}").into()),
            join: if settings.is_exact { settings.profile.system().join } else { b", " },
        }
    }

    /// The value as it is sent: a User-Name without `@` gets the default realm.
    pub(super) fn complete<'v>(&self, value: &'v [u8]) -> Cow<'v, [u8]> {
        match &self.realm {
            Some(realm) if !value.is_empty() && !value.contains(&b'@') => {
                Cow::Owned([value, realm.as_bytes()].concat())
            }
            _ => Cow::Borrowed(value),
        }
    }

    /// Whether values are octets that can be cut.
    pub(super) fn takes_text(&self) -> bool {
        matches!(self.handle.kind(), Type::String | Type::Octets(None))
    }
}

/// Finds attributes and collects what is wrong.
pub(super) struct Finder<'a> {
    dictionary: &'a Dictionary,
    settings: &'a Settings,
    errors: Vec<SetupError>,
}

impl<'a> Finder<'a> {
    pub(super) fn new(settings: &'a Settings) -> Self {
        Self { dictionary: &settings.dictionary, settings, errors: Vec::new() }
    }

    /// All was found, unless something was wrong.
    pub(super) fn finish(self) -> Result<(), SetupErrors> {
        if self.errors.is_empty() { Ok(()) } else { Err(crate::sinks::mapping::SetupErrors(self.errors)) }
    }

    /// An attribute the profile may have.
    pub(super) fn optional(&self, name: &str, priority: Priority) -> Option<Target> {
        let handle = self.dictionary.attribute(name)?;
        handle.refusal().is_none().then(|| Target::new(handle, priority, self.settings))
    }

    /// An attribute that has to be there; an empty name stands for none.
    pub(super) fn required(&mut self, name: &str, purpose: &str, priority: Priority) -> Option<Target> {
        if name.is_empty() {
            return None;
        }
        let Some(handle) = self.dictionary.attribute(name) else {
            let files: Vec<String> = self.dictionary.files().iter().map(|file| file.display().to_string()).collect();
            let files = if files.is_empty() { "only the built-in ones".to_owned() } else { files.join(", ") };
            let hint = self.dictionary.nearest(name).map(|near| format!("; did you mean `{near}`?"));
            self.errors.push(SetupError::Unknown {
                attribute: name.to_owned(),
                purpose: purpose.to_owned(),
                files,
                hint: hint.unwrap_or_default(),
            });
            return None;
        };
        if let Some(why) = handle.refusal() {
            self.errors.push(SetupError::Refused { attribute: name.to_owned(), purpose: purpose.to_owned(), why });
            return None;
        }
        Some(Target::new(handle, priority, self.settings))
    }

    /// The attributes of mapped fields.
    pub(super) fn fields(&mut self, mappings: &[FieldMapping], leg: &str) -> Vec<Target> {
        let mut found = Vec::with_capacity(mappings.len());
        for mapping in mappings {
            let purpose = format!("{leg}field `{}`", mapping.field);
            if let Some(mut target) = self.required(&mapping.attribute, &purpose, mapping.priority) {
                target.oversize = mapping.oversize;
                match (mapping.max_octets, self.settings.columns) {
                    (Some(max), Columns::Any) => target.limit.octets = target.limit.octets.min(max),
                    (Some(max), Columns::FreeradiusSql) => target.limit.column = Some(max),
                    (None, _) => {}
                }
                let long = mapping.long.as_deref().unwrap_or_default();
                let long = self.required(long, &format!("long values of {purpose}"), mapping.priority);
                target.long = long.map(|long| long.handle);
                target.field = mapping.field.as_str().into();
                found.push(target);
            }
        }
        found
    }
}
