//! Updates of the agent in the dashboard: a build is added, promoted, widened, nudged and rolled back; a halted one says why.

use serde_json::json;
use uuid::Uuid;

use super::chromium::Chromium;
use crate::common::{Bench, eventually, heartbeat};

/// An APK of the agent, as if it had been uploaded.
fn apk(bench: &Bench, version_code: i64) {
    let id = Uuid::now_v7();
    bench.sql(&format!(
        "INSERT INTO managed_package VALUES ('com.nexmdm', ARRAY[repeat('a', 64)], '', 'test', now()) ON CONFLICT DO NOTHING;
         INSERT INTO apk (apk_id, package, version_code, version_name, label, sha256, size_bytes, signers_sha256, uploaded_by, uploaded_at)
         VALUES ('{id}', 'com.nexmdm', {version_code}, '1.0.{version_code}', 'Agent', repeat('b', 64), 8500000, ARRAY[repeat('a', 64)], 'test', now())"
    ));
}

#[tokio::test]
async fn a_build_is_added_promoted_widened_nudged_and_rolled_back() {
    let bench = Bench::start().await;
    for n in 0..8 {
        let device = bench.enroll(&format!("kiosk-{n}")).await;
        let mut beat = heartbeat(0, 80);
        beat.agent_version_code = Some(wire::lenient::Int(140));
        assert_eq!(bench.client.heartbeat(&device.session_token, &beat).await.unwrap().status, 200);
    }
    let chromium = Chromium::start().await;
    chromium.sign_in(&bench.node.url(), "admin", bench.node.admin_password()).await;
    chromium.click("[data-testid=nav-agent-updates]").await;
    chromium.says("[data-testid=empty-state]", "No builds yet").await;
    chromium.look("agent-updates-empty").await;
    chromium.mark().await;

    // Nothing to add yet, then something.
    chromium.click("[data-testid=add-build]").await;
    chromium.says("dialog [data-testid=empty-state]", "No APK to add").await;
    chromium.keys(&fantoccini::key::Key::Escape.to_string()).await;
    chromium.gone("dialog[open]").await;
    apk(&bench, 150);
    chromium.click("[data-testid=add-build]").await;
    chromium.fill("dialog textarea[name=release_notes]", "Reconnects sooner").await;
    chromium.assert_sound("the dialog that adds a build").await;
    chromium.click("dialog [data-testid=submit]").await;
    let row = "[data-testid=build-row][data-version='150']";
    chromium.says(&format!("{row} [data-testid=build-state]"), "Draft").await;

    // What is out of its limits is said at its field; the number of devices follows what is typed.
    chromium.click(&format!("{row} [data-testid=promote]")).await;
    chromium.shown("dialog[open]").await;
    chromium.fill("dialog input[name=rollout_percent]", "101").await;
    chromium.click("dialog [data-testid=submit]").await;
    chromium.says("[data-testid=error-rollout_percent]", "outside 1..100").await;
    chromium.fill("dialog input[name=rollout_percent]", "100").await;
    chromium.says("[data-testid=cohort-count]", "8 devices in this cohort, 8 online now, 8 run an older version").await;
    chromium.assert_sound("the dialog that promotes a build").await;
    chromium.picture("dialog-promote-build").await;
    chromium.fill("dialog input[name=rollout_percent]", "1").await;
    chromium.click("dialog input[name=must_install]").await;
    chromium.fill("dialog input[name=min_battery]", "35").await;
    chromium.click("dialog [data-testid=submit]").await;
    chromium.says(&format!("{row} [data-testid=build-state]"), "Promoted, 1 %").await;
    let stored = "SELECT rollout_percent, wifi_only, must_install, min_battery_pct FROM agent_build";
    assert_eq!(bench.sql(stored), "1|t|t|35");

    // Wider asks first, and going back changes nothing.
    chromium.click(&format!("{row} [data-testid=rollout]")).await;
    chromium.fill("dialog input[name=rollout_percent]", "100").await;
    chromium.click("dialog [data-testid=submit]").await;
    chromium.says("dialog", "more device").await;
    chromium.assert_sound("the dialog that asks before widening").await;
    assert_eq!(bench.sql("SELECT rollout_percent FROM agent_build"), "1");
    chromium.click("dialog [data-testid=confirm]").await;
    chromium.says(&format!("{row} [data-testid=build-state]"), "Promoted, 100 %").await;
    chromium.says(&format!("{row} [data-testid=build-cohort]"), "offered to 8 devices, 8 online, 8 behind").await;

    // Some of it becomes of it; the page tells by itself.
    bench.sql("INSERT INTO agent_update_stat SELECT build_id, date_trunc('hour', now()), 12345, 8000, 7000, 6000, 50, 0 FROM agent_build");
    chromium.says("[data-testid=build-stats] [data-testid=stat-checks]", "12,345").await;
    eventually("the plot", async || {
        let points = chromium.script("return document.querySelector('[data-testid=adoption]')?.dataset.points").await;
        points.as_str().filter(|points| *points != "0").map(|_| ())
    })
    .await;
    chromium.look("agent-updates").await;

    chromium.click(&format!("{row} [data-testid=nudge]")).await;
    chromium.says("[data-testid=nudge-plan]", "8 devices that are offered this build run an older version, 8 of them online").await;
    chromium.assert_sound("the dialog that nudges").await;
    chromium.click("dialog [data-testid=confirm]").await;
    chromium.says("[data-testid=batch-title]", "8 devices").await;
    assert_eq!(bench.sql("SELECT count(*) FROM command WHERE action = 'update'"), "8");

    chromium.click("[data-testid=nav-agent-updates]").await;
    chromium.click(&format!("{row} [data-testid=roll-back]")).await;
    chromium.says("dialog", "Android does not downgrade in place").await;
    chromium.click("dialog [data-testid=confirm]").await;
    chromium.says(&format!("{row} [data-testid=build-state]"), "Rolled back").await;

    // One that was halted says why.
    bench.sql("UPDATE agent_build SET state = 'halted', halt_reason = 'verify_failures', judged_verify_failures = 3");
    chromium.says(&format!("{row} [data-testid=build-halted]"), "signature verification failed on 3 devices").await;
    chromium.assert_sound("the page with a halted build").await;
    chromium.assert_not_reloaded().await;

    // A viewer sees it all and changes nothing.
    let body = json!({"username": "eve", "password": "a long enough password", "role": "viewer"});
    assert_eq!(bench.client.post("/v1/users", Some(&bench.admin), &body).await.unwrap().status, 201);
    let visitor = Chromium::start().await;
    visitor.sign_in(&bench.node.url(), "eve", "a long enough password").await;
    visitor.click("[data-testid=nav-agent-updates]").await;
    visitor.says(&format!("{row} [data-testid=build-halted]"), "signature verification failed").await;
    assert!(visitor.text("[data-testid=add-build], [data-testid=promote], [data-testid=roll-back]").await.is_none());
}
