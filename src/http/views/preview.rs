//! Signed previews.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    domain::{
        names::{Name, Version},
        preview::{self, PREVIEW_NAME},
    },
    service::previews::{ComponentPreview, Preview},
};

/// What shows one browser a release before anybody else sees it. Whoever has it sees the release: hand it on with care.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Preview)]
pub struct PreviewView {
    pub release: Version,
    pub expires_at: DateTime<Utc>,
    /// Each component whose edge is routed at viewer-request.
    pub components: Vec<ComponentPreviewView>,
}

/// The preview of one component.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ComponentPreview)]
pub struct ComponentPreviewView {
    #[schema(example = "web")]
    pub component: Name,
    /// To open in a browser: it sets the cookie and leads on. Null without a `public_url`.
    #[schema(example = "https://www.example.com/?greenlight-preview=1800000000~1.43.0~14f8de42")]
    pub url: Option<String>,
    /// For a client of its own: what to send with each request.
    pub cookie: CookieView,
}

/// A cookie to send.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Cookie)]
pub struct CookieView {
    #[schema(example = "greenlight-preview")]
    pub name: &'static str,
    #[schema(example = "1800000000~1.43.0~14f8de42")]
    pub value: String,
}

impl From<Preview> for PreviewView {
    fn from(preview: Preview) -> Self {
        Self {
            release: preview.release,
            expires_at: preview.expires_at,
            components: preview.components.into_iter().map(ComponentPreviewView::from).collect(),
        }
    }
}

impl From<ComponentPreview> for ComponentPreviewView {
    fn from(component: ComponentPreview) -> Self {
        Self {
            url: component.public_url.map(|url| preview::link(&url, &component.token)),
            component: component.component,
            cookie: CookieView {
                name: PREVIEW_NAME,
                value: component.token,
            },
        }
    }
}
