// The header and the facts under it: one response of /api/v1/status.

import { fields, printable, setAttribute, setText } from "./dom.js";
import { count, percent, plural, span, stamp } from "./format.js";
import { list } from "./reload.js";
import { say } from "./say.js";
import { warn } from "./warnings.js";

/** The share of descriptors in use from which the page warns. */
const DESCRIPTORS_SHORT = 0.8;

const at = fields(document.querySelector(".facts"));
const version = document.getElementById("version");
const readiness = document.getElementById("readiness");
let wasReady;

export function showOverview(status) {
  setText(version, printable(status.version));
  showReadiness(status);
  setText(at.uptime, span(status.uptime_s));
  setText(at.started, `since ${stamp(status.started_at)}`);
  setText(at.connections, count(status.connections_open));
  showDescriptors(status.descriptors ?? {});
  showRoom(status);
  showConfig(status.config ?? {});
  showUpgrade(status.last_upgrade);
}

/** The last upgrade, and the process before it while that has connections. */
function showUpgrade(last) {
  setText(at.upgraded, last ? printable(last.outcome) : "none yet");
  at.upgraded.classList.toggle("bad", last?.outcome === "failed");
  const { pid, version: before, state, moved, remaining, stayed } = last?.previous ?? {};
  const reasons = Object.entries(stayed ?? {}).map(([why, n]) => `${printable(why)} ${count(n)}`);
  const stays = reasons.length ? ` (${reasons.join(", ")})` : "";
  const process =
    pid === undefined
      ? ""
      : `; from process ${pid}, version ${printable(before)}, ${printable(state)}: ` +
        `${plural(moved, "session")} moved, ${state === "detached" ? "?" : count(remaining)} left${stays}`;
  setText(at.upgraded_at, last ? stamp(last.at) + process : "");
  const text = `The upgrade at ${stamp(last?.at)} failed. The process before it carries on.`;
  const details = list(last?.error ? [last.error] : [], "faults");
  warn("upgrade", last?.outcome === "failed" && text, { details });
}

function showReadiness({ ready, not_ready: why }) {
  const text = ready ? "Ready" : `Not ready: ${printable(why ?? "reason unknown")}`;
  setText(readiness, text);
  readiness.hidden = false;
  readiness.classList.toggle("bad", !ready);
  if (wasReady !== undefined && wasReady !== ready) say(`The proxy is ${text.toLowerCase()}.`);
  wasReady = ready;
}

function showRoom({ descriptors, workers }) {
  const possible = descriptors?.connections_possible;
  const most = possible === undefined ? "" : `at most ${count(possible)}, `;
  setText(at.possible, most + plural(workers, "worker"));
}

function showDescriptors({ used, limit }) {
  const part = used / limit;
  setText(at.descriptors, percent(part));
  setText(at.descriptors_used, `${count(used)} of ${count(limit)}`);
  setAttribute(at.gauge_fill, "width", (100 * Math.min(1, part || 0)).toFixed(1));
  at.gauge.classList.toggle("bad", part >= DESCRIPTORS_SHORT);
  setAttribute(at.gauge, "aria-label", `${percent(part)} of the descriptors are in use`);
  const text =
    `${percent(part)} of the descriptors are in use. ` +
    "Raise LimitNOFILE, or lower limits.max_connections.";
  warn("descriptors", part >= DESCRIPTORS_SHORT && text, { kind: "poor" });
}

function showConfig(config) {
  const { file, generation, loaded_at: loaded, last_reload: last, last_file_reload: files } = config;
  setText(at.generation, `Generation ${count(generation)}`);
  setText(at.file, `${printable(file ?? "")}, loaded ${stamp(loaded)}`);
  const isRefused = last?.outcome === "refused";
  setText(at.reloaded, last ? printable(last.outcome) : "none yet");
  at.reloaded.classList.toggle("bad", isRefused);
  setText(at.reloaded_at, last ? stamp(last.at) : "");
  const faults = last?.faults ?? [];
  const text =
    `The reload at ${stamp(last?.at)} was refused: ${plural(faults.length, "fault")}. ` +
    "The configuration before it stays in force.";
  warn("reload", isRefused && text, { details: list(faults, "faults") });
  const fileFaults = files?.faults ?? [];
  const fileText =
    `The files that changed at ${stamp(files?.at)} were refused: ` +
    `${plural(fileFaults.length, "fault")}. Those from before stay in use.`;
  const details = list(fileFaults, "faults");
  warn("files", files?.outcome === "refused" && fileText, { details });
}
