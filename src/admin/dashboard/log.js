// The program log, the newest line last; it follows unless the user has scrolled up.

import { el, printable, setText } from "./dom.js";
import { clock, plural } from "./format.js";

/** The most lines: as many as the proxy keeps. */
const KEPT = 500;

/** Pixels from the end that still count as the end: fractions of a pixel are rounded. */
const NEARLY = 8;

const frame = document.getElementById("log-lines");
const list = frame.querySelector("ol");
const empty = document.getElementById("log-empty");
const level = document.getElementById("log-level");
const newest = document.getElementById("log-newest");
let after = 0;
let unread = 0;

/** The path of the next request. */
export const logPath = () => `/api/v1/log?after=${after}`;

export function showLog({ lines, last }) {
  const isFollowing = atEnd();
  // A smaller number comes from another process.
  if (last < after) restart();
  for (const line of lines) list.append(item(line));
  while (list.childElementCount > KEPT) list.firstElementChild.remove();
  after = last ?? after;
  if (!isFollowing) unread += lines.length;
  settle(isFollowing);
}

/** The proxy has restarted: its lines are numbered from 1 again. */
export function restart() {
  after = 0;
}

function item({ time, level: name, message }) {
  const known = ["DEBUG", "INFO", "WARN", "ERROR"].includes(name) ? name : "INFO";
  return el(
    "li",
    { "data-level": known },
    el("time", { datetime: time, title: time }, clock(time)),
    el("span", { class: "level" }, printable(name)),
    el("span", { class: "message" }, printable(message)),
  );
}

function atEnd() {
  return frame.scrollHeight - frame.scrollTop - frame.clientHeight <= NEARLY;
}

function settle(isFollowing) {
  if (isFollowing) frame.scrollTop = frame.scrollHeight;
  showUnread();
  const hasShown = [...list.children].some((line) => line.checkVisibility());
  empty.hidden = hasShown;
  setText(empty, list.childElementCount ? "No line of this level." : "No lines yet.");
}

function showUnread() {
  if (atEnd()) unread = 0;
  newest.hidden = atEnd();
  setText(newest, unread ? `${plural(unread, "new line")} ↓` : "Newest ↓");
}

frame.addEventListener("scroll", showUnread);
newest.addEventListener("click", () => {
  frame.scrollTop = frame.scrollHeight;
  frame.focus({ preventScroll: true });
});
level.addEventListener("change", () => {
  frame.dataset.level = level.value;
  settle(true);
});
frame.dataset.level = level.value;
