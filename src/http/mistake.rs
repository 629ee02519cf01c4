//! Which field of a body is wrong: as exactly as can be told.
//!
//! An object that is told apart by a tag (`kind`, `mode`) is read as a whole, and so the path that the parser gives ends
//! at it. What is wrong inside is then searched for: the part without which the complaint is another.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::service::ServiceError;

/// Up to this size, with so many parts of one object or list, and so many tries in all, a mistake is searched for.
const SEARCH_MAX_BYTES: usize = 64 * 1024;
const SEARCH_MAX_PARTS: usize = 40;
const SEARCH_MAX_TRIES: u32 = 200;
/// The fields by which the domain tells objects apart.
const TAGS: [&str; 2] = ["kind", "mode"];

/// Where the type refused the JSON, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Empty: the whole body.
    path: String,
    message: String,
}

/// Reads a `T`.
///
/// # Errors
/// The first mistake in it.
pub fn from_text<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Mistake> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    serde_path_to_error::deserialize(&mut deserializer).map_err(Mistake::new)
}

/// A path with a field behind it.
pub fn join(path: &str, field: &str) -> String {
    if path.is_empty() {
        field.to_owned()
    } else {
        format!("{path}.{field}")
    }
}

impl Mistake {
    fn new(error: serde_path_to_error::Error<serde_json::Error>) -> Self {
        let path = error.path().to_string();
        let inner = error.into_inner();
        let message = inner.to_string();
        let message = message
            .rsplit_once(" at line ")
            .map_or(message.as_str(), |(text, _)| text)
            .to_owned();
        Self {
            path: if path == "." { String::new() } else { path },
            message,
        }
    }

    /// The field that these messages begin with, of which the path may know only the parent.
    fn named(&self, what: &str) -> Option<&str> {
        self.message.strip_prefix(what)?.split('`').next()
    }

    /// Names the field as exactly as can be.
    pub fn explain<T: DeserializeOwned>(self, size_bytes: usize, body: &Value) -> ServiceError {
        let (unknown, missing) = (self.named("unknown field `"), self.named("missing field `"));
        let named = unknown.or(missing).or(self.named("duplicate field `"));
        if let Some(field) = named
            && (self.path == field || self.path.ends_with(&format!(".{field}")))
        {
            return ServiceError::invalid(&self.path, self.message);
        }
        let mut path = self.path.clone();
        if size_bytes <= SEARCH_MAX_BYTES {
            let mut search = Search {
                body,
                mistake: &self,
                tries: SEARCH_MAX_TRIES,
            };
            let is_here = |search: &mut Search<'_>, path: &str| match (unknown, missing) {
                (Some(field), _) => value_at(body, path).is_some_and(|value| value.get(field).is_some()),
                (_, Some(field)) => search.lacks::<T>(path, field),
                _ => false,
            };
            // A field that is given twice is in the text alone.
            if search.complaint::<T>("", |_| ()).as_ref() == Some(&self) {
                while !is_here(&mut search, &path) {
                    let Some(part) = search.culprit::<T>(&path) else { break };
                    path = part;
                }
                if search.tries == 0 {
                    path.clone_from(&self.path);
                }
            }
        }
        if let Some(field) = named {
            path = join(&path, field);
        }
        ServiceError::invalid(&path, self.message)
    }
}

/// Reads changed copies of a body, and looks whether the complaint stays the same.
struct Search<'a> {
    body: &'a Value,
    mistake: &'a Mistake,
    tries: u32,
}

impl Search<'_> {
    /// The complaint about the body with its part at `path` changed; `None`: there is none any more, or there are no
    /// tries left.
    fn complaint<T: DeserializeOwned>(&mut self, path: &str, change: impl FnOnce(&mut Value)) -> Option<Mistake> {
        self.tries = self.tries.saturating_sub(1);
        if self.tries == 0 {
            return None;
        }
        let mut body = self.body.clone();
        change(body.pointer_mut(&pointer(path))?);
        serde_path_to_error::deserialize::<_, T>(body).err().map(Mistake::new)
    }

    /// True when the object at `path` is the one that lacks `field`: with it the complaint is another.
    fn lacks<T: DeserializeOwned>(&mut self, path: &str, field: &str) -> bool {
        if !value_at(self.body, path).is_some_and(Value::is_object) {
            return false;
        }
        let with = self.complaint::<T>(path, |value| value[field] = Value::Null);
        with.is_some_and(|with| with != *self.mistake && with.named("unknown field `") != Some(field))
    }

    /// The part of what is at `path` that is wrong.
    fn culprit<T: DeserializeOwned>(&mut self, path: &str) -> Option<String> {
        match value_at(self.body, path)? {
            Value::Array(items) => {
                let upto = items.len().min(SEARCH_MAX_PARTS);
                let mut is_wrong = |length: usize| {
                    let complaint = self.complaint::<T>(path, |value| {
                        if let Value::Array(items) = value {
                            items.truncate(length);
                        }
                    });
                    complaint.as_ref() == Some(self.mistake)
                };
                if is_wrong(0) {
                    return None;
                }
                let at = (0..upto).find(|at| is_wrong(at + 1))?;
                Some(format!("{path}[{at}]"))
            }
            Value::Object(fields) => {
                let mut fields: Vec<&String> = fields.keys().take(SEARCH_MAX_PARTS).collect();
                // Without its tag every object gets another complaint, so that is the last explanation.
                fields.sort_by_key(|field| TAGS.contains(&field.as_str()));
                let mut needed = None;
                for field in fields {
                    let without = self.complaint::<T>(path, |value| {
                        if let Value::Object(object) = value {
                            object.remove(field);
                        }
                    });
                    match without {
                        Some(same) if same == *self.mistake => {}
                        // What is needed may be right all the same.
                        Some(other) if other.named("missing field `") == Some(field) => {
                            needed.get_or_insert(field);
                        }
                        _ => return Some(join(path, field)),
                    }
                }
                needed.map(|field| join(path, field))
            }
            _ => None,
        }
    }
}

fn value_at<'v>(body: &'v Value, path: &str) -> Option<&'v Value> {
    body.pointer(&pointer(path))
}

/// `components[0].router` as a JSON pointer (RFC 6901).
fn pointer(path: &str) -> String {
    if path.is_empty() {
        return String::new();
    }
    format!(
        "/{}",
        path.replace('~', "~0")
            .replace('/', "~1")
            .replace('[', ".")
            .replace(']', "")
            .replace('.', "/")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::environment::EnvironmentDocument;

    /// The field that a document is refused for, below `aws` and one good component.
    fn refused(more: &str) -> String {
        let text = format!(
            r#"{{"aws": {{"region": "us-east-1"}}, {more}, "components":
                [{{"name": "web", "router": {{"kind": "ssm_pointer", "parameter": "/x"}}}}]}}"#
        );
        let body = serde_json::from_str(&text).unwrap();
        let mistake = from_text::<EnvironmentDocument>(text.as_bytes()).unwrap_err();
        let error = mistake.explain::<EnvironmentDocument>(text.len(), &body);
        error.fields[0].field.clone()
    }

    #[test]
    fn a_mistake_deep_inside_a_tagged_object_is_found() {
        let steps = |steps: &str| format!(r#""strategy": {{"kind": "canary", "steps": [{steps}]}}"#);
        let good = r#"{"weight": 5, "bake_seconds": 60}"#;
        for (more, field) in [
            (steps(r#"{"weight": 5}"#), "strategy.steps[0].bake_seconds"),
            (
                steps(&format!(r#"{good}, {{"bake_seconds": 5}}"#)),
                "strategy.steps[1].weight",
            ),
            (
                steps(&format!(r#"{good}, {{"weight": "6", "bake_seconds": 5}}"#)),
                "strategy.steps[1].weight",
            ),
            (
                steps(&format!(r#"{good}, {{"weight": 6, "bake_seconds": 5, "colour": 1}}"#)),
                "strategy.steps[1].colour",
            ),
            (steps("7"), "strategy.steps[0]"),
            (r#""strategy": {"kind": "canary"}"#.into(), "strategy.steps"),
            (
                r#""strategy": {"kind": "canary", "steps": {}}"#.into(),
                "strategy.steps",
            ),
            (
                r#""strategy": {"kind": "teleport", "steps": []}"#.into(),
                "strategy.kind",
            ),
            (r#""strategy": {"steps": []}"#.into(), "strategy.kind"),
            (r#""checks": [{"kind": "http", "name": "a"}]"#.into(), "checks[0].url"),
            (
                r#""checks": [{"kind": "http", "name": "a", "url": "u", "expect_body": {"contains": 1}}]"#.into(),
                "checks[0].expect_body.contains",
            ),
            (
                r#""checks": [{"kind": "http", "name": "a", "url": "u", "expect_status": [200, "x"]}]"#.into(),
                "checks[0].expect_status[1]",
            ),
        ] {
            assert_eq!(refused(&more), field, "{more}");
        }
    }
}
