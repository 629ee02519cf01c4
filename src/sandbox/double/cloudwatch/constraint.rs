//! How a request breaks a constraint, in AWS's words. The code is always `ValidationError` (CloudWatch API Reference,
//! *Common Errors*), but for a body whose members have the wrong type.

use std::fmt::Display;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::sandbox::double::error::AwsError;

/// Reads the members of a request; a missing one breaks a constraint, a wrong type is not even that.
pub(super) fn members<T: DeserializeOwned>(body: &Value) -> Result<T, AwsError> {
    T::deserialize(body).map_err(|error| {
        let text = error.to_string();
        let member = text.split('`').nth(1).unwrap_or_default();
        if text.starts_with("missing field") {
            null(member)
        } else if text.starts_with("unknown field") {
            unknown(member)
        } else {
            AwsError::new(400, "SerializationException", text)
        }
    })
}

/// Refuses members that are not among these.
pub(super) fn only(body: &Value, known: &[&str]) -> Result<(), AwsError> {
    let mut names = body.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    names
        .find(|name| !known.contains(name))
        .map_or(Ok(()), |name| Err(unknown(name)))
}

/// The member, or the refusal of a request without it.
pub(super) fn required<'a, T>(member: &str, value: Option<&'a T>) -> Result<&'a T, AwsError> {
    value.ok_or_else(|| null(member))
}

pub(super) fn length(member: &str, text: &str, min: usize, max: usize) -> Result<(), AwsError> {
    let (length, rule) = (text.chars().count(), "have length");
    if length > max {
        return Err(constraint(member, text, &format!("{rule} less than or equal to {max}")));
    }
    if length < min {
        return Err(constraint(
            member,
            text,
            &format!("{rule} greater than or equal to {min}"),
        ));
    }
    Ok(())
}

/// Refuses a list of more than `max` items.
pub(super) fn at_most(member: &str, count: usize, max: usize) -> Result<(), AwsError> {
    if count > max {
        let rule = format!("have length less than or equal to {max}");
        return Err(constraint(member, &format!("[{count} items]"), &rule));
    }
    Ok(())
}

pub(super) fn range(member: &str, number: i64, min: i64, max: i64) -> Result<(), AwsError> {
    if number > max {
        return Err(constraint(
            member,
            &number,
            &format!("have value less than or equal to {max}"),
        ));
    }
    if number < min {
        return Err(constraint(
            member,
            &number,
            &format!("have value greater than or equal to {min}"),
        ));
    }
    Ok(())
}

pub(super) fn one_of(member: &str, word: &str, words: &[&str]) -> Result<(), AwsError> {
    if words.contains(&word) {
        return Ok(());
    }
    let rule = format!("satisfy enum value set: [{}]", words.join(", "));
    Err(constraint(member, word, &rule))
}

pub(super) fn constraint(member: &str, value: &(impl Display + ?Sized), rule: &str) -> AwsError {
    invalid(&format!(
        "1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: Member must {rule}"
    ))
}

pub(super) fn invalid(message: &str) -> AwsError {
    AwsError::new(400, "ValidationError", message)
}

/// Refuses what AWS knows and this double does not: accepting what is not heeded would make a test pass that AWS
/// would fail.
pub(super) fn not_here(member: &str) -> AwsError {
    invalid(&format!("{member} is not part of this double."))
}

fn null(member: &str) -> AwsError {
    let mut member = member.to_owned();
    if let Some(first) = member.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    constraint(&member, "null", "not be null")
}

fn unknown(member: &str) -> AwsError {
    invalid(&format!("There is no member {member}."))
}
