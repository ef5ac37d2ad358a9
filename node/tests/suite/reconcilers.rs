//! Reconcilers of a whole node: one run at a time of all nodes.

use crate::common::{Bench, eventually, options};

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
async fn a_node_compares_its_clock_with_the_databases() {
    let bench = Bench::start().await;
    let runs = r#"nexmdm_reconciler_runs_total{outcome="ok",reconciler="clock_offset"}"#;
    eventually("the first measurement", async || (bench.metric(runs).await > 0.0).then_some(())).await;
    // Both read the clock of one machine, so that what remains is a part of the round trip: seldom nothing, never much.
    let offset_seconds = bench.metric("nexmdm_clock_offset_seconds").await;
    assert!(offset_seconds != 0.0 && offset_seconds.abs() < 2.0, "{offset_seconds}");
    assert!(!bench.node.log().contains("clock.offset_exceeded"));
}

#[tokio::test]
async fn messages_are_removed_when_they_are_older_than_alerts_are_kept() {
    let bench = Bench::with(options().env("NEXMDM__HISTORY__INTERVAL_SECONDS", "1")).await;
    // One is a day too old, the other is not.
    bench.sql(
        "INSERT INTO notification (notification_id, kind, severity, thread, begins_thread, ends_thread, headline, alert_count, alerts, created_at)
         SELECT gen_random_uuid(), 'raised', 'info', 't', true, true, headline, 0, '[]', now() - kept
         FROM (VALUES ('old', interval '91 days'), ('new', interval '89 days')) AS m(headline, kept)",
    );
    eventually("the old one is gone", async || {
        (bench.sql("SELECT string_agg(headline, ',') FROM notification WHERE thread = 't'") == "new").then_some(())
    })
    .await;
}
