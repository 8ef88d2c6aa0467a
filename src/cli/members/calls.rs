//! `tollgate calls --cluster`: the calls of all gateways.

use serde_json::{Value, json};

use super::{Answers, Cluster};
use crate::admin::request::Request;
use crate::cli::Failure;
use crate::cli::desk::Seek;

/// The calls of all gateways that answer, each with the name of its gateway; the newest last.
///
/// # Errors
/// The cluster cannot be reached.
pub fn calls(seek: &Seek, request: &Request) -> Result<(Value, Answers), Failure> {
    let mut answers = Cluster::reach(seek)?.ask(&request.into());
    let (mut all, mut total) = (Vec::new(), 0);
    for told in &mut answers.all {
        let Ok(answer) = &mut told.answer else { continue };
        total += answer["total"].as_u64().unwrap_or(0);
        if let Value::Array(calls) = answer["calls"].take() {
            let name = &told.member.name;
            all.extend(calls.into_iter().map(|mut call| {
                call["gateway"] = name.as_str().into();
                call
            }));
        }
    }
    all.sort_by(|one, other| one["created"].as_str().cmp(&other["created"].as_str()));
    let members = answers.json(false);
    let (complete, trouble) = (answers.is_complete(), answers.trouble.clone());
    let answer = json!({ "total": total, "calls": all, "complete": complete, "trouble": trouble, "members": members });
    Ok((answer, answers))
}
