//! Inbox of a device: push messages, and requests of its installations.

use super::agent::Agent;
use super::installations::Event;
use crate::push::PushData;

/// Item of the inbox.
pub(super) enum InboxItem {
    /// A push message.
    Push(PushData),
    /// A request of an installation.
    Installation(Event),
}

impl Agent {
    /// The next item; cancel-safe.
    pub(super) async fn next_inbox_item(&mut self) -> InboxItem {
        let (commands, installations) = (&mut self.commands, &mut self.installations);
        tokio::select! {
            data = commands.pushed() => InboxItem::Push(data),
            event = installations.event() => InboxItem::Installation(event),
        }
    }

    /// Handles an item.
    pub(super) fn handle_inbox_item(&mut self, item: InboxItem) {
        match item {
            InboxItem::Push(data) => self.pushed(&data),
            InboxItem::Installation(event) => self.handle_install_event(event),
        }
    }

    /// Number of messages in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.queue.in_flight() + self.commands.results.in_flight() + self.installations.reports.in_flight()
    }

    /// Requeues everything that was in flight on a lost socket.
    pub(super) fn requeue(&mut self) {
        self.socket_server = None;
        self.queue.requeue(None);
        self.commands.results.requeue(None);
        self.installations.reports.requeue(None);
    }
}
