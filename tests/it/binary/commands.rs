//! The other commands of the binary.

use super::*;

#[test]
fn the_committed_openapi_document_is_what_the_router_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi/openapi.json");
    let committed = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let output = run(&["openapi"], &[]);
    assert!(output.status.success(), "{output:?}");
    let now = String::from_utf8(output.stdout).unwrap();
    if committed == now {
        return;
    }
    let at = committed.lines().zip(now.lines()).position(|(was, is)| was != is);
    let at = at.unwrap_or_else(|| committed.lines().count().min(now.lines().count()));
    panic!(
        "openapi/openapi.json is not what the router says: run `make openapi` and commit it. Line {}:\n- {:?}\n+ {:?}",
        at + 1,
        committed.lines().nth(at),
        now.lines().nth(at)
    );
}

#[tokio::test]
async fn healthcheck_tells_by_its_exit_status() {
    let stage = Stage::start().await;
    let mut replica = stage.site.replica().await;
    let address = replica.address.to_string();
    // It asks the replica, not the double: nothing in this process has to answer.
    let asked = run(&["healthcheck", "--listen", &address], &[]);
    assert!(asked.status.success(), "{asked:?}");
    let asked = run(
        &["healthcheck"],
        &[("GREENLIGHT_LISTEN", &address.replace("127.0.0.1", "0.0.0.0"))],
    );
    assert!(asked.status.success(), "{asked:?}");
    replica.process.kill();
    let asked = run(&["healthcheck", "--listen", &address], &[]);
    assert_eq!(asked.status.code(), Some(1), "{asked:?}");
    assert!(!asked.stderr.is_empty());
}

#[tokio::test]
async fn migrating_twice_is_fine() {
    let url = empty_database().await;
    for _ in 0..2 {
        let said = printed(&run(&["migrate"], &[("DATABASE_URL", &url)]));
        assert_eq!(said, "The database is up to date.");
    }
}

#[test]
fn a_webhook_secret_that_is_none_is_not_repeated() {
    let secret = "correct-horse-battery-staple";
    for output in [
        run(
            &["serve", "--webhook-secret", secret],
            &[("DATABASE_URL", "postgres://127.0.0.1:1/none")],
        ),
        run(
            &["serve"],
            &[
                ("DATABASE_URL", "postgres://127.0.0.1:1/none"),
                ("GREENLIGHT_WEBHOOK_SECRET", secret),
            ],
        ),
    ] {
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap() + &String::from_utf8(output.stdout).unwrap();
        assert!(
            said.contains("GREENLIGHT_WEBHOOK_SECRET") && said.contains("whsec_"),
            "{said}"
        );
        assert!(!said.contains(secret), "{said}");
    }
}

#[tokio::test]
async fn a_token_needs_a_role_that_exists_and_a_database_that_was_migrated() {
    let url = empty_database().await;
    let create = |role: &str| {
        run(
            &["token", "create", "--name", "ci", "--role", role],
            &[("DATABASE_URL", &url)],
        )
    };
    let refused = create("owner");
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("viewer, deployer, releaser or admin"), "{said}");
    assert!(refused.stdout.is_empty());

    let refused = create("viewer");
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("has the database been migrated?"), "{said}");

    printed(&run(&["migrate"], &[("DATABASE_URL", &url)]));
    let token = printed(&create("viewer"));
    assert_eq!(token.split_whitespace().count(), 1, "the token alone: {token}");
}

#[tokio::test]
async fn a_token_may_what_its_role_may() {
    let stage = Stage::start().await;
    let replica = stage.site.replica().await;
    let admin = stage.site.api(&replica);
    admin.set_up(web(), &["1.0.0"]).await;
    let arguments = ["token", "create", "--name", "eyes", "--role", "viewer"];
    let token = printed(&run(&arguments, &[("DATABASE_URL", &stage.site.database_url)]));
    let viewer = Api::new(replica.address, Some(&token));
    viewer.get(ENVIRONMENT).await.expect(200);
    let promotions = format!("{ENVIRONMENT}/promotions");
    let refused = viewer
        .post(&promotions, json!({"release": "1.0.0"}))
        .await
        .expect_problem(403, "forbidden");
    assert_eq!(refused["required_role"], "releaser");
}
