//! Lists of devices: filters, orders and pages, from the store and from memory alike.

use std::collections::BTreeSet;
use std::sync::Arc;

use chaos::client::Client;
use chaos::harness::Node;
use domain::access::{Principal, Role};
use domain::device::{Connectivity, DeviceListScope};
use domain::query::{DeviceFilter, FilterKey, Sort};
use serde_json::{Value, json};
use services::System;
use services::metrics::Metrics;
use store::{PoolOptions, Store};

use crate::common::{Database, clock, heartbeat_at, options};

/// A node over a database of its own with 60 devices of many kinds.
struct Fleet {
    database: Database,
    node: Node,
    client: Client,
    admin: String,
}

impl Fleet {
    async fn start() -> Self {
        let database = Database::start();
        let node = Node::start(options().database_url(&database.url)).await.unwrap();
        let client = Client::new(&node.url()).unwrap();
        let admin = client.access_token("admin", node.admin_password()).await.unwrap();
        for n in 0..60i64 {
            let tags = if n % 3 == 0 { json!(["till"]) } else { json!([]) };
            let wanted = json!({"alias": format!("{}-{n}", if n % 2 == 0 { "Shop" } else { "depot" }), "tags": tags, "groups": [format!("g{}", n % 4)]});
            let token: Value = client.post("/v1/enroll-tokens", Some(&admin), &wanted).await.unwrap().json();
            let body = json!({"model": format!("M{}", n % 5), "hardware_id": format!("HW{n}")});
            let device: Value = client.post("/v1/register", token["tokens"][0]["token"].as_str(), &body).await.unwrap().json();
            if n % 5 != 4 {
                let mut told = serde_json::to_value(heartbeat_at(clock(-n * 100), n % 101)).unwrap();
                told["app_version"] = json!(format!("1.{}", n % 3));
                if n % 4 != 0 {
                    told["storage_free_mb"] = json!(n * 50);
                }
                if n % 7 == 0 {
                    told["battery"]["pct"] = Value::Null;
                }
                let sent = client.post("/v1/heartbeat", device["device_token"].as_str(), &told).await.unwrap();
                assert_eq!(sent.status, 200, "{}", sent.detail());
            }
        }
        // Some were last heard from long ago.
        database.sql("UPDATE device_last_status SET received_at = now() - interval '1 hour', last_seen_at = now() - interval '1 hour' WHERE battery_pct % 4 = 1");
        // Enrollments that never reported are ghosts by now.
        database.sql("UPDATE device SET enrolled_at = enrolled_at - interval '3 days' WHERE device_id NOT IN (SELECT device_id FROM device_last_status)");
        // Apps run, do not, were out of view for too long, or are told nothing of; some are watched more closely, some are missing.
        database.sql("UPDATE device_last_status SET app_running = (battery_pct % 4 <> 0), foreground_recent_s = battery_pct * 30 WHERE battery_pct % 3 <> 0");
        database.sql("UPDATE device_last_status SET details = jsonb_build_object('apps', jsonb_build_array(jsonb_build_array('a.b', battery_pct % 2 = 0, NULL, NULL))) WHERE battery_pct % 5 = 0");
        database.sql("UPDATE device SET monitored_package = 'a.b', monitored_stale_after_s = 60 WHERE alias LIKE 'Shop-%'");
        Self { database, node, client, admin }
    }

    async fn aliases(&self, query: &str, page: usize) -> Vec<String> {
        let (mut cursor, mut aliases) = (String::new(), Vec::new());
        loop {
            let path = format!("/v1/devices?limit={page}&{query}{cursor}");
            let answer = self.client.get(&path, Some(&self.admin)).await.unwrap();
            assert_eq!(answer.status, 200, "{path}: {}", answer.detail());
            let answer: Value = answer.json();
            let items = answer["items"].as_array().unwrap();
            assert!(items.len() <= page);
            aliases.extend(items.iter().map(|device| device["alias"].as_str().unwrap().to_owned()));
            match answer["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return aliases,
            }
        }
    }
}

/// The list reads the store, the dashboard reads memory: both must agree on every filter and order.
#[tokio::test]
async fn the_store_and_the_fleet_view_agree_on_filters_and_orders() {
    let mut fleet = Fleet::start().await;
    assert!(fleet.node.terminate().await.unwrap().success());
    let system = Box::pin(start_system(&fleet.database)).await;
    let principal = Principal::User {
        user_id: domain::UserId(uuid::Uuid::nil()),
        username: "viewer".into(),
        role: Role::Viewer,
        session_id: domain::SessionId(uuid::Uuid::nil()),
        origin: domain::access::Origin::default(),
    };
    let with =
        |values: &[(FilterKey, &str)]| DeviceFilter::of(values.iter().map(|(key, text)| (*key, key.spec().parse(text).unwrap()))).unwrap();
    let single = [
        (FilterKey::Connectivity, "online"),
        (FilterKey::Connectivity, "offline"),
        (FilterKey::Connectivity, "never_seen"),
        (FilterKey::Tag, "till"),
        (FilterKey::Group, "g2"),
        (FilterKey::Text, "SHOP-1"),
        (FilterKey::Text, "hw4"),
        (FilterKey::Text, "m3"),
        (FilterKey::Text, "%_"),
        (FilterKey::BatteryBelow, "20"),
        (FilterKey::StorageBelow, "900"),
        (FilterKey::AppVersion, "1.2"),
        (FilterKey::Model, "M1"),
        (FilterKey::AppStatus, "up"),
        (FilterKey::AppStatus, "down"),
        (FilterKey::AppStatus, "unknown"),
        (FilterKey::Identity, "single"),
        (FilterKey::Identity, "conflict"),
        (FilterKey::Identity, "ghost"),
        (FilterKey::Alert, "any"),
        (FilterKey::Alert, "none"),
        (FilterKey::Alert, "storage_low"),
    ];
    assert!(FilterKey::ALL.iter().all(|key| single.iter().any(|(tried, _)| tried == key)), "a filter is not compared");
    let several = [(FilterKey::Tag, "till"), (FilterKey::BatteryBelow, "40"), (FilterKey::Connectivity, "online")];
    let filters = single.iter().map(|one| with(&[*one])).chain([with(&[]), with(&several)]);
    let view = system.devices.fleet(&principal).unwrap();
    // Which alerts are open is read after the devices.
    let (open, by_alias) = (with(&[(FilterKey::Alert, "any")]), Sort::default());
    crate::common::eventually("the open alerts in the view", async || {
        let page = system.devices.page(&principal, open.clone(), DeviceListScope::Active, by_alias, None, 100).await.unwrap();
        (page.devices.len() == view.order(&open, by_alias).len()).then_some(())
    })
    .await;
    for filter in filters {
        let found = view.order(&filter, Sort::default()).len();
        assert!(found < 60 || filter == DeviceFilter::default(), "{filter:?} filters nothing");
        for sort in ["alias", "-alias", "last_seen_at", "-last_seen_at", "battery_pct", "-battery_pct", "enrolled_at", "-enrolled_at"] {
            let sort = Sort::parse(sort).unwrap();
            let (mut from_store, mut after) = (Vec::new(), None);
            loop {
                let page = system.devices.page(&principal, filter.clone(), DeviceListScope::Active, sort, after, 7).await.unwrap();
                from_store.extend(page.devices.iter().map(|device| device.view.identity.id));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(from_store, view.order(&filter, sort), "{filter:?} {sort:?}");
        }
    }
    assert!(system.stop(crate::common::DEADLINE).await);
}

/// A node's system within the test, in the place of the node that ran before.
async fn start_system(database: &crate::common::Database) -> Arc<System> {
    let options = PoolOptions {
        max_connections: 4,
        acquire_timeout: crate::common::DEADLINE,
        statement_timeout: crate::common::DEADLINE,
        answer_grace: std::time::Duration::from_secs(2),
    };
    let store = Store::new(&database.url, options).unwrap();
    let key = || secrecy::SecretBox::new(Box::new(vec![7; 32]));
    let secrets = actors::Secrets { master_key: key(), jwt_key: key() };
    let fingerprint = hex::decode(database.sql("SELECT encode(key_fingerprint, 'hex') FROM cluster")).unwrap();
    let cluster = crate::common::cluster_start(Store::new(&database.url, options).unwrap(), fingerprint).await;
    let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
    Box::pin(System::start(store, crate::common::settings(), secrets, cluster, metrics, clock::Clock::system())).await.unwrap()
}

#[tokio::test]
async fn pages_meet_every_device_once_in_order() {
    let fleet = Fleet::start().await;
    let all = fleet.aliases("sort=alias", 500).await;
    assert_eq!(all.len(), 60);
    assert!(all.is_sorted());
    for sort in ["alias", "-battery_pct", "last_seen_at", "-enrolled_at"] {
        let paged = fleet.aliases(&format!("sort={sort}"), 7).await;
        assert_eq!(paged.len(), 60, "{sort}");
        assert_eq!(paged.iter().collect::<BTreeSet<_>>().len(), 60, "{sort}");
    }
    assert!(fleet.aliases("q=shop&tag=till&status=online", 100).await.iter().all(|alias| alias.starts_with("Shop")));
}

/// The shard of a device is the same in the database and in memory.
#[tokio::test]
async fn the_database_and_the_nodes_agree_on_shards() {
    let fleet = Fleet::start().await;
    for row in fleet.database.sql("SELECT device_id || ' ' || shard FROM device").lines() {
        let (id, shard) = row.split_once(' ').unwrap();
        assert_eq!(domain::shard::shard_of(id.parse().unwrap()).0.to_string(), shard, "{id}");
    }
}

/// A shard that panics comes back with all its devices; other shards notice nothing.
#[tokio::test]
async fn a_panicking_shard_is_activated_again() {
    let mut fleet = Fleet::start().await;
    fleet.node.terminate().await.unwrap();
    let system = Box::pin(start_system(&fleet.database)).await;
    let view = system.devices.fleet(&Principal::system()).unwrap();
    let ids = view.order(&DeviceFilter { connectivity: Some(Connectivity::Online), ..Default::default() }, Sort::default());
    let (victim, others) = ids.split_first().unwrap();
    let apart = others.iter().find(|id| domain::shard::shard_of(**id) != domain::shard::shard_of(*victim)).unwrap();
    let before = system.router.view(*victim).await.unwrap();
    let (old, neighbour) =
        (system.router.locate_here(*victim).await.unwrap().get_id(), system.router.locate_here(*apart).await.unwrap().get_id());
    system.router.crash_shard_of(*victim);
    let after = crate::common::eventually("the shard is back", async || match system.router.locate_here(*victim).await {
        Ok(actor) if actor.get_id() != old => system.router.view(*victim).await.ok(),
        _ => None,
    })
    .await;
    assert_eq!(after, before);
    assert_eq!(system.router.locate_here(*apart).await.unwrap().get_id(), neighbour, "another shard was disturbed");
    assert!(system.stop(crate::common::DEADLINE).await);
}

/// A device actor that panics comes back from the store; its neighbours notice nothing.
#[tokio::test]
async fn a_panicking_device_is_restarted_from_the_store() {
    use actors::device::DeviceMsg;
    let mut fleet = Fleet::start().await;
    fleet.node.terminate().await.unwrap();
    let system = Box::pin(start_system(&fleet.database)).await;
    let view = system.devices.fleet(&Principal::system()).unwrap();
    let ids = view.order(&DeviceFilter { connectivity: Some(Connectivity::Online), ..Default::default() }, Sort::default());
    let (victim, neighbours) = ids.split_first().unwrap();
    let before = system.router.view(*victim).await.unwrap();
    let mut actors = Vec::new();
    for id in neighbours {
        actors.push(system.router.locate_here(*id).await.unwrap().get_id());
    }
    let old = system.router.locate_here(*victim).await.unwrap();
    for round in 0..3 {
        system.router.locate_here(*victim).await.unwrap().cast(DeviceMsg::Crash).unwrap();
        let after = crate::common::eventually("the device is back", async || match system.router.locate_here(*victim).await {
            Ok(actor) if actor.get_id() != old.get_id() => system.router.view(*victim).await.ok(),
            _ => None,
        })
        .await;
        assert_eq!(after, before, "round {round}");
    }
    for (id, actor) in neighbours.iter().zip(actors) {
        assert_eq!(system.router.locate_here(*id).await.unwrap().get_id(), actor, "a neighbour was disturbed");
    }
    assert!(system.stop(crate::common::DEADLINE).await);
}
