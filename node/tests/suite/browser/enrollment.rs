//! The enrollment page: scripts and codes for new tokens, and their use as it happens.

use chaos::harness::TempDir;

use serde_json::json;

use super::chromium::Chromium;
use crate::common::apks::fixture;
use crate::common::{Bench, eventually, options};

#[tokio::test]
async fn new_tokens_come_with_scripts_and_show_who_used_them() {
    let bench = Bench::with(options()).await;
    let (url, password) = (bench.node.url(), bench.node.admin_password().to_owned());
    let chromium = Chromium::start().await;
    chromium.sign_in(&url, "admin", &password).await;
    chromium.click("nav a[href='/enrollment']").await;
    chromium.fill("input[name=count]", "2").await;
    chromium.fill("input[name=alias_pattern]", "shop-{n}").await;
    chromium.click("[data-testid=create-tokens]").await;
    let token = eventually("a new token", async || chromium.text("[data-testid=new-token]").await).await;
    eventually("there is no APK", async || chromium.text("[data-testid=no-apk]").await).await;
    let script = async || chromium.script("return document.querySelector('[data-testid=script]')?.textContent ?? ''").await;
    let shows = async |what: &str| eventually(what, async || script().await.as_str()?.contains(what).then_some(())).await;
    shows("#!/usr/bin/env bash").await;
    shows(&format!("'{}'", token.trim())).await;
    assert!(script().await.as_str().unwrap().contains(&format!("SERVER_URL='{url}'")), "devices reach the server as this browser does");
    // By key: the next tab is chosen and has the focus.
    let key = "document.getElementById('kit-bash').dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight', bubbles: true}))";
    chromium.script(key).await;
    shows("Windows PowerShell 5.1").await;
    eventually("the focus on the tab", async || {
        (chromium.script("return document.activeElement.id").await == "kit-powershell").then_some(())
    })
    .await;
    chromium.click("[data-testid=kit-cmd]").await;
    shows("@echo off\r\n").await;
    chromium.click("[data-testid=kit-qr]").await;
    eventually("why there is no code", async || chromium.text("#kit-panel").await.filter(|text| text.contains("requires an agent APK")))
        .await;

    eventually("nobody is there", async || chromium.text("[data-testid=batch-progress]").await.filter(|text| text.contains("0 of 2")))
        .await;
    let answer = bench.client.register(token.trim(), &wire::agent::RegisterRequest::default()).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.detail());
    eventually("one is there", async || chromium.text("[data-testid=batch-progress]").await.filter(|text| text.contains("1 of 2"))).await;
    eventually("its name", async || chromium.text("[data-testid=used-by]").await.filter(|text| text.contains("shop-1"))).await;
    chromium.picture("enrollment-kit").await;
}

#[tokio::test]
async fn a_code_is_shown_on_a_white_plate_when_there_is_an_apk() {
    let folder = TempDir::new("apk").unwrap();
    let file = folder.path().join("agent.apk");
    std::fs::write(&file, b"PK\x03\x04 unsigned").unwrap();
    let signed_by = options()
        .env("NEXMDM__ENROLLMENT__AGENT_APK_FILE", file.to_str().unwrap())
        .env("NEXMDM__ENROLLMENT__AGENT_SIGNER_SHA256", "ab:".repeat(31) + "ab");
    let bench = Bench::with(signed_by).await;
    let (url, password) = (bench.node.url(), bench.node.admin_password().to_owned());
    let chromium = Chromium::start().await;
    chromium.sign_in(&url, "admin", &password).await;
    chromium.click("nav a[href='/enrollment']").await;
    chromium.click("[data-testid=create-tokens]").await;
    chromium.click("[data-testid=kit-qr]").await;
    let size = "const code = document.querySelector('[data-testid=qr-code]'); return code?.complete ? code.naturalWidth : 0";
    eventually("a picture that the browser can draw", async || chromium.script(size).await.as_f64().filter(|width| *width > 20.0)).await;
    chromium.fill("input[name=ssid]", "shop").await;
    chromium.fill("#kit-panel input[name=password]", "12345678").await;
    chromium.click("[data-testid=show-code]").await;
    let payload = "return document.querySelector('#kit-panel details pre')?.textContent ?? ''";
    eventually("the network in the payload", async || {
        let payload = chromium.script(payload).await;
        payload.as_str().filter(|text| text.contains("PROVISIONING_WIFI_SSID\": \"shop")).map(drop)
    })
    .await;
    chromium.picture("enrollment-code").await;
}

#[tokio::test]
async fn the_page_tells_which_agent_new_devices_get() {
    let bench = Bench::with(options()).await;
    let (url, password) = (bench.node.url(), bench.node.admin_password().to_owned());
    let chromium = Chromium::start().await;
    chromium.sign_in(&url, "admin", &password).await;
    chromium.click("nav a[href='/enrollment']").await;
    // The form is the same page: what it makes stays while the agent comes and goes.
    chromium.click("[data-testid=create-tokens]").await;
    chromium.shown("[data-testid=no-apk]").await;
    chromium.says("[data-testid=agent-ways]", "make agent-release").await;
    chromium.look("enrollment-no-agent").await;

    let folder = bench.node.data_dir().join("agent");
    let put = |name: &str| {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("nexmdm-agent.apk"), fixture(name)).unwrap();
    };
    put("agent-120.apk");
    chromium.says("[data-testid=agent-version]", "1.0.120 (120)").await;
    chromium.says("[data-testid=agent-build-type]", "Release build").await;
    chromium.says("[data-testid=agent-source]", "nexmdm-agent.apk").await;
    chromium.gone("[data-testid=no-apk]").await;
    chromium.gone("[data-testid=agent-problem]").await;
    let script = "return document.querySelector('[data-testid=script]')?.textContent ?? ''";
    eventually("a script that installs", async || chromium.script(script).await.as_str()?.contains("INSTALL=1").then_some(())).await;

    let apk = crate::common::apks::add(&bench.client, &bench.admin, "agent-122.apk").await;
    let build = bench.client.post("/v1/agent-builds", Some(&bench.admin), &json!({"apk_id": apk["id"]})).await.unwrap().json();
    let promote = format!("/v1/agent-builds/{}/promote", build["id"].as_str().unwrap());
    assert_eq!(bench.client.post(&promote, Some(&bench.admin), &json!({"rollout_percent": 10})).await.unwrap().status, 200);
    chromium.says("[data-testid=agent-updates]", "Devices update themselves to 1.0.122 (10 %) after enrollment.").await;
    chromium.goto(&format!("{url}/enrollment")).await;
    chromium.live().await;
    chromium.shown("[data-testid=agent-updates]").await;
    chromium.look("enrollment-agent").await;

    put("till-1.apk");
    chromium.says("[data-testid=agent-problem]", "one of com.example.till, not of the agent com.nexmdm").await;
    chromium.look("enrollment-wrong-agent").await;
}
