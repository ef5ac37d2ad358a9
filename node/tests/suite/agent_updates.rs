//! Updates of the agent over the real binary: cohorts, conditions, reasons, the automatic halt on every node, nudges and
//! statistics that add up.

use std::time::Duration;

use chaos::client::{Client, EnrolledDevice};
use chaos::harness::{Cluster, NodeOptions};
use chaos::http::{Answer, Call};
use domain::DeviceId;
use domain::rollout::cohort_slot;
use hyper::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::common::{Bench, cluster_options, eventually, heartbeat, options, psql, within};

/// In force on every node within this.
const IN_FORCE: Duration = Duration::from_secs(10);

fn quick() -> NodeOptions {
    options().env("NEXMDM__AGENT_UPDATES__FLUSH_MS", "200")
}

/// Statement that makes an APK of a package known, as if it had been uploaded; and its id.
fn apk_sql(package: &str, version_code: i64) -> (String, String) {
    let id = Uuid::now_v7().to_string();
    let statement = format!(
        "INSERT INTO managed_package VALUES ('{package}', ARRAY[repeat('a', 64)], '', 'test', now()) ON CONFLICT DO NOTHING;
         INSERT INTO apk (apk_id, package, version_code, version_name, label, sha256, size_bytes, signers_sha256, uploaded_by, uploaded_at)
         VALUES ('{id}', '{package}', {version_code}, '1.0.{version_code}', 'Agent', repeat('b', 64), 4711, ARRAY[repeat('a', 64)], 'test', now())"
    );
    (id, statement)
}

async fn post(bench: &Bench, path: &str, body: Value) -> Answer {
    bench.client.post(path, Some(&bench.admin), &body).await.unwrap()
}

/// A build of this version; its id.
async fn build(bench: &Bench, version_code: i64) -> String {
    let (apk, statement) = apk_sql("com.nexmdm", version_code);
    bench.sql(&statement);
    let answer = post(bench, "/v1/agent-builds", json!({"apk_id": apk, "release_notes": format!("what is new in {version_code}")})).await;
    assert_eq!(answer.status, 201, "{}", answer.detail());
    assert_eq!(answer.json()["state"], "draft");
    answer.json()["id"].as_str().unwrap().to_owned()
}

async fn promote(bench: &Bench, id: &str, body: Value) -> Value {
    let answer = post(bench, &format!("/v1/agent-builds/{id}/promote"), body).await;
    assert_eq!(answer.status, 200, "{}", answer.detail());
    answer.json()
}

async fn ask(client: &Client, token: &str, query: &str) -> Answer {
    client.get(&format!("/v1/agent/update?{query}"), Some(token)).await.unwrap()
}

/// Answer to a device with this version: the version that it is offered, or the reason for none.
async fn told(client: &Client, device: &EnrolledDevice, version_code: i64) -> Result<i64, String> {
    let answer = ask(client, &device.session_token, &format!("package_name=com.nexmdm&current_version_code={version_code}")).await;
    match answer.status {
        200 => Ok(answer.json()["version_code"].as_i64().unwrap()),
        304 => Err(answer.header("x-update-reason").unwrap().to_owned()),
        _ => panic!("{}", answer.detail()),
    }
}

async fn report(client: &Client, device: &EnrolledDevice, build: &str, event: &str) -> Answer {
    let body = json!({"build_id": build, "event": event, "error": if event.contains("fail") { Some("checksum_mismatch") } else { None }});
    client.post("/v1/agent/update/report", Some(&device.device_token), &body).await.unwrap()
}

async fn one(bench: &Bench, id: &str) -> Value {
    bench.client.get_json(&format!("/v1/agent-builds/{id}"), &bench.admin).await.unwrap()
}

fn place(device: &EnrolledDevice) -> u8 {
    cohort_slot(DeviceId(device.device_id.parse().unwrap()))
}

fn reason(text: &str) -> Result<i64, String> {
    Err(text.to_owned())
}

#[tokio::test]
async fn a_build_goes_to_its_cohort_and_the_reason_says_why_others_get_none() {
    let bench = Bench::with(quick()).await;
    let mut devices = Vec::new();
    for n in 0..12 {
        devices.push(bench.enroll(&format!("kiosk-{n}")).await);
    }
    devices.sort_by_key(place);
    let (first, last) = (&devices[0], &devices[11]);
    assert!(place(first) < place(last), "by chance all at one place");
    assert_eq!(told(&bench.client, first, 100).await, reason("no_current_build"));

    let old = build(&bench, 140).await;
    assert_eq!(told(&bench.client, first, 100).await, reason("no_current_build"), "a draft is not offered");
    promote(&bench, &old, json!({"rollout_percent": 100, "wifi_only": false})).await;
    let new = build(&bench, 150).await;
    // Its cohort ends between the devices.
    let percent = place(first) + 1;
    let made = promote(&bench, &new, json!({"rollout_percent": percent, "wifi_only": true, "must_install": true, "min_battery": 40})).await;
    assert_eq!((&made["state"], &made["promoted_by"], &made["rollout_percent"]), (&json!("promoted"), &json!("admin"), &json!(percent)));

    for device in &devices {
        let inside = place(device) < percent;
        assert_eq!(told(&bench.client, device, 100).await, Ok(if inside { 150 } else { 140 }), "the one before for the others");
        assert_eq!(told(&bench.client, device, 140).await, if inside { Ok(150) } else { reason("not_in_cohort") });
        assert_eq!(told(&bench.client, device, 150).await, reason("already_current"));
        assert_eq!(told(&bench.client, device, 999).await, reason("already_current"));
    }
    // All that an agent needs, by either token.
    let query = format!("package_name=com.nexmdm&current_version_code=140.0&device_id={}&of_a_newer_agent=1", first.device_id);
    let offer = ask(&bench.client, &first.device_token, &query).await.json();
    assert_eq!(
        json!({
            "build_id": offer["build_id"], "version_name": offer["version_name"], "package_name": offer["package_name"], "file_size": offer["file_size"],
            "wifi_only": offer["wifi_only"], "must_install": offer["must_install"], "min_battery": offer["min_battery"],
            "staged_rollout_percent": offer["staged_rollout_percent"], "release_notes": offer["release_notes"],
            "sha256": offer["sha256"], "signer_fingerprint": offer["signer_fingerprint"]
        }),
        json!({
            "build_id": new, "version_name": "1.0.150", "package_name": "com.nexmdm", "file_size": 4711, "wifi_only": true, "must_install": true,
            "min_battery": 40, "staged_rollout_percent": percent, "release_notes": "what is new in 150", "sha256": "b".repeat(64),
            "signer_fingerprint": "a".repeat(64)
        })
    );
    assert!(offer["download_url"].as_str().unwrap().contains("/v1/apks/"), "{offer}");

    // Wider adds the others, narrower takes them out again; nobody goes back.
    let rollout = async |percent: i64| post(&bench, &format!("/v1/agent-builds/{new}/rollout"), json!({"rollout_percent": percent})).await;
    assert_eq!(rollout(100).await.status, 200);
    assert_eq!(told(&bench.client, last, 140).await, Ok(150));
    assert_eq!(rollout(i64::from(percent)).await.status, 200);
    assert_eq!(told(&bench.client, last, 140).await, reason("not_in_cohort"));
    for (percent, field) in [(0, "rollout_percent"), (101, "rollout_percent")] {
        let refused = rollout(percent).await;
        assert_eq!((refused.status, refused.json()["field"].as_str()), (422, Some(field)));
    }
    // Rolled back, the one before is what is left; who has the newer one keeps it.
    assert_eq!(post(&bench, &format!("/v1/agent-builds/{new}/rollback"), json!({})).await.status, 200);
    assert_eq!(told(&bench.client, first, 140).await, reason("already_current"));
    assert_eq!(told(&bench.client, first, 150).await, reason("already_current"));
    assert_eq!(told(&bench.client, first, 139).await, Ok(140));
    assert_eq!(rollout(50).await.status, 409);
    assert_eq!(post(&bench, &format!("/v1/agent-builds/{new}/rollback"), json!({})).await.status, 409);
    let acts = bench.sql("SELECT string_agg(action, ' ' ORDER BY seq) FROM audit_entry WHERE target_kind = 'agent_build'");
    let acts: Vec<_> = acts.split(' ').map(|act| act.trim_start_matches("agent_build.")).collect();
    assert_eq!(acts, ["added", "promoted", "added", "promoted", "rollout_changed", "rollout_changed", "rolled_back"]);
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let bench = Bench::with(quick()).await;
    let (device, other) = (bench.enroll("kiosk").await, bench.enroll("other").await);
    let id = build(&bench, 140).await;
    let refused = async |query: &str| {
        let answer = ask(&bench.client, &device.device_token, query).await;
        (answer.status, answer.json()["field"].as_str().unwrap_or_default().to_owned())
    };
    for (query, want) in [
        ("", (422, "package_name")),
        ("package_name=com.nexmdm", (422, "current_version_code")),
        ("current_version_code=1", (422, "package_name")),
        ("package_name=com.nexmdm&current_version_code=x", (422, "current_version_code")),
        ("package_name=com.nexmdm&current_version_code=-1", (422, "current_version_code")),
        ("package_name=com.nexmdm&current_version_code=1.5", (422, "current_version_code")),
        ("package_name=com.example&current_version_code=1", (422, "package_name")),
        ("package_name=com.nexmdm&current_version_code=1&device_id=nonsense", (403, "")),
    ] {
        assert_eq!(refused(query).await, (want.0, want.1.to_owned()), "{query}");
    }
    assert_eq!(refused(&format!("package_name=com.nexmdm&current_version_code=1&device_id={}", other.device_id)).await.0, 403);

    // Reports of what was never offered, of nothing, of something else.
    assert_eq!(report(&bench.client, &device, &id, "installed").await.status, 409);
    promote(&bench, &id, json!({"rollout_percent": 100})).await;
    assert_eq!(report(&bench.client, &device, &Uuid::now_v7().to_string(), "installed").await.status, 404);
    assert_eq!(report(&bench.client, &device, &id, "exploded").await.status, 422);
    let told = async |body: Value| bench.client.post("/v1/agent/update/report", Some(&device.session_token), &body).await.unwrap();
    let answer = told(json!({"build_id": id, "event": "installed", "version_code": 139})).await;
    assert_eq!((answer.status, answer.json()["field"].as_str()), (422, Some("version_code")));
    assert_eq!(told(json!({"build_id": id, "event": "installed", "device_id": other.device_id})).await.status, 403);
    assert_eq!(told(json!({"event": "installed"})).await.status, 422);
    assert_eq!(told(json!({"build_id": id, "event": "failed", "error": "x\u{0}".repeat(5_000)})).await.status, 200, "cut, not refused");
    assert_eq!(bench.sql("SELECT char_length(error) FROM agent_update_outcome"), "200");
    let beside = json!({"build_id": id, "event": "downloaded", "version_code": "new", "error": ["x"], "device_id": "kiosk-17"});
    assert_eq!(told(beside).await.status, 200, "what is unusable beside build and event costs itself only");

    // An APK that is no agent, one that is a build already, none at all.
    let (till, statement) = apk_sql("com.example.till", 1);
    bench.sql(&statement);
    let apk = one(&bench, &id).await["apk_id"].as_str().unwrap().to_owned();
    for (apk, want) in [(till.as_str(), 422), (apk.as_str(), 409), ("nonsense", 422), (&Uuid::now_v7().to_string(), 422)] {
        assert_eq!(post(&bench, "/v1/agent-builds", json!({"apk_id": apk})).await.status, want, "{apk}");
    }
    for body in
        [json!({}), json!({"rollout_percent": 0}), json!({"rollout_percent": 5, "min_battery": 101}), json!({"rollout_percent": 5, "x": 1})]
    {
        assert_eq!(post(&bench, &format!("/v1/agent-builds/{id}/promote"), body.clone()).await.status, 422, "{body}");
    }
    // Deleted, a device is told so, by the token as well as by the session.
    assert_eq!(bench.client.delete(&format!("/v1/devices/{}", device.device_id), &bench.admin).await.unwrap().status, 204);
    for token in [&device.device_token, &device.session_token] {
        assert_eq!(ask(&bench.client, token, "package_name=com.nexmdm&current_version_code=1").await.status, 410);
    }
    assert_eq!(report(&bench.client, &device, &id, "downloaded").await.status, 410);
}

#[tokio::test]
async fn statistics_add_up_and_a_device_counts_once() {
    let bench = Bench::with(quick().env("NEXMDM__AGENT_UPDATES__FAILURE_MIN_COUNT", "100")).await;
    let mut devices = Vec::new();
    for n in 0..5 {
        devices.push(bench.enroll(&format!("kiosk-{n}")).await);
    }
    let id = build(&bench, 140).await;
    promote(&bench, &id, json!({"rollout_percent": 100})).await;
    for device in &devices {
        assert_eq!(told(&bench.client, device, 100).await, Ok(140));
        assert_eq!(told(&bench.client, device, 140).await, reason("already_current"));
    }
    for (n, device) in devices.iter().enumerate() {
        // Twice each, since the answer may have been lost.
        for _ in 0..2 {
            assert_eq!(report(&bench.client, device, &id, "downloaded").await.status, 200);
            let event = ["installed", "installed", "installed", "failed", "verify_failed"][n];
            assert_eq!(report(&bench.client, device, &id, event).await.status, 200);
        }
    }
    let wanted = json!({"checks": 10, "eligible": 5, "downloads": 5, "installs": 3, "failures": 1, "verify_failures": 1});
    eventually("the checks are written", async || Some(()).filter(|()| bench.sql("SELECT sum(checks) FROM agent_update_stat") == "10"))
        .await;
    assert_eq!(one(&bench, &id).await["counts"], wanted);
    let stats = bench.client.get_json(&format!("/v1/agent-builds/{id}/stats"), &bench.admin).await.unwrap();
    assert_eq!(stats["build"]["counts"], wanted);
    let sum = |field: &str| stats["hours"].as_array().unwrap().iter().map(|hour| hour[field].as_i64().unwrap()).sum::<i64>();
    for (field, want) in wanted.as_object().unwrap() {
        assert_eq!(sum(field), want.as_i64().unwrap(), "{field}");
    }
    assert_eq!(stats["errors"], json!([{"error": "checksum_mismatch", "devices": 2}]));
    assert_eq!(bench.sql("SELECT count(*) FROM agent_update_outcome"), "10");
    assert_eq!(bench.metric("nexmdm_agent_update_checks_total{answer=\"offered\"}").await, 5.0);
    assert_eq!(bench.metric("nexmdm_agent_update_checks_total{answer=\"already_current\"}").await, 5.0);
    assert_eq!(bench.metric("nexmdm_agent_update_reports_total{event=\"installed\"}").await, 3.0, "repeats aside");

    // Versions of the fleet, now and on record.
    for (n, device) in devices.iter().enumerate() {
        let mut beat = heartbeat(0, 80);
        beat.agent_version_code = Some(wire::lenient::Int(if n < 2 { 140 } else { 100 }));
        assert_eq!(bench.client.heartbeat(&device.session_token, &beat).await.unwrap().status, 200);
    }
    eventually("the fleet's versions", async || {
        let build = one(&bench, &id).await;
        (build["running"] == 2 && build["cohort"] == json!({"devices": 5, "online": 5, "behind": 3})).then_some(())
    })
    .await;
    let stats = bench.client.get_json(&format!("/v1/agent-builds/{id}/stats?hours=1"), &bench.admin).await.unwrap();
    let versions: Vec<_> =
        stats["versions"].as_array().unwrap().iter().map(|sample| (sample["version_code"].as_i64(), sample["devices"].as_i64())).collect();
    assert_eq!(versions, [(Some(100), Some(3)), (Some(140), Some(2))]);
    eventually("a sample", async || Some(()).filter(|()| bench.sql("SELECT count(*) > 0 FROM agent_version_sample") == "t")).await;
    for hours in ["0", "745", "x"] {
        let answer = bench.client.get(&format!("/v1/agent-builds/{id}/stats?hours={hours}"), Some(&bench.admin)).await.unwrap();
        assert_eq!(answer.status, 422, "{hours}");
    }
}

#[tokio::test]
async fn devices_that_are_behind_are_nudged() {
    let bench = Bench::with(quick()).await;
    let id = build(&bench, 140).await;
    let nudge = format!("/v1/agent-builds/{id}/nudge");
    assert_eq!(post(&bench, &nudge, json!({})).await.status, 409, "not promoted");
    promote(&bench, &id, json!({"rollout_percent": 100})).await;
    assert_eq!(post(&bench, &nudge, json!({})).await.status, 409, "nobody is behind");
    let mut behind = Vec::new();
    for (n, version) in [Some(100), Some(139), Some(140), Some(200), None].into_iter().enumerate() {
        let device = bench.enroll(&format!("kiosk-{n}")).await;
        let mut beat = heartbeat(0, 80);
        beat.agent_version_code = version.map(wire::lenient::Int);
        assert_eq!(bench.client.heartbeat(&device.session_token, &beat).await.unwrap().status, 200);
        behind.extend(Some(device.device_id).filter(|_| version.is_some_and(|version| version < 140)));
    }
    eventually("two are behind", async || {
        let plan = post(&bench, &nudge, json!({"dry_run": true})).await;
        (plan.status == 200 && plan.json() == json!({"devices": 2, "online": 2, "left_out": 0})).then_some(())
    })
    .await;
    assert_eq!(bench.sql("SELECT count(*) FROM command"), "0", "a dry run sends nothing");
    let call = || Call::post(&nudge, "").bearer(&bench.admin).header("idempotency-key", "once");
    let made = bench.client.send(call()).await.unwrap();
    assert_eq!((made.status, made.json()["devices"].as_i64()), (201, Some(2)), "{}", made.detail());
    let again = bench.client.send(call()).await.unwrap();
    assert_eq!((again.status, &again.json()["id"]), (200, &made.json()["id"]), "the same key, the same batch");
    let mut told: Vec<_> = bench.sql("SELECT device_id FROM command WHERE action = 'update'").lines().map(str::to_owned).collect();
    told.sort();
    behind.sort();
    assert_eq!(told, behind);
    assert_eq!(bench.sql("SELECT count(*) FROM audit_entry WHERE action = 'agent_build.nudged'"), "1");
    assert_eq!(one(&bench, &id).await["nudged_by"], "admin");
}

#[tokio::test]
async fn a_failure_rate_halts_and_a_new_promotion_begins_anew() {
    let bench =
        Bench::with(quick().env("NEXMDM__AGENT_UPDATES__FAILURE_MIN_COUNT", "4").env("NEXMDM__AGENT_UPDATES__FAILURE_RATE_PCT", "50"))
            .await;
    let mut devices = Vec::new();
    for n in 0..5 {
        devices.push(bench.enroll(&format!("kiosk-{n}")).await);
    }
    let id = build(&bench, 140).await;
    promote(&bench, &id, json!({"rollout_percent": 100})).await;
    for (device, event) in devices.iter().zip(["failed", "installed", "failed"]) {
        assert_eq!(report(&bench.client, device, &id, event).await.status, 200);
    }
    assert_eq!(one(&bench, &id).await["state"], "promoted", "not before four are done");
    assert_eq!(report(&bench.client, &devices[3], &id, "installed").await.status, 200);
    let halted = one(&bench, &id).await;
    assert_eq!(
        (&halted["state"], &halted["halt_reason"], &halted["changed_by"]),
        (&json!("halted"), &json!("failure_rate"), &json!("server"))
    );
    assert_eq!(told(&bench.client, &devices[4], 100).await, reason("no_current_build"));
    eventually("the gauge", async || (bench.metric("nexmdm_agent_builds_halted").await == 1.0).then_some(())).await;

    // Whoever promotes it again knows what was told.
    assert_eq!(promote(&bench, &id, json!({"rollout_percent": 100})).await["halt_reason"], Value::Null);
    assert_eq!(report(&bench.client, &devices[4], &id, "failed").await.status, 200);
    assert_eq!(one(&bench, &id).await["state"], "promoted", "one is no rate");
    assert_eq!(one(&bench, &id).await["counts"]["failures"], 3, "what was told stays in the statistics");
}

#[tokio::test]
async fn a_build_that_devices_cannot_verify_is_taken_out_on_every_node() {
    let options = cluster_options(2).env("NEXMDM__AGENT_UPDATES__VERIFY_FAILURES_MAX", "2");
    let cluster = Cluster::start(options).await.unwrap();
    let clients: Vec<_> = cluster.members().iter().map(|member| Client::new(&member.url()).unwrap()).collect();
    let (here, elsewhere) = (&clients[0], &clients[1]);
    let admin = here.access_token("admin", cluster.admin_password()).await.unwrap();
    let mut devices = Vec::new();
    for n in 0..3 {
        devices.push(here.enroll(&admin, &format!("kiosk-{n}")).await.unwrap());
    }
    let (apk, statement) = apk_sql("com.nexmdm", 140);
    let sql = async |statement: &str| psql(&[cluster.database_url()], statement);
    sql(&statement).await;
    let made = here.post("/v1/agent-builds", Some(&admin), &json!({"apk_id": apk})).await.unwrap();
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/agent-builds/{id}");
    assert_eq!(here.post(&format!("{path}/promote"), Some(&admin), &json!({"rollout_percent": 100})).await.unwrap().status, 200);
    assert_eq!(told(here, &devices[2], 100).await, Ok(140), "at once where it was promoted");
    within(IN_FORCE, "offered by the other node", async || told(elsewhere, &devices[2], 100).await.is_ok().then_some(())).await;

    assert_eq!(report(here, &devices[0], &id, "verify_failed").await.status, 200);
    // The same device again is not a second one.
    assert_eq!(report(elsewhere, &devices[0], &id, "verify_failed").await.status, 200);
    assert_eq!(told(here, &devices[2], 100).await, Ok(140));
    assert_eq!(report(elsewhere, &devices[1], &id, "verify_failed").await.status, 200);
    assert_eq!(told(elsewhere, &devices[2], 100).await, reason("no_current_build"), "at once where it was told");
    within(IN_FORCE, "taken out on the other node", async || {
        (told(here, &devices[2], 100).await == reason("no_current_build")).then_some(())
    })
    .await;
    let build = here.get_json(&path, &admin).await.unwrap();
    assert_eq!((&build["state"], &build["halt_reason"]), (&json!("halted"), &json!("verify_failures")));
    let entry = sql("SELECT actor_kind || ' ' || action FROM audit_entry WHERE action = 'agent_build.halted'").await;
    assert_eq!(entry, "system agent_build.halted");
}

#[tokio::test]
async fn an_offer_that_is_not_taken_for_long_is_an_alert_until_it_is() {
    let bench = Bench::with(quick()).await;
    let device = bench.enroll("kiosk").await;
    let id = build(&bench, 150).await;
    promote(&bench, &id, json!({"rollout_percent": 100, "wifi_only": false})).await;
    bench.sql("UPDATE agent_build SET changed_at = now() - interval '80 hours'");
    let on = Call::post("/v1/alert-rules/agent_outdated", json!({"enabled": true}).to_string());
    let on = bench.client.send(on.method(Method::PUT).content_type("application/json").bearer(&bench.admin)).await.unwrap();
    assert_eq!(on.status, 200, "{}", on.detail());
    // It is judged with each heartbeat; the node reads within about a second what is offered.
    let alert = async |state: &str, version: i64| {
        eventually(state, async || {
            let mut beat = heartbeat(0, 80);
            beat.agent_version_code = Some(wire::lenient::Int(version));
            bench.client.heartbeat(&device.session_token, &beat).await.unwrap();
            let path = format!("/v1/alerts?state={state}&rule=agent_outdated");
            bench.client.get_json(&path, &bench.admin).await.unwrap()["items"].as_array().unwrap().first().cloned()
        })
        .await
    };
    assert_eq!(alert("firing", 140).await["reason"], "a newer agent has been offered for 3 d 8 h, limit 3 d");
    assert_eq!(alert("resolved", 150).await["subject"]["name"], "kiosk");
}
