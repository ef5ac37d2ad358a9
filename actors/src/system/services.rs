//! The services of a running system, over its runtime.

use std::sync::Arc;

use ractor::ActorRef;
use secrecy::SecretBox;
use tokio::sync::Mutex;

use super::periodic::AgentBuilds;
use super::runtime::{Core, Members, Writers};
use super::{Running, System};
use crate::crypto::{Bcrypt, TokenSigner};
use crate::deployment::ManagerMsg;
use crate::services::credential_cache::CredentialCache;
use crate::services::{
    AgentBuildParts, AgentBuildService, AgentService, ApkService, AuditService, ClusterService, CommandService, DeploymentService,
    DeviceService, EnrollmentService, FilterService, FlagService, HistoryService, People, PeopleParts,
};
use crate::settings::Settings;
use apk::ApkLibrary;

/// Puts the system together.
#[allow(clippy::too_many_arguments, reason = "each is a subsystem that was started before")]
pub(super) fn assemble(
    core: Core,
    writers: Writers,
    members: Members,
    deployments: ActorRef<ManagerMsg>,
    library: Arc<ApkLibrary>,
    credentials: Arc<CredentialCache>,
    agent_builds: AgentBuilds,
    jwt_key: &SecretBox<Vec<u8>>,
    settings: Settings,
) -> Arc<System> {
    let Core { store, metrics, master_key, view, ownership, sockets, reconcilers, tasks, stopping } = core;
    let Members { name, membership, placement, links, router, view: cluster_view, leaving, .. } = members;
    let Writers { commands: command_writer, task_reports, tasks: writers, closing: writers_closing, .. } = writers;
    // Permits of their own, so that a flood of sign-ins does not hold up devices.
    let bcrypt_of_people = Bcrypt::new(settings.auth.bcrypt_concurrency, settings.auth.bcrypt_wait);
    let bcrypt = Bcrypt::new(settings.auth.bcrypt_concurrency, settings.auth.bcrypt_wait);
    let signer = Arc::new(TokenSigner::new(jwt_key));
    let People { auth, accounts, api_tokens } = PeopleParts {
        store: store.clone(),
        signer: Arc::clone(&signer),
        bcrypt: bcrypt_of_people,
        settings: settings.auth.clone(),
        credentials,
        metrics: metrics.clone(),
    }
    .services();
    let commands = Arc::new(CommandService::new(
        store.clone(),
        router.clone(),
        Arc::clone(&view),
        settings.device,
        command_writer.clone(),
        settings.commands,
        settings.export_stall_timeout,
    ));
    let agent_builds = Arc::new(AgentBuildService::new(AgentBuildParts {
        store: store.clone(),
        router: router.clone(),
        view: Arc::clone(&view),
        commands: Arc::clone(&commands),
        offers: agent_builds.offers,
        counters: agent_builds.counters,
        library: Arc::clone(&library),
        settings: settings.agent_updates,
        metrics: metrics.clone(),
    }));
    Arc::new(System {
        auth,
        accounts,
        api_tokens,
        agent_builds,
        enrollment: EnrollmentService::new(
            store.clone(),
            router.clone(),
            Arc::clone(&view),
            bcrypt.clone(),
            master_key,
            &settings.auth,
            settings.enrollment,
            settings.kit,
            metrics.clone(),
        ),
        devices: Arc::new(DeviceService::new(
            store.clone(),
            router.clone(),
            Arc::clone(&view),
            settings.device,
            settings.history.restore_within,
            settings.export_stall_timeout,
        )),
        commands,
        deployments: Arc::new(DeploymentService::new(
            store.clone(),
            router.clone(),
            Arc::clone(&view),
            settings.device,
            settings.deployments,
            settings.export_stall_timeout,
        )),
        flags: FlagService::new(store.clone()),
        apks: ApkService::new(store.clone(), library),
        history: HistoryService::new(store.clone(), view, settings.device),
        audit: AuditService::new(store.clone(), settings.export_stall_timeout),
        filters: FilterService::new(store.clone()),
        cluster: ClusterService::new(store.clone(), cluster_view, Arc::clone(&links), ownership, name),
        agent: AgentService::new(
            store.clone(),
            router.clone(),
            command_writer,
            task_reports,
            sockets,
            Arc::clone(&membership),
            signer,
            bcrypt,
            settings.auth,
            settings.heartbeat,
            metrics,
        ),
        router,
        store,
        running: Mutex::new(Running {
            placement: Some(placement),
            reconcilers,
            deployments: Some(deployments),
            membership,
            links,
            writers_closing,
            writers,
            tasks,
            leaving,
            stopping,
        }),
    })
}
