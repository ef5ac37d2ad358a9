//! The bash script that the real server makes, against a fake `adb` that misbehaves in each way.
//!
//! PowerShell and cmd do not run here; `enrollment_kit` tests what can be tested of their scripts.

mod fake_adb;

use chaos::http::Call;
use enrollment_kit::failures::by_code;
use fake_adb::{Laptop, Outcome, apk};
use serde_json::{Value, json};

use crate::common::{Bench, clock, options};

/// A node with an APK, and tokens to make scripts of.
struct Field {
    bench: Bench,
    laptop: Laptop,
}

impl Field {
    async fn start() -> Self {
        let laptop = Laptop::new();
        let file = laptop.file("operator.apk", &apk(b"certificate"));
        let bench = Bench::with(options().env("NEXMDM__ENROLLMENT__AGENT_APK_FILE", file)).await;
        Self { bench, laptop }
    }

    async fn token(&self, alias: &str) -> String {
        let made = self.bench.client.post("/v1/enroll-tokens", Some(&self.bench.admin), &json!({"alias": alias})).await.unwrap();
        made.json()["tokens"][0]["token"].as_str().unwrap().to_owned()
    }

    async fn script(&self, request: Value) -> String {
        let answer = self.bench.client.post("/v1/enroll-tokens/scripts", Some(&self.bench.admin), &request).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.detail());
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        String::from_utf8(answer.body.to_vec()).unwrap()
    }

    /// A fresh token's script for a single device.
    async fn single(&self, alias: &str) -> String {
        let token = self.token(alias).await;
        self.script(json!({"tokens": [token], "shell": "bash"})).await
    }

    fn devices(&self) -> String {
        self.bench.sql("SELECT coalesce(string_agg(alias, ',' ORDER BY alias), '') FROM device")
    }
}

/// Fails with this code, says so, and runs nothing of the steps behind the failed one.
fn assert_failed(outcome: &Outcome, code: i32, step: u32, never: &[&str]) {
    assert_eq!(outcome.code, code, "{outcome}");
    let failure = by_code(u8::try_from(code).unwrap()).unwrap();
    assert!(outcome.errors.contains(&format!("Remedy: {}", failure.remedy)), "{outcome}");
    assert!(outcome.errors.contains(&format!("Exit code {code} ({})", failure.name)), "{outcome}");
    assert!(outcome.output.contains(&format!("[{step}/13]")), "{outcome}");
    assert!(!outcome.output.contains(&format!("[{}/13]", step + 1)), "{outcome}");
    for call in never {
        assert!(!outcome.calls.contains(call), "{call} ran all the same: {outcome}");
    }
}

#[tokio::test]
async fn a_good_device_is_enrolled_and_seen_and_a_second_run_does_no_harm() {
    let field = Field::start().await;
    let script = field.single("it's a \"kiosk\" $(reboot) `x` ü").await;
    field.laptop.plug("A1", "device");
    let outcome = field.laptop.run(&script, &[]).await;
    assert_eq!(outcome.code, 0, "{outcome}");
    assert_eq!(field.devices(), "it's a \"kiosk\" $(reboot) `x` ü");
    assert!(outcome.output.contains("[13/13]") && outcome.output.contains("Enrolled."), "{outcome}");
    for step in ["install -r", "dpm set-device-owner", "pm grant", "appops set", "deviceidle whitelist +", "am broadcast"] {
        assert!(outcome.calls.contains(step), "no {step}: {outcome}");
    }
    // Everything that the agent was handed came through the device's shell as it was.
    assert_eq!(field.laptop.handed("A1", "server_url"), field.bench.node.url());
    // No list of processes shows the token, and neither does the script's own output.
    let token = field.laptop.handed("A1", "enrollment_token");
    assert!(!outcome.arguments.contains(&token) && !outcome.output.contains(&token), "{outcome}");

    let again = field.laptop.run(&script, &[]).await;
    assert_eq!(again.code, 0, "{again}");
    assert!(again.output.contains("Nothing is left to do") && !again.calls.contains("dpm"), "{again}");

    // With a new token on the same device, every step finds its work done.
    let other = field.single("another").await;
    let again = field.laptop.run(&other, &[]).await;
    assert_eq!(again.code, 0, "{again}");
    for step in ["install -r", "dpm set-device-owner", "deviceidle whitelist +"] {
        assert!(!again.calls.contains(step), "{step} again: {again}");
    }
    assert!(again.output.contains("the token remains unused"), "{again}");
    assert_eq!(field.bench.sql("SELECT count(*) FROM device"), "1");
}

#[tokio::test]
async fn each_thing_that_stands_in_the_way_has_its_code_and_stops_the_script() {
    let field = Field::start().await;
    let script = field.single("never").await;
    let run = async |fault: &str, arguments: &[&str]| {
        field.laptop.reset();
        field.laptop.plug("A1", "device");
        field.laptop.fault(fault);
        field.laptop.run(&script, arguments).await
    };
    let all = ["install", "dpm", "pm grant", "whitelist +", "am broadcast"];

    field.laptop.plug("A1", "device");
    assert_failed(&field.laptop.run_without_adb(&script).await, 10, 1, &all);
    assert_failed(&run("adb_broken", &[]).await, 10, 1, &all);
    field.laptop.reset();
    assert_failed(&field.laptop.run(&script, &[]).await, 11, 3, &all);
    for (state, code) in
        [("unauthorized", 13), ("no permissions (user in plugdev group); see [http://x]", 13), ("offline", 14), ("recovery", 14)]
    {
        field.laptop.reset();
        field.laptop.plug("A1", state);
        assert_failed(&field.laptop.run(&script, &[]).await, code, 3, &all);
    }
    field.laptop.reset();
    field.laptop.plug("A1", "device");
    field.laptop.plug("B2", "device");
    assert_failed(&field.laptop.run(&script, &[]).await, 12, 3, &all);
    assert_failed(&field.laptop.run(&script, &["--serial", "C3"]).await, 11, 3, &all);

    assert_failed(&run("old", &[]).await, 15, 4, &all);
    assert_failed(&run("silent", &[]).await, 19, 4, &all);
    assert_failed(&run("other_owner", &[]).await, 16, 5, &all);
    assert_failed(&run("profile_owner", &[]).await, 16, 5, &all);
    assert_failed(&run("account", &[]).await, 17, 6, &all);
    assert_failed(&run("second_user", &[]).await, 18, 7, &all);
    let behind_install = ["dpm", "pm grant", "whitelist +", "am broadcast"];
    let refused = run("install:INSTALL_FAILED_INSUFFICIENT_STORAGE", &[]).await;
    assert_failed(&refused, 32, 8, &behind_install);
    assert!(refused.errors.contains("The device is full"), "{refused}");
    let refused = run("install:INSTALL_FAILED_UPDATE_INCOMPATIBLE", &[]).await;
    assert_failed(&refused, 32, 8, &behind_install);
    assert!(refused.errors.contains("adb uninstall com.nexmdm"), "{refused}");
    assert_failed(&run("install:odd", &[]).await, 32, 8, &behind_install);
    assert_failed(&run("", &["--no-install"]).await, 33, 8, &all);
    let behind_owner = ["pm grant", "whitelist +", "am broadcast"];
    assert_failed(&run("owner:odd", &[]).await, 40, 9, &behind_owner);
    assert_failed(&run("owner:there are already some accounts on the device", &[]).await, 17, 9, &behind_owner);
    assert_failed(&run("owner:there are already several users on the device", &[]).await, 18, 9, &behind_owner);
    assert_failed(&run("owner:but device owner is already set.", &[]).await, 16, 9, &behind_owner);
    assert_failed(&run("grant", &[]).await, 41, 10, &["whitelist +", "am broadcast"]);
    assert_failed(&run("operation", &[]).await, 41, 10, &["whitelist +", "am broadcast"]);
    assert_failed(&run("doze", &[]).await, 42, 11, &["am broadcast"]);
    assert_failed(&run("receiver", &[]).await, 43, 12, &[]);
    assert_failed(&run("receiver_foreign", &[]).await, 43, 12, &[]);
    let unseen = run("unregistered", &["--timeout", "1"]).await;
    assert_failed(&unseen, 44, 13, &[]);
    assert!(unseen.errors.contains("has not registered"), "{unseen}");
    assert_eq!(field.devices(), "", "none of them enrolled a device");

    let unseen = run("heartbeatless", &["--timeout", "1"]).await;
    assert_failed(&unseen, 44, 13, &[]);
    assert!(unseen.errors.contains("sent no heartbeat"), "{unseen}");
}

#[tokio::test]
async fn warnings_beside_the_answers_change_nothing() {
    let field = Field::start().await;
    let run = async |script: &str, fault: &str| {
        field.laptop.reset();
        field.laptop.plug("A1", "device");
        field.laptop.fault(fault);
        field.laptop.fault("noise");
        field.laptop.run_with_noise(script, &["--timeout", "5"]).await
    };
    let script = field.single("noisy").await;
    // What is wrong is still found, and told.
    for (fault, code, step) in [("other_owner", 16, 5), ("account", 17, 6), ("second_user", 18, 7), ("old", 15, 4), ("silent", 19, 4)] {
        assert_failed(&run(&script, fault).await, code, step, &["install -r", "dpm set-device-owner"]);
    }
    let refused = run(&script, "install:INSTALL_FAILED_INSUFFICIENT_STORAGE").await;
    assert_failed(&refused, 32, 8, &["dpm set-device-owner"]);
    assert!(refused.errors.contains("The device is full"), "{refused}");
    assert_failed(&run(&script, "owner:odd").await, 40, 9, &["pm grant"]);
    assert_failed(&run(&script, "grant").await, 41, 10, &["whitelist +"]);
    assert_failed(&run(&script, "operation").await, 41, 10, &["whitelist +"]);
    assert_failed(&run(&script, "receiver").await, 43, 12, &[]);
    let outcome = run(&script, "").await;
    assert_eq!(outcome.code, 0, "{outcome}");
    assert_eq!(field.devices(), "noisy");
    // And what is there already is recognised.
    let other = field.single("again").await;
    let again = field.laptop.run_with_noise(&other, &[]).await;
    assert_eq!(again.code, 0, "{again}");
    assert!(!again.calls.contains("install -r") && !again.calls.contains("dpm set-device-owner"), "{again}");
    assert!(again.output.contains("the token remains unused"), "{again}");

    // A connection that ends early is none, whatever was said before.
    let nowhere = other.replace(&field.bench.node.url(), "http://127.0.0.1:1");
    assert_failed(&field.laptop.run_with_noise(&nowhere, &[]).await, 20, 2, &["shell"]);
}

#[tokio::test]
async fn serials_of_any_form_name_their_devices() {
    let field = Field::start().await;
    let serials = ["192.168.1.5:5555", "adb-1A2B3C-xYz (2)._adb-tls-connect._tcp", "My Kiosk  01", "emulator-5554", "it's $(reboot)"];
    for (n, serial) in serials.into_iter().enumerate() {
        let alias = format!("kiosk-{n}");
        let script = field.single(&alias).await;
        field.laptop.reset();
        field.laptop.plug(serial, "device");
        field.laptop.plug("A1", "unauthorized");
        let several = field.laptop.run(&script, &[]).await;
        assert_failed(&several, 12, 3, &["shell"]);
        assert!(several.errors.contains(serial) && several.errors.contains("unauthorized"), "{several}");
        assert_failed(&field.laptop.run(&script, &["--serial", "A1"]).await, 13, 3, &["shell"]);
        let part = serial.split(' ').next().filter(|part| *part != serial);
        if let Some(part) = part {
            assert_failed(&field.laptop.run(&script, &["--serial", part]).await, 11, 3, &["shell"]);
        }
        let outcome = field.laptop.run(&script, &["--serial", serial]).await;
        assert_eq!(outcome.code, 0, "{outcome}");
        assert_eq!(field.laptop.handed(serial, "server_url"), field.bench.node.url());
        assert!(field.devices().contains(&alias));
    }
}

#[tokio::test]
async fn a_batch_goes_past_devices_that_are_not_ready() {
    let field = Field::start().await;
    let pattern = json!({"count": 2, "alias_pattern": "shop-{n}"});
    let made: Value = field.bench.client.post("/v1/enroll-tokens", Some(&field.bench.admin), &pattern).await.unwrap().json();
    let tokens: Vec<_> = made["tokens"].as_array().unwrap().iter().map(|token| token["token"].clone()).collect();
    let script = field.script(json!({"tokens": tokens, "shell": "bash", "batch": true})).await;
    let not_ready = [
        ("B2", "unauthorized", 13),
        ("emulator-5556", "offline", 14),
        ("C 3", "recovery", 14),
        ("D4", "no permissions (user in plugdev group; are your udev rules wrong?); see [http://x]", 13),
        ("E5", "sideload", 14),
    ];
    field.laptop.plug("10.0.0.7:5555", "device");
    for (serial, state, _) in not_ready {
        field.laptop.plug(serial, state);
    }
    field.laptop.plug("Kiosk (2)", "device");
    field.laptop.fault("noise");
    let outcome = field.laptop.run_with_noise(&script, &[]).await;
    assert_eq!(outcome.code, 1, "{outcome}");
    assert!(outcome.output.contains("2 of 7 devices are enrolled."), "{outcome}");
    for (serial, _, code) in not_ready {
        assert!(outcome.output.contains(&format!("{serial}  FAILED with {code}")), "{serial}: {outcome}");
    }
    assert_eq!(field.devices(), "shop-1,shop-2");
}

#[tokio::test]
async fn an_agent_that_wants_less_is_granted_less() {
    let field = Field::start().await;
    let script = field.single("modest").await;
    field.laptop.plug("A1", "device");
    field.laptop.fault("grant_unwanted");
    let outcome = field.laptop.run(&script, &[]).await;
    assert_eq!(outcome.code, 0, "{outcome}");
    assert!(outcome.output.contains("not requested by this agent"), "{outcome}");
}

#[tokio::test]
async fn server_token_and_download_have_their_codes() {
    let field = Field::start().await;
    let token = field.token("x").await;
    let script = field.script(json!({"tokens": [token], "shell": "bash"})).await;
    field.laptop.plug("A1", "device");
    let nowhere = script.replace(&field.bench.node.url(), "http://127.0.0.1:1");
    assert_failed(&field.laptop.run(&nowhere, &[]).await, 20, 2, &["shell"]);
    let unknown = script.replace(&token, "unknown");
    assert_failed(&field.laptop.run(&unknown, &[]).await, 21, 2, &["shell"]);
    let tampered = script.replace("signature=", "signature=00");
    assert_failed(&field.laptop.run(&tampered, &[]).await, 30, 8, &["install", "dpm"]);
    // The operator puts another version in place: scripts made before name the old one.
    field.laptop.file("operator.apk", &apk(b"another certificate"));
    assert_failed(&field.laptop.run(&script, &[]).await, 31, 8, &["install", "dpm"]);
    let renewed = field.script(json!({"tokens": [token], "shell": "bash"})).await;
    assert_eq!(field.laptop.run_with_wget(&renewed).await.code, 0, "wget does as well");
    field.bench.sql("UPDATE enroll_token SET expires_at = now() WHERE used_at IS NULL");
    let spent = field.single("late").await;
    field.bench.sql("UPDATE enroll_token SET expires_at = now() WHERE used_at IS NULL");
    let outcome = field.laptop.run(&spent, &[]).await;
    assert_failed(&outcome, 21, 2, &["shell"]);
    assert!(outcome.errors.contains("The token is expired"), "{outcome}");
    assert_eq!(field.laptop.run(&renewed, &["--what"]).await.code, 2);
    assert_eq!(field.laptop.run(&renewed, &["--timeout", "soon"]).await.code, 2);
    assert_eq!(field.laptop.run(&renewed, &["--help"]).await.code, 0);
}

#[tokio::test]
async fn a_dry_run_prints_the_calls_and_makes_none() {
    let field = Field::start().await;
    let script = field.single("dry").await;
    field.laptop.plug("A1", "device");
    let outcome = field.laptop.run(&script, &["--dry-run", "--serial", "A1"]).await;
    assert_eq!(outcome.code, 0, "{outcome}");
    assert_eq!(outcome.calls, "", "adb was not even called");
    for call in
        ["getprop", "dumpsys account", "pm list users", "install -r", "dpm set-device-owner", "pm grant", "whitelist +", "am broadcast"]
    {
        assert!(outcome.output.contains(call), "no {call}: {outcome}");
    }
    assert_eq!(field.bench.sql("SELECT count(*) FROM enroll_token WHERE used_at IS NULL"), "1");
    let without_adb = field.laptop.run_without_adb_dry(&script).await;
    assert_eq!(without_adb.code, 0, "{without_adb}");
}

#[tokio::test]
async fn a_batch_enrolls_what_it_can_and_is_finished_by_a_second_run() {
    let field = Field::start().await;
    let made =
        field.bench.client.post("/v1/enroll-tokens", Some(&field.bench.admin), &json!({"count": 3, "alias_pattern": "shop-{n}"})).await;
    let made: Value = made.unwrap().json();
    let tokens: Vec<_> = made["tokens"].as_array().unwrap().iter().map(|token| token["token"].clone()).collect();
    let script = field.script(json!({"tokens": tokens, "shell": "bash", "batch": true})).await;
    for serial in ["A1", "B2", "C3"] {
        field.laptop.plug(serial, "device");
    }
    field.laptop.fault_of("B2", "account");
    let outcome = field.laptop.run(&script, &[]).await;
    assert_eq!(outcome.code, 1, "{outcome}");
    assert!(outcome.output.contains("2 of 3 devices are enrolled."), "{outcome}");
    assert!(outcome.output.contains("B2  FAILED with 17 (accounts_present)"), "{outcome}");
    // B2 used no token up: C3 got the next one.
    assert_eq!(field.devices(), "shop-1,shop-2");

    field.laptop.fault_of("B2", "");
    let again = field.laptop.run(&script, &[]).await;
    assert_eq!(again.code, 0, "{again}");
    assert_eq!(field.devices(), "shop-1,shop-2,shop-3");
    let dry = field.laptop.run(&script, &["--dry-run"]).await;
    assert_eq!((dry.code, dry.calls.as_str()), (0, ""), "{dry}");
    let finished = field.laptop.run(&script, &[]).await;
    assert_eq!(finished.code, 0, "every token is used, and every device is enrolled: {finished}");
    field.laptop.plug("D4", "device");
    let one_more = field.laptop.run(&script, &[]).await;
    assert_eq!(one_more.code, 1, "{one_more}");
    assert!(one_more.output.contains("3 of 4 devices") && one_more.output.contains("D4  FAILED with 45 (no_token_left)"), "{one_more}");
    assert_eq!(field.bench.sql("SELECT count(*) FROM device"), "3");
}

#[tokio::test]
async fn scripts_are_refused_with_what_is_missing_and_for_whom() {
    let bench = Bench::start().await;
    let token = bench.client.tokens(&bench.admin, 1).await.unwrap().remove(0).token;
    let post = async |path: &str, body: Value| bench.client.post(path, Some(&bench.admin), &body).await.unwrap();
    let no_apk = post("/v1/enroll-tokens/scripts", json!({"tokens": [token], "shell": "bash"})).await;
    assert_eq!(no_apk.status, 409);
    for way in ["make agent", "agent/nexmdm-agent.apk", "enrollment.agent_apk_file"] {
        assert!(no_apk.detail().contains(way), "{way}: {}", no_apk.detail());
    }
    assert_eq!(post("/v1/enroll-tokens/qr", json!({"token": token})).await.status, 409);
    for shell in ["bash", "powershell", "cmd"] {
        let answer = post("/v1/enroll-tokens/scripts", json!({"tokens": [token], "shell": shell, "install": false})).await;
        assert_eq!(answer.status, 200, "{}", answer.detail());
        assert!(answer.header("content-disposition").unwrap().contains("filename=\"enroll."));
    }
    for (body, field) in [
        (json!({"tokens": [], "shell": "bash"}), "tokens"),
        (json!({"tokens": [token], "shell": "fish"}), "shell"),
        (json!({"tokens": ["unknown"], "shell": "bash"}), "tokens[0]"),
        (json!({"tokens": [token, token], "shell": "bash"}), "batch"),
        (json!({"tokens": [token, token], "shell": "bash", "batch": true}), "tokens[1]"),
        (json!({"tokens": [token], "shell": "bash", "install": false, "server_url": "ftp://x"}), "server_url"),
    ] {
        let answer = post("/v1/enroll-tokens/scripts", body.clone()).await;
        assert_eq!((answer.status, answer.json()["field"].as_str()), (422, Some(field)), "{body}");
    }
    let nobody = bench.client.post("/v1/enroll-tokens/scripts", None, &json!({"tokens": [token], "shell": "bash"})).await.unwrap();
    assert_eq!(nobody.status, 401);
}

#[tokio::test]
async fn a_token_tells_its_bearer_what_became_of_it() {
    let bench = Bench::with(options().env("NEXMDM__ENROLLMENT__FAILURE_BURST", "3")).await;
    let tokens = bench.client.tokens(&bench.admin, 2).await.unwrap();
    let ask = async |token: &str| bench.client.get("/v1/enroll-tokens/self", Some(token)).await.unwrap();
    let unused = ask(&tokens[0].token).await.json();
    assert_eq!((&unused["status"], &unused["device_id"], &unused["first_heartbeat_at"]), (&json!("unused"), &Value::Null, &Value::Null));
    let registered =
        bench.client.register(&tokens[0].token, &wire::agent::RegisterRequest { alias: Some("a".into()), ..Default::default() }).await;
    let registered: Value = registered.unwrap().json();
    let used = ask(&tokens[0].token).await.json();
    assert_eq!((&used["status"], &used["device_id"], &used["alias"]), (&json!("used"), &registered["device_id"], &json!("a")));
    assert_eq!(used["first_heartbeat_at"], Value::Null);
    let before = clock(-5);
    for seconds in [0, 20] {
        let answer =
            bench.client.heartbeat(registered["device_token"].as_str().unwrap(), &crate::common::heartbeat(seconds, 50)).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.detail());
    }
    let seen = ask(&tokens[0].token).await.json()["first_heartbeat_at"].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    assert!(before < seen && seen < clock(5), "{seen}");
    bench.client.delete(&format!("/v1/enroll-tokens/{}", tokens[1].id), &bench.admin).await.unwrap();
    assert_eq!(ask(&tokens[1].token).await.json()["status"], "revoked");
    let mut statuses = Vec::new();
    for n in 0..5 {
        statuses.push(ask(&format!("guess-{n}")).await.status);
    }
    assert_eq!(statuses, [401, 401, 401, 429, 429]);
    assert_eq!(ask(&tokens[0].token).await.status, 200, "a good token works from the same address");
    assert_eq!(bench.client.get("/v1/enroll-tokens/self", None).await.unwrap().status, 401);
}

#[tokio::test]
async fn the_apk_is_served_to_signed_addresses_in_ranges_and_the_code_names_its_signer() {
    let field = Field::start().await;
    let token = field.token("qr").await;
    let wifi = json!({"ssid": "shop", "password": "12345678"});
    let body = json!({"token": token, "wifi": wifi, "server_url": "https://mdm.example/"});
    let answer = field.bench.client.post("/v1/enroll-tokens/qr", Some(&field.bench.admin), &body).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.detail());
    let code = answer.json();
    let extra = |name: &str| code["payload"][format!("android.app.extra.PROVISIONING_{name}")].clone();
    let signer = base64_url(&sha2_of(b"certificate"));
    assert_eq!(extra("DEVICE_ADMIN_SIGNATURE_CHECKSUM"), signer);
    assert_eq!(extra("ADMIN_EXTRAS_BUNDLE"), json!({"server_url": "https://mdm.example", "enrollment_token": token}));
    assert_eq!(extra("WIFI_SECURITY_TYPE"), "WPA");
    assert!(code["svg"].as_str().unwrap().starts_with("<svg"));

    let url = extra("DEVICE_ADMIN_PACKAGE_DOWNLOAD_LOCATION").as_str().unwrap().to_owned();
    let path = url.strip_prefix("https://mdm.example").unwrap();
    let whole = field.bench.client.get(path, None).await.unwrap();
    let apk = apk(b"certificate");
    assert_eq!((whole.status, whole.body.as_ref()), (200, apk.as_slice()));
    assert_eq!(whole.header("content-type"), Some("application/vnd.android.package-archive"));
    let get = async |header: (&str, &str)| field.bench.client.send(Call::get(path).header(header.0, header.1)).await.unwrap();
    let part = get(("range", "bytes=2-5")).await;
    assert_eq!((part.status, part.body.as_ref()), (206, &apk[2..=5]));
    assert_eq!(part.header("content-range").unwrap(), format!("bytes 2-5/{}", apk.len()));
    assert_eq!(get(("range", "bytes=999999-")).await.status, 416);
    let etag = whole.header("etag").unwrap();
    assert_eq!(get(("if-none-match", etag)).await.status, 304);
    // Another version is in place now: the same address serves it, and a range of the old one is not mixed in.
    field.laptop.file("operator.apk", &fake_adb::apk(b"certificate 2"));
    let call = Call::get(path).header("range", "bytes=2-5").header("if-range", etag);
    assert_eq!(field.bench.client.send(call).await.unwrap().status, 200);

    let expires: i64 = path.split("expires=").nth(1).unwrap().split('&').next().unwrap().parse().unwrap();
    for wrong in [
        path.replace(&format!("expires={expires}"), &format!("expires={}", expires + 1)),
        path.replace("signature=", "signature=0"),
        path.split("&signature").next().unwrap().to_owned() + "&signature=",
    ] {
        assert_eq!(field.bench.client.get(&wrong, None).await.unwrap().status, 401, "{wrong}");
    }
    assert_eq!(field.bench.client.get("/v1/agent/apk", None).await.unwrap().status, 422);
    assert!(!field.bench.node.log().contains(&token));
}

fn sha2_of(bytes: &[u8]) -> Vec<u8> {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).to_vec()
}

/// The alphabet of RFC 4648, section 5, without padding.
fn base64_url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    bits.chunks(6)
        .map(|six| char::from(ALPHABET[six.iter().enumerate().map(|(n, bit)| usize::from(*bit) << (5 - n)).sum::<usize>()]))
        .collect()
}
