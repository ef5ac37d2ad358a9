//! Nodes in network namespaces of their own, with the kernel doing what goes
//! wrong between them. Needs root and `ip`, `tc`, `unshare`, `nsenter`.

use std::process::Command;

use crate::support::scheduling;

#[test]
fn every_promise_is_kept_when_cables_are_cut_silent_and_slow() {
    if !rustix::process::geteuid().is_root() || Command::new("ip").arg("-V").output().is_err() {
        println!("not done: network namespaces need root and `ip`; the proxies' test does the same faults");
        return;
    }
    scheduling::exclusive();
    let words = "soak --network namespaces --seed 5 --nodes 3 --devices 100 --interval 5s --rest 4s --calm-within 60s \
                 --scenario cut=6s,silence=5s,oneway=5s,slow=5s";
    let soak = Command::new(env!("CARGO_BIN_EXE_chaos")).args(words.split_whitespace()).output().unwrap();
    let said = String::from_utf8_lossy(&soak.stdout);
    assert!(soak.status.success(), "{said}{}", String::from_utf8_lossy(&soak.stderr));
    assert!(said.contains("verdict: no violation"), "{said}");
    // The cables were there: node-2 was reached at its end of one.
    assert!(said.contains("node-2 is ready at http://10.200.2.2:"), "{said}");
}
