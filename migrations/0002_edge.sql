-- The edge: when the public URL named the release, and what a release's files were when it was first promoted.

ALTER TABLE jobs ADD COLUMN converged_at timestamptz;
COMMENT ON COLUMN jobs.converged_at IS 'When the last component that is asked from outside named the release. Null: none is asked, or not yet.';

CREATE TABLE manifests (
    app         text NOT NULL,
    version     text NOT NULL,
    component   text NOT NULL,
    location    text NOT NULL,
    objects     integer NOT NULL,
    bytes       bigint NOT NULL,
    listing     json NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (app, version, component, location),
    FOREIGN KEY (app, version) REFERENCES releases (app, version) ON DELETE CASCADE
);
COMMENT ON TABLE manifests IS 'The files of a release''s artifact, as they were first seen: never updated. A promotion sees to it that they are still there.';
COMMENT ON COLUMN manifests.location IS 's3://bucket/prefix/: one release may lie in the buckets of several environments.';
COMMENT ON COLUMN manifests.listing IS 'One array an object: path below the prefix, size in bytes, ETag, content type or null. Read as a whole and never searched, so json: jsonb could not hold every key that S3 takes.';

COMMENT ON COLUMN pointers.key IS 'ssm:account:region:name, or kvs:arn:key.';
COMMENT ON TABLE pointer_writes IS 'Every intent to write a pointer, stored before the call. Unanswered ones may still land: SSM has no fence. A KeyValueStore has one: an answered write there ends every earlier one.';
COMMENT ON COLUMN pointer_writes.outcome IS 'written, refused, landed: seen in AWS although no answer came, or fenced: overtaken by a later compare-and-swap. Null: it may still land.';
