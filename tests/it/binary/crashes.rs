//! `kill -9`, and who finishes the job.

use super::*;

/// Kills the one replica at each kind of call that a promotion makes, before and after its effect.
#[tokio::test]
async fn killed_at_each_call_to_aws_and_started_again_the_job_finishes() {
    let stage = Stage::with(Duration::from_secs(3)).await;
    let mut replica = stage.site.replica().await;
    stage.site.api(&replica).set_up(web(), &[]).await;
    // How often a promotion makes each call: preflight, flip and its proof, settle; two looks are enough.
    for (operation, calls) in [
        ("GetParameter", 4),
        ("GetDistribution", 1),
        ("PutParameter", 1),
        ("CreateInvalidation", 1),
        ("GetInvalidation", 2),
    ] {
        for (action, skip) in [FaultAction::HangBeforeEffect, FaultAction::HangAfterEffect]
            .into_iter()
            .flat_map(|action| (0..calls).map(move |skip| (action.clone(), skip)))
        {
            let api = stage.site.api(&replica);
            let release = format!("{operation}-{skip}-{action:?}");
            api.register(&release).await;
            let before = stage.invalidations();
            let hang = stage.fault(Fault::on(operation, action).skip(skip).once());
            let id = api.promote(&release).await;
            eventually("the call is made", async || {
                if hang.hits() > 0 {
                    return Some(());
                }
                time::to_the_next_timer(&stage.store, &stage.double).await;
                None
            })
            .await;
            stage.kill(replica).await;
            stage.advance(AFTER_THE_LEASE).await;
            replica = stage.site.replica().await;
            let api = stage.site.api(&replica);
            let job = stage.finish_as(&api, &id, "succeeded").await;
            let about = format!("{release}: {job:#}");
            assert_eq!(stage.active(), release, "{about}");
            assert_eq!(stage.invalidations(), before + 1, "{about}");
            stage.assert_one_invalidation(&job);
            assert_eq!(api.environment().await["drift"], Value::Null, "{about}");
        }
    }
}

/// Kills the one replica so many milliseconds into a promotion, wherever that is: mostly in the database.
#[tokio::test]
async fn killed_at_any_time_and_started_again_the_job_finishes() {
    let stage = Stage::start().await;
    let mut replica = stage.site.replica().await;
    stage.site.api(&replica).set_up(web(), &[]).await;
    for (n, millis) in [0, 1, 2, 4, 6, 9, 12, 16, 20, 25, 30, 40, 60].into_iter().enumerate() {
        let api = stage.site.api(&replica);
        let release = format!("1.{n}.0");
        api.register(&release).await;
        let id = api.promote(&release).await;
        tokio::time::sleep(Duration::from_millis(millis)).await;
        stage.kill(replica).await;
        stage.advance(AFTER_THE_LEASE).await;
        replica = stage.site.replica().await;
        let job = stage.finish_as(&stage.site.api(&replica), &id, "succeeded").await;
        assert_eq!(stage.active(), release, "killed after {millis} ms: {job:#}");
        assert_eq!(stage.invalidations(), n + 1, "killed after {millis} ms: {job:#}");
        stage.assert_one_invalidation(&job);
    }
}

/// Its write is on the way when the replica is killed, and lands after a rollback has taken its place.
#[tokio::test]
async fn the_late_write_of_a_killed_replica_is_put_right() {
    let stage = Stage::start().await;
    let replica = stage.site.replica().await;
    let api = stage.site.api(&replica);
    api.set_up(web(), &["1.0.0", "1.1.0"]).await;
    let first = api.promote("1.0.0").await;
    api.end_as(&first, "succeeded").await;
    let held = stage.fault(Fault::on("PutParameter", FaultAction::HoldEffect).once());
    let promotion = api.promote("1.1.0").await;
    timeout(PATIENCE, held.wait_hit(1)).await.unwrap();
    stage.kill(replica).await;

    let replica = stage.site.replica().await;
    let api = stage.site.api(&replica);
    let rollback = api.roll_back().await;
    eventually("the rollback watches", async || {
        (api.job(&rollback).await["state"] == "waiting").then_some(())
    })
    .await;
    assert_eq!(stage.active(), "1.0.0");
    assert_eq!(held.release(), 1);
    assert_eq!(stage.active(), "1.1.0", "it landed");
    let job = stage.finish_as(&api, &rollback, "succeeded").await;
    assert_eq!(stage.active(), "1.0.0");
    assert!(job["warnings"].to_string().contains("late_write_landed"), "{job:#}");
    assert_eq!(api.job(&promotion).await["superseded_by"], rollback.as_str());
}

#[tokio::test]
async fn another_replica_takes_over_from_one_that_is_killed() {
    let stage = Stage::start().await;
    let mut first = stage.site.replica().await;
    let api = stage.site.api(&first);
    api.set_up(web(), &["1.0.0"]).await;
    let hang = stage.fault(Fault::on("PutParameter", FaultAction::HangAfterEffect).once());
    let id = api.promote("1.0.0").await;
    timeout(PATIENCE, hang.wait_hit(1)).await.unwrap();
    let second = stage.site.replica().await;
    let api = stage.site.api(&second);
    first.process.kill();
    assert_eq!(api.job(&id).await["state"], "running", "the lease has not run out");
    stage.advance(AFTER_THE_LEASE).await;
    let job = stage.finish_as(&api, &id, "succeeded").await;
    let kinds = api.event_kinds(&id).await;
    assert!(kinds.contains(&"job.taken_over".to_owned()), "{kinds:?}");
    assert_eq!((stage.active().as_str(), stage.calls("PutParameter")), ("1.0.0", 1));
    stage.assert_one_invalidation(&job);
}

#[tokio::test]
async fn two_replicas_share_the_promotions_of_many_environments() {
    const ENVIRONMENTS: usize = 12;
    let stage = Stage::start().await;
    let (first, second) = tokio::join!(
        stage.site.replica_logging("info", &["--worker-jobs", "1"]),
        stage.site.replica_logging("info", &["--worker-jobs", "1"])
    );
    first.ready().await;
    second.ready().await;
    let apis = [stage.site.api(&first), stage.site.api(&second)];
    apis[0].put("/v1/apps/storefront", json!({})).await.expect(201);
    apis[0].register("1.0.0").await;
    let slow = FaultAction::Delay(Duration::from_millis(100));
    stage.fault(Fault::on("PutParameter", slow));
    // Each replica meets refusals, so that each says which jobs are its own.
    stage.fault(Fault::on("GetDistribution", FaultAction::Unavailable).times(ENVIRONMENTS as u64));
    let mut jobs = Vec::new();
    for n in 0..ENVIRONMENTS {
        let environment = format!("/v1/apps/storefront/environments/e{n}");
        let document = web_with(json!({"parameter": format!("/storefront/e{n}/release")}));
        apis[n % 2].put(&environment, document).await.expect(201);
        let body = json!({"release": "1.0.0"});
        jobs.push(
            apis[n % 2]
                .post(&format!("{environment}/promotions"), body)
                .await
                .expect(202)
                .id(),
        );
    }
    for (n, id) in jobs.iter().enumerate() {
        // Whichever replica is asked, and whichever has run it.
        let job = apis[(n + 1) % 2].end_as(id, "succeeded").await;
        assert_eq!(stage.active_at(&format!("/storefront/e{n}/release")), "1.0.0");
        stage.assert_one_invalidation(&job);
    }
    assert_eq!(stage.calls("PutParameter"), ENVIRONMENTS);
    assert_eq!(stage.invalidations(), ENVIRONMENTS);
    for replica in [&first, &second] {
        let log = replica.log();
        assert!(
            log.iter().any(|line| line["span"]["job.id"].is_string()),
            "it had a share: {log:#?}"
        );
    }
}
