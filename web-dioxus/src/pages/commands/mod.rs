//! The commands page: batches and single commands with their outcomes, live.

mod batch;
mod batches;
mod filters;
mod list;

use dioxus::prelude::*;
use domain::access::Permission;

use crate::commands_url::{CommandsUrl, CommandsView};
use crate::components::{EmptyState, Glyph, PageHeader, RouteLink};
use crate::context::use_session;
use crate::navigation::use_title;
use crate::route::Route;
use crate::url_state::DevicesUrl;

pub(crate) use batch::CommandBatch;
use batches::Batches;
use list::List;

fn view_title(view: CommandsView) -> &'static str {
    match view {
        CommandsView::Batches => "Batches",
        CommandsView::Single => "Single commands",
        CommandsView::All => "All commands",
    }
}

#[component]
pub(crate) fn Commands(query: CommandsUrl) -> Element {
    use_title("Commands");
    let session = use_session();
    if !session.may(Permission::ViewCommands) {
        return rsx! { NotAllowed {} };
    }
    rsx! {
        PageHeader { title: "Commands", lead: "Commands sent to devices, and their outcome.",
            if session.may(Permission::SendCommands) {
                RouteLink { to: Route::Devices { query: DevicesUrl::default() }, class: "button", "Select devices" }
            }
        }
        nav { class: "tabs settings-tabs", aria_label: "Commands",
            for view in CommandsView::ALL {
                RouteLink { key: "{view.as_str()}", to: Route::Commands { query: CommandsUrl::of(view) }, current: view == query.view, testid: "view-{view.as_str()}", {view_title(view)} }
            }
        }
        // Keyed, so that another list begins at its first page.
        for (key, query) in [(query.to_string(), query)] {
            match query.view {
                CommandsView::Batches => rsx! { Batches { key: "{key}" } },
                _ => rsx! { List { key: "{key}", query } },
            }
        }
    }
}

#[component]
fn NotAllowed() -> Element {
    rsx! {
        PageHeader { title: "Commands" }
        section { class: "card",
            EmptyState { glyph: Glyph::Key, title: "Not for this role", text: "Your role does not allow this. Ask an admin of this server." }
        }
    }
}
