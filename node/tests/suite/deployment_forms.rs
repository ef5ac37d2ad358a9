//! Deployments as the Deploy milestone asks for them: the flat body, pages of tasks by number, and devices that are skipped at once.

use serde_json::{Value, json};

use crate::common::deployments::{Shop, fit};
use crate::common::{PASSWORD, heartbeat};

fn flat(shop: &Shop, target: Value, options: Value) -> Value {
    json!({"apk_version_id": shop.new["id"], "target": target, "options": options})
}

#[tokio::test]
async fn the_flat_body_makes_the_same_deployment_and_names_what_is_wrong_as_it_was_written() {
    let shop = Shop::with(5).await;
    let ids: Vec<_> = shop.devices.iter().map(|device| device.device_id.clone()).collect();
    let intent = json!({"action": "com.example.till.START", "extras": {"why": "update"}});
    let options = json!({
        "canary": 0, "rate": 0, "concurrency": 2, "wifi_only": true, "min_battery": 30, "charging_only": false,
        "retry": {"max": 1, "backoff_sec": 5}, "post_install": {"restart_intent": intent}, "allow_rollback": false,
    });
    let order = flat(&shop, json!({"type": "selection", "device_ids": ids}), options);

    let mut trial = order.clone();
    trial["dry_run"] = json!(true);
    let plan = shop.post("/v1/deployments", &trial).await;
    assert_eq!((plan.status, &plan.json()["qualifying"]), (200, &json!(5)), "{}", plan.detail());
    assert_eq!(shop.bench.sql("SELECT count(*) FROM deployment"), "0");

    let made = shop.post("/v1/deployments", &order).await;
    assert_eq!(made.status, 201, "{}", made.detail());
    let made = made.json();
    let id = made["deployment_id"].as_str().unwrap().to_owned();
    assert_eq!(made["id"], made["deployment_id"]);
    let kept = &made["options"];
    assert_eq!((&kept["canary"]["size"], &kept["rate_per_minute"], &kept["concurrency"]), (&json!(0), &json!(0), &json!(2)));
    assert_eq!((&kept["min_battery_pct"], &kept["rollback_allowed"], &kept["on_unmet"]), (&json!(30), &json!(false), &json!("skip")));
    assert_eq!((&kept["retries"], &kept["restart_intent"]), (&json!({"max": 1, "backoff_seconds": 5}), &intent));
    assert_eq!(shop.bench.sql("SELECT count(*) FROM audit_entry WHERE action = 'deployment.created'"), "1");

    // Pages by number, filtered by status; together they are every task once.
    shop.until_count(&id, "sending", 2).await;
    let page =
        async |query: &str| shop.bench.client.get(&format!("/v1/deployments/{id}/tasks?{query}"), Some(&shop.bench.admin)).await.unwrap();
    let mut seen = Vec::new();
    for number in 1..=3 {
        let found = page(&format!("page={number}&limit=2")).await.json();
        assert_eq!((&found["page"], &found["pages"], &found["total"]), (&json!(number), &json!(3), &json!(5)));
        seen.extend(found["items"].as_array().unwrap().iter().map(|task| task["device_id"].as_str().unwrap().to_owned()));
    }
    seen.sort();
    let mut all = ids.clone();
    all.sort();
    assert_eq!(seen, all);
    assert_eq!(page("page=4&limit=2").await.json()["items"], json!([]));
    let sending = page("status=sending&page=1").await.json();
    let states: Vec<_> = sending["items"].as_array().unwrap().iter().map(|task| (task["status"].clone(), task["state"].clone())).collect();
    assert_eq!(states, vec![(json!("sending"), json!("sending")); 2]);
    for (query, field) in
        [("page=0", "page"), ("page=1&cursor=2", "page"), ("status=asleep", "status"), ("status=queued&state=queued", "status")]
    {
        let refused = page(query).await;
        assert_eq!((refused.status, refused.json()["field"].as_str()), (422, Some(field)), "{query}");
    }

    let fleet = || json!({"type": "fleet"});
    for (target, options, field) in [
        (fleet(), json!({"canary": 0}), "options.canary"),
        (fleet(), json!({"rate": -1}), "options.rate"),
        (fleet(), json!({"min_battery": 101}), "options.min_battery"),
        (fleet(), json!({"retry": {"backoff_sec": 0}}), "options.retry.backoff_sec"),
        (fleet(), json!({"window": {"start_iso": "soon", "end_iso": "2099-01-01T00:00:00Z"}}), "options.window.start_iso"),
        (fleet(), json!({"window": {"start_iso": "2020-01-01T00:00:00Z", "end_iso": "2020-01-02T00:00:00Z"}}), "options.window.end_iso"),
        (fleet(), json!({"window": {"start_iso": "2099-01-01T00:00:00Z", "end_iso": "2099-01-02T00:00:00Z"}}), "options.window.start_iso"),
        (json!({"type": "all"}), json!({}), "target.type"),
        (json!({"type": "selection"}), json!({}), "target"),
        (json!({"type": "selection", "device_ids": [ids[0], "00000000-0000-7000-8000-000000000000"]}), json!({}), "target.device_ids[1]"),
        (json!({"type": "selection", "filters": {"tags": [""]}}), json!({}), "target.filters.tags"),
        (json!({"type": "selection", "filters": {"tag": ["a"]}}), json!({}), "target.filters.tag"),
    ] {
        let refused = shop.post("/v1/deployments", &flat(&shop, target.clone(), options.clone())).await;
        assert_eq!((refused.status, refused.json()["field"].as_str()), (422, Some(field)), "{target} {options}: {}", refused.detail());
    }
    let mut unknown = order.clone();
    unknown["apk_version_id"] = json!("00000000-0000-7000-8000-000000000000");
    assert_eq!(shop.post("/v1/deployments", &unknown).await.json()["field"], "apk_version_id");
    shop.bench.add_user("viewer", "viewer");
    let viewer = shop.bench.client.access_token("viewer", PASSWORD).await.unwrap();
    assert_eq!(shop.bench.client.post("/v1/deployments", Some(&viewer), &order).await.unwrap().status, 403);
    assert_eq!(shop.bench.sql("SELECT count(*) FROM deployment"), "1");
}

#[tokio::test]
async fn a_selection_is_what_is_named_and_what_matches() {
    let shop = Shop::with(6).await;
    let ids: Vec<_> = shop.devices.iter().map(|device| device.device_id.clone()).collect();
    for (device, tags, groups) in
        [(0, vec!["a"], vec!["g"]), (1, vec!["b"], vec!["g"]), (2, vec!["a", "b"], vec![]), (3, vec![], vec!["h"])]
    {
        let path = format!("/v1/devices/{}", ids[device]);
        let edit = chaos::http::Call::post(&path, json!({"tags": tags, "groups": groups}).to_string()).method(hyper::Method::PATCH);
        assert_eq!(shop.bench.client.send(edit.bearer(&shop.bench.admin)).await.unwrap().status, 200);
    }
    let selected = async |selection: Value| {
        let mut target = selection;
        target["type"] = json!("selection");
        let mut order = flat(&shop, target, json!({"canary": 0}));
        order["dry_run"] = json!(true);
        let answer = shop.post("/v1/deployments", &order).await;
        let items = answer.json()["items"].as_array().cloned().unwrap_or_default();
        let mut found: Vec<_> = items.iter().map(|item| ids.iter().position(|id| item["id"] == id.as_str()).unwrap()).collect();
        found.sort_unstable();
        found
    };
    assert_eq!(selected(json!({"filters": {"tags": ["a", "b"]}})).await, [0, 1, 2], "one of the tags");
    assert_eq!(selected(json!({"filters": {"tags": ["a", "b"], "groups": ["g", "h"]}})).await, [0, 1], "and one of the groups");
    assert_eq!(selected(json!({"filters": {"groups": ["h"]}})).await, [3]);
    assert_eq!(selected(json!({"filters": {"query": "till-04"}})).await, [4]);
    assert_eq!(selected(json!({"filters": {"tags": ["a"], "query": "TILL-02"}})).await, [2]);
    assert_eq!(selected(json!({"device_ids": [ids[0], ids[1], ids[5]]})).await, [0, 1, 5]);
    assert_eq!(selected(json!({"device_ids": [ids[0], ids[1], ids[5]], "filters": {"tags": ["b"]}})).await, [1], "which of them match");
    assert_eq!(selected(json!({"device_ids": [ids[5]], "filters": {"tags": ["a"]}})).await, [0; 0]);
}

#[tokio::test]
async fn devices_outside_the_constraints_are_skipped_with_both_values() {
    let shop = Shop::with(3).await;
    let low = |at: i64| wire::agent::Heartbeat { battery: heartbeat(at, 10).battery, ..fit(at, Some(1)) };
    shop.reports(1, low).await;
    let ids: Vec<_> = shop.devices.iter().map(|device| device.device_id.clone()).collect();
    let target = json!({"type": "selection", "device_ids": ids});
    let made = shop.post("/v1/deployments", &flat(&shop, target.clone(), json!({"canary": 0, "rate": 0}))).await.json();
    let id = made["deployment_id"].as_str().unwrap();
    shop.until_count(id, "skipped", 1).await;
    let path = format!("/v1/deployments/{id}/tasks?status=skipped");
    let skipped = shop.bench.client.get_json(&path, &shop.bench.admin).await.unwrap()["items"][0].clone();
    assert_eq!(skipped["device_id"], shop.devices[1].device_id.as_str());
    assert_eq!((&skipped["reason"], &skipped["reason_detail"]), (&json!("low_battery"), &json!("battery 10 % < 40 %")));
    for device in [0, 2] {
        shop.installs(id, device).await;
    }
    let done = shop.until("finished", id, |shown| shown["state"] == "finished").await;
    assert_eq!((&done["counts"]["succeeded"], &done["counts"]["skipped"]), (&json!(2), &json!(1)));
    let table = shop.bench.client.get(&format!("/v1/deployments/{id}/export.csv"), Some(&shop.bench.admin)).await.unwrap();
    assert!(String::from_utf8(table.body.to_vec()).unwrap().contains("battery 10 % < 40 %"));
}

#[tokio::test]
async fn a_window_of_one_period_holds_back_until_it_opens() {
    let shop = Shop::with(2).await;
    let at = |minutes: i64| (crate::common::clock(0) + chrono::TimeDelta::minutes(minutes)).to_rfc3339();
    let ids: Vec<_> = shop.devices.iter().map(|device| device.device_id.clone()).collect();
    let deploy = async |from: i64, until: i64| {
        let options = json!({"canary": 0, "rate": 0, "window": {"start_iso": at(from), "end_iso": at(until)}});
        let order = flat(&shop, json!({"type": "selection", "device_ids": ids}), options);
        shop.deploy(&order).await
    };
    let closed = deploy(60, 120).await;
    shop.until_count(&closed, "waiting_window", 2).await;
    assert_eq!(shop.transition(&closed, "cancel").await, 200);
    let open = deploy(-1, 60).await;
    shop.until_count(&open, "sending", 2).await;
    // The device compares its own clock with the hours of that day.
    let answer = shop.reports(0, |at| fit(at, Some(1))).await;
    let params: Value = serde_json::from_str(answer["commands"][0]["params"].as_str().unwrap()).unwrap();
    assert_eq!(params["constraints"]["window"]["tz"], "UTC");
    assert_eq!(shop.says_status(&open, 0, "accepted").await, 200);
}
