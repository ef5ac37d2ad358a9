//! Dialogs beside the pages about alerts: remediation, subscriptions to events, the e-mail of accounts; and what forms keep.

use serde_json::json;

use super::chromium::Chromium;
use crate::common::{Bench, eventually};

async fn start(path: &str) -> (Bench, Chromium) {
    let bench = Bench::start().await;
    let chromium = Chromium::start().await;
    chromium.sign_in(&bench.node.url(), "admin", bench.node.admin_password()).await;
    open(&chromium, &bench, path).await;
    (bench, chromium)
}

async fn open(chromium: &Chromium, bench: &Bench, path: &str) {
    chromium.goto(&format!("{}{path}", bench.node.url())).await;
    chromium.live().await;
}

#[tokio::test]
async fn remediation_is_set_for_a_group_changed_and_removed() {
    let (bench, chromium) = start("/alerts/rules/app_down").await;
    chromium.click("[data-testid=add-remediation]").await;
    chromium.shown("dialog[open] input[name=group]").await;
    chromium.look("remediation-form").await;
    chromium.click("[data-testid=submit]").await;
    chromium.says("[data-testid=error-group]", "missing").await;
    chromium.fill("dialog input[name=group]", "north").await;
    chromium.fill("dialog input[name=per_hour_max]", "many").await;
    chromium.click("[data-testid=submit]").await;
    chromium.says("[data-testid=error-per_hour_max]", "not a whole number").await;
    chromium.fill("dialog input[name=per_hour_max]", "7").await;
    chromium.click("[data-testid=submit]").await;
    chromium.says("[data-testid=toasts]", "Group north: remediation is on").await;
    let row = "[data-testid=remediation-row]:has([data-testid=remove-remediation])";
    chromium.says(row, "7 commands an hour").await;
    chromium.click(&format!("{row} [data-testid=change-remediation]")).await;
    chromium.shown("dialog[open] input[name=enabled]").await;
    chromium.click("dialog input[name=enabled]").await;
    chromium.click("[data-testid=submit]").await;
    chromium.shown(&format!("{row}[data-enabled=false]")).await;
    chromium.click(&format!("{row} [data-testid=remove-remediation]")).await;
    chromium.click("[data-testid=confirm]").await;
    chromium.gone(row).await;
    assert_eq!(bench.sql("SELECT count(*) FROM audit_entry WHERE action LIKE 'remediation.%' OR action LIKE 'alert_remediation.%'"), "3");
}

#[tokio::test]
async fn a_channel_subscribes_to_events_of_the_trail_and_of_devices() {
    let (bench, chromium) = start("/alerts/channels").await;
    let hook = json!({"name": "Ops", "kind": "webhook", "url": "https://hooks.example.org/x"});
    let channel = bench.client.post("/v1/alert-channels", Some(&bench.admin), &hook).await.unwrap();
    assert_eq!(channel.status, 201, "{}", channel.detail());
    let id = channel.json()["id"].as_str().unwrap().to_owned();
    open(&chromium, &bench, &format!("/alerts/channels/{id}")).await;
    chromium.click("[data-testid=add-subscription]").await;
    chromium.shown("dialog[open] input[name=subjects]").await;
    chromium.look("subscription-form").await;
    chromium.click("[data-testid=submit]").await;
    chromium.says("[data-testid=error-actions], [data-testid=form-error]", "missing").await;
    chromium.fill("dialog input[name=actions]", "device.enroled").await;
    chromium.click("[data-testid=submit]").await;
    chromium.says("[data-testid=error-actions], [data-testid=form-error]", "no action of the audit trail").await;
    chromium.fill("dialog input[name=actions]", "flag.set").await;
    chromium.click("dialog input[name=subjects][value='device_event.']").await;
    chromium.click("[data-testid=submit]").await;
    chromium.says("[data-testid=toasts]", "Subscribed").await;
    chromium.says("[data-testid=subscription-row]", "device_event.*, flag.set").await;
    chromium.click("[data-testid=remove-subscription]").await;
    chromium.click("[data-testid=confirm]").await;
    chromium.gone("[data-testid=subscription-row]").await;
}

#[tokio::test]
async fn the_e_mail_address_of_an_account_is_changed() {
    let (bench, chromium) = start("/").await;
    bench.add_user("eve", "viewer");
    open(&chromium, &bench, "/settings/users").await;
    let change = "[data-testid=user-row][data-user=eve] [data-testid=change-email]";
    chromium.click(change).await;
    chromium.shown("dialog[open] input[name=email]").await;
    chromium.look("user-email").await;
    chromium.fill("dialog input[name=email]", "no address").await;
    chromium.click("dialog [data-testid=submit]").await;
    chromium.shown("[data-testid=error-email]").await;
    chromium.fill("dialog input[name=email]", "eve@example.org").await;
    chromium.click("dialog [data-testid=submit]").await;
    chromium.says("[data-testid=toasts]", "Changed the e-mail address of eve").await;
    assert_eq!(bench.sql("SELECT email FROM app_user WHERE username = 'eve'"), "eve@example.org");
    chromium.click(change).await;
    chromium.shown("dialog[open] input[name=email]").await;
    assert_eq!(chromium.script("return document.querySelector('dialog input[name=email]').value").await, "eve@example.org");
}

#[tokio::test]
async fn a_choice_stays_when_something_else_is_refused_and_a_form_counts_once() {
    let (bench, chromium) = start("/settings/tokens").await;
    let choose = |css: &str| {
        format!(
            "const choice = document.querySelector(`{css}`); choice.value = choice.options[choice.options.length - 1].value; \
             choice.dispatchEvent(new Event('change', {{ bubbles: true }})); return choice.value"
        )
    };
    chromium.click("[data-testid=create-api-token]").await;
    chromium.shown("dialog[open] select[name=expires_in_seconds]").await;
    let chosen = chromium.script(&choose("dialog select[name=expires_in_seconds]")).await;
    chromium.click("dialog [data-testid=submit]").await;
    chromium.shown("[data-testid=error-name]").await;
    assert_eq!(chromium.script("return document.querySelector('dialog select').value").await, chosen);

    open(&chromium, &bench, "/enrollment").await;
    chromium.shown("[data-testid=create-tokens]").await;
    let chosen = chromium.script(&choose("select[name=expires]")).await;
    let count = "const field = document.querySelector('input[name=count]'); field.value = '0'; field.dispatchEvent(new Event('input', { bubbles: true }))";
    chromium.script(count).await;
    chromium.click("[data-testid=create-tokens]").await;
    chromium.shown("[data-testid=error-count]").await;
    assert_eq!(chromium.script("return document.querySelector('select[name=expires]').value").await, chosen);

    // What a form sends twice counts once, whatever the script of the page does: here it is sent again with the key of the first time.
    chromium.script(&count.replace("'0'", "'1'")).await;
    let twice = "const form = document.querySelector('form:has([data-testid=create-tokens])'); \
                 const send = () => { delete form.sentAt; form.dispatchEvent(new Event('submit', { bubbles: true, cancelable: true })) }; send(); send(); window.twice = true";
    chromium.script(twice).await;
    chromium.shown("[data-testid=new-token]").await;
    chromium.fill("input[name=tags]", "till").await;
    chromium.click("[data-testid=create-tokens]").await;
    let made = async || bench.sql("SELECT count(*) || ' ' || count(*) FILTER (WHERE 'till' = ANY (tags)) FROM enroll_token");
    eventually("the other token", async || made().await.ends_with(" 1").then_some(())).await;
    assert_eq!(made().await, "2 1");
}
