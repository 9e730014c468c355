// A proxy's admin listener that is invented: serves the dashboard, and the API as a test has it.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";

const FILES = new URL("../../../src/admin/dashboard/", import.meta.url);
const TYPES = { html: "text/html", js: "text/javascript", css: "text/css" };

/** As the proxy sends it. */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; " +
  "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** Answers as its fields say; a test changes these. */
export class Mock {
  status = status();
  pools = [];
  lines = [];
  duplicates = [];
  /** By listener, as the API has them. */
  rules = [];
  bans = [];
  /** By client ID, the answer of /api/v1/route. */
  routes = {};
  /** By server name or address. */
  sessions = {};
  token;
  /** Of requests whose path begins with the key, the answer instead: [status, body]. */
  faults = {};
  /** The requests, without those of polls: "METHOD PATH BODY". */
  asked = [];
  /** By path, how many are under way, and how many were at once at most. */
  atOnce = {};
  mostAtOnce = {};
  /** By path, how many were answered. */
  answered = {};
  /** While this is a promise, answers wait for it. */
  gate;

  async start() {
    this.server = createServer((request, response) => this.#serve(request, response));
    await new Promise((listening) => this.server.listen(0, "127.0.0.1", listening));
    this.origin = `http://127.0.0.1:${this.server.address().port}`;
  }

  stop() {
    this.server.closeAllConnections();
    return new Promise((closed) => this.server.close(closed));
  }

  pool(name = "brokers") {
    return this.pools.find((pool) => pool.name === name);
  }

  broker(name, pool) {
    return this.pool(pool).upstreams.find((upstream) => upstream.name === name);
  }

  async #serve(request, response) {
    const { pathname, searchParams } = new URL(request.url, this.origin);
    if (!pathname.startsWith("/api/")) return serveFile(pathname, response);
    const body = await text(request);
    const { method } = request;
    const isPoll = method === "GET" && ["status", "upstreams", "rules", "duplicates", "bans", "log"].includes(pathname.slice(8));
    if (!isPoll) this.asked.push([method, request.url, body].filter(Boolean).join(" "));
    const now = (this.atOnce[pathname] ?? 0) + 1;
    this.atOnce[pathname] = now;
    this.mostAtOnce[pathname] = Math.max(now, this.mostAtOnce[pathname] ?? 0);
    await this.gate;
    const [code, answer] = this.#answer(request, pathname, searchParams, body);
    response.writeHead(code, answer === undefined ? {} : { "Content-Type": "application/json" });
    response.end(answer === undefined ? undefined : JSON.stringify(answer));
    this.atOnce[pathname] -= 1;
    this.answered[pathname] = (this.answered[pathname] ?? 0) + 1;
  }

  #answer({ method, headers }, path, query, body) {
    if (this.token && headers.authorization !== `Bearer ${this.token}`) {
      return [401, { error: "a bearer token is needed" }];
    }
    for (const [start, fault] of Object.entries(this.faults)) {
      if (path.startsWith(start)) return fault;
    }
    const [, , , kind, name, , upstream] = path.split("/").map(decodeURIComponent);
    switch (`${method} ${kind}`) {
      case "GET status":
        return [200, this.status];
      case "GET upstreams":
        return [200, { pools: this.pools }];
      case "GET bans":
        return [200, { bans: this.bans, total: this.bans.length }];
      case "DELETE bans":
        this.bans = [];
        return [204];
      case "GET duplicates":
        return [200, { duplicates: this.duplicates, evicted: 0 }];
      case "GET rules":
        return [200, { listeners: this.rules }];
      case "PATCH listeners":
        return this.#setShare(name, upstream, JSON.parse(body));
      case "GET log": {
        const lines = this.lines.filter(({ seq }) => seq > Number(query.get("after")));
        return [200, { lines, last: this.lines.at(-1)?.seq ?? 0 }];
      }
      case "GET route":
        return [200, this.routes[query.get("client_id")] ?? this.#routeOf(query.get("client_id"))];
      case "GET sessions":
        return [200, { sessions: this.sessions[query.get("sni") ?? query.get("source")] ?? [] }];
      case "PATCH pools":
        return this.#set(name, upstream, JSON.parse(body));
      case "DELETE sessions":
        return this.#kick(name);
      case "POST reload":
        return [
          200,
          { outcome: "applied", generation: 2, changes: ["pool brokers: broker-4 added"] },
        ];
      default:
        return [404, { error: "not found" }];
    }
  }

  #set(pool, name, { state }) {
    const upstream = this.broker(name, pool);
    if (!upstream) return [404, { error: `no broker ${name} in pool ${pool}` }];
    const status = { ready: upstream.up ? "up" : "down", drain: "draining", down: "set_down" }[
      state
    ];
    Object.assign(upstream, { state, status, serving: status === "up" });
    if (state === "down") upstream.sessions = 0;
    return [200, upstream];
  }

  #setShare(listener, name, { percent }) {
    const rule = this.rules.find((one) => one.listener === listener).rules.find((one) => one.name === name);
    rule.percent = percent ?? rule.configured_percent;
    rule.set_by_operator = percent !== null;
    return [200, rule];
  }

  #kick(id) {
    const pools = Object.values(this.routes).flatMap((route) => route.pools);
    const pool = pools.find(({ sessions }) => sessions.some((session) => session.id === id));
    if (!pool) return [404, { error: `no session ${id}` }];
    pool.sessions = pool.sessions.filter((session) => session.id !== id);
    return [204, undefined];
  }

  /** A client that is nowhere. */
  #routeOf(client_id) {
    const pools = this.pools.map(({ name, upstreams }) => {
      const order = upstreams.map((one) => ({ upstream: one.name, serving: one.serving }));
      const home = order.find(({ serving }) => serving)?.upstream;
      return { pool: name, order, ...(home && { goes_to: home }), sessions: [] };
    });
    return { client_id, pools };
  }
}

async function serveFile(path, response) {
  const name = path === "/" ? "index.html" : path.slice(1);
  try {
    if (!/^\w+\.(html|js|css)$/.test(name)) throw new Error("no such file");
    const file = await readFile(new URL(name, FILES));
    response.setHeader("Content-Type", TYPES[name.split(".")[1]]);
    response.setHeader("Content-Security-Policy", POLICY);
    response.setHeader("X-Content-Type-Options", "nosniff");
    response.end(file);
  } catch {
    response.writeHead(404).end();
  }
}

async function text(request) {
  let all = "";
  for await (const part of request) all += part;
  return all;
}

/** A broker as the API has it, with these differences. */
export function broker(number, differences = {}) {
  return {
    name: `broker-${number}`,
    address: `10.0.${number >> 8}.${number & 255}:1883`,
    state: "ready",
    up: true,
    serving: true,
    status: "up",
    weight: 1,
    configured_weight: 1,
    backup: false,
    max_connections: 0,
    discovered: false,
    sessions: 100 + number,
    connacks: { accepted: 400, success: 600 },
    tries: { accepted: 1000 },
    bytes_in: 1_000_000,
    bytes_out: 2_000_000,
    ...differences,
  };
}

export function pool(upstreams, differences = {}) {
  return {
    name: "brokers",
    algorithm: "rendezvous",
    failing_open: false,
    upstreams,
    ...differences,
  };
}

export function status(differences = {}) {
  return {
    version: "0.1.0",
    started_at: "2026-03-14T01:02:03.004Z",
    uptime_s: 7500.5,
    ready: true,
    workers: 2,
    config: {
      file: "/etc/mqtt-lb/config.yaml",
      generation: 1,
      loaded_at: "2026-03-14T01:02:03.001Z",
    },
    descriptors: { used: 2031, limit: 20000, connections_possible: 9700 },
    connections_open: 1012,
    listeners: [
      listener("mqtt", "0.0.0.0:1883", "tcp", 900, { 3: 10, 4: 900, 5: 290 }),
      listener("mqtts", "0.0.0.0:8883", "tls", 112, { 3: 0, 4: 100, 5: 300 }),
    ],
    ends: [
      { by: "client", phase: "relay", cause: "closed", count: 500 },
      { by: "proxy", phase: "relay", cause: "idle", count: 12 },
      { by: "proxy", phase: "connect", cause: "malformed", count: 3 },
    ],
    rejects: { limit: 3, malformed: 7 },
    access_log_dropped: 0,
    ...differences,
  };
}

export function listener(name, bind, transport, open, sessions_total, pool = "brokers") {
  const sum = Object.values(sessions_total).reduce((a, b) => a + b, 0);
  return {
    name,
    bind,
    transport,
    transports: [transport],
    pool,
    connections_active: open,
    connections_total: sum + 20,
    sessions_total,
  };
}

export function session(differences = {}) {
  return {
    id: "00c0ffee00c0ffee",
    client_id: "sensor-1",
    username: "plant",
    listener: "mqtt",
    transport: "tcp",
    client: "10.1.2.3:45678",
    protocol_version: 4,
    pool: "brokers",
    upstream: "broker-2",
    connected_at: "2026-03-14T02:02:03.004Z",
    duration_s: 3900.5,
    keepalive: 60,
    clean_start: false,
    bytes_in: 12_345,
    bytes_out: 6_789_000,
    ...differences,
  };
}

/** How a pool serves. */
export function traffic(differences = {}) {
  return { sessions: 900, connects: 2000, refused: 0, failed: 0, connacks: { success: 2000 }, ...differences };
}

/** A listener with a canary and a refusal. */
export function rules(differences = {}) {
  const all = { percent: 100, configured_percent: 100, set_by_operator: false, hits: 7 };
  return {
    listener: "mqtt",
    default_pool: "brokers",
    traffic: traffic(),
    rules: [
      { ...all, name: "stolen", action: "refuse", target: "banned" },
      {
        ...all,
        name: "canary",
        action: "pool",
        target: "new-cluster",
        percent: 5,
        configured_percent: 5,
        traffic: traffic({ sessions: 40, connects: 200, refused: 50, connacks: { success: 150, banned: 50 } }),
      },
    ],
    ...differences,
  };
}
