//! Command queues: a reconciler that compares the open commands of this node's devices with what their actors hold.
//!
//! What an actor lacks it is given, and what is over it forgets. Commands of the last minute count as on their way.

use std::collections::HashMap;

use chrono::TimeDelta;
use domain::reconciliation::{Check, Drift, DriftKind, FieldDrift, ReconciliationRun};
use domain::shard::ShardId;
use domain::{CommandId, DeviceId, ServiceError, Timestamp};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use link::messages::PendingCommand;
use ractor::ActorRef;
use store::OpenCommandScope;
use tokio::time::Instant;

use crate::device::DeviceMsg;
use crate::ownership::Ownership;
use crate::reconcile::{Reconcile, Reconciler, Run};
use crate::reconciliation::{ReconciliationSettings, Records};
use crate::rpc::call;
use crate::shard::Directory;

/// Commands that one statement reads.
const COMMANDS_MAX: i64 = 2_000;
/// Devices that are asked at a time.
const ASKED_AT_ONCE: usize = 200;
/// How long a command may be on its way between its row and its actor.
const ON_ITS_WAY: TimeDelta = TimeDelta::seconds(60);

/// The reconciler of every node, for the shards that it owns.
pub(super) fn reconciler(
    records: Records,
    node: String,
    ownership: std::sync::Arc<Ownership>,
    directory: Directory,
    settings: ReconciliationSettings,
) -> Reconciler {
    let interval = settings.interval;
    Reconciler::per_node("command_queues", interval, CommandQueues { records, node, ownership, directory, settings })
}

struct CommandQueues {
    records: Records,
    node: String,
    ownership: std::sync::Arc<Ownership>,
    directory: Directory,
    settings: ReconciliationSettings,
}

impl Reconcile for CommandQueues {
    fn reconcile<'a>(&'a mut self, run: &'a Run) -> BoxFuture<'a, Result<u64, ServiceError>> {
        async {
            let mine: Vec<ShardId> = ShardId::all().filter(|shard| self.ownership.acting(*shard).is_some()).collect();
            if mine.is_empty() {
                return Ok(0);
            }
            let began = self.records.clock.now();
            let mut record = ReconciliationRun::new(Check::Commands, &self.node, began);
            let outcome = self.compare(&mine, run.now - ON_ITS_WAY, run.now, &mut record).await;
            record.complete = outcome.is_ok();
            let healed = record.healed;
            let kept = self.records.keep(record, began).await;
            outcome?;
            kept?;
            Ok(healed)
        }
        .boxed()
    }
}

/// An open command as it is compared.
struct Stored {
    command: PendingCommand,
    /// Whether its actor should have it by now.
    settled: bool,
}

impl CommandQueues {
    async fn compare(
        &self,
        mine: &[ShardId],
        settled_before: Timestamp,
        now: Timestamp,
        record: &mut ReconciliationRun,
    ) -> Result<(), ServiceError> {
        let mut open = self.read(mine, settled_before, now).await?;
        let devices: Vec<(DeviceId, ActorRef<DeviceMsg>)> =
            self.directory.iter().map(|entry| (*entry.key(), entry.value().clone())).collect();
        for asked in devices.chunks(ASKED_AT_ONCE) {
            let asked_at = Instant::now();
            let answers = asked.iter().map(|(id, actor)| {
                let stored = open.remove(id).unwrap_or_default();
                async move { (*id, actor, compare_one(actor, stored).await) }
            });
            // A device that stops meanwhile is compared by its next owner.
            let answers: Vec<_> = join_all(answers).await.into_iter().filter_map(|(id, actor, found)| Some((id, actor, found?))).collect();
            record.checked += answers.iter().map(|(_, _, found)| found.compared).sum::<u64>();
            for (device, _, found) in &answers {
                // The actor took what it lacked before it answered.
                found.missing.iter().for_each(|command| record.note(drift(DriftKind::CommandMissing, *command, *device, true)));
            }
            let extra: Vec<CommandId> = answers.iter().flat_map(|(_, _, found)| found.extra.iter().copied()).collect();
            if !extra.is_empty() {
                let over = self.records.store.commands_over(&extra, settled_before).await?;
                for (device, actor, found) in answers {
                    let over: Vec<_> = found.extra.into_iter().filter(|command| over.contains(command)).collect();
                    record.checked += over.len() as u64;
                    forget(actor, device, over).into_iter().for_each(|drift| record.note(drift));
                }
            }
            self.records.pacer.rest_at_least(self.settings.pause, asked_at.elapsed(), asked.len() as u64).await;
        }
        Ok(())
    }

    /// The open commands of these shards, by device.
    async fn read(
        &self,
        mine: &[ShardId],
        settled_before: Timestamp,
        now: Timestamp,
    ) -> Result<HashMap<DeviceId, Vec<Stored>>, ServiceError> {
        let (mut open, mut after) = (HashMap::<DeviceId, Vec<Stored>>::new(), None);
        loop {
            let read = self.records.store.open_commands(mine, OpenCommandScope::Shards, after, COMMANDS_MAX).await?;
            let whole = (read.len() as i64) < COMMANDS_MAX;
            after = read.last().map(|last| last.id);
            for command in read {
                let settled = command.created_at < settled_before && command.expires_at > now;
                open.entry(command.device_id).or_default().push(Stored { settled, command: command.into() });
            }
            if whole {
                return Ok(open);
            }
            tokio::time::sleep(self.settings.pause).await;
        }
    }
}

/// What one device's queue was found to be.
struct Found {
    compared: u64,
    missing: Vec<CommandId>,
    /// Held, and not among the open ones that were read.
    extra: Vec<CommandId>,
}

async fn compare_one(actor: &ActorRef<DeviceMsg>, stored: Vec<Stored>) -> Option<Found> {
    let ids: Vec<CommandId> = stored.iter().map(|stored| stored.command.id).collect();
    let settled: Vec<PendingCommand> = stored.into_iter().filter(|stored| stored.settled).map(|stored| stored.command).collect();
    let compared = settled.len() as u64;
    let (missing, held) = call(actor, |reply| DeviceMsg::CompareCommands(settled, reply)).await.ok()?;
    let extra = held.into_iter().filter(|id| !ids.contains(id)).collect();
    Some(Found { compared, missing, extra })
}

/// Has an actor forget commands that are over. What differed: mended, unless the actor has stopped meanwhile.
fn forget(actor: &ActorRef<DeviceMsg>, device: DeviceId, over: Vec<CommandId>) -> Vec<Drift> {
    if over.is_empty() {
        return Vec::new();
    }
    let told = actor.cast(DeviceMsg::CommandsOver(over.clone())).is_ok();
    over.into_iter().map(|command| drift(DriftKind::CommandExtra, command, device, told)).collect()
}

fn drift(kind: DriftKind, command: CommandId, device: DeviceId, healed: bool) -> Drift {
    let (held, open) = match kind {
        DriftKind::CommandMissing => ("not held", "open"),
        _ => ("held", "over"),
    };
    let fields = vec![
        FieldDrift::new("command", Some(held.to_owned()), Some(open.to_owned())),
        FieldDrift::new("device", Some(device.to_string()), Some(device.to_string())),
    ];
    Drift { kind, subject: command.to_string(), fields, healed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ractor::{Actor, ActorProcessingErr};

    struct Forgetful;

    impl Actor for Forgetful {
        type Msg = DeviceMsg;
        type State = ();
        type Arguments = ();

        async fn pre_start(&self, _: ActorRef<DeviceMsg>, (): ()) -> Result<(), ActorProcessingErr> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn what_an_actor_that_stopped_held_is_not_mended() {
        let (actor, stopped) = Actor::spawn(None, Forgetful, ()).await.unwrap();
        let (device, command) = (DeviceId(uuid::Uuid::from_u128(1)), CommandId(uuid::Uuid::from_u128(2)));
        let healed = |actor| forget(actor, device, vec![command]).iter().map(|drift| drift.healed).collect::<Vec<_>>();
        assert_eq!(healed(&actor), [true]);
        assert!(forget(&actor, device, vec![]).is_empty());
        actor.stop(None);
        stopped.await.unwrap();
        assert_eq!(healed(&actor), [false]);
    }
}
