//! Apps in the dashboard: an upload with its progress, the way from a refusal to the library, what uses an APK, managed packages.

use fantoccini::Locator;
use serde_json::json;

use super::chromium::Chromium;
use super::commands::admin;
use crate::common::{Bench, PASSWORD, apks, eventually};

fn fixture(name: &str) -> String {
    // The browser takes no way around.
    let path = std::fs::canonicalize(format!("{}/../actors/testdata/apks/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    path.to_str().unwrap().to_owned()
}

async fn pick(chromium: &Chromium, file: &str) {
    chromium.shown("[data-testid=apk-file]").await;
    chromium.browser.find(Locator::Css("[data-testid=apk-file]")).await.unwrap().send_keys(file).await.unwrap();
    chromium.shown("[data-testid=chosen-file]").await;
}

#[tokio::test]
async fn a_file_that_is_refused_for_its_package_is_taken_once_an_admin_allows_it() {
    let bench = Bench::start().await;
    let chromium = admin(&bench).await;
    chromium.page(&bench, "/apks").await;
    chromium.says("[data-testid=empty-state]", "No apps yet").await;
    chromium.look("apks-empty").await;
    chromium.page(&bench, "/apks/packages").await;
    chromium.says("[data-testid=empty-state]", "No managed packages").await;
    chromium.look("packages-empty").await;
    chromium.click("[data-testid=view-apks]").await;
    chromium.mark().await;

    chromium.click("[data-testid=upload-apk]").await;
    pick(&chromium, &fixture("till-2.apk")).await;
    chromium.says("[data-testid=chosen-file]", "till-2.apk, 8.5 KB").await;
    chromium.fill("dialog textarea[name=notes]", "Prints receipts again").await;
    chromium.look("apk-upload").await;
    chromium.click("dialog [data-testid=submit]").await;
    chromium.says("[data-testid=upload-refused]", "com.example.till is not a managed package").await;
    assert_eq!(bench.sql("SELECT count(*) FROM apk"), "0");
    chromium.look("apk-upload-refused").await;

    // The file's own signer stands there already; the bytes are not sent again.
    chromium.click("[data-testid=allow-this]").await;
    chromium.shown("dialog [name=signers_sha256]").await;
    let given = chromium.script("return document.querySelector('dialog [name=signers_sha256]').value").await;
    assert_eq!(given.as_str().unwrap().len(), 64, "{given}");
    chromium.look("package-allow").await;
    chromium.click("dialog [data-testid=submit]").await;
    chromium.says("[data-testid=upload-done]", "com.example.till 2.0 (2) uploaded").await;
    chromium.click("[data-testid=deploy-uploaded]").await;
    let chosen = eventually("the form of a deployment", async || {
        let chosen = chromium.script("return document.querySelector('select[name=apk_id]')?.value").await;
        chosen.as_str().map(str::to_owned)
    })
    .await;
    assert_eq!(chosen, bench.sql("SELECT apk_id FROM apk"));
    chromium.assert_not_reloaded().await;

    chromium.page(&bench, "/apks").await;
    let row = "[data-testid=apk-row][data-version='2']";
    chromium.says(row, "Prints receipts again").await;
    chromium.says(row, "min 26, target 33").await;
    chromium.says("[data-testid=apk-group]", "Till").await;
    let icon = "const icon = document.querySelector('.apk-icon img'); return icon?.complete && icon.naturalWidth";
    eventually("the icon", async || chromium.script(icon).await.as_u64().filter(|width| *width > 0)).await;
    chromium.click(&format!("{row} .signers summary")).await;
    let signer = bench.sql("SELECT signers_sha256[1] FROM apk");
    chromium.says(&format!("{row} [data-testid=signer]"), &signer).await;
    chromium.look("apks").await;

    // The very same file is no second version; another signer is refused, and no allowing is offered.
    for (file, testid, text) in [
        ("till-2.apk", "upload-done", "the file is identical"),
        ("till-5-foreign.apk", "upload-refused", "neither an allowed signer of com.example.till"),
    ] {
        chromium.click("[data-testid=upload-apk]").await;
        pick(&chromium, &fixture(file)).await;
        chromium.click("dialog [data-testid=submit]").await;
        chromium.says(&format!("[data-testid={testid}]"), text).await;
        chromium.gone("[data-testid=allow-this]").await;
        chromium.keys(&fantoccini::key::Key::Escape.to_string()).await;
        chromium.gone("dialog[open]").await;
    }
    eventually("what was given up is gone", async || {
        (bench.sql("SELECT count(*) FROM apk_upload WHERE apk_id IS NULL") == "0").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_large_file_arrives_in_parts_and_its_progress_is_seen() {
    let bench = Bench::start().await;
    let chromium = admin(&bench).await;
    let folder = chaos::harness::TempDir::new("upload").unwrap();
    let file = folder.path().join("large.apk");
    std::fs::write(&file, vec![7; 6 << 20]).unwrap();
    chromium.page(&bench, "/apks").await;
    chromium.click("[data-testid=upload-apk]").await;
    pick(&chromium, file.to_str().unwrap()).await;
    chromium
        .script(
            "window.seen = []; new MutationObserver(() => { const at = document.querySelector('[data-testid=upload-progress]')?.dataset.sent; \
             if (at && seen.at(-1) !== +at) seen.push(+at); }).observe(document.body, { subtree: true, childList: true, attributes: true })",
        )
        .await;
    chromium.click("dialog [data-testid=submit]").await;
    // It is no APK, which shows only once all of it is there.
    chromium.says("[data-testid=upload-refused]", "APK").await;
    let seen: Vec<u64> = serde_json::from_value(chromium.script("return seen").await).unwrap();
    assert!(seen.is_sorted() && seen.iter().any(|at| (1..6 << 20).contains(at)), "{seen:?}");
    assert_eq!(bench.sql("SELECT received FROM apk_upload"), (6 << 20).to_string());
    assert!(bench.sql("SELECT cardinality(parts) FROM apk_upload").parse::<u32>().unwrap() > 1);
    chromium.click("dialog .dialog-actions button").await;
    eventually("it is forgotten", async || (bench.sql("SELECT count(*) FROM apk_upload") == "0").then_some(())).await;
}

#[tokio::test]
async fn what_is_used_stays_and_packages_are_changed_and_removed() {
    let bench = Bench::start().await;
    for role in ["viewer", "operator"] {
        bench.add_user(role, role);
    }
    let till = apks::add(&bench.client, &bench.admin, "till-1.apk").await;
    apks::add(&bench.client, &bench.admin, "shelf-1.apk").await;
    bench.enroll("till-1").await;
    let asked = json!({"apk_id": till["id"], "name": "Before the holidays", "target": {"fleet": true}});
    assert_eq!(bench.client.post("/v1/deployments", Some(&bench.admin), &asked).await.unwrap().status, 201);

    let chromium = admin(&bench).await;
    chromium.page(&bench, "/apks?package=com.example.till").await;
    chromium.gone("[data-package='com.example.shelf']").await;
    chromium.click("[data-testid=delete-apk]").await;
    chromium.says("dialog[open]", "Delete com.example.till 1.0 (1)?").await;
    chromium.click("[data-testid=confirm]").await;
    chromium.says("[data-testid=delete-refused]", "Before the holidays").await;
    chromium.look("apk-delete-refused").await;
    chromium.keys(&fantoccini::key::Key::Escape.to_string()).await;
    chromium.click("[data-testid=clear-filters]").await;
    chromium.click("[data-package='com.example.shelf'] [data-testid=delete-apk]").await;
    chromium.click("[data-testid=confirm]").await;
    chromium.gone("[data-package='com.example.shelf']").await;

    chromium.click("[data-testid=view-packages]").await;
    let (till, shelf) = ("[data-package='com.example.till']", "[data-package='com.example.shelf']");
    chromium.says(till, "1 version").await;
    chromium.click(&format!("{till} [data-testid=change-package]")).await;
    chromium.fill("dialog [name=signers_sha256]", "abc").await;
    chromium.click("dialog [data-testid=submit]").await;
    chromium.says("[data-testid=error-signers_sha256]", "not a SHA-256").await;
    chromium
        .fill("dialog [name=signers_sha256]", &"AB:".repeat(31).replace("AB:", "ab:").chars().chain("cd".chars()).collect::<String>())
        .await;
    chromium.click("dialog [data-testid=submit]").await;
    chromium.gone("dialog[open]").await;
    assert_eq!(
        bench.sql("SELECT signers_sha256[1] FROM managed_package WHERE package = 'com.example.till'"),
        format!("{}cd", "ab".repeat(31))
    );
    chromium.look("packages").await;
    chromium.click(&format!("{till} [data-testid=remove-package]")).await;
    chromium.click("[data-testid=confirm]").await;
    chromium.says("[data-testid=remove-refused]", "still has 1 APK").await;
    chromium.keys(&fantoccini::key::Key::Escape.to_string()).await;
    chromium.gone("dialog[open]").await;
    chromium.click(&format!("{shelf} [data-testid=remove-package]")).await;
    chromium.says("dialog[open]", "Remove com.example.shelf?").await;
    chromium.click("[data-testid=confirm]").await;
    chromium.gone(shelf).await;

    for (name, deploys) in [("operator", true), ("viewer", false)] {
        let other = Chromium::start().await;
        other.sign_in(&bench.node.url(), name, PASSWORD).await;
        other.page(&bench, "/apks").await;
        other.shown("[data-testid=apk-row]").await;
        assert_eq!(other.text("[data-testid=deploy-apk]").await.is_some(), deploys, "{name}");
        assert_eq!(other.text("[data-testid=upload-apk]").await.is_some(), deploys, "{name}");
        assert!(other.text("[data-testid=delete-apk]").await.is_none(), "{name}");
        other.page(&bench, "/apks/packages").await;
        other.shown(till).await;
        assert!(other.text("[data-testid=change-package], [data-testid=allow-package]").await.is_none(), "{name}");
    }
}

#[tokio::test]
async fn an_admin_sees_and_removes_the_unfinished_uploads_of_others() {
    let bench = Bench::start().await;
    bench.add_user("ci", "operator");
    let ci = bench.client.access_token("ci", PASSWORD).await.unwrap();
    let begin = json!({"size_bytes": 9000, "file_name": "nightly.apk"});
    assert_eq!(bench.client.post("/v1/apk-uploads", Some(&ci), &begin).await.unwrap().status, 201);
    let chromium = admin(&bench).await;
    chromium.page(&bench, "/apks").await;
    let row = "[data-testid=upload-row]";
    chromium.says(row, "nightly.apk").await;
    chromium.says(row, "ci").await;
    chromium.look("apk-uploads").await;
    chromium.click("[data-testid=remove-upload]").await;
    chromium.says("dialog[open]", "Remove the upload of nightly.apk?").await;
    chromium.click("[data-testid=confirm]").await;
    chromium.gone(row).await;
    assert_eq!(bench.sql("SELECT count(*) FROM apk_upload"), "0");
}
