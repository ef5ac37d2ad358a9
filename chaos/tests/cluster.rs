//! The short run of a whole cluster under faults: real nodes, simulated
//! devices, the oracle. The long one is `chaos soak`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use chaos::soak::{self, SoakArgs};
use clap::Parser;
use tokio::sync::watch;

#[derive(Parser)]
struct SoakCli {
    #[command(flatten)]
    args: SoakArgs,
}

/// Several threads: the proxies run beside the faults.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_promise_is_kept_through_a_short_run_of_faults() {
    let words = "soak --seed 3 --nodes 3 --devices 300 --interval 5s --rest 7s --calm-within 60s \
                 --scenario kill=10s,suspend=8s,cut=8s,oneway=6s,db=6s,add,drain=8s";
    let args = SoakCli::parse_from(words.split_whitespace()).args;
    let (_never, stop) = watch::channel(false);
    assert!(soak::run(args, stop).await.unwrap(), "a promise was broken: the verdict is printed above");
}
