//! Steps of a scenario while it runs: when each begins and is healed, with a record of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use super::conditions::{ALERTS, SHARDS, counts, holds};
use super::faults::{Healing, InForce, Scene};
use super::file::{Hook, Scenario};
use super::journal::{self, Entry, Journal};
use super::measured::Window;
use super::sabotage::Sabotage;
use super::step_fault::StepFault;
use crate::clock::now;
use crate::fcm::FakeFcm;
use crate::harness::Cluster;
use crate::soak::{Disturbance, Ground};
use crate::verdict::{Event, EventSender, What};

const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often shards and alerts are counted for the timeline.
const SAMPLE_EVERY: Duration = Duration::from_secs(2);
/// Time within which a sample is taken, or left out.
const SAMPLE_WITHIN: Duration = Duration::from_secs(1);

/// State of a step.
enum State {
    /// It has not begun.
    Waiting(Wait),
    /// It is in force.
    InForce(Instant, Begun),
    /// It was begun or healed in part, since then.
    InPart(Instant),
    /// It began, and is over.
    Over { begun: Instant, ended: Instant },
}

/// What a step that has not begun has waited for.
#[derive(Debug, Clone, Copy, Default)]
struct Wait {
    /// Since when it waits for its condition.
    since: Option<Instant>,
    /// Since when everything it waits for is there.
    met: Option<Instant>,
}

/// Whether a step begins.
enum Due {
    Now,
    Later,
    /// What it waits for has not come in time.
    Never(String),
}

/// What was begun.
enum Begun {
    /// Fault of the cluster, by its number.
    Cluster(usize),
    /// Fault of a file of its own.
    Scenario(Box<dyn Healing>),
    /// Commands, by the name of the hook.
    Hook(String),
    /// Nothing: the step only waits.
    Nothing,
}

/// Steps of a scenario, and what is recorded of them.
pub(super) struct Steps<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) events: EventSender,
    pub(super) journal: Journal,
    pub(super) fcm: Option<Arc<FakeFcm>>,
    pub(super) sabotage: Option<Sabotage>,
    /// Windows of the steady states before and after.
    pub(super) before: Option<Window>,
    pub(super) after: Option<Window>,
    /// What faults have shown to be broken.
    pub(super) broken: Vec<String>,
    states: Vec<State>,
    /// Commands that heal each step from outside.
    undo: Vec<Vec<Vec<String>>>,
    samples: Samples,
}

/// What was sampled last.
#[derive(Default)]
struct Samples {
    shards: BTreeMap<String, u32>,
    alerts: BTreeMap<String, u32>,
    taken: Option<Instant>,
}

impl<'a> Steps<'a> {
    /// Steps that have not begun.
    pub(super) fn new(
        scenario: &'a Scenario,
        events: EventSender,
        journal: Journal,
        fcm: Option<Arc<FakeFcm>>,
        sabotage: Option<Sabotage>,
    ) -> Self {
        let states = scenario.steps.iter().map(|_| State::Waiting(Wait::default())).collect();
        let (before, after, broken, undo) = (None, None, Vec::new(), vec![Vec::new(); scenario.steps.len()]);
        Self { scenario, events, journal, fcm, sabotage, before, after, broken, states, undo, samples: Samples::default() }
    }

    fn record(&self, what: What) {
        self.events.record(Event::new(now(), what));
    }

    /// Goes through all steps.
    pub(super) async fn run(&mut self, ground: &mut Option<Ground<'_>>) -> Result<()> {
        let started = Instant::now();
        loop {
            let mut all_over = true;
            for place in 0..self.states.len() {
                match &self.states[place] {
                    State::Over { .. } | State::InPart(_) => continue,
                    State::Waiting(wait) => {
                        let wait = *wait;
                        match self.due(place, started, wait, ground.as_mut()).await? {
                            Due::Now => self.begin(place, ground).await?,
                            Due::Later => {}
                            // The steps that are left have lost their sense; what is in force is healed, and all is judged.
                            Due::Never(problem) => {
                                self.never(place, problem);
                                return Ok(());
                            }
                        }
                    }
                    State::InForce(since, _) => {
                        let lasts = self.scenario.steps[place].lasts;
                        if lasts.is_none_or(|lasts| since.elapsed() >= lasts) {
                            self.end(place, ground).await?;
                        }
                    }
                }
                all_over &= matches!(self.states[place], State::Over { .. });
            }
            if all_over {
                return Ok(());
            }
            if let Some(ground) = ground {
                self.sample(ground.cluster).await;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Notes that what a step waits for has not come.
    fn never(&mut self, place: usize, problem: String) {
        let step = self.scenario.step_name(place);
        println!("{}  {step}: {problem}", now().format("%H:%M:%S%.3f"));
        self.broken.push(format!("{step}: {problem}"));
        self.record(What::StepEnded { step, problem: Some(problem) });
    }

    /// Whether a step begins now.
    async fn due(&mut self, place: usize, started: Instant, mut wait: Wait, ground: Option<&mut Ground<'_>>) -> Result<Due> {
        let step = &self.scenario.steps[place];
        if let Some(at) = step.at {
            return Ok(if started.elapsed() >= at { Due::Now } else { Due::Later });
        }
        if wait.met.is_none() {
            let ended = step.after.as_deref().map(|name| self.times(name).and_then(|(_, ended)| ended));
            let begun = step.after_begin.as_deref().map(|name| self.times(name).map(|(begun, _)| begun));
            let mut met = Some(started);
            for moment in [ended, begun].into_iter().flatten() {
                met = met.zip(moment).map(|(one, other)| one.max(other));
            }
            let (Some(met), condition) = (met, &step.when) else { return Ok(Due::Later) };
            wait.met = Some(met);
            if let Some(condition) = condition {
                let since = *wait.since.get_or_insert_with(Instant::now);
                wait.met = holds(condition, self.scenario, ground).await?.then(Instant::now);
                if wait.met.is_none() && since.elapsed() > step.within {
                    return Ok(Due::Never(format!("`{}` did not hold within {:?}", <&str>::from(condition), step.within)));
                }
            }
            self.states[place] = State::Waiting(wait);
        }
        Ok(if wait.met.is_some_and(|met| met.elapsed() >= step.delay) { Due::Now } else { Due::Later })
    }

    /// When a step has begun and ended, by its name; none if it has not begun.
    fn times(&self, name: &str) -> Option<(Instant, Option<Instant>)> {
        let place = (0..self.states.len()).find(|place| self.scenario.step_name(*place) == name)?;
        match &self.states[place] {
            State::Waiting(_) => None,
            State::InForce(begun, _) | State::InPart(begun) => Some((*begun, None)),
            State::Over { begun, ended } => Some((*begun, Some(*ended))),
        }
    }

    async fn begin(&mut self, place: usize, ground: &mut Option<Ground<'_>>) -> Result<()> {
        let (name, begun) = (self.scenario.step_name(place), Instant::now());
        self.record(What::StepBegan { step: name.clone() });
        let Some(fault) = &self.scenario.steps[place].fault else {
            self.states[place] = State::InForce(begun, Begun::Nothing);
            return Ok(());
        };
        println!("{}  {name}: {fault}", now().format("%H:%M:%S%.3f"));
        let undo = self.undo_of(fault, ground.as_ref())?;
        self.undo[place].clone_from(&undo);
        self.journal.write(&Entry::Begins { step: name.clone(), undo, outside: fault.is_outside() })?;
        // What fails on its way may be there in part.
        self.states[place] = State::InPart(begun);
        self.record(What::FaultBegan { fault: name.clone(), text: fault.to_string() });
        let in_force = self.inject(&name, fault, ground).await.with_context(|| name.clone())?;
        self.states[place] = State::InForce(begun, in_force);
        Ok(())
    }

    async fn inject(&mut self, step: &str, fault: &StepFault, ground: &mut Option<Ground<'_>>) -> Result<Begun> {
        match (fault, ground.as_mut()) {
            (StepFault::Hook { hook }, _) => {
                let declared = self.hook(hook)?;
                run_hook(declared, &declared.begin).await.with_context(|| format!("the hook {hook}"))?;
                Ok(Begun::Hook(hook.clone()))
            }
            (_, None) => anyhow::bail!("a cluster that is there already is disturbed by hooks alone"),
            (StepFault::Cluster(fault), Some(ground)) => Ok(Begun::Cluster(ground.faults.inject(ground.cluster, fault.clone()).await?)),
            (StepFault::Scenario(fault), Some(ground)) => {
                let mut scene = Scene::of(ground.cluster);
                scene.fcm = self.fcm.as_deref();
                scene.sinks = ground.sinks.as_deref_mut();
                let in_force = fault.as_fault().begin(&mut scene).await;
                let (notes, broken) = (std::mem::take(&mut scene.notes), std::mem::take(&mut scene.broken));
                self.take_notes(step, notes, broken);
                Ok(match in_force? {
                    InForce::Over => Begun::Nothing,
                    InForce::Until(healing) => Begun::Scenario(healing),
                })
            }
        }
    }

    /// Heals a step, if it is in force.
    async fn end(&mut self, place: usize, ground: &mut Option<Ground<'_>>) -> Result<()> {
        let State::InForce(since, _) = &self.states[place] else { return Ok(()) };
        let since = *since;
        let State::InForce(_, begun) = std::mem::replace(&mut self.states[place], State::InPart(since)) else { return Ok(()) };
        let name = self.scenario.step_name(place);
        match (begun, ground.as_mut()) {
            (Begun::Cluster(number), Some(ground)) => ground.faults.heal(ground.cluster, number).await.with_context(|| name.clone())?,
            (Begun::Scenario(healing), Some(ground)) => {
                println!("{}  heal: {name}", now().format("%H:%M:%S%.3f"));
                let mut scene = Scene::of(ground.cluster);
                scene.fcm = self.fcm.as_deref();
                scene.sinks = ground.sinks.as_deref_mut();
                let healed = healing.heal(&mut scene).await.with_context(|| format!("healing {name}"));
                let (notes, broken) = (std::mem::take(&mut scene.notes), std::mem::take(&mut scene.broken));
                self.take_notes(&name, notes, broken);
                healed?;
            }
            (Begun::Hook(hook), _) => {
                let declared = self.hook(&hook)?;
                if let Some(heal) = &declared.heal {
                    println!("{}  heal: {name}", now().format("%H:%M:%S%.3f"));
                    run_hook(declared, heal).await.with_context(|| format!("{name}: healing by the hook {hook}"))?;
                }
            }
            (Begun::Nothing | Begun::Cluster(_) | Begun::Scenario(_), _) => {}
        }
        self.over(place)
    }

    /// Heals from outside what was begun or healed in part.
    async fn end_in_part(&mut self, place: usize) -> Result<()> {
        let (name, undo) = (self.scenario.step_name(place), self.undo[place].clone());
        let undone = tokio::task::spawn_blocking(move || undo.iter().try_for_each(|command| journal::run(command)));
        undone.await.context("healing has failed")?.with_context(|| format!("healing {name}"))?;
        self.over(place)
    }

    fn over(&mut self, place: usize) -> Result<()> {
        let name = self.scenario.step_name(place);
        if self.scenario.steps[place].fault.is_some() {
            self.record(What::FaultEnded { fault: name.clone() });
            self.journal.write(&Entry::Healed { step: name.clone() })?;
        }
        let begun = self.times(&name).map_or_else(Instant::now, |(begun, _)| begun);
        self.record(What::StepEnded { step: name, problem: None });
        self.states[place] = State::Over { begun, ended: Instant::now() };
        Ok(())
    }

    /// Ends the journal, when nothing is left that outlasts the run; what is.
    pub(super) fn finish(&mut self) -> Result<Option<String>> {
        let is_left = |place: &usize| {
            let outside = self.scenario.steps[*place].fault.as_ref().is_some_and(StepFault::is_outside);
            outside && matches!(self.states[*place], State::InForce(..) | State::InPart(_))
        };
        let left: Vec<String> = (0..self.states.len()).filter(is_left).map(|place| self.scenario.step_name(place)).collect();
        if left.is_empty() {
            self.journal.write(&Entry::Over)?;
            return Ok(None);
        }
        Ok(Some(format!("not healed: {}; `chaos heal` with the folder of this run tries again", left.join(", "))))
    }

    /// Heals all that is in force, whatever fails.
    pub(super) async fn heal_all(&mut self, ground: &mut Option<Ground<'_>>) -> Result<()> {
        let mut first = Ok(());
        for place in 0..self.states.len() {
            let healed = match &self.states[place] {
                State::InForce(..) => self.end(place, ground).await,
                State::InPart(_) => self.end_in_part(place).await,
                State::Waiting(_) | State::Over { .. } => Ok(()),
            };
            first = first.and(healed);
        }
        if let Some(ground) = ground {
            first = first.and(ground.faults.heal_all(ground.cluster).await);
        }
        first
    }

    fn hook(&self, name: &str) -> Result<&Hook> {
        self.scenario.hooks.get(name).with_context(|| format!("there is no [hooks.{name}]"))
    }

    /// Commands that heal a fault when this process is gone.
    fn undo_of(&self, fault: &StepFault, ground: Option<&Ground<'_>>) -> Result<Vec<Vec<String>>> {
        match (fault, ground) {
            (StepFault::Hook { hook }, _) => Ok(self.hook(hook)?.heal.iter().cloned().collect()),
            (StepFault::Scenario(fault), Some(ground)) => fault.as_fault().undo(ground.cluster),
            // They end with the processes of the cluster.
            _ => Ok(Vec::new()),
        }
    }

    fn take_notes(&mut self, step: &str, notes: Vec<String>, broken: Vec<String>) {
        for text in notes {
            println!("{step}: {text}");
            self.record(What::Note { text: format!("{step}: {text}") });
        }
        self.broken.extend(broken.into_iter().map(|text| format!("{step}: {text}")));
    }

    /// Counts shards and alerts for the timeline; what cannot be counted in time is left out.
    async fn sample(&mut self, cluster: &mut Cluster) {
        if self.samples.taken.is_some_and(|taken| taken.elapsed() < SAMPLE_EVERY) {
            return;
        }
        self.samples.taken = Some(Instant::now());
        if let Ok(Ok(shards)) = timeout(SAMPLE_WITHIN, counts(cluster, SHARDS)).await {
            let changed = changes(&self.samples.shards, &shards);
            changed.into_iter().for_each(|(node, shards)| self.record(What::Shards { node, shards }));
            self.samples.shards = shards;
        }
        if let Ok(Ok(alerts)) = timeout(SAMPLE_WITHIN, counts(cluster, ALERTS)).await {
            let changed = changes(&self.samples.alerts, &alerts);
            changed.into_iter().for_each(|(rule, firing)| self.record(What::Alerts { rule, firing }));
            self.samples.alerts = alerts;
        }
    }

    async fn steady(&mut self, over: Duration) -> Window {
        let from = now().timestamp_micros();
        sleep(over).await;
        (from, now().timestamp_micros())
    }
}

/// What is another number than before, and what is gone.
fn changes(before: &BTreeMap<String, u32>, after: &BTreeMap<String, u32>) -> Vec<(String, u32)> {
    let gone = before.keys().filter(|name| !after.contains_key(*name)).map(|name| (name.clone(), 0));
    let other = after.iter().filter(|(name, count)| before.get(*name) != Some(count)).map(|(name, count)| (name.clone(), *count));
    gone.chain(other).collect()
}

/// Runs a command of a hook to its end.
async fn run_hook(hook: &Hook, command: &[String]) -> Result<()> {
    let (program, arguments) = command.split_first().context("it names no program")?;
    let running = Command::new(program).args(arguments).kill_on_drop(true).output();
    let output = timeout(hook.within, running).await.with_context(|| format!("{program} did not end within {:?}", hook.within))?;
    let output = output.with_context(|| format!("cannot start {program}"))?;
    ensure!(output.status.success(), "{program} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

impl Disturbance for Steps<'_> {
    fn has_failing_sinks(&self) -> bool {
        false
    }

    fn before<'a>(&'a mut self, _ground: Ground<'a>) -> BoxFuture<'a, Result<()>> {
        async move {
            if let Some(plan) = &self.scenario.before {
                self.before = Some(self.steady(plan.over).await);
            }
            Ok(())
        }
        .boxed()
    }

    fn disturb<'a>(&'a mut self, ground: Ground<'a>) -> BoxFuture<'a, Result<()>> {
        async move { self.run(&mut Some(ground)).await }.boxed()
    }

    fn heal<'a>(&'a mut self, ground: Ground<'a>) -> BoxFuture<'a, Result<()>> {
        async move { self.heal_all(&mut Some(ground)).await }.boxed()
    }

    fn after<'a>(&'a mut self, ground: Ground<'a>) -> BoxFuture<'a, Result<()>> {
        async move {
            if let Some(plan) = &self.scenario.after {
                self.after = Some(self.steady(plan.over).await);
            }
            if let Some(sabotage) = self.sabotage {
                let what = sabotage.commit(&ground.cluster.psql()).await?;
                println!("sabotage: {what}");
                self.record(What::Note { text: format!("sabotage: {what}") });
            }
            Ok(())
        }
        .boxed()
    }
}

/// Random faults, from which a scenario of steps is made.
pub(super) fn random_steps(scenario: &Scenario, nodes: usize) -> Result<Vec<super::file::StepPlan>> {
    let minutes = scenario.random.context("there are no random faults")?.minutes;
    let steps = crate::soak::seeded(scenario.seed, nodes, Duration::try_from_secs_f64(minutes * 60.0)?);
    Ok(steps
        .into_iter()
        .map(|step| super::file::StepPlan {
            name: None,
            at: Some(step.at),
            after: None,
            after_begin: None,
            when: None,
            delay: Duration::ZERO,
            within: Duration::from_secs(60),
            lasts: Some(step.until.saturating_sub(step.at)),
            fault: Some(StepFault::Cluster(step.fault)),
        })
        .collect())
}

/// Whether sinks are needed, for steps that make them fail.
pub(super) fn need_sinks(scenario: &Scenario) -> bool {
    use super::faults::ScenarioFault;
    scenario.steps.iter().any(|step| matches!(step.fault, Some(StepFault::Scenario(ScenarioFault::NotificationOutage(_)))))
}

/// Whether a stand-in for FCM is needed.
pub(super) fn need_fcm(scenario: &Scenario) -> bool {
    use super::faults::ScenarioFault;
    scenario.steps.iter().any(|step| matches!(step.fault, Some(StepFault::Scenario(ScenarioFault::FcmOutage(_)))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_are_recorded() {
        let map = |pairs: &[(&str, u32)]| pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect::<BTreeMap<_, _>>();
        let changed = changes(&map(&[("a", 1), ("b", 2)]), &map(&[("b", 2), ("c", 3)]));
        assert_eq!(changed, [("a".to_owned(), 0), ("c".to_owned(), 3)]);
    }
}
