// The page in Chromium: opened once for each test, and held to what must be so in all of them.

import assert from "node:assert/strict";
import { after, before } from "node:test";
import { isDeepStrictEqual } from "node:util";

import { chromium } from "playwright-core";

import { Mock } from "./mock.js";

const EXECUTABLE = process.argv[2] ?? "/usr/bin/chromium";

/** Only a failing test waits this long, in milliseconds: the machine may be busy. */
const PATIENCE = 20_000;

/** With `clock`, the page's time stands at this, and moves as `tick` has it. */
const TIME = "2026-03-14T03:07:04Z";

let browser;

before(async () => {
  // Only what the page asks for: nothing of the browser's own goes out.
  browser = await chromium.launch({
    executablePath: EXECUTABLE,
    chromiumSandbox: false,
    args: [
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
});
after(async () => {
  await browser?.close();
});

/**
 * Runs a test against a mock that `prepare` has filled, with the page open.
 *
 * Whatever the test: no request leaves the origin, the policy is kept, nothing goes wrong in the
 * page. The browser's own complaints about answers of 4xx and 5xx are not the page's.
 */
export async function withPage(
  prepare,
  run,
  { viewport = { width: 1280, height: 900 }, ...options } = {},
) {
  const mock = new Mock();
  await mock.start();
  await prepare(mock);
  try {
    await withPageOf(mock.origin, (page) => run(page, mock), { viewport, ...options });
  } finally {
    await mock.stop();
  }
}

/** The same, against what serves at `origin`. */
export async function withPageOf(origin, run, { clock = false, ...options } = {}) {
  const context = await browser.newContext({ locale: "en-GB", ...options });
  const wrong = [];
  context.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(`${origin}/`) && !url.startsWith("data:")) wrong.push(`request to ${url}`);
  });
  context.on("weberror", (error) => wrong.push(`error ${error.error().stack}`));
  context.on("console", (message) => {
    const isAnswer = message.text().startsWith("Failed to load resource");
    if (["error", "warning"].includes(message.type()) && !isAnswer) wrong.push(message.text());
  });
  await context.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) => {
      console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`);
    });
  });
  try {
    const page = await context.newPage();
    page.setDefaultTimeout(PATIENCE);
    if (clock) {
      await page.clock.install({ time: Date.parse(TIME) - 1000 });
      await page.clock.pauseAt(TIME);
    }
    await page.goto(`${origin}/`);
    await run(page);
    assert.deepEqual(wrong, []);
  } finally {
    await context.close();
  }
}

/** Waits until `look` returns `expected`; shows what it returned last where it does not. */
export async function becomes(look, expected) {
  const deadline = Date.now() + PATIENCE;
  for (;;) {
    const seen = await look();
    if (isDeepStrictEqual(seen, expected)) return;
    if (Date.now() > deadline) assert.deepEqual(seen, expected);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Waits until the element has this text. */
export const hasText = (locator, text) => becomes(() => locator.innerText(), text);

let ticks = 0;

/** With `clock`: lets two seconds pass, one poll, and waits for its answers to be shown. No other
 * poll may be under way: the next one would not be due yet when the time has passed. */
export async function tick(page, mock) {
  mark(mock);
  await page.clock.runFor(2000);
  await shown(page, mock);
}

/** With `clock`: lets so many milliseconds pass at once, and waits for the answers to one poll. */
export async function skip(page, mock, milliseconds) {
  mark(mock);
  await page.clock.fastForward(milliseconds);
  await shown(page, mock);
}

/** Has the mock say what it has not said before, so that its next answers are known by it. */
export function mark(mock) {
  ticks += 1;
  mock.status.version = `tick ${ticks}`;
  mock.pools[0].algorithm = `tick ${ticks}`;
}

/** Waits until the page shows what the mock has. */
export async function shown(page, mock) {
  await hasText(page.locator("#version"), mock.status.version);
  await hasText(page.locator("[data-field=algorithm]").first(), mock.pools[0].algorithm);
}

/** A broker's row. */
export const row = (page, name) =>
  page.locator("tbody.broker", { has: page.locator("bdi", { hasText: new RegExp(`^${name}$`) }) });

/** A cell of a broker's row. */
export const cell = (page, name, field) => row(page, name).locator(`[data-field=${field}]`);

/** The names of the brokers that are shown, in their order. */
export const names = (page) => page.locator("tbody.broker:not([hidden]) bdi").allInnerTexts();
