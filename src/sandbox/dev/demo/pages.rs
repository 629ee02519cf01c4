//! The two sites that the demo releases: small, and told apart at a glance.

use sha2::{Digest, Sha256};

use crate::sandbox::dev::world::Site;

/// A file of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Below the release's prefix.
    pub path: String,
    pub content_type: &'static str,
    pub body: String,
}

/// What the whole page is coloured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    Blue,
    Green,
    Red,
    Violet,
}

impl Colour {
    pub fn name(self) -> &'static str {
        match self {
            Self::Blue => "blue",
            Self::Green => "green",
            Self::Red => "red",
            Self::Violet => "violet",
        }
    }

    fn css(self) -> &'static str {
        match self {
            Self::Blue => "#1d4ed8",
            Self::Green => "#15803d",
            Self::Red => "#b91c1c",
            Self::Violet => "#7e22ce",
        }
    }
}

/// The files of `version` of a site.
pub fn files(site: &Site, version: &str, colour: Colour) -> Vec<File> {
    let file = |path: &str, content_type, body| File {
        path: path.to_owned(),
        content_type,
        body,
    };
    let badge = badge(version);
    let hash = hex::encode(&Sha256::digest(&badge)[..5]);
    let badge_path = format!("assets/badge-{hash}.js");
    vec![
        file(
            "index.html",
            "text/html; charset=utf-8",
            page(site, version, colour, &badge_path),
        ),
        file("style.css", "text/css", style(colour)),
        file(
            "release.json",
            "application/json",
            format!("{{\"release\":\"{version}\"}}\n"),
        ),
        file(&badge_path, "text/javascript", badge),
    ]
}

fn page(site: &Site, version: &str, colour: Colour, badge: &str) -> String {
    let (component, colour) = (site.component, colour.name());
    format!(
        "<!doctype html>\n\
         <html lang=\"en\" data-release=\"{version}\">\n\
         <meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{component} {version} ({colour})</title>\n\
         <link rel=\"icon\" href=\"data:,\">\n\
         <link rel=\"stylesheet\" href=\"/style.css\">\n\
         <h1>{component} {version}</h1>\n\
         <p>This page is <b>{colour}</b>. What it loads now is of release <b id=\"loads\">…</b>: an open page keeps \
         its own release through a flip, and a rollback frees it. Reload for the release that is active.</p>\n\
         <script type=\"module\" src=\"/{badge}\"></script>\n\
         </html>\n"
    )
}

fn style(colour: Colour) -> String {
    let background = colour.css();
    format!(
        "html {{ background: {background}; color: white; font: 1.2rem/1.6 system-ui, sans-serif; }}\n\
         body {{ max-width: 36rem; margin: 18vh auto; padding: 0 1rem; }}\n"
    )
}

/// Asks every second for a file whose name is the same in every release.
fn badge(version: &str) -> String {
    format!(
        "// {version}\n\
         const loads = document.getElementById(\"loads\");\n\
         const ask = async () => {{\n\
         \x20 const answer = await fetch(\"/release.json\", {{ cache: \"no-store\" }});\n\
         \x20 loads.textContent = (await answer.json()).release;\n\
         }};\n\
         ask();\n\
         setInterval(ask, 1000);\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::dev::world::WEB;

    #[test]
    fn releases_are_told_apart_in_every_file() {
        let (blue, green) = (files(&WEB, "1.0.0", Colour::Blue), files(&WEB, "1.1.0", Colour::Green));
        assert_eq!(blue.len(), green.len());
        for (blue, green) in blue.iter().zip(&green) {
            assert_ne!(blue.body, green.body, "{}", blue.path);
        }
        assert!(blue[0].body.contains("data-release=\"1.0.0\""));
        assert!(
            blue[0].body.contains(&blue[3].path),
            "the page names its own hashed file"
        );
    }
}
