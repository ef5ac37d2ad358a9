//! Doubtful identities on the pages: where they are shown, and how they are settled.

use super::chromium::Chromium;
use crate::common::{Bench, eventually, heartbeat, options};
use crate::identity::{by_turns, of_hardware, registered};

#[tokio::test]
async fn a_conflict_is_shown_wherever_the_device_is_and_dismissed_on_its_page() {
    let bench = Bench::with(options()).await;
    let device = bench.enroll("kiosk").await;
    by_turns(&bench, &device, -300).await;
    let chromium = Chromium::start().await;
    chromium.sign_in(&bench.node.url(), "admin", bench.node.admin_password()).await;
    eventually("the overview lists it", async || {
        chromium.text(".attention").await.filter(|text| text.contains("Identity conflict") && text.contains("kiosk"))
    })
    .await;
    chromium.click("nav a[href='/devices']").await;
    chromium.shown("[data-testid=devices-table] [data-testid=identity-mark].bad").await;
    chromium.goto(&format!("{}/devices/{}", bench.node.url(), device.device_id)).await;
    chromium.shown("[data-testid=identity-conflict]").await;
    chromium.shown("[data-testid=event][data-kind=identity_conflict_began]").await;
    chromium.assert_sound("a device whose identity is in conflict").await;
    chromium.click("[data-testid=dismiss-conflict]").await;
    chromium.click("[data-testid=confirm]").await;
    chromium.gone("[data-testid=identity-conflict]").await;
    chromium.shown("[data-testid=event][data-kind=identity_conflict_dismissed]").await;
}

#[tokio::test]
async fn the_same_hardware_is_named_and_replaced_on_the_page_of_the_newer_device() {
    let bench = Bench::with(options()).await;
    let mut devices = Vec::new();
    for (alias, battery) in [("kiosk-17", 60), ("kiosk-17 again", 90)] {
        let token = bench.client.tokens(&bench.admin, 1).await.unwrap().remove(0).token;
        let (id, device_token) = registered(&bench.client.register(&token, &of_hardware(alias, Some("HW-17"))).await.unwrap());
        assert_eq!(bench.client.heartbeat(&device_token, &heartbeat(0, battery)).await.unwrap().status, 200);
        devices.push(id);
    }
    let chromium = Chromium::start().await;
    chromium.sign_in(&bench.node.url(), "admin", bench.node.admin_password()).await;
    chromium.goto(&format!("{}/devices/{}", bench.node.url(), devices[0])).await;
    chromium.says("[data-testid=same-hardware]", "Same hardware as kiosk-17 again").await;
    chromium.gone("[data-testid=replace-device]").await;
    chromium.goto(&format!("{}/devices/{}", bench.node.url(), devices[1])).await;
    chromium.says("[data-testid=same-hardware]", "Same hardware as kiosk-17").await;
    chromium.click("[data-testid=replace-device]").await;
    chromium.click("[data-testid=confirm]").await;
    chromium.gone("[data-testid=same-hardware]").await;
    eventually("it has the alias", async || chromium.text("[data-testid=device-alias]").await.filter(|text| text == "kiosk-17")).await;
}
