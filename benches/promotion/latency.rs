//! One promotion at a time: from the POST until it has settled, against the same AWS calls made bare.
//!
//! Which calls a promotion makes, and which of them side by side, is read from the double: the bare loop
//! repeats them with the same SDK over the same double, on a pointer and a distribution of its own.

use std::{
    path::PathBuf,
    sync::Mutex,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use aws_config::retry::RetryConfig;
use aws_sdk_cloudfront::types::{InvalidationBatch, Paths};
use chrono::{DateTime, Utc};
use futures::future::try_join_all;
use greenlight::sandbox::{
    dev::sdk_config,
    double::{AwsDouble, Call},
};
use tokio::{process::Command, time::timeout};
use uuid::Uuid;

use crate::{
    house::{self, House, REGION, RELEASES, aws_environment, parameter, writing_transactions},
    report::{aim, heading, median, median_and_p90, millis, ratio, row},
};

/// What AWS may take to answer, besides nothing at all, in milliseconds. Its real APIs: 20 and more.
const DELAYS_MILLIS: [u64; 2] = [10, 25];
const WARM_UPS: usize = 5;
const SCRIPT_DEADLINE: Duration = Duration::from_secs(120);
const ENVIRONMENT: &str = "latency";
const BARE: &str = "bare";
/// Its distribution.
const BARE_DISTRIBUTION: &str = "EBARE";

/// Operations that are made side by side, one group after the other.
type Calls = Vec<Vec<String>>;

pub async fn measure(house: &House, quick: bool) -> anyhow::Result<()> {
    let rounds = if quick { 20 } else { 200 };
    let calls = calls_of_a_promotion(house).await?;
    let names: Vec<String> = calls.iter().map(|group| group.join(" + ")).collect();
    let count = calls.iter().map(Vec::len).sum::<usize>();
    heading(&format!(
        "One promotion until settled; its {count} AWS calls: {}",
        names.join(", ")
    ));
    let promotion = compare(house, &calls, Duration::ZERO, rounds).await?;
    for millis in DELAYS_MILLIS {
        compare(
            house,
            &calls,
            Duration::from_millis(millis),
            if quick { 10 } else { 40 },
        )
        .await?;
    }
    script(promotion, if quick { 2 } else { 5 }).await
}

/// Watches one promotion. A delay longer than any scheduling tells what is made side by side.
async fn calls_of_a_promotion(house: &House) -> anyhow::Result<Calls> {
    let delay = Duration::from_millis(100);
    let aws = house::aws(delay).await?;
    let (database, token) = house.database().await?;
    let replica = house.replica(&database, &aws).await?;
    let client = replica.client(&token)?;
    client.set_up_app().await?;
    client.set_up_environment(&aws, ENVIRONMENT, 0).await?;
    // The first one takes over what it finds; those that follow are the usual case.
    client.promote_to_the_end(ENVIRONMENT, RELEASES[0]).await?;
    aws.clear_calls();
    client.promote_to_the_end(ENVIRONMENT, RELEASES[1]).await?;
    let calls = grouped(&aws.calls(), delay / 2);
    replica.stop().await?;
    aws.shutdown().await;
    Ok(calls)
}

fn grouped(calls: &[Call], apart: Duration) -> Calls {
    let mut groups = Calls::new();
    let mut began: Option<DateTime<Utc>> = None;
    for call in calls {
        let together = began.is_some_and(|began| (call.at - began).to_std().is_ok_and(|gap| gap < apart));
        match groups.last_mut() {
            Some(group) if together => group.push(call.operation.clone()),
            _ => {
                began = Some(call.at);
                groups.push(vec![call.operation.clone()]);
            }
        }
    }
    groups
}

/// Promotions, and the bare calls, in turn. Returns how long a promotion takes.
async fn compare(house: &House, calls: &Calls, delay: Duration, rounds: usize) -> anyhow::Result<Duration> {
    let aws = house::aws(delay).await?;
    let (database, token) = house.database().await?;
    let replica = house.replica(&database, &aws).await?;
    let client = replica.client(&token)?;
    client.set_up_app().await?;
    client.set_up_environment(&aws, ENVIRONMENT, 0).await?;
    let bare = Bare::new(&aws)?;

    let (mut promotions, mut in_a_row, mut side_by_side) = (Vec::new(), Vec::new(), Vec::new());
    let mut writes_before = 0;
    for round in 0..WARM_UPS + rounds {
        if round == WARM_UPS {
            writes_before = writing_transactions(&database).await?;
        }
        let promotion = client.promote_to_the_end(ENVIRONMENT, RELEASES[round % 2]).await?;
        // Whoever is second finds things warm: they take turns.
        let (one_by_one, together) = if round % 2 == 0 {
            let one_by_one = bare.in_a_row(calls).await?;
            (one_by_one, bare.side_by_side(calls).await?)
        } else {
            let together = bare.side_by_side(calls).await?;
            (bare.in_a_row(calls).await?, together)
        };
        if round >= WARM_UPS {
            promotions.push(promotion);
            in_a_row.push(one_by_one);
            side_by_side.push(together);
        }
    }
    let writes = writing_transactions(&database).await? - writes_before;
    replica.stop().await?;
    aws.shutdown().await;

    let (promotion, p90) = median_and_p90(&mut promotions);
    let (in_a_row, side_by_side) = (median(&mut in_a_row), median(&mut side_by_side));
    let with = format!("AWS answers in {} ms", delay.as_millis());
    let spread = format!("median of {rounds}; nine of ten within {}", millis(p90));
    row(&format!("{with}: promotion"), &millis(promotion), &spread);
    row(&format!("{with}: the same calls, in a row"), &millis(in_a_row), "");
    let times = ratio(promotion, in_a_row);
    row(
        &format!("{with}: ratio"),
        &format!("{times:.2}"),
        &aim("at most 1.5", times <= 1.5),
    );
    let strict = format!("{:.2}", ratio(promotion, side_by_side));
    let took = format!("which take {}", millis(side_by_side));
    row(&format!("{with}: ratio to the calls, side by side"), &strict, &took);
    if delay.is_zero() {
        let each = format!("{:.1}", writes as f64 / rounds as f64);
        row("writing transactions a promotion, each synced to disk", &each, "");
    }
    Ok(promotion)
}

/// The calls without Greenlight.
struct Bare {
    ssm: aws_sdk_ssm::Client,
    cloudfront: aws_sdk_cloudfront::Client,
    invalidation: Mutex<Option<String>>,
}

impl Bare {
    fn new(aws: &AwsDouble) -> anyhow::Result<Self> {
        aws.put_parameter(REGION, &parameter(BARE), "0.9.0")
            .map_err(|error| anyhow::anyhow!("{error:?}"))?;
        aws.add_distribution(BARE_DISTRIBUTION);
        let config = sdk_config(&aws.endpoint_url())
            .into_builder()
            .retry_config(RetryConfig::disabled())
            .build();
        Ok(Self {
            ssm: aws_sdk_ssm::Client::new(&config),
            cloudfront: aws_sdk_cloudfront::Client::new(&config),
            invalidation: Mutex::default(),
        })
    }

    async fn in_a_row(&self, calls: &Calls) -> anyhow::Result<Duration> {
        let started = Instant::now();
        for operation in calls.iter().flatten() {
            self.call(operation).await?;
        }
        Ok(started.elapsed())
    }

    async fn side_by_side(&self, calls: &Calls) -> anyhow::Result<Duration> {
        let started = Instant::now();
        for group in calls {
            try_join_all(group.iter().map(|operation| self.call(operation))).await?;
        }
        Ok(started.elapsed())
    }

    async fn call(&self, operation: &str) -> anyhow::Result<()> {
        let failed = || format!("the bare {operation} failed");
        match operation {
            "GetParameter" => {
                let call = self.ssm.get_parameter().name(parameter(BARE)).with_decryption(true);
                call.send().await.with_context(failed)?;
            }
            "PutParameter" => {
                let call = self
                    .ssm
                    .put_parameter()
                    .name(parameter(BARE))
                    .value("1.0.0")
                    .overwrite(true);
                call.send().await.with_context(failed)?;
            }
            "GetDistribution" => {
                self.cloudfront
                    .get_distribution()
                    .id(BARE_DISTRIBUTION)
                    .send()
                    .await
                    .with_context(failed)?;
            }
            "CreateInvalidation" => {
                let paths = Paths::builder().quantity(1).items("/*").build()?;
                let reference = Uuid::now_v7().to_string();
                let batch = InvalidationBatch::builder()
                    .paths(paths)
                    .caller_reference(reference)
                    .build()?;
                let call = self
                    .cloudfront
                    .create_invalidation()
                    .distribution_id(BARE_DISTRIBUTION)
                    .invalidation_batch(batch);
                let id = call.send().await.with_context(failed)?.invalidation.map(|made| made.id);
                *self.lock() = id;
            }
            "GetInvalidation" => {
                let id = self.lock().clone();
                let call = self
                    .cloudfront
                    .get_invalidation()
                    .distribution_id(BARE_DISTRIBUTION)
                    .set_id(id);
                call.send().await.with_context(failed)?;
            }
            _ => bail!("the bare loop does not know {operation}, which promotions call now"),
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.invalidation
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// What a shell script does about the same with: look, write, look again, invalidate, look.
const SCRIPT: &str = r#"
aws ssm get-parameter --name "$parameter" --query Parameter.Value --output text
aws ssm put-parameter --name "$parameter" --value "$release" --overwrite --query Version --output text
aws ssm get-parameter --name "$parameter" --query Parameter.Value --output text
id=$(aws cloudfront create-invalidation --distribution-id "$distribution" --paths '/*' --query Invalidation.Id --output text)
aws cloudfront get-invalidation --distribution-id "$distribution" --id "$id" --query Invalidation.Status --output text
"#;

async fn script(promotion: Duration, rounds: usize) -> anyhow::Result<()> {
    let label = "AWS answers in 0 ms: shell script of five aws commands";
    let Some(program) = aws_program().await else {
        row(label, "—", "there is no `aws` in PATH: not measured");
        return Ok(());
    };
    let aws = house::aws(Duration::ZERO).await?;
    let endpoint = aws.endpoint_url();
    aws.put_parameter(REGION, &parameter("script"), "0.9.0")
        .map_err(|error| anyhow::anyhow!("{error:?}"))?;
    aws.add_distribution("ESCRIPT");
    let folder = program.parent().context("a program lies in a folder")?;
    let path = std::env::join_paths(
        [folder.to_owned()]
            .into_iter()
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    )?;
    let mut samples = Vec::new();
    // The first one finds cold files.
    for round in 0..=rounds {
        let mut command = Command::new("sh");
        command
            .args(["-euc", SCRIPT])
            .env("PATH", &path)
            .envs(aws_environment(&endpoint))
            .env("AWS_PAGER", "");
        command
            .env("parameter", parameter("script"))
            .env("distribution", "ESCRIPT");
        command.env("release", RELEASES[round % 2]).kill_on_drop(true);
        let started = Instant::now();
        let output = timeout(SCRIPT_DEADLINE, command.output())
            .await
            .context("the script hangs")??;
        let (said, errors) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        ensure!(output.status.success(), "the script failed: {errors}");
        ensure!(
            said.contains("Completed"),
            "the script did something else: {said} {errors}"
        );
        if round > 0 {
            samples.push(started.elapsed());
        }
    }
    aws.shutdown().await;
    let script = median(&mut samples);
    row(
        label,
        &millis(script),
        &format!("median of {rounds}; {}", program.display()),
    );
    let times = ratio(script, promotion);
    row(
        "promotion is faster than that",
        &format!("{times:.0} times"),
        &aim("at least 50 times", times >= 50.0),
    );
    Ok(())
}

/// The `aws` of PATH. pyenv's shim is a shell script before the real one, and not what is to be measured.
async fn aws_program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join("aws"))
        .find(|program| program.is_file())?;
    if !found.parent()?.ends_with("shims") {
        return Some(found);
    }
    let output = Command::new("pyenv").args(["which", "aws"]).output().await.ok()?;
    let real = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    Some(if real.is_file() { real } else { found })
}
