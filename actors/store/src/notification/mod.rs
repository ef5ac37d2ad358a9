//! Notifications: channels and routes, the state of the coordinator, and the outbox.

mod channel;
mod coordinator;
mod device_events;
mod hold;
mod missed;
mod outbox;
mod report_schedule;
mod route;
mod subscription;

pub use channel::{ChannelRow, NewSecret};
pub use coordinator::{CoordinatorInput, CoordinatorNews, DecisionWrite};
pub use device_events::EventTaker;
pub use missed::Missed;
pub use outbox::{AttemptRecord, ChannelDelivery, ClaimedDelivery, OutboxCounts};
pub use report_schedule::StoredReportSchedule;
pub use subscription::Subscribed;
