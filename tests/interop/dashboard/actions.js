// What the buttons do: each asks first, sends exactly one request, and shows what came of it.

import assert from "node:assert/strict";
import { test } from "node:test";

import { broker, pool, session } from "./mock.js";
import { becomes, cell, hasText, shown, withPage } from "./page.js";

function three(mock) {
  mock.pools = [pool([broker(1), broker(2, { sessions: 1234 }), broker(3)])];
}

const button = (scope, name) => scope.getByRole("button", { name, exact: true });

test("drains a broker", () =>
  withPage(three, async (page, mock) => {
    await button(page, "Drain broker-2").click();
    const dialog = page.getByRole("dialog", { name: "Drain broker-2?" });
    assert.match(await dialog.innerText(), /Its 1,234 sessions stay until they end/);
    assert.match(await dialog.innerText(), /2 other brokers of pool brokers serve\./);
    assert.deepEqual(mock.asked, []);
    await button(dialog, "Drain").click();
    await dialog.waitFor({ state: "detached" });
    assert.deepEqual(mock.asked, [
      'PATCH /api/v1/pools/brokers/upstreams/broker-2 {"state":"drain"}',
    ]);
    await hasText(cell(page, "broker-2", "status"), "draining");
    await hasText(page.getByRole("status"), "broker-2: set to drain.");
    // Back where it was asked: the same button, which now offers the way back.
    const first = cell(page, "broker-2", "first");
    await hasText(first, "Ready");
    assert.equal(await first.evaluate((one) => one === document.activeElement), true);
  }));

test("sets a broker down, and ready again", () =>
  withPage(three, async (page, mock) => {
    await button(page, "Down broker-2").click();
    const down = page.getByRole("dialog", { name: "Set broker-2 down?" });
    assert.match(await down.innerText(), /Its 1,234 sessions are closed, the oldest first/);
    await button(down, "Set down").click();
    await hasText(cell(page, "broker-2", "status"), "set down");
    await button(page, "Ready broker-2").click();
    const ready = page.getByRole("dialog", { name: "Make broker-2 ready?" });
    await button(ready, "Make ready").click();
    await hasText(cell(page, "broker-2", "status"), "up");
    const path = "PATCH /api/v1/pools/brokers/upstreams/broker-2";
    assert.deepEqual(mock.asked, [`${path} {"state":"down"}`, `${path} {"state":"ready"}`]);
  }));

test("warns before the last broker is taken", () =>
  withPage(three, async (page, mock) => {
    for (const name of ["broker-1", "broker-3"]) mock.broker(name).serving = false;
    await becomes(() => page.locator("tbody.broker.off").count(), 2);
    await button(page, "Drain broker-2").click();
    await page
      .getByText("No other broker of pool brokers takes sessions: no client can connect.")
      .waitFor();
  }));

test("nothing is sent after Escape or Cancel, nor twice after two presses", () =>
  withPage(three, async (page, mock) => {
    const opener = button(page, "Down broker-1");
    const dialog = page.getByRole("dialog");
    for (const leave of [
      () => page.keyboard.press("Escape"),
      () => button(dialog, "Cancel").click(),
    ]) {
      await opener.click();
      await leave();
      await dialog.waitFor({ state: "detached" });
      assert.equal(await opener.evaluate((one) => one === document.activeElement), true);
    }
    assert.deepEqual(mock.asked, []);
    let open;
    mock.gate = new Promise((resolve) => (open = resolve));
    await opener.click();
    await button(dialog, "Set down").dblclick();
    await page.keyboard.press("Enter");
    await button(dialog, "Sending…").waitFor();
    open();
    await dialog.waitFor({ state: "detached" });
    assert.equal(mock.asked.length, 1);
  }));

test("shows in the dialog why the proxy refused", () =>
  withPage(three, async (page, mock) => {
    mock.faults["/api/v1/pools"] = [404, { error: "no broker broker-2 in pool brokers" }];
    await button(page, "Drain broker-2").click();
    const dialog = page.getByRole("dialog");
    await button(dialog, "Drain").click();
    await hasText(dialog.getByRole("alert"), "no broker broker-2 in pool brokers");
    mock.faults = {};
    await button(dialog, "Drain").click();
    await dialog.waitFor({ state: "detached" });
    assert.equal(mock.asked.length, 2);
  }));

test("names are encoded in paths", () =>
  withPage(
    (mock) => (mock.pools = [pool([broker(1, { name: "a/b #1?" })], { name: "p%20 /" })]),
    async (page, mock) => {
      await button(page, "Drain a/b #1?").click();
      await button(page.getByRole("dialog"), "Drain").click();
      await hasText(page.locator("[data-field=word]"), "draining");
      const path = "/api/v1/pools/p%2520%20%2F/upstreams/a%2Fb%20%231%3F";
      assert.deepEqual(mock.asked, [`PATCH ${path} {"state":"drain"}`]);
    },
  ));

test("drains by keyboard alone", () =>
  withPage(three, async (page, mock) => {
    await shown(page, mock);
    const focused = () =>
      page.evaluate(() => {
        const { activeElement: on } = document;
        const [label] = on.ariaLabelledByElements ?? [];
        if (label) return label.textContent.trim().replace(/\s+/g, " ");
        return on.ariaLabel ?? (on.innerText.trim().split("\n")[0] || on.id);
      });
    const visited = [];
    while (visited.at(-1) !== "Drain broker-2" && visited.length < 40) {
      await page.keyboard.press("Tab");
      visited.push(await focused());
      const outline = await page.evaluate(
        () => getComputedStyle(document.activeElement).outlineStyle,
      );
      assert.notEqual(outline, "none", `no focus to be seen on ${visited.at(-1)}`);
    }
    assert.deepEqual(visited, [
      ...[
        "Skip to the brokers",
        "Client",
        "Brokers",
        "Sessions",
        "Log",
        "Reload…",
        "Use the dark theme",
      ],
      ...[
        "client-id",
        "Find",
        "all",
        "up",
        "Filter the brokers of brokers by name, address or status",
        "sessions",
      ],
      `Pool brokers ${mock.pools[0].algorithm}`,
      ...[
        "Broker",
        "Address",
        "Status",
        "Sessions",
        "Share",
        "Weight",
        "Connects/s",
        "Refused/s",
        "In",
        "Out",
      ],
      ...["broker-1", "Drain broker-1", "Down broker-1", "broker-2", "Drain broker-2"],
    ]);

    await page.keyboard.press("Enter");
    await page.getByRole("dialog").waitFor();
    // What changes something is not where a second Enter would fall.
    assert.equal(await focused(), "Cancel");
    // The rest of the page cannot be reached.
    for (let presses = 0; presses < 6; presses += 1) {
      await page.keyboard.press("Tab");
      const isInside = await page.evaluate(() => document.activeElement.matches("body, dialog *"));
      assert.ok(isInside, await focused());
    }
    await button(page.getByRole("dialog"), "Cancel").focus();
    await page.keyboard.press("Tab");
    assert.equal(await focused(), "Drain");
    await page.keyboard.press("Enter");
    await hasText(cell(page, "broker-2", "status"), "draining");
    assert.equal(mock.asked.length, 1);
    assert.equal(await focused(), "Ready broker-2");
  }));

test("the skip link leads to the brokers", () =>
  withPage(three, async (page, mock) => {
    await shown(page, mock);
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await page.keyboard.press("Tab");
    assert.match(await page.evaluate(() => document.activeElement.innerText), /^all/);
  }));

const order = [
  { upstream: "broker-3", serving: false },
  { upstream: "broker-2", serving: true },
  { upstream: "broker-1", serving: true },
];

test("finds a client, and kicks it", () =>
  withPage(
    (mock) => {
      three(mock);
      const found = session({ upstream: "broker-1" });
      const pools = [{ pool: "brokers", order, goes_to: "broker-2", sessions: [found] }];
      mock.routes["sensor-1"] = { client_id: "sensor-1", pools };
    },
    async (page, mock) => {
      await page.getByLabel("Client ID", { exact: true }).fill("sensor-1");
      await page.keyboard.press("Enter");
      const found = page.locator("#found");
      await found.getByText("sensor-1 has 1 session, on broker-1.").waitFor();
      const text = await found.innerText();
      for (const part of [
        "Now on broker-1, but would go elsewhere now",
        "2026-03-14 02:02 UTC, 1 h 5 min ago",
        "10.1.2.3:45678, listener mqtt (tcp)",
        "plant",
        "MQTT 3.1.1, keep alive 60 s",
        "12 kB, 6.8 MB",
        "Its next CONNECT would go to broker-2.",
        "broker-3 does not serve",
      ]) {
        assert.ok(text.includes(part), `no "${part}" in:\n${text}`);
      }
      assert.deepEqual(await found.locator("ol.order li").allInnerTexts(), [
        "broker-3 does not serve",
        "broker-2",
        "broker-1",
      ]);
      await button(page, "Kick sensor-1 from broker-1").click();
      const dialog = page.getByRole("dialog", { name: "Kick this session?" });
      await button(dialog, "Kick").click();
      await found
        .getByText("No session: no client sensor-1 is connected through this proxy.")
        .waitFor();
      const route = "GET /api/v1/route?client_id=sensor-1";
      assert.deepEqual(mock.asked, [
        route,
        "DELETE /api/v1/sessions/00c0ffee00c0ffee",
        route,
        "GET /api/v1/sessions?sni=sensor-1&limit=20",
      ]);
    },
  ));

test("finds clients whose TLS is passed through", () =>
  withPage(
    (mock) => {
      three(mock);
      const hidden = { client_id: undefined, username: undefined, protocol_version: undefined };
      const through = { ...hidden, keepalive: undefined, clean_start: undefined };
      const seen = session({ ...through, sni: "eu.example", transport: "tls_passthrough" });
      mock.sessions = { "eu.example": [seen], "10.1.2.3": [seen] };
    },
    async (page, mock) => {
      const found = page.locator("#found");
      const search = async (text, headline) => {
        await page.getByLabel("Client ID", { exact: true }).fill(text);
        await button(page, "Find").click();
        await found.getByText(headline).waitFor();
      };
      await search("eu.example", "1 session of server name eu.example.");
      const text = await found.innerText();
      assert.match(text, /Now on broker-2/);
      assert.match(text, /MQTT in TLS, which the proxy passes through/);
      assert.ok(!text.includes("undefined"), text);
      await search("10.1.2.3", "1 session from 10.1.2.3.");
      await button(page, "Kick 10.1.2.3 from broker-2").click();
      const dialog = page.getByRole("dialog", { name: "Kick this session?" });
      assert.match(await dialog.innerText(), /The client may reconnect at once\./);
      assert.deepEqual(mock.asked, [
        "GET /api/v1/route?client_id=eu.example",
        "GET /api/v1/sessions?sni=eu.example&limit=20",
        "GET /api/v1/route?client_id=10.1.2.3",
        "GET /api/v1/sessions?source=10.1.2.3&limit=20",
      ]);
    },
  ));

test("a client that is nowhere, one without a way, a search that fails", () =>
  withPage(three, async (page, mock) => {
    const search = async (id) => {
      await page.getByLabel("Client ID", { exact: true }).fill(id);
      await button(page, "Find").click();
    };
    const found = page.locator("#found");
    await search("a b&c=d");
    await found
      .getByText("No session: no client a b&c=d is connected through this proxy.")
      .waitFor();
    await found.getByText("Not connected through this pool.").waitFor();
    await found.getByText("Its next CONNECT would go to broker-1.").waitFor();
    assert.deepEqual(mock.asked, [
      "GET /api/v1/route?client_id=a%20b%26c%3Dd",
      "GET /api/v1/sessions?sni=a%20b%26c%3Dd&limit=20",
    ]);
    for (const one of mock.pool().upstreams) one.serving = false;
    await search("x");
    await found.getByText("no broker: none of this pool takes sessions").waitFor();
    mock.routes.y = {
      client_id: "y",
      pools: [{ pool: "brokers", order: [], sessions: [], why: "the key has no username" }],
    };
    await search("y");
    await found.getByText("the key has no username").waitFor();
    mock.faults["/api/v1/route"] = [503, { error: "a worker did not answer" }];
    await search("z");
    await found.getByText("The search failed: a worker did not answer.").waitFor();
    await button(page, "Clear").click();
    assert.equal(await found.innerText(), "");
  }));

test("reloads, and shows what changed", () =>
  withPage(three, async (page, mock) => {
    await shown(page, mock);
    await button(page, "Reload…").click();
    const dialog = page.getByRole("dialog");
    assert.match(await dialog.innerText(), /\/etc\/mqtt-lb\/config\.yaml/);
    assert.deepEqual(mock.asked, []);
    await button(dialog, "Reload").click();
    await page.getByRole("dialog", { name: "Reloaded: generation 2" }).waitFor();
    assert.deepEqual(await dialog.getByRole("listitem").allInnerTexts(), [
      "pool brokers: broker-4 added",
    ]);
    assert.deepEqual(mock.asked, ["POST /api/v1/reload"]);
  }));

test("a reload that is refused: every fault, there and at the top", () =>
  withPage(three, async (page, mock) => {
    const faults = ["config.yaml:3:5: there is no pool p", "config.yaml:9:1: weight: 0 <b>"];
    mock.faults["/api/v1/reload"] = [422, { error: "nothing has changed", faults }];
    await button(page, "Reload…").click();
    const dialog = page.getByRole("dialog");
    await button(dialog, "Reload").click();
    await page.getByRole("dialog", { name: "Reload refused" }).waitFor();
    await dialog.getByText("Nothing has changed.").waitFor();
    assert.deepEqual(await dialog.getByRole("listitem").allInnerTexts(), faults);
    await button(dialog, "Close").click();

    mock.faults["/api/v1/reload"] = [409, { error: "a reload is under way" }];
    await button(page, "Reload…").click();
    await button(dialog, "Reload").click();
    await hasText(dialog.getByRole("alert"), "a reload is under way");
    await button(dialog, "Cancel").click();

    const at = new Date().toISOString();
    mock.status.config.last_reload = { at, outcome: "refused", faults };
    const warnings = page.getByRole("region", { name: "Warnings" });
    await warnings.getByText(/^The reload at .* was refused: 2 faults\./).waitFor();
    assert.deepEqual(await warnings.getByRole("listitem").allInnerTexts(), faults);
    mock.status.config.last_reload = { at, outcome: "applied", faults: [] };
    await becomes(() => warnings.locator(".warning").count(), 0);
  }));

test("the theme is the system's until another is chosen, which is remembered", () =>
  withPage(
    three,
    async (page, mock) => {
      await shown(page, mock);
      const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
      const dark = await background();
      await button(page, "Use the light theme").click();
      const light = await background();
      assert.notEqual(light, dark);
      await page.reload();
      assert.equal(await background(), light);
      await button(page, "Use the dark theme").click();
      assert.equal(await background(), dark);
    },
    { colorScheme: "dark" },
  ));

test("unbans", () =>
  withPage(
    (mock) => {
      three(mock);
      const ban = { reason: "operator", since: "2026-11-26T10:00:00.000Z" };
      mock.bans = [
        { ...ban, kind: "client_id", value: "a & b\u{202e}", comment: "lost", until: "2099-11-26T10:00:00.000Z" },
      ];
    },
    async (page, mock) => {
      const row = page.locator("#bans tr");
      await hasText(row.locator("th"), "a & b\\u{202e}");
      await hasText(row.locator("td").nth(1), "operator: lost");
      await hasText(page.locator("#bans-note"), "1 ban");
      await button(row, "Unban a & b\\u{202e}").click();
      const dialog = page.getByRole("dialog", { name: "Unban a & b\\u{202e}?" });
      await button(dialog, "Unban").click();
      await dialog.waitFor({ state: "detached" });
      assert.deepEqual(mock.asked, ["DELETE /api/v1/bans?client_id=a+%26+b%E2%80%AE"]);
      await becomes(() => row.count(), 0);
      await hasText(page.locator("#bans-note"), "none");
    },
  ));
