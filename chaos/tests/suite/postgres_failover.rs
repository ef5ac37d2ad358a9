//! A fail-over of PostgreSQL by Patroni under load; more of them by `chaos failover --repeat 10`.

use chaos::failover;
use chaos::harness::Patroni;
use serde_json::Value;

use crate::support::{folder, never, parse_args, scheduling};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_the_primary_dies() {
    scheduling::exclusive();
    if let Some(missing) = Patroni::missing() {
        assert!(std::env::var_os("NEXMDM_REQUIRE_HA").is_none(), "{missing}");
        return eprintln!("left out: {missing}");
    }
    let folder = folder();
    let report = folder.path().join("report.json");
    let words = format!("failover --repeat 1 --nodes 2 --devices 40 --json {}", report.display());
    let (_never, stop) = never();
    let kept = failover::run(parse_args(words.split_whitespace()), stop).await.unwrap();
    let report: Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    assert!(kept, "{report:#}");
    let checks = report["verdict"]["checks"].as_array().unwrap();
    let without = checks.iter().find(|check| check["promise"] == "P11").unwrap();
    assert_eq!(without["looked_at"], "1 times without a primary");
    assert!(without["notes"][0].as_str().unwrap().contains("no new heartbeat was acknowledged for"), "{without}");
}
