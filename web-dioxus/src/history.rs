//! The browser's address as the router sees it.
//!
//! The URL is kept here. The glue mirrors `#live-ctl[data-path]` into the
//! address bar, and writes into `#live-nav` when the person goes back or forward.

use std::cell::RefCell;
use std::sync::Arc;

use dioxus::history::History;
use dioxus::prelude::*;

/// An address, and whether it takes the place of the one before.
#[derive(Clone, PartialEq)]
pub(crate) struct Address {
    pub(crate) path: String,
    pub(crate) replace: bool,
}

/// The address of one open page.
pub(crate) struct LiveHistory {
    path: RefCell<String>,
    updater: RefCell<Option<Arc<dyn Fn() + Send + Sync>>>,
    address: Signal<Address>,
}

impl LiveHistory {
    /// A history that begins at the address in `address` and publishes into it.
    pub(crate) fn new(address: Signal<Address>) -> Self {
        Self { path: RefCell::new(address.peek().path.clone()), updater: RefCell::default(), address }
    }

    /// The person went back or forward.
    pub(crate) fn moved(&self, path: String) {
        if !path.starts_with('/') {
            return;
        }
        self.publish(path, true);
        let updater = self.updater.borrow().clone();
        if let Some(updater) = updater {
            updater();
        }
    }

    fn publish(&self, path: String, replace: bool) {
        *self.path.borrow_mut() = path.clone();
        let mut address = self.address;
        address.set(Address { path, replace });
    }
}

impl History for LiveHistory {
    fn current_route(&self) -> String {
        self.path.borrow().clone()
    }
    // Only the browser goes back and forward; no page of ours asks for it.
    fn go_back(&self) {}
    fn go_forward(&self) {}
    fn push(&self, route: String) {
        self.publish(route, false);
    }
    fn replace(&self, route: String) {
        self.publish(route, true);
    }
    fn updater(&self, callback: Arc<dyn Fn() + Send + Sync>) {
        *self.updater.borrow_mut() = Some(callback);
    }
}
