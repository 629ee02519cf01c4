//! What requests may hold: members, their lengths and their words, by the CloudWatch API Reference's page of each
//! operation; `metric` has those of a metric alarm, `constraint` the words of a refusal.
//!
//! AWS passes over members that it doesn't know. They are refused here: a client that sends one has a typing error.
//! Members that would need a metric to be measured are refused too, rather than taken and not heeded.

use serde::Deserialize;
use serde_json::Value;

use super::constraint::{at_most, constraint, invalid, length, members, not_here, one_of, only, range};
use super::metric::{self, Metric};
use super::store::{Kind, Put};
use crate::sandbox::double::error::AwsError;

const STATES: [&str; 3] = ["OK", "ALARM", "INSUFFICIENT_DATA"];
/// *DescribeAlarms*, *DeleteAlarms*: AlarmNames.
const MAX_NAMES: usize = 100;
/// *PutMetricAlarm*, *PutCompositeAlarm*: AlarmActions and its like; Tags.
const MAX_ACTIONS: usize = 5;
const MAX_TAGS: usize = 50;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DescribeAlarms {
    pub alarm_names: Option<Vec<String>>,
    pub alarm_name_prefix: Option<String>,
    pub alarm_types: Option<Vec<String>>,
    #[serde(rename = "ChildrenOfAlarmName")]
    _children_of_alarm_name: Option<Value>,
    #[serde(rename = "ParentsOfAlarmName")]
    _parents_of_alarm_name: Option<Value>,
    pub state_value: Option<String>,
    pub action_prefix: Option<String>,
    pub max_records: Option<i64>,
    pub next_token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(in crate::sandbox::double) struct SetAlarmState {
    pub alarm_name: String,
    pub state_value: String,
    pub state_reason: String,
    pub state_reason_data: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DeleteAlarms {
    pub alarm_names: Vec<String>,
}

/// What both kinds of alarm have.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Common {
    alarm_name: String,
    alarm_description: Option<String>,
    #[serde(rename = "ActionsEnabled")]
    _actions_enabled: Option<bool>,
    alarm_actions: Option<Vec<String>>,
    insufficient_data_actions: Option<Vec<String>>,
    #[serde(rename = "OKActions")]
    ok_actions: Option<Vec<String>>,
    tags: Option<Vec<Tag>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Tag {
    key: String,
    value: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Composite {
    alarm_rule: String,
}

const COMMON: [&str; 7] = [
    "AlarmName",
    "AlarmDescription",
    "ActionsEnabled",
    "AlarmActions",
    "InsufficientDataActions",
    "OKActions",
    "Tags",
];
pub(super) fn describe_alarms(body: &Value) -> Result<DescribeAlarms, AwsError> {
    let request: DescribeAlarms = members(body)?;
    refuse(body, &["ChildrenOfAlarmName", "ParentsOfAlarmName"])?;
    if let Some(names) = &request.alarm_names {
        alarm_names(names)?;
        if request.alarm_name_prefix.is_some() {
            return Err(invalid("AlarmNames and AlarmNamePrefix can't be specified together."));
        }
    }
    if let Some(prefix) = &request.alarm_name_prefix {
        length("alarmNamePrefix", prefix, 1, 255)?;
    }
    for kind in request.alarm_types.iter().flatten() {
        one_of("alarmTypes", kind, &["CompositeAlarm", "MetricAlarm", "LogAlarm"])?;
    }
    if let Some(state) = &request.state_value {
        one_of("stateValue", state, &STATES)?;
    }
    if let Some(prefix) = &request.action_prefix {
        length("actionPrefix", prefix, 1, 1024)?;
    }
    if let Some(records) = request.max_records {
        range("maxRecords", records, 1, 100)?;
    }
    Ok(request)
}

pub(super) fn set_alarm_state(body: &Value) -> Result<SetAlarmState, AwsError> {
    let request: SetAlarmState = members(body)?;
    request.check()?;
    Ok(request)
}

impl SetAlarmState {
    pub(super) fn check(&self) -> Result<(), AwsError> {
        alarm_name("alarmName", &self.alarm_name)?;
        one_of("stateValue", &self.state_value, &STATES)?;
        length("stateReason", &self.state_reason, 0, 1023)?;
        let Some(data) = &self.state_reason_data else {
            return Ok(());
        };
        length("stateReasonData", data, 0, 4000)?;
        if serde_json::from_str::<Value>(data).is_err() {
            return Err(AwsError::new(
                400,
                "InvalidFormat",
                "StateReasonData was not syntactically valid JSON",
            ));
        }
        Ok(())
    }
}

pub(super) fn delete_alarms(body: &Value) -> Result<DeleteAlarms, AwsError> {
    let request: DeleteAlarms = members(body)?;
    alarm_names(&request.alarm_names)?;
    Ok(request)
}

pub(super) fn metric_alarm(body: &Value) -> Result<Put, AwsError> {
    refuse(body, &metric::NOT_HERE)?;
    only(body, &[&COMMON[..], &metric::MEMBERS[..]].concat())?;
    let common = Common::read(body)?;
    members::<Metric>(body)?.check()?;
    Ok(common.put(Kind::Metric, body))
}

pub(super) fn composite_alarm(body: &Value) -> Result<Put, AwsError> {
    let suppressor = [
        "ActionsSuppressor",
        "ActionsSuppressorWaitPeriod",
        "ActionsSuppressorExtensionPeriod",
    ];
    refuse(body, &suppressor)?;
    only(body, &[&COMMON[..], &["AlarmRule"]].concat())?;
    let common = Common::read(body)?;
    // What the rule says is not read: here a composite alarm has the state that it is set to.
    length("alarmRule", &members::<Composite>(body)?.alarm_rule, 1, 10_240)?;
    Ok(common.put(Kind::Composite, body))
}

impl Common {
    fn read(body: &Value) -> Result<Self, AwsError> {
        let common: Self = members(body)?;
        alarm_name("alarmName", &common.alarm_name)?;
        length(
            "alarmDescription",
            common.alarm_description.as_deref().unwrap_or_default(),
            0,
            1024,
        )?;
        for (member, actions) in [
            ("alarmActions", &common.alarm_actions),
            ("insufficientDataActions", &common.insufficient_data_actions),
            ("oKActions", &common.ok_actions),
        ] {
            let actions = actions.as_deref().unwrap_or_default();
            at_most(member, actions.len(), MAX_ACTIONS)?;
            for action in actions {
                length(member, action, 1, 1024)?;
                if !action.starts_with("arn:") {
                    return Err(invalid(&format!("Invalid arn syntax: {action}")));
                }
            }
        }
        let tags = common.tags.as_deref().unwrap_or_default();
        at_most("tags", tags.len(), MAX_TAGS)?;
        for tag in tags {
            length("tags.key", &tag.key, 1, 128)?;
            length("tags.value", &tag.value, 0, 256)?;
        }
        Ok(common)
    }

    /// The alarm as it is kept: every member but its name, and its tags, which DescribeAlarms doesn't tell.
    fn put(self, kind: Kind, body: &Value) -> Put {
        let members = body.as_object().into_iter().flatten();
        let kept = members.filter(|(name, value)| !["AlarmName", "Tags"].contains(&name.as_str()) && !value.is_null());
        Put {
            config: kept.map(|(name, value)| (name.clone(), value.clone())).collect(),
            name: self.alarm_name,
            kind,
        }
    }
}

/// Refuses members that AWS knows and this double does not.
fn refuse(body: &Value, absent: &[&str]) -> Result<(), AwsError> {
    let given = absent
        .iter()
        .find(|name| body.get(name).is_some_and(|it| !it.is_null()));
    given.map_or(Ok(()), |name| Err(not_here(name)))
}

fn alarm_names(names: &[String]) -> Result<(), AwsError> {
    at_most("alarmNames", names.len(), MAX_NAMES)?;
    names.iter().try_for_each(|name| alarm_name("alarmNames", name))
}

/// *PutMetricAlarm*: AlarmName has 1 to 255 characters and no ASCII control character.
fn alarm_name(member: &str, name: &str) -> Result<(), AwsError> {
    length(member, name, 1, 255)?;
    if name.chars().any(|it| it.is_ascii_control()) {
        return Err(constraint(member, name, "not contain ASCII control characters"));
    }
    Ok(())
}
