//! Parameter names: which are allowed, which are the same, and what a selector adds.
//!
//! The rules and the words are those of the Systems Manager API Reference, *PutParameter*, and the
//! User Guide, *Requirements and constraints for parameter names*. `foo` and `/foo` are one parameter:
//! both have the ARN `…:parameter/foo`, and an answer repeats the form that was asked for.

use crate::sandbox::double::auth::Caller;
use crate::sandbox::double::error::AwsError;

/// The longest name that PutParameter takes: 2,048 characters less 1,037 that AWS keeps for itself.
const MAX_NAME: usize = 1011;
/// How deep a hierarchy may be.
const MAX_LEVELS: usize = 15;

const NOT_A_PATH: &str = "Parameter name: can't be prefixed with \"ssm\" (case-insensitive). If formed as a path, it \
    can consist of sub-paths divided by slash symbol; each sub-path can be formed as a mix of letters, numbers and \
    the following 3 symbols .-_";

/// Which version of a parameter is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sandbox::double) enum Selector {
    Latest,
    Version(u64),
    Label(String),
}

impl Selector {
    /// As `Parameter.Selector` in an answer shows it.
    pub(super) fn shown(&self) -> Option<String> {
        match self {
            Self::Latest => None,
            Self::Version(version) => Some(format!(":{version}")),
            Self::Label(label) => Some(format!(":{label}")),
        }
    }
}

/// A name as a reader gives it: plain or an ARN, with or without a selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sandbox::double) struct Reference {
    pub name: String,
    pub selector: Selector,
}

/// The key under which a name is kept: the two forms of a name at the root are one.
pub(in crate::sandbox::double) fn key(name: &str) -> &str {
    name.strip_prefix('/').unwrap_or(name)
}

/// The ARN of a parameter.
pub(in crate::sandbox::double) fn arn(account: &str, region: &str, name: &str) -> String {
    format!("arn:aws:ssm:{region}:{account}:parameter/{}", key(name))
}

/// Whether a name can be that of a parameter at all; reads are held to this much.
pub(super) fn check_form(name: &str) -> Result<(), AwsError> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-/".contains(&byte);
    let is_path = name.contains('/');
    let has_empty_level = key(name).split('/').any(str::is_empty);
    if !name.bytes().all(is_allowed) || has_empty_level || (is_path && !name.starts_with('/')) {
        return Err(AwsError::validation(NOT_A_PATH));
    }
    Ok(())
}

/// Whether PutParameter may create a parameter of this name.
pub(super) fn check_new(name: &str) -> Result<(), AwsError> {
    if name.contains('/') && !name.starts_with('/') {
        return Err(AwsError::validation("Parameter name must be a fully qualified name."));
    }
    if name.len() > MAX_NAME {
        return Err(AwsError::validation(format!(
            "Parameter name exceeds the maximum length of {MAX_NAME} characters."
        )));
    }
    let start = key(name).get(..3).unwrap_or_default().to_ascii_lowercase();
    if start == "aws" && name[1..].contains('/') {
        let message = format!("No access to reserved parameter name: {name}.");
        return Err(AwsError::new(400, "AccessDeniedException", message));
    }
    if start == "aws" || start == "ssm" {
        return Err(AwsError::validation(
            "Parameter name: can't be prefixed with \"aws\" or \"ssm\" (case-insensitive).",
        ));
    }
    check_form(name)?;
    if key(name).split('/').count() > MAX_LEVELS {
        let message = format!("A hierarchy can have a maximum of {MAX_LEVELS} levels.");
        return Err(AwsError::new(400, "HierarchyLevelLimitExceededException", message));
    }
    Ok(())
}

impl Reference {
    /// Reads `name`, `name:3`, `name:label` or the ARN form of these.
    ///
    /// # Errors
    /// `ValidationException` for a name that can't be one, `ParameterNotFound` for the ARN of another
    /// account or region: sharing is not part of the double.
    pub(super) fn parse(text: &str, caller: &Caller) -> Result<Self, AwsError> {
        let text = text.trim();
        let plain = if text.starts_with("arn:") {
            let own = arn(&caller.account, &caller.region, "");
            // An ARN doesn't tell whether its name began with a slash; a path has to.
            let rest = text
                .strip_prefix(own.as_str())
                .ok_or_else(|| AwsError::without_message(400, "ParameterNotFound"))?;
            if rest.contains('/') {
                format!("/{rest}")
            } else {
                rest.to_owned()
            }
        } else {
            text.to_owned()
        };
        let (name, selector) = match plain.split_once(':') {
            None => (plain.as_str(), Selector::Latest),
            Some((name, selector)) => match selector.parse() {
                Ok(version) => (name, Selector::Version(version)),
                Err(_) => (name, Selector::Label(selector.to_owned())),
            },
        };
        check_form(name)?;
        Ok(Self {
            name: name.to_owned(),
            selector,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller() -> Caller {
        Caller {
            account: "000000000000".into(),
            region: "eu-west-1".into(),
            arn: String::new(),
            user_id: String::new(),
        }
    }

    #[test]
    fn references_carry_a_version_a_label_or_neither() {
        let parse = |text: &str| Reference::parse(text, &caller()).unwrap();
        assert_eq!(
            parse("/a/b"),
            Reference {
                name: "/a/b".into(),
                selector: Selector::Latest
            }
        );
        assert_eq!(parse("/a/b:7").selector, Selector::Version(7));
        assert_eq!(parse("/a/b:stable").selector, Selector::Label("stable".into()));
        assert_eq!(parse("arn:aws:ssm:eu-west-1:000000000000:parameter/a/b:7").name, "/a/b");
        let foreign = Reference::parse("arn:aws:ssm:eu-west-1:111111111111:parameter/a", &caller());
        assert_eq!(foreign.unwrap_err().code, "ParameterNotFound");
    }

    #[test]
    fn new_names_follow_the_rules_of_the_user_guide() {
        for good in ["foo", "/foo", "/Dev/Production/East/Project-ABC/My_Parameter.1"] {
            assert_eq!(check_new(good), Ok(()), "{good}");
        }
        let deep = "/a".repeat(16);
        let long = format!("/{}", "x".repeat(1011));
        for (bad, code) in [
            ("foo/bar", "ValidationException"),
            ("/foo//bar", "ValidationException"),
            ("/foo bar", "ValidationException"),
            ("/foo/", "ValidationException"),
            ("awsome", "ValidationException"),
            ("/SSM/x", "ValidationException"),
            ("/aws/reference", "AccessDeniedException"),
            (deep.as_str(), "HierarchyLevelLimitExceededException"),
            (long.as_str(), "ValidationException"),
        ] {
            assert_eq!(check_new(bad).unwrap_err().code, code, "{bad}");
        }
    }
}
