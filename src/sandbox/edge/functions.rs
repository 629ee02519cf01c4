//! The functions that the edge runs: the built files of `edge/`, with their settings replaced.
//!
//! A file's settings are the one line that begins with `const CONFIG = `. It must never change anything else: what runs
//! here is what runs at CloudFront.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::options::EdgeOptions;

/// What the line with the settings begins with.
const CONFIG_LINE: &str = "const CONFIG = ";

/// The sources, as they were built.
#[derive(Debug, Clone)]
pub struct FunctionSources {
    /// CloudFront Function at viewer-request.
    pub viewer_request: Cow<'static, str>,
    /// CloudFront Function at viewer-response.
    pub viewer_response: Cow<'static, str>,
    /// Lambda@Edge at origin-request.
    pub origin_request: Cow<'static, str>,
}

impl Default for FunctionSources {
    /// The routing function of this project.
    fn default() -> Self {
        Self {
            viewer_request: include_str!("../../../edge/dist/cloudfront-function/viewer-request.js").into(),
            viewer_response: include_str!("../../../edge/dist/cloudfront-function/viewer-response.js").into(),
            origin_request: include_str!("../../../edge/dist/lambda/origin-request/index.mjs").into(),
        }
    }
}

/// The settings of the CloudFront Functions.
pub(super) fn viewer_config(options: &EdgeOptions) -> Value {
    let config = &options.config;
    json!({ "prefix": config.prefix, "fallback": config.fallback, "key": config.key })
}

/// The settings of the Lambda@Edge function. It counts whole seconds, one at least.
pub(super) fn origin_config(options: &EdgeOptions) -> Value {
    let config = &options.config;
    json!({
        "prefix": config.prefix,
        "fallback": config.fallback,
        "parameter": config.key,
        "regions": ["us-east-1"],
        "edge_ttl_seconds": options.pointer_ttl.as_millis().div_ceil(1000).max(1),
    })
}

/// `source` with its settings replaced; a source without that line stays as it is.
pub(super) fn configured(source: &str, config: &Value) -> String {
    let mut lines: Vec<String> = source.lines().map(str::to_owned).collect();
    if let Some(line) = lines.iter_mut().find(|line| line.starts_with(CONFIG_LINE)) {
        *line = format!("{CONFIG_LINE}{config};");
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_line_with_the_settings_is_replaced() {
        let source = "import cf from 'cloudfront';\nconst CONFIG = {\"a\":1};\nconst other = 'const CONFIG = ';\n";
        assert_eq!(
            configured(source, &json!({"b": 2})),
            "import cf from 'cloudfront';\nconst CONFIG = {\"b\":2};\nconst other = 'const CONFIG = ';"
        );
        assert_eq!(configured("function handler() {}", &json!({})), "function handler() {}");
    }

    #[test]
    fn the_built_files_have_one_such_line_where_they_need_it() {
        let sources = FunctionSources::default();
        let lines = |source: &str| source.lines().filter(|line| line.starts_with(CONFIG_LINE)).count();
        assert_eq!(lines(&sources.viewer_request), 1);
        assert_eq!(lines(&sources.origin_request), 1);
        assert!(lines(&sources.viewer_response) <= 1);
    }
}
