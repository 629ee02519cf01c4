//! CloudFront, as far as invalidating needs it.

use aws_config::SdkConfig;
use aws_sdk_cloudfront::{
    Client,
    error::BuildError,
    types::{InvalidationBatch, Paths},
};

use super::error::{AwsError, Class};

/// How many of the newest invalidations are looked through for a reference.
const LOOK_BACK: i32 = 30;

/// An invalidation as CloudFront speaks of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalidation {
    pub id: String,
    /// AWS says `InProgress` or `Completed`; an emulator says `COMPLETED`.
    pub status: String,
}

impl Invalidation {
    pub fn is_completed(&self) -> bool {
        self.status.eq_ignore_ascii_case("completed")
    }
}

/// CloudFront of one account.
#[derive(Debug, Clone)]
pub struct CloudFront {
    client: Client,
}

impl CloudFront {
    pub fn new(config: &SdkConfig) -> Self {
        Self {
            client: Client::new(config),
        }
    }

    /// Sees whether a distribution is there and may be looked at.
    ///
    /// # Errors
    /// Class [`Class::NotFound`] when it is not there; needs `cloudfront:GetDistribution`.
    pub async fn look_at_distribution(&self, id: &str) -> Result<(), AwsError> {
        match self.client.get_distribution().id(id).send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(AwsError::new("cloudfront", "GetDistribution", resource(id), &error)),
        }
    }

    /// Sends an invalidation. Safe to repeat with the same reference and paths: AWS then answers with
    /// the one it has (API reference, "InvalidationBatch"), or, as users have seen, refuses a reference
    /// that it knows; then the one it has is looked up.
    ///
    /// # Errors
    /// Class [`Class::Throttled`] when too many are in progress; needs `cloudfront:CreateInvalidation`,
    /// and `cloudfront:ListInvalidations` and `GetInvalidation` for the look-up.
    pub async fn create_invalidation(
        &self,
        distribution: &str,
        reference: &str,
        paths: &[String],
    ) -> Result<Invalidation, AwsError> {
        let batch = batch(reference, paths).map_err(|error| AwsError {
            service: "cloudfront",
            operation: "CreateInvalidation",
            resource: resource(distribution),
            class: Class::Refused,
            code: None,
            message: error.to_string(),
        })?;
        let answer = self
            .client
            .create_invalidation()
            .distribution_id(distribution)
            .invalidation_batch(batch)
            .send()
            .await;
        match answer {
            Ok(output) => match output.invalidation {
                Some(invalidation) => Ok(Invalidation {
                    id: invalidation.id,
                    status: invalidation.status,
                }),
                None => Err(unreadable("CreateInvalidation", distribution)),
            },
            Err(error) => {
                let error = AwsError::new("cloudfront", "CreateInvalidation", resource(distribution), &error);
                if !is_reference_used(&error) {
                    return Err(error);
                }
                // The reference is made from the step, so it is ours: an answer of ours was lost.
                self.find(distribution, reference).await?.ok_or(error)
            }
        }
    }

    /// The invalidation with a reference, among the newest. The list does not tell references, so each
    /// is looked at; this is only for an answer that was lost.
    async fn find(&self, distribution: &str, reference: &str) -> Result<Option<Invalidation>, AwsError> {
        let listed = self
            .client
            .list_invalidations()
            .distribution_id(distribution)
            .max_items(LOOK_BACK)
            .send()
            .await
            .map_err(|error| AwsError::new("cloudfront", "ListInvalidations", resource(distribution), &error))?;
        for summary in listed.invalidation_list.and_then(|list| list.items).unwrap_or_default() {
            let answer = self
                .client
                .get_invalidation()
                .distribution_id(distribution)
                .id(&summary.id)
                .send()
                .await;
            let found = answer
                .map_err(|error| AwsError::new("cloudfront", "GetInvalidation", resource(distribution), &error))?
                .invalidation;
            let Some(found) = found else { continue };
            if found
                .invalidation_batch
                .is_some_and(|batch| batch.caller_reference == reference)
            {
                return Ok(Some(Invalidation {
                    id: found.id,
                    status: found.status,
                }));
            }
        }
        Ok(None)
    }

    /// Looks at an invalidation.
    ///
    /// # Errors
    /// Whatever AWS says; needs `cloudfront:GetInvalidation`.
    pub async fn invalidation(&self, distribution: &str, id: &str) -> Result<Invalidation, AwsError> {
        match self
            .client
            .get_invalidation()
            .distribution_id(distribution)
            .id(id)
            .send()
            .await
        {
            Ok(output) => match output.invalidation {
                Some(invalidation) => Ok(Invalidation {
                    id: invalidation.id,
                    status: invalidation.status,
                }),
                None => Err(unreadable("GetInvalidation", distribution)),
            },
            Err(error) => Err(AwsError::new(
                "cloudfront",
                "GetInvalidation",
                resource(distribution),
                &error,
            )),
        }
    }
}

fn batch(reference: &str, paths: &[String]) -> Result<InvalidationBatch, BuildError> {
    let quantity = i32::try_from(paths.len()).unwrap_or(i32::MAX);
    let paths = Paths::builder()
        .quantity(quantity)
        .set_items(Some(paths.to_vec()))
        .build()?;
    InvalidationBatch::builder()
        .paths(paths)
        .caller_reference(reference)
        .build()
}

/// CloudFront knows this reference already.
fn is_reference_used(error: &AwsError) -> bool {
    error.is_code("InvalidationBatchAlreadyExists")
        || (error.is_code("InvalidArgument") && error.message.to_ascii_lowercase().contains("caller reference"))
}

fn resource(distribution: &str) -> String {
    format!("distribution {distribution}")
}

fn unreadable(operation: &'static str, distribution: &str) -> AwsError {
    AwsError {
        service: "cloudfront",
        operation,
        resource: resource(distribution),
        class: Class::Ambiguous,
        code: None,
        message: "its answer names no invalidation".to_owned(),
    }
}
