//! The environment's document out of a file: what a PUT takes, or what a GET answered.
//!
//! An answer also says what is true of the environment now; that is left out. What is left is read by the same rules
//! as the API's, and every mistake is named by its field.

use std::{
    collections::BTreeSet,
    fmt, fs,
    io::{self, Read},
    path::Path,
};

use serde_json::{Map, Value};
use utoipa::{
    PartialSchema,
    openapi::{RefOr, Schema},
};

use crate::{
    domain::environment::EnvironmentDocument,
    http::body::{BODY_MAX_BYTES, parse},
};

/// Members by which an answer of the API is told from a document: no document has them.
const ANSWERED: [&str; 3] = ["app", "pointers", "created_at"];

/// One thing that is wrong: where, and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    place: String,
    message: String,
}

impl Problem {
    pub(super) fn of(place: &str, message: &impl fmt::Display) -> Self {
        Self {
            place: place.to_owned(),
            message: message.to_string(),
        }
    }

    fn within(self, file: &str) -> Self {
        let place = match self.place.as_str() {
            "" => file.to_owned(),
            field => format!("{file}: {field}"),
        };
        Self { place, ..self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// Reads the document; `-` is standard input.
///
/// # Errors
/// Everything that is wrong with it.
pub(super) fn read(path: &Path) -> Result<EnvironmentDocument, Vec<Problem>> {
    let named = if path == Path::new("-") {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    };
    let bytes = bytes(path).map_err(|error| vec![Problem::of(&named, &error)])?;
    understand(&bytes).map_err(|problems| problems.into_iter().map(|problem| problem.within(&named)).collect())
}

fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = BODY_MAX_BYTES as u64 + 1;
    if path == Path::new("-") {
        io::stdin().take(most).read_to_end(&mut bytes)?;
    } else {
        fs::File::open(path)?.take(most).read_to_end(&mut bytes)?;
    }
    if bytes.len() > BODY_MAX_BYTES {
        return Err(io::Error::other(format!("it has more than {BODY_MAX_BYTES} bytes")));
    }
    Ok(bytes)
}

/// The document in the text, or all that is wrong with it, by field.
fn understand(bytes: &[u8]) -> Result<EnvironmentDocument, Vec<Problem>> {
    let whole = |message: String| vec![Problem::of("", &message)];
    let value: Value = serde_json::from_slice(bytes).map_err(|error| whole(format!("it is not JSON: {error}")))?;
    let Value::Object(mut members) = value else {
        return Err(whole("it is not the JSON object of an environment".to_owned()));
    };
    let document = if is_answer(&members) {
        let known = members_of_a_document();
        members.retain(|member, _| known.contains(member));
        parse(Value::Object(members).to_string().as_bytes())
    } else {
        // From the text: only that still has a member that is given twice.
        parse(bytes)
    };
    let document: EnvironmentDocument = document.map_err(|error| {
        let fields = error.fields.iter();
        let problems: Vec<Problem> = fields.map(|field| Problem::of(&field.field, &field.message)).collect();
        if problems.is_empty() {
            whole(error.detail)
        } else {
            problems
        }
    })?;
    let problems = document.problems();
    if problems.is_empty() {
        return Ok(document);
    }
    let named = problems
        .iter()
        .map(|problem| Problem::of(&problem.field, &problem.message));
    Err(named.collect())
}

fn is_answer(members: &Map<String, Value>) -> bool {
    ANSWERED.iter().all(|member| members.contains_key(*member))
}

/// What a document may have at its top, by the API's own description of it.
fn members_of_a_document() -> BTreeSet<String> {
    match EnvironmentDocument::schema() {
        RefOr::T(Schema::Object(object)) => object.properties.into_keys().collect(),
        _ => BTreeSet::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document() -> Value {
        json!({
            "aws": {"region": "us-east-1"},
            "components": [{"name": "web", "router": {"kind": "ssm_pointer", "parameter": "/p"}}],
        })
    }

    fn problems(text: &str) -> Vec<String> {
        let found = understand(text.as_bytes()).unwrap_err();
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_an_answer_has_besides_the_document_is_left_out() {
        let plain = understand(document().to_string().as_bytes()).unwrap();
        let mut answer = document();
        for (member, value) in [
            ("app", json!("storefront")),
            ("name", json!("production")),
            ("pointers", json!([])),
            ("created_at", json!("2026-05-01T00:00:00Z")),
            ("something_of_tomorrow", json!(1)),
        ] {
            answer[member] = value;
        }
        assert_eq!(understand(answer.to_string().as_bytes()).unwrap(), plain);
        // Below the top it is as strict as ever.
        answer["components"][0]["surprise"] = json!(1);
        assert!(problems(&answer.to_string())[0].contains("surprise"));
    }

    #[test]
    fn every_mistake_is_named() {
        assert!(problems("{")[0].contains("not JSON"));
        assert!(problems("[]")[0].contains("not the JSON object"));
        assert!(problems("{}")[0].contains("aws"));
        let mut bad = document();
        bad["aws"]["region"] = json!("mars");
        bad["components"][0]["router"]["parameter"] = json!("a/b");
        bad["components"][0]["cdn"] = json!({"distribution_id": "e2"});
        let found = problems(&bad.to_string());
        assert_eq!(found.len(), 3, "{found:?}");
        for (problem, field) in found.iter().zip([
            "aws.region",
            "components[0].router.parameter",
            "components[0].cdn.distribution_id",
        ]) {
            assert!(problem.starts_with(&format!("{field}: ")), "{problem}");
        }
        let mut unknown = document();
        unknown["app"] = json!("storefront");
        assert!(
            problems(&unknown.to_string())[0].contains("app"),
            "a document is no answer"
        );
    }
}
