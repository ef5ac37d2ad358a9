//! The short run of a whole cluster under faults: real nodes, simulated
//! devices, the oracle. The long one is `chaos soak`.

use chaos::fleet;
use chaos::harness::{Cluster, ClusterOptions, nexmdm_path};
use chaos::oracle::{History, Verdict, judge, read_rows};
use chaos::soak;

use crate::support::{never, parse_args, scheduling};

/// Several threads: the proxies run beside the faults.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_promise_is_kept_through_a_short_run_of_faults() {
    scheduling::exclusive();
    let words = "soak --seed 3 --nodes 3 --devices 300 --interval 5s --rest 7s --calm-within 60s \
                 --scenario kill=10s,suspend=8s,cut=8s,oneway=6s,db=6s,add,drain=8s";
    let args = parse_args(words.split_whitespace());
    let (_never, stop) = never();
    assert!(soak::run(args, stop).await.unwrap(), "a promise was broken: the verdict is printed above");
}

/// Makes the database tell lies about a run that was fine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oracle_sees_what_is_wrong_in_a_real_database() {
    scheduling::exclusive();
    let options = ClusterOptions::new(nexmdm_path().unwrap(), 1).env("NEXMDM__AUTH__DEVICE_TOKEN_BCRYPT_COST", "4");
    let cluster = Cluster::start(options).await.unwrap();
    let (folder, url) = (cluster.folder().display().to_string(), cluster.members()[0].url());
    let password = format!("admin:{}", cluster.admin_password());
    let words = format!(
        "fleet --server {url} --devices 20 --interval 500ms --duration 4s --clock-off-share 0 --outages-per-hour 0 --transport mix \
         --state-dir {folder}/fleet --record {folder}/record.jsonl --enroll-with {password}"
    );
    let (_never, stop) = never();
    fleet::run(parse_args(words.split_whitespace()), stop).await.unwrap();

    let verdict = check(&cluster).await;
    assert_eq!(verdict.violations(), 0, "{verdict}");
    assert!(!verdict.to_string().contains("no answer named an owner"), "{verdict}");

    // Somebody else is said to have owned all shards since an hour ago.
    let usurped = "INSERT INTO shard_move (shard_id, epoch, from_node, to_node, reason, moved_at)
                   SELECT shard_id, max(epoch) + 1, NULL, 'node-9', 'free', now() - interval '1 hour' FROM shard_move GROUP BY shard_id";
    let lost = "DELETE FROM heartbeats WHERE device_id = (SELECT min(device_id::text)::uuid FROM heartbeats)";
    for statement in [usurped, lost] {
        cluster.psql().run(statement, &[]).await.unwrap();
    }
    let verdict = check(&cluster).await;
    let broken: Vec<&str> = verdict.checks.iter().filter(|check| !check.violations.is_empty()).map(|check| check.promise).collect();
    assert_eq!(broken, ["P1", "P4"], "{verdict}");
    let found = |what: &str| verdict.checks.iter().flat_map(|check| &check.violations).any(|violation| violation.what.contains(what));
    assert!(found("deposed: node-9 had begun") && found("has 0 rows"), "{verdict}");
}

async fn check(cluster: &Cluster) -> Verdict {
    let mut history = History::default();
    history.read_record(&cluster.folder().join("record.jsonl")).unwrap();
    read_rows(&mut history, &cluster.psql()).await.unwrap();
    judge(&history)
}
