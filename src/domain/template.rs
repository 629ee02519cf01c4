//! Placeholders in what checks and hooks send: `{release}`, `{artifacts.web.uri}` and their like.
//!
//! A value is made safe for the place it goes to: it can't leave its segment of a URL, its line of a header or its
//! string of a JSON body.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::Value;

use super::{
    names::{Name, Version},
    release::Artifact,
};

/// The placeholders without a dot.
const PLAIN: [&str; 6] = ["release", "from_release", "app", "environment", "weight", "commit"];

/// Where a rendered text goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Percent-encoded but for unreserved characters (RFC 3986, section 2.3).
    Url,
    /// As it is: a header that takes no such text is refused when it is made.
    Header,
    /// Escaped as within a JSON string.
    Body,
}

/// What placeholders stand for.
#[derive(Debug, Clone)]
pub struct Subject<'a> {
    pub app: &'a Name,
    pub environment: &'a Name,
    pub release: Option<&'a Version>,
    pub from_release: Option<&'a Version>,
    /// Percent of the visitors on the release.
    pub weight: u32,
    pub commit: Option<&'a str>,
    pub artifacts: &'a BTreeMap<Name, Artifact>,
}

/// A placeholder that stands for nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{{{0}}} stands for nothing here")]
pub struct Missing(pub String);

/// The placeholders of a text, without their braces. Braces around anything else are text.
fn placeholders(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.match_indices('{').filter_map(|(at, _)| {
        let inner = &text[at + 1..];
        let name = &inner[..inner.find('}')?];
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        (name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(good)).then_some((at, name))
    })
}

/// The first placeholder that no release can give a value to.
pub fn unknown(text: &str) -> Option<&str> {
    let known = |name: &str| {
        PLAIN.contains(&name)
            || matches!(name.split('.').collect::<Vec<_>>()[..], ["artifacts", component, _] if Name::parse(component).is_ok())
    };
    placeholders(text).map(|(_, name)| name).find(|name| !known(name))
}

/// Fills a text in.
///
/// # Errors
/// [`Missing`] for a placeholder that has no value, such as `{from_release}` before the first release.
pub fn render(text: &str, subject: &Subject<'_>, place: Place) -> Result<String, Missing> {
    let mut rendered = String::with_capacity(text.len());
    let mut rest = 0;
    for (at, name) in placeholders(text) {
        let value = subject.value(name).ok_or_else(|| Missing(name.to_owned()))?;
        rendered.push_str(&text[rest..at]);
        put(&mut rendered, &value, place);
        rest = at + name.len() + 2;
    }
    rendered.push_str(&text[rest..]);
    Ok(rendered)
}

fn put(into: &mut String, value: &str, place: Place) {
    match place {
        Place::Header => into.push_str(value),
        Place::Body => {
            let quoted = Value::from(value).to_string();
            into.push_str(&quoted[1..quoted.len() - 1]);
        }
        Place::Url => {
            for byte in value.bytes() {
                if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
                    into.push(char::from(byte));
                } else {
                    // Writing to a String does not fail.
                    let _ = write!(into, "%{byte:02X}");
                }
            }
        }
    }
}

impl Subject<'_> {
    fn value(&self, name: &str) -> Option<String> {
        match name {
            "release" => self.release.map(ToString::to_string),
            "from_release" => self.from_release.map(ToString::to_string),
            "app" => Some(self.app.to_string()),
            "environment" => Some(self.environment.to_string()),
            "weight" => Some(self.weight.to_string()),
            "commit" => self.commit.map(str::to_owned),
            _ => {
                let (component, field) = name.strip_prefix("artifacts.")?.split_once('.')?;
                let artifact = self.artifacts.get(&Name::parse(component).ok()?)?;
                match field {
                    "uri" => artifact.uri.clone(),
                    field => match artifact.rest.get(field)? {
                        Value::String(text) => Some(text.clone()),
                        Value::Null => None,
                        other => Some(other.to_string()),
                    },
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rendered(text: &str, place: Place) -> Result<String, Missing> {
        let (app, environment) = (Name::parse("storefront").unwrap(), Name::parse("production").unwrap());
        let release = Version::parse("1.43.0+a").unwrap();
        let artifacts: BTreeMap<Name, Artifact> = serde_json::from_value(json!({
            "web": {"uri": "s3://b/1/", "port": 8080, "note": "a\"b\nc", "host": "evil.example/?#@"}
        }))
        .unwrap();
        let subject = Subject {
            app: &app,
            environment: &environment,
            release: Some(&release),
            from_release: None,
            weight: 5,
            commit: None,
            artifacts: &artifacts,
        };
        render(text, &subject, place)
    }

    #[test]
    fn a_value_stays_in_its_place() {
        for (text, place, expected) in [
            ("https://x/{release}?w={weight}", Place::Url, "https://x/1.43.0%2Ba?w=5"),
            (
                "https://{artifacts.web.host}/",
                Place::Url,
                "https://evil.example%2F%3F%23%40/",
            ),
            (
                "{app}/{environment} {release}",
                Place::Header,
                "storefront/production 1.43.0+a",
            ),
            (
                r#"{"note": "{artifacts.web.note}", "port": {artifacts.web.port}}"#,
                Place::Body,
                r#"{"note": "a\"b\nc", "port": 8080}"#,
            ),
            ("{}{ a}{A}{\"a\": 1}", Place::Body, "{}{ a}{A}{\"a\": 1}"),
        ] {
            assert_eq!(rendered(text, place).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn what_has_no_value_is_told() {
        for name in ["from_release", "commit", "artifacts.api.uri", "artifacts.web.absent"] {
            let missing = rendered(&format!("x{{{name}}}"), Place::Url);
            assert_eq!(missing, Err(Missing(name.to_owned())));
        }
    }

    #[test]
    fn a_mistyped_placeholder_is_found() {
        assert_eq!(unknown("https://x/{relase}/{release}"), Some("relase"));
        assert_eq!(unknown("{artifacts.web}"), Some("artifacts.web"));
        assert_eq!(unknown("{artifacts.web.uri}{commit}{\"json\": {}}"), None);
    }
}
