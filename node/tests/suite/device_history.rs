//! History and events of a device; the fleet over time.

use serde_json::{Value, json};

use crate::common::{Bench, eventually, heartbeat, options};

/// Heartbeats every 10 seconds over these days before today, at midnight UTC, of one device.
fn fill(bench: &Bench, device: &str, days: i64) {
    bench.sql(&format!(
        "DO $$ BEGIN FOR n IN 1..{days} LOOP
             EXECUTE format('CREATE TABLE IF NOT EXISTS heartbeats_p%s PARTITION OF heartbeats FOR VALUES FROM (%L) TO (%L)',
                 to_char(current_date - n, 'YYYYMMDD'), (current_date - n) || ' 00:00Z', (current_date - n + 1) || ' 00:00Z');
         END LOOP; END $$"
    ));
    bench.sql(&format!(
        "INSERT INTO heartbeats (device_id, bucket_at, received_at, clock_rejected, battery_pct, charging, transport, ram_available_mb)
         SELECT '{device}', t, t, false, (extract(hour FROM t) * 4)::smallint, extract(hour FROM t) < 12, 'wifi', 1000
         FROM generate_series((current_date - {days}) AT TIME ZONE 'UTC', current_date AT TIME ZONE 'UTC' - interval '10 s', interval '10 s') t"
    ));
    bench.sql(&format!("UPDATE device SET enrolled_at = now() - interval '{days} days'"));
}

#[tokio::test]
async fn thirty_days_are_the_same_before_and_after_they_are_counted() {
    let bench = Bench::with(options().env("NEXMDM__HISTORY__INTERVAL_SECONDS", "1")).await;
    let device = bench.enroll("kiosk-1").await;
    fill(&bench, &device.device_id, 30);
    let to = crate::common::clock(0).date_naive().and_hms_opt(0, 0, 0).unwrap().and_utc();
    let from = to - chrono::TimeDelta::days(30);
    let query = format!("from={}&to={}&points=720", from.format("%FT%TZ"), to.format("%FT%TZ"));
    let path = format!("/v1/devices/{}/history?{query}", device.device_id);
    // Counted before there was anything: the node counts them anew.
    bench.sql("DELETE FROM history_day");
    let before = bench.client.get_json(&path, &bench.admin).await.unwrap();
    assert_eq!((before["points"].as_array().unwrap().len(), &before["step_seconds"]), (720, &json!(3600)));
    let point = &before["points"][13];
    assert_eq!((&point["heartbeats"], &point["battery_pct"]), (&json!(360), &json!({"min": 52.0, "avg": 52.0, "max": 52.0})));
    assert_eq!((&point["online_share"], &point["charging_share"], &point["storage_free_mb"]), (&json!(1.0), &json!(0.0), &Value::Null));
    assert_eq!(point["transport_shares"]["wifi"], 1.0);

    eventually("the days are counted", async || {
        (bench.sql("SELECT count(*) FROM history_day").parse::<i64>().unwrap() >= 28).then_some(())
    })
    .await;
    assert_eq!(bench.sql("SELECT count(*) FROM history_hour WHERE heartbeats = 360").parse::<i64>().unwrap() % 24, 0);
    assert_eq!(bench.client.get_json(&path, &bench.admin).await.unwrap(), before);
}

#[tokio::test]
async fn history_has_limits_gaps_and_only_what_is_asked_for() {
    let bench = Bench::start().await;
    let device = bench.enroll("kiosk-1").await;
    for (second, pct) in [(-3000, 40), (-2990, 60), (-10, 80)] {
        assert_eq!(bench.client.heartbeat(&device.session_token, &heartbeat(second, pct)).await.unwrap().status, 200);
    }
    let path = format!("/v1/devices/{}/history", device.device_id);
    let from = crate::common::clock(-3600).format("%FT%TZ").to_string();
    let history = bench.client.get_json(&format!("{path}?from={from}&points=4&metrics=battery_pct"), &bench.admin).await.unwrap();
    let points = history["points"].as_array().unwrap();
    assert!(points.len() <= 4 && points.iter().map(|point| point["heartbeats"].as_i64().unwrap()).sum::<i64>() == 3, "{history}");
    assert!(points.iter().any(|point| point["battery_pct"].is_null() && point["heartbeats"] == 0), "a gap: {history}");
    assert!(points.iter().all(|point| point.get("online_share").is_none()), "not asked for");
    for (query, field) in [
        ("points=0", "points"),
        ("points=2001", "points"),
        ("from=2020-01-01T00:00:00Z", "from"),
        ("from=yesterday", "from"),
        ("to=x", "to"),
        ("metrics=mood", "metrics"),
        ("colour=red", "query"),
    ] {
        let refused = bench.client.get(&format!("{path}?{query}"), Some(&bench.admin)).await.unwrap();
        assert_eq!((refused.status, refused.json()["field"].as_str()), (422, Some(field)), "{query}");
    }
    let unknown = "/v1/devices/00000000-0000-0000-0000-000000000009/history";
    assert_eq!(bench.client.get(unknown, Some(&bench.admin)).await.unwrap().status, 404);
}

/// A heartbeat that arrives after its day was aggregated makes it aggregated again.
#[tokio::test]
async fn late_heartbeats_are_counted_again() {
    let bench = Bench::with(options().env("NEXMDM__HISTORY__INTERVAL_SECONDS", "1")).await;
    let device = bench.enroll("kiosk-1").await;
    bench.sql("UPDATE device SET enrolled_at = now() - interval '6 days'");
    eventually("the week is counted", async || (bench.sql("SELECT count(*) FROM history_day").parse::<i64>().unwrap() >= 5).then_some(()))
        .await;
    let late = heartbeat(-3 * 86_400, 33);
    assert_eq!(bench.client.heartbeat(&device.session_token, &late).await.unwrap().status, 200);
    eventually("its hour is counted", async || (bench.sql("SELECT battery_min FROM history_hour") == "33").then_some(())).await;
    assert_eq!(bench.sql("SELECT count(*) FROM history_recount"), "0");
}

/// A node of an earlier build stores what comes late and leaves no note of it.
#[tokio::test]
async fn a_day_is_counted_once_more_when_nothing_can_come_late_for_it() {
    let bench = Bench::with(options().env("NEXMDM__HISTORY__INTERVAL_SECONDS", "1")).await;
    let device = bench.enroll("kiosk-1").await;
    fill(&bench, &device.device_id, 12);
    let closed = "SELECT count(*) FROM history_day WHERE closed_at IS NOT NULL AND day = current_date - 10";
    eventually("it is closed", async || (bench.sql(closed) == "1").then_some(())).await;
    assert_eq!(bench.sql("SELECT count(*) FROM history_day WHERE closed_at IS NOT NULL AND day > current_date - 8"), "0");
    bench.sql("UPDATE heartbeats SET battery_pct = 99 WHERE bucket_at::date = current_date - 10");
    bench.sql("UPDATE history_day SET closed_at = NULL WHERE day = current_date - 10");
    eventually("it is closed again", async || (bench.sql(closed) == "1").then_some(())).await;
    assert_eq!(bench.sql("SELECT min(battery_min) FROM history_hour WHERE hour_at::date = current_date - 10"), "99");
    assert_eq!(bench.sql("SELECT count(*) FROM history_recount"), "0");
}

#[tokio::test]
async fn what_happens_to_a_device_is_told_once() {
    let bench = Bench::with(options().env("NEXMDM__DEVICE__OFFLINE_AFTER_SECONDS", "2")).await;
    let device = bench.enroll("kiosk-1").await;
    let events = async |query: &str| {
        let page = bench.client.get_json(&format!("/v1/devices/{}/events?{query}", device.device_id), &bench.admin).await.unwrap();
        let kinds: Vec<String> = page["items"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap().to_owned()).collect();
        (kinds, page)
    };
    let mut told = heartbeat(-40, 50);
    told.boot_id = Some("first".into());
    told.app_version = Some("1.4.0".into());
    bench.client.heartbeat(&device.session_token, &told).await.unwrap();
    eventually("it came online", async || (events("").await.0 == ["came_online", "enrolled"]).then_some(())).await;
    let mut told = heartbeat(-20, 10);
    told.boot_id = Some("second".into());
    told.app_version = Some("1.5.0".into());
    told.unity_process_running = Some(false);
    bench.client.heartbeat(&device.session_token, &told).await.unwrap();
    let known = eventually("all of it is told", async || {
        let (kinds, page) = events("").await;
        (kinds.first().is_some_and(|kind| kind == "went_offline") && kinds.len() >= 7).then_some((kinds, page))
    })
    .await;
    for kind in ["rebooted", "agent_version_changed", "low_battery_began", "app_down_began", "went_offline"] {
        assert_eq!(known.0.iter().filter(|known| *known == kind).count(), 1, "{kind}: {:?}", known.0);
    }
    let changed = events("kind=agent_version_changed").await.1;
    assert_eq!(changed["items"][0]["detail"], json!({"before": "1.4.0", "after": "1.5.0"}));
    // Page by page, the same.
    let (mut paged, mut cursor) = (Vec::new(), String::new());
    loop {
        let (kinds, page) = events(&format!("limit=2{cursor}")).await;
        paged.extend(kinds);
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(paged, known.0);
    assert_eq!(bench.client.get(&format!("/v1/devices/{}/events?kind=x", device.device_id), Some(&bench.admin)).await.unwrap().status, 422);

    // A node that starts anew finds all of it on record.
    let mut bench = bench;
    bench.node.kill9().unwrap();
    bench.node.restart().await.unwrap();
    let client = chaos::client::Client::new(&bench.node.url()).unwrap();
    client.heartbeat(&device.session_token, &told).await.unwrap();
    let again = client.get_json(&format!("/v1/devices/{}/events", device.device_id), &bench.admin).await.unwrap();
    assert!(again["items"].as_array().unwrap().iter().filter(|event| event["kind"] == "rebooted").count() == 1, "{again}");
}

/// A device that restarts with each heartbeat has some events, and one that counts the others.
#[tokio::test]
async fn a_device_that_flaps_has_so_many_events_an_hour() {
    let bench = Bench::with(options().env("NEXMDM__DEVICE__EVENTS_PER_HOUR_MAX", "4")).await;
    let device = bench.enroll("kiosk-1").await;
    for n in 0..12 {
        let mut told = heartbeat(n * 10 - 300, 50);
        told.boot_id = Some(format!("boot {n}"));
        assert_eq!(bench.client.heartbeat(&device.session_token, &told).await.unwrap().status, 200);
        let recorded = format!("boot {n}");
        eventually("it is on record", async || (bench.sql("SELECT boot_id FROM device_condition") == recorded).then_some(())).await;
    }
    let kinds = bench
        .sql("SELECT string_agg(kind || ' ' || n, ', ' ORDER BY kind) FROM (SELECT kind, count(*) n FROM device_event GROUP BY kind) k");
    assert_eq!(kinds, "came_online 1, enrolled 1, rebooted 3");
    assert_eq!(bench.metric("nexmdm_device_events_left_out_total").await, 8.0);
}

/// A stored condition that differs from the device's is taken over, also when the database was restored.
#[tokio::test]
async fn a_refused_record_is_made_good_with_what_is_on_record() {
    let bench = Bench::start().await;
    let device = bench.enroll("kiosk-1").await;
    let tell = async |seconds: i64, boot: &str| {
        let mut told = heartbeat(seconds, 50);
        told.boot_id = Some(boot.into());
        assert_eq!(bench.client.heartbeat(&device.session_token, &told).await.unwrap().status, 200);
    };
    tell(-60, "first").await;
    eventually("it came online", async || (bench.sql("SELECT version FROM device_condition") == "2").then_some(())).await;
    bench.sql("UPDATE device_condition SET version = 1");
    tell(-40, "second").await;
    eventually("its reboot is on record", async || {
        (bench.sql("SELECT version || ' ' || boot_id FROM device_condition") == "2 second").then_some(())
    })
    .await;
    assert_eq!(bench.sql("SELECT count(*) FROM device_event WHERE kind = 'rebooted'"), "1");
}

#[tokio::test]
async fn events_of_a_later_build_are_listed_by_their_names() {
    let bench = Bench::start().await;
    let device = bench.enroll("kiosk-1").await;
    bench.sql("INSERT INTO device_event (device_id, at, kind) SELECT device_id, now() + interval '1 hour', 'was_painted' FROM device");
    let page = bench.client.get_json(&format!("/v1/devices/{}/events", device.device_id), &bench.admin).await.unwrap();
    let kinds: Vec<_> = page["items"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["was_painted", "enrolled"]);
}

/// Hours stay longer than heartbeats: a range that reaches back to where only they are left has no gap.
#[tokio::test]
async fn where_heartbeats_are_removed_their_hours_are_shown_and_stay() {
    let bench = Bench::with(options().env("NEXMDM__HISTORY__INTERVAL_SECONDS", "1")).await;
    let device = bench.enroll("kiosk-1").await;
    eventually("the week is counted", async || (bench.sql("SELECT count(*) FROM history_day").parse::<i64>().unwrap() >= 5).then_some(()))
        .await;
    fill(&bench, &device.device_id, 4);
    bench.sql("DELETE FROM history_day");
    let hours = "SELECT count(*) FROM history_hour WHERE hour_at::date = current_date - 3";
    eventually("it is counted", async || {
        (bench.sql("SELECT count(*) FROM history_day").parse::<i64>().unwrap() >= 5 && bench.sql(hours) == "24").then_some(())
    })
    .await;
    bench.sql("DO $$ BEGIN EXECUTE 'DROP TABLE heartbeats_p' || to_char(current_date - 3, 'YYYYMMDD'); END $$");
    let from = crate::common::clock(-3 * 86_400).date_naive().and_hms_opt(0, 0, 0).unwrap().and_utc();
    let query = format!("from={}&to={}", from.format("%FT%TZ"), (from + chrono::TimeDelta::hours(30)).format("%FT%TZ"));
    let path = format!("/v1/devices/{}/history?{query}", device.device_id);
    let history = bench.client.get_json(&path, &bench.admin).await.unwrap();
    let told: Vec<_> = history["points"].as_array().unwrap().iter().map(|point| point["heartbeats"].as_i64().unwrap()).collect();
    assert_eq!((told.len(), told.iter().all(|heartbeats| *heartbeats == 360)), (30, true), "{told:?}");

    bench.sql("INSERT INTO history_recount SELECT device_id, current_date - 3 FROM device");
    eventually("the note is worked off", async || (bench.sql("SELECT count(*) FROM history_recount") == "0").then_some(())).await;
    assert_eq!(bench.sql(hours), "24");
}

#[tokio::test]
async fn the_fleet_is_sampled_and_made_up_of_its_devices() {
    let bench = Bench::start().await;
    let device = bench.enroll("kiosk-1").await;
    bench.enroll("kiosk-2").await;
    bench.client.heartbeat(&device.session_token, &heartbeat(0, 45)).await.unwrap();
    let sampled = eventually("a sample", async || {
        let history = bench.client.get_json("/v1/fleet/history?hours=1", &bench.admin).await.unwrap();
        history["samples"].as_array().unwrap().first().cloned()
    })
    .await;
    assert!(sampled["devices"].is_number() && sampled["at"].is_string());
    eventually("both are counted", async || {
        let made_up = bench.client.get_json("/v1/fleet/distributions", &bench.admin).await.unwrap();
        (made_up["battery"][2] == json!({"from_pct": 40, "to_pct": 59, "devices": 1}) && made_up["battery_unknown"] == 1).then_some(())
    })
    .await;
    assert_eq!(bench.client.get("/v1/fleet/history?hours=0", Some(&bench.admin)).await.unwrap().status, 422);
}
