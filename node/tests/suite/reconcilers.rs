//! Reconcilers against a real database: one run at a time of all nodes, and removing in batches.

use std::time::Duration;

use chrono::TimeDelta;

use crate::common::{Bench, clock, eventually, options};

const MINUTE: Duration = Duration::from_secs(60);

/// Another node's run may have a statement under way when its shard is taken over.
#[tokio::test]
async fn what_runs_once_per_cluster_waits_for_the_run_of_another_node() {
    let bench = Bench::with(options().env("NEXMDM__HISTORY__INTERVAL_SECONDS", "1")).await;
    let runs = async |name: &str| bench.metric(&format!(r#"nexmdm_reconciler_runs_total{{outcome="ok",reconciler="{name}"}}"#)).await;
    eventually("it runs", async || (runs("history_retention").await > 0.0).then_some(())).await;
    // As the store takes it; the statement waits for a run that is under way.
    let other = bench.hold("SELECT pg_advisory_xact_lock(20056, hashtext('history_retention'))");
    let (before, others) = (runs("history_retention").await, runs("apk_retention").await);
    eventually("others go on", async || (runs("apk_retention").await >= others + 3.0).then_some(())).await;
    assert_eq!(runs("history_retention").await, before);
    drop(other);
    eventually("it runs again", async || (runs("history_retention").await > before).then_some(())).await;
    assert_eq!(bench.metric(r#"nexmdm_reconciler_failures_in_a_row{reconciler="history_retention"}"#).await, 0.0);
}

#[tokio::test]
async fn one_node_holds_a_lock_at_a_time_and_it_ends_with_its_holder() {
    let bench = Bench::start().await;
    let (a, b) = (bench.store(), bench.store());
    let held = a.try_cluster_lock("tests", MINUTE).await.unwrap().expect("nobody holds it");
    assert!(b.try_cluster_lock("tests", MINUTE).await.unwrap().is_none());
    assert!(a.try_cluster_lock("tests", MINUTE).await.unwrap().is_none(), "nor twice on one node");
    let another = b.try_cluster_lock("others", MINUTE).await.unwrap();
    assert!(another.is_some(), "another lock is free");
    drop(held);
    eventually("the lock is free", async || b.try_cluster_lock("tests", MINUTE).await.unwrap()).await;
    // One whose holder stands still ends by itself.
    let held = a.try_cluster_lock("short", Duration::from_millis(100)).await.unwrap().expect("nobody holds it");
    eventually("the lock has ended", async || b.try_cluster_lock("short", MINUTE).await.unwrap()).await;
    drop(held);
}

#[tokio::test]
async fn rows_are_removed_in_batches_and_those_that_are_kept_stay() {
    let bench = Bench::start().await;
    let (store, now) = (bench.store(), clock(0));
    let (past, month) = (now - TimeDelta::days(30), "clock_timestamp() - interval '31 days'");
    let seven = "FROM generate_series(1, 7) n";
    let user = "(SELECT user_id FROM app_user LIMIT 1)";
    let digest = "sha256(n::text::bytea)";
    bench.sql(&format!(
        "INSERT INTO user_session (session_id, user_id, refresh_sha256, created_at, rotated_at, expires_at)
             SELECT gen_random_uuid(), {user}, {digest}, {month}, {month}, {month} {seven};
         INSERT INTO api_token (api_token_id, user_id, name, prefix, secret_sha256, scopes, created_at, expires_at)
             SELECT gen_random_uuid(), {user}, 'ci', 'p', {digest}, '{{devices:read}}', {month} - interval '1 day', {month} {seven};
         INSERT INTO sign_in_failure (name_sha256, failures, failed_at) SELECT {digest}, 1, {month} {seven};
         INSERT INTO sign_in_failure (name_sha256, failures, failed_at)
             SELECT sha256(('new' || n)::bytea), 1, clock_timestamp() - n * interval '1 second' {seven};
         INSERT INTO fleet_sample (at, devices, online, offline, never_seen, low_battery, app_down, heartbeats_per_second)
             SELECT {month} - n * interval '1 hour', 0, 0, 0, 0, 0, 0, 0 {seven};
         INSERT INTO shard_move (shard_id, epoch, to_node, reason, moved_at) SELECT 0, -n, 'a', 'free', {month} {seven};
         INSERT INTO cluster_node (node_id, name, cluster_addr, http_url, version, protocol_min, protocol_max, lock_identity, state, expires_at, ended_at)
             SELECT gen_random_uuid(), 'old', '', '', '', 1, 1, '', 'left', {month}, {month} {seven}"
    ));
    let rows = |table: &str| bench.sql(&format!("SELECT count(*) FROM {table}")).parse::<u64>().unwrap();
    let kept = [rows("user_session") - 7, rows("shard_move") - 7, rows("cluster_node") - 7];
    assert!(kept.iter().all(|kept| *kept > 0), "the node itself has some: {kept:?}");
    for removed in [4, 3, 0] {
        assert_eq!(store.purge_sessions(past, 4).await.unwrap(), removed);
        assert_eq!(store.purge_api_tokens(past, 4).await.unwrap(), removed);
        assert_eq!(store.purge_sign_in_failures(past, 100, 4).await.unwrap(), removed);
        assert_eq!(store.purge_fleet_samples(past, 4).await.unwrap(), removed);
        assert_eq!(store.purge_shard_moves(4).await.unwrap(), removed);
        assert_eq!(store.purge_ended_nodes(4).await.unwrap(), removed);
    }
    assert_eq!([rows("user_session"), rows("shard_move"), rows("cluster_node")], kept);
    // Of the failures beyond those that are kept, the oldest go first.
    assert_eq!(rows("sign_in_failure"), 7);
    assert_eq!(store.purge_sign_in_failures(past, 3, 2).await.unwrap(), 2);
    assert_eq!(store.purge_sign_in_failures(past, 3, 2).await.unwrap(), 1);
    let newest = bench.sql("SELECT count(*) FROM sign_in_failure WHERE failed_at > clock_timestamp() - interval '1 hour'");
    assert_eq!(newest, "4");
}
