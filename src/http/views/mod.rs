//! What the API shows. To add a field: here, where its name and meaning are the contract, and nowhere else.
//!
//! Every field of a view is always there, `null` when it is not known (`openapi` says so for all of them).

pub mod app;
pub mod environment;
pub mod job;
pub mod plan;
pub mod preview;
pub mod release;

pub use app::AppView;
pub use environment::{DeploymentView, EnvironmentView};
pub use job::{EventView, JobView};
pub use plan::PlanView;
pub use preview::PreviewView;
pub use release::ReleaseView;
