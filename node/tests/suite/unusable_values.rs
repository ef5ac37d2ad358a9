//! What devices in the field send: values that cannot be used, in bodies that are no JSON to the letter, packed, or slow. None of
//! it costs a heartbeat, the others of a list, a result, or the socket.

use std::io::Write;
use std::time::Duration;

use chaos::client::EnrolledDevice;
use chaos::http::{Answer, Call};
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wire::socket::DownFrame;

use crate::common::{Bench, options};

async fn send(bench: &Bench, device: &EnrolledDevice, path: &str, body: impl Into<bytes::Bytes>) -> Answer {
    bench.client.send(Call::post(path, body).bearer(&device.session_token)).await.unwrap()
}

async fn shown(bench: &Bench, device: &EnrolledDevice) -> Value {
    bench.client.get_json(&format!("/v1/devices/{}", device.device_id), &bench.admin).await.unwrap()["last"].clone()
}

/// Fields, values and problems of what was unusable.
fn unusable(last: &Value) -> Vec<[&str; 3]> {
    let noted = last["unusable"].as_array().unwrap().iter();
    noted.map(|noted| ["field", "value", "problem"].map(|name| noted[name].as_str().unwrap())).collect()
}

#[tokio::test]
async fn a_heartbeat_counts_whatever_its_values_are() {
    let bench = Bench::start().await;
    let device = bench.enroll("kiosk").await;
    let outside = "outside 0..100";
    let other = "unknown word; taken as other";
    let long = "x".repeat(60_000);
    let number_too_large = "9".repeat(60_000);
    let sent: [(&str, &str, &[[&str; 3]]); 18] = [
        (r#""battery":{"pct":-1}"#, "battery_pct", &[["battery.pct", "-1", outside]]),
        (r#""battery":{"pct":101}"#, "battery_pct", &[["battery.pct", "101", outside]]),
        (r#""battery":{"pct":1e400}"#, "battery_pct", &[["battery.pct", "1e400", outside]]),
        (r#""battery":{"pct":NaN}"#, "battery_pct", &[["battery.pct", "NaN", "not a number"]]),
        (r#""battery":{"pct":"NaN"}"#, "battery_pct", &[["battery.pct", "NaN", "not a number"]]),
        (r#""battery":{"temperature_c":-Infinity}"#, "battery_temperature_c", &[["battery.temperature_c", "-Infinity", "not a number"]]),
        (r#""battery":{"pct":}"#, "battery_pct", &[]),
        (r#""battery":7"#, "battery_pct", &[["battery", "7", "not an object"]]),
        (r#""network":{"transport":"WIFI"}"#, "transport", &[]),
        (r#""network":{"transport":"vpn"}"#, "transport", &[["network.transport", "vpn", other]]),
        (r#""network":{"transport":""}"#, "transport", &[["network.transport", "", other]]),
        (
            r#""network":{"ssid":"\u0000\u0000"}"#,
            "ssid",
            &[["network.ssid", "\u{fffd}\u{fffd}", "control character at position 0 (U+0000)"]],
        ),
        ("\"network\":{\"ssid\":\"a\0b\"}", "", &[["network.ssid", "a\u{fffd}b", "control character at position 1 (U+0000); left out"]]),
        (
            r#""network":{"ssid":"\u202eshop"}"#,
            "",
            &[["network.ssid", "\u{fffd}shop", "character that changes the direction of text at position 0 (U+202E); left out"]],
        ),
        (r#""boot_id":"\ud800""#, "boot_id", &[["boot_id", "\u{fffd}", "control character at position 0 (U+0000)"]]),
        (r#""app_versions":{"a.b":{"version_code":"new"}}"#, "none", &[["app_versions", "new", "version_code of a.b: not a number"]]),
        (r#""device_id":"kiosk-17""#, "none", &[["device_id", "kiosk-17", "not a UUID"]]),
        (r#""seq":5,"seq":6"#, "none", &[]),
    ];
    for (n, (values, reading, wanted)) in sent.into_iter().enumerate() {
        let known = match values {
            values if values.contains("WIFI") => json!("wifi"),
            values if values.contains("transport") => json!("other"),
            _ => Value::Null,
        };
        let body =
            format!(r#"{{"timestamp_utc":"{}",{values},"queue_depth":{n}}}"#, crate::common::clock(n as i64 * 10 - 300).to_rfc3339());
        let answer = send(&bench, &device, "/v1/heartbeat", body).await;
        assert_eq!(answer.status, 200, "{values}: {}", answer.detail());
        let last = shown(&bench, &device).await;
        assert_eq!((unusable(&last).as_slice(), &last[reading], &last["queue_depth"]), (wanted, &known, &json!(n)), "{values}");
        assert_eq!(last["clock_rejected"], false, "{values}");
    }
    assert_eq!(bench.sql("SELECT count(*) FROM heartbeats"), "18");
    assert_eq!(bench.metric("nexmdm_unusable_values_total{field=\"battery.pct\"}").await, 5.0);
    assert_eq!(bench.metric("nexmdm_unusable_values_total{field=\"network.transport\"}").await, 2.0);

    // What is kept and shown is short, however long what was sent.
    let nested = "[".repeat(20_000) + &"]".repeat(20_000);
    for (n, values) in
        [format!(r#""boot_id":"{long}""#), format!(r#""seq":{number_too_large}"#), format!(r#""seq":{nested}"#)].iter().enumerate()
    {
        let body = format!(r#"{{"timestamp_utc":"{}",{values}}}"#, crate::common::clock(n as i64 * 10 - 100).to_rfc3339());
        assert_eq!(send(&bench, &device, "/v1/heartbeat", body).await.status, 200, "{values:.40}");
        let last = shown(&bench, &device).await;
        assert_eq!(unusable(&last)[0][1].chars().count(), 64, "{last}");
    }
    for foreign in [
        json!({"device_id": "00000000-0000-0000-0000-000000000001"}),
        json!({"device_id": "00000000-0000-0000-0000-000000000001", "seq": "x"}),
    ] {
        assert_eq!(send(&bench, &device, "/v1/heartbeat", foreign.to_string()).await.status, 403);
    }
}

#[tokio::test]
async fn a_value_is_unusable_since_the_first_heartbeat_and_until_a_good_one() {
    let mut bench = Bench::start().await;
    let device = bench.enroll("kiosk").await;
    let tell = async |bench: &Bench, seconds: i64, pct: &str| {
        let at = crate::common::clock(seconds).to_rfc3339();
        let answer = send(bench, &device, "/v1/heartbeat", format!(r#"{{"timestamp_utc":"{at}","battery":{{"pct":{pct}}}}}"#)).await;
        assert_eq!(answer.status, 200, "{}", answer.detail());
        shown(bench, &device).await
    };
    let first = tell(&bench, -100, "-1").await;
    let since = &first["unusable"][0]["since"];
    let second = tell(&bench, -80, "-2").await;
    assert_eq!((unusable(&second)[0][1], &second["unusable"][0]["since"]), ("-2", since));
    // It is on record, so that a node that takes over goes on with it.
    bench.node.restart().await.unwrap();
    let third = tell(&bench, -60, "NaN").await;
    assert_eq!((unusable(&third)[0][1], &third["unusable"][0]["since"]), ("NaN", since));
    let good = tell(&bench, -40, "50").await;
    assert_eq!((&good["battery_pct"], &good["unusable"]), (&json!(50), &json!([])));
    let again = tell(&bench, -20, "-1").await;
    assert_ne!(&again["unusable"][0]["since"], since);
}

#[tokio::test]
async fn a_clock_that_cannot_be_read_is_a_wrong_clock() {
    let bench = Bench::start().await;
    for (n, clock) in [r#""٢٠٢٦-١١-٢١T15:36:17Z""#, r#""32nd of May""#, "5", "{}"].into_iter().enumerate() {
        let device = bench.enroll(&format!("clock-{n}")).await;
        let answer = send(&bench, &device, "/v1/heartbeat", format!(r#"{{"timestamp_utc":{clock},"battery":{{"pct":50}}}}"#)).await;
        assert_eq!(answer.status, 200, "{clock}: {}", answer.detail());
        let last = shown(&bench, &device).await;
        assert_eq!(
            (&last["clock_rejected"], &last["device_time"], &last["battery_pct"]),
            (&json!(true), &Value::Null, &json!(50)),
            "{clock}"
        );
        assert_eq!(unusable(&last)[0][0], "timestamp_utc");
    }
    assert_eq!(
        bench.sql("SELECT count(*) FROM heartbeats_unpacked WHERE clock_rejected AND abs(extract(epoch FROM now() - bucket_at)) < 60"),
        "4"
    );
}

#[tokio::test]
async fn each_of_a_list_has_its_outcome_whatever_the_others_are() {
    let bench = Bench::start().await;
    let device = bench.enroll("queue").await;
    let at = |seconds: i64| crate::common::clock(seconds).to_rfc3339();
    let list = format!(
        r#"[{{"timestamp_utc":"{}","battery":{{"pct":50}}}},{{"timestamp_utc":"{}","battery":{{"temperature_c":NaN}}}},7,{{"battery" 5}},
            {{"timestamp_utc":"{}","network":{{"ssid":"],{{\"\ud800"}},"battery":{{"pct":51}}}}]"#,
        at(-60),
        at(-40),
        at(-20)
    );
    let answer = send(&bench, &device, "/v1/heartbeats", list).await;
    assert_eq!(answer.status, 200, "{}", answer.detail());
    let results = answer.json()["results"].clone();
    let statuses: Vec<_> = results.as_array().unwrap().iter().map(|result| result["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [200, 200, 422, 422, 200], "{results}");
    assert_eq!(
        bench.sql("SELECT string_agg(coalesce(battery_pct::text, '-'), ',' ORDER BY bucket_at) FROM heartbeats_unpacked"),
        "50,-,51"
    );
    for (refused, status) in [("[{}", 400), ("[{}] 1", 400), ("{}", 422)] {
        assert_eq!(send(&bench, &device, "/v1/heartbeats", refused).await.status, status, "{refused}");
    }
    let many = format!("[{}{{\"seq\":NaN}}]", "{},".repeat(100));
    assert_eq!(send(&bench, &device, "/v1/heartbeats", many).await.status, 422);
}

#[tokio::test]
async fn a_socket_outlives_what_is_unusable_and_what_is_refused() {
    let bench = Bench::start().await;
    let device = bench.enroll("socket").await;
    let mut socket = bench.client.socket(&device.session_token).await.unwrap().unwrap();
    let mut say = async |frame: &str| {
        socket.send_text(frame.to_owned()).await.unwrap();
        match socket.next().await.unwrap().expect("an open socket") {
            DownFrame::Ack { id, .. } => (200, id),
            DownFrame::Refused { id, status, .. } => (status, id),
            other => panic!("{other:?}"),
        }
    };
    for _ in 0..15 {
        for frame in [r#"{"type":"heartbeat","id":"a","battery":{"pct":-1}}"#, r#"{"type":"heartbeat","id":"a","battery":{"pct":NaN}}"#] {
            assert_eq!(say(frame).await, (200, json!("a")), "{frame}");
        }
        for (frame, status) in [
            (r#"{"type":"heartbeat","id":"a","device_id":"00000000-0000-0000-0000-000000000001"}"#, 403),
            (r#"{"type":"action_result","id":"a","outcome":"success"}"#, 422),
            (r#"{"type":"action_result","id":"a","request_id":"00000000-0000-7000-8000-000000000000","outcome":"done"}"#, 422),
            (r#"{"type":"deployment_status","id":"a","deployment_id":"00000000-0000-7000-8000-000000000000","status":"dancing"}"#, 422),
        ] {
            assert_eq!(say(frame).await, (status, json!("a")), "{frame}");
        }
    }
    assert_eq!(bench.sql("SELECT count(*) > 0 FROM heartbeats"), "t");
}

#[tokio::test]
async fn results_and_registrations_are_kept_without_what_is_unusable() {
    let bench = Bench::start().await;
    let enroll_token = bench.client.tokens(&bench.admin, 1).await.unwrap().pop().unwrap().token;
    let told = r#"{"alias":"kiosk","hardware_id":["HW"],"model":"a\u0000b","sdk_int":NaN,"app_version_code":-5,"manufacturer":"Orbic"}"#;
    let answer = bench.client.send(Call::post("/v1/register", told).bearer(&enroll_token)).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.detail());
    assert_eq!(bench.sql("SELECT manufacturer, model, sdk_int IS NULL AND hardware_id IS NULL FROM device"), "Orbic|ab|t");
    assert_eq!(bench.metric("nexmdm_unusable_values_total{field=\"register.sdk_int\"}").await, 1.0);

    let device = bench.enroll("worker").await;
    let command = async || {
        let path = format!("/v1/devices/{}/commands", device.device_id);
        let made = bench.client.post(&path, Some(&bench.admin), &json!({"action": "ping"})).await.unwrap();
        assert_eq!(made.status, 201, "{}", made.detail());
        // Its answer hands the command over.
        assert_eq!(send(&bench, &device, "/v1/heartbeat", "{}").await.status, 200);
        made.json()["request_id"].as_str().unwrap().to_owned()
    };
    let long = "x".repeat(1_500);
    for values in [
        format!(r#""message":"{long}""#),
        r#""message":7,"code":"a\u0000b","finished_at":"today","device_id":"kiosk""#.to_owned(),
        r#""data":[1],"finished_at":NaN"#.to_owned(),
        r#""data":{"a\u0000":"x\u0000","b":"\ud800","c":1e400}"#.to_owned(),
    ] {
        let id = command().await;
        let answer = send(&bench, &device, "/v1/action-result", format!(r#"{{"request_id":"{id}","outcome":"Success",{values}}}"#)).await;
        assert_eq!(answer.status, 200, "{values:.40}: {}", answer.detail());
        assert_eq!(bench.sql(&format!("SELECT state FROM command WHERE request_id = '{id}'")), "succeeded", "{values:.40}");
    }
    assert_eq!(bench.metric("nexmdm_unusable_values_total{field=\"action_result.data\"}").await, 2.0);
    let id = command().await;
    let path = format!("/v1/devices/{}/ack", device.device_id);
    let answer =
        send(&bench, &device, &path, format!(r#"{{"type":"ping_ack","correlation_id":"{id}","status":"OK","message":{{}}}}"#)).await;
    assert_eq!(answer.status, 200, "{}", answer.detail());
}

#[tokio::test]
async fn packed_bodies_are_taken_within_the_same_limits() {
    let bench = Bench::start().await;
    let device = bench.enroll("packed").await;
    let gzip = |text: &str| {
        let mut packed = GzEncoder::new(Vec::new(), Compression::best());
        packed.write_all(text.as_bytes()).unwrap();
        packed.finish().unwrap()
    };
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
    zlib.write_all(br#"{"battery":{"pct":-1}}"#).unwrap();
    let send = async |path: &str, coding: &str, body: Vec<u8>| {
        bench.client.send(Call::post(path, body).bearer(&device.session_token).header("content-encoding", coding)).await.unwrap()
    };
    for (path, coding, body, status) in [
        ("/v1/heartbeat", "gzip", gzip(r#"{"battery":{"pct":83}}"#), 200),
        ("/v1/heartbeat", "deflate", zlib.finish().unwrap(), 200),
        ("/v1/heartbeat", "identity", br#"{"battery":{"pct":83}}"#.to_vec(), 200),
        ("/v1/heartbeats", "x-gzip", gzip(r#"[{"battery":{"pct":83}},{"battery":{"temperature_c":NaN}}]"#), 200),
        ("/v1/heartbeat", "gzip", gzip(&format!(r#"{{"app_version":"{}"}}"#, "x".repeat(10_000_000))), 413),
        ("/v1/heartbeat", "gzip", b"{}".to_vec(), 400),
        ("/v1/heartbeat", "gzip", gzip("[]"), 422),
        ("/v1/heartbeat", "br", b"{}".to_vec(), 415),
        ("/v1/heartbeat", "gzip, gzip", gzip("{}"), 415),
    ] {
        let answer = send(path, coding, body).await;
        assert_eq!(answer.status, status, "{path} {coding}: {}", answer.detail());
        assert_eq!(answer.header("accept-encoding"), (status == 415).then_some("gzip, deflate"), "{coding}");
    }
    let part = bench.client.send(Call::post("/v1/apks", gzip("PK")).bearer(&bench.admin).header("content-encoding", "gzip")).await.unwrap();
    assert_eq!(part.status, 415, "what is kept as it arrives has no coding");
}

#[tokio::test]
async fn a_slow_list_is_taken_while_it_comes_and_not_once_it_stands_still_or_crawls() {
    let quick = options().env("NEXMDM__HTTP__BODY_TIMEOUT_MS", "2000").env("NEXMDM__HTTP__BODY_MIN_BYTES_PER_SECOND", "500");
    let bench = Bench::with(quick).await;
    let device = bench.enroll("slow").await;
    let list = format!("[{}]", vec![r#"{"battery":{"pct":50}}"#; 90].join(","));
    let head = |length: usize| {
        format!(
            "POST /v1/heartbeats HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {}\r\ncontent-length: {length}\r\n\r\n",
            device.session_token
        )
    };
    // Sends pieces, one every so often, and tells the status.
    let status = async |length: usize, pieces: Vec<Vec<u8>>, every: Duration| {
        let mut stream = TcpStream::connect(format!("127.0.0.1:{}", bench.node.port())).await.unwrap();
        stream.write_all(head(length).as_bytes()).await.unwrap();
        let (mut reader, mut writer) = stream.into_split();
        let sending = tokio::spawn(async move {
            let mut pace = tokio::time::interval(every);
            for piece in pieces {
                pace.tick().await;
                if writer.write_all(&piece).await.is_err() {
                    break;
                }
            }
            writer
        });
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(30), reader.read_to_end(&mut answer)).await;
        assert!(read.is_ok(), "the connection is held open");
        sending.abort();
        String::from_utf8_lossy(&answer).split(' ').nth(1).unwrap_or_default().to_owned()
    };
    let pieces = |count: usize| list.as_bytes().chunks(list.len().div_ceil(count)).map(<[u8]>::to_vec).collect::<Vec<_>>();
    // Longer than it may stand still, and within what its size allows.
    assert_eq!(status(list.len(), pieces(10), Duration::from_millis(250)).await, "200");
    assert_eq!(status(list.len(), vec![b"[".to_vec()], Duration::from_millis(250)).await, "408", "stands still");
    assert_eq!(status(list.len(), vec![b" ".to_vec(); 100], Duration::from_millis(250)).await, "408", "crawls");
    assert_eq!(bench.metric("nexmdm_http_refusals_total{kind=\"body_too_slow\"}").await, 2.0);
}
