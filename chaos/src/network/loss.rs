//! Packets that get lost or come late on all cables of a node: by `netem` where the kernel has it, else lost by nftables.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::namespaces::{hub_device, name, to};

/// Most packets lost, percent.
pub const LOSS_PCT_MAX: u8 = 50;
/// Longest way to a node and back.
pub const LATENCY_MAX: Duration = Duration::from_secs(5);

/// What the kernel can do to the cables of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Impairment {
    /// Packets are lost and late.
    LossAndLatency,
    /// Packets are lost; the kernel lacks `netem`, which makes them late.
    Loss,
}

/// An end of a cable: the namespace that it lies in, this process's own without one, and its device there.
#[derive(Debug, PartialEq, Eq)]
struct End {
    namespace: Option<String>,
    device: String,
}

/// Both ends of every cable of a node.
fn ends(node: usize, nodes: usize) -> Vec<End> {
    let mut ends = vec![End { namespace: None, device: hub_device(node) }, End { namespace: Some(name(node)), device: "hub".into() }];
    for other in (0..nodes).filter(|other| *other != node) {
        ends.push(End { namespace: Some(name(node)), device: to(other) });
        ends.push(End { namespace: Some(name(other)), device: to(node) });
    }
    ends
}

/// Makes all cables of a node lose this share of the packets in each direction, and late by half the latency in each where the kernel can.
pub(super) fn begin(node: usize, nodes: usize, loss_pct: u8, latency: Duration) -> Result<Impairment> {
    ensure!(loss_pct <= LOSS_PCT_MAX, "{LOSS_PCT_MAX} % of the packets are lost at most, not {loss_pct}");
    ensure!(latency <= LATENCY_MAX, "the latency is {LATENCY_MAX:?} at most, not {latency:?}");
    heal(node, nodes);
    let all = ends(node, nodes);
    let (delay, loss) = (format!("{}us", latency.as_micros() / 2), format!("{loss_pct}%"));
    let netem = ["root", "netem", "delay", delay.as_str(), "loss", loss.as_str(), "limit", "100000"];
    if tc(&all[0], "add", &netem).is_ok() {
        for end in &all[1..] {
            tc(end, "add", &netem)?;
        }
        return Ok(Impairment::LossAndLatency);
    }
    for end in &all {
        nft(end, &loss_rules(node, &end.device, loss_pct)).context("packets are lost by nftables where the kernel has no netem")?;
    }
    Ok(Impairment::Loss)
}

/// Ends it, whatever has begun.
pub(super) fn heal(node: usize, nodes: usize) {
    for end in &ends(node, nodes) {
        // Neither need exist.
        let _ = tc(end, "del", &["root"]);
        let _ = nft(end, &format!("delete table inet {}\n", table(node, &end.device)));
    }
}

fn table(node: usize, device: &str) -> String {
    // A name of nftables has no dash.
    format!("loss_{node}_{}", device.replace('-', "_"))
}

/// Rules that lose packets where they arrive: one that its sender is not allowed to send is no lost one.
fn loss_rules(node: usize, device: &str, loss_pct: u8) -> String {
    let table = table(node, device);
    format!(
        "table inet {table} {{\n chain lost {{\n  type filter hook input priority 0; policy accept;\n  \
         iifname \"{device}\" numgen random mod 100 < {loss_pct} drop\n }}\n}}\n"
    )
}

fn tc(end: &End, what: &str, words: &[&str]) -> Result<()> {
    let mut command = Command::new("tc");
    if let Some(namespace) = &end.namespace {
        command.args(["-n", namespace]);
    }
    let output = command.args(["qdisc", what, "dev", &end.device]).args(words).output().context("cannot start tc")?;
    ensure!(output.status.success(), "tc: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

fn nft(end: &End, rules: &str) -> Result<()> {
    let mut command = match &end.namespace {
        Some(namespace) => {
            let mut command = Command::new("nsenter");
            command.arg(format!("--net=/run/netns/{namespace}")).args(["--", "nft"]);
            command
        }
        None => Command::new("nft"),
    };
    let child = command.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut child = child.context("cannot start nft: install Debian's package `nftables`")?;
    child.stdin.take().context("no standard input of nft")?.write_all(rules.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "nft: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cable_of_a_node_has_two_ends_and_rules_of_its_own() {
        let ends = ends(1, 3);
        assert_eq!(ends.len(), 6);
        assert_eq!(ends[0], End { namespace: None, device: "hub-2".into() });
        assert!(ends.contains(&End { namespace: Some("node-1".into()), device: "to-2".into() }));
        assert!(ends.contains(&End { namespace: Some("node-2".into()), device: "to-3".into() }));
        assert!(loss_rules(1, "to-2", 5).contains("table inet loss_1_to_2 {"));
        assert!(loss_rules(1, "to-2", 5).contains("iifname \"to-2\" numgen random mod 100 < 5 drop"));
    }

    #[test]
    fn what_exceeds_the_limits_is_refused_before_anything_is_changed() {
        assert!(begin(0, 1, LOSS_PCT_MAX + 1, Duration::ZERO).unwrap_err().to_string().contains("50 %"));
        assert!(begin(0, 1, 5, LATENCY_MAX * 2).unwrap_err().to_string().contains("latency"));
    }
}
