use domain::rollout::{BuildState, HaltPolicy, HaltReason, UpdateEvent};
use domain::rollout::{UpdateCounts, VersionSample};
use domain::shard::{Epoch, ShardId};
use domain::{AgentBuildId, Timestamp};
use store::{BuildAction, UpdateCheckCount, UpdateReport, UpdateReportOutcome};
use test_database::TestDatabase;

use crate::agent_builds::{act, add_build, build, promotion};
use crate::common::{actions_after, at, device, lease, next_epoch};

/// Halts a build that every second of at least four devices fails, or two cannot verify.
const POLICY: HaltPolicy = HaltPolicy { verify_failures_max: 2, failure_rate_pct: 50, min_count: 4 };
const HOUR_S: i64 = 3600;

async fn promoted(db: &TestDatabase, number: u32) -> AgentBuildId {
    let id = add_build(db, number).await;
    act(db, id, BuildAction::Promote(promotion(100)), 1).await;
    id
}

fn told(build: AgentBuildId, number: u32, event: UpdateEvent) -> UpdateReport {
    UpdateReport { build, device: device(number), event, error: None, version_code: None }
}

async fn report(db: &TestDatabase, report: &UpdateReport, second: i64) -> UpdateReportOutcome {
    db.store().report_update(report, POLICY, at(second)).await.unwrap()
}

async fn total(db: &TestDatabase, id: AgentBuildId) -> UpdateCounts {
    db.store().update_totals(&[id]).await.unwrap().into_iter().find(|(found, _)| *found == id).map(|(_, counts)| counts).unwrap_or_default()
}

#[tokio::test]
async fn checks_of_nodes_add_up_by_hour() {
    let db = TestDatabase::new().await;
    let (one, two) = (add_build(&db, 1).await, add_build(&db, 2).await);
    let count = |build, hour: i64, checks, eligible| UpdateCheckCount { build, hour: at(hour * HOUR_S), checks, eligible };
    let batch = [count(two, 0, 5, 5), count(one, 1, 10, 2), count(build(9), 0, 1, 1), count(one, 0, 7, 3)];
    let mut backwards = batch;
    backwards.reverse();
    let other = db.another_store(2);
    for _ in 0..5 {
        let both = tokio::join!(db.store().add_update_checks(&batch), other.add_update_checks(&backwards));
        both.0.and(both.1).unwrap();
    }
    let hours = db.store().update_hours(one, at(0)).await.unwrap();
    let counts = |checks, eligible| UpdateCounts { checks, eligible, ..UpdateCounts::default() };
    assert_eq!(hours, [(at(0), counts(70, 30)), (at(HOUR_S), counts(100, 20))]);
    assert_eq!(db.store().update_hours(one, at(1)).await.unwrap(), hours[1..]);
    assert_eq!((total(&db, one).await, total(&db, two).await), (counts(170, 50), counts(50, 50)));
    assert!(db.store().update_totals(&[build(9)]).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_report_counts_once() {
    let db = TestDatabase::new().await;
    let id = promoted(&db, 1).await;
    let downloaded = told(id, 1, UpdateEvent::Downloaded);
    let both = tokio::join!(report(&db, &downloaded, 10), report(&db, &downloaded, 11));
    assert!(matches!(
        both,
        (UpdateReportOutcome::Counted, UpdateReportOutcome::Repeated) | (UpdateReportOutcome::Repeated, UpdateReportOutcome::Counted)
    ));
    assert_eq!(report(&db, &told(id, 1, UpdateEvent::Installed), HOUR_S).await, UpdateReportOutcome::Counted);
    assert_eq!(report(&db, &told(id, 2, UpdateEvent::Installed), HOUR_S + 10).await, UpdateReportOutcome::Counted);
    let counts = total(&db, id).await;
    assert_eq!((counts.downloads, counts.installs, counts.failures), (1, 2, 0));
    let rows: i64 = db.value("SELECT count(*) FROM agent_update_outcome").await;
    assert_eq!(counts.downloads + counts.installs + counts.failures + counts.verify_failures, rows, "counters equal the reports");
    let hours = db.store().update_hours(id, at(0)).await.unwrap();
    assert_eq!(hours.iter().map(|(hour, counts)| (*hour, counts.installs)).collect::<Vec<_>>(), [(at(0), 0), (at(HOUR_S), 2)]);
    assert_eq!(db.store().agent_build(id).await.unwrap().unwrap().judged.installs, 2);
}

#[tokio::test]
async fn reports_about_what_was_not_offered_do_not_count() {
    let db = TestDatabase::new().await;
    let draft = add_build(&db, 1).await;
    assert_eq!(report(&db, &told(draft, 1, UpdateEvent::Installed), 10).await, UpdateReportOutcome::NeverOffered);
    assert_eq!(report(&db, &told(build(9), 1, UpdateEvent::Installed), 10).await, UpdateReportOutcome::NotFound);
    let id = promoted(&db, 2).await;
    let other = UpdateReport { version_code: Some(1), ..told(id, 1, UpdateEvent::Installed) };
    assert_eq!(report(&db, &other, 10).await, UpdateReportOutcome::OtherVersion(2));
    let failed = UpdateReport { version_code: Some(1), ..told(id, 1, UpdateEvent::Failed) };
    assert_eq!(report(&db, &failed, 10).await, UpdateReportOutcome::Counted, "whoever failed runs the old version");
    assert_eq!(db.value::<i64>("SELECT count(*) FROM agent_update_outcome").await, 1);
}

#[tokio::test]
async fn a_build_that_does_harm_is_halted_once() {
    let db = TestDatabase::new().await;
    let id = promoted(&db, 1).await;
    let before = db.store().audit_head().await.unwrap().seq;
    for (number, event) in [(1, UpdateEvent::Installed), (2, UpdateEvent::Installed), (3, UpdateEvent::Failed)] {
        assert_eq!(report(&db, &told(id, number, event), 10).await, UpdateReportOutcome::Counted);
    }
    let halted = report(&db, &told(id, 4, UpdateEvent::Failed), 20).await;
    assert_eq!(halted, UpdateReportOutcome::Halted(HaltReason::FailureRate));
    assert_eq!(report(&db, &told(id, 5, UpdateEvent::Failed), 30).await, UpdateReportOutcome::Counted, "it is halted already");
    let row = db.store().agent_build(id).await.unwrap().unwrap();
    assert_eq!(
        (row.state, row.halt_reason, row.changed_by.as_str(), row.changed_at),
        (BuildState::Halted, Some(HaltReason::FailureRate), "server", at(20))
    );
    assert_eq!((row.judged.installs, row.judged.failures), (2, 3));
    assert_eq!(actions_after(&db, before).await, ["agent_build.halted"]);
}

#[tokio::test]
async fn of_reports_at_once_one_halts() {
    let db = TestDatabase::new().await;
    let id = promoted(&db, 1).await;
    let reports: Vec<_> = (1..=4).map(|number| told(id, number, UpdateEvent::VerifyFailed)).collect();
    let all =
        tokio::join!(report(&db, &reports[0], 1), report(&db, &reports[1], 1), report(&db, &reports[2], 1), report(&db, &reports[3], 1));
    let halted = [all.0, all.1, all.2, all.3].into_iter().filter(|outcome| matches!(outcome, UpdateReportOutcome::Halted(_))).count();
    assert_eq!((halted, total(&db, id).await.verify_failures), (1, 4));
}

#[tokio::test]
async fn the_most_frequent_errors_come_first() {
    let db = TestDatabase::new().await;
    let (one, two) = (promoted(&db, 1).await, promoted(&db, 2).await);
    for (number, error) in [(1, Some("b")), (2, Some("c")), (3, Some("c")), (4, Some("a")), (5, None)] {
        report(&db, &UpdateReport { error: error.map(str::to_owned), ..told(one, number, UpdateEvent::Failed) }, 10).await;
    }
    report(&db, &UpdateReport { error: Some("z".into()), ..told(two, 1, UpdateEvent::Failed) }, 10).await;
    let wanted = [("c", 2), ("a", 1), ("b", 1)].map(|(error, devices)| (error.to_owned(), devices));
    assert_eq!(db.store().update_errors(one, 9).await.unwrap(), wanted);
    assert_eq!(db.store().update_errors(one, 2).await.unwrap(), wanted[..2]);
}

#[tokio::test]
async fn a_sample_replaces_the_one_of_its_hour_and_needs_the_first_shards_epoch() {
    let db = TestDatabase::new().await;
    let store = db.store();
    let epoch = lease(&db, ShardId(0)).await.epoch;
    let keep =
        async |hour: i64, versions: &[(i64, i64)], epoch| store.keep_version_sample(at(hour * HOUR_S), versions, epoch).await.unwrap();
    let samples = async || {
        let samples = store.version_samples(at(0)).await.unwrap();
        samples.iter().map(|VersionSample { hour, version_code, devices }| (*hour, *version_code, *devices)).collect::<Vec<_>>()
    };
    keep(1, &[(10, 5), (0, 1)], epoch).await;
    keep(0, &[(10, 4)], epoch).await;
    keep(1, &[(11, 3), (10, 3)], epoch).await;
    let wanted: [(Timestamp, i64, i64); 3] = [(at(0), 10, 4), (at(HOUR_S), 10, 3), (at(HOUR_S), 11, 3)];
    assert_eq!(samples().await, wanted);
    next_epoch(&db, ShardId(0)).await;
    keep(1, &[(12, 9)], epoch).await;
    assert_eq!(samples().await, wanted, "it has been deposed");
    keep(1, &[], Epoch(epoch.0 + 1)).await;
    assert_eq!(samples().await, wanted[..1], "nobody is left");
}

#[tokio::test]
async fn old_counters_are_removed_and_reports_only_of_what_is_no_longer_offered() {
    let db = TestDatabase::new().await;
    let store = db.store();
    let (offered, over) = (promoted(&db, 1).await, promoted(&db, 2).await);
    for id in [offered, over] {
        for hour in 0..3 {
            report(&db, &told(id, hour, UpdateEvent::Installed), i64::from(hour) * HOUR_S).await;
        }
    }
    act(&db, over, BuildAction::RollBack, 9).await;
    store.keep_version_sample(at(0), &[(1, 1)], lease(&db, ShardId(0)).await.epoch).await.unwrap();
    let counts = async || {
        let rows = async |table| db.value::<i64>(&format!("SELECT count(*) FROM {table}")).await;
        [rows("agent_update_stat").await, rows("agent_version_sample").await, rows("agent_update_outcome").await]
    };
    assert_eq!(store.purge_agent_updates(at(0), at(0), 9).await.unwrap(), 0);
    assert_eq!(store.purge_agent_updates(at(HOUR_S), at(0), 9).await.unwrap(), 2);
    assert_eq!(counts().await, [4, 0, 6]);
    assert_eq!(store.purge_agent_updates(at(0), at(2 * HOUR_S), 1).await.unwrap(), 1);
    assert_eq!(store.purge_agent_updates(at(0), at(2 * HOUR_S), 9).await.unwrap(), 1);
    assert_eq!(counts().await, [4, 0, 4]);
    assert_eq!(report(&db, &told(offered, 0, UpdateEvent::Installed), 9 * HOUR_S).await, UpdateReportOutcome::Repeated);
}
