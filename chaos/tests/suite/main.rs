//! The tests of `chaos` from the outside: on stand-ins for a node, and on real nodes. One binary, so that there is one to link; which of its
//! tests run beside each other says `support::scheduling`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod agent_agreement;
mod agent_cohort;
mod agent_kills;
mod alert_drills;
mod apk_signers;
mod bench;
mod cluster;
mod cluster_commands;
mod cluster_port;
mod command;
mod command_vectors;
mod deploy_drills;
mod fleet;
mod fleet_commands;
mod fleet_deployments;
mod harness;
mod history_drills;
mod load;
mod namespaces;
mod postgres_failover;
mod proxy;
mod scenario_faults;
mod scenarios;
mod support;
