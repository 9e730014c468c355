// Where a client is connected, and which broker it would get: /api/v1/route.

import { get, request } from "./api.js";
import { ask } from "./dialog.js";
import { el, foreign, printable } from "./dom.js";
import { bytes, plural, span, stamp } from "./format.js";
import { say, show } from "./say.js";

/** Brokers of the order shown at first; the others are folded. */
const FIRST = 5;

/** Sessions of a server name or an address that are shown. */
const MAX_SESSIONS = 20;

/** What can only be an address: no server name ends in a number (RFC 3696, section 2). */
const ADDRESS = /^[0-9.]+$|:/;

const VERSIONS = { 3: "3.1", 4: "3.1.1", 5: "5.0" };

const form = document.getElementById("search");
const input = document.getElementById("client-id");
const clear = document.getElementById("search-clear");
const rules = document.getElementById("search-rules");
const listener = document.getElementById("search-listener");
const found = document.getElementById("found");
let searches = 0;

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (input.value) find(input.value);
});
clear.addEventListener("click", () => {
  searches += 1;
  found.replaceChildren();
  clear.hidden = true;
  input.value = "";
  input.focus();
});

/** Offers these listeners, whose rules say where clients go; none: every pool is shown. */
export function offerListeners(names) {
  rules.hidden = !names.length;
  const known = [...listener.options].map(({ value }) => value);
  if (known.join("\n") === names.join("\n")) return;
  const chosen = listener.value;
  const options = names.map((name) => el("option", { value: name }, printable(name)));
  listener.replaceChildren(...options);
  if (names.includes(chosen)) listener.value = chosen;
}

async function find(id) {
  const search = (searches += 1);
  found.setAttribute("aria-busy", "true");
  const shown = await searchAll(id).catch((error) => [
    el("p", { class: "warning bad" }, `The search failed: ${error.message}.`),
  ]);
  // Another search has started in the meantime.
  if (search !== searches) return;
  found.removeAttribute("aria-busy");
  found.replaceChildren(...shown);
  clear.hidden = false;
  say(shown[0].textContent);
}

async function searchAll(text) {
  const value = encodeURIComponent(text);
  const byRules = listener.value ? `&listener=${encodeURIComponent(listener.value)}` : "";
  const answer = await get(`/api/v1/route?client_id=${value}${byRules}`);
  if (!answer.pools.some(({ sessions = [] }) => sessions.length)) {
    // Of a client whose TLS is passed through, only these are known.
    const key = ADDRESS.test(text) ? "source" : "sni";
    const page = await get(`/api/v1/sessions?${key}=${value}&limit=${MAX_SESSIONS}`);
    if (page.sessions.length) return ofOrigin(text, key, page);
  }
  return results(text, answer);
}

/** The sessions of a server name or from an address. */
function ofOrigin(text, key, { sessions, next }) {
  const count = next === undefined ? "" : "The first ";
  const origin = key === "sni" ? " of server name " : " from ";
  return [
    el(
      "p",
      { class: "headline" },
      `${count}${plural(sessions.length, "session")}${origin}`,
      foreign(text),
      ".",
      el("span", { class: "note" }, ` As of ${stamp(Date.now())}.`),
    ),
    el(
      "article",
      { class: "result" },
      el("ul", { class: "sessions" }, ...sessions.map((one) => sessionItem(text, one, null, false))),
    ),
  ];
}

function results(id, answer) {
  const { pools } = answer;
  const sessions = pools.flatMap(({ sessions = [] }) => sessions);
  const where = [...new Set(sessions.map(({ upstream }) => upstream))].map(printable).join(", ");
  const headline = sessions.length
    ? [foreign(id), ` has ${plural(sessions.length, "session")}, on ${where}.`]
    : [
        "No session: no client ",
        foreign(id),
        " is connected through this proxy. None has this server name or address. Client IDs are case-sensitive.",
      ];
  return [
    el(
      "p",
      { class: sessions.length ? "headline" : "headline none" },
      ...headline,
      el("span", { class: "note" }, ` As of ${stamp(Date.now())}.`),
    ),
    ...decision(answer),
    ...pools.map((pool) => poolResult(id, pool, answer)),
  ];
}

/** What the rules of the listener say; nothing if no listener was asked about. */
function decision({ listener: at, rules: verdicts = [], rule, refuse, redirect, why }) {
  if (at === undefined) return [];
  const decides = rule === undefined ? "No rule holds" : `Rule ${printable(rule)} decides`;
  const outcome =
    (refuse && ["It would be refused: ", el("strong", { class: "bad" }, printable(refuse)), "."]) ||
    (redirect && ["It would be sent to ", el("strong", {}, printable(redirect)), "."]) ||
    (why && ["It would be refused: ", el("strong", { class: "bad" }, printable(why)), "."]) ||
    [];
  const line = ({ rule: name, holds, why: reason }) =>
    el("li", {}, `${printable(name)} ${holds ? "holds" : "does not hold"}: ${printable(reason)}`);
  return [
    el(
      "div",
      { class: "result" },
      el("p", {}, `${decides}, at listener ${printable(at)}. `, ...outcome),
      ...(verdicts.length ? [el("ul", { class: "lines changes" }, ...verdicts.map(line))] : []),
    ),
  ];
}

function poolResult(id, pool, { listener: at, pool: target, pools }) {
  const { order = [], sessions = [], why } = pool;
  const isElsewhere = at !== undefined && pool.pool !== target;
  const preferred = isElsewhere
    ? pools.find((one) => one.pool === target)?.goes_to
    : pool.goes_to;
  const name = printable(pool.pool);
  const nowhere = el(
    "strong",
    { class: "bad" },
    why ? printable(why) : "no broker: none of this pool takes sessions",
  );
  return el(
    "article",
    { class: "result" },
    el("h3", {}, `Pool ${name}`),
    sessions.length
      ? el(
          "ul",
          { class: "sessions" },
          ...sessions.map((session) => sessionItem(id, session, preferred, isElsewhere)),
        )
      : el("p", { class: "none" }, "Not connected through this pool."),
    isElsewhere
      ? el("p", {}, "Its next CONNECT would not go to this pool.")
      : el(
          "p",
          {},
          "Its next CONNECT would go to ",
          preferred === undefined ? nowhere : el("strong", {}, printable(preferred)),
          ".",
        ),
    ...orderLists(order),
  );
}

function sessionItem(id, session, preferred, isElsewhere) {
  const on = printable(session.upstream);
  const kick = el(
    "button",
    { type: "button", class: "danger", "aria-label": `Kick ${printable(id)} from ${on}` },
    "Kick…",
  );
  kick.addEventListener("click", () => askToKick(id, session, preferred));
  const version = VERSIONS[session.protocol_version] ?? session.protocol_version;
  const clean = session.clean_start ? ", clean start" : "";
  const by = `listener ${printable(session.listener)} (${printable(session.transport)})`;
  const assigned = session.assigned_client_id;
  const atBroker = session.broker_client_id ?? assigned;
  const pairs = [
    ...(atBroker === undefined
      ? []
      : [["Client ID at the broker", [foreign(atBroker), assigned === undefined ? "" : " (assigned)"]]]),
    ["Connected", `${stamp(session.connected_at)}, ${span(session.duration_s)} ago`],
    ["From", `${printable(session.client ?? "–")}, ${by}`],
    ...(session.sni === undefined ? [] : [["Server name", foreign(session.sni)]]),
    ...(session.client_id === undefined
      ? [["Protocol", "MQTT in TLS, which the proxy passes through"]]
      : [
          ["Username", session.username === undefined ? "none" : foreign(session.username)],
          ["Protocol", `MQTT ${version}, keep alive ${session.keepalive} s${clean}`],
        ]),
    ["Bytes in, out", `${bytes(session.bytes_in)}, ${bytes(session.bytes_out)}`],
    ["Session", el("span", { class: "mono" }, printable(session.id))],
  ];
  return el(
    "li",
    {},
    el(
      "p",
      {},
      "Now on ",
      el("strong", {}, on),
      isElsewhere || (preferred && preferred !== session.upstream) ? ", but would go elsewhere now" : "",
    ),
    el(
      "dl",
      { class: "pairs" },
      ...pairs.map(([term, value]) => el("div", {}, el("dt", {}, term), el("dd", {}, ...[value].flat()))),
    ),
    kick,
  );
}

function orderLists(order) {
  if (!order.length) return [];
  const title = el("p", { class: "note" }, "The order in which brokers are tried:");
  const item = ({ upstream, serving }) => {
    const name = printable(upstream);
    return serving
      ? el("li", {}, name)
      : el("li", { class: "skipped" }, el("s", {}, name), " does not serve");
  };
  const first = el("ol", { class: "order" }, ...order.slice(0, FIRST).map(item));
  if (order.length <= FIRST) return [title, first];
  const rest = el("ol", { class: "order", start: FIRST + 1 }, ...order.slice(FIRST).map(item));
  const summary = el("summary", {}, `${plural(order.length - FIRST, "further broker")}`);
  return [title, first, el("details", {}, summary, rest)];
}

/** `preferred`: undefined if no broker takes the client, null if that is unknown. */
function kickNote(preferred) {
  if (preferred === undefined) return "If the client reconnects, no broker takes it.";
  if (preferred === null) return "The client may reconnect at once.";
  return `The client may reconnect at once; it would go to ${printable(preferred)}.`;
}

async function askToKick(id, session, preferred) {
  const kicked = await ask({
    title: "Kick this session?",
    body: [
      el(
        "p",
        {},
        "The session of ",
        foreign(id),
        " on ",
        el("strong", {}, printable(session.upstream)),
        " is closed.",
      ),
      el(
        "p",
        {},
        kickNote(preferred),
      ),
    ],
    confirm: "Kick",
    busy: "Sending…",
    danger: true,
    act: () =>
      request("DELETE", `/api/v1/sessions/${encodeURIComponent(session.id)}`).then(() => true),
  });
  if (!kicked) return;
  show("Kicked. The client may reconnect at once.");
  await find(id);
  input.focus();
}
