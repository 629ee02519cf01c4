// A small site whose every file says which release it is of, so that a mixture is seen in the page itself.

import { createHash } from "node:crypto";

/** The files of one release, as `House.release` takes them. */
export function site(version, colour) {
  const lazy = `export const release = ${JSON.stringify(version)};\n`;
  const hash = createHash("sha256").update(lazy).digest("hex").slice(0, 10);
  const app = `
const seen = (window.seen = { app: ${JSON.stringify(version)} });
seen.style = getComputedStyle(document.documentElement).getPropertyValue("--release").trim().replaceAll('"', "");
// What a page loads later, while it is open: where a flip would mix releases.
window.later = async () => {
  const [module, data] = await Promise.all([
    import("/assets/lazy-${hash}.js"),
    fetch("/data.json", { cache: "no-store" }).then((answer) => answer.json()),
  ]);
  seen.lazy = module.release;
  seen.data = data.release;
  return seen;
};
`;
  const page = `<!doctype html>
<html data-release="${version}">
  <head>
    <meta charset="utf-8" />
    <title>${version}</title>
    <link rel="icon" href="data:," />
    <link rel="stylesheet" href="/style.css" />
  </head>
  <body>
    <h1>${version}</h1>
    <script src="/app.js"></script>
  </body>
</html>
`;
  return {
    "index.html": ["text/html; charset=utf-8", page],
    "style.css": ["text/css", `:root { --release: "${version}"; background: ${colour}; }\n`],
    "app.js": ["text/javascript", app],
    [`assets/lazy-${hash}.js`]: ["text/javascript", lazy],
    "data.json": ["application/json", JSON.stringify({ release: version })],
  };
}
