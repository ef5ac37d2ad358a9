//! Alerts: records and their history, settings of rules, silences and maintenance windows.

mod page;
mod record;
mod setting;
mod silence;

pub use page::{AlertQuery, AlertTransition};
pub(crate) use record::key;
pub use record::{AlertChange, ChangedAlert, OpenAlert};
