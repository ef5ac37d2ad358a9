//! What is wrong with a scenario, with line and key.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use super::drill::DrillName;
use super::file::{Condition, Scenario, StepPlan};
use super::step_fault::StepFault;
use crate::verdict::promise_ids;

/// Most of everything in a file.
const STEPS_MAX: usize = 200;
const NODES_MAX: usize = 9;
const DEVICES_MAX: usize = 50_000;
/// Most errors after which a text is read again.
const UNREAD_MAX: usize = 50;
const LONGEST: Duration = Duration::from_secs(24 * 3_600);

/// Something wrong with a scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line of the file, from 1, if known.
    pub line: Option<usize>,
    /// Key, such as `step[2].fault`; empty for the whole file.
    pub key: String,
    /// What is wrong.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.text)
    }
}

impl Problem {
    /// Problem of a file that is not read as a scenario.
    pub fn of(error: &toml::de::Error, text: &str) -> Self {
        let before = error.span().map(|span| &text[..span.start.min(text.len())]);
        let key = error.span().and_then(|span| key_of_line(text, span.start)).unwrap_or_default();
        Self { line: before.map(|before| before.matches('\n').count() + 1), key, text: error.message().replace('\n', "; ") }
    }
}

/// Key that the line at an offset sets.
fn key_of_line(text: &str, at: usize) -> Option<String> {
    let start = text.get(..at)?.rfind('\n').map_or(0, |newline| newline + 1);
    let line = text.get(start..)?.lines().next()?;
    line.split_once('=').map(|(key, _)| key.trim().to_owned())
}

/// Where keys of a file are.
struct Lines<'a>(&'a str);

impl Lines<'_> {
    /// Line of a key below a header, such as `[cluster]`, or the `place`th `[[step]]`; of the header where the key is not there.
    fn of(&self, header: &str, place: usize, key: &str) -> Option<usize> {
        let lines: Vec<&str> = self.0.lines().map(str::trim).collect();
        let begin = if header.is_empty() { 0 } else { lines.iter().enumerate().filter(|(_, line)| **line == header).nth(place)?.0 + 1 };
        let sets = |line: &str| line.split_once('=').is_some_and(|(name, _)| name.trim() == key);
        let section = lines[begin..].iter().take_while(|line| !line.starts_with('['));
        let found = section.clone().position(|line| sets(line)).map(|offset| begin + offset + 1);
        found.or((!header.is_empty()).then_some(begin))
    }
}

/// All that is wrong with a text that is not read as a scenario. What is read only up to its first error is read again without the line of
/// that error, and so on.
pub(super) fn all_problems(error: toml::de::Error, text: &str) -> Vec<Problem> {
    let (mut error, mut text) = (error, text.to_owned());
    let mut found: Vec<Problem> = Vec::new();
    loop {
        let problem = Problem::of(&error, &text);
        let span = error.span().filter(|_| found.len() < UNREAD_MAX && !found.contains(&problem));
        found.push(problem);
        let Some(without) = span.and_then(|span| without_line(&text, span.start)) else { break };
        text = without;
        match toml::from_str::<Scenario>(&text) {
            Err(another) => error = another,
            Ok(scenario) => {
                // A key whose line was left out is not missing.
                let is_left_out = |key: &str| found.iter().any(|known| !known.key.is_empty() && key.ends_with(&known.key));
                let more: Vec<_> = problems(&scenario, &text).into_iter().filter(|problem| !is_left_out(&problem.key)).collect();
                found.extend(more);
                break;
            }
        }
    }
    found.sort_by_key(|problem| problem.line);
    found
}

/// A text whose line at an offset is empty; none where that is no line with a key, or no TOML without it.
fn without_line(text: &str, at: usize) -> Option<String> {
    let start = text.get(..at)?.rfind('\n').map_or(0, |newline| newline + 1);
    let end = text[start..].find('\n').map_or(text.len(), |length| start + length);
    key_of_line(text, at)?;
    let without = [&text[..start], &text[end..]].concat();
    without.parse::<toml::Table>().is_ok().then_some(without)
}

/// All that is wrong with a scenario that was read.
pub(super) fn problems(scenario: &Scenario, text: &str) -> Vec<Problem> {
    let mut found = Vec::new();
    let lines = Lines(text);
    let mut add = |line: Option<usize>, key: &str, text: String| found.push(Problem { line, key: key.to_owned(), text });
    let name_ok = |name: &str| {
        !name.is_empty() && name.len() <= 60 && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    if !name_ok(&scenario.name) {
        add(lines.of("", 0, "name"), "name", "has to be of 1 to 60 lower-case letters, digits and hyphens".into());
    }
    for id in &scenario.promises {
        if !promise_ids().any(|known| known == id) {
            let known = promise_ids().collect::<Vec<_>>().join(", ");
            add(lines.of("", 0, "promises"), "promises", format!("unknown promise `{id}`; known: {known}"));
        }
    }
    let kinds = [scenario.cluster.is_some(), scenario.target.is_some(), scenario.drill.is_some()];
    if kinds.iter().filter(|kind| **kind).count() != 1 {
        add(None, "", "needs one of [cluster], [target] and `drill`".into());
    }
    if let Some(drill) = &scenario.drill
        && let Err(error) = drill.parse::<DrillName>()
    {
        add(lines.of("", 0, "drill"), "drill", error);
    }
    if scenario.drill.is_some() && (!scenario.steps.is_empty() || scenario.random.is_some()) {
        add(lines.of("", 0, "drill"), "drill", "has steps of its own".into());
    }
    if let Some(cluster) = &scenario.cluster
        && !(1..=NODES_MAX).contains(&cluster.nodes)
    {
        add(lines.of("[cluster]", 0, "nodes"), "cluster.nodes", format!("{} is not in 1 to {NODES_MAX}", cluster.nodes));
    }
    if let Some(target) = &scenario.target {
        if target.urls.is_empty() {
            add(lines.of("[target]", 0, "urls"), "target.urls", "names no node".into());
        }
        for url in &target.urls {
            match url.parse::<crate::http::ServerUrl>() {
                Err(error) => add(lines.of("[target]", 0, "urls"), "target.urls", format!("{url}: {error}")),
                Ok(parsed) => {
                    let host = parsed.authority().rsplit_once(':').map_or(parsed.authority().to_owned(), |(host, _)| host.to_owned());
                    if !target.allow.contains(&host) {
                        add(lines.of("[target]", 0, "allow"), "target.allow", format!("does not name {host}"));
                    }
                }
            }
        }
        if target.credentials_env.is_some() == target.credentials_file.is_some() {
            add(
                lines.of("[target]", 0, "credentials_env"),
                "target.credentials_env",
                "or `credentials_file` has to say who enrolls devices".into(),
            );
        }
        if target.production {
            add(lines.of("[target]", 0, "production"), "target.production", "nothing is run against production".into());
        }
        if scenario.random.is_some() {
            add(lines.of("[random]", 0, "minutes"), "random", "only a cluster that is started here has random faults".into());
        }
    }
    if !(1..=DEVICES_MAX).contains(&scenario.fleet.devices) {
        add(lines.of("[fleet]", 0, "devices"), "fleet.devices", format!("{} is not in 1 to {DEVICES_MAX}", scenario.fleet.devices));
    }
    for (key, share) in [("hostile_share", scenario.fleet.hostile_share), ("duplicate_share", scenario.fleet.duplicate_share)] {
        if !(0.0..=1.0).contains(&share) {
            add(lines.of("[fleet]", 0, key), &format!("fleet.{key}"), format!("{share} is not in 0 to 1"));
        }
    }
    if let Some(random) = scenario.random
        && !(0.1..=1_440.0).contains(&random.minutes)
    {
        add(lines.of("[random]", 0, "minutes"), "random.minutes", format!("{} is not in 0.1 to 1440", random.minutes));
    }
    for (key, limit) in scenario.thresholds.limits() {
        if !(limit.is_finite() && limit >= 0.0) {
            add(lines.of("[thresholds]", 0, key), &format!("thresholds.{key}"), format!("{limit} is no limit: it has to be 0 or more"));
        }
    }
    if scenario.steps.len() > STEPS_MAX {
        add(None, "step", format!("{} steps are more than the {STEPS_MAX} allowed", scenario.steps.len()));
    }
    if scenario.random.is_some() && !scenario.steps.is_empty() {
        add(lines.of("[random]", 0, "minutes"), "random", "goes without steps".into());
    }
    for (place, step) in scenario.steps.iter().enumerate() {
        for (key, text) in of_step(scenario, step) {
            add(lines.of("[[step]]", place, key), &format!("step[{}].{key}", scenario.step_name(place)), text);
        }
    }
    for (name, hook) in &scenario.hooks {
        if hook.begin.is_empty() || hook.heal.as_ref().is_some_and(Vec::is_empty) {
            add(lines.of(&format!("[hooks.{name}]"), 0, "begin"), &format!("hooks.{name}"), "names no program".into());
        }
    }
    let names: Vec<String> = (0..scenario.steps.len()).map(|place| scenario.step_name(place)).collect();
    for (place, name) in names.iter().enumerate() {
        if names[..place].contains(name) {
            add(lines.of("[[step]]", place, "name"), &format!("step[{name}].name"), "is another step's name".into());
        }
    }
    for place in in_cycles(scenario, &names) {
        let key = if scenario.steps[place].after.is_some() { "after" } else { "after_begin" };
        add(lines.of("[[step]]", place, key), &format!("step[{}].{key}", names[place]), "waits for itself, over other steps".into());
    }
    found
}

/// What is wrong with a step: key and text.
fn of_step(scenario: &Scenario, step: &StepPlan) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let waits = step.after.is_some() || step.after_begin.is_some() || step.when.is_some();
    if step.at.is_some() && waits {
        found.push(("at", "goes without `after`, `after_begin` and `when`".into()));
    }
    if step.at.is_none() && !waits {
        found.push(("at", "is missing: a step has `at`, `after`, `after_begin` or `when`".into()));
    }
    for (key, time) in [("at", step.at), ("delay", Some(step.delay)), ("within", Some(step.within)), ("lasts", step.lasts)] {
        if time.is_some_and(|time| time > LONGEST) {
            found.push((key, format!("is longer than {} h", LONGEST.as_secs() / 3_600)));
        }
    }
    for (key, name) in [("after", &step.after), ("after_begin", &step.after_begin)] {
        if let Some(name) = name
            && !(0..scenario.steps.len()).any(|place| scenario.step_name(place) == *name)
        {
            found.push((key, format!("there is no step `{name}`")));
        }
    }
    if let Some(problem) = step.when.as_ref().and_then(|condition| of_condition(scenario, condition)) {
        found.push(("when", problem));
    }
    let Some(fault) = &step.fault else {
        if step.lasts.is_some() {
            found.push(("lasts", "goes with a fault".into()));
        }
        return found;
    };
    if let Err((key, problem)) = fault.check() {
        found.push(("fault", format!("{key}: {problem}")));
    }
    match fault {
        StepFault::Hook { hook } => match scenario.hooks.get(hook) {
            None => found.push(("fault", format!("there is no [hooks.{hook}]"))),
            Some(declared) if declared.heal.is_none() && step.lasts.is_some() => {
                found.push(("lasts", format!("[hooks.{hook}] does not say how it is healed")));
            }
            Some(declared) if declared.heal.is_some() && step.lasts.is_none() => {
                found.push(("lasts", format!("is missing: [hooks.{hook}] has something to heal")));
            }
            Some(_) => {}
        },
        _ if scenario.target.is_some() => found.push(("fault", "a cluster that is there already is disturbed by hooks alone".into())),
        _ if fault.lasts() && step.lasts.is_none() => found.push(("lasts", "is missing: the fault would never be healed".into())),
        _ => {}
    }
    found.extend(unknown_node(scenario, &fault.nodes()).map(|problem| ("fault", problem)));
    found
}

/// What is wrong with a node of a cluster that is started here.
fn unknown_node(scenario: &Scenario, nodes: &[&str]) -> Option<String> {
    let cluster = scenario.cluster.as_ref()?;
    let adds = |step: &&StepPlan| matches!(&step.fault, Some(StepFault::Cluster(crate::faults::Fault::AddNode)));
    let count = cluster.nodes + scenario.steps.iter().filter(adds).count();
    let known: BTreeSet<String> = (1..=count).map(|number| format!("node-{number}")).collect();
    let unknown = nodes.iter().find(|node| !known.contains(**node))?;
    Some(format!("there is no {unknown}: the nodes are node-1 to node-{count}"))
}

/// What is wrong with a condition.
fn of_condition(scenario: &Scenario, condition: &Condition) -> Option<String> {
    match condition {
        Condition::Responds(probe) if !probe.path.starts_with('/') => Some(format!("path: `{}` does not begin with /", probe.path)),
        Condition::Responds(probe) if !(100..=599).contains(&probe.status) => {
            Some(format!("status: {} is not in 100 to 599", probe.status))
        }
        Condition::Responds(probe) if scenario.target.is_some() && probe.node.is_some() => {
            Some("node: only those of a cluster that is started here have names".into())
        }
        Condition::Responds(probe) => unknown_node(scenario, &probe.node.iter().map(String::as_str).collect::<Vec<_>>()),
        _ if scenario.target.is_some() => Some("of a cluster that is there already only `responds` is known".into()),
        Condition::OnlineSharePct(share) if !(0.0..=100.0).contains(share) => Some(format!("online_share_pct: {share} is not in 0 to 100")),
        _ => None,
    }
}

/// Steps that wait for themselves.
fn in_cycles(scenario: &Scenario, names: &[String]) -> Vec<usize> {
    let places: BTreeMap<&str, usize> = names.iter().enumerate().map(|(place, name)| (name.as_str(), place)).collect();
    let before = |place: usize| {
        let step = &scenario.steps[place];
        step.after.iter().chain(&step.after_begin).filter_map(|name| places.get(name.as_str()).copied()).collect::<Vec<_>>()
    };
    let is_cycle = |start: &usize| {
        let (mut open, mut seen) = (before(*start), BTreeSet::new());
        while let Some(place) = open.pop() {
            if seen.insert(place) {
                open.extend(before(place));
            }
        }
        seen.contains(start)
    };
    (0..names.len()).filter(is_cycle).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        Scenario::parse(text).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_wrong_is_named_with_line_and_key() {
        for (text, want) in [
            ("name = \"a\"\n[cluster]\nnodse = 3\n", "line 3: nodse: unknown field `nodse`"),
            ("name = \"a\"\n[cluster]\nnodes = 16\n", "line 3: cluster.nodes: 16 is not in 1 to 9"),
            ("name = \"A b\"\n[cluster]\n", "line 1: name: has to be of 1 to 60"),
            ("name = \"a\"\n", "needs one of [cluster], [target] and `drill`"),
            ("name = \"a\"\npromises = [\"P99\"]\n[cluster]\n", "line 2: promises: unknown promise `P99`"),
            ("name = \"a\"\ndrill = \"history:nothing\"\n", "line 2: drill: unknown drill `history:nothing`"),
            ("name = \"a\"\n[cluster]\n[fleet]\ninterval = \"5\"\n", "line 4: interval: `5` is no duration"),
            (
                "name = \"a\"\n[cluster]\n[[step]]\nat = \"1s\"\nfault = { kind = \"kill\", node = \"node-1\" }\n",
                "line 3: step[step-1].lasts: is missing",
            ),
            ("name = \"a\"\n[cluster]\n[[step]]\nfault = { kind = \"add_node\" }\n", "line 3: step[step-1].at: is missing"),
            (
                "name = \"a\"\n[cluster]\n[[step]]\nat = \"1s\"\nlasts = \"1s\"\nfault = { kind = \"kill\", node = \"node-4\" }\n",
                "line 6: step[step-1].fault: there is no node-4: the nodes are node-1 to node-3",
            ),
            ("name = \"a\"\n[cluster]\n[[step]]\nafter = \"b\"\n", "line 4: step[step-1].after: there is no step `b`"),
            (
                "name = \"a\"\n[cluster]\n[[step]]\nname = \"b\"\nafter = \"c\"\n[[step]]\nname = \"c\"\nafter = \"b\"\n",
                "line 5: step[b].after: waits for itself, over other steps",
            ),
            (
                "name = \"a\"\n[target]\nurls = [\"http://prod:80\"]\ncredentials_env = \"C\"\nallow = [\"prod\"]\nproduction = true\n",
                "line 6: target.production: nothing is run against production",
            ),
            (
                "name = \"a\"\n[cluster]\n[[step]]\nname = \"b\"\nafter_begin = \"c\"\n[[step]]\nname = \"c\"\nafter = \"b\"\n",
                "line 5: step[b].after_begin: waits for itself, over other steps",
            ),
            (
                "name = \"a\"\n[cluster]\n[[step]]\nwhen = { online_share_pct = 101 }\n",
                "line 4: step[step-1].when: online_share_pct: 101 is not in 0 to 100",
            ),
            (
                "name = \"a\"\n[cluster]\n[[step]]\nwhen = { responds = { path = \"/readyz\", node = \"node-4\" } }\n",
                "line 4: step[step-1].when: there is no node-4",
            ),
            (
                "name = \"a\"\n[cluster]\n[[step]]\nat = \"1s\"\nlasts = \"1s\"\nfault = { kind = \"hook\", hook = \"x\" }\n",
                "line 6: step[step-1].fault: there is no [hooks.x]",
            ),
            (
                "name = \"a\"\n[cluster]\n[hooks.x]\nbegin = [\"true\"]\n[[step]]\nat = \"1s\"\nlasts = \"1s\"\nfault = { kind = \"hook\", hook = \"x\" }\n",
                "line 7: step[step-1].lasts: [hooks.x] does not say how it is healed",
            ),
            (
                "name = \"a\"\n[cluster]\n[hooks.x]\nbegin = [\"true\"]\nheal = [\"true\"]\n[[step]]\nat = \"1s\"\nfault = { kind = \"hook\", hook = \"x\" }\n",
                "line 6: step[step-1].lasts: is missing: [hooks.x] has something to heal",
            ),
            ("name = \"a\"\n[cluster]\n[thresholds]\np99_ms = -1\n", "line 4: thresholds.p99_ms: -1 is no limit"),
            (
                "name = \"a\"\n[target]\nurls = [\"http://stage:80\"]\nallow = [\"stage\"]\n",
                "line 2: target.credentials_env: or `credentials_file`",
            ),
            (
                "name = \"a\"\n[target]\nurls = [\"http://stage:80\"]\ncredentials_env = \"C\"\nallow = [\"stage\"]\n[[step]]\nwhen = \"shards_balanced\"\n",
                "line 7: step[step-1].when: of a cluster that is there already only `responds`",
            ),
            (
                "name = \"a\"\n[target]\nurls = [\"http://stage:80\"]\ncredentials_env = \"C\"\nallow = []\n",
                "line 5: target.allow: does not name stage",
            ),
            (
                "name = \"a\"\n[cluster]\n[[step]]\nat = \"1s\"\nlasts = \"1s\"\nfault = { kind = \"thundering_herd\", times = 0 }\n",
                "line 6: step[step-1].fault: times: 0 is not in",
            ),
        ] {
            let found = found(text);
            assert!(found.iter().any(|problem| problem.starts_with(want)), "{text}\n{found:?}");
        }
    }

    #[test]
    fn everything_wrong_is_named_at_once() {
        assert!(found("name = \"\"\n[cluster]\nnodes = 0\n[fleet]\ndevices = 0\n").len() >= 3);
        // Also beyond what cannot be read, of which nothing is said to be missing.
        let text = "name = \"a\"\n[cluster]\nnodse = 3\nnodes = 0\n[[step]]\nat = \"1s\"\nlasts = \"5\"\nfault = { kind = \"kill\", node = \"node-1\" }\nfalt = 1\n";
        let lines: Vec<_> = found(text).iter().filter_map(|problem| Some(problem.split_once(": ")?.0.to_owned())).collect();
        assert_eq!(lines, ["line 3", "line 4", "line 7", "line 8", "line 9"], "{:?}", found(text));
    }
}
