// `greenlight dev` for the browser: starts it on free ports and an empty folder, talks to its API, and puts sites into
// its S3. Everything it started is gone after `stop`.
//
// It must never look into the service: what it knows comes over HTTP, as it would to anybody.

import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdtemp, rm, chmod } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const BINARY = process.env.GREENLIGHT_BINARY ?? join(ROOT, "target/debug/greenlight");
const START_WITHIN_MS = 60_000;
const JOB_WITHIN_MS = 60_000;
export const ENVIRONMENT = "/v1/apps/storefront/environments/production";
export const EDGE_TTL_SECONDS = 1;

/** Starts everything and registers the application with its environment. */
export async function startHouse() {
  const folder = await mkdtemp(join(tmpdir(), "greenlight-browser-"));
  // As root, PostgreSQL runs as another user, which has to get through.
  await chmod(folder, 0o755);
  const args = ["dev", "--data-dir", join(folder, "data"), "--listen", "127.0.0.1:0", "--edge-listen", "127.0.0.1:0"];
  args.push("--edge-ttl-seconds", String(EDGE_TTL_SECONDS));
  const child = spawn(BINARY, args, { stdio: ["ignore", "pipe", "inherit"] });
  const house = new House(child, folder);
  try {
    await house.announced();
    await house.setUp();
  } catch (error) {
    await house.stop();
    throw error;
  }
  return house;
}

class House {
  constructor(child, folder) {
    this.child = child;
    this.folder = folder;
    this.ended = new Promise((resolve) => child.once("exit", resolve));
  }

  /** Waits until it has said everything one needs to know. */
  async announced() {
    const said = {};
    const lines = createInterface({ input: this.child.stdout });
    const timer = setTimeout(() => this.child.kill("SIGKILL"), START_WITHIN_MS);
    for await (const line of lines) {
      const [, name, value] = /^ {2}(API|Token|Edge|Bucket|KVS|POPs|AWS double) +(.+?)(?: +\(.*\))?$/.exec(line) ?? [];
      if (name) said[name] = value.trim();
      if (line.startsWith("Try:")) break;
    }
    clearTimeout(timer);
    this.child.stdout.resume();
    for (const name of ["API", "Token", "Edge", "Bucket", "KVS", "POPs", "AWS double"]) {
      if (!said[name]) throw new Error(`\`greenlight dev\` did not announce ${name}: ${JSON.stringify(said)}`);
    }
    this.api = said.API;
    this.token = said.Token.split(" ")[0];
    this.edge = said.Edge.split(" ")[0].replace(/\/$/, "");
    this.bucket = said.Bucket.split(" ")[0];
    this.kvs = said.KVS.split(" ")[0];
    this.pops = said.POPs.split(" ");
    this.aws = said["AWS double"].split(" ")[0];
  }

  async setUp() {
    await this.call("PUT", "/v1/apps/storefront", {});
    await this.call("PUT", ENVIRONMENT, {
      aws: { region: "us-east-1" },
      components: [
        {
          name: "web",
          router: {
            kind: "ssm_pointer",
            parameter: "/storefront/production/release",
            edge_ttl_seconds: EDGE_TTL_SECONDS,
            create_parameter: true,
            kvs_arn: this.kvs,
          },
          edge: {
            mode: "viewer_rewrite",
            fallback: "spa",
            public_url: `${this.edge}/`,
            converge: { consecutive: 2, interval_ms: 100, timeout_seconds: 30, addresses: this.pops },
          },
          cdn: { distribution_id: "E2EXAMPLE", invalidate: { mode: "none" } },
          artifact: { kind: "s3", bucket: this.bucket, prefix: "releases/{release}/" },
        },
      ],
    });
  }

  /** Uploads a site and registers it. `files`: path to [content type, text]. */
  async release(version, files) {
    for (const [path, [type, text]] of Object.entries(files)) {
      const key = `releases/${encodeURIComponent(version)}/${path}`;
      const answer = await fetch(`${this.aws}/${this.bucket}/${key}`, {
        method: "PUT",
        body: text,
        headers: { "content-type": type, ...signed() },
      });
      if (!answer.ok) throw new Error(`PUT ${key}: ${answer.status} ${await answer.text()}`);
    }
    await this.call("POST", "/v1/apps/storefront/releases", { version, artifacts: { web: {} } });
  }

  promote(release) {
    return this.job("promotions", { release });
  }

  rollBack(body = {}) {
    return this.job("rollbacks", body);
  }

  /** Starts a job and waits until it has succeeded. */
  async job(kind, body) {
    let job = await this.call("POST", `${ENVIRONMENT}/${kind}`, body);
    const deadline = Date.now() + JOB_WITHIN_MS;
    while (!["succeeded", "failed", "aborted", "stuck"].includes(job.state)) {
      if (Date.now() > deadline) throw new Error(`the job does not end: ${JSON.stringify(job, null, 2)}`);
      job = await this.call("GET", `/v1/jobs/${job.id}?wait=30`);
    }
    if (job.state !== "succeeded") throw new Error(`the job ended ${job.state}: ${JSON.stringify(job, null, 2)}`);
    return job;
  }

  async call(method, path, body) {
    const headers = { authorization: `Bearer ${this.token}` };
    if (body !== undefined) headers["content-type"] = "application/json";
    if (method === "POST") headers["idempotency-key"] = randomUUID();
    const answer = await fetch(this.api + path, { method, headers, body: body && JSON.stringify(body) });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    return text ? JSON.parse(text) : undefined;
  }

  async stop() {
    this.child.kill("SIGTERM");
    const timer = setTimeout(() => this.child.kill("SIGKILL"), 45_000);
    await this.ended;
    clearTimeout(timer);
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** The double reads who signs, and verifies no signature. */
function signed() {
  const now = new Date().toISOString().replace(/[-:]|\.\d+/g, "");
  const scope = `${now.slice(0, 8)}/us-east-1/s3/aws4_request`;
  return {
    "x-amz-date": now,
    "x-amz-content-sha256": "UNSIGNED-PAYLOAD",
    authorization:
      `AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/${scope}, ` +
      `SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature=${"0".repeat(64)}`,
  };
}
