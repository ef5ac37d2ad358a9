//! Whatever is thrown at a node: a clear refusal, nothing changed, and it goes on.

use std::time::Duration;

use chaos::http::Call;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common::{Bench, eventually, heartbeat, options};

#[tokio::test]
async fn malformed_oversized_and_foreign_heartbeats_are_refused_by_name() {
    let bench = Bench::start().await;
    let device = bench.enroll("kiosk").await;
    let other = bench.enroll("other").await;
    let huge = format!(r#"{{"app_version":"{}"}}"#, "x".repeat(10_000_000));
    let foreign = format!(r#"{{"device_id":"{}"}}"#, other.device_id);
    for (body, status, field) in [
        ("", 400, ""),
        ("{", 400, ""),
        ("\0\0\0", 400, ""),
        ("{\"a\":\"\u{0}\"", 400, ""),
        ("{\"battery\" 5}", 400, ""),
        ("[]", 422, "body"),
        ("null", 422, "body"),
        (huge.as_str(), 413, ""),
        (foreign.as_str(), 403, ""),
    ] {
        let answer = bench.client.send(Call::post("/v1/heartbeat", body.to_owned()).bearer(&device.session_token)).await;
        // A body that is cut off at the limit may cost the connection as well.
        let Ok(answer) = answer else {
            assert_eq!(status, 413, "{body:.60}");
            continue;
        };
        let problem: Value = answer.json();
        assert_eq!(answer.status, status, "{body:.60}: {problem}");
        assert_eq!(problem["field"].as_str().unwrap_or_default(), field, "{body:.60}: {problem}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert!(answer.body.len() < 1000, "{body:.60}");
    }
    assert_eq!(bench.sql("SELECT count(*) FROM heartbeats"), "0");
    assert_eq!(bench.client.heartbeat(&device.session_token, &heartbeat(0, 5)).await.unwrap().status, 200);
    assert!(bench.metric("nexmdm_http_refusals_total{kind=\"invalid_value\"}").await >= 2.0);
    assert!(bench.metric("nexmdm_http_refusals_total{kind=\"malformed_json\"}").await >= 5.0);
}

/// Readers of JSON differ in which of two values counts: what one checks, another carries out.
#[tokio::test]
async fn a_key_that_repeats_is_refused_of_people_by_name() {
    let bench = Bench::start().await;
    for (path, body, key) in [
        ("/v1/users", r#"{"username":"mallory","role":"viewer","role":"admin","password":"a long password 1"}"#, "role"),
        ("/v1/devices/bulk", r#"{"action":"delete","dry_run":true,"target":{"ids":[]},"dry_run":false}"#, "dry_run"),
        ("/v1/deployments", r#"{"apk_id":"x","options":{"canary":{"size":5,"size":500}}}"#, "options.canary.size"),
        ("/v1/auth/login", r#"{"username":"viewer","username":"admin","password":"x"}"#, "username"),
    ] {
        let answer = bench.client.send(Call::post(path, body).bearer(&bench.admin).content_type("application/json")).await.unwrap();
        let problem = answer.json();
        assert_eq!((answer.status, &problem["field"]), (422, &json!(key)), "{path}: {problem}");
    }
    assert_eq!(bench.sql("SELECT count(*) FROM app_user WHERE username = 'mallory'"), "0");
}

#[tokio::test]
async fn lists_and_ids_that_make_no_sense_are_refused() {
    let bench = Bench::start().await;
    for (path, status, field) in [
        ("/v1/devices?limit=0", 422, "limit"),
        ("/v1/devices?limit=501", 422, "limit"),
        ("/v1/devices?limit=many", 422, "query"),
        ("/v1/devices?sort=colour", 422, "sort"),
        ("/v1/devices?status=asleep", 422, "status"),
        ("/v1/devices?text=%00", 422, "text"),
        ("/v1/devices?tag=%00", 422, "tag"),
        ("/v1/devices?battery_below=900", 422, "battery_below"),
        ("/v1/devices?alert=nonsense", 422, "alert"),
        ("/v1/alerts?state=asleep", 422, "state"),
        ("/v1/alerts?rule=asleep", 422, "rule"),
        ("/v1/alerts?min_severity=loud", 422, "min_severity"),
        ("/v1/alerts?device_id=kiosk", 422, "device_id"),
        ("/v1/alerts?since=yesterday", 422, "since"),
        ("/v1/alerts?since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z", 422, "until"),
        ("/v1/alerts?group=%00", 422, "group"),
        ("/v1/alerts?cursor=7", 422, "cursor"),
        ("/v1/alerts?limit=501", 422, "limit"),
        ("/v1/alerts?colour=red", 422, "query"),
        ("/v1/alerts/not-an-id", 404, ""),
        ("/v1/alert-rules/asleep", 404, ""),
        ("/v1/alert-channels/not-an-id", 404, ""),
        ("/v1/devices?storage_below_mb=-1", 422, "storage_below_mb"),
        ("/v1/devices?storage_below_mb=0.5", 422, "query"),
        ("/v1/devices?cursor=zz", 422, "cursor"),
        ("/v1/devices?sort=battery_pct&cursor=000000000000000000000000000000077879", 422, "cursor"),
        ("/v1/devices?sort=last_seen_at&cursor=000000000000000000000000000000077879", 422, "cursor"),
        ("/v1/devices?colour=red", 422, "query"),
        ("/v1/enroll-tokens?status=new", 422, "status"),
        ("/v1/enroll-tokens?cursor=x", 422, "cursor"),
        ("/v1/devices/not-an-id", 404, ""),
        ("/v1/devices/00000000-0000-0000-0000-000000000000", 404, ""),
        ("/v1/devices/%00", 404, ""),
        ("/v1/devices/%FF", 404, ""),
        // 0000-01-01T00:00:00Z
        ("/v1/devices?sort=enrolled_at&cursor=00000000000000000000000000000000303030302d30312d30315430303a30303a30305a", 422, "cursor"),
    ] {
        let answer = bench.client.get(path, Some(&bench.admin)).await.unwrap();
        let problem: Value = answer.json();
        assert_eq!((answer.status, problem["field"].as_str().unwrap_or_default()), (status, field), "{path}: {problem}");
    }
    let put = bench.client.send(Call::new(hyper::Method::PUT, "/v1/devices").bearer(&bench.admin)).await.unwrap();
    assert_eq!(put.status, 405);
}

#[tokio::test]
async fn slow_bodies_and_heads_are_cut_off_while_others_are_served() {
    let quick = options()
        .env("NEXMDM__HTTP__HEADER_TIMEOUT_MS", "500")
        .env("NEXMDM__HTTP__BODY_TIMEOUT_MS", "500")
        .env("NEXMDM__AUTH__BCRYPT_WAIT_MS", "1000");
    let bench = Bench::with(quick).await;
    let device = bench.enroll("kiosk").await;
    let address = format!("127.0.0.1:{}", bench.node.port());
    let head = format!(
        "POST /v1/heartbeat HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: 900\r\n\r\n{{",
        device.session_token
    );
    let mut slow = Vec::new();
    let form = "POST /login HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: 50\r\n\r\nu";
    for text in [head.as_str(), form, "POST /v1/heartbeat HTTP/1.1\r\nho", ""] {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    assert_eq!(bench.client.heartbeat(&device.session_token, &heartbeat(0, 5)).await.unwrap().status, 200);
    let mut answers = Vec::new();
    for mut stream in slow {
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(40), stream.read_to_end(&mut answer)).await;
        assert!(read.is_ok(), "the connection is held open");
        answers.push(String::from_utf8_lossy(&answer).into_owned());
    }
    assert!(answers[0].starts_with("HTTP/1.1 408"), "{}", answers[0]);
}

#[tokio::test]
async fn connections_over_the_limit_are_refused_and_counted() {
    let bench = Bench::with(options().env("NEXMDM__HTTP__CONNECTIONS_MAX", "50")).await;
    let address = format!("127.0.0.1:{}", bench.node.port());
    let mut held = Vec::new();
    for _ in 0..300 {
        held.push(TcpStream::connect(&address).await.unwrap());
    }
    let mut refused = 0;
    for stream in &mut held {
        let mut answer = [0; 12];
        // Those within the limit wait for a request, and say nothing.
        if let Ok(Ok(12)) = tokio::time::timeout(Duration::from_millis(50), stream.read_exact(&mut answer)).await {
            assert_eq!(&answer, b"HTTP/1.1 503");
            refused += 1;
        }
        if refused > 200 {
            break;
        }
    }
    assert!(refused > 200, "{refused}");
    drop(held);
    eventually("room for others", async || bench.client.get("/healthz", None).await.ok().filter(|answer| answer.status == 200)).await;
    assert!(bench.metric("nexmdm_http_connections_refused_total").await >= 200.0);
}

#[tokio::test]
async fn sockets_that_say_nothing_or_too_much_are_closed() {
    let quick = options().env("NEXMDM__SOCKET__PING_INTERVAL_SECONDS", "1").env("NEXMDM__SOCKET__DEAD_AFTER_SECONDS", "2");
    let bench = Bench::with(quick).await;
    let device = bench.enroll("kiosk").await;
    // A socket that never answers a ping, written by hand.
    let mut silent = TcpStream::connect(format!("127.0.0.1:{}", bench.node.port())).await.unwrap();
    let upgrade = format!(
        "GET /v1/agent/socket HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        device.session_token
    );
    silent.write_all(upgrade.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(40), silent.read_to_end(&mut received)).await;
    assert!(read.is_ok(), "a dead socket is held open");
    assert!(received.starts_with(b"HTTP/1.1 101"));

    let mut loud = bench.client.socket(&device.session_token).await.unwrap().unwrap();
    loud.send_text(format!(r#"{{"type":"heartbeat","x":"{}"}}"#, "x".repeat(100_000))).await.unwrap();
    assert!(loud.next().await.unwrap().is_none(), "a frame over the limit closes the socket");
    assert_eq!(bench.metric("nexmdm_agent_socket_refusals_total{status=\"protocol\"}").await, 1.0);
    let plain = bench.client.get("/v1/agent/socket", Some(&device.session_token)).await.unwrap();
    assert_eq!(plain.status, 426);
    assert_eq!(bench.client.heartbeat(&device.session_token, &heartbeat(0, 5)).await.unwrap().status, 200);
}

#[tokio::test]
async fn overload_is_answered_with_503_and_a_time_to_come_back() {
    let narrow = options().env("NEXMDM__HEARTBEAT__IN_FLIGHT_MAX", "100");
    let bench = Bench::with(narrow).await;
    let device = bench.enroll("kiosk").await;
    // A list takes a place for each of its heartbeats, so two full lists do not fit at once.
    let list = |start: i64| (0..100).map(|n| heartbeat(start - n * 10, 5)).collect::<Vec<_>>();
    let lists: Vec<_> = (0..8).map(|n| list(-1000 * n)).collect();
    let answers = futures_util::future::join_all(lists.iter().map(|list| bench.client.heartbeats(&device.session_token, list))).await;
    let (mut stored, mut refused) = (0, 0);
    for answer in answers {
        let answer = answer.unwrap();
        match answer.status {
            200 => stored += 100,
            503 => {
                assert!(answer.retry_after().is_some());
                refused += 1;
            }
            other => panic!("{other}"),
        }
    }
    assert!(stored > 0 && refused > 0, "{stored} stored, {refused} refused");
    assert_eq!(bench.sql("SELECT count(*) FROM heartbeats"), stored.to_string());
    assert_eq!(bench.metric("nexmdm_heartbeats_total{outcome=\"overloaded\"}").await, f64::from(refused * 100));
}

#[tokio::test]
async fn a_caller_made_request_id_comes_back_and_a_silly_one_does_not() {
    let bench = Bench::start().await;
    let id = async |given: &str| {
        let answer = bench.client.send(Call::get("/healthz").header("x-request-id", given)).await.unwrap();
        answer.header("x-request-id").unwrap().to_owned()
    };
    assert_eq!(id("order-17").await, "order-17");
    assert_ne!(id("<script>").await, "<script>");
    assert_eq!(json!(id(&"x".repeat(500)).await.len()), json!(36));
}
