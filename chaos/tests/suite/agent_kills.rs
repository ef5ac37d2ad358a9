//! Twenty host agents on a cluster of three nodes for one seed of `chaos agent-kills`. More seeds: `chaos agent-kills --seeds 50`.

use chaos::agent_kills;

use crate::support::{never, parse_args, scheduling};

/// Needs Java and android-agent/out/nexmdm-agent-host.jar, as `make test` has them; the error says so otherwise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_that_are_killed_at_every_step_lose_no_result_and_run_nothing_twice() {
    scheduling::exclusive();
    // How long agents need to be done says how fast the machine is, not whether they lose anything.
    let args = parse_args("agent-kills --seed 1 --agents 20 --nodes 3 --drained-within 300s".split_whitespace());
    let (_never, stop) = never();
    let kept = agent_kills::run(args, stop).await.unwrap_or_else(|error| panic!("{error:#}"));
    assert!(kept, "a promise was broken: the verdict is printed above");
}
