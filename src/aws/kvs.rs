//! CloudFront KeyValueStore, as far as a pointer needs it: the data plane.
//!
//! Every write names the store's ETag, and AWS refuses it when that is not the store's any more: a
//! compare-and-swap over the whole store. A write that was answered therefore fences every one that was made
//! with an earlier ETag. Requests are signed with SigV4A, for every region.

use aws_config::{SdkConfig, timeout::TimeoutConfig};
use aws_sdk_cloudfrontkeyvaluestore::{
    Client,
    config::{
        self, Config,
        endpoint::{DefaultResolver, Endpoint, EndpointFuture, Params, ResolveEndpoint},
    },
    error::BuildError,
    types::{DeleteKeyRequestListItem, PutKeyRequestListItem},
};
use aws_smithy_types::{Document, endpoint::EndpointAuthScheme};

use super::{
    error::{AwsError, Class},
    guard::{SignInTime, WriteGuard},
};
use crate::domain::environment::router::KVS_VALUE_MAX;

/// As IAM spells it, and the scope of a signature.
pub const SERVICE: &str = "cloudfront-keyvaluestore";

/// A key of a store as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The store's: read before the value, so that a write with it replaces this value or fails.
    pub etag: String,
    /// `None`: the store has no such key.
    pub value: Option<String>,
}

/// Keys to put and to delete in one call.
#[derive(Debug, Clone, Default)]
pub struct Update<'a> {
    pub puts: Vec<(&'a str, &'a str)>,
    /// Each must be there: what AWS makes of one that is not, it doesn't say.
    pub deletes: Vec<&'a str>,
}

/// Key value stores of one account.
#[derive(Debug, Clone)]
pub struct KeyValueStores {
    client: Client,
}

impl KeyValueStores {
    pub fn new(config: &SdkConfig) -> Self {
        let config = config::Builder::from(config)
            .endpoint_resolver(LiteralEndpoint::default())
            .build();
        Self {
            client: Client::from_conf(config),
        }
    }

    /// Reads a key, and the ETag to write it with.
    ///
    /// # Errors
    /// Class [`Class::NotFound`] when the store is not there; needs
    /// `cloudfront-keyvaluestore:DescribeKeyValueStore` and `GetKey`.
    pub async fn observe(&self, arn: &str, key: &str) -> Result<Entry, AwsError> {
        let described = self.client.describe_key_value_store().kvs_arn(arn).send().await;
        let etag = described
            .map_err(|error| AwsError::new(SERVICE, "DescribeKeyValueStore", store(arn), &error))?
            .e_tag;
        let value = self.get(arn, key).await?;
        Ok(Entry { etag, value })
    }

    /// Reads a key of a store that is there. `None`: there is no such key.
    ///
    /// # Errors
    /// Whatever else AWS says; needs `cloudfront-keyvaluestore:GetKey`.
    pub async fn get(&self, arn: &str, key: &str) -> Result<Option<String>, AwsError> {
        match self.client.get_key().kvs_arn(arn).key(key).send().await {
            Ok(output) => Ok(Some(output.value)),
            Err(error) => {
                let error = AwsError::new(SERVICE, "GetKey", resource(arn, key), &error);
                if error.class == Class::NotFound {
                    Ok(None)
                } else {
                    Err(error)
                }
            }
        }
    }

    /// Makes the whole update, or nothing of it, if the store's ETag is still `etag`. Returns the new one.
    ///
    /// # Errors
    /// Class [`Class::Moved`] when the ETag is another, [`Class::Refused`] without a call when a value is too
    /// long; needs `cloudfront-keyvaluestore:UpdateKeys`. One attempt, signed and answered within `guard`.
    pub async fn update(
        &self,
        arn: &str,
        etag: &str,
        update: &Update<'_>,
        guard: WriteGuard,
    ) -> Result<String, AwsError> {
        let (puts, deletes) = items(update).map_err(|message| refused(arn, message))?;
        let timeouts = TimeoutConfig::builder().operation_timeout(guard.remaining()).build();
        let answer = self
            .client
            .update_keys()
            .kvs_arn(arn)
            .if_match(etag)
            .set_puts(puts)
            .set_deletes(deletes)
            .customize()
            .config_override(Config::builder().timeout_config(timeouts))
            .interceptor(SignInTime(guard))
            .send()
            .await;
        match answer {
            Ok(output) => Ok(output.e_tag),
            Err(error) => Err(AwsError::new(SERVICE, "UpdateKeys", store(arn), &error)),
        }
    }
}

type Items = (
    Option<Vec<PutKeyRequestListItem>>,
    Option<Vec<DeleteKeyRequestListItem>>,
);

fn items(update: &Update<'_>) -> Result<Items, String> {
    if let Some((key, value)) = update
        .puts
        .iter()
        .find(|(_, value)| value.chars().count() > KVS_VALUE_MAX)
    {
        let length = value.chars().count();
        return Err(format!(
            "key {key} would get {length} characters, and a value has {KVS_VALUE_MAX} at most"
        ));
    }
    let put = |(key, value): &(&str, &str)| PutKeyRequestListItem::builder().key(*key).value(*value).build();
    let delete = |key: &&str| DeleteKeyRequestListItem::builder().key(*key).build();
    let puts: Result<Vec<_>, BuildError> = update.puts.iter().map(put).collect();
    let deletes: Result<Vec<_>, BuildError> = update.deletes.iter().map(delete).collect();
    let some = |error: BuildError| error.to_string();
    let (puts, deletes) = (puts.map_err(some)?, deletes.map_err(some)?);
    Ok((
        (!puts.is_empty()).then_some(puts),
        (!deletes.is_empty()).then_some(deletes),
    ))
}

fn refused(arn: &str, message: String) -> AwsError {
    AwsError {
        service: SERVICE,
        operation: "UpdateKeys",
        resource: store(arn),
        class: Class::Refused,
        code: None,
        message,
    }
}

/// A key in words.
pub fn resource(arn: &str, key: &str) -> String {
    format!("key {key} of {}", store(arn))
}

fn store(arn: &str) -> String {
    format!("KeyValueStore {arn}")
}

/// AWS's endpoint where none is configured; else the configured one as it is. The SDK's own rules put the
/// account's id in front of the host there too, which emulators and proxies have no name for.
#[derive(Debug)]
pub struct LiteralEndpoint {
    aws: DefaultResolver,
}

impl Default for LiteralEndpoint {
    fn default() -> Self {
        Self {
            aws: DefaultResolver::new(),
        }
    }
}

impl ResolveEndpoint for LiteralEndpoint {
    fn resolve_endpoint<'a>(&'a self, params: &'a Params) -> EndpointFuture<'a> {
        let Some(url) = params.endpoint() else {
            return ResolveEndpoint::resolve_endpoint(&self.aws, params);
        };
        let sigv4a = EndpointAuthScheme::with_capacity("sigv4a", 2)
            .put("signingName", SERVICE)
            .put("signingRegionSet", vec![Document::from("*")]);
        EndpointFuture::ready(Ok(Endpoint::builder().url(url.to_owned()).auth_scheme(sigv4a).build()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:cloudfront::111122223333:key-value-store/a1b2c3d4-5678-90ab-cdef-example11111";

    async fn url_for(endpoint: Option<&str>) -> String {
        let params = Params::builder()
            .kvs_arn(ARN)
            .region("us-east-1")
            .set_endpoint(endpoint.map(str::to_owned))
            .build()
            .unwrap();
        let resolver = LiteralEndpoint::default();
        let endpoint = ResolveEndpoint::resolve_endpoint(&resolver, &params).await.unwrap();
        assert_eq!(endpoint.auth_schemes()[0].name(), "sigv4a");
        endpoint.url().to_owned()
    }

    #[tokio::test]
    async fn a_configured_endpoint_is_taken_literally() {
        assert_eq!(url_for(Some("http://127.0.0.1:4566")).await, "http://127.0.0.1:4566");
        assert_eq!(
            url_for(None).await,
            "https://111122223333.cloudfront-kvs.global.api.aws"
        );
    }

    #[test]
    fn a_value_that_is_too_long_is_refused_before_the_call() {
        let (fits, long) = ("é".repeat(1024), "x".repeat(1025));
        let update = |value| Update {
            puts: vec![("key", value)],
            deletes: Vec::new(),
        };
        assert!(items(&update(&fits)).is_ok());
        let why = items(&update(&long)).unwrap_err();
        assert!(why.contains("key key would get 1025 characters"), "{why}");
    }
}
