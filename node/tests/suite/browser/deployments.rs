//! Deployments in the dashboard: made after a dry run, watched and steered; what pauses by itself and is taken back; what asks first;
//! and ten thousand devices in one table.

use chaos::http::Call;
use fantoccini::Locator;
use hyper::Method;
use serde_json::{Value, json};
use wire::agent::Command;

use super::chromium::Chromium;
use super::commands::{Robot, admin};
use super::fleet::large;
use crate::common::{Bench, PASSWORD, apks, eventually, heartbeat, options};

/// Installation that a device was sent.
struct Order {
    deployment: String,
    attempt: i64,
}

fn order(command: &Command) -> Order {
    assert_eq!(command.action, "deploy_apk");
    let params: Value = serde_json::from_str(&command.params).unwrap();
    Order { deployment: params["deployment_id"].as_str().unwrap().to_owned(), attempt: params["attempt"].as_i64().unwrap() }
}

/// A device says how far it is.
async fn says(bench: &Bench, robot: &Robot, order: &Order, mut status: Value) {
    status["attempt"] = order.attempt.into();
    let path = format!("/v1/agent/deployments/{}/devices/{}/status", order.deployment, robot.device.device_id);
    let answer = bench.client.post(&path, Some(&robot.device.session_token), &status).await.unwrap();
    assert_eq!(answer.status, 200, "{status}: {}", answer.detail());
}

/// A device that is told takes the APK and has it.
async fn installs(bench: &Bench, robot: &mut Robot) {
    let order = order(&robot.command().await);
    says(bench, robot, &order, json!({"status": "accepted"})).await;
    says(bench, robot, &order, json!({"status": "succeeded", "installed_version": "2.0"})).await;
    // Of whatever version: this one and any newer confirms it.
    shows_version(bench, robot, 9).await;
}

/// A heartbeat of a device shows this version.
async fn shows_version(bench: &Bench, robot: &Robot, version_code: i64) {
    let mut shown = heartbeat(60, 80);
    shown.app_versions = serde_json::from_value(json!({"com.example.till": {"version_name": "x", "version_code": version_code}})).unwrap();
    let answer = bench.client.heartbeat(&robot.device.session_token, &shown).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.detail());
}

async fn flag(bench: &Bench, name: &str, enabled: bool) {
    let (path, body) = (format!("/v1/flags/{name}"), json!({"enabled": enabled}).to_string());
    let answer = bench.client.send(Call::post(&path, body).method(Method::PUT).bearer(&bench.admin)).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.detail());
}

async fn deploy(bench: &Bench, apk: &Value, options: Value) -> String {
    let asked = json!({"apk_id": apk["id"], "target": {"fleet": true}, "options": options});
    let answer = bench.client.post("/v1/deployments", Some(&bench.admin), &asked).await.unwrap();
    assert_eq!(answer.status, 201, "{}", answer.detail());
    answer.json()["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_version_goes_from_its_row_to_the_fleet_and_is_watched_to_the_end() {
    let bench = Bench::start().await;
    apks::add(&bench.client, &bench.admin, "till-2.apk").await;
    let mut robots = Vec::new();
    for alias in ["till-1", "till-2", "till-3"] {
        robots.push(Robot::start(&bench, alias).await);
    }
    let chromium = admin(&bench).await;

    // Off until an admin turns them on, which is asked first.
    chromium.page(&bench, "/deployments").await;
    chromium.shown("[data-testid=blocked][data-blocked=flag_off]").await;
    chromium.look("deployments-off").await;
    chromium.click("[data-testid=unblock]").await;
    chromium.says("dialog[open]", "Enable deployments?").await;
    chromium.click("[data-testid=confirm]").await;
    chromium.gone("[data-testid=blocked]").await;

    chromium.page(&bench, "/apks").await;
    chromium.mark().await;
    chromium.click("[data-testid=deploy-apk]").await;

    // What is wrong is said while it is typed, at its field, all of it at once; and nothing is tried.
    chromium.fill("[name='options.concurrency']", "0").await;
    chromium.says("[data-testid='error-options.concurrency']", "outside 1..100000").await;
    chromium.fill("[name='options.min_battery_pct']", "many").await;
    chromium.says("[data-testid='error-options.min_battery_pct']", "must be a whole number").await;
    chromium.click("[name=window]").await;
    let zone = "return document.querySelector(\"[name='options.window.tz']\")?.value === Intl.DateTimeFormat().resolvedOptions().timeZone";
    eventually("the zone of the viewer", async || (chromium.script(zone).await == true).then_some(())).await;
    chromium.says("[data-testid='error-options.window.start']", "not a time of the day").await;
    chromium.click("[data-testid=dry-run]").await;
    chromium.says("[data-testid=error-target]", "choose a target").await;
    chromium.look("deployment-new-wrong").await;
    chromium.click("[name=window]").await;
    chromium.click("[name=target][value=fleet]").await;
    chromium.says("[data-testid=target-count]", "3 devices right now").await;
    chromium.fill("[name='options.concurrency']", "3").await;
    chromium.fill("[name='options.min_battery_pct']", "40").await;
    chromium.fill("[name='options.canary.size']", "9").await;
    chromium.says("[data-testid='error-options.canary.size']", "more than the 3 devices").await;
    chromium.click("[name=canary]").await;
    chromium.says("[data-testid=error-canary]", "a deployment to all devices requires a canary of at least one device").await;
    chromium.click("[name=canary]").await;
    chromium.fill("[name='options.canary.size']", "1").await;
    chromium.says("[data-testid=form-says]", "3 devices").await;

    // What it would do, and nothing done.
    chromium.click("[data-testid=dry-run]").await;
    chromium.says("[data-testid=plan-devices]", "3 to install").await;
    chromium.says("[data-testid=plan-qualifying]", "3 of 3 qualify now").await;
    let focused = "return document.activeElement.id === 'plan-title'";
    eventually("what was found has the focus", async || (chromium.script(focused).await == true).then_some(())).await;
    chromium.says("[data-testid=plan-canary]", "1 in the canary").await;
    chromium.says("[data-testid=plan-count][data-state=queued]", "canary pending").await;
    chromium.says("[data-testid=plan-device]", "till-1").await;
    assert_eq!(bench.sql("SELECT count(*) FROM deployment"), "0");
    chromium.look("deployment-plan").await;
    // Another value is another deployment.
    chromium.fill("[name='options.retries.max']", "1").await;
    chromium.gone("[data-testid=plan]").await;
    chromium.click("[data-testid=dry-run]").await;
    chromium.click("[data-testid=deploy]").await;
    chromium.says("dialog[open]", "Deploy Till 2.0 to 3 devices?").await;
    chromium.says("dialog[open]", "Starts with a canary of 1 device.").await;
    chromium.look("deployment-start").await;
    chromium.click("[data-testid=confirm]").await;

    // The first device, while the gate is closed; pausing takes nothing from who has begun.
    chromium.says("[data-testid=deployment-title]", "Till 2.0").await;
    chromium.shown("[data-testid=phases][data-phase=canary]").await;
    let first = order(&robots[0].command().await);
    says(&bench, &robots[0], &first, json!({"status": "accepted"})).await;
    says(&bench, &robots[0], &first, json!({"status": "downloading", "progress_pct": 40})).await;
    chromium.says("[data-testid=count-installing]", "1").await;
    chromium.says("[data-testid=task-row][data-state=installing]", "downloading, 40 %").await;
    chromium.says("[data-testid=busy]", "1 of 3").await;
    chromium.look("deployment-canary").await;
    chromium.click("[data-testid=pause]").await;
    chromium.says("[data-testid=deployment-state]", "Paused").await;
    chromium.says("[data-testid=pause-reason]", "Paused manually").await;
    says(&bench, &robots[0], &first, json!({"status": "succeeded", "installed_version": "2.0"})).await;
    chromium.says("[data-testid=count-confirming]", "1").await;
    chromium.says("[data-testid=task-row][data-state=confirming]", "waiting for a heartbeat that shows the version").await;
    shows_version(&bench, &robots[0], 2).await;
    chromium.says("[data-testid=count-succeeded]", "1").await;
    chromium.says("[data-testid=canary-success]", "100 % of 1").await;
    chromium.click("[data-testid=resume]").await;
    chromium.shown("[data-testid=phases][data-phase=rollout]").await;
    for robot in &mut robots[1..] {
        installs(&bench, robot).await;
    }
    chromium.says("[data-testid=count-succeeded]", "3").await;
    chromium.says("[data-testid=deployment-percent]", "100 %").await;
    chromium.says("[data-testid=deployment-state]", "Finished").await;
    chromium.shown("[data-testid=deployment-event][data-kind=gate_opened]").await;
    chromium.says("[data-testid=way-back]", "Rollback unavailable: no earlier version is known to be good").await;
    for gone in ["pause", "resume", "roll-back", "cancel-deployment"] {
        chromium.gone(&format!("[data-testid={gone}]")).await;
    }
    chromium.assert_not_reloaded().await;
    chromium.look("deployment-finished").await;

    let href = chromium.script("return document.querySelector('[data-testid=deployment-csv]').getAttribute('href')").await;
    let fetched = "const done = arguments[arguments.length - 1]; fetch(arguments[0]).then((answer) => answer.text()).then(done)";
    let table = chromium.browser.execute_async(fetched, vec![href.clone()]).await.unwrap();
    let table = table.as_str().unwrap();
    assert!(table.lines().count() == 4 && table.contains("till-3") && table.contains("succeeded"), "{table}");
    assert_eq!(bench.client.get(href.as_str().unwrap(), None).await.unwrap().status, 303, "a table takes a sign-in");

    // By state in the list, whose link leads back to it.
    chromium.page(&bench, "/deployments").await;
    chromium.says("[data-testid=deployment-row]", "3 installed, 100 %").await;
    chromium.click("[data-testid=state-running]").await;
    chromium.says("[data-testid=empty-state]", "No deployments in this state").await;
    chromium.click("[data-testid=state-finished]").await;
    chromium.click("[data-testid=deployment-row] a").await;
    chromium.says("[data-testid=deployment-title]", "Till 2.0").await;
}

#[tokio::test]
async fn failing_first_devices_pause_it_and_the_way_back_is_told_before_it_is_gone() {
    let bench = Bench::start().await;
    let old = apks::add(&bench.client, &bench.admin, "till-1.apk").await;
    let new = apks::add(&bench.client, &bench.admin, "till-3.apk").await;
    let mut robots = Vec::new();
    for alias in ["till-1", "till-2", "till-3"] {
        let robot = Robot::start(&bench, alias).await;
        let mut had = heartbeat(10, 80);
        had.app_versions = serde_json::from_value(json!({"com.example.till": {"version_name": "1.0", "version_code": 1}})).unwrap();
        let answer = bench.client.heartbeat(&robot.device.session_token, &had).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.detail());
        robots.push(robot);
    }
    flag(&bench, "deployments.enabled", true).await;
    let retries = json!({"max": 0});
    let id = deploy(&bench, &new, json!({"canary": {"size": 2}, "retries": retries})).await;
    let chromium = admin(&bench).await;
    chromium.page(&bench, &format!("/deployments/{id}")).await;
    chromium.says("[data-testid=way-back]", "no device has the version").await;
    for (place, status) in [
        (0, json!({"status": "succeeded"})),
        (1, json!({"status": "failed", "error": "install_failed", "message": "no room for <b>it</b>"})),
    ] {
        let told = order(&robots[place].command().await);
        says(&bench, &robots[place], &told, json!({"status": "accepted"})).await;
        says(&bench, &robots[place], &told, status).await;
    }
    chromium.says("[data-testid=pause-reason]", "too many canary devices failed").await;
    chromium.says("[data-testid=rollback-offered]", "Android does not go back to version code 1").await;
    chromium.gone("[data-testid=roll-back]").await;
    chromium.says("[data-testid=task-row][data-state=failed]", "installation rejected by Android; no room for <b>it</b>").await;
    chromium.says("[data-testid=count-queued]", "1").await;
    chromium.look("deployment-canary-failed").await;

    // Once there is a way it is said, and asked about.
    let query = format!("?rollback_of={}", old["id"].as_str().unwrap());
    let answer = apks::upload(&bench.client, &bench.admin, apks::fixture("till-4-rollback.apk"), &query).await;
    assert_eq!(answer.status, 201, "{}", answer.detail());
    chromium.says("[data-testid=rollback-offered]", "Rolling back installs com.example.till 1.0-again (4) on 1 device.").await;
    chromium.click("[data-testid=roll-back]").await;
    chromium.says("dialog[open]", "installs com.example.till 1.0-again (4) on the 1 device that got 3.0 (3)").await;
    chromium.look("deployment-roll-back").await;
    chromium.click("[data-testid=confirm]").await;
    chromium.says("[data-testid=deployment-title]", "Rollback of Till 3.0").await;
    chromium.click("[data-testid=rolls-back]").await;
    chromium.says("[data-testid=canceled-by]", "Canceled by admin.").await;
    installs(&bench, &mut robots[0]).await;
    eventually("the rollback is done", async || {
        (bench.sql("SELECT count(*) FROM deployment WHERE rolls_back IS NOT NULL AND state = 'finished'") == "1").then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_taken_back_asks_first_and_each_role_sees_its_own() {
    let bench = Bench::start().await;
    for role in ["viewer", "operator"] {
        bench.add_user(role, role);
    }
    let apk = apks::add(&bench.client, &bench.admin, "till-1.apk").await;
    bench.enroll("till-1").await;
    bench.enroll("till-2").await;
    flag(&bench, "deployments.enabled", true).await;
    let id = deploy(&bench, &apk, json!({})).await;

    // An operator stops everything, but does not let it go on.
    let operator = Chromium::start().await;
    operator.sign_in(&bench.node.url(), "operator", PASSWORD).await;
    operator.page(&bench, "/deployments").await;
    operator.gone("[data-testid=turn-off]").await;
    operator.click("[data-testid=stop-all]").await;
    operator.says("dialog[open]", "Stop all deployments?").await;
    operator.click("[data-testid=confirm]").await;
    operator.says("[data-testid=blocked][data-blocked=kill_switch]", "By operator").await;
    operator.gone("[data-testid=unblock]").await;
    let chromium = admin(&bench).await;
    chromium.page(&bench, &format!("/deployments/{id}")).await;
    chromium.says("[data-testid=blocked]", "all deployments are stopped").await;
    chromium.page(&bench, "/deployments").await;
    chromium.look("deployments-stopped").await;
    chromium.click("[data-testid=unblock]").await;
    chromium.click("[data-testid=confirm]").await;
    chromium.gone("[data-testid=blocked]").await;
    operator.gone("[data-testid=blocked]").await;

    operator.page(&bench, &format!("/deployments/{id}")).await;
    operator.click("[data-testid=cancel-deployment]").await;
    operator.says("dialog[open]", "Installs that have not started are canceled on 2 devices").await;
    operator.keys(&fantoccini::key::Key::Escape.to_string()).await;
    operator.gone("dialog[open]").await;
    assert_eq!(bench.sql("SELECT state FROM deployment"), "running");
    operator.click("[data-testid=cancel-deployment]").await;
    operator.click("[data-testid=confirm]").await;
    operator.says("[data-testid=deployment-state]", "Canceled").await;
    operator.says("[data-testid=count-canceled]", "2").await;

    let viewer = Chromium::start().await;
    viewer.sign_in(&bench.node.url(), "viewer", PASSWORD).await;
    viewer.page(&bench, &format!("/deployments/{id}")).await;
    viewer.says("[data-testid=count-canceled]", "2").await;
    viewer.page(&bench, "/deployments").await;
    viewer.shown("[data-testid=deployment-row]").await;
    for hidden in ["stop-all", "turn-off", "new-deployment"] {
        assert!(viewer.text(&format!("[data-testid={hidden}]")).await.is_none(), "{hidden}");
    }
    viewer.page(&bench, "/deployments/new").await;
    viewer.says("[data-testid=empty-state]", "Not for this role").await;

    // Devices that were picked in the table come along.
    operator.page(&bench, "/devices").await;
    operator.click("[data-testid=devices-table] [data-id] input[aria-label='Select till-2']").await;
    operator.click("[data-testid=bulk-deploy]").await;
    operator.says("[data-testid=target-count]", "1 device right now").await;
    operator.choose("select[name=apk_id]", apk["id"].as_str().unwrap()).await;
    operator.click("[data-testid=dry-run]").await;
    operator.says("[data-testid=plan-devices]", "1 to install").await;
    operator.says("[data-testid=plan-device]", "till-2").await;
}

/// A deployment to every device, in all states and for all reasons, which nothing moves: it is over.
fn with_a_deployment(bench: &Bench) -> String {
    let id = "018f0000-0000-7000-8000-0000000000d1";
    let options = json!({
        "canary": {"size": 5, "success_threshold_pct": 90, "min_count": 5, "timeout_minutes": 60}, "rate_per_minute": 600, "concurrency": 50, "wifi_only": true,
        "min_battery_pct": 40, "charging_only": false, "min_storage_free_mb": 200, "heartbeat_max_age_s": 900, "doze_exempt_only": false, "window": null,
        "retries": {"max": 2, "backoff_s": 60}, "restart_intent": {"action": "com.example.a.rather.long.package.name.START", "extras": {}},
        "rollback_allowed": true, "failure_pause": {"threshold_pct": 20, "min_count": 5}, "deadline_h": 168
    });
    bench.sql(
        "INSERT INTO managed_package (package, signers_sha256, updated_by, updated_at) VALUES ('com.example.a.rather.long.package.name.of.a.kiosk', ARRAY[repeat('ab', 32)], 'admin', now())",
    );
    bench.sql(
        "INSERT INTO apk (apk_id, package, version_code, version_name, label, min_sdk, target_sdk, sha256, size_bytes, signers_sha256, notes, uploaded_by, uploaded_at)
         VALUES ('018f0000-0000-7000-8000-0000000000a1', 'com.example.a.rather.long.package.name.of.a.kiosk', 321, '3.2.1-with-a-long-suffix', 'Kiosk of the flagship stores', 26, 33,
             repeat('cd', 32), 48234567, ARRAY[repeat('ab', 32)], 'Fixes the printing of receipts, which nobody ever would have thought could break.', 'somebody-with-a-long-name', now())",
    );
    bench.sql(&format!(
        "INSERT INTO deployment (deployment_id, shard_id, apk_id, package, version_code, name, target, options, flags, devices, canary_size, state, phase, phase_since,
             judged_since, conflict, created_by, created_at, expires_at, canceled_by, finished_at)
         SELECT '{id}', 0, '018f0000-0000-7000-8000-0000000000a1', 'com.example.a.rather.long.package.name.of.a.kiosk', 321, 'Kiosk 3.2.1 to the whole of the fleet before the holidays',
             '{{\"fleet\": true}}', '{options}', '{{}}', count(*), 5, 'canceled', 'rollout', now(), now(), 'wait', 'admin', now() - interval '2 hours', now() + interval '6 days', 'admin', now()
         FROM device"
    ));
    bench.sql(&format!(
        "INSERT INTO deployment_target SELECT '{id}', row_number() OVER (ORDER BY alias) - 1, device_id, alias, row_number() OVER (ORDER BY alias) <= 5 FROM device"
    ));
    bench.sql(&format!(
        "INSERT INTO deployment_task (deployment_id, position, device_id, package, canary, state, reason, attempts, started_at, finished_at, changed_at, error, message, version_before)
         SELECT '{id}', position, device_id, 'com.example.a.rather.long.package.name.of.a.kiosk', canary, state,
             CASE state WHEN 'failed' THEN 'install_failed' WHEN 'skipped' THEN 'already_installed' WHEN 'canceled' THEN 'canceled' END,
             CASE WHEN state IN ('succeeded', 'failed') THEN 1 ELSE 0 END, now() - interval '1 hour', now() - make_interval(secs => position % 3600), now(),
             CASE state WHEN 'failed' THEN 'install_failed' END,
             CASE state WHEN 'failed' THEN 'INSTALL_FAILED_UPDATE_INCOMPATIBLE: the signatures of the package do not match those of what is installed' END, 320
         FROM (SELECT *, (ARRAY['succeeded', 'succeeded', 'succeeded', 'failed', 'skipped', 'canceled'])[1 + position % 6] AS state FROM deployment_target WHERE deployment_id = '{id}') t"
    ));
    bench.sql(&format!(
        "INSERT INTO deployment_event (deployment_id, at, kind, device_id, detail, by_whom)
         SELECT '{id}', now() - make_interval(mins => n), (ARRAY['task_failed', 'paused', 'resumed', 'superseded'])[1 + n % 4], NULL,
             (ARRAY['install_failed', 'failure_rate', '', '3 devices'])[1 + n % 4], (ARRAY[NULL, NULL, 'admin', NULL])[1 + n % 4] FROM generate_series(1, 45) n"
    ));
    id.to_owned()
}

#[tokio::test]
async fn ten_thousand_devices_are_one_table_and_the_pages_are_sound() {
    let mut bench = Bench::with(options()).await;
    let chromium = admin(&bench).await;
    for (path, shown) in [
        ("/deployments", "No deployments yet"),
        ("/deployments/new", "No app to deploy yet"),
        ("/deployments/7", "There is no such deployment"),
    ] {
        chromium.page(&bench, path).await;
        chromium.says("[data-testid=empty-state]", shown).await;
        chromium.look(&format!("deployments-empty{}", path.replace('/', "-"))).await;
    }
    large(&mut bench, 10_000).await;
    let id = with_a_deployment(&bench);
    chromium.page(&bench, &format!("/deployments/{id}")).await;
    chromium.shown("[data-testid=tasks-table][data-count='10000']").await;
    chromium.shown("[data-testid=task-row][aria-rowindex='2']").await;
    chromium.look("deployment-full").await;

    // Only what is around the visible rows exists, wherever the table is scrolled to.
    let rows = "return document.querySelectorAll('[data-testid=task-row]').length";
    assert!(chromium.script(rows).await.as_u64().unwrap() <= 160);
    chromium.script("document.querySelector('[data-testid=tasks-table]').scrollTop = 40 * 9000").await;
    chromium.shown("[data-testid=task-row][aria-rowindex='9002']").await;
    let (alias, shown) = (
        bench.sql(&format!("SELECT alias FROM deployment_target WHERE deployment_id = '{id}' AND position = 9000")),
        chromium.text("[data-testid=task-row][aria-rowindex='9002']").await.unwrap(),
    );
    assert!(shown.contains(&alias), "{shown} is not {alias}");
    assert!(chromium.script(rows).await.as_u64().unwrap() <= 160);

    // A filter keeps to those that match, from the top; the counters are psql's.
    let failed = bench.sql(&format!("SELECT count(*) FROM deployment_task WHERE deployment_id = '{id}' AND state = 'failed'"));
    chromium.click("[data-testid=count-failed] a").await;
    chromium.shown(&format!("[data-testid=tasks-table][data-count='{failed}']")).await;
    let grouped = format!("{},{}", &failed[..1], &failed[1..]);
    chromium.says("[data-testid=count-failed] strong", &grouped).await;
    chromium.shown("[data-testid=task-row][aria-rowindex='2'][data-state=failed]").await;
    chromium.script("document.querySelector('[data-testid=tasks-table]').scrollTop = 40 * 1500").await;
    chromium.shown("[data-testid=task-row][aria-rowindex='1502'][data-state=failed]").await;
    chromium.choose("select[name=reason]", "offline").await;
    chromium.shown("[data-testid=no-tasks]").await;
    chromium.click("[data-testid=clear-filters]").await;
    chromium.shown("[data-testid=tasks-table][data-count='10000']").await;
    eventually("the table begins at its top", async || {
        (chromium.script("return document.querySelector('[data-testid=tasks-table]').scrollTop").await == 0).then_some(())
    })
    .await;
    chromium.click("[data-testid=deployment-events] [data-testid=older]").await;
    chromium.shown("[data-testid=deployment-events] [data-testid=newer]:not([disabled])").await;

    chromium.page(&bench, "/deployments").await;
    chromium.shown("[data-testid=deployment-row]").await;
    chromium.look("deployments").await;
    chromium.page(&bench, "/apks").await;
    chromium.shown("[data-testid=apk-row]").await;
    chromium.look("apks-long-names").await;
    chromium.page(&bench, "/deployments/new?apk=018f0000-0000-7000-8000-0000000000a1&all=tag~3Dtill").await;
    let tagged = bench.sql("SELECT count(*) FROM device WHERE 'till' = ANY(tags)");
    chromium.says("[data-testid=target-count]", &format!("{},{} devices", &tagged[..1], &tagged[1..])).await;
    chromium.look("deployment-new").await;
    chromium.click("[data-testid=dry-run]").await;
    chromium.shown("[data-testid=plan-device]").await;
    assert_eq!(chromium.browser.find_all(Locator::Css("[data-testid=plan-device]")).await.unwrap().len(), 100);
    chromium.look("deployment-plan-full").await;
}
