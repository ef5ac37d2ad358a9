//! A fleet that changes while somebody looks, and a table of ten thousand rows.

use std::time::Duration;

use chaos::harness::TempDir;
use fantoccini::Locator;

use super::SOME_BUCKETS;
use super::chromium::Chromium;
use super::fleet::Fleet;
use crate::common::{Bench, eventually, options, within};

#[tokio::test]
async fn an_admin_sees_the_fleet_live_through_an_outage() {
    let mut bench = Bench::with(options()).await;
    let (url, password) = (bench.node.url(), bench.node.admin_password().to_owned());
    let state = TempDir::new("fleet").unwrap();
    let chromium = Chromium::start().await;

    // Signs in; a wrong password first.
    chromium.goto(&format!("{url}/devices")).await;
    assert!(chromium.browser.current_url().await.unwrap().path() == "/login", "the way in is the sign-in page");
    chromium.fill("input[name=username]", "admin").await;
    chromium.fill("input[name=password]", "wrong").await;
    chromium.click("[data-testid=sign-in]").await;
    eventually("a refusal", async || chromium.text("[data-testid=login-error]").await).await;
    chromium.sign_in(&url, "admin", &password).await;
    chromium.mark().await;
    chromium.picture("overview-empty").await;

    // Creates a token and sees it used.
    chromium.click("nav a[href='/enrollment']").await;
    chromium.fill("input[name=alias]", "by-hand").await;
    chromium.click("[data-testid=create-tokens]").await;
    let token = eventually("the new token", async || chromium.text("[data-testid=new-token]").await).await;
    eventually("it is listed as unused", async || chromium.text("[data-testid=token-row][data-status=unused]").await).await;
    let answer = bench.client.register(token.trim(), &wire::agent::RegisterRequest::default()).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.detail());
    eventually("it is listed as used", async || chromium.text("[data-testid=token-row][data-status=used]").await).await;
    chromium.picture("enrollment").await;

    // Devices of a separate process appear in the table by themselves.
    chromium.click("nav a[href='/devices']").await;
    eventually("the table", async || chromium.text("[data-testid=devices-table]").await).await;
    let fleet = Fleet::start(&url, &password, state.path());
    let row = "[data-testid=devices-table] [data-id] [data-col=alias]";
    eventually("three devices of the fleet", async || {
        let mut aliases = Vec::new();
        for cell in chromium.browser.find_all(Locator::Css(row)).await.ok()? {
            aliases.push(cell.text().await.ok()?);
        }
        (aliases.iter().filter(|alias| alias.contains("browser-")).count() == 3).then_some(())
    })
    .await;
    chromium.picture("devices").await;

    // Its battery changes while one looks. Some devices stand on a charger, full: not one of those.
    let mut first = std::collections::HashMap::new();
    let device = within(SOME_BUCKETS, "a battery in use", async || {
        let listed = bench.client.get_json("/v1/devices?q=browser-&status=online", &bench.admin).await.unwrap();
        listed["items"].as_array()?.iter().find_map(|device| {
            let (id, battery) = (device["id"].as_str()?.to_owned(), device["last"]["battery_pct"].as_i64()?);
            (*first.entry(id.clone()).or_insert(battery) != battery).then_some(id)
        })
    })
    .await;
    chromium.click(&format!("[data-testid=devices-table] [data-id='{device}'] [data-col=alias] a")).await;
    eventually("the device page", async || chromium.text("[data-testid=device-alias]").await.filter(|alias| alias.contains("browser-")))
        .await;
    let battery_changes = async || {
        let before = eventually("a battery", async || chromium.text("[data-testid=battery]").await).await;
        within(SOME_BUCKETS, "the battery changes", async || chromium.text("[data-testid=battery]").await.filter(|now| *now != before))
            .await;
    };
    battery_changes().await;
    chromium.assert_not_reloaded().await;
    chromium.picture("device").await;

    // Loses the server, says so, and is back by itself.
    let banner_hidden = async || chromium.script("return document.getElementById('live-banner').hidden").await == true;
    assert!(banner_hidden().await);
    bench.node.kill9().unwrap();
    eventually("the banner", async || (!banner_hidden().await).then_some(())).await;
    chromium.picture("connection-lost").await;
    bench.node.restart().await.unwrap();
    eventually("the banner goes", async || banner_hidden().await.then_some(())).await;
    eventually("the same device", async || chromium.text("[data-testid=device-alias]").await.filter(|alias| alias.contains("browser-")))
        .await;
    battery_changes().await;
    chromium.assert_not_reloaded().await;
    drop(fleet);

    // Signs out: the way back leads to the sign-in page.
    chromium.goto(&format!("{url}/logout")).await;
    chromium.goto(&url).await;
    chromium.live().await;
    chromium.script("document.querySelector('[data-testid=sign-out]').click()").await;
    eventually("the sign-in page", async || (chromium.browser.current_url().await.ok()?.path() == "/login").then_some(())).await;
    chromium.goto(&format!("{url}/devices")).await;
    assert_eq!(chromium.browser.current_url().await.unwrap().path(), "/login");
}

#[tokio::test]
async fn the_table_stays_smooth_with_ten_thousand_rows_and_keeps_its_state_in_the_url() {
    let bench = Bench::with(options()).await;
    // Enrolled in one statement: the table is under test here, not the enrollment.
    bench.sql(
        "INSERT INTO device (device_id, alias, enrolled_at) SELECT gen_random_uuid(), 'row-' || lpad(n::text, 5, '0'), now() \
         FROM generate_series(0, 9999) n",
    );
    let mut bench = bench;
    bench.node.restart().await.unwrap();
    let chromium = Chromium::start().await;
    chromium.sign_in(&bench.node.url(), "admin", bench.node.admin_password()).await;
    chromium.goto(&format!("{}/devices", bench.node.url())).await;
    chromium.live().await;
    let first_alias = "const rows = [...document.querySelectorAll('[data-testid=devices-table] [data-id]')]; \
         const table = document.querySelector('[data-testid=devices-table]'); if (!table) return null; const box = table.getBoundingClientRect(); \
         const seen = rows.filter(r => { const b = r.getBoundingClientRect(); return b.bottom > box.top + 60 && b.top < box.bottom; }); \
         return seen.length > 5 ? seen.map(r => r.querySelector('[data-col=alias]').textContent.trim()).sort()[0] : null;";
    eventually("the first rows", async || (chromium.script(first_alias).await.as_str()?.contains("row-00")).then_some(())).await;
    let rows = chromium.script("return document.querySelectorAll('[data-testid=devices-table] [data-id]').length").await;
    assert!(rows.as_u64().unwrap() <= 400, "{rows} rows in the page");
    // A jump to the end fills the window there.
    chromium.script("const t = document.querySelector('[data-testid=devices-table]'); t.scrollTop = t.scrollHeight").await;
    eventually("the last rows", async || (chromium.script(first_alias).await.as_str()?.contains("row-099")).then_some(())).await;
    // A filter stands in the URL and survives a reload.
    chromium.goto(&format!("{}/devices?q=row-0123", bench.node.url())).await;
    chromium.live().await;
    let filtered = async || {
        eventually("ten rows", async || {
            let count = chromium.script("return document.querySelectorAll('[data-testid=devices-table] [data-id]').length").await;
            (count == 10).then_some(())
        })
        .await;
    };
    filtered().await;
    chromium.browser.refresh().await.unwrap();
    chromium.live().await;
    filtered().await;
    tokio::time::timeout(Duration::from_secs(10), chromium.browser.back()).await.unwrap().unwrap();
}
