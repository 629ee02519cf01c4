// The hand-over: how viewer-request tells viewer-response what it decided.
//
// In a request header, since viewer-request can't set anything on an answer that is yet to come. It is
// overwritten whatever the client sent, and neither the cache key nor the origin request may contain it. The
// value is the decision's `told` as JSON: r the release, c the cookies, p true for a preview. It is read in
// handover-reading.js.

export const DECISION = 'x-greenlight-decision';
