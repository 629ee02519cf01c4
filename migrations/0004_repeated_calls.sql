-- A call of a webhook that is made again: every token that was sent along is good.

ALTER TABLE callbacks ADD COLUMN earlier bytea[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN callbacks.hash IS 'SHA-256 of the secret in the token that was sent along last. 256 random bits need no slow hash.';
COMMENT ON COLUMN callbacks.earlier IS 'The same of the tokens before it, the latest first: the answer to a call may be lost with its worker, and the call is made again.';
