// The flip in Chromium: blue becomes green, no page is ever a mixture, and a rollback brings everybody back.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { after, before, test } from "node:test";

import { chromium } from "playwright-core";

import { startHouse } from "./house.mjs";
import { site } from "./site.mjs";

const CHROMIUM = process.env.GREENLIGHT_CHROMIUM ?? "/usr/bin/chromium";
const FLIPS = Number(process.env.GREENLIGHT_BROWSER_FLIPS ?? 50);
const RELEASES = { "1.0.0": "blue", "1.1.0": "green", "1.2.0": "teal", "2.0.0+build.7": "navy" };
const VERSIONS = Object.keys(RELEASES);

let house;
let browser;

before(async () => {
  assert.ok(existsSync(CHROMIUM), `no Chromium at ${CHROMIUM}: apt-get install chromium, or set GREENLIGHT_CHROMIUM`);
  house = await startHouse();
  for (const [version, colour] of Object.entries(RELEASES)) await house.release(version, site(version, colour));
  browser = await chromium.launch({
    executablePath: CHROMIUM,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync"],
  });
});

after(async () => {
  await browser?.close();
  await house?.stop();
});

/** A visitor of one point of presence, as a real one mostly is: cookies don't tell ports apart. */
async function visitor(pop = 0) {
  const context = await browser.newContext({ baseURL: `http://${house.pops[pop]}` });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  return { context, page, close: () => context.close() };
}

const releaseOf = (page) => page.evaluate(() => document.documentElement.dataset.release);
const background = (page) => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);

/** Opens the page, lets it load the rest a little later, and says what its parts are of. */
async function visit(page, pause) {
  const answer = await page.goto("/");
  assert.equal(answer.status(), 200);
  const marked = answer.headers()["x-greenlight-release"];
  await page.waitForTimeout(pause);
  const seen = await page.evaluate(() => window.later());
  return { marked, page: await releaseOf(page), ...seen };
}

function assertWhole(parts) {
  const releases = new Set(Object.values(parts));
  assert.equal(releases.size, 1, `a page of parts of several releases: ${JSON.stringify(parts)}`);
  assert.equal(Object.keys(parts).length, 6, `a part is missing: ${JSON.stringify(parts)}`);
}

test("a page is blue, and green after the promotion", async () => {
  await house.promote("1.0.0");
  const { page, context, close } = await visitor();
  assertWhole(await visit(page, 0));
  assert.equal(await background(page), "rgb(0, 0, 255)");
  const pin = (await context.cookies()).find((cookie) => cookie.name === "greenlight-pin");
  assert.deepEqual(
    [pin.value.split("~")[0], pin.secure, pin.httpOnly, pin.sameSite, pin.path],
    ["1.0.0", true, true, "Lax", "/"],
  );
  await house.promote("1.1.0");
  await page.reload();
  assert.equal(await releaseOf(page), "1.1.0");
  assert.equal(await background(page), "rgb(0, 128, 0)");
  await close();
});

test("an open page keeps the assets of its release, and its next navigation is on the new one", async () => {
  await house.promote("1.0.0");
  const { page, close } = await visitor();
  await page.goto("/somewhere/deep");
  await house.promote("1.1.0");
  assertWhole({ marked: "1.0.0", page: await releaseOf(page), ...(await page.evaluate(() => window.later())) });
  await page.goto("/elsewhere");
  assertWhole({ marked: "1.1.0", page: await releaseOf(page), ...(await page.evaluate(() => window.later())) });
  await close();
});

test("a preview shows one browser the candidate, and nobody else", async () => {
  const candidate = "2.0.0+build.7";
  const body = { release: candidate, expires_in_seconds: 600 };
  const preview = await house.call("POST", "/v1/apps/storefront/environments/production/previews", body);
  const link = new URL(preview.components[0].url);
  const tester = await visitor();
  const somebody = await visitor();
  // The edge knows a new secret when its copy of the KeyValueStore has come.
  const deadline = Date.now() + 10_000;
  let answer = await tester.page.goto(link.pathname + link.search);
  while (answer.status() === 403 && Date.now() < deadline) {
    await tester.page.waitForTimeout(100);
    answer = await tester.page.goto(link.pathname + link.search);
  }
  assert.equal(answer.status(), 200, await answer.text());
  assert.ok(!tester.page.url().includes("greenlight-preview"), "the address is clean again");
  assertWhole(await visit(tester.page, 0));
  assert.equal(await releaseOf(tester.page), candidate);
  assertWhole(await visit(somebody.page, 0));
  assert.equal(await releaseOf(somebody.page), "1.1.0");
  await tester.close();
  await somebody.close();
});

test(`no page is a mixture during ${FLIPS} flips under load`, { timeout: 600_000 }, async (t) => {
  let flips = 0;
  let flipping = true;
  let visits = 0;
  let requests = 0;
  const releases = new Set();
  // A visitor at each point of presence, who opens page after page and stays for different times.
  const visitors = await Promise.all(house.pops.map((_, pop) => visitor(pop)));
  const browsing = visitors.map(({ page }, pop) => async () => {
    for (let round = 0; flipping; round += 1) {
      const before = flips;
      const parts = await visit(page, ((round + pop) % 5) * 100);
      // The pointer knows one release before the active one: a page that stays through two flips is of none of them.
      if (flips - before < 2) assertWhole(parts);
      releases.add(parts.page);
      visits += 1;
    }
  });
  // And requests as fast as one client sends them, to every point of presence in turn.
  const loading = async () => {
    while (flipping) {
      const pop = house.pops[requests % house.pops.length];
      const answer = await fetch(`http://${pop}/`, { headers: { accept: "text/html" } });
      const text = await answer.text();
      assert.equal(answer.status, 200, text);
      assert.ok(text.includes(`data-release="${answer.headers.get("x-greenlight-release")}"`));
      requests += 1;
    }
  };
  const flip = async () => {
    while (flipping && flips < FLIPS) {
      await house.promote(VERSIONS[flips % VERSIONS.length]);
      flips += 1;
    }
    flipping = false;
  };
  // Whoever fails stops the others: the next test must not begin in the middle of a flip.
  const until = (story) => story().finally(() => (flipping = false));
  const ended = await Promise.allSettled([flip, loading, ...browsing].map(until));
  await Promise.all(visitors.map(({ close }) => close()));
  for (const { reason } of ended) if (reason) throw reason;
  t.diagnostic(`${flips} flips, ${visits} pages opened, ${requests} requests besides`);
  assert.ok(visits > FLIPS, `too few pages were opened to say anything: ${visits}`);
  assert.equal(releases.size, VERSIONS.length, `every release was seen: ${[...releases]}`);
});

test("after a rollback every navigation is back, a pinned visitor's too", async () => {
  await house.promote("1.0.0");
  await house.promote("1.1.0");
  const visitors = await Promise.all(house.pops.map((_, pop) => visitor(pop)));
  for (const { page, context } of visitors) {
    await page.goto("/");
    assert.equal(await releaseOf(page), "1.1.0");
    const pin = (await context.cookies()).find((cookie) => cookie.name === "greenlight-pin");
    assert.ok(pin.value.startsWith("1.1.0~"), pin.value);
  }
  await house.rollBack();
  for (const { page, close } of visitors) {
    // Its own page is left as it is; but what it loads is of the release that is active, for the pin is void.
    assert.equal(await page.evaluate(() => fetch("/data.json").then((a) => a.json()).then((d) => d.release)), "1.0.0");
    assertWhole(await visit(page, 0));
    assert.equal(await releaseOf(page), "1.0.0");
    await close();
  }
});
