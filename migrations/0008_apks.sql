-- APKs: which packages are managed, what was uploaded, and uploads that are under way.
--
-- Expand only: an earlier build knows none of it.

-- What may be deployed at all, and who may sign it. A package that is not here is refused.
CREATE TABLE managed_package (
    package        text PRIMARY KEY CHECK (char_length(package) BETWEEN 3 AND 255),
    -- SHA-256 of certificates, hex: an APK must be signed by one of them, or by one that its lineage derives from one of them.
    signers_sha256 text[] NOT NULL CHECK (cardinality(signers_sha256) BETWEEN 1 AND 16),
    note           text NOT NULL DEFAULT '' CHECK (char_length(note) <= 500),
    updated_by     text NOT NULL,
    updated_at     timestamptz NOT NULL
);

CREATE TABLE apk (
    apk_id         uuid PRIMARY KEY,
    -- No reference: a package that is managed no more leaves its deleted APKs behind.
    package        text NOT NULL CHECK (char_length(package) BETWEEN 3 AND 255),
    version_code   bigint NOT NULL CHECK (version_code >= 0),
    version_name   text NOT NULL,
    label          text NOT NULL,
    min_sdk        integer,
    target_sdk     integer,
    -- Hex.
    sha256         text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    size_bytes     bigint NOT NULL CHECK (size_bytes > 0),
    -- Certificates that sign it now, SHA-256 as hex; and those before them, oldest first, as its lineage proves.
    signers_sha256 text[] NOT NULL CHECK (cardinality(signers_sha256) >= 1),
    lineage_sha256 text[] NOT NULL DEFAULT '{}',
    icon           bytea CHECK (octet_length(icon) <= 262144),
    icon_type      text,
    -- Built from the code of that older APK, under a version code that is higher than what came after it.
    rollback_of    uuid REFERENCES apk,
    notes          text NOT NULL DEFAULT '' CHECK (char_length(notes) <= 4000),
    uploaded_by    text NOT NULL,
    uploaded_at    timestamptz NOT NULL,
    -- Its file is gone or about to be; the row stays for the history that names it.
    deleted_at     timestamptz,
    CHECK ((icon IS NULL) = (icon_type IS NULL))
);
-- One file for each version: what a device reports is the version code alone.
CREATE UNIQUE INDEX apk_version_key ON apk (package, version_code) WHERE deleted_at IS NULL;
CREATE INDEX apk_newest ON apk (uploaded_at DESC, apk_id DESC);
CREATE INDEX apk_rollback_of ON apk (rollback_of) WHERE rollback_of IS NOT NULL;

-- An upload that is under way, or over not long ago. Its bytes stand in the object store, a part each, under uploads/<upload_id>/.
CREATE TABLE apk_upload (
    upload_id   uuid PRIMARY KEY,
    owner_id    uuid NOT NULL,
    created_by  text NOT NULL,
    file_name   text NOT NULL,
    size_bytes  bigint NOT NULL CHECK (size_bytes > 0),
    -- What the sender says that it is, hex; checked at the end.
    sha256      text CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    rollback_of uuid,
    notes       text NOT NULL DEFAULT '',
    received    bigint NOT NULL DEFAULT 0 CHECK (received BETWEEN 0 AND size_bytes),
    -- Names of the parts in their order. Two nodes may take the same part: the one whose name stands here counts.
    parts       text[] NOT NULL DEFAULT '{}',
    -- What became of it.
    apk_id      uuid,
    created_at  timestamptz NOT NULL,
    touched_at  timestamptz NOT NULL
);
CREATE INDEX apk_upload_touched ON apk_upload (touched_at);
