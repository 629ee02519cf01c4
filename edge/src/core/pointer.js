// The pointer: the one line of JSON that says which releases there are and who gets which.
//
// Owns reading it. It must never let a half-understood pointer through: whatever isn't exactly what the
// service writes is broken, and the caller goes back to the last good one. Who gets which release is in
// decision.js.

// No pattern in these files ends in a dollar sign. CloudFront's engine takes Perl's meaning, where it also
// matches before a closing newline ("JavaScript runtime 2.0 features for CloudFront Functions": "The regular
// expression language is Perl compatible"); a look-ahead for nothing means the end in every engine.
const VERSION = /^[A-Za-z0-9][A-Za-z0-9._+-]{0,127}(?![\s\S])/;

export function isVersion(text) {
  return typeof text === 'string' && VERSION.test(text);
}

function isCount(value) {
  return Number.isInteger(value) && value >= 0;
}

// `previous` and `candidate` may be null, or left out.
function isVersionOrNone(value) {
  return value === undefined || value === null || isVersion(value);
}

// The pointer that `text` holds, or null.
export function parsePointer(text) {
  try {
    const found = JSON.parse(text);
    return found.v === 1 && isVersion(found.active) && isVersionOrNone(found.previous)
      && isVersionOrNone(found.candidate) && isCount(found.weight) && found.weight <= 100
      && isCount(found.epoch) && isCount(found.pin_seconds) ? found : null;
  } catch (error) {
    return null;
  }
}

// Whether the pointer names `release`.
export function isKnown(pointer, release) {
  return !!release && [pointer.active, pointer.previous, pointer.candidate].indexOf(release) >= 0;
}
