//! The services of a running node, over its runtime.

use std::sync::Arc;
use std::time::Duration;

use actors::router::DeviceRouter;
use actors::{ClusterStart, Runtime, Secrets, StartError};
use clock::Clock;
use domain::ServiceError;
use domain::access::{Principal, Role};
use domain::account::{Account, checked_email};
use domain::permits::PoolName;
use permits::Pool;
use secrecy::SecretString;
use store::Store;

use crate::credential_cache::CredentialCache;
use crate::crypto::{Bcrypt, TokenSigner};
use crate::history::HistoryParts;
use crate::metrics::Metrics;
use crate::settings::Settings;
use crate::standing::Standing;
use crate::token_guard::TokenGuard;
use crate::{
    AccessTrail, AccountMail, AccountService, AgentBuildParts, AgentBuildService, AgentService, AlertService, ApiTokenService, ApkService,
    AuditService, AuthService, ClusterService, CommandService, DeploymentService, DeviceService, EnrollmentService, FilterService,
    FlagService, HistoryService, PeopleParts, ReportService, RequestKeys, StorageParts, StorageService, StorageView, TablePools,
};

/// The running system of a node.
pub struct System {
    /// Clock of the node.
    pub clock: Clock,
    /// Sign-in, and who is behind a bearer token.
    pub auth: AuthService,
    /// Accounts and their sign-ins.
    pub accounts: AccountService,
    /// Mail to accounts.
    pub account_mail: AccountMail,
    /// API tokens of scripts.
    pub api_tokens: ApiTokenService,
    /// Enrollment.
    pub enrollment: EnrollmentService,
    /// Devices, for people.
    pub devices: Arc<DeviceService>,
    /// Commands, for people.
    pub commands: Arc<CommandService>,
    /// APKs on their way to devices, for people.
    pub deployments: Arc<DeploymentService>,
    /// Features that are on or off.
    pub flags: FlagService,
    /// APKs and managed packages.
    pub apks: ApkService,
    /// Events of devices, for people.
    pub history: Arc<HistoryService>,
    /// Who was refused what.
    pub trail: Arc<AccessTrail>,
    /// The audit trail.
    pub audit: AuditService,
    /// Builds of the agent, for people and devices.
    pub agent_builds: Arc<AgentBuildService>,
    /// Alerts, for people.
    pub alerts: Arc<AlertService>,
    /// Reports of the fleet.
    pub reports: ReportService,
    /// Filters that people keep.
    pub filters: FilterService,
    /// Sessions and heartbeats of devices.
    pub agent: AgentService,
    /// Storage of history, for people.
    pub storage: Arc<StorageService>,
    /// Nodes and shards, for people.
    pub cluster: Arc<ClusterService>,
    /// Keys by which calls that create something are carried out once.
    pub request_keys: RequestKeys,
    /// Finds device actors.
    pub router: DeviceRouter,
    runtime: Runtime,
}

impl System {
    /// Creates an account, with an address if one is given. If its password was made up here, and it has an address, it is invited to set one of
    /// its own. Answers whether the invitation was sent: if not, somebody has to be told the password.
    ///
    /// # Errors
    /// Forbidden, a value out of its limits, or the name is taken.
    pub async fn add_account(
        &self,
        principal: &Principal,
        username: &str,
        password: &SecretString,
        role: Role,
        email: Option<String>,
        made_up: bool,
    ) -> Result<(Account, bool), ServiceError> {
        // An account that is made stays, so what can be refused comes first.
        let email = email.as_deref().map(checked_email).transpose()?.flatten();
        let account = self.accounts.add(principal, username, password, role).await?;
        let Some(email) = email else { return Ok((account, false)) };
        let account = self.accounts.set_email(principal, account.id, &email).await?;
        let invited = made_up && self.account_mail.is_on() && self.account_mail.invite(principal, account.id).await.is_ok();
        Ok((account, invited))
    }

    /// Starts the runtime over a migrated database, and the services over it.
    ///
    /// # Errors
    /// The database is unavailable, the node cannot join its cluster, or an actor did not start.
    pub async fn start(
        store: Store,
        settings: Settings,
        secrets: Secrets,
        cluster: ClusterStart,
        metrics: Metrics,
        clock: Clock,
    ) -> Result<Arc<Self>, StartError> {
        let Secrets { master_key, jwt_key } = secrets;
        let credentials = Arc::new(CredentialCache::new(settings.auth.session_cache_ttl));
        let cache = Arc::clone(&credentials);
        let forget_people = Box::new(move || cache.forget());
        let runtime = Runtime::start(store, &settings.runtime, master_key, cluster, forget_people, metrics.actors.clone(), clock).await?;
        Ok(Arc::new(assemble(runtime, credentials, TokenSigner::new(&jwt_key), settings, metrics)))
    }

    /// The database.
    pub fn store(&self) -> &Store {
        &self.runtime.store
    }

    /// Hands the shards over: from now on other nodes own the devices, and this one only passes
    /// on what still comes in. Answers whether it was done within `patience`.
    pub async fn hand_over(&self, patience: Duration) -> bool {
        self.storage.stop();
        self.runtime.hand_over(patience).await
    }

    /// Stops the actors and flushes the writers. Call it once intake is closed;
    /// what was accepted is finished. Answers whether all of it was within `patience`.
    pub async fn stop(&self, patience: Duration) -> bool {
        self.storage.stop();
        self.runtime.stop(patience).await
    }
}

/// Puts the system together.
fn assemble(runtime: Runtime, credentials: Arc<CredentialCache>, signer: TokenSigner, settings: Settings, metrics: Metrics) -> System {
    let Runtime { clock, store, view, router, .. } = &runtime;
    let Settings { runtime: limits, auth, enrollment, kit, commands, tables, reads } = settings;
    // Permits of their own, so that a flood of sign-ins does not hold up devices.
    let pools = &metrics.actors.pools;
    let bcrypt_of_people = Bcrypt::new(Pool::new(PoolName::Passwords, auth.bcrypt, pools), auth.bcrypt_wait);
    let bcrypt = Bcrypt::new(Pool::new(PoolName::DeviceTokens, auth.device_bcrypt, pools), auth.bcrypt_wait);
    let standing = Standing::new(clock.clone(), store.clone(), Arc::clone(&credentials), Arc::clone(&runtime.ownership));
    let tables = TablePools::new(tables, reads, standing.clone(), pools);
    let signer = Arc::new(signer);
    let tokens = TokenGuard::new(clock.clone(), &auth);
    let trail = Arc::new(AccessTrail::new(clock.clone(), store.clone(), auth.refusals_audited_per_minute, metrics.clone()));
    let people = PeopleParts {
        clock: clock.clone(),
        store: store.clone(),
        signer: Arc::clone(&signer),
        bcrypt: bcrypt_of_people,
        settings: auth.clone(),
        credentials,
        tokens: tokens.clone(),
        trail: Arc::clone(&trail),
        standing: standing.clone(),
        notifier: Some(runtime.notifier.clone()),
        metrics: metrics.clone(),
    }
    .services();
    let command_service = Arc::new(CommandService::new(
        clock.clone(),
        store.clone(),
        router.clone(),
        Arc::clone(view),
        limits.device,
        runtime.commands.clone(),
        commands,
        tables.clone(),
    ));
    let agent_builds = Arc::new(AgentBuildService::new(AgentBuildParts {
        clock: clock.clone(),
        store: store.clone(),
        router: router.clone(),
        view: Arc::clone(view),
        commands: Arc::clone(&command_service),
        offers: Arc::clone(&runtime.offers),
        counters: Arc::clone(&runtime.check_counters),
        library: Arc::clone(&runtime.library),
        settings: limits.agent_updates.clone(),
        metrics: metrics.clone(),
    }));
    let cluster = Arc::new(ClusterService::new(
        clock.clone(),
        store.clone(),
        runtime.cluster_view.clone(),
        Arc::clone(&runtime.links),
        Arc::clone(&runtime.ownership),
        runtime.name.clone(),
    ));
    System {
        trail,
        clock: clock.clone(),
        auth: people.auth,
        accounts: people.accounts,
        api_tokens: people.api_tokens,
        account_mail: people.account_mail,
        agent_builds,
        enrollment: EnrollmentService::new(
            clock.clone(),
            store.clone(),
            router.clone(),
            Arc::clone(view),
            bcrypt.clone(),
            Arc::clone(&runtime.master_key),
            &auth,
            enrollment,
            kit,
            metrics.clone(),
        ),
        devices: Arc::new(DeviceService::new(
            clock.clone(),
            store.clone(),
            router.clone(),
            Arc::clone(view),
            limits.device,
            limits.history.restore_within,
            tables.clone(),
        )),
        commands: command_service,
        deployments: Arc::new(DeploymentService::new(
            clock.clone(),
            store.clone(),
            router.clone(),
            Arc::clone(view),
            limits.device,
            limits.deployments,
            tables.clone(),
        )),
        flags: FlagService::new(clock.clone(), store.clone()),
        apks: ApkService::new(clock.clone(), store.clone(), Arc::clone(&runtime.library)),
        history: Arc::new(HistoryService::new(HistoryParts {
            clock: clock.clone(),
            store: store.clone(),
            view: Arc::clone(view),
            policy: limits.device,
            tables: tables.clone(),
            archives: runtime.archives.clone(),
            hours_kept: limits.history.hours_kept,
        })),
        alerts: Arc::new(AlertService::new(
            clock.clone(),
            store.clone(),
            Arc::clone(view),
            tables.clone(),
            Arc::clone(&runtime.alerts),
            runtime.notifier.clone(),
        )),
        reports: ReportService::new(clock.clone(), store.clone(), tables.clone(), limits.reports.groups_max),
        audit: AuditService::new(clock.clone(), store.clone(), tables.clone(), runtime.archives.clone()),
        filters: FilterService::new(clock.clone(), store.clone()),
        storage: Arc::new(StorageService::new(StorageParts {
            clock: clock.clone(),
            store: store.clone(),
            partitions: Arc::clone(&runtime.partitions),
            cluster: Arc::clone(&cluster),
            tables,
            view: StorageView {
                kept_days: limits.partition.kept_days,
                archive_url: runtime.archives.url().to_owned(),
                interval: limits.partition_interval,
                backup_every: limits.backup.every.filter(|_| limits.backup.directory.is_some()),
            },
        })),
        cluster,
        agent: AgentService::new(
            clock.clone(),
            store.clone(),
            router.clone(),
            runtime.commands.clone(),
            runtime.task_reports.clone(),
            Arc::clone(&runtime.sockets),
            Arc::clone(&runtime.membership),
            signer,
            bcrypt,
            auth,
            limits.heartbeat,
            tokens,
            metrics,
        ),
        request_keys: RequestKeys::new(clock.clone(), store.clone(), &runtime.master_key),
        router: router.clone(),
        runtime,
    }
}
