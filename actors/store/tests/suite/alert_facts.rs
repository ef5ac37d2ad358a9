//! Facts that rules judge, and alerts whose subject is gone.

use domain::DeploymentId;
use domain::alert::{AlertState, DeploymentFacts, Subject, SubjectKind};
use domain::shard::{ShardId, shard_of, shard_of_deployment};
use store::{NodeHealth, ReportErrors};
use test_database::TestDatabase;

use crate::alerts::{alert, clear, open, record};
use crate::common::{at, delete_devices, device, enroll, enroll_many, new_node, plan_of, uuid};
use crate::deployment_rows::{add_apk, deployment, insert, new_deployment};

#[tokio::test]
async fn alerts_of_devices_that_are_gone_are_found_by_the_owner() {
    let db = TestDatabase::new().await;
    for number in 1..=3 {
        enroll(&db, number, &format!("d{number}")).await;
        record(&db, number, number, open(), 0).await;
    }
    // One that never was a device of this server.
    record(&db, 9, 9, open(), 0).await;
    delete_devices(&db, &[device(2)], at(10)).await;
    record(&db, 3, 3, clear(), 20).await;
    let all: Vec<ShardId> = ShardId::all().collect();
    let orphans = db.store().orphaned_alerts(&all, 10).await.unwrap();
    assert_eq!(orphans.iter().map(|alert| alert.id).collect::<Vec<_>>(), [alert(2), alert(9)]);
    assert_eq!((&orphans[0].key.subject, orphans[0].state), (&Subject::Device(device(2)), AlertState::Firing));
    assert_eq!(db.store().orphaned_alerts(&all, 1).await.unwrap().len(), 1);
    assert!(
        db.store()
            .orphaned_alerts(&[ShardId((shard_of(device(2)).0 + 1) % 256)], 10)
            .await
            .unwrap()
            .iter()
            .all(|alert| alert.key.subject != Subject::Device(device(2)))
    );
    let of_nodes = db.store().open_alerts(&all, Some(SubjectKind::Node), None, 10).await.unwrap();
    assert!(of_nodes.is_empty());
    assert_eq!(db.store().open_alerts(&all, None, None, 10).await.unwrap().len(), 3);
}

async fn judged(db: &TestDatabase, shards: &[ShardId], also: &[DeploymentId], second: i64) -> Vec<DeploymentFacts> {
    let deployments = db.store().judged_deployments(shards, also, at(second)).await.unwrap();
    let ids: Vec<_> = deployments.iter().map(|deployment| deployment.id).collect();
    let totals = db.store().task_totals(&ids).await.unwrap();
    let of = |deployment: &store::JudgedDeployment| {
        let (_, totals) = totals.iter().find(|(id, _)| *id == deployment.id).unwrap();
        deployment.facts(totals)
    };
    deployments.iter().map(of).collect()
}

/// Read every five seconds, whatever the number of tasks.
#[tokio::test]
async fn the_last_task_that_was_written_is_found_by_an_index() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 4).await;
    let apk = add_apk(&db, 1, 10).await;
    insert(&db, &new_deployment(50, apk, &ids), 5).await;
    let shard = [shard_of_deployment(deployment(50))];
    let read = async || db.store().judged_deployments(&shard, &[], at(300)).await.unwrap().remove(0);
    assert_eq!(read().await.tasks, 4);
    let later = at(1_000_000_000);
    db.execute(&format!("UPDATE deployment_task SET changed_at = '{later}' WHERE position = 2")).await;
    assert_eq!(read().await.changed_at, Some(later));
    db.execute(&format!(
        "INSERT INTO deployment_task (deployment_id, position, device_id, package, canary, state, changed_at)
         SELECT '{}', n, gen_random_uuid(), 'p', false, 'queued', now() FROM generate_series(10, 5000) AS n;
         ANALYZE deployment_task",
        deployment(50)
    ))
    .await;
    read().await;
    let plan = plan_of(&db, "SELECT d.deployment_id, d.name, d.state, d.phase", "'{1}', '{}', now()").await;
    assert!(plan.contains("using deployment_task_changed"), "{plan}");
    assert!(!plan.contains("Seq Scan on deployment_task"), "{plan}");
}

#[tokio::test]
async fn deployments_are_judged_by_their_tasks() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 4).await;
    let apk = add_apk(&db, 1, 10).await;
    let id = deployment(50);
    insert(&db, &new_deployment(50, apk, &ids), 5).await;
    let shard = [shard_of_deployment(id)];
    let judged = async |also: &[DeploymentId]| judged(&db, &shard, also, 300).await;
    let facts = judged(&[]).await.remove(0);
    assert_eq!((facts.open, facts.succeeded, facts.failed, facts.progress_at), (4, 0, 0, Some(at(5))));
    assert!(!facts.over && facts.paused_at.is_none());
    for (number, state) in [(1, "succeeded"), (2, "failed")] {
        let (when, device) = (at(100 + i64::from(number)), device(number));
        db.execute(&format!(
            "UPDATE deployment_task SET state = '{state}', finished_at = '{when}' WHERE deployment_id = '{id}' AND device_id = '{device}'"
        ))
        .await;
    }
    let paused = at(200);
    db.execute(&format!(
        "UPDATE deployment SET state = 'paused', phase = 'canary', pause_reason = 'canary_failed', paused_at = '{paused}' WHERE deployment_id = '{id}'"
    ))
    .await;
    let facts = judged(&[]).await.remove(0);
    assert_eq!((facts.open, facts.succeeded, facts.failed, facts.progress_at), (2, 1, 1, Some(at(102))));
    assert_eq!((facts.canary_failed, facts.paused_at, facts.report_errors), (Some(true), Some(paused), Some(0)));
    db.execute(&format!(
        "UPDATE deployment SET state = 'canceled', pause_reason = NULL, paused_at = NULL, finished_at = '{paused}' WHERE deployment_id = '{id}'"
    ))
    .await;
    assert!(judged(&[]).await.is_empty(), "one that is over is judged only while an alert about it is open");
    assert!(judged(&[id]).await[0].over);
}

#[tokio::test]
async fn reports_that_could_not_be_used_are_counted_for_an_hour() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 2).await;
    let apk = add_apk(&db, 1, 10).await;
    let id = deployment(50);
    insert(&db, &new_deployment(50, apk, &ids[..1]), 5).await;
    let shard = [shard_of_deployment(id)];
    let counted = async |second| judged(&db, &shard, &[], second).await[0].report_errors;
    assert_eq!(counted(10).await, Some(0));
    let of = |deployment, device, errors| ReportErrors { deployment, device, errors };
    let note = async |errors: &[ReportErrors], second| db.store().note_report_errors(errors, at(second)).await.unwrap();
    for second in [10, 20] {
        note(&[of(id, ids[0], 2)], second).await;
    }
    note(&[of(id, ids[0], 1), of(id, ids[1], 1), of(deployment(51), ids[0], 1)], 700).await;
    assert_eq!(counted(800).await, Some(5), "not of a device that it is not for");
    assert_eq!(counted(3_600 + 320).await, Some(1), "those of the first minutes are an hour old");
    assert_eq!(counted(3_600 + 1_000).await, Some(0));
    note(&[of(id, ids[0], u32::MAX)], 20_000).await;
    assert_eq!(counted(20_000).await, Some(1_000_000), "counted no further");
    assert_eq!(db.value::<i64>("SELECT count(*) FROM deployment_report_error").await, 1, "old ones are gone");
}

async fn run_out(db: &TestDatabase, number: u32) {
    let id = uuid(number);
    db.execute(&format!("UPDATE cluster_node SET expires_at = clock_timestamp() WHERE node_id = '{id}'")).await;
}

#[tokio::test]
async fn a_node_is_lost_until_one_of_its_name_is_back_and_a_start_is_known() {
    let db = TestDatabase::new().await;
    let store = db.store();
    assert_eq!(store.cluster_started_at().await.unwrap(), None);
    for number in 1..=2 {
        store.join_cluster(&new_node(number, &format!("n{number}")), 60_000).await.unwrap();
    }
    let joined: domain::Timestamp = db.value("SELECT min(joined_at) FROM cluster_node").await;
    assert_eq!(store.cluster_started_at().await.unwrap(), Some(joined), "the second joined the first");
    let of = async |name: &str| store.judged_nodes().await.unwrap().into_iter().find(|(node, _)| node == name).unwrap().1;
    assert_eq!(of("n1").await.expired_at, None);
    run_out(&db, 1).await;
    db.execute(&format!("UPDATE cluster_node SET state = 'expired', ended_at = clock_timestamp() WHERE node_id = '{}'", uuid(1))).await;
    assert!(of("n1").await.expired_at.is_some());
    store.join_cluster(&new_node(3, "n1"), 60_000).await.unwrap();
    assert_eq!(of("n1").await.expired_at, None, "it is back");
    assert_eq!(store.cluster_started_at().await.unwrap(), Some(joined), "another one was alive all the time");
    // All of them die, and one starts.
    for number in 2..=3 {
        run_out(&db, number).await;
    }
    store.join_cluster(&new_node(4, "n2"), 60_000).await.unwrap();
    let started: domain::Timestamp = db.value("SELECT max(joined_at) FROM cluster_node").await;
    assert_eq!(store.cluster_started_at().await.unwrap(), Some(started));
}

#[tokio::test]
async fn what_a_node_says_of_itself_counts_while_it_is_new() {
    let db = TestDatabase::new().await;
    let health = NodeHealth {
        disk_free_pct: Some(7),
        pool_full_since: Some(at(3)),
        push_refused: None,
        push_quota_used_up: Some(true),
        database_p99_ms: Some(511),
        certificate_expires_at: Some(at(86_400)),
    };
    db.store().note_node_health("n1", &health, at(10)).await.unwrap();
    db.store().note_node_health("n2", &NodeHealth::default(), at(5)).await.unwrap();
    assert_eq!(db.store().node_health(at(6)).await.unwrap(), [("n1".to_owned(), health)]);
    db.store().note_node_health("n1", &NodeHealth::default(), at(20)).await.unwrap();
    assert_eq!(db.store().node_health(at(0)).await.unwrap().len(), 2);
    assert_eq!(db.store().node_health(at(20)).await.unwrap(), [("n1".to_owned(), NodeHealth::default())]);
}
