//! The audit page: who did what, searched by its form and its address, opened, downloaded; and who sees it.

use fantoccini::key::Key;
use hyper::Method;
use serde_json::{Value, json};

use super::chromium::Chromium;
use crate::common::{Bench, PASSWORD, eventually};
use chaos::http::Call;

#[tokio::test]
async fn an_admin_reads_who_did_what_and_nobody_else_does() {
    let bench = Bench::start().await;
    let url = bench.node.url();
    let device = bench.enroll("kiosk-1").await.device_id;
    let edit = async |alias: &str| {
        let body = json!({"alias": alias, "tags": ["till"]}).to_string();
        let path = format!("/v1/devices/{device}");
        let call = Call::post(&path, body).method(Method::PATCH).bearer(&bench.admin).header("x-request-id", "edit-7");
        assert_eq!(bench.client.send(call).await.unwrap().status, 200);
    };
    edit("kiosk-2").await;
    bench.add_user("eve", "operator");
    for n in 0..60 {
        let body = json!({"name": format!("filter {n}"), "filter": {"tag": "till"}});
        assert_eq!(bench.client.post("/v1/filters", Some(&bench.admin), &body).await.unwrap().status, 201);
    }

    let chromium = Chromium::start().await;
    chromium.sign_in(&url, "admin", bench.node.admin_password()).await;
    chromium.click("[data-testid=nav-audit]").await;
    chromium.shown("[data-testid=audit-row]").await;
    chromium.look("audit-full").await;
    let rows = async || chromium.script("return document.querySelectorAll('[data-testid=audit-row]').length").await.as_u64();
    assert_eq!(rows().await, Some(50));
    chromium.click("[data-testid=load-more]").await;
    eventually("older entries", async || (rows().await? > 60).then_some(())).await;

    // By the form, with keys alone; the address says it as well.
    chromium.fill("#target", "kiosk-1").await;
    chromium.keys(&Key::Enter.to_string()).await;
    let edited = "[data-testid=audit-row][data-action='device.edited']";
    chromium.shown(edited).await;
    eventually("only what was done to the device", async || (rows().await? == 2).then_some(())).await;
    assert!(chromium.browser.current_url().await.unwrap().query().unwrap().contains("target=kiosk-1"));
    chromium.click(&format!("{edited} [data-testid=audit-details]")).await;
    chromium.says("[data-testid=audit-changes]", "kiosk-2").await;
    chromium.says("[data-testid=audit-detail]", "edit-7").await;
    let told: Value = chromium
        .script("return [...document.querySelectorAll('[data-testid=audit-changes] tbody tr')].map((row) => [...row.children].map((cell) => cell.textContent))")
        .await;
    assert_eq!(told, json!([["alias", "kiosk-1", "kiosk-2"], ["tags", "none", "till"]]));
    chromium.look("audit-details").await;
    chromium.click("[data-testid=clear-audit]").await;
    eventually("everything again", async || (rows().await? == 50).then_some(())).await;

    // The download is what the page shows.
    chromium.goto(&format!("{url}/audit?what=device&target=kiosk-1")).await;
    chromium.live().await;
    chromium.shown(edited).await;
    let csv =
        chromium.script("return fetch(document.querySelector('[data-testid=export-audit]').href).then((answer) => answer.text())").await;
    let csv = csv.as_str().unwrap();
    assert!(csv.lines().count() == 3 && csv.contains("\"device.enrolled\"") && csv.contains("\"edit-7\""), "{csv}");

    // Others see neither; what they do on a page has an address and a request as well.
    let visitor = Chromium::start().await;
    visitor.sign_in(&url, "eve", PASSWORD).await;
    assert!(visitor.text("[data-testid=nav-audit]").await.is_none());
    visitor.goto(&format!("{url}/audit")).await;
    visitor.live().await;
    visitor.says("[data-testid=empty-state]", "Only for admins").await;
    bench.client.access_token("eve", PASSWORD).await.unwrap();
    visitor.goto(&format!("{url}/settings/sessions")).await;
    visitor.live().await;
    visitor.click("[data-testid=end-others]").await;
    visitor.click("[data-testid=confirm]").await;
    visitor.says("[data-testid=toasts]", "Ended").await;
    let entries = bench.client.get_json("/v1/audit?actor=eve&action=account.sign_ins_ended", &bench.admin).await.unwrap();
    let entry = &entries["items"][0];
    assert_eq!((&entry["actor"]["kind"], &entry["address"]), (&json!("person"), &json!("127.0.0.1")), "{entry:#}");
    assert!(entry["request_id"].as_str().is_some_and(|id| id.len() == 36), "{entry:#}");
}
