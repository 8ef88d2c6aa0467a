//! Who may ask `/api`: with the token, and from no other site's page.

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use subtle::ConstantTimeEq as _;

use super::api::refused;
use crate::sinks::secret::Secret;

/// Why somebody may not ask this.
pub(super) fn forbids(token: Option<&Secret>, method: &Method, headers: &HeaderMap) -> Option<Response> {
    // What a page of another site has its reader's browser send.
    if headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site" || site == "same-site") {
        return Some(refused(StatusCode::FORBIDDEN, "another site's page asks".to_owned()));
    }
    let changes = !matches!(*method, Method::GET | Method::HEAD);
    let Some(token) = token else {
        let text = "what changes something needs a token: `admin.token_file` names the file with it".to_owned();
        return changes.then(|| refused(StatusCode::FORBIDDEN, text));
    };
    let given = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
    let given = match given.split_at_checked(BEARER.len()) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case(BEARER) => rest.trim_ascii(),
        _ => b"",
    };
    if given.ct_eq(token.text().as_bytes()).into() {
        return None;
    }
    let text = "this needs the token of `admin.token_file`, as `Authorization: Bearer TOKEN`".to_owned();
    let mut refusal = refused(StatusCode::UNAUTHORIZED, text);
    refusal.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    Some(refusal)
}

/// How a token is given (RFC 6750 §2.1).
const BEARER: &[u8] = b"bearer ";
