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
    let in_kvs = match router {
        Router::SsmPointer(ssm) => ssm.projection().is_some(),
        Router::CloudfrontKvs(_) => true,
    };
    if in_kvs {
        wrong(
            format!("{field}.kvs_arn"),
            "this version does not write to a KeyValueStore yet",
        );
    }
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
                    "is needed: the parameter's name is too long to be the key",
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

fn is_kvs_arn(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let id = |c: char| c.is_ascii_alphanumeric() || c == '-';
    matches!(parts[..], ["arn", partition, "cloudfront", "", account, resource]
    if partition.starts_with("aws")
        && partition.chars().all(|c| c.is_ascii_lowercase() || c == '-')
        && account.len() == 12
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
