//! STS over awsQuery: a form in, XML out; `AssumeRole` and `GetCallerIdentity`.
//!
//! The credentials that `AssumeRole` gives act in the account of the role's ARN. Any role can be
//! assumed, unless it was registered with an external id that the caller doesn't give.

use chrono::{SecondsFormat, TimeDelta, Utc};
use serde_json::json;

use super::auth::{Caller, TEMPORARY_KEY, is_account_id};
use super::error::{Answer, AwsError, STS_NAMESPACE};
use super::ids;
use super::request::{Parsed, pairs};
use super::state::Session;
use super::world::World;
use super::xml::Xml;

/// How long a session may last, in seconds (API Reference, *AssumeRole*).
const DURATION: std::ops::RangeInclusive<i64> = 900..=43_200;
const DEFAULT_DURATION: i64 = 3600;

/// A request that was understood.
#[derive(Debug)]
pub(super) enum Command {
    AssumeRole(AssumeRole),
    GetCallerIdentity,
}

#[derive(Debug)]
pub(super) struct AssumeRole {
    role_arn: String,
    account: String,
    role_name: String,
    session_name: String,
    external_id: Option<String>,
    duration_seconds: i64,
}

/// Reads a request: the operation and its members from the form.
pub(super) fn read(query: Option<&str>, body: &[u8]) -> Parsed {
    let body = String::from_utf8_lossy(body);
    let fields = pairs(if body.is_empty() {
        query.unwrap_or_default()
    } else {
        &body
    });
    let field = |name: &str| {
        fields
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    };
    let operation = field("Action").unwrap_or_default();
    let command = match operation {
        "AssumeRole" => assume_role(field).map(Command::AssumeRole),
        "GetCallerIdentity" => Ok(Command::GetCallerIdentity),
        _ => {
            let version = field("Version").unwrap_or("2011-06-15");
            let message = format!("Could not find operation {operation} for version {version}");
            Err(AwsError::new(400, "InvalidAction", message))
        }
    };
    Parsed {
        operation: operation.to_owned(),
        resource: field("RoleArn").map(str::to_owned),
        details: json!({
            "role_arn": field("RoleArn"),
            "session_name": field("RoleSessionName"),
            "external_id": field("ExternalId"),
        }),
        command: command.map(super::request::Command::Sts),
    }
}

fn assume_role<'a>(field: impl Fn(&str) -> Option<&'a str>) -> Result<AssumeRole, AwsError> {
    let required = |name: &str, member: &str| {
        field(name).ok_or_else(|| {
            invalid(&format!(
                "1 validation error detected: Value null at '{member}' failed to satisfy constraint: Member must not \
                 be null"
            ))
        })
    };
    let role_arn = required("RoleArn", "roleArn")?;
    let session_name = required("RoleSessionName", "roleSessionName")?;
    let (account, role_name) = split_role(role_arn).ok_or_else(|| invalid(&format!("{role_arn} is invalid")))?;
    if !is_session_name(session_name) {
        return Err(invalid(&format!(
            "1 validation error detected: Value '{session_name}' at 'roleSessionName' failed to satisfy constraint: \
             Member must satisfy regular expression pattern: [\\w+=,.@-]*"
        )));
    }
    let duration_seconds = match field("DurationSeconds") {
        None => DEFAULT_DURATION,
        Some(text) => text
            .parse()
            .ok()
            .filter(|seconds| DURATION.contains(seconds))
            .ok_or_else(|| {
                invalid(&format!(
                    "1 validation error detected: Value '{text}' at 'durationSeconds' failed to satisfy constraint: \
                 Member must have value from {} to {}",
                    DURATION.start(),
                    DURATION.end()
                ))
            })?,
    };
    Ok(AssumeRole {
        role_arn: role_arn.to_owned(),
        account: account.to_owned(),
        role_name: role_name.to_owned(),
        session_name: session_name.to_owned(),
        external_id: field("ExternalId").map(str::to_owned),
        duration_seconds,
    })
}

fn invalid(message: &str) -> AwsError {
    AwsError::new(400, "ValidationError", message)
}

/// Account and name of a role, out of `arn:aws:iam::111111111111:role/path/name`.
fn split_role(arn: &str) -> Option<(&str, &str)> {
    let (account, path) = arn.strip_prefix("arn:aws:iam::")?.split_once(":role/")?;
    let name = path.rsplit('/').next()?;
    (is_account_id(account) && !name.is_empty()).then_some((account, name))
}

fn is_session_name(name: &str) -> bool {
    (2..=64).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte))
}

impl Command {
    /// Does what was asked; sessions last by the machine's time, as the client's own cache does.
    pub(super) fn apply(self, world: &World, caller: &Caller, request_id: &str) -> Result<Answer, AwsError> {
        match self {
            Self::AssumeRole(request) => request.apply(world, caller, request_id),
            Self::GetCallerIdentity => Ok(answer("GetCallerIdentity", request_id, |xml| {
                xml.leaf("Arn", &caller.arn);
                xml.leaf("UserId", &caller.user_id);
                xml.leaf("Account", &caller.account);
            })),
        }
    }
}

impl AssumeRole {
    fn apply(self, world: &World, caller: &Caller, request_id: &str) -> Result<Answer, AwsError> {
        let now = Utc::now();
        let role_id = format!("{}:{}", ids::token("AROA", 17), self.session_name);
        let arn = format!(
            "arn:aws:sts::{}:assumed-role/{}/{}",
            self.account, self.role_name, self.session_name
        );
        let session = Session {
            account: self.account,
            arn: arn.clone(),
            role_id: role_id.clone(),
            token: ids::token("", 120),
            expires_at: now + TimeDelta::seconds(self.duration_seconds),
        };
        let access_key = ids::token(TEMPORARY_KEY, 16);
        let (token, expires_at) = (session.token.clone(), session.expires_at);
        world.change(|state| {
            let wanted = state
                .roles
                .get(&self.role_arn)
                .and_then(|role| role.external_id.as_ref());
            if wanted.is_some() && wanted != self.external_id.as_ref() {
                let message = format!(
                    "User: {} is not authorized to perform: sts:AssumeRole on resource: {}",
                    caller.arn, self.role_arn
                );
                return Err(AwsError::new(403, "AccessDenied", message));
            }
            state.add_session(access_key.clone(), session, now);
            Ok(())
        })?;
        Ok(answer("AssumeRole", request_id, |xml| {
            xml.element("AssumedRoleUser", |xml| {
                xml.leaf("AssumedRoleId", &role_id);
                xml.leaf("Arn", &arn);
            });
            xml.element("Credentials", |xml| {
                xml.leaf("AccessKeyId", &access_key);
                xml.leaf("SecretAccessKey", ids::token("", 40));
                xml.leaf("SessionToken", &token);
                xml.leaf("Expiration", expires_at.to_rfc3339_opts(SecondsFormat::Secs, true));
            });
        }))
    }
}

fn answer(operation: &str, request_id: &str, fill: impl FnOnce(&mut Xml)) -> Answer {
    Answer::ok(Xml::document(&format!("{operation}Response"), STS_NAMESPACE, |xml| {
        xml.element(&format!("{operation}Result"), fill);
        xml.element("ResponseMetadata", |xml| xml.leaf("RequestId", request_id));
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_arn_names_account_and_role() {
        assert_eq!(
            split_role("arn:aws:iam::111111111111:role/ci/deployer"),
            Some(("111111111111", "deployer"))
        );
        for bad in [
            "",
            "deployer",
            "arn:aws:iam::1:role/x",
            "arn:aws:iam::111111111111:user/x",
        ] {
            assert_eq!(split_role(bad), None, "{bad}");
        }
    }

    #[test]
    fn session_names_are_checked() {
        let form = |name: &str| {
            format!("Action=AssumeRole&RoleArn=arn%3Aaws%3Aiam%3A%3A111111111111%3Arole%2Fx&RoleSessionName={name}")
        };
        assert!(read(None, form("greenlight").as_bytes()).command.is_ok());
        let error = read(None, form("a%20b").as_bytes()).command.unwrap_err();
        assert_eq!(error.code, "ValidationError");
    }
}
