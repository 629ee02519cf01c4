//! The documentation says all that a person may meet: every code, every setting; and its links lead somewhere.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use greenlight::{http::problem, service::Code};

/// Codes that the sources choose between before they make the error.
const CHOSEN: [&str; 3] = ["undo_incomplete", "rollback_incomplete", "promotion_incomplete"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn operations() -> String {
    read(&root().join("docs/operations.md"))
}

/// The sources, without their unit tests.
fn sources() -> String {
    let mut folders = vec![root().join("src")];
    let mut text = String::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let source = read(&path);
                text.push_str(source.split("#[cfg(test)]").next().unwrap_or_default());
            }
        }
    }
    text
}

/// The string literals that come right after `before`.
fn literals_after(text: &str, before: &str) -> BTreeSet<String> {
    text.match_indices(before)
        .filter_map(|(at, _)| text[at + before.len()..].trim_start().strip_prefix('"'))
        .filter_map(|rest| rest.split('"').next().map(str::to_owned))
        .collect()
}

/// The lines below a heading, up to the next one.
fn section(text: &str, heading: &str) -> String {
    text.lines()
        .skip_while(|line| *line != heading)
        .skip(1)
        .take_while(|line| !line.starts_with("## "))
        .fold(String::new(), |mut section, line| {
            section.push_str(line);
            section.push('\n');
            section
        })
}

/// The first cells of a section's table, as far as they are code.
fn listed(section: &str) -> BTreeSet<String> {
    section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
        .map(|(first, _)| first.to_owned())
        .collect()
}

#[test]
fn every_problem_code_is_documented_with_its_status() {
    let section = section(&operations(), "## Problem codes");
    for code in Code::ALL {
        let row = format!("| `{}` | {} |", code.as_str(), problem::status(code).as_u16());
        assert!(
            section.contains(&row),
            "docs/operations.md has no row that begins with {row}"
        );
    }
    assert_eq!(
        listed(&section).len(),
        Code::ALL.len(),
        "a code is documented that there is not"
    );
}

#[test]
fn every_job_error_and_warning_is_documented() {
    let (text, sources) = (operations(), sources());
    let mut errors = literals_after(&sources, "JobError::new(");
    errors.extend(CHOSEN.map(str::to_owned));
    for code in CHOSEN {
        assert!(sources.contains(&format!("\"{code}\"")), "the sources know no {code}");
    }
    assert!(errors.len() > 15, "the test finds codes: {errors:?}");
    assert_eq!(listed(&section(&text, "## Job error codes")), errors);

    let warnings = literals_after(&sources, "Warning::new(");
    assert!(warnings.len() > 4, "the test finds codes: {warnings:?}");
    assert_eq!(listed(&section(&text, "## Warning codes")), warnings);
}

#[test]
fn every_setting_is_documented() {
    let settings = literals_after(&sources(), "env = ");
    assert!(settings.len() > 10, "the test finds settings: {settings:?}");
    let text = operations();
    for setting in settings {
        assert!(
            text.contains(&format!("`{setting}`")),
            "docs/operations.md does not say what {setting} is"
        );
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut documents: Vec<PathBuf> = fs::read_dir(root().join("docs"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    documents.extend(["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|name| root().join(name)));
    let mut followed = 0;
    for document in documents {
        for (at, _) in read(&document).match_indices("](") {
            let text = read(&document);
            let link = text[at + 2..].split(')').next().unwrap_or_default();
            if link.starts_with("https://") {
                continue;
            }
            let (file, heading) = link
                .split_once('#')
                .map_or((link, None), |(file, heading)| (file, Some(heading)));
            let target = if file.is_empty() {
                document.clone()
            } else {
                document.parent().expect("a document is in a folder").join(file)
            };
            assert!(target.exists(), "{}: {link} leads nowhere", document.display());
            if let Some(heading) = heading {
                assert!(
                    anchors(&read(&target)).contains(heading),
                    "{}: {link} has no heading",
                    document.display()
                );
            }
            followed += 1;
        }
    }
    assert!(followed > 10, "the test finds links: {followed}");
}

/// The anchors of a document's headings, as they are made where the repository is read.
fn anchors(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            let words = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
            words
                .chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_'))
                .collect()
        })
        .collect()
}
