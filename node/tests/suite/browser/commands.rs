//! Commands in the dashboard: one device told and watched, many at once with a dry run before, batches
//! that are canceled and downloaded, the allowed commands, and what a viewer does not see.

use chaos::client::EnrolledDevice;
use fantoccini::Locator;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use wire::agent::Command;
use wire::socket::DownFrame;

use super::chromium::Chromium;
use super::fleet::large;
use crate::common::{Bench, PASSWORD, eventually, heartbeat, options};

const ROWS: &str = "[data-testid=devices-table] [data-id]";

/// A device that holds a socket and says what the test wants it to say.
pub(crate) struct Robot {
    pub(crate) device: EnrolledDevice,
    told: UnboundedReceiver<Command>,
    say: UnboundedSender<Value>,
    socket: JoinHandle<()>,
}

impl Robot {
    pub(crate) async fn start(bench: &Bench, alias: &str) -> Self {
        let device = bench.enroll(alias).await;
        let mut socket = bench.client.socket(&device.session_token).await.unwrap().unwrap();
        socket.send_heartbeat(&heartbeat(0, 80)).await.unwrap();
        let (telling, told) = unbounded_channel();
        let (say, mut said) = unbounded_channel::<Value>();
        let socket = tokio::spawn(async move {
            let mut id = 1_000;
            loop {
                tokio::select! {
                    frame = socket.next() => match frame {
                        Ok(Some(DownFrame::Command(command))) => drop(telling.send(command)),
                        // No frame for a while is no end.
                        Ok(Some(_)) | Err(_) => {}
                        Ok(None) => return,
                    },
                    Some(mut result) = said.recv() => {
                        id += 1;
                        result["type"] = "action_result".into();
                        result["id"] = id.into();
                        socket.send_text(result.to_string()).await.unwrap();
                    }
                }
            }
        });
        Self { device, told, say, socket }
    }

    /// The next command.
    pub(crate) async fn command(&mut self) -> Command {
        tokio::time::timeout(crate::common::DEADLINE, self.told.recv()).await.expect("a command").unwrap()
    }

    fn says(&self, command: &Command, outcome: &str, message: &str) {
        self.say.send(json!({"request_id": command.request_id, "outcome": outcome, "message": message, "data": {"seen": true}})).unwrap();
    }

    /// Says yes to everything from now on.
    fn obeys(mut self) -> JoinHandle<()> {
        tokio::spawn(async move {
            while let Some(command) = self.told.recv().await {
                self.says(&command, "success", "done");
            }
        })
    }
}

impl Drop for Robot {
    fn drop(&mut self) {
        self.socket.abort();
    }
}

impl Chromium {
    pub(crate) async fn page(&self, bench: &Bench, path: &str) {
        self.goto(&format!("{}{path}", bench.node.url())).await;
        self.live().await;
    }

    async fn tick(&self, alias: &str) {
        self.click(&format!("{ROWS} input[aria-label='Select {alias}']")).await;
    }

    pub(crate) async fn choose(&self, css: &str, value: &str) {
        eventually(&format!("{value} in {css}"), async || {
            let field = self.browser.find(Locator::Css(css)).await.ok()?;
            field.select_by_value(value).await.ok()
        })
        .await;
    }
}

pub(crate) async fn admin(bench: &Bench) -> Chromium {
    let chromium = Chromium::start().await;
    chromium.sign_in(&bench.node.url(), "admin", bench.node.admin_password()).await;
    chromium
}

#[tokio::test]
async fn a_device_is_told_and_its_outcome_appears_by_itself() {
    let bench = Bench::start().await;
    let mut robot = Robot::start(&bench, "till-1").await;
    let chromium = admin(&bench).await;
    chromium.page(&bench, &format!("/devices/{}", robot.device.device_id)).await;
    chromium.says("[data-testid=device-status]", "Online").await;
    chromium.mark().await;

    // A parameter out of its limits is said at its field, and nothing is sent.
    chromium.click("[data-testid=action-ring]").await;
    chromium.fill("dialog input[name='params.duration_s']", "999").await;
    chromium.click("dialog [data-testid=submit]").await;
    chromium.says("[data-testid='error-params.duration_s']", "outside 1..300").await;
    chromium.assert_sound("the dialog with parameters").await;
    chromium.picture("dialog-ring").await;
    chromium.fill("dialog input[name='params.duration_s']", "5").await;
    chromium.click("dialog [data-testid=submit]").await;

    // Its way, step by step, while nobody touches the page.
    let ring = robot.command().await;
    assert_eq!((ring.action.as_str(), ring.params.as_str()), ("ring", r#"{"duration_s":5}"#));
    chromium.shown("[data-testid=outcome][data-action=ring][data-state=sent]").await;
    chromium.says("[data-testid=outcome]", "Sent via socket").await;
    robot.says(&ring, "received", "");
    chromium.shown("[data-testid=outcome][data-action=ring][data-state=delivered]").await;
    chromium.picture("device-outcome-delivered").await;
    robot.says(&ring, "success", "rang for 5 s");
    chromium.shown("[data-testid=outcome][data-action=ring][data-state=succeeded]").await;
    chromium.says("[data-testid=outcome-message]", "rang for 5 s").await;

    // The same in the history, with all that is known.
    let row = "[data-testid=command-row][data-action=ring]";
    chromium.says(&format!("{row} [data-testid=command-state]"), "Succeeded").await;
    chromium.click(&format!("{row} summary")).await;
    chromium.says(&format!("{row} [data-testid=command-message]"), "rang for 5 s").await;
    chromium.says(&format!("{row} [data-testid=command-data]"), "\"seen\": true").await;

    // Without parameters it goes at once; what may cost something asks first, by the device's name.
    chromium.click("[data-testid=action-ping]").await;
    let ping = robot.command().await;
    robot.says(&ping, "success", "pong");
    chromium.shown("[data-testid=outcome][data-action=ping][data-state=succeeded]").await;
    chromium.click("[data-testid=action-reboot]").await;
    chromium.says("dialog[open]", "Reboot till-1?").await;
    chromium.picture("dialog-reboot").await;
    chromium.click("[data-testid=confirm]").await;
    let reboot = robot.command().await;
    robot.says(&reboot, "failed", "not a device owner");
    chromium.shown("[data-testid=outcome][data-action=reboot][data-state=failed]").await;
    chromium.says("[data-testid=outcome][data-action=reboot]", "not a device owner").await;

    // Taken back; the device's own word later is the truth.
    chromium.click("[data-testid=action-wake]").await;
    let wake = robot.command().await;
    chromium.click("[data-testid=outcome][data-action=wake] [data-testid=outcome-cancel]").await;
    chromium.says("dialog[open]", "Cancel “Wake screen” for till-1?").await;
    chromium.click("[data-testid=confirm]").await;
    chromium.shown("[data-testid=outcome][data-action=wake][data-state=canceled]").await;
    chromium.look("device-commands").await;
    chromium.size(390, 844).await;
    chromium.script("document.querySelector('[data-testid=outcome]').scrollIntoView({ block: 'center' })").await;
    chromium.picture("device-outcomes-390").await;
    chromium.size(1440, 900).await;
    robot.says(&wake, "success", "awake");
    chromium.shown("[data-testid=outcome][data-action=wake][data-state=succeeded]").await;
    chromium.assert_not_reloaded().await;

    // An open one of the history can be canceled there, too.
    chromium.click("[data-testid=action-sync]").await;
    let _sync = robot.command().await;
    let row = "[data-testid=command-row][data-action=sync]";
    chromium.click(&format!("{row} summary")).await;
    chromium.click(&format!("{row} [data-testid=cancel-command]")).await;
    chromium.click("[data-testid=confirm]").await;
    chromium.says(&format!("{row} [data-testid=command-state]"), "Canceled").await;
}

#[tokio::test]
async fn many_devices_are_told_after_a_dry_run_and_their_batch_is_watched_to_its_end() {
    let bench = Bench::start().await;
    let mut robots = Vec::new();
    for alias in ["till-1", "till-2", "till-3"] {
        robots.push(Robot::start(&bench, alias).await.obeys());
    }
    bench.enroll("till-4").await;
    let chromium = admin(&bench).await;
    chromium.page(&bench, "/devices").await;
    chromium.mark().await;

    // Picked on two pages of the list: what is picked survives another filter.
    chromium.fill("input[data-search]", "till-1").await;
    chromium.tick("till-1").await;
    chromium.fill("input[data-search]", "till-2").await;
    chromium.tick("till-2").await;
    chromium.fill("input[data-search]", "till").await;
    chromium.tick("till-3").await;
    chromium.tick("till-4").await;
    chromium.says("[data-testid=selection-bar]", "4 selected").await;
    chromium.click("[data-testid=bulk-send]").await;
    chromium.choose("dialog select[name=action]", "ring").await;
    chromium.fill("dialog input[name='params.duration_s']", "0").await;
    chromium.click("dialog [data-testid=submit]").await;
    chromium.says("[data-testid='error-params.duration_s']", "outside 1..300").await;
    chromium.fill("dialog input[name='params.duration_s']", "3").await;
    chromium.fill("dialog input[name=rate_per_second]", "99999").await;
    chromium.click("dialog [data-testid=submit]").await;
    chromium.says("[data-testid=error-rate_per_second]", "outside 1..5000").await;
    chromium.fill("dialog input[name=rate_per_second]", "2").await;
    chromium.look("dialog-send").await;
    chromium.click("dialog [data-testid=submit]").await;

    // What it would come to, before anything is sent.
    chromium.says("[data-testid=plan-devices]", "4 to send").await;
    chromium.says("[data-testid=plan-socket]", "3").await;
    chromium.says("[data-testid=plan-heartbeat]", "1").await;
    chromium.says("[data-testid=plan-offline]", "1").await;
    assert_eq!(bench.sql("SELECT count(*) FROM command"), "0");
    chromium.look("dialog-dry-run").await;
    chromium.click("[data-testid=send-back]").await;
    chromium.shown("dialog input[name='params.duration_s']").await;
    let kept = chromium.script("return document.querySelector('dialog input[name=\"params.duration_s\"]').value").await;
    assert_eq!(kept, "3", "what was typed is still there");
    chromium.click("dialog [data-testid=submit]").await;
    chromium.says("[data-testid=confirm]", "Send to 4 devices").await;
    chromium.click("[data-testid=confirm]").await;

    // The counters reach the end by themselves, but for the device that is away.
    chromium.says("[data-testid=batch-title]", "Ring to 4 devices").await;
    chromium.says("[data-testid=count-succeeded]", "3").await;
    chromium.says("[data-testid=count-queued]", "1").await;
    chromium.says("[data-testid=batch-percent]", "75 %").await;
    chromium.says("[data-testid=batch-paths]", "3 via socket").await;
    chromium.assert_not_reloaded().await;
    chromium.look("batch").await;
    chromium.click("[data-testid=count-succeeded] a").await;
    eventually("three rows", async || {
        let states = chromium
            .script("return [...document.querySelectorAll('[data-testid=command-row]')].map((row) => row.dataset.state).join()")
            .await;
        (states == "succeeded,succeeded,succeeded").then_some(())
    })
    .await;
    chromium.says("[data-testid=command-row]", "done").await;

    let href = chromium.script("return document.querySelector('[data-testid=batch-csv]').getAttribute('href')").await;
    let fetched = "const done = arguments[arguments.length - 1]; fetch(arguments[0]).then((answer) => answer.text()).then(done)";
    let table = chromium.browser.execute_async(fetched, vec![href.clone()]).await.unwrap();
    let table = table.as_str().unwrap();
    assert!(table.lines().count() == 5 && table.contains("till-4") && table.contains("succeeded"), "{table}");
    assert_eq!(bench.client.get(href.as_str().unwrap(), None).await.unwrap().status, 303, "a table takes a sign-in");

    chromium.click("[data-testid=cancel-batch]").await;
    chromium.says("dialog[open]", "1 command is pending").await;
    chromium.click("[data-testid=confirm]").await;
    chromium.says("[data-testid=count-canceled]", "1").await;
    chromium.says("[data-testid=batch-percent]", "Canceled").await;
    chromium.gone("[data-testid=cancel-batch]").await;

    // It stands on the page of commands, its commands among all of them but not among the single ones.
    chromium.page(&bench, "/commands").await;
    chromium.says("[data-testid=batch-row]", "Ring to 4 devices").await;
    chromium.says("[data-testid=batch-row]", "3 succeeded").await;
    chromium.click("[data-testid=view-single]").await;
    chromium.says("[data-testid=empty-state]", "No commands yet").await;
    chromium.click("[data-testid=view-all]").await;
    let rows = async |wanted: usize| {
        eventually(&format!("{wanted} commands"), async || {
            (chromium.browser.find_all(Locator::Css("[data-testid=command-row]")).await.ok()?.len() == wanted).then_some(())
        })
        .await;
    };
    rows(4).await;
    chromium.choose("select[name=state]", "canceled").await;
    rows(1).await;
    chromium.click("[data-testid=clear-filters]").await;
    rows(4).await;
    chromium.fill(".command-filters input[name=device]", "till-2").await;
    chromium.keys(&fantoccini::key::Key::Enter.to_string()).await;
    rows(1).await;
    chromium.says("[data-testid=command-row]", "till-2").await;
    chromium.browser.refresh().await.unwrap();
    chromium.live().await;
    rows(1).await;
    drop(robots);
}

#[tokio::test]
async fn allowed_commands_are_kept_and_sent_by_name() {
    let bench = Bench::start().await;
    let mut robot = Robot::start(&bench, "till-1").await;
    let chromium = admin(&bench).await;
    chromium.page(&bench, "/settings/exec").await;
    chromium.says("[data-testid=empty-state]", "No allowed commands").await;
    chromium.look("settings-exec-empty").await;
    chromium.click("[data-testid=add-exec]").await;
    chromium.fill("dialog input[name=name]", "Collect Logs").await;
    chromium.fill("dialog textarea[name=argv]", "/system/bin/sh\n-c\nid").await;
    chromium.click("dialog [data-testid=submit]").await;
    chromium.says("[data-testid=error-name]", "a-z").await;
    chromium.fill("dialog input[name=name]", "collect-logs").await;
    chromium.click("dialog [data-testid=submit]").await;
    chromium.says("[data-testid=error-argv]", "run other programs").await;
    chromium.assert_sound("the dialog that allows a command").await;
    chromium.picture("dialog-exec").await;
    chromium.fill("dialog textarea[name=argv]", "/system/bin/logcat\n-d\n-t 100").await;
    chromium.fill("dialog input[name=description]", "the newest lines of the log").await;
    chromium.click("dialog [data-testid=submit]").await;
    chromium.says("[data-testid=exec-row]", "the newest lines of the log").await;
    assert_eq!(bench.sql("SELECT array_to_string(argv, '|') FROM exec_command"), "/system/bin/logcat|-d|-t 100");
    chromium.click("[data-testid=change-exec]").await;
    chromium.fill("dialog input[name=description]", "logs").await;
    chromium.click("dialog [data-testid=submit]").await;
    chromium.gone("dialog[open]").await;
    assert_eq!(bench.sql("SELECT array_to_string(argv, '|') || description FROM exec_command"), "/system/bin/logcat|-d|-t 100logs");
    chromium.look("settings-exec").await;

    // Sent by its name, after a question.
    chromium.page(&bench, &format!("/devices/{}", robot.device.device_id)).await;
    chromium.click("[data-testid=action-exec]").await;
    chromium.shown("dialog select[name='params.name']").await;
    chromium.click("dialog [data-testid=submit]").await;
    chromium.says("[data-testid='error-params.name']", "required").await;
    chromium.choose("dialog select[name='params.name']", "collect-logs").await;
    chromium.says("dialog .argv", "/system/bin/logcat").await;
    chromium.picture("dialog-exec-send").await;
    chromium.click("dialog [data-testid=submit]").await;
    chromium.says("dialog[open]", "Run collect-logs on till-1?").await;
    chromium.click("[data-testid=confirm]").await;
    let exec = robot.command().await;
    assert!(exec.params.contains("/system/bin/logcat"), "{}", exec.params);
    robot.says(&exec, "success", "100 lines");
    chromium.shown("[data-testid=outcome][data-action=exec][data-state=succeeded]").await;

    chromium.page(&bench, "/settings/exec").await;
    chromium.click("[data-testid=remove-exec]").await;
    chromium.click("[data-testid=confirm]").await;
    chromium.says("[data-testid=empty-state]", "No allowed commands").await;
    assert_eq!(bench.sql("SELECT count(*) FROM exec_command"), "0");
}

#[tokio::test]
async fn a_viewer_sees_commands_and_sends_none() {
    let bench = Bench::start().await;
    let device = bench.enroll("till-1").await;
    let sent = bench
        .client
        .post(&format!("/v1/devices/{}/commands", device.device_id), Some(&bench.admin), &json!({"action": "ping"}))
        .await
        .unwrap();
    assert_eq!(sent.status, 201, "{}", sent.detail());
    for role in ["viewer", "operator"] {
        bench.add_user(role, role);
    }
    let path = format!("/devices/{}", device.device_id);
    let viewer = Chromium::start().await;
    viewer.sign_in(&bench.node.url(), "viewer", PASSWORD).await;
    viewer.page(&bench, &path).await;
    viewer.says("[data-testid=command-row]", "Ping").await;
    viewer.click("[data-testid=command-row] summary").await;
    viewer.shown("[data-testid=command-details]").await;
    for hidden in ["[data-testid=actions]", "[data-testid^='action-']", "[data-testid=cancel-command]"] {
        assert!(viewer.text(hidden).await.is_none(), "{hidden}");
    }
    viewer.page(&bench, "/devices").await;
    viewer.shown(ROWS).await;
    assert!(viewer.text("[data-testid=select-all], [data-testid=bulk-send]").await.is_none());
    viewer.page(&bench, "/commands?view=single").await;
    viewer.says("[data-testid=command-row]", "till-1").await;
    viewer.page(&bench, "/settings/exec").await;
    viewer.says("[data-testid=empty-state]", "Only for admins").await;

    // An operator has all but those that take an administrator.
    let operator = Chromium::start().await;
    operator.sign_in(&bench.node.url(), "operator", PASSWORD).await;
    operator.page(&bench, &path).await;
    operator.shown("[data-testid=action-reboot]").await;
    for hidden in ["clear_app_data", "exec", "rotate_key"] {
        assert!(operator.text(&format!("[data-testid=action-{hidden}]")).await.is_none(), "{hidden}");
    }
}

/// Batches and commands in every state, with names and messages of all lengths.
fn with_commands(bench: &Bench) -> (String, String) {
    let batch = "018f0000-0000-7000-8000-0000000000aa";
    bench.sql(&format!(
        "INSERT INTO command_batch (batch_id, action, params_shown, target, rate_per_second, devices, refused, refused_count, created_by, created_at, expires_at)
         VALUES ('{batch}', 'launch_app', '{{\"package\": \"com.example.a.rather.long.package.name.of.a.kiosk\"}}', '{{\"filter\": {{\"tag\": \"till\", \"group\": \"berlin\"}}}}',
             500, 240, '[{{\"id\": \"018f0000-0000-7000-8000-0000000000ab\", \"alias\": \"flagship-store-with-a-name-that-nobody-would-ever-want-to-read\", \"reason\": \"too_many_open\"}}, \
             {{\"id\": \"018f0000-0000-7000-8000-0000000000ac\", \"alias\": null, \"reason\": \"not_found\"}}]', 2, 'admin', now() - interval '2 minutes', now() + interval '1 hour'),
             ('018f0000-0000-7000-8000-0000000000ad', 'ping', '{{}}', '{{\"ids\": 20}}', 500, 0, '[]', 0, 'somebody-with-a-long-name', now() - interval '2 days', now() - interval '1 day')"
    ));
    bench.sql(&format!(
        "INSERT INTO command (request_id, device_id, shard_id, batch_id, action, params, params_shown, state, attempts, path, created_by, created_at, release_at,
             expires_at, sent_at, delivered_at, finished_at, canceled_by, outcome, message, code, data)
         SELECT gen_random_uuid(), device_id, 0, CASE WHEN n > 12 THEN '{batch}'::uuid END, 'launch_app', '{{}}',
             '{{\"package\": \"com.example.a.rather.long.package.name.of.a.kiosk\"}}', state, CASE WHEN state = 'queued' THEN 0 ELSE 1 END,
             CASE WHEN state <> 'queued' THEN (ARRAY['socket', 'push', 'heartbeat'])[1 + n % 3] END, 'admin', now() - interval '2 minutes', now() - interval '2 minutes',
             now() + interval '1 hour', CASE WHEN state <> 'queued' THEN now() - interval '1 minute' END,
             CASE WHEN state IN ('delivered', 'succeeded', 'failed') THEN now() - interval '50 s' END,
             CASE WHEN state NOT IN ('queued', 'sent', 'delivered') THEN now() - interval '40 s' END, CASE WHEN state = 'canceled' THEN 'admin' END,
             CASE state WHEN 'succeeded' THEN 'success' WHEN 'failed' THEN (ARRAY['failed', 'skipped', 'timeout'])[1 + n % 3] END,
             CASE state WHEN 'succeeded' THEN 'in the foreground' WHEN 'failed' THEN 'The package is not installed for this user, and the device is not its owner, so that nothing could be done about it' END,
             CASE state WHEN 'failed' THEN 'not_installed' END, CASE state WHEN 'succeeded' THEN '{{\"pid\": 4711, \"took_ms\": 310}}' END
         FROM (SELECT device_id, n, (ARRAY['succeeded', 'succeeded', 'succeeded', 'failed', 'sent', 'delivered', 'queued', 'expired', 'canceled'])[1 + n % 9] AS state
             FROM (SELECT device_id, row_number() OVER (ORDER BY alias) AS n FROM device ORDER BY alias LIMIT 252) numbered) stated"
    ));
    let device = bench.sql("SELECT device_id FROM device WHERE alias LIKE 'flagship%' ORDER BY alias LIMIT 1");
    (batch.to_owned(), device)
}

#[tokio::test]
async fn the_pages_of_commands_are_sound_full_and_empty() {
    let mut bench = Bench::with(options()).await;
    let chromium = admin(&bench).await;
    chromium.page(&bench, "/commands").await;
    chromium.shown("[data-testid=empty-state]").await;
    chromium.look("commands-empty").await;
    chromium.page(&bench, "/commands?view=single").await;
    chromium.shown("[data-testid=empty-state]").await;
    chromium.look("commands-single-empty").await;
    chromium.page(&bench, "/commands/batches/018f0000-0000-7000-8000-0000000000aa").await;
    chromium.says("[data-testid=empty-state]", "There is no such batch").await;

    large(&mut bench, 400).await;
    let (batch, device) = with_commands(&bench);
    chromium.page(&bench, "/commands").await;
    chromium.shown("[data-testid=batch-row]").await;
    chromium.look("commands-batches").await;
    chromium.page(&bench, "/commands?view=all").await;
    chromium.shown("[data-testid=command-row]").await;
    chromium.click("[data-testid=command-row][data-state=failed] summary").await;
    chromium.look("commands-all").await;
    chromium.click("[data-testid=older]").await;
    chromium.shown("[data-testid=newer]:not([disabled])").await;
    chromium.page(&bench, "/commands?view=all&action=ping").await;
    chromium.says("[data-testid=empty-state]", "No command matches").await;
    chromium.page(&bench, &format!("/commands/batches/{batch}")).await;
    chromium.shown("[data-testid=batch-refused]").await;
    chromium.shown("[data-testid=command-row]").await;
    chromium.look("batch-full").await;
    chromium.page(&bench, &format!("/devices/{device}")).await;
    chromium.shown("[data-testid=actions]").await;
    chromium.shown("[data-testid=command-row]").await;
    chromium.look("device-long-name-commands").await;
    for width in [1440, 390] {
        chromium.size(width, 900).await;
        chromium.script("document.querySelector('[data-testid=device-commands]').scrollIntoView()").await;
        chromium.picture(&format!("device-history-{width}")).await;
    }
}
