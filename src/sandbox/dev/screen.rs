//! What a person reads on standard output, with colours where a terminal shows them.

use std::{
    env,
    fmt::Display,
    io::{self, IsTerminal, Write},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    cloud,
    demo::Told,
    folder::DataFolder,
    house::House,
    world::{DOCS, WEB},
};
use crate::sandbox::edge::LocalEdge;

/// How long each share of the canary that one can try is watched: long enough to open the edge in a few browsers.
const CANARY_BAKE_SECONDS: u32 = 30;

/// Where the words go.
pub struct Screen {
    out: Mutex<Box<dyn Write + Send>>,
    colours: bool,
}

impl Screen {
    /// Standard output; coloured if it is a terminal and NO_COLOR (no-color.org) is not set.
    #[must_use]
    pub fn of_terminal() -> Self {
        let wanted = env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self::new(io::stdout(), wanted && io::stdout().is_terminal())
    }

    /// Any other place.
    pub fn new(out: impl Write + Send + 'static, colours: bool) -> Self {
        Self {
            out: Mutex::new(Box::new(out)),
            colours,
        }
    }

    /// Writes one line. A reader that has gone away is no reason to stop.
    pub fn line(&self, text: impl Display) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }

    pub(super) fn bold(&self, text: impl Display) -> String {
        self.coloured("1", text)
    }

    pub(super) fn dim(&self, text: impl Display) -> String {
        self.coloured("2", text)
    }

    pub(super) fn good(&self, text: impl Display) -> String {
        self.coloured("32", text)
    }

    pub(super) fn bad(&self, text: impl Display) -> String {
        self.coloured("31", text)
    }

    pub(super) fn warning(&self, text: impl Display) -> String {
        self.coloured("33", text)
    }

    fn coloured(&self, code: &str, text: impl Display) -> String {
        if self.colours {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_string()
        }
    }
}

/// `0.85 s`, `2 min 5 s`.
pub(super) fn in_words(duration: Duration) -> String {
    match duration.as_secs() {
        0..60 => format!("{:.2} s", duration.as_secs_f64()),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

/// Everything one needs to know to use a running house.
pub(super) fn announce(screen: &Screen, house: &House, folder: &DataFolder, told: Option<&Told>) {
    let base = &house.base_url;
    let endpoint = house.double.endpoint_url();
    let token_file = folder.token_file();
    screen.line("");
    screen.line(screen.bold("Greenlight is running. Ctrl-C stops everything."));
    screen.line("");
    for (name, value, note) in [
        ("API", base.as_str(), String::new()),
        ("Docs", &format!("{base}/docs"), String::new()),
        (
            "Token",
            &house.token,
            format!("(admin; kept in {})", token_file.display()),
        ),
        (
            "Data",
            &folder.path().display().to_string(),
            "(--fresh forgets it)".into(),
        ),
        ("DATABASE_URL", &house.database_url, String::new()),
        (
            "Edge",
            &house.edges.web.url(),
            format!("(distribution {}: open it in a browser)", WEB.distribution),
        ),
        ("POPs", &points(&house.edges.web), "(its points of presence)".into()),
        (
            "Docs site",
            &house.edges.docs.url(),
            format!("(distribution {}, routed behind the cache)", DOCS.distribution),
        ),
        (
            "Bucket",
            WEB.bucket,
            format!("(releases under {}<version>/)", WEB.prefix),
        ),
        ("KVS", &house.kvs_arn, format!("(web's pointer under {})", WEB.key())),
        (
            "AWS double",
            &endpoint,
            format!("(region {}, account {})", cloud::REGION, cloud::ACCOUNT),
        ),
    ] {
        screen.line(format!("  {name:<13} {value} {}", screen.dim(note)).trim_end());
    }
    screen.line("");
    screen.line("Try:");
    for line in curl_lines(base, &house.token, told) {
        screen.line(format!("  {line}"));
    }
    screen.line(format!(
        "  curl -sSI {}/ | grep -i x-greenlight-release",
        house.edges.web.url()
    ));
    screen.line("");
    screen.line("What the AWS double holds, with the aws command line:");
    screen.line(format!(
        "  AWS_ACCESS_KEY_ID={} AWS_SECRET_ACCESS_KEY={} aws --region {} --endpoint-url {endpoint} ssm get-parameter --name {}",
        cloud::ACCESS_KEY_ID,
        cloud::SECRET_ACCESS_KEY,
        cloud::REGION,
        WEB.parameter,
    ));
    screen.line("");
}

fn points(edge: &LocalEdge) -> String {
    let addresses: Vec<String> = edge.pop_addresses().iter().map(ToString::to_string).collect();
    addresses.join(" ")
}

/// Calls that work as they stand.
fn curl_lines(base: &str, token: &str, told: Option<&Told>) -> Vec<String> {
    let curl = format!("curl -sS -H 'Authorization: Bearer {token}'");
    let json = "-H 'Content-Type: application/json'";
    match told {
        None => vec![
            format!("{curl} {base}/v1/apps"),
            format!("{curl} -X PUT {json} -d '{{}}' {base}/v1/apps/storefront"),
            format!("{curl} {base}/v1/jobs"),
        ],
        Some(told) => {
            let environment = format!("{base}{}", super::demo::ENVIRONMENT_PATH);
            let promote = |body: &Value| format!("{curl} -X POST {json} -d '{body}' {environment}/promotions");
            let share = |weight: u32| json!({ "weight": weight, "bake_seconds": CANARY_BAKE_SECONDS });
            let strategy = json!({
                "kind": "canary", "components": [WEB.component], "steps": [share(10), share(50)],
            });
            vec![
                format!("{curl} {environment}"),
                promote(&json!({ "release": told.left })),
                promote(&json!({ "release": told.first, "strategy": strategy })),
                format!("{curl} '{base}/v1/jobs?app=storefront&environment=production'"),
            ]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short_to_read() {
        assert_eq!(in_words(Duration::from_millis(854)), "0.85 s");
        assert_eq!(in_words(Duration::from_secs(125)), "2 min 5 s");
    }

    #[test]
    fn curl_lines_are_shell_words_that_hold_json() {
        let told = Told {
            left: "1.1.0".into(),
            first: "1.0.0".into(),
        };
        let lines = curl_lines("http://127.0.0.1:8080", "secret", Some(&told));
        assert!(lines[1].contains(
            r#"-d '{"release":"1.1.0"}' http://127.0.0.1:8080/v1/apps/storefront/environments/production/promotions"#
        ));
        let (_, after) = lines[2].split_once("-d '").unwrap();
        let body: Value = serde_json::from_str(after.split_once('\'').unwrap().0).unwrap();
        assert_eq!(body["release"], "1.0.0");
        assert_eq!(body["strategy"]["kind"], "canary");
    }
}
