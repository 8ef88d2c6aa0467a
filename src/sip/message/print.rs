//! Printing: a message forwarded with edits, and the messages a proxy makes itself.
//!
//! Forwarding copies spans of the received octets; only what [`RequestEdits`] names is written anew. Values that come
//! from outside are written on one line, so that nobody smuggles a header in.

use std::net::{IpAddr, SocketAddr};

use super::grammar::{Elements, Params, is_lws, offset_in};
use super::index::Line;
use super::name::Name;
use super::{Message, NameAddr, unfold};

/// What changes in a forwarded request (RFC 3261 §16.6). `Default` changes nothing but Max-Forwards, which becomes 0.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestEdits<'a> {
    /// The new Request-URI; `None` leaves it as received.
    pub request_uri: Option<&'a [u8]>,
    /// Value of our own Via line, put above the others; empty for none.
    pub via: &'a [u8],
    /// Where the request came from: sets `received` and `rport` of the caller's Via where RFC 3261 §18.2.1 and
    /// RFC 3581 §4 ask for it, over what the caller claims. `None` leaves it as received.
    pub source: Option<SocketAddr>,
    /// The new Max-Forwards, added when there was none.
    pub max_forwards: u8,
    /// The new and only Max-Breadth (RFC 5393 §5.3.3), added when there was none; `None` leaves it as received.
    pub max_breadth: Option<u32>,
    /// How many Route values are taken away at the top, comma-joined ones counted one by one.
    pub routes_popped: usize,
    /// Whether the last Route value is taken away too: it became the Request-URI (RFC 3261 §16.4).
    pub route_last_popped: bool,
    /// Route values put behind the others, each with its angle brackets (RFC 3261 §16.6 step 6).
    pub routes_added: &'a [&'a [u8]],
    /// Record-Route values put above the others in this order, each with its angle brackets.
    pub record_route: &'a [&'a [u8]],
    /// Further header lines, put at the end.
    pub headers_added: &'a [(Box<str>, Box<[u8]>)],
    /// Names whose header lines are taken away; none of those that the fields above speak of.
    pub headers_removed: &'a [Box<[u8]>],
    /// Whether a missing Content-Length is added, as streams need it (RFC 3261 §18.3).
    pub content_length_added: bool,
}

/// Appends a request with its edits; everything else byte-identical and in order. One allocation at most.
pub fn forward_request(message: &Message, edits: &RequestEdits<'_>, out: &mut Vec<u8>) {
    out.reserve(message.bytes.len() + added_len(edits));
    let mut pen = Pen { message, out, copied: 0 };
    if let Some(uri) = edits.request_uri {
        pen.copy_to(message.words[0] + 1);
        write_word(uri, pen.out);
        pen.copied = usize::from(message.words[1]);
    }
    let mut routes = Routes::of(message, edits);
    let mut via_seen = false;
    let mut ours_written = false;
    let mut breadth_seen = false;
    for (place, line) in message.lines.iter().enumerate() {
        if !ours_written && (line.name == Name::RecordRoute || (via_seen && line.name != Name::Via)) {
            pen.copy_to(line.start);
            write_ours(message, edits, pen.out);
            ours_written = true;
        }
        match line.name {
            Name::Via if !via_seen => {
                via_seen = true;
                pen.copy_to(line.start);
                write_header("Via", edits.via, pen.out);
                if let Some(source) = edits.source {
                    pen.copy_to(line.value);
                    pen.copied = usize::from(line.value) + write_via(message, line, source, pen.out);
                }
            }
            Name::MaxForwards => {
                pen.copy_to(line.value);
                write_number(u32::from(edits.max_forwards), pen.out);
                pen.copied = usize::from(line.value_end);
            }
            Name::MaxBreadth if edits.max_breadth.is_some() && breadth_seen => {
                pen.copy_to(line.start);
                pen.copied = usize::from(message.line_end(place));
            }
            Name::MaxBreadth if let Some(breadth) = edits.max_breadth => {
                breadth_seen = true;
                pen.copy_to(line.value);
                write_number(breadth, pen.out);
                pen.copied = usize::from(line.value_end);
            }
            Name::Route => routes.edit(place, &mut pen),
            _ if !edits.headers_removed.is_empty() && is_removed(message.name_text(line), edits.headers_removed) => {
                pen.copy_to(line.start);
                pen.copied = usize::from(message.line_end(place));
            }
            _ => {}
        }
    }
    pen.copy_to(message.blank);
    if !via_seen {
        write_header("Via", edits.via, pen.out);
    }
    if !ours_written {
        write_ours(message, edits, pen.out);
    }
    for (name, value) in edits.headers_added {
        write_header(name, value, pen.out);
    }
    if edits.content_length_added && !message.has(Name::ContentLength) {
        write_content_length(message.body().len(), pen.out);
    }
    pen.copy_rest();
}

/// Whether lines of this name are taken away, in whichever of its forms it is written.
fn is_removed(name: &[u8], removed: &[Box<[u8]>]) -> bool {
    removed.iter().any(|wanted| match (Name::of(name), Name::of(wanted)) {
        (Name::Other, Name::Other) => name.eq_ignore_ascii_case(wanted),
        (one, other) => one == other,
    })
}

/// Upper bound of what the edits add, in octets.
fn added_len(edits: &RequestEdits<'_>) -> usize {
    let uri = edits.request_uri.map_or(0, <[u8]>::len);
    let values: usize = edits.routes_added.iter().chain(edits.record_route).map(|value| value.len() + 16).sum();
    let headers: usize = edits.headers_added.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    uri + values + headers + edits.via.len() + OWN_HEADERS_BYTES
}

/// Room for `Via: `, `;received=…;rport=…`, Max-Breadth, Max-Forwards and Content-Length.
const OWN_HEADERS_BYTES: usize = 160;

/// Header lines that stand behind the Via lines.
fn write_ours(message: &Message, edits: &RequestEdits<'_>, out: &mut Vec<u8>) {
    for value in edits.record_route {
        write_header("Record-Route", value, out);
    }
    if !message.has(Name::Route) {
        write_routes(edits, out);
    }
    if let Some(breadth) = edits.max_breadth.filter(|_| !message.has(Name::MaxBreadth)) {
        out.extend_from_slice(b"Max-Breadth: ");
        write_number(breadth, out);
        out.extend_from_slice(b"\r\n");
    }
    if !message.has(Name::MaxForwards) {
        out.extend_from_slice(b"Max-Forwards: ");
        write_number(u32::from(edits.max_forwards), out);
        out.extend_from_slice(b"\r\n");
    }
}

fn write_routes(edits: &RequestEdits<'_>, out: &mut Vec<u8>) {
    for value in edits.routes_added {
        write_header("Route", value, out);
    }
}

/// Appends a response without its top Via value: of a comma-joined line only the first value goes.
pub fn forward_response(message: &Message, out: &mut Vec<u8>) {
    out.reserve(message.bytes.len());
    let mut pen = Pen { message, out, copied: 0 };
    for (place, line) in message.lines.iter().enumerate() {
        if line.name != Name::Via {
            continue;
        }
        let value = message.value(line);
        let mut elements = Elements::of(value);
        let top = elements.next();
        match elements.next().and_then(|second| offset_in(second, value)) {
            Some(second) => {
                pen.copy_to(line.value);
                pen.copied += second;
            }
            None => {
                pen.copy_to(line.start);
                pen.copied = usize::from(message.line_end(place));
            }
        }
        // An empty Via line goes too, for the top value is below it.
        if top.is_some() {
            break;
        }
    }
    pen.copy_rest();
}

/// Appends a response made here (RFC 3261 §8.2.6): Via, From, To, Call-ID and CSeq as received, `received` and `rport`
/// of the top Via set from `source`, `to_tag` added to a To without tag unless `code` is 100, then `extra` headers and
/// an empty body. What the request lacks, the response lacks: a malformed request is answered as far as it goes.
pub fn response(
    request: &Message,
    code: u16,
    reason: &str,
    to_tag: Option<&[u8]>,
    extra: &[(&str, &[u8])],
    source: SocketAddr,
    out: &mut Vec<u8>,
) {
    out.reserve(RESPONSE_BYTES.min(request.bytes.len() + OWN_HEADERS_BYTES));
    out.extend_from_slice(b"SIP/2.0 ");
    write_number(u32::from(code), out);
    out.push(b' ');
    write_line(reason.as_bytes(), out);
    let mut via_seen = false;
    for (place, line) in request.lines.iter().enumerate() {
        let end = usize::from(request.line_end(place));
        let mut copied = usize::from(line.start);
        match line.name {
            Name::Via if !via_seen => {
                via_seen = true;
                out.extend_from_slice(request.span(line.start, line.value));
                copied = usize::from(line.value) + write_via(request, line, source, out);
            }
            Name::To if code > 100 => {
                let has_tag = NameAddr::parse(request.value(line)).is_some_and(|to| to.param(b"tag").is_some());
                if let Some(tag) = to_tag.filter(|_| !has_tag) {
                    out.extend_from_slice(request.span(line.start, line.value_end));
                    out.extend_from_slice(b";tag=");
                    write_word(tag, out);
                    copied = usize::from(line.value_end);
                }
            }
            Name::Timestamp if code != 100 => continue,
            Name::Via | Name::From | Name::To | Name::CallId | Name::CSeq | Name::Timestamp => {}
            _ => continue,
        }
        out.extend_from_slice(&request.bytes[copied..end]);
        end_line(out);
    }
    for (name, value) in extra {
        write_header(name, value, out);
    }
    write_content_length(0, out);
    out.extend_from_slice(b"\r\n");
}

/// Room for a response without many Via lines.
const RESPONSE_BYTES: usize = 768;

/// Appends the hop-by-hop ACK for a final response of 300 to 699 (RFC 3261 §17.1.1.3): Request-URI, top Via, From,
/// Call-ID, CSeq number and Route of the INVITE as it was sent, To of the response.
pub fn ack_for(sent_invite: &Message, response: &Message, out: &mut Vec<u8>) {
    write_hop(sent_invite, ("ACK", &[]), response, out);
}

/// Appends the CANCEL for a sent INVITE (RFC 3261 §9.1): its Request-URI, top Via, From, To, Call-ID, CSeq number and
/// Route, and a Reason line for each of `reasons` (RFC 3326 §2).
pub fn cancel_for(sent_invite: &Message, reasons: &[&[u8]], out: &mut Vec<u8>) {
    write_hop(sent_invite, ("CANCEL", reasons), sent_invite, out);
}

fn write_hop(sent: &Message, (method, reasons): (&str, &[&[u8]]), to_of: &Message, out: &mut Vec<u8>) {
    out.reserve(RESPONSE_BYTES.min(sent.bytes.len() + OWN_HEADERS_BYTES));
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    out.extend_from_slice(sent.request_uri());
    out.extend_from_slice(b" SIP/2.0\r\n");
    write_header("Via", sent.values(Name::Via).next().unwrap_or_default(), out);
    out.extend_from_slice(b"Max-Forwards: 70\r\n");
    for name in [Name::Route, Name::From] {
        write_lines(sent, name, out);
    }
    write_lines(to_of, Name::To, out);
    write_lines(sent, Name::CallId, out);
    out.extend_from_slice(b"CSeq: ");
    write_number(sent.cseq().0, out);
    out.push(b' ');
    write_line(method.as_bytes(), out);
    for reason in reasons {
        write_header("Reason", reason, out);
    }
    write_content_length(0, out);
    out.extend_from_slice(b"\r\n");
}

/// Copies all header lines called `name` as received.
fn write_lines(message: &Message, name: Name, out: &mut Vec<u8>) {
    for (place, line) in message.lines.iter().enumerate().filter(|(_, line)| line.name == name) {
        out.extend_from_slice(message.span(line.start, message.line_end(place)));
        end_line(out);
    }
}

/// Copies spans of a message that lie between edits.
struct Pen<'a> {
    message: &'a Message,
    out: &'a mut Vec<u8>,
    /// How much of the message is done with.
    copied: usize,
}

impl Pen<'_> {
    fn copy_to(&mut self, end: u16) {
        let end = usize::from(end);
        if let Some(span) = self.message.bytes.get(self.copied..end) {
            self.out.extend_from_slice(span);
            self.copied = end;
        }
    }

    fn copy_rest(&mut self) {
        self.out.extend_from_slice(&self.message.bytes[self.copied..]);
        self.copied = self.message.bytes.len();
    }
}

/// The edits of Route values, line by line.
struct Routes<'a> {
    edits: &'a RequestEdits<'a>,
    /// Number of the next line's first value.
    next: usize,
    /// Number of the first value that is taken away at the end.
    end: usize,
    /// Place of the last Route line; `None` when nothing changes.
    last_line: Option<usize>,
}

impl<'a> Routes<'a> {
    fn of(message: &Message, edits: &'a RequestEdits<'a>) -> Self {
        let end =
            if edits.route_last_popped { message.values(Name::Route).count().saturating_sub(1) } else { usize::MAX };
        let changes = edits.routes_popped > 0 || edits.route_last_popped || !edits.routes_added.is_empty();
        let last_line = if changes { message.lines.iter().rposition(|line| line.name == Name::Route) } else { None };
        Self { edits, next: 0, end, last_line }
    }

    fn edit(&mut self, place: usize, pen: &mut Pen<'_>) {
        let Some(last_line) = self.last_line else { return };
        let (message, line) = (pen.message, pen.message.lines[place]);
        let value = message.value(&line);
        let (mut kept, mut dropped) = (None, false);
        for element in Elements::of(value) {
            if (self.edits.routes_popped..self.end).contains(&self.next) {
                let start = offset_in(element, value).unwrap_or_default();
                let (first, _) = kept.unwrap_or((start, start));
                kept = Some((first, start + element.len()));
            } else {
                dropped = true;
            }
            self.next += 1;
        }
        match kept {
            Some((first, last)) if dropped => {
                pen.copy_to(line.value);
                pen.out.extend_from_slice(&value[first..last]);
                pen.copied = usize::from(line.value_end);
            }
            None if dropped => {
                pen.copy_to(line.start);
                pen.copied = usize::from(message.line_end(place));
            }
            _ => {}
        }
        if place == last_line && !self.edits.routes_added.is_empty() {
            pen.copy_to(message.line_end(place));
            write_routes(self.edits, pen.out);
        }
    }
}

/// Writes the first element of the first Via line with `received` and `rport` set; gives how much of its value that was.
fn write_via(message: &Message, line: &Line, source: SocketAddr, out: &mut Vec<u8>) -> usize {
    let value = message.value(line);
    let Some(via) = message.top_via() else { return 0 };
    // Below an empty line it is not this one's.
    let Some(start) = offset_in(via.bytes, value) else { return 0 };
    let ip = source.ip().to_canonical();
    // RFC 3581 §4: with rport, `received` is set even when the host is the source's address.
    let wanted = via.rport.is_some() || via.received.is_some() || via.ip() != Some(ip);
    let (mut copied, mut received) = (0, false);
    let has_old = via.rport.is_some() || via.received.is_some();
    for param in (Params { rest: if has_old { via.params } else { b"" } }) {
        let is_rport = param.name.eq_ignore_ascii_case(b"rport");
        let is_received = param.name.eq_ignore_ascii_case(b"received");
        if !is_rport && !is_received {
            continue;
        }
        let name_end = offset_in(param.name, value).unwrap_or_default() + param.name.len();
        let old_end = param.value.and_then(|old| Some(offset_in(old, value)? + old.len())).unwrap_or(name_end);
        out.extend_from_slice(&value[copied..name_end]);
        out.push(b'=');
        if is_rport {
            write_number(u32::from(source.port()), out);
        } else {
            write_ip(ip, out);
        }
        received |= is_received;
        copied = old_end;
    }
    let end = start + trimmed_len(via.bytes);
    out.extend_from_slice(&value[copied..end.max(copied)]);
    if wanted && !received {
        out.extend_from_slice(b";received=");
        write_ip(ip, out);
    }
    end.max(copied)
}

/// Length of a Via value without a stray semicolon at its end.
fn trimmed_len(element: &[u8]) -> usize {
    match element.strip_suffix(b";") {
        Some(rest) => rest.len() - rest.iter().rev().take_while(|octet| is_lws(**octet)).count(),
        None => element.len(),
    }
}

/// Addresses stand without brackets in `received` (RFC 3261 §25.1).
fn write_ip(ip: IpAddr, out: &mut Vec<u8>) {
    use std::io::Write;
    match ip {
        IpAddr::V4(ip) => {
            for (place, octet) in ip.octets().into_iter().enumerate() {
                if place > 0 {
                    out.push(b'.');
                }
                write_number(u32::from(octet), out);
            }
        }
        IpAddr::V6(ip) => write!(out, "{ip}").expect("writing to a Vec does not fail"),
    }
}

/// Writes a text that holds no white space; what came from a folded header loses it and cannot break the line.
fn write_word(text: &[u8], out: &mut Vec<u8>) {
    if text.iter().fold(false, |found, octet| found | (*octet <= b' ')) {
        out.extend(text.iter().filter(|octet| **octet > b' '));
    } else {
        out.extend_from_slice(text);
    }
}

/// Writes a number in decimal.
fn write_number(mut number: u32, out: &mut Vec<u8>) {
    let mut digits = [0; 10];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Writes a header line; nothing when the value is empty.
fn write_header(name: &str, value: &[u8], out: &mut Vec<u8>) {
    if !value.is_empty() {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        write_line(value, out);
    }
}

/// Writes a value that came from outside as the rest of one line.
fn write_line(value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&unfold(value));
    out.extend_from_slice(b"\r\n");
}

fn write_content_length(len: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(b"Content-Length: ");
    write_number(u32::try_from(len).unwrap_or(u32::MAX), out);
    out.extend_from_slice(b"\r\n");
}

/// The message with Record-Route values put above that at `place`, or behind the last one; `None` where it stands in a line
/// with others before it.
#[must_use]
pub fn insert_record_routes(message: &Message, place: usize, values: &[Vec<u8>]) -> Option<Vec<u8>> {
    let (mut seen, mut at, mut behind_via) = (0, None, message.blank);
    for (number, line) in message.lines.iter().enumerate() {
        match line.name {
            Name::Via => behind_via = message.line_end(number),
            Name::RecordRoute if seen == place => {
                at = Some(line.start);
                break;
            }
            Name::RecordRoute => {
                seen += Elements::of(message.value(line)).count();
                at = (seen == place).then(|| message.line_end(number));
            }
            _ => {}
        }
    }
    let at = match at {
        Some(at) => at,
        None if seen == 0 => behind_via,
        None => return None,
    };
    let (head, rest) = message.bytes.split_at(at.into());
    let mut out = head.to_vec();
    for value in values {
        write_header("Record-Route", value, &mut out);
    }
    out.extend_from_slice(rest);
    Some(out)
}

/// Ends all lines of the head of a printed message by CR LF.
pub fn end_lines(message: &mut Vec<u8>) {
    let mut out = Vec::with_capacity(message.len() + 64);
    let mut rest = &message[..];
    while let Some(newline) = memchr::memchr(b'\n', rest) {
        let line = rest[..newline].strip_suffix(b"\r").unwrap_or(&rest[..newline]);
        out.extend_from_slice(line);
        out.extend_from_slice(b"\r\n");
        rest = &rest[newline + 1..];
        if line.is_empty() {
            break;
        }
    }
    out.extend_from_slice(rest);
    *message = out;
}

/// Ends a copied line that a truncated message left open.
fn end_line(out: &mut Vec<u8>) {
    if !out.ends_with(b"\n") {
        out.extend_from_slice(b"\r\n");
    }
}
