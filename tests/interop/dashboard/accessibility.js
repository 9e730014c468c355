// axe finds nothing, in both themes, at both widths, with every dialog; headings and landmarks.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { test } from "node:test";

import { broker, pool, rules, session } from "./mock.js";
import { becomes, row, shown, withPage } from "./page.js";

const AXE = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const STATUSES = ["up", "down", "ejected", "draining", "set_down", "full", "unresolved", "failing"];

function everything(mock) {
  const upstreams = STATUSES.map((status, index) =>
    broker(index + 1, { status, up: status !== "down", serving: ["up", "full"].includes(status) }),
  );
  upstreams.push(broker(9, { backup: true, connacks: { not_authorized: 3 } }));
  const lost = broker(10, { status: "down", up: false, serving: false });
  mock.pools = [
    pool(upstreams),
    pool([lost], { name: "lost" }),
    pool([lost], { name: "open", failing_open: true }),
  ];
  mock.lines = ["INFO", "WARN", "ERROR"].map((level, index) => ({
    seq: index + 1,
    time: "2026-03-14T03:07:01Z",
    level,
    message: "a line",
  }));
  mock.rules = [rules()];
  const faults = ["config.yaml:3:5: there is no pool p"];
  mock.status.config.last_reload = { at: "2026-03-14T01:02:03Z", outcome: "refused", faults };
  Object.assign(mock.status, { ready: false, not_ready: "draining", access_log_dropped: 3 });
  mock.status.descriptors.used = 19_000;
  const order = upstreams.map(({ name, serving }) => ({ upstream: name, serving }));
  const found = [{ pool: "brokers", order, goes_to: "broker-1", sessions: [session()] }];
  mock.routes["sensor-1"] = { client_id: "sensor-1", pools: found };
}

async function check(page, what) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() =>
    window.axe.run(document, { resultTypes: ["violations"] }),
  );
  const found = violations.map(
    ({ id, nodes }) =>
      `${id}: ${nodes.map(({ html, any }) => `${html} ${any[0]?.message ?? ""}`).join("\n  ")}`,
  );
  assert.deepEqual(found, [], what);
}

for (const colorScheme of ["light", "dark"]) {
  for (const width of [1280, 400]) {
    test(`axe, ${colorScheme}, ${width} px`, () =>
      withPage(
        everything,
        async (page, mock) => {
          await shown(page, mock);
          await row(page, "broker-9").locator("button.name").click();
          await page.getByLabel("Client ID", { exact: true }).fill("sensor-1");
          await page.keyboard.press("Enter");
          await page.getByText("has 1 session").waitFor();
          await page.getByText("4 further brokers").click();
          await check(page, "the page");
          assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), width);

          const openers = [
            "Drain broker-1",
            "Down broker-8",
            "Kick sensor-1 from broker-2",
            "Reload…",
          ];
          for (const name of openers) {
            await page.getByRole("button", { name, exact: true }).first().click();
            await page.getByRole("dialog").waitFor();
            await check(page, name);
            await page.keyboard.press("Escape");
          }
          mock.faults["/api/v1"] = [503, { error: "a worker did not answer" }];
          await becomes(() => page.locator(".stale").count(), 7);
          await check(page, "old figures");
          mock.faults = {};
          mock.token = "s3cret";
          await page.getByRole("button", { name: "Try now" }).click();
          await page.getByRole("dialog", { name: "Admin token" }).waitFor();
          await page.keyboard.press("Enter");
          await page.getByRole("alert").waitFor();
          await check(page, "the token");
        },
        { colorScheme, viewport: { width, height: 860 } },
      ));
  }
}

test("landmarks, headings and the table's heads", () =>
  withPage(everything, async (page, mock) => {
    await shown(page, mock);
    for (const landmark of ["banner", "main", "search"]) {
      assert.equal(await page.getByRole(landmark).count(), 1, landmark);
    }
    await page.getByRole("navigation", { name: "On this page" }).waitFor();
    assert.deepEqual(
      await page
        .getByRole("heading", { level: 2 })
        .allInnerTexts()
        .then((all) => all.map((text) => text.split(/\s/)[0])),
      ["Find", "Pool", "Pool", "Pool", "Rules", "Sessions", "Duplicate", "Bans", "Log"],
    );
    const table = page.getByRole("table", { name: /^Pool brokers/ });
    assert.equal(await table.getByRole("columnheader").count(), 12);
    assert.equal(await table.getByRole("rowheader").count(), 9);
    assert.equal(await table.locator("th:not([scope])").count(), 0);
  }));

test("nothing moves where less motion is wanted", () =>
  withPage(
    everything,
    async (page, mock) => {
      await shown(page, mock);
      const moving = await page.evaluate(
        () =>
          [...document.querySelectorAll("*")].filter(
            (one) => parseFloat(getComputedStyle(one).transitionDuration) > 0,
          ).length,
      );
      assert.equal(moving, 0);
    },
    { reducedMotion: "reduce" },
  ));
