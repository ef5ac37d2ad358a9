//! TLS of the link between nodes: mutual TLS 1.3 with certificates of one cluster.
//!
//! The authority's key is derived from the cluster secret, so every node that has the secret can
//! make its own certificate and no node has to be asked for one. Certificates name the cluster
//! (`<cluster>.nexmdm.internal`), and both sides check that name: nodes of another cluster get
//! nothing, even with the same authority.

use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SerialNumber};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use secrecy::{ExposeSecret, SecretBox};
use sha2::{Digest, Sha256};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Longest name of a cluster, in characters.
const CLUSTER_NAME_MAX_CHARS: usize = 40;

/// Error in making or reading the identity for the link.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The cluster's name cannot stand in a certificate.
    #[error("cluster.name: 1..{CLUSTER_NAME_MAX_CHARS} of a-z, 0-9 and -, beginning and ending with a letter or digit")]
    ClusterName,
    /// A certificate could not be made.
    #[error("certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// A certificate or key does not read.
    #[error("certificate or key does not read as PEM: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// Certificate, key and authority do not fit together.
    #[error("certificate: {0}")]
    Unfit(#[from] rustls::Error),
    /// The authority cannot be used to check others.
    #[error("certificate authority: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// Certificate, key and authority of a node, as PEM.
pub struct NodeCertificate {
    /// The authority's certificate.
    pub ca_pem: String,
    /// The node's certificate.
    pub certificate_pem: String,
    /// Private key.
    pub key_pem: SecretBox<String>,
}

/// TLS configuration of a node on the link.
#[derive(Clone)]
pub struct LinkTls {
    pub(crate) acceptor: TlsAcceptor,
    /// Lets nobody through, for a listener that nobody is to use.
    pub(crate) shut: TlsAcceptor,
    pub(crate) connector: TlsConnector,
    pub(crate) server_name: ServerName<'static>,
    /// Same on all nodes of the cluster; only the library's own handshake wants it.
    pub(crate) cookie: String,
}

/// Certificate of a server that shows none, without which no client goes on.
#[derive(Debug)]
struct NoCertificate;

impl ResolvesServerCert for NoCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}

/// PKCS #8 (RFC 8410, section 7) of an Ed25519 key: this, then its 32 bytes.
const ED25519_PKCS8_HEAD: [u8; 16] = [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

fn checked_name(cluster: &str) -> Result<String, TlsError> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let at_the_end = cluster.starts_with('-') || cluster.ends_with('-');
    if cluster.is_empty() || cluster.len() > CLUSTER_NAME_MAX_CHARS || !cluster.chars().all(good) || at_the_end {
        return Err(TlsError::ClusterName);
    }
    Ok(format!("{cluster}.nexmdm.internal"))
}

fn authority(secret: &SecretBox<Vec<u8>>) -> Result<(CertificateParams, KeyPair), TlsError> {
    #[allow(clippy::expect_used, reason = "HMAC takes keys of any length (RFC 2104)")]
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret()).expect("any key length");
    mac.update(b"nexmdm-cluster-ca-v1");
    let mut pkcs8 = ED25519_PKCS8_HEAD.to_vec();
    pkcs8.extend(mac.finalize().into_bytes());
    let key = KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(pkcs8), &rcgen::PKCS_ED25519)?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "NexMDM cluster authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    // All of it fixed, so that every node makes the very same certificate.
    params.serial_number = Some(SerialNumber::from(1u64));
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2999, 1, 1);
    Ok((params, key))
}

impl NodeCertificate {
    /// A certificate for the node `node` of the cluster `cluster`, by the authority of `secret`.
    ///
    /// # Errors
    /// The cluster's name cannot stand in a certificate.
    pub fn issue(secret: &SecretBox<Vec<u8>>, cluster: &str, node: &str) -> Result<Self, TlsError> {
        let (ca_params, ca_key) = authority(secret)?;
        let ca_pem = ca_params.self_signed(&ca_key)?.pem();
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519)?;
        let mut params = CertificateParams::new(vec![checked_name(cluster)?])?;
        params.distinguished_name.push(DnType::CommonName, node);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2099, 1, 1);
        let certificate_pem = params.signed_by(&key, &Issuer::from_params(&ca_params, &ca_key))?.pem();
        Ok(Self { ca_pem, certificate_pem, key_pem: SecretBox::new(Box::new(key.serialize_pem())) })
    }
}

impl LinkTls {
    /// TLS configuration of a node with this certificate.
    ///
    /// # Errors
    /// Something does not read, or does not fit together.
    pub fn new(cluster: &str, certificate: &NodeCertificate) -> Result<Self, TlsError> {
        let name = checked_name(cluster)?;
        let ca = CertificateDer::from_pem_slice(certificate.ca_pem.as_bytes())?;
        let chain = CertificateDer::pem_slice_iter(certificate.certificate_pem.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        let key = || PrivateKeyDer::from_pem_slice(certificate.key_pem.expose_secret().as_bytes());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let versions = [&rustls::version::TLS13];
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone())?;
        let roots = Arc::new(roots);
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider)).build()?;
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key()?)?;
        // A session that is resumed checks no certificate, so that one which has run out would go on making links.
        server.send_tls13_tickets = 0;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        let shut = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(NoCertificate));
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key()?)?;
        client.resumption = Resumption::disabled();
        let cookie = hex::encode(Sha256::new().chain_update(&ca).chain_update(cluster).finalize());
        let server_name = ServerName::try_from(name).map_err(|_| TlsError::ClusterName)?;
        Ok(Self { acceptor: Arc::new(server).into(), shut: Arc::new(shut).into(), connector: Arc::new(client).into(), server_name, cookie })
    }

    /// Digest of the authority and the cluster's name; the same on all nodes of a cluster.
    pub fn authority(&self) -> &str {
        &self.cookie
    }

    /// Whether a peer's certificate, which the authority signed, is one of this cluster.
    pub(crate) fn is_of_this_cluster(&self, chain: Option<&[CertificateDer<'_>]>) -> bool {
        chain
            .and_then(|chain| chain.first())
            .and_then(|leaf| webpki::EndEntityCert::try_from(leaf).ok())
            .is_some_and(|leaf| leaf.verify_is_valid_for_subject_name(&self.server_name).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn secret(byte: u8) -> SecretBox<Vec<u8>> {
        SecretBox::new(Box::new(vec![byte; 32]))
    }

    fn node(secret_byte: u8, cluster: &str) -> LinkTls {
        LinkTls::new(cluster, &NodeCertificate::issue(&secret(secret_byte), cluster, "a").unwrap()).unwrap()
    }

    /// Whether `client` gets through to `server`, both having checked each other.
    async fn get_through(client: &LinkTls, server: &LinkTls) -> bool {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (connecting, accepting) = tokio::join!(client.connector.connect(client.server_name.clone(), near), server.acceptor.accept(far));
        let (Ok(mut connected), Ok(mut accepted)) = (connecting, accepting) else { return false };
        if !server.is_of_this_cluster(accepted.get_ref().1.peer_certificates()) {
            return false;
        }
        // With TLS 1.3 a client learns only afterwards that its certificate was refused.
        accepted.write_all(b"x").await.is_ok() && accepted.flush().await.is_ok() && connected.read_u8().await.is_ok()
    }

    #[tokio::test]
    async fn nodes_with_the_same_secret_and_name_get_through() {
        assert!(get_through(&node(1, "shops"), &node(1, "shops")).await);
    }

    #[tokio::test]
    async fn certificates_are_checked_with_every_link() {
        let (client, server) = (node(1, "shops"), node(1, "shops"));
        for number in 0..3 {
            let (near, far) = tokio::io::duplex(64 * 1024);
            let connecting = client.connector.connect(client.server_name.clone(), near);
            let (mut connected, mut accepted) = tokio::try_join!(connecting, server.acceptor.accept(far)).unwrap();
            accepted.write_all(b"x").await.unwrap();
            accepted.flush().await.unwrap();
            // What would resume a session comes before it.
            connected.read_u8().await.unwrap();
            assert_eq!(connected.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Full), "link {number}");
        }
    }

    #[tokio::test]
    async fn another_authority_or_another_cluster_gets_nothing() {
        assert!(!get_through(&node(2, "shops"), &node(1, "shops")).await, "client of another authority");
        assert!(!get_through(&node(1, "depot"), &node(1, "shops")).await, "client of another cluster");
        // One that does not care whom it talks to is refused by the server all the same.
        let mut careless = node(1, "depot");
        careless.server_name = node(1, "shops").server_name;
        assert!(!get_through(&careless, &node(1, "shops")).await, "server checks the client's cluster");
    }

    #[tokio::test]
    async fn a_listener_that_is_shut_lets_no_node_through() {
        let (client, server) = (node(1, "shops"), node(1, "shops"));
        let shut = LinkTls { acceptor: server.shut.clone(), ..server };
        assert!(!get_through(&client, &shut).await);
    }

    #[test]
    fn every_node_makes_the_same_authority() {
        let ca = |byte| NodeCertificate::issue(&secret(byte), "shops", "a").unwrap().ca_pem;
        assert_eq!(ca(1), ca(1));
        assert_ne!(ca(1), ca(2));
        assert_eq!(node(1, "shops").cookie, node(1, "shops").cookie);
    }

    #[test]
    fn a_name_that_cannot_stand_in_a_certificate_is_refused() {
        for bad in ["", "Shops", "a.b", "-a", "a-", "ä", &"a".repeat(41)] {
            assert!(matches!(checked_name(bad), Err(TlsError::ClusterName)), "{bad}");
        }
    }
}
