//! What the schemas need besides their derives.

use std::collections::BTreeSet;

use serde_json::Value;
use utoipa::{
    PartialSchema,
    openapi::{
        Components, Ref, RefOr, Schema,
        request_body::RequestBody,
        schema::{AllOf, ArrayItems, Object},
    },
};

use crate::{domain::error::FieldError, http::problem::ProblemBody, service::Code};

/// The schemas that only answers use: their fields are always there.
const VIEWS: [&str; 15] = [
    "App",
    "Deployment",
    "Drift",
    "Environment",
    "Event",
    "Job",
    "Lock",
    "Plan",
    "PlanStep",
    "Pointer",
    "Readiness",
    "ReadinessCheck",
    "Release",
    "Remark",
    "Step",
];

/// Completes the schemas. Returns the names of those that need no field, so that a body may be empty.
pub fn complete(components: &mut Components) -> BTreeSet<String> {
    components.schemas.insert("Problem".to_owned(), problem());
    components.schemas.insert("FieldError".to_owned(), FieldError::schema());
    open_composed(components);
    for (name, schema) in &mut components.schemas {
        if let (Some(item), RefOr::T(Schema::Object(page))) = (name.strip_prefix("Page_"), &mut *schema) {
            point_at(page, item);
        }
        if VIEWS.contains(&name.as_str()) || name.starts_with("Page_") {
            require_all(schema);
        }
    }
    components
        .schemas
        .iter()
        .filter(|(_, schema)| needs_nothing(schema))
        .map(|(name, _)| name.clone())
        .collect()
}

/// Whether a body is one of the schemas `names`.
pub fn is_one_of(body: &RequestBody, names: &BTreeSet<String>) -> bool {
    let mut contents = body.content.values();
    contents.any(|content| match content {
        RefOr::T(content) => match &content.schema {
            Some(RefOr::Ref(reference)) => names.contains(name_of(reference)),
            _ => false,
        },
        RefOr::Ref(_) => false,
    })
}

fn needs_nothing(schema: &RefOr<Schema>) -> bool {
    matches!(schema, RefOr::T(Schema::Object(object)) if object.required.is_empty())
}

fn name_of(reference: &Ref) -> &str {
    reference.ref_location.rsplit('/').next().unwrap_or_default()
}

fn problem() -> RefOr<Schema> {
    let mut schema = ProblemBody::schema();
    if let RefOr::T(Schema::Object(object)) = &mut schema {
        let codes: Vec<Value> = Code::ALL.into_iter().map(|code| code.as_str().into()).collect();
        if let Some(RefOr::T(Schema::Object(code))) = object.properties.get_mut("code") {
            code.enum_values = Some(codes);
        }
    }
    schema
}

/// A page's items are the schema of that name, and not a copy of it.
fn point_at(page: &mut Object, item: &str) {
    if let Some(RefOr::T(Schema::Array(items))) = page.properties.get_mut("items") {
        items.items = ArrayItems::RefOrSchema(Box::new(Ref::from_schema_name(item).into()));
    }
}

fn require_all(schema: &mut RefOr<Schema>) {
    if let RefOr::T(Schema::Object(Object {
        required, properties, ..
    })) = schema
    {
        *required = properties.keys().cloned().collect();
    }
}

/// A schema that is part of another may not forbid the other's fields: what is told apart by a tag would
/// match nothing. The service refuses unknown fields there all the same.
fn open_composed(components: &mut Components) {
    let mut parts = BTreeSet::new();
    for schema in components.schemas.values() {
        match schema {
            RefOr::T(Schema::AllOf(all)) => parts.extend(parts_of(all)),
            RefOr::T(Schema::OneOf(one)) => {
                for alternative in &one.items {
                    if let RefOr::T(Schema::AllOf(all)) = alternative {
                        parts.extend(parts_of(all));
                    }
                }
            }
            _ => {}
        }
    }
    for name in parts {
        if let Some(RefOr::T(Schema::Object(object))) = components.schemas.get_mut(&name) {
            object.additional_properties = None;
        }
    }
}

fn parts_of(all: &AllOf) -> Vec<String> {
    let name = |item: &RefOr<Schema>| match item {
        RefOr::Ref(reference) => Some(name_of(reference).to_owned()),
        RefOr::T(_) => None,
    };
    all.items.iter().filter_map(name).collect()
}
