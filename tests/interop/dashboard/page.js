// The page in Chromium: opened once for each test, and held to what must be so in all of them.

import assert from "node:assert/strict";
import { after, before } from "node:test";

import { chromium } from "playwright-core";

import { Mock } from "./mock.js";

const EXECUTABLE = process.argv[2] ?? "/usr/bin/chromium";

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
export async function withPage(prepare, run, { viewport = { width: 1280, height: 900 }, ...options } = {}) {
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
    page.setDefaultTimeout(20_000);
    if (clock) {
      await page.clock.install({ time: "2026-03-14T03:07:03Z" });
      await page.clock.pauseAt("2026-03-14T03:07:04Z");
    }
    await page.goto(`${origin}/`);
    await run(page);
    assert.deepEqual(wrong, []);
  } finally {
    await context.close();
  }
}
