//! A reported success is one once a heartbeat shows the version, and none when a heartbeat contradicts it.

use std::time::Duration;

use serde_json::json;

use crate::common::deployments::{Shop, fit};
use crate::common::within;

#[tokio::test]
async fn a_heartbeat_that_contradicts_the_report_fails_the_canary() {
    let shop = Shop::with(4).await;
    let id = shop.deploy(&shop.order(json!({"canary": {"size": 2}, "rate_per_minute": 0, "concurrency": 4}))).await;
    shop.until_count(&id, "sending", 2).await;
    for device in [0, 1] {
        for status in ["accepted", "succeeded"] {
            assert_eq!(shop.says_status(&id, device, status).await, 200);
        }
    }
    // Reports alone open nothing, though each device has its slot back.
    let shown = shop.until_count(&id, "confirming", 2).await;
    assert_eq!((&shown["phase"], &shown["counts"]["queued"], &shown["canary"]["open"]), (&json!("canary"), &json!(2), &json!(2)));
    shop.shows_version(0).await;
    shop.until_count(&id, "succeeded", 1).await;
    assert_eq!(shop.tasks(&id).await[0], ("succeeded".into(), "confirmed".into()));

    // The app fell back, as the heartbeats tell from ten seconds after the report on.
    let paused = within(Duration::from_secs(40), "the heartbeat is believed", async || {
        shop.reports(1, |_| fit(15, Some(1))).await;
        Some(shop.shown(&id).await).filter(|shown| shown["state"] == "paused")
    })
    .await;
    assert_eq!((&paused["pause_reason"], &paused["phase"]), (&json!("canary_failed"), &json!("canary")));
    assert_eq!((&paused["counts"]["failed"], &paused["counts"]["queued"]), (&json!(1), &json!(2)));
    assert_eq!(shop.tasks(&id).await[1], ("failed".into(), "reverted".into()));
    let detail = "heartbeat shows version code 1, 2 was installed";
    assert_eq!(shop.bench.sql("SELECT reason_detail FROM deployment_task WHERE state = 'failed'"), detail);
    let events = shop.bench.client.get_json(&format!("/v1/deployments/{id}/events"), &shop.bench.admin).await.unwrap();
    let reverted = events["items"].as_array().unwrap().iter().find(|event| event["kind"] == "task_reverted").cloned();
    let reverted = reverted.expect("an event of its own");
    assert_eq!((&reverted["detail"], &reverted["device_id"]), (&json!(detail), &json!(shop.devices[1].device_id)));

    // What the milestone measures.
    let metrics = shop.bench.client.get("/metrics", None).await.unwrap();
    let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
    for line in [
        "nexmdm_deployment_tasks_finished_total{reason=\"confirmed\",state=\"succeeded\"} 1",
        "nexmdm_deployment_tasks_finished_total{reason=\"reverted\",state=\"failed\"} 1",
        "nexmdm_deployment_install_seconds_count 2",
        "nexmdm_deployment_attempts_finished_total{error=\"\",state=\"succeeded\"} 2",
    ] {
        assert!(metrics.contains(line), "{line} is missing");
    }
}
