//! What the types of an environment's document cannot rule out: limits, names, things that don't go together.
//!
//! Each limit names the AWS page it comes from, here or at its constant.

mod checks;
mod router;
mod strategy;

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use super::{
    ArtifactSource, AwsAccount, COMPONENTS_MAX, Cdn, Component, Converge, Edge, EdgeMode, EnvironmentDocument,
    Invalidate,
    cdn::{INVALIDATION_PATHS_MAX, INVALIDATION_TIMEOUT_MAX_SECONDS, INVALIDATION_WILDCARDS_MAX},
    edge::CONVERGE_ADDRESSES_MAX,
};
use crate::domain::{error::FieldError, pointer::PointerFormat};

impl EnvironmentDocument {
    /// Everything that is wrong with it, with the field's path.
    pub fn problems(&self) -> Vec<FieldError> {
        let mut problems = Vec::new();
        let mut wrong = |field: String, message: &str| problems.push(FieldError::new(field, message));
        check_account(&self.aws, &mut wrong);
        if self.components.is_empty() || self.components.len() > COMPONENTS_MAX {
            wrong("components".into(), "1 to 20 components");
        }
        let mut names = BTreeSet::new();
        let mut keys = BTreeSet::new();
        for (at, component) in self.components.iter().enumerate() {
            let field = format!("components[{at}]");
            if !names.insert(&component.name) {
                wrong(format!("{field}.name"), "another component has this name");
            }
            check_component(component, &field, &mut wrong);
            let mut pointers = component.pointers(&self.aws).into_iter();
            if let Some(taken) = pointers.find(|pointer| !keys.insert(pointer.key.clone())) {
                wrong(
                    format!("{field}.router.{}", component.router.field_of(&taken.target)),
                    "another component or region of this environment has this pointer: one pointer has one owner",
                );
            }
        }
        strategy::check(&self.strategy, self, "strategy", &mut wrong);
        strategy::check_approvals(&self.approvals, &mut wrong);
        checks::check(self, &mut wrong);
        if !(1..=1000).contains(&self.retention.keep_releases) {
            wrong("retention.keep_releases".into(), "1 to 1000");
        }
        if self.retention.cleanup_after_seconds > 31_536_000 {
            wrong("retention.cleanup_after_seconds".into(), "0 to 31536000 (a year)");
        }
        problems
    }
}

fn check_account(account: &AwsAccount, wrong: &mut impl FnMut(String, &str)) {
    if !is_region(&account.region) {
        wrong("aws.region".into(), "an AWS region such as us-east-1");
    }
    if let Some(arn) = &account.role_arn
        && !is_role_arn(arn)
    {
        wrong(
            "aws.role_arn".into(),
            "a role's ARN such as arn:aws:iam::111122223333:role/greenlight",
        );
    }
    if let Some(id) = &account.external_id {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_+=,.@:/-".contains(c);
        if account.role_arn.is_none() {
            wrong("aws.external_id".into(), "goes with a role_arn");
        } else if !(2..=1224).contains(&id.len()) || !id.chars().all(allowed) {
            // STS API reference, "AssumeRole".
            wrong(
                "aws.external_id".into(),
                "2 to 1224 characters of letters, digits and _+=,.@:/-",
            );
        }
    }
}

fn check_component(component: &Component, field: &str, wrong: &mut impl FnMut(String, &str)) {
    router::check(&component.router, &format!("{field}.router"), wrong);
    if let Some(edge) = &component.edge {
        if edge.mode != EdgeMode::None && component.cdn.is_none() {
            wrong(format!("{field}.edge.mode"), "without a cdn the edge's mode is none");
        }
        if edge.mode == EdgeMode::ViewerRewrite && component.router.format() == PointerFormat::Plain {
            wrong(
                format!("{field}.router.format"),
                "edge.mode viewer_rewrite reads the json format",
            );
        }
        if let Some(url) = &edge.public_url {
            let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
            let good = host.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'));
            if !good || url.len() > 2048 || url.chars().any(|c| c.is_whitespace() || c.is_control()) {
                wrong(format!("{field}.edge.public_url"), "an http or https URL");
            }
        }
        if let Some(converge) = &edge.converge {
            check_converge(edge, converge, &format!("{field}.edge"), wrong);
        }
    }
    if let Some(cdn) = &component.cdn {
        check_cdn(cdn, &format!("{field}.cdn"), wrong);
    }
    if let Some(ArtifactSource::S3(s3)) = &component.artifact {
        let bucket = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        // Amazon S3 User Guide, "General purpose bucket naming rules".
        if !(3..=63).contains(&s3.bucket.len()) || !s3.bucket.chars().all(bucket) {
            wrong(
                format!("{field}.artifact.bucket"),
                "3 to 63 characters of a-z, 0-9, '-' and '.'",
            );
        }
        let good_end = s3.prefix == "{release}/" || s3.prefix.ends_with("/{release}/");
        if !good_end || s3.prefix.matches("{release}").count() != 1 || s3.prefix.starts_with('/') {
            wrong(
                format!("{field}.artifact.prefix"),
                "ends in /{release}/, and does not begin with /",
            );
        }
        if s3.prefix.len() > 512 || s3.prefix.chars().any(char::is_control) {
            wrong(format!("{field}.artifact.prefix"), "at most 512 printable characters");
        }
    }
}

fn check_converge(edge: &Edge, converge: &Converge, field: &str, wrong: &mut impl FnMut(String, &str)) {
    if edge.public_url.is_none() {
        wrong(format!("{field}.public_url"), "converge asks this URL: it is needed");
    }
    let field = format!("{field}.converge");
    if !(1..=100).contains(&converge.consecutive) {
        wrong(format!("{field}.consecutive"), "1 to 100");
    }
    if !(100..=60_000).contains(&converge.interval_ms) {
        wrong(format!("{field}.interval_ms"), "100 to 60000");
    }
    if !(1..=3600).contains(&converge.timeout_seconds) {
        wrong(format!("{field}.timeout_seconds"), "1 to 3600");
    }
    let is_address = |text: &String| text.parse::<IpAddr>().is_ok() || text.parse::<SocketAddr>().is_ok();
    if converge.addresses.len() > CONVERGE_ADDRESSES_MAX || !converge.addresses.iter().all(is_address) {
        wrong(
            format!("{field}.addresses"),
            "at most 20 IP addresses such as 192.0.2.10 or [2001:db8::10]:443",
        );
    }
}

fn check_cdn(cdn: &Cdn, field: &str, wrong: &mut impl FnMut(String, &str)) {
    let id = &cdn.distribution_id;
    if !(1..=64).contains(&id.len()) || !id.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit()) {
        wrong(
            format!("{field}.distribution_id"),
            "a distribution's id such as E2EXAMPLE",
        );
    }
    for why in cdn.path_problems() {
        wrong(format!("{field}.invalidate.paths"), why);
    }
    if let Some(Invalidate::Paths(settings)) = &cdn.invalidate
        && !(1..=INVALIDATION_TIMEOUT_MAX_SECONDS).contains(&settings.timeout_seconds)
    {
        wrong(format!("{field}.invalidate.timeout_seconds"), "1 to 86400");
    }
}

impl Cdn {
    /// What is wrong with the paths that it invalidates.
    pub fn path_problems(&self) -> Vec<&'static str> {
        let Some(Invalidate::Paths(settings)) = &self.invalidate else {
            return Vec::new();
        };
        let mut problems = Vec::new();
        let wildcards = settings.paths.iter().filter(|path| path.ends_with('*')).count();
        if settings.paths.is_empty() || settings.paths.len() > INVALIDATION_PATHS_MAX {
            problems.push("1 to 3000 paths");
        }
        if wildcards > INVALIDATION_WILDCARDS_MAX {
            problems.push("at most 15 paths with a wildcard");
        }
        let good = |path: &String| {
            path.starts_with('/')
                && path.len() <= 4000
                && path.chars().all(|c| c.is_ascii_graphic())
                && !path[..path.len() - 1].contains('*')
        };
        if !settings.paths.iter().all(good) {
            problems.push(
                "each path begins with '/', is URL-encoded ASCII of at most 4000 characters, and has '*' only at its end",
            );
        }
        if settings.paths.iter().collect::<BTreeSet<_>>().len() != settings.paths.len() {
            problems.push("a path is named twice");
        }
        problems
    }
}

fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let letters = |part: &&str| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase());
    parts.len() >= 3
        && text.len() <= 32
        && parts[..parts.len() - 1].iter().all(letters)
        && parts[parts.len() - 1].len() <= 2
        && !parts[parts.len() - 1].is_empty()
        && parts[parts.len() - 1].chars().all(|c| c.is_ascii_digit())
}

fn is_role_arn(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+=,.@/-".contains(c);
    matches!(parts[..], ["arn", partition, "iam", "", account, role]
        if partition.starts_with("aws")
            && partition.chars().all(|c| c.is_ascii_lowercase() || c == '-')
            && account.len() == 12
            && account.chars().all(|c| c.is_ascii_digit())
            && role.len() > 5
            && text.len() <= 2048
            && role.strip_prefix("role/").is_some_and(|name| name.chars().all(allowed)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::InvalidatePaths, *};

    fn parse(document: serde_json::Value) -> EnvironmentDocument {
        serde_json::from_value(document).unwrap()
    }

    fn one(component: serde_json::Value) -> EnvironmentDocument {
        parse(json!({"aws": {"region": "us-east-1"}, "components": [component]}))
    }

    fn web(parameter: &str) -> serde_json::Value {
        json!({"name": "web", "router": {"kind": "ssm_pointer", "parameter": parameter}})
    }

    fn fields(document: &EnvironmentDocument) -> Vec<String> {
        document.problems().into_iter().map(|problem| problem.field).collect()
    }

    #[test]
    fn a_small_document_gets_every_default() {
        let document = one(web("/storefront/release"));
        assert_eq!(document.problems(), []);
        let component = &document.components[0];
        let pointers = document.pointers();
        assert_eq!(pointers.iter().map(|p| &p.target).collect::<Vec<_>>(), ["us-east-1"]);
        assert_eq!(component.edge_mode(), EdgeMode::None);
        assert_eq!(component.invalidation(), None);
    }

    #[test]
    fn a_distribution_is_invalidated_unless_the_release_is_in_the_cache_key() {
        let mut document = web("/p");
        document["cdn"] = json!({"distribution_id": "E2EXAMPLE"});
        let (id, paths) = one(document.clone()).components[0]
            .invalidation()
            .map(|(i, p)| (i.to_owned(), p))
            .unwrap();
        assert_eq!((id.as_str(), paths), ("E2EXAMPLE", InvalidatePaths::default()));
        document["edge"] = json!({"mode": "viewer_rewrite"});
        assert_eq!(one(document).components[0].invalidation(), None);
    }

    #[test]
    fn unknown_fields_are_refused_at_every_depth() {
        for bad in [
            json!({"aws": {"region": "us-east-1"}, "components": [], "surprise": 1}),
            json!({"aws": {"region": "us-east-1", "surprise": 1}, "components": []}),
            json!({"aws": {"region": "us-east-1"}, "components": [{"name": "web", "router":
                {"kind": "ssm_pointer", "parameter": "/p", "surprise": 1}}]}),
            json!({"aws": {"region": "us-east-1"}, "components": [], "strategy": {"kind": "all_at_once", "surprise": 1}}),
        ] {
            let error = serde_json::from_value::<EnvironmentDocument>(bad)
                .unwrap_err()
                .to_string();
            assert!(error.contains("surprise"), "{error}");
        }
    }

    #[test]
    fn one_pointer_has_one_owner_within_an_environment() {
        let mut second = web("p");
        second["name"] = json!("api");
        let document = parse(json!({"aws": {"region": "us-east-1"}, "components": [web("/p"), second]}));
        assert_eq!(fields(&document), ["components[1].router.parameter"]);
    }

    #[test]
    fn bad_values_are_named() {
        let bad = [
            (
                json!({"router": {"kind": "ssm_pointer", "parameter": "a/b"}}),
                "router.parameter",
            ),
            (
                json!({"router": {"kind": "ssm_pointer", "parameter": "/aws/x"}}),
                "router.parameter",
            ),
            (
                json!({"router": {"kind": "ssm_pointer", "parameter": "/"}}),
                "router.parameter",
            ),
            (
                json!({"router": {"kind": "ssm_pointer", "parameter": "/p", "edge_ttl_seconds": 3601}}),
                "router.edge_ttl_seconds",
            ),
            (
                json!({"router": {"kind": "ssm_pointer", "parameter": "/p", "regions": ["mars"]}}),
                "router.regions",
            ),
            (json!({"cdn": {"distribution_id": "e2"}}), "cdn.distribution_id"),
            (
                json!({"cdn": {"distribution_id": "E2", "invalidate": {"mode": "paths", "paths": ["x"]}}}),
                "cdn.invalidate.paths",
            ),
            (
                json!({"cdn": {"distribution_id": "E2", "invalidate": {"mode": "paths", "paths": []}}}),
                "cdn.invalidate.paths",
            ),
            (
                json!({"cdn": {"distribution_id": "E2", "invalidate": {"mode": "paths", "paths": ["/*a"]}}}),
                "cdn.invalidate.paths",
            ),
            (json!({"edge": {"mode": "origin"}}), "edge.mode"),
            (
                json!({"artifact": {"kind": "s3", "bucket": "storefront-web", "prefix": "releases/"}}),
                "artifact.prefix",
            ),
        ];
        for (change, field) in bad {
            let mut component = web("/p");
            for (key, value) in change.as_object().unwrap() {
                component[key] = value.clone();
            }
            assert_eq!(fields(&one(component)), [format!("components[0].{field}")], "{change}");
        }
    }

    #[test]
    fn a_role_tells_the_account() {
        let mut document = one(web("/p"));
        assert_eq!(document.pointers()[0].key, "ssm:default:us-east-1:/p");
        document.aws.role_arn = Some("arn:aws:iam::111122223333:role/greenlight".into());
        assert_eq!(document.problems(), []);
        assert_eq!(document.pointers()[0].key, "ssm:111122223333:us-east-1:/p");
        document.aws.role_arn = Some("arn:aws:iam::1:role/x".into());
        assert_eq!(fields(&document), ["aws.role_arn"]);
    }
}
