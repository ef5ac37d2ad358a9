//! What survives a node that dies and a step back: a secret that was shown, a form that is being filled in, the place in a list.

use super::chromium::Chromium;
use crate::common::{Bench, PASSWORD, eventually, options};

/// Kills the node under the page and waits until the page is connected again.
async fn lose_the_node(bench: &mut Bench, chromium: &Chromium) {
    bench.node.kill9().unwrap();
    let live = async || chromium.script("return document.documentElement.dataset.live").await;
    eventually("the loss is noticed", async || (live().await == "off").then_some(())).await;
    bench.node.restart().await.unwrap();
    chromium.live().await;
}

#[tokio::test]
async fn a_secret_and_a_draft_survive_the_death_of_the_node() {
    let mut bench = Bench::with(options()).await;
    let chromium = Chromium::start().await;
    chromium.sign_in(&bench.node.url(), "admin", bench.node.admin_password()).await;
    chromium.mark().await;
    chromium.click("nav a[href='/enrollment']").await;
    chromium.fill("input[name=alias]", "front-desk").await;
    chromium.click("[data-testid=create-tokens]").await;
    let token = eventually("the new token", async || chromium.text("[data-testid=new-token]").await).await;
    chromium.fill("input[name=tags]", "till, berlin").await;
    lose_the_node(&mut bench, &chromium).await;
    chromium.says("[data-testid=new-token]", token.trim()).await;
    let value = async |name: &str| chromium.script(&format!("return document.querySelector('input[name={name}]')?.value")).await;
    eventually("the draft", async || (value("tags").await == "till, berlin").then_some(())).await;
    assert_eq!(value("alias").await, "front-desk");
    chromium.assert_not_reloaded().await;
    let stored = chromium.script("return JSON.stringify([{...sessionStorage}, {...localStorage}])").await;
    assert!(!stored.as_str().unwrap().contains(token.trim()), "a secret is kept in memory only");

    // Whoever leaves the page has left both behind.
    chromium.click("nav a[href='/cluster']").await;
    chromium.shown("[data-testid=node-row]").await;
    chromium.click("nav a[href='/enrollment']").await;
    chromium.shown("[data-testid=create-tokens]").await;
    chromium.gone("[data-testid=new-token]").await;
    assert_eq!(value("tags").await, "");
}

#[tokio::test]
async fn a_draft_is_of_one_person_and_a_double_click_sends_a_form_once() {
    let bench = Bench::with(options()).await;
    bench.add_user("ann", "operator");
    let chromium = Chromium::start().await;
    chromium.sign_in(&bench.node.url(), "admin", bench.node.admin_password()).await;
    chromium.click("nav a[href='/enrollment']").await;
    let button = "document.querySelector('[data-testid=create-tokens]')";
    chromium.shown("[data-testid=create-tokens]").await;
    chromium.script(&format!("{button}.click(); setTimeout(() => {{ {button}.click(); window.twice = true }}, 100)")).await;
    chromium.shown("[data-testid=new-token]").await;
    eventually("both clicks", async || (chromium.script("return window.twice").await == true).then_some(())).await;
    // Sent after those, and taken, as something was changed.
    chromium.fill("input[name=tags]", "till").await;
    chromium.click("[data-testid=create-tokens]").await;
    let made = async || bench.sql("SELECT count(*) || ' ' || count(*) FILTER (WHERE 'till' = ANY (tags)) FROM enroll_token");
    eventually("the other token", async || made().await.ends_with(" 1").then_some(())).await;
    assert_eq!(made().await, "2 1");

    chromium.fill("input[name=alias]", "front-desk").await;
    let draft = "return Object.keys(sessionStorage).length";
    eventually("the draft is kept", async || (chromium.script(draft).await == 1).then_some(())).await;
    chromium.script("fetch('/logout', { method: 'POST' })").await;
    // The page leads to the form by itself.
    chromium.shown("input[name=username]").await;
    chromium.fill("input[name=username]", "ann").await;
    chromium.fill("input[name=password]", PASSWORD).await;
    chromium.click("[data-testid=sign-in]").await;
    chromium.shown("[data-testid=create-tokens]").await;
    assert_eq!(chromium.script("return document.querySelector('input[name=alias]').value").await, "");
    assert_eq!(chromium.script(draft).await, 0);
}

#[tokio::test]
async fn the_step_back_leads_to_where_the_list_was_and_all_of_it_fits() {
    let mut bench = Bench::with(options()).await;
    // Enrolled in one statement: the list is under test here, not the enrollment.
    bench.sql(
        "INSERT INTO device (device_id, alias, enrolled_at) SELECT gen_random_uuid(), 'row-' || lpad(n::text, 5, '0'), now() \
         FROM generate_series(0, 3999) n",
    );
    bench.node.restart().await.unwrap();
    let chromium = Chromium::start().await;
    chromium.sign_in(&bench.node.url(), "admin", bench.node.admin_password()).await;
    chromium.click("nav a[href='/devices']").await;
    chromium.shown("[data-testid=devices-table] [data-id]").await;
    chromium.script("document.querySelector('[data-testid=devices-table]').scrollTop = 3000 * 40").await;
    let row =
        "[...document.querySelectorAll('[data-testid=devices-table] [data-id]')].find((row) => row.textContent.includes('row-03000'))";
    eventually("row 3000", async || chromium.script(&format!("return Boolean({row})")).await.as_bool()?.then_some(())).await;
    chromium.script(&format!("{row}.querySelector('a').click()")).await;
    chromium.says("[data-testid=device-alias]", "row-03000").await;
    chromium.script("history.back()").await;
    eventually("row 3000 again, in sight", async || {
        let seen = format!("const box = {row}?.getBoundingClientRect(); return Boolean(box && box.top > 0 && box.bottom < innerHeight)");
        chromium.script(&seen).await.as_bool()?.then_some(())
    })
    .await;

    // Some of the devices: a mixed box over them, and a bar of one line below them.
    chromium.script(&format!("{row}.querySelector('input').click()")).await;
    chromium.shown("[data-testid=selection-bar]").await;
    let mixed = "const box = document.querySelector('[data-testid=select-all]'); return [box.indeterminate, box.checked]";
    eventually("a mixed box", async || (chromium.script(mixed).await == serde_json::json!([true, false])).then_some(())).await;
    let lines = "return new Set([...document.querySelectorAll('[data-testid=selection-bar] > .button')].map((one) => one.offsetTop)).size";
    assert_eq!(chromium.script(lines).await, 1, "the bar wraps at 1440 px");
    let cut = "const pen = document.createElement('canvas').getContext('2d'); return [...document.querySelectorAll('.filters select')].filter((one) => { \
         pen.font = getComputedStyle(one).font; const style = getComputedStyle(one); \
         const room = one.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight) - 16; \
         return pen.measureText(one.selectedOptions[0].text).width > room; }).map((one) => one.name)";
    assert_eq!(chromium.script(cut).await, serde_json::json!([]), "labels of filters are cut off");
}
