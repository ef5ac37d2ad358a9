//! The JSON types of the agent and admin API: shapes only, no rules. Those of readings are made of `domain`'s telemetry table.
//!
//! Unknown fields are tolerated everywhere; limits and ranges are checked where
//! these types become domain types. Times are RFC 3339 text.

#[macro_use]
mod reading;

pub mod admin;
pub mod agent;
pub mod agent_build;
pub mod alert;
pub mod apk;
pub mod audit;
pub mod command;
pub mod deployment;
pub mod deployment_flat;
pub mod device_body;
pub mod device_filter;
pub mod devices;
pub mod enrollment;
pub mod heartbeat_body;
pub mod heartbeat_values;
pub mod lenient;
pub mod names;
pub mod people;
pub mod problem;
pub mod report;
pub mod socket;
pub mod storage;
pub mod tolerant;
pub mod unique;
