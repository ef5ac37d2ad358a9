//! This node's part in its cluster: lock, certificate, port and limits.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use actors::placement::ClusterOptions;
use actors::{ClusterStart, NetworkStart, Secrets};
use anyhow::{Context, bail};
use domain::access::Principal;
use link::LinkSettings;
use link::tls::{LinkTls, NodeCertificate};
use rustix::fs::{FlockOperation, flock};
use secrecy::{ExposeSecret, SecretBox};
use store::{Rekeyed, Store};
use tokio::net::TcpListener;

use crate::config::Config;
use crate::database::{Database, none_here};
use crate::secrets;

/// The lock on a data folder: one node at a time. The kernel lets go of it when the process ends,
/// so whoever holds it knows that the last holder is dead.
pub(crate) struct NodeLock {
    // Held for as long as it is open.
    _file: fs::File,
    /// Names the locked file on this machine, and this machine since it was booted.
    identity: String,
}

impl NodeLock {
    /// Takes the lock.
    ///
    /// # Errors
    /// Another node uses the data folder.
    pub(crate) fn take(data_dir: &Path) -> anyhow::Result<Self> {
        let path = data_dir.join("node.lock");
        let file = fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.with_context(|| path.display().to_string())?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            bail!("the data folder {} is in use by another node: set a different one (NEXMDM__DATA_DIR)", data_dir.display());
        }
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let metadata = file.metadata()?;
        Ok(Self { identity: format!("{}:{}:{}", boot.trim(), metadata.dev(), metadata.ino()), _file: file })
    }
}

/// Everything that [`services::System::start`] needs to take part in the cluster.
///
/// # Errors
/// A certificate cannot be read or made, or the port is taken.
pub(crate) async fn start(config: &Config, secrets: &Secrets, store: Store, lock: &NodeLock) -> anyhow::Result<ClusterStart> {
    let cluster = &config.cluster;
    let listener = TcpListener::bind(cluster.listen).await.with_context(|| format!("cluster.listen {}", cluster.listen))?;
    let cluster_addr = match cluster.advertise.as_str() {
        "" => listener.local_addr()?.to_string(),
        address => address.to_owned(),
    };
    let ms = Duration::from_millis;
    let tls = LinkTls::new(&cluster.name, &certificate(config)?)?;
    Ok(ClusterStart {
        options: ClusterOptions {
            cluster: cluster.name.clone(),
            node: config.node_name(),
            cluster_addr,
            http_url: config.public_url(),
            version: crate::http::build_id(),
            lock_identity: lock.identity.clone(),
            key_fingerprint: secrets::fingerprint(secrets, tls.authority()),
            master_digest: secrets::master_digest(secrets),
            lease_ttl: ms(cluster.lease_ms),
            renew_interval: ms(cluster.renew_interval_ms),
            fence_after: ms(cluster.fence_after_ms),
            steady_after: ms(cluster.steady_after_ms),
            protocol_max: cluster.newest_protocol(),
        },
        link: LinkSettings {
            handshake_timeout: ms(cluster.handshake_timeout_ms),
            handshakes: cluster.handshakes(),
            idle_after: ms(cluster.idle_after_ms),
            ping_interval: ms(cluster.beat_interval_ms),
            taken_timeout: ms(cluster.owner_wait_ms),
            commit_timeout: ms(config.heartbeat.commit_timeout_ms),
            calls_max: cluster.peer_in_flight_max,
            bytes_max: cluster.peer_in_flight_bytes,
            queue_max: cluster.peer_queue_max,
            batch_max: cluster.peer_batch_max,
            taken_max: config.heartbeat.in_flight_max,
            redial: (ms(cluster.redial_min_ms), ms(cluster.redial_max_ms)),
            addresses: cluster.addresses()?,
            protocol_max: cluster.newest_protocol(),
        },
        network: NetworkStart::Tls { listener, tls },
        store,
        feed_interval: ms(cluster.feed_interval_ms),
        owner_wait: ms(cluster.owner_wait_ms),
    })
}

/// Checks name, addresses and certificate of the cluster, and makes none.
///
/// # Errors
/// Names the setting or file.
pub(crate) fn check(config: &Config) -> anyhow::Result<()> {
    let cluster = &config.cluster;
    cluster.addresses()?;
    let certificate = match given_certificate(config)? {
        Some(certificate) => certificate,
        None => {
            // The key may still have to be made; then any shows whether the names can stand in a certificate.
            let key = secrets::existing_cluster_key(config)?.unwrap_or_else(|| SecretBox::new(Box::default()));
            NodeCertificate::issue(&key, &cluster.name, &config.node_name())?
        }
    };
    let files = "cluster.ca_file, cluster.certificate_file and cluster.certificate_key_file";
    LinkTls::new(&cluster.name, &certificate).map(drop).map_err(|error| match error {
        link::tls::TlsError::ClusterName => error.into(),
        error => anyhow::Error::from(error).context(files),
    })
}

/// The node's certificate: by file, or made here by the authority of the cluster key.
fn certificate(config: &Config) -> anyhow::Result<NodeCertificate> {
    match given_certificate(config)? {
        Some(certificate) => Ok(certificate),
        None => Ok(NodeCertificate::issue(&secrets::cluster_key(config)?, &config.cluster.name, &config.node_name())?),
    }
}

/// The node's certificate by file, if there are files.
pub(crate) fn given_certificate(config: &Config) -> anyhow::Result<Option<NodeCertificate>> {
    let cluster = &config.cluster;
    let files = [&cluster.ca_file, &cluster.certificate_file, &cluster.certificate_key_file];
    let given = files.iter().filter(|file| !file.as_os_str().is_empty()).count();
    if given == 0 {
        return Ok(None);
    }
    if given < files.len() {
        bail!("cluster.ca_file, certificate_file and certificate_key_file: give all three or none");
    }
    let read = |setting: &str, file: &Path| fs::read_to_string(file).with_context(|| format!("cluster.{setting} {}", file.display()));
    Ok(Some(NodeCertificate {
        ca_pem: read("ca_file", files[0])?,
        certificate_pem: read("certificate_file", files[1])?,
        key_pem: SecretBox::new(Box::new(read("certificate_key_file", files[2])?)),
    }))
}

/// `nexmdm cluster init`: makes the keys that all nodes share, and says how a further node gets them.
pub(crate) fn init(config: &Config) -> anyhow::Result<()> {
    fs::create_dir_all(&config.data_dir).with_context(|| format!("data_dir {}", config.data_dir.display()))?;
    secrets::load(config)?;
    secrets::cluster_key(config)?;
    let folder = secrets::folder(config);
    let (cluster, folder) = (&config.cluster.name, folder.display());
    println!(
        "The keys of the cluster {cluster} are in {folder}.\n\
         A further node needs the same three keys and the same database:\n\
         \x20 1. copy that folder into its data folder as \"secrets\" (files with mode 0600), or give the keys by variable\n\
         \x20 2. start it with DATABASE_URL, NEXMDM__CLUSTER__LISTEN and, where that is not how others reach it,\n\
         \x20    NEXMDM__CLUSTER__ADVERTISE\n\
         A node that should not hold cluster.key gets a certificate: nexmdm cluster issue --name NODE --out FOLDER"
    );
    Ok(())
}

/// `nexmdm cluster issue`: a certificate for a node that does not hold the cluster key.
pub(crate) fn issue(config: &Config, name: &str, out: &Path) -> anyhow::Result<()> {
    // One of a new authority would be worth nothing to the nodes that there are.
    let key = secrets::existing_cluster_key(config)?.ok_or_else(|| {
        none_here(config, "secrets.cluster_key", "give the key").context("a certificate is issued by the key of the cluster")
    })?;
    let certificate = NodeCertificate::issue(&key, &config.cluster.name, name)?;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(out).with_context(|| out.display().to_string())?;
    for (file, text, mode) in [
        ("ca.pem", certificate.ca_pem.as_str(), 0o644),
        ("node.pem", &certificate.certificate_pem, 0o644),
        ("node.key", certificate.key_pem.expose_secret(), 0o600),
    ] {
        use std::io::Write;
        let path = out.join(file);
        let mut opened =
            fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&path).with_context(|| path.display().to_string())?;
        opened.write_all(text.as_bytes())?;
        println!("{}", path.display());
    }
    println!("Configure {name} with them: cluster.ca_file, cluster.certificate_file and cluster.certificate_key_file.");
    Ok(())
}

/// `nexmdm cluster rekey`: makes the keys of this configuration those of the cluster, while no node runs.
///
/// # Errors
/// There is no such cluster, a node runs, or the master key is another one.
pub(crate) async fn rekey(config: &Config, by: &Principal) -> anyhow::Result<()> {
    let secrets = secrets::load_existing(config)?;
    let tls = LinkTls::new(&config.cluster.name, &certificate(config)?)?;
    let (fingerprint, master) = (secrets::fingerprint(&secrets, tls.authority()), secrets::master_digest(&secrets));
    let database = Database::open_existing(config).await?;
    let rekeyed = async {
        let now = database.clock().await?.now();
        Ok::<_, anyhow::Error>(database.store.rekey_cluster(&config.cluster.name, &fingerprint, &master, by, now).await?)
    };
    let rekeyed = rekeyed.await;
    database.close().await?;
    match rekeyed? {
        Rekeyed::Replaced => println!("The keys of this configuration are those of the cluster {} from now on.", config.cluster.name),
        Rekeyed::Unchanged => println!("These are the keys of the cluster {} already.", config.cluster.name),
        Rekeyed::NoCluster => bail!("this database has no cluster yet: the first start of a node makes it"),
        Rekeyed::OtherCluster(found) => {
            bail!("cluster.name is {:?}, but this database belongs to the cluster {found:?}", config.cluster.name)
        }
        Rekeyed::OtherMasterKey => {
            bail!("secrets.master_key is not that of the cluster: it cannot be replaced, since the keys of all devices are derived from it")
        }
        Rekeyed::MasterKeyUnknown => {
            bail!("the database does not know the cluster's master key yet: start a node of this build once with the keys of before")
        }
        Rekeyed::LiveNodes(nodes) => {
            bail!(
                "{nodes} nodes of the cluster run with the keys of before: stop all of them first; the lease of one that was killed ends within seconds"
            )
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_folder_has_one_node_and_the_next_knows_it_is_dead() {
        let folder = std::env::temp_dir().join(format!("nexmdm-lock-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let first = NodeLock::take(&folder).unwrap();
        assert!(NodeLock::take(&folder).err().unwrap().to_string().contains("another node"));
        let identity = first.identity.clone();
        drop(first);
        assert_eq!(NodeLock::take(&folder).unwrap().identity, identity);
        fs::remove_dir_all(folder).unwrap();
    }
}
