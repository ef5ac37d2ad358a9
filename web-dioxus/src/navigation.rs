//! What pages set beside their content: the title, and the page to go on to.

use dioxus::prelude::*;

use crate::route::Route;

/// The title of the page, mirrored into the browser's by the glue.
#[derive(Clone, Copy)]
pub(crate) struct Title(pub(crate) Signal<String>);

/// Where to go on to, for work that may outlive the page that began it.
#[derive(Clone, Copy)]
pub(crate) struct Onward(pub(crate) Signal<Option<Route>>);

impl Onward {
    /// Goes to a page as soon as what is under way is shown.
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
