//! APKs for tests: small real ones of actors/testdata/apks, and how they come into a library.

use chaos::client::Client;
use chaos::http::{Answer, Call};
use hyper::Method;
use serde_json::{Value, json};

/// A file of actors/testdata/apks, by name.
pub(crate) fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/../actors/testdata/apks/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Uploads a file with one call.
pub(crate) async fn upload(client: &Client, bearer: &str, file: Vec<u8>, query: &str) -> Answer {
    let path = format!("/v1/apks{query}");
    client.send(Call::post(&path, file).content_type("application/vnd.android.package-archive").bearer(bearer)).await.unwrap()
}

/// Allows a package to be signed by these.
pub(crate) async fn allow(client: &Client, bearer: &str, package: &str, signers: &[&str]) -> Answer {
    let path = format!("/v1/packages/{package}");
    let body = json!({"signers_sha256": signers, "note": "for tests"}).to_string();
    client.send(Call::post(&path, body).method(Method::PUT).bearer(bearer)).await.unwrap()
}

/// Signer of a file, as the refusal of its package tells; the package, too.
pub(crate) fn told(refusal: &Answer) -> (String, Vec<String>) {
    let detail = refusal.json()["detail"].as_str().unwrap().to_owned();
    let package = detail.split(' ').next().unwrap().to_owned();
    let signers = detail.rsplit_once("signed by ").unwrap().1;
    (package, signers.split(", ").map(str::to_owned).collect())
}

/// Puts a fixture into the library, allowing its package and signer if they are not. Answers the APK as the API has it.
pub(crate) async fn add(client: &Client, admin: &str, name: &str) -> Value {
    let mut answer = upload(client, admin, fixture(name), "").await;
    if answer.status == 422 && answer.json()["field"] == "package" {
        let (package, signers) = told(&answer);
        let signers: Vec<_> = signers.iter().map(String::as_str).collect();
        let allowed = allow(client, admin, &package, &signers).await;
        assert_eq!(allowed.status, 201, "{}", allowed.detail());
        answer = upload(client, admin, fixture(name), "").await;
    }
    assert!([200, 201].contains(&answer.status), "{name}: {}", answer.detail());
    answer.json()
}
