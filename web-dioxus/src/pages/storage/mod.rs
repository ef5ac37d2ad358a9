//! Storage page: the days of heartbeats and their archives, sizes, growth, runs, and work on days.

mod day;
mod days;
mod runs;
mod sizes;
mod timeline;
mod words;
mod work;

use std::rc::Rc;
use std::time::Duration;

use dioxus::prelude::*;
use domain::access::Permission;
use domain::storage::WorkState;
use services::StorageOverview;

use crate::components::{Glyph, PageHeader, Problem, Skeleton, icon};
use crate::context::use_session;
use crate::format;
use crate::navigation::use_title;
use crate::polling::use_paced_polling;
use crate::storage_url::StorageUrl;
use day::Day;
use days::Days;
use runs::Runs;
use sizes::SizeTiles;
use timeline::Timeline;
use work::{RunNow, StartDay, StartKind, WorkCard};

/// Poll interval while work is under way.
const WORKING_INTERVAL: Duration = Duration::from_secs(1);
/// Poll interval otherwise.
const CALM_INTERVAL: Duration = Duration::from_secs(10);

/// The dialog that is open.
#[derive(Debug, Clone, Copy, PartialEq)]
enum OpenDialog {
    Run,
    Start(StartKind, chrono::NaiveDate),
}

/// How soon the page reads again.
fn interval_for(overview: &StorageOverview) -> Duration {
    let works = overview.work.iter().any(|work| work.state == WorkState::Running)
        || overview.partitions.iter().any(|record| record.progress.is_some())
        || overview.manager.as_ref().is_some_and(|manager| manager.status.running_since.is_some());
    if works { WORKING_INTERVAL } else { CALM_INTERVAL }
}

#[component]
pub(crate) fn Storage(query: StorageUrl) -> Element {
    use_title("Storage");
    let session = use_session();
    let manages = session.may(Permission::ManageCluster);
    let mut dialog = use_signal(|| None::<OpenDialog>);
    let overview = use_paced_polling((), interval_for, |system, principal, ()| async move { system.storage.overview(&principal).await });
    let reading = overview.read();
    let done = move |()| {
        dialog.set(None);
        overview.again();
    };
    let close = move |()| dialog.set(None);
    let onstart = move |(kind, day)| dialog.set(Some(OpenDialog::Start(kind, day)));
    let lead = reading.value.as_ref().map(|overview| lead(overview));
    rsx! {
        PageHeader { title: "Storage", lead,
            if manages {
                button { class: "button primary", r#type: "button", aria_haspopup: "dialog", "data-testid": "run-now", onclick: move |_| dialog.set(Some(OpenDialog::Run)), {icon(Glyph::Play)} "Run now" }
            }
        }
        if let Some(problem) = &reading.problem {
            Problem { text: problem.clone(), onretry: move |()| overview.again() }
        }
        match &reading.value {
            Some(shown) => rsx! { Shown { shown: Shared(Rc::clone(shown)), query, manages, onstart } },
            None if reading.problem.is_none() => rsx! { section { class: "card", Skeleton {} } },
            None => rsx! {},
        }
        match dialog() {
            None => rsx! {},
            Some(OpenDialog::Run) => rsx! { RunNow { ondone: done, onclose: close } },
            Some(OpenDialog::Start(kind, day)) => rsx! { StartDay { kind, day, ondone: done, onclose: close } },
        }
    }
}

/// An overview that components share.
#[derive(Clone, PartialEq)]
struct Shared(Rc<StorageOverview>);

#[component]
fn Shown(shown: Shared, query: StorageUrl, manages: bool, onstart: EventHandler<(StartKind, chrono::NaiveDate)>) -> Element {
    let Shared(overview) = &shown;
    rsx! {
        if let Some(newest) = overview.work.first() {
            WorkCard { work: newest.clone(), now: overview.at }
        }
        SizeTiles { shown: shown.clone() }
        Timeline { shown: shown.clone(), query }
        if let Some(day) = query.day {
            Day { day, query, manages, onstart }
        }
        Days { query, manages, onstart }
        Runs { shown: shown.clone() }
    }
}

/// The days in a sentence.
fn lead(overview: &StorageOverview) -> String {
    let days: usize = overview.counts.iter().map(|count| count.days).sum();
    let archived: usize = overview.counts.iter().filter(|count| count.archive_bytes > 0).map(|count| count.days).sum();
    format!(
        "Heartbeats of {}, kept {} in the database; {} in the archive",
        format::count(days, "day", "days"),
        format::count(overview.kept_days as usize, "day", "days"),
        format::count(archived, "day", "days")
    )
}
