// The table of brokers: what it shows of a hundred of them, its order, its filters.

import assert from "node:assert/strict";
import { test } from "node:test";

import { broker, pool } from "./mock.js";
import { becomes, cell, hasText, names, row, shown, skip, tick, withPage } from "./page.js";

const hundred = () => Array.from({ length: 100 }, (_, index) => broker(index + 1));

const numbered = (...numbers) => numbers.map((number) => `broker-${number}`);

/** A hundred, some of them not well. */
function troubled(mock) {
  mock.pools = [pool(hundred())];
  const set = (number, differences) => Object.assign(mock.broker(`broker-${number}`), differences);
  set(7, { status: "down", up: false, serving: false, sessions: 0 });
  set(42, { status: "down", up: false, serving: false, sessions: 0 });
  set(13, { status: "ejected", serving: false });
  set(19, { status: "draining", state: "drain", serving: false });
  set(61, { status: "set_down", state: "down", serving: false, sessions: 0 });
  set(78, { status: "unresolved", serving: false, address: "b.example:1883" });
  set(88, { status: "full", max_connections: 188 });
}

test("a hundred brokers, by name as people count", () =>
  withPage(troubled, async (page, mock) => {
    await shown(page, mock);
    const expected = numbered(...Array.from({ length: 100 }, (_, index) => index + 1));
    assert.deepEqual(await names(page), expected);
    await hasText(page.locator("[data-field=up]"), "98 of 100");
    const sessions = mock.pool().upstreams.reduce((sum, one) => sum + one.sessions, 0);
    await hasText(page.locator(".totals [data-field=sessions]"), sessions.toLocaleString("en"));
    await hasText(cell(page, "broker-3", "share"), "0.7 %");
    assert.equal(await page.title(), "7 not up – mqtt-lb");
  }));

test("each status has a word and a shape", () =>
  withPage(troubled, async (page, mock) => {
    await shown(page, mock);
    const words = {
      1: "up",
      7: "down",
      13: "ejected",
      19: "draining",
      61: "set down",
      78: "unresolved",
      88: "full",
    };
    const shapes = new Set();
    for (const [number, word] of Object.entries(words)) {
      const status = cell(page, `broker-${number}`, "status");
      assert.equal(await status.innerText(), word);
      const href = await status.locator("use").getAttribute("href");
      assert.equal(await page.locator(`symbol${href}`).count(), 1, href);
      shapes.add(href);
    }
    assert.equal(shapes.size, 7);
  }));

test("filters by name, address and status, and by a status's button", () =>
  withPage(troubled, async (page, mock) => {
    await shown(page, mock);
    const filter = page.getByRole("searchbox", { name: /^Filter the brokers of brokers/ });
    const cases = {
      "BROKER-10": numbered(10, 100),
      "10.0.0.42:": numbered(42),
      "b.example": numbered(78),
      ejected: numbered(13),
      "set down": numbered(61),
      "broker-7 unres": numbered(78),
      nothing: [],
    };
    for (const [text, expected] of Object.entries(cases)) {
      await filter.fill(text);
      assert.deepEqual(await names(page), expected, text);
    }
    await page.getByText("No broker matches the filter.").waitFor();
    await filter.fill("");
    const down = page.getByRole("button", { name: "down 2", exact: true });
    await down.click();
    assert.deepEqual(await names(page), numbered(7, 42));
    assert.equal(await down.getAttribute("aria-pressed"), "true");
    await page.getByText("2 of 100 shown").waitFor();
    await page.getByRole("button", { name: "all 100", exact: true }).click();
    assert.equal((await names(page)).length, 100);
  }));

test("sorts by every column, and says so", () =>
  withPage(troubled, async (page, mock) => {
    await shown(page, mock);
    const sort = async (column) => {
      const head = page
        .locator(".brokers")
        .getByRole("columnheader", { name: column, exact: true });
      await head.getByRole("button").click();
      return [await head.getAttribute("aria-sort"), (await names(page)).slice(0, 3)];
    };
    assert.deepEqual(await sort("Broker"), ["descending", numbered(100, 99, 98)]);
    assert.deepEqual(await sort("Status"), ["ascending", numbered(7, 42, 78)]);
    assert.deepEqual(await sort("Sessions"), ["descending", numbered(100, 99, 98)]);
    assert.deepEqual(await sort("Sessions"), ["ascending", numbered(7, 42, 61)]);
    assert.equal(await page.locator("th[aria-sort]").count(), 1);
    for (const column of ["Address", "Share", "Weight", "Connects/s", "Refused/s", "In", "Out"]) {
      const [order] = await sort(column);
      assert.equal(order, column === "Address" ? "ascending" : "descending");
    }
  }));

test("rates come from what the counters did, to the tenth", () => {
  const fill = (mock) => (mock.pools = [pool([broker(1), broker(2)])]);
  const run = async (page, mock) => {
    await shown(page, mock);
    const one = mock.broker("broker-1");
    await hasText(cell(page, "broker-1", "connects"), "–");
    for (let ticks = 0; ticks < 8; ticks += 1) {
      // 3.x and 5.0 call it by different names.
      one.connacks.accepted += 3;
      one.connacks.success += 2;
      one.connacks.not_authorized = (one.connacks.not_authorized ?? 0) + 1;
      one.bytes_in += 3000;
      one.bytes_out += 2_400_000;
      await tick(page, mock);
    }
    const expected = { connects: "2.5", refused: "0.5", in: "1.5 kB/s", out: "1.2 MB/s" };
    for (const [field, text] of Object.entries(expected)) {
      await hasText(cell(page, "broker-1", field), text);
      await hasText(page.locator(`.totals [data-field=${field}]`), text);
    }
    await hasText(cell(page, "broker-2", "connects"), "0");
    assert.equal(
      await cell(page, "broker-1", "refused").getAttribute("title"),
      "since the start: not_authorized 8",
    );
    // What stops is forgotten after ten seconds.
    for (let ticks = 0; ticks < 5; ticks += 1) await tick(page, mock);
    await hasText(cell(page, "broker-1", "connects"), "0");
    // A counter that falls has started again, not a rate below nothing.
    one.connacks = { accepted: 1 };
    await tick(page, mock);
    await hasText(cell(page, "broker-1", "connects"), "–");
  };
  return withPage(fill, run, { clock: true });
});

test("a sparkline has words, and its line begins where what is known does", () => {
  const fill = (mock) => (mock.pools = [pool([broker(1, { sessions: 10 })])]);
  const run = async (page, mock) => {
    await shown(page, mock);
    for (const sessions of [40, 30, 20]) {
      mock.broker("broker-1").sessions = sessions;
      await tick(page, mock);
    }
    const spark = page.getByRole("img", { name: "Sessions, last 5 minutes: now 20, 10 to 40" });
    // Two seconds are 0.8 of the 120 that five minutes are wide; the highest is 1.5 from the top.
    const line = await spark.locator(".line").getAttribute("d");
    assert.equal(line, "M117.6 15.8L118.4 1.5L119.2 6.3L120.0 11.0");
    await page.getByLabel("Trend").selectOption("connects");
    await page
      .getByRole("img", { name: "Connects a second, last 5 minutes: now 0, 0 to 0" })
      .waitFor();
    // Of what is older than five minutes nothing is left.
    await page.getByLabel("Trend").selectOption("sessions");
    await skip(page, mock, 301_000);
    await tick(page, mock);
    await page.getByRole("img", { name: "Sessions, last 5 minutes: now 20, 20 to 20" }).waitFor();
  };
  return withPage(fill, run, { clock: true });
});

test("a broker's details: reasons, tries, configuration", () =>
  withPage(
    (mock) => {
      const differences = {
        connacks: { success: 5, not_authorized: 2, server_busy: 1 },
        tries: { accepted: 5, refused: 3 },
        weight: 3,
        backup: true,
      };
      mock.pools = [pool([broker(1, differences)])];
    },
    async (page, mock) => {
      await shown(page, mock);
      await hasText(cell(page, "broker-1", "weight"), "3 (1)");
      const more = cell(page, "broker-1", "more");
      assert.equal(await more.getAttribute("aria-expanded"), "false");
      await more.click();
      assert.equal(await more.getAttribute("aria-expanded"), "true");
      const lines = (field) =>
        row(page, "broker-1").locator(`[data-field=${field}] tr`).allInnerTexts();
      assert.deepEqual(await lines("connacks"), [
        "success\t0\t5",
        "not_authorized\t0\t2",
        "server_busy\t0\t1",
      ]);
      assert.deepEqual(await lines("tries"), ["accepted\t0\t5", "refused\t0\t3"]);
      assert.match(await row(page, "broker-1").locator(".pairs").innerText(), /Role\s+backup/);
      await more.click();
      assert.equal(await page.locator(".detail").count(), 0);
    },
  ));

test("brokers and pools come and go; focus and selection stay", () =>
  withPage(
    (mock) => (mock.pools = [pool([broker(1), broker(2), broker(3)])]),
    async (page, mock) => {
      await shown(page, mock);
      const drain = page.getByRole("button", { name: "Drain broker-2" });
      await drain.focus();
      await page.evaluate(() => {
        const [, second] = document.querySelectorAll("tbody.broker .address");
        getSelection().selectAllChildren(second);
      });
      mock.pool().upstreams = [broker(10), broker(2, { sessions: 7777 }), broker(3)];
      mock.pools.unshift(pool([broker(1)], { name: "other" }));
      mock.status.version = "later";
      await becomes(() => names(page), numbered(1, 2, 3, 10));
      await hasText(cell(page, "broker-2", "sessions"), "7,777");
      assert.equal(await drain.evaluate((button) => button === document.activeElement), true);
      assert.equal(await page.evaluate(() => String(getSelection())), "10.0.0.2:1883");
    },
  ));

test("rows do not move under the pointer, nor under the focus", () =>
  withPage(
    (mock) => (mock.pools = [pool([broker(1), broker(2), broker(3)])]),
    async (page, mock) => {
      await shown(page, mock);
      await page
        .locator(".brokers")
        .getByRole("columnheader", { name: "Sessions", exact: true })
        .getByRole("button")
        .click();
      await becomes(() => names(page), numbered(3, 2, 1));
      await cell(page, "broker-1", "sessions").hover();
      mock.broker("broker-1").sessions = 5000;
      await hasText(cell(page, "broker-1", "sessions"), "5,000");
      assert.deepEqual(await names(page), numbered(3, 2, 1));
      await page.mouse.move(5, 5);
      await becomes(() => names(page), numbered(1, 3, 2));
      await page.getByRole("button", { name: "Drain broker-2" }).focus();
      mock.broker("broker-2").sessions = 6000;
      await hasText(cell(page, "broker-2", "sessions"), "6,000");
      assert.deepEqual(await names(page), numbered(1, 3, 2));
    },
  ));

test("says when a pool fails open, and when it has no broker left", () =>
  withPage(
    (mock) => {
      const down = { up: false, serving: false, status: "down" };
      mock.pools = [
        pool([broker(1, { up: false, status: "down" })], { name: "open", failing_open: true }),
        pool([broker(1, down)], { name: "lost" }),
        pool([broker(1)], { name: "well" }),
      ];
    },
    async (page, mock) => {
      await shown(page, mock);
      const warning = (name) =>
        page
          .getByRole("region", { name: `Pool ${name}` })
          .first()
          .locator(".warning");
      assert.match(await warning("open").innerText(), /^Failing open:/);
      assert.match(await warning("lost").innerText(), /^No broker of this pool takes sessions/);
      assert.equal(await warning("well").isVisible(), false);
    },
  ));

test("tells a screen reader what changed, not every number", () =>
  withPage(
    (mock) => (mock.pools = [pool(hundred())]),
    async (page, mock) => {
      await shown(page, mock);
      const said = page.getByRole("status");
      const down = { status: "down", up: false, serving: false };
      Object.assign(mock.broker("broker-2"), down);
      mock.broker("broker-9").sessions += 1;
      await hasText(said, "broker-2 is down.");
      for (const number of [3, 4, 5, 6]) Object.assign(mock.broker(`broker-${number}`), down);
      Object.assign(mock.broker("broker-2"), { status: "up", up: true, serving: true });
      await hasText(said, "5 brokers of pool brokers changed: 1 up, 4 down.");
    },
  ));
