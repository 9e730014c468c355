// A line of five minutes. It starts at zero, so that a small change looks small.

import { setAttribute } from "./dom.js";
import { KEPT } from "./history.js";

const [WIDTH, HEIGHT, MARGIN] = [120, 22, 1.5];

/** Seconds without a sample after which the line has a gap: more than the longest pause of polls. */
const GAP = 45;

/** Draws [seconds ago, value] into an svg.spark, and describes it in words; returns the range. */
export function draw(svg, what, points, write) {
  const values = points.map(([, value]) => value);
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const x = (ago) => (WIDTH * (1 - ago / KEPT)).toFixed(1);
  const y = (value) => (HEIGHT - MARGIN - ((HEIGHT - 2 * MARGIN) * value) / (most || 1)).toFixed(1);
  let [line, area] = ["", ""];
  for (const piece of pieces(points)) {
    const way = piece.map(([ago, value]) => `${x(ago)} ${y(value)}`).join("L");
    line += `M${way}`;
    area += `M${x(piece[0][0])} ${HEIGHT}L${way}V${HEIGHT}z`;
  }
  setAttribute(svg.querySelector(".line"), "d", line);
  setAttribute(svg.querySelector(".area"), "d", area);
  const range = values.length ? `${write(least)} to ${write(most)}` : "";
  const words = range ? `now ${write(values.at(-1))}, ${range}` : "not known yet";
  setAttribute(svg, "aria-label", `${what}, last 5 minutes: ${words}`);
  return range;
}

/** The points, split at gaps. */
function pieces(points) {
  const cut = [];
  points.forEach((point, index) => {
    if (!index || points[index - 1][0] - point[0] > GAP) cut.push([]);
    cut.at(-1).push(point);
  });
  return cut;
}
