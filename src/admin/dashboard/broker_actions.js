// Drain, ready, down: each is explained and confirmed first.

import { request } from "./api.js";
import { ask } from "./dialog.js";
import { el, printable } from "./dom.js";
import { plural } from "./format.js";
import { show } from "./say.js";

const CHOICES = {
  ready: { state: "ready", label: "Ready" },
  drain: { state: "drain", label: "Drain" },
  down: { state: "down", label: "Down" },
};

/** The two states that a broker in this one can be set to. */
export function choices(state) {
  if (state === "ready") return [CHOICES.drain, CHOICES.down];
  return [CHOICES.ready, state === "drain" ? CHOICES.down : CHOICES.drain];
}

/** Asks for confirmation, then sets the broker to this state. */
export async function askFor(broker, state) {
  const { upstream, pool } = broker;
  const name = printable(upstream.name);
  const question = QUESTIONS[state];
  const others = pool.serving().filter((other) => other !== upstream.name).length;
  const path = [pool.name, "upstreams", upstream.name].map(encodeURIComponent).join("/");
  const answer = await ask({
    title: question.title(name),
    body: [
      ...question.body(upstream).map((text) => el("p", {}, text)),
      ...(state === "ready" ? [] : [remaining(pool.name, others)]),
      el(
        "p",
        { class: "note" },
        "This applies to this proxy only, not to other proxies in front of the same brokers.",
      ),
    ],
    confirm: question.confirm,
    busy: "Sending…",
    danger: state !== "ready",
    act: () => request("PATCH", `/api/v1/pools/${path}`, { state }),
  });
  if (!answer) return;
  show(`${name}: ${question.done}.`);
  pool.changed(broker, answer);
}

const QUESTIONS = {
  ready: {
    title: (name) => `Make ${name} ready?`,
    body: ({ up }) => [
      "It gets sessions again: its clients return with their next CONNECT. Sessions on " +
        "other brokers stay until they end, or until rebalance moves them back.",
      ...(up ? [] : ["Its health checks fail; it gets no sessions until they succeed."]),
    ],
    confirm: "Make ready",
    done: "set to ready",
  },
  drain: {
    title: (name) => `Drain ${name}?`,
    body: ({ sessions }) => [
      "It gets no new sessions: its clients go to other brokers with their next CONNECT.",
      sessions
        ? `Its ${stays(sessions)}, or until rebalance (if the pool has it) moves them.`
        : "It has no sessions now.",
    ],
    confirm: "Drain",
    done: "set to drain",
  },
  down: {
    title: (name) => `Set ${name} down?`,
    body: ({ sessions }) => [
      "It is treated as if its health checks had failed: no new sessions.",
      sessions
        ? `Its ${closed(sessions)} reconnect to other brokers. With on_down: keep they stay.`
        : "It has no sessions now.",
    ],
    confirm: "Set down",
    done: "set to down",
  },
};

const stays = (sessions) =>
  `${plural(sessions, "session")} ${sessions === 1 ? "stays until it ends" : "stay until they end"}`;

const closed = (sessions) =>
  `${plural(sessions, "session")} ${sessions === 1 ? "is" : "are"} closed, the oldest first, so that clients`;

function remaining(pool, others) {
  const of = `of pool ${printable(pool)}`;
  if (others) {
    const brokers = plural(others, "other broker");
    return el("p", {}, `${brokers} ${of} ${others === 1 ? "serves" : "serve"}.`);
  }
  const warning = `No other broker ${of} takes sessions: no client can connect.`;
  return el("p", { class: "warning bad" }, warning);
}
