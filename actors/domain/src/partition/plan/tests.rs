use super::*;
use crate::partition::{AHEAD_DAYS, ArchiveRecord, PAST_DAYS};
use chrono::DateTime;
use proptest::prelude::*;

const SETTINGS: PartitionSettings = PartitionSettings { kept_days: 90, restored_kept_days: 7 };

/// Noon of the day as of which is planned.
fn now() -> Timestamp {
    DateTime::from_timestamp(1_798_675_200 + 12 * 3600, 0).unwrap()
}

fn days_ago(days: i64) -> NaiveDate {
    now().date_naive() - TimeDelta::days(days)
}

fn archive() -> ArchiveRecord {
    ArchiveRecord {
        url: "/archive/heartbeats/x.parquet".into(),
        sha256: "aa".into(),
        rows_sha256: "bb".into(),
        rows: 1,
        bytes: 1,
        first_at: None,
        last_at: None,
        schema_version: 1,
    }
}

/// A record as the manager leaves it in this state.
fn record(day: NaiveDate, state: PartitionState) -> PartitionRecord {
    use PartitionState::*;
    let mut record = PartitionRecord::new(day, state);
    if matches!(state, Archived | Verified | Dropped | Restoring | Restored) {
        record.archive = Some(archive());
        record.archived_at = Some(now());
    }
    if matches!(state, Verified | Dropped | Restoring | Restored) {
        record.verified_at = Some(now());
    }
    if state == Restored {
        record.restored_until = Some(now() + TimeDelta::days(3));
    }
    record
}

fn attached(state: PartitionState) -> impl Fn(NaiveDate) -> DaySeen {
    move |day| DaySeen { table: Some(TableSeen::Attached), record: Some(record(day, state)), default_rows: false }
}

fn detached(state: PartitionState) -> impl Fn(NaiveDate) -> DaySeen {
    move |day| DaySeen { table: Some(TableSeen::Detached), ..attached(state)(day) }
}

fn gone(state: PartitionState) -> impl Fn(NaiveDate) -> DaySeen {
    move |day| DaySeen { table: None, ..attached(state)(day) }
}

fn only_default(state: Option<PartitionState>) -> impl Fn(NaiveDate) -> DaySeen {
    move |day| DaySeen { table: None, record: state.map(|state| record(day, state)), default_rows: true }
}

/// The actions of one day's plan, and what comes then.
fn planned(day: NaiveDate, seen: DaySeen) -> (String, String) {
    let plans = plan(&BTreeMap::from([(day, seen)]), now(), SETTINGS);
    let plan = plans.iter().find(|plan| plan.day == day);
    let actions = plan.map_or(vec![], |plan| plan.steps.iter().map(|step| step.action.as_str()).collect());
    (actions.join(" "), plan.and_then(|plan| plan.then.as_ref()).map(ToString::to_string).unwrap_or_default())
}

#[test]
fn an_empty_database_gets_the_days_around_today() {
    let plans = plan(&BTreeMap::new(), now(), SETTINGS);
    assert_eq!(plans.len() as u64, PAST_DAYS + 1 + AHEAD_DAYS);
    assert!(plans.iter().all(|plan| plan.steps.first().is_some_and(|step| step.action == Action::Create)));
    // Days that are over already have nothing to wait for before they are analyzed.
    assert_eq!(plans[0].steps.iter().map(|step| step.action).collect::<Vec<_>>(), [Action::Create, Action::Analyze]);
    assert_eq!(plans[14].steps.len(), 1);
}

#[test]
fn every_state_of_a_day_has_its_answer() {
    use PartitionState::*;
    let (old, kept, today) = (days_ago(91), days_ago(90), days_ago(0));
    type Seen = Box<dyn Fn(NaiveDate) -> DaySeen>;
    let cases: Vec<(NaiveDate, Seen, &str)> = vec![
        // As it goes.
        (today, Box::new(attached(Open)), ""),
        (kept, Box::new(attached(Open)), "analyze"),
        (kept, Box::new(attached(Settled)), ""),
        (old, Box::new(attached(Open)), "archive verify drop"),
        (old, Box::new(attached(Settled)), "archive verify drop"),
        (old, Box::new(attached(Archived)), "verify drop"),
        (old, Box::new(attached(Verified)), "drop"),
        (old, Box::new(gone(Dropped)), ""),
        // By command.
        (kept, Box::new(attached(Archived)), "verify"),
        (kept, Box::new(attached(Verified)), ""),
        (old, Box::new(attached(Restored)), ""),
        // Cut off.
        (old, Box::new(detached(Verified)), "drop"),
        (old, Box::new(detached(Restoring)), "restore"),
        (old, Box::new(gone(Restoring)), "restore"),
        (old, Box::new(attached(Restoring)), "restore"),
        (today, Box::new(|_| DaySeen { table: Some(TableSeen::Detached), ..DaySeen::default() }), "attach"),
        // Detached by hand.
        (kept, Box::new(detached(Settled)), "attach"),
        (kept, Box::new(detached(Verified)), "attach"),
        (old, Box::new(detached(Settled)), "attach archive verify drop"),
        (old, Box::new(detached(Archived)), "attach verify drop"),
        // Removed by hand.
        (kept, Box::new(gone(Settled)), "note_gone"),
        (kept, Box::new(gone(Lost)), ""),
        (old, Box::new(gone(Archived)), "verify note_gone"),
        (old, Box::new(gone(Verified)), "note_gone"),
        (old, Box::new(gone(Restored)), "note_gone"),
        (today, Box::new(gone(Open)), "create"),
        (today, Box::new(gone(Lost)), "create"),
        (today, Box::new(gone(Dropped)), ""),
        // Made by hand.
        (old, Box::new(attached(Lost)), "archive verify drop"),
        (old, Box::new(attached(Dropped)), "merge archive verify drop"),
        (old, Box::new(detached(Dropped)), "merge archive verify drop"),
        (old, Box::new(|_| DaySeen { table: Some(TableSeen::Attached), ..DaySeen::default() }), "archive verify drop"),
        (old, Box::new(|_| DaySeen { table: Some(TableSeen::Unusable("a view".into())), ..DaySeen::default() }), ""),
        // In the default partition.
        (old, Box::new(only_default(None)), "create archive verify drop"),
        (kept, Box::new(only_default(None)), "create analyze"),
        (today, Box::new(only_default(Some(Open))), "create"),
        (old, Box::new(only_default(Some(Dropped))), "merge archive verify drop"),
        (old, Box::new(only_default(Some(Archived))), "verify note_gone merge archive verify drop"),
        (kept, Box::new(only_default(Some(Verified))), "note_gone merge analyze"),
        (kept, Box::new(|day| DaySeen { default_rows: true, ..detached(Settled)(day) }), "attach"),
        (old, Box::new(|day| DaySeen { default_rows: true, ..detached(Verified)(day) }), "attach archive verify drop"),
    ];
    for (day, seen, wanted) in cases {
        let seen = seen(day);
        assert_eq!(planned(day, seen.clone()).0, wanted, "{day} {seen:?}");
    }
}

#[test]
fn what_a_day_waits_for_is_told() {
    use PartitionState::*;
    for (day, seen, wanted) in [
        (days_ago(0), attached(Open)(days_ago(0)), "settles at 2027-01-01 02:00Z"),
        (days_ago(90), attached(Settled)(days_ago(90)), "is archived and dropped on 2027-01-01"),
        (days_ago(91), attached(Settled)(days_ago(91)), "dropped; the archive has the rows"),
        (days_ago(91), attached(Restored)(days_ago(91)), "restored until 2027-01-03 12:00Z"),
        (days_ago(91), gone(Lost)(days_ago(91)), "removed by hand without an archive"),
        (days_ago(91), DaySeen { table: Some(TableSeen::Unusable("a view".into())), ..DaySeen::default() }, "a view"),
    ] {
        assert_eq!(planned(day, seen).1, wanted);
    }
}

#[test]
fn a_day_settles_two_hours_after_its_end_and_an_old_proof_is_renewed() {
    let day = days_ago(1);
    assert_eq!(settles_at(day).to_rfc3339(), "2026-12-31T02:00:00+00:00");
    let seen = BTreeMap::from([(day, attached(PartitionState::Open)(day))]);
    let analyzes = |at: Timestamp| plan(&seen, at, SETTINGS).iter().any(|plan| plan.day == day && !plan.steps.is_empty());
    assert_eq!((analyzes(settles_at(day) - TimeDelta::seconds(1)), analyzes(settles_at(day))), (false, true));

    let old = days_ago(95);
    let mut verified = attached(PartitionState::Verified)(old);
    let proof = |age: TimeDelta| Some(now() - age);
    verified.record.as_mut().unwrap().verified_at = proof(VERIFIED_FOR - TimeDelta::seconds(1));
    assert_eq!(planned(old, verified.clone()).0, "drop");
    verified.record.as_mut().unwrap().verified_at = proof(VERIFIED_FOR);
    assert_eq!(planned(old, verified).0, "verify drop");
}

#[test]
fn days_that_are_kept_no_more_are_not_made_again() {
    let settings = PartitionSettings { kept_days: 1, ..SETTINGS };
    let made = plan(&BTreeMap::new(), now(), settings);
    assert_eq!(made.first().map(|plan| plan.day), Some(days_ago(1)));
}

/// Does a step as the manager does where nothing fails.
fn apply(seen: &mut DaySeen, day: NaiveDate, action: Action) {
    use PartitionState::*;
    let state = seen.record.as_ref().map(|record| record.state);
    let to = |seen: &mut DaySeen, state: PartitionState| {
        seen.record.get_or_insert_with(|| PartitionRecord::new(day, state)).state = state;
    };
    match action {
        Action::Create | Action::Attach => {
            let is_new = action == Action::Create;
            let after = match state {
                None | Some(Lost) => Open,
                Some(Settled) if is_new => Open,
                Some(Archived | Verified) if seen.default_rows => Open,
                Some(state) => state,
            };
            (seen.table, seen.default_rows) = (Some(TableSeen::Attached), false);
            to(seen, after);
        }
        Action::Merge => {
            assert_eq!(state, Some(Dropped), "only what is archived can be merged");
            (seen.table, seen.default_rows) = (Some(TableSeen::Attached), false);
            to(seen, Open);
        }
        Action::Analyze => to(seen, Settled),
        Action::Archive => {
            to(seen, Archived);
            let record = seen.record.as_mut().unwrap();
            (record.archive, record.verified_at) = (Some(archive()), None);
        }
        Action::Verify => {
            if state == Some(Archived) {
                to(seen, Verified);
            }
            seen.record.as_mut().unwrap().verified_at = Some(now());
        }
        Action::Drop => {
            let record = seen.record.as_ref().unwrap();
            assert!(matches!(record.state, Verified | Restored), "dropped while {:?}", record.state);
            assert!(record.archive.is_some() && record.verified_at.is_some_and(|at| at + VERIFIED_FOR > now()), "dropped without proof");
            assert!(!seen.default_rows, "dropped with rows in the default partition");
            seen.table = None;
            to(seen, Dropped);
        }
        Action::Restore => {
            (seen.table, seen.default_rows) = (Some(TableSeen::Attached), false);
            to(seen, Restored);
            let record = seen.record.as_mut().unwrap();
            (record.verified_at, record.restored_until) = (Some(now()), Some(now() + TimeDelta::days(7)));
        }
        Action::NoteGone => {
            let record = seen.record.as_ref().unwrap();
            let archived = record.verified_at.is_some() && matches!(record.state, Verified | Restored);
            to(seen, if archived { Dropped } else { Lost });
        }
    }
}

/// What there may be of a day, whoever made it.
fn any_seen() -> impl Strategy<Value = (i64, DaySeen)> {
    let table = prop_oneof![
        Just(None),
        Just(Some(TableSeen::Attached)),
        Just(Some(TableSeen::Detached)),
        Just(Some(TableSeen::Unusable("hands".into()))),
    ];
    let state = proptest::option::of(proptest::sample::select(PartitionState::ALL.to_vec()));
    (-8i64..100, table, any::<bool>(), state, proptest::option::of(-3i64..3), -10i64..10).prop_map(
        |(ago, table, default_rows, state, verified, restored)| {
            let day = days_ago(ago);
            let record = state.map(|state| {
                let mut record = record(day, state);
                if record.verified_at.is_some() {
                    record.verified_at = verified.map(|days| now() - TimeDelta::days(days)).or(record.verified_at);
                }
                record.restored_until = record.restored_until.map(|_| now() + TimeDelta::days(restored));
                record
            });
            // PostgreSQL keeps rows of an attached day out of the default partition.
            let default_rows = default_rows && table != Some(TableSeen::Attached);
            (ago, DaySeen { table, default_rows, record })
        },
    )
}

fn steps_of(day: NaiveDate, seen: &DaySeen) -> Vec<Action> {
    let plans = plan(&BTreeMap::from([(day, seen.clone())]), now(), SETTINGS);
    plans.iter().filter(|plan| plan.day == day).flat_map(|plan| plan.steps.iter().map(|step| step.action)).collect()
}

proptest! {
    #[test]
    fn a_plan_that_is_cut_off_is_continued_and_a_done_one_leaves_nothing((ago, seen) in any_seen()) {
        let (day, mut seen) = (days_ago(ago), seen);
        let steps = steps_of(day, &seen);
        for (at, action) in steps.iter().enumerate() {
            // `apply` refuses a drop that nothing proved.
            apply(&mut seen, day, *action);
            prop_assert_eq!(steps_of(day, &seen), steps[at + 1..].to_vec(), "after {:?} of {:?}: {:?}", action, steps, seen);
        }
    }

    #[test]
    fn nothing_of_hands_is_touched_and_no_row_stays_in_the_default_partition((ago, seen) in any_seen()) {
        let (day, mut after) = (days_ago(ago), seen.clone());
        let steps = steps_of(day, &seen);
        for action in &steps {
            apply(&mut after, day, *action);
        }
        if matches!(seen.table, Some(TableSeen::Unusable(_))) {
            prop_assert!(steps.is_empty());
        } else {
            prop_assert!(!after.default_rows, "{:?} leaves {:?}", steps, after);
        }
    }
}
