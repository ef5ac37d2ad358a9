//! Frames of agents, and the bodies that are the same over HTTP: what does not read is left out and named.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use wire::agent::RegisterRequest;
use wire::agent_build::AgentUpdateReport;
use wire::command::{ActionResult, LegacyAck};
use wire::deployment::DeploymentStatus;
use wire::device_body::{self, Unreadable, UnusableFields};
use wire::socket::UpHeader;

pub(super) fn run(data: &[u8]) {
    let header = device_body::read::<UpHeader>(data, &mut UnusableFields::default());
    if let Ok(header) = &header {
        // It goes back as it is.
        let id = header.id.as_ref().map(|id| serde_json::from_str::<Value>(id.get()));
        assert!(id.is_none_or(|id| id.is_ok()), "an id that cannot be sent back");
    }
    read::<ActionResult>(data);
    read::<DeploymentStatus>(data);
    read::<LegacyAck>(data);
    read::<RegisterRequest>(data);
    read::<AgentUpdateReport>(data);
    crate::heartbeat::run(data);
}

fn read<T: DeserializeOwned>(data: &[u8]) {
    let mut unusable = UnusableFields::default();
    let read = device_body::read::<T>(data, &mut unusable);
    let is_object = serde_json::from_slice::<Map<String, Value>>(data).is_ok();
    assert!(!is_object || !matches!(read, Err(Unreadable::NotJson { .. })), "an object that is said to be none");
    if let Err(Unreadable::Invalid(invalid)) = read {
        assert!(invalid.problem.chars().count() <= 200, "{}", invalid.problem);
    }
}
