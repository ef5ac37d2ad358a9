//! Settings of rules: which scope wins, what they would mean, what is nonsense.

use chaos::http::Call;
use hyper::Method;
use serde_json::{Value, json};

use super::{beat, ctl, quick};
use crate::common::{Bench, eventually};

async fn put(bench: &Bench, rule: &str, body: &Value) -> chaos::http::Answer {
    let path = format!("/v1/alert-rules/{rule}");
    let call = Call::post(&path, body.to_string()).method(Method::PUT).content_type("application/json").bearer(&bench.admin);
    bench.client.send(call).await.unwrap()
}

#[tokio::test]
async fn the_most_specific_setting_holds_and_says_where_it_comes_from() {
    let bench = Bench::with(quick()).await;
    let (kiosk, hall) = (bench.enroll("kiosk").await, bench.enroll("hall").await);
    beat(&bench, &kiosk, 1, 25, true).await;
    beat(&bench, &hall, 1, 25, true).await;

    let wanted = json!({"scope": {"kind": "device", "value": kiosk.device_id}, "thresholds": {"raise_below_pct": 30, "clear_at_pct": 40}});
    let preview = bench.client.post("/v1/alert-rules/low_battery/preview", Some(&bench.admin), &wanted).await.unwrap().json();
    assert_eq!((&preview["firing"], &preview["firing_now"], &preview["judged"]), (&json!(1), &json!(0), &json!(2)), "{preview}");
    assert_eq!((&preview["devices"][0]["alias"], preview["devices"].as_array().unwrap().len()), (&json!("kiosk"), 1));
    let before = bench.client.get_json("/v1/alert-rules/low_battery", &bench.admin).await.unwrap();
    assert_eq!(before["settings"], json!([]), "a preview changes nothing");

    let set = put(&bench, "low_battery", &wanted).await;
    assert_eq!(set.status, 200, "{}", set.detail());
    assert_eq!(set.json()["settings"][0]["scope"], json!({"kind": "device", "value": kiosk.device_id}));
    let rules = bench.client.get_json(&format!("/v1/devices/{}/alert-rules", kiosk.device_id), &bench.admin).await.unwrap();
    let low_battery = rules["items"].as_array().unwrap().iter().find(|rule| rule["rule"] == "low_battery").unwrap();
    assert_eq!((&low_battery["thresholds"][0]["value"], &low_battery["thresholds"][0]["from"]), (&json!(30), &json!("this device")));

    // It holds wherever it is judged, also of what was reported before.
    let path = "/v1/alerts?state=firing&rule=low_battery";
    let fired = eventually("it fires", async || {
        bench.client.get_json(path, &bench.admin).await.unwrap()["items"].as_array().unwrap().first().cloned()
    });
    assert_eq!(fired.await["subject"]["name"], "kiosk");
    let (ok, out) = ctl(&bench, &["alerts", "rules", "reset", "low_battery", "--device", "kiosk"]);
    assert!(ok, "{out}");
    let rule = bench.client.get_json("/v1/alert-rules/low_battery", &bench.admin).await.unwrap();
    assert_eq!((&rule["settings"], &rule["fired_30d"]), (&json!([]), &json!(1)));
}

#[tokio::test]
async fn nonsense_is_refused_by_field_problem_and_limit() {
    let bench = Bench::with(quick()).await;
    for (rule, body, field) in [
        ("low_battery", json!({}), "body"),
        ("low_battery", json!({"thresholds": {"raise_below_pct": 0}}), "thresholds.raise_below_pct"),
        ("low_battery", json!({"thresholds": {"volts": 3}}), "thresholds.volts"),
        ("low_battery", json!({"thresholds": {"raise_below_pct": 90}}), "thresholds.clear_at_pct"),
        ("low_battery", json!({"scope": {"kind": "group"}, "enabled": false}), "scope.value"),
        ("low_battery", json!({"scope": {"kind": "planet", "value": "x"}, "enabled": false}), "scope.kind"),
        (
            "low_battery",
            json!({"scope": {"kind": "device", "value": "00000000-0000-7000-8000-000000000000"}, "enabled": false}),
            "scope.value",
        ),
        ("low_battery", json!({"severity": "loud"}), "severity"),
        ("disk_low", json!({"scope": {"kind": "group", "value": "north"}, "enabled": false}), "scope"),
    ] {
        let refused = put(&bench, rule, &body).await;
        assert_eq!((refused.status, &refused.json()["field"]), (422, &json!(field)), "{rule} {body}: {}", refused.detail());
    }
    let silence = |ends_at: &str| json!({"matcher": {"groups": ["north"]}, "reason": "move", "ends_at": ends_at});
    for (path, body, field) in [
        ("/v1/silences", silence("2020-01-01T00:00:00Z"), "ends_at"),
        ("/v1/silences", silence("2200-01-01T00:00:00Z"), "ends_at"),
        ("/v1/silences", json!({"matcher": {}, "reason": "move", "duration_seconds": 60}), "matcher"),
        ("/v1/silences", json!({"matcher": {"rules": ["nonsense"]}, "reason": "move", "duration_seconds": 60}), "matcher.rules[0]"),
        ("/v1/silences", json!({"matcher": {"groups": ["x"]}, "reason": " ", "duration_seconds": 60}), "reason"),
        (
            "/v1/alert-windows",
            json!({"matcher": {"groups": ["x"]}, "reason": "r", "weekdays": [], "start": "01:00", "end": "02:00", "tz": "UTC"}),
            "weekdays",
        ),
        (
            "/v1/alert-windows",
            json!({"matcher": {"groups": ["x"]}, "reason": "r", "weekdays": ["mon"], "start": "25:00", "end": "02:00", "tz": "UTC"}),
            "start",
        ),
        ("/v1/alerts/acknowledge", json!({"ids": []}), "ids"),
        ("/v1/alerts/acknowledge", json!({"ids": ["kiosk"]}), "ids[0]"),
        ("/v1/alert-routes", json!({"channel_id": "00000000-0000-7000-8000-000000000000"}), "channel_id"),
    ] {
        let refused = bench.client.post(path, Some(&bench.admin), &body).await.unwrap();
        assert_eq!((refused.status, &refused.json()["field"]), (422, &json!(field)), "{path} {body}: {}", refused.detail());
    }
}

#[tokio::test]
async fn failed_commands_in_a_row_fire_and_a_success_resolves() {
    let bench = Bench::with(quick()).await;
    let device = bench.enroll("kiosk").await;
    let end = async |outcome: &str| {
        let path = format!("/v1/devices/{}/commands", device.device_id);
        let made = bench.client.post(&path, Some(&bench.admin), &json!({"action": "ping", "params": {}})).await.unwrap();
        assert_eq!(made.status, 201, "{}", made.detail());
        let result = json!({"request_id": made.json()["request_id"], "outcome": outcome});
        let taken = bench.client.post("/v1/action-result", Some(&device.session_token), &result).await.unwrap();
        assert_eq!(taken.status, 200, "{}", taken.detail());
    };
    let alert = async |state: &str| {
        let path = format!("/v1/alerts?state={state}&rule=command_failures");
        eventually(&path, async || bench.client.get_json(&path, &bench.admin).await.unwrap()["items"].as_array().unwrap().first().cloned())
            .await
    };
    for _ in 0..3 {
        end("failed").await;
    }
    assert_eq!(alert("firing").await["reason"], "3 failed commands in a row, limit 3");
    end("success").await;
    assert_eq!(alert("resolved").await["subject"]["name"], "kiosk");
}
