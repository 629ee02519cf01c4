//! SSM Parameter Store, as far as a pointer needs it.

use aws_config::{SdkConfig, timeout::TimeoutConfig};
use aws_sdk_ssm::{Client, config::Config, types::ParameterType};

use super::{
    error::{AwsError, Class},
    guard::{SignInTime, WriteGuard},
};

/// A parameter as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    pub value: String,
    pub version: i64,
}

/// Parameter Store of one account and region.
#[derive(Debug, Clone)]
pub struct Ssm {
    client: Client,
    region: String,
}

impl Ssm {
    pub fn new(config: &SdkConfig, region: &str) -> Self {
        Self {
            client: Client::new(config),
            region: region.to_owned(),
        }
    }

    fn resource(&self, name: &str) -> String {
        format!("parameter {name} in {}", self.region)
    }

    /// Reads a parameter. `None`: there is none.
    ///
    /// # Errors
    /// Whatever else AWS says; needs `ssm:GetParameter`.
    pub async fn get(&self, name: &str) -> Result<Option<Parameter>, AwsError> {
        let answer = self
            .client
            .get_parameter()
            .name(name)
            .with_decryption(true)
            .send()
            .await;
        match answer {
            Ok(output) => Ok(output.parameter.map(|parameter| Parameter {
                version: parameter.version,
                value: parameter.value.unwrap_or_default(),
            })),
            Err(error) => {
                let error = AwsError::new("ssm", "GetParameter", self.resource(name), &error);
                if error.class == Class::NotFound {
                    Ok(None)
                } else {
                    Err(error)
                }
            }
        }
    }

    /// The value a parameter had in one version, if AWS still knows it (100 versions are kept).
    pub async fn version(&self, name: &str, version: i64) -> Result<Option<String>, AwsError> {
        Ok(self
            .get(&format!("{name}:{version}"))
            .await?
            .map(|parameter| parameter.value))
    }

    /// Changes a parameter that exists. Returns the new version.
    ///
    /// # Errors
    /// Whatever AWS says; needs `ssm:PutParameter`. One attempt, signed and answered within `guard`.
    pub async fn overwrite(&self, name: &str, value: &str, guard: WriteGuard) -> Result<i64, AwsError> {
        self.put(name, value, true, guard).await
    }

    /// Creates a parameter of type `String`. Returns its version.
    ///
    /// # Errors
    /// `ParameterAlreadyExists` when it was made meanwhile; else as [`Self::overwrite`].
    pub async fn create(&self, name: &str, value: &str, guard: WriteGuard) -> Result<i64, AwsError> {
        self.put(name, value, false, guard).await
    }

    /// Creates a parameter of type `SecureString`, under the account's own key for Parameter Store.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub async fn create_secret(&self, name: &str, value: &str, guard: WriteGuard) -> Result<i64, AwsError> {
        self.put_as(name, value, Some(ParameterType::SecureString), guard).await
    }

    async fn put(&self, name: &str, value: &str, overwrite: bool, guard: WriteGuard) -> Result<i64, AwsError> {
        // An overwrite without a type keeps the parameter's own: a SecureString stays one.
        let kind = (!overwrite).then_some(ParameterType::String);
        self.put_as(name, value, kind, guard).await
    }

    /// With a type it is created, without one written over.
    async fn put_as(
        &self,
        name: &str,
        value: &str,
        kind: Option<ParameterType>,
        guard: WriteGuard,
    ) -> Result<i64, AwsError> {
        let answer = self
            .client
            .put_parameter()
            .name(name)
            .value(value)
            .overwrite(kind.is_none())
            .set_type(kind)
            .customize()
            .config_override(within(guard))
            .interceptor(SignInTime(guard))
            .send()
            .await;
        match answer {
            Ok(output) => Ok(output.version),
            Err(error) => Err(AwsError::new("ssm", "PutParameter", self.resource(name), &error)),
        }
    }

    /// Deletes a parameter. Deleting what is not there is done.
    ///
    /// # Errors
    /// Whatever else AWS says; needs `ssm:DeleteParameter`.
    pub async fn delete(&self, name: &str, guard: WriteGuard) -> Result<(), AwsError> {
        let answer = self
            .client
            .delete_parameter()
            .name(name)
            .customize()
            .config_override(within(guard))
            .interceptor(SignInTime(guard))
            .send()
            .await;
        match answer {
            Ok(_) => Ok(()),
            Err(error) => {
                let error = AwsError::new("ssm", "DeleteParameter", self.resource(name), &error);
                if error.class == Class::NotFound {
                    Ok(())
                } else {
                    Err(error)
                }
            }
        }
    }
}

fn within(guard: WriteGuard) -> aws_sdk_ssm::config::Builder {
    let timeouts = TimeoutConfig::builder().operation_timeout(guard.remaining()).build();
    Config::builder().timeout_config(timeouts)
}
