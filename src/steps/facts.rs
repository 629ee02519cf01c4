//! What checks and hooks are told of the release, and what time it is.

use std::collections::BTreeMap;

use crate::{
    checks::Asked,
    domain::{
        names::{Name, Version},
        release::Artifact,
        template::Subject,
    },
    engine::{StepContext, StepError},
    store::{StoreError, clock, releases},
};

/// Read anew for each question.
pub(super) struct Facts {
    commit: Option<String>,
    artifacts: BTreeMap<Name, Artifact>,
    /// Unix seconds, by the database's clock.
    now: i64,
}

impl Facts {
    pub(super) async fn read(context: &StepContext, release: &Version) -> Result<Self, StepError> {
        let mut connection = context.store.pool().acquire().await.map_err(StoreError::from)?;
        let found = releases::get(&mut connection, &context.job.app, release).await?;
        let now = clock::in_seconds(&mut connection, 0).await?.timestamp();
        let (commit, artifacts) = found.map_or_else(Default::default, |found| (found.commit, found.artifacts));
        Ok(Self { commit, artifacts, now })
    }

    pub(super) fn asked<'a>(
        &'a self,
        context: &'a StepContext,
        (release, from_release): (&'a Version, Option<&'a Version>),
        weight: u32,
    ) -> Result<Asked<'a>, StepError> {
        Ok(Asked {
            environment: context.environment()?,
            subject: Subject {
                app: &context.job.app,
                environment: &context.job.environment,
                release: Some(release),
                from_release,
                weight,
                commit: self.commit.as_deref(),
                artifacts: &self.artifacts,
            },
            now: self.now,
        })
    }
}
