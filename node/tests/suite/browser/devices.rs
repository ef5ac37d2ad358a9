//! Devices in the dashboard: edit, select, change in bulk, delete and restore,
//! keep filters, export and import.

use chaos::harness::TempDir;
use fantoccini::Locator;
use serde_json::{Value, json};

use super::chromium::Chromium;
use crate::common::{Bench, eventually, heartbeat};

const ROWS: &str = "[data-testid=devices-table] [data-id]";

/// Six devices that report.
async fn fleet() -> (Bench, Chromium) {
    let bench = Bench::start().await;
    for n in 1..=6 {
        let device = bench.enroll(&format!("till-{n}")).await;
        let sent = bench.client.post("/v1/heartbeat", Some(&device.device_token), &heartbeat(0, 10 * n)).await.unwrap();
        assert_eq!(sent.status, 200, "{}", sent.detail());
    }
    let chromium = Chromium::start().await;
    chromium.sign_in(&bench.node.url(), "admin", bench.node.admin_password()).await;
    (bench, chromium)
}

impl Chromium {
    async fn open(&self, bench: &Bench, path: &str) {
        self.goto(&format!("{}{path}", bench.node.url())).await;
        self.live().await;
    }

    async fn rows(&self, wanted: usize) {
        eventually(&format!("{wanted} rows"), async || {
            (self.browser.find_all(Locator::Css(ROWS)).await.ok()?.len() == wanted).then_some(())
        })
        .await;
    }

    /// Ticks the box of the row with this alias.
    async fn select(&self, alias: &str) {
        self.click(&format!("{ROWS} input[aria-label='Select {alias}']")).await;
    }
}

fn tags(bench: &Bench, alias: &str) -> String {
    bench.sql(&format!("SELECT array_to_string(tags, ',') FROM device WHERE alias = '{alias}' AND deleted_at IS NULL"))
}

#[tokio::test]
async fn a_device_is_edited_deleted_and_taken_back() {
    let (bench, chromium) = fleet().await;
    let id = bench.sql("SELECT device_id FROM device WHERE alias = 'till-1'");
    chromium.open(&bench, &format!("/devices/{id}")).await;
    chromium.mark().await;
    chromium.shown("[data-testid=edit-device]:not([disabled])").await;
    chromium.click("[data-testid=edit-device]").await;
    chromium.shown("dialog[open]").await;
    chromium.assert_sound("the dialog that edits").await;
    chromium.picture("dialog-edit").await;

    // What is wrong is said at its field, and nothing is changed.
    chromium.fill("dialog input[name=alias]", "till-2").await;
    chromium.fill("dialog input[name=tags]", "express, corner").await;
    chromium.click("dialog [data-testid=submit]").await;
    chromium.says("[data-testid=error-alias]", "already has the alias").await;
    assert_eq!(tags(&bench, "till-1"), "");
    chromium.fill("dialog input[name=alias]", "till-one").await;
    chromium.fill("dialog input[name='monitored_app.package']", "com.example.kiosk").await;
    chromium.fill("dialog input[name='monitored_app.stale_after_s']", "soon").await;
    chromium.click("dialog [data-testid=submit]").await;
    chromium.says("dialog", "must be a whole number of seconds").await;
    chromium.fill("dialog input[name='monitored_app.stale_after_s']", "120").await;
    chromium.click("dialog [data-testid=submit]").await;
    chromium.says("[data-testid=device-alias]", "till-one").await;
    chromium.gone("dialog[open]").await;
    assert_eq!(tags(&bench, "till-one"), "corner,express");
    assert_eq!(
        bench.sql(&format!("SELECT monitored_package || monitored_stale_after_s FROM device WHERE device_id = '{id}'")),
        "com.example.kiosk120"
    );
    chromium.says("[data-testid=event][data-kind=edited]", "till-1 → till-one").await;

    // Deleted with a question, taken back with the message.
    chromium.click("[data-testid=delete-device]").await;
    chromium.click("[data-testid=confirm]").await;
    chromium.says("[data-testid=toasts]", "Deleted till-one").await;
    chromium.rows(5).await;
    chromium.picture("toast-undo").await;
    chromium.click("[data-testid=undo]").await;
    chromium.rows(6).await;

    // And from the list of deleted devices, under another name.
    chromium.assert_not_reloaded().await;
    chromium.open(&bench, &format!("/devices/{id}")).await;
    chromium.click("[data-testid=delete-device]").await;
    chromium.click("[data-testid=confirm]").await;
    chromium.rows(5).await;
    chromium.open(&bench, "/devices/deleted").await;
    chromium.click("[data-testid=deleted-row] [data-testid=restore]").await;
    chromium.fill("dialog input[name=alias]", "till-2").await;
    chromium.click("dialog [data-testid=submit]").await;
    chromium.says("[data-testid=error-alias]", "already has the alias").await;
    chromium.fill("dialog input[name=alias]", "till-back").await;
    chromium.click("dialog [data-testid=submit]").await;
    chromium.shown("[data-testid=empty-state]").await;
    assert_eq!(tags(&bench, "till-back"), "corner,express");
}

#[tokio::test]
async fn a_selection_survives_filtering_and_is_changed_at_once() {
    let (bench, chromium) = fleet().await;
    // One has the tag already.
    let wanted = json!({"alias": "till-7", "tags": ["express"]});
    let made: Value = bench.client.post("/v1/enroll-tokens", Some(&bench.admin), &wanted).await.unwrap().json();
    let registered = bench.client.post("/v1/register", made["tokens"][0]["token"].as_str(), &json!({})).await.unwrap();
    assert_eq!(registered.status, 200, "{}", registered.detail());
    chromium.open(&bench, "/devices").await;
    chromium.rows(7).await;
    chromium.mark().await;
    chromium.select("till-1").await;
    chromium.select("till-7").await;
    chromium.fill("input[data-search]", "till-3").await;
    chromium.rows(1).await;
    chromium.select("till-3").await;
    chromium.says("[data-testid=selection-bar]", "3 selected").await;
    chromium.fill("input[data-search]", "till").await;
    chromium.rows(7).await;

    chromium.click("[data-testid=bulk-tags]").await;
    chromium.shown("dialog[open]").await;
    chromium.click("dialog [data-testid=submit]").await;
    chromium.says("[data-testid=error-labels]", "enter at least one").await;
    chromium.fill("dialog input[name=labels]", "express").await;
    chromium.click("dialog [data-testid=submit]").await;
    chromium.says("[data-testid=bulk-check] [data-testid=bulk-changed]", "2 would change").await;
    chromium.says("[data-testid=bulk-check]", "1 unchanged").await;
    assert_eq!(tags(&bench, "till-1"), "", "only looked at so far");
    chromium.assert_sound("the question about many devices").await;
    chromium.picture("dialog-bulk").await;
    chromium.click("[data-testid=confirm]").await;
    chromium.says("[data-testid=bulk-outcome] [data-testid=bulk-changed]", "2 changed").await;
    chromium.click("[data-testid=bulk-close]").await;
    chromium.gone("[data-testid=selection-bar]").await;
    for n in [1, 3, 7] {
        assert_eq!(tags(&bench, &format!("till-{n}")), "express");
    }

    // All that match, but one.
    chromium.open(&bench, "/devices?tag=express").await;
    chromium.rows(3).await;
    chromium.click("[data-testid=select-all]").await;
    chromium.says("[data-testid=selection-bar]", "3 selected all that match").await;
    chromium.select("till-7").await;
    chromium.says("[data-testid=selection-bar]", "2 selected").await;
    chromium.browser.refresh().await.unwrap();
    chromium.live().await;
    chromium.says("[data-testid=selection-bar]", "2 selected").await;
    chromium.click("[data-testid=bulk-delete]").await;
    chromium.says("[data-testid=bulk-check] [data-testid=bulk-changed]", "2 would change").await;
    chromium.click("[data-testid=confirm]").await;
    chromium.says("[data-testid=bulk-outcome] [data-testid=bulk-changed]", "2 changed").await;
    chromium.click("[data-testid=bulk-close]").await;
    chromium.rows(1).await;
    assert_eq!(bench.sql("SELECT string_agg(alias, ',' ORDER BY alias) FROM device WHERE deleted_at IS NOT NULL"), "till-1,till-3");
    chromium.click("[data-testid=undo]").await;
    chromium.rows(3).await;
}

#[tokio::test]
async fn low_storage_is_chosen_in_the_form_and_stands_in_the_address() {
    let (bench, chromium) = fleet().await;
    let device = bench.enroll("full-up").await;
    let mut told = heartbeat(0, 50);
    told.storage_free_mb = Some(wire::lenient::Int(400));
    assert_eq!(bench.client.post("/v1/heartbeat", Some(&device.device_token), &told).await.unwrap().status, 200);
    chromium.open(&bench, "/devices").await;
    chromium.rows(7).await;
    chromium.choose("select[name=storage_below_mb]", "500").await;
    chromium.rows(1).await;
    let href = chromium.script("return document.querySelector('[data-testid=export]').getAttribute('href')").await;
    assert_eq!(href, "/export/devices.csv?storage_below_mb=500");
    // A link takes a limit that the form does not offer.
    chromium.open(&bench, "/devices?storage_below_mb=300").await;
    chromium.shown("[data-testid=clear-filters]").await;
    let chosen = chromium.script("return document.querySelector('select[name=storage_below_mb]').selectedOptions[0].textContent").await;
    assert_eq!(chosen, "Below 300 MB");
}

#[tokio::test]
async fn filters_are_kept_and_tables_go_out_and_come_in() {
    let (bench, chromium) = fleet().await;
    chromium.open(&bench, "/devices?battery_below=20").await;
    chromium.rows(1).await;
    chromium.click("[data-testid=saved-filters]").await;
    chromium.click("[data-testid=keep-filter]").await;
    chromium.fill("dialog input[name=name]", "Nearly empty").await;
    chromium.click("dialog input[name=shared]").await;
    chromium.click("dialog [data-testid=submit]").await;
    chromium.says("[data-testid=saved-filters]", "Nearly empty").await;
    chromium.open(&bench, "/devices").await;
    chromium.rows(6).await;
    chromium.click("[data-testid=saved-filters]").await;
    chromium.click("[data-testid=saved-filter] a").await;
    chromium.rows(1).await;

    // What is exported is what is shown.
    let href = chromium.script("return document.querySelector('[data-testid=export]').getAttribute('href')").await;
    assert_eq!(href, "/export/devices.csv?battery_below=20");
    let fetched = "const done = arguments[arguments.length - 1]; fetch('/export/devices.csv?battery_below=20').then((answer) => answer.text()).then(done)";
    let table = chromium.browser.execute_async(fetched, vec![]).await.unwrap();
    let table = table.as_str().unwrap();
    assert!(table.lines().count() == 2 && table.contains("\"till-1\""), "{table}");
    let signed_out = bench.client.get("/export/devices.csv", None).await.unwrap();
    assert_eq!(signed_out.status, 303, "a table takes a sign-in");

    // A table with a mistake is shown and not applied; a mended one is looked at first.
    let folder = TempDir::new("import").unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let bad = write("bad.csv", "alias,tags,new_alias\ntill-1,a|b,\nnobody,a,\n");
    let good = write("good.csv", "alias,tags,new_alias\ntill-1,a|b,till-first\ntill-2,,\n");
    chromium.open(&bench, "/devices/import").await;
    let choose = async |file: &str| {
        chromium.shown("[data-testid=import-file]").await;
        chromium.browser.find(Locator::Css("[data-testid=import-file]")).await.unwrap().send_keys(file).await.unwrap();
    };
    choose(&bad).await;
    chromium.says("[data-testid=import-problems]", "1 problems").await;
    chromium.says("[data-testid=import-report]", "no device has this alias").await;
    chromium.shown("[data-testid=import-apply][disabled]").await;
    chromium.look("import-problems").await;
    choose(&good).await;
    chromium.says("[data-testid=import-changes]", "1 would change").await;
    chromium.says("[data-testid=import-change]", "till-1 → till-first").await;
    assert_eq!(tags(&bench, "till-1"), "");
    chromium.click("[data-testid=import-apply]").await;
    chromium.shown("[data-testid=import-report][data-applied=true]").await;
    assert_eq!(tags(&bench, "till-first"), "a,b");
}
