//! `cloudwatch_alarm`: looks at alarms. One in ALARM fails the release, one with too little data leaves it open.

use serde_json::json;

use super::{Asked, Judged};
use crate::{
    aws::{Aws, cloudwatch::AlarmState},
    domain::{
        environment::AlarmCheck,
        error::{JobError, Retry},
        verdict::Verdict,
    },
};

pub(super) async fn ask(aws: &Aws, check: &AlarmCheck, asked: &Asked<'_>) -> Judged {
    let account = &asked.environment.aws;
    let region = check.region.as_deref().unwrap_or(&account.region);
    let found = match aws.cloudwatch(account, region).await.alarms(&check.alarms).await {
        Ok(found) => found,
        Err(error) => {
            let JobError { message, hint, .. } = error.job_error();
            let words = match hint {
                Some(hint) => format!("{message} {hint}"),
                None => message,
            };
            // What AWS refuses it will refuse again; what it does not answer says nothing of the release.
            return match error.retry() {
                Retry::No => Judged::hopeless(words),
                Retry::Backoff | Retry::Throttled => {
                    Judged::new(Verdict::Inconclusive, words, json!({"region": region}))
                }
            };
        }
    };
    let states: Vec<_> = check
        .alarms
        .iter()
        .map(|name| (name, found.iter().find(|alarm| alarm.name == *name)))
        .collect();
    let shown: Vec<_> = states
        .iter()
        .map(|(name, alarm)| match alarm {
            Some(alarm) => json!({"alarm": name, "state": word(alarm.state), "reason": alarm.reason,
                                  "since": alarm.updated_at}),
            None => json!({"alarm": name, "state": null}),
        })
        .collect();
    let evidence = json!({"region": region, "alarms": shown});
    let missing: Vec<&str> = states
        .iter()
        .filter(|(_, alarm)| alarm.is_none())
        .map(|(name, _)| name.as_str())
        .collect();
    if !missing.is_empty() {
        return Judged {
            evidence,
            ..Judged::hopeless(format!("There is no alarm {} in {region}.", missing.join(", ")))
        };
    }
    let in_state = |state: AlarmState| -> Vec<String> {
        let those = states
            .iter()
            .filter_map(|(_, alarm)| *alarm)
            .filter(|alarm| alarm.state == state);
        those
            .map(|alarm| format!("{} ({})", alarm.name, alarm.reason.trim()))
            .collect()
    };
    let alarmed = in_state(AlarmState::Alarm);
    if !alarmed.is_empty() {
        return Judged::new(Verdict::Fail, format!("In ALARM: {}.", alarmed.join("; ")), evidence);
    }
    let open = in_state(AlarmState::InsufficientData);
    if !open.is_empty() {
        let message = format!("INSUFFICIENT_DATA: {}.", open.join("; "));
        return Judged::new(Verdict::Inconclusive, message, evidence);
    }
    Judged::new(Verdict::Pass, "No alarm is in ALARM.", evidence)
}

fn word(state: AlarmState) -> &'static str {
    match state {
        AlarmState::Ok => "OK",
        AlarmState::Alarm => "ALARM",
        AlarmState::InsufficientData => "INSUFFICIENT_DATA",
    }
}
