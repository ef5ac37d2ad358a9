//! Reconciliation on a whole node: drift that is planted in its database is found, explained, mended, counted and alerted.

use std::time::Duration;

use serde_json::Value;

use crate::common::{Bench, eventually, heartbeat, options, within};

/// The newest run of a check in which something differed: numbers and examples.
fn drifted(bench: &Bench, check: &str) -> Option<Value> {
    let run = bench.sql(&format!(
        "SELECT row_to_json(r) FROM reconciliation_run r WHERE check_name = '{check}' AND drifted > 0 ORDER BY run_id DESC LIMIT 1"
    ));
    serde_json::from_str(&run).ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planted_drift_is_found_explained_mended_and_alerted() {
    let bench =
        Bench::with(options().env("NEXMDM__RECONCILIATION__INTERVAL_SECONDS", "1").env("NEXMDM__RECONCILIATION__CHUNK_DEVICES", "2")).await;
    let mut devices = Vec::new();
    for n in 0..5 {
        let device = bench.enroll(&format!("kiosk-{n}")).await;
        bench.client.heartbeat(&device.session_token, &heartbeat(0, 50 + n)).await.unwrap();
        devices.push(device);
    }
    eventually("a run that compares all of them, and finds nothing", async || {
        let run = "SELECT 1 FROM reconciliation_run WHERE check_name = 'last_status' AND checked = 5 AND complete";
        (!bench.sql(run).is_empty()).then_some(())
    })
    .await;
    assert!(drifted(&bench, "last_status").is_none() && drifted(&bench, "commands").is_none(), "nothing was planted yet");
    let id = &devices[3].device_id;
    bench
        .sql(&format!("UPDATE device_last_status SET battery_pct = 3, bucket_at = bucket_at - interval '1 hour' WHERE device_id = '{id}'"));
    let run = eventually("the drift is found", async || drifted(&bench, "last_status")).await;
    assert_eq!((&run["drifted"], &run["healed"], &run["kinds"]["status_behind"]), (&1.into(), &1.into(), &1.into()), "{run}");
    let example = &run["examples"][0];
    assert_eq!((&example["subject"], &example["kind"], &example["healed"]), (&id.as_str().into(), &"status_behind".into(), &true.into()));
    assert_eq!(example["fields"][0]["field"], "bucket_at", "{example}");
    let pct = bench.sql(&format!("SELECT battery_pct FROM device_last_status WHERE device_id = '{id}'"));
    assert_eq!(pct, "53");
    assert!(bench.metric("nexmdm_reconciliation_drift_total{check=\"last_status\",kind=\"status_behind\"}").await >= 1.0);
    assert!(bench.metric("nexmdm_reconciliation_checked_total{check=\"last_status\"}").await >= 10.0);
    // What one run mended the next does not find.
    let after = run["run_id"].as_i64().unwrap();
    eventually("a run after it finds nothing", async || {
        let clean = format!(
            "SELECT 1 FROM reconciliation_run WHERE check_name = 'last_status' AND run_id > {after} AND complete AND drifted = 0 LIMIT 1"
        );
        (!bench.sql(&clean).is_empty()).then_some(())
    })
    .await;
    // What nobody mends raises the alert: a deployment that is over and has none of its devices.
    bench.sql(&format!(
        "INSERT INTO apk (apk_id, package, version_code, version_name, label, sha256, size_bytes, signers_sha256, uploaded_by, uploaded_at)
             VALUES ('{0}', 'com.example', 1, '1', 'x', '{1}', 1, '{{a}}', 'root', now());
         INSERT INTO deployment (deployment_id, shard_id, apk_id, package, version_code, name, target, options, flags, devices, canary_size, state,
             phase, phase_since, judged_since, conflict, created_by, created_at, expires_at, finished_at)
             VALUES ('{0}', 0, '{0}', 'com.example', 1, 'x', '', '', '', 1, 0, 'finished', 'rollout', now(), now(), 'wait', 'root', now(), now(), now())",
        "00000000-0000-7000-8000-000000000001",
        "0".repeat(64)
    ));
    let reason = within(Duration::from_secs(60), "the alert", async || {
        Some(bench.sql("SELECT reason FROM alert WHERE rule = 'reconciliation_drift' AND state = 'firing'"))
            .filter(|reason| !reason.is_empty())
    })
    .await;
    assert!(reason.starts_with("1 row differed"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_is_over_in_the_database_is_forgotten_by_its_device() {
    let bench = Bench::with(options().env("NEXMDM__RECONCILIATION__INTERVAL_SECONDS", "1")).await;
    let device = bench.enroll("kiosk").await;
    let sent = bench
        .client
        .post(&format!("/v1/devices/{}/commands", device.device_id), Some(&bench.admin), &serde_json::json!({"action": "ping"}))
        .await;
    let sent = sent.unwrap();
    assert_eq!(sent.status, 201, "{}", sent.detail());
    assert_eq!(bench.metric("nexmdm_commands_open").await, 1.0);
    // Ended behind the back of its actor, and long enough ago that no message of it is under way; and one that nobody told of.
    bench.sql("UPDATE command SET state = 'canceled', finished_at = now() - interval '10 minutes'");
    bench.sql(&format!(
        "INSERT INTO command (request_id, device_id, shard_id, action, params, params_shown, state, created_by, created_at, release_at, expires_at)
         SELECT gen_random_uuid(), device_id, shard, 'ping', '{{}}', '{{}}', 'queued', 'root', now() - interval '10 minutes', now(), now() + interval '1 hour'
         FROM device WHERE device_id = '{}'",
        device.device_id
    ));
    eventually("both are found", async || {
        let kinds = bench.sql("SELECT string_agg(DISTINCT k, ',' ORDER BY k) FROM reconciliation_run, jsonb_object_keys(kinds) k WHERE check_name = 'commands'");
        (kinds == "command_extra,command_missing").then_some(())
    })
    .await;
    eventually("the actor holds what is open", async || (bench.metric("nexmdm_commands_open").await == 1.0).then_some(())).await;
    let answered = bench.client.heartbeat(&device.session_token, &heartbeat(60, 50)).await.unwrap();
    assert_eq!(answered.json()["commands"].as_array().map(Vec::len), Some(1), "{}", answered.detail());
}
