//! Direct looks at the double's state, and changes that no client of ours made.
//!
//! What is changed here is out of band: it leaves no call in the log and no fault applies to it.

use chrono::{DateTime, Utc};

use super::cloudfront::store::Distribution;
use super::ssm::store::Put;
use super::state::Role;
use super::{AwsDouble, AwsError};

/// One version of a parameter, in clear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterVersion {
    /// Its number.
    pub version: u64,
    /// Its value; that of a SecureString too.
    pub value: String,
    /// When it was written, by the double's clock.
    pub modified_at: DateTime<Utc>,
    /// The ARN of who wrote it.
    pub modified_by: String,
    /// The labels that it carries now.
    pub labels: Vec<String>,
}

/// One invalidation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidationView {
    /// Its id.
    pub id: String,
    /// The reference under which it was asked for.
    pub caller_reference: String,
    /// Its paths, in the order given.
    pub paths: Vec<String>,
    /// `InProgress` or `Completed`.
    pub status: String,
    /// When it was created, by the double's clock.
    pub created_at: DateTime<Utc>,
}

impl AwsDouble {
    /// Value and version of a parameter of the default account.
    pub fn parameter(&self, region: &str, name: &str) -> Option<(String, u64)> {
        self.parameter_in(self.account_id(), region, name)
    }

    /// Value and version of a parameter.
    pub fn parameter_in(&self, account: &str, region: &str, name: &str) -> Option<(String, u64)> {
        self.world().read(|state| {
            let latest = state.parameters(account, region)?.get(name)?.latest();
            Some((latest.value.clone(), latest.version))
        })
    }

    /// Writes a parameter of the default account out of band, as a person at the console would;
    /// returns its new version.
    ///
    /// # Errors
    /// Those of PutParameter with `Overwrite`.
    pub fn put_parameter(&self, region: &str, name: &str, value: &str) -> Result<u64, AwsError> {
        self.put_parameter_in(self.account_id(), region, name, value)
    }

    /// Writes a parameter out of band; returns its new version.
    ///
    /// # Errors
    /// Those of PutParameter with `Overwrite`.
    pub fn put_parameter_in(&self, account: &str, region: &str, name: &str, value: &str) -> Result<u64, AwsError> {
        let now = self.clock().now();
        self.world().change(|state| {
            let parameters = state.parameters_mut(account, region);
            let kind = parameters.get(name).is_none().then(|| "String".to_owned());
            let put = Put {
                name: name.to_owned(),
                value: value.to_owned(),
                kind,
                overwrite: true,
                ..Put::default()
            };
            let by = format!("arn:aws:iam::{account}:user/out-of-band");
            parameters.put(put, &by, now).map(|(version, _)| version)
        })
    }

    /// Deletes a parameter of the default account out of band; `false` when there is none.
    pub fn delete_parameter(&self, region: &str, name: &str) -> bool {
        let account = self.account_id();
        self.world()
            .change(|state| state.parameters_mut(account, region).delete(name).is_ok())
    }

    /// The kept versions of a parameter of the default account, oldest first.
    pub fn history(&self, region: &str, name: &str) -> Vec<ParameterVersion> {
        self.history_in(self.account_id(), region, name)
    }

    /// The kept versions of a parameter, oldest first.
    pub fn history_in(&self, account: &str, region: &str, name: &str) -> Vec<ParameterVersion> {
        self.world().read(|state| {
            let parameter = state.parameters(account, region).and_then(|it| it.get(name));
            let versions = parameter.into_iter().flat_map(|parameter| &parameter.versions);
            versions
                .map(|version| ParameterVersion {
                    version: version.version,
                    value: version.value.clone(),
                    modified_at: version.modified_at,
                    modified_by: version.modified_by.clone(),
                    labels: version.labels.clone(),
                })
                .collect()
        })
    }

    /// Adds a distribution to the default account; nothing happens if it is there.
    pub fn add_distribution(&self, id: &str) {
        self.add_distribution_in(self.account_id(), id);
    }

    /// Adds a distribution to an account; nothing happens if it is there.
    pub fn add_distribution_in(&self, account: &str, id: &str) {
        let now = self.clock().now();
        self.world().change(|state| {
            let distributions = &mut state.account_mut(account).distributions;
            distributions
                .entry(id.to_owned())
                .or_insert_with(|| Distribution::new(id, now));
        });
    }

    /// The invalidations of a distribution of the default account, oldest first.
    pub fn invalidations(&self, distribution: &str) -> Vec<InvalidationView> {
        self.invalidations_in(self.account_id(), distribution)
    }

    /// The invalidations of a distribution, oldest first.
    pub fn invalidations_in(&self, account: &str, distribution: &str) -> Vec<InvalidationView> {
        let now = self.clock().now();
        self.world().read(|state| {
            let distribution = state.distribution(account, distribution);
            let invalidations = distribution.into_iter().flat_map(|it| &it.invalidations);
            invalidations
                .map(|invalidation| InvalidationView {
                    id: invalidation.id.clone(),
                    caller_reference: invalidation.caller_reference.clone(),
                    paths: invalidation.paths.clone(),
                    status: invalidation.status(now).to_owned(),
                    created_at: invalidation.created_at,
                })
                .collect()
        })
    }

    /// Makes a role known: with an external id, AssumeRole needs that id. Roles that aren't known can
    /// be assumed by anyone.
    pub fn register_role(&self, role_arn: &str, external_id: Option<&str>) {
        let role = Role {
            external_id: external_id.map(str::to_owned),
        };
        self.world()
            .change(|state| state.roles.insert(role_arn.to_owned(), role));
    }
}
