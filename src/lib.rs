//! Greenlight: a release control plane for blue/green deployments on AWS.
//!
//! The map of the code; imports go downwards only (`tests/it/layers.rs` holds that):
//!
//! ```text
//! http → service → store          what people call
//! engine → store                  durable execution, knows no step
//! steps → traffic, cdn, store     what a job can do
//! traffic, cdn → aws              the roads
//! everyone → domain → nothing     the words
//! ```

pub mod domain;
pub mod engine;
pub mod store;
pub mod aws;
pub mod cdn;
pub mod steps;
pub mod traffic;
pub mod service;
