//! Enrollment tokens enroll one device each, and nothing else.

use std::sync::Arc;

use chaos::http::Call;
use serde_json::{Value, json};
use wire::agent::RegisterRequest;

use crate::common::apks::fixture;
use crate::common::{Bench, PASSWORD, eventually};

fn called(alias: &str) -> RegisterRequest {
    RegisterRequest { alias: Some(alias.to_owned()), ..RegisterRequest::default() }
}

/// P7.
#[tokio::test]
async fn of_many_simultaneous_uses_exactly_one_enrolls() {
    let bench = Arc::new(Bench::start().await);
    for round in 0..3 {
        let token = bench.client.tokens(&bench.admin, 1).await.unwrap().remove(0).token;
        let attempts: Vec<_> = (0..40)
            .map(|n| {
                let (bench, token) = (Arc::clone(&bench), token.clone());
                tokio::spawn(async move { bench.client.register(&token, &called(&format!("r{round}-{n}"))).await.unwrap().status })
            })
            .collect();
        let mut statuses = Vec::new();
        for attempt in attempts {
            statuses.push(attempt.await.unwrap());
        }
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
        // Losers of the race are told that the token is worthless, or, once there are too many of them, to slow down.
        assert!(statuses.iter().all(|status| matches!(status, 200 | 401 | 429)), "{statuses:?}");
        assert_eq!(bench.sql("SELECT count(*) FROM device"), (round + 1).to_string());
    }
}

#[tokio::test]
async fn a_token_that_cannot_be_used_is_401_and_changes_nothing() {
    let bench = Bench::start().await;
    let tokens = bench.client.tokens(&bench.admin, 3).await.unwrap();
    assert_eq!(bench.client.register(&tokens[0].token, &called("first")).await.unwrap().status, 200);
    assert_eq!(bench.client.register(&tokens[0].token, &called("again")).await.unwrap().status, 401, "used");
    assert_eq!(bench.client.delete(&format!("/v1/enroll-tokens/{}", tokens[1].id), &bench.admin).await.unwrap().status, 204);
    assert_eq!(bench.client.register(&tokens[1].token, &called("revoked")).await.unwrap().status, 401, "revoked");
    bench.sql(&format!("UPDATE enroll_token SET expires_at = now() WHERE enroll_token_id = '{}'", tokens[2].id));
    assert_eq!(bench.client.register(&tokens[2].token, &called("late")).await.unwrap().status, 401, "expired");
    assert_eq!(bench.client.register("no-such-token", &called("guess")).await.unwrap().status, 401, "unknown");
    assert_eq!(bench.client.register(&tokens[0].id, &called("id")).await.unwrap().status, 401, "an id is no secret");
    assert_eq!(bench.sql("SELECT string_agg(alias, ',') FROM device"), "first");
    let used = bench.client.delete(&format!("/v1/enroll-tokens/{}", tokens[0].id), &bench.admin).await.unwrap();
    assert_eq!(used.status, 409, "a used token cannot be taken back");
}

#[tokio::test]
async fn what_is_wrong_with_a_registration_leaves_its_token_usable() {
    let bench = Bench::start().await;
    bench.enroll("taken").await;
    let token = bench.client.tokens(&bench.admin, 1).await.unwrap().remove(0).token;
    for alias in ["taken", "TAKEN", "ｔａｋｅｎ"] {
        let refused = bench.client.register(&token, &called(alias)).await.unwrap();
        let problem: Value = refused.read().unwrap();
        assert_eq!((refused.status, problem["type"].as_str(), problem["field"].as_str()), (409, Some("alias_in_use"), Some("alias")));
        assert!(problem["detail"].as_str().unwrap().contains("rename or delete that device"), "what to do: {problem}");
    }
    for (body, field) in [
        (json!({}), "alias"),
        (json!({"alias": ""}), "alias"),
        (json!({"alias": "x".repeat(201)}), "alias"),
        (json!({"alias": "a\u{0}b"}), "alias"),
        (json!({"alias": "a\u{200b}b"}), "alias"),
        (json!({"alias": "\u{202e}b"}), "alias"),
    ] {
        let answer = bench.client.post("/v1/register", Some(&token), &body).await.unwrap();
        let problem: Value = answer.read().unwrap();
        assert_eq!((answer.status, problem["field"].as_str()), (422, Some(field)), "{problem}");
    }
    // What may be missing does not cost the registration when it cannot be used.
    let unusable = json!({"alias": "free", "sdk_int": 33.5, "model": 7});
    assert_eq!(bench.client.post("/v1/register", Some(&token), &unusable).await.unwrap().status, 200);
}

#[tokio::test]
async fn an_alias_that_a_device_has_is_refused_when_its_token_is_made() {
    let bench = Bench::start().await;
    bench.enroll("Café 1").await;
    for body in [json!({"alias": "cafe\u{301} 1"}), json!({"count": 3, "alias_pattern": "CAFÉ {n}"})] {
        let refused = bench.client.post("/v1/enroll-tokens", Some(&bench.admin), &body).await.unwrap();
        let problem: Value = refused.read().unwrap();
        assert_eq!((refused.status, problem["type"].as_str(), problem["field"].as_str()), (409, Some("alias_in_use"), Some("alias")));
        assert!(
            problem["detail"].as_str().unwrap().to_lowercase().contains("fé 1") || problem["detail"].as_str().unwrap().contains("FÉ 1")
        );
    }
    assert_eq!(bench.sql("SELECT count(*) FROM enroll_token WHERE used_at IS NULL"), "0", "none is made");
    // One that only looks alike is made, and said.
    let made = bench.client.post("/v1/enroll-tokens", Some(&bench.admin), &json!({"alias": "Café l"})).await.unwrap();
    assert_eq!((made.status, made.json()["warnings"][0].as_str()), (201, Some("the alias Café l is easily mistaken for Café 1")));
    let other = bench.client.post("/v1/enroll-tokens", Some(&bench.admin), &json!({"alias": "Café 2"})).await.unwrap();
    assert_eq!((other.status, other.json().get("warnings").is_none()), (201, true));
}

#[tokio::test]
async fn a_token_fixes_alias_tags_and_groups_and_its_secret_is_shown_once() {
    let bench = Bench::start().await;
    let wanted = json!({"count": 2, "alias_pattern": "shop-{n}", "start_number": 7, "tags": ["till", "a"], "groups": ["berlin"]});
    let created = bench.client.post("/v1/enroll-tokens", Some(&bench.admin), &wanted).await.unwrap();
    assert_eq!(created.status, 201);
    let created: Value = created.read().unwrap();
    let secret = created["tokens"][1]["token"].as_str().unwrap();
    let registered = bench.client.register(secret, &called("another name")).await.unwrap();
    let device = registered.read::<Value>().unwrap()["device_id"].as_str().unwrap().to_owned();

    let device = bench.client.get_json(&format!("/v1/devices/{device}"), &bench.admin).await.unwrap();
    assert_eq!((device["alias"].as_str(), &device["tags"], &device["groups"]), (Some("shop-8"), &json!(["a", "till"]), &json!(["berlin"])));
    let listed = bench.client.get_json("/v1/enroll-tokens?status=used", &bench.admin).await.unwrap();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    assert_eq!(listed["items"][0]["device_id"], device["id"]);
    assert!(!listed.to_string().contains(secret));
    assert!(!bench.sql("SELECT enroll_token::text FROM enroll_token").contains(secret));
    assert!(!bench.node.log().contains(secret));
    let unused = bench.client.get_json("/v1/enroll-tokens?status=unused", &bench.admin).await.unwrap();
    assert_eq!(unused["items"][0]["alias"], "shop-7");
}

#[tokio::test]
async fn an_agent_of_the_earlier_server_enrolls_with_its_own_header() {
    let bench = Bench::start().await;
    let token = bench.client.tokens(&bench.admin, 1).await.unwrap().remove(0).token;
    let body = json!({"alias": "old"}).to_string();
    let call = Call::post("/v1/register", body).header("x-admin-key", &token);
    let answer = bench.client.send(call).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.detail());
}

#[tokio::test]
async fn guessing_tokens_slows_down_but_honest_devices_do_not_notice() {
    let bench = Bench::with(crate::common::options().env("NEXMDM__ENROLLMENT__FAILURE_BURST", "5")).await;
    let good = bench.client.tokens(&bench.admin, 1).await.unwrap().remove(0).token;
    let mut answers = Vec::new();
    for n in 0..7 {
        answers.push(bench.client.register(&format!("guess-{n}"), &called("x")).await.unwrap());
    }
    let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [401, 401, 401, 401, 401, 429, 429]);
    assert!(answers[6].retry_after().is_some());
    assert_eq!(bench.metric("nexmdm_enrollments_total{outcome=\"throttled\"}").await, 2.0);
    assert_eq!(bench.client.register(&good, &called("honest")).await.unwrap().status, 200);
}

#[tokio::test]
async fn limits_of_token_requests_name_their_field() {
    let bench = Bench::start().await;
    for (body, field) in [
        (json!({"count": 501}), "count"),
        (json!({"count": 0}), "count"),
        (json!({"expires_in_seconds": -5}), "expires_in_seconds"),
        (json!({"expires_in_seconds": 1u64 << 60}), "expires_in_seconds"),
        (json!({"alias": "a", "count": 2}), "alias"),
        (json!({"alias_pattern": "no number"}), "alias_pattern"),
        (json!({"tags": ["ok", ""]}), "tags[1]"),
        (json!({"tags": ["front, sale"]}), "tags[0]"),
        (json!({"groups": ["a", "b|c"]}), "groups[1]"),
        (json!({"alias": "a\u{2066}"}), "alias"),
        (json!({"tag": ["typo"]}), "tag"),
    ] {
        let answer = bench.client.post("/v1/enroll-tokens", Some(&bench.admin), &body).await.unwrap();
        let problem: Value = answer.read().unwrap();
        assert_eq!((answer.status, problem["field"].as_str()), (422, Some(field)), "{body}: {problem}");
    }
    assert_eq!(bench.sql("SELECT count(*) FROM enroll_token"), "0");
    let full = bench.client.post("/v1/enroll-tokens", Some(&bench.admin), &json!({"count": 500})).await.unwrap();
    assert_eq!(full.status, 201);
    // Keyset pages meet every token once.
    let (mut cursor, mut seen) = (String::new(), std::collections::HashSet::new());
    loop {
        let page = bench.client.get_json(&format!("/v1/enroll-tokens?limit=150{cursor}"), &bench.admin).await.unwrap();
        for token in page["items"].as_array().unwrap() {
            assert!(seen.insert(token["id"].as_str().unwrap().to_owned()));
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), 500);
}

#[tokio::test]
async fn a_device_is_there_the_moment_it_enrolled() {
    let bench = Bench::start().await;
    let device = bench.enroll("fresh").await;
    let live = bench.client.get_json(&format!("/v1/devices/{}", device.device_id), &bench.admin).await.unwrap();
    assert_eq!(live["status"], "never_seen");
    eventually("the counts include it", async || {
        let stats = bench.client.get_json("/v1/fleet/stats", &bench.admin).await.unwrap();
        (stats["never_seen"] == 1).then_some(())
    })
    .await;
}

/// The folder that nodes of tests are started in stands for a checkout.
#[tokio::test]
async fn the_agent_is_found_where_it_was_built_or_put_and_told_with_its_version() {
    let bench = Bench::start().await;
    let info = async || bench.client.get_json("/v1/agent/apk/info", &bench.admin).await.unwrap();
    let missing: Value = info().await;
    assert_eq!((&missing["state"], &missing["version_code"], &missing["updates"]), (&json!("missing"), &Value::Null, &json!([])));
    assert!(missing["problem"].as_str().unwrap().contains("make agent"), "{missing}");

    // A debug build, then a release build, then a file of the data folder: each is noticed at once and comes before those.
    let folder = bench.node.data_dir().parent().unwrap().to_owned();
    let put = |path: &str, name: &str| {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, fixture(name)).unwrap();
    };
    for (path, name, source, version) in [
        ("android-agent/out/nexmdm-agent-debug.apk", "agent-120.apk", "debug_build", 120),
        ("android-agent/out/nexmdm-agent-release.apk", "agent-121.apk", "release_build", 121),
        ("data/agent/nexmdm-agent.apk", "agent-120.apk", "data_folder", 120),
    ] {
        put(path, name);
        let found = info().await;
        assert_eq!((&found["state"], &found["problem"], &found["source"]), (&json!("ready"), &Value::Null, &json!(source)), "{path}");
        assert_eq!(
            (&found["version_code"], &found["package"], &found["debuggable"]),
            (&json!(version), &json!("com.nexmdm"), &json!(false))
        );
        assert_eq!(found["version_name"], format!("1.0.{version}"));
        assert_eq!(found["size_bytes"], fixture(name).len());
        assert_eq!(found["signer_sha256"].as_str().unwrap().len(), 64);
        assert!(found["file"].as_str().unwrap().ends_with(path), "{found}");
    }
    // Scripts and codes serve it.
    let token = bench.client.tokens(&bench.admin, 1).await.unwrap().remove(0).token;
    let code = bench.client.post("/v1/enroll-tokens/qr", Some(&bench.admin), &json!({"token": token})).await.unwrap();
    assert_eq!(code.status, 200, "{}", code.detail());
    let url = code.json()["payload"]["android.app.extra.PROVISIONING_DEVICE_ADMIN_PACKAGE_DOWNLOAD_LOCATION"].as_str().unwrap().to_owned();
    let served = bench.client.get(url.strip_prefix(&bench.node.url()).unwrap(), None).await.unwrap();
    assert_eq!((served.status, served.body.as_ref()), (200, fixture("agent-120.apk").as_slice()));

    // A newer build that is promoted, and where the file is, which is for who manages builds.
    let apk = crate::common::apks::add(&bench.client, &bench.admin, "agent-122.apk").await;
    let build = bench.client.post("/v1/agent-builds", Some(&bench.admin), &json!({"apk_id": apk["id"]})).await.unwrap().json();
    assert_eq!(info().await["updates"], json!([]), "not promoted yet");
    let promote = format!("/v1/agent-builds/{}/promote", build["id"].as_str().unwrap());
    assert_eq!(bench.client.post(&promote, Some(&bench.admin), &json!({"rollout_percent": 10})).await.unwrap().status, 200);
    let update = json!([{"version_code": 122, "version_name": "1.0.122", "rollout_percent": 10}]);
    assert_eq!(info().await["updates"], update);
    bench.add_user("ann", "viewer");
    let viewer = bench.client.access_token("ann", PASSWORD).await.unwrap();
    let seen: Value = bench.client.get_json("/v1/agent/apk/info", &viewer).await.unwrap();
    assert_eq!((&seen["version_code"], &seen["file"], &seen["updates"]), (&json!(120), &Value::Null, &update));

    // What is no agent, and what is altered, says so.
    for (name, problem) in [("till-1.apk", "com.example.till"), ("till-7-unsigned.apk", "not signed")] {
        put("data/agent/nexmdm-agent.apk", name);
        let wrong = info().await;
        assert_eq!((&wrong["state"], &wrong["updates"]), (&json!("unusable"), &json!([])), "{wrong}");
        assert!(wrong["problem"].as_str().unwrap().contains(problem), "{wrong}");
    }
    // Without those the release build is served again.
    std::fs::remove_file(folder.join("data/agent/nexmdm-agent.apk")).unwrap();
    assert_eq!(info().await["source"], "release_build");
}
