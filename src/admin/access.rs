//! Who may ask `/api`: with the token or a certificate, and from no other site's page.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use subtle::ConstantTimeEq as _;

use super::api::refused;
use super::tls::Client;
use crate::clock;
use crate::sinks::secret::Secret;

/// Who asks, for the log; or why it may not ask this: neither the token nor a certificate is there, or another site's page asks.
pub(super) fn admitted(
    (token, client): (Option<&Secret>, &Client),
    method: &Method,
    headers: &HeaderMap,
) -> Result<Arc<str>, Box<Response>> {
    let forbidden = |text: &str| Err(Box::new(refused(StatusCode::FORBIDDEN, text.to_owned())));
    // What a page of another site has its reader's browser send, or a browser to come.
    if headers.get_all("sec-fetch-site").iter().any(|site| site != "same-origin" && site != "none") {
        return forbidden(ELSEWHERE);
    }
    let holder = client.certified(clock::wall());
    if token.is_some_and(|token| has_token(headers, token)) {
        return Ok(client.named(holder.unwrap_or("the token")));
    }
    let changes = !matches!(*method, Method::GET | Method::HEAD);
    if let Some(holder) = holder {
        // A browser shows its certificate unasked, whoever's page asks; the token it does not know.
        return if changes && is_from_elsewhere(headers) { forbidden(ELSEWHERE) } else { Ok(client.named(holder)) };
    }
    if token.is_none() {
        return match (client.was_asked(), changes) {
            (true, _) => forbidden("this needs a certificate that an authority of `admin.tls.client_ca` has signed"),
            (false, true) => {
                forbidden("what changes something needs a token: `admin.token_file` names the file with it")
            }
            (false, false) => Ok(client.named("somebody")),
        };
    }
    let or = if client.was_asked() {
        ", or a certificate that an authority of `admin.tls.client_ca` has signed"
    } else {
        ""
    };
    let text = format!("this needs the token of `admin.token_file`, as `Authorization: Bearer TOKEN`{or}");
    let mut refusal = refused(StatusCode::UNAUTHORIZED, text);
    refusal.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    Err(Box::new(refusal))
}

const ELSEWHERE: &str = "another site's page asks";

fn has_token(headers: &HeaderMap, token: &Secret) -> bool {
    let given = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
    let given = match given.split_at_checked(BEARER.len()) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case(BEARER) => rest.trim_ascii(),
        _ => b"",
    };
    given.ct_eq(token.text().as_bytes()).into()
}

/// How a token is given (RFC 6750 §2.1).
const BEARER: &[u8] = b"bearer ";

/// Whether a browser names another origin than that of the page here (RFC 6454 §7); one that names none is no browser, for
/// they all do when they send more than a question. Only TLS shows certificates.
fn is_from_elsewhere(headers: &HeaderMap) -> bool {
    let here = headers.get(header::HOST).map(HeaderValue::as_bytes);
    let is_here = |origin: &HeaderValue| {
        let site = origin.as_bytes().strip_prefix(b"https://");
        site.zip(here).is_some_and(|(site, here)| site.eq_ignore_ascii_case(here))
    };
    !headers.get_all(header::ORIGIN).iter().all(is_here)
}
