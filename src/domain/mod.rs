//! The words of Greenlight as types: names, environments, releases, plans, the job's state machine.
//!
//! Pure: nothing here talks to a database, to AWS or to a clock, and nothing here imports another room
//! of the project (a test holds that). Whatever can be decided without asking anybody is decided here.
//!
//! To add a traffic router: a variant of [`environment::Router`] with its limits. To add a step: a
//! variant of [`plan::StepParams`].

pub mod callback;
pub mod deployment;
pub mod environment;
pub mod error;
pub mod job;
pub mod names;
pub mod plan;
pub mod pointer;
pub mod preview;
pub mod release;
pub mod role;
pub mod schedule;
pub mod template;
pub mod verdict;
