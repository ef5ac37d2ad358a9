//! Commands one by one, newest first, filtered.

use std::sync::Arc;

use dioxus::prelude::*;
use domain::action::ActionKind;
use domain::command::{CommandCursor, CommandQuery, CommandView};

use super::filters::Filters;
use crate::commands_url::{CommandsUrl, CommandsView};
use crate::components::command_rows::{CommandRows, RowLabel};
use crate::components::command_widgets::poll_interval;
use crate::components::{EmptyState, Glyph, Pager, Problem, Skeleton};
use crate::polling::use_paced_polling;

/// Commands of a page.
const PAGE: i64 = 30;

#[component]
pub(super) fn List(query: CommandsUrl) -> Element {
    let mut before = use_signal(Vec::<CommandCursor>::new);
    let after = before.read().last().copied();
    let list = use_paced_polling(
        (query.clone(), after),
        |(rows, _): &(Arc<Vec<CommandView>>, _)| poll_interval(rows.iter().any(|row| row.progress.state.is_open())),
        |system, principal, (query, after): (CommandsUrl, _)| async move {
            let query = CommandQuery {
                device: query.device,
                batch: None,
                single: query.view == CommandsView::Single,
                state: query.state,
                action: query.action.map(ActionKind::as_str).map(str::to_owned),
                created_by: query.by,
            };
            let (rows, next) = system.commands.list(&principal, &query, after, Some(PAGE)).await?;
            Ok((Arc::new(rows), next))
        },
    );
    let reading = list.read();
    rsx! {
        section { class: "card", aria_labelledby: "list-title", aria_busy: reading.loading.to_string(),
            h2 { id: "list-title", class: "visually-hidden", "Commands" }
            Filters { query: query.clone() }
            if let Some(problem) = &reading.problem {
                Problem { text: problem.clone(), onretry: move |()| list.again() }
            }
            match reading.value.as_deref() {
                Some((rows, _)) if rows.is_empty() && before.read().is_empty() => rsx! {
                    if query.is_filtered() {
                        EmptyState { glyph: Glyph::Search, title: "No command matches", text: "Change or clear the filter." }
                    } else {
                        EmptyState { glyph: Glyph::Terminal, title: "No commands yet", text: "Commands sent from a device's page or by a script appear here with their outcome." }
                    }
                },
                Some((rows, next)) => {
                    let next = *next;
                    rsx! {
                        CommandRows { rows: rows.clone(), named: RowLabel::Both, label: "Commands", onchange: move |()| list.again() }
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
