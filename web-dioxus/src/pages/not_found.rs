//! Any address that is no page.

use dioxus::prelude::*;

use crate::components::{EmptyState, Glyph, PageHeader, RouteLink};
use crate::navigation::use_title;
use crate::route::Route;

#[component]
pub(crate) fn NotFound(segments: Vec<String>) -> Element {
    use_title("Not found");
    rsx! {
        PageHeader { title: "Not found" }
        EmptyState { glyph: Glyph::Search, title: "Page not found", text: "/{segments.join(\"/\")} is not a page of this dashboard.",
            RouteLink { to: Route::Overview {}, class: "button primary", "Go to the overview" }
        }
    }
}
