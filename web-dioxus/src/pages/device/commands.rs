//! Commands of a device, newest first.

use std::sync::Arc;

use dioxus::prelude::*;
use domain::DeviceId;
use domain::command::{CommandCursor, CommandQuery, CommandView};

use crate::components::command_rows::{CommandRows, RowLabel};
use crate::components::command_widgets::poll_interval;
use crate::components::{Pager, Problem, Skeleton};
use crate::polling::use_paced_polling;

/// Commands of a page.
const PAGE: i64 = 10;

/// `sent` changes when something was sent from this page, so that it shows at once.
#[component]
pub(super) fn Commands(id: DeviceId, sent: u32) -> Element {
    let mut before = use_signal(Vec::<CommandCursor>::new);
    let after = before.read().last().copied();
    let list = use_paced_polling(
        (id, after, sent),
        |(rows, _): &(Arc<Vec<CommandView>>, _)| poll_interval(rows.iter().any(|row| row.progress.state.is_open())),
        |system, principal, (id, after, _)| async move {
            let query = CommandQuery { device: Some(id), ..CommandQuery::default() };
            let (rows, next) = system.commands.list(&principal, &query, after, Some(PAGE)).await?;
            Ok((Arc::new(rows), next))
        },
    );
    let reading = list.read();
    rsx! {
        section { class: "card", aria_labelledby: "commands-title", aria_busy: reading.loading.to_string(), "data-testid": "device-commands",
            div { class: "card-head", h2 { id: "commands-title", "Commands" } }
            if let Some(problem) = &reading.problem {
                Problem { text: problem.clone(), onretry: move |()| list.again() }
            }
            match reading.value.as_deref() {
                Some((rows, _)) if rows.is_empty() && before.read().is_empty() => rsx! { p { class: "muted", "No commands yet." } },
                Some((rows, next)) => {
                    let next = *next;
                    rsx! {
                        CommandRows { rows: rows.clone(), named: RowLabel::Action, label: "Commands of this device", onchange: move |()| list.again() }
                        Pager { page: before.read().len(), more: next.is_some(),
                            onnewer: move |()| { before.write().pop(); },
                            onolder: move |()| before.write().extend(next),
                        }
                    }
                },
                None if reading.problem.is_none() => rsx! { Skeleton {} },
                None => rsx! {},
            }
        }
    }
}
