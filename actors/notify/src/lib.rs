//! Messages to people: channels, their secrets, and the sender that empties the outbox.
//!
//! ```text
//! outbox rows -> Sender: claim -> admission control of the channel -> Notifier: open secrets -> Channel -> attempt -> outcome on the row
//! ```
//! What is said, and what an answer means, is decided in [`domain::notification`]; what is to be sent stands in the outbox ([`store`]).
//! Every node runs a sender. A row is claimed before it is tried, so that two do not send the same; a sender that dies between the sending and
//! the note leaves the row to another one, which sends it again under the same id.

mod account_message;
mod attempt;
mod channel;
mod field;
mod http;
mod metrics;
mod notifier;
mod parse;
mod seal;
mod sender;
mod settings;
mod setup_error;
mod smtp;
mod target;

pub use account_message::AccountMessage;
pub use attempt::Attempt;
pub use field::{Field, Input, fields};
pub use http::check_authorities;
pub use metrics::Metrics;
pub use notifier::Notifier;
pub use parse::{ChannelFields, check_address, parse};
pub use seal::{SealError, SecretFields};
pub use sender::start;
pub use settings::{MailServer, MailTls, NotifySettings};
pub use setup_error::NotifySetupError;
pub use smtp::greet_mail_server;
