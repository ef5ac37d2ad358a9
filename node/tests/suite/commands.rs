//! Commands: from whoever asks, by every path, to the device and back.

use chaos::agent_command::{DeviceKey, Keys, Seen, Verdict, judge};
use chaos::client::{AgentSocket, Client, EnrolledDevice};
use chaos::http::{Answer, Call};
use hyper::Method;
use serde_json::{Value, json};
use wire::agent::{Command, HeartbeatResponse};
use wire::socket::DownFrame;

use crate::common::{Bench, PASSWORD, clock, eventually, heartbeat, options};

/// Next command frame to a device, past all other frames.
async fn command(socket: &mut AgentSocket) -> Command {
    loop {
        match socket.next().await.unwrap().expect("an open socket") {
            DownFrame::Command(command) => return command,
            DownFrame::Ack { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Says over the socket what became of a command; the status of the answer.
async fn say(socket: &mut AgentSocket, result: Value) -> u16 {
    let mut frame = result;
    frame["type"] = json!("action_result");
    frame["id"] = json!("r");
    socket.send_text(frame.to_string()).await.unwrap();
    loop {
        match socket.next().await.unwrap().expect("an open socket") {
            DownFrame::Ack { id, .. } if id == "r" => return 200,
            DownFrame::Refused { id, status, .. } if id == "r" => return status,
            _ => {}
        }
    }
}

async fn post(client: &Client, path: &str, token: &str, body: &Value) -> Answer {
    client.post(path, Some(token), body).await.unwrap()
}

async fn once(bench: &Bench, path: &str, key: &str, body: &Value) -> Answer {
    let call =
        Call::post(path, body.to_string()).bearer(&bench.admin).header("content-type", "application/json").header("idempotency-key", key);
    bench.client.send(call).await.unwrap()
}

async fn send(bench: &Bench, device: &EnrolledDevice, action: &str, params: Value) -> Value {
    let path = format!("/v1/devices/{}/commands", device.device_id);
    let answer = post(&bench.client, &path, &bench.admin, &json!({"action": action, "params": params})).await;
    assert_eq!(answer.status, 201, "{:?}", answer.json());
    answer.json()
}

async fn state(bench: &Bench, id: &str) -> Value {
    bench.client.get_json(&format!("/v1/commands/{id}"), &bench.admin).await.unwrap()
}

async fn until(bench: &Bench, id: &str, wanted: &str) -> Value {
    eventually(wanted, async || Some(state(bench, id).await).filter(|record| record["state"] == wanted)).await
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("no {field} in {value}"))
}

/// Whether the device would run it.
fn runs(device: &EnrolledDevice, sent: &Command) -> Verdict {
    let keys = Keys::of(DeviceKey::from_hex(&device.device_key).unwrap());
    judge(&keys, &device.device_id, sent, clock(0), &mut Seen::default())
}

/// A device whose memory was lost contradicts its own result, while the owner has not heard of that result.
#[tokio::test]
async fn a_result_that_contradicts_the_record_ends_the_command_at_its_owner() {
    let bench = Bench::start().await;
    let device = bench.enroll("kiosk").await;
    let mut socket = bench.client.socket(&device.session_token).await.unwrap().unwrap();
    let made = send(&bench, &device, "ping", json!({})).await;
    command(&mut socket).await;
    eventually("the attempt", async || Some(()).filter(|()| bench.sql("SELECT path, attempts FROM command") == "socket|1")).await;
    bench.sql("UPDATE command SET state = 'succeeded', outcome = 'success', delivered_at = now(), finished_at = now()");
    assert_eq!(bench.metric("nexmdm_commands_open").await, 1.0);
    let otherwise = json!({"request_id": made["request_id"], "outcome": "failed", "code": "memory_lost"});
    assert_eq!(say(&mut socket, otherwise).await, 409);
    eventually("nothing is open", async || (bench.metric("nexmdm_commands_open").await == 0.0).then_some(())).await;
}

#[tokio::test]
async fn a_command_goes_over_the_socket_and_its_result_is_kept_and_not_changed() {
    let bench = Bench::start().await;
    let device = bench.enroll("kiosk").await;
    let mut socket = bench.client.socket(&device.session_token).await.unwrap().unwrap();
    let made = send(&bench, &device, "ring", json!({"duration_s": 3})).await;
    let id = text(&made, "request_id");
    let sent = command(&mut socket).await;
    assert_eq!((sent.request_id.as_str(), sent.action.as_str(), sent.params.as_str()), (id, "ring", r#"{"duration_s":3}"#));
    assert_eq!(runs(&device, &sent), Verdict::Run);

    assert_eq!(say(&mut socket, json!({"request_id": id, "outcome": "received"})).await, 200);
    until(&bench, id, "delivered").await;
    // The owner's note of the attempt comes by itself.
    eventually("the attempt", async || Some(()).filter(|()| bench.sql("SELECT path, attempts FROM command") == "socket|1")).await;
    let done = json!({"request_id": id, "outcome": "success", "message": "rang", "data": {"volume": 7}});
    assert_eq!(say(&mut socket, done.clone()).await, 200);
    let record = state(&bench, id).await;
    assert_eq!((text(&record, "state"), text(&record, "message"), &record["data"]["volume"]), ("succeeded", "rang", &json!(7)));

    // The same again is fine, anything else is not, over whichever way.
    assert_eq!(say(&mut socket, done.clone()).await, 200);
    assert_eq!(post(&bench.client, "/v1/action-result", &device.session_token, &done).await.status, 200);
    let other = json!({"request_id": id, "outcome": "failed"});
    assert_eq!(say(&mut socket, other.clone()).await, 409);
    assert_eq!(post(&bench.client, "/v1/action-result", &device.device_token, &other).await.status, 409);
    assert_eq!(state(&bench, id).await, record, "nothing has changed");

    // Nobody else's word counts.
    let stranger = bench.enroll("stranger").await;
    assert_eq!(post(&bench.client, "/v1/action-result", &stranger.session_token, &done).await.status, 404);
    let unknown = json!({"request_id": "00000000-0000-7000-8000-000000000000", "outcome": "success"});
    assert_eq!(post(&bench.client, "/v1/action-result", &device.session_token, &unknown).await.status, 404);
    assert_eq!(bench.metric("nexmdm_commands_finished_total{action=\"ring\",path=\"socket\",state=\"succeeded\"}").await, 1.0);
    assert_eq!(bench.metric("nexmdm_commands_open").await, 0.0);
}

#[tokio::test]
async fn a_device_without_a_socket_gets_it_with_its_next_heartbeat_and_once_per_wait() {
    let bench = Bench::start().await;
    let device = bench.enroll("kiosk").await;
    let made = send(&bench, &device, "wake", json!({})).await;
    let id = text(&made, "request_id");
    let beat = async |seconds| -> HeartbeatResponse {
        let answer = bench.client.heartbeat(&device.session_token, &heartbeat(seconds, 50)).await.unwrap();
        assert_eq!(answer.status, 200);
        serde_json::from_value(answer.json()).unwrap()
    };
    // The owner hears of it a moment after the caller.
    let waiting = eventually("the command", async || Some(beat(-50).await.commands).filter(|waiting| !waiting.is_empty())).await;
    assert_eq!(waiting.len(), 1);
    assert_eq!((waiting[0].request_id.as_str(), runs(&device, &waiting[0])), (id, Verdict::Run));
    assert!(beat(-40).await.commands.is_empty(), "it is given time to answer");
    assert_eq!(text(&until(&bench, id, "sent").await, "path"), "heartbeat");
    // Of a drained queue the whole list has one answer.
    let second = send(&bench, &device, "sync", json!({})).await;
    let listed = eventually("the second command", async || {
        let list = bench.client.heartbeats(&device.session_token, &[heartbeat(-30, 50), heartbeat(-20, 50)]).await.unwrap().json();
        let ids = list["commands"].as_array().unwrap().iter().map(|command| text(command, "request_id").to_owned());
        // The first is in an answer again once the device has had time to say that it has it.
        Some(ids.filter(|listed| listed != id).collect::<Vec<_>>()).filter(|listed| !listed.is_empty())
    })
    .await;
    assert_eq!(listed, [text(&second, "request_id")]);
    // Agents in the field say it in their own words.
    let path = format!("/v1/devices/{}/ack", device.device_id);
    let ack = json!({"type": "PING_ACK", "correlation_id": id, "status": "OK", "message": "hello"});
    assert_eq!(post(&bench.client, &path, &device.device_token, &ack).await.status, 200);
    assert_eq!(text(&state(&bench, id).await, "state"), "succeeded");
    let foreign = format!("/v1/devices/{}/ack", bench.enroll("other").await.device_id);
    assert_eq!(post(&bench.client, &foreign, &device.device_token, &ack).await.status, 403);
}

#[tokio::test]
async fn a_socket_that_says_nothing_is_followed_by_the_next_path_and_one_that_is_opened_gets_what_waits() {
    let bench = Bench::with(options().env("NEXMDM__COMMANDS__SOCKET_WAIT_MS", "300")).await;
    let device = bench.enroll("kiosk").await;
    let mut socket = bench.client.socket(&device.session_token).await.unwrap().unwrap();
    let made = send(&bench, &device, "ping", json!({})).await;
    let id = text(&made, "request_id");
    command(&mut socket).await;
    // It does not answer. Its next heartbeat, over the same socket, brings the same command.
    let again = eventually("the next path", async || {
        let answer = bench.client.heartbeat(&device.session_token, &heartbeat(-60, 50)).await.unwrap().json();
        answer["commands"].as_array().unwrap().first().cloned()
    })
    .await;
    assert_eq!(text(&again, "request_id"), id);
    socket.close().await.unwrap();

    // Nobody is there: what is sent waits for whichever way opens first.
    let waiting = send(&bench, &device, "ring", json!({})).await;
    let mut socket = bench.client.socket(&device.session_token).await.unwrap().unwrap();
    let mut got = vec![command(&mut socket).await.request_id, command(&mut socket).await.request_id];
    got.sort_unstable();
    let mut wanted = [id.to_owned(), text(&waiting, "request_id").to_owned()];
    wanted.sort_unstable();
    assert_eq!(got, wanted);
}

#[tokio::test]
async fn what_runs_out_or_is_taken_back_is_over_and_the_devices_word_still_counts() {
    let bench = Bench::start().await;
    let device = bench.enroll("kiosk").await;
    let path = format!("/v1/devices/{}/commands", device.device_id);
    let short = post(&bench.client, &path, &bench.admin, &json!({"action": "ping", "expires_in_s": 1})).await.json();
    let expired = until(&bench, text(&short, "request_id"), "expired").await;
    assert!(expired["finished_at"].is_string());
    let answer = bench.client.heartbeat(&device.session_token, &heartbeat(0, 50)).await.unwrap().json();
    assert_eq!(answer["commands"], json!([]), "what is over is not sent");
    let late = json!({"request_id": text(&short, "request_id"), "outcome": "success"});
    assert_eq!(post(&bench.client, "/v1/action-result", &device.session_token, &late).await.status, 200);
    assert_eq!(text(&state(&bench, text(&short, "request_id")).await, "state"), "succeeded");

    let canceled = send(&bench, &device, "ring", json!({})).await;
    let cancel = format!("/v1/commands/{}/cancel", text(&canceled, "request_id"));
    let answer = post(&bench.client, &cancel, &bench.admin, &json!({})).await;
    assert_eq!((answer.status, text(&answer.json(), "canceled_by")), (200, "admin"));
    assert_eq!(post(&bench.client, &cancel, &bench.admin, &json!({})).await.status, 200, "twice is once");
    let over = format!("/v1/commands/{}/cancel", text(&short, "request_id"));
    assert_eq!(post(&bench.client, &over, &bench.admin, &json!({})).await.status, 409);
    let answer = bench.client.heartbeat(&device.session_token, &heartbeat(20, 50)).await.unwrap().json();
    assert_eq!(answer["commands"], json!([]));
}

#[tokio::test]
async fn a_device_that_has_a_command_and_says_no_more_is_not_asked_again_and_it_runs_out() {
    let bench = Bench::with(options().env("NEXMDM__COMMANDS__SOCKET_WAIT_MS", "200")).await;
    let device = bench.enroll("kiosk").await;
    let mut socket = bench.client.socket(&device.session_token).await.unwrap().unwrap();
    let path = format!("/v1/devices/{}/commands", device.device_id);
    let made = post(&bench.client, &path, &bench.admin, &json!({"action": "ring", "expires_in_s": 3})).await.json();
    let id = text(&made, "request_id");
    assert_eq!(command(&mut socket).await.request_id, id);
    assert_eq!(say(&mut socket, json!({"request_id": id, "outcome": "received"})).await, 200);
    let answer = bench.client.heartbeat(&device.session_token, &heartbeat(0, 50)).await.unwrap().json();
    assert_eq!(answer["commands"], json!([]), "it has it");
    let over = until(&bench, id, "expired").await;
    assert_eq!((text(&over, "path"), &over["attempts"], over["delivered_at"].is_string()), ("socket", &json!(1), true));
    assert_eq!(bench.sql("SELECT count(*) FROM audit_entry WHERE action = 'command.expired'"), "1");
}

#[tokio::test]
async fn bad_requests_are_refused_with_the_field_and_leave_nothing() {
    let bench = Bench::start().await;
    let device = bench.enroll("kiosk").await;
    let path = format!("/v1/devices/{}/commands", device.device_id);
    for (body, field) in [
        (json!({"action": "wipe"}), "action"),
        (json!({"action": "deploy_apk"}), "action"),
        (json!({"action": "ring", "params": {"duration_s": 301}}), "params.duration_s"),
        (json!({"action": "ring", "params": {"loud": true}}), "params.loud"),
        (json!({"action": "launch_app", "params": {"package": "a.b", "intent": "x".repeat(501)}}), "params.intent"),
        (json!({"action": "exec", "params": {"name": "rm"}}), "params.name"),
        (json!({"action": "set_brightness", "params": {"level_pct": 101}}), "params.level_pct"),
        (json!({"action": "set_brightness"}), "params.level_pct"),
        (json!({"action": "launch_app"}), "params.package"),
        (json!({"action": "ping", "expires_in_s": 0}), "expires_in_s"),
        (json!({"action": "ping", "expires_in_s": -5}), "expires_in_s"),
        (json!({"action": "ping", "expires_in_s": 604_801}), "expires_in_s"),
        (json!({"action": "ping", "when": "now"}), "when"),
    ] {
        let answer = post(&bench.client, &path, &bench.admin, &body).await;
        assert_eq!((answer.status, answer.json()["field"].as_str()), (422, Some(field)), "{body}: {}", answer.json());
    }
    let nobody = "/v1/devices/00000000-0000-7000-8000-000000000000/commands";
    assert_eq!(post(&bench.client, nobody, &bench.admin, &json!({"action": "ping"})).await.status, 404);
    let gone = bench.enroll("gone").await;
    assert_eq!(bench.client.delete(&format!("/v1/devices/{}", gone.device_id), &bench.admin).await.unwrap().status, 204);
    let of_gone = format!("/v1/devices/{}/commands", gone.device_id);
    assert_eq!(post(&bench.client, &of_gone, &bench.admin, &json!({"action": "ping"})).await.status, 404);
    assert_eq!(bench.sql("SELECT count(*) FROM command"), "0");
    assert_eq!(bench.sql("SELECT count(*) FROM audit_entry WHERE action LIKE 'command%'"), "0");
}

#[tokio::test]
async fn operators_send_what_does_no_harm_and_admins_the_rest() {
    let bench = Bench::start().await;
    let device = bench.enroll("kiosk").await;
    for role in ["operator", "viewer"] {
        bench.add_user(role, role);
    }
    let operator = bench.client.access_token("operator", PASSWORD).await.unwrap();
    let viewer = bench.client.access_token("viewer", PASSWORD).await.unwrap();
    let path = format!("/v1/devices/{}/commands", device.device_id);
    for (action, params, status) in [
        ("ping", json!({}), 201),
        ("reboot", json!({}), 201),
        ("clear_app_data", json!({"package": "a.b"}), 403),
        ("rotate_key", json!({}), 403),
        ("exec", json!({"name": "logs"}), 403),
    ] {
        let body = json!({"action": action, "params": params});
        assert_eq!(post(&bench.client, &path, &operator, &body).await.status, status, "{action}");
        assert_eq!(post(&bench.client, &path, &viewer, &body).await.status, 403, "{action}");
        let batch = json!({"action": action, "params": params, "target": {"ids": [device.device_id]}, "dry_run": true});
        let answer = post(&bench.client, "/v1/command-batches", &operator, &batch).await;
        assert_eq!(answer.status == 403, status == 403, "{action}");
    }
    // What an operator could not send, an operator cannot take back.
    let sensitive = send(&bench, &device, "rotate_key", json!({})).await;
    let cancel = format!("/v1/commands/{}/cancel", text(&sensitive, "request_id"));
    assert_eq!(post(&bench.client, &cancel, &operator, &json!({})).await.status, 403);
    assert_eq!(bench.sql("SELECT count(*) FROM command"), "3");
}

#[tokio::test]
async fn the_same_key_makes_one_command_however_often_it_is_used() {
    let bench = Bench::start().await;
    let device = bench.enroll("kiosk").await;
    let path = format!("/v1/devices/{}/commands", device.device_id);
    let body = json!({"action": "ping"});
    let first = once(&bench, &path, "k-1", &body).await;
    let again = once(&bench, &path, "k-1", &body).await;
    assert_eq!((first.status, again.status), (201, 200));
    assert_eq!(text(&first.json(), "request_id"), text(&again.json(), "request_id"));
    assert_eq!(once(&bench, &path, "k-1", &json!({"action": "wake"})).await.status, 409);
    assert_eq!(once(&bench, &path, "", &body).await.status, 422);
    let calls = (0..8).map(|_| once(&bench, &path, "k-2", &body));
    let answers = futures_util::future::join_all(calls).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    assert_eq!(bench.sql("SELECT count(*) FROM command"), "2");
    assert_eq!(bench.sql("SELECT count(*) FROM audit_entry WHERE action = 'command.sent'"), "2");
}

#[tokio::test]
async fn exec_runs_only_what_is_allowed_and_secrets_are_not_shown_or_kept() {
    let bench = Bench::start().await;
    let device = bench.enroll("kiosk").await;
    let put = async |name: &str, argv: Value| {
        let body = json!({"argv": argv, "description": "d"});
        let path = format!("/v1/exec-commands/{name}");
        let call = Call::post(&path, body.to_string()).method(Method::PUT).bearer(&bench.admin);
        bench.client.send(call).await.unwrap().status
    };
    assert_eq!(put("logs", json!(["/system/bin/sh", "-c", "id"])).await, 422);
    assert_eq!(put("Bad%20name", json!(["/system/bin/logcat"])).await, 422);
    assert_eq!(put("logs", json!(["/system/bin/logcat", "-d"])).await, 204);
    let mut socket = bench.client.socket(&device.session_token).await.unwrap().unwrap();
    send(&bench, &device, "exec", json!({"name": "logs"})).await;
    let sent = command(&mut socket).await;
    assert_eq!(sent.params, r#"{"argv":["/system/bin/logcat","-d"],"name":"logs"}"#);
    assert_eq!(bench.client.delete("/v1/exec-commands/logs", &bench.admin).await.unwrap().status, 204);
    let path = format!("/v1/devices/{}/commands", device.device_id);
    assert_eq!(post(&bench.client, &path, &bench.admin, &json!({"action": "exec", "params": {"name": "logs"}})).await.status, 422);

    let wifi = send(&bench, &device, "wifi_connect", json!({"ssid": "shop", "security": "wpa2", "password": "open sesame"})).await;
    assert_eq!(wifi["params"]["password"], "***");
    let sent = command(&mut socket).await;
    assert!(sent.params.contains("open sesame"));
    assert_eq!(say(&mut socket, json!({"request_id": sent.request_id, "outcome": "success"})).await, 200);
    for table in ["command", "audit_entry"] {
        assert_eq!(bench.sql(&format!("SELECT count(*) FROM {table} t WHERE t::text LIKE '%sesame%'")), "0", "{table}");
    }
}

#[tokio::test]
async fn a_new_key_counts_once_the_device_has_confirmed_it() {
    let bench = Bench::start().await;
    let mut device = bench.enroll("kiosk").await;
    let mut socket = bench.client.socket(&device.session_token).await.unwrap().unwrap();
    send(&bench, &device, "rotate_key", json!({})).await;
    let rotate = command(&mut socket).await;
    assert_eq!(runs(&device, &rotate), Verdict::Run, "signed with the old key");
    let params: Value = serde_json::from_str(&rotate.params).unwrap();
    assert_eq!(params["key_version"], 2);
    // Until it is confirmed, commands are signed with the old one.
    send(&bench, &device, "ping", json!({})).await;
    assert_eq!(runs(&device, &command(&mut socket).await), Verdict::Run);
    assert_eq!(say(&mut socket, json!({"request_id": rotate.request_id, "outcome": "success"})).await, 200);
    device.device_key = text(&params, "device_key").to_owned();
    eventually("the new key", async || {
        send(&bench, &device, "ping", json!({})).await;
        let sent = command(&mut socket).await;
        assert_eq!(say(&mut socket, json!({"request_id": sent.request_id, "outcome": "success"})).await, 200);
        (runs(&device, &sent) == Verdict::Run).then_some(())
    })
    .await;
    assert_eq!(bench.sql(&format!("SELECT count(*) FROM command c WHERE c::text LIKE '%{}%'", device.device_key)), "0");
}

#[tokio::test]
async fn a_batch_tells_what_it_would_do_does_it_at_its_rate_and_counts_what_became_of_it() {
    let bench = Bench::start().await;
    let devices: Vec<_> =
        futures_util::future::join_all((0..6).map(|n| bench.client.enroll(&bench.admin, ["a", "b", "c", "d", "e", "f"][n]))).await;
    let devices: Vec<_> = devices.into_iter().map(Result::unwrap).collect();
    let mut socket = bench.client.socket(&devices[0].session_token).await.unwrap().unwrap();
    socket.send_heartbeat(&heartbeat(0, 50)).await.unwrap();
    let ids: Vec<_> =
        devices.iter().map(|device| device.device_id.clone()).chain(["00000000-0000-7000-8000-000000000000".into()]).collect();
    let mut body = json!({"action": "ring", "params": {"duration_s": 2}, "target": {"ids": ids}, "dry_run": true});
    let plan = eventually("the socket is known", async || {
        let answer = post(&bench.client, "/v1/command-batches", &bench.admin, &body).await;
        assert_eq!(answer.status, 200, "{}", answer.json());
        Some(answer.json()).filter(|plan| plan["paths"]["socket"] == 1 && plan["offline"] == 5)
    })
    .await;
    assert_eq!((&plan["devices"], &plan["paths"]["heartbeat"], &plan["refused"]), (&json!(6), &json!(5), &json!(1)), "{plan}");
    assert_eq!(bench.sql("SELECT count(*) FROM command_batch"), "0");

    body["dry_run"] = json!(false);
    body["rate_per_second"] = json!(1);
    let made = once(&bench, "/v1/command-batches", "b-1", &body).await;
    assert_eq!(made.status, 201, "{}", made.json());
    let made = made.json();
    let id = text(&made, "id");
    assert_eq!((&made["devices"], &made["refused_count"], &made["refused"][0]["reason"]), (&json!(6), &json!(1), &json!("not_found")));
    assert_eq!(text(&once(&bench, "/v1/command-batches", "b-1", &body).await.json(), "id"), id);
    let releases = bench.sql("SELECT count(DISTINCT release_at), extract(epoch FROM max(release_at) - min(release_at))::int FROM command");
    assert_eq!(releases, "6|5", "one a second");
    let sent = command(&mut socket).await;
    assert_eq!(say(&mut socket, json!({"request_id": sent.request_id, "outcome": "skipped", "code": "=1+1"})).await, 200);
    let page = bench.client.get_json(&format!("/v1/command-batches/{id}/items?state=failed"), &bench.admin).await.unwrap();
    assert_eq!((page["items"].as_array().unwrap().len(), text(&page["items"][0], "outcome")), (1, "skipped"));
    let table = bench.client.get(&format!("/v1/command-batches/{id}/export.csv"), Some(&bench.admin)).await.unwrap();
    let table = String::from_utf8(table.body.to_vec()).unwrap();
    assert!(table.lines().count() == 7 && table.contains("'=1+1"), "{table}");

    let canceled = post(&bench.client, &format!("/v1/command-batches/{id}/cancel"), &bench.admin, &json!({})).await.json();
    assert_eq!((&canceled["counts"]["failed"], &canceled["counts"]["canceled"]), (&json!(1), &json!(5)), "{canceled}");
    let trail = bench.sql("SELECT action FROM audit_entry WHERE action LIKE 'command%' ORDER BY seq");
    assert_eq!(trail, "command_batch.sent\ncommand_batch.exported\ncommand_batch.canceled");
    for (target, field) in [
        (json!({}), "target.ids"),
        (json!({"ids": []}), "target.ids"),
        (json!({"filter": {}}), "target.filter"),
        (json!({"filter": {"tag": null}}), "target.filter"),
        (json!({"filter": {"text": ""}}), "target.filter.text"),
        (json!({"fleet": true, "filter": {}}), "target.fleet"),
        (json!({"fleet": false}), "target.ids"),
        (json!({"ids": ["7"]}), "ids[0]"),
        (json!({"filter": {"status": "x"}}), "status"),
    ] {
        let answer = post(&bench.client, "/v1/command-batches", &bench.admin, &json!({"action": "ping", "target": target})).await;
        assert_eq!((answer.status, answer.json()["field"].as_str()), (422, Some(field)), "{target}");
    }
}

#[tokio::test]
async fn commands_survive_the_death_of_their_node() {
    let mut bench = Bench::start().await;
    let device = bench.enroll("kiosk").await;
    let mut socket = bench.client.socket(&device.session_token).await.unwrap().unwrap();
    let running = send(&bench, &device, "ring", json!({})).await;
    let sent = command(&mut socket).await;
    assert_eq!(say(&mut socket, json!({"request_id": sent.request_id, "outcome": "received"})).await, 200);
    let other = bench.enroll("other").await;
    let waiting = send(&bench, &other, "wake", json!({})).await;
    bench.node.kill9().unwrap();
    bench.node.restart().await.unwrap();
    bench.client = Client::new(&bench.node.url()).unwrap();
    // What one device has is not sent again; what the other waits for still comes.
    let mut socket = bench.client.socket(&device.session_token).await.unwrap().unwrap();
    let come = eventually("the command", async || {
        let answer = bench.client.heartbeat(&other.session_token, &heartbeat(0, 50)).await.unwrap();
        answer.json()["commands"].as_array()?.first().cloned()
    })
    .await;
    assert_eq!(text(&come, "request_id"), text(&waiting, "request_id"));
    assert_eq!(say(&mut socket, json!({"request_id": sent.request_id, "outcome": "success"})).await, 200);
    assert_eq!(text(&state(&bench, text(&running, "request_id")).await, "state"), "succeeded");
}
