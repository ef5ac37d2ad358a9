//! Commands from the API of real nodes to simulated devices and back, with bad ones
//! slipped in, and whether the oracle sees what is wrong in a real database.

use std::time::Duration;

use chaos::fleet;
use chaos::harness::{Cluster, ClusterOptions, nexmdm_path};
use chaos::operator::{self, ActionMix, OperatorPlan};
use chaos::oracle::{Check, History, judge, read_rows};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::support::{parse_args, scheduling};

async fn checks(cluster: &Cluster) -> (Check, Check) {
    let folder = cluster.folder();
    let mut history = History { requested_are_all: true, ..History::default() };
    for record in ["record.jsonl", "requests.jsonl"] {
        history.read_record(&folder.join(record)).unwrap();
    }
    history.read_state_dir(&folder.join("fleet")).unwrap();
    read_rows(&mut history, &cluster.psql()).await.unwrap();
    let mut checks = judge(&history).checks.into_iter().filter(|check| ["P2", "P3"].contains(&check.promise));
    (checks.next().unwrap(), checks.next().unwrap())
}

async fn count(cluster: &Cluster, condition: &str) -> u64 {
    let sql = format!("SELECT count(*) FROM command WHERE {condition}");
    cluster.psql().run(&sql, &[]).await.unwrap().trim().parse().unwrap()
}

async fn until(cluster: &Cluster, what: &str, least: u64, condition: &str) {
    let deadline = Instant::now() + Duration::from_secs(90);
    loop {
        let found = count(cluster, condition).await;
        if found >= least {
            return;
        }
        assert!(Instant::now() < deadline, "{what}: {found} of {least}");
        sleep(Duration::from_millis(250)).await;
    }
}

fn violations(check: &Check) -> String {
    check.violations.iter().map(|violation| violation.what.as_str()).collect::<Vec<_>>().join("; ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_reach_devices_once_and_the_oracle_sees_lies_about_them() {
    scheduling::exclusive();
    let options = ClusterOptions::new(nexmdm_path().unwrap(), 2).env("NEXMDM__AUTH__DEVICE_TOKEN_BCRYPT_COST", "4");
    let cluster = Cluster::start(options).await.unwrap();
    let folder = cluster.folder().display().to_string();
    let servers: Vec<String> = cluster.members().iter().map(|member| member.url()).collect();
    let words = format!(
        "fleet --server {} --devices 20 --interval 1s --clock-off-share 0 --outages-per-hour 0 --transport mix --state-dir {folder}/fleet \
         --record {folder}/record.jsonl --enroll-with admin:{} --retry-min 300ms --retry-max 2s --hostile-share 0.5 \
         --commands execute=60,refuse=10,fail=10,late=10,lose-answer=10 --answer-late 1s",
        servers.join(","),
        cluster.admin_password()
    );
    let (end_fleet, stop) = watch::channel(false);
    let fleet = tokio::spawn(fleet::run(parse_args(words.split_whitespace()), stop));
    let plan = OperatorPlan {
        servers,
        admin_password: cluster.admin_password().to_owned(),
        pause: Duration::from_millis(100),
        expires_in_s: 300,
        timeout: Duration::from_secs(5),
        seed: 5,
        tag: None,
        actions: ActionMix::Few,
    };
    let operator = operator::start(plan, &cluster.folder().join("requests.jsonl")).unwrap();
    until(&cluster, "commands have ended", 60, "state IN ('succeeded', 'failed')").await;
    until(&cluster, "keys have changed", 1, "action = 'rotate_key' AND state = 'succeeded'").await;
    until(&cluster, "batches have ended", 5, "batch_id IS NOT NULL AND state IN ('succeeded', 'failed')").await;
    let requested = operator.finish().await.unwrap();
    let all = count(&cluster, "true").await;
    until(&cluster, "all have ended", all, "state IN ('succeeded', 'failed')").await;
    end_fleet.send_replace(true);
    let summary = fleet.await.unwrap().unwrap();
    assert!(requested.accepted >= 60 && requested.refused == 0 && requested.unknown == 0, "{requested}");
    assert_eq!(requested.accepted, all, "{requested}");
    assert!(summary.commands_refused_as_bad > 0 && summary.answers_lost > 0 && summary.results_refused == 0, "{summary}");

    let (p2, p3) = checks(&cluster).await;
    assert!(p2.violations.is_empty() && p3.violations.is_empty(), "{p2:?} {p3:?}");
    assert!(p2.looked_at.starts_with(&format!("{all} commands accepted of {all} requested")), "{p2:?}");
    assert!(p3.notes[0].contains("not signed with a key of its device"), "{p3:?}");

    let changed = "UPDATE command SET state = 'failed', outcome = 'timeout' WHERE request_id =
                   (SELECT min(request_id::text)::uuid FROM command WHERE state = 'succeeded')";
    cluster.psql().run(changed, &[]).await.unwrap();
    let (p2, p3) = checks(&cluster).await;
    assert!(p2.violations.len() == 1 && violations(&p2).contains("has the outcome timeout"), "{p2:?}");
    assert!(p3.violations.is_empty(), "{p3:?}");

    let lost = "DELETE FROM command WHERE request_id =
                (SELECT min(request_id::text)::uuid FROM command WHERE state = 'succeeded' AND batch_id IS NULL)";
    cluster.psql().run(lost, &[]).await.unwrap();
    let (p2, p3) = checks(&cluster).await;
    assert!(violations(&p2).contains("is missing") && violations(&p2).contains("is not in the table"), "{p2:?}");
    assert!(p3.violations.len() == 1 && violations(&p3).contains("not in the table"), "{p3:?}");
}
