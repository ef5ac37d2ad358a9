//! Deployments, asked for and spoken of wrongly: clear refusals, and nothing half created.

use chaos::http::Call;
use serde_json::{Value, json};
use wire::socket::DownFrame;

use crate::common::deployments::{Shop, say};

#[tokio::test]
async fn every_option_that_is_out_of_range_or_contradicts_is_named() {
    let shop = Shop::with(3).await;
    let fleet = |options: Value| json!({"apk_id": shop.new["id"], "target": {"fleet": true}, "options": options});
    let target = |target: Value| json!({"apk_id": shop.new["id"], "target": target});
    let nobody = "00000000-0000-7000-8000-000000000000";
    let table = [
        (fleet(json!({"canary": {"size": 0}})), "options.canary.size"),
        (fleet(json!({"canary": {"size": 4}})), "options.canary.size"),
        (fleet(json!({"canary": {"size": 2, "min_count": 3}})), "options.canary.min_count"),
        (fleet(json!({"canary": {"size": 2, "success_threshold_pct": 101}})), "options.canary.success_threshold_pct"),
        (fleet(json!({"canary": {"size": 2, "success_threshold_pct": 0}})), "options.canary.success_threshold_pct"),
        (fleet(json!({"canary": {"size": 2, "timeout_minutes": 0}})), "options.canary.timeout_minutes"),
        (fleet(json!({"canary": {"size": 0, "success_threshold_pct": 90}})), "options.canary.success_threshold_pct"),
        (fleet(json!({"rate_per_minute": -1})), "options.rate_per_minute"),
        (fleet(json!({"rate_per_minute": 1_000_001})), "options.rate_per_minute"),
        (fleet(json!({"concurrency": 0})), "options.concurrency"),
        (fleet(json!({"min_battery_pct": 101})), "options.min_battery_pct"),
        (fleet(json!({"min_battery_pct": 300})), "options.min_battery_pct"),
        (fleet(json!({"heartbeat_max_age_seconds": 5})), "options.heartbeat_max_age_seconds"),
        (fleet(json!({"window": {"start": "22:00", "end": "22:00", "tz": "UTC"}})), "options.window.end"),
        (fleet(json!({"window": {"start": "25:00", "end": "22:00", "tz": "UTC"}})), "options.window.start"),
        (fleet(json!({"window": {"start": "21:00", "end": "22:00", "tz": "Berlin"}})), "options.window.tz"),
        (fleet(json!({"retries": {"max": 21}})), "options.retries.max"),
        (fleet(json!({"retries": {"backoff_seconds": 0}})), "options.retries.backoff_seconds"),
        (fleet(json!({"restart_intent": {"action": ""}})), "options.restart_intent.action"),
        (fleet(json!({"failure_pause": {"min_count": 0}})), "options.failure_pause.min_count"),
        (fleet(json!({"deadline_hours": 0})), "options.deadline_hours"),
        (fleet(json!({"canary": {"sise": 2}})), "options.canary.sise"),
        (target(json!({})), "target"),
        (target(json!({"fleet": true, "tags": ["a"]})), "target"),
        (target(json!({"ids": []})), "target.ids"),
        (target(json!({"ids": ["x"]})), "target.ids[0]"),
        (target(json!({"ids": [shop.devices[0].device_id, nobody]})), "target.ids[1]"),
        (target(json!({"tags": []})), "target.tags"),
        (target(json!({"tags": ["of-nobody"]})), "target"),
        (target(json!({"filter": {"status": "asleep"}})), "target.filter.status"),
        (target(json!({"filter": {}})), "target.filter"),
        (target(json!({"filter": {"tag": null}})), "target.filter"),
        (target(json!({"filter": {"text": " "}})), "target.filter.text"),
        (target(json!({"fleet": false, "filter": {}})), "target.filter"),
        (json!({"apk_id": nobody, "target": {"fleet": true}}), "apk_id"),
        (json!({"apk_id": "x", "target": {"fleet": true}}), "apk_id"),
        (json!({"apk_id": shop.new["id"], "target": {"fleet": true}, "conflict": "fight"}), "conflict"),
        (json!({"apk_id": shop.new["id"], "target": {"fleet": true}, "name": "x".repeat(201)}), "name"),
    ];
    for (body, field) in table {
        for dry_run in [true, false] {
            let mut body = body.clone();
            body["dry_run"] = json!(dry_run);
            let answer = shop.post("/v1/deployments", &body).await;
            assert_eq!(answer.status, 422, "{body}: {}", answer.detail());
            let problem = answer.json();
            let named = problem["field"].as_str().unwrap_or_default();
            // The reader of JSON names what it could not read in its words.
            assert!(named == field || problem["detail"].as_str().unwrap().contains(field.rsplit('.').next().unwrap()), "{body}: {problem}");
        }
    }
    assert_eq!(shop.bench.sql("SELECT (SELECT count(*) FROM deployment) + (SELECT count(*) FROM deployment_task)"), "0");

    // Once, however often it is asked for.
    let body = fleet(json!({}));
    let once = async |body: &Value| {
        let call = Call::post("/v1/deployments", body.to_string()).bearer(&shop.bench.admin).header("idempotency-key", "k1");
        shop.bench.client.send(call.header("content-type", "application/json")).await.unwrap()
    };
    let (first, again) = (once(&body).await, once(&body).await);
    assert_eq!((first.status, again.status, &first.json()["id"]), (201, 200, &again.json()["id"]));
    assert_eq!(once(&fleet(json!({"concurrency": 1}))).await.status, 409);
}

#[tokio::test]
async fn words_of_strangers_and_words_out_of_turn_are_refused() {
    let shop = Shop::with(2).await;
    let stranger = shop.bench.enroll("stranger").await;
    let mut options = Shop::swift();
    options["retries"] = json!({"max": 0});
    let id = shop.deploy(&shop.order(options)).await;
    shop.until_count(&id, "sending", 2).await;
    let client = &shop.bench.client;

    let foreign = format!("/v1/agent/deployments/{id}/devices/{}/status", shop.devices[0].device_id);
    let accepted = json!({"status": "accepted"});
    assert_eq!(client.post(&foreign, Some(&stranger.session_token), &accepted).await.unwrap().status, 403);
    assert_eq!(client.post(&foreign, Some(&shop.bench.admin), &accepted).await.unwrap().status, 401);
    assert_eq!(say(client, &stranger, &id, accepted.clone()).await.status, 404, "not part of it");
    assert_eq!(say(client, &stranger, "00000000-0000-7000-8000-000000000000", accepted.clone()).await.status, 404);
    assert_eq!(say(client, &stranger, "nonsense", accepted.clone()).await.status, 404);
    for (body, field) in [
        (json!({}), "status"),
        (json!({"status": "queued"}), "status"),
        (json!({"status": "failed"}), "error"),
        (json!({"status": "failed", "error": "bad luck"}), "error"),
    ] {
        let answer = say(client, &shop.devices[0], &id, body.clone()).await;
        assert_eq!((answer.status, answer.json()["field"].as_str()), (422, Some(field)), "{body}");
    }
    assert_eq!(shop.recorded(&id), "sending=2", "none of it changed anything");

    assert_eq!(shop.says(&id, 0, json!({"status": "accepted", "attempt": 2})).await, 409);
    assert_eq!(shop.says(&id, 0, json!({"status": "accepted", "attempt": "1"})).await, 200, "as old agents write numbers");
    for unusable in
        [json!({"progress_pct": 101}), json!({"attempt": -1}), json!({"message": "x".repeat(1001)}), json!({"attempt": "first"})]
    {
        let mut told = unusable.clone();
        told["status"] = json!("Accepted");
        assert_eq!(shop.says(&id, 0, told).await, 200, "{unusable} does not cost the report");
    }
    assert_eq!(shop.says(&id, 0, json!({"status": "downloading", "progress_pct": 40.0})).await, 200);
    assert_eq!(shop.says(&id, 0, json!({"status": "downloading", "progress_pct": 80})).await, 200);
    assert_eq!(shop.bench.sql("SELECT max(progress_pct) FROM deployment_task"), "80");
    assert_eq!(shop.says_status(&id, 0, "installing").await, 200);
    let back = say(client, &shop.devices[0], &id, json!({"status": "downloading"})).await;
    assert_eq!((back.status, back.detail().contains("backwards")), (409, true), "{}", back.detail());
    assert_eq!(shop.says(&id, 0, json!({"status": "succeeded", "installed_version": "2.0"})).await, 200);
    assert_eq!(shop.says_status(&id, 0, "succeeded").await, 200, "the same again");
    assert_eq!(shop.says(&id, 0, json!({"status": "failed", "error": "install_failed"})).await, 409);
    shop.shows_version(0).await;

    // The same rules over the socket.
    let device = &shop.devices[1];
    let mut socket = client.socket(&device.session_token).await.unwrap().unwrap();
    let mut tell = async |word: Value| -> u16 {
        let mut frame = word;
        (frame["type"], frame["id"]) = (json!("deployment_status"), json!("w"));
        socket.send_text(frame.to_string()).await.unwrap();
        loop {
            match socket.next().await.unwrap().expect("an open socket") {
                DownFrame::Ack { id, .. } if id == "w" => return 200,
                DownFrame::Refused { id, status, .. } if id == "w" => return status,
                _ => {}
            }
        }
    };
    assert_eq!(tell(json!({"deployment_id": id, "status": "accepted"})).await, 200);
    assert_eq!(tell(json!({"deployment_id": id, "status": "verifying"})).await, 200);
    assert_eq!(tell(json!({"deployment_id": id, "status": "accepted"})).await, 409);
    assert_eq!(tell(json!({"deployment_id": "nonsense", "status": "accepted"})).await, 404);
    assert_eq!(tell(json!({"deployment_id": id, "status": "queued"})).await, 422);
    assert_eq!(tell(json!({"deployment_id": id, "status": "failed", "error": "low_storage"})).await, 200);
    let done = shop.until("finished", &id, |shown| shown["state"] == "finished").await;
    // No room is no failure of the APK; it was the only try.
    assert_eq!((&done["counts"]["succeeded"], &done["counts"]["skipped"]), (&json!(1), &json!(1)));
    assert_eq!(shop.bench.sql("SELECT installed_version FROM deployment_task WHERE state = 'succeeded'"), "2.0");
}
