//! The way from an empty fleet to the first device, as the overview tells it.

use serde_json::{Value, json};

use super::chromium::Chromium;
use crate::common::{Bench, eventually, heartbeat};

#[tokio::test]
async fn the_first_steps_tick_themselves_off() {
    let bench = Bench::start().await;
    let chromium = Chromium::start().await;
    chromium.sign_in(&bench.node.url(), "admin", bench.node.admin_password()).await;
    chromium.mark().await;
    let state = async |step: u32| {
        chromium.script(&format!("return document.querySelector('[data-testid=step-{step}]')?.dataset.state ?? null")).await
    };
    let becomes = async |step: u32, wanted: &str| {
        eventually(&format!("step {step} is {wanted}"), async || (state(step).await == wanted).then_some(())).await;
    };
    becomes(1, "now").await;
    assert_eq!([state(2).await, state(3).await], ["ahead", "ahead"]);

    let made: Value = bench.client.post("/v1/enroll-tokens", Some(&bench.admin), &json!({})).await.unwrap().json();
    becomes(1, "done").await;
    becomes(2, "now").await;
    let token = made["tokens"][0]["token"].as_str();
    let device: Value = bench.client.post("/v1/register", token, &json!({"alias": "the-first"})).await.unwrap().json();
    becomes(2, "done").await;
    becomes(3, "now").await;
    chromium.picture("first-steps").await;
    let sent = bench.client.post("/v1/heartbeat", device["device_token"].as_str(), &heartbeat(0, 80)).await.unwrap();
    assert_eq!(sent.status, 200, "{}", sent.detail());
    becomes(3, "done").await;
    chromium.says("[data-testid=first-steps-progress]", "All three steps are completed").await;
    chromium.assert_sound("the finished first steps").await;
    chromium.click("[data-testid=first-steps-done]").await;
    chromium.says("[data-testid=stat-online] .stat-value", "1").await;
    chromium.assert_not_reloaded().await;

    // The tiles lead to what they count.
    for (tile, query) in [
        ("online", "status=online"),
        ("offline", "status=offline"),
        ("never-seen", "status=never_seen"),
        ("low-battery", "status=online&battery_below=15"),
        ("app-down", "status=online&app=down"),
    ] {
        let href = chromium.script(&format!("return document.querySelector('[data-testid=stat-{tile}]').getAttribute('href')")).await;
        assert_eq!(href, format!("/devices?{query}"));
    }
}
