// Rules: what they did, how their pools serve, and the share that the operator sets.

import assert from "node:assert/strict";
import { test } from "node:test";

import { broker, pool, rules, session } from "./mock.js";
import { becomes, hasText, withPage } from "./page.js";

function canary(mock) {
  mock.pools = [pool([broker(1), broker(2)]), pool([broker(3)], { name: "new-cluster" })];
  mock.rules = [rules()];
}

const button = (scope, name) => scope.getByRole("button", { name, exact: true });
const section = (page) => page.getByRole("region", { name: /^Rules/ });
const CHANGE = "Change the share of rule canary of listener mqtt";

async function lines(page) {
  await section(page).waitFor();
  const rows = await section(page).locator("tbody tr").allInnerTexts();
  return rows.map((text) => text.split("\t").map((cell) => cell.trim()));
}

test("rules and their pools, side by side", () =>
  withPage(canary, async (page) => {
    assert.deepEqual(await lines(page), [
      ["stolen", "mqtt", "refuse banned", "100 %", "7", "", "", "", "", "", "Change…"],
      [
        "canary", "mqtt", "new-cluster", "5 %", "7", "40", "200", "25 %", "0 %",
        "success 150, banned 50", "Change…",
      ],
      ["all others", "mqtt", "brokers", "", "", "900", "2,000", "0 %", "0 %", "success 2,000", ""],
    ]);
  }));

test("nothing without rules", () =>
  withPage(
    (mock) => {
      canary(mock);
      mock.rules = [rules({ rules: [] })];
    },
    async (page, mock) => {
      await becomes(async () => (mock.answered["/api/v1/rules"] ?? 0) > 0, true);
      assert.equal(await page.locator("#rules").isVisible(), false);
      assert.equal(await page.locator("#search-listener").isVisible(), false);
    },
  ));

test("changes the share of a rule, and resets it", () =>
  withPage(canary, async (page, mock) => {
    await button(page, CHANGE).click();
    const dialog = page.getByRole("dialog", { name: "Change the share of canary?" });
    assert.match(await dialog.innerText(), /Empty: the configured share, 5 %\./);
    const input = dialog.getByRole("textbox");
    for (const wrong of ["101", "5%", "-1", "0.005"]) {
      await input.fill(wrong);
      await button(dialog, "Change").click();
      await dialog.getByText("Write a number from 0 to 100, with up to two decimals.").waitFor();
    }
    assert.deepEqual(mock.asked, []);
    await input.fill("20.5");
    await button(dialog, "Change").click();
    await dialog.waitFor({ state: "detached" });
    await hasText(page.getByRole("status"), "Rule canary of listener mqtt: 5 % → 20.5 %.");
    await becomes(async () => (await lines(page))[1][3], "20.5 % (configured: 5 %)");
    await button(page, CHANGE).click();
    await dialog.getByRole("textbox").fill("");
    await button(dialog, "Change").click();
    await dialog.waitFor({ state: "detached" });
    const path = "PATCH /api/v1/listeners/mqtt/rules/canary";
    assert.deepEqual(mock.asked, [`${path} {"percent":20.5}`, `${path} {"percent":null}`]);
  }));

test("finds where the rules would send a client", () =>
  withPage(
    (mock) => {
      canary(mock);
      const order = [{ upstream: "broker-3", serving: true }];
      mock.routes["sensor-1"] = {
        client_id: "sensor-1",
        listener: "mqtt",
        rules: [
          { rule: "stolen", holds: false, why: "client_id does not match" },
          { rule: "canary", holds: true, why: "share 3.2 of percent 5" },
        ],
        rule: "canary",
        pool: "new-cluster",
        pools: [
          { pool: "brokers", order: [], sessions: [session()], why: "elsewhere" },
          { pool: "new-cluster", order, goes_to: "broker-3", sessions: [] },
        ],
      };
      mock.routes.stolen = {
        client_id: "stolen",
        listener: "mqtt",
        rules: [{ rule: "stolen", holds: true, why: "all conditions hold" }],
        rule: "stolen",
        refuse: "banned",
        pools: [],
      };
    },
    async (page, mock) => {
      await section(page).waitFor();
      const find = async (id) => {
        await page.getByLabel("Client ID", { exact: true }).fill(id);
        await button(page, "Find").click();
      };
      await find("sensor-1");
      const found = page.locator("#found");
      await found.getByText("Rule canary decides, at listener mqtt.").waitFor();
      const text = await found.innerText();
      assert.match(text, /stolen does not hold: client_id does not match/);
      assert.match(text, /canary holds: share 3\.2 of percent 5/);
      assert.match(text, /Now on broker-2, but would go elsewhere now/);
      assert.match(text, /Its next CONNECT would not go to this pool\./);
      assert.match(text, /Its next CONNECT would go to broker-3\./);
      await find("stolen");
      await found.getByText("It would be refused: banned.").waitFor();
      assert.deepEqual(mock.asked, [
        "GET /api/v1/route?client_id=sensor-1&listener=mqtt",
        "GET /api/v1/route?client_id=stolen&listener=mqtt",
        "GET /api/v1/sessions?sni=stolen&limit=20",
      ]);
    },
  ));
