//! Commands where paths fail: push as Google's stand-in speaks it, and nodes that share a device.

use std::time::Duration;

use chaos::agent_command::{DeviceKey, Keys, Seen, Verdict, judge, judge_legacy};
use chaos::client::{AgentSocket, Client, EnrolledDevice};
use chaos::fcm::{FakeFcm, FakeFcmOptions, Fault, FaultScope};
use chaos::harness::{Cluster, TempDir};
use serde_json::{Value, json};
use wire::agent::Command;
use wire::socket::DownFrame;

use crate::common::{Bench, clock, cluster_options, eventually, heartbeat, options, within};

async fn google() -> (FakeFcm, TempDir, std::path::PathBuf) {
    let fake = FakeFcm::start(FakeFcmOptions::default()).await.unwrap();
    let folder = TempDir::new("fcm").unwrap();
    let account = folder.path().join("account.json");
    fake.write_account(&account).unwrap();
    (fake, folder, account)
}

async fn send(client: &Client, token: &str, device: &EnrolledDevice, body: Value) -> String {
    let answer = client.post(&format!("/v1/devices/{}/commands", device.device_id), Some(token), &body).await.unwrap();
    assert_eq!(answer.status, 201, "{}", answer.json());
    answer.json()["request_id"].as_str().unwrap().to_owned()
}

async fn record(client: &Client, token: &str, id: &str) -> Value {
    client.get_json(&format!("/v1/commands/{id}"), token).await.unwrap()
}

async fn command(socket: &mut AgentSocket) -> Command {
    loop {
        match socket.next().await.unwrap().expect("an open socket") {
            DownFrame::Command(command) => return command,
            DownFrame::Ack { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn without_its_socket_a_device_gets_a_push_message_and_without_that_its_heartbeat_asks() {
    let (fake, _folder, account) = google().await;
    let bench = Bench::with(
        options()
            .env("NEXMDM__FCM__SERVICE_ACCOUNT_FILE", account.to_str().unwrap())
            .env("NEXMDM__FCM__BASE_URL", fake.url())
            .env("NEXMDM__COMMANDS__SOCKET_WAIT_MS", "2000"),
    )
    .await;
    let device = bench.enroll("kiosk").await;
    let mut pushed = fake.subscribe("push-token");
    let body = json!({"fcm_token": "push-token"});
    assert_eq!(bench.client.post("/v1/devices/fcm-token", Some(&device.session_token), &body).await.unwrap().status, 200);
    let beat = async |seconds: i64| {
        let mut told = heartbeat(seconds, 50);
        told.fcm_token = Some("push-token".into());
        bench.client.heartbeat(&device.session_token, &told).await.unwrap().json()
    };
    beat(-600).await;

    // With a socket open the socket it is; nothing is pushed.
    let mut socket = bench.client.socket(&device.session_token).await.unwrap().unwrap();
    socket.send_heartbeat(&heartbeat(-500, 50)).await.unwrap();
    let first = send(&bench.client, &bench.admin, &device, json!({"action": "ring"})).await;
    assert_eq!(command(&mut socket).await.request_id, first);
    let say = async |id: &str| {
        let done = json!({"request_id": id, "outcome": "success"});
        bench.client.post("/v1/action-result", Some(&device.session_token), &done).await.unwrap().status
    };
    assert_eq!(say(&first).await, 200);

    // The socket is pulled: the next one goes by push, signed as over every path.
    socket.close().await.unwrap();
    eventually("the owner knows", async || (bench.metric("nexmdm_agent_sockets").await == 0.0).then_some(())).await;
    let second = send(&bench.client, &bench.admin, &device, json!({"action": "ring"})).await;
    let message = tokio::time::timeout(Duration::from_secs(10), pushed.recv()).await.unwrap().unwrap();
    let sent: Command = serde_json::from_value(json!(message.data)).unwrap();
    let keys = Keys::of(DeviceKey::from_hex(&device.device_key).unwrap());
    assert_eq!(
        (sent.request_id.as_str(), judge(&keys, &device.device_id, &sent, clock(0), &mut Seen::default())),
        (second.as_str(), Verdict::Run)
    );
    assert_eq!(judge_legacy(&keys, &device.device_id, &message.data, clock(0), &mut Seen::default()), Verdict::Run);
    assert_eq!(say(&second).await, 200);
    eventually("the record", async || (record(&bench.client, &bench.admin, &second).await["path"] == "push").then_some(())).await;

    // Google is down for the whole life of the next: its heartbeat brings it.
    fake.fail(FaultScope::Everybody, Fault::Unavailable { retry_after: None }, None);
    let third = send(&bench.client, &bench.admin, &device, json!({"action": "ring"})).await;
    eventually("its heartbeat brings it", async || {
        let answer = beat(-300).await;
        (answer["commands"][0]["request_id"] == json!(third)).then_some(())
    })
    .await;
    assert_eq!(say(&third).await, 200);
    eventually("the record", async || (record(&bench.client, &bench.admin, &third).await["path"] == "heartbeat").then_some(())).await;

    // A token that Google knows no more is forgotten.
    fake.heal();
    fake.fail(FaultScope::Token("push-token".into()), Fault::Unregistered, None);
    send(&bench.client, &bench.admin, &device, json!({"action": "ring"})).await;
    within(Duration::from_secs(60), "the token is forgotten", async || {
        (bench.sql("SELECT count(*) FROM device WHERE fcm_token IS NOT NULL") == "0").then_some(())
    })
    .await;
    let trail = bench.sql("SELECT string_agg(DISTINCT action, ',' ORDER BY action) FROM audit_entry WHERE action LIKE 'command%'");
    assert_eq!(trail, "command.sent,command.succeeded");
}

#[tokio::test]
async fn a_device_is_told_through_any_node_and_after_its_owner_has_died() {
    let options = cluster_options(3);
    let mut cluster = Cluster::start(options).await.unwrap();
    let names: Vec<String> = cluster.members().iter().map(|member| member.name().to_owned()).collect();
    let client = |name: &str, cluster: &Cluster| Client::new(&cluster.member(name).unwrap().url()).unwrap();
    let first = client(&names[0], &cluster);
    let admin = first.access_token("admin", cluster.admin_password()).await.unwrap();
    // A device that neither the node with its socket nor the node that is asked owns.
    let owner_of = async |device: &EnrolledDevice| -> Option<String> {
        let answer = first.heartbeat(&device.session_token, &heartbeat(-3000, 50)).await.ok()?;
        let owner = answer.header("x-nexmdm-owner")?.split(';').next()?.to_owned();
        (owner != "-").then_some(owner)
    };
    let mut device = None;
    for n in 0..60 {
        let one = first.enroll(&admin, &format!("kiosk-{n}")).await.unwrap();
        let owner = eventually("an owner", async || owner_of(&one).await).await;
        if owner == names[2] {
            device = Some(one);
            break;
        }
    }
    let device = device.expect("one of 60 devices is the third node's");
    let (socket_node, asked) = (client(&names[0], &cluster), client(&names[1], &cluster));
    let mut socket = socket_node.socket(&device.session_token).await.unwrap().unwrap();
    let id = send(&asked, &admin, &device, json!({"action": "ring"})).await;
    assert_eq!(command(&mut socket).await.request_id, id);
    // Every node knows the way to it.
    eventually("the way is known", async || {
        let plan = json!({"action": "ping", "target": {"ids": [device.device_id]}, "dry_run": true});
        let plan = asked.post("/v1/command-batches", Some(&admin), &plan).await.ok()?.json();
        (plan["paths"]["socket"] == 1).then_some(())
    })
    .await;

    // The owner dies with the command in flight; the device answers through the others.
    cluster.node_mut(&names[2]).unwrap().kill9().unwrap();
    let done = json!({"request_id": id, "outcome": "success"});
    eventually("the result", async || {
        let answer = asked.post("/v1/action-result", Some(&device.session_token), &done).await.ok()?;
        (answer.status == 200).then_some(())
    })
    .await;
    assert_eq!(record(&first, &admin, &id).await["state"], "succeeded", "seen from another node");
    let next = eventually("the next command", async || {
        let answer =
            asked.post(&format!("/v1/devices/{}/commands", device.device_id), Some(&admin), &json!({"action": "ring"})).await.ok()?;
        (answer.status == 201).then(|| answer.json()["request_id"].as_str().map(str::to_owned))?
    })
    .await;
    // The new owner finds it waiting, and the socket where it hangs.
    let got = tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            let got = command(&mut socket).await;
            if got.request_id == next {
                return got;
            }
        }
    });
    assert_eq!(got.await.unwrap().action, "ring");
}
