//! Heartbeats: stored once, newest wins, credentials checked at once, over HTTP and the socket.

use serde_json::{Value, json};
use wire::agent::Heartbeat;
use wire::lenient::Int;
use wire::socket::DownFrame;

use crate::common::{Bench, clock, eventually, heartbeat, heartbeat_at};

#[tokio::test]
async fn one_row_per_device_and_bucket_and_the_newest_is_the_status() {
    let bench = Bench::start().await;
    let device = bench.enroll("kiosk").await;
    let base = clock(-3600);
    let at = |seconds: i64| base + chrono::TimeDelta::seconds(seconds);
    let bucket = at(0) - chrono::TimeDelta::seconds(at(0).timestamp().rem_euclid(10));
    // The same bucket three times, the newest in between; a newer bucket; then a late one.
    for (seconds, battery) in [(0, 50), (3, 51), (2, 52), (600, 60), (300, 55)] {
        let answer =
            bench.client.heartbeat(&device.session_token, &heartbeat_at(bucket + chrono::TimeDelta::seconds(seconds), battery)).await;
        let answer = answer.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.detail());
        let answer: Value = answer.read().unwrap();
        let next = answer["next_heartbeat_seconds"].as_u64().unwrap();
        assert!((270..=330).contains(&next) && answer["commands"] == json!([]), "{answer}");
    }
    assert_eq!(bench.sql("SELECT string_agg(battery_pct::text, ',' ORDER BY bucket_at) FROM heartbeats_unpacked"), "51,55,60");
    assert_eq!(bench.sql("SELECT battery_pct FROM device_last_status"), "60");
    assert_eq!(
        bench.sql(
            "SELECT count(*) FROM device_last_status s JOIN heartbeats_unpacked h USING (device_id, bucket_at) \
             WHERE s.bucket_at = (SELECT max(bucket_at) FROM heartbeats) AND s.battery_pct = h.battery_pct AND s.seq IS NOT DISTINCT FROM h.seq"
        ),
        "1"
    );
    let live = bench.client.get_json(&format!("/v1/devices/{}", device.device_id), &bench.admin).await.unwrap();
    assert_eq!((live["status"].as_str(), &live["last"]["battery_pct"]), (Some("online"), &json!(60)));
    // A late heartbeat shows life all the same.
    assert_eq!(bench.sql("SELECT last_seen_at > received_at FROM device_last_status"), "t");
}

#[tokio::test]
async fn the_newest_of_a_bucket_stands_in_whatever_order_and_company_they_come() {
    let bench = Bench::start().await;
    let device = bench.enroll("kiosk").await;
    let now = clock(-3600);
    let base = now - chrono::TimeDelta::milliseconds(now.timestamp_millis().rem_euclid(10_000));
    let told = |ms: i64, seq: i64, battery_pct: i64| Heartbeat {
        seq: Some(wire::lenient::Int(seq)),
        ..heartbeat_at(base + chrono::TimeDelta::milliseconds(ms), battery_pct)
    };
    let send = async |list: &[Heartbeat]| {
        let answer = bench.client.post("/v1/heartbeats", Some(&device.session_token), &list).await.unwrap();
        let results: Value = answer.read().unwrap();
        assert!(results["results"].as_array().unwrap().iter().all(|one| one["status"] == 200), "{results}");
    };
    let stored = || bench.sql("SELECT string_agg(battery_pct || ':' || seq, ',' ORDER BY bucket_at) FROM heartbeats_unpacked");
    let status = || bench.sql("SELECT battery_pct || ':' || seq FROM device_last_status");
    // One statement writes those of a list; the newest by the device's clock, then by its sequence number.
    send(&[told(1_000, 1, 10), told(4_000, 2, 11), told(4_000, 3, 12), told(2_000, 4, 13)]).await;
    assert_eq!((stored().as_str(), status().as_str()), ("12:3", "12:3"));
    // One after the other: an older one and a repeat change nothing, whatever the repeat says.
    for one in [told(3_000, 9, 14), told(4_000, 3, 15), told(4_000, 4, 16)] {
        send(&[one]).await;
    }
    assert_eq!((stored().as_str(), status().as_str()), ("16:4", "16:4"));
    let live = bench.client.get_json(&format!("/v1/devices/{}", device.device_id), &bench.admin).await.unwrap();
    assert_eq!(live["last"]["battery_pct"], json!(16));
    // A bucket that is no longer the last is the store's to decide, as it is when the owner cannot be reached.
    send(&[told(60_000, 5, 20)]).await;
    for one in [told(3_000, 6, 17), told(5_000, 1, 18), told(5_000, 1, 19)] {
        send(&[one]).await;
    }
    assert_eq!((stored().as_str(), status().as_str()), ("18:1,20:5", "20:5"));
}

#[tokio::test]
async fn clocks_that_lie_are_stored_by_receipt_and_flagged() {
    let bench = Bench::start().await;
    let device = bench.enroll("liar").await;
    let answer = bench.client.heartbeat(&device.session_token, &heartbeat(10 * 365 * 86_400, 10)).await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(
        bench.sql("SELECT clock_rejected, abs(extract(epoch FROM now() - bucket_at)) < 60, device_time > now() + interval '9 years' FROM heartbeats_unpacked"),
        "t|t|t"
    );
    assert_eq!(bench.sql("SELECT count(*) FROM heartbeats_default"), "0");
}

#[tokio::test]
async fn a_clock_that_goes_back_does_not_freeze_what_is_shown() {
    let bench = Bench::start().await;
    let device = bench.enroll("kiosk").await;
    for (seq, seconds, pct) in [(1, 0, 80), (2, -3600, 22), (3, -3590, 21)] {
        let sent = Heartbeat { boot_id: Some("b1".into()), seq: Some(Int(seq)), ..heartbeat(seconds, pct) };
        assert_eq!(bench.client.heartbeat(&device.session_token, &sent).await.unwrap().status, 200);
        if seq == 1 {
            // The next one counts from its receipt, which has to be in another bucket.
            let first = clock(0).timestamp() / 10;
            eventually("the next bucket", async || (clock(0).timestamp() / 10 > first).then_some(())).await;
        }
    }
    let shown = bench.client.get_json(&format!("/v1/devices/{}", device.device_id), &bench.admin).await.unwrap();
    assert_eq!((&shown["last"]["battery_pct"], &shown["last"]["clock_rejected"]), (&json!(21), &json!(true)), "{shown}");
}

#[tokio::test]
async fn partitions_cover_the_week_behind_and_ahead_and_the_default_takes_the_rest() {
    let mut bench = Bench::start().await;
    let names =
        bench.sql("SELECT string_agg(inhrelid::regclass::text, ',' ORDER BY 1) FROM pg_inherits WHERE inhparent = 'heartbeats'::regclass");
    for day in -7..=7 {
        let name = format!("heartbeats_p{}", clock(day * 86_400).format("%Y%m%d"));
        assert!(names.contains(&name), "{name} is missing in {names}");
    }
    assert!(names.contains("heartbeats_default"));
    // A row that came before its partition moves into it when the partition is made.
    let day = clock(7 * 86_400);
    let (date, partition) = (day.format("%Y-%m-%d").to_string(), format!("heartbeats_p{}", day.format("%Y%m%d")));
    bench.sql(&format!("DROP TABLE {partition}"));
    bench.sql(&format!(
        "INSERT INTO heartbeats (device_id, bucket_at, received_at, clock_rejected) VALUES (gen_random_uuid(), '{date} 12:00Z', now(), false)"
    ));
    assert_eq!(bench.sql("SELECT count(*) FROM heartbeats_default"), "1");
    bench.node.restart().await.unwrap();
    assert_eq!(bench.sql("SELECT count(*) FROM heartbeats_default"), "0");
    assert_eq!(bench.sql(&format!("SELECT count(*) FROM {partition}")), "1");
}

#[tokio::test]
async fn a_drained_queue_has_an_outcome_for_each() {
    let bench = Bench::start().await;
    let device = bench.enroll("queue").await;
    let mut list: Vec<Value> = (0..100).map(|n| serde_json::to_value(heartbeat(-10 * (100 - n), n % 100)).unwrap()).collect();
    list[3] = json!([{"battery": {"pct": 9}}]);
    list[4] = json!("not an object");
    list[6] = list[5].clone();
    let answer = bench.client.post("/v1/heartbeats", Some(&device.session_token), &list).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.detail());
    let results: Value = answer.read().unwrap();
    let statuses: Vec<_> = results["results"].as_array().unwrap().iter().map(|r| r["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses.len(), 100);
    assert!(statuses.iter().enumerate().all(|(n, status)| *status == if n == 3 || n == 4 { 422 } else { 200 }), "{statuses:?}");
    assert!(results["results"][3]["detail"].as_str().unwrap().starts_with("body"));
    assert_eq!(bench.sql("SELECT count(*) FROM heartbeats"), "97");
    for wrong in [json!([]), json!(vec![json!({}); 101]), json!({})] {
        assert_eq!(bench.client.post("/v1/heartbeats", Some(&device.session_token), &wrong).await.unwrap().status, 422);
    }
}

#[tokio::test]
async fn a_restart_reads_the_live_state_back() {
    let mut bench = Bench::start().await;
    let device = bench.enroll("kiosk").await;
    assert_eq!(bench.client.heartbeat(&device.session_token, &heartbeat(0, 42)).await.unwrap().status, 200);
    let path = format!("/v1/devices/{}", device.device_id);
    let before = bench.client.get_json(&path, &bench.admin).await.unwrap();
    bench.node.restart().await.unwrap();
    assert_eq!(bench.client.get_json(&path, &bench.admin).await.unwrap(), before);
    // Session tokens and sign-ins outlive the process.
    assert_eq!(bench.client.heartbeat(&device.session_token, &heartbeat(20, 43)).await.unwrap().status, 200);
}

#[tokio::test]
async fn revocation_ends_every_credential_at_once() {
    let bench = Bench::start().await;
    let (device, other) = (bench.enroll("revoked").await, bench.enroll("other").await);
    let mut socket = bench.client.socket(&device.session_token).await.unwrap().unwrap();
    socket.send_heartbeat(&heartbeat(0, 50)).await.unwrap();
    assert!(matches!(socket.next().await.unwrap(), Some(DownFrame::Ack { .. })));
    assert_eq!(bench.client.heartbeat(&device.device_token, &heartbeat(0, 50)).await.unwrap().status, 200, "a cached device token");

    let revoke = format!("/v1/devices/{}/revoke", device.device_id);
    assert_eq!(bench.client.post(&revoke, Some(&bench.admin), &json!({})).await.unwrap().status, 204);
    assert_eq!(bench.client.heartbeat(&device.session_token, &heartbeat(20, 50)).await.unwrap().status, 401);
    assert_eq!(bench.client.heartbeat(&device.device_token, &heartbeat(20, 50)).await.unwrap().status, 401);
    assert_eq!(bench.client.session(&device.device_token).await.unwrap().status, 401);
    assert_eq!(bench.client.session(&other.session_token).await.unwrap().status, 401, "a session does not renew itself");
    assert_eq!(bench.client.socket(&device.session_token).await.unwrap().err(), Some(401));
    assert!(matches!(socket.next().await.unwrap(), Some(DownFrame::Refused { status: 401, .. })));
    assert!(socket.next().await.unwrap().is_none(), "closed");
    assert_eq!(bench.client.heartbeat(&other.session_token, &heartbeat(20, 50)).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_deleted_device_is_told_so_and_frees_its_alias() {
    let mut bench = Bench::start().await;
    let device = bench.enroll("gone").await;
    let mut socket = bench.client.socket(&device.session_token).await.unwrap().unwrap();
    socket.send_heartbeat(&heartbeat(0, 50)).await.unwrap();
    assert!(matches!(socket.next().await.unwrap(), Some(DownFrame::Ack { .. })));
    assert_eq!(bench.client.delete(&format!("/v1/devices/{}", device.device_id), &bench.admin).await.unwrap().status, 204);
    assert!(
        matches!(socket.next().await.unwrap(), Some(DownFrame::Refused { status: 410, reason: Some(reason), .. }) if reason == "device_deleted")
    );
    for _ in 0..2 {
        let answer = bench.client.heartbeat(&device.session_token, &heartbeat(20, 50)).await.unwrap();
        assert_eq!((answer.status, answer.read::<Value>().unwrap()["reason"].as_str()), (410, Some("device_deleted")));
        assert_eq!(bench.client.get(&format!("/v1/devices/{}", device.device_id), Some(&bench.admin)).await.unwrap().status, 404);
        // The second time round, the actor has to learn it from the store.
        bench.node.restart().await.unwrap();
    }
    bench.enroll("gone").await;
}

#[tokio::test]
async fn frames_are_acknowledged_after_commit_and_refused_by_name() {
    let bench = Bench::start().await;
    let device = bench.enroll("socket").await;
    let mut socket = bench.client.socket(&device.device_token).await.unwrap().unwrap();
    let id = socket.send_heartbeat(&heartbeat(-100, 71)).await.unwrap();
    match socket.next().await.unwrap() {
        Some(DownFrame::Ack { id: acknowledged, next_heartbeat_seconds: Some(270..=330), .. }) => assert_eq!(acknowledged, json!(id)),
        other => panic!("{other:?}"),
    }
    assert_eq!(bench.sql("SELECT battery_pct FROM heartbeats_unpacked"), "71");
    for (frame, status) in [
        (r#"{"type":"heartbeat","id":"a","device_id":"00000000-0000-0000-0000-000000000001"}"#, 403),
        (r#"{"type":"action_result","id":"a","request_id":"x","outcome":"success"}"#, 404),
        (r#"{"type":"dance","id":"a"}"#, 422),
        (r#"{"id":"a"}"#, 422),
        ("garbage", 400),
    ] {
        socket.send_text(frame.to_owned()).await.unwrap();
        match socket.next().await.unwrap() {
            Some(DownFrame::Refused { status: given, .. }) => assert_eq!(given, status, "{frame}"),
            other => panic!("{frame}: {other:?}"),
        }
    }
    // It still serves.
    socket.send_heartbeat(&heartbeat(0, 72)).await.unwrap();
    assert!(matches!(socket.next().await.unwrap(), Some(DownFrame::Ack { .. })));
    assert_eq!(bench.metric("nexmdm_agent_socket_refusals_total{status=\"422\"}").await, 2.0);
}

#[tokio::test]
async fn a_newer_socket_takes_over_and_a_noisy_one_is_closed() {
    let bench = Bench::start().await;
    let device = bench.enroll("twice").await;
    let mut first = bench.client.socket(&device.session_token).await.unwrap().unwrap();
    first.send_heartbeat(&heartbeat(0, 50)).await.unwrap();
    assert!(matches!(first.next().await.unwrap(), Some(DownFrame::Ack { .. })));
    let mut second = bench.client.socket(&device.session_token).await.unwrap().unwrap();
    assert!(first.next().await.unwrap().is_none(), "the first one is closed");
    for _ in 0..11 {
        second.send_text("garbage".into()).await.unwrap();
    }
    let mut refusals = 0;
    while let Some(frame) = second.next().await.unwrap() {
        assert!(matches!(frame, DownFrame::Refused { status: 400, .. }), "{frame:?}");
        refusals += 1;
    }
    assert_eq!(refusals, 11);
    eventually("no socket is left", async || (bench.metric("nexmdm_agent_sockets").await == 0.0).then_some(())).await;
}

#[tokio::test]
async fn silence_takes_a_device_offline() {
    let bench = Bench::with(crate::common::options().env("NEXMDM__DEVICE__OFFLINE_AFTER_SECONDS", "1")).await;
    let device = bench.enroll("quiet").await;
    assert_eq!(bench.client.heartbeat(&device.session_token, &heartbeat(0, 50)).await.unwrap().status, 200);
    let path = format!("/v1/devices/{}", device.device_id);
    eventually("offline", async || (bench.client.get_json(&path, &bench.admin).await.unwrap()["status"] == "offline").then_some(())).await;
    let listed = bench.client.get_json("/v1/devices?status=offline", &bench.admin).await.unwrap();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn push_tokens_arrive_with_heartbeats_and_by_the_earlier_route() {
    let bench = Bench::start().await;
    let device = bench.enroll("push").await;
    for (n, token) in ["first", "first", "second"].into_iter().enumerate() {
        let told = wire::agent::Heartbeat { fcm_token: Some(token.into()), ..heartbeat(n as i64 * 20 - 100, 5) };
        assert_eq!(bench.client.heartbeat(&device.session_token, &told).await.unwrap().status, 200);
        assert_eq!(bench.sql("SELECT fcm_token FROM device"), token);
    }
    let post = async |token: &str, body: Value| bench.client.post("/v1/devices/fcm-token", Some(token), &body).await.unwrap().status;
    assert_eq!(post(&device.device_token, json!({"fcm_token": "third"})).await, 200);
    assert_eq!(bench.sql("SELECT fcm_token FROM device"), "third");
    assert_eq!(post(&device.device_token, json!({"fcm_token": ""})).await, 422);
    assert_eq!(post(&device.device_token, json!({})).await, 422);
    assert_eq!(post(&bench.admin, json!({"fcm_token": "x"})).await, 401);
}

#[tokio::test]
async fn details_are_kept_when_they_do_not_change_and_follow_when_they_do() {
    let bench = Bench::start().await;
    let device = bench.enroll("details").await;
    for (n, carrier) in ["one", "one", "two", "one"].into_iter().enumerate() {
        let mut told = heartbeat(n as i64 * 20 - 100, 5);
        told.network = Some(wire::agent::Network { carrier: Some(carrier.into()), ..Default::default() });
        assert_eq!(bench.client.heartbeat(&device.session_token, &told).await.unwrap().status, 200);
        assert_eq!(bench.sql("SELECT details->>'carrier' FROM device_last_status"), carrier);
    }
}

/// A caller that hangs up half way must not leave the store and the device's actor at odds.
#[tokio::test]
async fn a_deletion_and_a_revocation_take_effect_even_if_the_caller_hangs_up() {
    let bench = Bench::start().await;
    let (deleted, revoked) = (bench.enroll("deleted").await, bench.enroll("revoked").await);
    let postmaster = chaos::harness::find_postmaster(bench.node.data_dir()).unwrap();
    let socket = postmaster.socket_dir.unwrap().display().to_string();
    let held = tokio::task::spawn_blocking(move || {
        crate::common::psql(&["-h", &socket, "-U", "nexmdm", "nexmdm"], "BEGIN; SELECT FROM device FOR UPDATE; SELECT pg_sleep(2); COMMIT")
    });
    eventually("the rows are held", async || {
        (bench.sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(2)%' AND wait_event = 'PgSleep'") == "1")
            .then_some(())
    })
    .await;
    let impatient = chaos::http::HttpLimits { timeout: std::time::Duration::from_millis(300), ..Default::default() };
    let hasty = chaos::client::Client::with_limits(&bench.node.url(), impatient).unwrap();
    assert!(hasty.delete(&format!("/v1/devices/{}", deleted.device_id), &bench.admin).await.is_err());
    assert!(hasty.post(&format!("/v1/devices/{}/revoke", revoked.device_id), Some(&bench.admin), &json!({})).await.is_err());
    held.await.unwrap();
    eventually("both are in force", async || {
        let deleted = bench.client.heartbeat(&deleted.session_token, &heartbeat(0, 5)).await.unwrap().status;
        let revoked = bench.client.heartbeat(&revoked.session_token, &heartbeat(0, 5)).await.unwrap().status;
        (deleted == 410 && revoked == 401).then_some(())
    })
    .await;
}
