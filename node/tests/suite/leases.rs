//! P4 in the database: leases, epochs, and what a deposed owner can still write, which is nothing.

use domain::NodeId;
use domain::cluster::NodeState;
use domain::shard::ShardId;
use store::{ClaimedShard, JoinOutcome, NewNode, PoolOptions, Store};

use crate::common::{Database, clock};

async fn store(database: &Database) -> Store {
    let options = PoolOptions {
        max_connections: 8,
        acquire_timeout: crate::common::DEADLINE,
        statement_timeout: crate::common::DEADLINE,
        answer_grace: std::time::Duration::from_secs(2),
    };
    let store = Store::new(&database.url, options).unwrap();
    store.migrate().await.unwrap();
    store
}

async fn join(store: &Store, name: &str, lock: &str, ttl_ms: i64) -> (NodeId, JoinOutcome) {
    let id = NodeId(uuid::Uuid::now_v7());
    let node = NewNode {
        id,
        name: name.into(),
        cluster_addr: "127.0.0.1:1".into(),
        http_url: "http://127.0.0.1:1".into(),
        version: "test".into(),
        protocol_min: 1,
        protocol_max: 2,
        lock_identity: lock.into(),
    };
    (id, store.join_cluster(&node, ttl_ms).await.unwrap())
}

fn all() -> Vec<ShardId> {
    ShardId::all().collect()
}

async fn ran_out(store: &Store, node: NodeId) {
    crate::common::eventually("the lease has run out", async || {
        store.cluster_nodes().await.unwrap().into_iter().any(|row| row.id == node && row.lease_left_ms < 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_deposed_owner_writes_nothing_and_never_comes_back() {
    let database = Database::start();
    let store = store(&database).await;
    let (a, _) = join(&store, "a", "lock-a", 60_000).await;
    let (b, _) = join(&store, "b", "lock-b", 60_000).await;
    let of_a = store.claim_shards(a, &all(), true).await.unwrap();
    assert_eq!((of_a.len(), of_a[0].epoch.0), (256, 1));
    assert!(store.claim_shards(b, &all(), true).await.unwrap().is_empty(), "the owner lives");
    assert_eq!(store.report_activated(a, &of_a[..10]).await.unwrap(), 10);

    store.renew_lease(a, 1).await.unwrap();
    ran_out(&store, a).await;
    assert!(store.claim_shards(b, &all(), false).await.unwrap().is_empty(), "nobody noted that the lease ran out");
    assert_eq!(store.renew_lease(a, 1).await.unwrap(), Some(NodeState::Active), "so it could be renewed");
    ran_out(&store, a).await;
    let of_b = store.claim_shards(b, &all(), true).await.unwrap();
    assert_eq!((of_b.len(), of_b[0].epoch.0), (256, 2));

    assert_eq!(store.renew_lease(a, 60_000).await.unwrap(), None);
    assert_eq!(store.report_activated(a, &of_a).await.unwrap(), 0);
    assert_eq!(store.release_shards(a, &of_a).await.unwrap(), 0);
    assert!(store.claim_shards(a, &all(), true).await.unwrap().is_empty());
    // Nor in the name of the new epoch, nor the new owner in the name of an old one.
    assert_eq!(store.report_activated(a, &of_b).await.unwrap(), 0);
    let stale: Vec<ClaimedShard> = of_a.clone();
    assert_eq!(store.release_shards(b, &stale).await.unwrap(), 0);
    assert_eq!(store.report_activated(b, &of_b).await.unwrap(), 256);
    assert_eq!(database.sql("SELECT count(*) FROM shard_move WHERE reason = 'expired' AND from_node = 'a' AND to_node = 'b'"), "256");
}

/// The two sides of a lease's end, again and again, in the same moment: never do both win.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewing_and_taking_over_never_both_succeed() {
    let database = Database::start();
    let store = store(&database).await;
    let (taker, _) = join(&store, "taker", "lock-taker", 3_600_000).await;
    let (mut renewed, mut taken) = (0, 0);
    // Set after each round so that the lease ends about when the two meet, however fast the machine is.
    let mut ttl_ms = 20;
    for round in 0..60 {
        let (owner, joined) = join(&store, &format!("owner-{round}"), &format!("lock-{round}"), 3_600_000).await;
        assert_eq!(joined, JoinOutcome::Joined);
        // Whatever the taker has, it lets go, so that the owner can have it.
        let held: Vec<ClaimedShard> = store
            .shards()
            .await
            .unwrap()
            .into_iter()
            .filter(|row| row.owner == Some(taker))
            .map(|row| ClaimedShard { shard: row.shard, epoch: row.epoch })
            .collect();
        store.release_shards(taker, &held).await.unwrap();
        assert_eq!(store.claim_shards(owner, &all(), true).await.unwrap().len(), 256);
        store.renew_lease(owner, ttl_ms).await.unwrap();
        let renewing = async {
            let mut last = Some(NodeState::Active);
            for _ in 0..5 {
                last = store.renew_lease(owner, 3_600_000).await.unwrap();
            }
            last
        };
        let taking = async { store.claim_shards(taker, &all(), true).await.unwrap() };
        let (lease, claimed) = if round % 2 == 0 {
            tokio::join!(renewing, taking)
        } else {
            let (claimed, lease) = tokio::join!(taking, renewing);
            (lease, claimed)
        };
        match (lease, claimed.len()) {
            (Some(_), 0) => (renewed, ttl_ms) = (renewed + 1, ttl_ms / 2),
            (None, 256) => (taken, ttl_ms) = (taken + 1, ttl_ms * 2 + 1),
            (lease, claimed) => panic!("round {round}: lease {lease:?}, and {claimed} shards taken over"),
        }
        store.leave_cluster(owner).await.unwrap();
    }
    assert!(renewed > 0 && taken > 0, "renewed {renewed} times, taken over {taken} times");
}

#[tokio::test]
async fn a_name_belongs_to_one_live_node() {
    let database = Database::start();
    let store = store(&database).await;
    let (first, joined) = join(&store, "kiosks", "lock-1", 60_000).await;
    assert_eq!(joined, JoinOutcome::Joined);
    let (_, joined) = join(&store, "kiosks", "lock-2", 60_000).await;
    assert!(matches!(joined, JoinOutcome::NameTaken { lease_left_ms: 50_000..=60_000, .. }), "{joined:?}");
    // Whoever holds the same file lock knows that the last holder is dead.
    let (second, joined) = join(&store, "kiosks", "lock-1", 60_000).await;
    assert_eq!(joined, JoinOutcome::Joined);
    assert_eq!(store.renew_lease(first, 60_000).await.unwrap(), None);
    assert_eq!(store.renew_lease(second, 1).await.unwrap(), Some(NodeState::Active));
    ran_out(&store, second).await;
    let (_, joined) = join(&store, "kiosks", "lock-3", 60_000).await;
    assert_eq!(joined, JoinOutcome::Joined, "its lease ran out");
}

#[tokio::test]
async fn a_node_that_left_frees_its_shards_at_once() {
    let database = Database::start();
    let store = store(&database).await;
    let (a, _) = join(&store, "a", "lock-a", 60_000).await;
    let (b, _) = join(&store, "b", "lock-b", 60_000).await;
    let server = domain::access::Principal::system();
    let drain = async |draining| store.set_draining("a", draining, &server, clock(0)).await;
    assert!(drain(true).await.unwrap() && drain(false).await.unwrap());
    assert_eq!(store.claim_shards(a, &all(), true).await.unwrap().len(), 256);
    store.leave_cluster(a).await.unwrap();
    assert_eq!(store.claim_shards(b, &all(), false).await.unwrap().len(), 256, "at once");
    assert!(!drain(true).await.unwrap());
    assert_eq!(store.shards_of("b").await.unwrap(), Some(256));
    assert_eq!(store.shards_of("a").await.unwrap(), None);
}
