//! Identity of devices: registrations whose answer was lost, clones of one image, hardware that enrolls again, ghosts.

use std::process::Command;
use std::sync::Arc;

use chaos::client::{Answer, Client, EnrolledDevice};
use chaos::harness::Cluster;
use serde_json::{Value, json};
use wire::agent::{Heartbeat, Network, RegisterRequest};
use wire::lenient::Int;

use crate::common::{Bench, clock, cluster_options, eventually, heartbeat, heartbeat_at};

pub(crate) fn of_hardware(alias: &str, hardware_id: Option<&str>) -> RegisterRequest {
    RegisterRequest { alias: Some(alias.to_owned()), hardware_id: hardware_id.map(str::to_owned), ..RegisterRequest::default() }
}

/// Device id and device token of a registration's answer.
pub(crate) fn registered(answer: &Answer) -> (String, String) {
    assert_eq!(answer.status, 200, "{}", answer.detail());
    let answer = answer.json();
    (answer["device_id"].as_str().unwrap().to_owned(), answer["device_token"].as_str().unwrap().to_owned())
}

async fn kinds(bench: &Bench, device: &str) -> Vec<String> {
    let events = bench.client.get_json(&format!("/v1/devices/{device}/events?limit=200"), &bench.admin).await.unwrap();
    events["items"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap().to_owned()).collect()
}

async fn audited(bench: &Bench, action: &str) -> Vec<Value> {
    let found = bench.client.get_json(&format!("/v1/audit?action={action}"), &bench.admin).await.unwrap();
    found["items"].as_array().unwrap().clone()
}

fn ctl(bench: &Bench, arguments: &[&str]) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_nexmdm"))
        .arg("ctl")
        .args(arguments)
        .env("NEXMDM_SERVER", bench.node.url())
        .env("NEXMDM_TOKEN", &bench.admin)
        .output()
        .unwrap();
    assert!(out.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

#[tokio::test]
async fn a_registration_whose_answer_was_lost_is_answered_again_to_the_same_hardware_only() {
    let bench = Bench::start().await;
    let token = bench.client.tokens(&bench.admin, 1).await.unwrap().remove(0).token;
    let register = async |hardware_id| bench.client.register(&token, &of_hardware("kiosk", hardware_id)).await.unwrap();
    let (device, lost) = registered(&register(Some("HW-1")).await);
    for stranger in [Some("HW-2"), None, Some("hw-1")] {
        assert_eq!(register(stranger).await.status, 401, "{stranger:?}");
    }
    let (again, received) = registered(&register(Some("HW-1")).await);
    assert_eq!(again, device);
    assert_eq!(bench.sql("SELECT string_agg(alias, ',') FROM device"), "kiosk", "no ghost");
    assert_eq!(bench.client.session(&lost).await.unwrap().status, 401, "nobody has received it");
    assert_eq!(bench.client.heartbeat(&received, &heartbeat(0, 80)).await.unwrap().status, 200);
    assert_eq!(register(Some("HW-1")).await.status, 401, "it has its identity");
    eventually("its events", async || (kinds(&bench, &device).await == ["came_online", "registration_retried", "enrolled"]).then_some(()))
        .await;
    let entries = audited(&bench, "device.registration_retried").await;
    assert_eq!((entries.len(), &entries[0]["target"]["name"], &entries[0]["actor"]["kind"]), (1, &json!("kiosk"), &json!("device")));
    assert_eq!(bench.metric("nexmdm_enrollments_total{outcome=\"retried\"}").await, 1.0);
}

#[tokio::test]
async fn a_retried_registration_is_refused_when_it_is_late_or_the_device_was_settled_otherwise() {
    let bench = Bench::start().await;
    for (alias, meanwhile) in [
        ("late", "UPDATE enroll_token SET used_at = used_at - interval '601 s'"),
        ("revoked", "UPDATE device SET credential_generation = 2"),
        ("deleted", "UPDATE device SET deleted_at = now()"),
        // Of a node of the build before, which notes no first use.
        (
            "spoke",
            "INSERT INTO device_last_status (device_id, bucket_at, received_at, last_seen_at, clock_rejected) \
             SELECT device_id, now(), now(), now(), false FROM device WHERE alias = 'spoke'",
        ),
    ] {
        let token = bench.client.tokens(&bench.admin, 1).await.unwrap().remove(0).token;
        let request = of_hardware(alias, Some(alias));
        registered(&bench.client.register(&token, &request).await.unwrap());
        bench.sql(meanwhile);
        assert_eq!(bench.client.register(&token, &request).await.unwrap().status, 401, "{alias}");
    }
    assert_eq!(bench.sql("SELECT count(*) FROM device_token"), "4", "none was replaced");
}

/// However retries and the first use of an answer meet, one token is left that works.
#[tokio::test]
async fn simultaneous_retries_leave_one_device_with_one_token() {
    let bench = Arc::new(Bench::start().await);
    for round in 0..8 {
        let token = bench.client.tokens(&bench.admin, 1).await.unwrap().remove(0).token;
        let request = of_hardware(&format!("kiosk-{round}"), Some("HW"));
        let (device, first) = registered(&bench.client.register(&token, &request).await.unwrap());
        let retries: Vec<_> = (0..4)
            .map(|_| {
                let (bench, token, request) = (Arc::clone(&bench), token.clone(), of_hardware(&format!("kiosk-{round}"), Some("HW")));
                tokio::spawn(async move { bench.client.register(&token, &request).await.unwrap() })
            })
            .collect();
        let used = bench.client.session(&first).await.unwrap().status;
        let mut tokens = vec![first];
        for retry in retries {
            let answer = retry.await.unwrap();
            match answer.status {
                200 => {
                    let (same, token) = registered(&answer);
                    assert_eq!(same, device);
                    tokens.push(token);
                }
                refused => assert_eq!((refused, used), (401, 200), "a retry is refused once the first token was used"),
            }
        }
        let mut valid = 0;
        for token in &tokens {
            valid += u32::from(bench.client.session(token).await.unwrap().status == 200);
        }
        assert_eq!((valid, used == 200), (1, tokens.len() == 1), "round {round}");
    }
    assert_eq!(bench.sql("SELECT count(*), count(DISTINCT device_id) FROM device_token"), "8|8");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registration_is_retried_at_another_node() {
    let cluster = Cluster::start(cluster_options(2)).await.unwrap();
    let [one, other] = [0, 1].map(|n| Client::new(&cluster.members()[n].url()).unwrap());
    let admin = one.access_token("admin", cluster.admin_password()).await.unwrap();
    for n in 0..6 {
        let token = one.tokens(&admin, 1).await.unwrap().remove(0).token;
        let request = of_hardware(&format!("kiosk-{n}"), Some("HW"));
        let (device, lost) = registered(&one.register(&token, &request).await.unwrap());
        let (again, received) = registered(&other.register(&token, &request).await.unwrap());
        assert_eq!(again, device);
        assert_eq!(one.session(&lost).await.unwrap().status, 401);
        assert_eq!(one.heartbeat(&received, &heartbeat(0, 80)).await.unwrap().status, 200);
        assert_eq!(other.register(&token, &request).await.unwrap().status, 401);
    }
}

/// A heartbeat of one of two devices that share an identity.
fn of_clone(second: i64, one: bool, n: i64) -> Heartbeat {
    let (boot, first_seq, address) = if one { ("boot-a", 500, "192.0.2.7") } else { ("boot-b", 3, "192.0.2.8") };
    Heartbeat {
        boot_id: Some(boot.into()),
        seq: Some(Int(first_seq + n)),
        network: Some(Network { transport: Some("wifi".into()), ip: Some(address.into()), ..Network::default() }),
        app_version: Some(if one { "1.4.0" } else { "1.5.0" }.into()),
        ..heartbeat_at(clock(second), 80)
    }
}

/// Twelve heartbeats from each by turns; the commands that their answers carried.
pub(crate) async fn by_turns(bench: &Bench, device: &EnrolledDevice, from: i64) -> Vec<Value> {
    let mut commands = Vec::new();
    for n in 0..24 {
        let answer = bench.client.heartbeat(&device.session_token, &of_clone(from + n * 10, n % 2 == 0, from + n)).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.detail());
        commands.extend(answer.json()["commands"].as_array().unwrap().clone());
    }
    commands
}

#[tokio::test]
async fn clones_are_noticed_once_and_commands_wait_for_a_decision() {
    let mut bench = Bench::start().await;
    let device = bench.enroll("kiosk").await;
    let (id, path) = (device.device_id.clone(), format!("/v1/devices/{}", device.device_id));
    by_turns(&bench, &device, -590).await;
    let conflicts = async |bench: &Bench| kinds(bench, &id).await.iter().filter(|kind| *kind == "identity_conflict_began").count();
    eventually("it is told", async || (conflicts(&bench).await > 0).then_some(())).await;
    let shown = async |bench: &Bench| bench.client.get_json(&path, &bench.admin).await.unwrap();
    let live = shown(&bench).await;
    assert_eq!((&live["identity"], live["identity_conflict_at"].is_string()), (&json!("conflict"), true));
    let events = bench.client.get_json(&format!("{path}/events?kind=identity_conflict_began"), &bench.admin).await.unwrap();
    let detail = &events["items"][0]["detail"];
    for (which, boot, address) in [("one", "boot-a", "192.0.2.7"), ("other", "boot-b", "192.0.2.8")] {
        let text = detail[which].as_str().unwrap();
        assert!(text.contains(boot) && text.contains(address), "{detail}");
    }
    assert_eq!(bench.metric("nexmdm_identity_conflicts_total").await, 1.0);
    eventually("it is counted", async || (bench.metric("nexmdm_devices{state=\"identity_conflict\"}").await == 1.0).then_some(())).await;
    let events_before = kinds(&bench, &id).await.len();

    // Held, whoever asks for them.
    let sent = bench.client.post(&format!("{path}/commands"), Some(&bench.admin), &json!({"action": "ring"})).await.unwrap();
    assert_eq!(sent.status, 201, "{}", sent.detail());
    let command = format!("/v1/commands/{}", sent.json()["request_id"].as_str().unwrap());
    assert_eq!(by_turns(&bench, &device, -340).await, Vec::<Value>::new());
    let held = bench.client.get_json(&command, &bench.admin).await.unwrap();
    assert_eq!((&held["state"], &held["held"]), (&json!("queued"), &json!("identity_conflict")));
    assert_eq!(kinds(&bench, &id).await.len(), events_before, "what they tell by turns is no event");
    // Another start reads it.
    bench.node.restart().await.unwrap();
    bench.client = Client::new(&bench.node.url()).unwrap();
    bench.admin = bench.client.access_token("admin", bench.node.admin_password()).await.unwrap();
    assert_eq!(shown(&bench).await["identity"], "conflict");
    assert_eq!(by_turns(&bench, &device, -240).await, Vec::<Value>::new());
    assert_eq!(conflicts(&bench).await, 1);
    let listed = bench.client.get_json("/v1/devices?identity=conflict", &bench.admin).await.unwrap();
    assert_eq!(listed["items"][0]["alias"], "kiosk");

    // It is one device, says an admin.
    assert!(ctl(&bench, &["devices", "dismiss-conflict", "kiosk", "--yes"]).contains("Dismissed"));
    assert_eq!(shown(&bench).await["identity"], "single");
    let released = by_turns(&bench, &device, -110).await;
    assert!(released.iter().any(|command| command["action"] == "ring"), "{released:?}");
    assert_eq!(bench.client.get_json(&command, &bench.admin).await.unwrap().get("held"), None);
    assert_eq!(conflicts(&bench).await, 1, "it stays dismissed");
    let again = bench.client.post(&format!("{path}/identity-conflict/dismiss"), Some(&bench.admin), &json!({})).await.unwrap();
    assert_eq!(again.status, 409, "{}", again.detail());
    assert_eq!(kinds(&bench, &id).await.iter().filter(|kind| *kind == "identity_conflict_dismissed").count(), 1);
    let entries = audited(&bench, "device.conflict_dismissed").await;
    assert_eq!((entries.len(), &entries[0]["after"]["identity"]), (1, &json!("single")));
}

#[tokio::test]
async fn revoking_the_credentials_of_clones_ends_the_conflict_and_sends_nothing() {
    let bench = Bench::start().await;
    let device = bench.enroll("kiosk").await;
    let path = format!("/v1/devices/{}", device.device_id);
    by_turns(&bench, &device, -300).await;
    let sent = bench.client.post(&format!("{path}/commands"), Some(&bench.admin), &json!({"action": "ring"})).await.unwrap();
    let command = format!("/v1/commands/{}", sent.json()["request_id"].as_str().unwrap());
    assert_eq!(bench.client.post(&format!("{path}/revoke"), Some(&bench.admin), &json!({})).await.unwrap().status, 204);
    for n in 0..2 {
        let refused = bench.client.heartbeat(&device.session_token, &of_clone(n, n == 0, 400)).await.unwrap();
        assert_eq!(refused.status, 401);
    }
    let live = bench.client.get_json(&path, &bench.admin).await.unwrap();
    assert_eq!((&live["identity"], live.get("identity_conflict_at")), (&json!("single"), None));
    assert_eq!(bench.client.get_json(&command, &bench.admin).await.unwrap()["held"], "identity_conflict");
    assert_eq!(bench.client.get_json("/v1/devices?identity=conflict", &bench.admin).await.unwrap()["items"], json!([]));
}

#[tokio::test]
async fn hardware_that_enrolls_again_takes_over_what_people_know_it_by() {
    let bench = Bench::start().await;
    let enroll = async |alias: &str, tags: Value, hardware: &str| {
        let wanted = json!({"alias": alias, "tags": tags, "groups": ["berlin"]});
        let token = bench.client.post("/v1/enroll-tokens", Some(&bench.admin), &wanted).await.unwrap().json();
        let token = token["tokens"][0]["token"].as_str().unwrap().to_owned();
        registered(&bench.client.register(&token, &of_hardware(alias, Some(hardware))).await.unwrap())
    };
    let (old, old_token) = enroll("kiosk-17", json!(["till"]), "HW-17").await;
    assert_eq!(bench.client.heartbeat(&old_token, &heartbeat(-3600, 61)).await.unwrap().status, 200);
    let (new, new_token) = enroll("kiosk-17 again", json!([]), "HW-17").await;
    let (other, _) = enroll("kiosk-18", json!([]), "HW-18").await;
    assert_eq!(bench.client.heartbeat(&new_token, &heartbeat(0, 90)).await.unwrap().status, 200);

    let shown = bench.client.get_json(&format!("/v1/devices/{new}"), &bench.admin).await.unwrap();
    let same = &shown["same_hardware"];
    assert_eq!((&same[0]["device_id"], &same[0]["alias"], same[0]["last_seen_at"].is_string()), (&json!(old), &json!("kiosk-17"), true));
    for device in [&old, &new] {
        assert!(kinds(&bench, device).await.contains(&"same_hardware".to_owned()));
    }
    assert!(!kinds(&bench, &other).await.contains(&"same_hardware".to_owned()));

    let replace = async |device: &str, replaces: &str| {
        bench.client.post(&format!("/v1/devices/{device}/replace"), Some(&bench.admin), &json!({"replaces": replaces})).await.unwrap()
    };
    for (device, replaces, status) in [(&old, &new, 409), (&new, &new, 409), (&new, &other, 409), (&new, &"x".to_owned(), 404)] {
        assert_eq!(replace(device, replaces).await.status, status, "{device} {replaces}");
    }
    let replaced = replace(&new, &old).await;
    assert_eq!(replaced.status, 200, "{}", replaced.detail());
    let replaced = replaced.json();
    assert_eq!((&replaced["alias"], &replaced["tags"], &replaced["groups"]), (&json!("kiosk-17"), &json!(["till"]), &json!(["berlin"])));
    assert_eq!(replaced.get("same_hardware"), None);
    assert_eq!(bench.client.heartbeat(&old_token, &heartbeat(0, 10)).await.unwrap().status, 410, "one of them is left");
    assert_eq!(bench.client.heartbeat(&new_token, &heartbeat(20, 91)).await.unwrap().status, 200);
    assert_eq!(replace(&new, &old).await.status, 404, "it is replaced");

    // Events and plots of before are this device's.
    let events = kinds(&bench, &new).await;
    assert_eq!(events.iter().filter(|kind| *kind == "enrolled").count(), 2, "{events:?}");
    assert!(events.contains(&"replaced".to_owned()) && kinds(&bench, &old).await == ["replaced", "deleted"]);
    assert!(!events.contains(&"deleted".to_owned()), "{events:?}");
    let time = |seconds| clock(seconds).to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let range = format!("from={}&to={}&metrics=battery_pct", time(-7_200), time(60));
    let history = bench.client.get_json(&format!("/v1/devices/{new}/history?{range}"), &bench.admin).await.unwrap().to_string();
    assert!(["61.0", "90.0"].iter().all(|pct| history.contains(&format!("\"max\":{pct}"))), "{history}");
    let entries = audited(&bench, "device.replaced").await;
    assert_eq!(
        (entries.len(), &entries[0]["after"]["replaced"], &entries[0]["before"]["alias"]),
        (1, &json!(old), &json!("kiosk-17 again"))
    );
}

#[tokio::test]
async fn ghosts_are_listed_and_removed_together() {
    let mut bench = Bench::start().await;
    let alive = bench.enroll("alive").await;
    assert_eq!(bench.client.heartbeat(&alive.session_token, &heartbeat(0, 80)).await.unwrap().status, 200);
    for alias in ["ghost-1", "ghost-2", "new"] {
        bench.enroll(alias).await;
    }
    bench.sql("UPDATE device SET enrolled_at = enrolled_at - interval '25 hours' WHERE alias <> 'new'");
    let listed = bench.client.get_json("/v1/devices?identity=ghost", &bench.admin).await.unwrap();
    let aliases: Vec<_> = listed["items"].as_array().unwrap().iter().map(|device| device["alias"].clone()).collect();
    assert_eq!(aliases, ["ghost-1", "ghost-2"]);
    bench.node.restart().await.unwrap();
    bench.client = Client::new(&bench.node.url()).unwrap();
    bench.admin = bench.client.access_token("admin", bench.node.admin_password()).await.unwrap();
    let live = bench.client.get_json(&format!("/v1/devices/{}", listed["items"][0]["id"].as_str().unwrap()), &bench.admin).await.unwrap();
    assert_eq!((&live["identity"], &live["status"]), (&json!("ghost"), &json!("never_seen")));
    let remove = json!({"action": "delete", "filter": {"identity": "ghost"}});
    let removed = bench.client.post("/v1/devices/bulk", Some(&bench.admin), &remove).await.unwrap();
    assert_eq!((removed.status, &removed.json()["changed"]), (200, &json!(2)), "{}", removed.detail());
    assert_eq!(bench.sql("SELECT string_agg(alias, ',' ORDER BY alias) FROM device WHERE deleted_at IS NULL"), "alive,new");
}
