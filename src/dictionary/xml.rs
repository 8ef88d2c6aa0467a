//! Diameter dictionaries in XML of the go-diameter form, read as a stream.
//!
//! `<diameter><application><vendor id name/><avp name code must vendor-id><data type><item code name/><rule avp/></data>
//! </avp></application></diameter>`. Commands and applications are skipped. Document types and entities are refused:
//! such a file would read others, or grow without bound.

use std::sync::Arc;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::diameter::build::{Builder, New, Place};
use super::diameter::types::{Type, suggested};
use super::nearest;
use super::reader::{Definitions as _, NAME_OCTETS_MAX};
use super::types::Origin;

/// Elements inside elements at most; the form has five.
const DEPTH_MAX: usize = 16;

/// Adds the AVPs of an XML text; `name` stands for the file in messages.
pub(super) fn read(builder: &mut Builder, name: &str, text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else {
        let origin = Origin { file: name.into(), line: 0 };
        return builder.load().problems.error(&origin, "XML that is not UTF-8");
    };
    File {
        builder,
        at: Origin { file: Arc::from(name), line: 1 },
        open: Vec::new(),
        has_element: false,
        draft: None,
        place: None,
    }
    .events(text);
}

/// One AVP between its tag and its type.
struct Draft {
    name: String,
    code: u32,
    vendor: u32,
    is_mandatory: bool,
}

struct File<'a> {
    builder: &'a mut Builder,
    at: Origin,
    open: Vec<String>,
    has_element: bool,
    draft: Option<Draft>,
    /// The AVP whose items and rules follow.
    place: Option<Place>,
}

impl File<'_> {
    fn events(&mut self, text: &str) {
        let mut reader = Reader::from_str(text);
        let mut counted = 0;
        loop {
            let event = reader.read_event();
            // Line of where the reader stands; counted on from the last place, so that a file is counted once.
            let position = usize::try_from(reader.buffer_position()).unwrap_or(text.len()).min(text.len());
            let lines = memchr::memchr_iter(b'\n', &text.as_bytes()[counted..position]).count();
            self.at.line = self.at.line.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
            counted = position;
            match event {
                Ok(Event::Start(tag)) => {
                    if self.open.len() >= DEPTH_MAX {
                        return self.error(format!("elements more than {DEPTH_MAX} deep"));
                    }
                    self.begin(&tag);
                    self.open.push(tag.local_name().as_ref().to_owned());
                }
                Ok(Event::Empty(tag)) => {
                    self.begin(&tag);
                    self.end(tag.local_name().as_ref());
                }
                Ok(Event::End(_)) => {
                    if let Some(name) = self.open.pop() {
                        self.end(&name);
                    }
                }
                Ok(Event::DocType(_)) => return self.error("document types are not read: remove `<!DOCTYPE …>`"),
                Ok(Event::GeneralRef(_)) => return self.error("entities are not read"),
                Ok(Event::Eof) => {
                    match (self.open.is_empty(), self.has_element) {
                        (false, _) => self.error("the file ends inside an element"),
                        (true, false) => self.error("no `<diameter>` element"),
                        (true, true) => {}
                    }
                    return;
                }
                Ok(_) => {}
                Err(error) => return self.error(format!("XML: {error}")),
            }
        }
    }

    /// The value of an attribute; `None` when it is missing or refers to an entity.
    fn attribute(&mut self, tag: &BytesStart<'_>, key: &str) -> Option<String> {
        let attribute = tag.try_get_attribute(key).ok().flatten()?;
        let text = attribute.value.trim().to_owned();
        if text.contains('&') {
            self.error(format!("entity in `{key}`: entities are not read"));
            return None;
        }
        Some(text)
    }

    fn begin(&mut self, tag: &BytesStart<'_>) {
        self.has_element = true;
        match tag.local_name().as_ref() {
            "vendor" => self.vendor(tag),
            "avp" => self.avp(tag),
            "data" => self.data(tag),
            "item" => self.item(tag),
            "rule" => {
                if let (Some(place), Some(name)) = (self.place, self.attribute(tag, "avp"))
                    && self.builder.load().count(&self.at)
                {
                    self.builder.member(place, &name);
                }
            }
            _ => {}
        }
    }

    fn end(&mut self, name: &str) {
        if name == "avp" {
            if let Some(draft) = self.draft.take() {
                self.error(format!("`{}` has no `<data type=…>`", draft.name));
            }
            self.place = None;
        }
    }

    fn vendor(&mut self, tag: &BytesStart<'_>) {
        let (Some(id), Some(name)) = (self.attribute(tag, "id"), self.attribute(tag, "name")) else { return };
        match id.parse::<u32>() {
            Ok(0) => {}
            Ok(id) => {
                if self.builder.load().count(&self.at) {
                    self.builder.vendor(&name, id, &self.at);
                }
            }
            Err(_) => self.error(format!("vendor `{name}`: `{id}` is no number")),
        }
    }

    fn avp(&mut self, tag: &BytesStart<'_>) {
        self.place = None;
        let (Some(name), Some(code)) = (self.attribute(tag, "name"), self.attribute(tag, "code")) else {
            return self.error("`<avp>` takes a name and a code");
        };
        let is_name = !name.is_empty()
            && name.len() <= NAME_OCTETS_MAX
            && name.bytes().all(|octet| octet.is_ascii_graphic() && octet != b':');
        if !is_name {
            return self
                .error(format!("`{}` is no name of an AVP", name.chars().take(40).collect::<String>().escape_debug()));
        }
        let Some(code) = code.parse::<u32>().ok().filter(|code| *code > 0) else {
            return self.error(format!("`{code}` of `{name}` is no AVP code"));
        };
        let must = self.attribute(tag, "must").unwrap_or_default();
        let vendor = match self.attribute(tag, "vendor-id") {
            None => 0,
            Some(id) => match id.parse().ok().or_else(|| self.builder.vendor_number(&id)) {
                Some(vendor) => vendor,
                None => return self.error(format!("vendor `{id}` of `{name}` is not defined")),
            },
        };
        let is_mandatory = must.split(',').any(|flag| flag.trim() == "M");
        self.draft = Some(Draft { name, code, vendor, is_mandatory });
    }

    fn data(&mut self, tag: &BytesStart<'_>) {
        let Some(draft) = self.draft.take() else { return };
        let Some(word) = self.attribute(tag, "type") else {
            return self.error(format!("`<data>` of `{}` has no type", draft.name));
        };
        let Some(kind) = Type::parse(&word) else {
            let hint = nearest(&word, suggested());
            let hint = hint.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            return self.error(format!("unknown type `{word}` of `{}`{hint}", draft.name));
        };
        if !self.builder.load().count(&self.at) {
            return;
        }
        let new = New {
            name: &draft.name,
            code: draft.code,
            vendor: draft.vendor,
            kind,
            is_radius: false,
            is_mandatory: Some(draft.is_mandatory),
        };
        self.place = self.builder.define(&new, &self.at);
    }

    fn item(&mut self, tag: &BytesStart<'_>) {
        let Some(place) = self.place else { return };
        let (Some(name), Some(code)) = (self.attribute(tag, "name"), self.attribute(tag, "code")) else { return };
        match code.parse::<i64>() {
            Ok(number) if self.builder.load().count(&self.at) => self.builder.value_of(place, &name, number, &self.at),
            Ok(_) => {}
            Err(_) => self.error(format!("`{code}` of item `{name}` is no number")),
        }
    }

    fn error(&mut self, text: impl Into<String>) {
        self.builder.load().problems.error(&self.at, text);
    }
}
