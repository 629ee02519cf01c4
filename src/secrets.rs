//! Joins what `service` asks for to what `traffic` can do: the secrets of previews, which lie in AWS.

use async_trait::async_trait;
use rand::Rng;

use crate::{
    aws::{
        Aws,
        error::{AwsError, Class},
    },
    domain::{
        environment::{AwsAccount, Component, router::PREVIEW_KEY_SUFFIX},
        error::JobError,
        preview,
    },
    service::{Code, Result, ServiceError, previews::Secrets},
    traffic::{self, preview::SecretError},
};

/// The secrets beside the pointers in AWS.
#[derive(Debug, Clone)]
pub struct AwsSecrets {
    pub aws: Aws,
}

#[async_trait]
impl Secrets for AwsSecrets {
    async fn secret(&self, account: &AwsAccount, component: &Component) -> Result<String> {
        let mut random = [0u8; 32];
        rand::rng().fill_bytes(&mut random);
        let router = traffic::router(&self.aws, account, component);
        let found = traffic::preview::secret(router.as_ref(), &preview::secret(random)).await;
        found.map_err(|error| refusal(&error))
    }
}

fn refusal(error: &SecretError) -> ServiceError {
    match error {
        SecretError::Aws(error) => aws_refusal(error),
        SecretError::NoSecret(_) => ServiceError::new(
            Code::PreviewKeyUnavailable,
            format!(
                "Under its name with {PREVIEW_KEY_SUFFIX} behind it, {error}: that is 64 digits of lower-case \
                 hexadecimal. Delete it, and the next preview makes a new one."
            ),
        ),
    }
}

/// AWS said no: the caller can't help it, an operator can. AWS said nothing: later, perhaps.
fn aws_refusal(error: &AwsError) -> ServiceError {
    let code = match error.class {
        Class::Throttled | Class::Ambiguous | Class::Moved => Code::AwsUnavailable,
        Class::NotFound | Class::AccessDenied | Class::Refused | Class::NotSent => Code::PreviewKeyUnavailable,
    };
    let JobError { message, hint, .. } = error.job_error();
    let detail = match hint {
        Some(hint) => format!("{message} {hint}"),
        None => message,
    };
    ServiceError::new(code, detail)
}
