#!/usr/bin/env bash
# metadata.sh APK: writes beside a signed APK what its users and auditors ask for. Reads on standard input what verify.sh printed.
#
#   NAME.apk.sha256      digest, as `sha256sum --check` reads it
#   NAME.json            package, version, commit, signer, digest, size
#   NAME.cdx.json        bill of materials (CycloneDX 1.6)
#   NAME.intoto.json     provenance: in-toto statement v1, SLSA provenance v1
# shellcheck source=common.sh
source "$(dirname "$0")/common.sh"
apk=$(readlink -f "${1:?APK}")
facts=$(cat)
folder=$(dirname "$apk") file=$(basename "$apk")
name=${file%.apk}
fact() { field "$1" <<<"$facts"; }
package=$(fact package) version_code=$(fact version_code) version_name=$(fact version_name) signer=$(fact signer) unsigned_sha256=$(fact unsigned)
commit=$("$scripts_dir/version.sh" | field commit)
changed=false
[ -z "$(git -C "$agent_dir" status --porcelain --untracked-files=no 2>/dev/null)" ] || changed=true
sha256=$(sha256sum "$apk" | cut -d' ' -f1)
size_bytes=$(stat -c %s "$apk")
bom=$app_dir/target/bom.json
project=
if [ -n "$google_services" ]; then
    bom=$fcm_dir/target/bom.json
    project=",
        {\"name\": \"google-services.json\", \"digest\": {\"sha256\": \"$(sha256sum "$google_services" | cut -d' ' -f1)\"}}"
fi
[ -f "$bom" ] || fail "no bill of materials at $bom"
bom_sha256=$(sha256sum "$bom" | cut -d' ' -f1)
jdk=$(javac -version 2>&1) aapt2=$(aapt2 version 2>&1 | sed 's/.*) //') apksigner=$(apksigner --version)
# A run of GitHub Actions says itself where it was built.
builder=urn:nexmdm:local-build
[ -z "${GITHUB_RUN_ID:-}" ] || builder=$GITHUB_SERVER_URL/$GITHUB_REPOSITORY/actions/runs/$GITHUB_RUN_ID
# None of these has to be escaped in JSON.
for value in "$file" "$package" "$version_code" "$version_name" "$signer" "$unsigned_sha256" "$commit" "$jdk" "$aapt2" "$apksigner" "$builder"; do
    [[ $value =~ ^[A-Za-z0-9._:/@+\ -]+$ ]] || fail "not to be written into JSON as it is: '$value'"
done

(cd "$folder" && sha256sum "$file" >"$file.sha256")

cat >"$folder/$name.json" <<JSON
{
  "file": "$file",
  "package": "$package",
  "version_code": $version_code,
  "version_name": "$version_name",
  "git_commit": "$commit",
  "git_changed": $changed,
  "sha256": "$sha256",
  "size_bytes": $size_bytes,
  "signer_sha256": "$signer"
}
JSON

cp "$bom" "$folder/$name.cdx.json"

cat >"$folder/$name.intoto.json" <<JSON
{
  "_type": "https://in-toto.io/Statement/v1",
  "subject": [{"name": "$file", "digest": {"sha256": "$sha256"}}],
  "predicateType": "https://slsa.dev/provenance/v1",
  "predicate": {
    "buildDefinition": {
      "buildType": "urn:nexmdm:android-agent-build:1",
      "externalParameters": {"command": "android-agent/build.sh", "version_code": $version_code, "version_name": "$version_name"},
      "internalParameters": {"jdk": "$jdk", "aapt2": "$aapt2", "apksigner": "$apksigner"},
      "resolvedDependencies": [
        {"name": "source", "digest": {"gitCommit": "$commit"}, "annotations": {"changed": $changed}},
        {"name": "$name.cdx.json", "digest": {"sha256": "$bom_sha256"}}$project
      ]
    },
    "runDetails": {
      "builder": {"id": "$builder"},
      "metadata": {"finishedOn": "$(date -u +%Y-%m-%dT%H:%M:%SZ)"},
      "byproducts": [{"name": "unsigned.apk", "digest": {"sha256": "$unsigned_sha256"}}]
    }
  }
}
JSON
