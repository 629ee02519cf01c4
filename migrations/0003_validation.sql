-- Progressive validation: locks, blocks, pauses, approvals, callbacks, and purges as jobs.

ALTER TABLE jobs DROP CONSTRAINT jobs_kind_check;
ALTER TABLE jobs ADD CONSTRAINT jobs_kind_check CHECK (kind IN ('promotion', 'rollback', 'invalidation'));
ALTER TABLE jobs
    ADD COLUMN paused_at             timestamptz,
    ADD COLUMN paused_by             text,
    ADD COLUMN paused_reason         text,
    ADD COLUMN promoted_fully_at     timestamptz,
    ADD COLUMN promoted_fully_by     text,
    ADD COLUMN promoted_fully_reason text;
COMMENT ON TABLE jobs IS 'Promotions, rollbacks and purges. One job at a time holds an environment: jobs_one_holder. A purge holds none.';
COMMENT ON COLUMN jobs.paused_at IS 'Set while it is paused: what has begun goes on, nothing new begins.';
COMMENT ON COLUMN jobs.promoted_fully_at IS 'Set when somebody had it skip its bakes and shares.';
CREATE INDEX jobs_unfinished ON jobs (environment_id) WHERE state IN ('queued', 'running', 'waiting', 'unwinding');

ALTER TABLE steps ADD COLUMN woken boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN steps.woken IS 'Somebody said something to the step since it was last started: if it wants to wait it is run again at once.';

ALTER TABLE environments
    ADD COLUMN locked_at   timestamptz,
    ADD COLUMN locked_by   text,
    ADD COLUMN lock_reason text;
COMMENT ON COLUMN environments.locked_at IS 'Since when promotions are refused. Rollbacks always pass.';

CREATE TABLE global_lock (
    only_one  boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    reason    text NOT NULL,
    locked_by text NOT NULL,
    locked_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE global_lock IS 'At most one row: while it is there promotions are refused everywhere, and those that run begin nothing new.';

CREATE TABLE release_blocks (
    app        text NOT NULL,
    version    text NOT NULL,
    reason     text NOT NULL,
    blocked_by text NOT NULL,
    blocked_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (app, version),
    FOREIGN KEY (app, version) REFERENCES releases (app, version) ON DELETE CASCADE
);
COMMENT ON TABLE release_blocks IS 'Releases that may not be promoted. Beside releases, whose rows are never updated.';

CREATE TABLE approvals (
    job_id   uuid NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    position integer NOT NULL,
    name     text NOT NULL,
    role     text NOT NULL,
    approved boolean NOT NULL,
    comment  text,
    at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (job_id, position, name)
);
COMMENT ON TABLE approvals IS 'What people decided at a gate, the step at this position. Nobody twice: the primary key.';

CREATE TABLE callbacks (
    job_id      uuid NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    position    integer NOT NULL,
    try         integer NOT NULL,
    hash        bytea NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    verdict     text CHECK (verdict IN ('pass', 'fail', 'inconclusive')),
    message     text,
    answered_at timestamptz,
    PRIMARY KEY (job_id, position, try)
);
COMMENT ON TABLE callbacks IS 'One row for each call of a webhook: what it answered by calling back.';
COMMENT ON COLUMN callbacks.hash IS 'SHA-256 of the secret in the token that was sent along. 256 random bits need no slow hash.';
