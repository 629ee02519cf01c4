//! What the types of the roads' settings cannot rule out.

use super::is_region;
use crate::domain::{
    environment::router::{
        COMPANION_SUFFIX_MAX, CloudfrontKvs, EDGE_TTL_MAX_SECONDS, KVS_KEY_MAX, LAST_GOOD_SUFFIX, PARAMETER_LEVELS_MAX,
        PARAMETER_NAME_MAX, PREVIEW_KEY_SUFFIX, REGIONS_MAX, Router, SsmPointer,
    },
    pointer::PointerFormat,
};

pub(super) fn check(router: &Router, field: &str, wrong: &mut impl FnMut(String, &str)) {
    match router {
        Router::SsmPointer(settings) => check_ssm(settings, field, wrong),
        Router::CloudfrontKvs(settings) => check_kvs(settings, field, wrong),
    }
}

fn check_ssm(pointer: &SsmPointer, field: &str, wrong: &mut impl FnMut(String, &str)) {
    if let Err(message) = check_parameter_name(&pointer.parameter) {
        wrong(format!("{field}.parameter"), message);
    }
    check_times(pointer.edge_ttl_seconds, pointer.pin_seconds, field, wrong);
    if pointer.regions.len() > REGIONS_MAX || !pointer.regions.iter().all(|region| is_region(region)) {
        wrong(format!("{field}.regions"), "at most 20 AWS regions such as us-east-1");
    }
    match (&pointer.kvs_arn, &pointer.kvs_key) {
        (Some(arn), key) => {
            if !is_kvs_arn(arn) {
                wrong(format!("{field}.kvs_arn"), KVS_ARN);
            }
            if key.as_deref().is_some_and(|key| !is_kvs_key(key)) {
                wrong(format!("{field}.kvs_key"), KVS_KEY);
            } else if key.is_none() && pointer.projection().is_some_and(|(_, key)| !is_kvs_key(key)) {
                wrong(
                    format!("{field}.kvs_key"),
                    "is needed: the parameter's name can't be the key (it is too long, or ends in .last-good)",
                );
            }
            if pointer.format == PointerFormat::Plain {
                wrong(format!("{field}.format"), "a KeyValueStore gets the json format");
            }
        }
        (None, Some(_)) => wrong(format!("{field}.kvs_key"), "goes with a kvs_arn"),
        (None, None) => {}
    }
}

fn check_kvs(pointer: &CloudfrontKvs, field: &str, wrong: &mut impl FnMut(String, &str)) {
    if !is_kvs_arn(&pointer.kvs_arn) {
        wrong(format!("{field}.kvs_arn"), KVS_ARN);
    }
    if !is_kvs_key(&pointer.kvs_key) {
        wrong(format!("{field}.kvs_key"), KVS_KEY);
    }
    check_times(pointer.edge_ttl_seconds, pointer.pin_seconds, field, wrong);
}

fn check_times(edge_ttl_seconds: u32, pin_seconds: u32, field: &str, wrong: &mut impl FnMut(String, &str)) {
    if edge_ttl_seconds > EDGE_TTL_MAX_SECONDS {
        wrong(format!("{field}.edge_ttl_seconds"), "0 to 3600");
    }
    if pin_seconds > 86_400 {
        wrong(format!("{field}.pin_seconds"), "0 to 86400");
    }
}

const KVS_ARN: &str = "a KeyValueStore's ARN such as arn:aws:cloudfront::111122223333:key-value-store/a1b2c3d4-5678-90ab-cdef-example11111";
const KVS_KEY: &str = "a key such as storefront/production: 1 to 500 characters of letters, digits and _.:/-, not one \
                       that ends in .last-good or .preview-key";

/// In the partition `aws`: KeyValueStore has no endpoint in the others (the SDK's endpoint rules).
fn is_kvs_arn(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let id = |c: char| c.is_ascii_alphanumeric() || c == '-';
    matches!(parts[..], ["arn", "aws", "cloudfront", "", account, resource]
    if account.len() == 12
        && account.chars().all(|c| c.is_ascii_digit())
        && resource.strip_prefix("key-value-store/").is_some_and(|name| {
            (1..=128).contains(&name.len()) && name.chars().all(id)
        }))
}

/// Leaves room for what is put behind it, within the store's own limit.
fn is_kvs_key(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.:/-".contains(c);
    (1..=KVS_KEY_MAX - COMPANION_SUFFIX_MAX).contains(&text.len())
        && text.chars().all(allowed)
        && !text.ends_with(LAST_GOOD_SUFFIX)
        && !text.ends_with(PREVIEW_KEY_SUFFIX)
}

/// Systems Manager API reference, "PutParameter", on names.
fn check_parameter_name(name: &str) -> Result<(), &'static str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-/".contains(c);
    let bare = name.trim_start_matches('/').to_ascii_lowercase();
    if bare.is_empty() || name.ends_with('/') || name.contains("//") || !name.chars().all(allowed) {
        return Err("a parameter's name such as /storefront/production/release: letters, digits and _.-/");
    }
    if name.len() > PARAMETER_NAME_MAX || name.matches('/').count() > PARAMETER_LEVELS_MAX {
        return Err("at most 1011 characters and 15 levels");
    }
    if name.contains('/') && !name.starts_with('/') {
        return Err("a parameter's name with a path begins with '/'");
    }
    if bare.ends_with(PREVIEW_KEY_SUFFIX) {
        return Err("a parameter that ends in .preview-key holds a pointer's preview secret");
    }
    if bare.starts_with("aws") || bare.starts_with("ssm") {
        return Err("AWS keeps names that begin with aws or ssm for itself");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::domain::environment::EnvironmentDocument;

    const ARN: &str = "arn:aws:cloudfront::111122223333:key-value-store/a1b2c3d4-5678-90ab-cdef-example11111";

    fn fields(routers: &[Value]) -> Vec<String> {
        let components: Vec<Value> = routers
            .iter()
            .enumerate()
            .map(|(at, router)| json!({"name": format!("c{at}"), "router": router}))
            .collect();
        let document = json!({"aws": {"region": "us-east-1"}, "components": components});
        let document: EnvironmentDocument = serde_json::from_value(document).unwrap();
        let problems = document.problems().into_iter();
        problems
            .map(|problem| problem.field.trim_start_matches("components[0].router.").to_owned())
            .collect()
    }

    fn kvs(change: Value) -> Value {
        changed(
            json!({"kind": "cloudfront_kvs", "kvs_arn": ARN, "kvs_key": "storefront/production"}),
            change,
        )
    }

    fn projected(change: Value) -> Value {
        changed(
            json!({"kind": "ssm_pointer", "parameter": "/p", "kvs_arn": ARN}),
            change,
        )
    }

    fn changed(mut router: Value, change: Value) -> Value {
        for (key, value) in change.as_object().unwrap() {
            router[key] = value.clone();
        }
        router
    }

    #[test]
    fn a_key_in_a_store_is_accepted() {
        let longest = "k".repeat(500);
        for key in ["storefront/production", "a", "A_.:/-9", "last-good", &longest] {
            assert_eq!(fields(&[kvs(json!({"kvs_key": key}))]), [""; 0], "{key}");
            assert_eq!(fields(&[projected(json!({"kvs_key": key}))]), [""; 0], "{key}");
        }
        assert_eq!(fields(&[kvs(json!({"create_key": true, "pin_seconds": 0}))]), [""; 0]);
        assert_eq!(
            fields(&[projected(json!({}))]),
            [""; 0],
            "the parameter's name is the key"
        );
    }

    #[test]
    fn an_arn_that_is_not_a_stores_is_named() {
        let long = format!("arn:aws:cloudfront::111122223333:key-value-store/{}", "x".repeat(129));
        for arn in [
            "",
            "storefront",
            "arn:aws:cloudfront::111122223333:distribution/E2EXAMPLE",
            "arn:aws:cloudfront::1111:key-value-store/x",
            "arn:aws:cloudfront::11112222333x:key-value-store/x",
            "arn:aws:cloudfront:us-east-1:111122223333:key-value-store/x",
            "arn:aws:cloudfront::111122223333:key-value-store/",
            "arn:aws:cloudfront::111122223333:key-value-store/x/y",
            "arn:aws-cn:cloudfront::111122223333:key-value-store/x",
            "arn:aws:ssm::111122223333:key-value-store/x",
            &long,
        ] {
            assert_eq!(fields(&[kvs(json!({"kvs_arn": arn}))]), ["kvs_arn"], "{arn}");
            assert_eq!(fields(&[projected(json!({"kvs_arn": arn}))]), ["kvs_arn"], "{arn}");
        }
    }

    #[test]
    fn a_key_that_no_pointer_can_have_is_named() {
        let long = "k".repeat(501);
        for key in [
            "",
            "a b",
            "é",
            "a\n",
            "x.last-good",
            "x.preview-key",
            ".last-good",
            &long,
        ] {
            assert_eq!(fields(&[kvs(json!({"kvs_key": key}))]), ["kvs_key"], "{key}");
            assert_eq!(fields(&[projected(json!({"kvs_key": key}))]), ["kvs_key"], "{key}");
        }
        for parameter in [format!("/{}", "p".repeat(600)), "/a/b.last-good".to_owned()] {
            let router = projected(json!({"parameter": parameter}));
            assert_eq!(fields(&[router]), ["kvs_key"], "the name can't be the key");
            let router = projected(json!({"parameter": parameter, "kvs_key": "key"}));
            assert_eq!(fields(&[router]), [""; 0]);
        }
    }

    #[test]
    fn what_does_not_go_together_is_named() {
        let key_alone = json!({"kind": "ssm_pointer", "parameter": "/p", "kvs_key": "key"});
        assert_eq!(fields(&[key_alone]), ["kvs_key"]);
        assert_eq!(fields(&[projected(json!({"format": "plain"}))]), ["format"]);
        assert_eq!(fields(&[kvs(json!({"edge_ttl_seconds": 3601}))]), ["edge_ttl_seconds"]);
        assert_eq!(fields(&[kvs(json!({"pin_seconds": 86_401}))]), ["pin_seconds"]);
        for (kind, field) in [
            ("cloudfront_kvs", "format"),
            ("cloudfront_kvs", "parameter"),
            ("ssm_pointer", "create_key"),
        ] {
            let router = match kind {
                "ssm_pointer" => projected(json!({field: true})),
                _ => kvs(json!({field: "x"})),
            };
            let error = serde_json::from_value::<super::Router>(router).unwrap_err().to_string();
            assert!(error.contains(field), "{error}");
        }
    }

    #[test]
    fn a_key_has_one_owner_within_an_environment() {
        let taken = |field: &str| vec![format!("components[1].router.{field}")];
        assert_eq!(fields(&[kvs(json!({})), kvs(json!({}))]), taken("kvs_key"));
        let same = projected(json!({"kvs_key": "storefront/production"}));
        assert_eq!(fields(&[same.clone(), kvs(json!({}))]), taken("kvs_key"));
        assert_eq!(fields(&[kvs(json!({})), same]), taken("kvs_key"));
        assert_eq!(
            fields(&[projected(json!({})), projected(json!({"kvs_key": "other"}))]),
            taken("parameter")
        );
        assert_eq!(fields(&[kvs(json!({})), kvs(json!({"kvs_key": "other"}))]), [""; 0]);
    }
}
