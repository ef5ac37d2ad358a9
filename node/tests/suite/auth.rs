//! Sign-in of people, their roles, and who gets in at all.

use chaos::http::Call;
use hyper::Method;
use serde_json::{Value, json};

use crate::common::{Bench, PASSWORD, nexmdm, options};

#[tokio::test]
async fn roles_are_enforced_by_the_services() {
    let bench = Bench::start().await;
    let device = bench.enroll("kiosk").await.device_id;
    let token = bench.client.tokens(&bench.admin, 1).await.unwrap().remove(0).id;
    for role in ["operator", "viewer"] {
        bench.add_user(role, role);
    }
    let operator = bench.client.access_token("operator", PASSWORD).await.unwrap();
    let viewer = bench.client.access_token("Viewer", PASSWORD).await.unwrap();
    // Each call as viewer, then with no credentials, a forged token, a device's token; then as operator.
    for (method, path, body, as_viewer, as_operator) in [
        (Method::GET, "/v1/devices".to_owned(), "", 200, 200),
        (Method::GET, format!("/v1/devices/{device}"), "", 200, 200),
        (Method::GET, "/v1/fleet/stats".to_owned(), "", 200, 200),
        (Method::GET, "/v1/enroll-tokens".to_owned(), "", 200, 200),
        (Method::POST, "/v1/enroll-tokens".to_owned(), "{}", 403, 201),
        (Method::DELETE, format!("/v1/enroll-tokens/{token}"), "", 403, 204),
        (Method::POST, format!("/v1/devices/{device}/revoke"), "", 403, 204),
        (Method::DELETE, format!("/v1/devices/{device}"), "", 403, 204),
    ] {
        let call = async |bearer: Option<&str>| {
            let mut call = match method {
                Method::POST => Call::post(&path, body),
                _ => Call::new(method.clone(), &path),
            };
            if let Some(bearer) = bearer {
                call = call.bearer(bearer);
            }
            bench.client.send(call).await.unwrap().status
        };
        assert_eq!(call(Some(&viewer)).await, as_viewer, "viewer {method} {path}");
        assert_eq!(call(None).await, 401, "nobody {method} {path}");
        assert_eq!(call(Some("forged")).await, 401, "forged {method} {path}");
        assert_eq!(call(Some(&device)).await, 401, "an id is no credential: {method} {path}");
        assert_eq!(call(Some(&operator)).await, as_operator, "operator {method} {path}");
    }
}

/// P10: what answers without credentials is this short list.
#[tokio::test]
async fn only_a_listed_few_routes_answer_without_credentials() {
    let bench = Bench::start().await;
    for (method, path, status) in [
        ("GET", "/healthz", 200),
        ("GET", "/readyz", 200),
        ("GET", "/metrics", 200),
        ("GET", "/login", 200),
        ("POST", "/v1/auth/login", 400),
        ("POST", "/v1/auth/refresh", 401),
        ("POST", "/v1/auth/logout", 401),
        ("POST", "/v1/register", 401),
        ("POST", "/v1/agent/session", 401),
        ("GET", "/v1/agent/socket", 401),
        ("POST", "/v1/heartbeat", 401),
        ("POST", "/v1/heartbeats", 401),
        ("POST", "/v1/devices/fcm-token", 401),
        ("GET", "/v1/devices", 401),
        ("GET", "/v1/devices/x", 401),
        ("DELETE", "/v1/devices/x", 401),
        ("POST", "/v1/devices/x/revoke", 401),
        ("GET", "/v1/fleet/stats", 401),
        ("GET", "/v1/enroll-tokens", 401),
        ("POST", "/v1/enroll-tokens", 401),
        ("DELETE", "/v1/enroll-tokens/x", 401),
        ("GET", "/v1/no-such-route", 404),
        ("GET", "/live/check", 401),
        ("GET", "/", 303),
        ("GET", "/devices", 303),
    ] {
        let body = if path == "/v1/auth/refresh" { "{}" } else { "" };
        let call = if method == "POST" { Call::post(path, body) } else { Call::new(method.parse().unwrap(), path) };
        let answer = bench.client.send(call).await.unwrap();
        assert_eq!(answer.status, status, "{method} {path}");
        assert!(answer.header("x-request-id").is_some());
    }
}

#[tokio::test]
async fn a_refresh_token_works_once_and_its_reuse_ends_the_sign_in() {
    let bench = Bench::start().await;
    let first: Value = bench.client.login("admin", bench.node.admin_password()).await.unwrap().json();
    let refresh = async |token: &Value| bench.client.post("/v1/auth/refresh", None, &json!({"refresh_token": token})).await.unwrap();
    let second = refresh(&first["refresh_token"]).await;
    assert_eq!(second.status, 200);
    let second = second.json();
    // A request that ran beside the first one is not a thief, but gets no token of its own either.
    assert_eq!(refresh(&first["refresh_token"]).await.json()["refresh_token"], Value::Null);
    bench.sql("UPDATE user_session SET rotated_at = rotated_at - interval '1 minute'");
    assert_eq!(refresh(&first["refresh_token"]).await.status, 401, "replayed");
    assert_eq!(refresh(&second["refresh_token"]).await.status, 401, "the sign-in is over");
    let access = second["access_token"].as_str().unwrap();
    assert_eq!(bench.client.get("/v1/devices", Some(access)).await.unwrap().status, 401);
    assert_eq!(bench.client.get("/v1/devices", Some(&bench.admin)).await.unwrap().status, 200, "another sign-in goes on");
}

#[tokio::test]
async fn logout_and_a_new_password_end_sign_ins() {
    let bench = Bench::start().await;
    let login: Value = bench.client.login("admin", bench.node.admin_password()).await.unwrap().json();
    let access = login["access_token"].as_str().unwrap();
    assert_eq!(bench.client.post("/v1/auth/logout", Some(access), &json!({})).await.unwrap().status, 204);
    assert_eq!(bench.client.get("/v1/devices", Some(access)).await.unwrap().status, 401);
    let refreshed = bench.client.post("/v1/auth/refresh", None, &json!({"refresh_token": login["refresh_token"]})).await.unwrap();
    assert_eq!(refreshed.status, 401);

    let (ok, out, err) = nexmdm(&bench.node, &["user", "reset-password", "admin"], "");
    assert!(ok, "{err}");
    let password = out.lines().find_map(|line| line.strip_prefix("Password: ")).unwrap();
    bench.client.access_token("admin", password).await.unwrap();
    assert_eq!(bench.client.login("admin", bench.node.admin_password()).await.unwrap().status, 401);
    crate::common::eventually("the old sign-in ends", async || {
        (bench.client.get("/v1/devices", Some(&bench.admin)).await.unwrap().status == 401).then_some(())
    })
    .await;
}

#[tokio::test]
async fn guessing_a_password_slows_down() {
    let bench = Bench::with(options().env("NEXMDM__AUTH__FAILURE_BURST", "3")).await;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(bench.client.login("admin", "guess").await.unwrap().status);
    }
    assert_eq!(statuses, [401, 401, 401, 429, 429]);
    let answer = bench.client.login("admin", bench.node.admin_password()).await.unwrap();
    assert_eq!(answer.status, 429);
    assert!(answer.retry_after().is_some());
    for username in ["a\u{0}b", &"x".repeat(10_000), "nobody", ""] {
        assert!(matches!(bench.client.login(username, "x").await.unwrap().status, 401 | 429));
    }
}

#[tokio::test]
async fn right_passwords_side_by_side_are_not_refused_and_lock_nobody() {
    let bench = Bench::start().await;
    let sign_ins = (0..24).map(|_| bench.client.login("admin", bench.node.admin_password()));
    let statuses: Vec<_> = futures_util::future::join_all(sign_ins).await.into_iter().map(|answer| answer.unwrap().status).collect();
    assert_eq!(statuses, [200; 24]);

    // Seven whose clients hang up before the answer.
    let body = json!({"username": "admin", "password": bench.node.admin_password()}).to_string();
    let head = format!("POST /v1/auth/login HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    for _ in 0..7 {
        let mut stream = tokio::net::TcpStream::connect(format!("127.0.0.1:{}", bench.node.port())).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.unwrap();
    }
    assert_eq!(bench.client.login("admin", bench.node.admin_password()).await.unwrap().status, 200);
    assert_eq!(bench.sql("SELECT count(*) FROM audit_entry WHERE action = 'account.locked'"), "0");
}

#[tokio::test]
async fn forged_tokens_are_refused_whatever_they_claim() {
    let bench = Bench::start().await;
    let device = bench.enroll("kiosk").await;
    let parts = |token: &str| token.split('.').map(str::to_owned).collect::<Vec<_>>();
    let (admin, agent) = (parts(&bench.admin), parts(&device.session_token));
    // {"alg":"none","typ":"JWT"}
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
    let forged = [
        format!("{none}.{}.", agent[1]),
        format!("{none}.{}.{}", agent[1], agent[2]),
        format!("{}.{}.{}", agent[0], admin[1], agent[2]),
        format!("{}.{}.", agent[0], agent[1]),
        format!("{}.{}.{}", agent[0], agent[1], admin[2]),
        bench.admin.clone(),
        "..".to_owned(),
        "x".repeat(20_000),
        format!("{}.wrong-secret", device.device_token.split('.').next().unwrap()),
        format!("{}.", device.device_token.split('.').next().unwrap()),
        device.device_id.clone(),
    ];
    for token in forged {
        let answer = bench.client.heartbeat(&token, &crate::common::heartbeat(0, 1)).await.unwrap();
        assert_eq!(answer.status, 401, "{token:.60}");
        assert_eq!(answer.json()["detail"], "the credentials are not valid", "401 never says which part was wrong");
    }
    assert_eq!(bench.client.get("/v1/devices", Some(&device.session_token)).await.unwrap().status, 401, "a device is no admin");
    assert_eq!(bench.sql("SELECT count(*) FROM heartbeats"), "0");
}

#[tokio::test]
async fn expired_tokens_are_refused() {
    let short = options().env("NEXMDM__AUTH__AGENT_SESSION_SECONDS", "10").env("NEXMDM__AUTH__ACCESS_TOKEN_SECONDS", "10");
    let bench = Bench::with(short).await;
    let device = bench.enroll("kiosk").await;
    crate::common::eventually("both expire", async || {
        let agent = bench.client.heartbeat(&device.session_token, &crate::common::heartbeat(0, 1)).await.unwrap().status;
        let admin = bench.client.get("/v1/devices", Some(&bench.admin)).await.unwrap().status;
        (agent == 401 && admin == 401).then_some(())
    })
    .await;
    assert_eq!(bench.client.session(&device.device_token).await.unwrap().status, 200, "the device token goes on");
}

#[tokio::test]
async fn other_sites_cannot_act_through_a_browser() {
    let bench = Bench::start().await;
    let call = |origin: &'static str, cookie: &'static str| {
        let mut call = Call::post("/v1/auth/login", "{}").header("origin", origin);
        if !cookie.is_empty() {
            call = call.header("cookie", cookie);
        }
        call
    };
    assert_eq!(bench.client.send(call("http://evil.example", "nexmdm_access=x")).await.unwrap().status, 403);
    assert_eq!(bench.client.send(call("null", "")).await.unwrap().status, 403);
    let upgrade =
        Call::get("/live/ws").header("upgrade", "websocket").header("connection", "upgrade").header("origin", "http://evil.example");
    assert_eq!(bench.client.send(upgrade).await.unwrap().status, 403);
}
