//! A transformation's text: its name and arguments.

use super::code::Code;
use super::sip::{NameAddrPart, ParamPart, UriPart, ViaPart};
use super::{End, Piece, RESULT_BYTES_MAX, Reach, Step, Subst, TRANSFORMATIONS};

/// Octets a compiled regular expression may take.
const REGEX_BYTES_MAX: usize = 256 * 1024;

/// What is wrong with a transformation, and what to write instead.
pub(crate) type Wrong = (String, Option<String>);

/// Reads what stands between the braces.
pub(crate) fn parse(text: &str) -> Result<Step, Wrong> {
    let text = text.trim_start();
    let (name, arguments) = match text.split_once(',') {
        Some((name, arguments)) => (name.trim_end(), Some(arguments)),
        None => (text.trim_end(), None),
    };
    let Some(known) = TRANSFORMATIONS.iter().find(|known| known.name() == name) else {
        return Err((format!("unknown transformation `{name}`"), nearest(name)));
    };
    let usage = || Some(format!("write `{{{}}}`", known.usage));
    let wants_arguments = known.usage.contains(',');
    let arguments = match (wants_arguments, arguments) {
        (true, Some(arguments)) => arguments,
        (false, None) => "",
        (true, None) => return Err((format!("`{name}` needs arguments"), usage())),
        (false, Some(_)) => return Err((format!("`{name}` takes no arguments"), usage())),
    };
    step(name, arguments).map_err(|what| (format!("`{name}`: {what}"), usage()))
}

fn step(name: &str, arguments: &str) -> Result<Step, String> {
    let param = || named(arguments);
    Ok(match name {
        "s.len" => Step::Len,
        "s.int" => Step::Int,
        "s.substr" => {
            let (offset, length) = arguments.split_once(',').ok_or("it needs an offset and a length")?;
            Step::Substr { offset: number(offset)?, length: length_of(length)? }
        }
        "s.select" => {
            let (index, separator) = arguments.split_once(',').ok_or("it needs an index and a separator")?;
            if separator.is_empty() {
                return Err("the separator is empty".to_owned());
            }
            Step::Select { index: number(index)?, separator: separator.into() }
        }
        "s.index" if arguments.is_empty() => return Err("the text is empty".to_owned()),
        "s.index" => Step::Index { text: arguments.into() },
        "s.tolower" => Step::Lower,
        "s.toupper" => Step::Upper,
        "s.trim" => Step::Trim,
        "s.width" => Step::Width(length_of(arguments)?),
        "s.fill.left" => fill(End::Left, arguments)?,
        "s.fill.right" => fill(End::Right, arguments)?,
        "s.date2unix" => Step::Date,
        "uri.user" => Step::Uri(UriPart::User),
        "uri.host" => Step::Uri(UriPart::Host),
        "uri.port" => Step::Uri(UriPart::Port),
        "uri.passwd" => Step::Uri(UriPart::Password),
        "uri.params" => Step::Uri(UriPart::Params),
        "uri.param" => Step::Uri(UriPart::Param(param()?)),
        "uri.headers" => Step::Uri(UriPart::Headers),
        "uri.schema" => Step::Uri(UriPart::Scheme),
        "uri.transport" => Step::Uri(UriPart::Param(b"transport".to_vec())),
        "uri.uri" => Step::Uri(UriPart::Whole),
        "param.value" => Step::Param(ParamPart::Value(param()?)),
        "param.valueat" => Step::Param(ParamPart::ValueAt(number(arguments)?)),
        "param.name" => Step::Param(ParamPart::NameAt(number(arguments)?)),
        "param.count" => Step::Param(ParamPart::Count),
        "param.exist" => Step::Param(ParamPart::Exists(param()?)),
        "nameaddr.name" => Step::NameAddr(NameAddrPart::Name),
        "nameaddr.uri" => Step::NameAddr(NameAddrPart::Uri),
        "nameaddr.len" => Step::NameAddr(NameAddrPart::Len),
        "nameaddr.param" => Step::NameAddr(NameAddrPart::Param(param()?)),
        "nameaddr.params" => Step::NameAddr(NameAddrPart::Params),
        "via.name" => Step::Via(ViaPart::Name),
        "via.version" => Step::Via(ViaPart::Version),
        "via.transport" => Step::Via(ViaPart::Transport),
        "via.host" => Step::Via(ViaPart::Host),
        "via.port" => Step::Via(ViaPart::Port),
        "via.branch" => Step::Via(ViaPart::Param(b"branch".to_vec())),
        "via.received" => Step::Via(ViaPart::Param(b"received".to_vec())),
        "via.rport" => Step::Via(ViaPart::Param(b"rport".to_vec())),
        "via.params" => Step::Via(ViaPart::Params),
        "via.param" => Step::Via(ViaPart::Param(param()?)),
        "csv.count" => Step::CsvCount,
        "csv.value" => Step::CsvValue(number(arguments)?),
        "ip.pton" => Step::Pton,
        "ip.ntop" => Step::Ntop,
        "ip.family" => Step::Family,
        "re.subst" => Step::Subst(subst(arguments)?),
        other => Step::Code(Code::named(other).ok_or("it is listed and not known")?),
    })
}

fn number(text: &str) -> Result<i64, String> {
    text.trim().parse().map_err(|_| format!("`{}` is no whole number", text.trim()))
}

/// A length that a value may have.
fn length_of(text: &str) -> Result<usize, String> {
    let length: usize = text.trim().parse().map_err(|_| format!("`{}` is no length", text.trim()))?;
    if length >= RESULT_BYTES_MAX {
        return Err(format!("a length is {} at most", RESULT_BYTES_MAX - 1));
    }
    Ok(length)
}

/// The name of a parameter.
fn named(text: &str) -> Result<Vec<u8>, String> {
    let name = text.trim();
    if name.is_empty() || name.contains(['=', ';', ',']) {
        return Err(format!("`{name}` is no name of a parameter"));
    }
    Ok(name.into())
}

fn fill(side: End, arguments: &str) -> Result<Step, String> {
    let (with, length) = arguments.rsplit_once(',').ok_or("it needs a text and a length")?;
    if with.is_empty() {
        return Err("the text is empty".to_owned());
    }
    Ok(Step::Fill { side, with: with.into(), length: length_of(length)? })
}

/// `/REGEX/TEXT/FLAGS` with any mark in place of the slash.
fn subst(arguments: &str) -> Result<Subst, String> {
    let arguments = arguments.trim_start();
    let mark = arguments.chars().next().filter(|mark| !mark.is_alphanumeric() && *mark != '\\');
    let mark = mark.ok_or("it needs a mark such as `/` around the expression")?;
    let mut parts = vec![String::new()];
    let mut rest = arguments[mark.len_utf8()..].chars();
    while let Some(next) = rest.next() {
        match next {
            // An escaped mark is a plain one; what else is escaped belongs to the expression.
            '\\' => match rest.next() {
                Some(escaped) if escaped == mark => parts.last_mut().map(|part| part.push(mark)).unwrap_or_default(),
                Some(escaped) => parts.last_mut().map(|part| part.extend(['\\', escaped])).unwrap_or_default(),
                None => return Err("a backslash stands at the end".to_owned()),
            },
            next if next == mark && parts.len() < 3 => parts.push(String::new()),
            next => parts.last_mut().map(|part| part.push(next)).unwrap_or_default(),
        }
    }
    let [expression, replacement, flags] = parts.as_slice() else {
        return Err(format!("it needs three `{mark}`"));
    };
    let (mut reach, mut ignores_case) = (Reach::First, false);
    for flag in flags.trim().chars() {
        match flag {
            'g' => reach = Reach::All,
            'i' => ignores_case = true,
            other => return Err(format!("`{other}` is no flag")),
        }
    }
    let regex = regex::bytes::RegexBuilder::new(expression)
        .case_insensitive(ignores_case)
        .size_limit(REGEX_BYTES_MAX)
        .build()
        .map_err(|error| error.to_string().lines().last().unwrap_or_default().trim().to_owned())?;
    let pieces = pieces(replacement, regex.captures_len())?;
    Ok(Subst { regex, pieces, reach })
}

/// The replacement: `\0` to `\9` are groups, another character behind a backslash is itself.
fn pieces(text: &str, groups: usize) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut rest = text.chars();
    while let Some(next) = rest.next() {
        let escaped = if next == '\\' { rest.next() } else { None };
        match escaped.map(|escaped| (escaped, escaped.to_digit(10))) {
            Some((digit, Some(group))) => {
                let group = group as usize;
                if group >= groups {
                    return Err(format!("`\\{digit}` is a group that the expression has not"));
                }
                pieces.extend((!plain.is_empty()).then(|| Piece::Text(std::mem::take(&mut plain).into())));
                pieces.push(Piece::Group(group));
            }
            Some((other, None)) => plain.push(other),
            None => plain.push(next),
        }
    }
    pieces.extend((!plain.is_empty()).then(|| Piece::Text(plain.into())));
    Ok(pieces)
}

fn nearest(name: &str) -> Option<String> {
    let known = || TRANSFORMATIONS.iter().map(super::Transformation::name);
    let close = known()
        .map(|other| (strsim::damerau_levenshtein(name, other), other))
        .filter(|(distance, _)| *distance * 3 <= name.chars().count())
        .min_by_key(|(distance, _)| *distance);
    Some(match close {
        Some((_, other)) => format!("did you mean `{other}`?"),
        None => "`tollgate vars` lists them".to_owned(),
    })
}
