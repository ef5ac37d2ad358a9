//! What a device is told besides answers to its own calls: push messages, and what its installations want of it.

use super::agent::Agent;
use super::deploy::Event;
use crate::push::PushData;

/// Something a device has to look at.
pub(super) enum News {
    /// A push message.
    Pushed(PushData),
    /// An installation wants something.
    Wanted(Event),
}

impl Agent {
    /// The next news; nothing is lost when it is asked for and not waited for.
    pub(super) async fn news(&mut self) -> News {
        let (commands, deploys) = (&mut self.commands, &mut self.deploys);
        tokio::select! {
            data = commands.pushed() => News::Pushed(data),
            event = deploys.event() => News::Wanted(event),
        }
    }

    /// Does what the news ask for.
    pub(super) fn heard(&mut self, news: News) {
        match news {
            News::Pushed(data) => self.pushed(&data),
            News::Wanted(event) => self.grant(event),
        }
    }

    /// How much is on the wire and not answered yet.
    pub(super) fn in_flight(&self) -> usize {
        self.queue.in_flight() + self.commands.answers.in_flight() + self.deploys.reports.in_flight()
    }

    /// Everything that was on a lost socket waits again.
    pub(super) fn land(&mut self) {
        self.linked_to = None;
        self.queue.land(None);
        self.commands.answers.land(None);
        self.deploys.reports.land(None);
    }
}
