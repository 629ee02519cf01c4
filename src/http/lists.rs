//! Lists where the API knows none. serde would read `[true]` as an object whose first field is `true`: such a body
//! says something else than its author meant, and no document of ours describes it.

use serde_json::Value;

use super::mistake::join;
use crate::domain::error::FieldError;

/// The fields that are lists, wherever they are.
const LISTS: [&str; 9] = [
    "addresses",
    "alarms",
    "checks",
    "components",
    "expect_status",
    "hooks",
    "paths",
    "regions",
    "steps",
];
/// What is in these is the caller's own.
const FREE: [&str; 3] = ["artifacts", "expect_json", "metadata"];

/// Every list in `value` where there can be none.
pub(super) fn misplaced(value: &Value, path: &str, found: &mut Vec<FieldError>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields.iter().filter(|(name, _)| !FREE.contains(&name.as_str())) {
                let path = join(path, name);
                match value {
                    Value::Array(items) if LISTS.contains(&name.as_str()) => {
                        for (at, item) in items.iter().enumerate() {
                            misplaced(item, &format!("{path}[{at}]"), found);
                        }
                    }
                    value => misplaced(value, &path, found),
                }
            }
        }
        Value::Array(_) => found.push(FieldError::new(path, "must not be a list")),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;
    use crate::http::openapi;

    #[test]
    fn a_list_where_an_object_belongs_is_found_and_the_callers_own_are_left_alone() {
        let mut found = Vec::new();
        let body = json!({
            "approvals": [], "aws": ["us-east-1"], "checks": [["http", "smoke"], {"alarms": ["a"]}],
            "strategy": {"steps": [{"weight": [5]}]}, "metadata": {"list": [[1]]},
            "artifacts": {"web": {"files": ["a"]}}});
        misplaced(&body, "", &mut found);
        let fields: Vec<&str> = found.iter().map(|it| it.field.as_str()).collect();
        assert_eq!(fields, ["approvals", "aws", "checks[0]", "strategy.steps[0].weight"]);
    }

    /// The names of lists in a schema, `$ref`s followed.
    fn lists(schema: &Value, name: &str, all: &Value, seen: &mut BTreeSet<String>, found: &mut BTreeSet<String>) {
        if let Some(reference) = schema["$ref"].as_str() {
            if seen.insert(reference.to_owned()) {
                let schema = all.pointer(reference.trim_start_matches('#')).unwrap();
                lists(schema, name, all, seen, found);
            }
            return;
        }
        let is = |kind: &Value| kind == "array" || kind.as_array().is_some_and(|kinds| kinds.contains(&json!("array")));
        if is(&schema["type"]) {
            found.insert(name.to_owned());
            lists(&schema["items"], "a list in a list", all, seen, found);
        }
        for many in ["oneOf", "anyOf", "allOf"] {
            for one in schema[many].as_array().into_iter().flatten() {
                lists(one, name, all, seen, found);
            }
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            lists(property, name, all, seen, found);
        }
    }

    #[test]
    fn these_are_the_lists_that_the_document_knows() {
        let all = serde_json::to_value(openapi::openapi()).unwrap();
        let mut found = BTreeSet::new();
        for (_, operations) in all["paths"].as_object().unwrap() {
            for (_, operation) in operations.as_object().unwrap() {
                let body = &operation["requestBody"]["content"]["application/json"]["schema"];
                lists(body, "", &all, &mut BTreeSet::new(), &mut found);
            }
        }
        assert_eq!(found, LISTS.map(str::to_owned).into());
    }
}
