//! The API as its users see it: lists, jobs, events, environments, and the documents about itself.

mod documents;
mod events;
mod jobs;
mod pages;
mod stream;
mod views;

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::{TestApp, TestAppOptions};

/// Nobody works: what is started stays unfinished.
async fn without_workers() -> TestApp {
    TestApp::with(TestAppOptions {
        workers: 0,
        ..TestAppOptions::default()
    })
    .await
}

/// The names of an object's fields.
#[track_caller]
fn names(object: &Value) -> BTreeSet<&str> {
    let fields = object.as_object().unwrap_or_else(|| panic!("no object: {object}"));
    fields.keys().map(String::as_str).collect()
}

/// Every item of a list, read page by page. Sees that each page is as long as it can be.
async fn all_pages(app: &TestApp, path: &str, limit: usize) -> Vec<Value> {
    let (mut items, mut cursor) = (Vec::new(), String::new());
    let separator = if path.contains('?') { '&' } else { '?' };
    loop {
        let page = app
            .get(&format!("{path}{separator}limit={limit}{cursor}"))
            .await
            .expect(200)
            .json();
        assert_eq!(names(&page), BTreeSet::from(["items", "next_cursor"]), "{page}");
        let found = page["items"].as_array().unwrap();
        items.extend(found.iter().cloned());
        let Some(next) = page["next_cursor"].as_str() else {
            assert!(found.len() <= limit && page["next_cursor"].is_null(), "{page}");
            return items;
        };
        assert_eq!(found.len(), limit, "a page with a next one is full: {page}");
        cursor = format!("&cursor={next}");
        assert!(items.len() <= 1000, "the list has no end");
    }
}
