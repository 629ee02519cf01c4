//! `preflight`: looks before anything is touched.
//!
//! The pointer must say what the database says it does (or, the first time, be there at all), and the
//! distribution must exist and be permitted. A pointer that somebody else changed fails the promotion
//! with `pointer_drifted`, unless it was started with `on_drift: overwrite`. The release's files in S3 are
//! looked at in [`artifact`].

mod artifact;

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures::{
    FutureExt,
    future::{join_all, join3},
};
use serde_json::{Value, json};

use super::{aws_step_error, pointer_of, said, wrong_params};
use crate::{
    aws::{Aws, error::Class},
    domain::{
        error::{JobError, Warning},
        job::OnDrift,
        plan::StepParams,
    },
    engine::{Done, Outcome, StepContext, StepError, StepRunner},
    store::{manifests, pointers},
    traffic,
};

/// Looks at one component.
pub struct Preflight {
    pub aws: Aws,
}

#[async_trait]
impl StepRunner for Preflight {
    async fn run(&self, context: &StepContext) -> Result<Outcome, StepError> {
        let StepParams::Preflight { on_drift } = &context.step.params else {
            return Err(wrong_params(context));
        };
        let environment = context.environment()?;
        let component = context.component()?;
        let router = traffic::router(&self.aws, &environment.aws, component);
        let looks = join_all(router.pointers().iter().map(|pointer| router.observe(&pointer.target)));
        let distribution = async {
            let Some(cdn) = &component.cdn else { return Ok(()) };
            self.aws
                .cloudfront(&environment.aws)
                .await
                .look_at_distribution(&cdn.distribution_id)
                .await
        };
        let artifact = artifact::look(&self.aws, context, component);
        let (looks, distribution, artifact) = join3(looks, distribution, artifact).await;
        distribution.map_err(|error| {
            if error.class == Class::NotFound {
                let message = format!("Component {}: {error}", component.name);
                return StepError::fatal(
                    JobError::new("distribution_not_found", message)
                        .hint("Correct cdn.distribution_id in the environment's document, or the account it works in."),
                );
            }
            aws_step_error(&error)
        })?;
        let artifact = artifact?;

        let mut connection = context
            .store
            .pool()
            .acquire()
            .await
            .map_err(crate::store::StoreError::from)?;
        let known = pointers::of_environment(&mut connection, context.job.environment_id).await?;
        let mut ours_jobs = context.job.inherited.jobs.clone();
        ours_jobs.push(context.job.id);
        let (mut seen, mut drifted) = (BTreeMap::new(), BTreeMap::new());
        for (identity, look) in router.pointers().iter().zip(looks) {
            let observed = look.map_err(|error| aws_step_error(&error))?;
            let pointer = pointer_of(&known, &identity.key);
            let taken = pointer.is_some_and(|pointer| pointer.taken);
            let expected = pointer.and_then(|pointer| pointer.value.clone());
            let accepted = !taken
                || observed.value == expected
                || pointers::ours(&mut connection, &identity.key, &ours_jobs)
                    .await?
                    .contains(&observed.value);
            if !taken && observed.value.is_none() && !router.may_create(&identity.target) {
                let missing = router.missing(&identity.target);
                let message = format!("Component {}: {}", component.name, missing.message);
                return Err(StepError::fatal(JobError { message, ..missing }));
            }
            if !accepted {
                drifted.insert(
                    identity.key.clone(),
                    (identity.target.clone(), expected, observed.value.clone()),
                );
            }
            seen.insert(
                identity.target.clone(),
                json!({"value": observed.value, "version": observed.version}),
            );
        }
        drop(connection);
        let mut done = Done::new(json!({"pointers": seen}));
        if let Some(artifact) = artifact {
            done.output["artifact"] = artifact.output;
            done.warnings = artifact.warnings;
            if let Some(manifest) = artifact.manifest {
                done.effects.push(Box::new(move |connection| {
                    async move { manifests::record(connection, &manifest).await }.boxed()
                }));
            }
        }
        if drifted.is_empty() {
            return Ok(Outcome::Done(done));
        }
        let words: Vec<String> = drifted
            .values()
            .map(|(target, expected, found)| {
                format!(
                    "Component {}: {} says {}, but should say {}.",
                    component.name,
                    router.describe(target),
                    said(found.as_deref()),
                    said(expected.as_deref())
                )
            })
            .collect();
        let words = words.join(" ");
        if *on_drift == OnDrift::Overwrite {
            done.warnings.push(Warning::new(
                "pointer_drifted",
                format!("{words} It is written over, as asked."),
            ));
            return Ok(Outcome::Done(done));
        }
        let drift: BTreeMap<String, Value> = drifted
            .into_iter()
            .map(|(key, (target, expected, found))| {
                (
                    key,
                    json!({"component": component.name, "target": target, "expected": expected, "found": found}),
                )
            })
            .collect();
        let mut fenced = context.fence().await?;
        fenced.set_drift(&drift).await?;
        fenced.commit("drift").await?;
        Err(StepError::fatal(
            JobError::new("pointer_drifted", format!("{words} Nothing was touched.")).hint(
                "Find out who changed it. Then promote again with \"on_drift\": \"overwrite\", or POST a rollback \
             (with \"to\": the active release, to put just that back).",
            ),
        ))
    }
}
