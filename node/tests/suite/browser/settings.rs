//! The settings: password, sessions, accounts, API tokens, and what each role does not see.

use serde_json::Value;

use super::chromium::Chromium;
use crate::common::{Bench, eventually};

impl Chromium {
    async fn settings(&self, bench: &Bench, section: &str) {
        self.goto(&format!("{}/settings/{section}", bench.node.url())).await;
        self.live().await;
    }
}

#[tokio::test]
async fn a_person_changes_their_password_and_ends_their_other_sessions() {
    let bench = Bench::start().await;
    let password = bench.node.admin_password().to_owned();
    let chromium = Chromium::start().await;
    chromium.sign_in(&bench.node.url(), "admin", &password).await;

    // The client of the test is a session too.
    chromium.settings(&bench, "sessions").await;
    eventually("two sessions", async || {
        let rows = chromium.script("return document.querySelectorAll('[data-testid=session-row]').length").await;
        (rows.as_u64()? >= 2).then_some(())
    })
    .await;
    chromium.says("[data-testid=session-row]:has(.badge)", "Chrome on Linux").await;
    chromium.click("[data-testid=end-others]").await;
    chromium.click("[data-testid=confirm]").await;
    chromium.says("[data-testid=toasts]", "Ended").await;
    eventually("the other session is over", async || {
        (bench.client.get("/v1/devices", Some(&bench.admin)).await.ok()?.status == 401).then_some(())
    })
    .await;

    chromium.settings(&bench, "profile").await;
    let fill = async |current: &str, new: &str, repeated: &str| {
        chromium.fill("input[name=current_password]", current).await;
        chromium.fill("input[name=new_password]", new).await;
        chromium.fill("input[name=repeated]", repeated).await;
        chromium.click("[data-testid=change-password]").await;
    };
    fill("not it", "a new long password", "a new long password").await;
    chromium.says("[data-testid=error-current_password]", "wrong password").await;
    fill(&password, "a new long password", "another").await;
    chromium.says("[data-testid=error-repeated]", "does not match").await;
    fill(&password, "a new long password", "a new long password").await;
    chromium.says("[data-testid=toasts]", "Password changed").await;
    assert!(bench.client.access_token("admin", &password).await.is_err());
    bench.client.access_token("admin", "a new long password").await.unwrap();
}

#[tokio::test]
async fn an_api_token_is_shown_once_and_works_until_it_is_revoked() {
    let bench = Bench::start().await;
    let chromium = Chromium::start().await;
    chromium.sign_in(&bench.node.url(), "admin", bench.node.admin_password()).await;
    chromium.settings(&bench, "tokens").await;
    chromium.click("[data-testid=create-api-token]").await;
    chromium.shown("dialog[open]").await;
    chromium.assert_sound("the dialog that makes a token").await;
    chromium.picture("dialog-api-token").await;
    chromium.click("dialog input[name=scopes][value='devices:read']").await;
    chromium.click("dialog [data-testid=submit]").await;
    chromium.shown("dialog .field-error").await;
    chromium.fill("dialog input[name=name]", "nightly report").await;
    chromium.click("dialog [data-testid=submit]").await;
    chromium.shown("[data-testid=error-scopes]").await;
    chromium.click("dialog input[name=scopes][value='devices:read']").await;
    chromium.click("dialog [data-testid=submit]").await;
    let secret = eventually("the secret", async || chromium.text("[data-testid=api-token-secret]").await).await;
    chromium.look("api-token-made").await;
    let answer = bench.client.get("/v1/devices", Some(&secret)).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.detail());
    assert_eq!(bench.client.get("/v1/enroll-tokens", Some(&secret)).await.unwrap().status, 403, "not in its scopes");
    chromium.click("[data-testid=made-done]").await;
    chromium.gone("[data-testid=api-token-secret]").await;
    chromium.click("[data-testid=api-token-row][data-status=active] [data-testid=revoke-api-token]").await;
    chromium.click("[data-testid=confirm]").await;
    chromium.shown("[data-testid=api-token-row][data-status=revoked]").await;
    assert_eq!(bench.client.get("/v1/devices", Some(&secret)).await.unwrap().status, 401);
}

#[tokio::test]
async fn admins_manage_accounts_and_nobody_else_sees_them() {
    let bench = Bench::start().await;
    let (url, password) = (bench.node.url(), bench.node.admin_password().to_owned());
    let chromium = Chromium::start().await;
    chromium.sign_in(&url, "admin", &password).await;
    chromium.settings(&bench, "users").await;
    chromium.click("[data-testid=add-user]").await;
    chromium.fill("dialog input[name=username]", "eve").await;
    chromium.fill("dialog input[name=password]", "short").await;
    chromium.click("dialog [data-testid=submit]").await;
    chromium.shown("[data-testid=error-password]").await;
    chromium.fill("dialog input[name=password]", "a long enough password").await;
    chromium.click("dialog [data-testid=submit]").await;
    let eve = "[data-testid=user-row][data-user=eve]";
    chromium.says(&format!("{eve} [data-testid=user-role]"), "viewer").await;
    chromium.click(&format!("{eve} [data-testid=change-role]")).await;
    chromium.assert_sound("the dialog of a role").await;
    chromium.click("dialog input[name=role][value=operator]").await;
    chromium.click("dialog [data-testid=submit]").await;
    chromium.says(&format!("{eve} [data-testid=user-role]"), "operator").await;
    chromium.click(&format!("{eve} [data-testid=reset-password]")).await;
    chromium.click("dialog [data-testid=submit]").await;
    let made = eventually("the new password", async || chromium.text("[data-testid=new-password]").await).await;
    bench.client.access_token("eve", made.trim()).await.unwrap();
    chromium.keys(&fantoccini::key::Key::Escape.to_string()).await;
    chromium.gone("dialog[open]").await;

    // The last admin stays one.
    let own = "[data-testid=user-row][data-user=admin]";
    chromium.click(&format!("{own} [data-testid=disable-user]")).await;
    chromium.click("[data-testid=confirm]").await;
    chromium.says("[data-testid=toasts]", "last active admin").await;
    chromium.look("settings-users-two").await;

    // An operator sees neither accounts nor limits, and the address refuses too.
    let visitor = Chromium::start().await;
    visitor.sign_in(&url, "eve", made.trim()).await;
    visitor.settings(&bench, "profile").await;
    visitor.says("[data-testid=profile-name]", "eve").await;
    let tabs: Value = visitor.script("return [...document.querySelectorAll('.settings-tabs a')].map((tab) => tab.textContent)").await;
    assert_eq!(tabs, serde_json::json!(["Profile", "Sessions", "API tokens"]));
    for section in ["users", "limits"] {
        visitor.settings(&bench, section).await;
        visitor.says("[data-testid=empty-state]", "Only for admins").await;
        assert!(visitor.text("[data-testid=user-row], [data-testid=limit-value]").await.is_none());
    }

    // Disabled, their open page ends and leads to the sign-in.
    chromium.click(&format!("{eve} [data-testid=disable-user]")).await;
    chromium.click("[data-testid=confirm]").await;
    chromium.says(eve, "Disabled").await;
    eventually("the visitor is out", async || (visitor.browser.current_url().await.ok()?.path() == "/login").then_some(())).await;
}
