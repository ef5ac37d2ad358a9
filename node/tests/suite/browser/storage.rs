//! The storage page: days, what is due, work with its progress, and a plot of a day that only the archive has.

use super::chromium::Chromium;
use crate::common::{Bench, heartbeat, options, within};
use crate::storage::{day_of_heartbeats, first_run_over};

/// Longest time for work on a small day, with other tests beside.
const WORK_MAX: std::time::Duration = std::time::Duration::from_secs(60);

#[tokio::test]
async fn a_day_is_run_looked_at_and_restored_from_the_page() {
    let bench = Bench::start().await;
    let url = bench.node.url();
    let device = bench.enroll("kiosk-1").await;
    // A device that never reported has no plots.
    assert_eq!(bench.client.heartbeat(&device.session_token, &heartbeat(0, 50)).await.unwrap().status, 200);
    let device = device.device_id;
    first_run_over(&bench).await;
    let day = day_of_heartbeats(&bench, &device, 93);
    let chromium = Chromium::start().await;
    chromium.sign_in(&url, "admin", bench.node.admin_password()).await;
    chromium.click("[data-testid=nav-storage]").await;
    chromium.shown("[data-testid=size-database]").await;
    chromium.mark().await;
    chromium.click("[data-testid=run-now]").await;
    chromium.says("[data-testid=run-plan]", &day).await;
    chromium.click("[data-testid=confirm]").await;
    let done = async |kind: &str| {
        let card = format!("[data-testid=work][data-kind={kind}][data-state=succeeded] [data-testid=work-outcome]");
        within(WORK_MAX, &format!("{kind} is done"), async || chromium.text(&card).await).await
    };
    done("run").await;
    let row = format!("[data-testid=day-row][data-day='{day}']");
    chromium.shown(&format!("[data-testid=timeline] [data-day='{day}'][data-state=dropped]")).await;

    // The day by its own address, as a link leads to it; reached by the filter of its state.
    chromium.click("[data-testid=state-dropped]").await;
    chromium.shown(&format!("{row}[data-state=dropped]")).await;
    chromium.click(&format!("{row} [data-testid=day-link]")).await;
    chromium.says("[data-testid=day] [data-testid=day-state]", "In the archive only").await;
    assert!(chromium.script("return location.search").await.as_str().unwrap().contains(&format!("day={day}")));
    chromium.assert_sound("the storage page with a day").await;

    // The plot of that day, out of the archive, with values.
    let page = format!("{url}/devices/{device}?day={day}");
    chromium.goto(&page).await;
    chromium.live().await;
    chromium.says("[data-testid=from-archive]", &format!("From the archive: {day}")).await;
    chromium.shown("[data-testid=plot-battery]:not([data-points='0'])").await;
    chromium.assert_sound("the device page with a day of the archive").await;

    chromium.goto(&format!("{url}/storage?state=dropped&day={day}")).await;
    chromium.live().await;
    chromium.click("[data-testid=day] [data-testid=verify-day]").await;
    chromium.click("[data-testid=confirm]").await;
    done("verify").await;
    chromium.click("[data-testid=day] [data-testid=restore-day]").await;
    chromium.click("[data-testid=confirm]").await;
    done("restore").await;
    chromium.says("[data-testid=day] [data-testid=day-state]", "Restored").await;
    chromium.goto(&page).await;
    chromium.live().await;
    chromium.shown("[data-testid=plot-battery]:not([data-points='0'])").await;
    chromium.gone("[data-testid=from-archive]").await;
}

#[tokio::test]
async fn a_viewer_sees_days_and_starts_nothing() {
    let bench = Bench::with(options().env("NEXMDM__PARTITION__INTERVAL_SECONDS", "1")).await;
    bench.add_user("vera", "viewer");
    let chromium = Chromium::start().await;
    chromium.sign_in(&bench.node.url(), "vera", crate::common::PASSWORD).await;
    chromium.goto(&format!("{}/storage", bench.node.url())).await;
    chromium.live().await;
    chromium.shown("[data-testid=day-row]").await;
    chromium.shown("[data-testid=next-run]").await;
    chromium.gone("[data-testid=run-now]").await;
    chromium.gone("[data-testid=archive-day]").await;
}
