//! Enrollment of missing devices through the APIs of admins and agents.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::{StreamExt, stream};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use wire::admin::{CreateEnrollTokens, CreatedEnrollToken};
use wire::agent::{RegisterRequest, RegisterResponse};
use wire::lenient::Int;

use super::{Admin, Credentials, Identity, RequestFailure, StateFile};
use crate::backoff::Backoff;
use crate::http::{Call, Http, HttpError};
use crate::model::Profile;
use crate::push::push_token;

/// Most tokens per call.
const TOKENS_PER_CALL: usize = 500;
/// Lifetime of the tokens; those of a killed run expire by themselves.
const TOKEN_LIFETIME_S: i64 = 3_600;
/// Rounds without progress before enrollment is given up.
const EMPTY_ROUNDS: u32 = 5;
/// Attempts of one call.
const TRIES: u32 = 12;

/// Plan of an enrollment.
#[derive(Debug, Clone)]
pub struct EnrollPlan {
    /// Target number of devices.
    pub devices: usize,
    /// Prefix of aliases, followed by a dash and a number.
    pub alias_prefix: String,
    /// Tags of the devices.
    pub tags: Vec<String>,
    /// Groups of the devices.
    pub groups: Vec<String>,
    /// Concurrent registrations.
    pub concurrency: usize,
    /// Seed of the fleet; decides model and version of a device.
    pub seed: u64,
    /// Share of wrong clocks.
    pub clock_off_share: f64,
    /// Whether devices report a push token.
    pub push: bool,
}

/// The profile that device `number` of a fleet has in every run.
pub(crate) fn profile_of(seed: u64, number: u64, clock_off_share: f64) -> (Profile, SmallRng) {
    let mut rng = SmallRng::seed_from_u64(seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    (Profile::draw(clock_off_share, &mut rng), rng)
}

/// Enrolls devices until there are as many as planned; `progress` is told how
/// many there are. Dropped half-way, it leaves behind what is enrolled.
pub async fn enroll_missing(
    state: &mut StateFile,
    plan: &EnrollPlan,
    servers: &[Arc<Http>],
    credentials: Option<&Credentials>,
    mut progress: impl FnMut(usize),
) -> Result<()> {
    if state.identities().len() >= plan.devices {
        return Ok(());
    }
    let missing = plan.devices - state.identities().len();
    let credentials = credentials
        .with_context(|| format!("{missing} devices are not enrolled yet: give --enroll-with NAME:PASSWORD or an access token"))?;
    let mut admin = Admin::new(&servers[0], credentials.clone());
    let mut empty_rounds = 0;
    while state.identities().len() < plan.devices {
        let count = (plan.devices - state.identities().len()).min(TOKENS_PER_CALL);
        let first = state.reserve(count as u64)?;
        let tokens = match create_tokens(&mut admin, plan, count, first).await {
            Ok(tokens) => tokens,
            // The aliases are in use: by devices whose state folder is lost.
            Err(failure) if failure.status() == Some(409) && empty_rounds < EMPTY_ROUNDS => {
                empty_rounds += 1;
                continue;
            }
            Err(failure) => return Err(failure).context("creating enrollment tokens"),
        };
        let mut registrations = stream::iter(tokens.into_iter().zip(first..))
            .map(|(token, number)| register(&servers[number as usize % servers.len()], token, number, plan))
            .buffer_unordered(plan.concurrency.max(1));
        let mut enrolled = 0;
        let mut refusal = None;
        while let Some(outcome) = registrations.next().await {
            match outcome {
                Ok(identity) => {
                    state.add(identity)?;
                    enrolled += 1;
                    progress(state.identities().len());
                }
                // In use, or used up by a try whose answer was lost: another number will do.
                Err(failure) if matches!(failure.status(), Some(401 | 409)) => refusal = Some(failure),
                Err(failure) => return Err(failure).context("registering a device"),
            }
        }
        empty_rounds = if enrolled == 0 { empty_rounds + 1 } else { 0 };
        if empty_rounds >= EMPTY_ROUNDS
            && let Some(refusal) = refusal
        {
            bail!(
                "no device could be enrolled in {EMPTY_ROUNDS} rounds ({refusal}); if the aliases exist already, use another --alias-prefix"
            );
        }
    }
    Ok(())
}

async fn create_tokens(
    admin: &mut Admin<'_>,
    plan: &EnrollPlan,
    count: usize,
    first: u64,
) -> Result<Vec<CreatedEnrollToken>, RequestFailure> {
    let wanted = CreateEnrollTokens {
        count: i64::try_from(count).ok(),
        expires_in_seconds: Some(TOKEN_LIFETIME_S),
        alias: None,
        alias_pattern: Some(format!("{}-{{n}}", plan.alias_prefix)),
        start_number: i64::try_from(first).ok(),
        tags: plan.tags.clone(),
        groups: plan.groups.clone(),
    };
    let mut rng = SmallRng::seed_from_u64(first);
    let mut backoff = retry_backoff();
    loop {
        match admin.create_tokens(&wanted).await {
            Err(failure) if failure.is_temporary() && backoff.failures() < TRIES => {
                if backoff.failures() == 0 {
                    eprintln!("waiting for the node to create enrollment tokens: {failure}");
                }
                tokio::time::sleep(backoff.next(failure.retry_after(), &mut rng)).await;
            }
            outcome => return outcome,
        }
    }
}

async fn register(http: &Http, token: CreatedEnrollToken, number: u64, plan: &EnrollPlan) -> Result<Identity, RequestFailure> {
    let (profile, mut rng) = profile_of(plan.seed, number, plan.clock_off_share);
    let alias = token.alias.unwrap_or_else(|| format!("{}-{number}", plan.alias_prefix));
    let request = RegisterRequest {
        alias: Some(alias.clone()),
        hardware_id: Some(format!("SIM{:016X}", plan.seed.rotate_left(32) ^ number)),
        model: Some(profile.model.to_owned()),
        manufacturer: Some(profile.manufacturer.to_owned()),
        android_version: Some(profile.android_version.to_owned()),
        sdk_int: Some(Int(profile.sdk_int)),
        app_version: Some(profile.agent_version.to_owned()),
        app_version_code: Some(Int(profile.agent_version_code)),
        fcm_token: plan.push.then(|| push_token(&alias)),
    };
    let body = bytes::Bytes::from(serde_json::to_vec(&request).map_err(|e| HttpError::Invalid(e.to_string()))?);
    let mut backoff = retry_backoff();
    loop {
        let failure = match http.send(Call::post("/v1/register", body.clone()).bearer(&token.token)).await {
            Ok(answer) if matches!(answer.status, 200 | 201) => {
                let RegisterResponse { device_id, device_token, device_key, .. } =
                    answer.read().map_err(|e| HttpError::Invalid(e.to_string()))?;
                return Ok(Identity { number, device_id, alias, device_token, device_key, next_device_key: None });
            }
            Ok(answer) => RequestFailure::from_answer(&answer),
            Err(error) => error.into(),
        };
        if !failure.is_temporary() || backoff.failures() >= TRIES {
            return Err(failure);
        }
        tokio::time::sleep(backoff.next(failure.retry_after(), &mut rng)).await;
    }
}

fn retry_backoff() -> Backoff {
    Backoff::new(Duration::from_millis(250), Duration::from_secs(15))
}
