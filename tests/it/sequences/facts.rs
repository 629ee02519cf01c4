//! Everything that is stored, at one moment.

use std::collections::BTreeSet;

use serde_json::Value;
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use crate::support::TestApp;

/// Rows as JSON, oldest first.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    pub jobs: Vec<Value>,
    pub steps: Vec<Value>,
    pub pointers: Vec<Value>,
    /// Intents to write pointers.
    pub writes: Vec<Value>,
    pub deployments: Vec<Value>,
    pub approvals: Vec<Value>,
    /// `{job_id, events, first, last, kinds}`.
    pub events: Vec<Value>,
    /// `{action, times}`.
    pub audit: Vec<Value>,
    pub blocks: Vec<Value>,
}

/// A text field.
#[track_caller]
pub fn text<'v>(row: &'v Value, field: &str) -> &'v str {
    row[field].as_str().unwrap_or_else(|| panic!("{field}: {row:#}"))
}

impl Facts {
    pub async fn read(app: &TestApp) -> Self {
        let mut tx = app.store.snapshot().await.unwrap();
        let mut rows = async |sql: &str| -> Vec<Value> {
            let sql = format!("SELECT to_jsonb(a_row) FROM ({sql}) AS a_row");
            sqlx::query_scalar(AssertSqlSafe(sql))
                .fetch_all(&mut *tx)
                .await
                .unwrap()
        };
        Self {
            jobs: rows("SELECT * FROM jobs ORDER BY seq").await,
            steps: rows("SELECT s.* FROM steps s JOIN jobs j ON j.id = s.job_id ORDER BY j.seq, s.position").await,
            pointers: rows("SELECT * FROM pointers ORDER BY component, target").await,
            writes: rows("SELECT * FROM pointer_writes ORDER BY id").await,
            deployments: rows("SELECT * FROM deployments ORDER BY id").await,
            approvals: rows("SELECT * FROM approvals ORDER BY at").await,
            events: rows(
                "SELECT job_id, count(*) AS events, min(id) AS first, max(id) AS last, jsonb_agg(kind ORDER BY id) AS kinds
                 FROM job_events GROUP BY job_id",
            )
            .await,
            audit: rows("SELECT action, count(*) AS times FROM audit GROUP BY action").await,
            blocks: rows("SELECT * FROM release_blocks").await,
        }
    }

    /// Which jobs have got their environment, how often, and which of them holds it: as long as this stays the same, no
    /// job has begun or ended.
    pub async fn turns(app: &TestApp) -> Vec<(Uuid, i32, bool)> {
        let turns = "SELECT id, round, holds FROM jobs WHERE activated_at IS NOT NULL ORDER BY seq";
        sqlx::query_as(turns).fetch_all(app.store.pool()).await.unwrap()
    }

    pub fn holder(&self) -> Option<&Value> {
        self.jobs.iter().find(|job| job["holds"] == true)
    }

    #[track_caller]
    pub fn job(&self, id: &str) -> &Value {
        self.jobs
            .iter()
            .find(|job| job["id"] == id)
            .expect("a job that there is")
    }

    pub fn steps_of<'f>(&'f self, job: &'f Value) -> impl Iterator<Item = &'f Value> {
        self.steps.iter().filter(|step| step["job_id"] == job["id"])
    }

    pub fn blocks(&self, release: &str) -> bool {
        self.blocks.iter().any(|block| block["version"] == release)
    }

    /// The release that is recorded as active.
    pub fn active(&self) -> Value {
        let open = self.deployments.iter().rev().find(|row| row["ended_at"].is_null());
        open.map_or(Value::Null, |row| row["release"].clone())
    }

    /// Each job with its round, if it ever got its environment.
    pub fn rounds(&self) -> BTreeSet<(String, i64)> {
        let active = self.jobs.iter().filter(|job| !job["activated_at"].is_null());
        active
            .map(|job| (text(job, "id").to_owned(), job["round"].as_i64().unwrap()))
            .collect()
    }

    /// Jobs that somebody has paused.
    pub fn paused(&self) -> BTreeSet<String> {
        let paused = self.jobs.iter().filter(|job| !job["paused_at"].is_null());
        paused.map(|job| text(job, "id").to_owned()).collect()
    }

    /// Positions of steps that have begun: by job.
    pub fn begun(&self) -> BTreeSet<(String, i64)> {
        let begun = self.steps.iter().filter(|step| !step["started_at"].is_null());
        begun
            .map(|step| (text(step, "job_id").to_owned(), step["position"].as_i64().unwrap()))
            .collect()
    }
}

/// A job in a few words, with what its steps say.
pub fn told(facts: &Facts, job: &Value) -> String {
    let mut words = format!(
        "{} {} of {} from {}: {} (round {}, error {})",
        text(job, "kind"),
        text(job, "id"),
        job["release"],
        job["from_release"],
        text(job, "state"),
        job["round"],
        job["error"]
    );
    for step in facts.steps_of(job) {
        let component = step["component"].as_str().unwrap_or("");
        words += &format!(
            "\n  {:>3} r{} {} {}/{} {component}: {} {}",
            step["position"],
            step["round"],
            text(step, "direction"),
            text(step, "stage"),
            text(step, "kind"),
            text(step, "state"),
            step["error"]["code"].as_str().unwrap_or("")
        );
    }
    words
}
