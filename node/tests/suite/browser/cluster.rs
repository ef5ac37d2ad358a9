//! The cluster page, while nodes come, go and fail.

use chaos::harness::Cluster;

use super::SOME_BUCKETS;
use super::chromium::Chromium;
use crate::common::{cluster_options, eventually, within};

/// Faults among nodes are on the page while they last, and gone afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cluster_page_shows_faults_as_they_happen() {
    use chaos::network::{Mode, Modes};
    let ClusterPage { mut cluster, chromium } = ClusterPage::open(3).await;
    let state = async |node: &str| chromium.text(&format!("{} [data-testid=node-state]", live_row(node))).await;
    let link = async |node: &str| chromium.text(&format!("{} [data-testid=node-link]", live_row(node))).await;
    let linked = async |node: &str, badge: &str| {
        eventually(&format!("the link to {node} is {badge}"), async || link(node).await?.contains(badge).then_some(())).await;
    };
    spread(&chromium, &["node-1", "node-2", "node-3"]).await;
    linked("node-2", "Up").await;
    linked("node-3", "Up").await;
    chromium.mark().await;

    // Frozen: out of reach first, then its lease runs out and others take over; thawed, it takes its part again.
    cluster.member("node-2").unwrap().node().suspend().unwrap();
    linked("node-2", "Down").await;
    chromium.picture("cluster-frozen").await;
    within(SOME_BUCKETS, "the frozen node is given up", async || {
        chromium.text("[data-node=node-2][data-state=expired] [data-testid=node-state]").await
    })
    .await;
    spread(&chromium, &["node-1", "node-3"]).await;
    cluster.member("node-2").unwrap().node().resume().unwrap();
    spread(&chromium, &["node-1", "node-2", "node-3"]).await;
    linked("node-2", "Up").await;

    // Cut off from each other, but not from the database: both stay what they are.
    cluster.set_link("node-1", "node-3", Modes::both(Mode::Cut)).unwrap();
    linked("node-3", "Down").await;
    linked("node-2", "Up").await;
    assert_eq!(state("node-3").await.unwrap(), "Active");
    cluster.set_link("node-1", "node-3", Modes::default()).unwrap();
    linked("node-3", "Up").await;

    // Without PostgreSQL the page says so, and keeps what it read last.
    cluster.stop_database().await.unwrap();
    eventually("the page says that the database is away", async || chromium.text("[data-testid=cluster-problem]").await).await;
    assert!(state("node-3").await.is_some());
    chromium.picture("cluster-without-database").await;
    cluster.start_database().await.unwrap();
    eventually("the notice goes", async || chromium.text("[data-testid=cluster-problem]").await.is_none().then_some(())).await;
    spread(&chromium, &["node-1", "node-2", "node-3"]).await;

    assert_eq!(cluster.add_node().await.unwrap(), "node-4");
    spread(&chromium, &["node-1", "node-2", "node-3", "node-4"]).await;
    linked("node-4", "Up").await;
    chromium.assert_not_reloaded().await;
}

/// A cluster, and its page in a browser.
struct ClusterPage {
    cluster: Cluster,
    chromium: Chromium,
}

impl ClusterPage {
    async fn open(nodes: usize) -> Self {
        let cluster = Cluster::start(cluster_options(nodes)).await.unwrap();
        let chromium = Chromium::start().await;
        chromium.sign_in(&cluster.members()[0].url(), "admin", cluster.admin_password()).await;
        chromium.click("nav.nav a[href='/cluster']").await;
        Self { cluster, chromium }
    }
}

/// The row of a node that has not ended.
fn live_row(node: &str) -> String {
    format!("[data-testid=node-row][data-node={node}]:not([data-state=left], [data-state=expired])")
}

/// How many shards a live node has, as the page shows it.
async fn shards(chromium: &Chromium, node: &str) -> Option<u32> {
    chromium.text(&format!("{} [data-testid=node-shards]", live_row(node))).await?.parse().ok()
}

/// Waits until these nodes have all shards, each of them some.
async fn spread(chromium: &Chromium, nodes: &[&str]) {
    within(SOME_BUCKETS, &format!("{nodes:?} share the shards"), async || {
        let mut all = 0;
        for node in nodes {
            all += shards(chromium, node).await.filter(|shards| *shards > 0)?;
        }
        (all == 256).then_some(())
    })
    .await;
}

/// Nodes drain, die and come back before the eyes of whoever looks, and the sign-in outlives the
/// node behind the page.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cluster_page_shows_nodes_come_and_go() {
    let ClusterPage { mut cluster, chromium } = ClusterPage::open(3).await;
    let second = cluster.members()[1].url();
    let row = live_row;
    let number = async |node: &str| shards(&chromium, node).await;
    let spread = async |nodes: &[&str]| spread(&chromium, nodes).await;
    spread(&["node-1", "node-2", "node-3"]).await;
    eventually("links are up", async || {
        (chromium.text(&format!("{} [data-testid=node-link]", row("node-3"))).await?.contains("Up")).then_some(())
    })
    .await;
    chromium.picture("cluster").await;
    chromium.mark().await;

    chromium.click(&format!("{} [data-testid=drain]", row("node-2"))).await;
    chromium.click("[data-testid=confirm]").await;
    spread(&["node-1", "node-3"]).await;
    eventually("it is drained", async || {
        (chromium.text(&format!("{} [data-testid=node-state]", row("node-2"))).await? == "Drained").then_some(())
    })
    .await;
    chromium.click(&format!("{} [data-testid=resume]", row("node-2"))).await;
    spread(&["node-1", "node-2", "node-3"]).await;

    cluster.node_mut("node-3").unwrap().kill9().unwrap();
    within(SOME_BUCKETS, "the lost node is shown", async || {
        (chromium.text("[data-node=node-3][data-state=expired] [data-testid=node-state]").await? == "Lost").then_some(())
    })
    .await;
    spread(&["node-1", "node-2"]).await;
    assert!(chromium.text("[data-testid=moves]").await.unwrap().contains("from node-3 (lease expired)"));
    chromium.picture("cluster-lost").await;
    chromium.assert_not_reloaded().await;

    cluster.node_mut("node-1").unwrap().kill9().unwrap();
    chromium.goto(&format!("{second}/cluster")).await;
    chromium.live().await;
    within(SOME_BUCKETS, "the page of the other node", async || (number("node-2").await? == 256).then_some(())).await;
}
