//! Deployments in a cluster: any node takes any word, stops are in force everywhere, and another node goes on when the one
//! that drove it dies.

use std::time::Duration;

use chaos::client::{Client, EnrolledDevice};
use chaos::harness::Cluster;
use serde_json::{Value, json};

use crate::common::deployments::{fit, flag, say};
use crate::common::{apks, cluster_options, eventually, within};

/// Three nodes, and devices that are fit.
struct Site {
    cluster: Cluster,
    admin: String,
    devices: Vec<EnrolledDevice>,
    apk: Value,
}

impl Site {
    async fn start(devices: usize) -> Self {
        let options = cluster_options(3);
        let cluster = Cluster::start(options).await.unwrap();
        let client = Client::new(&cluster.members()[0].url()).unwrap();
        let admin = client.access_token("admin", cluster.admin_password()).await.unwrap();
        apks::add(&client, &admin, "till-1.apk").await;
        let apk = apks::add(&client, &admin, "till-2.apk").await;
        flag(&client, &admin, "deployments.enabled", true).await;
        let mut site = Self { cluster, admin, devices: Vec::new(), apk };
        for n in 0..devices {
            let device = client.enroll(&site.admin, &format!("till-{n:02}")).await.unwrap();
            assert_eq!(client.heartbeat(&device.session_token, &fit(0, Some(1))).await.unwrap().status, 200);
            site.devices.push(device);
        }
        site
    }

    fn client(&self, node: &str) -> Client {
        Client::new(&self.cluster.member(node).unwrap().url()).unwrap()
    }

    async fn deploy(&self, options: Value) -> String {
        let body = json!({"apk_id": self.apk["id"], "target": {"fleet": true}, "options": options});
        // Every node has to know what the devices are like, or the canary waits for a look of its own.
        let answer = self.client("node-1").post("/v1/deployments", Some(&self.admin), &body).await.unwrap();
        assert_eq!(answer.status, 201, "{}", answer.detail());
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    async fn shown(&self, node: &str, id: &str) -> Value {
        self.client(node).get_json(&format!("/v1/deployments/{id}"), &self.admin).await.unwrap()
    }

    /// Node that drives a deployment: the owner of its shard.
    async fn driver(&self, asked: &str, id: &str) -> String {
        let shard = domain::shard::shard_of_deployment(id.parse().unwrap());
        let view = self.cluster.view_of(asked).await.unwrap();
        view["shards"][usize::from(shard.0)]["owner"].as_str().unwrap_or_default().to_owned()
    }

    /// A heartbeat of a device shows the version that is deployed.
    async fn shows_version(&self, node: &str, device: usize) {
        let told = fit(20, self.apk["version_code"].as_i64());
        eventually("the heartbeat is taken", async || {
            let answer = self.client(node).heartbeat(&self.devices[device].session_token, &told).await.ok()?;
            (answer.status == 200).then_some(())
        })
        .await;
    }

    async fn sending(&self, node: &str, id: &str) -> Vec<usize> {
        let path = format!("/v1/deployments/{id}/tasks?state=sending&limit=500");
        let page = self.client(node).get_json(&path, &self.admin).await.unwrap();
        let ids: Vec<&str> = page["items"].as_array().unwrap().iter().map(|task| task["device_id"].as_str().unwrap()).collect();
        let place = |id: &str| self.devices.iter().position(|device| device.device_id == id).unwrap();
        ids.into_iter().map(place).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stops_are_in_force_on_every_node_and_any_node_takes_any_word() {
    let site = Site::start(6).await;
    let names = ["node-1", "node-2", "node-3"];
    let id = site.deploy(json!({"canary": {"size": 1}, "rate_per_minute": 0, "concurrency": 10})).await;
    let first = eventually("the canary", async || site.sending("node-2", &id).await.first().copied()).await;
    for (node, status) in names.iter().zip(["accepted", "installing", "succeeded"]) {
        assert_eq!(say(&site.client(node), &site.devices[first], &id, json!({ "status": status })).await.status, 200);
    }
    site.shows_version("node-2", first).await;
    let sending = eventually("the others", async || Some(site.sending("node-3", &id).await).filter(|sending| sending.len() == 5)).await;

    // The switch is thrown at one node; all of them refuse from that moment on.
    flag(&site.client("node-2"), &site.admin, "deployments.kill_switch", true).await;
    for (n, node) in names.iter().enumerate() {
        assert_eq!(say(&site.client(node), &site.devices[sending[n]], &id, json!({"status": "accepted"})).await.status, 409, "{node}");
        assert_eq!(site.shown(node, &id).await["blocked_by"], "kill_switch");
    }
    eventually("taken back", async || site.sending("node-1", &id).await.is_empty().then_some(())).await;
    flag(&site.client("node-3"), &site.admin, "deployments.kill_switch", false).await;
    eventually("on again", async || (site.sending("node-1", &id).await.len() == 5).then_some(())).await;

    let pause = format!("/v1/deployments/{id}/pause");
    assert_eq!(site.client("node-3").post(&pause, Some(&site.admin), &json!({})).await.unwrap().status, 200);
    for (n, node) in names.iter().enumerate() {
        assert_eq!(say(&site.client(node), &site.devices[sending[n]], &id, json!({"status": "accepted"})).await.status, 409, "{node}");
        assert_eq!(site.shown(node, &id).await["state"], "paused");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_node_goes_on_when_the_driver_is_killed() {
    let mut site = Site::start(8).await;
    let id = site.deploy(json!({"canary": {"size": 1}, "rate_per_minute": 0, "concurrency": 3})).await;
    let first = eventually("the canary", async || site.sending("node-1", &id).await.first().copied()).await;
    let client = site.client("node-1");
    for status in ["accepted", "succeeded"] {
        assert_eq!(say(&client, &site.devices[first], &id, json!({ "status": status })).await.status, 200);
    }
    site.shows_version("node-1", first).await;
    let begun = eventually("three at a time", async || Some(site.sending("node-1", &id).await).filter(|sending| sending.len() == 3)).await;
    let driver = site.driver("node-1", &id).await;
    site.cluster.node_mut(&driver).unwrap().kill9().unwrap();
    let left = ["node-1", "node-2", "node-3"].into_iter().find(|name| *name != driver).unwrap();
    let client = site.client(left);

    // The devices notice nothing: their words are taken, and those that wait get their turn.
    let mut done = vec![first];
    for device in begun {
        for status in ["accepted", "succeeded"] {
            assert_eq!(say(&client, &site.devices[device], &id, json!({ "status": status })).await.status, 200);
        }
        site.shows_version(left, device).await;
        done.push(device);
    }
    while done.len() < 8 {
        let next = within(Duration::from_secs(30), "another one", async || {
            site.sending(left, &id).await.into_iter().find(|device| !done.contains(device))
        })
        .await;
        for status in ["accepted", "succeeded"] {
            assert_eq!(say(&client, &site.devices[next], &id, json!({ "status": status })).await.status, 200);
        }
        site.shows_version(left, next).await;
        done.push(next);
    }
    eventually("finished", async || (site.shown(left, &id).await["state"] == "finished").then_some(())).await;
    assert_ne!(site.driver(left, &id).await, driver);
    let shown = site.shown(left, &id).await;
    assert_eq!((&shown["counts"]["succeeded"], &shown["counts"]["failed"]), (&json!(8), &json!(0)));
    let rows =
        site.cluster.psql().run("SELECT count(*) FILTER (WHERE attempts = 1 AND state = 'succeeded') FROM deployment_task", &[]).await;
    assert_eq!(rows.unwrap().trim(), "8", "nobody was told twice");
}
