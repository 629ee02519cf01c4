//! What it is given, what it asks, and when it does not begin.

use super::*;

#[tokio::test]
async fn a_dry_run_shows_everything_and_writes_nothing() {
    let night = Night::new().await;
    night.says(REGION, PARAMETER, &pointer("1.1.0", None, 3));
    let said = night.break_glass(&web(), "1.0.0", &["--dry-run"]).await;
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert!(said.out.contains(&written("1.0.0", "1.1.0", 4)), "{said:#?}");
    assert_eq!(night.writes(), 0);
    // What it could not do is said by the status too.
    let said = night.break_glass(&web_in_two_regions(), "1.0.0", &["--dry-run"]).await;
    assert_eq!(said.code, Some(1), "{said:#?}");
    assert!(
        said.out.contains("does not exist") && said.out.contains("--create"),
        "{said:#?}"
    );
}

#[tokio::test]
async fn it_goes_on_only_when_the_release_is_typed() {
    let night = Night::new().await;
    night.says(REGION, PARAMETER, &pointer("1.1.0", None, 3));
    let file = night.file(&web());
    let arguments = ["--environment-file", &file, "--release", "1.0.0"];
    for typed in ["yes\n", "1.1.0\n", "\n", ""] {
        let at_a_terminal =
            move |arguments: &[&str], environment: &[(&str, &str)]| run_at_a_terminal(arguments, environment, typed);
        let said = break_glass(&night.double, &arguments, at_a_terminal).await;
        assert_eq!(said.code, Some(2), "{typed:?}: {said:#?}");
        assert!(said.out.contains("Type the release to go on: "), "{said:#?}");
        assert!(said.out.contains("nothing was written"), "{said:#?}");
    }
    // Without a terminal nobody can answer, whatever comes in: AWS is not even looked at.
    night.double.clear_calls();
    for input in ["", "1.0.0\n"] {
        let piped = move |arguments: &[&str], environment: &[(&str, &str)]| {
            run_reading(arguments, environment, input.as_bytes())
        };
        let said = break_glass(&night.double, &arguments, piped).await;
        assert_eq!(said.code, Some(2), "{said:#?}");
        assert!(
            said.err.contains("no terminal") && said.err.contains("--yes"),
            "{said:#?}"
        );
    }
    assert_eq!(night.double.calls().len(), 0);

    let at_a_terminal =
        |arguments: &[&str], environment: &[(&str, &str)]| run_at_a_terminal(arguments, environment, "1.0.0\n");
    let said = break_glass(&night.double, &arguments, at_a_terminal).await;
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert_eq!(night.active(REGION), "1.0.0");
    assert_eq!(night.double.invalidations(DISTRIBUTION).len(), 1);
}

#[tokio::test]
async fn a_pointer_is_made_only_with_create() {
    let night = Night::new().await;
    // The document's own leave to create is for the service: it knows the name to be right.
    let said = night.break_glass(&web(), "1.0.0", &["--yes"]).await;
    assert_eq!(said.code, Some(2), "{said:#?}");
    assert!(said.out.contains("--create"), "{said:#?}");
    assert_eq!(night.parameter(REGION), None);
    let said = night.break_glass(&web(), "1.0.0", &["--yes", "--create"]).await;
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert_eq!(night.active(REGION), "1.0.0");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_every_reason() {
    let night = Night::new().await;
    let refused = async |document: &Value, release: &str, more: &[&str], parts: &[&str]| {
        let said = night.break_glass(document, release, &[&["--yes"], more].concat()).await;
        assert_eq!(said.code, Some(2), "{said:#?}");
        for part in parts {
            assert!(said.err.contains(part), "{part} is not said: {said:#?}");
        }
    };
    let mut bad = web();
    bad["aws"]["region"] = json!("mars");
    bad["components"][0]["router"]["parameter"] = json!("a/b");
    let fields = ["--release: ", "aws.region: ", "components[0].router.parameter: "];
    refused(&bad, "../1", &[], &fields).await;
    let parts = ["--component: ", "\"api\"", "\"edge\"", "it has web"];
    refused(&web(), "1.0.0", &["--component", "api", "--component", "edge"], &parts).await;
    let mut surprise = web();
    surprise["components"][0]["router"]["colour"] = json!("blue");
    refused(
        &surprise,
        "1.0.0",
        &[],
        &["components[0].router.colour", "environment.json"],
    )
    .await;
    refused(&json!([]), "1.0.0", &[], &["not the JSON object"]).await;

    let arguments = [
        "--environment-file",
        "/nowhere/at/all.json",
        "--release",
        "1.0.0",
        "--yes",
    ];
    let said = break_glass(&night.double, &arguments, run).await;
    assert_eq!(said.code, Some(2), "{said:#?}");
    assert!(said.err.contains("/nowhere/at/all.json"), "{said:#?}");
    let said = break_glass(&night.double, &["--release", "1.0.0"], run).await;
    assert_eq!(said.code, Some(2), "{said:#?}");
    assert_eq!(night.double.calls().len(), 0);
}

#[tokio::test]
async fn the_document_can_come_from_standard_input() {
    let night = Night::new().await;
    night.says(REGION, PARAMETER, &pointer("1.1.0", None, 3));
    let arguments = ["--environment-file", "-", "--release", "1.0.0"];
    let piped = |arguments: &[&str], environment: &[(&str, &str)]| {
        run_reading(arguments, environment, web().to_string().as_bytes())
    };
    let said = break_glass(&night.double, &arguments, piped).await;
    assert_eq!((said.code, night.writes()), (Some(2), 0), "{said:#?}");
    assert!(said.err.contains("--yes"), "{said:#?}");
    let said = break_glass(&night.double, &[&arguments[..], &["--yes"]].concat(), piped).await;
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert_eq!(night.active(REGION), "1.0.0");
}
