//! The test vectors for commands: `actors/wire/fixtures/commands.json` is made from the
//! table below, compared with it, and every verdict in it is reached.
//!
//! `NEXMDM_WRITE_VECTORS=1 cargo test --workspace --test suite command_vectors` writes the file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use chaos::agent_command::{DeviceKey, Keys, Seen, judge, judge_legacy, legacy_hmac, sign, signed_text};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value, json};
use wire::agent::Command;

const DEVICE: &str = "0191a3c8-5f10-7c3e-9a51-2f6d8b7c4e01";
const OTHER_DEVICE: &str = "0191a3c8-5f10-7c3e-9a51-2f6d8b7c4e02";
const NOW: &str = "2026-11-21T15:36:17Z";
const ISSUED: &str = "2026-11-21T15:36:10.123456Z";
const EXPIRES: &str = "2026-11-21T15:46:10.123456Z";

/// Keys of the vectors and of nothing else.
fn keys() -> BTreeMap<&'static str, String> {
    let key = |first: u8| hex::encode((0..32).map(|n| first.wrapping_add(n)).collect::<Vec<u8>>());
    BTreeMap::from([("device", key(0x00)), ("rotated", key(0x40)), ("other_device", key(0x80)), ("stranger", key(0xc0))])
}

fn key(name: &str) -> DeviceKey {
    DeviceKey::from_hex(&keys()[name]).unwrap()
}

fn request_id(n: u32) -> String {
    format!("0191a3c8-6a00-7000-8000-{n:012x}")
}

fn command(signed_by: &str, n: u32) -> Command {
    let command = Command {
        request_id: request_id(n),
        device_id: DEVICE.into(),
        action: "ring".into(),
        ts: ISSUED.into(),
        expires_at: EXPIRES.into(),
        params: r#"{"duration_s":10}"#.into(),
        signature: String::new(),
        v: "1".into(),
    };
    signed(signed_by, command)
}

fn signed(by: &str, command: Command) -> Command {
    Command { signature: sign(&key(by), &command), ..command }
}

/// One command, and what a device that holds `keys` and has run `seen` makes of it.
fn case(name: &str, holds: &[&str], seen: &[&str], command: &Command, verdict: &str) -> Value {
    json!({"name": name, "keys": holds, "seen": seen, "command": command, "signed_text": signed_text(command), "verdict": verdict})
}

type Change<'a> = &'a dyn Fn(&mut Command);

fn cases() -> Vec<Value> {
    let good = command("device", 1);
    let id = good.request_id.as_str();
    let with = |change: &dyn Fn(&mut Command)| {
        let mut altered = good.clone();
        change(&mut altered);
        altered
    };
    let mut cases = vec![
        case("good", &["device"], &[], &good, "run"),
        case(
            "good, params of any bytes: not ASCII, spaces, an escaped line break",
            &["device"],
            &[],
            &signed("device", with(&|c| c.params = "{ \"ssid\": \"Café 1\",\"security\":\"wpa2\",\"note\":\"a\\nb\" }".into())),
            "run",
        ),
        case("good, no parameters", &["device"], &[], &signed("device", with(&|c| c.params = "{}".into())), "run"),
        case("good, another one was run before", &["device"], &[&request_id(99)], &good, "run"),
        case(
            "good, a moment before its end",
            &["device"],
            &[],
            &signed("device", with(&|c| c.expires_at = "2026-11-21T15:36:17.000001Z".into())),
            "run",
        ),
        case(
            "good, the end given with an offset",
            &["device"],
            &[],
            &signed("device", with(&|c| c.expires_at = "2026-11-21T16:46:10+01:00".into())),
            "run",
        ),
    ];
    let altered: [(&str, Change<'_>); 10] = [
        ("request_id", &|c| c.request_id = request_id(2)),
        ("device_id", &|c| c.device_id = OTHER_DEVICE.into()),
        ("action", &|c| c.action = "reboot".into()),
        ("ts", &|c| c.ts = "2026-11-21T15:36:10.123457Z".into()),
        ("ts, the same moment in other words", &|c| c.ts = "2026-11-21T16:36:10.123456+01:00".into()),
        ("expires_at", &|c| c.expires_at = "2026-12-21T15:46:10.123456Z".into()),
        ("params", &|c| c.params = r#"{"duration_s":11}"#.into()),
        ("params, the same JSON in other bytes", &|c| c.params = r#"{"duration_s": 10}"#.into()),
        ("signature", &|c| {
            let last = if c.signature.ends_with('0') { "1" } else { "0" };
            c.signature.replace_range(63.., last);
        }),
        ("signature, cut off", &|c| c.signature.truncate(62)),
    ];
    cases.extend(altered.map(|(field, change)| case(&format!("altered: {field}"), &["device"], &[], &with(change), "bad_signature")));
    cases.extend([
        case("altered: v", &["device"], &[], &with(&|c| c.v = "2".into()), "unknown_version"),
        case(
            "altered: a line break moves text from one field to the next",
            &["device"],
            &[],
            &with(&|c| {
                (c.action, c.ts) = ("ring\n2026-11-21T15:36:10.123456Z".into(), String::new());
            }),
            "bad_signature",
        ),
        case("not signed", &["device"], &[], &with(&|c| c.signature = String::new()), "bad_signature"),
        case(
            "signed with the key's text instead of its bytes",
            &["device"],
            &[],
            &with(&|c| {
                let text_as_bytes = DeviceKey::from_hex(&hex::encode(keys()["device"].as_bytes())).unwrap();
                c.signature = sign(&text_as_bytes, c);
            }),
            "bad_signature",
        ),
        case("expired", &["device"], &[], &signed("device", with(&|c| c.expires_at = "2026-11-21T15:36:16Z".into())), "expired"),
        case("expired this very moment", &["device"], &[], &signed("device", with(&|c| c.expires_at = NOW.into())), "expired"),
        case("an end that is no time", &["device"], &[], &signed("device", with(&|c| c.expires_at = "tomorrow".into())), "expired"),
        case("replayed", &["device"], &[id], &good, "seen_before"),
        case(
            "foreign: another device's, as that one got it",
            &["device"],
            &[],
            &signed("other_device", with(&|c| c.device_id = OTHER_DEVICE.into())),
            "bad_signature",
        ),
        case(
            "foreign: signed with this device's key, but names another",
            &["device"],
            &[],
            &signed("device", with(&|c| c.device_id = OTHER_DEVICE.into())),
            "other_device",
        ),
        case("foreign: names this device, signed with another's key", &["device"], &[], &command("other_device", 1), "bad_signature"),
        case("signed with a key of nobody", &["device"], &[], &command("stranger", 1), "bad_signature"),
        case("rotation: both keys are held, the old one signed", &["device", "rotated"], &[], &command("device", 3), "run"),
        case("rotation: both keys are held, the new one signed", &["device", "rotated"], &[], &command("rotated", 4), "run"),
        case("rotation: both keys are held, another one signed", &["device", "rotated"], &[], &command("stranger", 5), "bad_signature"),
        case("rotated: only the new key is held, the new one signed", &["rotated"], &[], &command("rotated", 6), "run"),
        case("rotated: only the new key is held, the old one signed", &["rotated"], &[], &command("device", 7), "bad_signature"),
        case(
            "rotate_key itself, signed with the old key",
            &["device"],
            &[],
            &signed(
                "device",
                with(&|c| {
                    c.action = "rotate_key".into();
                    c.params = json!({"key_version": 2, "device_key": keys()["rotated"]}).to_string();
                }),
            ),
            "run",
        ),
    ]);
    cases
}

type Data = BTreeMap<String, String>;

fn data(action: &str, more: &[(&str, &str)]) -> Data {
    let fields = [("request_id", request_id(20)), ("device_id", DEVICE.into()), ("action", action.into()), ("ts", ISSUED.into())];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(pairs(more)).collect()
}

fn pairs(more: &[(&str, &str)]) -> Vec<(String, String)> {
    more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn legacy_signed(by: &str, mut data: Data) -> Data {
    data.insert("hmac".into(), legacy_hmac(&keys()[by], &data));
    data
}

fn legacy_case(name: &str, holds: &[&str], seen: &[&str], data: Data, verdict: &str) -> Value {
    json!({"name": name, "keys": holds, "seen": seen, "data": data, "verdict": verdict})
}

fn legacy_cases() -> Vec<Value> {
    let ping = legacy_signed("device", data("ping", &[]));
    let speedtest = [("package_name", "io.unitynodes.unityapp"), ("enable", "true"), ("duration", ""), ("note", "not signed")];
    let exec = legacy_signed("device", data("remote_exec_fcm", &speedtest));
    let with = |data: &Data, name: &str, value: &str| {
        let mut altered = data.clone();
        altered.insert(name.to_owned(), value.to_owned());
        altered
    };
    vec![
        legacy_case("legacy: good", &["device"], &[], ping.clone(), "run"),
        legacy_case(
            "legacy: good, signed with the new of two keys",
            &["device", "rotated"],
            &[],
            legacy_signed("rotated", data("ping", &[])),
            "run",
        ),
        legacy_case(
            "legacy: other actions do not sign their parameters",
            &["device"],
            &[],
            with(&legacy_signed("device", data("ring", &[])), "duration", "30"),
            "run",
        ),
        legacy_case("legacy: remote_exec_fcm signs what is present and not empty, sorted", &["device"], &[], exec.clone(), "run"),
        legacy_case(
            "legacy: remote_exec_fcm, all four",
            &["device"],
            &[],
            legacy_signed(
                "device",
                data("remote_exec_fcm", &[("type", "settings"), ("package_name", "a.b"), ("enable", "false"), ("duration", "10")]),
            ),
            "run",
        ),
        legacy_case("legacy: remote_exec_fcm, a value altered", &["device"], &[], with(&exec, "package_name", "com.evil"), "bad_signature"),
        legacy_case("legacy: remote_exec_fcm, a value added", &["device"], &[], with(&exec, "type", "shell"), "bad_signature"),
        legacy_case("legacy: remote_exec_fcm, an empty one added changes nothing", &["device"], &[], with(&exec, "type", ""), "run"),
        legacy_case("legacy: action altered", &["device"], &[], with(&ping, "action", "reboot"), "bad_signature"),
        legacy_case("legacy: request_id altered", &["device"], &[], with(&ping, "request_id", &request_id(21)), "bad_signature"),
        legacy_case("legacy: ts altered", &["device"], &[], with(&ping, "ts", NOW), "bad_signature"),
        legacy_case(
            "legacy: another device's",
            &["device"],
            &[],
            legacy_signed("device", with(&data("ping", &[]), "device_id", OTHER_DEVICE)),
            "other_device",
        ),
        legacy_case("legacy: signed with another key", &["device"], &[], legacy_signed("stranger", data("ping", &[])), "bad_signature"),
        legacy_case(
            "legacy: too old",
            &["device"],
            &[],
            legacy_signed("device", with(&data("ping", &[]), "ts", "2026-11-21T15:31:16Z")),
            "expired",
        ),
        legacy_case(
            "legacy: too far ahead",
            &["device"],
            &[],
            legacy_signed("device", with(&data("ping", &[]), "ts", "2026-11-21T15:41:18Z")),
            "expired",
        ),
        legacy_case("legacy: replayed", &["device"], &[&request_id(20)], ping, "seen_before"),
    ]
}

fn vectors() -> Value {
    json!({
        "now": NOW,
        "device_id": DEVICE,
        "keys": keys(),
        "commands": cases(),
        "legacy_push": legacy_cases(),
    })
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../actors/wire/fixtures/commands.json")
}

#[test]
fn the_file_is_what_the_table_makes() {
    let text = serde_json::to_string_pretty(&vectors()).unwrap() + "\n";
    if std::env::var_os("NEXMDM_WRITE_VECTORS").is_some() {
        std::fs::write(path(), &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path()).unwrap(), text, "written anew with NEXMDM_WRITE_VECTORS=1");
}

#[test]
fn a_device_reaches_every_verdict_of_the_file() {
    let file: Value = serde_json::from_slice(&std::fs::read(path()).unwrap()).unwrap();
    let now: DateTime<Utc> = file["now"].as_str().unwrap().parse().unwrap();
    let device_id = file["device_id"].as_str().unwrap();
    let words = |value: &Value| value.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let held = |case: &Value| {
        let mut held = words(&case["keys"]).into_iter().map(|name| DeviceKey::from_hex(file["keys"][name].as_str().unwrap()).unwrap());
        Keys { current: held.next().unwrap(), next: held.next() }
    };
    let seen = |case: &Value| {
        let mut seen = Seen::default();
        words(&case["seen"]).iter().for_each(|id| seen.remember(id, now + TimeDelta::days(1), now).unwrap());
        seen
    };
    let mut verdicts: Map<String, Value> = Map::new();
    for case in file["commands"].as_array().unwrap() {
        let command: Command = serde_json::from_value(case["command"].clone()).unwrap();
        let verdict = judge(&held(case), device_id, &command, now, &mut seen(case));
        assert_eq!(verdict.name(), case["verdict"], "{}", case["name"]);
        assert_eq!(signed_text(&command), case["signed_text"].as_str().unwrap(), "{}", case["name"]);
        verdicts.insert(verdict.name().to_owned(), true.into());
    }
    for case in file["legacy_push"].as_array().unwrap() {
        let data: Data = serde_json::from_value(case["data"].clone()).unwrap();
        assert_eq!(judge_legacy(&held(case), device_id, &data, now, &mut seen(case)).name(), case["verdict"], "{}", case["name"]);
    }
    let reached: Vec<&str> = verdicts.keys().map(String::as_str).collect();
    assert_eq!(reached, ["bad_signature", "expired", "other_device", "run", "seen_before", "unknown_version"]);
}
