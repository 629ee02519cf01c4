//! The part of a preflight that looks at a component's files in S3.
//!
//! The release's prefix must hold files, with an `index.html` where the routing function serves one. The first
//! look is recorded as the release's manifest; every later one must find each recorded file unchanged, in
//! whatever environment. Nothing here writes to S3 or touches traffic. A rollback has no preflight: no missing
//! file keeps anybody from going back.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    aws::{
        Aws,
        error::{AwsError, Class},
        s3::{Listing, Object, S3},
    },
    domain::{
        environment::{ArtifactSource, Component, EdgeMode},
        error::{JobError, Retry, Warning},
        names::Version,
    },
    engine::{StepContext, StepError},
    steps::aws_step_error,
    store::{
        StoreError,
        manifests::{self, File, Manifest},
    },
};

/// Files that one component of a release may have.
pub const FILES_MAX: usize = 100_000;
/// Files that an error names.
const NAMED_MAX: usize = 10;
/// Characters that are shown of a path.
const SHOWN_MAX: usize = 200;
/// What the routing function serves for a folder, and for the site itself.
const INDEX: &str = "index.html";

/// What was found, when nothing speaks against a promotion.
pub(super) struct Look {
    /// For the step's output.
    pub output: Value,
    pub warnings: Vec<Warning>,
    /// To be recorded with the step's result: nobody has before.
    pub manifest: Option<Manifest>,
}

/// Looks at the files of the job's release. `None`: the component takes none from S3.
///
/// # Errors
/// Fatal when the files are not there, not all there, or not what they were; as AWS says when it can't be asked.
pub(super) async fn look(aws: &Aws, context: &StepContext, component: &Component) -> Result<Option<Look>, StepError> {
    let (Some(source), Some(version)) = (&component.artifact, &context.job.release) else {
        return Ok(None);
    };
    let ArtifactSource::S3(place) = source;
    let account = &context.environment()?.aws;
    let s3 = aws.s3(account, &account.region).await;
    let site = Site {
        component,
        version,
        location: source.uri(version),
        is_rewritten: component
            .edge
            .as_ref()
            .is_some_and(|edge| edge.mode == EdgeMode::ViewerRewrite),
    };
    let prefix = place.prefix_of(version);
    let listing = s3.list(&place.bucket, &prefix, FILES_MAX).await;
    let mut files = site.files(listing, &prefix)?;

    let mut connection = context.store.pool().acquire().await.map_err(StoreError::from)?;
    let app = &context.job.app;
    let recorded = manifests::files(&mut connection, app, version, &component.name, &site.location).await?;
    drop(connection);

    let mut warnings = Vec::new();
    if let Some(recorded) = &recorded {
        warnings.extend(site.compare(recorded, &files)?);
    }
    if let Some(index) = files.iter_mut().find(|file| file.path == INDEX)
        && (site.is_rewritten || recorded.is_none())
    {
        let (content_type, warning) = site.content_type(&s3, &place.bucket, &prefix).await?;
        index.content_type = content_type;
        warnings.extend(warning);
    }
    let manifest = Manifest {
        app: app.clone(),
        version: version.clone(),
        component: component.name.clone(),
        location: site.location,
        files,
    };
    let output = json!({
        "location": manifest.location,
        "objects": manifest.files.len(),
        "bytes": manifest.bytes(),
        "recorded": recorded.is_none(),
    });
    Ok(Some(Look {
        output,
        warnings,
        manifest: recorded.is_none().then_some(manifest),
    }))
}

/// A component's files of one release, as the errors speak of them.
struct Site<'a> {
    component: &'a Component,
    version: &'a Version,
    location: String,
    is_rewritten: bool,
}

impl Site<'_> {
    /// The files under the prefix, or what is wrong with them.
    fn files(&self, listing: Result<Listing, AwsError>, prefix: &str) -> Result<Vec<File>, StepError> {
        let (component, version, location) = (&self.component.name, self.version, &self.location);
        let objects = match listing {
            Ok(Listing::Whole(objects)) => objects,
            Ok(Listing::TooMany) => {
                let message =
                    format!("Component {component}: release {version} has more than {FILES_MAX} files in {location}.");
                return Err(StepError::fatal(JobError::new("artifact_too_large", message).hint(
                    "Build the release with fewer files (are source maps or packages of others among them?), and \
                     register it as a new version.",
                )));
            }
            Err(error) if error.class == Class::NotFound => {
                let message = format!("Component {component}: {error}");
                return Err(StepError::fatal(JobError::new("bucket_not_found", message).hint(
                    "Create the bucket, correct artifact.bucket in the environment's document, or the account it \
                     works in.",
                )));
            }
            Err(error) => return Err(aws_step_error(&error)),
        };
        let files: Vec<File> = objects.into_iter().filter_map(|object| file(object, prefix)).collect();
        if files.is_empty() {
            let message = format!("Component {component}: release {version} has no files: nothing lies in {location}.");
            return Err(StepError::fatal(JobError::new("artifact_missing", message).hint(
                format!("Upload the release (aws s3 sync <folder> {location}), then promote it again."),
            )));
        }
        if self.is_rewritten && !files.iter().any(|file| file.path == INDEX) {
            let deeper = files.iter().map(|file| file.path.as_str());
            let deeper = deeper
                .filter(|path| path.ends_with("/index.html"))
                .min_by_key(|path| path.len());
            let hint = match deeper {
                Some(path) => format!(
                    "There is one at {}: upload what is in the folder, not the folder itself.",
                    shown(path)
                ),
                None => format!("Upload the whole site, with its {INDEX}, to {location}."),
            };
            let message = format!(
                "Component {component}: release {version} has no {INDEX} in {location}, so visitors would get no page."
            );
            return Err(StepError::fatal(
                JobError::new("artifact_incomplete", message).hint(format!("{hint} Then promote it again.")),
            ));
        }
        Ok(files)
    }

    /// Every recorded file must be as it was; more files than that are a warning.
    fn compare(&self, recorded: &[File], seen: &[File]) -> Result<Option<Warning>, StepError> {
        let (component, version, location) = (&self.component.name, self.version, &self.location);
        let Differences {
            missing,
            changed,
            added,
        } = differences(recorded, seen);
        let count = missing.len() + changed.len();
        if count > 0 {
            let missing = missing.iter().map(|path| format!("{} is missing", shown(path)));
            let changed = changed.iter().map(|path| format!("{} has changed", shown(path)));
            let mut named: Vec<String> = missing.chain(changed).take(NAMED_MAX).collect();
            if count > NAMED_MAX {
                named.push(format!("and {} more", count - NAMED_MAX));
            }
            let message = format!(
                "Component {component}: {count} of the {} files of release {version} in {location} are not what they \
                 were when they were recorded: {}. Nothing was touched.",
                recorded.len(),
                named.join(", ")
            );
            return Err(StepError::fatal(JobError::new("artifact_changed", message).hint(
                "A release never changes. Put the files back as they were, or register what is there as a new \
                 version, under a prefix of its own. (A file that is uploaded again in other parts, or encrypted \
                 with another key, counts as another file.)",
            )));
        }
        Ok(added.first().map(|first| {
            Warning::new(
                "artifact_added",
                format!(
                    "Component {component}: {} files were added to release {version} in {location} since it was \
                     recorded, such as {}.",
                    added.len(),
                    shown(first)
                ),
            )
        }))
    }

    /// What `index.html` says it is, and what is wrong with that.
    async fn content_type(
        &self,
        s3: &S3,
        bucket: &str,
        prefix: &str,
    ) -> Result<(Option<String>, Option<Warning>), StepError> {
        let (component, location) = (&self.component.name, &self.location);
        let said = match s3.head(bucket, &format!("{prefix}{INDEX}")).await {
            Ok(head) => head.content_type,
            // Only for a word of warning: a promotion doesn't fail for want of it.
            Err(error) if error.class == Class::AccessDenied => {
                let warning = self.is_rewritten.then(|| {
                    let hint = error.job_error().hint.unwrap_or_default();
                    Warning::new(
                        "artifact_content_type",
                        format!(
                            "Component {component}: whether {location}{INDEX} is text/html is unknown. {error} {hint}"
                        ),
                    )
                });
                return Ok((None, warning));
            }
            // It was listed a moment ago: look again.
            Err(error) if error.class == Class::NotFound => {
                return Err(StepError::failed(error.job_error(), Retry::Backoff));
            }
            Err(error) => return Err(aws_step_error(&error)),
        };
        if !self.is_rewritten || said.as_deref().is_some_and(is_page) {
            return Ok((said, None));
        }
        let warning = Warning::new(
            "artifact_content_type",
            format!(
                "Component {component}: {location}{INDEX} is {}, not text/html: browsers would download it instead of \
                 showing it. Set the files' content types when they are uploaded.",
                said.as_deref().unwrap_or("without a content type")
            ),
        );
        Ok((said, Some(warning)))
    }
}

/// What a listed object is to the release. Consoles mark folders by empty objects whose keys end in `/`: those
/// are no files.
fn file(object: Object, prefix: &str) -> Option<File> {
    let path = object.key.strip_prefix(prefix)?;
    let is_folder = object.size == 0 && (path.is_empty() || path.ends_with('/'));
    (!is_folder).then(|| File {
        path: path.to_owned(),
        size: object.size,
        etag: object.etag,
        content_type: None,
    })
}

/// In what a second look differs from the first.
#[derive(Debug, Default, PartialEq, Eq)]
struct Differences<'a> {
    missing: Vec<&'a str>,
    changed: Vec<&'a str>,
    added: Vec<&'a str>,
}

fn differences<'a>(recorded: &'a [File], seen: &'a [File]) -> Differences<'a> {
    let mut left: BTreeMap<&str, &File> = seen.iter().map(|file| (file.path.as_str(), file)).collect();
    let mut differences = Differences::default();
    for file in recorded {
        match left.remove(file.path.as_str()) {
            None => differences.missing.push(&file.path),
            Some(now) if now.size != file.size || now.etag != file.etag => differences.changed.push(&file.path),
            Some(_) => {}
        }
    }
    differences.added = left.into_keys().collect();
    differences
}

fn is_page(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    ["text/html", "application/xhtml+xml"]
        .iter()
        .any(|page| kind.eq_ignore_ascii_case(page))
}

/// A path within a sentence: quoted, on one line, not too long.
fn shown(path: &str) -> String {
    match path.char_indices().nth(SHOWN_MAX) {
        Some((at, _)) => format!("{:?}…", &path[..at]),
        None => format!("{path:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_of(path: &str, etag: &str) -> File {
        File {
            path: path.to_owned(),
            size: 1,
            etag: etag.to_owned(),
            content_type: None,
        }
    }

    fn object(key: &str, size: i64) -> Object {
        Object {
            key: key.to_owned(),
            size,
            etag: "e".to_owned(),
        }
    }

    /// What a site says to a listing: its paths, or the error's code and hint.
    fn files(listing: Listing) -> Result<Vec<String>, (String, String)> {
        let component: Component = serde_json::from_value(json!({
            "name": "web",
            "router": {"kind": "ssm_pointer", "parameter": "/storefront/production/release"},
            "edge": {"mode": "viewer_rewrite"},
        }))
        .unwrap();
        let site = Site {
            component: &component,
            version: &Version::parse("1.0.0").unwrap(),
            location: "s3://storefront-web/releases/1.0.0/".to_owned(),
            is_rewritten: true,
        };
        match site.files(Ok(listing), "releases/1.0.0/") {
            Ok(files) => Ok(files.into_iter().map(|file| file.path).collect()),
            Err(StepError::Failed { error, retry, .. }) => {
                assert_eq!(retry, Retry::No, "{error:?}");
                Err((error.code, error.hint.unwrap_or_default()))
            }
            Err(_) => panic!("no other error is made here"),
        }
    }

    #[test]
    fn folder_markers_are_no_files() {
        let whole = Listing::Whole(vec![
            object("releases/1.0.0/", 0),
            object("releases/1.0.0/assets/", 0),
            object("releases/1.0.0/assets/empty.js", 0),
            object("releases/1.0.0/index.html", 5),
        ]);
        assert_eq!(files(whole).unwrap(), ["assets/empty.js", "index.html"]);
        let marked = Listing::Whole(vec![object("releases/1.0.0/", 0)]);
        assert_eq!(files(marked).unwrap_err().0, "artifact_missing");
    }

    #[test]
    fn a_page_in_a_folder_below_is_pointed_at() {
        let folder = Listing::Whole(vec![
            object("releases/1.0.0/dist/about/index.html", 5),
            object("releases/1.0.0/dist/index.html", 5),
        ]);
        let (code, hint) = files(folder).unwrap_err();
        assert_eq!(code, "artifact_incomplete");
        assert!(hint.contains("\"dist/index.html\""), "{hint}");
        let none = Listing::Whole(vec![object("releases/1.0.0/app.js", 5)]);
        assert!(files(none).unwrap_err().1.contains("Upload the whole site"));
    }

    #[test]
    fn too_many_files_have_a_code_of_their_own() {
        assert_eq!(files(Listing::TooMany).unwrap_err().0, "artifact_too_large");
    }

    #[test]
    fn files_are_told_missing_changed_and_added() {
        let recorded = [file_of("a", "1"), file_of("b", "1"), file_of("c", "1")];
        let mut larger = file_of("c", "1");
        larger.size = 2;
        let seen = [file_of("b", "2"), larger, file_of("d", "1")];
        let expected = Differences {
            missing: vec!["a"],
            changed: vec!["b", "c"],
            added: vec!["d"],
        };
        assert_eq!(differences(&recorded, &seen), expected);
        assert_eq!(differences(&recorded, &recorded), Differences::default());
    }

    #[test]
    fn pages_are_told_by_their_type() {
        for page in ["text/html", "Text/HTML; charset=utf-8", "application/xhtml+xml"] {
            assert!(is_page(page), "{page}");
        }
        for other in ["binary/octet-stream", "text/plain", ""] {
            assert!(!is_page(other), "{other}");
        }
    }

    #[test]
    fn paths_are_shown_on_one_line_and_cut() {
        assert_eq!(shown("a\nb"), r#""a\nb""#);
        assert_eq!(shown(&"x".repeat(300)).chars().count(), SHOWN_MAX + 3);
    }
}
