//! The pointer in a CloudFront KeyValueStore: `cloudfront_kvs`, and the projection of `ssm_pointer`.

mod contention;
mod late_writes;
mod projection;
mod road;

use std::time::Duration;

use greenlight::sandbox::double::{Call, FaultHandle};
use serde_json::Value;
use tokio::time::timeout;

use crate::support::TestApp;

const PATIENCE: Duration = Duration::from_secs(60);

async fn hit(handle: &FaultHandle) {
    timeout(PATIENCE, handle.wait_hit(1)).await.expect("the fault is met");
}

/// The codes of a job's warnings.
fn codes(job: &Value) -> Vec<&str> {
    let warnings = job["warnings"].as_array().unwrap().iter();
    warnings.map(|warning| warning["code"].as_str().unwrap()).collect()
}

impl TestApp {
    /// Every attempt to write to the store, oldest first.
    fn store_writes(&self) -> Vec<Call> {
        let calls = self.double.calls().into_iter();
        calls.filter(|call| call.operation == "UpdateKeys").collect()
    }

    /// Somebody else writes a key.
    fn set_key(&self, key: &str, value: &str) {
        self.double.set_kvs_value(&self.store_arn(), key, value).unwrap();
    }

    /// The names of what became of each intent, oldest first; `open` for those without an answer.
    async fn outcomes(&self) -> Vec<String> {
        let query = "SELECT coalesce(outcome, 'open') FROM pointer_writes ORDER BY id";
        sqlx::query_scalar(query).fetch_all(self.store.pool()).await.unwrap()
    }
}
