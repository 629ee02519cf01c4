// A browser: keeps cookies as one does, and says which kind of request it makes.
//
// Each request goes the whole way: viewer-request, an origin that has every file of every release, viewer-response.

export const NAVIGATE = { 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document', accept: 'text/html,*/*;q=0.8' };
export const SUBRESOURCE = { 'sec-fetch-mode': 'no-cors', 'sec-fetch-dest': 'script', accept: '*/*' };

function maxAgeOf(attributes) {
  const found = attributes.find((attribute) => attribute.startsWith('Max-Age='));
  return Number(found.slice('Max-Age='.length));
}

export function createBrowser(edge) {
  const jar = new Map();

  function cookies() {
    const kept = [...jar].filter(([, cookie]) => cookie.expiresAt > edge.clock.now());
    return Object.fromEntries(kept.map(([name, cookie]) => [name, cookie.value]));
  }

  function keep(set) {
    for (const [name, { value, attributes }] of Object.entries(set)) {
      const seconds = maxAgeOf(attributes);
      if (seconds > 0) {
        jar.set(name, { value, expiresAt: edge.clock.now() + seconds * 1000 });
      } else {
        jar.delete(name);
      }
    }
  }

  async function send(path, headers, more = {}) {
    const forwarded = await edge.request({ path, headers, cookies: cookies(), ...more });
    const answer = forwarded.status ? forwarded : await edge.response(forwarded);
    keep(answer.cookies);
    return { ...answer, uri: forwarded.uri, release: answer.headers['x-greenlight-release'] };
  }

  return {
    jar,
    cookies,
    open: (path, more) => send(path, NAVIGATE, more),
    load: (path, more) => send(path, SUBRESOURCE, more),
    // Without cookies: a manifest, some module preloads.
    loadCookieless: (path) => send(path, SUBRESOURCE, { cookies: {} })
  };
}
