// All pools: one response of /api/v1/upstreams.

import { arrange, setText } from "./dom.js";
import { PoolTable, sentence } from "./pool.js";
import { say } from "./say.js";
import { written } from "./status_words.js";

const place = document.getElementById("pools");
const waiting = document.getElementById("waiting");
const tables = new Map();

/** `refresh` polls the API at once. */
export function showPools({ pools }, refresh) {
  // A monotonic clock.
  const time = performance.now() / 1000;
  const names = new Set(pools.map(({ name }) => name));
  for (const [name, table] of tables) {
    if (names.has(name)) continue;
    table.element.remove();
    tables.delete(name);
  }
  for (const pool of pools) {
    if (!tables.has(pool.name)) tables.set(pool.name, new PoolTable(pool.name, refresh));
    const changes = tables.get(pool.name).take(pool, time);
    if (changes.length) say(sentence(pool.name, changes, written));
  }
  waiting.hidden = pools.length > 0;
  setText(waiting, "There are no pools.");
  const order = pools.map(({ name }) => tables.get(name).element);
  arrange(place, order, waiting.nextElementSibling);
}

/** The proxy has restarted: its counters began at zero. */
export function forgetHistory() {
  for (const table of tables.values()) table.forgetHistory();
}

/** How many brokers are not up. */
export function troubled() {
  return [...tables.values()].reduce((sum, table) => sum + table.troubled(), 0);
}
