//! Greenlight: a release control plane for blue/green deployments on AWS.
//!
//! The map of the code; imports go downwards only (`tests/it/layers.rs` holds that):
//!
//! ```text
//! server, secrets                      put the rooms together
//! break_glass                          a release to everyone without the database: AWS and a document alone
//! http → service, engine, store        what people call
//! service → engine, store              the use-cases
//! steps → engine, traffic, cdn, outbound, store   what a job can do
//! engine → store                       durable execution, knows no step
//! traffic, cdn → aws                   the roads
//! outbound                             guarded requests to URLs that users name
//! everyone → domain → nothing          the words
//! sandbox                              `greenlight dev`: private PostgreSQL, strict AWS double, local edge
//! ```

pub mod aws;
pub mod break_glass;
pub mod cdn;
pub mod checks;
pub mod config;
pub mod domain;
pub mod engine;
pub mod http;
pub mod outbound;
#[cfg(feature = "dev")]
pub mod sandbox;
pub mod secrets;
pub mod server;
pub mod service;
pub mod steps;
pub mod store;
pub mod telemetry;
pub mod traffic;
