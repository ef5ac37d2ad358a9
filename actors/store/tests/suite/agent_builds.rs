use domain::rollout::AgentBuild;
use domain::rollout::{BuildState, HaltPolicy, HaltReason, Promotion, RolloutResults, UpdateEvent};
use domain::{AgentBuildId, ApkId, CommandBatchId};
use store::{AddBuildOutcome, BuildAction, BuildActionOutcome, DeletedApk, UpdateReport, UpdateReportOutcome};
use test_database::TestDatabase;

use crate::common::{actions_after, at, console, device, uuid};
use crate::deployment_rows::{PACKAGE, add_apk};

pub(crate) fn build(number: u32) -> AgentBuildId {
    AgentBuildId(uuid(number))
}

pub(crate) fn promotion(rollout_percent: u8) -> Promotion {
    Promotion { rollout_percent, wifi_only: true, must_install: false, min_battery_pct: 30 }
}

async fn add(db: &TestDatabase, number: u32, apk: ApkId, most: i64) -> AddBuildOutcome {
    db.store().add_agent_build(build(number), apk, "notes", most, &console(), at(1)).await.unwrap()
}

/// Adds an APK and a build of it, both of this number, which is its version as well.
pub(crate) async fn add_build(db: &TestDatabase, number: u32) -> AgentBuildId {
    let apk = add_apk(db, number, i64::from(number)).await;
    assert_eq!(add(db, number, apk, 99).await, AddBuildOutcome::New);
    build(number)
}

pub(crate) async fn act(db: &TestDatabase, id: AgentBuildId, action: BuildAction, second: i64) -> BuildActionOutcome {
    db.store().act_on_agent_build(id, action, &console(), at(second)).await.unwrap()
}

async fn stored(db: &TestDatabase, id: AgentBuildId) -> AgentBuild {
    db.store().agent_build(id).await.unwrap().unwrap()
}

/// Halts a promoted build by the report of a device.
async fn halt(db: &TestDatabase, id: AgentBuildId) {
    let policy = HaltPolicy { verify_failures_max: 1, failure_rate_pct: 100, min_count: 1000 };
    let report = UpdateReport { build: id, device: device(77), event: UpdateEvent::VerifyFailed, error: None, version_code: None };
    let halted = db.store().report_update(&report, policy, at(20)).await.unwrap();
    assert_eq!(halted, UpdateReportOutcome::Halted(HaltReason::VerifyFailures));
}

#[tokio::test]
async fn a_build_is_made_once_of_an_apk_that_is_there() {
    let db = TestDatabase::new().await;
    let (one, two) = (add_apk(&db, 1, 10).await, add_apk(&db, 2, 11).await);
    let both = tokio::join!(add(&db, 50, one, 9), add(&db, 51, one, 9));
    let made = match both {
        (AddBuildOutcome::New, AddBuildOutcome::Existing(known)) => (build(50), known),
        (AddBuildOutcome::Existing(known), AddBuildOutcome::New) => (build(51), known),
        other => panic!("{other:?}"),
    };
    assert_eq!(made.0, made.1);
    assert_eq!(add(&db, 52, two, 1).await, AddBuildOutcome::TooMany);
    db.store().delete_apk(two, &console(), at(2)).await.unwrap();
    assert_eq!(add(&db, 52, two, 9).await, AddBuildOutcome::NoApk);
    // Another file of the version of a build.
    db.execute("UPDATE agent_build SET state = 'rolled_back', rollout_percent = 1, promoted_at = now(), promoted_by = 'x'").await;
    assert_eq!(db.store().delete_apk(one, &console(), at(2)).await.unwrap(), DeletedApk::Deleted);
    let other = add_apk(&db, 3, 10).await;
    assert_eq!(add(&db, 53, other, 9).await, AddBuildOutcome::Existing(made.0));
    let row = stored(&db, made.0).await;
    assert_eq!((row.release_notes.as_str(), row.version_code, row.version_name.as_str()), ("notes", 10, "v10"));
}

#[tokio::test]
async fn candidates_are_the_apks_that_are_no_build() {
    let db = TestDatabase::new().await;
    for number in 1..=4 {
        add_apk(&db, number, i64::from(number)).await;
    }
    add(&db, 52, ApkId(uuid(2)), 9).await;
    db.store().delete_apk(ApkId(uuid(3)), &console(), at(1)).await.unwrap();
    let versions = async |package: &str, limit| {
        let found = db.store().agent_build_candidates(package, limit).await.unwrap();
        found.iter().map(|candidate| candidate.version_code).collect::<Vec<_>>()
    };
    assert_eq!(versions(PACKAGE, 9).await, [4, 1]);
    assert_eq!(versions(PACKAGE, 1).await, [4]);
    assert!(versions("app.b", 9).await.is_empty());
}

#[tokio::test]
async fn each_action_has_states_to_start_from() {
    let db = TestDatabase::new().await;
    let id = add_build(&db, 1).await;
    let before = db.store().audit_head().await.unwrap().seq;
    for action in [BuildAction::Rollout(5), BuildAction::RollBack] {
        assert_eq!(act(&db, id, action, 2).await, BuildActionOutcome::WrongState(BuildState::Draft));
    }
    assert_eq!(act(&db, id, BuildAction::Promote(promotion(10)), 3).await, BuildActionOutcome::Done);
    assert_eq!(act(&db, id, BuildAction::Rollout(50), 4).await, BuildActionOutcome::Done);
    let row = stored(&db, id).await;
    assert_eq!(
        (row.state, row.promotion, row.promoted_at, row.changed_at),
        (BuildState::Promoted, Some(promotion(50)), Some(at(3)), at(4))
    );
    assert_eq!(act(&db, id, BuildAction::RollBack, 5).await, BuildActionOutcome::Done);
    for action in [BuildAction::Rollout(5), BuildAction::RollBack] {
        assert_eq!(act(&db, id, action, 6).await, BuildActionOutcome::WrongState(BuildState::RolledBack));
    }
    assert_eq!(stored(&db, id).await.promotion, Some(promotion(50)), "how it was offered stays known");
    assert_eq!(act(&db, build(9), BuildAction::RollBack, 7).await, BuildActionOutcome::NotFound);
    db.store().delete_apk(ApkId(uuid(1)), &console(), at(8)).await.unwrap();
    assert_eq!(act(&db, id, BuildAction::Promote(promotion(10)), 9).await, BuildActionOutcome::NoApk);
    let told = actions_after(&db, before).await;
    assert_eq!(told, ["agent_build.promoted", "agent_build.rollout_changed", "agent_build.rolled_back", "apk.deleted"]);
}

#[tokio::test]
async fn whoever_takes_up_a_halted_build_starts_to_judge_anew() {
    let db = TestDatabase::new().await;
    let id = add_build(&db, 1).await;
    act(&db, id, BuildAction::Promote(promotion(10)), 3).await;
    halt(&db, id).await;
    let row = stored(&db, id).await;
    assert_eq!((row.state, row.halt_reason, row.judged.verify_failures), (BuildState::Halted, Some(HaltReason::VerifyFailures), 1));
    assert_eq!(act(&db, id, BuildAction::Rollout(5), 21).await, BuildActionOutcome::WrongState(BuildState::Halted));
    act(&db, id, BuildAction::Promote(promotion(20)), 22).await;
    let row = stored(&db, id).await;
    assert_eq!((row.state, row.halt_reason, row.judged), (BuildState::Promoted, None, RolloutResults::default()));
    db.execute("UPDATE agent_build SET judged_installs = 4").await;
    act(&db, id, BuildAction::Promote(promotion(30)), 23).await;
    assert_eq!(stored(&db, id).await.judged.installs, 4, "what was offered all the time is judged by all of it");
}

#[tokio::test]
async fn lists_come_newest_version_first_and_circulating_ones_are_what_nodes_need() {
    let db = TestDatabase::new().await;
    for number in [2, 1, 4, 3, 5] {
        add_build(&db, number).await;
    }
    for number in [1, 2, 3, 4] {
        act(&db, build(number), BuildAction::Promote(promotion(10)), 3).await;
    }
    act(&db, build(2), BuildAction::RollBack, 4).await;
    halt(&db, build(3)).await;
    // As if its file had been lost.
    db.execute(&format!("UPDATE apk SET deleted_at = now() WHERE apk_id IN ('{}', '{}')", uuid(3), uuid(4))).await;
    let versions = |rows: Vec<AgentBuild>| rows.iter().map(|row| row.version_code).collect::<Vec<_>>();
    assert_eq!(versions(db.store().agent_builds(9).await.unwrap()), [5, 4, 3, 2, 1]);
    assert_eq!(versions(db.store().agent_builds(2).await.unwrap()), [5, 4]);
    assert_eq!(versions(db.store().circulating_agent_builds(9).await.unwrap()), [3, 1]);
    assert_eq!(versions(db.store().circulating_agent_builds(1).await.unwrap()), [3]);
}

#[tokio::test]
async fn a_notification_of_devices_is_noted() {
    let db = TestDatabase::new().await;
    let id = add_build(&db, 1).await;
    let before = db.store().audit_head().await.unwrap().seq;
    for id in [id, build(9)] {
        db.store().note_agent_build_nudge(id, CommandBatchId(uuid(7)), 3, &console(), at(9)).await.unwrap();
    }
    let row = stored(&db, id).await;
    assert_eq!((row.nudged_by.as_deref(), row.nudged_at), (Some("console"), Some(at(9))));
    assert_eq!(actions_after(&db, before).await, ["agent_build.nudged"], "there is no other build");
}
