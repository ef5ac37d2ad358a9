//! Shared by the end-to-end tests: real nodes, access to their databases, simulated devices.

pub(crate) mod apks;
pub(crate) mod deployments;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use chaos::client::{Client, EnrolledDevice};
use chaos::harness::{ClusterOptions, Node, NodeOptions, TempDir, find_postmaster};
use chaos::http::HttpLimits;
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use wire::agent::{Battery, Heartbeat};
use wire::lenient::Int;

/// How long anything may take that has to come true.
pub(crate) const DEADLINE: Duration = Duration::from_secs(40);

/// Password of the accounts that [`Bench::add_user`] makes.
pub(crate) const PASSWORD: &str = "a long password";

/// The binary under test, with settings that make tests quick.
pub(crate) fn options() -> NodeOptions {
    NodeOptions::new(env!("CARGO_BIN_EXE_nexmdm"))
        .env("NEXMDM__AUTH__PASSWORD_BCRYPT_COST", "4")
        .env("NEXMDM__AUTH__DEVICE_TOKEN_BCRYPT_COST", "4")
        .env("NEXMDM__DATABASE__SHARED_BUFFERS_MB", "32")
}

/// A cluster of nodes with the same settings.
pub(crate) fn cluster_options(nodes: usize) -> ClusterOptions {
    let options = options();
    options.env.into_iter().fold(ClusterOptions::new(options.binary, nodes), |cluster, (name, value)| cluster.env(&name, value))
}

/// A node with a database of its own, a client of it, and an admin's access token.
pub(crate) struct Bench {
    pub(crate) node: Node,
    pub(crate) client: Client,
    pub(crate) admin: String,
}

impl Bench {
    pub(crate) async fn start() -> Self {
        Self::with(options()).await
    }

    pub(crate) async fn with(options: NodeOptions) -> Self {
        let node = Node::start(options).await.unwrap();
        // What waits for a busy machine is not late.
        let client = Client::with_limits(&node.url(), HttpLimits { timeout: DEADLINE, ..HttpLimits::default() }).unwrap();
        let admin = client.access_token("admin", node.admin_password()).await.unwrap();
        Self { node, client, admin }
    }

    pub(crate) async fn enroll(&self, alias: &str) -> EnrolledDevice {
        self.client.enroll(&self.admin, alias).await.unwrap()
    }

    /// Makes an account with [`PASSWORD`].
    pub(crate) fn add_user(&self, name: &str, role: &str) {
        let arguments = ["user", "add", name, "--role", role, "--password-stdin"];
        let (ok, out, err) = nexmdm(&self.node, &arguments, &format!("{PASSWORD}\n"));
        assert!(ok, "{out}{err}");
    }

    /// Output of `psql`, unaligned, one row a line.
    pub(crate) fn sql(&self, statement: &str) -> String {
        self.sql_in("nexmdm", statement)
    }

    /// The same in another database of its server.
    pub(crate) fn sql_in(&self, database: &str, statement: &str) -> String {
        let postmaster = find_postmaster(self.node.data_dir()).expect("a private PostgreSQL");
        psql(&["-h", postmaster.socket_dir.unwrap().to_str().unwrap(), "-U", "nexmdm", database], statement)
    }

    /// A store of its own for the database of the node.
    pub(crate) fn store(&self) -> store::Store {
        let postmaster = find_postmaster(self.node.data_dir()).expect("a private PostgreSQL");
        let url = format!("postgres://nexmdm@localhost/nexmdm?host={}", postmaster.socket_dir.unwrap().display());
        let options = store::PoolOptions {
            max_connections: 2,
            acquire_timeout: DEADLINE,
            statement_timeout: DEADLINE,
            answer_grace: Duration::from_secs(2),
        };
        store::Store::new(&url, options).unwrap()
    }

    /// A transaction in which these statements ran, open until it is dropped.
    pub(crate) fn hold(&self, statements: &str) -> HeldTransaction {
        let postmaster = find_postmaster(self.node.data_dir()).expect("a private PostgreSQL");
        hold(&["-h", postmaster.socket_dir.unwrap().to_str().unwrap(), "-U", "nexmdm", "nexmdm"], statements)
    }

    /// The value of a metric line that begins with `name`.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let answer = self.client.get("/metrics", None).await.unwrap();
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.rsplit(' ').next()).map_or(0.0, |value| value.parse().unwrap())
    }
}

/// A transaction of somebody else; rolled back when dropped.
pub(crate) struct HeldTransaction(Child);

impl Drop for HeldTransaction {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// A transaction in which these statements ran, in the database that `target` names, open until it is dropped.
pub(crate) fn hold(target: &[&str], statements: &str) -> HeldTransaction {
    use std::io::Write;
    let mut child = Command::new("psql")
        .args(["-XAtq", "-v", "ON_ERROR_STOP=1"])
        .args(target)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(child.stdin.as_mut().unwrap(), "BEGIN; {statements};\n\\echo held").unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line == "held"), "{statements}");
    HeldTransaction(child)
}

pub(crate) fn psql(target: &[&str], statement: &str) -> String {
    let out = Command::new("psql").args(["-XAtq", "-v", "ON_ERROR_STOP=1"]).args(target).args(["-c", statement]).output().unwrap();
    assert!(out.status.success(), "{statement}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

/// Now, `seconds` away.
pub(crate) fn clock(seconds: i64) -> DateTime<Utc> {
    #[allow(clippy::disallowed_methods, reason = "tests play the device, which has a clock of its own")]
    let now = Utc::now();
    now + chrono::TimeDelta::seconds(seconds)
}

/// A heartbeat of a device whose clock shows now plus `seconds`.
pub(crate) fn heartbeat(seconds: i64, battery_pct: i64) -> Heartbeat {
    heartbeat_at(clock(seconds), battery_pct)
}

pub(crate) fn heartbeat_at(at: DateTime<Utc>, battery_pct: i64) -> Heartbeat {
    Heartbeat {
        timestamp_utc: Some(at.to_rfc3339_opts(SecondsFormat::Millis, true)),
        battery: Some(Battery { pct: Some(Int(battery_pct)), charging: Some(false), temperature_c: None }),
        ..Heartbeat::default()
    }
}

/// Makes an API token; the answer, with the token.
pub(crate) async fn api_token(client: &Client, bearer: &str, scopes: &[&str]) -> Value {
    let answer = client.post("/v1/api-tokens", Some(bearer), &json!({"name": "ci", "scopes": scopes})).await.unwrap();
    assert_eq!(answer.status, 201, "{}", answer.detail());
    answer.json()
}

/// A key of 32 bytes that looks random, as hex; another for each number.
pub(crate) fn hex_key(number: u8) -> String {
    use sha2::Digest;
    hex::encode(sha2::Sha256::digest([number]))
}

/// Waits until `look` finds something.
pub(crate) async fn eventually<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    within(DEADLINE, what, look).await
}

/// Waits until `look` finds something, for things that take longer by their nature.
pub(crate) async fn within<T>(deadline: Duration, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let until = Instant::now() + deadline;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < until, "not within {deadline:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A PostgreSQL of its own process, which can be stopped and started under a running node.
pub(crate) struct Database {
    folder: TempDir,
    child: Option<Child>,
    pub(crate) url: String,
}

impl Database {
    pub(crate) fn start() -> Self {
        let mut database = Self { folder: TempDir::new("database").unwrap(), child: None, url: String::new() };
        database.resume();
        database
    }

    pub(crate) fn resume(&mut self) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_nexmdm"))
            .args(["database", "--create"])
            .env("NEXMDM__DATA_DIR", self.folder.path())
            .env("NEXMDM__DATABASE__SHARED_BUFFERS_MB", "32")
            .env_remove("DATABASE_URL")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        self.url = line.trim().to_owned();
        assert!(self.url.starts_with("postgres://"), "{line}");
        self.child = Some(child);
    }

    /// Stops the server as an operator would; connections are cut.
    pub(crate) fn stop(&mut self) {
        let mut child = self.child.take().unwrap();
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert!(child.wait().unwrap().success());
    }

    pub(crate) fn sql(&self, statement: &str) -> String {
        psql(&[&self.url], statement)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.stop();
        }
    }
}

/// Runs `nexmdm` with these arguments against the data of a node.
pub(crate) fn nexmdm(node: &Node, arguments: &[&str], stdin: &str) -> (bool, String, String) {
    use std::io::Write;
    let mut child = Command::new(env!("CARGO_BIN_EXE_nexmdm"))
        .args(arguments)
        .env("NEXMDM__DATA_DIR", node.data_dir())
        .env("NEXMDM__AUTH__PASSWORD_BCRYPT_COST", "4")
        .env("NEXMDM__LOG__FILTER", "warn")
        .env_remove("DATABASE_URL")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    (out.status.success(), String::from_utf8(out.stdout).unwrap(), String::from_utf8(out.stderr).unwrap())
}

/// A TLS client that shows `certificate` and trusts the authority of `cluster_key`.
pub(crate) fn tls_client(certificate: &link::tls::NodeCertificate, cluster_key: &str) -> tokio_rustls::TlsConnector {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use secrecy::ExposeSecret;
    let secret = secrecy::SecretBox::new(Box::new(hex::decode(cluster_key).unwrap()));
    let authority = link::tls::NodeCertificate::issue(&secret, "nexmdm", "x").unwrap().ca_pem;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(certificate.certificate_pem.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(certificate.key_pem.expose_secret().as_bytes()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .unwrap();
    std::sync::Arc::new(config).into()
}

/// Start arguments of a cluster of one within the test's own process.
pub(crate) async fn cluster_start(store: store::Store, key_fingerprint: Vec<u8>) -> actors::ClusterStart {
    use link::tls::{LinkTls, NodeCertificate};
    let ms = Duration::from_millis;
    let secret = secrecy::SecretBox::new(Box::new(vec![7; 32]));
    let certificate = NodeCertificate::issue(&secret, "nexmdm", "within").unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    actors::ClusterStart {
        options: actors::placement::ClusterOptions {
            cluster: "nexmdm".into(),
            node: "within".into(),
            cluster_addr: listener.local_addr().unwrap().to_string(),
            http_url: "http://127.0.0.1:1".into(),
            version: "test".into(),
            lock_identity: format!("test-{}", std::process::id()),
            key_fingerprint,
            master_digest: vec![7; 32],
            lease_ttl: ms(5000),
            renew_interval: ms(1000),
            fence_after: ms(3500),
            steady_after: ms(3000),
            protocol_max: link::protocol::PROTOCOL_MAX,
        },
        link: link::LinkSettings {
            handshakes: domain::permits::PoolLimits::of_capacity(64),
            handshake_timeout: ms(2000),
            idle_after: ms(2000),
            ping_interval: ms(400),
            taken_timeout: ms(300),
            commit_timeout: DEADLINE,
            calls_max: 1000,
            bytes_max: 8 << 20,
            queue_max: 1000,
            batch_max: 100,
            taken_max: 1000,
            redial: (ms(200), ms(5000)),
            addresses: vec![],
            protocol_max: link::protocol::PROTOCOL_MAX,
        },
        network: actors::NetworkStart::Tls { listener, tls: LinkTls::new("nexmdm", &certificate).unwrap() },
        store,
        feed_interval: ms(500),
        owner_wait: ms(300),
    }
}

/// Settings for a system that a test starts within its own process.
pub(crate) fn settings() -> services::settings::Settings {
    use actors::settings::HeartbeatSettings;
    use services::settings::{AuthSettings, EnrollmentSettings, Settings};
    let failures = domain::throttle::FailureLimit { burst: 10, forgiven_per_minute: 6 };
    Settings {
        runtime: actors::settings::Settings {
            heartbeat: HeartbeatSettings {
                interval_s: 300,
                in_flight_max: 1000,
                writers: 2,
                writer_queue_max: 1000,
                batch_rows_max: 100,
                linger: Duration::from_millis(1),
                commit_timeout: DEADLINE,
                retry_after_s: 1,
            },
            device: domain::device::DevicePolicy {
                offline_after: chrono::TimeDelta::minutes(12),
                low_battery_pct: 15,
                app_stale_after_s: 600,
                ghost_after: chrono::TimeDelta::hours(24),
                events_per_hour: 60,
            },
            reconcile: actors::settings::ReconcileSettings {
                run_timeout: Duration::from_secs(60),
                backoff_max: Duration::from_secs(60),
                batch_rows: 5_000,
            },
            history: actors::settings::HistorySettings {
                restore_within: chrono::TimeDelta::days(7),
                events_kept: chrono::TimeDelta::days(90),
                hours_kept: chrono::TimeDelta::days(92),
                commands_kept: chrono::TimeDelta::days(90),
                idempotency_keys_kept: chrono::TimeDelta::hours(48),
                audit_kept: chrono::TimeDelta::days(365),
                enroll_tokens_kept: chrono::TimeDelta::days(90),
                interval: Duration::from_secs(60),
            },
            reports: actors::settings::ReportSettings {
                kept: chrono::TimeDelta::days(400),
                backfill: chrono::TimeDelta::days(35),
                groups_max: 500,
            },
            partition_interval: Duration::from_secs(3600),
            reconciliation: actors::settings::ReconciliationSettings::default(),
            partition: domain::partition::PartitionSettings { kept_days: 90, restored_kept_days: 7 },
            pace: domain::pace::Pace::default(),
            archive: archive::ArchiveSettings::in_folder(&std::env::temp_dir().join(format!("nexmdm-archive-{}", std::process::id()))),
            clock_offset_max: chrono::TimeDelta::seconds(2),
            fcm: None,
            unified_push: None,
            notify: notify::NotifySettings::default(),
            agent_updates: actors::settings::AgentUpdateSettings::default(),
            alerts: actors::settings::AlertSettings::default(),
            apks: apk::ApkSettings::in_folder(&std::env::temp_dir().join(format!("nexmdm-apks-{}", std::process::id()))),
            storage_disk: actors::settings::StorageDisk::default(),
            backup: actors::settings::BackupSettings::default(),
            legacy_push: true,
            dispatch: domain::command::DispatchPolicy {
                socket_wait: chrono::TimeDelta::seconds(5),
                push_wait: chrono::TimeDelta::seconds(30),
                heartbeat_wait: chrono::TimeDelta::seconds(30),
                pushes_max: 3,
            },
            sign_in_failures: actors::settings::FailuresKept { age: chrono::TimeDelta::days(1), names_max: 1000 },
            deployments: actors::deployment::DeploymentSettings {
                accept_within: chrono::TimeDelta::seconds(120),
                silent_within: chrono::TimeDelta::seconds(1800),
                confirm_within: chrono::TimeDelta::seconds(900),
                devices_max: 10_000,
                open_max: 100,
                starts_per_second: 500,
                reconcile_interval: Duration::from_millis(500),
                kept: chrono::TimeDelta::days(365),
            },
        },
        auth: AuthSettings {
            password_bcrypt_cost: 4,
            device_token_bcrypt_cost: 4,
            bcrypt: domain::permits::PoolLimits { waiting: 100, ..domain::permits::PoolLimits::of_capacity(2) },
            device_bcrypt: domain::permits::PoolLimits { waiting: 100, ..domain::permits::PoolLimits::of_capacity(2) },
            known_address_kept: chrono::TimeDelta::days(30),
            stranger_delay_ms: 500,
            stranger_delay_max_ms: 8000,
            bcrypt_wait: DEADLINE,
            access_token_ttl: Duration::from_secs(900),
            session_ttl: Duration::from_secs(3600),
            session_cache_ttl: Duration::from_secs(5),
            agent_session_ttl: Duration::from_secs(3600),
            device_token_cache_max: 1000,
            failures,
            token_failures: failures,
            refusals_audited_per_minute: 60,
            failure_keys_max: 1000,
            lockout: domain::lockout::LockoutPolicy { after: 6, base_s: 15, max_s: 900, forget_after_s: 86_400 },
            lockout_names_max: 1000,
            sessions_per_user_max: 100,
            api_token_lifetime: domain::enrollment::LifetimeLimits { default_s: 3600, max_s: 86_400 },
            api_tokens_per_user_max: 50,
        },
        enrollment: EnrollmentSettings {
            lifetime: domain::enrollment::LifetimeLimits { default_s: 3600, max_s: 86_400 },
            retry_window: chrono::TimeDelta::seconds(600),
            retries_max: 20,
            failures,
        },
        kit: enrollment_kit::KitSettings::default(),
        tables: services::TableSettings {
            limits: domain::permits::PoolLimits::of_capacity(8),
            minimum_rate: domain::transfer::MinimumRate { bytes_per_second: 4096, patience: Duration::from_secs(30) },
        },
        reads: services::ReadSettings {
            limits: domain::permits::PoolLimits { waiting: 100, ..domain::permits::PoolLimits::of_capacity(4) },
            patience: DEADLINE,
        },
        commands: services::settings::CommandSettings {
            expires_default_s: 3600,
            expires_max_s: 86_400,
            batch_rate_default: 500,
            batch_rate_max: 5000,
            open_per_device_max: 50,
            params_max_bytes: 2048,
        },
    }
}
