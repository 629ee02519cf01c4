//! The shapes of DescribeAlarms' answer, and the token that pages through it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::arn;
use super::input::DescribeAlarms;
use super::store::{Alarm, Alarms, Kind};
use crate::sandbox::double::auth::Caller;
use crate::sandbox::double::cbor::epoch;
use crate::sandbox::double::error::AwsError;

/// How many alarms a page has if the request does not say. AWS documents the largest, 100, and no default; what others
/// have met is 50.
const PAGE: usize = 50;
/// *DescribeAlarms*: only metric alarms, if the request does not say.
const METRIC: &str = "MetricAlarm";
const ACTIONS: [&str; 3] = ["OKActions", "AlarmActions", "InsufficientDataActions"];

/// The alarms that a request asks for, in the order of their names, both kinds counted together.
pub(super) fn describe(
    caller: &Caller,
    alarms: Option<&Alarms>,
    request: &DescribeAlarms,
    stale: bool,
) -> Result<Value, AwsError> {
    let after = read_token(request.next_token.as_deref())?;
    let page = request.max_records.map_or(Ok(PAGE), usize::try_from).unwrap_or(PAGE);
    let mut rest = alarms
        .into_iter()
        .flat_map(|alarms| alarms.iter(stale))
        .filter(|(name, _)| after.as_ref().is_none_or(|after| *name > after))
        .filter(|(name, alarm)| request.accepts(name, alarm));
    let page: Vec<_> = rest.by_ref().take(page).collect();
    let of = |kind| {
        let alarms = page.iter().filter(|(_, alarm)| alarm.kind == kind);
        alarms
            .map(|(name, alarm)| view(caller, name, alarm))
            .collect::<Vec<_>>()
    };
    let mut body = json!({ "MetricAlarms": of(Kind::Metric), "CompositeAlarms": of(Kind::Composite) });
    if let (Some((last, _)), Some(_)) = (page.last(), rest.next()) {
        body["NextToken"] = URL_SAFE_NO_PAD.encode(last).into();
    }
    Ok(body)
}

impl DescribeAlarms {
    fn accepts(&self, name: &String, alarm: &Alarm) -> bool {
        let kind = match alarm.kind {
            Kind::Metric => METRIC,
            Kind::Composite => "CompositeAlarm",
        };
        let kinds = self.alarm_types.as_deref().filter(|kinds| !kinds.is_empty());
        let names = self.alarm_names.as_deref().filter(|names| !names.is_empty());
        kinds.map_or(kind == METRIC, |kinds| kinds.iter().any(|it| it == kind))
            && names.is_none_or(|names| names.contains(name))
            && self
                .alarm_name_prefix
                .as_ref()
                .is_none_or(|prefix| name.starts_with(prefix))
            && self.state_value.as_ref().is_none_or(|state| *state == alarm.state)
            && self.action_prefix.as_ref().is_none_or(|prefix| alarm.acts(prefix))
    }
}

impl Alarm {
    /// Whether one of its actions begins so.
    fn acts(&self, prefix: &str) -> bool {
        let lists = ACTIONS.iter().filter_map(|list| self.config.get(*list)?.as_array());
        lists
            .flatten()
            .filter_map(Value::as_str)
            .any(|action| action.starts_with(prefix))
    }
}

/// `MetricAlarm` or `CompositeAlarm`.
fn view(caller: &Caller, name: &str, alarm: &Alarm) -> Value {
    let mut view = Value::Object(alarm.config.clone());
    let lists = if alarm.kind == Kind::Metric {
        &["Dimensions"][..]
    } else {
        &[]
    };
    for list in ACTIONS.iter().chain(lists) {
        if view.get(list).is_none() {
            view[list] = json!([]);
        }
    }
    if view.get("ActionsEnabled").is_none() {
        view["ActionsEnabled"] = true.into();
    }
    view["AlarmName"] = name.into();
    view["AlarmArn"] = arn(&caller.account, &caller.region, name).into();
    view["AlarmConfigurationUpdatedTimestamp"] = epoch(alarm.configured_at).into();
    view["StateValue"] = alarm.state.as_str().into();
    view["StateReason"] = alarm.reason.as_str().into();
    view["StateUpdatedTimestamp"] = epoch(alarm.updated_at).into();
    view["StateTransitionedTimestamp"] = epoch(alarm.transitioned_at).into();
    if let Some(data) = &alarm.reason_data {
        view["StateReasonData"] = data.as_str().into();
    }
    view
}

/// The name after which the page begins.
fn read_token(token: Option<&str>) -> Result<Option<String>, AwsError> {
    let Some(token) = token else { return Ok(None) };
    let bytes = URL_SAFE_NO_PAD.decode(token).ok();
    let name = bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .filter(|name| !name.is_empty());
    let refused = || AwsError::new(400, "InvalidNextToken", "The next token specified is invalid.");
    name.map(Some).ok_or_else(refused)
}
