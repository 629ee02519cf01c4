-- What Greenlight knows: applications, environments, releases, jobs and their steps, pointers and
-- every write to them. All times are this database's clock; no logic compares them to another one.

CREATE TABLE apps (
    name       text PRIMARY KEY,
    description text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE apps IS 'What is released. The name is the identity.';

CREATE TABLE environments (
    id         uuid PRIMARY KEY,
    app        text NOT NULL REFERENCES apps (name),
    name       text NOT NULL,
    document   jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (app, name)
);
COMMENT ON TABLE environments IS 'Where releases go. Its row is locked by whatever changes who holds it.';
COMMENT ON COLUMN environments.document IS 'The whole document of the last PUT, defaults filled in.';

CREATE TABLE releases (
    app        text NOT NULL REFERENCES apps (name),
    version    text NOT NULL,
    commit     text,
    artifacts  jsonb NOT NULL,
    metadata   jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    PRIMARY KEY (app, version)
);
CREATE INDEX releases_newest ON releases (app, created_at DESC, version DESC);
COMMENT ON TABLE releases IS 'Immutable versions of an application: never updated.';

CREATE TABLE jobs (
    id                 uuid PRIMARY KEY,
    seq                bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    kind               text NOT NULL CHECK (kind IN ('promotion', 'rollback')),
    environment_id     uuid NOT NULL REFERENCES environments (id),
    app                text NOT NULL,
    environment        text NOT NULL,
    release            text,
    from_release       text,
    request            jsonb NOT NULL,
    snapshot           jsonb,
    inherited          jsonb NOT NULL DEFAULT '{}',
    state              text NOT NULL CHECK (state IN ('queued', 'running', 'waiting', 'unwinding',
                                                      'succeeded', 'failed', 'aborted', 'stuck')),
    holds              boolean NOT NULL DEFAULT false,
    round              integer NOT NULL DEFAULT 1,
    waiting_for        text,
    waiting_reason     text,
    claimable_at       timestamptz,
    lease_owner        uuid,
    lease_epoch        bigint NOT NULL DEFAULT 0,
    abort_requested_at timestamptz,
    abort_requested_by text,
    error              jsonb,
    cause              jsonb,
    warnings           jsonb NOT NULL DEFAULT '[]',
    reason             text,
    superseded_by      uuid REFERENCES jobs (id),
    created_at         timestamptz NOT NULL DEFAULT now(),
    created_by         text NOT NULL,
    activated_at       timestamptz,
    started_at         timestamptz,
    traffic_shifted_at timestamptz,
    settled_at         timestamptz,
    finished_at        timestamptz
);
CREATE UNIQUE INDEX jobs_one_holder ON jobs (environment_id) WHERE holds;
CREATE INDEX jobs_claimable ON jobs (claimable_at) WHERE claimable_at IS NOT NULL;
CREATE INDEX jobs_queue ON jobs (environment_id, seq) WHERE state = 'queued';
CREATE INDEX jobs_of_environment ON jobs (environment_id, seq DESC);
CREATE INDEX jobs_newest ON jobs (seq DESC);
CREATE INDEX jobs_superseded ON jobs (superseded_by) WHERE superseded_by IS NOT NULL;
COMMENT ON TABLE jobs IS 'Promotions and rollbacks. One job at a time holds an environment: jobs_one_holder.';
COMMENT ON COLUMN jobs.seq IS 'The order of creation: what follows what, and the cursor of lists.';
COMMENT ON COLUMN jobs.request IS 'What was asked for. A queued job has nothing else until it gets its environment.';
COMMENT ON COLUMN jobs.snapshot IS 'The environment document the plan was made from.';
COMMENT ON COLUMN jobs.inherited IS 'Found values and touched components taken over from superseded jobs.';
COMMENT ON COLUMN jobs.holds IS 'True from activation until the end; a stuck job keeps holding.';
COMMENT ON COLUMN jobs.claimable_at IS 'When a worker may claim it: a timer, or the end of the lease. Null: nothing to do.';
COMMENT ON COLUMN jobs.cause IS 'Why the job was turned round. Its error again when the undo is done, also after having been stuck.';
COMMENT ON COLUMN jobs.lease_epoch IS 'The fence. Raised by every claim and every take-over; writes of older epochs change no row.';
COMMENT ON COLUMN jobs.activated_at IS 'When it got the environment and its plan was made.';

CREATE TABLE steps (
    job_id      uuid NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    position    integer NOT NULL,
    round       integer NOT NULL,
    direction   text NOT NULL CHECK (direction IN ('forward', 'undo')),
    stage       text NOT NULL,
    kind        text NOT NULL,
    component   text,
    params      jsonb NOT NULL,
    after       integer[] NOT NULL DEFAULT '{}',
    on_failure  text NOT NULL CHECK (on_failure IN ('unwind', 'go_on')),
    token       text NOT NULL UNIQUE,
    state       text NOT NULL CHECK (state IN ('pending', 'running', 'waiting', 'succeeded', 'failed', 'skipped', 'undone')),
    attempts    integer NOT NULL DEFAULT 0,
    found       jsonb NOT NULL DEFAULT '{}',
    wanted      jsonb NOT NULL DEFAULT '{}',
    record      jsonb NOT NULL DEFAULT '{}',
    output      jsonb NOT NULL DEFAULT '{}',
    error       jsonb,
    waiting_for text,
    wake_at     timestamptz,
    started_at  timestamptz,
    finished_at timestamptz,
    PRIMARY KEY (job_id, position)
);
COMMENT ON TABLE steps IS 'The plan of a job, made when it is activated; undo and retry append rows, none is rewritten.';
COMMENT ON COLUMN steps.token IS 'The operation token (job, step, direction, round). CloudFront gets it as CallerReference.';
COMMENT ON COLUMN steps.found IS 'What AWS said before the first write, by target. Set once: later writers lose.';
COMMENT ON COLUMN steps.wanted IS 'The value to write, by target. Set once, before the first write.';
COMMENT ON COLUMN steps.record IS 'The step''s own notes, kept across attempts.';

CREATE TABLE job_events (
    job_id uuid NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    id     bigint NOT NULL,
    at     timestamptz NOT NULL DEFAULT now(),
    kind   text NOT NULL,
    data   jsonb NOT NULL,
    PRIMARY KEY (job_id, id)
);
COMMENT ON TABLE job_events IS 'Everything that happened to a job; ids ascend by one within it, under the job''s row lock.';

CREATE TABLE pointers (
    key            text PRIMARY KEY,
    environment_id uuid NOT NULL REFERENCES environments (id),
    component      text NOT NULL,
    target         text NOT NULL,
    taken          boolean NOT NULL DEFAULT false,
    value          text,
    version        bigint,
    epoch          bigint NOT NULL DEFAULT 0,
    release        text,
    drift          jsonb,
    updated_at     timestamptz NOT NULL DEFAULT now(),
    UNIQUE (environment_id, component, target)
);
COMMENT ON TABLE pointers IS 'Who owns which pointer, and what it must say in AWS. One pointer has one owner: the primary key.';
COMMENT ON COLUMN pointers.key IS 'ssm:account:region:name.';
COMMENT ON COLUMN pointers.taken IS 'False until a promotion through it has settled: whatever it says until then is taken over.';
COMMENT ON COLUMN pointers.value IS 'What it said when the last job ended. Null: it did not exist.';

CREATE TABLE pointer_writes (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pointer_key      text NOT NULL,
    job_id           uuid NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    position         integer NOT NULL,
    component        text NOT NULL,
    target           text NOT NULL,
    value            text,
    replaces         text,
    replaces_version bigint,
    intended_at      timestamptz NOT NULL DEFAULT now(),
    sign_by          timestamptz NOT NULL,
    answered_at      timestamptz,
    version          bigint,
    outcome          text
);
CREATE INDEX pointer_writes_unanswered ON pointer_writes (pointer_key) WHERE answered_at IS NULL;
CREATE INDEX pointer_writes_of_pointer ON pointer_writes (pointer_key, sign_by DESC);
CREATE INDEX pointer_writes_of_job ON pointer_writes (job_id);
COMMENT ON TABLE pointer_writes IS 'Every intent to write a pointer, stored before the call. Unanswered ones may still land: SSM has no fence.';
COMMENT ON COLUMN pointer_writes.value IS 'Null: the write is a deletion.';
COMMENT ON COLUMN pointer_writes.outcome IS 'written, refused, or landed: seen in AWS although no answer came. Null: it may still land.';
COMMENT ON COLUMN pointer_writes.sign_by IS 'The request is signed before this or not at all; five minutes later AWS refuses it.';

CREATE TABLE deployments (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    environment_id uuid NOT NULL REFERENCES environments (id),
    release        text,
    kind           text NOT NULL CHECK (kind IN ('taken_over', 'promotion', 'rollback')),
    job_id         uuid REFERENCES jobs (id),
    found          jsonb,
    started_at     timestamptz,
    ended_at       timestamptz,
    rolled_back_at timestamptz,
    created_by     text NOT NULL
);
CREATE INDEX deployments_of_environment ON deployments (environment_id, id DESC);
CREATE INDEX deployments_of_job ON deployments (job_id);
CREATE UNIQUE INDEX deployments_one_open ON deployments (environment_id) WHERE ended_at IS NULL;
COMMENT ON TABLE deployments IS 'What was active, from when to when. The open row is what is active now.';
COMMENT ON COLUMN deployments.found IS 'Deployment 0 only: the values taken over, by component and target, put back byte for byte.';
COMMENT ON COLUMN deployments.rolled_back_at IS 'Set when its release was rolled back from: no longer a default rollback target.';

CREATE TABLE tokens (
    id         uuid PRIMARY KEY,
    name       text NOT NULL,
    role       text NOT NULL CHECK (role IN ('viewer', 'deployer', 'releaser', 'admin')),
    hash       bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz
);
COMMENT ON COLUMN tokens.hash IS 'SHA-256 of the secret half. 256 random bits need no slow hash.';

CREATE TABLE idempotency_keys (
    token_id     uuid NOT NULL REFERENCES tokens (id) ON DELETE CASCADE,
    route        text NOT NULL,
    key          text NOT NULL,
    request_hash bytea NOT NULL,
    status       smallint NOT NULL,
    location     text,
    body         jsonb NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (token_id, route, key)
);
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);
COMMENT ON TABLE idempotency_keys IS 'Stored 2xx answers of POSTs, written with their effect, kept for 24 hours.';

CREATE TABLE audit (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at          timestamptz NOT NULL DEFAULT now(),
    actor       text NOT NULL,
    action      text NOT NULL,
    app         text,
    environment text,
    job_id      uuid,
    data        jsonb NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE audit IS 'Who did what, in the same transaction as the effect.';
