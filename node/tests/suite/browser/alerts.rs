//! The pages about alerts: what is open is acknowledged and silenced, rules are set after a preview, channels are tested, routes made.

use chaos::sink::AlertSinks;
use serde_json::json;

use super::chromium::Chromium;
use super::fleet::{alerts, large};
use crate::common::{Bench, eventually, options};

async fn open(chromium: &Chromium, bench: &Bench, path: &str) {
    chromium.goto(&format!("{}{path}", bench.node.url())).await;
    chromium.live().await;
}

#[tokio::test]
async fn alerts_are_seen_filtered_acknowledged_and_silenced() {
    let mut bench = Bench::with(options()).await;
    large(&mut bench, 200).await;
    alerts(&bench);
    let chromium = Chromium::start().await;
    chromium.sign_in(&bench.node.url(), "admin", bench.node.admin_password()).await;

    // The number stands in the navigation and before the title.
    chromium.shown("[data-testid=open-alerts]").await;
    eventually("a title with the number", async || {
        let title = chromium.script("return document.title").await;
        (title.as_str()?.starts_with('(')).then_some(())
    })
    .await;
    chromium.click("[data-testid=nav-alerts]").await;
    let failing = "[data-testid=alert-row][data-rule=command_failures]";
    open(&chromium, &bench, "/alerts?rule=command_failures").await;
    chromium.shown(failing).await;
    chromium.look("alerts").await;

    // Live: one more appears by itself, first.
    chromium.mark().await;
    bench.sql(
        "INSERT INTO alert SELECT gen_random_uuid(), 0, 'command_failures', 'device', device_id::text, 'the-newest-one', ARRAY['north'], ARRAY[]::text[],
             'warning', 'firing', '3 commands in a row have failed', now(), NULL, NULL, NULL, NULL, NULL, 1
         FROM device WHERE device_id::text NOT IN (SELECT subject_id FROM alert WHERE rule = 'command_failures') ORDER BY alias LIMIT 1",
    );
    chromium.says("[data-testid=alert-row]", "the-newest-one").await;
    chromium.assert_not_reloaded().await;

    // Two are chosen and acknowledged with a note.
    for nth in [1, 2] {
        chromium.click(&format!("[data-testid=alert-row]:nth-child({nth}) [data-testid=select-alert]")).await;
        chromium.says("[data-testid=alert-bulk]", &format!("{nth} selected")).await;
    }
    chromium.click("[data-testid=acknowledge-selected]").await;
    chromium.shown("dialog[open]").await;
    chromium.look("alerts-acknowledge").await;
    chromium.fill("dialog input[name=note]", "Driving there").await;
    chromium.click("[data-testid=submit]").await;
    chromium.says("[data-testid=toasts]", "Acknowledged 2 alerts").await;
    chromium.says("[data-testid=alert-bulk]", "Select all on this page").await;
    chromium.click("[data-testid=state-acknowledged]").await;
    chromium.says("[data-testid=alert-row]", "acknowledged by admin: Driving there").await;
    assert_eq!(bench.sql("SELECT count(*) FROM alert WHERE acknowledged_by = 'admin' AND acknowledged_note = 'Driving there'"), "2");

    // One alert, with its history, silenced for the group from there.
    open(&chromium, &bench, "/alerts?rule=command_failures&group=north").await;
    chromium.click("[data-testid=alert-row] [data-testid=open-alert]").await;
    chromium.shown("[data-testid=alert-history]").await;
    chromium.look("alert").await;
    chromium.click("[data-testid=silence]").await;
    chromium.shown("dialog[open] input[name=scope]").await;
    chromium.look("alert-silence").await;
    // What was chosen stays when something else is refused.
    let hours = "const choice = document.querySelector('dialog select'); choice.value = '14400'; choice.dispatchEvent(new Event('change', { bubbles: true }))";
    chromium.script(hours).await;
    chromium.click("[data-testid=submit]").await;
    chromium.says("[data-testid=error-reason]", "missing").await;
    chromium.script("document.querySelectorAll('dialog input[name=scope]')[2].click()").await;
    chromium.fill("dialog input[name=reason]", "Renovation").await;
    chromium.click("[data-testid=submit]").await;
    chromium.says("[data-testid=toasts]", "Silenced for 4 h: Commands failing, group north").await;

    // By rule, and everything over.
    open(&chromium, &bench, "/alerts?by=rule").await;
    chromium.shown("[data-testid=alert-group][data-rule=command_failures]").await;
    chromium.look("alerts-by-rule").await;
    // The groups of the devices, and the way to the alerts of one.
    chromium.click("[data-testid=by-group]").await;
    chromium.shown("[data-testid=alert-together]").await;
    chromium.look("alerts-by-group").await;
    chromium.click("[data-testid=alert-together] [data-testid=open-together]").await;
    chromium.shown("[data-testid=alert-row]").await;
    open(&chromium, &bench, "/alerts?by=subject&rule=command_failures").await;
    chromium.says("[data-testid=alert-together]", "1 alert").await;
    open(&chromium, &bench, "/alerts?by=rule").await;
    chromium.click("[data-testid=alert-group][data-rule=command_failures] [data-testid=open-group]").await;
    chromium.shown(failing).await;
    open(&chromium, &bench, "/alerts?state=resolved&rule=archive_failed").await;
    chromium.says("[data-testid=alert-row]", "resolved").await;
    chromium.look("alerts-history").await;
    let csv =
        chromium.script("return fetch(document.querySelector('[data-testid=export-alerts]').href).then((answer) => answer.text())").await;
    let csv = csv.as_str().unwrap();
    assert!(csv.starts_with("\"id\"") && csv.lines().skip(1).all(|line| line.contains("\"archive_failed\"")), "{csv}");

    // What was silenced is on its own page, and ended there.
    open(&chromium, &bench, "/alerts/silences").await;
    chromium.says("[data-testid=silence-row]", "Renovation").await;
    chromium.look("silences").await;
    chromium.click("[data-testid=end-silence]").await;
    chromium.click("[data-testid=confirm]").await;
    chromium.says("[data-testid=toasts]", "Ended the silence").await;
    chromium.gone("[data-testid=silence-row]").await;
}

#[tokio::test]
async fn silences_and_windows_are_made_by_their_forms() {
    let bench = Bench::start().await;
    bench.enroll("kiosk-1").await;
    let chromium = Chromium::start().await;
    chromium.sign_in(&bench.node.url(), "admin", bench.node.admin_password()).await;
    open(&chromium, &bench, "/alerts/silences").await;
    chromium.click("[data-testid=add-silence]").await;
    chromium.shown("dialog[open]").await;
    chromium.look("silence-form").await;
    chromium.fill("dialog input[name=reason]", "Move").await;
    chromium.click("[data-testid=submit]").await;
    chromium.says("[data-testid=form-error]", "match every alert").await;
    chromium.fill("dialog input[name='matcher.devices']", "kiosk-9").await;
    chromium.click("[data-testid=submit]").await;
    chromium.says("[data-testid='error-matcher.devices']", "no device is called kiosk-9").await;
    chromium.fill("dialog input[name='matcher.devices']", "kiosk-1").await;
    chromium.click("[data-testid=submit]").await;
    chromium.says("[data-testid=silence-matcher]", "device kiosk-1").await;

    chromium.click("[data-testid=add-window]").await;
    chromium.shown("dialog[open] input[name=start]").await;
    chromium.click("dialog input[name='matcher.rules'][value=device_offline]").await;
    chromium.script("for (const [name, value] of [['start', '22:00'], ['end', '06:00']]) { const field = document.querySelector(`dialog input[name=${name}]`); field.value = value; field.dispatchEvent(new Event('input', { bubbles: true })); }").await;
    chromium.fill("dialog input[name=reason]", "Shops are closed").await;
    chromium.look("window-form").await;
    chromium.click("[data-testid=submit]").await;
    chromium.says("[data-testid=window-hours]", "every day 22:00-06:00").await;
    chromium.click("[data-testid=remove-window]").await;
    chromium.click("[data-testid=confirm]").await;
    chromium.gone("[data-testid=window-row]").await;
}

#[tokio::test]
async fn a_rule_is_set_for_a_group_after_a_preview_and_reset() {
    let mut bench = Bench::with(options()).await;
    large(&mut bench, 200).await;
    let chromium = Chromium::start().await;
    chromium.sign_in(&bench.node.url(), "admin", bench.node.admin_password()).await;
    open(&chromium, &bench, "/alerts/rules").await;
    chromium.says("[data-testid=rule-row][data-rule=low_battery]", "raise below 15 %").await;
    chromium.look("rules").await;
    chromium.click("[data-testid=rule-row][data-rule=low_battery] [data-testid=open-rule]").await;
    chromium.shown("[data-testid=rule-preview]").await;
    chromium.look("rule").await;
    chromium.click("[data-testid=set-rule]").await;
    chromium.shown("dialog[open]").await;
    chromium.look("rule-form").await;
    let choose = "const choice = document.querySelector('dialog select[name=scope]'); choice.value = 'group'; choice.dispatchEvent(new Event('change', { bubbles: true }))";
    chromium.script(choose).await;
    chromium.click("[data-testid=submit]").await;
    chromium.says("[data-testid='error-scope.value']", "missing").await;
    chromium.fill("dialog input[name='scope.value']", "berlin").await;
    chromium.fill("dialog input[name='thresholds.raise_below_pct']", "60").await;
    chromium.click("[data-testid=submit]").await;
    chromium.says("[data-testid='error-thresholds.clear_at_pct'], [data-testid=form-error]", "less than").await;
    chromium.fill("dialog input[name='thresholds.clear_at_pct']", "70").await;
    chromium.click("[data-testid=submit]").await;
    chromium.says("dialog [data-testid=rule-preview]", "Would fire for").await;
    chromium.look("rule-preview").await;
    assert_eq!(bench.sql("SELECT count(*) FROM alert_rule_setting"), "0", "a preview saves nothing");
    chromium.click("[data-testid=save-rule]").await;
    chromium.says("[data-testid=setting-row]", "raise below 60 %, clear at 70 %").await;

    // Which of them wins for a device.
    let alias = bench.sql("SELECT alias FROM device WHERE 'berlin' = ANY (groups) ORDER BY alias LIMIT 1");
    chromium.fill("[data-testid=rule-device]", &alias).await;
    chromium.keys("\u{e007}").await;
    chromium.says("section:has(#for-device-title) [data-testid=effective]", "60 % (group berlin)").await;
    chromium.click("[data-testid=reset-setting]").await;
    chromium.click("[data-testid=confirm]").await;
    chromium.gone("[data-testid=setting-row]").await;
}

#[tokio::test]
async fn a_channel_is_made_tested_and_led_to() {
    let sinks = AlertSinks::start().await.unwrap();
    let bench = Bench::with(options().env("NEXMDM__ALERTS__ALLOW_PRIVATE_TARGETS", "true")).await;
    let chromium = Chromium::start().await;
    chromium.sign_in(&bench.node.url(), "admin", bench.node.admin_password()).await;
    open(&chromium, &bench, "/alerts/channels").await;
    chromium.shown("[data-testid=empty-state]").await;
    chromium.look("channels-empty").await;
    chromium.click("[data-testid=add-channel]").await;
    chromium.shown("dialog[open] [data-testid=channel-kind]").await;
    let choose = "const choice = document.querySelector('[data-testid=channel-kind]'); choice.value = 'webhook'; choice.dispatchEvent(new Event('change', { bubbles: true }))";
    chromium.script(choose).await;
    chromium.shown("dialog input[name=secret]").await;
    chromium.look("channel-form").await;
    chromium.fill("dialog input[name=name]", "Ops").await;
    chromium.click("[data-testid=submit]").await;
    chromium.shown("[data-testid=error-url]").await;
    chromium.fill("dialog input[name=url]", &sinks.webhook_url("ops")).await;
    chromium.click("[data-testid=submit]").await;
    chromium.shown("[data-testid=channel-row][data-name=Ops]").await;
    chromium.look("channels").await;

    // The real answer is shown, a good one and a bad one.
    chromium.click("[data-testid=test-channel]").await;
    chromium.says("[data-testid=test-answer]", "Delivered.").await;
    chromium.look("channel-test").await;
    sinks.set_mode("ops", chaos::sink::SinkMode::Status { status: 500 }, None);
    chromium.click("[data-testid=test-again]").await;
    chromium.says("[data-testid=test-answer]", "500").await;
    chromium.keys("\u{e00c}").await;
    chromium.gone("dialog[open]").await;

    // A route, and its words.
    open(&chromium, &bench, "/alerts/routes").await;
    chromium.click("[data-testid=add-route]").await;
    chromium.shown("dialog[open]").await;
    chromium.look("route-form").await;
    chromium.click("dialog input[name=rules][value=device_offline]").await;
    chromium.click("[data-testid=submit]").await;
    chromium.says("[data-testid=route-row]", "Warning and above, Device offline").await;
    chromium.look("routes").await;

    // A dead letter is shown with its answer, and sent again.
    bench.sql(
        "INSERT INTO notification VALUES ('00000000-0000-0000-0000-000000000009', 'raised', 'warning', 'device_offline', true, false, '3 devices offline', 0, '[]', now())",
    );
    bench.sql(
        "INSERT INTO notification_delivery (notification_id, channel_id, state, attempts, queued_at, next_attempt_at, last_answer, ended_at)
         SELECT '00000000-0000-0000-0000-000000000009', channel_id, 'dead', 12, now() - interval '1 day', now(), 'HTTP 500', now() FROM alert_channel",
    );
    sinks.set_mode("ops", chaos::sink::SinkMode::Accept, None);
    open(&chromium, &bench, "/alerts/channels").await;
    chromium.click("[data-testid=open-channel]").await;
    chromium.click("[data-testid=deliveries-dead]").await;
    chromium.says("[data-testid=delivery-row]", "HTTP 500").await;
    chromium.look("channel").await;
    chromium.click("[data-testid=resend]").await;
    chromium.says("[data-testid=toasts]", "Queued the message again").await;
    chromium.click("[data-testid=deliveries-all]").await;
    chromium.shown("[data-testid=delivery-row][data-state=delivered]").await;
    assert_eq!(json!(bench.sql("SELECT count(*) FROM notification_delivery WHERE state = 'delivered'")), json!("1"));

    // Removing asks first.
    chromium.click("[data-testid=remove-channel]").await;
    chromium.click("[data-testid=confirm]").await;
    chromium.says("[data-testid=empty-state]", "No channels yet").await;

    // Whoever may not manage channels sees neither them nor routes.
    bench.add_user("eve", "operator");
    let visitor = Chromium::start().await;
    visitor.sign_in(&bench.node.url(), "eve", crate::common::PASSWORD).await;
    open(&visitor, &bench, "/alerts").await;
    visitor.shown("[data-testid=tab-rules]").await;
    assert!(visitor.text("[data-testid=tab-channels]").await.is_none());
    open(&visitor, &bench, "/alerts/channels").await;
    visitor.says("[data-testid=empty-state]", "Not for this role").await;
}
