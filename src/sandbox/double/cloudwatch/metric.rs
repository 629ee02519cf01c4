//! What a metric alarm of one metric and a static threshold may hold (CloudWatch API Reference, *PutMetricAlarm*).

use serde::Deserialize;

use super::constraint::{at_most, constraint, invalid, length, one_of, range, required};
use crate::sandbox::double::error::AwsError;

/// *PutMetricAlarm*: Dimensions.
const MAX_DIMENSIONS: usize = 30;
/// *PutMetricAlarm*, Period: how much time all periods together may take, by the length of one.
const HOUR: i64 = 3600;
const DAY: i64 = 86_400;
const WEEK: i64 = 604_800;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Dimension {
    name: String,
    value: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Metric {
    metric_name: Option<String>,
    namespace: Option<String>,
    statistic: Option<String>,
    extended_statistic: Option<String>,
    dimensions: Option<Vec<Dimension>>,
    period: Option<i64>,
    unit: Option<String>,
    evaluation_periods: Option<i64>,
    datapoints_to_alarm: Option<i64>,
    threshold: Option<f64>,
    comparison_operator: Option<String>,
    treat_missing_data: Option<String>,
    evaluate_low_sample_count_percentile: Option<String>,
}

/// The members of [`Metric`].
pub(super) const MEMBERS: [&str; 13] = [
    "MetricName",
    "Namespace",
    "Statistic",
    "ExtendedStatistic",
    "Dimensions",
    "Period",
    "Unit",
    "EvaluationPeriods",
    "DatapointsToAlarm",
    "Threshold",
    "ComparisonOperator",
    "TreatMissingData",
    "EvaluateLowSampleCountPercentile",
];
/// What AWS takes beside them, for alarms that this double has not: of expressions, of queries, with a window.
pub(super) const NOT_HERE: [&str; 6] = [
    "Metrics",
    "ThresholdMetricId",
    "EvaluationCriteria",
    "EvaluationInterval",
    "EvaluationWindow",
    "WarmUpConfiguration",
];

impl Metric {
    pub(super) fn check(&self) -> Result<(), AwsError> {
        length("metricName", required("MetricName", self.metric_name.as_ref())?, 1, 255)?;
        let namespace = required("Namespace", self.namespace.as_ref())?;
        length("namespace", namespace, 1, 255)?;
        if namespace.starts_with(':') {
            return Err(constraint(
                "namespace",
                namespace,
                "satisfy regular expression pattern: [^:].*",
            ));
        }
        match (&self.statistic, &self.extended_statistic) {
            (Some(statistic), None) => {
                let words = ["SampleCount", "Average", "Sum", "Minimum", "Maximum"];
                one_of("statistic", statistic, &words)?;
            }
            (None, Some(statistic)) if is_extended(statistic) => {}
            (None, Some(statistic)) => {
                return Err(invalid(&format!(
                    "The value {statistic} for parameter ExtendedStatistic is not supported."
                )));
            }
            _ => {
                return Err(invalid(
                    "Exactly one of Statistic and ExtendedStatistic must be specified.",
                ));
            }
        }
        let dimensions = self.dimensions.as_deref().unwrap_or_default();
        at_most("dimensions", dimensions.len(), MAX_DIMENSIONS)?;
        for dimension in dimensions {
            length("dimensions.name", &dimension.name, 1, 255)?;
            length("dimensions.value", &dimension.value, 1, 1024)?;
        }
        if let Some(unit) = &self.unit {
            one_of("unit", unit, &UNITS)?;
        }
        self.check_periods()?;
        if !required("Threshold", self.threshold.as_ref())?.is_finite() {
            return Err(invalid("The parameter Threshold must be a number."));
        }
        // The other three are for anomaly detection, which takes Metrics.
        let operators = [
            "GreaterThanOrEqualToThreshold",
            "GreaterThanThreshold",
            "LessThanThreshold",
            "LessThanOrEqualToThreshold",
        ];
        let operator = required("ComparisonOperator", self.comparison_operator.as_ref())?;
        one_of("comparisonOperator", operator, &operators)?;
        if let Some(treat) = &self.treat_missing_data {
            one_of(
                "treatMissingData",
                treat,
                &["breaching", "notBreaching", "ignore", "missing"],
            )?;
        }
        if let Some(evaluate) = &self.evaluate_low_sample_count_percentile {
            one_of("evaluateLowSampleCountPercentile", evaluate, &["evaluate", "ignore"])?;
        }
        Ok(())
    }

    fn check_periods(&self) -> Result<(), AwsError> {
        let period = *required("Period", self.period.as_ref())?;
        let periods = *required("EvaluationPeriods", self.evaluation_periods.as_ref())?;
        range("period", period, 1, i64::MAX)?;
        range("evaluationPeriods", periods, 1, i64::MAX)?;
        if ![10, 20, 30].contains(&period) && period % 60 != 0 {
            return Err(invalid("The parameter Period must be 10, 20, 30 or a multiple of 60."));
        }
        let limit = if period < HOUR { DAY } else { WEEK };
        if period.saturating_mul(periods) > limit {
            let message = format!("Period multiplied by EvaluationPeriods can't be more than {limit} seconds.");
            return Err(invalid(&message));
        }
        if let Some(datapoints) = self.datapoints_to_alarm {
            range("datapointsToAlarm", datapoints, 1, periods)?;
        }
        Ok(())
    }
}

const UNITS: [&str; 27] = [
    "Seconds",
    "Microseconds",
    "Milliseconds",
    "Bytes",
    "Kilobytes",
    "Megabytes",
    "Gigabytes",
    "Terabytes",
    "Bits",
    "Kilobits",
    "Megabits",
    "Gigabits",
    "Terabits",
    "Percent",
    "Count",
    "Bytes/Second",
    "Kilobytes/Second",
    "Megabytes/Second",
    "Gigabytes/Second",
    "Terabytes/Second",
    "Bits/Second",
    "Kilobits/Second",
    "Megabits/Second",
    "Gigabits/Second",
    "Terabits/Second",
    "Count/Second",
    "None",
];

/// A percentile or a trimmed statistic: `p99.9`, `tm90`, `IQM`, `TM(10%:90%)`.
fn is_extended(statistic: &str) -> bool {
    if statistic == "IQM" {
        return true;
    }
    if let Some((kind, range)) = statistic.strip_suffix(')').and_then(|it| it.split_once('(')) {
        return ["PR", "TC", "TM", "TS", "WM"].contains(&kind) && range.contains(':');
    }
    let kinds = ["p", "tm", "tc", "ts", "wm"];
    let number = kinds
        .iter()
        .find_map(|kind| statistic.strip_prefix(kind)?.parse::<f64>().ok());
    number.is_some_and(|number| (0.0..=100.0).contains(&number))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::input::metric_alarm;

    fn refused(change: serde_json::Value) -> Option<String> {
        let mut body = json!({
            "AlarmName": "errors", "Namespace": "AWS/CloudFront", "MetricName": "5xxErrorRate", "Statistic": "Average",
            "Period": 60, "EvaluationPeriods": 5, "Threshold": 1.0, "ComparisonOperator": "GreaterThanThreshold",
        });
        for (name, value) in change.as_object().unwrap() {
            body[name] = value.clone();
        }
        metric_alarm(&body).err().map(|error| error.code)
    }

    #[test]
    fn what_aws_documents_is_taken() {
        for good in [
            json!({}),
            json!({"Period": 10}),
            json!({"Period": 3600, "EvaluationPeriods": 168}),
            json!({"Threshold": 1, "DatapointsToAlarm": 5, "TreatMissingData": "notBreaching"}),
            json!({"Statistic": null, "ExtendedStatistic": "p99.9"}),
            json!({"Statistic": null, "ExtendedStatistic": "TM(10%:90%)"}),
            json!({"Dimensions": [{"Name": "DistributionId", "Value": "E2EXAMPLE"}], "Unit": "Percent"}),
            json!({"OKActions": ["arn:aws:sns:eu-west-1:000000000000:releases"], "Tags": [{"Key": "a", "Value": ""}]}),
        ] {
            assert_eq!(refused(good.clone()), None, "{good}");
        }
    }

    #[test]
    fn what_aws_refuses_is_refused() {
        for bad in [
            json!({"AlarmName": ""}),
            json!({"AlarmName": "x".repeat(256)}),
            json!({"AlarmName": "a\nb"}),
            json!({"Namespace": ":x"}),
            json!({"Period": 59}),
            json!({"Period": 0}),
            json!({"Period": 60, "EvaluationPeriods": 1441}),
            json!({"Period": 3600, "EvaluationPeriods": 169}),
            json!({"DatapointsToAlarm": 6}),
            json!({"Statistic": "Mean"}),
            json!({"Statistic": null}),
            json!({"ExtendedStatistic": "p90"}),
            json!({"Statistic": null, "ExtendedStatistic": "p101"}),
            json!({"ComparisonOperator": "GreaterThanUpperThreshold"}),
            json!({"Threshold": null}),
            json!({"TreatMissingData": "never"}),
            json!({"AlarmActions": ["me@example.com"]}),
            json!({"Metrics": []}),
            json!({"Thresold": 1.0}),
        ] {
            assert_eq!(refused(bad.clone()).as_deref(), Some("ValidationError"), "{bad}");
        }
        assert_eq!(
            refused(json!({"Period": "60"})).as_deref(),
            Some("SerializationException")
        );
    }
}
