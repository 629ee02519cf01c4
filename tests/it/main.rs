//! The integration tests: one binary, one file a story.
//!
//! Everything is real: PostgreSQL (a private one, started by the first test that needs it), the router,
//! the engine. AWS is the strict double, and once more moto and ministack. Time is moved, not slept: see
//! [`support::TestApp::advance`].
#![cfg(feature = "dev")]
#![allow(clippy::disallowed_methods, reason = "tests look at the machine's clock")]

mod api;
mod artifacts;
mod bad_input;
mod binary;
mod break_glass;
mod converge;
mod corners;
mod dev_command;
mod docs;
mod double;
mod edge;
mod edge_load;
mod idempotency;
mod kvs;
mod layers;
mod ministack;
mod model;
mod moto;
mod previews;
mod private_postgres;
mod promotion;
mod proofs;
mod rollback;
mod store;
mod support;
mod validation;
mod workers;
