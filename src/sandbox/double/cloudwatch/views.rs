//! Alarms made, set and looked at directly.
//!
//! What is changed here is out of band: it leaves no call in the log and no fault applies to it.

use chrono::{DateTime, Utc};
use serde_json::json;

use super::input::{self, SetAlarmState};
use super::store::{Kind, Put};
use crate::sandbox::double::world::World;
use crate::sandbox::double::{AwsDouble, AwsError};

/// One alarm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlarmView {
    /// Whether it is a composite alarm.
    pub is_composite: bool,
    /// `OK`, `ALARM` or `INSUFFICIENT_DATA`.
    pub state: String,
    /// Why.
    pub reason: String,
    /// When state and reason were last set, by the double's clock.
    pub updated_at: DateTime<Utc>,
}

impl AwsDouble {
    /// Makes a metric alarm in the default account, `INSUFFICIENT_DATA` as a new one is. One that is there keeps its
    /// state.
    ///
    /// # Errors
    /// Those of PutMetricAlarm.
    pub fn put_alarm(&self, region: &str, name: &str) -> Result<(), AwsError> {
        self.put_alarm_in(self.account_id(), region, name)
    }

    /// Like [`Self::put_alarm`], in an account.
    ///
    /// # Errors
    /// Those of PutMetricAlarm.
    pub fn put_alarm_in(&self, account: &str, region: &str, name: &str) -> Result<(), AwsError> {
        put(self.world(), account, region, metric(name)?)
    }

    /// Makes a composite alarm in the default account. Its rule names no alarm: it has the state that it is set to.
    ///
    /// # Errors
    /// Those of PutCompositeAlarm.
    pub fn put_composite_alarm(&self, region: &str, name: &str) -> Result<(), AwsError> {
        put(self.world(), self.account_id(), region, composite(name)?)
    }

    /// Sets the state (`OK`, `ALARM` or `INSUFFICIENT_DATA`) of an alarm of the default account, as CloudWatch does
    /// when it has looked at the metric.
    ///
    /// # Errors
    /// Those of SetAlarmState: `ResourceNotFound` when there is no such alarm.
    pub fn set_alarm_state(&self, region: &str, name: &str, state: &str, reason: &str) -> Result<(), AwsError> {
        self.set_alarm_state_in(self.account_id(), region, name, state, reason)
    }

    /// Like [`Self::set_alarm_state`], in an account.
    ///
    /// # Errors
    /// Those of SetAlarmState.
    pub fn set_alarm_state_in(
        &self,
        account: &str,
        region: &str,
        name: &str,
        state: &str,
        reason: &str,
    ) -> Result<(), AwsError> {
        set(self.world(), account, region, [name, state, reason])
    }

    /// Deletes an alarm of the default account; `false` when there is none.
    pub fn delete_alarm(&self, region: &str, name: &str) -> bool {
        let account = self.account_id();
        let names = [name.to_owned()];
        self.world()
            .change(|state| state.alarms_mut(account, region).delete(&names).is_ok())
    }

    /// An alarm of the default account.
    pub fn alarm(&self, region: &str, name: &str) -> Option<AlarmView> {
        self.world().read(|state| {
            let alarm = state.alarms(self.account_id(), region)?.get(name)?;
            Some(AlarmView {
                is_composite: alarm.kind == Kind::Composite,
                state: alarm.state.clone(),
                reason: alarm.reason.clone(),
                updated_at: alarm.updated_at,
            })
        })
    }
}

/// An alarm as the admin interface makes one: of either kind, in a state if one is given.
pub(in crate::sandbox::double) fn admit(
    world: &World,
    account: &str,
    region: &str,
    name: &str,
    is_composite: bool,
    state: Option<(&str, &str)>,
) -> Result<(), AwsError> {
    let alarm = if is_composite { composite(name)? } else { metric(name)? };
    put(world, account, region, alarm)?;
    match state {
        Some((state, reason)) => set(world, account, region, [name, state, reason]),
        None => Ok(()),
    }
}

fn metric(name: &str) -> Result<Put, AwsError> {
    input::metric_alarm(&json!({
        "AlarmName": name,
        "Namespace": "Storefront",
        "MetricName": "Errors",
        "Statistic": "Sum",
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": 1.0,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
    }))
}

fn composite(name: &str) -> Result<Put, AwsError> {
    input::composite_alarm(&json!({ "AlarmName": name, "AlarmRule": "FALSE" }))
}

fn put(world: &World, account: &str, region: &str, alarm: Put) -> Result<(), AwsError> {
    let now = world.clock.now();
    world.change(|state| state.alarms_mut(account, region).put(alarm, now))
}

fn set(world: &World, account: &str, region: &str, [name, state, reason]: [&str; 3]) -> Result<(), AwsError> {
    let change = SetAlarmState {
        alarm_name: name.to_owned(),
        state_value: state.to_owned(),
        state_reason: reason.to_owned(),
        state_reason_data: None,
    };
    change.check()?;
    let now = world.clock.now();
    world.change(|it| it.alarms_mut(account, region).set_state(change, now))
}
