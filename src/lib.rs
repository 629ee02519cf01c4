//! Greenlight: a release control plane for blue/green deployments on AWS.

#[cfg(feature = "dev")]
pub mod sandbox;
