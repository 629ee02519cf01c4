//! The rooms and who may enter them: imports go downwards only, SQL stays in `store/`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// What each room may import of ours. `domain` imports nothing.
const MAY_IMPORT: [(&str, &[&str]); 13] = [
    ("domain", &[]),
    ("aws", &["domain"]),
    ("cdn", &["aws", "domain"]),
    ("traffic", &["aws", "domain"]),
    ("outbound", &[]),
    ("checks", &["traffic", "outbound", "aws", "domain"]),
    ("store", &["domain"]),
    ("engine", &["store", "domain"]),
    (
        "steps",
        &[
            "engine", "checks", "traffic", "cdn", "outbound", "aws", "store", "domain",
        ],
    ),
    // `service` fills one hole of the engine: how a queued job gets its plan.
    ("service", &["store", "domain", "engine"]),
    // `http` asks the engine's hub and pulse what is going on; it starts nothing there.
    ("http", &["service", "store", "engine", "domain"]),
    ("telemetry", &[]),
    ("config", &["engine", "outbound"]),
];

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// Every source file with the room it stands in.
fn rooms() -> BTreeMap<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    files
        .into_iter()
        .map(|file| {
            let inner = file.strip_prefix(&root).unwrap();
            let first = inner.components().next().unwrap().as_os_str().to_str().unwrap();
            let room = first.trim_end_matches(".rs").to_owned();
            (file, room)
        })
        .collect()
}

/// The rooms of ours that a source text names: `crate::room` and `use crate::{room::…, …}`.
fn imports(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut word = String::new();
            let mut first = true;
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        found.push(std::mem::take(&mut word));
                        first = true;
                    }
                    ':' if depth == 0 => first = false,
                    c if depth == 0 && first && (c.is_alphanumeric() || c == '_') => word.push(c),
                    _ => {}
                }
            }
            found.push(word);
        } else {
            found.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    found.retain(|word| !word.is_empty());
    found
}

#[test]
fn imports_are_read_from_groups_and_paths() {
    let text = "use crate::{\n    aws::{Aws, error::X},\n    domain::job::Job,\n};\nlet x = crate::store::y();";
    assert_eq!(imports(text), ["aws", "domain", "store"]);
}

#[test]
fn every_room_imports_only_what_lies_below_it() {
    let rules: BTreeMap<&str, &[&str]> = MAY_IMPORT.into_iter().collect();
    let mut checked = 0;
    for (file, room) in rooms() {
        let Some(allowed) = rules.get(room.as_str()) else {
            assert!(
                ["main", "lib", "server", "secrets", "break_glass", "sandbox"].contains(&room.as_str()),
                "no rule for the room {room}"
            );
            continue;
        };
        for import in imports(&fs::read_to_string(&file).unwrap()) {
            let fine = import == room || allowed.contains(&import.as_str());
            assert!(fine, "{}: {room} may not import {import}", file.display());
            checked += 1;
        }
    }
    assert!(checked > 100, "the test reads imports: {checked}");
}

#[test]
fn sql_is_only_in_the_store() {
    let mut seen = 0;
    for (file, room) in rooms() {
        let text = fs::read_to_string(&file).unwrap();
        let asks = ["sqlx::query", "query_as(", "query_scalar(", "raw_sql("]
            .iter()
            .any(|word| text.contains(word));
        // The private PostgreSQL is asked to create databases before there is a store.
        let excepted = file.ends_with("sandbox/postgres/mod.rs");
        assert!(!asks || room == "store" || excepted, "{} speaks SQL", file.display());
        seen += usize::from(asks);
    }
    assert!(seen > 8, "the test finds SQL: {seen}");
}
