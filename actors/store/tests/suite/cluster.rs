//! Nodes: joining, leases, draining, leaving.

use domain::cluster::NodeState;
use domain::{NodeId, Timestamp};
use store::{JoinOutcome, NewNode, Notification};
use test_database::TestDatabase;

use crate::common::{actions, at, console, new_node, uuid};

const TTL_MS: i64 = 60_000;

async fn join(db: &TestDatabase, node: &NewNode) -> JoinOutcome {
    db.store().join_cluster(node, TTL_MS).await.unwrap()
}

async fn run_out(db: &TestDatabase, id: NodeId) {
    db.execute(&format!("UPDATE cluster_node SET expires_at = clock_timestamp() - interval '1 s' WHERE node_id = '{id}'")).await;
}

async fn states(db: &TestDatabase) -> Vec<(u32, NodeState)> {
    let mut nodes: Vec<_> = db.store().cluster_nodes().await.unwrap().iter().map(|node| (node.id.0.as_u128() as u32, node.state)).collect();
    nodes.sort_by_key(|(number, _)| *number);
    nodes
}

#[tokio::test]
async fn the_first_start_names_the_cluster() {
    let db = TestDatabase::new().await;
    let store = db.store();
    assert_eq!(store.cluster_identity("one", b"key 1").await.unwrap(), ("one".to_owned(), b"key 1".to_vec()));
    assert_eq!(store.cluster_identity("two", b"key 2").await.unwrap(), ("one".to_owned(), b"key 1".to_vec()));
}

#[tokio::test]
async fn the_databases_clock_is_read_anew_each_time() {
    let db = TestDatabase::new().await;
    let before: Timestamp = db.value("SELECT clock_timestamp()").await;
    let first = db.store().database_clock().await.unwrap();
    let second = db.store().database_clock().await.unwrap();
    let after: Timestamp = db.value("SELECT clock_timestamp()").await;
    assert!(before < first && first < second && second < after, "{before} {first} {second} {after}");
}

#[tokio::test]
async fn a_name_belongs_to_one_living_node() {
    let db = TestDatabase::new().await;
    assert_eq!(join(&db, &new_node(1, "a")).await, JoinOutcome::Joined);
    assert_eq!(join(&db, &new_node(2, "b")).await, JoinOutcome::Joined);
    let connections = db.store().server_connections().await.unwrap();
    let allowed: i64 =
        db.value("SELECT current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint").await;
    assert_eq!((connections.nodes, connections.most), (2, allowed));
    let JoinOutcome::NameTaken { cluster_addr, lease_left_ms } = join(&db, &new_node(3, "a")).await else { panic!("the name was free") };
    assert_eq!(cluster_addr, "127.0.0.1:1");
    assert!((1..=TTL_MS).contains(&lease_left_ms), "{lease_left_ms}");
    run_out(&db, NodeId(uuid(1))).await;
    assert_eq!(join(&db, &new_node(3, "a")).await, JoinOutcome::Joined, "its lease ran out");
    assert_eq!(states(&db).await, [(1, NodeState::Expired), (2, NodeState::Active), (3, NodeState::Active)]);
}

#[tokio::test]
async fn of_nodes_of_one_name_that_join_at_once_one_does() {
    let db = TestDatabase::new().await;
    let (a, b) = (new_node(1, "a"), new_node(2, "a"));
    let both = tokio::join!(join(&db, &a), join(&db, &b));
    assert_eq!([both.0, both.1].iter().filter(|outcome| **outcome == JoinOutcome::Joined).count(), 1);
}

#[tokio::test]
async fn whoever_holds_the_lock_ends_the_start_that_held_it() {
    let db = TestDatabase::new().await;
    join(&db, &new_node(1, "a")).await;
    let again = NewNode { lock_identity: "lock of 1".into(), ..new_node(2, "a") };
    assert_eq!(join(&db, &again).await, JoinOutcome::Joined, "whatever the lease of the one before says");
    assert_eq!(states(&db).await, [(1, NodeState::Expired), (2, NodeState::Active)]);
    assert_eq!(db.store().renew_lease(NodeId(uuid(1)), TTL_MS).await.unwrap(), None, "what has ended is not renewed");
}

#[tokio::test]
async fn a_lease_is_renewed_also_after_its_end_until_somebody_notes_it() {
    let db = TestDatabase::new().await;
    let id = NodeId(uuid(1));
    join(&db, &new_node(1, "a")).await;
    run_out(&db, id).await;
    assert!(db.store().cluster_nodes().await.unwrap()[0].lease_left_ms < 0);
    assert_eq!(db.store().renew_lease(id, TTL_MS).await.unwrap(), Some(NodeState::Active));
    assert!(db.store().cluster_nodes().await.unwrap()[0].lease_left_ms > 0);
    assert!(db.store().set_draining("a", true, &console(), at(0)).await.unwrap());
    assert_eq!(db.store().renew_lease(id, TTL_MS).await.unwrap(), Some(NodeState::Draining));
    db.store().leave_cluster(id).await.unwrap();
    assert_eq!(db.store().renew_lease(id, TTL_MS).await.unwrap(), None);
    assert_eq!(db.store().renew_lease(NodeId(uuid(9)), TTL_MS).await.unwrap(), None);
}

#[tokio::test]
async fn draining_is_for_living_nodes_and_told_once() {
    let db = TestDatabase::new().await;
    let store = db.store();
    join(&db, &new_node(1, "a")).await;
    let drain = async |name, draining| store.set_draining(name, draining, &console(), at(0)).await.unwrap();
    assert!(!drain("b", true).await);
    assert!(drain("a", true).await && drain("a", true).await);
    assert_eq!(states(&db).await, [(1, NodeState::Draining)]);
    assert!(drain("a", false).await);
    assert_eq!(actions(&db).await, ["node.drained", "node.resumed"]);
    store.leave_cluster(NodeId(uuid(1))).await.unwrap();
    assert!(!drain("a", true).await);
    assert_eq!(states(&db).await, [(1, NodeState::Left)]);
}

#[tokio::test]
async fn an_end_stays_as_it_was() {
    let db = TestDatabase::new().await;
    join(&db, &new_node(1, "a")).await;
    run_out(&db, NodeId(uuid(1))).await;
    join(&db, &new_node(2, "a")).await;
    let ended = db.store().cluster_nodes().await.unwrap()[0].ended_at;
    db.store().leave_cluster(NodeId(uuid(1))).await.unwrap();
    let node = db.store().cluster_nodes().await.unwrap().remove(0);
    assert_eq!((node.state, node.ended_at), (NodeState::Expired, ended));
}

#[tokio::test]
async fn nodes_that_ended_are_listed_for_an_hour_and_kept_for_a_month() {
    let db = TestDatabase::new().await;
    let store = db.store();
    for (number, age) in [(1, "59 min"), (2, "61 min"), (3, "31 days")] {
        join(&db, &new_node(number, &format!("n{number}"))).await;
        store.leave_cluster(NodeId(uuid(number))).await.unwrap();
        db.execute(&format!("UPDATE cluster_node SET ended_at = now() - interval '{age}' WHERE node_id = '{}'", uuid(number))).await;
    }
    join(&db, &new_node(4, "n4")).await;
    let listed: Vec<_> = store.cluster_nodes().await.unwrap().into_iter().map(|node| node.name).collect();
    assert_eq!(listed, ["n1", "n4"]);
    assert_eq!(store.purge_ended_nodes(0).await.unwrap(), 0, "no more than are asked for");
    assert_eq!(store.purge_ended_nodes(9).await.unwrap(), 1);
    assert_eq!(db.values::<String>("SELECT name FROM cluster_node ORDER BY name").await, ["n1", "n2", "n4"]);
}

#[tokio::test]
async fn others_are_told_of_joins_and_leaves() {
    let db = TestDatabase::new().await;
    let mut listener = db.store().listen().await.unwrap();
    join(&db, &new_node(1, "a")).await;
    assert_eq!(listener.next().await.unwrap(), Notification::Placement);
    assert_eq!(listener.waiting(), None);
    db.store().leave_cluster(NodeId(uuid(1))).await.unwrap();
    assert_eq!(listener.next().await.unwrap(), Notification::Placement);
}

#[tokio::test]
async fn a_listener_that_was_cut_off_says_so() {
    let db = TestDatabase::new().await;
    let mut listener = db.store().listen().await.unwrap();
    let cut: i64 = db
        .value(
            "SELECT count(pg_terminate_backend(pid, 60000)) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .await;
    assert!(cut >= 1);
    assert_eq!(listener.next().await.unwrap(), Notification::Missed);
    assert_eq!(listener.next().await.unwrap(), Notification::Missed, "it says so from then on");
    assert_eq!(listener.waiting(), None);
    drop(listener);
    let mut listener = db.store().listen().await.unwrap();
    join(&db, &new_node(1, "a")).await;
    assert_eq!(listener.next().await.unwrap(), Notification::Placement);
}
