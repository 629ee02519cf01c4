//! Greenlight: a release control plane for blue/green deployments on AWS.
//!
//! The map of the code; imports go downwards only (`tests/it/layers.rs` holds that):
//!
//! ```text
//! http → service → store          what people call
//! engine → store                  durable execution, knows no step
//! steps → traffic, cdn, store     what a job can do
//! traffic → aws                   the roads
//! everyone → domain → nothing     the words
//! sandbox                         `greenlight dev`: private PostgreSQL, strict AWS double
//! ```

pub mod aws;
pub mod cdn;
pub mod config;
pub mod domain;
pub mod engine;
pub mod http;
#[cfg(feature = "dev")]
pub mod sandbox;
pub mod server;
pub mod service;
pub mod steps;
pub mod store;
pub mod telemetry;
pub mod traffic;
