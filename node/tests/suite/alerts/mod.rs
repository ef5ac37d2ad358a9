//! Alerts over a real node, as an operator and a receiver of webhooks see them.

mod channels;
mod rules;

use std::process::Command;

use chaos::client::EnrolledDevice;
use chaos::harness::NodeOptions;
use chaos::http::Call;
use chaos::sink::{AlertSinks, Arrival};
use hyper::Method;
use serde_json::{Value, json};

use crate::common::{Bench, eventually, heartbeat, options};

/// Name of the channel, and of the sink behind it.
const HOOK: &str = "hook";

/// A node that notifies at once, of targets on this machine as well.
fn quick() -> NodeOptions {
    ["GROUP_WAIT_SECONDS", "GROUP_INTERVAL_SECONDS", "COOLDOWN_SECONDS"]
        .iter()
        .fold(options(), |options, name| options.env(&format!("NEXMDM__ALERTS__{name}"), "0"))
        .env("NEXMDM__ALERTS__ALLOW_PRIVATE_TARGETS", "true")
        .env("NEXMDM__ALERTS__APP_DOWN_HEARTBEATS", "2")
}

/// A node with a webhook that records.
struct Watched {
    bench: Bench,
    sinks: AlertSinks,
    channel: String,
}

impl Watched {
    async fn start() -> Self {
        let (bench, sinks) = (Bench::with(quick()).await, AlertSinks::start().await.unwrap());
        let channel = made(&bench, "/v1/alert-channels", &json!({"name": HOOK, "kind": "webhook", "url": sinks.webhook_url(HOOK)})).await;
        made(&bench, "/v1/alert-routes", &json!({"channel_id": channel, "min_severity": "info"})).await;
        Self { bench, sinks, channel }
    }

    async fn get(&self, path: &str) -> Value {
        self.bench.client.get_json(path, &self.bench.admin).await.unwrap()
    }

    /// The only alert that a query finds, once there is one.
    async fn alert(&self, query: &str) -> Value {
        let path = format!("/v1/alerts?{query}");
        eventually(&path, async || {
            let items = self.get(&path).await["items"].as_array().unwrap().clone();
            assert!(items.len() < 2, "{items:?}");
            items.into_iter().next()
        })
        .await
    }

    /// The first message of a kind about a rule, once it has arrived.
    async fn arrival(&self, kind: &str, rule: &str) -> Arrival {
        eventually(&format!("a message that {rule} is {kind}"), async || {
            self.arrivals(rule).into_iter().find(|one| one.kind.as_deref() == Some(kind))
        })
        .await
    }

    fn arrivals(&self, rule: &str) -> Vec<Arrival> {
        self.sinks.arrivals().into_iter().filter(|arrival| arrival.alerts.iter().any(|alert| alert.rule == rule)).collect()
    }
}

/// Id of something that is made.
async fn made(bench: &Bench, path: &str, body: &Value) -> String {
    let answer = bench.client.post(path, Some(&bench.admin), body).await.unwrap();
    assert_eq!(answer.status, 201, "{path}: {}", answer.detail());
    answer.json()["id"].as_str().unwrap().to_owned()
}

/// Heartbeat in another bucket than those of other numbers, in which the app runs or not.
async fn beat(bench: &Bench, device: &EnrolledDevice, number: i64, battery_pct: i64, runs: bool) {
    let mut told = heartbeat(number * 10 - 200, battery_pct);
    told.unity_process_running = Some(runs);
    let sent = bench.client.heartbeat(&device.session_token, &told).await.unwrap();
    assert_eq!(sent.status, 200, "{}", sent.detail());
}

/// Output of `nexmdm ctl`.
fn ctl(bench: &Bench, arguments: &[&str]) -> (bool, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_nexmdm"))
        .arg("ctl")
        .args(arguments)
        .env("NEXMDM_SERVER", bench.node.url())
        .env("NEXMDM_TOKEN", &bench.admin)
        .output()
        .unwrap();
    (out.status.success(), String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr))
}

/// What is sent arrives while `nexmdm ctl` runs, which blocks its thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dying_app_is_notified_looked_after_and_resolved() {
    let watched = Watched::start().await;
    let Watched { bench, channel, .. } = &watched;
    let device = bench.enroll("kiosk").await;
    beat(bench, &device, 1, 80, true).await;
    beat(bench, &device, 2, 80, false).await;
    beat(bench, &device, 3, 80, false).await;

    let of_device = format!("rule=app_down&device_id={}", device.device_id);
    let alert = watched.alert(&format!("state=firing&{of_device}")).await;
    assert_eq!(
        (&alert["severity"], &alert["subject"]["name"], &alert["device_id"]),
        (&json!("critical"), &json!("kiosk"), &json!(device.device_id))
    );
    assert!(alert["reason"].as_str().unwrap().contains("does not run"), "{alert}");
    let raised = watched.arrival("raised", "app_down").await;
    assert_eq!((raised.alerts[0].alert_id.as_str(), raised.alerts[0].name.as_str()), (alert["id"].as_str().unwrap(), "kiosk"));

    let path = format!("/v1/alerts/{}", alert["id"].as_str().unwrap());
    let shown = eventually("the delivery is noted", async || {
        let shown = watched.get(&path).await;
        (shown["deliveries"][0]["state"] == "delivered").then_some(shown)
    })
    .await;
    assert_eq!((&shown["notified"], &shown["history"][0]["kind"]), (&json!("firing"), &json!("raised")));
    assert_eq!(shown["history"][0]["notification_id"].as_str(), raised.notification.as_deref());
    assert_eq!(shown["deliveries"][0]["channel_id"].as_str(), Some(channel.as_str()));

    // Devices with an alert, in lists and in memory alike.
    let listed = watched.get("/v1/devices?alert=app_down").await;
    assert_eq!((&listed["items"][0]["alias"], &listed["items"][0]["alerts"]), (&json!("kiosk"), &json!(["app_down"])));
    assert_eq!(watched.get("/v1/devices?alert=low_battery").await["items"], json!([]));
    let counts = watched.get("/v1/alerts/counts").await;
    let of_rule: Vec<_> = counts["items"].as_array().unwrap().iter().filter(|count| count["rule"] == "app_down").collect();
    assert_eq!(of_rule, [&json!({"rule": "app_down", "severity": "critical", "state": "firing", "alerts": 1})], "{counts}");

    let answer = bench.client.post(&format!("{path}/acknowledge"), Some(&bench.admin), &json!({"note": "on my way"})).await.unwrap();
    let acknowledged = answer.json();
    assert_eq!(
        (answer.status, &acknowledged["state"], &acknowledged["acknowledged"]["note"]),
        (200, &json!("acknowledged"), &json!("on my way"))
    );
    let again = json!({"ids": [alert["id"], "00000000-0000-7000-8000-000000000000"]});
    let again = bench.client.post("/v1/alerts/acknowledge", Some(&bench.admin), &again).await.unwrap().json();
    assert_eq!((&again["items"][0]["outcome"], &again["items"][1]["outcome"]), (&json!("already_acknowledged"), &json!("not_found")));

    beat(bench, &device, 4, 80, true).await;
    let resolved = watched.alert(&format!("state=resolved&{of_device}")).await;
    assert_eq!((&resolved["id"], &resolved["resolve_cause"]), (&alert["id"], &json!("cleared")));
    let message = watched.arrival("resolved", "app_down").await;
    assert_eq!((message.thread, message.alerts[0].alert_id.as_str()), (raised.thread, alert["id"].as_str().unwrap()));
    assert_eq!(watched.arrivals("app_down").len(), 2, "one message each");
    let refused = bench.client.post(&format!("{path}/acknowledge"), Some(&bench.admin), &json!({})).await.unwrap();
    assert_eq!(refused.status, 409, "{}", refused.detail());

    // The other faces.
    let (ok, out) = ctl(bench, &["alerts", "list", "--state", "resolved", "--device", "kiosk"]);
    assert!(ok && out.contains("app_down") && out.contains("kiosk"), "{out}");
    let (ok, out) = ctl(bench, &["alerts", "show", alert["id"].as_str().unwrap()]);
    assert!(ok && out.contains("on my way") && out.contains(HOOK), "{out}");
    let table = bench.client.get("/v1/alerts/export.csv?rule=app_down", Some(&bench.admin)).await.unwrap();
    let table = String::from_utf8(table.body.to_vec()).unwrap();
    assert!(table.lines().count() == 2 && table.contains("\"on my way\"") && table.contains("\"cleared\""), "{table}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_silenced_is_recorded_and_notified_once_the_silence_ends() {
    let watched = Watched::start().await;
    let Watched { bench, .. } = &watched;
    let device = bench.enroll("kiosk").await;
    let path = format!("/v1/devices/{}", device.device_id);
    let north = Call::post(&path, json!({"groups": ["North"]}).to_string()).method(Method::PATCH).bearer(&bench.admin);
    assert_eq!(bench.client.send(north).await.unwrap().status, 200);
    let (ok, silence) =
        ctl(bench, &["alerts", "silences", "create", "--rule", "low_battery", "--group", "north", "--for", "2h", "--reason", "move"]);
    assert!(ok, "{silence}");
    beat(bench, &device, 1, 9, true).await;
    let alert = watched.alert("state=firing&rule=low_battery&group=NORTH").await;
    let path = format!("/v1/alerts/{}", alert["id"].as_str().unwrap());
    eventually("the notification is held", async || (watched.get(&path).await["held_by"] == "silenced").then_some(())).await;
    assert!(watched.arrivals("low_battery").is_empty());

    let ended = bench.client.delete(&format!("/v1/silences/{}", silence.trim()), &bench.admin).await.unwrap();
    assert_eq!(ended.status, 204, "{}", ended.detail());
    let raised = watched.arrival("raised", "low_battery").await;
    assert_eq!(raised.alerts[0].alert_id, alert["id"].as_str().unwrap());
    assert_eq!(watched.get("/v1/silences").await["items"], json!([]));
    assert_eq!(watched.get("/v1/silences?ended=true").await["items"][0]["reason"], "move");
}
