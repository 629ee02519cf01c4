//! The parameters of one account and region, with their versions and labels.
//!
//! Pure data and rules: no clock, no lock, no wire format.

use std::collections::{BTreeMap, VecDeque};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::names::{self, Reference, Selector};
use crate::sandbox::double::error::AwsError;

/// Versions kept of one parameter (Systems Manager User Guide, *Working with parameter versions*).
const MAX_VERSIONS: usize = 100;
/// Standard parameters in one account and region (AWS General Reference, *Systems Manager quotas*).
const MAX_PARAMETERS: usize = 10_000;
/// Labels on one version (Systems Manager User Guide, *Working with parameter labels*).
const MAX_LABELS: usize = 10;
/// Value sizes (Systems Manager User Guide, *Managing parameter tiers*): 4 KB and 8 KB.
const STANDARD_BYTES: usize = 4096;
const ADVANCED_BYTES: usize = 8192;

/// All parameters of one account and region, by key.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(in crate::sandbox::double) struct Parameters {
    by_key: BTreeMap<String, Parameter>,
}

/// One parameter: its name as it was created and its versions, oldest first. Never without a version.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::sandbox::double) struct Parameter {
    pub name: String,
    pub versions: VecDeque<Version>,
}

/// One version of a parameter.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::sandbox::double) struct Version {
    pub version: u64,
    pub value: String,
    /// `String`, `StringList` or `SecureString`.
    pub kind: String,
    /// `Standard` or `Advanced`.
    pub tier: String,
    pub description: Option<String>,
    pub key_id: Option<String>,
    pub data_type: String,
    pub modified_at: DateTime<Utc>,
    pub modified_by: String,
    pub labels: Vec<String>,
}

/// What PutParameter asks for.
#[derive(Clone, Debug, Default)]
pub(in crate::sandbox::double) struct Put {
    pub name: String,
    pub value: String,
    pub kind: Option<String>,
    pub overwrite: bool,
    pub tier: Option<String>,
    pub description: Option<String>,
    pub key_id: Option<String>,
    pub data_type: Option<String>,
}

fn not_found() -> AwsError {
    AwsError::without_message(400, "ParameterNotFound")
}

impl Parameters {
    pub(in crate::sandbox::double) fn get(&self, name: &str) -> Option<&Parameter> {
        self.by_key.get(names::key(name))
    }

    /// All of them, in the order of their names.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Parameter> {
        self.by_key.values()
    }

    /// Creates a parameter or adds a version to it; returns the version's number and tier.
    pub(in crate::sandbox::double) fn put(
        &mut self,
        put: Put,
        by: &str,
        at: DateTime<Utc>,
    ) -> Result<(u64, String), AwsError> {
        let name = put.name.trim().to_owned();
        names::check_new(&name)?;
        let existing = self.by_key.get(names::key(&name));
        if existing.is_some() && !put.overwrite {
            let message = "The parameter already exists. To overwrite this value, set the overwrite option in the \
                           request to true.";
            return Err(AwsError::new(400, "ParameterAlreadyExists", message));
        }
        if existing.is_none() && self.by_key.len() >= MAX_PARAMETERS {
            let message = format!(
                "You have reached the maximum number of standard parameters for this AWS account and Region \
                 ({MAX_PARAMETERS}). To add more parameters, either delete existing parameters or upgrade to the \
                 advanced-parameter tier (charges apply)."
            );
            return Err(AwsError::new(400, "ParameterLimitExceeded", message));
        }
        let latest = existing.map(Parameter::latest);
        let kind = kind_of(&put, latest)?;
        let tier = tier_of(&put, latest)?;
        check_value(&put.value, &tier)?;
        if let Some(parameter) = existing {
            parameter.check_room()?;
        }

        let version = latest.map_or(1, |latest| latest.version + 1);
        let secure_key = || put.key_id.clone().unwrap_or_else(|| "alias/aws/ssm".to_owned());
        let new = Version {
            version,
            value: put.value,
            key_id: (kind == "SecureString").then(secure_key),
            kind,
            tier: tier.clone(),
            description: put.description.or_else(|| latest.and_then(|it| it.description.clone())),
            data_type: put.data_type.unwrap_or_else(|| "text".to_owned()),
            modified_at: at,
            modified_by: by.to_owned(),
            labels: Vec::new(),
        };
        let key = names::key(&name).to_owned();
        let parameter = self.by_key.entry(key).or_insert_with(|| Parameter {
            name,
            versions: VecDeque::new(),
        });
        if parameter.versions.len() == MAX_VERSIONS {
            parameter.versions.pop_front();
        }
        parameter.versions.push_back(new);
        Ok((version, tier))
    }

    /// The version that a reference means; with `stale`, what a replica that missed the latest write
    /// would answer.
    pub(super) fn find(&self, reference: &Reference, stale: bool) -> Result<(&Parameter, &Version), AwsError> {
        let parameter = self.get(&reference.name).ok_or_else(not_found)?;
        let known = parameter.versions.len() - usize::from(stale);
        let mut versions = parameter.versions.iter().take(known).rev();
        let found = match &reference.selector {
            Selector::Latest => versions.next().ok_or_else(not_found)?,
            Selector::Version(number) => versions
                .find(|version| version.version == *number)
                .ok_or_else(|| version_not_found("version", number, &reference.name))?,
            Selector::Label(label) => versions
                .find(|version| version.labels.contains(label))
                .ok_or_else(|| version_not_found("label", label, &reference.name))?,
        };
        Ok((parameter, found))
    }

    pub(in crate::sandbox::double) fn delete(&mut self, name: &str) -> Result<(), AwsError> {
        self.by_key.remove(names::key(name)).map(|_| ()).ok_or_else(not_found)
    }

    /// Moves labels to a version (the latest by default); returns the version and the labels that
    /// can't be labels.
    pub(super) fn label(
        &mut self,
        name: &str,
        version: Option<u64>,
        labels: &[String],
    ) -> Result<(u64, Vec<String>), AwsError> {
        let parameter = self.by_key.get_mut(names::key(name)).ok_or_else(not_found)?;
        let number = version.unwrap_or_else(|| parameter.latest().version);
        let target = parameter
            .versions
            .iter()
            .position(|version| version.version == number)
            .ok_or_else(|| version_not_found("version", number, name))?;
        let (good, bad): (Vec<String>, Vec<String>) = labels.iter().cloned().partition(|label| is_label(label));
        let kept = &parameter.versions[target].labels;
        if kept.len() + good.iter().filter(|label| !kept.contains(label)).count() > MAX_LABELS {
            let message = format!("A parameter version can have a maximum of {MAX_LABELS} labels.");
            return Err(AwsError::new(400, "ParameterVersionLabelLimitExceeded", message));
        }
        for version in &mut parameter.versions {
            version.labels.retain(|label| !good.contains(label));
        }
        parameter.versions[target].labels.extend(good);
        Ok((number, bad))
    }
}

impl Parameter {
    pub(in crate::sandbox::double) fn latest(&self) -> &Version {
        self.versions
            .back()
            .expect("a parameter is created with its first version and never loses its last")
    }

    /// Whether another version fits: the oldest of a hundred makes room unless it carries a label
    /// (API Reference, *PutParameter*, `ParameterMaxVersionLimitExceeded`).
    fn check_room(&self) -> Result<(), AwsError> {
        let Some(oldest) = self.versions.front() else {
            return Ok(());
        };
        if self.versions.len() < MAX_VERSIONS || oldest.labels.is_empty() {
            return Ok(());
        }
        let message = format!(
            "You attempted to create a new version of {} by calling the PutParameter API with the overwrite flag. \
             Version {}, the oldest version, can't be deleted because it has a label associated with it. Move the \
             label to another version of the parameter, and try again.",
            self.name, oldest.version
        );
        Err(AwsError::new(400, "ParameterMaxVersionLimitExceeded", message))
    }
}

fn version_not_found(what: &str, which: impl std::fmt::Display, name: &str) -> AwsError {
    let message = format!("Systems Manager could not find {what} {which} of {name}. Verify the {what} and try again.");
    AwsError::new(400, "ParameterVersionNotFound", message)
}

fn kind_of(put: &Put, latest: Option<&Version>) -> Result<String, AwsError> {
    let Some(kind) = put.kind.clone().or_else(|| latest.map(|latest| latest.kind.clone())) else {
        return Err(AwsError::validation(
            "A parameter type is required when you create a parameter.",
        ));
    };
    if !["String", "StringList", "SecureString"].contains(&kind.as_str()) {
        return Err(AwsError::validation(format!(
            "1 validation error detected: Value '{kind}' at 'type' failed to satisfy constraint: Member must \
             satisfy enum value set: [SecureString, StringList, String]"
        )));
    }
    if latest.is_some_and(|latest| latest.kind != kind) {
        let message = "Parameter Store doesn't support changing a parameter type in a hierarchy. You must create a \
                       new, unique parameter.";
        return Err(AwsError::new(400, "HierarchyTypeMismatchException", message));
    }
    Ok(kind)
}

fn tier_of(put: &Put, latest: Option<&Version>) -> Result<String, AwsError> {
    let was_advanced = latest.is_some_and(|latest| latest.tier == "Advanced");
    let advanced = match put.tier.as_deref() {
        None => was_advanced,
        Some("Advanced") => true,
        Some("Intelligent-Tiering") => was_advanced || put.value.len() > STANDARD_BYTES,
        Some("Standard") if was_advanced => {
            return Err(AwsError::validation(
                "This parameter uses the advanced-parameter tier. You can't downgrade a parameter from the \
                 advanced-parameter tier to the standard-parameter tier. If necessary, you can delete the advanced \
                 parameter and recreate it as a standard parameter.",
            ));
        }
        Some("Standard") => false,
        Some(other) => {
            return Err(AwsError::validation(format!(
                "1 validation error detected: Value '{other}' at 'tier' failed to satisfy constraint: Member must \
                 satisfy enum value set: [Intelligent-Tiering, Advanced, Standard]"
            )));
        }
    };
    Ok(if advanced { "Advanced" } else { "Standard" }.to_owned())
}

fn check_value(value: &str, tier: &str) -> Result<(), AwsError> {
    if value.is_empty() {
        return Err(AwsError::validation(
            "1 validation error detected: Value '' at 'value' failed to satisfy constraint: Member must have length \
             greater than or equal to 1.",
        ));
    }
    if value.find("{{").is_some_and(|open| value[open..].contains("}}")) {
        return Err(AwsError::validation(
            "Parameter value can't nest another parameter. Do not use \"{{}}\" in the value.",
        ));
    }
    if tier == "Standard" && value.len() > STANDARD_BYTES {
        return Err(AwsError::validation(format!(
            "Standard tier parameters support a maximum parameter value of {STANDARD_BYTES} characters. To create a \
             larger parameter value, upgrade the parameter to use the advanced-parameter tier. For more information, \
             see https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html"
        )));
    }
    if value.len() > ADVANCED_BYTES {
        return Err(AwsError::validation(format!(
            "Advanced tier parameters support a maximum parameter value of {ADVANCED_BYTES} characters."
        )));
    }
    Ok(())
}

/// Labels: up to 100 letters, digits, periods, hyphens and underscores; not beginning with a digit,
/// `aws` or `ssm` (Systems Manager User Guide, *Working with parameter labels*).
fn is_label(label: &str) -> bool {
    let start = label.get(..3).unwrap_or_default().to_ascii_lowercase();
    (1..=100).contains(&label.len())
        && label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
        && !label.starts_with(|first: char| first.is_ascii_digit())
        && start != "aws"
        && start != "ssm"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(parameters: &mut Parameters, value: &str) -> Result<u64, AwsError> {
        let put = Put {
            name: "/release".into(),
            value: value.into(),
            kind: Some("String".into()),
            overwrite: true,
            ..Put::default()
        };
        parameters
            .put(put, "arn:example", Utc::now())
            .map(|(version, _)| version)
    }

    #[test]
    fn the_hundred_and_first_version_drops_the_first_unless_it_is_labelled() {
        let mut parameters = Parameters::default();
        for number in 1..=101 {
            assert_eq!(put(&mut parameters, &format!("v{number}")), Ok(number));
        }
        let parameter = parameters.get("/release").unwrap();
        assert_eq!((parameter.versions.len(), parameter.versions[0].version), (100, 2));

        parameters.label("/release", Some(2), &["stable".to_owned()]).unwrap();
        assert_eq!(
            put(&mut parameters, "v102").unwrap_err().code,
            "ParameterMaxVersionLimitExceeded"
        );
        parameters.label("/release", None, &["stable".to_owned()]).unwrap();
        assert_eq!(put(&mut parameters, "v102"), Ok(102));
    }

    #[test]
    fn a_parameter_made_anew_starts_at_version_one() {
        let mut parameters = Parameters::default();
        put(&mut parameters, "a").unwrap();
        put(&mut parameters, "b").unwrap();
        parameters.delete("/release").unwrap();
        assert_eq!(put(&mut parameters, "c"), Ok(1));
    }

    #[test]
    fn values_that_parameter_store_refuses_are_refused() {
        let mut parameters = Parameters::default();
        assert!(put(&mut parameters, &"x".repeat(4096)).is_ok());
        for bad in ["", "{{ssm:other}}", &"x".repeat(4097), &"é".repeat(2049)] {
            assert_eq!(put(&mut parameters, bad).unwrap_err().code, "ValidationException");
        }
        assert!(put(&mut parameters, r#"{"a":{"b":{}}}"#).is_ok());
    }

    #[test]
    fn labels_that_cannot_be_labels_are_told_and_not_attached() {
        let mut parameters = Parameters::default();
        put(&mut parameters, "a").unwrap();
        let labels = ["ok", "1st", "awsome", "ssm-x", "with space"].map(str::to_owned);
        let (version, bad) = parameters.label("release", None, &labels).unwrap();
        assert_eq!(version, 1);
        assert_eq!(bad, ["1st", "awsome", "ssm-x", "with space"]);
        let many: Vec<String> = (0..10).map(|number| format!("l{number}")).collect();
        let error = parameters.label("/release", None, &many).unwrap_err();
        assert_eq!(error.code, "ParameterVersionLabelLimitExceeded");
    }
}
