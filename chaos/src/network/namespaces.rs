//! A network namespace per node and a cable (veth) per pair of nodes, so that
//! the kernel does to their links what wires, switches and full lines do.
//!
//! ```text
//!   this process: database, devices
//!     hub-1 10.200.1.1 ─── 10.200.1.2 node-1 ─ to-2 ─┐  10.201.18.1
//!     hub-2 10.200.2.1 ─── 10.200.2.2 node-2 ─ to-1 ─┘  10.201.18.2
//! ```
//! What this process serves to nodes (channels of alerts) listens on
//! [`SERVICES_ADDRESS`], to which each node has a route through its hub.
//! All of it belongs to namespaces of this process alone, so that nothing of it
//! is seen outside and nothing is left when the last process in them has ended.

use std::io::Write;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::loss::{self, Impairment};
use super::{Mode, Modes};

/// Set in a process that was moved into namespaces of its own.
const MOVED: &str = "NEXMDM_CHAOS_NETWORK";
/// Nodes that the addresses have room for.
const NODES_MAX: usize = 15;
/// Address at which all nodes reach what this process serves.
pub const SERVICES_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 200, 0, 1);
/// Address without a cable, whose frames are dropped by the receiver.
const NOBODY: &str = "02:00:00:00:00:00";
/// Size of a full packet, which takes the requested delay on a slowed link.
const PACKET_BITS: u128 = 1_500 * 8;

/// Starts this very command anew in network and mount namespaces of its own,
/// unless that is done already. Needs root, `unshare`, `nsenter`, `ip` and `tc`.
pub fn move_into_own_namespaces() -> Result<()> {
    if std::env::var_os(MOVED).is_some() {
        return Ok(());
    }
    // Names of namespaces are files: they are to go with this process.
    let prepare = "mkdir -p /run/netns && mount -t tmpfs tmpfs /run/netns && ip link set lo up && exec \"$@\"";
    let error = Command::new("unshare")
        .args(["--net", "--mount", "--", "sh", "-ec", prepare, "sh"])
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(MOVED, "own")
        .exec();
    Err(error).context("cannot start `unshare`, which makes network namespaces")
}

/// The nodes' namespaces and the cables between them.
#[derive(Debug)]
pub struct Namespaces {
    nodes: usize,
}

impl Namespaces {
    /// Creates the cables for this many nodes, numbered from 0.
    pub fn create(nodes: usize) -> Result<Self> {
        ensure!((1..=NODES_MAX).contains(&nodes), "there are addresses for {NODES_MAX} nodes");
        ensure!(std::env::var_os(MOVED).is_some(), "this process is in no namespace of its own");
        let mut outside = format!("addr add {SERVICES_ADDRESS}/32 dev lo\n");
        for n in 0..nodes {
            let (name, number) = (name(n), n + 1);
            outside += &format!("netns add {name}\nlink add hub-{number} type veth peer name hub netns {name}\n");
            outside += &format!("addr add {}/30 dev hub-{number}\nlink set hub-{number} up\n", hub_address(n));
        }
        ip(&[], &outside)?;
        for b in 0..nodes {
            let cables = (0..b).map(|a| format!("link add {} netns {} type veth peer name {} netns {}\n", to(b), name(a), to(a), name(b)));
            ip(&[], &cables.collect::<String>())?;
        }
        for n in 0..nodes {
            let mut inside = format!("link set lo up\naddr add {}/30 dev hub\nlink set hub up\n", node_address(n));
            inside += &format!("route add {SERVICES_ADDRESS}/32 via {}\n", hub_address(n));
            for other in (0..nodes).filter(|other| *other != n) {
                let device = to(other);
                inside += &format!("addr add {}/30 dev {device}\nlink set {device} up\n", link_address(n, other));
            }
            ip(&["-n", &name(n)], &inside)?;
        }
        Ok(Self { nodes })
    }

    /// Sets the modes between two nodes; `forward` is from `a` to `b`.
    ///
    /// Cut is a cable that is out, silence is frames that arrive nowhere, and a
    /// delay is a line on which a full packet takes that long.
    pub fn set(&self, a: usize, b: usize, modes: Modes) -> Result<()> {
        ensure!(a < self.nodes && b < self.nodes && a != b, "there is no such link");
        for (from, onto, mode) in [(a, b, modes.forward), (b, a, modes.backward)] {
            let (namespace, device, peer) = (name(from), to(onto), link_address(onto, from));
            // Neither need exist.
            let _ = run("tc", &["-n", &namespace, "qdisc", "del", "dev", &device, "root"]);
            let _ = run("ip", &["-n", &namespace, "neigh", "del", &peer.to_string(), "dev", &device]);
            match mode {
                Mode::Pass | Mode::Cut => {}
                Mode::Lossy { .. } => bail!("cables lose packets for a node as a whole"),
                Mode::Blackhole => {
                    run(
                        "ip",
                        &["-n", &namespace, "neigh", "replace", &peer.to_string(), "lladdr", NOBODY, "dev", &device, "nud", "permanent"],
                    )?;
                }
                Mode::Delay(delay) => {
                    let rate = format!("{}bit", bits_per_second(delay));
                    run(
                        "tc",
                        &["-n", &namespace, "qdisc", "add", "dev", &device, "root", "tbf", "rate", &rate, "burst", "3kb", "limit", "256kb"],
                    )?;
                }
            }
        }
        let state = if modes.forward == Mode::Cut || modes.backward == Mode::Cut { "down" } else { "up" };
        run("ip", &["-n", &name(a), "link", "set", &to(b), state])
    }

    /// Lets all cables of a node lose this share of the packets in each direction, and deliver them late where the kernel can.
    ///
    /// # Errors
    /// A limit is exceeded, or the kernel can do neither.
    pub fn impair(&self, node: usize, loss_pct: u8, latency: Duration) -> Result<Impairment> {
        ensure!(node < self.nodes, "there is no such node");
        loss::begin(node, self.nodes, loss_pct, latency)
    }

    /// Ends what [`Self::impair`] has begun.
    pub fn repair(&self, node: usize) {
        loss::heal(node, self.nodes);
    }
}

/// Name of a node's namespace.
pub(super) fn name(node: usize) -> String {
    format!("node-{}", node + 1)
}

/// This process's end of the cable to a node.
pub(super) fn hub_device(node: usize) -> String {
    format!("hub-{}", node + 1)
}

/// The end of a cable that leads to another node.
pub(super) fn to(node: usize) -> String {
    format!("to-{}", node + 1)
}

/// Address of this process's end of the cable to a node.
pub fn hub_address(node: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 200, node as u8 + 1, 1)
}

/// Address at which this process reaches a node.
pub fn node_address(node: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 200, node as u8 + 1, 2)
}

/// Address at which `other` reaches a node.
pub fn link_address(node: usize, other: usize) -> Ipv4Addr {
    let (low, high) = (node.min(other) as u8 + 1, node.max(other) as u8 + 1);
    Ipv4Addr::new(10, 201, low << 4 | high, if node < other { 1 } else { 2 })
}

/// Command line that starts a program in a node's namespace, as the process that is started.
pub fn enter(node: usize) -> Vec<String> {
    vec!["nsenter".into(), format!("--net=/run/netns/{}", name(node)), "--".into()]
}

fn bits_per_second(delay: Duration) -> u128 {
    PACKET_BITS * 1_000 / delay.as_millis().max(1)
}

/// Many commands for `ip` at once.
fn ip(options: &[&str], lines: &str) -> Result<()> {
    let mut child = Command::new("ip").args(options).args(["-batch", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().context("no standard input of `ip`")?.write_all(lines.as_bytes())?;
    succeeded("ip", child.wait_with_output()?)
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    succeeded(program, Command::new(program).args(arguments).output().with_context(|| format!("cannot start {program}"))?)
}

fn succeeded(program: &str, output: std::process::Output) -> Result<()> {
    ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_end_of_every_cable_has_an_address_of_its_own() {
        let mut seen = BTreeSet::from([SERVICES_ADDRESS]);
        for a in 0..NODES_MAX {
            assert!(seen.insert(hub_address(a)) && seen.insert(node_address(a)));
            for b in (0..NODES_MAX).filter(|b| *b != a) {
                assert!(seen.insert(link_address(a, b)), "{a} to {b}");
            }
        }
        assert_eq!(link_address(0, 1).octets()[..3], link_address(1, 0).octets()[..3]);
    }

    #[test]
    fn a_full_packet_takes_the_delay() {
        assert_eq!(bits_per_second(Duration::from_millis(200)), 60_000);
    }
}
