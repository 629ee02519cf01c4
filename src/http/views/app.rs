//! Applications.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{domain::names::Name, store::apps::App};

/// An application.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = App)]
pub struct AppView {
    pub name: Name,
    #[schema(example = "The shop window")]
    pub description: Option<String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

impl From<App> for AppView {
    fn from(app: App) -> Self {
        Self {
            name: app.name,
            description: app.description,
            created_at: app.created_at,
            updated_at: app.updated_at,
        }
    }
}
