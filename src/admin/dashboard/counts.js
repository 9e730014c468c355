// Sessions by version and listener, ends by cause, rejects: more of /api/v1/status.

import { Rows, bar, el, printable, setText, textCells } from "./dom.js";
import { count, percent } from "./format.js";
import { History } from "./history.js";

/** The protocol levels of the CONNECT. */
const VERSIONS = { 3: "MQTT 3.1", 4: "MQTT 3.1.1", 5: "MQTT 5.0" };

const MINUTE = 60;

const table = (id, make) => new Rows(document.getElementById(id), make);
const versions = table("versions", barredCells(1, 2));
const listeners = table("listeners", barredCells(3, 2));
const ends = table("ends", textCells(3, 2));
const rejects = table("rejects", textCells(1, 2));
const dropped = document.getElementById("dropped");
const history = new History();

export function showCounts(status) {
  const { listeners: all = [], ends: ended = [], rejects: rejected = {} } = status;
  showVersions(all);
  showListeners(all);

  const drops = status.access_log_dropped ?? 0;
  const counters = { dropped: drops };
  for (const end of ended) counters[key(end)] = end.count;
  for (const [reason, n] of Object.entries(rejected)) counters[`reject ${reason}`] = n;
  history.add(performance.now() / 1000, counters);

  const lately = (name) => count(history.growth(name, MINUTE));
  ends.update(
    [...ended]
      .sort((a, b) => b.count - a.count)
      .map((end) => [key(end), [...names(end), lately(key(end)), count(end.count)]]),
  );
  rejects.update(
    Object.entries(rejected)
      .sort(([, a], [, b]) => b - a)
      .map(([reason, n]) => [reason, [printable(reason), lately(`reject ${reason}`), count(n)]]),
  );
  const text = drops
    ? `${count(drops)} lines dropped since the start, ${lately("dropped")} in the last minute`
    : "No line dropped";
  setText(dropped, text);
  dropped.classList.toggle("bad", drops > 0);
}

/** The proxy has restarted: its counters began at zero. */
export function forgetHistory() {
  history.clear();
}

function showVersions(all) {
  const counts = new Map(Object.keys(VERSIONS).map((version) => [version, 0]));
  for (const { sessions_total: total = {} } of all) {
    for (const [version, n] of Object.entries(total)) {
      counts.set(version, (counts.get(version) ?? 0) + n);
    }
  }
  const sum = [...counts.values()].reduce((a, b) => a + b, 0);
  versions.update(
    [...counts].map(([version, n]) => {
      const share = sum ? n / sum : undefined;
      return [version, [VERSIONS[version] ?? printable(version), count(n), percent(share), share]];
    }),
  );
}

function showListeners(all) {
  const most = Math.max(...all.map(({ connections_active: open }) => open ?? 0));
  listeners.update(
    all.map((one) => {
      const { connections_active: open, sessions_total: sessions = {} } = one;
      const total = Object.values(sessions).reduce((a, b) => a + b, 0);
      const bind = `${printable(one.bind)} ${one.transports.map(printable).join(", ")}`;
      const words = [printable(one.name), bind, printable(one.pool)];
      return [one.name, [...words, count(open), count(total), most ? open / most : 0]];
    }),
  );
}

/** Like `textCells`, with a bar after them. */
function barredCells(words, numbers) {
  return (row) => {
    const setTexts = textCells(words, numbers)(row);
    const [element, setBar] = bar();
    row.append(el("td", { class: "bar-cell" }, element));
    return (values) => {
      setTexts(values);
      setBar(values.at(-1));
    };
  };
}

const key = ({ by, phase, cause }) => `end ${by} ${phase} ${cause}`;
const names = ({ by, phase, cause }) => [by, phase, cause].map(printable);
