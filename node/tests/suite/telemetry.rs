//! Readings of heartbeats: from the device into the store, the API, the export and the history.

use domain::telemetry::{FIELDS, Storage};
use serde_json::{Value, json};

use crate::common::{Bench, options};

/// A heartbeat of now with every reading that there is.
fn full() -> Value {
    let mut full: Value = serde_json::from_str(include_str!("../../../actors/wire/fixtures/heartbeat-full.json")).unwrap();
    full.as_object_mut().unwrap().remove("timestamp_utc");
    full
}

#[tokio::test]
async fn every_reading_is_stored_shown_and_exported() {
    let opt_in: Vec<_> = FIELDS.iter().filter_map(|field| field.opt_in).collect();
    let mut bench = Bench::with(options().env("NEXMDM__TELEMETRY__OPT_IN", opt_in.join(","))).await;
    let device = bench.enroll("kiosk").await;
    let answer = bench.client.post("/v1/heartbeat", Some(&device.session_token), &full()).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.detail());
    let path = format!("/v1/devices/{}", device.device_id);
    let shown = bench.client.get_json(&path, &bench.admin).await.unwrap();
    let history = bench.client.get_json(&format!("{path}/history"), &bench.admin).await.unwrap();
    let export = bench.client.get("/v1/devices/export.csv", Some(&bench.admin)).await.unwrap();
    let export = String::from_utf8(export.body.to_vec()).unwrap();
    let mut lines = export.lines().map(|line| line.trim_matches('"').split("\",\"").collect::<Vec<_>>());
    let (head, row) = (lines.next().unwrap(), lines.next().unwrap());
    // A node alone reads narrow rows, so it writes one.
    assert_eq!(bench.sql("SELECT received_at IS NULL AND session_id IS NOT NULL FROM heartbeats"), "t");
    for field in FIELDS {
        let (name, stored) = (field.name, |table: &str, what: String| bench.sql(&format!("SELECT count(*) FROM {table} WHERE {what}")));
        match field.storage {
            Storage::column(column) => {
                assert_eq!(stored("heartbeats_unpacked", format!("{column} IS NOT NULL")), "1", "{name}");
                assert_eq!(stored("device_last_status", format!("{column} IS NOT NULL")), "1", "{name}");
            }
            Storage::status(column) => assert_eq!(stored("device_last_status", format!("{column} IS NOT NULL")), "1", "{name}"),
            Storage::detail(key) => assert_eq!(stored("device_last_status", format!("details ? '{key}'")), "1", "{name}"),
        }
        assert_eq!(field.in_api, !shown["last"][name].is_null(), "{name}: {shown}");
        if field.csv.is_some() {
            let at = head.iter().position(|column| *column == name).unwrap_or_else(|| panic!("no column {name}: {head:?}"));
            assert!(!row[at].is_empty(), "{name}: {row:?}");
        }
        if field.plotted && field.kind != "bool" {
            assert!(history["points"].as_array().unwrap().iter().any(|point| !point[name].is_null()), "{name}: {history}");
        }
    }
    bench.node.restart().await.unwrap();
    assert_eq!(bench.client.get_json(&path, &bench.admin).await.unwrap(), shown, "read back");
}

#[tokio::test]
async fn a_position_is_dropped_unless_it_is_configured() {
    let position =
        |bench: &Bench| bench.sql("SELECT count(*) FROM device_last_status WHERE details::text LIKE '%52.52%' OR details ? 'location_at'");
    let bench = Bench::start().await;
    let device = bench.enroll("kiosk").await;
    let outside = json!({"location": {"lat": 91, "lon": 13.4}});
    for heartbeat in [full(), outside.clone()] {
        let answer = bench.client.post("/v1/heartbeat", Some(&device.session_token), &heartbeat).await.unwrap();
        assert_eq!(answer.status, 200, "what is not kept is not checked either: {}", answer.detail());
        let shown = bench.client.get_json(&format!("/v1/devices/{}", device.device_id), &bench.admin).await.unwrap();
        assert_eq!(shown["last"]["unusable"], json!([]), "nor shown");
    }
    assert_eq!(position(&bench), "0");
    let shown = bench.client.get_json(&format!("/v1/devices/{}", device.device_id), &bench.admin).await.unwrap();
    assert!(shown["last"]["location_lat"].is_null() && shown["last"]["cpu_load_pct"] == 37, "{shown}");

    let bench = Bench::with(options().env("NEXMDM__TELEMETRY__OPT_IN", "location")).await;
    let device = bench.enroll("kiosk").await;
    let answer = bench.client.post("/v1/heartbeat", Some(&device.session_token), &outside).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.detail());
    let shown = bench.client.get_json(&format!("/v1/devices/{}", device.device_id), &bench.admin).await.unwrap();
    assert_eq!((&shown["last"]["location_lat"], &shown["last"]["unusable"][0]["field"]), (&Value::Null, &json!("location.lat")));
    assert_eq!(bench.client.post("/v1/heartbeat", Some(&device.session_token), &full()).await.unwrap().status, 200);
    assert_eq!(position(&bench), "1");
    let shown = bench.client.get_json(&format!("/v1/devices/{}", device.device_id), &bench.admin).await.unwrap();
    assert_eq!(
        (&shown["last"]["location_lon"], &shown["last"]["location_accuracy_m"], &shown["last"]["location_at"]),
        (&json!(13.404954), &json!(12.5), &json!("2026-11-21T15:36:02.000Z"))
    );
}
