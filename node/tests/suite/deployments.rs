//! Deployments, from whoever presses the button to the last device: the canary, the switches, the way back, and what comes in between.

use domain::CommandId;
use domain::deployment::{TaskChange, TaskReason, TaskState};
use domain::shard::{Epoch, ShardLease, shard_of_deployment};
use serde_json::{Value, json};
use store::{ApplyPlan, ChangedTask, TaskStart};

use crate::common::deployments::{Shop, fit, flag};
use crate::common::{apks, clock, eventually, heartbeat};

#[tokio::test]
async fn the_canary_goes_first_and_its_success_opens_the_gate() {
    let shop = Shop::with(8).await;
    let order = shop.order(json!({"canary": {"size": 2}, "rate_per_minute": 0, "concurrency": 4, "window": null}));
    let id = shop.deploy(&order).await;
    let shown = shop.until_count(&id, "sending", 2).await;
    assert_eq!((&shown["phase"], &shown["canary_size"], &shown["counts"]["queued"]), (&json!("canary"), &json!(2), &json!(6)));
    let tasks = shop.tasks(&id).await;
    assert!(tasks[2..].iter().all(|task| task == &("queued".into(), "canary".into())), "{tasks:?}");

    // What the device is sent, over whichever path, is what the agent API promises.
    let answer = shop.reports(0, |at| fit(at, Some(1))).await;
    let command = &answer["commands"][0];
    assert_eq!(command["action"], "deploy_apk");
    let params: Value = serde_json::from_str(command["params"].as_str().unwrap()).unwrap();
    assert_eq!((&params["deployment_id"], &params["attempt"]), (&json!(id), &json!(1)));
    assert_eq!((&params["apk"]["sha256"], &params["apk"]["size"]), (&shop.new["sha256"], &shop.new["size_bytes"]));
    assert_eq!(params["apk"]["signer_sha256"], shop.new["signers_sha256"]);
    assert_eq!((&params["constraints"]["wifi_only"], &params["constraints"]["min_battery"]), (&json!(true), &json!(40)));
    let url = params["apk"]["url"].as_str().unwrap();
    let path = url.split_once("/v1").map(|(_, path)| format!("/v1{path}")).unwrap();
    let file = shop.bench.client.get(&path, None).await.unwrap();
    assert_eq!((file.status, file.body.to_vec()), (200, apks::fixture("till-2.apk")));
    let shown_params = shop.bench.sql("SELECT params_shown FROM command LIMIT 1");
    assert!(!shown_params.contains("signature="), "people are not shown the address: {shown_params}");

    shop.installs(&id, 0).await;
    assert_eq!(shop.shown(&id).await["phase"], "canary", "one of two is not enough");
    shop.installs(&id, 1).await;
    let shown = shop.until_count(&id, "sending", 4).await;
    assert_eq!((&shown["phase"], &shown["counts"]["throttled"]), (&json!("rollout"), &json!(2)));
    for device in 2..8 {
        eventually("its turn", async || (shop.tasks(&id).await[device].0 == "sending").then_some(())).await;
        shop.installs(&id, device).await;
    }
    let done = shop.until("finished", &id, |shown| shown["state"] == "finished").await;
    assert_eq!((&done["counts"]["succeeded"], shop.recorded(&id).as_str()), (&json!(8), "succeeded=8"));
    let events = shop.bench.client.get_json(&format!("/v1/deployments/{id}/events"), &shop.bench.admin).await.unwrap();
    let kinds: Vec<_> = events["items"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["finished", "gate_opened", "created"]);
    let trail = shop.bench.sql("SELECT string_agg(action, ' ' ORDER BY seq) FROM audit_entry WHERE action LIKE 'deployment.%'");
    assert_eq!(trail, "deployment.created deployment.gate_opened deployment.finished");
    let table = shop.bench.client.get(&format!("/v1/deployments/{id}/export.csv"), Some(&shop.bench.admin)).await.unwrap();
    assert_eq!(String::from_utf8(table.body.to_vec()).unwrap().lines().count(), 9);
    assert_eq!(shop.bench.metric("nexmdm_deployment_starts_total").await, 8.0);
}

#[tokio::test]
async fn a_failing_canary_pauses_by_itself_and_offers_the_way_back() {
    let shop = Shop::with(6).await;
    let id = shop.deploy(&shop.order(json!({"canary": {"size": 3}, "rate_per_minute": 0, "concurrency": 4}))).await;
    shop.until_count(&id, "sending", 3).await;
    shop.installs(&id, 0).await;
    shop.installs(&id, 1).await;
    assert_eq!(shop.says(&id, 2, json!({"status": "failed", "error": "signer_mismatch", "message": "not ours"})).await, 200);
    let paused = shop.until("paused", &id, |shown| shown["state"] == "paused").await;
    assert_eq!((&paused["pause_reason"], &paused["counts"]["queued"]), (&json!("canary_failed"), &json!(3)));
    let offer = &paused["rollback"];
    assert_eq!((&offer["offered"], &offer["possible"]), (&json!(true), &json!(false)));
    assert!(offer["why_not"].as_str().unwrap().contains("Android does not go back to version code 1"), "{offer}");
    let refused = shop.post(&format!("/v1/deployments/{id}/rollback"), &json!({})).await;
    assert_eq!((refused.status, &refused.json()["type"]), (409, &json!("no_rollback")));
    assert_eq!(shop.shown(&id).await["state"], "paused", "nothing half done");

    let query = format!("?rollback_of={}", shop.old["id"].as_str().unwrap());
    let back = apks::upload(&shop.bench.client, &shop.bench.admin, apks::fixture("till-4-rollback.apk"), &query).await;
    assert_eq!(back.status, 201, "{}", back.detail());
    let offer = shop.shown(&id).await["rollback"].clone();
    assert_eq!((&offer["possible"], &offer["apk_id"], &offer["devices"]), (&json!(true), &back.json()["id"], &json!(2)));
    let rolled = shop.post(&format!("/v1/deployments/{id}/rollback"), &json!({})).await;
    assert_eq!(rolled.status, 201, "{}", rolled.detail());
    let rolled = rolled.json();
    assert_eq!((&rolled["rolls_back"], &rolled["version_code"], &rolled["devices"]), (&json!(id), &json!(4), &json!(2)));
    let old = shop.until("called off", &id, |shown| !shown["finished_at"].is_null()).await;
    assert_eq!((&old["state"], &old["counts"]["canceled"]), (&json!("canceled"), &json!(3)));
    let again = shop.post(&format!("/v1/deployments/{id}/rollback"), &json!({})).await;
    assert_eq!(again.status, 409);
    assert!(again.detail().contains(rolled["id"].as_str().unwrap()), "names the one under way: {}", again.detail());
    assert_eq!(shop.bench.sql("SELECT count(*) FROM deployment"), "2");
}

#[tokio::test]
async fn whoever_resumes_after_a_failed_canary_gives_it_another_chance_and_no_free_pass() {
    let shop = Shop::with(4).await;
    let id = shop.deploy(&shop.order(json!({"canary": {"size": 1}, "rate_per_minute": 0, "concurrency": 4}))).await;
    shop.until_count(&id, "sending", 1).await;
    assert_eq!(shop.says(&id, 0, json!({"status": "failed", "error": "signer_mismatch"})).await, 200);
    shop.until("paused", &id, |shown| shown["pause_reason"] == "canary_failed").await;
    assert_eq!(shop.transition(&id, "resume").await, 200);
    let shown = shop.until_count(&id, "sending", 1).await;
    assert_eq!((&shown["phase"], &shown["counts"]["queued"]), (&json!("canary"), &json!(3)));
    shop.installs(&id, 0).await;
    shop.until_count(&id, "sending", 3).await;
}

#[tokio::test]
async fn pause_and_the_switches_hold_at_once_and_what_began_may_end() {
    let shop = Shop::with(4).await;
    let id = shop.deploy(&shop.order(Shop::swift())).await;
    shop.until_count(&id, "sending", 4).await;
    assert_eq!(shop.says_status(&id, 0, "accepted").await, 200);

    assert_eq!(shop.transition(&id, "pause").await, 200);
    let shown = shop.shown(&id).await;
    assert_eq!(
        (&shown["pause_reason"], &shown["counts"]["queued"], &shown["counts"]["installing"]),
        (&json!("person"), &json!(3), &json!(1))
    );
    assert_eq!(shop.says_status(&id, 1, "accepted").await, 409, "it was told, and must not begin");
    assert_eq!(shop.says_status(&id, 0, "downloading").await, 200, "it had begun");
    assert_eq!(shop.bench.sql("SELECT count(*) FROM command WHERE state = 'canceled'"), "3");

    assert_eq!((shop.transition(&id, "pause").await, shop.transition(&id, "resume").await), (200, 200));
    shop.until_count(&id, "sending", 3).await;
    assert_eq!(shop.says(&id, 1, json!({"status": "accepted", "attempt": 1})).await, 409, "that one was taken back");
    assert_eq!(shop.says(&id, 1, json!({"status": "accepted", "attempt": 2})).await, 200);

    for (name, on) in [("deployments.kill_switch", true), ("deployments.enabled", false)] {
        flag(&shop.bench.client, &shop.bench.admin, name, on).await;
        assert_eq!(shop.says_status(&id, 2, "accepted").await, 409, "{name}");
        shop.until_count(&id, "sending", 0).await;
        assert_eq!(shop.shown(&id).await["blocked_by"], if on { "kill_switch" } else { "flag_off" });
        flag(&shop.bench.client, &shop.bench.admin, name, !on).await;
        shop.until_count(&id, "sending", 2).await;
    }

    assert_eq!(shop.transition(&id, "cancel").await, 200);
    for device in [2, 3] {
        assert_eq!(shop.says_status(&id, device, "accepted").await, 409, "called off");
    }
    let shown = shop.shown(&id).await;
    assert_eq!((&shown["counts"]["installing"], &shown["counts"]["canceled"]), (&json!(2), &json!(2)));
    assert_eq!(shop.says_status(&id, 0, "succeeded").await, 200);
    shop.shows_version(0).await;
    assert_eq!(shop.says(&id, 1, json!({"status": "failed", "error": "install_failed"})).await, 200);
    let over = shop.until("over", &id, |shown| !shown["finished_at"].is_null()).await;
    assert_eq!((&over["state"], shop.recorded(&id).as_str()), (&json!("canceled"), "canceled=2 failed=1 succeeded=1"));
    for how in ["pause", "resume"] {
        assert_eq!(shop.transition(&id, how).await, 409);
    }
}

#[tokio::test]
async fn devices_that_come_go_or_have_it_already_are_told_apart() {
    let shop = Shop::with(6).await;
    shop.reports(0, |at| fit(at, Some(2))).await;
    shop.reports(1, heartbeat_without_wifi).await;
    shop.reports(2, |at| fit_with_battery(at, 10)).await;
    let mut order = json!({"apk_id": shop.new["id"], "target": {"fleet": true},
        "options": {"canary": {"size": 1}, "rate_per_minute": 0, "concurrency": 100}});
    order["dry_run"] = json!(true);
    let plan = shop.post("/v1/deployments", &order).await;
    assert_eq!(plan.status, 200, "{}", plan.detail());
    let plan = plan.json();
    assert_eq!((&plan["devices"], &plan["canary_size"]), (&json!(6), &json!(1)));
    let count = |state: &str, reason: Option<&str>| {
        let counts = plan["counts"].as_array().unwrap();
        counts
            .iter()
            .find(|count| count["state"] == state && count["reason"].as_str() == reason)
            .map_or(0, |count| count["devices"].as_i64().unwrap())
    };
    assert_eq!((count("sending", None), count("skipped", Some("already_installed")), count("queued", Some("canary"))), (1, 1, 4), "{plan}");
    // Each has its own reasons, whether or not it is in the canary.
    assert_eq!(plan["qualifying"], 3);
    let reasons = |kind: &str| plan["excluded"].as_array().unwrap().iter().find(|of| of["reason"] == kind).map(|of| of["devices"].clone());
    assert_eq!(["already_installed", "no_wifi", "low_battery"].map(reasons), [1, 1, 1].map(|n| Some(json!(n))), "{plan}");
    let own = |device: usize| {
        let items = plan["items"].as_array().unwrap();
        let item = items.iter().find(|item| item["id"] == shop.devices[device].device_id.as_str()).unwrap();
        (item["qualifies"].as_bool().unwrap(), item["reason"].clone(), item["exclusions"].clone())
    };
    let of = |reason: &str, detail: &str| json!([{"reason": reason, "detail": detail}]);
    assert_eq!(own(1), (false, json!("canary"), of("no_wifi", "network cellular, wifi or ethernet required")));
    assert_eq!(own(2), (false, json!("canary"), of("low_battery", "battery 10 % < 40 %")));
    assert_eq!((0..6).filter(|device| own(*device).0).count(), 3);
    assert_eq!(shop.bench.sql("SELECT count(*) FROM deployment"), "0", "nothing is done");

    order["dry_run"] = json!(false);
    let id = shop.deploy(&order).await;
    let first = shop.until_count(&id, "sending", 1).await;
    assert_eq!(first["counts"]["skipped"], 1);
    let canary = shop.tasks(&id).await.iter().position(|(state, _)| state == "sending").unwrap();
    assert!(canary >= 3, "a device that is fit goes first");
    shop.installs(&id, canary).await;
    shop.until_count(&id, "sending", 2).await;
    let tasks = shop.tasks(&id).await;
    assert_eq!((tasks[1].1.as_str(), tasks[2].1.as_str()), ("no_wifi", "low_battery"));
    assert_eq!(shop.bench.sql("SELECT reason_detail FROM deployment_task WHERE reason = 'low_battery'"), "battery 10 % < 40 %");

    // One joins too late, one goes, one turns fit, one shows the version without a word.
    let late = shop.bench.enroll("late").await;
    assert_eq!(crate::common::deployments::say(&shop.bench.client, &late, &id, json!({"status": "accepted"})).await.status, 404);
    let gone = shop.devices[1].device_id.clone();
    assert_eq!(shop.bench.client.delete(&format!("/v1/devices/{gone}"), &shop.bench.admin).await.unwrap().status, 204);
    shop.reports(2, |at| fit(at, Some(1))).await;
    shop.until_count(&id, "sending", 3).await;
    eventually("the deleted one is skipped", async || {
        (shop.tasks(&id).await[1] == ("skipped".into(), "device_deleted".into())).then_some(())
    })
    .await;
    for device in [2, 3, 4, 5].into_iter().filter(|device| *device != canary) {
        shop.reports(device, |at| fit(at, Some(2))).await;
    }
    let done = shop.until("finished", &id, |shown| shown["state"] == "finished").await;
    assert_eq!((&done["counts"]["succeeded"], &done["counts"]["skipped"]), (&json!(4), &json!(2)));
    assert_eq!(shop.bench.sql("SELECT count(*) FROM deployment_task WHERE reason = 'seen_in_heartbeat'"), "3");
}

fn heartbeat_without_wifi(at: i64) -> wire::agent::Heartbeat {
    let told = fit(at, Some(1));
    wire::agent::Heartbeat { network: Some(wire::agent::Network { transport: Some("cellular".into()), ..Default::default() }), ..told }
}

fn fit_with_battery(at: i64, pct: i64) -> wire::agent::Heartbeat {
    wire::agent::Heartbeat { battery: heartbeat(at, pct).battery, ..fit(at, Some(1)) }
}

#[tokio::test]
async fn one_deployment_of_a_package_at_a_time_has_a_device() {
    let shop = Shop::with(3).await;
    let first = shop.deploy(&shop.order(json!({"canary": {"size": 1}, "rate_per_minute": 0, "concurrency": 5}))).await;
    shop.until_count(&first, "sending", 1).await;
    let newer = apks::add(&shop.bench.client, &shop.bench.admin, "till-9-v2.apk").await;
    let mut order = shop.order(Shop::swift());
    order["apk_id"] = newer["id"].clone();

    // It waits for the older one ...
    let waits = shop.deploy(&order).await;
    let tasks = eventually("all of them wait", async || {
        Some(shop.tasks(&waits).await).filter(|tasks| tasks.iter().all(|task| task.1 == "other_deployment"))
    })
    .await;
    assert_eq!(tasks.len(), 3);
    assert_eq!(shop.transition(&waits, "cancel").await, 200);

    // ... or takes over what that is not installing on.
    assert_eq!(shop.says_status(&first, 0, "accepted").await, 200);
    order["conflict"] = json!("supersede");
    let takes = shop.deploy(&order).await;
    shop.until_count(&takes, "sending", 2).await;
    assert_eq!(shop.tasks(&first).await[1..], [("canceled".into(), "superseded".into()), ("canceled".into(), "superseded".into())]);
    assert_eq!(shop.tasks(&takes).await[0].1, "other_deployment");
    assert_eq!(shop.says_status(&first, 0, "succeeded").await, 200);
    shop.shows_version(0).await;
    shop.until_count(&takes, "sending", 3).await;
    let first = shop.until("over", &first, |shown| !shown["finished_at"].is_null()).await;
    assert_eq!((&first["counts"]["succeeded"], &first["counts"]["canceled"]), (&json!(1), &json!(2)));
}

#[tokio::test]
async fn failures_are_tried_again_and_too_many_of_them_pause() {
    let shop = Shop::with(6).await;
    let mut options = Shop::swift();
    options["retries"] = json!({"max": 1, "backoff_seconds": 1});
    options["failure_pause"] = json!({"threshold_pct": 50, "min_count": 2});
    let id = shop.deploy(&shop.order(options)).await;
    shop.until_count(&id, "sending", 6).await;
    let fails = json!({"status": "failed", "error": "install_failed", "message": "INSTALL_FAILED_INTERNAL"});
    assert_eq!(shop.says(&id, 0, fails.clone()).await, 200);
    assert_eq!(shop.says(&id, 0, fails.clone()).await, 200, "said twice, counted once");
    eventually("another try", async || (shop.bench.sql("SELECT max(attempts) FROM deployment_task") == "2").then_some(())).await;
    assert_eq!(shop.says(&id, 0, fails.clone()).await, 200);
    let task = shop.tasks(&id).await[0].clone();
    assert_eq!(task, ("failed".into(), "install_failed".into()));
    for (device, error) in [(1, "signer_mismatch"), (2, "downgrade_refused")] {
        assert_eq!(shop.says(&id, device, json!({"status": "failed", "error": error})).await, 200);
    }
    let paused = shop.until("paused", &id, |shown| shown["state"] == "paused").await;
    assert_eq!(paused["pause_reason"], "failure_rate");
    // What no device has taken is taken back.
    shop.until_count(&id, "sending", 0).await;
    assert_eq!(shop.bench.sql("SELECT count(*) FROM deployment_attempt WHERE finished_at IS NULL"), "0");
}

#[tokio::test]
async fn room_that_did_not_come_about_is_not_used() {
    let shop = Shop::with(2).await;
    let mut options = Shop::swift();
    options["concurrency"] = json!(1);
    let id = shop.deploy(&shop.order(options)).await;
    shop.until_count(&id, "sending", 1).await;
    let tasks = shop.tasks(&id).await;
    let place = |state: &str| tasks.iter().position(|task| task.0 == state).unwrap();
    let (told, waits) = (place("sending"), tasks.iter().position(|task| task.0 != "sending").unwrap());
    assert_eq!(shop.says_status(&id, told, "accepted").await, 200);
    // Whoever drives it saw the device before it took the task: it was to be over, and to make room for the other.
    let device = |place: usize| shop.devices[place].device_id.parse().unwrap();
    let change = TaskChange::Finish(TaskState::Succeeded, TaskReason::SeenInHeartbeat.into());
    let start = TaskStart {
        device: device(waits),
        command: CommandId(uuid::Uuid::now_v7()),
        attempt: 1,
        params: "{}".into(),
        params_shown: "{}".into(),
        version_before: None,
    };
    let shard = shard_of_deployment(id.parse().unwrap());
    let epoch = shop.bench.sql(&format!("SELECT epoch FROM shard WHERE shard_id = {}", shard.0)).parse().unwrap();
    let plan = ApplyPlan {
        id: id.parse().unwrap(),
        lease: ShardLease { shard, epoch: Epoch(epoch) },
        changes: vec![ChangedTask { device: device(told), from: TaskState::Sending, attempts: 1, change, message: None, detail: None }],
        starts: vec![start],
        concurrency: 1,
        commands_expire_at: clock(3600),
        deployment: None,
        canary_ms: 0,
        now: clock(0),
    };
    let applied = shop.bench.store().apply_plan(&plan).await.unwrap().expect("the right epoch");
    assert_eq!(applied.started, [], "one is at it, and no more may be");
    assert_eq!(shop.bench.sql("SELECT count(*) FROM deployment_attempt"), "1");
}

#[tokio::test]
async fn a_device_that_refuses_the_command_itself_ends_for_its_own_reason() {
    let shop = Shop::with(2).await;
    let mut options = Shop::swift();
    options["retries"] = json!({"max": 0});
    let id = shop.deploy(&shop.order(options)).await;
    shop.until_count(&id, "sending", 2).await;
    for (device, code, message) in [(0, "not_permitted", ""), (1, "unknown_action", "deploy_apk is not known here")] {
        let of = &shop.devices[device];
        let command = shop.bench.sql(&format!("SELECT command_id FROM deployment_task WHERE device_id = '{}'", of.device_id));
        let refusal = json!({"request_id": command, "outcome": "failed", "code": code, "message": message});
        assert_eq!(shop.bench.client.post("/v1/action-result", Some(&of.session_token), &refusal).await.unwrap().status, 200);
    }
    shop.until_count(&id, "failed", 1).await;
    shop.until_count(&id, "skipped", 1).await;
    let told: Vec<String> = shop
        .devices
        .iter()
        .map(|device| {
            shop.bench.sql(&format!("SELECT reason, error, message FROM deployment_task WHERE device_id = '{}'", device.device_id))
        })
        .collect();
    assert_eq!(told[0].split('|').take(2).collect::<Vec<_>>(), ["not_permitted", "not_permitted"]);
    assert_eq!(told[1], "install_failed|install_failed|deploy_apk is not known here");
}

#[tokio::test]
async fn nothing_starts_outside_the_window_nor_faster_than_the_rate() {
    let shop = Shop::with(5).await;
    let now = crate::common::clock(0);
    let at = |hours: i64| (now + chrono::TimeDelta::hours(hours)).format("%H:%M").to_string();
    let mut options = Shop::swift();
    options["window"] = json!({"start": at(2), "end": at(3), "tz": "UTC"});
    let closed = shop.deploy(&shop.order(options.clone())).await;
    shop.until_count(&closed, "waiting_window", 5).await;
    assert_eq!(shop.transition(&closed, "cancel").await, 200);
    options["window"] = json!({"start": at(-1), "end": at(1), "tz": "UTC"});
    options["rate_per_minute"] = json!(6);
    let open = shop.deploy(&shop.order(options)).await;
    let shown = shop.until_count(&open, "sending", 1).await;
    assert_eq!((&shown["counts"]["throttled"], &shown["starts_last_minute"]), (&json!(4), &json!(1)));
    assert_eq!(shop.tasks(&open).await.iter().filter(|task| task.1 == "rate").count(), 4);
}
