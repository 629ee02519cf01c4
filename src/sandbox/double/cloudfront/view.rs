//! CloudFront's XML documents.
//!
//! A distribution shows what every distribution has; its settings are the plainest ones, with one
//! custom origin, because nothing in the double can change them.

use chrono::{DateTime, SecondsFormat, Utc};

use super::store::{Distribution, Invalidation};
use super::{Page, arn};
use crate::sandbox::double::error::CLOUDFRONT_NAMESPACE;
use crate::sandbox::double::xml::Xml;

/// The managed cache policy *CachingOptimized* (Developer Guide, *Use managed cache policies*).
const CACHING_OPTIMIZED: &str = "658327ea-f89d-4fab-a63d-7e88639e58f6";
const ORIGIN: &str = "origin.example.com";

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn domain(distribution: &Distribution) -> String {
    format!("{}.cloudfront.net", distribution.id.to_ascii_lowercase())
}

/// `Distribution`.
pub(super) fn distribution(account: &str, distribution: &Distribution, now: DateTime<Utc>) -> String {
    Xml::document("Distribution", CLOUDFRONT_NAMESPACE, |xml| {
        xml.leaf("Id", &distribution.id);
        xml.leaf("ARN", arn(account, &distribution.id));
        xml.leaf("Status", "Deployed");
        xml.leaf("LastModifiedTime", time(distribution.created_at));
        xml.leaf("InProgressInvalidationBatches", distribution.in_progress(now));
        xml.leaf("DomainName", domain(distribution));
        for list in ["ActiveTrustedSigners", "ActiveTrustedKeyGroups"] {
            xml.element(list, |xml| {
                xml.leaf("Enabled", false);
                xml.leaf("Quantity", 0);
            });
        }
        xml.element("DistributionConfig", |xml| config(xml, distribution));
    })
}

/// `DistributionConfig`.
pub(super) fn distribution_config(distribution: &Distribution) -> String {
    Xml::document("DistributionConfig", CLOUDFRONT_NAMESPACE, |xml| {
        config(xml, distribution)
    })
}

fn config(xml: &mut Xml, distribution: &Distribution) {
    xml.leaf("CallerReference", &distribution.id);
    xml.empty_list("Aliases");
    xml.leaf("DefaultRootObject", "index.html");
    origins(xml);
    xml.element("OriginGroups", |xml| xml.leaf("Quantity", 0));
    default_behavior(xml);
    xml.empty_list("CacheBehaviors");
    xml.empty_list("CustomErrorResponses");
    xml.leaf("Comment", "");
    xml.element("Logging", |xml| {
        xml.leaf("Enabled", false);
        xml.leaf("IncludeCookies", false);
        xml.leaf("Bucket", "");
        xml.leaf("Prefix", "");
    });
    xml.leaf("PriceClass", "PriceClass_All");
    xml.leaf("Enabled", true);
    viewer_side(xml);
    xml.leaf("ContinuousDeploymentPolicyId", "");
    xml.leaf("Staging", false);
}

fn origins(xml: &mut Xml) {
    xml.element("Origins", |xml| {
        xml.leaf("Quantity", 1);
        xml.element("Items", |xml| {
            xml.element("Origin", |xml| {
                xml.leaf("Id", ORIGIN);
                xml.leaf("DomainName", ORIGIN);
                xml.leaf("OriginPath", "");
                xml.empty_list("CustomHeaders");
            });
        });
    });
}

fn default_behavior(xml: &mut Xml) {
    xml.element("DefaultCacheBehavior", |xml| {
        xml.leaf("TargetOriginId", ORIGIN);
        xml.leaf("ViewerProtocolPolicy", "redirect-to-https");
        xml.leaf("Compress", true);
        xml.empty_list("LambdaFunctionAssociations");
        xml.empty_list("FunctionAssociations");
        xml.leaf("CachePolicyId", CACHING_OPTIMIZED);
    });
}

fn viewer_side(xml: &mut Xml) {
    xml.element("ViewerCertificate", |xml| {
        xml.leaf("CloudFrontDefaultCertificate", true);
        xml.leaf("MinimumProtocolVersion", "TLSv1");
    });
    xml.element("Restrictions", |xml| {
        xml.element("GeoRestriction", |xml| {
            xml.leaf("RestrictionType", "none");
            xml.leaf("Quantity", 0);
        });
    });
    xml.leaf("WebACLId", "");
    xml.leaf("HttpVersion", "http2");
    xml.leaf("IsIPV6Enabled", true);
}

/// `DistributionList`, in the order of the ids.
pub(super) fn distributions(account: &str, all: &[&Distribution], page: &Page) -> String {
    let rest = all
        .iter()
        .copied()
        .skip_while(|it| page.marker.as_deref().is_some_and(|marker| it.id.as_str() <= marker));
    list(
        "DistributionList",
        page,
        rest,
        |it| it.id.clone(),
        |xml, distribution| {
            xml.element("DistributionSummary", |xml| {
                xml.leaf("Id", &distribution.id);
                xml.leaf("ARN", arn(account, &distribution.id));
                xml.leaf("ETag", &distribution.etag);
                xml.leaf("Status", "Deployed");
                xml.leaf("LastModifiedTime", time(distribution.created_at));
                xml.leaf("DomainName", domain(distribution));
                xml.empty_list("Aliases");
                origins(xml);
                default_behavior(xml);
                xml.empty_list("CacheBehaviors");
                xml.empty_list("CustomErrorResponses");
                xml.leaf("Comment", "");
                xml.leaf("PriceClass", "PriceClass_All");
                xml.leaf("Enabled", true);
                viewer_side(xml);
                xml.leaf("Staging", false);
            });
        },
    )
}

/// `Invalidation`.
pub(super) fn invalidation(invalidation: &Invalidation, status: &str) -> String {
    Xml::document("Invalidation", CLOUDFRONT_NAMESPACE, |xml| {
        xml.leaf("Id", &invalidation.id);
        xml.leaf("Status", status);
        xml.leaf("CreateTime", time(invalidation.created_at));
        xml.element("InvalidationBatch", |xml| {
            xml.element("Paths", |xml| {
                xml.leaf("Quantity", invalidation.paths.len());
                xml.element("Items", |xml| {
                    for path in &invalidation.paths {
                        xml.leaf("Path", path);
                    }
                });
            });
            xml.leaf("CallerReference", &invalidation.caller_reference);
        });
    })
}

/// `InvalidationList`, newest first; the marker is the last id of the page before. `None` when there
/// is no such marker.
pub(super) fn invalidations(distribution: &Distribution, page: &Page, now: DateTime<Utc>) -> Option<String> {
    let all = &distribution.invalidations;
    let end = match page.marker.as_deref() {
        None => all.len(),
        Some(marker) => all.iter().position(|it| it.id == marker)?,
    };
    let rest = all[..end].iter().rev();
    Some(list(
        "InvalidationList",
        page,
        rest,
        |it| it.id.clone(),
        |xml, invalidation| {
            xml.element("InvalidationSummary", |xml| {
                xml.leaf("Id", &invalidation.id);
                xml.leaf("CreateTime", time(invalidation.created_at));
                xml.leaf("Status", invalidation.status(now));
            });
        },
    ))
}

/// CloudFront's paged list: what is in it, and where the next page begins.
fn list<'a, T: 'a>(
    root: &str,
    page: &Page,
    rest: impl Iterator<Item = &'a T>,
    id: impl Fn(&T) -> String,
    item: impl Fn(&mut Xml, &T),
) -> String {
    let mut rest = rest;
    let shown: Vec<&T> = rest.by_ref().take(page.max_items).collect();
    let is_truncated = rest.next().is_some();
    Xml::document(root, CLOUDFRONT_NAMESPACE, |xml| {
        xml.leaf("Marker", page.marker.as_deref().unwrap_or_default());
        if let (true, Some(last)) = (is_truncated, shown.last()) {
            xml.leaf("NextMarker", id(last));
        }
        xml.leaf("MaxItems", page.max_items);
        xml.leaf("IsTruncated", is_truncated);
        xml.leaf("Quantity", shown.len());
        xml.element("Items", |xml| {
            for one in &shown {
                item(xml, one);
            }
        });
    })
}
