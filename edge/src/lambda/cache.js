// A cached value: read once in a while, by one reader at a time, never once a request.
//
//   fresh ───────────────────────────────→ as it is
//   too old, a read may be tried ─────────→ wait for it, but not for long → new value, or the last good one
//   too old, the last read failed lately ─→ the last good one
//
// Age counts from before the read began: what it brought can't be older than that, so an edge has let go of an
// old value when the time is over. It must never forget a good value because a read failed. What is read, and
// from where: parameters.js.

// How long a request waits when there is a last good value, and when there is none yet.
const PATIENCE_MILLIS = 1000;
const FIRST_PATIENCE_MILLIS = 3000;
// A read that has been under way for longer was cut off: Lambda freezes an environment between requests.
const READ_MILLIS = 3000;
const BACK_OFF_MIN_MILLIS = 1000;

// Takes {ttlMillis, read, accept, now, after, warn}: `read` resolves to what is stored, `accept` makes the value
// of it or throws, `now` is in milliseconds, `after(millis, callback)` returns what calls it off, `warn` is told
// of each failure. `get` resolves to the value, or to undefined while there never was a good one.
export function createCache(how) {
  let value = undefined;
  let readAt = null;
  let failedAt = null;
  let flight = null;

  // A clock that was set back makes everything old, not young for ever.
  function isWithin(since, millis, at) {
    return since !== null && at >= since && at - since < millis;
  }

  // Without a good value every visitor gets an error: then it is tried again soon, however long the TTL.
  function backOffMillis() {
    return readAt === null ? BACK_OFF_MIN_MILLIS : Math.max(how.ttlMillis, BACK_OFF_MIN_MILLIS);
  }

  async function run(mine) {
    try {
      const stored = await how.read();
      const accepted = how.accept(stored);
      if (flight === mine) {
        value = accepted;
        readAt = mine.startedAt;
        failedAt = null;
      }
    } catch (error) {
      if (flight === mine) {
        failedAt = how.now();
      }
      how.warn(error);
    }
    if (flight === mine) {
      flight = null;
    }
  }

  // Resolves when `done` does, or after `millis`.
  function within(done, millis) {
    return new Promise((resolve) => {
      const callOff = how.after(millis, resolve);
      done.then(() => {
        callOff();
        resolve();
      });
    });
  }

  async function get() {
    const arrivedAt = how.now();
    if (isWithin(readAt, how.ttlMillis, arrivedAt)) {
      return value;
    }
    if (flight === null || !isWithin(flight.startedAt, READ_MILLIS, arrivedAt)) {
      if (isWithin(failedAt, backOffMillis(), arrivedAt)) {
        return value;
      }
      flight = { startedAt: arrivedAt, done: null };
      flight.done = run(flight);
    }
    const patience = readAt === null ? FIRST_PATIENCE_MILLIS : PATIENCE_MILLIS;
    const left = flight.startedAt + patience - arrivedAt;
    if (left > 0) {
      await within(flight.done, left);
    }
    return value;
  }

  return { get: get };
}
