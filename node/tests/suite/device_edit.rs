//! Changes of devices: edit, delete, restore, in bulk and by table; seen on every node.

use chaos::client::{Answer, Client, EnrolledDevice};
use chaos::harness::Cluster;
use chaos::http::Call;
use hyper::Method;
use serde_json::{Value, json};
use wire::socket::DownFrame;

use crate::common::{Bench, PASSWORD, api_token, cluster_options, eventually, heartbeat};

async fn patch(client: &Client, admin: &str, path: &str, body: &Value) -> Answer {
    let call = Call::post(path, serde_json::to_vec(body).unwrap()).method(Method::PATCH).bearer(admin);
    client.send(call).await.unwrap()
}

async fn import(client: &Client, admin: &str, csv: &[u8], dry_run: bool) -> Value {
    let path = format!("/v1/devices/import.csv?dry_run={dry_run}");
    let answer = client.send(Call::post(&path, csv.to_vec()).bearer(admin)).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.detail());
    answer.json()
}

fn path(device: &EnrolledDevice) -> String {
    format!("/v1/devices/{}", device.device_id)
}

fn kinds(events: &Value) -> Vec<&str> {
    events["items"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn an_edit_changes_what_it_names_and_clears_what_is_null() {
    let bench = Bench::start().await;
    let (device, other) = (bench.enroll("kiosk-1").await, bench.enroll("kiosk-2").await);
    let edit = async |body: Value| patch(&bench.client, &bench.admin, &path(&device), &body).await;
    let app = json!({"package": "io.unitynodes.unityapp", "stale_after_s": 60});
    let edited = edit(json!({"alias": " till-1 ", "tags": ["b", "a"], "groups": ["berlin"], "monitored_app": app})).await;
    assert_eq!(edited.status, 200, "{}", edited.detail());
    let shown = bench.client.get_json(&path(&device), &bench.admin).await.unwrap();
    assert_eq!(edited.json(), shown, "whoever asks next is told the same");
    assert_eq!((&shown["alias"], &shown["tags"], &shown["monitored_app"]), (&json!("till-1"), &json!(["a", "b"]), &app));
    // Its own threshold decides from now on.
    let mut told = heartbeat(0, 80);
    told.monitored_foreground_recent_s = Some(wire::lenient::Int(90));
    assert_eq!(bench.client.heartbeat(&device.session_token, &told).await.unwrap().status, 200);
    eventually("the app is down", async || {
        (bench.client.get_json(&path(&device), &bench.admin).await.unwrap()["app_status"] == "down").then_some(())
    })
    .await;
    let cleared: Value = edit(json!({"tags": null, "monitored_app": null})).await.json();
    assert_eq!((&cleared["tags"], &cleared["groups"], &cleared["monitored_app"]), (&json!([]), &json!(["berlin"]), &Value::Null));
    eventually("by the common threshold it is up", async || {
        (bench.client.get_json(&path(&device), &bench.admin).await.unwrap()["app_status"] == "up").then_some(())
    })
    .await;

    for (body, status, field) in [
        (json!({"alias": "kiosk-2"}), 409, "alias"),
        (json!({"alias": null}), 422, "alias"),
        (json!({"alias": "a\u{0}b"}), 422, "alias"),
        (json!({"tags": ["ok", ""]}), 422, "tags[1]"),
        (json!({"monitored_app": {"package": "x"}}), 422, "monitored_app.package"),
        (json!({"monitored_app": {"package": "a.b", "stale_after_s": 1}}), 422, "monitored_app.stale_after_s"),
        (json!({"colour": "red"}), 422, "colour"),
    ] {
        let refused = edit(body.clone()).await;
        assert_eq!((refused.status, refused.json()["field"].as_str()), (status, Some(field)), "{body}");
    }
    assert!(edit(json!({"alias": "kiosk-2"})).await.detail().contains("kiosk-2"), "the alias is named");
    let unchanged = bench.client.get_json(&path(&other), &bench.admin).await.unwrap();
    assert_eq!(unchanged["alias"], "kiosk-2");

    let events = bench.client.get_json(&format!("{}/events?kind=edited,enrolled", path(&device)), &bench.admin).await.unwrap();
    assert_eq!(kinds(&events), ["edited", "edited", "enrolled"]);
    assert_eq!(events["items"][1]["actor"], "admin");
    assert_eq!(events["items"][1]["detail"]["alias"], json!({"before": "kiosk-1", "after": "till-1"}));
}

#[tokio::test]
async fn a_deleted_device_is_gone_and_a_restored_one_goes_on() {
    let bench = Bench::start().await;
    let device = bench.enroll("kiosk-1").await;
    let mut socket = bench.client.socket(&device.session_token).await.unwrap().unwrap();
    socket.send_heartbeat(&heartbeat(-60, 50)).await.unwrap();
    assert!(matches!(socket.next().await.unwrap(), Some(DownFrame::Ack { .. })));
    assert_eq!(bench.client.delete(&path(&device), &bench.admin).await.unwrap().status, 204);
    match socket.next().await.unwrap() {
        Some(DownFrame::Refused { status, reason, .. }) => assert_eq!((status, reason.as_deref()), (410, Some("device_deleted"))),
        other => panic!("{other:?}"),
    }
    assert!(socket.next().await.unwrap().is_none(), "the socket is closed");
    for token in [&device.session_token, &device.device_token] {
        assert_eq!(bench.client.heartbeat(token, &heartbeat(-40, 50)).await.unwrap().status, 410);
    }
    assert_eq!(bench.client.session(&device.device_token).await.unwrap().status, 410);
    assert_eq!(bench.client.get(&path(&device), Some(&bench.admin)).await.unwrap().status, 404);
    assert_eq!(bench.client.delete(&path(&device), &bench.admin).await.unwrap().status, 404, "it is deleted already");
    let deleted = bench.client.get_json("/v1/devices?deleted=true", &bench.admin).await.unwrap();
    assert_eq!(deleted["items"][0]["id"], device.device_id.as_str());
    assert!(deleted["items"][0]["restorable_until"].is_string());
    assert_eq!(bench.client.get_json("/v1/devices", &bench.admin).await.unwrap()["items"], json!([]));

    // Its alias is free, and taken by another.
    bench.enroll("kiosk-1").await;
    let restore = async |body: Value| bench.client.post(&format!("{}/restore", path(&device)), Some(&bench.admin), &body).await.unwrap();
    let refused = restore(json!({})).await;
    assert_eq!((refused.status, refused.json()["field"].as_str()), (409, Some("alias")));
    assert!(refused.detail().contains("kiosk-1"), "{}", refused.detail());
    let (restored, again) = tokio::join!(restore(json!({"alias": "kiosk-9"})), restore(json!({"alias": "kiosk-9"})));
    assert_eq!((again.status, again.json()["alias"].as_str()), (200, Some("kiosk-9")), "{}", again.detail());
    assert_eq!((restored.status, restored.json()["alias"].as_str()), (200, Some("kiosk-9")), "{}", restored.detail());
    for token in [&device.session_token, &device.device_token] {
        let answer = bench.client.heartbeat(token, &heartbeat(-20, 51)).await.unwrap();
        assert_eq!(answer.status, 200, "an agent that kept its credentials goes on: {}", answer.detail());
    }
    eventually("it is counted again", async || {
        (bench.client.get_json("/v1/fleet/stats", &bench.admin).await.unwrap()["devices"] == 2).then_some(())
    })
    .await;
    let events = bench.client.get_json(&format!("{}/events?kind=deleted,restored", path(&device)), &bench.admin).await.unwrap();
    assert_eq!(kinds(&events), ["restored", "deleted"]);

    // Too late is too late, and then it is removed for good.
    bench.client.delete(&path(&device), &bench.admin).await.unwrap();
    bench.sql("UPDATE device SET deleted_at = deleted_at - interval '8 days' WHERE deleted_at IS NOT NULL");
    assert_eq!(restore(json!({})).await.status, 409);
}

#[tokio::test]
async fn deleted_devices_are_removed_for_good_in_time() {
    let bench = Bench::with(crate::common::options().env("NEXMDM__HISTORY__INTERVAL_SECONDS", "1")).await;
    let device = bench.enroll("kiosk-1").await;
    bench.client.heartbeat(&device.session_token, &heartbeat(-60, 50)).await.unwrap();
    bench.client.delete(&path(&device), &bench.admin).await.unwrap();
    bench.sql("UPDATE device SET deleted_at = deleted_at - interval '8 days'");
    eventually("it is removed", async || (bench.sql("SELECT count(*) FROM device") == "0").then_some(())).await;
    // Its actor would know it as deleted.
    eventually("nobody knows it any more", async || {
        (bench.client.heartbeat(&device.session_token, &heartbeat(0, 50)).await.unwrap().status == 401).then_some(())
    })
    .await;
    assert_eq!(bench.sql("SELECT (SELECT count(*) FROM device_event) + (SELECT count(*) FROM device_last_status)"), "0");
    assert_eq!(bench.sql("SELECT count(*) FROM heartbeats"), "1", "history stays as long as history is kept");
}

#[tokio::test]
async fn a_bulk_call_says_for_each_device_what_it_does() {
    let bench = Bench::start().await;
    let mut devices = Vec::new();
    for n in 0..6 {
        devices.push(bench.enroll(&format!("kiosk-{n}")).await);
    }
    bench.client.delete(&path(&devices[5]), &bench.admin).await.unwrap();
    let stranger = "00000000-0000-0000-0000-000000000009";
    let mut ids: Vec<&str> = devices.iter().map(|device| device.device_id.as_str()).collect();
    ids.push(stranger);
    let bulk = async |body: Value| bench.client.post("/v1/devices/bulk", Some(&bench.admin), &body).await.unwrap();
    let count = |answer: &Value| ["changed", "unchanged", "refused"].map(|kind| answer[kind].as_i64().unwrap());
    let add = json!({"ids": ids, "action": "add_tags", "tags": ["till"], "dry_run": true});
    let preview: Value = bulk(add.clone()).await.json();
    assert_eq!(count(&preview), [5, 0, 2]);
    assert_eq!(bench.client.get_json("/v1/devices?tag=till", &bench.admin).await.unwrap()["items"], json!([]), "a dry run");
    let done: Value = bulk(json!({"ids": ids, "action": "add_tags", "tags": ["till"]})).await.json();
    assert_eq!(done["outcomes"], preview["outcomes"], "what was said is what is done");
    let of = |id: &str| done["outcomes"].as_array().unwrap().iter().find(|outcome| outcome["id"] == id).unwrap().clone();
    assert_eq!(
        (&of(stranger)["reason"], &of(ids[5])["reason"], &of(ids[0])["outcome"]),
        (&json!("not_found"), &json!("deleted"), &json!("changed"))
    );
    let by_filter: Value = bulk(json!({"filter": {"tag": "till"}, "action": "add_tags", "tags": ["till"]})).await.json();
    assert_eq!(count(&by_filter), [0, 5, 0]);
    eventually("pages show it", async || {
        let all = bench.client.get_json("/v1/devices", &bench.admin).await.unwrap();
        let live = bench.client.get_json(&path(&devices[0]), &bench.admin).await.unwrap();
        (all["items"].as_array().unwrap().iter().all(|device| device["tags"] == json!(["till"])) && live["tags"] == json!(["till"]))
            .then_some(())
    })
    .await;

    assert_eq!(count(&bulk(json!({"filter": {"text": "kiosk"}, "action": "delete"})).await.json()), [5, 0, 0]);
    for device in &devices {
        eventually("its agent is told", async || {
            (bench.client.heartbeat(&device.session_token, &heartbeat(0, 50)).await.unwrap().status == 410).then_some(())
        })
        .await;
    }
    let restored: Value = bulk(json!({"fleet": true, "action": "restore"})).await.json();
    assert_eq!(count(&restored), [6, 0, 0]);
    for device in &devices {
        eventually("it goes on", async || {
            (bench.client.heartbeat(&device.session_token, &heartbeat(0, 50)).await.unwrap().status == 200).then_some(())
        })
        .await;
    }
    assert_eq!(count(&bulk(json!({"ids": [ids[0]], "action": "revoke"})).await.json()), [1, 0, 0]);
    eventually("its credentials are worthless", async || {
        (bench.client.heartbeat(&devices[0].session_token, &heartbeat(10, 50)).await.unwrap().status == 401).then_some(())
    })
    .await;
    for (body, field) in [
        (json!({"action": "delete"}), "ids"),
        (json!({"ids": [], "action": "delete"}), "ids"),
        (json!({"ids": vec![stranger; 10_001], "action": "delete"}), "ids"),
        (json!({"ids": [stranger], "action": "add_tags", "tags": ["\u{0}"]}), "tags[0]"),
    ] {
        let refused = bulk(body).await;
        assert_eq!((refused.status, refused.json()["field"].as_str()), (422, Some(field)));
    }
}

#[tokio::test]
async fn a_table_that_was_exported_imports_unchanged() {
    let bench = Bench::start().await;
    let nasty = ["=HYPERLINK(\"http://x\")", "+1", "-till", "@sum", "'quoted", "''=2", "a,b;\"c\"", "ä|ö\\"];
    let mut ids = Vec::new();
    for alias in nasty {
        let device = bench.enroll(alias).await;
        // What separates labels is in none of them.
        let label = alias.replace([',', ';', '|'], "/");
        let tags = json!({"tags": [format!("{label} tag"), "x\\y"], "groups": [label]});
        assert_eq!(patch(&bench.client, &bench.admin, &path(&device), &tags).await.status, 200);
        ids.push(device.device_id);
    }
    let exported = bench.client.get("/v1/devices/export.csv?bom=true", Some(&bench.admin)).await.unwrap();
    assert_eq!(exported.status, 200);
    let text = String::from_utf8(exported.body.to_vec()).unwrap();
    assert!(text.starts_with("\u{feff}\"id\",\"alias\",\"tags\",\"groups\","), "{text}");
    assert!(text.contains("\"'=HYPERLINK(\"\"http://x\"\")\"") && text.contains("\"'-till\""), "{text}");
    assert_eq!(text.lines().count(), 1 + nasty.len());
    for dry_run in [true, false] {
        let report = import(&bench.client, &bench.admin, text.as_bytes(), dry_run).await;
        assert_eq!((&report["rows"], &report["unchanged"], &report["problems"]), (&json!(nasty.len()), &json!(nasty.len()), &json!([])));
        assert_eq!((&report["changes"], &report["applied"]), (&json!([]), &json!(!dry_run)));
    }

    // Two swap their aliases, one is named by its alias.
    let csv = format!("id,alias,new_alias,tags\r\n{},+1,,a\r\n{},\"=HYPERLINK(\"\"http://x\"\")\",,a\r\n,@sum,sum,\r\n", ids[0], ids[1]);
    let preview = import(&bench.client, &bench.admin, csv.as_bytes(), true).await;
    assert_eq!((&preview["applied"], preview["changes"].as_array().unwrap().len()), (&json!(false), 3), "{preview}");
    assert_eq!(preview["changes"][0]["line"], 2);
    assert_eq!(bench.client.get_json(&format!("/v1/devices/{}", ids[0]), &bench.admin).await.unwrap()["alias"], nasty[0]);
    let done = import(&bench.client, &bench.admin, csv.as_bytes(), false).await;
    assert_eq!((&done["applied"], &done["changes"]), (&json!(true), &preview["changes"]));
    let listed = bench.client.get_json("/v1/devices", &bench.admin).await.unwrap();
    let alias = |id: &str| listed["items"].as_array().unwrap().iter().find(|device| device["id"] == id).unwrap()["alias"].clone();
    assert_eq!((alias(&ids[0]), alias(&ids[1]), alias(&ids[3])), (json!("+1"), json!(nasty[0]), json!("sum")));

    // One problem, and nothing is done.
    let csv = format!("id,alias,tags\n{},fine,b\n{},sum,\n7,x,\n", ids[0], ids[1]);
    let refused = import(&bench.client, &bench.admin, csv.as_bytes(), false).await;
    assert_eq!(refused["applied"], false);
    let problems: Vec<_> = refused["problems"].as_array().unwrap().iter().map(|one| (one["line"].clone(), one["field"].clone())).collect();
    assert_eq!(problems, [(json!(3), json!("alias")), (json!(4), json!("id"))]);
    assert_eq!(bench.client.get_json("/v1/devices?text=fine", &bench.admin).await.unwrap()["items"], json!([]));
}

#[tokio::test]
async fn an_export_goes_through_a_fleet_in_pieces() {
    let bench = Bench::start().await;
    bench.sql(
        "INSERT INTO device (device_id, alias, tags, enrolled_at)
         SELECT gen_random_uuid(), 'd' || n, CASE WHEN n % 3 = 0 THEN ARRAY['till'] ELSE '{}' END, now() FROM generate_series(1, 1700) n",
    );
    let export = async |query: &str| {
        let answer = bench.client.get(&format!("/v1/devices/export.csv{query}"), Some(&bench.admin)).await.unwrap();
        assert_eq!(answer.status, 200);
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        let aliases: Vec<String> = text.lines().skip(1).map(|line| line.split("\",\"").nth(1).unwrap().to_owned()).collect();
        assert!(aliases.is_sorted());
        aliases.into_iter().collect::<std::collections::BTreeSet<_>>().len()
    };
    assert_eq!((export("").await, export("?tag=till").await, export("?tag=none").await), (1700, 566, 0));
}

#[tokio::test]
async fn filters_are_kept_shared_and_their_owners_alone_change_them() {
    let bench = Bench::start().await;
    bench.add_user("eve", "viewer");
    let eve = bench.client.access_token("eve", PASSWORD).await.unwrap();
    let create = async |who: &str, body: Value| bench.client.post("/v1/filters", Some(who), &body).await.unwrap();
    let wanted = json!({"name": "low", "filter": {"status": "online", "battery_below": 20}, "shared": true});
    let kept: Value = create(&bench.admin, wanted.clone()).await.json();
    assert_eq!((&kept["filter"], &kept["owner"], &kept["own"]), (&wanted["filter"], &json!("admin"), &json!(true)));
    assert_eq!(create(&bench.admin, wanted.clone()).await.status, 409);
    assert_eq!(create(&bench.admin, json!({"name": " ", "filter": {}})).await.status, 422);
    assert_eq!(create(&bench.admin, json!({"name": "x", "filter": {"status": "gone"}})).await.status, 422);
    assert_eq!(create(&eve, json!({"name": "mine", "filter": {}})).await.status, 201);
    let seen = async |who: &str| {
        let list = bench.client.get_json("/v1/filters", who).await.unwrap();
        list["items"].as_array().unwrap().iter().map(|filter| filter["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!((seen(&bench.admin).await, seen(&eve).await), (vec!["low".to_owned()], vec!["mine".to_owned(), "low".to_owned()]));
    let path = format!("/v1/filters/{}", kept["id"].as_str().unwrap());
    assert_eq!(patch(&bench.client, &eve, &path, &json!({"shared": false})).await.status, 404);
    assert_eq!(bench.client.delete(&path, &eve).await.unwrap().status, 404);
    let changed: Value = patch(&bench.client, &bench.admin, &path, &json!({"shared": false})).await.json();
    assert_eq!((&changed["shared"], &changed["name"]), (&json!(false), &json!("low")));
    assert_eq!(seen(&eve).await, ["mine"]);
    assert_eq!(bench.client.delete(&path, &bench.admin).await.unwrap().status, 204);
    // Who may only look changes no devices.
    assert_eq!(import_status(&bench, &eve).await, 403);
}

/// An answer that shows the device is for those who may see it; without that nothing is done either.
#[tokio::test]
async fn an_edit_that_may_not_be_answered_is_not_made() {
    let bench = Bench::start().await;
    let (device, gone) = (bench.enroll("kiosk-1").await, bench.enroll("kiosk-2").await);
    assert_eq!(bench.client.delete(&path(&gone), &bench.admin).await.unwrap().status, 204);
    let token = api_token(&bench.client, &bench.admin, &["devices:write"]).await["token"].as_str().unwrap().to_owned();
    assert_eq!(patch(&bench.client, &token, &path(&device), &json!({"alias": "till"})).await.status, 403);
    let restored = bench.client.post(&format!("{}/restore", path(&gone)), Some(&token), &json!({})).await.unwrap();
    assert_eq!(restored.status, 403);
    assert_eq!(bench.sql("SELECT string_agg(alias, ' ') FROM device WHERE deleted_at IS NULL"), "kiosk-1");
}

#[tokio::test]
async fn ones_own_filters_come_first_and_their_number_is_limited() {
    let bench = Bench::start().await;
    bench.add_user("eve", "viewer");
    let eve = bench.client.access_token("eve", PASSWORD).await.unwrap();
    let keep = |owner: &str, count: i64, shared: bool| {
        bench.sql(&format!(
            "INSERT INTO saved_filter SELECT gen_random_uuid(), user_id, 'a' || lpad(n::text, 5, '0'), '{{}}', {shared}, now(), now()
             FROM app_user, generate_series(1, {count}) n WHERE username = '{owner}'"
        ))
    };
    keep("admin", 1100, true);
    keep("eve", 98, false);
    let mine = bench.client.post("/v1/filters", Some(&eve), &json!({"name": "zz mine", "filter": {}})).await.unwrap();
    assert_eq!(mine.status, 201, "{}", mine.detail());
    let listed = bench.client.get_json("/v1/filters", &eve).await.unwrap();
    assert_eq!((listed["items"].as_array().unwrap().len(), &listed["items"][98]["name"]), (1000, &json!("zz mine")));
    let last = bench.sql("SELECT saved_filter_id FROM saved_filter WHERE shared ORDER BY name DESC LIMIT 1");
    assert_eq!(bench.client.get(&format!("/v1/filters/{last}"), Some(&eve)).await.unwrap().status, 200, "beyond the list");
    // One place is left, and many ask for it at once.
    let names: Vec<Value> = (0..12).map(|n| json!({"name": format!("race {n}"), "filter": {}})).collect();
    let asked = names.iter().map(|body| bench.client.post("/v1/filters", Some(&eve), body));
    let answers = futures_util::future::join_all(asked).await;
    assert_eq!(answers.iter().filter(|answer| answer.as_ref().unwrap().status == 201).count(), 1);
    assert_eq!(bench.sql("SELECT count(*) FROM saved_filter f JOIN app_user u ON u.user_id = f.owner WHERE username = 'eve'"), "100");
}

/// Events refer to their device, and whoever writes one holds it from being removed; an edit need not wait
/// for that, nor one of thousands deadlock with it. A dry run waits for nobody.
#[tokio::test]
async fn edits_wait_for_other_edits_alone() {
    let bench = Bench::with(crate::common::options().env("NEXMDM__DATABASE__STATEMENT_TIMEOUT_MS", "3000")).await;
    let device = bench.enroll("kiosk-1").await;
    let writing = bench.hold("INSERT INTO device_event (device_id, at, kind) SELECT device_id, now(), 'came_online' FROM device");
    let edited = patch(&bench.client, &bench.admin, &path(&device), &json!({"tags": ["a"]})).await;
    assert_eq!(edited.status, 200, "{}", edited.detail());
    drop(writing);
    let _editing = bench.hold("SELECT FROM device FOR UPDATE");
    let bulk = json!({"ids": [device.device_id], "action": "add_tags", "tags": ["b"], "dry_run": true});
    let preview = bench.client.post("/v1/devices/bulk", Some(&bench.admin), &bulk).await.unwrap();
    assert_eq!((preview.status, &preview.json()["changed"]), (200, &json!(1)), "{}", preview.detail());
    let csv = format!("id,tags\n{},b\n", device.device_id);
    assert_eq!(import(&bench.client, &bench.admin, csv.as_bytes(), true).await["changes"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn who_may_not_change_devices_is_told_before_a_large_body_is_read() {
    let small = |name: &str| (format!("NEXMDM__HTTP__{name}_BODY_LIMIT_BYTES"), "1024");
    let (bulk, import) = (small("BULK"), small("IMPORT"));
    let bench = Bench::with(crate::common::options().env(&bulk.0, bulk.1).env(&import.0, import.1)).await;
    let token = api_token(&bench.client, &bench.admin, &["devices:read"]).await["token"].as_str().unwrap().to_owned();
    for path in ["/v1/devices/bulk", "/v1/devices/import.csv"] {
        for (who, status) in [(&token, 403), (&bench.admin, 413)] {
            let answer = bench.client.send(Call::post(path, vec![b'x'; 5000]).bearer(who)).await.unwrap();
            assert_eq!(answer.status, status, "{path}: {}", answer.detail());
        }
    }
}

/// Devices of before the upgrade were not changed by it: nodes read what changed lately whenever they listen anew.
#[tokio::test]
async fn an_upgrade_leaves_devices_unchanged() {
    let bench = Bench::start().await;
    bench.sql("CREATE DATABASE older");
    let older = |sql: &str| bench.sql_in("older", sql);
    for migration in [
        include_str!("../../../migrations/0001_spine.sql"),
        include_str!("../../../migrations/0002_cluster.sql"),
        include_str!("../../../migrations/0003_people.sql"),
        "INSERT INTO device (device_id, alias, enrolled_at) VALUES (gen_random_uuid(), 'old', now())",
        include_str!("../../../migrations/0004_devices.sql"),
        "INSERT INTO device (device_id, alias, enrolled_at) VALUES (gen_random_uuid(), 'new', now())",
    ] {
        older(migration);
    }
    assert_eq!(older("SELECT alias FROM device WHERE changed_at > now() - interval '180 s'"), "new");
}

async fn import_status(bench: &Bench, who: &str) -> u16 {
    let call = Call::post("/v1/devices/import.csv", b"id\n".to_vec()).bearer(who);
    bench.client.send(call).await.unwrap().status
}

/// A change at one node is in force and shown at the other, whoever owns the device.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_takes_edits_for_every_device() {
    let options = cluster_options(2);
    let cluster = Cluster::start(options).await.unwrap();
    let clients: Vec<Client> = cluster.members().iter().map(|member| Client::new(&member.url()).unwrap()).collect();
    let admin = clients[0].access_token("admin", cluster.admin_password()).await.unwrap();
    eventually("both own shards", async || {
        let view = cluster.view_of(cluster.members()[0].name()).await.ok()?;
        let owners: std::collections::BTreeSet<_> =
            view["shards"].as_array()?.iter().map(|shard| shard["owner"].as_str()).collect::<Option<_>>()?;
        (owners.len() == 2).then_some(())
    })
    .await;
    // Of eight devices each node owns some, as good as certainly.
    let mut devices = Vec::new();
    for n in 0..8 {
        devices.push(clients[n % 2].enroll(&admin, &format!("kiosk-{n}")).await.unwrap());
    }
    for (n, device) in devices.iter().enumerate() {
        let (here, there) = (&clients[n % 2], &clients[(n + 1) % 2]);
        let edited = patch(here, &admin, &path(device), &json!({"alias": format!("till-{n}"), "tags": ["moved"]})).await;
        assert_eq!(edited.status, 200, "{}", edited.detail());
        let shown = there.get_json(&path(device), &admin).await.unwrap();
        assert_eq!(shown["alias"], format!("till-{n}"), "at the other node, at once");
        assert_eq!(here.delete(&path(device), &admin).await.unwrap().status, 204);
        for client in &clients {
            assert_eq!(client.heartbeat(&device.session_token, &heartbeat(0, 5)).await.unwrap().status, 410);
        }
        let restored = there.post(&format!("{}/restore", path(device)), Some(&admin), &json!({})).await.unwrap();
        assert_eq!(restored.status, 200, "{}", restored.detail());
        for (m, client) in clients.iter().enumerate() {
            let answer = client.heartbeat(&device.session_token, &heartbeat(m as i64 * 10, 50)).await.unwrap();
            assert_eq!(answer.status, 200, "{}", answer.detail());
        }
    }
    for client in &clients {
        eventually("both count them and see how they are made up", async || {
            let stats = client.get_json("/v1/fleet/stats", &admin).await.unwrap();
            let made_up = client.get_json("/v1/fleet/distributions", &admin).await.unwrap();
            (stats["devices"] == 8 && stats["online"] == 8 && made_up["battery"][2]["devices"] == 8).then_some(())
        })
        .await;
    }
}
