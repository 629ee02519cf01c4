//! The alarms of one account and region.
//!
//! Pure data and rules: no clock, no lock, no wire format. Nothing is evaluated: a state is what was last set.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::constraint::invalid;
use super::input::SetAlarmState;
use crate::sandbox::double::error::AwsError;

/// Alarms in one account and region (CloudWatch User Guide, *CloudWatch service quotas*).
const MAX_ALARMS: usize = 5000;
/// What AWS says of an alarm that it has not looked at yet.
const UNCHECKED: &str = "Unchecked: Initial alarm creation";

/// All alarms of one account and region. Metric alarms and composite ones have their names from one set
/// (*PutCompositeAlarm*: AlarmName is unique within the Region).
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::sandbox::double) struct Alarms {
    by_name: BTreeMap<String, Alarm>,
    /// As it was before the latest change, for stale reads.
    before: BTreeMap<String, Alarm>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::sandbox::double) enum Kind {
    Metric,
    Composite,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::sandbox::double) struct Alarm {
    pub kind: Kind,
    /// The members of the request that made or changed it, without name and tags.
    pub config: Map<String, Value>,
    pub configured_at: DateTime<Utc>,
    /// `OK`, `ALARM` or `INSUFFICIENT_DATA`.
    pub state: String,
    pub reason: String,
    pub reason_data: Option<String>,
    pub updated_at: DateTime<Utc>,
    /// When it came to be in this state: setting the same state again is no transition.
    pub transitioned_at: DateTime<Utc>,
}

/// An alarm to make or to change.
#[derive(Debug)]
pub(in crate::sandbox::double) struct Put {
    pub name: String,
    pub kind: Kind,
    pub config: Map<String, Value>,
}

impl Alarm {
    fn new(kind: Kind, config: Map<String, Value>, now: DateTime<Utc>) -> Self {
        Self {
            kind,
            config,
            configured_at: now,
            state: "INSUFFICIENT_DATA".to_owned(),
            reason: UNCHECKED.to_owned(),
            reason_data: None,
            updated_at: now,
            transitioned_at: now,
        }
    }
}

impl Alarms {
    /// All of them, in the order of their names; with `stale`, as they were before the latest change.
    pub(super) fn iter(&self, stale: bool) -> impl Iterator<Item = (&String, &Alarm)> {
        if stale { &self.before } else { &self.by_name }.iter()
    }

    pub(super) fn get(&self, name: &str) -> Option<&Alarm> {
        self.by_name.get(name)
    }

    /// Makes an alarm, or writes another configuration over it; its state is left as it is then.
    pub(in crate::sandbox::double) fn put(&mut self, put: Put, now: DateTime<Utc>) -> Result<(), AwsError> {
        let existing = self.by_name.get(&put.name);
        if existing.is_some_and(|alarm| alarm.kind != put.kind) {
            return Err(invalid(&format!(
                "There is an alarm of another type with the name {}.",
                put.name
            )));
        }
        if existing.is_none() && self.by_name.len() >= MAX_ALARMS {
            let message = "The quota for alarms for this customer has already been reached.";
            return Err(AwsError::new(400, "LimitExceeded", message));
        }
        let alarm = match existing {
            Some(alarm) => Alarm {
                config: put.config,
                configured_at: now,
                ..alarm.clone()
            },
            None => Alarm::new(put.kind, put.config, now),
        };
        self.remember();
        self.by_name.insert(put.name, alarm);
        Ok(())
    }

    pub(in crate::sandbox::double) fn set_state(
        &mut self,
        change: SetAlarmState,
        now: DateTime<Utc>,
    ) -> Result<(), AwsError> {
        if !self.by_name.contains_key(&change.alarm_name) {
            return Err(not_found());
        }
        self.remember();
        if let Some(alarm) = self.by_name.get_mut(&change.alarm_name) {
            if alarm.state != change.state_value {
                alarm.transitioned_at = now;
            }
            alarm.state = change.state_value;
            alarm.reason = change.state_reason;
            alarm.reason_data = change.state_reason_data;
            alarm.updated_at = now;
        }
        Ok(())
    }

    /// Deletes the alarms with these names. Of composite ones it takes one a call; names that no alarm has are an
    /// error, but the others are deleted all the same (API Reference, *DeleteAlarms*).
    pub(in crate::sandbox::double) fn delete(&mut self, names: &[String]) -> Result<(), AwsError> {
        let is_composite = |name: &&String| self.by_name.get(*name).is_some_and(|it| it.kind == Kind::Composite);
        if names.iter().filter(is_composite).count() > 1 {
            return Err(invalid(
                "No more than one composite alarm can be deleted in one operation.",
            ));
        }
        let is_missing = names.iter().any(|name| !self.by_name.contains_key(name));
        self.remember();
        for name in names {
            self.by_name.remove(name);
        }
        if is_missing { Err(not_found()) } else { Ok(()) }
    }

    fn remember(&mut self) {
        self.before.clone_from(&self.by_name);
    }
}

fn not_found() -> AwsError {
    AwsError::new(404, "ResourceNotFound", "The named resource does not exist.")
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn put(name: &str, kind: Kind) -> Put {
        Put {
            name: name.to_owned(),
            kind,
            config: Map::new(),
        }
    }

    fn set(name: &str, state: &str) -> SetAlarmState {
        SetAlarmState {
            alarm_name: name.to_owned(),
            state_value: state.to_owned(),
            state_reason: "set".to_owned(),
            state_reason_data: None,
        }
    }

    #[test]
    fn a_state_lives_through_a_new_configuration_and_knows_when_it_began() {
        let mut alarms = Alarms::default();
        let start = Utc::now();
        let at = |minutes| start + TimeDelta::minutes(minutes);
        alarms.put(put("a", Kind::Metric), at(0)).unwrap();
        assert_eq!(alarms.get("a").unwrap().state, "INSUFFICIENT_DATA");
        alarms.set_state(set("a", "ALARM"), at(1)).unwrap();
        alarms.set_state(set("a", "ALARM"), at(2)).unwrap();
        alarms.put(put("a", Kind::Metric), at(3)).unwrap();
        let alarm = alarms.get("a").unwrap();
        assert_eq!((alarm.state.as_str(), alarm.reason.as_str()), ("ALARM", "set"));
        let times = (alarm.transitioned_at, alarm.updated_at, alarm.configured_at);
        assert_eq!(times, (at(1), at(2), at(3)));
    }

    #[test]
    fn a_name_is_that_of_one_alarm() {
        let mut alarms = Alarms::default();
        alarms.put(put("a", Kind::Metric), Utc::now()).unwrap();
        let error = alarms.put(put("a", Kind::Composite), Utc::now()).unwrap_err();
        assert_eq!(error.code, "ValidationError");
    }

    #[test]
    fn there_is_room_for_five_thousand() {
        let mut alarms = Alarms::default();
        let now = Utc::now();
        let alarm = || Alarm::new(Kind::Metric, Map::new(), now);
        alarms.by_name = (0..MAX_ALARMS).map(|number| (number.to_string(), alarm())).collect();
        assert_eq!(
            alarms.put(put("one more", Kind::Metric), now).unwrap_err().code,
            "LimitExceeded"
        );
        alarms.put(put("7", Kind::Metric), now).unwrap();
    }

    #[test]
    fn one_composite_alarm_is_deleted_at_a_time() {
        let mut alarms = Alarms::default();
        for (name, kind) in [("a", Kind::Metric), ("b", Kind::Composite), ("c", Kind::Composite)] {
            alarms.put(put(name, kind), Utc::now()).unwrap();
        }
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            alarms.delete(&names(&["a", "b", "c"])).unwrap_err().code,
            "ValidationError"
        );
        assert_eq!(alarms.iter(false).count(), 3);
        assert_eq!(
            alarms.delete(&names(&["a", "b", "none"])).unwrap_err().code,
            "ResourceNotFound"
        );
        assert_eq!(
            alarms.iter(false).map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
            ["c"]
        );
        assert_eq!(alarms.iter(true).count(), 3, "stale reads still see them");
    }
}
