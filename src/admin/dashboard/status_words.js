// The status words of brokers, the worst first, as they are sorted.

import { printable, setAttribute, setText } from "./dom.js";

const WORDS = ["down", "failing", "unresolved", "ejected", "full", "set_down", "draining", "up"];

/** With spaces in place of underscores. */
export const written = (status) => printable(status).replaceAll("_", " ");

/** The rank for sorting; an unknown status comes first. */
export const severity = (status) => WORDS.indexOf(status);

/** Shows a status: its shape, its colour and its word. */
export function paint({ status, shape, word }, value) {
  const known = WORDS.includes(value);
  setAttribute(status, "data-status", known ? value : "unresolved");
  setAttribute(shape, "href", `#s-${known ? value : "unresolved"}`);
  setText(word, written(value));
}
