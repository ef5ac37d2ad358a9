//! Every filter of the table in every face: the API's list, CSV, `nexmdm ctl`, saved filters, batches and their audit entries. The
//! dashboard's address and form are in `browser/devices.rs`.

use std::process::Command;

use domain::query::{FilterKey, FilterValue};
use serde_json::{Value, json};
use wire::lenient::Int;

use crate::common::{Bench, clock, heartbeat_at};

/// A value for each filter, and the only device that matches it.
const CASES: [(FilterKey, &str, &str); 11] = [
    (FilterKey::Text, "KIOSK", "kiosk"),
    (FilterKey::Connectivity, "never_seen", "depot"),
    (FilterKey::BatteryBelow, "20", "kiosk"),
    (FilterKey::StorageBelow, "500", "kiosk"),
    (FilterKey::AppStatus, "down", "kiosk"),
    (FilterKey::Tag, "till", "kiosk"),
    (FilterKey::Group, "berlin", "kiosk"),
    (FilterKey::AppVersion, "1.4.0", "kiosk"),
    (FilterKey::Identity, "ghost", "depot"),
    (FilterKey::Alert, "storage_low", "kiosk"),
    (FilterKey::Model, "Joy 2", "kiosk"),
];

/// `kiosk` is low on everything, `hall` is not, `depot` was never heard from.
async fn fleet() -> Bench {
    let bench = Bench::start().await;
    for (alias, labels, battery_pct, version, storage_free_mb) in
        [("kiosk", json!(["till", "berlin"]), 15, "1.4.0", 400), ("hall", json!(["desk", "rome"]), 90, "2.0.0", 5000)]
    {
        let wanted = json!({"alias": alias, "tags": [labels[0]], "groups": [labels[1]]});
        let token: Value = bench.client.post("/v1/enroll-tokens", Some(&bench.admin), &wanted).await.unwrap().json();
        let model = json!({"model": if alias == "kiosk" { "Joy 2" } else { "M 7" }});
        let device: Value = bench.client.post("/v1/register", token["tokens"][0]["token"].as_str(), &model).await.unwrap().json();
        let mut told = heartbeat_at(clock(0), battery_pct);
        told.app_version = Some(version.into());
        told.storage_free_mb = Some(Int(storage_free_mb));
        told.unity_process_running = Some(alias == "hall");
        let sent = bench.client.post("/v1/heartbeat", device["device_token"].as_str(), &json!(told)).await.unwrap();
        assert_eq!(sent.status, 200, "{}", sent.detail());
    }
    bench.enroll("depot").await;
    bench.sql("UPDATE device SET enrolled_at = enrolled_at - interval '2 days' WHERE alias = 'depot'");
    bench
}

/// JSON output of `nexmdm ctl`.
fn ctl(bench: &Bench, arguments: &[&str]) -> Value {
    let out = Command::new(env!("CARGO_BIN_EXE_nexmdm"))
        .args(["ctl", "-o", "json"])
        .args(arguments)
        .env("NEXMDM_SERVER", bench.node.url())
        .env("NEXMDM_TOKEN", &bench.admin)
        .output()
        .unwrap();
    assert!(out.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

#[tokio::test]
async fn every_filter_finds_the_same_devices_in_every_face() {
    assert!(FilterKey::ALL.iter().all(|key| CASES.iter().any(|(tried, ..)| tried == key)), "a filter has no case here");
    let bench = fleet().await;
    let aliases = |list: &Value| list.as_array().unwrap().iter().map(|device| device["alias"].clone()).collect::<Vec<_>>();
    for (key, text, found) in CASES {
        let spec = key.spec();
        let query = format!("{}={}", spec.name, text.replace(' ', "%20"));
        let listed = bench.client.get_json(&format!("/v1/devices?{query}"), &bench.admin).await.unwrap();
        assert_eq!(aliases(&listed["items"]), [found], "{query}");

        let table = bench.client.get(&format!("/v1/devices/export.csv?{query}"), Some(&bench.admin)).await.unwrap();
        let table = String::from_utf8(table.body.to_vec()).unwrap();
        assert!(table.lines().count() == 2 && table.contains(&format!("\"{found}\"")), "{query}: {table}");

        let flag = format!("--{}", spec.name.replace('_', "-"));
        assert_eq!(aliases(&ctl(&bench, &["devices", "list", &flag, text])), [found], "{flag}");
        let plan = ctl(&bench, &["batches", "create", "ping", &flag, text, "--dry-run"]);
        assert_eq!(plan["devices"], 1, "{plan}");

        let value = match spec.parse(text).unwrap() {
            FilterValue::Text(text) => json!(text),
            FilterValue::Number(number) => json!(number),
        };
        let filter = json!({spec.name: value});
        let saved = json!({"name": spec.name, "filter": filter});
        let saved = bench.client.post("/v1/filters", Some(&bench.admin), &saved).await.unwrap();
        assert_eq!((saved.status, &saved.json()["filter"]), (201, &filter));
        let kept = bench.client.get_json(&format!("/v1/filters/{}", saved.json()["id"].as_str().unwrap()), &bench.admin).await.unwrap();
        assert_eq!(kept["filter"], filter);

        let batch = json!({"action": "ping", "target": {"filter": filter}});
        let made = bench.client.post("/v1/command-batches", Some(&bench.admin), &batch).await.unwrap();
        assert_eq!((made.status, &made.json()["devices"]), (201, &json!(1)), "{}", made.detail());
        let trail = |action: &str| format!("/v1/audit?limit=1&action={action}");
        let newest = async |action: &str| bench.client.get_json(&trail(action), &bench.admin).await.unwrap()["items"][0].clone();
        assert_eq!(newest("filter.saved").await["after"]["filter"], filter);
        assert_eq!(newest("command_batch.sent").await["after"]["target"]["filter"], json!({spec.name: text}));
    }
}
