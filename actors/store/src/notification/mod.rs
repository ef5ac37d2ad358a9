//! Notifications: channels and routes, the state of the coordinator, and the outbox.

mod channel;
mod coordinator;
mod hold;
mod outbox;
mod route;
mod subscription;

pub use channel::{ChannelRow, NewSecret};
pub use coordinator::{CoordinatorInput, DecisionWrite};
pub use outbox::{AttemptRecord, ChannelDelivery, ClaimedDelivery, OutboxCounts};
pub use subscription::Subscribed;
