//! A standby for reads that may lag, with real servers by Patroni.

use chaos::harness::{Patroni, TempDir};

use crate::common::{Bench, eventually, heartbeat, options};

#[tokio::test]
async fn history_comes_from_the_standby() {
    if let Some(missing) = Patroni::missing() {
        assert!(std::env::var_os("NEXMDM_REQUIRE_HA").is_none(), "{missing}");
        return eprintln!("left out: {missing}");
    }
    let folder = TempDir::new("replica").unwrap();
    let patroni = Patroni::start(&folder.path().join("database"), false).await.unwrap();
    let standbys = patroni.standby_url().await.unwrap();
    let options = options().database_url(patroni.node_url());
    let bench = Bench::with(options.env("NEXMDM__DATABASE__READ_URL", &standbys).env("NEXMDM__DATABASE__READ_MAX_LAG_MS", "2000")).await;
    let device = bench.enroll("kiosk-1").await;
    let path = format!("/v1/devices/{}/history", device.device_id);
    let read_by = async |by: &str| bench.metric(&format!("nexmdm_database_replica_reads_total{{by=\"{by}\"}}")).await;
    assert_eq!(bench.client.heartbeat(&device.session_token, &heartbeat(0, 55)).await.unwrap().status, 200);
    eventually("the heartbeat is in a history that the standby told", async || {
        let before = read_by("replica").await;
        let history = bench.client.get_json(&path, &bench.admin).await.unwrap();
        let points = history["points"].as_array().unwrap();
        (points.iter().any(|point| point["battery_pct"]["avg"] == 55.0) && read_by("replica").await > before).then_some(())
    })
    .await;
}
