//! What everything that sends to services outside has in common: admission control in front of the service, and a queue that is emptied under it.

mod admission;
mod queue;

pub use admission::{Admission, AdmissionControl};
pub use queue::{Turn, dispatch};
