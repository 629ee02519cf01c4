//! CloudWatch, as far as watching alarms needs it: what state they are in, and why. Must never change an alarm.

use std::collections::{BTreeMap, BTreeSet};

use aws_config::SdkConfig;
use aws_sdk_cloudwatch::{
    Client,
    primitives::DateTime as SmithyTime,
    types::{AlarmType, StateValue},
};
use chrono::{DateTime, Utc};

use super::error::{AwsError, Class};

/// Names in one call (API Reference, "DescribeAlarms": AlarmNames).
const NAMES_A_CALL: usize = 100;
/// Pages of one call's answer. It has at most as many alarms as it was asked for names, so more is no answer.
const PAGES_A_CALL: usize = 100;

/// What an alarm says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlarmState {
    Ok,
    Alarm,
    /// Nothing to go by: an alarm that is new says so, and one whose metric has no data.
    InsufficientData,
}

/// An alarm as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    pub name: String,
    pub state: AlarmState,
    /// Why, in CloudWatch's words; may be empty.
    pub reason: String,
    /// When the state or its reason was last written.
    pub updated_at: Option<DateTime<Utc>>,
}

/// CloudWatch of one account and region.
#[derive(Debug, Clone)]
pub struct CloudWatch {
    client: Client,
    region: String,
}

impl CloudWatch {
    pub fn new(config: &SdkConfig, region: &str) -> Self {
        Self {
            client: Client::new(config),
            region: region.to_owned(),
        }
    }

    /// The alarms with exactly these names, metric alarms and composite ones, each once and in the order of `names`.
    /// A name that no alarm has is absent from the answer. Without names there is no call.
    ///
    /// # Errors
    /// Whatever AWS says, of the first call that fails; needs `cloudwatch:DescribeAlarms` on `*`.
    /// Class [`Class::Ambiguous`] when the answer has a state that is not one of the three.
    pub async fn alarms(&self, names: &[String]) -> Result<Vec<Alarm>, AwsError> {
        let mut seen = BTreeSet::new();
        let wanted: Vec<&String> = names.iter().filter(|name| seen.insert(name.as_str())).collect();
        let mut found = BTreeMap::new();
        for names in wanted.chunks(NAMES_A_CALL) {
            self.describe(names, &mut found).await?;
        }
        Ok(wanted.into_iter().filter_map(|name| found.remove(name)).collect())
    }

    /// Asks for at most [`NAMES_A_CALL`] alarms, page by page.
    async fn describe(&self, names: &[&String], found: &mut BTreeMap<String, Alarm>) -> Result<(), AwsError> {
        let mut token = None;
        for _ in 0..PAGES_A_CALL {
            let answer = self
                .client
                .describe_alarms()
                .set_alarm_names(Some(names.iter().map(|name| (*name).clone()).collect()))
                // Without types, AWS leaves composite alarms out ("DescribeAlarms": AlarmTypes).
                .alarm_types(AlarmType::MetricAlarm)
                .alarm_types(AlarmType::CompositeAlarm)
                .set_next_token(token)
                .send()
                .await
                .map_err(|error| AwsError::new("cloudwatch", "DescribeAlarms", self.resource(names), &error))?;
            let metric = answer.metric_alarms.unwrap_or_default().into_iter().map(|alarm| Raw {
                name: alarm.alarm_name,
                state: alarm.state_value,
                reason: alarm.state_reason,
                updated_at: alarm.state_updated_timestamp,
            });
            let composite = answer
                .composite_alarms
                .unwrap_or_default()
                .into_iter()
                .map(|alarm| Raw {
                    name: alarm.alarm_name,
                    state: alarm.state_value,
                    reason: alarm.state_reason,
                    updated_at: alarm.state_updated_timestamp,
                });
            for raw in metric.chain(composite) {
                let alarm = raw.read().map_err(|why| self.unreadable(names, why))?;
                found.insert(alarm.name.clone(), alarm);
            }
            token = answer.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(());
            }
        }
        Err(self.unreadable(names, format!("its answer goes on after {PAGES_A_CALL} pages")))
    }

    fn resource(&self, names: &[&String]) -> String {
        let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
        match names.as_slice() {
            [name] => format!("alarm {name} in {}", self.region),
            [a, b, c, _, ..] => format!("alarms {a}, {b}, {c} and {} more in {}", names.len() - 3, self.region),
            few => format!("alarms {} in {}", few.join(", "), self.region),
        }
    }

    fn unreadable(&self, names: &[&String], message: String) -> AwsError {
        AwsError {
            service: "cloudwatch",
            operation: "DescribeAlarms",
            resource: self.resource(names),
            class: Class::Ambiguous,
            code: None,
            message,
        }
    }
}

/// What the SDK's two kinds of alarm have in common.
struct Raw {
    name: Option<String>,
    state: Option<StateValue>,
    reason: Option<String>,
    updated_at: Option<SmithyTime>,
}

impl Raw {
    /// An alarm that says nothing, or something new, must never pass for one that is well.
    fn read(self) -> Result<Alarm, String> {
        let name = self.name.ok_or("its answer has an alarm without a name")?;
        let state = match self.state {
            Some(StateValue::Ok) => AlarmState::Ok,
            Some(StateValue::Alarm) => AlarmState::Alarm,
            Some(StateValue::InsufficientData) => AlarmState::InsufficientData,
            Some(other) => return Err(format!("it says that {name} is {}", other.as_str())),
            None => return Err(format!("it does not say the state of {name}")),
        };
        Ok(Alarm {
            name,
            state,
            reason: self.reason.unwrap_or_default(),
            updated_at: self.updated_at.and_then(utc),
        })
    }
}

fn utc(at: SmithyTime) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(at.secs(), at.subsec_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(state: Option<StateValue>) -> Raw {
        Raw {
            name: Some("errors".to_owned()),
            state,
            reason: None,
            updated_at: Some(SmithyTime::from_secs_f64(1.5)),
        }
    }

    #[test]
    fn only_the_three_states_are_read() {
        for (said, state) in [
            (StateValue::Ok, AlarmState::Ok),
            (StateValue::Alarm, AlarmState::Alarm),
            (StateValue::InsufficientData, AlarmState::InsufficientData),
        ] {
            let alarm = raw(Some(said)).read().unwrap();
            assert_eq!((alarm.state, alarm.reason.as_str()), (state, ""));
            assert_eq!(alarm.updated_at.unwrap().timestamp_millis(), 1500);
        }
        for said in [None, Some(StateValue::from("SNOOZED"))] {
            raw(said).read().unwrap_err();
        }
    }

    #[test]
    fn an_error_names_few_alarms() {
        let config = SdkConfig::builder()
            .behavior_version(aws_config::BehaviorVersion::latest())
            .build();
        let cloudwatch = CloudWatch::new(&config, "eu-west-1");
        let names: Vec<String> = ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec();
        let said = |count: usize| cloudwatch.resource(&names[..count].iter().collect::<Vec<_>>());
        assert_eq!(said(1), "alarm a in eu-west-1");
        assert_eq!(said(3), "alarms a, b, c in eu-west-1");
        assert_eq!(said(5), "alarms a, b, c and 2 more in eu-west-1");
    }
}
