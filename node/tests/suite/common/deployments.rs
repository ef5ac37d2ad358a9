//! Deployments for tests: a shop of devices that report what a deployment looks at, and say what a test has them say.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};

use chaos::client::{Client, EnrolledDevice};
use chaos::http::{Answer, Call};
use hyper::Method;
use serde_json::{Value, json};
use wire::agent::{AppVersion, Heartbeat, Network};
use wire::lenient::Int;

use super::{Bench, apks, eventually, heartbeat, options};

/// The package of the fixtures that shops deploy.
pub(crate) const TILL: &str = "com.example.till";

/// A heartbeat of a device that is fit and has this version of the till.
pub(crate) fn fit(seconds: i64, version: Option<i64>) -> Heartbeat {
    let app = |code| AppVersion { installed: Some(true), version_name: Some(format!("{code}.0")), version_code: Some(Int(code)) };
    Heartbeat {
        network: Some(Network { transport: Some("wifi".into()), ..Network::default() }),
        app_versions: version.map(|code| BTreeMap::from([(TILL.to_owned(), Some(app(code)))])),
        storage_free_mb: Some(Int(5_000)),
        ..heartbeat(seconds, 90)
    }
}

/// Turns a flag on or off.
pub(crate) async fn flag(client: &Client, admin: &str, name: &str, on: bool) {
    let path = format!("/v1/flags/{name}");
    let call = Call::post(&path, json!({"enabled": on}).to_string()).method(Method::PUT);
    let answer = client.send(call.bearer(admin)).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.detail());
}

/// A device's report about a deployment.
pub(crate) async fn say(client: &Client, device: &EnrolledDevice, deployment: &str, word: Value) -> Answer {
    let path = format!("/v1/agent/deployments/{deployment}/devices/{}/status", device.device_id);
    client.post(&path, Some(&device.session_token), &word).await.unwrap()
}

/// A node with two versions of the till in its library, deployments switched on, and devices that have the older one.
pub(crate) struct Shop {
    pub(crate) bench: Bench,
    pub(crate) devices: Vec<EnrolledDevice>,
    pub(crate) old: Value,
    pub(crate) new: Value,
    beat: AtomicI64,
}

impl Shop {
    pub(crate) async fn with(devices: usize) -> Self {
        let bench = Bench::with(options()).await;
        let old = apks::add(&bench.client, &bench.admin, "till-1.apk").await;
        let new = apks::add(&bench.client, &bench.admin, "till-2.apk").await;
        flag(&bench.client, &bench.admin, "deployments.enabled", true).await;
        let mut shop = Self { bench, devices: Vec::new(), old, new, beat: AtomicI64::new(-400) };
        for n in 0..devices {
            shop.devices.push(shop.bench.enroll(&format!("till-{n:02}")).await);
        }
        shop.report(Some(1)).await;
        shop
    }

    /// Every device reports this version.
    pub(crate) async fn report(&self, version: Option<i64>) {
        let beat = self.next_beat();
        for device in &self.devices {
            let answer = self.bench.client.heartbeat(&device.session_token, &fit(beat, version)).await.unwrap();
            assert_eq!(answer.status, 200);
        }
    }

    /// One device reports this.
    pub(crate) async fn reports(&self, device: usize, told: impl FnOnce(i64) -> Heartbeat) -> Value {
        let beat = self.next_beat();
        let answer = self.bench.client.heartbeat(&self.devices[device].session_token, &told(beat)).await.unwrap();
        assert_eq!(answer.status, 200);
        answer.json()
    }

    /// Time of the next heartbeat, which falls into another bucket than the last.
    fn next_beat(&self) -> i64 {
        self.beat.fetch_add(20, Ordering::Relaxed) + 20
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.bench.client.post(path, Some(&self.bench.admin), body).await.unwrap()
    }

    /// Options that hold nothing back.
    pub(crate) fn swift() -> Value {
        json!({"canary": {"size": 0}, "rate_per_minute": 0, "concurrency": 100})
    }

    /// A deployment of the newer version to every device of the shop, by id.
    pub(crate) fn order(&self, options: Value) -> Value {
        let ids: Vec<_> = self.devices.iter().map(|device| device.device_id.clone()).collect();
        json!({"apk_id": self.new["id"], "target": {"ids": ids}, "options": options})
    }

    /// Makes a deployment; its id.
    pub(crate) async fn deploy(&self, order: &Value) -> String {
        let answer = self.post("/v1/deployments", order).await;
        assert_eq!(answer.status, 201, "{}", answer.detail());
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn shown(&self, id: &str) -> Value {
        self.bench.client.get_json(&format!("/v1/deployments/{id}"), &self.bench.admin).await.unwrap()
    }

    /// Waits until what is shown of a deployment fits.
    pub(crate) async fn until(&self, what: &str, id: &str, fits: impl Fn(&Value) -> bool) -> Value {
        eventually(what, async || Some(self.shown(id).await).filter(|shown| fits(shown))).await
    }

    /// Waits until so many tasks are in this state.
    pub(crate) async fn until_count(&self, id: &str, state: &str, tasks: i64) -> Value {
        self.until(&format!("{tasks} {state}"), id, |shown| shown["counts"][state] == tasks).await
    }

    /// Steers a deployment; the status of the answer.
    pub(crate) async fn transition(&self, id: &str, how: &str) -> u16 {
        self.post(&format!("/v1/deployments/{id}/{how}"), &json!({})).await.status
    }

    /// A device says something; the status of the answer.
    pub(crate) async fn says(&self, id: &str, device: usize, word: Value) -> u16 {
        say(&self.bench.client, &self.devices[device], id, word).await.status
    }

    /// A device says only where it stands; the status of the answer.
    pub(crate) async fn says_status(&self, id: &str, device: usize, status: &str) -> u16 {
        self.says(id, device, json!({ "status": status })).await
    }

    /// A device takes its task and does it, and its next heartbeat shows the version.
    pub(crate) async fn installs(&self, id: &str, device: usize) {
        for status in ["accepted", "downloading", "verifying", "installing", "succeeded"] {
            assert_eq!(self.says_status(id, device, status).await, 200, "{status} of {device}");
        }
        self.shows_version(device).await;
    }

    /// A heartbeat of a device shows the newer version.
    pub(crate) async fn shows_version(&self, device: usize) {
        self.reports(device, |at| fit(at, self.new["version_code"].as_i64())).await;
    }

    /// State and reason of each device's task, in the order of the shop.
    pub(crate) async fn tasks(&self, id: &str) -> Vec<(String, String)> {
        let page = self.bench.client.get_json(&format!("/v1/deployments/{id}/tasks?limit=500"), &self.bench.admin).await.unwrap();
        let tasks = page["items"].as_array().unwrap().clone();
        let of = |device: &EnrolledDevice| {
            let task = tasks.iter().find(|task| task["device_id"] == device.device_id.as_str());
            task.map_or_else(Default::default, |task| {
                (task["state"].as_str().unwrap().to_owned(), task["reason"].as_str().unwrap_or_default().to_owned())
            })
        };
        self.devices.iter().map(of).collect()
    }

    /// Tasks by state, as stored.
    pub(crate) fn recorded(&self, id: &str) -> String {
        self.bench.sql(&format!(
            "SELECT string_agg(state || '=' || n, ' ' ORDER BY state) FROM (SELECT state, count(*) n FROM deployment_task
             WHERE deployment_id = '{id}' GROUP BY state) counted"
        ))
    }
}
