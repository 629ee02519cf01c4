//! Newtypes for what people name: applications, environments, components and versions.
//!
//! A value of these types has been checked; there is no way to make one that has not.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};
use utoipa::ToSchema;

/// Longest [`Name`], in characters: a DNS label.
pub const NAME_MAX: usize = 63;
/// Longest [`Version`], in characters.
pub const VERSION_MAX: usize = 128;

/// A text that is not a name or version of the kind asked for. Its message says what would be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidName(String);

/// The name of an application, an environment or a component: `[a-z0-9][a-z0-9-]{0,62}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, pattern = "^[a-z0-9][a-z0-9-]{0,62}$", example = "storefront")]
pub struct Name(String);

/// The version of a release: `[A-Za-z0-9][A-Za-z0-9._+-]{0,127}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, pattern = "^[A-Za-z0-9][A-Za-z0-9._+-]{0,127}$", example = "1.43.0")]
pub struct Version(String);

impl Name {
    /// Checks and takes a name.
    ///
    /// # Errors
    /// [`InvalidName`] when it does not match `[a-z0-9][a-z0-9-]{0,62}`.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let mut chars = text.chars();
        let good = chars.next().is_some_and(lower) && chars.all(|c| lower(c) || c == '-') && text.len() <= NAME_MAX;
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName(
                "a name is 1 to 63 characters of a-z, 0-9 and '-', and begins with a letter or digit".to_owned(),
            ))
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Version {
    /// Checks and takes a version.
    ///
    /// # Errors
    /// [`InvalidName`] when it does not match `[A-Za-z0-9][A-Za-z0-9._+-]{0,127}`.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let mut chars = text.chars();
        let good = chars.next().is_some_and(|c| c.is_ascii_alphanumeric())
            && chars.all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '+' | '-'))
            && text.len() <= VERSION_MAX;
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName(
                "a version is 1 to 128 characters of A-Z, a-z, 0-9, '.', '_', '+' and '-', and begins \
                 with a letter or digit"
                    .to_owned(),
            ))
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_case_labels() {
        for good in ["a", "0", "web", "a-b", "a--", &"a".repeat(63)] {
            assert!(Name::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "A", "a_b", "a.b", "ä", "a b", "a/b", &"a".repeat(64)] {
            assert!(Name::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn versions_may_carry_build_metadata() {
        for good in ["1", "1.2.3+build.7", "v1_2-rc.1", &"1".repeat(128)] {
            assert!(Version::parse(good).is_ok(), "{good}");
        }
        for bad in ["", ".1", "+1", "1/2", "1 2", "1\u{0}", "é", &"1".repeat(129)] {
            assert!(Version::parse(bad).is_err(), "{bad}");
        }
    }
}
