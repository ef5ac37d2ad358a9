//! Page title and programmatic navigation.

use dioxus::prelude::*;

use crate::route::Route;

/// Page title, mirrored to the browser by the script.
#[derive(Clone, Copy)]
pub(crate) struct Title(pub(crate) Signal<String>);

/// Pending navigation, for work that may outlive its page.
#[derive(Clone, Copy)]
pub(crate) struct PendingNavigation(pub(crate) Signal<Option<Route>>);

impl PendingNavigation {
    /// Navigates after the current update is rendered.
    pub(crate) fn go(mut self, to: Route) {
        self.0.set(Some(to));
    }
}

/// Sets the title of the page.
pub(crate) fn use_title(title: &str) {
    let Title(mut shown) = use_context();
    use_effect(use_reactive((&title.to_owned(),), move |(title,)| {
        if *shown.peek() != title {
            shown.set(title);
        }
    }));
}
