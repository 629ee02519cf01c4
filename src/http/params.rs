//! What is in the address: path segments and query parameters, parsed into the domain's types.
//!
//! A new address: a struct with [`utoipa::IntoParams`] and one of the two traits. A segment that is no
//! name is a 422 that names it; so is a query parameter that is unknown, wrong or given twice.

use std::{fmt::Display, str::FromStr};

use axum::{
    extract::{FromRequestParts, Query, RawPathParams},
    http::{Uri, request::Parts},
};
use utoipa::IntoParams;
use uuid::Uuid;

use super::{
    page::Limit,
    problem::{Problem, Result},
};
use crate::{
    domain::{
        error::FieldError,
        names::{Name, Version},
    },
    service::{Code, ServiceError},
};

/// Reads itself from the path.
pub trait PathParams: Sized {
    fn read(segments: &Segments) -> Result<Self, ServiceError>;
}

/// Extracts `T` from the path.
pub struct InPath<T>(pub T);

impl<S: Send + Sync, T: PathParams> FromRequestParts<S> for InPath<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let raw = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::new(Code::MalformedRequest, "The path is not percent-encoded UTF-8."))?;
        let segments = raw
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Ok(Self(T::read(&Segments(segments))?))
    }
}

/// The named segments of a path.
pub struct Segments(Vec<(String, String)>);

impl Segments {
    fn get(&self, name: &str) -> &str {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value)
    }

    /// # Errors
    /// [`Code::ValidationFailed`], naming the segment.
    pub fn name(&self, name: &str) -> Result<Name, ServiceError> {
        Name::parse(self.get(name)).map_err(|why| ServiceError::invalid(name, why.to_string()))
    }

    /// # Errors
    /// [`Code::ValidationFailed`], naming the segment.
    pub fn version(&self, name: &str) -> Result<Version, ServiceError> {
        Version::parse(self.get(name)).map_err(|why| ServiceError::invalid(name, why.to_string()))
    }

    /// # Errors
    /// [`Code::NotFound`]: what is no id is the id of nothing.
    pub fn job(&self, name: &str) -> Result<Uuid, ServiceError> {
        let text = self.get(name);
        Uuid::try_parse(text).map_err(|_| ServiceError::not_found("job", text))
    }
}

/// Reads itself from the query.
pub trait QueryParams: Sized {
    fn read(given: &mut Given) -> Self;
}

/// Extracts `T` from the query.
pub struct InQuery<T>(pub T);

impl<S: Send + Sync, T: QueryParams> FromRequestParts<S> for InQuery<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        Ok(Self(parse_query(&parts.uri)?))
    }
}

fn parse_query<T: QueryParams>(uri: &Uri) -> Result<T> {
    let unreadable = || Problem::new(Code::MalformedRequest, "The query is not percent-encoded UTF-8.");
    if !uri.query().is_none_or(decodes_to_utf8) {
        return Err(unreadable());
    }
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri).map_err(|_| unreadable())?;
    let mut given = Given {
        pairs,
        problems: Vec::new(),
    };
    let read = T::read(&mut given);
    given.finish()?;
    Ok(read)
}

/// Whether what the percent signs stand for is UTF-8: the parser would put replacement characters there.
fn decodes_to_utf8(query: &str) -> bool {
    let (mut bytes, mut rest) = (Vec::with_capacity(query.len()), query.as_bytes());
    while let [first, tail @ ..] = rest {
        let hex = |at: usize| tail.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        if let (b'%', Some(high), Some(low)) = (*first, hex(0), hex(1)) {
            bytes.push(u8::try_from(high * 16 + low).unwrap_or_default());
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    std::str::from_utf8(&bytes).is_ok()
}

/// The parameters of a query that nobody has taken yet, and what is wrong with the others.
pub struct Given {
    pairs: Vec<(String, String)>,
    problems: Vec<FieldError>,
}

impl Given {
    /// Takes a parameter, parsed.
    pub fn take<T, E: Display>(&mut self, name: &str, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        let mut values: Vec<String> = self
            .pairs
            .extract_if(.., |(key, _)| key == name)
            .map(|(_, value)| value)
            .collect();
        let value = values.pop()?;
        if !values.is_empty() {
            self.refuse(name, "is given more than once");
        }
        match parse(&value) {
            Ok(value) => Some(value),
            Err(why) => {
                self.refuse(name, why.to_string());
                None
            }
        }
    }

    /// Takes a number from `from` to `to`.
    pub fn number(&mut self, name: &str, from: i64, to: i64) -> Option<i64> {
        let wrong = || {
            if to == i64::MAX {
                format!("a number from {from}")
            } else {
                format!("a number from {from} to {to}")
            }
        };
        self.take(name, |text| match text.parse() {
            Ok(number) if (from..=to).contains(&number) => Ok(number),
            _ => Err(wrong()),
        })
    }

    /// Takes one of several words.
    pub fn word<T: FromStr + Copy + Display>(&mut self, name: &str, all: &[T]) -> Option<T> {
        let words: Vec<String> = all.iter().map(ToString::to_string).collect();
        self.take(name, |text| {
            text.parse().map_err(|_| format!("one of {}", words.join(", ")))
        })
    }

    pub fn name(&mut self, name: &str) -> Option<Name> {
        self.take(name, Name::parse)
    }

    pub fn refuse(&mut self, name: &str, message: impl Into<String>) {
        self.problems.push(FieldError::new(name, message));
    }

    fn finish(mut self) -> Result<(), ServiceError> {
        for (name, _) in std::mem::take(&mut self.pairs) {
            self.refuse(&name, "is not known here");
        }
        if self.problems.is_empty() {
            return Ok(());
        }
        Err(ServiceError::fields(Code::ValidationFailed, self.problems))
    }
}

/// `/v1/apps/{app}`
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct AppPath {
    /// The application's name.
    pub app: Name,
}

impl PathParams for AppPath {
    fn read(segments: &Segments) -> Result<Self, ServiceError> {
        Ok(Self {
            app: segments.name("app")?,
        })
    }
}

/// `/v1/apps/{app}/environments/{env}`
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct EnvironmentPath {
    /// The application's name.
    pub app: Name,
    /// The environment's name.
    #[param(example = "production")]
    pub env: Name,
}

impl PathParams for EnvironmentPath {
    fn read(segments: &Segments) -> Result<Self, ServiceError> {
        Ok(Self {
            app: segments.name("app")?,
            env: segments.name("env")?,
        })
    }
}

/// `/v1/apps/{app}/releases/{version}`
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct ReleasePath {
    /// The application's name.
    pub app: Name,
    /// The release's version.
    pub version: Version,
}

impl PathParams for ReleasePath {
    fn read(segments: &Segments) -> Result<Self, ServiceError> {
        Ok(Self {
            app: segments.name("app")?,
            version: segments.version("version")?,
        })
    }
}

/// `/v1/jobs/{id}`
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct JobPath {
    /// The job's id.
    pub id: Uuid,
}

impl PathParams for JobPath {
    fn read(segments: &Segments) -> Result<Self, ServiceError> {
        Ok(Self {
            id: segments.job("id")?,
        })
    }
}

/// Takes `limit`.
pub fn limit(given: &mut Given) -> Limit {
    given.number("limit", 1, Limit::MAX).map_or_else(Limit::default, Limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Some2 {
        app: Option<Name>,
        limit: Limit,
    }

    impl QueryParams for Some2 {
        fn read(given: &mut Given) -> Self {
            Self {
                app: given.name("app"),
                limit: limit(given),
            }
        }
    }

    fn query(text: &str) -> Result<Some2> {
        parse_query(&format!("/v1/jobs?{text}").parse().unwrap())
    }

    fn refused(text: &str) -> (Code, Vec<String>) {
        let error = query(text).unwrap_err().0;
        (
            error.code,
            error.fields.iter().map(|field| field.field.clone()).collect(),
        )
    }

    #[test]
    fn a_query_is_read_and_defaults_apply() {
        let read = query("app=storefront").unwrap();
        assert_eq!(read.app.unwrap().as_str(), "storefront");
        assert_eq!(read.limit.0, 50);
        assert_eq!(query("limit=200").unwrap().limit.0, 200);
    }

    #[test]
    fn every_wrong_parameter_is_named() {
        assert_eq!(
            refused("limit=0&app=A&x=1"),
            (Code::ValidationFailed, vec!["app".into(), "limit".into(), "x".into()])
        );
        assert_eq!(refused("limit=201").1, ["limit"]);
        assert_eq!(refused("limit=%00").1, ["limit"]);
        assert_eq!(refused("app=a&app=b").1, ["app"]);
    }

    #[test]
    fn bytes_that_are_no_utf8_are_malformed() {
        for bad in ["app=%ff", "%c3%28=1", "app=%C0%80"] {
            assert_eq!(refused(bad).0, Code::MalformedRequest, "{bad}");
        }
        // A percent sign that stands for nothing is itself.
        assert_eq!(refused("app=%").0, Code::ValidationFailed);
        assert_eq!(refused("app=%C3%A4").0, Code::ValidationFailed);
    }
}
