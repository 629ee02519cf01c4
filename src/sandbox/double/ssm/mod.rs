//! SSM Parameter Store over awsJson1.1: `X-Amz-Target: AmazonSSM.<operation>`, JSON in and out.
//!
//! To add an operation: a variant of [`Command`], its line in [`read`], and its effect in `apply`.
//! `store` holds the rules, `names` the names, `view` the shapes of the answers.

pub(super) mod names;
pub(super) mod store;
mod view;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::auth::Caller;
use super::error::{Answer, AwsError};
use super::request::{Parsed, in_snake_case};
use super::world::World;
use names::Reference;
use store::Put;

/// Names in one GetParameters (API Reference, *GetParameters*).
const MAX_NAMES: usize = 10;

/// A request that was understood.
#[derive(Debug)]
pub(super) enum Command {
    Put(Put),
    Get(GetParameter),
    GetMany(GetParameters),
    History(GetParameterHistory),
    Delete { name: String },
    Label(LabelParameterVersion),
    Describe(DescribeParameters),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutParameter {
    name: String,
    value: String,
    r#type: Option<String>,
    #[serde(default)]
    overwrite: bool,
    tier: Option<String>,
    description: Option<String>,
    key_id: Option<String>,
    data_type: Option<String>,
    #[serde(default)]
    tags: Vec<Value>,
    allowed_pattern: Option<String>,
    policies: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetParameter {
    name: String,
    #[serde(default)]
    with_decryption: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetParameters {
    names: Vec<String>,
    #[serde(default)]
    with_decryption: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetParameterHistory {
    name: String,
    #[serde(default)]
    with_decryption: bool,
    max_results: Option<i64>,
    next_token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DeleteParameter {
    name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct LabelParameterVersion {
    name: String,
    parameter_version: Option<u64>,
    labels: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DescribeParameters {
    #[serde(default)]
    parameter_filters: Vec<Filter>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Filter {
    key: String,
    option: Option<String>,
    #[serde(default)]
    values: Vec<String>,
}

/// Reads a request: the operation from the target, its members from the body.
pub(super) fn read(target: Option<&str>, body: &[u8]) -> Parsed {
    let operation = target
        .and_then(|target| target.strip_prefix("AmazonSSM."))
        .unwrap_or_default();
    let body: Value = match serde_json::from_slice(if body.is_empty() { b"{}" } else { body }) {
        Ok(body) => body,
        Err(_) => {
            return Parsed::refused(operation, AwsError::without_message(400, "SerializationException"));
        }
    };
    let resource = body.get("Name").and_then(Value::as_str).map(str::to_owned);
    let command = match operation {
        "PutParameter" => members(&body).and_then(put_command),
        "GetParameter" => members(&body).map(Command::Get),
        "GetParameters" => members(&body).and_then(many_command),
        "GetParameterHistory" => members(&body).map(Command::History),
        "DeleteParameter" => members(&body).map(|it: DeleteParameter| Command::Delete { name: it.name }),
        "LabelParameterVersion" => members(&body).map(Command::Label),
        "DescribeParameters" => members(&body).map(Command::Describe),
        _ => Err(AwsError::without_message(400, "UnknownOperationException")),
    };
    Parsed {
        operation: operation.to_owned(),
        resource: resource.or_else(|| names_joined(&body)),
        details: in_snake_case(&body),
        command: command.map(super::request::Command::Ssm),
    }
}

fn names_joined(body: &Value) -> Option<String> {
    let names: Vec<&str> = body
        .get("Names")?
        .as_array()?
        .iter()
        .filter_map(Value::as_str)
        .collect();
    Some(names.join(","))
}

/// Reads the members of a request; a missing one is a validation error, a wrong type is not even that.
fn members<T: DeserializeOwned>(body: &Value) -> Result<T, AwsError> {
    T::deserialize(body).map_err(|error| {
        let text = error.to_string();
        match text.split('`').nth(1).filter(|_| text.starts_with("missing field")) {
            Some(member) => {
                let mut member = member.to_owned();
                member[..1].make_ascii_lowercase();
                AwsError::validation(format!(
                    "1 validation error detected: Value null at '{member}' failed to satisfy constraint: Member must \
                     not be null"
                ))
            }
            None => AwsError::new(400, "SerializationException", text),
        }
    })
}

fn put_command(request: PutParameter) -> Result<Command, AwsError> {
    if request.overwrite && !request.tags.is_empty() {
        return Err(AwsError::validation(
            "Invalid request: tags and overwrite can't be used together. To create a parameter with tags, please \
             remove overwrite flag. To update tags for an existing parameter, please use AddTagsToResource or \
             RemoveTagsFromResource.",
        ));
    }
    // Accepting what is not enforced would make a test pass that AWS would fail.
    if request.allowed_pattern.is_some_and(|it| !it.is_empty()) || request.policies.is_some_and(|it| !it.is_empty()) {
        return Err(AwsError::validation(
            "AllowedPattern and Policies are not part of this double.",
        ));
    }
    Ok(Command::Put(Put {
        name: request.name,
        value: request.value,
        kind: request.r#type,
        overwrite: request.overwrite,
        tier: request.tier,
        description: request.description,
        key_id: request.key_id,
        data_type: request.data_type,
    }))
}

fn many_command(request: GetParameters) -> Result<Command, AwsError> {
    let limit = match request.names.len() {
        0 => "greater than or equal to 1",
        1..=MAX_NAMES => return Ok(Command::GetMany(request)),
        _ => "less than or equal to 10",
    };
    Err(AwsError::validation(format!(
        "1 validation error detected: Value '[{}]' at 'names' failed to satisfy constraint: Member must have length \
         {limit}",
        request.names.join(", ")
    )))
}

impl Command {
    /// Does what was asked. With `stale`, reads see the state before the latest write.
    pub(super) fn apply(self, world: &World, caller: &Caller, stale: bool) -> Result<Answer, AwsError> {
        let body = match self {
            Self::Put(put) => {
                let at = world.clock.now();
                let (version, tier) = world.change(|state| {
                    state
                        .parameters_mut(&caller.account, &caller.region)
                        .put(put, &caller.arn, at)
                })?;
                json!({ "Version": version, "Tier": tier })
            }
            Self::Get(request) => get(world, caller, &request, stale)?,
            Self::GetMany(request) => get_many(world, caller, &request, stale)?,
            Self::History(request) => history(world, caller, &request)?,
            Self::Delete { name } => {
                world.change(|state| state.parameters_mut(&caller.account, &caller.region).delete(&name))?;
                json!({})
            }
            Self::Label(request) => {
                let (version, invalid) = world.change(|state| {
                    let parameters = state.parameters_mut(&caller.account, &caller.region);
                    parameters.label(&request.name, request.parameter_version, &request.labels)
                })?;
                json!({ "ParameterVersion": version, "InvalidLabels": invalid })
            }
            Self::Describe(request) => describe(world, caller, &request)?,
        };
        Ok(Answer::json(&body))
    }
}

fn get(world: &World, caller: &Caller, request: &GetParameter, stale: bool) -> Result<Value, AwsError> {
    let reference = Reference::parse(&request.name, caller)?;
    world.read(|state| {
        let parameters = state.parameters(&caller.account, &caller.region);
        let (_, version) = parameters
            .ok_or_else(|| AwsError::without_message(400, "ParameterNotFound"))?
            .find(&reference, stale)?;
        let parameter = view::parameter(caller, &reference, version, request.with_decryption);
        Ok(json!({ "Parameter": parameter }))
    })
}

fn get_many(world: &World, caller: &Caller, request: &GetParameters, stale: bool) -> Result<Value, AwsError> {
    let mut found = Vec::new();
    let mut invalid = Vec::new();
    for name in &request.names {
        let reference = Reference::parse(name, caller)?;
        let parameter = world.read(|state| {
            let parameters = state.parameters(&caller.account, &caller.region)?;
            let (_, version) = parameters.find(&reference, stale).ok()?;
            Some(view::parameter(caller, &reference, version, request.with_decryption))
        });
        match parameter {
            Some(parameter) => found.push(parameter),
            None => invalid.push(name),
        }
    }
    Ok(json!({ "Parameters": found, "InvalidParameters": invalid }))
}

fn history(world: &World, caller: &Caller, request: &GetParameterHistory) -> Result<Value, AwsError> {
    let reference = Reference::parse(&request.name, caller)?;
    let limit = view::page_size(request.max_results)?;
    let after: u64 = view::read_token(request.next_token.as_deref())?.unwrap_or(0);
    world.read(|state| {
        let parameters = state.parameters(&caller.account, &caller.region);
        let parameter = parameters
            .and_then(|parameters| parameters.get(&reference.name))
            .ok_or_else(|| AwsError::without_message(400, "ParameterNotFound"))?;
        let mut rest = parameter.versions.iter().filter(|version| version.version > after);
        let page: Vec<_> = rest.by_ref().take(limit).collect();
        let mut body = json!({
            "Parameters": page
                .iter()
                .map(|version| view::history(&reference.name, version, request.with_decryption))
                .collect::<Vec<_>>(),
        });
        if let (Some(last), Some(_)) = (page.last(), rest.next()) {
            body["NextToken"] = view::token(&last.version).into();
        }
        Ok(body)
    })
}

fn describe(world: &World, caller: &Caller, request: &DescribeParameters) -> Result<Value, AwsError> {
    for filter in &request.parameter_filters {
        filter.check()?;
    }
    let limit = view::page_size(request.max_results)?;
    let after: Option<String> = view::read_token(request.next_token.as_deref())?;
    world.read(|state| {
        let parameters = state.parameters(&caller.account, &caller.region);
        let mut rest = parameters
            .into_iter()
            .flat_map(|parameters| parameters.iter())
            .filter(|parameter| after.as_deref().is_none_or(|after| names::key(&parameter.name) > after))
            .filter(|parameter| request.parameter_filters.iter().all(|it| it.accepts(&parameter.name)));
        let page: Vec<_> = rest.by_ref().take(limit).collect();
        let mut body = json!({
            "Parameters": page.iter().map(|it| view::metadata(caller, it)).collect::<Vec<_>>(),
        });
        if let (Some(last), Some(_)) = (page.last(), rest.next()) {
            body["NextToken"] = view::token(&names::key(&last.name)).into();
        }
        Ok(body)
    })
}

impl Filter {
    /// Only names can be filtered on here; other keys are refused rather than ignored.
    fn check(&self) -> Result<(), AwsError> {
        if self.key != "Name" {
            let message = format!("The filter key {} is not valid here: only Name is.", self.key);
            return Err(AwsError::new(400, "InvalidFilterKey", message));
        }
        if !["Equals", "BeginsWith", "Contains"].contains(&self.option()) {
            let message = format!("The filter option {} is not valid.", self.option());
            return Err(AwsError::new(400, "InvalidFilterOption", message));
        }
        Ok(())
    }

    fn option(&self) -> &str {
        self.option.as_deref().unwrap_or("Equals")
    }

    fn accepts(&self, name: &str) -> bool {
        let name = names::key(name);
        self.values
            .iter()
            .map(|value| names::key(value))
            .any(|value| match self.option() {
                "BeginsWith" => name.starts_with(value),
                "Contains" => name.contains(value),
                _ => name == value,
            })
    }
}
