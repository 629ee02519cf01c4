//! The AWS double as what a local edge looks at.
//!
//! [`Bucket`] and [`Store`] take a closure, so that they can look at anything; the others know the double.

use async_trait::async_trait;

use super::sources::{Invalidation, Invalidations, KeyValues, Object, Origin, OriginError, PointerStore, StoreError};
use crate::sandbox::double::AwsDouble;

/// An S3 bucket behind an origin access control that may list it: what isn't there is a 404.
pub struct Bucket<F>(F);

impl<F: Fn(&str) -> Option<Object> + Send + Sync> Bucket<F> {
    /// `object` gives what is stored under a key.
    pub fn new(object: F) -> Self {
        Self(object)
    }
}

#[async_trait]
impl<F: Fn(&str) -> Option<Object> + Send + Sync> Origin for Bucket<F> {
    async fn fetch(&self, path: &str) -> Result<Option<Object>, OriginError> {
        Ok(key_of(path).as_deref().and_then(&self.0))
    }
}

/// The key that S3 looks for. S3 reads a `+` as a space, so a `+` has to come as `%2B`. `None`: no text, so no key.
fn key_of(path: &str) -> Option<String> {
    let mut key = Vec::with_capacity(path.len());
    let mut bytes = path.strip_prefix('/').unwrap_or(path).bytes();
    while let Some(byte) = bytes.next() {
        key.push(match byte {
            b'+' => b' ',
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(key).ok()
}

/// Anything that gives all its keys.
pub struct Store<F>(F);

impl<F: Fn() -> Result<KeyValues, StoreError> + Send + Sync> Store<F> {
    /// `read` gives every key with its value.
    pub fn new(read: F) -> Self {
        Self(read)
    }
}

impl<F: Fn() -> Result<KeyValues, StoreError> + Send + Sync> PointerStore for Store<F> {
    fn read(&self) -> Result<KeyValues, StoreError> {
        (self.0)()
    }
}

/// A CloudFront KeyValueStore.
pub struct KeyValueStore {
    double: AwsDouble,
    arn: String,
}

impl KeyValueStore {
    pub fn new(double: &AwsDouble, arn: &str) -> Self {
        Self {
            double: double.clone(),
            arn: arn.to_owned(),
        }
    }
}

impl PointerStore for KeyValueStore {
    fn read(&self) -> Result<KeyValues, StoreError> {
        match self.double.kvs_etag(&self.arn) {
            Some(_) => Ok(self.double.kvs_snapshot(&self.arn)),
            None => Err(StoreError("there is no such key value store".to_owned())),
        }
    }
}

/// An SSM parameter and what lies beside it: its last good copy, its preview secret.
pub struct Parameter {
    double: AwsDouble,
    region: String,
    name: String,
}

impl Parameter {
    pub fn new(double: &AwsDouble, region: &str, name: &str) -> Self {
        Self {
            double: double.clone(),
            region: region.to_owned(),
            name: name.to_owned(),
        }
    }
}

impl PointerStore for Parameter {
    fn read(&self) -> Result<KeyValues, StoreError> {
        let names = ["", ".last-good", ".preview-key"].map(|suffix| format!("{}{suffix}", self.name));
        Ok(names
            .into_iter()
            .filter_map(|name| {
                let (value, _) = self.double.parameter(&self.region, &name)?;
                Some((name, value))
            })
            .collect())
    }
}

/// The invalidations of a distribution of the default account.
pub struct DistributionInvalidations {
    double: AwsDouble,
    distribution: String,
}

impl DistributionInvalidations {
    pub fn new(double: &AwsDouble, distribution: &str) -> Self {
        Self {
            double: double.clone(),
            distribution: distribution.to_owned(),
        }
    }
}

impl Invalidations for DistributionInvalidations {
    fn after(&self, seen: usize) -> Vec<Invalidation> {
        self.double.invalidations_after(&self.distribution, seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_as_s3_reads_it() {
        for (path, key) in [
            ("/releases/1.0/index.html", Some("releases/1.0/index.html")),
            ("/releases/1.0%2Bbuild/a%20b", Some("releases/1.0+build/a b")),
            ("/releases/1.0+build", Some("releases/1.0 build")),
            ("/%C3%BC", Some("ü")),
            ("/ü", Some("ü")),
            ("//a", Some("/a")),
            ("/", Some("")),
            ("/%", None),
            ("/%2", None),
            ("/%zz", None),
            ("/%+1", None),
            ("/%FF", None),
        ] {
            assert_eq!(key_of(path).as_deref(), key, "{path}");
        }
    }
}
